//! The types of time that occurrences are asked for, and answered, in.

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time, of std or of a library for times.
///
/// Implemented for [`SystemTime`]; with the feature `chrono` for `chrono::DateTime` in any zone,
/// with the feature `jiff` for `jiff::Timestamp` and `jiff::Zoned`. A time in a zone is answered
/// in that zone; which clock the pattern is read on is a matter of [`Cron`](super::Cron) alone.
pub trait CronTime: Sized {
    /// The second that it lies in, counted from 1970-01-01 00:00 UTC, and whether it is later than
    /// that second's beginning. `None` if the second cannot be counted.
    fn second(&self) -> Option<(i64, bool)>;

    /// The beginning of a second, in its own zone. `None` if the type does not reach that far.
    #[must_use]
    fn at_second(self, second: i64) -> Option<Self>;
}

impl CronTime for SystemTime {
    #[inline]
    fn second(&self) -> Option<(i64, bool)> {
        match self.duration_since(UNIX_EPOCH) {
            Ok(after) => {
                let second = i64::try_from(after.as_secs()).ok()?;
                Some((second, after.subsec_nanos() != 0))
            }
            Err(before) => {
                let before = before.duration();
                let second = i64::try_from(before.as_secs()).ok()?;
                let rest = before.subsec_nanos() != 0;
                Some((-second - i64::from(rest), rest))
            }
        }
    }

    #[inline]
    fn at_second(self, second: i64) -> Option<Self> {
        let distance = Duration::from_secs(second.unsigned_abs());
        if second >= 0 {
            UNIX_EPOCH.checked_add(distance)
        } else {
            UNIX_EPOCH.checked_sub(distance)
        }
    }
}

#[cfg(feature = "chrono")]
impl<Tz: chrono::TimeZone> CronTime for chrono::DateTime<Tz> {
    fn second(&self) -> Option<(i64, bool)> {
        Some((self.timestamp(), self.timestamp_subsec_nanos() != 0))
    }

    fn at_second(self, second: i64) -> Option<Self> {
        let at = chrono::DateTime::from_timestamp(second, 0)?;
        Some(at.with_timezone(&self.timezone()))
    }
}

#[cfg(feature = "jiff")]
impl CronTime for jiff::Timestamp {
    fn second(&self) -> Option<(i64, bool)> {
        // Both count from the epoch, so before it both are negative.
        let (second, rest) = (self.as_second(), self.subsec_nanosecond());
        Some((second - i64::from(rest < 0), rest != 0))
    }

    fn at_second(self, second: i64) -> Option<Self> {
        Self::from_second(second).ok()
    }
}

#[cfg(feature = "jiff")]
impl CronTime for jiff::Zoned {
    fn second(&self) -> Option<(i64, bool)> {
        self.timestamp().second()
    }

    fn at_second(self, second: i64) -> Option<Self> {
        let at = jiff::Timestamp::from_second(second).ok()?;
        Some(at.to_zoned(self.time_zone().clone()))
    }
}
