//! What a pattern must pass before croner searches with it.
//!
//! A pattern is text from a configuration file or a user. croner accepts some that never occur
//! and then searches all years up to 5000, one of them for nine seconds. Here the text is checked
//! first, and then the parsed days against the 14 shapes that a year can have, so that whatever
//! passes occurs again and again.

use core::fmt;

use croner::Weekday;
use croner::parser::{CronParser, Seconds, Year};

/// The longest pattern that is read.
const MAX_BYTES: usize = 256;

/// Why a cron pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CronError {
    /// The text is longer than a pattern can sensibly be.
    TooLong {
        /// Its bytes.
        len: usize,
        /// The most that is read.
        max: usize,
    },
    /// There are not five, six or seven fields.
    Fields {
        /// The fields found.
        found: usize,
    },
    /// An `@` word that is none of the known ones.
    Nickname {
        /// The word as given.
        given: String,
    },
    /// A list has an item without text, as in `1,,2`.
    EmptyItem {
        /// The field's name.
        field: &'static str,
    },
    /// A field holds something that does not belong there.
    Field {
        /// The field's name.
        field: &'static str,
        /// The item as given.
        item: String,
    },
    /// The parser refuses it.
    Syntax {
        /// What the parser says.
        reason: String,
    },
    /// No day of any year fits, as with 30 February.
    NeverOccurs,
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, max } => {
                write!(
                    f,
                    "the cron pattern has {len} bytes; at most {max} are read"
                )
            }
            Self::Fields { found } => write!(
                f,
                "the cron pattern has {found} fields; it needs five (minute to weekday), six with \
                 seconds before them, or seven with years after them"
            ),
            Self::Nickname { given } => write!(
                f,
                "unknown cron nickname {given:?}; known are @yearly, @annually, @monthly, \
                 @weekly, @daily, @midnight and @hourly (for a period use `every`)"
            ),
            Self::EmptyItem { field } => {
                write!(f, "an empty item in the list of the {field} field")
            }
            Self::Field { field, item } => write!(f, "{item:?} does not fit the {field} field"),
            Self::Syntax { reason } => write!(f, "invalid cron pattern: {reason}"),
            Self::NeverOccurs => {
                f.write_str("the cron pattern never occurs: no day of any year fits its day fields")
            }
        }
    }
}

impl std::error::Error for CronError {}

/// Parses a pattern that occurs for ever.
pub(super) fn parse(text: &str) -> Result<croner::Cron, CronError> {
    if text.len() > MAX_BYTES {
        return Err(CronError::TooLong {
            len: text.len(),
            max: MAX_BYTES,
        });
    }
    let pattern = expand(text)?;
    check_fields(pattern)?;
    let parsed = CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Optional)
        .build()
        .parse(pattern)
        .map_err(syntax)?;
    if !occurs(&parsed)? {
        return Err(CronError::NeverOccurs);
    }
    Ok(parsed)
}

/// The fields that a nickname stands for; other text as it is.
fn expand(text: &str) -> Result<&str, CronError> {
    Ok(match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other if other.starts_with('@') => {
            return Err(CronError::Nickname {
                given: other.to_owned(),
            });
        }
        other => other,
    })
}

fn check_fields(pattern: &str) -> Result<(), CronError> {
    let fields: Vec<&str> = pattern.split_whitespace().collect();
    let names: &[&'static str] = match fields.len() {
        5 => &NAMES[1..6],
        6 => &NAMES[..6],
        7 => &NAMES,
        found => return Err(CronError::Fields { found }),
    };
    for (&field, &name) in names.iter().zip(&fields) {
        // `+` before the weekdays asks for both day fields.
        let items = if field == WEEKDAY {
            name.strip_prefix('+').unwrap_or(name)
        } else {
            name
        };
        for item in items.split(',') {
            if item.is_empty() {
                return Err(CronError::EmptyItem { field });
            }
            if !fits(field, item) {
                return Err(CronError::Field {
                    field,
                    item: item.to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// Whether the words and numbers of an item belong in its field. Ranges are the parser's matter.
fn fits(field: &str, item: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric();
    item.chars().all(|c| is_word(c) || "*/-#?".contains(c))
        && item
            .split(|c| !is_word(c))
            .flat_map(split_number)
            .all(|word| match word.as_bytes() {
                [] => true,
                // No field knows a number of more than four digits.
                [b'0'..=b'9', ..] => word.len() <= 4,
                _ => is_name(field, word),
            })
}

/// Parts such as `15W` and `5L` into the number and what follows it.
fn split_number(word: &str) -> [&str; 2] {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = word.split_at(digits);
    [number, rest]
}

fn is_name(field: &str, word: &str) -> bool {
    let one_of = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(word));
    match field {
        MONTH => one_of(&MONTHS),
        // `FRIL`, the month's last Friday, is one word.
        WEEKDAY => {
            let day = word.strip_suffix(['L', 'l']).unwrap_or(word);
            day.is_empty() || WEEKDAYS.iter().any(|name| name.eq_ignore_ascii_case(day))
        }
        DAY => one_of(&["L", "W", "LW"]),
        _ => false,
    }
}

/// Whether some day of some year fits.
fn occurs(cron: &croner::Cron) -> Result<bool, CronError> {
    let pattern = &cron.pattern;
    let times = [&pattern.seconds, &pattern.minutes, &pattern.hours];
    if times.iter().any(|field| field.values().is_empty()) {
        return Ok(false);
    }
    // A year's days depend on its first weekday and on whether it is a leap year: 14 shapes.
    let mut seen = [false; 14];
    let mut first_weekday = 4; // 1970-01-01 was a Thursday
    for year in 1970..croner::YEAR_UPPER_LIMIT {
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let shape = first_weekday as usize + if leap { 7 } else { 0 };
        let fits = !seen[shape] && pattern.year_match(year).map_err(syntax)?;
        if fits {
            seen[shape] = true;
            if occurs_in(pattern, year, first_weekday, leap)? {
                return Ok(true);
            }
        }
        first_weekday = (first_weekday + if leap { 366 } else { 365 }) % 7;
    }
    Ok(false)
}

fn occurs_in(
    pattern: &croner::CronPattern,
    year: i32,
    first_weekday: u32,
    leap: bool,
) -> Result<bool, CronError> {
    let mut weekday = first_weekday;
    for (month, days) in (1..).zip(DAYS) {
        let days = if month == 2 && leap { 29 } else { days };
        let fits = pattern.month_match(month).map_err(syntax)?;
        for day in 1..=days {
            let name = Weekday::from_days_from_sunday(weekday);
            if fits && pattern.day_match(year, month, day, name).map_err(syntax)? {
                return Ok(true);
            }
            weekday = (weekday + 1) % 7;
        }
    }
    Ok(false)
}

/// croner's own refusal, of a pattern or of a date that we made (of which none is known), in its
/// words but for the full stop: ours have none at the end.
#[allow(clippy::needless_pass_by_value)] // the shape that `map_err` wants
fn syntax(error: croner::errors::CronError) -> CronError {
    CronError::Syntax {
        reason: error.to_string().trim_end_matches('.').to_owned(),
    }
}

const DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

const DAY: &str = "day of month";
const MONTH: &str = "month";
const WEEKDAY: &str = "weekday";
const NAMES: [&str; 7] = ["second", "minute", "hour", DAY, MONTH, WEEKDAY, "year"];

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
