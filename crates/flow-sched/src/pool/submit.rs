//! Handing a task in: at once, or after waiting for room.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{BoxTimer, OnFull, TaskContext};
use flow_sync::Ticket;

use super::core::Core;
use super::error::{Rejected, SubmitError, TrySubmitError};
use super::inside;
use super::room::NoRoom;
use super::task::{AsyncWork, BlockingWork, Handled, Job, TaskCell, TaskHandle};

/// A task as the queue and its handle get it.
type Made<T> = (Arc<dyn Job>, Arc<dyn Handled<T>>);

/// Makes a task of a closure; called once there is room, so that a refusal costs nothing.
pub(super) type Make<F, T> = fn(F, Option<Duration>) -> Made<T>;

pub(super) fn make_async<F, Fut>(closure: F, timeout: Option<Duration>) -> Made<Fut::Output>
where
    F: FnOnce(TaskContext) -> Fut + Send + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: Send + 'static,
{
    let cell = Arc::new(TaskCell::new(AsyncWork(closure), timeout));
    (cell.clone(), cell)
}

pub(super) fn make_blocking<F, T>(closure: F, timeout: Option<Duration>) -> Made<T>
where
    F: FnOnce(TaskContext) -> T + Send + 'static,
    T: Send + 'static,
{
    let cell = Arc::new(TaskCell::new(BlockingWork(closure), timeout));
    (cell.clone(), cell)
}

/// The future of [`WorkerPool::submit`](super::WorkerPool::submit).
///
/// # Cancel safety
/// Dropping it before it is ready gives its place in the line up, and the task is dropped unrun.
#[must_use = "the task is not submitted until this is awaited"]
pub struct Submit<'p, F, T> {
    core: &'p Arc<Core>,
    /// `None` once it was submitted or refused.
    closure: Option<F>,
    make: Make<F, T>,
    timeout: Option<Duration>,
    on_full: OnFull,
    ticket: Option<Ticket>,
}

impl<'p, F, T> Submit<'p, F, T> {
    pub(super) fn new(core: &'p Arc<Core>, closure: F, make: Make<F, T>) -> Self {
        Self {
            core,
            closure: Some(closure),
            make,
            timeout: None,
            on_full: core.on_full,
            ticket: None,
        }
    }

    /// Bounds the task's run, counted from its start; the pool's own limit holds beside it.
    ///
    /// With a limit of zero the task gets one poll.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Waits for room whatever the pool's own answer to a full queue is.
    #[cfg(feature = "scheduler")]
    pub(crate) fn wait_for_room(mut self) -> Self {
        self.on_full = OnFull::Wait;
        self
    }

    pub(super) fn try_now(mut self) -> Result<TaskHandle<T>, TrySubmitError<F>> {
        match self.core.room.try_take() {
            // The closure is there: this future was never polled.
            Ok(()) => Ok(self
                .push()
                .expect("a submit that was not polled holds its task")),
            Err(why) => {
                let task = self
                    .refuse()
                    .expect("a submit that was not polled holds its task");
                Err(match why {
                    NoRoom::Closed => TrySubmitError::Closed(task),
                    NoRoom::Full => TrySubmitError::Full {
                        task,
                        capacity: self.core.room.capacity(),
                    },
                })
            }
        }
    }

    fn poll_room(&mut self, cx: &Context<'_>) -> Poll<Result<(), Refusal>> {
        if self.ticket.is_none() {
            match self.core.room.try_take() {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(NoRoom::Closed) => return Poll::Ready(Err(Refusal::Closed)),
                Err(NoRoom::Full) if self.on_full == OnFull::Reject => {
                    return Poll::Ready(Err(Refusal::Full));
                }
                Err(NoRoom::Full) if inside::is_inside(self.core.address()) => {
                    return Poll::Ready(Err(Refusal::Nested));
                }
                Err(NoRoom::Full) => {}
            }
        }
        // With `Full` out of the way, the wait ends with room or with the pool.
        let room = ready!(self.core.room.poll_take(cx, &mut self.ticket));
        Poll::Ready(room.map_err(|_| Refusal::Closed))
    }

    /// Queues the task; `None` if it is gone.
    fn push(&mut self) -> Option<TaskHandle<T>> {
        let closure = self.closure.take()?;
        let (job, cell) = (self.make)(closure, self.timeout);
        self.core.push(job);
        Some(TaskHandle::new(cell, self.core.clone()))
    }

    fn refuse(&mut self) -> Option<Rejected<F>> {
        let closure = self.closure.take()?;
        self.core.counters.rejected();
        Some(Rejected::new(closure))
    }

    fn leave_line(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.core.room.cancel(ticket);
        }
    }
}

enum Refusal {
    Closed,
    Full,
    Nested,
}

// The closure is moved, never pinned.
impl<F, T> Unpin for Submit<'_, F, T> {}

impl<F, T> Future for Submit<'_, F, T> {
    type Output = Result<TaskHandle<T>, SubmitError<F>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.closure.is_none() {
            // Ready before: stays pending, as all our futures do.
            return Poll::Pending;
        }
        let answer = match ready!(self.poll_room(cx)) {
            Ok(()) => self.push().map(Ok),
            Err(why) => {
                let capacity = self.core.room.capacity();
                self.refuse().map(|task| {
                    Err(match why {
                        Refusal::Closed => SubmitError::Closed(task),
                        Refusal::Full => SubmitError::Full { task, capacity },
                        Refusal::Nested => SubmitError::Nested { task, capacity },
                    })
                })
            }
        };
        answer.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<F, T> Drop for Submit<'_, F, T> {
    fn drop(&mut self) {
        self.leave_line();
    }
}

impl<F, T> fmt::Debug for Submit<'_, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submit")
            .field("pool", &self.core.name)
            .field("timeout", &self.timeout)
            .field("waiting", &self.ticket.is_some())
            .finish_non_exhaustive()
    }
}

/// The future of [`WorkerPool::submit_timeout`](super::WorkerPool::submit_timeout).
///
/// # Cancel safety
/// That of [`Submit`].
#[must_use = "the task is not submitted until this is awaited"]
pub struct SubmitTimeout<'p, F, T> {
    submit: Submit<'p, F, T>,
    timeout: Duration,
    timer: Option<BoxTimer>,
}

impl<'p, F, T> SubmitTimeout<'p, F, T> {
    pub(super) fn new(submit: Submit<'p, F, T>, timeout: Duration) -> Self {
        Self {
            submit,
            timeout,
            timer: None,
        }
    }
}

impl<F, T> Future for SubmitTimeout<'_, F, T> {
    type Output = Result<TaskHandle<T>, SubmitError<F>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(answer) = Pin::new(&mut this.submit).poll(cx) {
            return Poll::Ready(answer);
        }
        if this.submit.closure.is_none() {
            return Poll::Pending;
        }
        let rt = &this.submit.core.rt;
        let timeout = this.timeout;
        if !timeout.is_zero() {
            let timer = this.timer.get_or_insert_with(|| {
                let until = rt.now() + timeout;
                rt.timer(until)
            });
            // A timer whose runtime is gone fires too: the pool is about to close with it.
            if timer.poll_fired(cx).is_pending() {
                return Poll::Pending;
            }
        }
        this.submit.leave_line();
        let refused = this.submit.refuse();
        refused.map_or(Poll::Pending, |task| {
            Poll::Ready(Err(SubmitError::TimedOut { task, timeout }))
        })
    }
}

impl<F, T> fmt::Debug for SubmitTimeout<'_, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitTimeout")
            .field("submit", &self.submit)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Aborts a task whose result nobody will get; see [`WorkerPool::run`](super::WorkerPool::run).
pub(super) struct AbortOnDrop<T>(pub(super) TaskHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = <TaskHandle<T> as Future>::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
