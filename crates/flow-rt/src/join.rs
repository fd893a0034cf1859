//! Join handles: the result of a task, its panic as an error, abort and detach.
//!
//! A spawned future is wrapped in a [`Guarded`], whose output is its result or its panic. On
//! tokio the host's own handle carries that output, at the host's price. Elsewhere the task is a
//! [`Joinable`], which shares one allocation with the [`JoinHandle`]: the join cell and the abort
//! flag. Whatever ends the task fills the cell: its output, an abort, or the destructor, when a
//! runtime drops it. So a join never hangs.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};

use atomic_waker::AtomicWaker;
use flow_sync::JoinCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[cfg(feature = "tokio")]
use crate::adapter;
use crate::ambient::{self, Blocking};
use crate::panics::{self, Panic};
use crate::with_context;

/// Waits for a task or a blocking closure, and may abort it.
///
/// A future of the result. Dropping it detaches the task, which runs on;
/// [`abort_on_drop`](Self::abort_on_drop) turns that round.
///
/// # Cancel safety
/// Polling it takes nothing until it is ready. Once it has returned its result it stays pending.
///
/// # Cost
/// On tokio that of its own handle; elsewhere one allocation per joined task beside the host's
/// own, and four short locks (benches, `rt`).
#[must_use = "dropping a join handle detaches the task; say so with `detach()`"]
pub struct JoinHandle<T> {
    /// `None` once the result was returned.
    link: Option<Link<T>>,
    abort_on_drop: bool,
}

/// What a handle holds of its task.
enum Link<T> {
    Cell(Arc<Shared<T>>),
    #[cfg(feature = "tokio")]
    Tokio(adapter::tokio::Joined<T>),
}

impl<T> JoinHandle<T> {
    /// Asks the task to stop at its next poll; a closure that has not started never starts.
    ///
    /// The handle then yields [`JoinError::Cancelled`], unless the task had ended before.
    pub fn abort(&self) {
        match &self.link {
            Some(Link::Cell(shared)) => shared.abort.request(),
            #[cfg(feature = "tokio")]
            Some(Link::Tokio(task)) => task.abort(),
            None => {}
        }
    }

    /// A clonable handle that can abort the task and nothing else.
    pub fn abort_handle(&self) -> AbortHandle
    where
        T: Send + 'static,
    {
        AbortHandle(match &self.link {
            Some(Link::Cell(shared)) => AbortLink::Cell(shared.clone()),
            #[cfg(feature = "tokio")]
            Some(Link::Tokio(task)) => AbortLink::Tokio(task.abort_handle()),
            None => AbortLink::Ended,
        })
    }

    /// Whether the task has ended, however it ended.
    pub fn is_finished(&self) -> bool {
        match &self.link {
            Some(Link::Cell(shared)) => shared.cell.is_complete(),
            #[cfg(feature = "tokio")]
            Some(Link::Tokio(task)) => task.is_finished(),
            None => true,
        }
    }

    /// Lets the task run on without anybody waiting for it.
    pub fn detach(mut self) {
        self.abort_on_drop = false;
    }

    /// The same handle, which aborts the task when it is dropped.
    pub fn abort_on_drop(mut self) -> Self {
        self.abort_on_drop = true;
        self
    }

    fn new(link: Link<T>) -> Self {
        Self {
            link: Some(link),
            abort_on_drop: false,
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn on_tokio(task: adapter::tokio::Joined<T>) -> Self {
        Self::new(Link::Tokio(task))
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match &mut self.link {
            Some(Link::Cell(shared)) => {
                ready!(shared.cell.poll_take(cx)).map_err(JoinError::arrived)
            }
            #[cfg(feature = "tokio")]
            Some(Link::Tokio(task)) => ready!(task.poll(cx)),
            None => return Poll::Pending,
        };
        self.link = None;
        Poll::Ready(result)
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if self.abort_on_drop {
            self.abort();
        }
        let Some(link) = self.link.take() else {
            return;
        };
        // A result nobody read goes here; its destructor must not take the caller down.
        panics::contain(|| {
            match &link {
                // An abort handle may keep the cell, and must not keep the result.
                Link::Cell(shared) if shared.cell.is_complete() => drop(shared.cell.try_take()),
                Link::Cell(_) => {}
                #[cfg(feature = "tokio")]
                Link::Tokio(_) => {}
            }
            drop(link);
        });
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .field("abort_on_drop", &self.abort_on_drop)
            .finish_non_exhaustive()
    }
}

/// Aborts one task; see [`JoinHandle::abort_handle`].
#[derive(Clone)]
pub struct AbortHandle(AbortLink);

#[derive(Clone)]
enum AbortLink {
    Cell(Arc<dyn Abortable>),
    #[cfg(feature = "tokio")]
    Tokio(adapter::tokio::Abort),
    Ended,
}

impl AbortHandle {
    /// Asks the task to stop at its next poll. See [`JoinHandle::abort`].
    pub fn abort(&self) {
        match &self.0 {
            AbortLink::Cell(task) => task.abort(),
            #[cfg(feature = "tokio")]
            AbortLink::Tokio(task) => task.abort(),
            AbortLink::Ended => {}
        }
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle").finish_non_exhaustive()
    }
}

/// Why a task gave no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// It panicked; the panic is inside. The runtime and the other tasks are unharmed.
    Panicked(Panic),
    /// It was aborted, or its runtime went away and dropped it (or refused it at once).
    Cancelled,
}

impl JoinError {
    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }

    /// Whether the task was aborted or dropped by its runtime.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }
}

impl JoinError {
    fn arrived(self) -> Self {
        match self {
            Self::Panicked(panic) => Self::Panicked(panic.arrived()),
            Self::Cancelled => Self::Cancelled,
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => write!(f, "the task panicked: {panic}"),
            Self::Cancelled => {
                f.write_str("the task was aborted, or its runtime was shut down before it ended")
            }
        }
    }
}

impl std::error::Error for JoinError {}

/// Wraps a future for spawning and makes its handle.
pub(crate) fn joinable<F: Future>(future: F) -> (Joinable<F>, JoinHandle<F::Output>) {
    let shared = Arc::new(Shared::new());
    let task = Joinable {
        future: Guarded::new(future),
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
        if completion.aborted() {
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
    /// A future whose panic is its output, and whose destructor lets no panic out. The future is
    /// gone by the time its output is there. While it is polled its thread must not block.
    pub(crate) struct Guarded<F> {
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Guarded<F> {
        fn drop(this: Pin<&mut Self>) {
            this.clear();
        }
    }
}

impl<F> Guarded<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Some(future),
        }
    }

    fn clear(self: Pin<&mut Self>) {
        let mut future = self.project().future;
        if future.is_some() {
            panics::contain(|| future.set(None));
        }
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.as_mut().project().future.as_pin_mut() else {
            return Poll::Pending;
        };
        let polled = {
            let _polling = ambient::set_blocking(Blocking::Polling);
            panics::catch(|| future.poll(cx))
        };
        let output = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(panic) => Err(panic),
        };
        self.clear();
        Poll::Ready(output)
    }
}

pin_project_lite::pin_project! {
    /// A task that nobody waits for, under no context, whoever polls it.
    ///
    /// No larger than its future, where that leaves room for a tag: hosts allocate it.
    pub(crate) struct Detached<F> {
        #[pin]
        future: Guarded<F>,
    }
}

impl<F> Detached<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Guarded::new(future),
        }
    }
}

impl<F: Future<Output = ()>> Future for Detached<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let future = self.project().future;
        match ready!(with_context::enter(None, || future.poll(cx))) {
            Ok(()) => Poll::Ready(()),
            // On to the host, which contains one panic; a second one, of the future's destructor
            // while it unwinds, would have ended the process.
            Err(panic) => std::panic::resume_unwind(panic.into_payload()),
        }
    }
}

pin_project_lite::pin_project! {
    /// The task's side of a cell: polls the future, fills the cell.
    pub(crate) struct Joinable<F: Future> {
        #[pin]
        future: Guarded<F>,
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
        let mut this = self.project();
        let outcome = if this.completion.aborted() {
            Err(JoinError::Cancelled)
        } else {
            match this.future.as_mut().poll(cx) {
                Poll::Pending if this.completion.watch_abort(cx) => {
                    return Poll::Pending;
                }
                Poll::Pending => Err(JoinError::Cancelled),
                Poll::Ready(output) => {
                    output.map_err(|panic| JoinError::Panicked(panic.on_its_way()))
                }
            }
        };
        this.future.clear();
        this.completion.finish(outcome);
        Poll::Ready(())
    }
}

struct Shared<T> {
    cell: JoinCell<Result<T, JoinError>>,
    abort: Abort,
}

impl<T> Shared<T> {
    fn new() -> Self {
        Self {
            cell: JoinCell::new(),
            abort: Abort::default(),
        }
    }
}

/// The request to abort, and the waker of the task it is for.
#[derive(Default)]
struct Abort {
    requested: AtomicBool,
    task: AtomicWaker,
    /// Which waker was registered last, by its addresses. Written by the task's polls only.
    registered: [AtomicUsize; 2],
}

impl Abort {
    fn request(&self) {
        self.requested.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Registers the task's waker, unless it is registered already.
    ///
    /// Only an abort takes the waker out, and it sets its flag before: a waker that is no longer
    /// there is never missed. While it is there its addresses are nobody else's. Registering
    /// takes two read-modify-writes, a comparison none.
    fn register(&self, waker: &Waker) {
        let this = [
            waker.data().addr(),
            core::ptr::from_ref(waker.vtable()).addr(),
        ];
        let known = [0, 1].map(|part| self.registered[part].load(Ordering::Relaxed));
        if known != this {
            self.task.register(waker);
            for (part, address) in self.registered.iter().zip(this) {
                part.store(address, Ordering::Relaxed);
            }
        }
    }
}

trait Abortable: Send + Sync {
    fn abort(&self);
}

impl<T: Send> Abortable for Shared<T> {
    fn abort(&self) {
        self.abort.request();
    }
}

/// The obligation to fill the cell, met by its destructor if by nobody else.
struct Completion<T>(Option<Arc<Shared<T>>>);

impl<T> Completion<T> {
    fn aborted(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|shared| shared.abort.requested.load(Ordering::Acquire))
    }

    /// Registers the task for an abort; false if the abort came first.
    fn watch_abort(&self, cx: &Context<'_>) -> bool {
        if let Some(shared) = &self.0 {
            shared.abort.register(cx.waker());
        }
        // After registering: either the abort sees the waker, or this sees the abort.
        !self.aborted()
    }

    fn finish(&mut self, outcome: Result<T, JoinError>) {
        if let Some(shared) = self.0.take() {
            let leftover = shared.cell.complete(outcome);
            // If the join handle is gone, the result dies with `shared`: its destructor is user code.
            panics::contain(|| drop((leftover, shared)));
        }
    }
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        self.finish(Err(JoinError::Cancelled));
    }
}
