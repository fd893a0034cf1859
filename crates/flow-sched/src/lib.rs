//! What runs when and where, on any async runtime: a bounded worker pool and a scheduler.
//!
//! ```
//! # flow_rt::sim::check(0..3, |rt| async move {
//! use std::time::Duration;
//! use flow_sched::WorkerPool;
//!
//! let pool = WorkerPool::builder().slots(1..=5).queue(100).build()?;
//! let task = pool.submit(async |_cx| 6 * 7).await?; // waits for room in the queue
//! assert_eq!(task.await?, 42);
//! println!("{}", pool.shutdown(Duration::from_secs(5)).await);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # });
//! ```
//!
//! | item | for |
//! |---|---|
//! | [`WorkerPool`], [`WorkerPoolBuilder`], [`Slots`] | tasks on a bounded number of slots |
//! | [`Submit`], [`SubmitTimeout`], [`SubmitDetached`], [`TaskHandle`] | handing a task in, getting its value |
//! | [`PoolGroup`], [`ReleaseSlot`] | tasks that wait for others |
//! | [`SubmitError`], [`TrySubmitError`], [`GroupError`], [`TaskError`], [`PoolConfigError`] | what can go wrong |
//! | [`Shutdown`], [`ShutdownReport`] | ending a pool |
//! | [`PoolStats`], [`PoolDump`], [`PoolTasks`], [`PoolTask`], [`PoolPhase`] | seeing what goes on |
//! | [`TaskEnd`], [`TaskOutcome`] | being told of it |
//! | `PoolTimes` | how long tasks wait and run (feature `metrics`) |
//! | `Sizing`, `SizingStats` | a pool that finds its number of slots (feature `adaptive`) |
//! | [`LoadSource`], [`PoolLoad`], [`CpuLoad`], [`PressureLoad`], [`LoadError`] | how busy something is |
//! | [`Scheduler`], [`SchedulerBuilder`], [`SchedulerDriver`] | jobs by time |
//! | [`JobBuilder`], [`JobHandle`], [`JobContext`], [`Outcome`], [`BoxError`] | one job: its policies, its control, its run |
//! | [`Every`], [`FixedDelay`], [`RandomInterval`], [`Once`], [`After`] | triggers by the clock |
//! | [`Union`], [`Intersection`], [`Excluding`], [`Within`], [`Between`] | triggers made of others |
//! | [`Window`], [`Calendar`], [`Holidays`] | when it is open, and when nothing runs |
//! | [`Trigger`], [`TriggerContext`], [`Due`], [`CatchUp`] | a trigger of your own |
//! | [`Overlap`], [`Misfire`], [`Jitter`] | when a job runs, and when it does not |
//! | [`Chain`], [`ChainStep`], [`OnError`], [`OnSuccess`], [`Batch`] | jobs made of several parts |
//! | [`ChainError`], [`ChainConfigError`], [`BatchError`], [`BatchConfigError`], [`PartError`] | what can go wrong in them |
//! | [`Adaptive`] | intervals that stretch with load |
//! | [`Precision`] | how exactly |
//! | [`Claims`], [`OnStoreError`], [`JobLock`], [`JobStore`], [`JobKey`], [`Claim`], [`ClaimEnd`], [`StoreFuture`], [`MemoryStore`] | one claim for each occurrence, among several instances |
//! | [`Fence`], [`FenceGate`] | keeping holders out that have stalled |
//! | [`Elector`], [`Candidate`], [`CandidateBuilder`], [`CandidateStats`] | one instance that leads |
//! | [`Cron`], [`CronPattern`], [`Dialect`], [`DstPolicy`] | times of day by pattern, in any zone |
//! | [`CronTime`], [`CronAfter`], [`CronBefore`] | occurrences, in std's times or those of chrono and jiff |
//! | `JobTable`, `JobFunctions`, `JobTableError` | jobs from a file (feature `serde`) |
//! | [`SchedulerStats`], [`SchedulerReport`] | seeing what goes on, and how it ended |
//! | [`JobStats`], [`JobState`], [`EndReason`], [`RunCounts`], [`RunReport`], [`RunOutcome`] | the same for a job and its runs |
//! | [`JobEvent`], [`JobEventKind`]; [`JobEvents`], [`JobNews`], [`JobNewsKind`] | being told of it: by a hook, as a stream |
//! | [`ScheduleError`], [`StartAllError`], [`TriggerNowError`], [`SchedulerConfigError`], [`CronError`], [`UnknownZone`], [`WindowError`], [`HolidayError`], [`CandidateConfigError`], [`StaleFence`] | what can go wrong |
//!
//! # Features
//! - **`pool`**: the worker pool.
//! - `adaptive`: pools that find their number of slots by an algorithm of `flow-ratelimit`'s.
//! - **`cron`**: patterns of times of day, also without a scheduler.
//! - **`scheduler`**: jobs by time; includes `pool`, which may run them, and `cron`.
//! - `serde`: patterns as their text, a pool's builder from settings, and jobs from a table.
//! - `chrono`, `jiff`: occurrences as times of these crates.
//! - `fine-timer`: a scheduler on tokio with timers of async-io's precision.
//! - `metrics`: `collector()` on a pool and on a scheduler, for a `flow_metrics::Registry`; `times()`
//!   on a pool.
//! - `tracing`: events for what is rare in a pool: tasks that panic or time out, a queue that
//!   overflows and how much it cost, the phases of a shutdown. And for what is rare in a scheduler:
//!   times that were missed, runs that panic, time out or fail for good, jobs that end by a fault, a
//!   store that does not answer, claims that are lost, a wall clock that is set back.
//! - `loom`: only with `--cfg loom`, for this workspace's models.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "cron")]
mod cron;
#[cfg(feature = "pool")]
mod load;
#[cfg(feature = "pool")]
mod pool;
#[cfg(feature = "scheduler")]
mod scheduler;
#[cfg(feature = "pool")]
mod sync;

#[cfg(feature = "cron")]
pub use cron::{
    Cron, CronAfter, CronBefore, CronError, CronPattern, CronPlace, CronTime, Dialect, DstGap,
    DstOverlap, DstPolicy, UnknownZone,
};
#[cfg(feature = "pool")]
pub use load::{CpuLoad, LoadError, LoadSource, PressureLoad};
#[cfg(all(feature = "pool", feature = "metrics"))]
pub use pool::PoolTimes;
#[cfg(feature = "pool")]
pub use pool::{
    GroupError, PoolConfigError, PoolDump, PoolGroup, PoolLoad, PoolPhase, PoolStats, PoolTask,
    PoolTasks, Rejected, ReleaseSlot, Shutdown, ShutdownReport, Slots, Submit, SubmitDetached,
    SubmitError, SubmitTimeout, TaskEnd, TaskError, TaskHandle, TaskOutcome, TrySubmitError,
    WorkerPool, WorkerPoolBuilder,
};
#[cfg(feature = "adaptive")]
pub use pool::{Sizing, SizingStats};
#[cfg(feature = "scheduler")]
pub use scheduler::{
    Adaptive, After, Batch, BatchConfigError, BatchError, Between, BoxError, Calendar, Candidate,
    CandidateBuilder, CandidateConfigError, CandidateStats, CatchUp, Chain, ChainConfigError,
    ChainError, ChainStep, Claim, ClaimEnd, Claims, Due, Elector, EndReason, Every, Excluding,
    Fence, FenceGate, FixedDelay, HolidayError, Holidays, Intersection, Jitter, JobBuilder,
    JobContext, JobEvent, JobEventKind, JobEvents, JobHandle, JobKey, JobLock, JobNews,
    JobNewsKind, JobState, JobStats, JobStore, MemoryStore, Misfire, OnError, OnStoreError,
    OnSuccess, Once, Outcome, Overlap, PartError, Precision, RandomInterval, RunCounts, RunOutcome,
    RunReport, ScheduleError, Scheduler, SchedulerBuilder, SchedulerConfigError, SchedulerDriver,
    SchedulerReport, SchedulerStats, StaleFence, StartAllError, StoreFuture, Trigger,
    TriggerContext, TriggerNowError, Union, Window, WindowError, Within,
};
#[cfg(all(feature = "scheduler", feature = "serde"))]
pub use scheduler::{JobFunctions, JobTable, JobTableError};
