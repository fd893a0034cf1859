//! Due again and again, by the clock or by the runs.

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use flow_rt::Instant;

use super::trigger::{CatchUp, Due, Trigger, TriggerContext};
use super::wall;
use crate::scheduler::error::ScheduleError;

/// A fixed rate: a grid of times one period apart. No lateness adds up, for ever.
///
/// The grid begins at the job's start, or, [`aligned`](Self::aligned), at the epoch: then the
/// same job is due at the same times in every process and after every restart.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use flow_rt::Instant;
/// use flow_sched::{Due, Every, Trigger, TriggerContext};
///
/// let noon = UNIX_EPOCH + Duration::from_secs(12 * 3_600 + 100);
/// let cx = TriggerContext::new(Instant::ORIGIN, noon);
/// let quarter = Every::new(Duration::from_secs(900)).aligned();
/// assert_eq!(quarter.next(&cx), Some(Due::Wall(noon + Duration::from_secs(800))));
/// let later = quarter.phase(Duration::from_secs(60));
/// assert_eq!(later.next(&cx), Some(Due::Wall(noon + Duration::from_secs(860))));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every {
    period: Duration,
    phase: Duration,
    aligned: bool,
    first: bool,
}

impl Every {
    /// Due every `period` from the job's start, the first time one period from it.
    ///
    /// The period must not be zero: checked when the job is started.
    pub fn new(period: Duration) -> Self {
        Self {
            period,
            phase: Duration::ZERO,
            aligned: false,
            first: false,
        }
    }

    /// Moves the grid by `phase`: due `phase` after the job's start (or after each multiple of the
    /// period since the epoch, if [`aligned`](Self::aligned)), and then one period apart.
    ///
    /// A phase of zero is due at the start itself.
    pub fn phase(mut self, phase: Duration) -> Self {
        self.phase = phase;
        self.first = true;
        self
    }

    /// Lays the grid from the epoch, on the wall clock.
    pub fn aligned(mut self) -> Self {
        self.aligned = true;
        self
    }

    /// The period in nanoseconds, one at the least.
    fn nanos(self) -> u64 {
        u64::try_from(self.period.as_nanos())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    fn phase_nanos(self) -> u64 {
        u64::try_from(self.phase.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The grid's origin on the monotonic clock.
    fn origin(self, cx: &TriggerContext) -> u64 {
        cx.started().as_nanos().saturating_add(self.phase_nanos())
    }

    /// Whole periods from the origin to `at`; `None` before it.
    fn periods(self, cx: &TriggerContext, at: Instant) -> Option<u64> {
        let past = at.as_nanos().checked_sub(self.origin(cx))?;
        Some(past / self.nanos())
    }

    fn tick(self, cx: &TriggerContext, periods: u64) -> Instant {
        let passed = self.nanos().saturating_mul(periods);
        Instant::from_nanos(self.origin(cx).saturating_add(passed))
    }

    /// The number of the first tick after what was due before: of the grid's first one, if nothing
    /// was, or only before the grid began.
    fn following(self, cx: &TriggerContext) -> u64 {
        cx.previous_instant()
            .and_then(|previous| self.periods(cx, previous))
            .map_or(u64::from(!self.first), |periods| periods.saturating_add(1))
    }

    /// The number of the tick at or before a time of the wall clock, counted from the epoch.
    fn aligned_tick(self, at: SystemTime) -> i128 {
        let nanos = wall::nanos(at) - i128::from(self.phase_nanos());
        nanos.div_euclid(i128::from(self.nanos()))
    }

    fn aligned_time(self, tick: i128) -> Option<SystemTime> {
        let nanos = tick * i128::from(self.nanos()) + i128::from(self.phase_nanos());
        let nanos = u64::try_from(nanos).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_nanos(nanos))
    }
}

impl Trigger for Every {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        if self.aligned {
            let tick = self.aligned_tick(cx.previous_wall()) + 1;
            return self.aligned_time(tick).map(Due::Wall);
        }
        Some(Due::At(self.tick(cx, self.following(cx))))
    }

    fn catch_up(&self, cx: &TriggerContext) -> Option<CatchUp> {
        if self.aligned {
            let previous = self.aligned_tick(cx.previous_wall());
            let latest = self.aligned_tick(cx.wall());
            let passed = u64::try_from(latest - previous).ok().filter(|&n| n > 0)?;
            return Some(CatchUp::new(self.aligned_time(latest)?, passed));
        }
        let next = self.following(cx);
        let latest = self.periods(cx, cx.now())?;
        (latest >= next).then(|| CatchUp::new(self.tick(cx, latest), latest - next + 1))
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), ScheduleError> {
        if self.period.is_zero() {
            return Err(ScheduleError::ZeroInterval);
        }
        Ok(())
    }
}

/// A fixed delay: so long after the end of each run; the first time so long after the job's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedDelay(Duration);

impl FixedDelay {
    /// Due `delay` after the end of each run. It must not be zero: checked when the job is
    /// started.
    pub fn new(delay: Duration) -> Self {
        Self(delay)
    }
}

impl Trigger for FixedDelay {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        Some(match cx.previous() {
            None => Due::At(cx.started() + self.0),
            Some(_) => Due::AfterRun(self.0),
        })
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), ScheduleError> {
        if self.0.is_zero() {
            return Err(ScheduleError::ZeroInterval);
        }
        Ok(())
    }
}
