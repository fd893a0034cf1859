//! A random delay between a grant and its return, so that those granted together do not act
//! together.
//!
//! The tokens are taken when their turn comes, and the queue has gone on by then: nobody else
//! waits for it, and the rate is what it was.

use core::task::{Context, Poll};
use std::sync::{Arc, Mutex, PoisonError};

use flow_rt::{BoxTimer, Handle};

use crate::granted::Granted;
use crate::wait_state::{Host, WaitState};
use crate::waiting::Source;

/// Tokens that were granted and are returned later. They go back if it is dropped before.
pub(crate) struct Delayed {
    host: Arc<dyn Host>,
    n: u64,
    /// How many tokens were taken for it: `n`, or none where there was no limit.
    taken: u64,
    granted: Granted,
    /// None once it need not wait any longer. Only to be `Sync` is it in a mutex, which is never
    /// locked.
    timer: Mutex<Option<BoxTimer>>,
    held: bool,
}

impl Delayed {
    /// Whether it is a wait for `n` tokens of the limiter at this address.
    pub(crate) fn is_of(&self, host: *const (), n: u64) -> bool {
        Arc::as_ptr(&self.host).cast() == host && self.n == n
    }

    /// It returns at its next poll.
    pub(crate) fn hurry(&mut self) {
        *self.timer() = None;
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Granted> {
        if let Some(timer) = self.timer() {
            // Of a runtime that keeps no time any more: now.
            let _ = core::task::ready!(timer.poll_fired(cx));
        }
        self.held = false;
        Poll::Ready(self.granted)
    }

    fn timer(&mut self) -> &mut Option<BoxTimer> {
        self.timer.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Delayed {
    fn drop(&mut self) {
        if self.held {
            self.host.give_back(self.taken);
        }
    }
}

/// How limiters return what was granted.
pub(crate) trait Jitters: Source {
    /// Returns what one was granted who has waited, after the jitter if there is any. Without a
    /// runtime to sleep on there is none.
    fn return_granted(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        (n, taken): (u64, u64),
        granted: Granted,
        runtime: Option<&Handle>,
        state: &mut WaitState,
    ) -> Poll<Granted>
    where
        Self: 'static,
    {
        let delays = self.rules().jitter.as_ref().map(flow_rt::Backoff::delays);
        // Checked by the builder: there is a first delay.
        let delay = delays.and_then(|delays| delays.ok()?.next());
        let (Some(delay), Some(runtime)) = (delay, runtime) else {
            return Poll::Ready(granted);
        };
        let delayed = Delayed {
            host: self.clone(),
            n,
            taken,
            granted,
            timer: Mutex::new(Some(runtime.sleep(delay))),
            held: true,
        };
        state.delay(delayed, cx)
    }
}

impl<S: Source> Jitters for S {}
