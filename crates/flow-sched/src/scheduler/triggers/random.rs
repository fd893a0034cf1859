//! Due at random.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::draw::{between, mix};
use super::trigger::{CatchUp, Due, Trigger, TriggerContext};
use crate::scheduler::error::ScheduleError;

/// Due after random intervals, each drawn from a range.
///
/// The draw depends on the job and on what was due before, so
/// [`upcoming`](crate::JobHandle::upcoming) tells the times that will come. If more than 65,536 of
/// them are missed at once, nobody walks through them all: 65,536 count as missed, and the next
/// interval is drawn from then on.
///
/// ```
/// # flow_rt::sim::check(0..1, |rt| async move {
/// use std::time::Duration;
/// use flow_sched::{RandomInterval, Scheduler};
///
/// let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
/// let refresh = RandomInterval::new(Duration::from_secs(50)..=Duration::from_secs(70));
/// scheduler.job("refresh", async |_cx| ()).trigger(refresh).start().unwrap();
/// # });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RandomInterval {
    least: Duration,
    most: Duration,
}

impl RandomInterval {
    /// Intervals from the range, both ends included. The least must not be zero, nor more than the
    /// most: checked when the job is started.
    pub fn new(range: RangeInclusive<Duration>) -> Self {
        let (least, most) = range.into_inner();
        Self { least, most }
    }
}

impl Trigger for RandomInterval {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        let previous = cx.previous_instant().unwrap_or(cx.started());
        let seed = cx.seed() ^ mix(previous.as_nanos());
        Some(Due::At(previous + between(seed, self.least, self.most)))
    }

    /// Each time hangs on the one before it, so there is no way to the latest but through all.
    fn catch_up(&self, cx: &TriggerContext) -> Option<CatchUp> {
        let (now, mut at, mut passed) = (cx.now(), *cx, 0);
        while let Some(due @ Due::At(next)) = self.next(&at)
            && next <= now
        {
            passed += 1;
            at = at.after(if passed <= MOST { due } else { Due::At(now) });
        }
        let latest = at.previous().filter(|_| passed > 0)?;
        Some(CatchUp {
            chained: true,
            ..CatchUp::new(latest, passed)
        })
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), ScheduleError> {
        if self.least.is_zero() {
            return Err(ScheduleError::ZeroInterval);
        }
        if self.least > self.most {
            let (least, most) = (self.least, self.most);
            return Err(ScheduleError::EmptyRange { least, most });
        }
        Ok(())
    }
}

/// So many times are walked through: half a millisecond of the driver's.
const MOST: u64 = 65_536;
