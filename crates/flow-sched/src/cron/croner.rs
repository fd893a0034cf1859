//! The dialect of the crate croner: its parser, our masks.
//!
//! croner accepts text that it should not, among it patterns that never occur and that it searches
//! for seconds. So our own parser reads a text first, by the grammar of OCPS, and says what is wrong
//! with it, and where. What croner then reads in it is turned into masks, and its own search is
//! never asked. `CRONER.md` lists what was found.

use croner::CronComponent;
use croner::parser::{CronParser, Seconds, Year};

use super::dialect::{Dialect, Grammar, Looks};
use super::error::CronError;
use super::fields::{Fields, LAST_WEEKDAYS, Years};
use super::parser::{calendar, finish};
use super::pattern::CronPattern;
use super::seed::Seed;

pub(super) fn parse(text: &str) -> Result<CronPattern, CronError> {
    let grammar = Grammar::of(Dialect::Croner);
    calendar(text, grammar, Seed::new(None))?;
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
    finish(text, fields, looks, grammar)
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

fn refused(text: &str, reason: &str) -> CronError {
    CronError::Croner {
        pattern: text.to_owned(),
        reason: reason.to_owned(),
    }
}

// croner's flags of a value, which it does not export.
const ALL: u8 = 1;
const LAST: u8 = 1 << 6;
const NEAREST: u8 = 1 << 7;
