//! Join handles: the result of a task, its panic as an error, abort and detach.
//!
//! A spawned future is wrapped in a [`Guarded`], whose output is its result or its panic. On
//! tokio the host's own handle carries that output, at the host's price. Elsewhere a
//! [cell](cell) does.

mod abort;
mod cell;
mod guarded;

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use abort::Abortable;
pub(crate) use cell::{joinable, joinable_blocking};
pub(crate) use guarded::Detached;
#[cfg(feature = "tokio")]
pub(crate) use guarded::Guarded;

#[cfg(feature = "tokio")]
use crate::adapter;
use crate::panics::{self, Panic};

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
/// own, two on async-std, and short locks (benches, `rt`): one or two for a task that has ended
/// when its handle is polled, three or four for one that is waited for.
#[must_use = "dropping a join handle detaches the task; say so with `detach()`"]
pub struct JoinHandle<T> {
    /// `None` once the result was returned.
    link: Option<Link<T>>,
    abort_on_drop: bool,
}

/// What a handle holds of its task.
enum Link<T> {
    Cell(Arc<cell::Shared<T>>),
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
                let taken = match alone(shared) {
                    Some(shared) => shared.cell.take_mut().map_or(Poll::Pending, Poll::Ready),
                    None => shared.cell.poll_take(cx),
                };
                ready!(taken).map_err(JoinError::arrived)
            }
            #[cfg(feature = "tokio")]
            Some(Link::Tokio(task)) => ready!(task.poll(cx)),
            None => return Poll::Pending,
        };
        self.link = None;
        Poll::Ready(result)
    }
}

/// What a handle shares with its task, once the task has let go of it and no abort handle has it:
/// it needs no lock any more.
fn alone<T>(shared: &mut Arc<cell::Shared<T>>) -> Option<&mut cell::Shared<T>> {
    // Asked before, since the other takes a read-modify-write to find that out.
    if Arc::strong_count(shared) > 1 {
        return None;
    }
    Arc::get_mut(shared)
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
                Link::Cell(shared) => drop(shared.cell.give_up()),
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
