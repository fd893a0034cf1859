//! When two patterns are the same: if they select the same times, however they are written.
//!
//! The times of day are masks that have one form. Days do not: `31 4,5` and `31 5` of month and day
//! are the same, as are `1-7` with `+MON` and `MON#1`. They are compared as what they select. The
//! days of a year follow from its first weekday and from whether it is a leap year, so there are 14
//! shapes of years to look at, whatever the number of years.

use core::hash::{Hash, Hasher};

use super::civil::{self, FIRST_YEAR, LAST_YEAR, is_leap, month_length};
use super::fields::Fields;

/// The days that fit in each month of a year.
type YearDays = [u32; 12];

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.times() == other.times()
            && (self.days_as_written() == other.days_as_written() || self.selects_days_of(other))
    }
}

impl Eq for Fields {}

impl Hash for Fields {
    /// The times of day, and the days of the first year that has any: most patterns that differ
    /// differ there.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.times().hash(state);
        let mut year = self.year_from(FIRST_YEAR);
        while let Some(fitting) = year {
            let days = self.year_days(shape(fitting));
            if days != NONE {
                (fitting, days).hash(state);
                return;
            }
            year = self.year_from(fitting + 1);
        }
    }
}

impl Fields {
    fn times(&self) -> (u64, u64, u32) {
        (self.second, self.minute, self.hour)
    }

    fn days_as_written(&self) -> impl PartialEq {
        let Self {
            day,
            month,
            weekday,
            either,
            from_last,
            nearest,
            nth,
            ref years,
            // The times of day.
            second: _,
            minute: _,
            hour: _,
        } = *self;
        let years = years.clone();
        (
            (day, month, weekday, either),
            (from_last, nearest, nth, years),
        )
    }

    #[cold]
    fn selects_days_of(&self, other: &Self) -> bool {
        let mut shapes: [Option<(YearDays, YearDays)>; SHAPES] = [None; SHAPES];
        (FIRST_YEAR..=LAST_YEAR).all(|year| {
            let fits = (self.fits_year(year), other.fits_year(year));
            if fits == (false, false) {
                return true;
            }
            let shape = shape(year);
            let (ours, theirs) = *shapes[shape]
                .get_or_insert_with(|| (self.year_days(shape), other.year_days(shape)));
            match fits {
                (true, true) => ours == theirs,
                (true, false) => ours == NONE,
                _ => theirs == NONE,
            }
        })
    }

    fn year_days(&self, shape: usize) -> YearDays {
        let leap = shape >= 7;
        let mut first = shape as u32 % 7;
        core::array::from_fn(|month| {
            let month = month as u32 + 1;
            let length = month_length(month, leap);
            let days = self.days_of_month(month, length, first);
            first = (first + length) % 7;
            days
        })
    }
}

/// The shape of a year: the weekday of its first day, and seven more if it is a leap year.
fn shape(year: i32) -> usize {
    let first = civil::weekday(civil::days(year, 1, 1)) as usize;
    first + if is_leap(year) { 7 } else { 0 }
}

const SHAPES: usize = 14;
/// A year without a day that fits.
const NONE: YearDays = [0; 12];
