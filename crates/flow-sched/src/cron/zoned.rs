//! A pattern in a zone.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;
use std::sync::Arc;
#[cfg(feature = "scheduler")]
use std::time::SystemTime;

use chrono_tz::Tz;

use super::dialect::Dialect;
use super::dst::{self, DstPolicy};
use super::error::{CronError, CronPlace};
use super::iter::{CronAfter, CronBefore};
use super::name::{self, UnknownZone};
use super::parser::MAX_BYTES;
use super::pattern::{CronPattern, Spec};
use super::time::CronTime;
use super::zone::{self, Table};

/// A cron pattern in a time zone.
///
/// Five fields (minute, hour, day of month, month, day of week), or six with seconds before
/// them, or seven with years after them; `L`, `W`, `#`, names of months and weekdays; `@yearly`,
/// `@monthly`, `@weekly`, `@daily`, `@midnight`, `@hourly`, `@every 1h30m`, `@reboot`; before all
/// of it perhaps the zone, `TZ=Europe/Berlin` or `CRON_TZ=Europe/Berlin`. If both day fields are
/// restricted, a day that matches one of them is enough; a `+` before the weekday asks for both.
/// Other ways of writing are [`Dialect`]s.
///
/// In UTC unless the text or [`time_zone`](Self::time_zone) says otherwise. What happens on days
/// on which clocks change is said by the dialect, or by a [`DstPolicy`]. Years from 1900 to 2199
/// are searched.
///
/// ```
/// use flow_sched::Cron;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let office = Cron::new("0 9 * * MON-FRI")?.time_zone("Europe/Berlin")?;
/// assert_eq!(office, Cron::new("TZ=Europe/Berlin 0 9 * * 1-5")?);
/// assert_eq!(office.to_string(), "TZ=Europe/Berlin 0 9 * * MON-FRI");
/// assert!(Cron::new("0 0 30 2 *").is_err()); // there is no 30 February
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cron {
    pattern: Arc<CronPattern>,
    zone: Option<Tz>,
    table: &'static Table,
    dst: DstPolicy,
}

impl Cron {
    /// Reads a pattern of the dialect [`Dialect::Flow`].
    ///
    /// # Errors
    /// [`CronError`] if it cannot be read, or can never occur.
    ///
    /// # Cost
    /// About 0.2 µs. The first use of a zone in the process reads its clock changes, about 2 ms.
    pub fn new(pattern: &str) -> Result<Self, CronError> {
        Self::parse_as(pattern, Dialect::Flow)
    }

    /// Reads a pattern of a dialect.
    ///
    /// # Errors
    /// [`CronError`] if it cannot be read, or can never occur.
    pub fn parse_as(pattern: &str, dialect: Dialect) -> Result<Self, CronError> {
        Self::read(pattern, |text| CronPattern::parse_as(text, dialect))
    }

    /// Reads a pattern of a dialect that knows `H`; see [`CronPattern::parse_seeded`].
    ///
    /// # Errors
    /// [`CronError`] if it cannot be read, or can never occur.
    pub fn parse_seeded(pattern: &str, dialect: Dialect, seed: u64) -> Result<Self, CronError> {
        Self::read(pattern, |text| {
            CronPattern::parse_seeded(text, dialect, seed)
        })
    }

    fn read(
        text: &str,
        parse: impl FnOnce(&str) -> Result<CronPattern, CronError>,
    ) -> Result<Self, CronError> {
        let (zone, pattern) = split_zone(text)?;
        let pattern = parse(pattern).map_err(|error| error.within(text.trim_ascii()))?;
        let cron = Self::from(pattern);
        Ok(match zone {
            Some(zone) => cron.in_zone(zone),
            None => cron,
        })
    }

    pub(crate) fn from_shared(pattern: Arc<CronPattern>) -> Self {
        Self {
            dst: pattern.dst,
            pattern,
            zone: None,
            table: zone::table(Tz::UTC),
        }
    }

    /// The same pattern, read on the clocks of a zone of the IANA database.
    ///
    /// # Errors
    /// [`UnknownZone`] with the nearest name.
    pub fn time_zone(self, name: &str) -> Result<Self, UnknownZone> {
        Ok(self.in_zone(name::find(name)?))
    }

    /// The first time of day after `wall`; none of what has no times of day.
    #[cfg(feature = "scheduler")]
    pub(crate) fn first_time_after(&self, wall: SystemTime) -> Option<SystemTime> {
        match self.pattern.spec {
            Spec::Calendar(_) => self.next_after(wall),
            Spec::Every(_) | Spec::Reboot => None,
        }
    }

    pub(crate) fn in_zone(mut self, zone: Tz) -> Self {
        self.table = zone::table(zone);
        self.zone = Some(zone);
        self
    }

    /// The same pattern with this policy for clock changes instead of its dialect's.
    pub fn dst_policy(mut self, policy: DstPolicy) -> Self {
        self.dst = policy;
        self
    }

    /// What clock changes do to it.
    pub fn dst(&self) -> DstPolicy {
        self.dst
    }

    /// The pattern without its zone.
    pub fn pattern(&self) -> &CronPattern {
        &self.pattern
    }

    /// The zone's name.
    pub fn zone(&self) -> &'static str {
        self.tz().name()
    }

    fn tz(&self) -> Tz {
        self.zone.unwrap_or(Tz::UTC)
    }

    /// What it means, in English.
    pub fn describe(&self) -> String {
        let text = self.pattern.describe();
        match self.pattern.spec {
            Spec::Calendar(_) => format!("{text} ({})", self.zone()),
            _ => text,
        }
    }
}

/// Occurrences. They are whole seconds.
///
/// Times may be of any type that is a [`CronTime`], and what comes back is of the same type.
impl Cron {
    /// The first occurrence after `after`; `None` if there is none before the year 2200.
    ///
    /// That of an `@every` pattern is its period after `after`; `@reboot` has none.
    ///
    /// # Cost
    /// Some 30 ns. A bounded number of steps for every pattern.
    pub fn next_after<T: CronTime>(&self, after: T) -> Option<T> {
        let (second, _) = after.second()?;
        after.at_second(self.next_second(second)?)
    }

    /// The last occurrence before `before`; `None` if there is none since the year 1900.
    pub fn prev_before<T: CronTime>(&self, before: T) -> Option<T> {
        let (second, rest) = before.second()?;
        let end = second.checked_add(i64::from(rest))?;
        before.at_second(self.prev_second(end)?)
    }

    /// Whether `at` is an occurrence. An `@every` pattern has no times of its own: it matches none.
    #[allow(clippy::needless_pass_by_value)] // as the others take theirs
    pub fn matches<T: CronTime>(&self, at: T) -> bool {
        match (&self.pattern.spec, at.second()) {
            (Spec::Calendar(_), Some((second, false))) => {
                let next = second.checked_sub(1).and_then(|at| self.next_second(at));
                next == Some(second)
            }
            _ => false,
        }
    }

    /// The first `n` occurrences after `after`; fewer, if there are no more.
    pub fn next_n<T: CronTime + Clone>(&self, after: T, n: usize) -> Vec<T> {
        self.iter_after(after).take(n).collect()
    }

    /// The occurrences after `after`, in order.
    pub fn iter_after<T: CronTime + Clone>(&self, after: T) -> CronAfter<'_, T> {
        CronAfter::new(self, after)
    }

    /// The occurrences before `before`, from the last one on.
    pub fn iter_before<T: CronTime + Clone>(&self, before: T) -> CronBefore<'_, T> {
        CronBefore::new(self, before)
    }

    fn next_second(&self, after: i64) -> Option<i64> {
        match &self.pattern.spec {
            Spec::Calendar(fields) => {
                let mut steps = 0;
                let found = dst::next(fields, self.table, self.dst, after, &mut steps);
                // In the tests and under the fuzzer: of every search that there is.
                debug_assert!(steps <= dst::MOST_STEPS, "{self:?} took {steps} steps");
                found
            }
            Spec::Every(period) => after.checked_add(i64::from(*period)),
            Spec::Reboot => None,
        }
    }

    fn prev_second(&self, before: i64) -> Option<i64> {
        match &self.pattern.spec {
            Spec::Calendar(fields) => {
                let mut steps = 0;
                let found = dst::prev(fields, self.table, self.dst, before, &mut steps);
                // In the tests and under the fuzzer: of every search that there is.
                debug_assert!(steps <= dst::MOST_STEPS, "{self:?} took {steps} steps");
                found
            }
            Spec::Every(period) => before.checked_sub(i64::from(*period)),
            Spec::Reboot => None,
        }
    }
}

impl From<CronPattern> for Cron {
    fn from(pattern: CronPattern) -> Self {
        Self::from_shared(Arc::new(pattern))
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        Self::new(text)
    }
}

/// The same occurrences: patterns of the same times, in the same zone, with the same policy.
impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.pattern.spec == other.pattern.spec && self.tz() == other.tz() && self.dst == other.dst
    }
}

impl Eq for Cron {}

impl Hash for Cron {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pattern.spec.hash(state);
        self.tz().hash(state);
        self.dst.hash(state);
    }
}

/// The zone, unless it is UTC, and the pattern in its normal form. It reads back as an equal one,
/// in the same dialect and but for a policy of its own.
impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tz() != Tz::UTC {
            write!(f, "TZ={} ", self.zone())?;
        }
        self.pattern.fmt(f)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cron").field(&self.to_string()).finish()
    }
}

/// The bytes of the longest zone before a pattern, `CRON_TZ=America/Argentina/ComodRivadavia `.
const MAX_ZONE: usize = 41;

/// The zone before a pattern, and the rest.
pub(crate) fn split_zone(text: &str) -> Result<(Option<Tz>, &str), CronError> {
    let text = text.trim_ascii();
    // A pattern of as many bytes as are read may have a zone before it.
    if text.len() > MAX_BYTES + MAX_ZONE {
        return Err(CronError::TooLong {
            len: text.len(),
            max: MAX_BYTES,
        });
    }
    let prefix = text.strip_prefix("CRON_TZ=");
    let Some(rest) = prefix.or_else(|| text.strip_prefix("TZ=")) else {
        return Ok((None, text));
    };
    let (name, pattern) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let zone = name::find(name).map_err(|zone| {
        let start = text.len() - rest.len();
        let place = CronPlace::new(text, None, start..start + name.len());
        CronError::UnknownZone { place, zone }
    })?;
    Ok((Some(zone), pattern))
}
