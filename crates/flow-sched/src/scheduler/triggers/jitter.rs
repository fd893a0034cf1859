//! Spreading runs that would all begin at once.

use core::time::Duration;

use super::draw::{between, mix};
use crate::scheduler::error::ScheduleError;

/// A delay added to each time a job is due, so that jobs, or instances of one service, do not all
/// begin at once.
///
/// The timetable itself stays where it is: delays do not add up, and
/// [`JobContext::scheduled_at`](crate::JobContext::scheduled_at) is the time without the delay. A
/// run is late only if it is late for the delayed time, and none counts as missed while a run of
/// its time might still be delayed. That holds for a jitter shorter than the distance of two times:
/// a longer one may put a time off beyond its successor, which comes after it all the same, is late
/// by then, and counts as missed if the job's [`Misfire`](crate::Misfire) lets no such run in.
///
/// ```
/// use std::time::Duration;
/// use flow_sched::Jitter;
///
/// # flow_rt::sim::check(0..1, |rt| async move {
/// # let scheduler = flow_sched::Scheduler::builder().runtime(&rt).build().unwrap();
/// let report = scheduler.job("report", async |_cx| ()).cron("0 9 * * *");
/// // Always the same delay for this job, up to half an hour.
/// report.jitter(Jitter::stable(Duration::from_secs(1_800))).start().unwrap();
/// # });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter {
    kind: Kind,
    most: Duration,
    least: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Full,
    Equal,
    Stable,
}

impl Jitter {
    /// Drawn for each run, from zero to `most`: the best spread.
    pub const fn full(most: Duration) -> Self {
        Self {
            kind: Kind::Full,
            most,
            least: Duration::ZERO,
        }
    }

    /// Drawn for each run, from half of `most` to all of it.
    pub const fn equal(most: Duration) -> Self {
        Self {
            kind: Kind::Equal,
            most,
            least: Duration::ZERO,
        }
    }

    /// Chosen by the job's name, from zero to `most`: the same delay for each run, in every
    /// process and after every restart. A job without a name gets that of its place in the order
    /// of starts.
    pub const fn stable(most: Duration) -> Self {
        Self {
            kind: Kind::Stable,
            most,
            least: Duration::ZERO,
        }
    }

    /// At least so much; it must not be more than the most.
    pub const fn at_least(mut self, least: Duration) -> Self {
        self.least = least;
        self
    }

    pub(crate) fn check(self) -> Result<(), ScheduleError> {
        let Self { most, least, .. } = self;
        if most.is_zero() || least > most {
            return Err(ScheduleError::Jitter { least, most });
        }
        Ok(())
    }

    pub(crate) fn most(self) -> Duration {
        self.most
    }

    /// The delay of the run that is due at `due`, in nanoseconds of whatever clock. `stable` is the
    /// job's own number, `drawn` one of this job in this process.
    pub(crate) fn delay(self, stable: u64, drawn: u64, due: u64) -> Duration {
        match self.kind {
            Kind::Full => between(drawn ^ mix(due), self.least, self.most),
            Kind::Equal => {
                let least = self.least.max(self.most / 2);
                between(drawn ^ mix(due), least, self.most)
            }
            Kind::Stable => between(stable, self.least, self.most),
        }
    }
}
