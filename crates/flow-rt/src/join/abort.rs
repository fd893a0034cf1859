//! The request to abort a task, and how a task heeds it.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use atomic_waker::AtomicWaker;

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
    /// Which waker was registered last, by its addresses. Written by the task's polls only.
    registered: [AtomicUsize; 2],
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
            if !self.register(cx.waker()) || !self.is_requested() {
                return Poll::Pending;
            }
        }
        future.clear();
        Poll::Ready(Err(JoinError::Cancelled))
    }

    /// Registers the task's waker; false if it is registered already.
    ///
    /// Only an abort takes the waker out, and it sets its flag before: a waker that is no longer
    /// there is never missed. While it is there its addresses are nobody else's. Registering
    /// takes two read-modify-writes, a comparison none.
    #[inline]
    fn register(&self, waker: &Waker) -> bool {
        let this = [
            waker.data().addr(),
            core::ptr::from_ref(waker.vtable()).addr(),
        ];
        let known = [0, 1].map(|part| self.registered[part].load(Ordering::Relaxed));
        let anew = known != this;
        if anew {
            self.register_anew(waker, this);
        }
        anew
    }

    #[cold]
    fn register_anew(&self, waker: &Waker, addresses: [usize; 2]) {
        self.task.register(waker);
        for (part, address) in self.registered.iter().zip(addresses) {
            part.store(address, Ordering::Relaxed);
        }
    }
}
