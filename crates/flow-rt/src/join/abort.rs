//! The request to abort a task, and how a task heeds it.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use flow_sync::sync::AtomicWaker;
use flow_sync::sync::atomic::{AtomicBool, Ordering};

use super::JoinError;
use super::guarded::Guarded;

/// What an abort handle holds.
pub(super) trait Abortable: Send + Sync {
    fn abort(&self);
}

/// The request to abort, and the waker of the task it is for.
#[derive(Default)]
pub(crate) struct Abort {
    requested: AtomicBool,
    task: AtomicWaker,
}

/// Which waker a task has registered for its abort last, by its addresses; zeros, which are no
/// waker's, if there is none or its addresses do not tell.
///
/// With the task, and not with the request: every poll looks at it, and the memory of the request
/// is another's.
#[derive(Default)]
pub(super) struct Registered {
    data: usize,
    vtable: usize,
}

impl Abort {
    pub(crate) fn request(&self) {
        self.requested.store(true, Ordering::Release);
        self.task.wake();
    }

    pub(super) fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// Polls the task that the request is for. The future is gone when there is an outcome.
    #[inline]
    pub(super) fn poll_task<F: Future>(
        &self,
        registered: &mut Registered,
        mut future: Pin<&mut Guarded<F>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<F::Output, JoinError>> {
        if !self.is_requested() {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                let outcome = output.map_err(|panic| JoinError::Panicked(panic.on_its_way()));
                return Poll::Ready(outcome);
            }
            // After registering: either the abort sees the waker, or this sees the abort. A waker
            // that was there before the poll has been woken, and the next poll sees the abort.
            if !self.register(registered, cx.waker()) || !self.is_requested() {
                return Poll::Pending;
            }
        }
        future.clear();
        Poll::Ready(Err(JoinError::Cancelled))
    }

    /// Registers the task's waker; false if it is registered already.
    ///
    /// Only an abort takes the waker out, and it sets its flag before: a waker that is no longer
    /// there is never missed. While it is there, what was noted is nobody else's. Registering
    /// takes a few read-modify-writes, a comparison none.
    #[inline]
    fn register(&self, registered: &mut Registered, waker: &Waker) -> bool {
        let anew = registered.data != waker.data().addr()
            || registered.vtable != core::ptr::from_ref(waker.vtable()).addr();
        if anew {
            self.register_anew(registered, waker);
        }
        anew
    }

    #[cold]
    fn register_anew(&self, registered: &mut Registered, waker: &Waker) {
        // What stays is a clone. That of a waker whose data stands on an executor's stack has its
        // own elsewhere: another's may come to stand there, so nothing is noted.
        let kept = waker.clone();
        self.task.register(&kept);
        *registered = if kept.data() == waker.data() {
            Registered {
                data: waker.data().addr(),
                vtable: core::ptr::from_ref(waker.vtable()).addr(),
            }
        } else {
            Registered::default()
        };
    }
}
