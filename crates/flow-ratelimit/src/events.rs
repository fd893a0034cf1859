//! What is rare and a person may want to see, as events of `tracing`. Nothing here is on the way
//! of a grant or a denial.

use core::fmt::Display;
use core::sync::atomic::{AtomicU64, Ordering};

use flow_rt::Instant;

use crate::adaptive::Window;
use crate::circuit_breaker::{BreakerState, BreakerTransition};

/// A setting of a limiter was changed while it ran.
pub(crate) fn changed(limiter: Option<&str>, setting: &'static str, to: &dyn Display) {
    tracing::debug!(limiter, setting, %to, "a limit was changed");
}

/// An adaptive limiter has changed its limit, by a window of samples.
pub(crate) fn adapted(limiter: Option<&str>, to: u32, window: &Window) {
    let (from, failures) = (window.limit(), window.failure_rate());
    let latency = window.mean_latency().unwrap_or_default();
    tracing::trace!(
        limiter,
        from,
        to,
        ?latency,
        failures,
        "an adaptive limiter has changed its limit"
    );
}

/// An adaptive limiter has come down to the lowest limit that it may choose: what it protects
/// takes less than was thought, and is not protected any more.
pub(crate) fn at_the_lowest(limiter: Option<&str>, limit: u32, window: &Window) {
    let failures = window.failure_rate();
    let latency = window.mean_latency().unwrap_or_default();
    tracing::warn!(
        limiter,
        limit,
        ?latency,
        failures,
        "an adaptive limiter is at the lowest limit of its range"
    );
}

/// A limiter lets nobody go any more.
pub(crate) fn closed(limiter: Option<&str>, waiting: usize) {
    tracing::debug!(limiter, waiting, "a limiter was closed");
}

/// A limiter of a composite was closed, so that none of its requests is granted any more: the
/// first that was found so.
pub(crate) fn member_closed(limiter: Option<&str>, index: usize) {
    tracing::debug!(limiter, index, "a limit of a composite is closed");
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

/// A circuit breaker has changed its state; a person should know of one that opens, but not each
/// time that it opens again.
pub(crate) fn breaker_changed(
    breaker: Option<&str>,
    change: BreakerTransition,
    quiet: &Quiet,
    now: Instant,
) {
    let (from, to, cause) = (change.from, change.to, change.cause);
    if to == BreakerState::Open && quiet.may_warn(now) {
        tracing::warn!(breaker, %from, %cause, "a circuit breaker has opened");
    } else {
        tracing::debug!(breaker, %from, %to, %cause, "a circuit breaker has changed");
    }
}

/// Until when nobody is warned again, in nanoseconds. It orders nothing.
#[derive(Debug, Default)]
pub(crate) struct Quiet(AtomicU64);

impl Quiet {
    /// Whether somebody may be warned now: once a minute.
    pub(crate) fn may_warn(&self, now: Instant) -> bool {
        let until = self.0.load(Ordering::Relaxed);
        // A clock that was put back far is believed.
        let next = now.as_nanos().saturating_add(QUIET);
        if now.as_nanos() < until && until <= next {
            return false;
        }
        let (this, other) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0.compare_exchange(until, next, this, other).is_ok()
    }
}

/// A minute, in nanoseconds.
const QUIET: u64 = 60_000_000_000;
