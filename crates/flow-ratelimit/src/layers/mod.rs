//! Limits in front of services: layers for `tower`, and what they answer to those who may not go.
//!
//! A layer of permits or of one limit decides when its service is asked whether it is ready, and
//! carries what it was granted to the call. One of keys decides in the call, since before it there
//! is no key. Who may not go is answered in the call: a service that is not ready would hold up
//! those behind it, and one that fails would be given up.

mod answer;
mod breaker;
mod error;
mod future;
mod gate;
mod key;
mod keyed;
mod patience;
mod permits;
mod rate;

pub use answer::{Answer, Fail, Respond, RespondWith};
#[cfg(feature = "http")]
pub use answer::{NoBody, ProblemJson, Refusal};
pub use breaker::{BrokenFuture, CircuitBreakerLayer, CircuitBroken};
pub use error::LimitError;
pub use future::LimitedFuture;
pub use gate::{ByKey, OneLimit};
pub use key::{DecideKey, WithoutKey};
pub use keyed::{KeyedFuture, KeyedRateLimit};
#[cfg(feature = "http")]
pub use permits::ByStatus;
pub use permits::{
    AdaptiveLayer, Bounded, BoundedFuture, ByResult, ConcurrencyLayer, Judge, Judged, Learning,
    PermitSource,
};
pub use rate::{RateLimit, RateLimitLayer};

/// Keeps others from implementing a trait whose methods may change.
mod sealed {
    pub trait Sealed {}
}
