//! Jobs by time: what runs when.
//!
//! A job is a trigger (`triggers`), a body (`work`) and a few policies; what happens to it from its
//! start to its end stands in `job`. All jobs of a scheduler share one driver task and one timer of
//! the runtime (`driver`); their runs go to the runtime or to a pool (`run`). Among several
//! instances, `cluster` says whose run it is.

use core::fmt;
use core::future::Future;
use core::num::NonZeroUsize;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::Handle;

mod builder;
mod cluster;
mod driver;
mod error;
mod events;
mod job;
#[cfg(feature = "metrics")]
mod metrics;
mod registry;
mod report;
mod run;
mod shared;
mod spare;
#[cfg(feature = "serde")]
mod table;
mod text_hash;
mod triggers;
mod work;

pub use builder::SchedulerBuilder;
pub use cluster::{
    Candidate, CandidateBuilder, CandidateConfigError, CandidateStats, Claim, ClaimEnd, Claims,
    Elector, Fence, FenceGate, JobKey, JobLock, JobStore, MemoryStore, OnStoreError, StaleFence,
    StoreFuture,
};
pub use driver::SchedulerDriver;
pub use error::{ScheduleError, SchedulerConfigError, StartAllError, TriggerNowError};
pub use events::{JobEvents, JobNews, JobNewsKind};
pub use job::builder::JobBuilder;
pub use job::context::JobContext;
pub use job::handle::JobHandle;
pub use job::policy::{Misfire, Overlap, Precision};
pub use report::{
    EndReason, JobEvent, JobEventKind, JobState, JobStats, RunCounts, RunOutcome, RunReport,
    SchedulerReport, SchedulerStats,
};
#[cfg(feature = "serde")]
pub use table::{JobFunctions, JobTable, JobTableError};
pub use triggers::adaptive::Adaptive;
pub use triggers::calendar::{Calendar, HolidayError, Holidays};
pub use triggers::jitter::Jitter;
pub use triggers::trigger::{CatchUp, Due, Trigger, TriggerContext};
pub use triggers::window::{Window, WindowError};
pub use triggers::{
    After, Between, Every, Excluding, FixedDelay, Intersection, Once, RandomInterval, Union, Within,
};
pub use work::batch::{Batch, BatchConfigError, BatchError};
pub use work::chain::{Chain, ChainConfigError, ChainError, ChainStep, OnError, OnSuccess};
pub use work::outcome::{BoxError, Outcome};
pub use work::part::PartError;

use job::builder::Prepared;
use report::EndReason as Reason;
use run::waiting::Waiter;
use shared::Shared;

use crate::pool::Shutdown;

/// Runs jobs at their times. Clones are the same scheduler; dropping the last one ends its jobs.
///
/// One task of the runtime drives all jobs with one timer, and does not wake while nothing is
/// due. (Jobs that wait for a time of day make it look at the clock once a minute.)
///
/// # Clocks that are set
/// Times of day ([`cron`](JobBuilder::cron), [`Due::Wall`], rates that are
/// [aligned](Every::aligned)) go by the wall clock; all others by the monotonic one, which nobody
/// sets.
/// - Set forward, and after a suspend of the machine, what was passed over has been missed, and is
///   a matter of each job's [`misfire`](JobBuilder::misfire). What may have come due since the last
///   look at the clock, up to a minute ago, has not.
/// - Set back, by up to three hours at once, no time comes twice: jobs wait until the clock shows
///   the time that they wait for.
/// - Set back further, it was wrong before, and nobody can wait for that time: triggers are asked
///   anew from what it shows now, within a minute. Times of the past that it shows again come
///   again, but for jobs that are due once. [`JobEventKind::ClockSetBack`] tells of it.
///
/// # What it leaves to its users
/// - To run a job for times of the past (a *backfill*): a run by hand,
///   [`trigger_now`](JobHandle::trigger_now), is one for the present. What the scheduler itself has
///   missed is made up by [`Misfire`].
/// - Hooks for one job: [`on_event`](SchedulerBuilder::on_event) and [`events`](Self::events) name
///   the job of each event.
/// - Graphs of jobs: a [`Chain`] of [`Batch`]es is one job, in whose order nothing is left open.
/// - To choose which baggage runs carry: start the job in a
///   [`TaskContext`](flow_rt::TaskContext::propagate) that limits it.
///
/// # Cost
/// Who starts, ends or changes a job takes a short lock of the scheduler's, under which no user's
/// code runs; so does the driver in each turn, and a run whose end decides when its job is due.
/// Other runs take that of their job alone. The memory of a burst goes back, in steps, when nothing
/// is due: what is kept is no more than twice what is needed, and some 100 KB.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::time::Duration;
/// use flow_sched::Scheduler;
///
/// flow_rt::sim::check(0..10, |rt| async move {
///     let runs = Arc::new(AtomicU32::new(0));
///     let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
///     scheduler
///         .job_with("poll", runs.clone(), async |_cx, runs: Arc<AtomicU32>| {
///             runs.fetch_add(1, Ordering::Relaxed);
///         })
///         .every(Duration::from_secs(60))
///         .start()
///         .unwrap();
///     rt.sleep(Duration::from_secs(3_630)).await;
///     assert_eq!(runs.load(Ordering::Relaxed), 60);
/// });
/// ```
#[derive(Clone)]
pub struct Scheduler {
    core: Arc<Core>,
}

/// What the handles of a scheduler share, and its driver and runs do not: its end is the end of
/// the scheduler.
pub(crate) struct Core {
    shared: Arc<Shared>,
}

impl Core {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Constructors.
impl Scheduler {
    /// A scheduler on the current runtime, which runs its jobs too.
    ///
    /// # Errors
    /// [`SchedulerConfigError::Runtime`] if no runtime is current.
    pub fn new() -> Result<Self, SchedulerConfigError> {
        Self::builder().build()
    }

    /// A scheduler to configure.
    pub fn builder() -> SchedulerBuilder {
        SchedulerBuilder::default()
    }

    pub(crate) fn from_core(core: Arc<Core>) -> Self {
        Self { core }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.core.shared
    }
}

/// Jobs.
impl Scheduler {
    /// A job that calls `run` whenever it is due; give it a trigger and start it.
    ///
    /// `run` returns a future of `()` or of a `Result`. The name must be unique among the jobs
    /// that have not ended. A closure that captures something and moves it into its future does
    /// not compile (E0507), because it is called again and again: use
    /// [`job_with`](Self::job_with).
    pub fn job<F, Fut>(&self, name: impl Into<Cow<'static, str>>, run: F) -> JobBuilder<Fut::Output>
    where
        F: Fn(JobContext) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        JobBuilder::new(self.shared().clone(), Some(name.into()), run)
    }

    /// A job whose runs each get a clone of `state`: an `Arc`, a client, a sender.
    pub fn job_with<S, F, Fut>(
        &self,
        name: impl Into<Cow<'static, str>>,
        state: S,
        run: F,
    ) -> JobBuilder<Fut::Output>
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(JobContext, S) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.job(name, move |cx| run(cx, state.clone()))
    }

    /// A job like [`job`](Self::job) without a name: it is found by its handle and in
    /// [`list`](Self::list), and costs less. Its name reads as the empty string.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use flow_sched::Scheduler;
    /// # flow_rt::sim::check(0..1, |rt| async move {
    /// # let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    /// let reminder = scheduler.unnamed(async |_cx| ()).after(Duration::from_secs(3_600));
    /// let reminder = reminder.start().unwrap();
    /// assert!(reminder.remove().await); // not needed any more
    /// # });
    /// ```
    pub fn unnamed<F, Fut>(&self, run: F) -> JobBuilder<Fut::Output>
    where
        F: Fn(JobContext) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        JobBuilder::new(self.shared().clone(), None, run)
    }

    /// A job like [`job_with`](Self::job_with) without a name.
    pub fn unnamed_with<S, F, Fut>(&self, state: S, run: F) -> JobBuilder<Fut::Output>
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(JobContext, S) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.unnamed(move |cx| run(cx, state.clone()))
    }

    /// A job whose runs each run the steps of a chain, one after the other.
    ///
    /// The policies of the job are those of the whole: a [`timeout`](JobBuilder::timeout) bounds
    /// all steps together, and a [`retry`](JobBuilder::retry) begins with the first one.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use flow_sched::{Chain, OnError, Scheduler};
    ///
    /// let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    /// let nightly = Chain::new()
    ///     .step("extract", async |_cx| println!("reading"))
    ///     .step("load", async |_cx| Err::<(), _>("the database is away"))
    ///     .on_error(OnError::Stop);
    /// let nightly = scheduler.chain("nightly", nightly).cron("@midnight").start().unwrap();
    /// nightly.trigger_now().await.unwrap();
    /// rt.run_until_idle().await;
    /// let last = nightly.last().unwrap().outcome;
    /// let message = "step \"load\" of the chain failed: the database is away";
    /// assert_eq!(last, flow_sched::RunOutcome::Failed(message.into()));
    /// # });
    /// ```
    pub fn chain(
        &self,
        name: impl Into<Cow<'static, str>>,
        chain: Chain,
    ) -> JobBuilder<Result<(), ChainError>> {
        let refused = chain.check().err().map(ScheduleError::Chain);
        self.job(name, move |cx| chain.run(cx)).refused(refused)
    }

    /// A job whose runs each run the tasks of a batch, beside one another.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use flow_sched::{Batch, Scheduler};
    ///
    /// let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    /// let caches = Batch::new()
    ///     .task("users", async |_cx| println!("users"))
    ///     .task("orders", async |_cx| println!("orders"))
    ///     .concurrency(2);
    /// scheduler.batch("caches", caches).cron("@hourly").start().unwrap();
    /// # });
    /// ```
    pub fn batch(
        &self,
        name: impl Into<Cow<'static, str>>,
        batch: Batch,
    ) -> JobBuilder<Result<(), BatchError>> {
        let refused = batch.check().err().map(ScheduleError::Batch);
        self.job(name, move |cx| batch.run(cx)).refused(refused)
    }

    /// Starts all of the jobs, or none.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use flow_sched::Scheduler;
    /// # flow_rt::sim::check(0..1, |rt| async move {
    /// let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    /// let poll = |site: &'static str| {
    ///     let job = scheduler.job(site, async |cx| println!("polling {}", cx.job()));
    ///     job.every(Duration::from_secs(60))
    /// };
    /// let jobs = scheduler.start_all(["a.example", "b.example"].map(poll)).unwrap();
    /// assert_eq!(jobs.len(), 2);
    /// let twice = scheduler.start_all(["c.example", "a.example"].map(poll)).unwrap_err();
    /// assert_eq!(twice.index(), 1);
    /// assert_eq!(scheduler.list().len(), 2);
    /// # });
    /// ```
    ///
    /// # Cost
    /// They are taken in in one step, and whoever starts, finds, ends or changes a job of this
    /// scheduler meanwhile waits for it, its driver among them: some 0.1 to 0.3 µs for each of the
    /// jobs, so a tenth of a second and more for a million. Starts of thousands each hold up nobody
    /// for long.
    ///
    /// # Errors
    /// [`StartAllError`] with the first job that was refused, and why.
    pub fn start_all<O: Outcome>(
        &self,
        jobs: impl IntoIterator<Item = JobBuilder<O>>,
    ) -> Result<Vec<JobHandle>, StartAllError> {
        let shared = self.shared();
        let mut prepared: Vec<Prepared> = Vec::new();
        for (index, job) in jobs.into_iter().enumerate() {
            let job = if job.is_of(shared) {
                job.prepare().map(|(_, prepared)| prepared)
            } else {
                Err(ScheduleError::OtherScheduler)
            };
            prepared.push(job.map_err(|error| StartAllError { index, error })?);
        }
        if let Err((index, refused)) = shared.insert(&prepared) {
            let name = prepared
                .get(index)
                .map_or("", |prepared| &*prepared.job.name);
            let error = refused.into_error(name);
            return Err(StartAllError { index, error });
        }
        let handle = |prepared: Prepared| JobHandle::new(shared.clone(), prepared.job);
        Ok(prepared.into_iter().map(handle).collect())
    }

    /// The job of that name, unless it has ended.
    pub fn find(&self, name: &str) -> Option<JobHandle> {
        let shared = self.shared();
        shared
            .find(name)
            .map(|job| JobHandle::new(shared.clone(), job))
    }

    /// Removes the job of that name; false if there is none. Runs in progress go on; wait for
    /// them with [`JobHandle::remove`].
    pub fn remove(&self, name: &str) -> bool {
        let job = self.shared().find(name);
        job.is_some_and(|job| self.shared().end(&job, Reason::Removed))
    }

    /// Removes all jobs and tells their runs in progress to stop; how many were removed. Of those that
    /// are started meanwhile, it may remove some.
    pub fn cancel_all(&self) -> usize {
        let jobs = self.shared().list();
        jobs.iter()
            .filter(|job| {
                let removed = self.shared().end(job, Reason::Removed);
                // After the end, since no run is let in any more that would not be told.
                for stop in job.cancel_active() {
                    let token = stop.token();
                    token.cancel_with("all jobs of the scheduler were cancelled");
                }
                removed
            })
            .count()
    }

    /// All jobs that have not ended, in the order of their start; of those that are started or end
    /// meanwhile, some. However many there are, it holds up nobody who starts another one for long.
    pub fn list(&self) -> Vec<JobStats> {
        let shared = self.shared();
        let (now, wall) = (shared.handle.now(), shared.handle.wall());
        let jobs = shared.list();
        jobs.iter().map(|job| job.stats(now, wall)).collect()
    }
}

/// The whole.
impl Scheduler {
    /// Lets the timetables of all jobs stand still, until [`start`](Self::start). False if they do
    /// already, or the scheduler is closed.
    ///
    /// Runs in progress go on, with what waits for them, and runs by hand still begin. Jobs may be
    /// started, changed and removed meanwhile.
    pub fn stop(&self) -> bool {
        self.shared().set_stopped(true)
    }

    /// Lets the timetables go on. False if they do: a scheduler has been started when it is built.
    ///
    /// What was due meanwhile has been missed, and is a matter of each job's
    /// [`misfire`](JobBuilder::misfire).
    pub fn start(&self) -> bool {
        self.shared().set_stopped(false)
    }

    /// Whether the timetables go on: neither stopped nor closed.
    pub fn is_running(&self) -> bool {
        !self.shared().is_stopped() && !self.shared().is_closed()
    }

    /// Stops the intake and ends all jobs. Runs in progress go on. Idempotent.
    pub fn close(&self) {
        self.shared().close();
    }

    /// Ends all jobs, waits for the runs in progress, and tells those to stop that have not ended
    /// by the time of [`Shutdown::drain`], or a `Duration`; then waits for these for the time of
    /// [`Shutdown::then_cancel`].
    ///
    /// Runs are told through their context's cancellation, those in a pool too. One that does not
    /// heed it goes on: a pool that is shut down drops it. A run that has not begun by then is told
    /// as it begins; one that still waits for room in a pool is dropped. A later call waits in the
    /// same way and reports what was left. Called from inside a run, it does not wait for that run,
    /// nor for others that wait for its end in the same way, or by a [`JobHandle::remove`] of its
    /// job.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use std::time::Duration;
    /// use flow_sched::{JobContext, Scheduler, Shutdown};
    ///
    /// let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    /// let until_told = async |cx: JobContext| cx.cancellation().cancelled().await;
    /// let follow = scheduler.job("follow", until_told).after(Duration::from_secs(1));
    /// follow.start().unwrap();
    /// rt.sleep(Duration::from_secs(2)).await;
    /// let how = Shutdown::drain(Duration::from_secs(30)).then_cancel(Duration::from_secs(5));
    /// let report = scheduler.shutdown(how).await;
    /// assert_eq!((report.finished, report.cancelled, report.left), (0, 1, 0));
    /// # });
    /// ```
    ///
    /// # Cancel safety
    /// The jobs have ended from the first poll on; dropped before the first time is over, it tells
    /// no run to stop.
    pub async fn shutdown(&self, how: impl Into<Shutdown>) -> SchedulerReport {
        let how = how.into();
        let shared = self.shared();
        let in_progress = || shared.running.now();
        // Before the close, since it ends what waits for a retry; and after it, for what came last.
        let before = in_progress();
        let jobs = shared.close();
        let running = before.max(in_progress());
        if self.runs_end_within(how.drain).await {
            // Who is left calls from inside.
            return SchedulerReport {
                jobs,
                finished: running.saturating_sub(in_progress()),
                ..SchedulerReport::default()
            };
        }
        let cancelled = in_progress();
        shared.stop_runs();
        let all_heed = !how.grace.is_zero() && self.runs_end_within(how.grace).await;
        SchedulerReport {
            jobs,
            finished: running.saturating_sub(cancelled),
            cancelled,
            left: if all_heed { 0 } else { in_progress() },
        }
    }

    async fn runs_end_within(&self, timeout: Duration) -> bool {
        let handle: &Handle = &self.shared().handle;
        handle.timeout(timeout, self.runs_ended()).await.is_ok()
    }

    async fn runs_ended(&self) {
        let shared = self.shared();
        let mut waiter = Waiter::for_all(shared);
        loop {
            let ended = shared.ended.listen();
            let running = shared.running.now();
            if running <= waiter.excused() {
                return;
            }
            ended.await;
        }
    }

    /// Whether the scheduler was closed or shut down, or its driver is gone.
    pub fn is_closed(&self) -> bool {
        self.shared().is_closed()
    }

    /// What happens to jobs from now on, for a task to follow. Up to `capacity` events wait for it;
    /// then the oldest one is lost, and counted. They are a `Stream` too.
    ///
    /// ```
    /// # use std::num::NonZeroUsize;
    /// # use std::time::Duration;
    /// # use flow_sched::{JobNewsKind, Scheduler};
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    /// let mut events = scheduler.events(NonZeroUsize::new(1_024).unwrap());
    /// scheduler.job("poll", async |_cx| ()).after(Duration::from_secs(1)).start().unwrap();
    /// while let Some(event) = events.next().await {
    ///     if let JobNewsKind::RunEnded(report) = event.kind {
    ///         assert_eq!((&*event.job, report.run), ("poll", 1));
    ///         break;
    ///     }
    /// }
    /// # });
    /// ```
    pub fn events(&self, capacity: NonZeroUsize) -> JobEvents {
        JobEvents::new(self.shared().clone(), capacity.get())
    }

    /// What is going on. Counters only, no lock.
    pub fn stats(&self) -> SchedulerStats {
        self.shared().stats()
    }

    /// The scheduler's name.
    pub fn name(&self) -> &str {
        &self.shared().name
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("name", &self.name())
            .field("runtime", &self.shared().handle.name())
            .field("running", &self.is_running())
            .field("closed", &self.is_closed())
            .field("stats", &self.stats())
            .finish()
    }
}
