//! The latency of a service that nobody queues at.
//!
//! The difficulty of every algorithm that goes by latency: the least latency ever seen is wrong
//! once the service has become slower, and the latency of now holds the queue that the limit
//! itself made, so that the limit grows by its own queue for ever (concurrency-limits#165). Envoy
//! looks anew by cutting the traffic to a few requests; here a *probe* takes a fifth of the limit
//! away for one window, which is enough to be under the service's capacity.
//!
//! The answer is the median of the last probes. Two things are decided sooner, if they are more
//! than chance: a latency clearly below the answer proves it wrong; and if latency stays high
//! however the limit is lowered, it is no queue of ours, and the service is slower than it was.

use super::window::Measured;

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct Unloaded {
    /// The last probes, the newest overwrites the oldest.
    probes: [Option<Measured>; PROBES],
    next: usize,
    /// Enough windows were seen since it was last made anew; from now on probes alone count.
    is_sure: bool,
    /// The latency of the windows since the last change downwards.
    recent: Option<Measured>,
    lowered: Option<Lowered>,
    /// The limit before the first of those decreases that did not help.
    in_vain: Option<f64>,
}

/// What was before a decrease.
#[derive(Clone, Copy, Debug)]
struct Lowered {
    from: f64,
    latency: f64,
    is_probe: bool,
}

/// What a window says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) unloaded: Measured,
    pub(super) recent: Measured,
    /// The service is slower: the limit that was lowered in vain.
    pub(super) was_right: Option<f64>,
}

impl Unloaded {
    /// Takes in the window that ended, under `limit`.
    pub(super) fn see(&mut self, limit: f64, latency: Measured) -> Seen {
        let lowered = self.lowered.take();
        let known = self.latency().unwrap_or(latency);
        let is_high = latency.mean > known.mean * CLEARLY_MORE && latency.is_above(known, CERTAIN);
        let mut was_right = None;
        match lowered {
            Some(lowered) if is_high => {
                // A queue of ours alone would have lost what the limit lost, or be gone; of one that
                // others keep too, our share.
                let expected = (lowered.latency * limit / lowered.from).max(known.mean);
                let lost = lowered.latency - latency.mean;
                if lost >= HELPED * (lowered.latency - expected) {
                    self.in_vain = None;
                } else if let Some(from) = self.in_vain.take() {
                    was_right = Some(from);
                    self.restart(latency);
                } else {
                    self.in_vain = Some(lowered.from);
                }
            }
            Some(Lowered { is_probe: true, .. }) => self.push(latency),
            // A single window is too little to go by, and the luck of a few noisy ones would keep
            // the limit down for hundreds.
            _ if !is_high && !self.is_sure => {
                self.push(latency);
                self.is_sure = self.probes[FEW].is_some()
                    && (self.next == 0 || self.latency().is_some_and(|it| it.spread() < SURE));
            }
            _ => {}
        }
        if !is_high {
            self.in_vain = None;
        }
        let weight = (STEADY / latency.spread()).clamp(LEAST_WEIGHT, 1.0);
        let recent = self.recent.map_or(latency, |it| it.mix(latency, weight));
        self.recent = Some(recent);
        let unloaded = match self.latency() {
            Some(known) if !known.is_above(recent, CERTAIN) => known,
            _ => self.restart(recent),
        };
        Seen {
            unloaded,
            recent,
            was_right,
        }
    }

    /// The limit is lowered for latency's sake; `to_probe` if only to look.
    pub(super) fn lower(&mut self, from: f64, latency: Measured, to_probe: bool) {
        self.recent = None;
        self.lowered = Some(Lowered {
            from,
            latency: latency.mean,
            is_probe: to_probe,
        });
    }

    /// The last decrease did not help; the next one decides.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.in_vain.is_some()
    }

    /// The limit changes for another reason, or nothing is to be seen.
    pub(super) fn forget_recent(&mut self) {
        (self.recent, self.lowered, self.in_vain) = (None, None, None);
    }

    /// The median: a probe that did not get under the capacity counts as one of many.
    fn latency(&self) -> Option<Measured> {
        let mut known = self.probes;
        // What is not there comes last.
        let mean = |probe: Option<Measured>| probe.map_or(f64::INFINITY, |it| it.mean);
        known.sort_unstable_by(|a, b| mean(*a).total_cmp(&mean(*b)));
        let count = known.iter().flatten().count();
        let median = known.get(count.checked_sub(1)? / 2).copied().flatten()?;
        // Of normal values a median's error is a quarter above that of their mean.
        let variance = median.variance * 1.5 / count as f64;
        Some(Measured { variance, ..median })
    }

    fn restart(&mut self, latency: Measured) -> Measured {
        (self.probes, self.next, self.is_sure) = ([None; PROBES], 0, false);
        self.push(latency);
        latency
    }

    fn push(&mut self, latency: Measured) {
        self.probes[self.next] = Some(latency);
        self.next = (self.next + 1) % PROBES;
    }
}

const PROBES: usize = 8;
const FEW: usize = 3;
/// Times the unloaded latency: less, if it lasts, is learned by the probes.
const CLEARLY_MORE: f64 = 1.06;
/// Of what a decrease would take off a queue of ours alone.
const HELPED: f64 = 0.3;
/// Standard errors, in which chance is beaten once in tens of thousands of windows.
const CERTAIN: f64 = 4.0;
/// The square of the relative error up to which a window speaks for itself; of less certain
/// ones the recent latency is a mean.
const STEADY: f64 = 0.03 * 0.03;
/// The same of an answer that needs no more windows than a few.
const SURE: f64 = 0.022 * 0.022;
const LEAST_WEIGHT: f64 = 0.15;
