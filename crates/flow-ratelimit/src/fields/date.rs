//! Dates of HTTP, in the three forms of RFC 9110, 5.6.7.

use core::time::Duration;
use std::time::SystemTime;

/// Reads a date; none if it is none, or before 1970.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let words: Vec<&str> = text.split_ascii_whitespace().take(7).collect();
    let seconds = match *words.as_slice() {
        // Sun, 06 Nov 1994 08:49:37 GMT, or Sun Nov  6 08:49:37 1994
        [_, day, month, year, time, "GMT"] | [_, month, day, time, year] => {
            seconds(number(year, 4)?, month, day, time)?
        }
        // Sunday, 06-Nov-94 08:49:37 GMT
        [_, date, time, "GMT"] => {
            let mut parts = date.split('-');
            let (day, month, year) = (parts.next()?, parts.next()?, number(parts.next()?, 2)?);
            // More than 50 years from now means the past; nobody sends this in 2070.
            let century = if year < 70 { 2_000 } else { 1_900 };
            seconds(century + year, month, day, time)?
        }
        _ => return None,
    };
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// A number of at most so many digits.
fn number(text: &str, digits: usize) -> Option<u64> {
    let is_number = (1..=digits).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Since 1970.
fn seconds(year: u64, month: &str, day: &str, time: &str) -> Option<u64> {
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let day = number(day, 2)?;
    let mut parts = time.split(':');
    let mut part = |most| number(parts.next()?, 2).filter(|part| *part <= most);
    // A leap second counts as the one after it.
    let (hour, minute, second) = (part(23)?, part(59)?, part(60)?);
    if year < 1970 || !(1..=31).contains(&day) || parts.next().is_some() {
        return None;
    }
    // Days since the first of March of the year 0, by which leap days are the last of their years.
    let (year, month) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some((days - EPOCH) * 86_400 + hour * 3_600 + minute * 60 + second)
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
/// From the first of March of the year 0 to the first of January 1970.
const EPOCH: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_one_moment() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            let at = parse(text).unwrap();
            let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(since.as_secs(), 784_111_777, "{text}");
        }
    }

    #[test]
    fn leap_days_and_the_ends_of_years() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Tue, 29 Feb 2000 00:00:00 GMT", 951_782_400),
            ("Thu, 31 Dec 2026 23:59:59 GMT", 1_798_761_599),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        ] {
            let at = parse(text).unwrap();
            let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(since.as_secs(), seconds, "{text}");
        }
    }

    #[test]
    fn whatever_else_is_no_date() {
        for text in [
            "",
            "soon",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 99999 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "a b c d e f g h",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
