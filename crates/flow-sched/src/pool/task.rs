//! A task: one cell that the queue, its slot and its handle share.
//!
//! # State
//! `closure: Mutex<Option<W>>`, there while the task is queued; `slot`, the seat that runs it,
//! written before the closure's lock is released; `aborted`; `join`, the result.
//!
//! Its future is not in the cell but in the body of the slot that runs it, which the slot uses
//! again for the next task of the same type. So a task is one allocation, and its future none
//! while a pool runs much of the same.
//!
//! A task that is detached as it is submitted has a smaller cell: [`lone`](super::lone).
//!
//! # Invariants
//! 1. Whoever takes the closure decides the task's fate: a slot that runs it, or an abort, a
//!    shutdown or a vanished runtime that discards it. Exactly one does.
//! 2. Whoever took it completes `join` exactly once, after the task's future or closure was
//!    dropped and after the pool's counters were raised: so a joiner finds both done.
//! 3. `aborted` is set before the slot is woken; the slot registers its waker before it looks.

use core::any::Any;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{Instant, Panic, TaskContext, catch, contain};
use flow_sync::JoinCell;

use super::core::Core;
use super::error::TaskError;
use super::hooks;
use super::inside::{self, Inside};
#[cfg(feature = "adaptive")]
use super::lookout;
use super::place::Stand;
use super::roll::Enrolled;
use super::stats::{End, Gone};
use super::timing::Stopwatch;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The result of a task, and the way to abort it.
///
/// A future of the task's value. Dropping it detaches the task, which runs on; its result is
/// dropped then. It need not be read, and costs the pool nothing while it is not.
///
/// # Cancel safety
/// Polling it takes nothing until it is ready. Once it has returned its result it stays pending.
pub struct TaskHandle<T> {
    /// `None` once the result was taken.
    cell: Option<Arc<dyn Handled<T>>>,
    core: Arc<Core>,
}

impl<T> TaskHandle<T> {
    pub(super) fn new(cell: Arc<dyn Handled<T>>, core: Arc<Core>) -> Self {
        Self {
            cell: Some(cell),
            core,
        }
    }

    /// One whose result was taken.
    pub(super) fn spent(core: Arc<Core>) -> Self {
        Self { cell: None, core }
    }

    /// Aborts the task.
    ///
    /// One that is queued never runs: its closure is dropped now, and its place in the queue is
    /// free once a slot comes to it. One that runs is dropped at its next poll and its
    /// [`cancellation`](TaskContext::cancellation) fires; a blocking closure runs on to its end
    /// and its result is dropped. One that has ended is left alone.
    pub fn abort(&self) {
        if let Some(cell) = &self.cell {
            cell.abort(&self.core);
        }
    }

    /// Whether the task has ended, however.
    pub fn is_finished(&self) -> bool {
        self.cell.as_ref().is_none_or(|cell| cell.is_finished())
    }

    /// Lets the task run on without anybody waiting for it; the same as dropping the handle.
    pub fn detach(self) {}
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(cell) = &self.cell else {
            return Poll::Pending;
        };
        let result = ready!(cell.poll_take(cx));
        // The result is the caller's, whatever a destructor in the cell does.
        let cell = self.cell.take();
        contain(|| drop(cell));
        Poll::Ready(result)
    }
}

impl<T> Drop for TaskHandle<T> {
    fn drop(&mut self) {
        // A result nobody read goes here; its destructor must not take the caller down.
        let Some(cell) = self.cell.take() else {
            return;
        };
        if cell.is_finished() {
            contain(|| cell.drop_result());
        }
        // It may have ended since, and leave the result to the last who lets go of the cell.
        contain(|| drop(cell));
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("pool", &self.core.name)
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// What a pool can run: an async closure or a blocking one.
pub(super) trait Work: Send + 'static {
    /// Whether a poll of its run blocks the thread.
    const BLOCKS: bool = false;
    type Output: Send + 'static;
    type Run: Future<Output = Result<Self::Output, TaskError>> + Send + 'static;

    fn start(self, cx: TaskContext) -> Self::Run;
}

/// A task that its handle, the queue and its slot share.
pub(super) trait Job: Send + Sync {
    /// Begins, if nobody has ended it: see [`Started::begin`].
    fn begin(
        self: Arc<Self>,
        spot: &mut Spot,
        core: &Arc<Core>,
        cx: Option<&mut Context<'_>>,
        plainly: bool,
    ) -> Begun;

    /// Ends a task that is still queued; false if it is not.
    fn discard(&self, core: &Core, how: Gone, why: TaskError) -> bool;

    /// Whether it blocks the thread that polls it.
    fn blocks(&self) -> bool;

    /// Whether the handle asked for an abort of what had begun.
    fn is_aborted(&self) -> bool;

    /// Gives one that has begun a result that is not its own.
    fn end(&self, why: TaskError);

    /// What it was submitted with.
    fn given(&self) -> &Given;
}

/// What a task was submitted with: a word each, as most tasks have none of it.
pub(super) struct Given {
    /// In nanoseconds; `UNLIMITED` for none, and `SLOT` for none whatever the pool's own.
    limit: u64,
    /// The context of whoever submitted it.
    pub(super) submitted_by: Option<TaskContext>,
    /// `FAR_FUTURE` if nobody wants to know.
    at: Instant,
    /// Its entry on the pool's roll, if there is one.
    pub(super) entry: Option<Arc<Enrolled>>,
}

/// 584 years, and whatever is longer.
const UNLIMITED: u64 = u64::MAX;

/// Of a slot of a sub-pool's, whose tasks have limits of their own.
const SLOT: u64 = UNLIMITED - 1;

impl Given {
    /// What most tasks are submitted with.
    pub(super) const NOTHING: Self = Self {
        limit: UNLIMITED,
        submitted_by: None,
        at: Instant::FAR_FUTURE,
        entry: None,
    };

    #[inline]
    pub(super) fn new(
        limit: Option<Duration>,
        submitted_by: Option<TaskContext>,
        at: Option<Instant>,
        entry: Option<Arc<Enrolled>>,
    ) -> Self {
        let nanos = |limit: Duration| u64::try_from(limit.as_nanos()).ok();
        let limit = limit.and_then(nanos).filter(|&nanos| nanos < SLOT);
        Self {
            limit: limit.unwrap_or(UNLIMITED),
            submitted_by,
            at: at.unwrap_or(Instant::FAR_FUTURE),
            entry,
        }
    }

    /// The same for a slot of a sub-pool's: bounded by nothing, and in nobody's context.
    pub(super) fn of_slot(self) -> Self {
        Self {
            limit: SLOT,
            submitted_by: None,
            ..self
        }
    }

    #[inline]
    pub(super) fn is_nothing(&self) -> bool {
        self.is_plain() && self.at.is_far_future()
    }

    /// Whether it is nothing, or the time and no more.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.limit == UNLIMITED && self.submitted_by.is_none() && self.entry.is_none()
    }

    /// How long it may run, in a pool where tasks may run so long.
    #[inline]
    pub(super) fn limit(&self, pool: Option<Duration>) -> Option<Duration> {
        match self.limit {
            UNLIMITED => pool,
            SLOT => None,
            own => {
                let own = Duration::from_nanos(own);
                Some(pool.map_or(own, |pool| pool.min(own)))
            }
        }
    }

    /// When it was submitted, if somebody wants to know.
    #[inline]
    pub(super) fn at(&self) -> Option<Instant> {
        (!self.at.is_far_future()).then_some(self.at)
    }

    /// The task has ended, however.
    pub(super) fn ended(&self) {
        if let Some(entry) = &self.entry {
            entry.strike();
        }
    }
}

/// A task as its handle sees it.
pub(super) trait Handled<T>: Send + Sync {
    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Result<T, TaskError>>;
    fn is_finished(&self) -> bool;
    fn abort(&self, core: &Core);
    fn drop_result(&self);
}

/// A task as it is made: both of them.
pub(super) trait Task<T>: Job + Handled<T> {}

impl<W: Work> Task<W::Output> for TaskCell<W> {}

/// Bodies up to this size are kept for the next task.
const KEPT: usize = 1024;

/// How the begin of a task went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// It has begun; and how its first poll went, if it was polled.
    Yes(Poll<End>),
    /// It has begun and ended, and all that is left to do for it is done.
    Over,
    /// It was discarded before.
    Gone,
}

/// Where a slot runs tasks one after the other, as they see it.
#[repr(C)] // as the slot
pub(super) struct Spot {
    /// What the last task ran in: the next one's, if it is of the same type.
    pub(super) body: Box<dyn Body>,
    /// Whether the next one may have it: it is not large.
    pub(super) keeps: bool,
    pub(super) ground: Ground,
}

/// What tasks find there, of whatever type.
#[repr(C)] // as the slot
pub(super) struct Ground {
    /// The last task's context: the next one's, if nobody has kept or cancelled it. Always there,
    /// but while a task is polled in it.
    pub(super) cx: Option<TaskContext>,
    /// Whose slot its tasks keep.
    pub(super) inside: Inside,
    pub(super) stand: Stand,
    /// When the last task ended, if that was looked up.
    pub(super) idle_since: Option<Instant>,
    /// What to measure a task by that begins plainly, if somebody wants to know.
    pub(super) stopwatch: Option<Stopwatch>,
}

impl Spot {
    pub(super) fn new(inside: Inside, stand: Stand) -> Self {
        Self {
            ground: Ground {
                cx: None,
                inside,
                stand,
                stopwatch: None,
                idle_since: None,
            },
            body: Box::new(NoBody),
            keeps: true,
        }
    }

    /// Keeps no body that is large.
    #[inline]
    pub(super) fn tidy(&mut self) {
        if !self.keeps {
            (self.body, self.keeps) = (Box::new(NoBody), true);
        }
    }

    /// Begins to run a task in a body of its type: see [`Started::begin`].
    #[inline]
    pub(super) fn begin<W: Work>(
        &mut self,
        task: Taken<W>,
        core: &Arc<Core>,
        cx: Option<&mut Context<'_>>,
        plainly: bool,
    ) -> Begun {
        let Self { ground, body, .. } = self;
        let body: &mut dyn Any = &mut **body;
        match body.downcast_mut::<Pin<Box<Started<W>>>>() {
            Some(body) => body.as_mut().begin(task, ground, core, cx, plainly),
            None => self.begin_anew(task, core, cx, plainly),
        }
    }

    /// The same after tasks of another type.
    #[cold]
    fn begin_anew<W: Work>(
        &mut self,
        task: Taken<W>,
        core: &Arc<Core>,
        cx: Option<&mut Context<'_>>,
        plainly: bool,
    ) -> Begun {
        self.body = Box::new(Box::pin(Started::<W> {
            run: None,
            outcome: None,
            cell: None,
        }));
        self.keeps = size_of::<Started<W>>() <= KEPT;
        self.begin(task, core, cx, plainly)
    }
}

/// What runs tasks of one type, one after the other.
pub(super) trait Body: Any + Send {
    /// Polls the task's future; its result is kept for [`publish`](Body::publish).
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End>;
    /// Drops the task's future and keeps `why` as its result.
    fn stop(&mut self, why: TaskError);
    /// Whether the handle asked for an abort.
    fn is_aborted(&self) -> bool;
    /// What the task panicked with.
    fn panic(&self) -> Option<&Panic>;
    /// Hands the result to the handle, and is empty again.
    fn publish(&mut self);
    /// Drops future and result, and is empty again.
    fn forget(&mut self);
}

pub(super) struct TaskCell<W: Work> {
    closure: Mutex<Option<W>>,
    slot: AtomicU32,
    aborted: AtomicBool,
    given: Given,
    join: JoinCell<Result<W::Output, TaskError>>,
}

impl<W: Work> TaskCell<W> {
    #[inline]
    pub(super) fn new(work: W, given: Given) -> Self {
        Self {
            closure: Mutex::new(Some(work)),
            slot: AtomicU32::new(0),
            aborted: AtomicBool::new(false),
            given,
            join: JoinCell::new(),
        }
    }

    /// Takes the closure, for a slot to call.
    fn take(&self, slot: u32) -> Option<W> {
        let mut closure = self.closure.lock();
        let work = closure.take()?;
        self.slot.store(slot, Ordering::Relaxed);
        Some(work)
    }

    fn complete(&self, result: Result<W::Output, TaskError>) {
        // The cell takes one result; a second one would break invariant 2, and is dropped. The
        // waker is the joiner's code.
        contain(|| drop(self.join.complete(result)));
    }
}

impl<W: Work> Job for TaskCell<W> {
    fn begin(
        self: Arc<Self>,
        spot: &mut Spot,
        core: &Arc<Core>,
        cx: Option<&mut Context<'_>>,
        plainly: bool,
    ) -> Begun {
        match Started::taken(self, spot.ground.stand) {
            Some(task) => spot.begin(task, core, cx, plainly),
            None => Begun::Gone,
        }
    }

    fn discard(&self, core: &Core, how: Gone, why: TaskError) -> bool {
        let Some(work) = self.closure.lock().take() else {
            return false;
        };
        contain(|| drop(work));
        core.counters.gone(how);
        self.given.ended();
        self.complete(Err(why));
        true
    }

    fn blocks(&self) -> bool {
        W::BLOCKS
    }

    fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    fn end(&self, why: TaskError) {
        self.complete(Err(why));
    }

    fn given(&self) -> &Given {
        &self.given
    }
}

impl<W: Work> Handled<W::Output> for TaskCell<W> {
    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Result<W::Output, TaskError>> {
        self.join.poll_take(cx)
    }

    fn is_finished(&self) -> bool {
        self.join.is_complete()
    }

    fn abort(&self, core: &Core) {
        if self.is_finished() || self.discard(core, Gone::Aborted, TaskError::Cancelled) {
            return;
        }
        if let Some(entry) = &self.given.entry {
            entry.aborted();
        }
        self.aborted.store(true, Ordering::Release);
        // Written under the lock that `discard` found empty, so it is the right one; a slot that
        // has gone on to another task is woken for nothing.
        core.roster.wake_seat(self.slot.load(Ordering::Relaxed));
    }

    fn drop_result(&self) {
        drop(self.join.try_take());
    }
}

pin_project_lite::pin_project! {
    struct Started<W: Work> {
        #[pin]
        run: Option<W::Run>,
        outcome: Option<Result<W::Output, TaskError>>,
        // There if somebody is to be told of its end.
        cell: Option<Arc<TaskCell<W>>>,
    }
}

/// A task's closure, and its cell if somebody is to be told of its end.
pub(super) type Taken<W> = (W, Option<Arc<TaskCell<W>>>);

impl<W: Work> Started<W> {
    /// Begins to run a task: calls its closure, and polls the future if there is somebody to wake.
    ///
    /// `plainly` says that nothing bounds it, and that nobody is to be told of its end but its handle
    /// and whoever measures it. Then what follows one that is ready at once is done here, where its
    /// type is known: most tasks are like that.
    #[inline]
    fn begin(
        mut self: Pin<&mut Self>,
        (work, cell): Taken<W>,
        ground: &mut Ground,
        core: &Arc<Core>,
        cx: Option<&mut Context<'_>>,
        plainly: bool,
    ) -> Begun {
        if cell.is_some() {
            *self.as_mut().project().cell = cell;
        }
        let own = ground.cx.clone().unwrap_or_default();
        let (slot, stand) = (ground.inside, ground.stand);
        let polled = TaskContext::enter_from(&mut ground.cx, || {
            inside::enter(slot, || {
                started(stand, core);
                self.as_mut().advance(Some((work, own)), cx)
            })
        });
        if !plainly || polled != Poll::Ready(End::Completed) {
            return Begun::Yes(polled);
        }
        // As `Place::start` and `Place::finish`.
        let end = core.seen(End::Completed);
        if core.timing.is_on()
            && let Some(stopwatch) = ground.stopwatch.take()
        {
            stopwatch.tell_begin(core);
            core.counters.ended(stand.stripe, end);
            ground.idle_since = Some(stopwatch.tell_end(core, end));
        } else {
            core.counters.ended(stand.stripe, end);
        }
        core.left();
        self.publish();
        Begun::Over
    }

    /// Calls the closure, if there is one, and polls the future, if there is somebody to wake. One
    /// containment for all of it, as most tasks are ready at once.
    ///
    /// Never inlined: so the containment is inlined here, and what it runs comes in registers and
    /// not through memory, which costs a slot a sixth of its time per task.
    #[inline(never)]
    fn advance(
        self: Pin<&mut Self>,
        begin: Option<(W, TaskContext)>,
        cx: Option<&mut Context<'_>>,
    ) -> Poll<End> {
        let mut this = self.project();
        let outcome = &mut *this.outcome;
        let run = this.run.as_mut();
        let ran = catch(move || {
            let mut run = run;
            if let Some((work, own)) = begin {
                run.set(Some(work.start(own)));
            }
            let (Some(cx), Some(polled)) = (cx, run.as_mut().as_pin_mut()) else {
                return;
            };
            if let Poll::Ready(ready) = polled.poll(cx) {
                // Before the future is dropped, whose panic changes nothing any more.
                *outcome = Some(ready);
                run.set(None);
            }
        });
        if let Err(panic) = ran {
            if this.outcome.is_some() {
                contain(|| drop(panic));
            } else {
                contain(|| this.run.set(None));
                *this.outcome = Some(Err(TaskError::Panicked(panic)));
            }
        }
        Poll::Ready(match this.outcome {
            Some(Ok(_)) => End::Completed,
            Some(Err(TaskError::Panicked(_))) => End::Panicked,
            // Nothing ends like this by itself.
            Some(Err(_)) => End::Aborted,
            None => return Poll::Pending,
        })
    }

    /// Takes a task's closure out of its cell, unless somebody has ended it.
    #[inline]
    fn taken(cell: Arc<TaskCell<W>>, on: Stand) -> Option<Taken<W>> {
        if Arc::strong_count(&cell) > 1 {
            let work = cell.take(on.seat)?;
            return Some((work, Some(cell)));
        }
        // Its handle is gone, so nobody will have one: no lock, and no result to keep.
        let work = Arc::into_inner(cell)?.closure.into_inner()?;
        Some((work, None))
    }

    /// See [`Body::publish`].
    #[inline]
    fn publish(self: Pin<&mut Self>) {
        let this = self.project();
        let (cell, outcome) = (this.cell.take(), this.outcome.take());
        // Nobody may want the result, and then it dies here: its destructor is user code.
        let Some(cell) = cell else {
            // Most have none.
            if core::mem::needs_drop::<W::Output>() || !matches!(outcome, Some(Ok(_))) {
                contain(|| drop(outcome));
            }
            return;
        };
        if let Some(outcome) = outcome {
            cell.complete(outcome);
        }
        // Not within the containment of the joiner's waker: a destructor that panics while the
        // waker's panic unwinds would end the process.
        contain(|| drop(cell));
    }
}

impl<W: Work> Body for Pin<Box<Started<W>>> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.as_mut().advance(None, Some(cx))
    }

    fn stop(&mut self, why: TaskError) {
        let mut this = self.as_mut().project();
        contain(|| this.run.set(None));
        *this.outcome = Some(Err(why));
    }

    fn is_aborted(&self) -> bool {
        let cell = self.cell.as_ref();
        cell.is_some_and(|cell| Job::is_aborted(&**cell))
    }

    fn panic(&self) -> Option<&Panic> {
        match &self.outcome {
            Some(Err(TaskError::Panicked(panic))) => Some(panic),
            _ => None,
        }
    }

    fn publish(&mut self) {
        self.as_mut().publish();
    }

    fn forget(&mut self) {
        let mut this = self.as_mut().project();
        contain(|| this.run.set(None));
        let (cell, outcome) = (this.cell.take(), this.outcome.take());
        contain(|| drop(outcome));
        contain(|| drop(cell));
    }
}

/// Counts a task that begins, and tells whoever wants to know.
#[inline]
fn started(on: Stand, core: &Arc<Core>) {
    core.counters.started(on.stripe);
    // Before its first poll, which may take long.
    #[cfg(feature = "adaptive")]
    if let Some(sizer) = &core.timing.sizer {
        lookout::post(core, sizer);
    }
    hooks::call(core.hooks.task_start.as_ref(), on.slot());
}

/// The body of a slot that has run nothing yet.
pub(super) struct NoBody;

impl Body for NoBody {
    fn poll(&mut self, _cx: &mut Context<'_>) -> Poll<End> {
        Poll::Ready(End::Aborted)
    }

    fn stop(&mut self, _why: TaskError) {}

    fn is_aborted(&self) -> bool {
        false
    }

    fn panic(&self) -> Option<&Panic> {
        None
    }

    fn publish(&mut self) {}

    fn forget(&mut self) {}
}

/// An async closure.
pub(super) struct AsyncWork<F>(pub(super) F);

impl<F, Fut> Work for AsyncWork<F>
where
    F: FnOnce(TaskContext) -> Fut + Send + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: Send + 'static,
{
    type Output = Fut::Output;
    type Run = AsyncRun<Fut>;

    fn start(self, cx: TaskContext) -> AsyncRun<Fut> {
        AsyncRun {
            future: (self.0)(cx),
        }
    }
}

pin_project_lite::pin_project! {
    pub(super) struct AsyncRun<Fut> {
        #[pin]
        future: Fut,
    }
}

impl<Fut: Future> Future for AsyncRun<Fut> {
    type Output = Result<Fut::Output, TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(Ok)
    }
}

/// A blocking closure, which runs where it is polled; see [`blocking`](super::blocking).
pub(super) struct BlockingWork<F>(pub(super) F);

impl<F, T> Work for BlockingWork<F>
where
    F: FnOnce(TaskContext) -> T + Send + 'static,
    T: Send + 'static,
{
    const BLOCKS: bool = true;
    type Output = T;
    type Run = BlockingRun<F>;

    fn start(self, cx: TaskContext) -> BlockingRun<F> {
        BlockingRun(Some((self.0, cx)))
    }
}

/// `None` once it has run.
pub(super) struct BlockingRun<F>(Option<(F, TaskContext)>);

// The closure is moved, never pinned.
impl<F> Unpin for BlockingRun<F> {}

impl<F, T> Future for BlockingRun<F>
where
    F: FnOnce(TaskContext) -> T,
{
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ran = self.0.take().map(|(closure, cx)| Ok(closure(cx)));
        ran.map_or(Poll::Pending, Poll::Ready)
    }
}
