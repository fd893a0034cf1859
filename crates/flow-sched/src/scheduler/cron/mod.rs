//! Cron patterns in a time zone, through croner.
//!
//! croner's calendar arithmetic is trusted; its edges are not. It accepts patterns that never
//! occur and then searches for seconds, so every pattern passes `guard` first: a search for one
//! that does occur ends after some microseconds. A parsed pattern is 5 kB, so equal texts share
//! one (`intern`).

use core::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::trigger::{CatchUp, Due, Trigger, TriggerContext, walk};
use super::wall;
use super::zone::{self, UnknownZone};

mod guard;
mod intern;

pub use guard::CronError;

/// A cron pattern in a time zone: a [`Trigger`].
///
/// Five fields (minute, hour, day of month, month, day of week), or six with seconds before
/// them, or seven with years after them; `L`, `W`, `#`, names of months and weekdays; `@yearly`,
/// `@monthly`, `@weekly`, `@daily`, `@midnight`, `@hourly`. If both day fields are restricted, a
/// day that matches one of them is enough; a `+` before the weekday asks for both.
///
/// In UTC unless [`time_zone`](Self::time_zone) says otherwise. When a clock change skips the
/// time of a job with a fixed hour, minute and second, it runs at the end of the gap; when a
/// change repeats it, it runs the first time only. Other patterns follow the clock: nothing in
/// the gap, both times in the overlap.
///
/// ```
/// use flow_sched::Cron;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let office = Cron::new("0 9 * * MON-FRI")?.time_zone("Europe/Berlin")?;
/// assert_eq!(office.to_string(), "0 9 * * MON-FRI (Europe/Berlin)");
/// assert!(Cron::new("0 0 30 2 *").is_err()); // there is no 30 February
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cron {
    pattern: Arc<croner::Cron>,
    text: Arc<str>,
    zone: Tz,
}

impl Cron {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`CronError`] if it cannot be read, or can never occur.
    ///
    /// # Cost
    /// About 25 µs for a pattern seen first; under 1 µs for one that a live job uses.
    pub fn new(pattern: &str) -> Result<Self, CronError> {
        let (pattern, text) = intern::intern(pattern)?;
        Ok(Self {
            pattern,
            text,
            zone: Tz::UTC,
        })
    }

    /// The same pattern, read on the clocks of a zone of the IANA database.
    ///
    /// # Errors
    /// [`UnknownZone`] with the nearest name.
    pub fn time_zone(mut self, name: &str) -> Result<Self, UnknownZone> {
        self.zone = zone::find(name)?;
        Ok(self)
    }

    pub(crate) fn in_zone(mut self, zone: Tz) -> Self {
        self.zone = zone;
        self
    }

    /// The first occurrence after `after`; `None` if there is none before the year 5000.
    pub fn next_after(&self, after: SystemTime) -> Option<SystemTime> {
        let mut from = self.floor(after)?;
        for _ in 0..SEARCHES {
            match self.pattern.find_next_occurrence(&from, false) {
                Ok(next) => return to_system(&next),
                // Given up in a gap of more than two hours: a zone that changed sides of the date
                // line and skipped a day. Go on behind it.
                Err(croner::errors::CronError::TimeSearchLimitExceeded) => {
                    from = from.checked_add_signed(TimeDelta::days(1))?;
                }
                Err(_) => return None,
            }
        }
        None
    }

    /// The last occurrence up to `until`, itself included.
    fn last_until(&self, until: SystemTime) -> Option<SystemTime> {
        let from = self.floor(until)?;
        let last = self.pattern.find_previous_occurrence(&from, true).ok()?;
        to_system(&last)
    }

    /// The second that `at` lies in, on the zone's clock; occurrences are whole seconds.
    fn floor(&self, at: SystemTime) -> Option<DateTime<Tz>> {
        let seconds = i64::try_from(wall::nanos(at).div_euclid(1_000_000_000)).ok()?;
        let utc = DateTime::<Utc>::from_timestamp(seconds, 0)?;
        Some(utc.with_timezone(&self.zone))
    }
}

/// Days searched behind a gap that stopped croner.
const SEARCHES: usize = 366;

fn to_system(at: &DateTime<Tz>) -> Option<SystemTime> {
    let seconds = at.timestamp();
    let distance = core::time::Duration::from_secs(seconds.unsigned_abs());
    if seconds >= 0 {
        UNIX_EPOCH.checked_add(distance)
    } else {
        UNIX_EPOCH.checked_sub(distance)
    }
}

impl Trigger for Cron {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        self.next_after(cx.previous_wall()).map(Due::Wall)
    }

    fn catch_up(&self, cx: &TriggerContext) -> Option<CatchUp> {
        let walked = walk(self, cx)?;
        // The walk is bounded: after a long absence the latest is found from the other side.
        let latest = self
            .last_until(cx.wall())
            .map_or(walked.latest, |last| match walked.latest {
                Due::Wall(seen) if seen >= last => walked.latest,
                _ => Due::Wall(last),
            });
        Some(CatchUp { latest, ..walked })
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.zone.name())
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cron").field(&self.to_string()).finish()
    }
}
