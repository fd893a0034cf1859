//! Additive increase, multiplicative decrease.

use core::time::Duration;

use super::pace::{Pace, whole};
use super::{AdaptiveConfigError, LimitAlgorithm, Window, check, check_failures};

/// Grows until permits fail, or are slower than a latency that you name, and then takes a tenth
/// back.
///
/// It goes by what it is told and not by what it infers: it finds where the service begins to
/// refuse, or where it is as slow as [`max_latency`](Self::max_latency). A service that does
/// neither, however slow it becomes, drives the limit to the end of its range: take
/// [`Vegas`](super::Vegas) or [`Gradient2`](super::Gradient2) for that one.
///
/// After Netflix's `AIMDLimit`. Different from that: steps of growth widen, a decrease needs more
/// than a stray failure, and permits taken before the last decrease cause no second one.
#[derive(Clone, Debug)]
pub struct Aimd {
    backoff: f64,
    tolerated: f64,
    max_latency: Option<Duration>,
    limit: f64,
    pace: Pace,
}

impl Aimd {
    /// AIMD with the defaults that are named at each parameter.
    pub fn new() -> Self {
        Self {
            backoff: 0.9,
            tolerated: 0.01,
            max_latency: None,
            limit: 0.0,
            pace: Pace::default(),
        }
    }

    /// What a decrease leaves of the limit; 0.9 otherwise.
    pub fn backoff(mut self, ratio: f64) -> Self {
        self.backoff = ratio;
        self
    }

    /// The share of failures above which the limit is decreased; 0.01 otherwise.
    pub fn tolerate_failures(mut self, share: f64) -> Self {
        self.tolerated = share;
        self
    }

    /// The mean latency of a window above which the limit is decreased, as if it had failed; any
    /// latency is fine otherwise.
    pub fn max_latency(mut self, latency: Duration) -> Self {
        self.max_latency = Some(latency);
        self
    }

    /// The next limit.
    fn decide(&mut self, window: &Window) {
        if (self.limit - f64::from(window.limit())).abs() >= 1.0 {
            self.limit = f64::from(window.limit());
        }
        let is_slow = self.max_latency < window.mean_latency() && self.max_latency.is_some();
        if window.failure_rate() > self.tolerated || is_slow {
            self.pace.settle();
            self.limit *= self.backoff;
        } else if window.is_busy() {
            self.limit += self.pace.step(self.limit);
        }
    }
}

impl Default for Aimd {
    fn default() -> Self {
        Self::new()
    }
}

impl LimitAlgorithm for Aimd {
    fn on_window(&mut self, window: &Window) -> u32 {
        self.decide(window);
        whole(self.limit)
    }

    fn check(&self) -> Result<(), AdaptiveConfigError> {
        check_failures(self.tolerated, self.backoff)?;
        let seconds = self
            .max_latency
            .map_or(1.0, |latency| latency.as_secs_f64());
        check(seconds > 0.0, "largest latency", seconds, "more than 0 s")
    }
}
