//! The task that drives a bucket's queue: the protocol's clockwork, without its rules.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use flow_rt::{BoxTimer, Clock, Handle, Instant};

use crate::token_bucket::core::Core;
use crate::waiting::Step;
use crate::wakes::Wakes;

/// The task that looks after a bucket's queue on one runtime, while there is one.
pub(crate) struct Driver<C: Clock + 'static> {
    core: Arc<Core<C>>,
    runtime: Handle,
    seat: u64,
    timer: Option<BoxTimer>,
    fired: bool,
    has_left: bool,
    wakes: Wakes,
}

impl<C: Clock + 'static> Driver<C> {
    pub(crate) fn new(core: Arc<Core<C>>, runtime: Handle, seat: u64) -> Self {
        Self {
            core,
            runtime,
            seat,
            timer: None,
            fired: false,
            has_left: false,
            wakes: Wakes::new(),
        }
    }

    /// Arms the timer for an instant of the bucket's clock, by the runtime's.
    fn arm(&mut self, at: Instant) -> &mut BoxTimer {
        let due = if at.is_far_future() {
            at
        } else {
            // The two clocks may differ; the next look is by the bucket's again.
            self.runtime.now() + at.saturating_duration_since(self.core.clock.now())
        };
        match &mut self.timer {
            Some(timer) => timer.arm(due),
            none => *none = Some(self.runtime.timer(due)),
        }
        self.timer.get_or_insert_with(|| self.runtime.timer(due))
    }
}

impl<C: Clock + 'static> Future for Driver<C> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut waker = None;
        loop {
            // Cloned out here, kept by the seat if this goes to sleep.
            waker.get_or_insert_with(|| cx.waker().clone());
            let step = this
                .core
                .drive(this.seat, &mut waker, this.fired, &mut this.wakes);
            this.wakes.wake();
            this.fired = false;
            match step {
                Step::Again => {}
                Step::Leave => {
                    this.has_left = true;
                    return Poll::Ready(());
                }
                Step::Sleep(at) => match this.arm(at).poll_fired(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => this.fired = true,
                    // The runtime keeps no time any more: its seat goes with this driver.
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                },
            }
        }
    }
}

impl<C: Clock + 'static> Drop for Driver<C> {
    fn drop(&mut self) {
        if !self.has_left {
            self.core.vacate(self.seat);
        }
    }
}
