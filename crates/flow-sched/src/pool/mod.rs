//! Tasks on a bounded number of slots.
//!
//! | file | idea |
//! |---|---|
//! | `worker_pool`, `builder`, `submit` | what users call |
//! | `room` | who may put a task into the queue |
//! | `lanes` | the queues by priority, and which is next |
//! | `roster` | which slots sleep, and whom to wake |
//! | `slot`, `place` | a slot's life, and running a task |
//! | `queued`, `task`, `lone` | a task in the queue: the cell that it shares with its handle, and that of one without |
//! | `blocking` | a slot's blocking closures, on a thread of the host's |
//! | `group`, `release`, `runtime` | tasks that wait for others, and pools on pools |
//! | `sizing`, `lookout`, `load` | a pool that finds its number of slots, who decides while they are all busy, and how busy it is |
//! | `core`, `shutdown` | the pool's life, from open to ended |
//! | `roll`, `dump` | its tasks, written down for who wants to read them |
//! | `stats`, `timing`, `hooks`, `metrics`, `events`, `error` | what is seen of it |
//! | `settings` | its builder, read from configuration |

mod blocking;
mod builder;
mod core;
mod dump;
mod error;
mod events;
mod group;
mod hooks;
mod inside;
mod lanes;
mod load;
mod lone;
#[cfg(feature = "adaptive")]
mod lookout;
#[cfg(feature = "metrics")]
mod metrics;
mod place;
mod queued;
mod release;
mod roll;
mod room;
mod roster;
mod runtime;
#[cfg(feature = "serde")]
mod settings;
mod shutdown;
#[cfg(feature = "adaptive")]
mod sizing;
mod slot;
mod stats;
mod stay;
mod submit;
mod task;
mod timing;
mod worker_pool;

pub use builder::{Slots, WorkerPoolBuilder};
pub use dump::{PoolDump, PoolPhase, PoolTask, PoolTasks};
pub use error::{PoolConfigError, Rejected, SubmitError, TaskError, TrySubmitError};
pub use group::{GroupError, PoolGroup};
pub use hooks::{TaskEnd, TaskOutcome};
pub use load::PoolLoad;
#[cfg(feature = "metrics")]
pub use metrics::PoolTimes;
pub use release::ReleaseSlot;
#[cfg(all(feature = "scheduler", feature = "serde"))]
pub(crate) use settings::Period;
pub use shutdown::{Shutdown, ShutdownReport};
#[cfg(feature = "adaptive")]
pub use sizing::{Sizing, SizingStats};
pub use stats::PoolStats;
#[cfg(feature = "scheduler")]
pub(crate) use submit::AbortOnDrop;
pub use submit::{Submit, SubmitDetached, SubmitTimeout};
pub use task::TaskHandle;
pub use worker_pool::WorkerPool;
