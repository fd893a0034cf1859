//! The everyday names: `use flow::prelude::*`.
//!
//! Nothing in here shadows a name of std's prelude or of `std::task`.

pub use flow_rt::{Backoff, CancellationToken, OnFull, TaskContext};

#[cfg(feature = "ratelimit")]
pub use flow_ratelimit::{
    Aimd, CircuitBreaker, ClassedLimiter, Composite, ConcurrencyLimiter, Denied, FairShare,
    Gradient2, KeyedLimiter, LeakyBucket, Limiter, LimiterExt, MultiBucket, Pacer, Rate,
    TokenBucket, Vegas,
};

#[cfg(all(feature = "ratelimit", feature = "tower"))]
pub use flow_ratelimit::RateLimitLayer;

#[cfg(feature = "sched")]
pub use flow_sched::{
    Chain, Cron, CronPattern, Dialect, DstPolicy, Jitter, JobContext, JobHandle, Misfire, OnError,
    Overlap, Scheduler, TaskHandle, WorkerPool,
};

#[cfg(feature = "stream")]
pub use flow_stream::{AsyncWriter, Channel};
