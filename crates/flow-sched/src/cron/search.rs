//! The next and the previous time of a clock that fits: bit operations, no calendar walk.
//!
//! Times are seconds since 1970-01-01 00:00 of the clock itself, whatever its zone. A search looks
//! at the day it starts in, then takes months whole: their fitting days are one mask. It visits
//! only months and years that the pattern names, so what it costs is the number of such months
//! without a fitting day, and that is bounded: patterns without any are refused by `occurs`, and
//! the days of a leap year with given weekdays come again after 40 years at the latest.

use super::civil::{self, DAY, FIRST, LAST, date, days, weekday};
use super::fields::Fields;

/// A search looks at this many months at the most: twelve in each of the 40 years after which
/// leap days with given weekdays come again, and the month it starts in.
pub(super) const MOST_MONTHS: u32 = 12 * 40 + 1;

impl Fields {
    /// The first fitting second from `from` on. `steps` grows by the months looked at.
    pub(super) fn next(&self, from: i64, steps: &mut u32) -> Option<i64> {
        if from > LAST {
            return None;
        }
        let (today, second) = day_and_second(from.max(FIRST));
        let (mut year, mut month, day) = date(today);
        *steps += 1;
        let start = today - i64::from(day) + 1;
        let mut fitting = self.days(year, month, weekday(start));
        if fitting & (1 << day) != 0
            && let Some(time) = self.time_from(second)
        {
            return Some(today * DAY + i64::from(time));
        }
        // Bits above `day`, which is at most 31.
        fitting &= (u32::MAX << day) << 1;
        if fitting != 0 {
            return Some(self.earliest(start, fitting));
        }
        loop {
            let later = self.month & ((u16::MAX << month) << 1);
            let from_year = if later == 0 { year + 1 } else { year };
            let next_year = self.year_from(from_year)?;
            let months = if next_year > year { self.month } else { later };
            (year, month) = (next_year, months.trailing_zeros());
            *steps += 1;
            let start = days(year, month, 1);
            let fitting = self.days(year, month, weekday(start));
            if fitting != 0 {
                return Some(self.earliest(start, fitting));
            }
        }
    }

    /// The last fitting second up to `until`, itself included.
    pub(super) fn prev(&self, until: i64, steps: &mut u32) -> Option<i64> {
        if until < FIRST {
            return None;
        }
        let (today, second) = day_and_second(until.min(LAST));
        let (mut year, mut month, day) = date(today);
        *steps += 1;
        let start = today - i64::from(day) + 1;
        let mut fitting = self.days(year, month, weekday(start));
        if fitting & (1 << day) != 0
            && let Some(time) = self.time_until(second)
        {
            return Some(today * DAY + i64::from(time));
        }
        fitting &= (1 << day) - 1;
        if fitting != 0 {
            return Some(self.latest(start, fitting));
        }
        loop {
            let earlier = self.month & ((1 << month) - 1);
            let until_year = if earlier == 0 { year - 1 } else { year };
            let next_year = self.year_until(until_year)?;
            let months = if next_year < year {
                self.month
            } else {
                earlier
            };
            (year, month) = (next_year, months.ilog2());
            *steps += 1;
            let start = days(year, month, 1);
            let fitting = self.days(year, month, weekday(start));
            if fitting != 0 {
                return Some(self.latest(start, fitting));
            }
        }
    }

    /// The first time of the first of a month's fitting days.
    fn earliest(&self, start: i64, fitting: u32) -> i64 {
        let day = start + i64::from(fitting.trailing_zeros()) - 1;
        let time = self.hour.trailing_zeros() * 3_600
            + self.minute.trailing_zeros() * 60
            + self.second.trailing_zeros();
        day * DAY + i64::from(time)
    }

    /// The last time of the last of a month's fitting days.
    fn latest(&self, start: i64, fitting: u32) -> i64 {
        let day = start + i64::from(fitting.ilog2()) - 1;
        let time = self.hour.ilog2() * 3_600 + self.minute.ilog2() * 60 + self.second.ilog2();
        day * DAY + i64::from(time)
    }

    /// The first fitting second of a day from `second` on.
    fn time_from(&self, second: u32) -> Option<u32> {
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        if self.hour & (1 << hour) != 0 {
            if self.minute & (1 << minute) != 0 {
                let seconds = self.second >> second << second;
                if seconds != 0 {
                    return Some(hour * 3_600 + minute * 60 + seconds.trailing_zeros());
                }
            }
            let minutes = self.minute & (u64::MAX << (minute + 1));
            if minutes != 0 {
                let minute = minutes.trailing_zeros();
                return Some(hour * 3_600 + minute * 60 + self.second.trailing_zeros());
            }
        }
        let hours = self.hour & (u32::MAX << (hour + 1));
        (hours != 0).then(|| {
            hours.trailing_zeros() * 3_600
                + self.minute.trailing_zeros() * 60
                + self.second.trailing_zeros()
        })
    }

    /// The last fitting second of a day up to `second`.
    fn time_until(&self, second: u32) -> Option<u32> {
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        if self.hour & (1 << hour) != 0 {
            if self.minute & (1 << minute) != 0 {
                let seconds = self.second & ((2 << second) - 1);
                if seconds != 0 {
                    return Some(hour * 3_600 + minute * 60 + seconds.ilog2());
                }
            }
            let minutes = self.minute & ((1 << minute) - 1);
            if minutes != 0 {
                return Some(hour * 3_600 + minutes.ilog2() * 60 + self.second.ilog2());
            }
        }
        let hours = self.hour & ((1 << hour) - 1);
        (hours != 0).then(|| hours.ilog2() * 3_600 + self.minute.ilog2() * 60 + self.second.ilog2())
    }
}

/// The day since 1970-01-01 that a time not before [`FIRST`] lies in, and the second of that day.
fn day_and_second(at: i64) -> (i64, u32) {
    const DAY: u64 = civil::DAY.cast_unsigned();
    let since = (at - FIRST).cast_unsigned();
    let day = (since / DAY).cast_signed() + FIRST / civil::DAY;
    // Below 86,400.
    (day, (since % DAY) as u32)
}
