//! Token buckets on a server.

mod builder;
mod decide;
mod distributed;
mod error;
mod granted;
mod keyed;
#[cfg(feature = "metrics")]
mod metrics;
mod policy;
mod shared;

pub use builder::{Keyed, LimiterBuilder, Single};
pub use distributed::DistributedLimiter;
pub use error::{AcquireError, CheckError, DistributedConfigError};
pub use granted::{Granted, Source};
pub use keyed::KeyedDistributedLimiter;
pub use policy::FailurePolicy;
pub use shared::Stats;
