//! The context of the task that a thread is polling, and the future that puts it there.
//!
//! # State
//! `CURRENT`, one per thread: the context of the innermost poll that has one around it.
//!
//! # Invariants
//! 1. A [`WithContext`] holds its context while it is not being polled, and `CURRENT` does while
//!    it is: contexts move, so a poll touches no reference count.
//! 2. Whoever puts something into `CURRENT` puts back what was there before, also when the poll
//!    panics. So polls nest, and a thread ends with nothing in it.

use core::cell::Cell;
use core::future::Future;
use core::mem::{self, ManuallyDrop};
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::context::TaskContext;

flow_sync::sync::thread_local! {
    // By invariant 2 there is nothing to drop at a thread's end; and a thread-local without a
    // destructor is found without asking whether it ran.
    static CURRENT: Cell<ManuallyDrop<Option<TaskContext>>> =
        const { Cell::new(ManuallyDrop::new(None)) };
}

pin_project_lite::pin_project! {
    /// A future that is polled under a context; see [`TaskContext::scope`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct WithContext<F> {
        #[pin]
        future: F,
        context: Option<TaskContext>,
    }
}

impl<F> WithContext<F> {
    pub(crate) fn new(context: Option<TaskContext>, future: F) -> Self {
        Self { future, context }
    }

    /// The future under the context of the calling task, if any.
    pub(crate) fn inherited(future: F) -> Self {
        Self::new(current(), future)
    }

    /// Makes the future under its own context.
    pub(crate) fn made_inside(context: TaskContext, make: impl FnOnce() -> F) -> Self {
        let mut context = Some(context);
        let future = {
            let _restore = Restore::put(&mut context);
            make()
        };
        Self { future, context }
    }
}

impl<F: Future> Future for WithContext<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _restore = Restore::put(this.context);
        this.future.poll(cx)
    }
}

/// A copy of the context of the innermost poll.
pub(crate) fn current() -> Option<TaskContext> {
    let here = swap(None);
    let copy = here.clone();
    swap(here);
    copy
}

/// Runs `f` under `context`.
pub(crate) fn enter<T>(mut context: Option<TaskContext>, f: impl FnOnce() -> T) -> T {
    enter_from(&mut context, f)
}

/// Runs `f` under the context in `slot`, which is there again afterwards.
#[inline]
pub(crate) fn enter_from<T>(slot: &mut Option<TaskContext>, f: impl FnOnce() -> T) -> T {
    let _restore = Restore::put(slot);
    f()
}

/// Takes a context out of its slot into `CURRENT`, and puts it back when dropped.
struct Restore<'c> {
    slot: &'c mut Option<TaskContext>,
    /// Put back by `drop`; a field with a destructor would cost every poll a look at it.
    outer: ManuallyDrop<Option<TaskContext>>,
}

impl<'c> Restore<'c> {
    #[inline]
    fn put(slot: &'c mut Option<TaskContext>) -> Self {
        let outer = replace(ManuallyDrop::new(slot.take()));
        Self { slot, outer }
    }
}

impl Drop for Restore<'_> {
    #[inline]
    fn drop(&mut self) {
        let outer = mem::replace(&mut self.outer, ManuallyDrop::new(None));
        let own = ManuallyDrop::into_inner(replace(outer));
        // What is replaced is the `None` that `put` left: nothing to drop.
        mem::forget(mem::replace(self.slot, own));
    }
}

fn swap(context: Option<TaskContext>) -> Option<TaskContext> {
    ManuallyDrop::into_inner(replace(ManuallyDrop::new(context)))
}

#[inline]
fn replace(context: ManuallyDrop<Option<TaskContext>>) -> ManuallyDrop<Option<TaskContext>> {
    CURRENT.with(|current| current.replace(context))
}
