//! What the algorithms that go by latency have in common.
//!
//! Both cut the limit after failures, look at windows in which the limit was used, know the
//! unloaded latency from [`Unloaded`], and lower the limit for a window now and then to learn it
//! anew. What they make of a latency that is too high is theirs.

use super::pace::{Pace, whole};
use super::unloaded::Unloaded;
use super::window::Measured;
use super::{AdaptiveConfigError, Window, check, check_failures};

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Probing {
    /// The share of failures that cuts nothing, and what more of them leave of the limit.
    pub(super) tolerated: f64,
    pub(super) backoff: f64,
    /// Windows from probe to probe.
    pub(super) every: u32,
    limit: f64,
    unloaded: Unloaded,
    pace: Pace,
    since: u32,
    /// The limit to go back to when the probe is over.
    resume: Option<f64>,
}

/// A window to decide by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) limit: f64,
    /// Of this window alone.
    pub(super) latency: Measured,
    /// Of the windows since the last decrease.
    pub(super) recent: Measured,
    pub(super) unloaded: Measured,
    /// It is time for a probe.
    pub(super) is_due: bool,
}

impl Probing {
    pub(super) fn new() -> Self {
        Self {
            tolerated: 0.01,
            backoff: 0.9,
            every: 30,
            limit: 0.0,
            unloaded: Unloaded::default(),
            pace: Pace::default(),
            since: 0,
            resume: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), AdaptiveConfigError> {
        check_failures(self.tolerated, self.backoff)?;
        let given = f64::from(self.every);
        let is_right = self.every > 0;
        check(is_right, "windows between probes", given, "at least 1")
    }

    /// The limit that permits are given by.
    pub(super) fn limit(&self) -> u32 {
        whole(self.limit)
    }

    /// Takes in a window; `None` if the limit is settled by that, or the window says nothing.
    pub(super) fn see(&mut self, window: &Window) -> Option<Now> {
        if (self.limit - f64::from(window.limit())).abs() >= 1.0 {
            self.limit = f64::from(window.limit());
        }
        let under = self.limit;
        // A probe is over, whatever it shows.
        let was_probe = self.resume.is_some();
        self.limit = self.resume.take().unwrap_or(self.limit);
        if window.failure_rate() > self.tolerated {
            self.pace.settle();
            self.unloaded.forget_recent();
            self.limit *= self.backoff;
            return None;
        }
        let Some(latency) = window.measured().filter(|_| window.is_busy()) else {
            self.unloaded.forget_recent();
            return None;
        };
        let seen = self.unloaded.see(under, latency);
        if let Some(limit) = seen.was_right {
            self.limit = limit;
            return None;
        }
        if was_probe {
            return None;
        }
        self.since += 1;
        Some(Now {
            limit: self.limit,
            latency,
            recent: seen.recent,
            unloaded: seen.unloaded,
            is_due: self.since >= self.every,
        })
    }

    /// Lowers the limit for a window, only to look; and lower if a look just now was in vain: one
    /// of several clients takes off only its share of a queue.
    pub(super) fn probe(&mut self, now: Now) {
        self.since = 0;
        self.unloaded.lower(self.limit, now.latency, true);
        self.resume = Some(self.limit);
        self.limit *= if self.unloaded.is_in_doubt() {
            PROBE * PROBE
        } else {
            PROBE
        };
    }

    /// Lowers the limit, for latency's sake.
    pub(super) fn cut(&mut self, to: f64, now: Now) {
        self.pace.settle();
        self.unloaded.lower(self.limit, now.latency, false);
        self.limit = to;
    }

    /// Raises the limit by a step; a small one if `is_near` the mark.
    pub(super) fn grow(&mut self, is_near: bool) {
        if is_near {
            self.pace.settle();
        }
        self.limit += self.pace.step(self.limit);
    }
}

/// Of the limit: what a probe leaves.
const PROBE: f64 = 0.8;
/// Standard errors: less is chance, and changes nothing.
pub(super) const LIKELY: f64 = 2.0;
/// Of the capacity: where a cut ends, so that the queue drains.
pub(super) const BELOW: f64 = 0.95;
/// The limit for which it is said what may queue. Of others it goes with the square root: a quarter
/// of the limit may have half of the queue.
pub(super) const SIZE: f64 = 150.0;
