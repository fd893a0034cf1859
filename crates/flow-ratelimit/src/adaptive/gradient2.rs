//! Gradient2: follows the ratio of unloaded latency to that of now.

use super::pace::{Pace, whole};
use super::unloaded::{CLEARLY_MORE, Unloaded};
use super::{
    AdaptiveConfigError, LimitAlgorithm, Window, check, check_failures, check_probe, share,
};

/// Follows the gradient, which is unloaded latency over that of now: at 1 the limit grows, below
/// it shrinks smoothly.
///
/// ```text
/// gradient = tolerance × unloaded / latency, from 0.5 to 1
/// limit    = limit × (1 − smoothing × (1 − gradient)), and a step more if the gradient is 1
/// ```
/// The unloaded latency comes from *probes*: every 30 windows, or when latency has stayed high for
/// three, the limit is a fifth lower for one window.
///
/// After Netflix's `Gradient2Limit`. Different from that: the latency it compares with is not an
/// average that follows the queue it made, the limit grows only at gradient 1 (there it grows at
/// 0.8 too, without end), and the tolerance is 1.02, so that it stays near the service's capacity
/// and not at one and a half of it.
///
/// It finds the capacity of services whose latency rises when they are full; it is smoother than
/// [`Vegas`](super::Vegas) and takes more windows down.
#[derive(Clone, Debug)]
pub struct Gradient2 {
    tolerance: f64,
    smoothing: f64,
    tolerated: f64,
    backoff: f64,
    probe: u32,
    limit: f64,
    unloaded: Unloaded,
    pace: Pace,
    since_probe: u32,
    high: u32,
    resume: Option<f64>,
}

impl Gradient2 {
    /// Gradient2 with the defaults that are named at each parameter.
    pub fn new() -> Self {
        Self {
            tolerance: 1.02,
            smoothing: 0.3,
            tolerated: 0.01,
            backoff: 0.9,
            probe: 30,
            limit: 0.0,
            unloaded: Unloaded::default(),
            pace: Pace::default(),
            since_probe: 0,
            high: 0,
            resume: None,
        }
    }

    /// How many times the unloaded latency may be before the limit shrinks; 1.02 otherwise. The
    /// limit settles near as many times the service's capacity.
    pub fn tolerance(mut self, ratio: f64) -> Self {
        self.tolerance = ratio;
        self
    }

    /// How much of a change one window makes, above 0 and up to 1; 0.3 otherwise.
    pub fn smoothing(mut self, share: f64) -> Self {
        self.smoothing = share;
        self
    }

    /// The share of failures above which the limit is cut whatever the latency; 0.01 otherwise.
    pub fn tolerate_failures(mut self, share: f64) -> Self {
        self.tolerated = share;
        self
    }

    /// What a window of failures leaves of the limit; 0.9 otherwise.
    pub fn backoff(mut self, ratio: f64) -> Self {
        self.backoff = ratio;
        self
    }

    /// After how many windows the unloaded latency is looked at; 30 otherwise.
    pub fn probe_every(mut self, windows: u32) -> Self {
        self.probe = windows;
        self
    }

    /// The next limit.
    fn decide(&mut self, window: &Window) {
        if (self.limit - f64::from(window.limit())).abs() >= 1.0 {
            self.limit = f64::from(window.limit());
        }
        if window.failure_rate() > self.tolerated {
            self.pace.settle();
            self.unloaded.forget_recent();
            self.limit = self.resume.take().unwrap_or(self.limit) * self.backoff;
            return;
        }
        let under = self.limit;
        // A probe is over, whatever it shows.
        let was_probe = self.resume.is_some();
        self.limit = self.resume.take().unwrap_or(self.limit);
        let Some(latency) = window.measured().filter(|_| window.is_busy()) else {
            self.unloaded.forget_recent();
            return;
        };
        let seen = self.unloaded.see(under, latency);
        if let Some(limit) = seen.was_right {
            self.limit = limit;
            return;
        }
        if was_probe {
            return;
        }
        self.since_probe += 1;
        let is_high = latency.mean > seen.unloaded.mean * CLEARLY_MORE;
        self.high = if is_high { self.high + 1 } else { 0 };
        if self.since_probe >= self.probe || self.high >= HIGH {
            (self.since_probe, self.high) = (0, 0);
            self.unloaded.lower(self.limit, latency, true);
            self.resume = Some(self.limit);
            self.limit *= PROBE;
            return;
        }
        let gradient = (self.tolerance * seen.unloaded.mean / seen.recent.mean).clamp(0.5, 1.0);
        if gradient < 1.0 && seen.recent.is_above(seen.unloaded, LIKELY) {
            self.pace.settle();
            self.limit *= 1.0 - self.smoothing * (1.0 - gradient);
        } else {
            self.limit += self.pace.step(self.limit);
        }
    }
}

impl Default for Gradient2 {
    fn default() -> Self {
        Self::new()
    }
}

impl LimitAlgorithm for Gradient2 {
    fn on_window(&mut self, window: &Window) -> u32 {
        self.decide(window);
        whole(self.limit)
    }

    fn check(&self) -> Result<(), AdaptiveConfigError> {
        let is_right = self.tolerance >= 1.0 && self.tolerance.is_finite();
        check(is_right, "tolerance", self.tolerance, "at least 1")?;
        share("smoothing", self.smoothing)?;
        check_failures(self.tolerated, self.backoff)?;
        check_probe(self.probe)
    }
}

/// Of the limit: what a probe leaves.
const PROBE: f64 = 0.8;
/// Windows of clearly more latency before it is asked whether they are a queue.
const HIGH: u32 = 3;
/// Standard errors: less is chance, and no gradient.
const LIKELY: f64 = 2.0;
