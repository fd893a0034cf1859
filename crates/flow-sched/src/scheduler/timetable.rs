//! Cron patterns as triggers.

use chrono_tz::Tz;

use super::intern::intern;
use super::trigger::{CatchUp, Due, Every, Trigger, TriggerContext, walk};
use crate::cron::{Cron, CronError, split_zone};

/// The pattern of a job, which shares its parsed form with other jobs.
///
/// In the zone that the text names, else in `zone`.
pub(super) fn cron(text: &str, zone: Tz) -> Result<Cron, CronError> {
    let (own, pattern) = split_zone(text)?;
    let cron = Cron::from_shared(intern(pattern)?);
    Ok(cron.in_zone(own.unwrap_or(zone)))
}

/// An `@every` pattern is a fixed rate from the job's start, `@reboot` is due at the start; others
/// are due by the wall clock.
impl Trigger for Cron {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        if let Some(period) = self.pattern().period() {
            return Every(period).next(cx);
        }
        if self.pattern().is_reboot() {
            return cx.previous().is_none().then_some(Due::At(cx.started()));
        }
        self.next_after(cx.previous_wall()).map(Due::Wall)
    }

    fn catch_up(&self, cx: &TriggerContext) -> Option<CatchUp> {
        if let Some(period) = self.pattern().period() {
            return Every(period).catch_up(cx);
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
}
