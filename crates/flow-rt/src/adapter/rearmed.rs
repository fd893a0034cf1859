//! A host's timer that is moved often: it is left where it is while that is early enough.
//!
//! A move is noted, and made at the next poll. Earlier, it is made at once; later, only so many
//! times until the host's timer fires, and from then on not before it does. It fires early then,
//! wakes its task for nothing, and the poll that follows moves it to where it belongs. So no more
//! than one wake in [`PATIENCE`] moves is for nothing, and a timer that is moved a few times
//! between two of its fires wakes nobody early.

use core::pin::Pin;
use core::task::{Context, Poll, ready};

use crate::instant::Instant;
use crate::timer::{BoxTimer, Stopped, Timer};

/// What a host has for a timer.
pub(super) trait HostTimer: Send {
    /// Moves it from `set` to `at`, whether it has fired or not.
    fn set(self: Pin<&mut Self>, set: Instant, at: Instant);

    /// Ready once the time it is set for has come, and again until it is set anew.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>>;
}

/// A timer of the contract, by a host's that is set for `at`.
pub(super) fn timer(at: Instant, host: impl HostTimer + 'static) -> BoxTimer {
    BoxTimer::new(Rearmed {
        host,
        at,
        set: at,
        moves: 0,
    })
}

pin_project_lite::pin_project! {
    struct Rearmed<H> {
        #[pin]
        host: H,
        at: Instant,
        // What the host's is set for.
        set: Instant,
        // How often the host's was moved since it fired.
        moves: u64,
    }
}

impl<H: HostTimer> Timer for Rearmed<H> {
    fn arm(self: Pin<&mut Self>, at: Instant) {
        *self.project().at = at;
    }

    fn poll_fired(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        let this = self.as_mut().project();
        if this.at < this.set || (this.at > this.set && *this.moves < PATIENCE) {
            self.as_mut().move_host();
        }
        match self.as_mut().project().host.poll(cx) {
            Poll::Ready(Ok(())) => self.host_fired(cx),
            other => other,
        }
    }
}

impl<H: HostTimer> Rearmed<H> {
    #[inline]
    fn move_host(self: Pin<&mut Self>) {
        let this = self.project();
        *this.moves += 1;
        this.host.set(*this.set, *this.at);
        *this.set = *this.at;
    }

    #[inline(never)]
    fn host_fired(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        let this = self.as_mut().project();
        *this.moves = 0;
        if this.at != this.set {
            // It was left where it was.
            self.as_mut().move_host();
            ready!(self.as_mut().project().host.poll(cx))?;
        }
        // The host's idea of never may be nearer than ours.
        if self.at.is_far_future() {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

/// So many moves are made before one is not. To leave a timer saves 120 instructions a move on
/// tokio, and 500 and perhaps a system call on async-io. An early wake costs 900 on a runtime of one
/// thread, more where another thread has to be woken, and what its task does then.
const PATIENCE: u64 = 32;
