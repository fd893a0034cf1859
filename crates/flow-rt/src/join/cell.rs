//! The join on hosts whose own handle does not carry it: one allocation, shared by a task and its
//! handle, with a cell for the result and the flag of an abort.
//!
//! Whatever ends the task fills the cell: its output, an abort, or the destructor, when a runtime
//! drops it. So a join never hangs.
//!
//! smol's and async-std's own handles would save the cell, and not what it gives. They abort by
//! being consumed, and async-task, whose they are, ends the process when a waker panics; async-std's
//! tells the end only by a poll that takes the result. A waker of ours between host and handle
//! mends that, and then costs what the cell does.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use flow_sync::JoinCell;

use super::abort::{Abort, Abortable, Registered};
use super::guarded::Guarded;
use super::{JoinError, JoinHandle, Link};
use crate::panics::{self, Panic};

/// Wraps a future for spawning and makes its handle.
pub(crate) fn joinable<F: Future>(future: F) -> (Joinable<F>, JoinHandle<F::Output>) {
    let shared = Arc::new(Shared::new());
    let task = Joinable {
        future: Guarded::new(future),
        registered: Registered::default(),
        completion: Completion(Some(shared.clone())),
    };
    (task, JoinHandle::new(Link::Cell(shared)))
}

/// Wraps a blocking closure and makes its handle.
pub(crate) fn joinable_blocking<T, F>(job: F) -> (impl FnOnce() + Send + 'static, JoinHandle<T>)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let shared = Arc::new(Shared::new());
    let mut completion = Completion(Some(shared.clone()));
    let run = move || {
        let aborted = |shared: &Arc<Shared<T>>| shared.abort.is_requested();
        if completion.0.as_ref().is_some_and(aborted) {
            panics::contain(|| drop(job));
            completion.finish(Err(JoinError::Cancelled));
        } else {
            let outcome = panics::catch(job).map_err(Panic::on_its_way);
            completion.finish(outcome.map_err(JoinError::Panicked));
        }
    };
    (run, JoinHandle::new(Link::Cell(shared)))
}

pin_project_lite::pin_project! {
    /// The task's side of a cell: polls the future, fills the cell.
    pub(crate) struct Joinable<F: Future> {
        #[pin]
        future: Guarded<F>,
        registered: Registered,
        completion: Completion<F::Output>,
    }

    impl<F: Future> PinnedDrop for Joinable<F> {
        fn drop(this: Pin<&mut Self>) {
            // Before the completion, so that whoever joins finds the future gone.
            this.project().future.clear();
        }
    }
}

impl<F: Future> Future for Joinable<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        // Filled already: it has ended.
        if let Some(shared) = &this.completion.0 {
            let outcome = ready!(shared.abort.poll_task(this.registered, this.future, cx));
            this.completion.finish(outcome);
        }
        Poll::Ready(())
    }
}

/// What a task and its handle share.
pub(super) struct Shared<T> {
    pub(super) cell: JoinCell<Result<T, JoinError>>,
    pub(super) abort: Abort,
}

impl<T> Shared<T> {
    fn new() -> Self {
        Self {
            cell: JoinCell::new(),
            abort: Abort::default(),
        }
    }
}

impl<T: Send> Abortable for Shared<T> {
    fn abort(&self) {
        self.abort.request();
    }
}

/// The obligation to fill the cell, met by its destructor if by nobody else.
struct Completion<T>(Option<Arc<Shared<T>>>);

impl<T> Completion<T> {
    fn finish(&mut self, outcome: Result<T, JoinError>) {
        if let Some(shared) = self.0.take() {
            let leftover = shared.cell.complete(outcome);
            // If the join handle is gone, the result dies with `shared`: its destructor is user code.
            panics::contain(|| drop((leftover, shared)));
        }
    }
}

impl<T> Drop for Completion<T> {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_some() {
            self.finish(Err(JoinError::Cancelled));
        }
    }
}
