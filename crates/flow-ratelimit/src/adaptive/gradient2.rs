//! Gradient2: follows the ratio of unloaded latency to that of now.

use super::probing::{BELOW, LIKELY, Probing, SIZE};
use super::window::Measured;
use super::{AdaptiveConfigError, LimitAlgorithm, Window, check, share};

/// Follows the gradient, which is unloaded latency over that of now: the limit grows while latency
/// is tolerable, and what queues is taken off when it is not.
///
/// ```text
/// tolerable = unloaded × (1 + (tolerance − 1) × √(150 / limit))
/// gradient  = unloaded / latency, from 0.5 to 1
/// limit     = limit × (1 − smoothing × (1 − 0.95 × gradient)) if latency is above tolerable,
///             else a step more
/// ```
/// The larger a limit, the smaller the part of it that may queue. Clients of one service see one
/// latency: it is too high for the larger first, which makes room, and they come to equal shares.
///
/// The unloaded latency comes from *probes*: every 30 windows, or when latency was too high for
/// two, the limit is a fifth lower for one window. If latency did not follow the decrease before
/// it, a probe goes to two thirds: after a cut by a quarter that is half of what the limit was. If
/// it stays where it is there too, the service has become slower: that latency is the unloaded one
/// from then on, and the limit is what it was.
///
/// After Netflix's `Gradient2Limit`. Different from that: the latency it compares with is not an
/// average that follows the queue it made; the limit grows only while latency is tolerable (there
/// it grows at a gradient of 0.8 too, without end); what may queue depends on the limit; and a
/// decrease ends just below the service's capacity, so that the queue drains, whoever made it.
///
/// It finds the capacity of services whose latency rises when they are full. Unlike
/// [`Vegas`](super::Vegas) it grows until there is too much of a queue, without slower steps
/// before it, and two such windows in a row make it ask whether they are a queue at all.
#[derive(Clone, Debug)]
pub struct Gradient2 {
    tolerance: f64,
    smoothing: f64,
    /// Windows in a row with a latency that is too high.
    high: u32,
    probing: Probing,
}

impl Gradient2 {
    /// Gradient2 with the defaults that are named at each parameter.
    pub fn new() -> Self {
        Self {
            tolerance: 1.06,
            smoothing: 1.0,
            high: 0,
            probing: Probing::new(),
        }
    }

    /// How many times the unloaded latency may be before a limit of 150 shrinks; 1.06 otherwise.
    /// Of other limits, what is above 1 goes with the root: at a limit of 38 it is twice as much.
    pub fn tolerance(mut self, ratio: f64) -> Self {
        self.tolerance = ratio;
        self
    }

    /// How much of a decrease one window makes, above 0 and up to 1; 1 otherwise. Below 1, several
    /// clients leave a longer queue.
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
        let tolerance = self.tolerated(now.limit);
        let is_high = |it: Measured| {
            it.mean > now.unloaded.mean * tolerance && it.is_above(now.unloaded, LIKELY)
        };
        self.high = if is_high(now.latency) {
            self.high + 1
        } else {
            0
        };
        if now.is_due || self.high >= HIGH {
            self.high = 0;
            self.probing.probe(now);
        } else if is_high(now.recent) {
            let gradient = (now.unloaded.mean / now.recent.mean).clamp(0.5, 1.0);
            let left = 1.0 - self.smoothing * (1.0 - gradient * BELOW);
            self.probing.cut(now.limit * left, now);
        } else {
            self.probing.grow(false);
        }
    }

    /// How many times the unloaded latency may be under `limit`.
    fn tolerated(&self, limit: f64) -> f64 {
        // Never of no limit at all: a limiter's is at least 1.
        1.0 + (self.tolerance - 1.0) * (SIZE / limit.max(1.0)).sqrt()
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

/// Windows of too high a latency before it is asked whether they are a queue.
const HIGH: u32 = 2;
