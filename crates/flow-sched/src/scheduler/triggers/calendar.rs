//! Times at which nothing is to run.

use core::fmt;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, Datelike, NaiveDate};
use chrono_tz::Tz;

use super::wall;
use crate::cron::{Cron, UnknownZone, name};

/// Says which times are excluded. Implement it for a calendar of your own; [`Holidays`] and
/// [`Window`](crate::Window) are two.
///
/// It is asked in the course of [`Trigger::next`](crate::Trigger::next), and what holds there
/// holds here: it should answer at once, and a panic ends the job.
pub trait Calendar: Send + Sync + 'static {
    /// If `at` is excluded, the end of the span that it lies in, which is later than `at` and not
    /// excluded by this span any more; `None` if it is not excluded.
    fn excluded_until(&self, at: SystemTime) -> Option<SystemTime>;
}

impl<C: Calendar + ?Sized> Calendar for Arc<C> {
    fn excluded_until(&self, at: SystemTime) -> Option<SystemTime> {
        (**self).excluded_until(at)
    }
}

/// Whole days that are excluded, on the clock of a zone.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use flow_sched::{Calendar, Holidays};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // New Year of each year, and one day of one year.
/// let holidays = Holidays::new(["01-01", "1970-04-03"])?.time_zone("Europe/London")?;
/// let hour = |h: u64| UNIX_EPOCH + Duration::from_secs(h * 3_600);
/// // London was an hour ahead of UTC in 1970.
/// assert_eq!(holidays.excluded_until(hour(22)), Some(hour(23)));
/// assert_eq!(holidays.excluded_until(hour(23)), None);
/// assert!(Holidays::new(["1970-02-29"]).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holidays {
    dates: BTreeSet<NaiveDate>,
    /// Month and day of each year.
    yearly: BTreeSet<(u32, u32)>,
    midnight: Cron,
    zone: Tz,
}

impl Holidays {
    /// Days as `2026-12-25`, or `12-25` for each year; in UTC unless
    /// [`time_zone`](Self::time_zone) says otherwise.
    ///
    /// # Errors
    /// [`HolidayError`] with the first text that is no day of the calendar.
    pub fn new<T: AsRef<str>>(days: impl IntoIterator<Item = T>) -> Result<Self, HolidayError> {
        let midnight = Cron::new("0 0 * * *").map_err(|_| HolidayError::new(""))?;
        let mut holidays = Self {
            dates: BTreeSet::new(),
            yearly: BTreeSet::new(),
            midnight,
            zone: Tz::UTC,
        };
        for day in days {
            holidays.add(day.as_ref())?;
        }
        Ok(holidays)
    }

    fn add(&mut self, text: &str) -> Result<(), HolidayError> {
        let wrong = || HolidayError::new(text);
        let number = |part: &str| -> Result<u32, HolidayError> {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits
                .then(|| part.parse().ok())
                .flatten()
                .ok_or_else(wrong)
        };
        let parts: Vec<&str> = text.split('-').collect();
        match *parts {
            [month, day] => {
                let (month, day) = (number(month)?, number(day)?);
                // A leap year, so that 29 February is a day.
                NaiveDate::from_ymd_opt(2000, month, day).ok_or_else(wrong)?;
                self.yearly.insert((month, day));
            }
            [year, month, day] => {
                let year = i32::try_from(number(year)?).map_err(|_| wrong())?;
                let date = NaiveDate::from_ymd_opt(year, number(month)?, number(day)?);
                self.dates.insert(date.ok_or_else(wrong)?);
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// The same days on the clock of a zone of the IANA database.
    ///
    /// # Errors
    /// [`UnknownZone`] with the nearest name.
    pub fn time_zone(mut self, name: &str) -> Result<Self, UnknownZone> {
        self.zone = name::find(name)?;
        self.midnight = self.midnight.in_zone(self.zone);
        Ok(self)
    }
}

impl Calendar for Holidays {
    fn excluded_until(&self, at: SystemTime) -> Option<SystemTime> {
        let seconds = wall::nanos(at).div_euclid(1_000_000_000);
        let date = DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)?
            .with_timezone(&self.zone)
            .date_naive();
        let excluded =
            self.dates.contains(&date) || self.yearly.contains(&(date.month(), date.day()));
        if excluded {
            self.midnight.next_after(at)
        } else {
            None
        }
    }
}

/// A text is no day of the calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolidayError {
    given: String,
}

impl HolidayError {
    fn new(given: &str) -> Self {
        Self {
            given: given.chars().take(64).collect(),
        }
    }

    /// The text, shortened to 64 characters.
    pub fn given(&self) -> &str {
        &self.given
    }
}

impl fmt::Display for HolidayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no day of the calendar: {:?}; expected one like \"2026-12-25\", or \"12-25\" for each \
             year",
            self.given
        )
    }
}

impl std::error::Error for HolidayError {}
