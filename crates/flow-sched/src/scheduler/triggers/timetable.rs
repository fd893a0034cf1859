//! A job's trigger as the job keeps it: the common ones in place, all others shared.

use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use chrono_tz::Tz;
use flow_rt::Instant;

use super::intern::intern;
use super::trigger::{CatchUp, Due, Trigger, TriggerContext, walk};
use super::{After, Every, FixedDelay, Once};
use crate::cron::{Cron, CronError, split_zone};
use crate::scheduler::error::ScheduleError;

/// What a job asks when it is due. Cheap to clone, so that it can be asked outside of a lock.
#[derive(Clone)]
pub(crate) enum Timetable {
    Once(Due),
    After(Duration),
    Every {
        period: Duration,
        /// Where its grid begins. It stands here, as with a shared trigger, since no other timetable
        /// looks back at when it was laid out once it has given its first time.
        started: Instant,
    },
    FixedDelay(Duration),
    Cron(Cron),
    Shared {
        trigger: Arc<dyn Trigger>,
        started: Instant,
        /// Whether the driver itself may ask it.
        cheap: bool,
        recurring: bool,
    },
}

impl Timetable {
    /// Keeps a trigger. Asks it what it is, so its panic comes through here.
    pub(crate) fn of(trigger: Arc<dyn Trigger>) -> Self {
        Self::Shared {
            cheap: trigger.is_cheap(),
            recurring: trigger.is_recurring(),
            started: Instant::ORIGIN,
            trigger,
        }
    }

    /// A fixed rate.
    pub(crate) fn every(period: Duration) -> Self {
        let started = Instant::ORIGIN;
        Self::Every { period, started }
    }

    /// As a job keeps it that goes by it from `now` on.
    #[inline]
    pub(in crate::scheduler) fn laid_out(mut self, now: Instant) -> Self {
        if let Self::Cron(cron) = &self
            && let Some(period) = cron.pattern().period()
        {
            self = Self::every(period);
        }
        if let Self::Every { started, .. } | Self::Shared { started, .. } = &mut self {
            *started = now;
        }
        self
    }

    /// When it was laid out, if that matters to what it says.
    pub(in crate::scheduler) fn started(&self) -> Instant {
        match self {
            Self::Every { started, .. } | Self::Shared { started, .. } => *started,
            _ => Instant::ORIGIN,
        }
    }

    /// When a job is due first that is started now; `None` for timetables that are to be asked, and
    /// may want to know the time of day.
    #[inline]
    pub(in crate::scheduler) fn first(&self, now: Instant) -> Option<Due> {
        match self {
            Self::Once(due) => Some(*due),
            Self::After(delay) | Self::FixedDelay(delay) => Some(Due::At(now + *delay)),
            Self::Every { period, .. } => Some(Due::At(now + *period)),
            Self::Cron(_) | Self::Shared { .. } => None,
        }
    }

    /// Whether to ask it is a matter of a few instructions, none of them a user's. A pattern may
    /// look far ahead, and wants to know the time of day.
    pub(crate) fn is_ours(&self) -> bool {
        !matches!(self, Self::Shared { .. } | Self::Cron(_))
    }

    /// Whether to ask it may call what a user wrote, which may panic.
    pub(crate) fn may_panic(&self) -> bool {
        matches!(self, Self::Shared { .. })
    }
}

impl Trigger for Timetable {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        match self {
            Self::Once(due) => Once::new(*due).next(cx),
            Self::After(delay) => After::new(*delay).next(cx),
            Self::Every { period, .. } => Every::new(*period).next(cx),
            Self::FixedDelay(delay) => FixedDelay::new(*delay).next(cx),
            Self::Cron(cron) => cron.next(cx),
            Self::Shared { trigger, .. } => trigger.next(cx),
        }
    }

    fn catch_up(&self, cx: &TriggerContext) -> Option<CatchUp> {
        match self {
            Self::Every { period, .. } => Every::new(*period).catch_up(cx),
            Self::Cron(cron) => cron.catch_up(cx),
            Self::Shared { trigger, .. } => trigger.catch_up(cx),
            _ => walk(self, cx),
        }
    }

    fn after_run(&self, due: Due, cx: &TriggerContext) -> Option<Due> {
        match self {
            Self::Shared { trigger, .. } => trigger.after_run(due, cx),
            _ => Some(due),
        }
    }

    fn is_cheap(&self) -> bool {
        match self {
            Self::Shared { cheap, .. } => *cheap,
            _ => true,
        }
    }

    fn is_recurring(&self) -> bool {
        match self {
            Self::Once(_) | Self::After(_) => false,
            Self::Every { .. } | Self::FixedDelay(_) => true,
            Self::Cron(cron) => cron.is_recurring(),
            Self::Shared { recurring, .. } => *recurring,
        }
    }

    fn check(&self) -> Result<(), ScheduleError> {
        match self {
            Self::Every {
                period: interval, ..
            }
            | Self::FixedDelay(interval)
                if interval.is_zero() =>
            {
                Err(ScheduleError::ZeroInterval)
            }
            Self::Shared { trigger, .. } => trigger.check(),
            _ => Ok(()),
        }
    }
}

/// The pattern of a job, which shares its parsed form with other jobs; also, its first time after
/// `wall`, if it is one of times of day.
///
/// Takes the text if it is to be kept.
///
/// In the zone that the job was told, else in that which the text names, else in `zone`.
pub(in crate::scheduler) fn cron(
    text: &mut Cow<'static, str>,
    told: Option<Tz>,
    zone: Tz,
    wall: SystemTime,
) -> Result<(Cron, Option<SystemTime>), CronError> {
    let (own, pattern) = split_zone(text)?;
    let zone = told.or(own).unwrap_or(zone);
    if pattern.len() == text.len() {
        // All of it, as nearly always: what is kept is the text itself.
        return intern(text, zone, wall);
    }
    let mut pattern = Cow::Owned(pattern.trim_ascii().to_owned());
    intern(&mut pattern, zone, wall).map_err(|error| error.within(text.trim_ascii()))
}

/// An `@every` pattern is a fixed rate from the job's start, `@reboot` is due at the start; others
/// are due by the wall clock.
impl Trigger for Cron {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        if let Some(period) = self.pattern().period() {
            return Every::new(period).next(cx);
        }
        if self.pattern().is_reboot() {
            return cx.previous().is_none().then_some(Due::At(cx.started()));
        }
        self.next_after(cx.previous_wall()).map(Due::Wall)
    }

    fn catch_up(&self, cx: &TriggerContext) -> Option<CatchUp> {
        if let Some(period) = self.pattern().period() {
            return Every::new(period).catch_up(cx);
        }
        let walked = walk(self, cx)?;
        let now = cx.wall();
        // The walk is bounded: after a long absence the latest is found from the other side.
        let last = if self.matches(now) {
            Some(now)
        } else {
            self.prev_before(now)
        };
        let latest = last.map_or(walked.latest, |last| match walked.latest {
            Due::Wall(seen) if seen >= last => walked.latest,
            Due::Wall(_) => Due::Wall(last),
            other => other,
        });
        Some(CatchUp { latest, ..walked })
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn is_recurring(&self) -> bool {
        !self.pattern().is_reboot()
    }
}
