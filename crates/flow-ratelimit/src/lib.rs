//! Who may go now: exact token buckets, with waiting first in, first out, on any runtime.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use flow_ratelimit::{Rate, TokenBucket};
//! use flow_rt::sim::Sim;
//!
//! Sim::new(0).run(|_rt| async {
//!     let bucket = TokenBucket::builder().rate("100/s").burst(2).build()?;
//!     bucket.try_acquire_n(2)?;
//!     assert!(bucket.try_acquire().is_err());
//!
//!     bucket.acquire().await?; // 10 ms later
//!     bucket.set_rate(Rate::per_second(500))?;
//!     bucket.acquire_timeout(Duration::from_millis(2)).await?;
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! })?.output
//! # }
//! ```
//!
//! | item | for |
//! |---|---|
//! | [`TokenBucket`] | bursts up to so many, then a rate |
//! | [`LeakyBucket`] | the same, seen as a level that leaks |
//! | [`Pacer`] | one at a time, evenly spaced: the leaky bucket as a queue |
//! | [`KeyedLimiter`], [`KeyedClass`], [`OneKey`] | a bucket for each key, in fixed memory |
//! | [`MultiBucket`] | per second and per hour: several limits in one bucket |
//! | [`FairShare`], [`Share`] | one rate for several children, by weight: guaranteed, and borrowed |
//! | [`Composite`] | several limiters of any kind at once, all or nothing |
//! | [`Reservation`] | tokens taken ahead of time |
//! | [`Snapshot`], [`KeyedSnapshot`], [`FairShareSnapshot`] | a bucket carried over a restart; those of many keys; children |
//! | [`LocalBucket`], [`OwnedLocalBucket`] | its tokens, taken by the batch |
//! | [`ConcurrencyLimiter`], [`Permit`], [`OwnedPermit`] | so many at once |
//! | [`ClassedLimiter`], [`PermitClass`] | the same by priority, with a share for each class |
//! | [`AdaptiveLimiter`], [`AdaptivePermit`] | so many at once as the service can bear |
//! | [`Gradient2`], [`Vegas`], [`Aimd`], [`LimitAlgorithm`] | what finds out how many that is |
//! | [`CircuitBreaker`], [`CallPermit`], [`OwnedCallPermit`], [`CallError`] | no calls to what fails or is slow |
//! | [`Rate`], [`Quota`] | so many per so much time, exactly; with a burst beside it |
//! | [`Fairness`] | whether newcomers may pass those who wait |
//! | [`Limiter`], [`LimiterExt`] | every limiter of this process; its futures |
//! | [`Decide`] | whoever says who may go, here or on a server: what layers ask |
//! | `RateLimitLayer`, `ConcurrencyLayer`, `AdaptiveLayer`, `CircuitBreakerLayer` | the same in front of a `tower` service: feature `tower` |
//! | `fields` | the fields of HTTP that tell of limits: feature `http` |
//! | [`Granted`], [`Denied`], [`AcquireError`], [`AcquireBlockingError`], [`ConfigError`] | answers |
//!
//! # Features
//! - **`tsc`** (on unless switched off): the default clock reads the processor's time stamp counter
//!   where the kernel trusts it, at less than half the price; on Linux on x86-64.
//! - `metrics`: `collector()` on a limiter, for a `flow_metrics::Registry`.
//! - `serde`: [`Rate`] and [`Quota`] as their text, builders from settings, snapshots.
//! - `tracing`: events for what is rare: limits changed and closed (`DEBUG`), a runtime that goes
//!   while callers wait on it, a breaker that opens, an adaptive limiter at its lowest (`WARN`);
//!   each change of an adaptive limit (`TRACE`).
//! - `tower`: layers, with `http` for HTTP, and without it for any service.
//! - `http`: `RateLimit`, `RateLimit-Policy` and `Retry-After`, for servers and clients.
//! - `loom`: only with `--cfg loom`, for this workspace's models.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod adaptive;
mod circuit_breaker;
mod classed;
mod composite;
mod concurrency;
mod decisions;
mod error;
#[cfg(feature = "tracing")]
mod events;
mod fair_share;
#[cfg(feature = "http")]
pub mod fields;
mod granted;
mod jitter;
mod keyed;
#[cfg(feature = "tower")]
mod layers;
mod leaky_bucket;
mod limiter;
mod multi_bucket;
mod params;
mod quota;
mod rate;
mod seldom;
#[cfg(feature = "serde")]
mod settings;
mod supply;
#[cfg(feature = "serde")]
mod text;
mod token_bucket;
mod unpark;
mod wait_state;
mod waiting;
mod wakes;

pub use adaptive::{
    AdaptiveConfigError, AdaptiveLimiter, AdaptiveLimiterBuilder, AdaptiveOwnedPermit,
    AdaptivePermit, AdaptiveStats, Aimd, Gradient2, LimitAlgorithm, Vegas, Window,
};
pub use circuit_breaker::{
    BreakerCause, BreakerConfigError, BreakerState, BreakerTransition, CallError, CallPermit,
    CallRejected, CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerStats, ClassifiedCalls,
    OpenFor, OwnedCallPermit, Verdict,
};
pub use classed::{
    ClassPermit, ClassStats, ClassedConfigError, ClassedLimiter, ClassedLimiterBuilder,
    OwnedClassPermit, PermitClass,
};
pub use composite::{Composite, CompositeBuilder, CompositeStats, DeniedBy, Limits};
pub use concurrency::{
    AcquireOwnedPermit, AcquirePermit, AcquirePermitTimeout, ConcurrencyConfigError,
    ConcurrencyLimiter, ConcurrencyLimiterBuilder, ConcurrencyStats, MergeError, OwnedPermit,
    Permit, PermitError, TryPermitError,
};
pub use error::{AcquireBlockingError, AcquireError, ConfigError, Denied};
pub use fair_share::{
    FairShare, FairShareBuilder, FairShareSnapshot, FairShareStats, Share, ShareStats,
};
pub use granted::Granted;
pub use keyed::{
    Exact, Hashed, KeyedClass, KeyedLimiter, KeyedLimiterBuilder, KeyedLimiterStats, KeyedSnapshot,
    OneKey, WhenFull,
};
#[cfg(feature = "tower")]
pub use layers::{
    AdaptiveLayer, Answer, Bounded, BoundedFuture, BrokenFuture, ByKey, ByResult,
    CircuitBreakerLayer, CircuitBroken, ConcurrencyLayer, DecideKey, Fail, Judge, Judged,
    KeyedFuture, KeyedRateLimit, Learning, LimitError, LimitedFuture, OneLimit, PermitSource,
    RateLimit, RateLimitLayer, Respond, RespondWith, WithoutKey,
};
#[cfg(all(feature = "tower", feature = "http"))]
pub use layers::{ByStatus, NoBody, ProblemJson, Refusal};
pub use leaky_bucket::{
    LeakyBucket, LeakyBucketBuilder, LeakyBucketStats, Pacer, PacerBuilder, PacerStats,
};
pub use limiter::{Acquire, AcquireTimeout, Decide, Limiter, LimiterExt};
pub use multi_bucket::{
    DeniedByLimit, LimitStats, MultiBucket, MultiBucketBuilder, MultiBucketStats,
};
pub use quota::{IntoQuota, Quota};
pub use rate::{IntoRate, Rate};
pub use token_bucket::{
    AwaitReservation, Fairness, LocalBucket, OwnedLocalBucket, Reservation, Snapshot, TokenBucket,
    TokenBucketBuilder, TokenBucketStats,
};
pub use wait_state::WaitState;
