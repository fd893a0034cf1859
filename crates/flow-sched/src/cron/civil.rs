//! The proleptic Gregorian calendar in whole days since 1970-01-01.
//!
//! Source: Howard Hinnant, "chrono-compatible low-level date algorithms".

/// The first and the last year that is searched.
pub(super) const FIRST_YEAR: i32 = 1900;
pub(super) const LAST_YEAR: i32 = 2199;

pub(super) const DAY: i64 = 86_400;

/// The first second of [`FIRST_YEAR`] and the last one of [`LAST_YEAR`], on whatever clock.
pub(super) const FIRST: i64 = days(FIRST_YEAR, 1, 1) * DAY;
pub(super) const LAST: i64 = days(LAST_YEAR + 1, 1, 1) * DAY - 1;

/// Days from 1970-01-01 to a date.
pub(super) const fn days(year: i32, month: u32, day: u32) -> i64 {
    let year = year as i64 - (month <= 2) as i64;
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    // March is month 0, so that the leap day is the last of a year.
    let month = (month as i64 + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day as i64 - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day since 1970-01-01.
pub(super) fn date(days: i64) -> (i32, u32, u32) {
    // Years 1600 to 4000 and so on are one era; the searched range fits u32 from there.
    let z = u32::try_from(days + 719_468).unwrap_or(0);
    let era = z / 146_097;
    let of_era = z % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = (year_of_era + era * 400).cast_signed() + i32::from(month <= 2);
    (year, month, day)
}

/// The weekday of a day since 1970-01-01, Sunday being 0. 1970-01-01 was a Thursday.
pub(super) fn weekday(days: i64) -> u32 {
    // In 0..7.
    (days + 4).rem_euclid(7) as u32
}

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
