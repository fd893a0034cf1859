//! Gradient2: follows the ratio of unloaded latency to that of now.

use super::probing::{LIKELY, Probing};
use super::unloaded::CLEARLY_MORE;
use super::{AdaptiveConfigError, LimitAlgorithm, Window, check, share};

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
/// [`Vegas`](super::Vegas) and takes more windows down. Several clients of one service share it
/// less evenly than with Vegas or [`Aimd`](super::Aimd): nothing in it draws the larger one down.
#[derive(Clone, Debug)]
pub struct Gradient2 {
    tolerance: f64,
    smoothing: f64,
    /// Windows in a row with clearly more latency.
    high: u32,
    probing: Probing,
}

impl Gradient2 {
    /// Gradient2 with the defaults that are named at each parameter.
    pub fn new() -> Self {
        Self {
            tolerance: 1.02,
            smoothing: 0.3,
            high: 0,
            probing: Probing::new(),
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
        self.probing.tolerated = share;
        self
    }

    /// What a window of failures leaves of the limit; 0.9 otherwise.
    pub fn backoff(mut self, ratio: f64) -> Self {
        self.probing.backoff = ratio;
        self
    }

    /// After how many windows the unloaded latency is looked at; 30 otherwise.
    pub fn probe_every(mut self, windows: u32) -> Self {
        self.probing.every = windows;
        self
    }

    /// Makes the next limit.
    fn decide(&mut self, window: &Window) {
        let Some(now) = self.probing.see(window) else {
            return;
        };
        let is_high = now.latency.mean > now.unloaded.mean * CLEARLY_MORE;
        self.high = if is_high { self.high + 1 } else { 0 };
        if now.is_due || self.high >= HIGH {
            self.high = 0;
            self.probing.probe(now);
            return;
        }
        let gradient = (self.tolerance * now.unloaded.mean / now.recent.mean).clamp(0.5, 1.0);
        if gradient < 1.0 && now.recent.is_above(now.unloaded, LIKELY) {
            let left = 1.0 - self.smoothing * (1.0 - gradient);
            self.probing.shrink(now.limit * left);
        } else {
            self.probing.grow(false);
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
        self.probing.limit()
    }

    fn check(&self) -> Result<(), AdaptiveConfigError> {
        let is_right = self.tolerance >= 1.0 && self.tolerance.is_finite();
        check(is_right, "tolerance", self.tolerance, "at least 1")?;
        share("smoothing", self.smoothing)?;
        self.probing.check()
    }
}

/// Windows of clearly more latency before it is asked whether they are a queue.
const HIGH: u32 = 3;
