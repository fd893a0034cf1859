//! The dialect of the crate croner: its parser, our masks.
//!
//! croner accepts text that it should not, among it patterns that never occur and that it searches
//! for seconds. What it takes wrongly is refused here first, its parsed form is then read into
//! masks, and croner's own search is never asked. `CRONER.md` lists what was found.

use croner::CronComponent;
use croner::parser::{CronParser, Seconds, Year};

use super::dialect::{Dialect, Grammar, Looks};
use super::error::{CronError, CronPlace};
use super::fields::{Fields, LAST_WEEKDAYS, Years};
use super::item::Unit;
use super::parser::{finish, wrong_fields};
use super::pattern::CronPattern;

pub(super) fn parse(text: &str) -> Result<CronPattern, CronError> {
    check(text)?;
    let cron = CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Optional)
        .build()
        .parse(text)
        // croner's words but for the full stop: ours have none at the end.
        .map_err(|error| refused(text, error.to_string().trim_end_matches('.')))?;
    let fields = fields(&cron.pattern).ok_or_else(|| refused(text, "no year from 1970 to 2199"))?;
    // croner's fixed jobs, but by what the text means: to it `5-6/2` is not the one minute 5.
    let fixed = fields.second.is_power_of_two()
        && fields.minute.is_power_of_two()
        && fields.hour.is_power_of_two();
    let looks = Looks {
        star: !fixed,
        interval: false,
    };
    finish(text, fields, looks, Grammar::of(Dialect::Croner))
}

/// The masks of what croner has read; `None` if it is in no year that is searched.
fn fields(pattern: &croner::CronPattern) -> Option<Fields> {
    let (day, weekday) = (&pattern.days, &pattern.days_of_week);
    let last = day.is_feature_enabled(LAST);
    let of_weekday = day.is_feature_enabled(NEAREST);
    let mut nearest = mask(day, NEAREST);
    if last && of_weekday {
        // `LW`
        nearest |= 1 << 32;
    }
    let mut nth = 0;
    for n in 1..=5 {
        nth |= week(weekday, 1 << n) << (7 * (n - 1));
    }
    nth |= week(weekday, LAST) << LAST_WEEKDAYS;
    let years = years(&pattern.years)?;
    Some(Fields {
        second: mask(&pattern.seconds, ALL),
        minute: mask(&pattern.minutes, ALL),
        // Hours are below 24, days below 32, months below 13.
        hour: mask(&pattern.hours, ALL) as u32,
        day: mask(day, ALL) as u32,
        month: mask(&pattern.months, ALL) as u16,
        weekday: week(weekday, ALL) as u8,
        either: !(pattern.matches_dom_and_dow()
            || pattern.is_dom_wildcard()
            || pattern.is_dow_wildcard()),
        from_last: u32::from(last && !of_weekday),
        nearest,
        nth,
        years,
    })
}

fn mask(component: &CronComponent, bit: u8) -> u64 {
    let values = component.get_set_values(bit);
    values
        .into_iter()
        .filter(|&value| value < 64)
        .fold(0, |mask, value| mask | 1 << value)
}

/// Weekdays, 7 being Sunday too.
fn week(component: &CronComponent, bit: u8) -> u64 {
    let mask = mask(component, bit);
    (mask | mask >> 7) & 0x7f
}

/// The years from 1970 to 2199, the inner `None` being all of them.
#[allow(clippy::option_option)] // the outer one is for `?`
fn years(component: &CronComponent) -> Option<Option<Box<Years>>> {
    let mut years = Box::new(Years::default());
    let mut some = false;
    for year in component.values() {
        let year = i32::from(year);
        years.add(year);
        some |= years.has(year);
    }
    some.then(|| (!years.is_full()).then_some(years))
}

/// Refuses what croner takes and should not: empty items, words in the wrong field, numbers that
/// no field knows.
fn check(text: &str) -> Result<(), CronError> {
    let found = text.split_ascii_whitespace().count();
    let units: &[Unit] = match found {
        5 => &UNITS[1..6],
        6 => &UNITS[..6],
        7 => &UNITS,
        _ => return Err(wrong_fields(text, found, Grammar::of(Dialect::Croner))),
    };
    for (&unit, field) in units.iter().zip(text.split_ascii_whitespace()) {
        let items = match unit {
            Unit::Weekday => field.strip_prefix('+').unwrap_or(field),
            _ => field,
        };
        for item in items.split(',') {
            // Both are parts of the text.
            let start = item.as_ptr() as usize - text.as_ptr() as usize;
            let place = || CronPlace::new(text, Some(unit.name()), start..start + item.len());
            if item.is_empty() {
                return Err(CronError::EmptyItem { place: place() });
            }
            if !fits(unit, item) {
                return Err(CronError::Name {
                    place: place(),
                    allowed: unit.words(true),
                });
            }
        }
    }
    Ok(())
}

/// Whether the words and numbers of an item belong in its field. Ranges are croner's matter.
fn fits(unit: Unit, item: &str) -> bool {
    if unit == Unit::Weekday && item.eq_ignore_ascii_case("L") {
        // The last one of no weekday: croner makes no day at all of it.
        return false;
    }
    let is_word = |c: char| c.is_ascii_alphanumeric();
    item.chars().all(|c| is_word(c) || "*/-#?".contains(c))
        && item
            .split(|c| !is_word(c))
            .flat_map(|word| {
                // Parts such as `15W` and `5L` are a number and what follows it.
                let digits = word.bytes().take_while(u8::is_ascii_digit).count();
                let (number, rest) = word.split_at(digits);
                [number, rest]
            })
            .all(|word| match word.as_bytes() {
                [] => true,
                // No field knows a number of more than four digits.
                [b'0'..=b'9', ..] => word.len() <= 4,
                _ => is_name(unit, word),
            })
}

fn is_name(unit: Unit, word: &str) -> bool {
    let one_of = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(word));
    match unit {
        Unit::Month => one_of(&super::display::MONTHS),
        // `FRIL`, the month's last Friday, is one word.
        Unit::Weekday => {
            let day = word.strip_suffix(['L', 'l']).unwrap_or(word);
            let names = super::display::WEEKDAYS;
            day.is_empty() || names.iter().any(|name| name.eq_ignore_ascii_case(day))
        }
        Unit::Day => one_of(&["L", "W", "LW"]),
        _ => false,
    }
}

fn refused(text: &str, reason: &str) -> CronError {
    CronError::Croner {
        pattern: text.to_owned(),
        reason: reason.to_owned(),
    }
}

const UNITS: [Unit; 7] = [
    Unit::Second,
    Unit::Minute,
    Unit::Hour,
    Unit::Day,
    Unit::Month,
    Unit::Weekday,
    Unit::Year,
];

// croner's flags of a value, which it does not export.
const ALL: u8 = 1;
const LAST: u8 = 1 << 6;
const NEAREST: u8 = 1 << 7;
