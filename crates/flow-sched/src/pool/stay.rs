//! How long a slot that has nothing to do stays: one timer, moved when it fires.
//!
//! A slot of a busy pool parks for nearly every task. To move its timer each time would cost more
//! than the park does, so the timer stays where it is while that is early enough, and is moved to
//! the end of the stay that was begun last when it fires. So a slot that is busy is woken for
//! nothing, once in an idle timeout. The timer wakes the slot's task through an alarm: the slot
//! knows whether it has fired without asking it.

use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::task::Wake;

use flow_rt::{BoxTimer, Instant};

use super::core::Core;
use super::place;
use crate::sync::atomic::{AtomicBool, Ordering};

/// An idle slot's stay.
#[repr(C)] // as the slot
pub(super) struct Stay {
    /// What the timer is armed for: never later than `until` while the slot is idle and its stay
    /// not over; else perhaps far in the future.
    armed: Instant,
    until: Instant,
    timer: Option<BoxTimer>,
    /// Whether the timer has to be polled: it was armed, or is new to this waker.
    moved: bool,
    /// What the timer wakes.
    alarm: Option<(Waker, Arc<Alarm>)>,
}

/// The timer's waker, which tells its wake from the others.
struct Alarm {
    has_rung: AtomicBool,
    task: Waker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Before the wake, so that the poll sees it.
        self.has_rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl Stay {
    pub(super) const fn new() -> Self {
        Self {
            timer: None,
            armed: Instant::FAR_FUTURE,
            until: Instant::FAR_FUTURE,
            moved: false,
            alarm: None,
        }
    }

    /// The slot has nothing to do, and goes if that is still so at `until`.
    pub(super) fn begin(&mut self, core: &Core, until: Instant) {
        self.until = until;
        // One that never goes is not to be woken for it either.
        if self.armed > until || until.is_far_future() && !self.armed.is_far_future() {
            place::arm(&mut self.timer, core, until);
            self.armed = until;
            self.moved = true;
        }
    }

    /// Whether the stay is over, which it is once; else its end wakes the task.
    pub(super) fn poll_over(&mut self, cx: &Context<'_>) -> Poll<()> {
        // Without a runtime that keeps the time the slot just stays.
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        let waker = match &self.alarm {
            Some((waker, alarm)) if alarm.task.will_wake(cx.waker()) => {
                let has_rung = alarm.has_rung.swap(false, Ordering::Acquire);
                if !has_rung && !self.moved {
                    return Poll::Pending;
                }
                waker
            }
            _ => {
                let alarm = Arc::new(Alarm {
                    has_rung: AtomicBool::new(false),
                    task: cx.waker().clone(),
                });
                &self.alarm.insert((Waker::from(alarm.clone()), alarm)).0
            }
        };
        self.moved = false;
        let mut cx = Context::from_waker(waker);
        while let Poll::Ready(Ok(())) = timer.poll_fired(&mut cx) {
            let is_over = self.armed >= self.until;
            // Tasks have come since it was armed; or the slot may have to stay all the same.
            self.armed = if is_over {
                Instant::FAR_FUTURE
            } else {
                self.until
            };
            timer.arm(self.armed);
            if is_over {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}
