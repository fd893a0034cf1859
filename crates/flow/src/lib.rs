//! Primitives for services under load, on any async runtime: limits, pools, schedules,
//! channels, metrics, and the same across processes.
//!
//! This crate re-exports the others by feature, gathers their errors in [`Error`], and their
//! everyday names in [`prelude`].
//!
#![cfg_attr(
    all(feature = "tokio", feature = "ratelimit", feature = "sched"),
    doc = "```"
)]
#![cfg_attr(
    not(all(feature = "tokio", feature = "ratelimit", feature = "sched")),
    doc = "```ignore"
)]
//! use std::time::Duration;
//! use flow::prelude::*;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), flow::Error> {
//!     let limiter = TokenBucket::new(Rate::per_second(1), 10)?;            // 1/s, bursts of 10
//!     let pool = WorkerPool::builder().slots(1..=5).queue(100).build()?;
//!     let scheduler = Scheduler::builder().pool(&pool).build()?;
//!
//!     scheduler.job("cleanup", async |_cx| remove_old_files().await).cron("@daily").start()?;
//!
//!     if limiter.try_acquire().is_ok() {
//!         let answer = pool.run(async |_cx| 6 * 7).await?;
//!         println!("{answer}");
//!     }
//!     scheduler.shutdown(Duration::from_secs(5)).await;
//!     let report = pool.shutdown(Duration::from_secs(5)).await;
//!     println!("{report}");
//!     Ok(())
//! }
//!
//! async fn remove_old_files() {}
//! ```
//!
//! | feature | module | for |
//! |---|---|---|
//! | always | [`rt`] | runtimes, tasks, cancellation, time |
//! | `ratelimit` | `ratelimit` | who may go now |
//! | `sched` | `sched` | what runs when and where |
//! | `stream` | `stream` | data in motion |
//! | `metrics` | `metrics` | what is going on |
//! | `redis` | `redis` | the same limits across processes; with `tls`, over `rediss://` too |
//!
//! Runtimes are features too: **`tokio`** (the default), `smol`, `async-std`; they add up.
//! **`tsc`** lets limits read the time stamp counter where the kernel trusts it, `fine-timer`
//! gives a tokio handle timers finer than a millisecond, `sim` is virtual time for your tests.
//! `chrono` and `jiff` let cron patterns take and give the times of those crates.
//! With `ratelimit`, `tower` has its limits as layers, and `http` the fields that tell of them.
//! `serde` reads builders, rates and cron patterns from configuration files, and writes snapshots;
//! `tracing` has an event for what is rare and a person wants to see.
//! `full` is every crate on every maintained runtime.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
pub mod prelude;

#[cfg(feature = "metrics")]
pub use flow_metrics as metrics;
#[cfg(feature = "ratelimit")]
pub use flow_ratelimit as ratelimit;
#[cfg(feature = "redis")]
pub use flow_redis as redis;
pub use flow_rt as rt;
#[cfg(feature = "sched")]
pub use flow_sched as sched;
#[cfg(feature = "stream")]
pub use flow_stream as stream;

pub use error::Error;

/// The README's programs, compiled and run.
#[cfg(all(doctest, feature = "tokio", feature = "ratelimit", feature = "sched"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
