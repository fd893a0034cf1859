//! The pool as its users hold it.

use core::fmt;
use core::future::Future;
use core::ops::RangeInclusive;
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{CancellationToken, Handle, TaskContext};

use super::builder::{Slots, WorkerPoolBuilder};
use super::core::{Core, Settings};
use super::dump::PoolDump;
use super::error::{PoolConfigError, TaskError, TrySubmitError};
use super::group::PoolGroup;
use super::load::PoolLoad;
#[cfg(feature = "metrics")]
use super::metrics::PoolTimes;
use super::release::ReleaseSlot;
use super::runtime::OnPool;
use super::shutdown::{self, Shutdown, ShutdownReport};
#[cfg(feature = "adaptive")]
use super::sizing::{Sizer, SizingStats};
use super::stats::PoolStats;
use super::submit::{AbortOnDrop, Make, Submit, SubmitTimeout};
use super::task::TaskHandle;

/// Runs tasks on a bounded number of slots, the others waiting in a bounded queue.
///
/// A slot is a task of the host's that takes tasks from the queue and awaits each to its end: so
/// slots bound how many tasks run at a time, and the host's threads run them. A panic ends one
/// task and nothing else.
///
/// Clones are the same pool. Dropping the last one closes the pool; what is queued still runs.
/// Tasks that hold a clone keep the pool open.
///
/// # Tasks that submit to their own pool
/// A task that waits for room in its own pool's full queue keeps the slot that would make it:
/// [`submit`](Self::submit) refuses to ([`SubmitError::Nested`](super::SubmitError::Nested)). The
/// same holds between a pool and its [sub-pools](Self::sub_pool), either way.
/// A task that awaits the *handle* of another one on the same pool keeps its slot too, and that
/// is not refused: if every slot does so, nothing runs any more. Let it wait in
/// [`release_slot`](Self::release_slot), or as a [`group`](Self::group), which does so by itself.
///
/// # Cost
/// A task costs no spawn and one allocation, its cell. A slot keeps future and context of its last
/// task for the next: a task of another type, or after one that keeps its context, costs up to
/// three allocations more.
///
/// ```
/// # flow_rt::sim::check(0..3, |rt| async move {
/// use std::time::Duration;
/// use flow_sched::WorkerPool;
///
/// let pool = WorkerPool::builder().name("io").slots(1..=4).queue(100).build()?;
/// let answer = pool.run(async |_cx| 6 * 7).await?;
/// assert_eq!(answer, 42);
///
/// let task = pool.submit(async |cx| cx.is_cancelled()).await?;
/// assert!(!task.await?);
///
/// let report = pool.shutdown(Duration::from_secs(5)).await;
/// assert!(report.is_clean());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # });
/// ```
#[derive(Clone)]
pub struct WorkerPool(Arc<Open>);

/// The handles of a pool: the last one closes it.
struct Open(Arc<Core>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Building.
impl WorkerPool {
    /// A pool on the current runtime, with so many slots and a queue of so many tasks.
    ///
    /// # Errors
    /// Those of [`WorkerPoolBuilder::build`].
    pub fn new(slots: impl Into<Slots>, queue: usize) -> Result<Self, PoolConfigError> {
        Self::builder().slots(slots).queue(queue).build()
    }

    /// A pool to configure.
    pub fn builder() -> WorkerPoolBuilder {
        WorkerPoolBuilder::new()
    }

    pub(super) fn start(settings: Settings) -> Self {
        Self(Arc::new(Open(Core::new(settings))))
    }
}

/// Submitting.
impl WorkerPool {
    /// Submits a task, waiting for room in the queue if the pool was built with
    /// [`OnFull::Wait`](flow_rt::OnFull::Wait). Submitters that wait are served in their order.
    ///
    /// The task is called with its [`TaskContext`], which is the [current](TaskContext::current)
    /// one while it runs. Its cancellation fires when the pool's does, when the task is aborted or
    /// runs too long, and, if it was submitted in a context, when that one's does. Deadline,
    /// baggage and trace are those of a child of the submitter's context.
    ///
    /// # Errors
    /// [`SubmitError`](super::SubmitError) with the task: closed, full, nested, or of a priority
    /// that the pool does not have.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready drops the task unrun and loses no place.
    ///
    /// # Cost
    /// While the queue has room: a handful of atomic operations, one allocation, no lock unless a
    /// slot sleeps and has to be woken.
    #[track_caller]
    pub fn submit<F, Fut>(&self, task: F) -> Submit<'_, F, Fut::Output>
    where
        F: FnOnce(TaskContext) -> Fut + Send + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        Submit::new(self.core(), task, const { &Make::future() })
    }

    /// Submits a task if the queue has room now.
    ///
    /// # Errors
    /// [`TrySubmitError`] with the task: closed, or full.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use flow_sched::WorkerPool;
    ///
    /// let pool = WorkerPool::new(1, 1)?;
    /// let first = pool.try_submit(async |_cx| "first")?;
    /// let refused = pool.try_submit(async |_cx| "second").unwrap_err();
    /// let task = refused.into_inner(); // nothing is lost
    /// assert_eq!(first.await?, "first");
    /// assert_eq!(pool.try_submit(task)?.await?, "second");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # });
    /// ```
    #[track_caller]
    pub fn try_submit<F, Fut>(&self, task: F) -> Result<TaskHandle<Fut::Output>, TrySubmitError<F>>
    where
        F: FnOnce(TaskContext) -> Fut + Send + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        self.submit(task).try_now()
    }

    /// Submits like [`submit`](Self::submit), and waits for room no longer than `timeout`,
    /// counted from the first poll.
    ///
    /// # Errors
    /// Those of `submit`, and [`SubmitError::TimedOut`](super::SubmitError::TimedOut).
    ///
    /// # Cancel safety
    /// That of `submit`.
    #[track_caller]
    pub fn submit_timeout<F, Fut>(
        &self,
        task: F,
        timeout: Duration,
    ) -> SubmitTimeout<'_, F, Fut::Output>
    where
        F: FnOnce(TaskContext) -> Fut + Send + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        SubmitTimeout::new(self.submit(task), timeout)
    }

    /// Submits a task and waits for its value.
    ///
    /// # Errors
    /// [`TaskError`]: how the task ended, or why it was not taken.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the task, since nobody could get its value.
    #[track_caller]
    pub fn run<F, Fut>(&self, task: F) -> impl Future<Output = Result<Fut::Output, TaskError>>
    where
        F: FnOnce(TaskContext) -> Fut + Send + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        // Not an async fn, which would take its own place for the caller's.
        join(self.submit(task))
    }

    /// Submits a closure that may block. It takes a slot as any task does, and runs on the host's
    /// threads for blocking work.
    ///
    /// A closure cannot be stopped: after an abort or a time-out its slot is free, and it runs on
    /// until it looks at its [`cancellation`](TaskContext::cancellation) or ends.
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit).
    ///
    /// # Cancel safety
    /// That of `submit`.
    ///
    /// # Cost
    /// A slot makes one call to the host for a closure and for those that follow it in the queue,
    /// up to 64. One alone costs the host's call and two wakes more, of the slot and of whoever
    /// waits, which on some hosts is nearly as much again; small ones in a row cost a small part of
    /// a call each.
    #[track_caller]
    pub fn submit_blocking<F, T>(&self, task: F) -> Submit<'_, F, T>
    where
        F: FnOnce(TaskContext) -> T + Send + 'static,
        T: Send + 'static,
    {
        Submit::new(self.core(), task, const { &Make::blocking() })
    }

    /// Submits a closure that may block, and waits for its value.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    ///
    /// # Cancel safety
    /// That of `run`; a closure that has started runs on.
    #[track_caller]
    pub fn run_blocking<F, T>(&self, task: F) -> impl Future<Output = Result<T, TaskError>>
    where
        F: FnOnce(TaskContext) -> T + Send + 'static,
        T: Send + 'static,
    {
        join(self.submit_blocking(task))
    }
}

/// Sharing the slots.
impl WorkerPool {
    /// For tasks that belong together: first error, or all results, and so many at once.
    #[track_caller]
    pub fn group(&self) -> PoolGroup<'_> {
        PoolGroup::new(self)
    }

    /// Awaits a future without the slot of the task that awaits it: another task may run for as
    /// long. The slot comes back before the future's value does, which may mean a wait for one.
    ///
    /// For tasks that wait for others of their own pool, or of one [above or below](Self::sub_pool).
    /// A task of a sub-pool gives up the slot of the pool that is asked, and those of the pools above
    /// that; a task above the pool that is asked, its own slot and those above. In no such task it
    /// just awaits the future. What is awaited here may also [`submit`](Self::submit) with a wait.
    ///
    /// A task that waits so in several futures at once has its slot back with the last of them: what
    /// it does between two of them it does beside another task.
    ///
    /// # Cancel safety
    /// That of the future. Nothing is lost of the slots.
    ///
    /// # Cost
    /// A short lock if the future is not ready at once, and one when it is.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use flow_sched::WorkerPool;
    ///
    /// let pool = WorkerPool::new(1, 10)?;
    /// let inner = pool.clone();
    /// // One slot, and a task that waits for another one.
    /// let sum = pool.run(async move |_cx| {
    ///     let part = inner.release_slot(inner.run(async |_cx| 20)).await;
    ///     part.unwrap_or(0) + 1
    /// });
    /// assert_eq!(sum.await?, 21);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # });
    /// ```
    pub fn release_slot<F: Future>(&self, future: F) -> ReleaseSlot<'_, F> {
        ReleaseSlot::new(self.core(), future)
    }

    /// A pool to configure whose slots are this pool's: it never has more tasks running than its
    /// own [`slots`](WorkerPoolBuilder::slots) say. It has a queue, priorities, limits and figures
    /// of its own, and keeps this pool open.
    ///
    /// A slot of the sub-pool is a task of this pool: it is queued and counted as what is spawned
    /// on the [handle](Self::handle), and has one of this pool's slots while the sub-pool has a task
    /// for it. When it has run 64 and something waits here, one task that was submitted here goes
    /// first, and the slot is queued anew, as it is when slots here are too many; idle it keeps none.
    /// What waits further up, in a pool that this one is on, waits for 64 such turns.
    ///
    /// | of this pool | for the sub-pool |
    /// |---|---|
    /// | the most slots | it has no more, whatever its own |
    /// | [`task_timeout`](WorkerPoolBuilder::task_timeout) | holds for none of its tasks: it has its own |
    /// | [`cancellation`](Self::cancellation) | is above its own |
    /// | [`close`](Self::close) | closes it; what it has queued still runs |
    /// | [`shutdown`](Self::shutdown) | drains, cancels and stops it at the same times |
    /// | [`release_slot`](Self::release_slot), [`group`](Self::group) | what its tasks await in this pool's gives up the slot here; in the sub-pool's own, both slots; what this pool's tasks await in the sub-pool's, the slot here |
    ///
    /// Built on a closed pool it is closed.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use flow_sched::WorkerPool;
    ///
    /// let pool = WorkerPool::new(8, 100)?;
    /// let reports = pool.sub_pool().name("reports").slots(2).queue(10).build()?;
    /// assert_eq!(reports.run(async |_cx| 7).await?, 7);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # });
    /// ```
    pub fn sub_pool(&self) -> WorkerPoolBuilder {
        WorkerPoolBuilder::sub_pool(self)
    }

    /// The pool as a runtime, for what is to run on its slots: tasks that are spawned on it are
    /// tasks of the pool. Timers and clocks are those of the pool's own runtime.
    ///
    /// A spawn cannot wait: it is queued whatever the bound, and goes before what was submitted,
    /// with [`ageing`](WorkerPoolBuilder::ageing) for the others. On a closed pool it is dropped,
    /// as on a runtime that is gone. **A task that waits keeps its slot**: give the pool as many
    /// slots as such tasks wait for one another.
    ///
    /// The handle keeps the pool open, as any handle of it does.
    pub fn handle(&self) -> Handle {
        Handle::new(OnPool(self.clone()))
    }
}

/// Resizing.
impl WorkerPool {
    /// Sets how many slots there may be, as [`WorkerPoolBuilder::slots`] does, while tasks run.
    ///
    /// If they are too many now, idle ones leave at once, and busy ones when their tasks have
    /// ended: no task is disturbed. If more may live, tasks that wait start them. A rendezvous
    /// has places as it has slots. The last of several calls counts; a pool that shuts down
    /// drains with the slots it is given. To an [adaptive](WorkerPoolBuilder::adaptive) pool these
    /// are the bounds within which it sizes itself. A [sub-pool](Self::sub_pool) keeps no idle slot,
    /// whatever the start of the range.
    ///
    /// # Errors
    /// [`PoolConfigError`] for no slot, an empty range, or too many; nothing changes then.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use flow_sched::WorkerPool;
    ///
    /// let pool = WorkerPool::new(1, 10)?;
    /// pool.resize(4..=16)?;
    /// assert_eq!(pool.slots(), 4..=16);
    /// assert!(pool.resize(0).is_err());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # });
    /// ```
    pub fn resize(&self, slots: impl Into<Slots>) -> Result<(), PoolConfigError> {
        self.core().set_bounds(slots.into().checked()?);
        Ok(())
    }

    /// How many slots stay, and how many may live now.
    pub fn slots(&self) -> RangeInclusive<usize> {
        let range = self.core().roster.range();
        range.min() as usize..=range.max() as usize
    }
}

/// Ending.
impl WorkerPool {
    /// Stops the intake. What is queued still runs; submitters that wait for room are refused.
    pub fn close(&self) {
        self.core().close();
    }

    /// Whether the intake has stopped.
    pub fn is_closed(&self) -> bool {
        self.core().room.is_closed()
    }

    /// Closes the pool, waits for its tasks, and says what became of them.
    ///
    /// 1. The intake stops.
    /// 2. Queued and running tasks have the time of [`Shutdown::drain`] to end.
    /// 3. Then queued ones are abandoned, and the pool's cancellation fires. Running tasks have
    ///    the time of [`Shutdown::then_cancel`] to heed it.
    /// 4. Then each is polled once more, and dropped if it does not end.
    ///
    /// Nothing happens before the first poll. It may be called again and from several tasks at
    /// once: every call completes, the shortest times win, and all reports count from the first
    /// close. A task that blocks its thread cannot be stopped; a tenth of a second after the last
    /// phase the report gives such as [`stuck`](ShutdownReport::stuck). A sub-pool whose time is over
    /// does not wait for slots that are queued in the pool above, which leave in their turn.
    ///
    /// # In a task of the pool
    /// It does not wait for that task, which ends no sooner than this does, and does not count it.
    /// For the rest the task is as all others: it is told to stop in phase 3, and this returns at
    /// once when phase 4 begins, in the last poll that the task has. That is so too in a task of a
    /// sub-pool; but as the sub-pool has to end before this pool does, this takes all of its time
    /// then. So it does in a [rendezvous](super::WorkerPoolBuilder::rendezvous), where a task keeps its
    /// place until it ends, and if tasks are queued that need the slot of the one that waits. Two
    /// tasks that await it wait for each other until their time is over, and one that
    /// awaits it in [`release_slot`](Self::release_slot) waits for itself, and is dropped. To stop
    /// the intake and wait for nothing, call [`close`](Self::close).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the pool closed and draining, or in the phase it had reached.
    pub async fn shutdown(&self, how: impl Into<Shutdown>) -> ShutdownReport {
        shutdown::run(self.core(), how.into()).await
    }
}

/// Observing.
impl WorkerPool {
    /// The pool's figures now. They fit together: see [`PoolStats`].
    ///
    /// # Cost
    /// A cache line and seven loads for each slot that the pool may have, up to 64, and a few more:
    /// some hundred loads in a pool of 64. A short lock if submitters wait for room.
    pub fn stats(&self) -> PoolStats {
        self.core().stats()
    }

    /// What the pool runs and what waits in it, for a person to read. It names each task if the
    /// pool [tracks](WorkerPoolBuilder::track_tasks) them, and counts them if not.
    ///
    /// It is no picture of one instant: the pool goes on, and a task that comes, starts or ends
    /// meanwhile may be in it or not. One that waits or runs all the while is.
    ///
    /// # Cost
    /// That of [`stats`](Self::stats), and 50 ns per task of a pool that tracks them, which are
    /// copied first and sorted then. A submitter or slot may have to wait while 256 tasks are
    /// copied, which takes a few microseconds; never for longer.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use std::time::Duration;
    /// use flow_sched::WorkerPool;
    ///
    /// let pool = WorkerPool::builder().name("io").slots(1).track_tasks(true).build()?;
    /// let sleeper = rt.clone();
    /// let nap = pool.submit(async move |_cx| sleeper.sleep(Duration::from_secs(60)).await);
    /// nap.name("nap").detach().await?;
    /// pool.submit(async |_cx| ()).detach().await?;
    /// rt.sleep(Duration::from_secs(2)).await;
    ///
    /// let dump = pool.dump();
    /// assert_eq!(dump.running()[0].name.as_deref(), Some("nap"));
    /// assert_eq!(dump.queued()[0].age, Duration::from_secs(2));
    /// println!("{dump}");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # });
    /// ```
    pub fn dump(&self) -> PoolDump {
        PoolDump::of(self.core())
    }

    /// How the pool has sized itself; `None` if it is not
    /// [adaptive](WorkerPoolBuilder::adaptive).
    ///
    /// # Cost
    /// A short lock.
    #[cfg(feature = "adaptive")]
    pub fn sizing(&self) -> Option<SizingStats> {
        let sizer = self.core().timing.sizer.as_ref();
        sizer.map(Sizer::stats)
    }

    /// How busy the pool is, as a source for what adapts to it. It keeps the pool neither open
    /// nor alive.
    pub fn load(&self) -> PoolLoad {
        PoolLoad::new(self.core())
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.core().name
    }

    /// The runtime that the pool runs on; a sub-pool's is that of the pool above.
    pub fn runtime(&self) -> &Handle {
        &self.core().rt
    }

    /// How many tasks the queue holds: `None` without a bound, 0 for a rendezvous.
    pub fn capacity(&self) -> Option<usize> {
        self.core().capacity()
    }

    /// The token above those of the pool's tasks. It fires when a shutdown's time is over;
    /// cancelling it tells every task to stop and leaves the pool open.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.core().token
    }

    /// How long tasks have waited in the queue and how long they have run, apart: of those that were
    /// submitted, or have started, since the first call or the first [collector](Self::collector).
    ///
    /// # Cost
    /// From the first call on, three reads of the clock per task. A copy of two histograms.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use std::time::Duration;
    /// use flow_sched::WorkerPool;
    ///
    /// let pool = WorkerPool::new(1, 10)?;
    /// assert_eq!(pool.times().runs.count(), 0); // from here on
    /// for _ in 0..2 {
    ///     let sleeper = rt.clone();
    ///     let nap = pool.submit(async move |_cx| sleeper.sleep(Duration::from_secs(1)).await);
    ///     nap.detach().await?;
    /// }
    /// pool.shutdown(Duration::from_secs(5)).await;
    /// let times = pool.times();
    /// // The second one waited for the first.
    /// assert_eq!((times.runs.sum(), times.waits.sum()), (2.0, 1.0));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # });
    /// ```
    #[cfg(feature = "metrics")]
    pub fn times(&self) -> PoolTimes {
        PoolTimes::of(self.core())
    }

    /// What a `flow_metrics::Registry` takes to show this pool, under its name. It keeps the pool
    /// neither open nor alive.
    ///
    /// # Cost
    /// From the first collector on, three reads of the clock per task, for the times that tasks
    /// wait and run. When the registry collects, that of [`stats`](Self::stats).
    #[cfg(feature = "metrics")]
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect> {
        Arc::new(super::metrics::PoolCollector::new(self.core()))
    }

    /// The most slots that it may come to.
    pub(super) fn most_slots(&self) -> usize {
        #[cfg(feature = "adaptive")]
        if let Some(sizing) = self.sizing() {
            return sizing.max;
        }
        *self.slots().end()
    }

    /// Whether its dumps name tasks.
    #[cfg(feature = "scheduler")]
    pub(crate) fn tracks_tasks(&self) -> bool {
        self.core().roll.is_some()
    }

    /// How many priorities its queue has.
    #[cfg(feature = "scheduler")]
    pub(crate) fn priorities(&self) -> usize {
        self.core().priorities()
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.0.0
    }
}

/// Submits a task and waits for its value.
async fn join<F, T>(submit: Submit<'_, F, T>) -> Result<T, TaskError> {
    match submit.await {
        Ok(handle) => AbortOnDrop(handle).await,
        Err(refused) => Err(refused.into_task_error()),
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = self.core();
        f.debug_struct("WorkerPool")
            .field("name", &core.name)
            .field("runtime", &core.rt)
            .field("slots", &self.slots())
            .field("capacity", &core.capacity())
            .field("on_full", &core.on_full)
            .field("closed", &self.is_closed())
            .field("stats", &self.stats())
            .finish()
    }
}
