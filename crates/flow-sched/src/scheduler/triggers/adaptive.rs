//! Intervals that stretch with load.
//!
//! A trigger is asked about the future too, by `upcoming`, and more than once about one time. So
//! the interval is no answer of the trigger's: the job asks the source, once for each time that
//! comes due (`Job::fire`), and the trigger reads what came of it. If something else has happened
//! to the job while it asked, its step takes back what came of it.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flow_rt::Instant;

use super::trigger::{CatchUp, Due, Trigger, TriggerContext};
use crate::load::{LoadSource, in_range};
use crate::scheduler::error::ScheduleError;

/// Lets the interval of a job grow while something is busy; see
/// [`JobBuilder::adaptive`](crate::JobBuilder::adaptive).
///
/// # Formula
/// The source is asked once each time the job comes due, and what it says holds from the next
/// time on. With a load *l*, the threshold *t*, the factor *f* and the interval *i* until then:
///
/// | load | interval |
/// |---|---|
/// | *l* > *t* | *i* · *f*, up to the most |
/// | *t* / 2 ≤ *l* ≤ *t* | *i* |
/// | *l* < *t* / 2 | *i* / *f*, down to the interval the job was given |
///
/// So it takes *n* busy times in a row to stretch an interval by *f*ⁿ, as many idle ones to bring
/// it back, and a load that wavers about the threshold does not make it waver.
#[derive(Clone)]
#[must_use = "it does nothing until a job is told of it"]
pub struct Adaptive {
    source: Arc<dyn LoadSource>,
    most: Duration,
    threshold: f64,
    factor: f64,
}

impl Adaptive {
    /// Intervals up to `most`, by what `source` says: a [`PoolLoad`](crate::PoolLoad), a
    /// [`CpuLoad`](crate::CpuLoad), a closure.
    ///
    /// The source is asked in a task of the job's own, so that one that reads a file delays no
    /// other job; it must not block for long. If it panics, its job ends with
    /// [`EndReason::TriggerFailed`](crate::EndReason::TriggerFailed).
    pub fn new(source: impl LoadSource + 'static, most: Duration) -> Self {
        Self {
            source: Arc::new(source),
            most,
            threshold: 0.5,
            factor: 1.5,
        }
    }

    /// The load above which the interval grows; it shrinks below half of it. More than 0 and less
    /// than 1; 0.5 unless set.
    pub fn threshold(mut self, load: f64) -> Self {
        self.threshold = load;
        self
    }

    /// What the interval is multiplied or divided by: more than 1, up to 1000; 1.5 unless set.
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    fn check(&self, least: Duration) -> Result<(), ScheduleError> {
        let most = self.most;
        if most < least {
            return Err(ScheduleError::EmptyRange { least, most });
        }
        let given = self.threshold;
        if !(given > 0.0 && given < 1.0) {
            return Err(ScheduleError::Threshold { given });
        }
        let given = self.factor;
        if !(given > 1.0 && given <= MAX_FACTOR) {
            return Err(ScheduleError::Factor { given });
        }
        Ok(())
    }
}

impl fmt::Debug for Adaptive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adaptive")
            .field("most", &self.most)
            .field("threshold", &self.threshold)
            .field("factor", &self.factor)
            .finish_non_exhaustive()
    }
}

/// An interval that stretches, shared by the job that stretches it and the trigger that goes by it.
pub(crate) struct Stretch {
    adaptive: Adaptive,
    least: Duration,
    /// The interval now, in nanoseconds. Only the job's step that asks changes it, and there is one
    /// at a time (`State::asking`).
    nanos: AtomicU64,
}

impl Stretch {
    pub(crate) fn new(adaptive: Adaptive, least: Duration) -> Self {
        Self {
            adaptive,
            nanos: AtomicU64::new(nanos(least)),
            least,
        }
    }

    /// Asks the source, whose panic comes through; what to take back, should its answer not count.
    #[allow(clippy::cast_sign_loss)] // intervals and factors are positive
    pub(crate) fn ask(&self) -> u64 {
        let Adaptive {
            source,
            most,
            threshold,
            factor,
        } = &self.adaptive;
        let load = in_range(source.load());
        let before = self.nanos.load(Ordering::Relaxed);
        let after = if load > *threshold {
            // Rounded up: down, a short interval and a small factor would never grow.
            ((before as f64 * factor).ceil() as u64).min(nanos(*most))
        } else if load < threshold / 2.0 {
            ((before as f64 / factor) as u64).max(nanos(self.least))
        } else {
            before
        };
        self.nanos.store(after, Ordering::Relaxed);
        before
    }

    /// Goes by the interval from before an answer.
    pub(crate) fn take_back(&self, before: u64) {
        self.nanos.store(before, Ordering::Relaxed);
    }

    fn interval(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

/// Due after intervals that stretch: from one due time to the next, or from the end of a run.
pub(crate) struct Stretching {
    pub(crate) stretch: Arc<Stretch>,
    pub(crate) after_runs: bool,
}

impl Trigger for Stretching {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        let interval = self.stretch.interval();
        Some(match cx.previous_instant() {
            None => Due::At(cx.started() + interval),
            Some(_) if self.after_runs => Due::AfterRun(interval),
            Some(previous) => Due::At(previous + interval),
        })
    }

    fn catch_up(&self, cx: &TriggerContext) -> Option<CatchUp> {
        let previous = cx.previous_instant().filter(|_| !self.after_runs)?;
        let interval = nanos(self.stretch.interval());
        let passed = (cx.now().as_nanos().saturating_sub(previous.as_nanos())) / interval;
        let latest = Instant::from_nanos(previous.as_nanos() + passed * interval);
        (passed > 0).then(|| CatchUp::new(latest, passed))
    }

    fn check(&self) -> Result<(), ScheduleError> {
        if self.stretch.least.is_zero() {
            return Err(ScheduleError::ZeroInterval);
        }
        self.stretch.adaptive.check(self.stretch.least)
    }
}

/// One at the least, as the intervals of all triggers.
fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX).max(1)
}

const MAX_FACTOR: f64 = 1_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_intervals_grow_by_small_factors_too() {
        let most = Duration::from_nanos(4);
        let adaptive = Adaptive::new(|| 1.0, most).factor(1.25);
        let stretch = Stretch::new(adaptive, Duration::from_nanos(1));
        for before in [1, 2, 3, 4, 4] {
            assert_eq!(stretch.ask(), before);
        }
    }
}
