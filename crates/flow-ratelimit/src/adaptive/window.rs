//! What a limiter has seen since the last decision.

use core::time::Duration;

/// One window of samples: what a [`LimitAlgorithm`](super::LimitAlgorithm) decides by.
///
/// It can be made up, to test an algorithm without a limiter:
///
/// ```
/// use std::time::Duration;
/// use flow_ratelimit::{LimitAlgorithm, Vegas, Window};
///
/// let calm = Window::new(20).successes(100, Duration::from_millis(10)).max_in_flight(20);
/// let mut vegas = Vegas::default();
/// assert!(vegas.on_window(&calm) > 20); // nothing queues, and the limit was used
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    limit: u32,
    successes: u64,
    latency: Duration,
    deviation: Duration,
    fastest: Duration,
    failures: u64,
    max_in_flight: u32,
    length: Duration,
}

impl Window {
    /// An empty window under `limit`.
    pub const fn new(limit: u32) -> Self {
        Self {
            limit,
            successes: 0,
            latency: Duration::ZERO,
            deviation: Duration::ZERO,
            fastest: Duration::ZERO,
            failures: 0,
            max_in_flight: 0,
            length: Duration::ZERO,
        }
    }

    /// The same window with so many successes that took `latency` on average, the fastest too.
    #[must_use]
    pub const fn successes(mut self, count: u64, latency: Duration) -> Self {
        self.successes = count;
        self.latency = latency;
        self.fastest = latency;
        self
    }

    /// The same window with latencies that have such a standard deviation.
    #[must_use]
    pub const fn deviation(mut self, deviation: Duration) -> Self {
        self.deviation = deviation;
        self
    }

    /// The same window with so long a fastest success.
    #[must_use]
    pub const fn fastest(mut self, latency: Duration) -> Self {
        self.fastest = latency;
        self
    }

    /// The same window with so many failures.
    #[must_use]
    pub const fn failures(mut self, count: u64) -> Self {
        self.failures = count;
        self
    }

    /// The same window with at most so many permits held at once.
    #[must_use]
    pub const fn max_in_flight(mut self, permits: u32) -> Self {
        self.max_in_flight = permits;
        self
    }

    /// The same window, so long.
    #[must_use]
    pub const fn length(mut self, length: Duration) -> Self {
        self.length = length;
        self
    }

    /// The limit in force.
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Samples of permits that ended with `success`. Under much traffic only some permits are
    /// sampled: successes and failures in equal shares.
    pub const fn success_count(&self) -> u64 {
        self.successes
    }

    /// Samples of permits that ended with `failure`: refused or too late, for overload.
    pub const fn failure_count(&self) -> u64 {
        self.failures
    }

    /// The share of failures, 0 to 1; 0 of an empty window.
    pub fn failure_rate(&self) -> f64 {
        let all = self.successes.saturating_add(self.failures);
        self.failures as f64 / all.max(1) as f64
    }

    /// The mean latency of the successes; `None` without one, and if the clock was too coarse to
    /// see any.
    pub const fn mean_latency(&self) -> Option<Duration> {
        if self.successes == 0 || self.latency.is_zero() {
            return None;
        }
        Some(self.latency)
    }

    /// The standard deviation of the successes' latencies: how far one may be from the mean. The
    /// mean itself is about as many times more certain as the root of
    /// [`success_count`](Self::success_count) says.
    pub const fn latency_deviation(&self) -> Duration {
        self.deviation
    }

    /// The latency of the fastest success; `None` without one.
    pub const fn min_latency(&self) -> Option<Duration> {
        if self.successes == 0 {
            return None;
        }
        Some(self.fastest)
    }

    /// The most permits that were held at once, as far as samples saw.
    pub const fn most_in_flight(&self) -> u32 {
        self.max_in_flight
    }

    /// Whether at least half of the limit was in use: only then latency speaks of the limit.
    pub const fn is_busy(&self) -> bool {
        self.max_in_flight >= self.limit / 2 + self.limit % 2
    }

    /// How long it lasted, by the limiter's clock.
    pub const fn elapsed(&self) -> Duration {
        self.length
    }

    /// The mean latency in seconds, and how sure it is.
    pub(super) fn measured(&self) -> Option<Measured> {
        let latency = self.mean_latency()?;
        let deviation = self.deviation.as_secs_f64();
        Some(Measured {
            mean: latency.as_secs_f64(),
            variance: deviation * deviation / self.successes as f64,
        })
    }
}

/// A mean in seconds, with the variance that it has as a measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) mean: f64,
    pub(super) variance: f64,
}

impl Measured {
    /// The square of its relative error.
    pub(super) fn spread(self) -> f64 {
        self.variance / (self.mean * self.mean)
    }

    /// A newer measurement mixed in with `weight`, from 0 to 1.
    pub(super) fn mix(self, newer: Self, weight: f64) -> Self {
        let rest = 1.0 - weight;
        Self {
            mean: self.mean * rest + newer.mean * weight,
            variance: self.variance * rest * rest + newer.variance * weight * weight,
        }
    }

    /// Whether this is above `other` by more than so many standard errors.
    pub(super) fn is_above(self, other: Self, errors: f64) -> bool {
        let error = (self.variance + other.variance).sqrt();
        self.mean - other.mean > errors * error
    }
}
