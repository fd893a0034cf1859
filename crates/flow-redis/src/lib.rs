//! flow's limits across processes, on Redis or Valkey, from any async runtime.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use flow_ratelimit::Rate;
//! use flow_redis::{DistributedLimiter, FailurePolicy, RedisBackend};
//!
//! let redis = RedisBackend::connect("redis://127.0.0.1:6379")?; // connects at first use
//! let limiter = DistributedLimiter::builder(&redis)
//!     .key("api")
//!     .rate(Rate::per_second(1_000))
//!     .burst(2_000)
//!     .on_failure(FailurePolicy::Open)
//!     .build()?;
//! let granted = limiter.check().await?;
//! println!("{} left, says {:?}", granted.remaining(), granted.source());
//! # Ok(())
//! # }
//! ```
//!
//! A decision is one round trip: a script on the server reads the server's clock, refills the
//! bucket and takes the tokens, so that all processes agree however their clocks differ. What
//! happens while the server is away is chosen by name, and how long a decision can take is
//! bounded by the backend's timeout.
//!
//! | item | for |
//! |---|---|
//! | [`RedisBackend`] | one server, cluster or sentinel group; shared by everything here |
//! | [`DistributedLimiter`], [`KeyedDistributedLimiter`] | token buckets that many processes share |
//! | [`FailurePolicy`] | who decides while the server is away |
//! | [`Granted`], [`CheckError`], [`Source`] | what a decision says |
//!
//! # What is exact, and what is not
//! While the server keeps its data, admissions are at most burst + rate × time over all
//! processes. A bucket lost with its server, or with a primary whose last writes had not been
//! replicated, starts full again: one burst more for each loss.
//!
//! # Features
//! - `metrics`: catalogue entries, and a collector for each limiter.
//! - `tls`: `rediss://` addresses.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backend;
mod bucket;
mod driver;
mod error;
mod limiter;
mod store;

pub use backend::{BackendBuilder, RedisBackend};
pub use error::{ConnectError, RedisError};
pub use limiter::{
    AcquireError, CheckError, DistributedConfigError, DistributedLimiter, FailurePolicy, Granted,
    Keyed, KeyedDistributedLimiter, LimiterBuilder, Single, Source, Stats,
};
