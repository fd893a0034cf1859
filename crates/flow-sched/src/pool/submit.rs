//! Handing a task in: at once, or after waiting for room.

use core::fmt;
use core::future::Future;
use core::panic::Location;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::{BoxTimer, CancellationToken, Instant, OnFull, TaskContext};
use flow_sync::Ticket;

use super::core::Core;
use super::error::{Rejected, SubmitError, TrySubmitError};
use super::lone;
use super::place::{self, Guest};
use super::queued::Queued;
use super::roll::Origin;
use super::room::NoRoom;
use super::roster::Seat;
use super::task::{AsyncWork, BlockingWork, Given, Job, Task, TaskCell, TaskHandle};
use crate::sync::spin_loop;

/// How a closure becomes a task; called once there is room, so that a refusal costs nothing.
pub(super) struct Make<F, T> {
    /// One with a handle.
    shared: fn(F, Given) -> Arc<dyn Task<T>>,
    /// The same of one that was submitted with nothing, as most are.
    shared_bare: fn(F) -> Arc<dyn Task<T>>,
    /// Whether they block.
    blocks: bool,
    /// One without.
    detached: fn(F, Given) -> Queued,
    /// One without, that was submitted with nothing.
    bare: fn(F) -> Queued,
}

impl<F, T> Make<F, T>
where
    F: Send + 'static,
    T: Send + 'static,
{
    pub(super) const fn future<Fut>() -> Self
    where
        F: FnOnce(TaskContext) -> Fut,
        Fut: Future<Output = T> + Send + 'static,
    {
        Self {
            shared: |closure, given| Arc::new(TaskCell::new(AsyncWork(closure), given)),
            detached: |closure, given| lone::new(AsyncWork(closure), given),
            bare: |closure| lone::bare(AsyncWork(closure)),
            blocks: false,
            shared_bare: |closure| Arc::new(TaskCell::new(AsyncWork(closure), Given::NOTHING)),
        }
    }

    pub(super) const fn blocking() -> Self
    where
        F: FnOnce(TaskContext) -> T,
    {
        Self {
            shared: |closure, given| Arc::new(TaskCell::new(BlockingWork(closure), given)),
            detached: |closure, given| {
                Queued::Blocking(Arc::new(TaskCell::new(BlockingWork(closure), given)))
            },
            bare: |closure| {
                let cell = TaskCell::new(BlockingWork(closure), Given::NOTHING);
                Queued::Blocking(Arc::new(cell))
            },
            blocks: true,
            shared_bare: |closure| Arc::new(TaskCell::new(BlockingWork(closure), Given::NOTHING)),
        }
    }
}

/// The future of [`WorkerPool::submit`](super::WorkerPool::submit).
///
/// # Cancel safety
/// Dropping it before it is ready gives its place in the line up, and the task is dropped: unrun,
/// unless it was running here ([`CallerRuns`](OnFull::CallerRuns)).
#[must_use = "the task is not submitted until this is awaited"]
pub struct Submit<'p, F, T> {
    core: &'p Arc<Core>,
    /// `None` once it was submitted or refused.
    closure: Option<F>,
    make: &'p Make<F, T>,
    timeout: Option<Duration>,
    priority: usize,
    origin: Origin,
    on_full: OnFull,
    /// Whether the task is no longer the submitter's to cancel.
    handed_over: bool,
    ticket: Option<Ticket>,
    /// Since when it waits for a slot that takes the task over from it, if somebody wants to know.
    waits_since: Option<Instant>,
    /// Boxed, as few have it and all are moved.
    here: Option<Box<Here<T>>>,
}

/// A task that its submitter runs.
struct Here<T> {
    run: Pin<Box<dyn Future<Output = ()> + Send>>,
    handle: TaskHandle<T>,
}

impl<'p, F, T> Submit<'p, F, T> {
    #[track_caller]
    pub(super) fn new(core: &'p Arc<Core>, closure: F, make: &'p Make<F, T>) -> Self {
        Self {
            core,
            closure: Some(closure),
            make,
            timeout: None,
            priority: 0,
            origin: Origin {
                name: None,
                place: Some(Location::caller()),
            },
            on_full: core.on_full,
            handed_over: false,
            ticket: None,
            waits_since: None,
            here: None,
        }
    }

    /// Bounds the task's run, counted from its start; the pool's own limit holds beside it.
    ///
    /// With a limit of zero the task gets one poll. A closure that blocks is called all the same,
    /// and has timed out unless it returns before its slot looks.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// The task's priority: 0 unless set, and of what is queued the highest goes first; see
    /// [`priorities`](super::WorkerPoolBuilder::priorities).
    ///
    /// Submitters that wait for room are served in their order, whatever they bring.
    pub fn priority(mut self, priority: usize) -> Self {
        self.priority = priority;
        self
    }

    /// The task's name in a [`dump`](super::WorkerPool::dump); it has none unless set. It goes no
    /// further in a pool that does not [track](super::WorkerPoolBuilder::track_tasks) its tasks.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.origin.name = Some(name.into());
        self
    }

    /// Where the task comes from, if not from where this was made.
    pub(super) fn origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// Waits for room whatever the pool's own answer to a full queue is.
    #[cfg(feature = "scheduler")]
    pub(crate) fn wait_for_room(mut self) -> Self {
        self.on_full = OnFull::Wait;
        self
    }

    /// The same, unless the pool's own answer is to reject.
    #[cfg(feature = "scheduler")]
    pub(crate) fn wait_unless_rejected(mut self) -> Self {
        if self.on_full != OnFull::Reject {
            self.on_full = OnFull::Wait;
        }
        self
    }

    /// Waits for room where the pool's own answer is to reject the task or to drop another one.
    pub(super) fn wait_for_others(mut self) -> Self {
        if matches!(self.on_full, OnFull::Reject | OnFull::DropOldest) {
            self.on_full = OnFull::Wait;
        }
        self
    }

    /// Makes the task independent of the submitter's cancellation.
    #[cfg(feature = "scheduler")]
    pub(crate) fn handed_over(mut self) -> Self {
        self.handed_over = true;
        self
    }

    /// Queues the task whether or not there is room, or drops it if the pool is closed.
    pub(super) fn spawn(mut self) {
        if let Some((closure, given)) = self.task(None) {
            self.core.spawn((self.make.detached)(closure, given));
            self.core.timing.waits(self.core);
        }
    }

    /// Queues a slot of the sub-pool of this name, which holds the room.
    pub(super) fn spawn_slot(mut self, sub_pool: Cow<'static, str>) {
        // It goes on for others than whoever submitted to the sub-pool now.
        self.handed_over = true;
        self.origin = Origin {
            name: Some(sub_pool),
            place: None,
        };
        if let Some((closure, given)) = self.task(None) {
            let slot = (self.make.detached)(closure, given.of_slot());
            self.core.spawn_slot(slot);
            self.core.timing.waits(self.core);
        }
    }

    /// Lets nobody wait for the task: there is no handle, and what a handle costs is saved.
    pub fn detach(self) -> SubmitDetached<'p, F, T> {
        SubmitDetached(self)
    }

    /// Submits the task if the queue has room now, or makes room by
    /// [`DropOldest`](OnFull::DropOldest); see [`try_submit`](super::WorkerPool::try_submit).
    ///
    /// It does not wait, so with `DropOldest` it may be refused though nothing more urgent is
    /// queued: if another thread has lost its processor between taking a place and putting its task
    /// there, or between taking a task out and giving its place back. A submit that is awaited is
    /// not.
    ///
    /// Once this future has been polled to its end there is nothing to submit any more. The handle
    /// is then as one whose result was taken: finished, and pending.
    ///
    /// # Errors
    /// [`TrySubmitError`] with the task: closed, full, or of a priority that the pool does not
    /// have.
    pub fn try_now(mut self) -> Result<TaskHandle<T>, TrySubmitError<F>> {
        let queued = self.try_push(Self::push, Self::refuse)?;
        Ok(queued.unwrap_or_else(|| TaskHandle::spent(self.core.clone())))
    }

    /// Queues the task if there is room; `None` if it is gone.
    fn try_push<H>(
        &mut self,
        push: impl FnOnce(&mut Self) -> Option<H>,
        refuse: impl FnOnce(&mut Self, Refusal) -> Option<Rejected<F>>,
    ) -> Result<Option<H>, TrySubmitError<F>> {
        if self.closure.is_none() {
            // Before it takes a place, which nobody would give back.
            return Ok(None);
        }
        let (core, given) = (self.core, self.priority);
        let (capacity, priorities) = (self.capacity(), core.priorities());
        let refusal = match self.try_place() {
            Ok(()) => return Ok(push(self)),
            Err(refusal) => refusal,
        };
        let Some(task) = refuse(self, refusal) else {
            return Ok(None);
        };
        Err(match refusal {
            Refusal::Closed => TrySubmitError::Closed(task),
            Refusal::UnknownPriority => TrySubmitError::UnknownPriority {
                task,
                given,
                priorities,
            },
            Refusal::Full | Refusal::Busy | Refusal::Nested => {
                TrySubmitError::Full { task, capacity }
            }
        })
    }

    /// Takes a place in the queue without waiting. A place that is free in a moment is tried for
    /// again.
    fn try_place(&self) -> Result<(), Refusal> {
        if self.priority >= self.core.priorities() {
            return Err(Refusal::UnknownPriority);
        }
        let mut tries = TRIES;
        loop {
            match self.try_place_once() {
                Err(Refusal::Busy) if tries > 1 => tries -= 1,
                answer => return answer,
            }
            spin_loop();
        }
    }

    fn try_place_once(&self) -> Result<(), Refusal> {
        match self.core.room.try_take() {
            Ok(()) => {
                self.core.burst.has_room(self.core);
                Ok(())
            }
            Err(NoRoom::Closed) => Err(Refusal::Closed),
            Err(NoRoom::Full) if self.on_full != OnFull::DropOldest => Err(Refusal::Full),
            Err(NoRoom::Full) if self.core.evict(self.priority) => Ok(()),
            Err(NoRoom::Full) if self.core.is_full_above(self.priority) => Err(Refusal::Full),
            // Somebody has taken a place and not queued his task yet, or has taken a task out and
            // not given its place back; or a task has come since the eviction that failed.
            Err(NoRoom::Full) => Err(Refusal::Busy),
        }
    }

    /// Takes a place at the first poll, if there is one: the way of most submits, short because
    /// what follows moves nothing but the answer.
    #[inline]
    fn has_place_now(&self) -> bool {
        let is_first = self.closure.is_some() && self.ticket.is_none();
        let takes =
            is_first && self.priority < self.core.priorities() && self.core.room.try_take().is_ok();
        if takes {
            self.core.burst.has_room(self.core);
        }
        takes
    }

    fn poll_place(&mut self, cx: &Context<'_>) -> Poll<Result<Place, Refusal>> {
        if self.ticket.is_none() {
            match self.try_place() {
                Ok(()) => return Poll::Ready(Ok(Place::Queue)),
                Err(Refusal::Full) => {}
                Err(Refusal::Busy) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Err(other) => return Poll::Ready(Err(other)),
            }
            match self.on_full {
                OnFull::Wait if self.core.kept_by_caller().is_some() => {
                    return Poll::Ready(Err(Refusal::Nested));
                }
                OnFull::Wait => {
                    let is_asked = self.core.is_hand_off() && self.is_asked();
                    self.waits_since = is_asked.then(|| self.core.rt.now());
                }
                OnFull::CallerRuns => {
                    self.core.timing.turned_away(self.core);
                    let here = self.core.guest().ok_or(Refusal::Closed);
                    return Poll::Ready(here.map(Place::Here));
                }
                _ => return Poll::Ready(Err(Refusal::Full)),
            }
        }
        // With `Full` out of the way, the wait ends with room or with the pool.
        let is_new = self.ticket.is_none();
        let room = self.core.room.poll_take(cx, &mut self.ticket);
        if is_new && room.is_pending() {
            self.core.timing.waits(self.core);
        }
        let room = ready!(room);
        Poll::Ready(room.map(|()| Place::Queue).map_err(|_| Refusal::Closed))
    }

    /// Queues the task; `None` if it is gone.
    fn push(&mut self) -> Option<TaskHandle<T>> {
        let submitted_by = self.submitter();
        let is_bare = self.is_bare(submitted_by.as_ref());
        let task = if is_bare {
            (self.make.shared_bare)(self.closure.take()?)
        } else {
            let (closure, given) = self.task_of(submitted_by, Some(self.priority))?;
            (self.make.shared)(closure, given)
        };
        let job: Arc<dyn Job> = task.clone();
        let queued = match (self.make.blocks, is_bare) {
            (true, _) => Queued::Blocking(job),
            (false, true) => Queued::BareShared(job),
            (false, false) => Queued::Shared(job),
        };
        self.core.push(self.priority, queued);
        if !is_bare {
            self.core.timing.waits(self.core);
        }
        Some(TaskHandle::new(task, self.core.clone()))
    }

    /// The same for a task without a handle.
    fn push_detached(&mut self) -> Option<()> {
        let submitted_by = self.submitter();
        let is_bare = self.is_bare(submitted_by.as_ref());
        let task = if is_bare {
            (self.make.bare)(self.closure.take()?)
        } else {
            let (closure, given) = self.task_of(submitted_by, Some(self.priority))?;
            (self.make.detached)(closure, given)
        };
        self.core.push(self.priority, task);
        if !is_bare {
            self.core.timing.waits(self.core);
        }
        Some(())
    }

    /// Whether the task is submitted with nothing.
    #[inline]
    fn is_bare(&self, submitted_by: Option<&TaskContext>) -> bool {
        submitted_by.is_none() && self.timeout.is_none() && !self.is_asked()
    }

    /// Whether somebody wants to know what becomes of the task.
    #[inline]
    fn is_asked(&self) -> bool {
        self.core.timing.is_on() || self.core.roll.is_some()
    }

    /// What makes the task; `priority` is none if it is spawned.
    #[inline]
    fn task(&mut self, priority: Option<usize>) -> Option<(F, Given)> {
        self.task_of(self.submitter(), priority)
    }

    fn task_of(
        &mut self,
        submitted_by: Option<TaskContext>,
        priority: Option<usize>,
    ) -> Option<(F, Given)> {
        let closure = self.closure.take()?;
        let now = self.is_asked().then(|| self.core.rt.now());
        if let Some(now) = now {
            // What is spawned has no place yet.
            let has_place = priority.is_some();
            self.core.timing.submitted(self.core, now, has_place);
        }
        // In a hand-off there is no queue, and its submitters wait in the place of tasks.
        let at = self.waits_since.or(now);
        let entry = self.core.roll.as_ref().map(|roll| {
            let token = submitted_by.as_ref().map(|by| by.cancellation().clone());
            let origin = core::mem::take(&mut self.origin);
            roll.enrol(origin, priority, at.unwrap_or(Instant::ORIGIN), token)
        });
        Some((closure, Given::new(self.timeout, submitted_by, at, entry)))
    }

    /// Begins to run the task here.
    fn start_here(&mut self, seat: Arc<Seat>) {
        let guest = Guest::new(self.core.clone(), seat);
        self.here = self.task(Some(self.priority)).map(|(closure, given)| {
            let task = (self.make.shared)(closure, given);
            Box::new(Here {
                run: Box::pin(place::run_here(guest, task.clone())),
                handle: TaskHandle::new(task, self.core.clone()),
            })
        });
    }

    fn poll_here(&mut self, cx: &mut Context<'_>) -> Poll<Option<TaskHandle<T>>> {
        if let Some(here) = &mut self.here {
            ready!(here.run.as_mut().poll(cx));
        }
        Poll::Ready(self.here.take().map(|here| here.handle))
    }

    fn submitter(&self) -> Option<TaskContext> {
        let by = TaskContext::current()?;
        Some(if self.handed_over {
            by.child_with_token(CancellationToken::new())
        } else {
            by
        })
    }

    fn refuse(&mut self, why: Refusal) -> Option<Rejected<F>> {
        let closure = self.closure.take()?;
        self.core.counters.rejected();
        if why.is_for_want_of_room() {
            self.core.burst.lost(self.core);
            self.core.timing.turned_away(self.core);
        }
        Some(Rejected::new(closure))
    }

    /// The same for whoever waits for room if there is none: that is no rejection.
    fn put_off(&mut self, why: Refusal) -> Option<Rejected<F>> {
        if why.is_for_want_of_room() {
            self.closure.take().map(Rejected::new)
        } else {
            self.refuse(why)
        }
    }

    fn capacity(&self) -> usize {
        self.core.capacity().unwrap_or(usize::MAX)
    }

    fn leave_line(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.core.room.cancel(ticket);
        }
    }
}

/// How often a submitter looks for a place that somebody is about to leave or to fill, before it
/// lets others have a turn: a place changes hands within some nanoseconds, unless the one who has
/// it lost its processor.
const TRIES: u32 = if cfg!(loom) { 2 } else { 64 };

/// Where a task goes that was accepted.
enum Place {
    Queue,
    Here(Arc<Seat>),
}

#[derive(Clone, Copy)]
enum Refusal {
    Closed,
    Full,
    /// Full for the moment.
    Busy,
    Nested,
    UnknownPriority,
}

impl Refusal {
    /// Whether there would be another answer with more room.
    const fn is_for_want_of_room(self) -> bool {
        matches!(self, Self::Full | Self::Busy | Self::Nested)
    }
}

// The closure is moved, never pinned.
impl<F, T> Unpin for Submit<'_, F, T> {}

impl<F, T> Future for Submit<'_, F, T> {
    type Output = Result<TaskHandle<T>, SubmitError<F>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.has_place_now() {
            return self
                .push()
                .map_or(Poll::Pending, |task| Poll::Ready(Ok(task)));
        }
        self.poll_with(cx, Self::push, |handle| handle)
    }
}

impl<F, T> Submit<'_, F, T> {
    /// Polls until the task is queued by `push`, has run here, or is refused.
    #[inline(never)]
    fn poll_with<H>(
        &mut self,
        cx: &mut Context<'_>,
        push: impl FnOnce(&mut Self) -> Option<H>,
        ran: impl FnOnce(TaskHandle<T>) -> H,
    ) -> Poll<Result<H, SubmitError<F>>> {
        if self.closure.is_none() && self.here.is_none() {
            // Ready before: stays pending, as all our futures do.
            return Poll::Pending;
        }
        let answer = if self.here.is_none() {
            match ready!(self.poll_place(cx)) {
                Ok(Place::Queue) => push(self).map(Ok),
                Ok(Place::Here(seat)) => {
                    self.start_here(seat);
                    ready!(self.poll_here(cx)).map(|handle| Ok(ran(handle)))
                }
                Err(why) => self.error(why).map(Err),
            }
        } else {
            ready!(self.poll_here(cx)).map(|handle| Ok(ran(handle)))
        };
        answer.map_or(Poll::Pending, Poll::Ready)
    }

    fn error(&mut self, why: Refusal) -> Option<SubmitError<F>> {
        let (given, priorities) = (self.priority, self.core.priorities());
        let refused = match why {
            // Whoever hands tasks over waits for room elsewhere then.
            Refusal::Nested if self.handed_over => self.put_off(why),
            _ => self.refuse(why),
        };
        let (task, capacity) = (refused?, self.capacity());
        Some(match why {
            Refusal::Closed => SubmitError::Closed(task),
            Refusal::Full | Refusal::Busy => SubmitError::Full { task, capacity },
            Refusal::Nested => SubmitError::Nested { task, capacity },
            Refusal::UnknownPriority => SubmitError::UnknownPriority {
                task,
                given,
                priorities,
            },
        })
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
            .field("priority", &self.priority)
            .field("waiting", &self.ticket.is_some())
            .finish_non_exhaustive()
    }
}

/// The future of [`Submit::detach`].
///
/// # Cancel safety
/// That of [`Submit`].
#[must_use = "the task is not submitted until this is awaited"]
pub struct SubmitDetached<'p, F, T>(Submit<'p, F, T>);

impl<F, T> SubmitDetached<'_, F, T> {
    /// The same as [`Submit::try_now`]; nothing, once this future has been polled to its end.
    ///
    /// # Errors
    /// Those of `Submit::try_now`.
    pub fn try_now(mut self) -> Result<(), TrySubmitError<F>> {
        let queued = self.0.try_push(Submit::push_detached, Submit::refuse);
        queued.map(Option::unwrap_or_default)
    }

    /// The same for whoever waits for room if there is none now: the pool counts that as no
    /// rejection.
    #[cfg(feature = "scheduler")]
    pub(crate) fn try_before_waiting(mut self) -> Result<(), TrySubmitError<F>> {
        let queued = self.0.try_push(Submit::push_detached, Submit::put_off);
        queued.map(Option::unwrap_or_default)
    }
}

impl<F, T> Future for SubmitDetached<'_, F, T> {
    type Output = Result<(), SubmitError<F>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.0.has_place_now() {
            let pushed = self.0.push_detached();
            return pushed.map_or(Poll::Pending, |()| Poll::Ready(Ok(())));
        }
        self.0.poll_with(cx, Submit::push_detached, drop)
    }
}

impl<F, T> fmt::Debug for SubmitDetached<'_, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SubmitDetached").field(&self.0).finish()
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

    /// Like [`Submit::timeout`]: bounds the run, not the wait.
    pub fn run_timeout(mut self, limit: Duration) -> Self {
        self.submit.timeout = Some(limit);
        self
    }

    /// Like [`Submit::name`].
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.submit.origin.name = Some(name.into());
        self
    }

    /// Like [`Submit::priority`].
    pub fn priority(mut self, priority: usize) -> Self {
        self.submit.priority = priority;
        self
    }
}

impl<F, T> Future for SubmitTimeout<'_, F, T> {
    type Output = Result<TaskHandle<T>, SubmitError<F>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(answer) = Pin::new(&mut this.submit).poll(cx) {
            return Poll::Ready(answer);
        }
        // Ready before, or running here: that is no wait.
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
        let refused = this.submit.refuse(Refusal::Full);
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
pub(crate) struct AbortOnDrop<T>(pub(crate) TaskHandle<T>);

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
