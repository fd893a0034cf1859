//! What a primitive may ask of an async runtime: start a task, run blocking work, a timer, the
//! time. Adapters for tokio, smol and async-std; a short `impl` for any other executor.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use flow_rt::Handle;
//!
//! let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
//! let _inside = rt.enter();
//!
//! let handle = Handle::current()?;
//! let answer = rt.block_on(handle.spawn(async { 6 * 7 }))?;
//! assert_eq!(answer, 42);
//! # Ok(())
//! # }
//! ```
//!
//! | item | for |
//! |---|---|
//! | [`Runtime`], [`BoxTask`], [`Timer`], [`BoxTimer`], [`Instant`] | the contract: implement it to plug in an executor |
//! | [`Handle`] | a runtime held by value: what primitives store |
//! | [`JoinHandle`], [`AbortHandle`], [`TaskGroup`] | results of tasks |
//! | [`Timeout`], [`Interval`], [`block_on`] | waiting |
//! | [`CancellationToken`], [`TaskContext`], [`Deadline`], [`TraceContext`] | telling tasks to stop, by when to be done, and for whom they work |
//! | [`Backoff`], [`Handle::retry`], [`RetryBudget`] | trying again |
//! | [`Clock`], [`DefaultClock`], [`CoarseClock`], [`MonotonicClock`], [`ManualClock`] | time on hot paths |
//! | [`OnFull`] | one vocabulary for bounded queues |
//! | `sim`, `SteppedRuntime` | virtual time: a seeded simulation; a real host whose time is moved by hand (feature `sim`) |
//! | `on_every_runtime!`, `TestRuntime` | one suite of tests on every runtime, without sleeping (feature `sim`) |
//! | `conformance` | the suite that proves a runtime fit (feature `conformance`) |
//!
//! # Panics
//! A panic of a task is an error of its join handle, if panics unwind. With `panic = "abort"` it
//! ends the program, and so do two things that tokio says by a panic only, and this crate as an
//! error: that a runtime has no timers ([`HandleError::TimeDisabled`]), and that a timer was polled
//! after its runtime had shut down ([`Stopped`]).
//!
//! # Features
//! - `tokio`, `smol`, `async-std`: the adapter of that host. None is on by default; they add up.
//! - `tsc`: [`DefaultClock`] reads the time stamp counter where the kernel trusts it; on Linux on
//!   x86-64, nothing elsewhere.
//! - `fine-timer`: timers of async-io's precision for a tokio handle; enables `tokio`.
//! - `sim`: virtual time for tests: the deterministic simulation, stepped time on a real host, and
//!   the macro that runs one suite on both.
//! - `conformance`: the public test suite for runtimes.
//! - `serde`: `settings`, which reads the words and counts of builders in configuration files.
//! - `loom`: only with `--cfg loom`, for this workspace's models.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod adapter;
mod ambient;
mod backoff;
mod baggage;
mod block_on;
mod cancel;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod context;
mod deadline;
mod handle;
mod instant;
mod interval;
mod join;
mod on_full;
mod panics;
mod retry;
mod retry_budget;
mod rng;
mod runtime;
#[cfg(feature = "serde")]
pub mod settings;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "sim")]
pub mod stepped;
#[cfg(feature = "sim")]
pub mod suite;
mod task_group;
mod timeout;
mod timer;
mod trace_context;
#[cfg(feature = "sim")]
mod virtual_time;
mod with_context;

pub use ambient::{EnterGuard, simulated_entropy};
pub use backoff::{Backoff, BackoffConfigError, Delays, GiveUp};
pub use baggage::BaggageError;
pub use block_on::{BlockOnError, block_on};
pub use cancel::{CancellationToken, Cancelled, DropGuard};
pub use clock::{Clock, CoarseClock, CoarseClockError, DefaultClock, ManualClock, MonotonicClock};
pub use context::{ContextError, TaskContext};
pub use deadline::Deadline;
pub use handle::{DefaultAlreadySet, Handle, HandleError, RuntimeId};
pub use instant::Instant;
pub use interval::{Interval, MissedTicks, ZeroPeriod};
pub use join::{AbortHandle, JoinError, JoinHandle};
pub use on_full::OnFull;
pub use panics::{Panic, catch, contain};
pub use retry::{Retry, RetryError};
pub use retry_budget::{RetryBudget, RetryBudgetBuilder, RetryBudgetConfigError};
pub use runtime::{BoxBlocking, BoxTask, Runtime};
#[cfg(feature = "sim")]
pub use stepped::SteppedRuntime;
#[cfg(feature = "sim")]
pub use suite::TestRuntime;
pub use task_group::TaskGroup;
pub use timeout::{Timeout, TimeoutError};
pub use timer::{BoxTimer, Stopped, Timer};
pub use trace_context::{TraceContext, TraceContextError};
pub use with_context::WithContext;
