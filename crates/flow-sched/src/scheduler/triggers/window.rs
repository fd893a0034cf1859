//! Windows of time that open and close on the clock of a zone.

use core::fmt;
use core::str::FromStr;
use std::time::{Duration, SystemTime};

use chrono_tz::Tz;

use super::calendar::Calendar;
use crate::cron::{Cron, CronError, UnknownZone, name};

/// When something is open: hours of the day, perhaps of some weekdays only, on the clock of a
/// zone.
///
/// The text is `09:00-17:30`, with weekdays before it if it is not open on all of them:
/// `MON-FRI 09:00-17:30`; several spans are separated by semicolons. A span that ends before it
/// begins goes on past midnight, `22:00-06:00`, and belongs to the day on which it begins. It may
/// end at `24:00`. In UTC, or the zone of a job that it is given to
/// ([`JobBuilder::window`](crate::JobBuilder::window)), unless [`time_zone`](Self::time_zone) says
/// otherwise. Where clocks are put forward over an opening, it
/// opens when they have been, and where they are put forward over all of it, not on that day;
/// where they are put back, it opens the first time and closes the first time.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use flow_sched::Window;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let night = Window::new("22:00-06:00")?;
/// let hour = |h: u64| UNIX_EPOCH + Duration::from_secs(h * 3_600);
/// assert!(night.contains(hour(23)) && night.contains(hour(5)));
/// assert!(!night.contains(hour(12)));
/// assert_eq!(night.opens_after(hour(12)), Some(hour(22)));
///
/// let wrong = Window::new("9-17").unwrap_err();
/// assert_eq!(
///     wrong.to_string(),
///     "no window of time: \"9-17\"; expected one like \"09:00-17:30\" or \"MON-FRI 22:00-06:00\""
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    spans: Vec<Span>,
    zone: Option<Tz>,
}

/// Opens at the times of one pattern, and closes at the next time of the other one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    opens: Cron,
    closes: Cron,
    /// From the opening to the closing, where no clock is put forward or back between them.
    length: Duration,
}

impl Window {
    /// Reads a window.
    ///
    /// # Errors
    /// [`WindowError`] with the span that cannot be read.
    pub fn new(text: &str) -> Result<Self, WindowError> {
        let spans = text.split(';').map(Span::parse).collect::<Result<_, _>>()?;
        Ok(Self { spans, zone: None })
    }

    /// The same window on the clock of a zone of the IANA database.
    ///
    /// # Errors
    /// [`UnknownZone`] with the nearest name.
    pub fn time_zone(self, name: &str) -> Result<Self, UnknownZone> {
        Ok(self.in_zone(name::find(name)?))
    }

    fn in_zone(mut self, zone: Tz) -> Self {
        self.zone = Some(zone);
        for span in &mut self.spans {
            span.opens = span.opens.clone().in_zone(zone);
            span.closes = span.closes.clone().in_zone(zone);
        }
        self
    }

    /// In its own zone, or else in this one.
    pub(crate) fn or_in_zone(self, zone: Tz) -> Self {
        if self.zone.is_some() {
            self
        } else {
            self.in_zone(zone)
        }
    }

    /// Whether it is open at `at`: from the opening on, up to the closing.
    pub fn contains(&self, at: SystemTime) -> bool {
        self.spans.iter().any(|span| span.closing(at).is_some())
    }

    /// When it opens next after `at`; `None` if it does not before the year 2200.
    pub fn opens_after(&self, at: SystemTime) -> Option<SystemTime> {
        self.spans
            .iter()
            .filter_map(|span| span.opens_after(at))
            .min()
    }

    /// When it closes, if it is open at `at`.
    pub fn closes_after(&self, at: SystemTime) -> Option<SystemTime> {
        self.spans.iter().filter_map(|span| span.closing(at)).max()
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        Self::new(text)
    }
}

/// While it is open, a window excludes.
impl Calendar for Window {
    fn excluded_until(&self, at: SystemTime) -> Option<SystemTime> {
        self.closes_after(at)
    }
}

impl Span {
    fn parse(text: &str) -> Result<Self, WindowError> {
        let wrong = || WindowError {
            given: text.trim().chars().take(64).collect(),
            days: None,
        };
        let mut words = text.split_ascii_whitespace();
        let first = words.next().ok_or_else(wrong)?;
        let (days, times) = match words.next() {
            Some(times) => (first, times),
            None => ("*", first),
        };
        if words.next().is_some() {
            return Err(wrong());
        }
        let (from, to) = times.split_once('-').ok_or_else(wrong)?;
        let from = minutes(from).filter(|&from| from < DAY).ok_or_else(wrong)?;
        let to = minutes(to).filter(|&to| to != from).ok_or_else(wrong)?;
        let cron = |minutes: u32, days: &str| {
            let (hour, minute) = (minutes / 60 % 24, minutes % 60);
            Cron::new(&format!("{minute} {hour} * * {days}"))
        };
        let opens = cron(from, days).map_err(|error| WindowError {
            days: Some(error),
            ..wrong()
        })?;
        let closes = cron(to, "*").map_err(|_| wrong())?;
        let minutes = if to < from { to + DAY } else { to } - from;
        let length = Duration::from_secs(u64::from(minutes) * 60);
        Ok(Self {
            opens,
            closes,
            length,
        })
    }

    /// When it closes, if it is open at `at`.
    fn closing(&self, at: SystemTime) -> Option<SystemTime> {
        let opened = self.opens.prev_before(at.checked_add(INSTANT)?)?;
        if self.is_skipped(opened) {
            return None;
        }
        self.closes.next_after(opened).filter(|&closes| at < closes)
    }

    /// When it opens next after `at`, for longer than no time at all.
    fn opens_after(&self, at: SystemTime) -> Option<SystemTime> {
        let mut opens = self.opens.next_after(at)?;
        while self.is_skipped(opens) {
            opens = self.opens.next_after(opens)?;
        }
        Some(opens)
    }

    /// Whether clocks are put forward over all of what opens at `opened`: then it closes at once.
    fn is_skipped(&self, opened: SystemTime) -> bool {
        if !self.closes.matches(opened) {
            return false;
        }
        // It is the closing of what opened the day before, as with `00:00-24:00`, unless the next
        // one is much too late to be its own.
        let next = self.closes.next_after(opened);
        next.and_then(|next| next.duration_since(opened).ok())
            .is_some_and(|open| open > self.length * 2)
    }
}

/// The shortest time there is.
const INSTANT: Duration = Duration::from_nanos(1);

/// Minutes of a day.
const DAY: u32 = 24 * 60;

/// Minutes since midnight, from `00:00` to `24:00`.
fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= DAY).then_some(total)
}

/// A text is no window of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowError {
    given: String,
    days: Option<CronError>,
}

impl WindowError {
    /// The span that cannot be read, shortened to 64 characters.
    pub fn given(&self) -> &str {
        &self.given
    }
}

impl fmt::Display for WindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no window of time: {:?}; ", self.given)?;
        if self.days.is_some() {
            f.write_str("its weekdays are none of a cron pattern, like \"MON-FRI\" or \"SAT,SUN\"")
        } else {
            f.write_str("expected one like \"09:00-17:30\" or \"MON-FRI 22:00-06:00\"")
        }
    }
}

impl std::error::Error for WindowError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.days.as_ref().map(|error| error as _)
    }
}
