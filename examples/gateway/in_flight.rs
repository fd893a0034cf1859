//! How many requests may be at the upstream at once: a number, or what the upstream can bear.

use std::sync::Arc;

use flow_metrics::Collect;
use flow_ratelimit::{
    AdaptiveLimiter, AdaptiveOwnedPermit, ConcurrencyLimiter, Gradient2, OwnedPermit, PermitError,
};
use hyper::StatusCode;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The limit of either kind.
pub(crate) enum InFlight {
    Fixed(ConcurrencyLimiter),
    Adaptive(AdaptiveLimiter),
}

/// A place at the upstream, given back on drop.
pub(crate) enum Place {
    Fixed(OwnedPermit),
    Adaptive(AdaptiveOwnedPermit),
}

/// Requests that may be at the upstream at once; as many again may wait.
const LIMIT: u32 = 256;

impl InFlight {
    pub(crate) fn new(is_adaptive: bool) -> Result<Self, Failure> {
        if is_adaptive {
            let limiter = ConcurrencyLimiter::adaptive(Gradient2::default())
                .name(NAME)
                .range(16..=1_024)
                .initial(64)
                .max_waiters(LIMIT as usize);
            return Ok(Self::Adaptive(limiter.build()?));
        }
        let limiter = ConcurrencyLimiter::builder()
            .name(NAME)
            .limit(LIMIT)
            .max_waiters(LIMIT as usize);
        Ok(Self::Fixed(limiter.build()?))
    }

    pub(crate) async fn acquire(&self) -> Result<Place, PermitError> {
        Ok(match self {
            Self::Fixed(limiter) => Place::Fixed(limiter.acquire_owned().await?),
            Self::Adaptive(limiter) => Place::Adaptive(limiter.acquire_owned().await?),
        })
    }

    pub(crate) fn collector(&self) -> Arc<dyn Collect> {
        match self {
            Self::Fixed(limiter) => limiter.collector(),
            Self::Adaptive(limiter) => limiter.collector(),
        }
    }
}

impl Place {
    /// The upstream answered so, and its answer is at its end.
    pub(crate) fn answered(self, status: StatusCode) {
        match self {
            Self::Adaptive(permit) if is_overload(status) => permit.failure(),
            Self::Adaptive(permit) => permit.success(),
            Self::Fixed(permit) => drop(permit),
        }
    }

    /// The upstream did not answer in time.
    pub(crate) fn timed_out(self) {
        if let Self::Adaptive(permit) = self {
            permit.failure();
        }
    }
}

/// Whether the upstream says that it has too much to do. Other errors say nothing about that.
fn is_overload(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

const NAME: &str = "in-flight";

#[cfg(test)]
#[path = "in_flight/tests.rs"]
mod tests;
