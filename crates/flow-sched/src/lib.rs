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
//! | [`Submit`], [`SubmitTimeout`], [`TaskHandle`] | handing a task in, getting its value |
//! | [`SubmitError`], [`TrySubmitError`], [`TaskError`], [`PoolConfigError`] | what can go wrong |
//! | [`PoolStats`], [`ShutdownReport`], [`TaskEnd`] | seeing what goes on |
//!
//! # Features
//! - **`pool`**: the worker pool.
//! - **`scheduler`**: jobs by time; runs them on a pool, so it includes `pool`.
//! - `metrics`: catalogue entries and collectors for `flow-metrics`.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "pool")]
mod pool;
#[cfg(feature = "scheduler")]
mod scheduler;

#[cfg(feature = "pool")]
pub use pool::{
    PoolConfigError, PoolStats, Rejected, ShutdownReport, Slots, Submit, SubmitError,
    SubmitTimeout, TaskEnd, TaskError, TaskHandle, TaskOutcome, TrySubmitError, WorkerPool,
    WorkerPoolBuilder,
};
#[cfg(feature = "scheduler")]
pub use scheduler::{
    BoxError, CatchUp, Cron, CronError, Due, EndReason, JobBuilder, JobContext, JobEvent,
    JobEventKind, JobHandle, JobState, JobStats, Misfire, Outcome, Overlap, RunCounts, RunOutcome,
    RunReport, ScheduleError, Scheduler, SchedulerBuildError, SchedulerBuilder, SchedulerDriver,
    SchedulerReport, SchedulerStats, Trigger, TriggerContext, TriggerNowError, UnknownZone,
};
