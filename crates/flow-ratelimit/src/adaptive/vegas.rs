//! Vegas: as many as keep a short queue.

use super::probing::{BELOW, LIKELY, Probing, SIZE};
use super::{AdaptiveConfigError, LimitAlgorithm, Window, check, share};

/// Keeps a short queue at the service: the limit grows while less than `alpha` of it queues, and
/// is cut to just below the service's capacity when more than `beta` of it does.
///
/// Both are shares of a limit of 150. Of other limits what may queue goes with the square root: a
/// quarter of the limit may have half of the queue. So of several clients the larger sees too long
/// a queue first and makes room, and they come to equal shares.
///
/// How much queues follows from latency by Little's law: `limit × (1 − unloaded / latency)`. The
/// unloaded latency is what was seen after cuts and, where none was due, in *probes*: every 30
/// windows the limit is a fifth lower for one window.
///
/// After TCP Vegas (Brakmo and Peterson 1995) and Netflix's `VegasLimit`. Different from those:
/// what may queue is neither a number nor a share, the unloaded latency is never measured with a
/// queue of its own in it, a cut is as deep as the queue instead of a step per window, steps of
/// growth widen, and windows in which less than half of the limit was used change nothing, unless
/// permits failed.
///
/// It finds the capacity of services whose latency rises when they are full. With latencies that
/// vary by more than `beta` from window to window it stays below: make windows longer.
#[derive(Clone, Debug)]
pub struct Vegas {
    alpha: f64,
    beta: f64,
    probing: Probing,
}

impl Vegas {
    /// Vegas with the defaults that are named at each parameter.
    pub fn new() -> Self {
        Self {
            alpha: 0.03,
            beta: 0.08,
            probing: Probing::new(),
        }
    }

    /// The share of a limit of 150 that queues below which the limit grows; 0.03 otherwise.
    pub fn alpha(mut self, share: f64) -> Self {
        self.alpha = share;
        self
    }

    /// The share of a limit of 150 that queues above which the limit is cut; 0.08 otherwise.
    pub fn beta(mut self, share: f64) -> Self {
        self.beta = share;
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

    /// After how many windows without a cut the unloaded latency is looked at; 30 otherwise.
    pub fn probe_every(mut self, windows: u32) -> Self {
        self.probing.every = windows;
        self
    }

    /// Makes the next limit.
    fn decide(&mut self, window: &Window) {
        let Some(now) = self.probing.see(window) else {
            return;
        };
        let capacity = now.limit * now.unloaded.mean / now.recent.mean;
        let queue = now.limit - capacity;
        let size = (now.limit * SIZE).sqrt();
        let is_long = queue > (self.beta * size).max(1.5);
        if now.is_due {
            self.probing.probe(now);
        } else if is_long && now.recent.is_above(now.unloaded, LIKELY) {
            let least = now.limit / 2.0;
            self.probing.cut((capacity * BELOW).max(least), now);
        } else {
            self.probing.grow(queue > self.alpha * size);
        }
    }
}

impl Default for Vegas {
    fn default() -> Self {
        Self::new()
    }
}

impl LimitAlgorithm for Vegas {
    fn on_window(&mut self, window: &Window) -> u32 {
        self.decide(window);
        self.probing.limit()
    }

    fn check(&self) -> Result<(), AdaptiveConfigError> {
        share("alpha", self.alpha)?;
        share("beta", self.beta)?;
        check(self.alpha <= self.beta, "alpha", self.alpha, "at most beta")?;
        self.probing.check()
    }
}
