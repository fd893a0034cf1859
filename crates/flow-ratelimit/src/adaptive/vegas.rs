//! Vegas: as many as keep a short queue.

use super::pace::{Pace, whole};
use super::unloaded::Unloaded;
use super::{
    AdaptiveConfigError, LimitAlgorithm, Window, check, check_failures, check_probe, share,
};

/// Keeps a short queue at the service: the limit grows while less than `alpha` of it queues, and
/// is cut to just below the service's capacity when more than `beta` of it does.
///
/// How much queues follows from latency by Little's law: `limit × (1 − unloaded / latency)`. The
/// unloaded latency is what was seen after cuts and, where none was due, in *probes*: every 30
/// windows the limit is a fifth lower for one window.
///
/// After TCP Vegas (Brakmo and Peterson 1995) and Netflix's `VegasLimit`. Different from those:
/// the unloaded latency is never measured with a queue of its own in it, a cut is as deep as the
/// queue instead of a step per window, steps of growth widen, and windows in which less than half
/// of the limit was used change nothing.
///
/// It finds the capacity of services whose latency rises when they are full. With latencies that
/// vary by more than `beta` from window to window it stays below: make windows longer.
#[derive(Clone, Debug)]
pub struct Vegas {
    alpha: f64,
    beta: f64,
    tolerated: f64,
    backoff: f64,
    probe: u32,
    limit: f64,
    unloaded: Unloaded,
    pace: Pace,
    since_probe: u32,
    resume: Option<f64>,
}

impl Vegas {
    /// Vegas with the defaults that are named at each parameter.
    pub fn new() -> Self {
        Self {
            alpha: 0.03,
            beta: 0.08,
            tolerated: 0.01,
            backoff: 0.9,
            probe: 30,
            limit: 0.0,
            unloaded: Unloaded::default(),
            pace: Pace::default(),
            since_probe: 0,
            resume: None,
        }
    }

    /// The share of the limit that queues below which the limit grows; 0.03 otherwise.
    pub fn alpha(mut self, share: f64) -> Self {
        self.alpha = share;
        self
    }

    /// The share of the limit that queues above which the limit is cut; 0.08 otherwise.
    pub fn beta(mut self, share: f64) -> Self {
        self.beta = share;
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

    /// After how many windows without a cut the unloaded latency is looked at; 30 otherwise.
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
        // A probe is over, whatever it shows; after a cut the limit stays where it is.
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
        let capacity = self.limit * seen.unloaded.mean / seen.recent.mean;
        let queue = self.limit - capacity;
        if self.since_probe >= self.probe {
            self.since_probe = 0;
            self.unloaded.lower(self.limit, latency, true);
            self.resume = Some(self.limit);
            self.limit *= PROBE;
        } else if queue > (self.beta * self.limit).max(1.5)
            && seen.recent.is_above(seen.unloaded, LIKELY)
        {
            self.pace.settle();
            self.unloaded.lower(self.limit, latency, false);
            self.limit = (capacity * BELOW).max(self.limit / 2.0);
        } else {
            if queue > self.alpha * self.limit {
                self.pace.settle();
            }
            self.limit += self.pace.step(self.limit);
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
        whole(self.limit)
    }

    fn check(&self) -> Result<(), AdaptiveConfigError> {
        share("alpha", self.alpha)?;
        share("beta", self.beta)?;
        check(self.alpha <= self.beta, "alpha", self.alpha, "at most beta")?;
        check_failures(self.tolerated, self.backoff)?;
        check_probe(self.probe)
    }
}

/// Of the capacity: where a cut ends, so that the queue drains.
const BELOW: f64 = 0.95;
/// Of the limit: what a probe leaves.
const PROBE: f64 = 0.8;
/// Standard errors: a cut for less would be one for chance.
const LIKELY: f64 = 2.0;
