//! The proleptic Gregorian calendar in whole days since 1970-01-01.
//!
//! Source: C. Neri and L. Schneider, "Euclidean affine functions and their application to calendar
//! algorithms", 2022.

/// The first and the last year that is searched.
pub(super) const FIRST_YEAR: i32 = 1900;
pub(super) const LAST_YEAR: i32 = 2199;

pub(super) const DAY: i64 = 86_400;

/// The first second of [`FIRST_YEAR`] and the last one of [`LAST_YEAR`], on whatever clock.
pub(super) const FIRST: i64 = days(FIRST_YEAR, 1, 1) * DAY;
pub(super) const LAST: i64 = days(LAST_YEAR + 1, 1, 1) * DAY - 1;

/// Days from 1970-01-01 to a date of the years from 1900 on.
pub(super) const fn days(year: i32, month: u32, day: u32) -> i64 {
    // A year that begins with March has its leap day at its end.
    let before_march = month <= 2;
    let year = year.cast_unsigned() - before_march as u32;
    let month = month + if before_march { 12 } else { 0 };
    let century = year / 100;
    let of_years = 1_461 * year / 4 - century + century / 4;
    let of_months = (979 * month - 2_919) / 32;
    (of_years + of_months + day - 1) as i64 - EPOCH
}

/// Year, month and day of a day since 1970-01-01 in the years from 1900 on.
pub(super) fn date(days: i64) -> (i32, u32, u32) {
    let n = 4 * of_era(days) + 3;
    let century = n / 146_097;
    // Two quotients of one product: the year of the century, and the day of the year.
    let product = 2_939_745 * u64::from((n % 146_097) | 3);
    let day_of_year = product as u32 / 2_939_745 / 4;
    let year = 100 * century + (product >> 32) as u32;
    let n = 2_141 * day_of_year + 197_913;
    let (month, day) = (n >> 16, (n & 0xffff) / 2_141);
    let is_next = day_of_year >= 306;
    (
        (year + u32::from(is_next)).cast_signed(),
        if is_next { month - 12 } else { month },
        day + 1,
    )
}

/// The weekday of a day since 1970-01-01, Sunday being 0.
pub(super) fn weekday(days: i64) -> u32 {
    // 0000-03-01 is a Wednesday.
    (of_era(days) + 3) % 7
}

/// Days since 0000-03-01, those that are searched being some 100,000 after 1900.
fn of_era(days: i64) -> u32 {
    (days + EPOCH).cast_unsigned() as u32
}

/// 1970-01-01 in days since 0000-03-01.
const EPOCH: i64 = 719_468;

pub(super) fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of a month.
pub(super) fn month_length(month: u32, leap: bool) -> u32 {
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
