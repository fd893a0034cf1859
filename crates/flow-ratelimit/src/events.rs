//! What is rare and a person may want to see, as events of `tracing`. Nothing here is on the way
//! of a grant or a denial.

use core::fmt::Display;

use crate::circuit_breaker::{BreakerState, BreakerTransition};

/// A setting of a limiter was changed while it ran.
pub(crate) fn changed(limiter: Option<&str>, setting: &'static str, to: &dyn Display) {
    tracing::debug!(limiter, setting, %to, "a limit was changed");
}

/// A limiter lets nobody go any more.
pub(crate) fn closed(limiter: Option<&str>, waiting: usize) {
    tracing::debug!(limiter, waiting, "a limiter was closed");
}

/// The runtime that kept the time for those who wait has gone.
pub(crate) fn driver_lost(limiter: Option<&str>, runtime: &'static str, waiting: usize) {
    tracing::warn!(
        limiter,
        runtime,
        waiting,
        "a runtime has gone while callers waited on it; others of them keep the time now, if any"
    );
}

/// A circuit breaker has changed its state; a person should know of one that opens.
pub(crate) fn breaker_changed(breaker: Option<&str>, change: BreakerTransition) {
    let (from, to, cause) = (change.from, change.to, change.cause);
    if to == BreakerState::Open {
        tracing::warn!(breaker, %from, %cause, "a circuit breaker has opened");
    } else {
        tracing::debug!(breaker, %from, %to, %cause, "a circuit breaker has changed");
    }
}
