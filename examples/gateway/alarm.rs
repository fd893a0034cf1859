//! A wake that can be told from the task's others.
//!
//! A connection's task is woken for many reasons, and at each it would ask its sockets and its timer
//! too. By the contract of futures that is for nothing: who said that it is not ready wakes the task
//! when it may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// What one thing that a task waits for has of the task.
#[derive(Default)]
pub(crate) struct Alarm(Option<(Waker, Arc<Bell>)>);

struct Bell {
    has_rung: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Before the wake, so that the poll sees it.
        self.has_rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl Alarm {
    /// Polls the thing if it has woken the task, or was ready when it was polled last, or is new to
    /// this task; else it is pending.
    pub(crate) fn poll<T>(
        &mut self,
        task: &Waker,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let (waker, bell) = match &self.0 {
            Some((waker, bell)) if bell.task.will_wake(task) => {
                if !bell.has_rung.swap(false, Ordering::Acquire) {
                    return Poll::Pending;
                }
                (waker, bell)
            }
            _ => {
                let bell = Arc::new(Bell {
                    has_rung: AtomicBool::new(false),
                    task: task.clone(),
                });
                let (waker, bell) = self.0.insert((Waker::from(bell.clone()), bell));
                (&*waker, &*bell)
            }
        };
        let polled = poll(&mut Context::from_waker(waker));
        if polled.is_ready() {
            // It wakes nobody before it is polled again.
            bell.has_rung.store(true, Ordering::Relaxed);
        }
        polled
    }
}

#[cfg(test)]
#[path = "alarm/tests.rs"]
mod tests;
