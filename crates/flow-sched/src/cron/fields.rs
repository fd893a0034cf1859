//! A pattern's fields as bit masks, and the days of a month that they select.

use super::civil::{self, FIRST_YEAR, LAST_YEAR, is_leap, month_length};

/// What a calendar pattern selects. Fields are equal if they select the same: see `meaning`.
///
/// # Days
/// A day fits the day of month if its bit is in `day`, or it lies so many days before the month's
/// last as a bit of `from_last` says, or it is the weekday nearest to a day of `nearest`. It fits
/// the day of week if its bit is in `weekday` (Sunday 0), or it is the nth of its weekday in
/// `nth`: seven bits for each n of 1 to 5, and seven for the month's last. `either` says whether
/// one of the two is enough; then neither selects all days by itself (`normalize`).
#[derive(Debug, Clone)]
pub(super) struct Fields {
    pub(super) second: u64,
    pub(super) minute: u64,
    pub(super) hour: u32,
    pub(super) month: u16,
    pub(super) weekday: u8,
    pub(super) either: bool,
    pub(super) day: u32,
    pub(super) from_last: u32,
    /// Bits 1 to 31: that day; bits 32 to 62: so many days before the month's last.
    pub(super) nearest: u64,
    pub(super) nth: u64,
    /// None: every year.
    pub(super) years: Option<Box<Years>>,
}

pub(super) const ALL_60: u64 = (1 << 60) - 1;
pub(super) const ALL_HOURS: u32 = (1 << 24) - 1;
pub(super) const ALL_DAYS: u32 = !1;
pub(super) const ALL_MONTHS: u16 = ((1 << 12) - 1) << 1;
pub(super) const ALL_WEEKDAYS: u8 = (1 << 7) - 1;
/// Where the bits of the month's last weekdays begin in [`Fields::nth`].
pub(super) const LAST_WEEKDAYS: u32 = 35;

impl Fields {
    /// Nothing but second 0 of every minute.
    pub(super) const EVERY_MINUTE: Self = Self {
        second: 1,
        minute: ALL_60,
        hour: ALL_HOURS,
        day: ALL_DAYS,
        month: ALL_MONTHS,
        weekday: ALL_WEEKDAYS,
        either: false,
        from_last: 0,
        nearest: 0,
        nth: 0,
        years: None,
    };

    /// Gives one form to day fields that select the same days.
    pub(super) fn normalize(&mut self) {
        if self.day == ALL_DAYS {
            (self.from_last, self.nearest) = (0, 0);
        }
        // One alone is as it should be.
        let alone = self.weekday == 0 && self.nth.is_power_of_two();
        if self.nth != 0 && !alone {
            self.normalize_nth();
        }
        if self.either && (self.day == ALL_DAYS || self.weekday == ALL_WEEKDAYS) {
            *self = Self {
                day: ALL_DAYS,
                from_last: 0,
                nearest: 0,
                weekday: ALL_WEEKDAYS,
                nth: 0,
                either: false,
                years: self.years.take(),
                ..*self
            };
        }
    }

    /// A weekday's first to fifth are all of them, and a weekday that fits has no nth of its own.
    #[cold]
    fn normalize_nth(&mut self) {
        let of = |n: u32| (self.nth >> (7 * n)) as u8 & ALL_WEEKDAYS;
        self.weekday |= (0..5).fold(ALL_WEEKDAYS, |all, n| all & of(n));
        let all = u64::from(self.weekday);
        self.nth &= !(0..6).fold(0, |each, n| each | all << (7 * n));
    }

    /// The days of a month that fit, as bits 1 to 31; none if its month or year does not fit.
    ///
    /// `first` is the weekday of the month's first day.
    pub(super) fn days(&self, year: i32, month: u32, first: u32) -> u32 {
        if !self.fits_year(year) {
            return 0;
        }
        self.days_of_month(month, month_length(month, is_leap(year)), first)
    }

    /// The same in every year in which the month has this length and first weekday.
    pub(super) fn days_of_month(&self, month: u32, length: u32, first: u32) -> u32 {
        if self.month & (1 << month) == 0 {
            return 0;
        }
        self.month_days(length, first)
    }

    fn month_days(&self, length: u32, first: u32) -> u32 {
        let all = u32::MAX >> (31 - length) & !1;
        let mut by_day = self.day & all;
        if self.weekday == ALL_WEEKDAYS && self.from_last == 0 && self.nearest == 0 {
            // Either day field alone would be no restriction: see `normalize`.
            return by_day;
        }
        if self.from_last != 0 {
            // Bit n is n days before the last: mirrored, the bit of the day itself.
            by_day |= (u64::from(self.from_last.reverse_bits()) >> (31 - length)) as u32 & all;
        }
        if self.nearest != 0 {
            by_day |= self.nearest_days(length, first);
        }
        let by_weekday = if self.weekday == ALL_WEEKDAYS {
            all
        } else {
            self.weekdays(length, first) & all
        };
        if self.either {
            by_day | by_weekday
        } else {
            by_day & by_weekday
        }
    }

    fn weekdays(&self, length: u32, first: u32) -> u32 {
        // The week as the month has it, from its first day on, five times.
        let week = u64::from(rotate(self.weekday, first));
        let mut days = (week * 0x1020_4081) << 1;
        if self.nth != 0 {
            for n in 0..5 {
                let seven = (self.nth >> (7 * n)) as u8 & ALL_WEEKDAYS;
                days |= u64::from(rotate(seven, first)) << (7 * n + 1);
            }
            let seven = (self.nth >> LAST_WEEKDAYS) as u8 & ALL_WEEKDAYS;
            // The last seven days begin on the day `length - 6`.
            let seven = rotate(seven, (first + length - 7) % 7);
            days |= u64::from(seven) << (length - 6);
        }
        // No month has more than 31 days, and the caller cuts them.
        days as u32
    }

    fn nearest_days(&self, length: u32, first: u32) -> u32 {
        let mut left = self.nearest;
        let mut days = 0;
        while left != 0 {
            let bit = left.trailing_zeros();
            left &= left - 1;
            let day = if bit < 32 {
                bit
            } else {
                // At most 30 days before the last; 0 or less is no day of a shorter month.
                length.saturating_sub(bit - 32)
            };
            if day == 0 || day > length {
                continue;
            }
            days |= 1
                << match (first + day - 1) % 7 {
                    6 if day == 1 => 3,
                    6 => day - 1,
                    0 if day == length => day - 2,
                    0 => day + 1,
                    _ => day,
                };
        }
        days
    }

    pub(super) fn fits_year(&self, year: i32) -> bool {
        self.years.as_ref().is_none_or(|years| years.has(year))
    }

    /// The first year from `year` on that fits.
    pub(super) fn year_from(&self, year: i32) -> Option<i32> {
        match &self.years {
            None => (year <= LAST_YEAR).then_some(year),
            Some(years) => years.from(year),
        }
    }

    /// The last year up to `year` that fits.
    pub(super) fn year_until(&self, year: i32) -> Option<i32> {
        match &self.years {
            None => (year >= FIRST_YEAR).then_some(year),
            Some(years) => years.until(year),
        }
    }

    /// Whether some day fits. No search begins before this said so.
    ///
    /// A year's days follow from its first weekday and from whether it is a leap year: at most 14
    /// shapes of twelve months are looked at.
    #[inline]
    pub(super) fn occurs(&self) -> bool {
        self.is_plain() || self.occurs_in_some_year()
    }

    #[inline(never)]
    fn occurs_in_some_year(&self) -> bool {
        let mut seen = 0_u16;
        let mut year = self.year_from(FIRST_YEAR);
        while let Some(fitting) = year {
            let leap = is_leap(fitting);
            let first = civil::weekday(civil::days(fitting, 1, 1));
            let shape = 1 << (first + if leap { 7 } else { 0 });
            if seen & shape == 0 {
                seen |= shape;
                if self.occurs_in(first, leap) {
                    return true;
                }
                if seen == (1 << 14) - 1 {
                    return false;
                }
            }
            year = self.year_from(fitting + 1);
        }
        false
    }

    /// Day fields that every year has, or every leap year, seen at a glance.
    #[inline]
    fn is_plain(&self) -> bool {
        const IN_ALL_MONTHS: u32 = (1 << 29) - 2;
        let by_day =
            self.day & IN_ALL_MONTHS != 0 || self.from_last & 1 != 0 || self.has_late_day();
        let by_weekday = || {
            // The fifth one does not come in every month.
            const FIFTH: u64 = 0x7f << 28;
            self.weekday != 0 || self.nth & !FIFTH != 0
        };
        if self.either {
            by_day || by_weekday()
        } else {
            by_day && self.weekday == ALL_WEEKDAYS || self.day == ALL_DAYS && by_weekday()
        }
    }

    /// Whether one of the days 29 to 31 is in one of the months.
    fn has_late_day(&self) -> bool {
        const HAVE_31: u16 = 1 << 1 | 1 << 3 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 12;
        const HAVE_30: u16 = HAVE_31 | 1 << 4 | 1 << 6 | 1 << 9 | 1 << 11;
        let have_29 = if self.years.is_none() {
            ALL_MONTHS
        } else {
            // Some years may have no leap year among them.
            HAVE_30
        };
        self.day & 1 << 29 != 0 && self.month & have_29 != 0
            || self.day & 1 << 30 != 0 && self.month & HAVE_30 != 0
            || self.day & 1 << 31 != 0 && self.month & HAVE_31 != 0
    }

    fn occurs_in(&self, mut first: u32, leap: bool) -> bool {
        (1..=12).any(|month| {
            let length = month_length(month, leap);
            let fits = self.days_of_month(month, length, first) != 0;
            first = (first + length) % 7;
            fits
        })
    }
}

/// A set of weekdays, rotated to weeks that begin with `first`.
fn rotate(weekdays: u8, first: u32) -> u8 {
    (weekdays >> first | weekdays << (7 - first)) & ALL_WEEKDAYS
}

/// The years 1970 to 2199 as bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Years([u64; 4]);

impl Years {
    pub(super) const FIRST: i32 = 1970;
    const COUNT: u32 = (LAST_YEAR - Self::FIRST + 1).cast_unsigned();

    /// Adds a year from 1970 to 2199; others are no years.
    pub(super) fn add(&mut self, year: i32) {
        if let Some(bit) = Self::bit(year) {
            self.0[bit as usize / 64] |= 1 << (bit % 64);
        }
    }

    pub(super) fn remove(&mut self, year: i32) {
        if let Some(bit) = Self::bit(year) {
            self.0[bit as usize / 64] &= !(1 << (bit % 64));
        }
    }

    pub(super) fn has(&self, year: i32) -> bool {
        Self::bit(year).is_some_and(|bit| self.0[bit as usize / 64] & 1 << (bit % 64) != 0)
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.iter().map(|word| word.count_ones()).sum::<u32>() == Self::COUNT
    }

    // Few patterns name years: what others do must not carry this along.
    /// The first year from `year` on: the lowest bit of one of four words.
    #[inline(never)]
    fn from(&self, year: i32) -> Option<i32> {
        let bit = Self::bit(year.max(Self::FIRST))?;
        let (word, in_word) = (bit as usize / 64, bit % 64);
        let mut bits = self.0[word] & u64::MAX << in_word;
        for place in word..self.0.len() {
            if place > word {
                bits = self.0[place];
            }
            if bits != 0 {
                return Some(Self::year(place, bits.trailing_zeros()));
            }
        }
        None
    }

    /// The last year up to `year`: the highest bit of one of them.
    #[inline(never)]
    fn until(&self, year: i32) -> Option<i32> {
        let bit = Self::bit(year.min(LAST_YEAR))?;
        let (word, in_word) = (bit as usize / 64, bit % 64);
        let mut bits = self.0[word] & u64::MAX >> (63 - in_word);
        for place in (0..=word).rev() {
            if place < word {
                bits = self.0[place];
            }
            if bits != 0 {
                return Some(Self::year(place, bits.ilog2()));
            }
        }
        None
    }

    fn year(word: usize, bit: u32) -> i32 {
        // 230 years in four words.
        Self::FIRST + (word as u32 * 64 + bit).cast_signed()
    }

    fn bit(year: i32) -> Option<u32> {
        let bit = u32::try_from(year.checked_sub(Self::FIRST)?).ok()?;
        (bit < Self::COUNT).then_some(bit)
    }
}
