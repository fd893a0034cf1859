//! `@daily` and the like, `@every`, `@reboot`.

use super::dialect::{FIXED, Grammar, Looks, Nicknames};
use super::error::{CronError, CronPlace};
use super::fields::{ALL_60, ALL_HOURS, Fields};
use super::parser::{calendar, finish};
use super::pattern::{CronPattern, Spec};
use super::seed::Seed;

pub(super) fn parse(
    text: &str,
    grammar: &'static Grammar,
    seed: Seed,
) -> Result<CronPattern, CronError> {
    let word = text.get(1..).unwrap_or_default();
    if grammar.every
        && let Some(period) = word.strip_prefix("every")
        && period.starts_with([' ', '\t'])
    {
        return every(text, period.trim_ascii(), grammar);
    }
    if grammar.reboot && word == "reboot" {
        return Ok(CronPattern {
            spec: Spec::Reboot,
            dialect: grammar.dialect,
            dst: FIXED,
        });
    }
    let mut lower = [0; 16];
    let word = if grammar.nicknames == Nicknames::Cronos {
        lower_case(word, &mut lower)
    } else {
        word
    };
    if grammar.seeded
        && seed.is_some()
        && let Some(pattern) = spread(word)
    {
        return calendar(pattern, grammar, seed);
    }
    let fields = match word {
        "every_minute" | "every_second" if grammar.nicknames != Nicknames::Cronos => None,
        word => plain(word),
    };
    let Some(fields) = fields else {
        return Err(unknown(text, grammar));
    };
    let hourly = fields.hour == ALL_HOURS;
    let looks = Looks {
        star: hourly,
        interval: hourly,
    };
    finish(text, fields, looks, grammar)
}

/// `0 0 1 1 *` and so on.
fn plain(word: &str) -> Option<Fields> {
    let mut fields = Fields {
        minute: 1,
        hour: 1,
        ..Fields::EVERY_MINUTE
    };
    match word {
        "every_minute" => return Some(Fields::EVERY_MINUTE),
        "every_second" => {
            return Some(Fields {
                second: ALL_60,
                ..Fields::EVERY_MINUTE
            });
        }
        "yearly" | "annually" => {
            fields.day = 1 << 1;
            fields.month = 1 << 1;
        }
        "monthly" => fields.day = 1 << 1,
        "weekly" => fields.weekday = 1,
        "daily" | "midnight" => {}
        "hourly" => fields.hour = ALL_HOURS,
        _ => return None,
    }
    Some(fields)
}

/// What a macro of Cronos means with a seed: any time within its period.
fn spread(word: &str) -> Option<&'static str> {
    Some(match word {
        "every_minute" => "H * * * * *",
        "hourly" => "H H * * * *",
        "daily" | "midnight" => "H H H * * *",
        "weekly" => "H H H * * H",
        "monthly" => "H H H H * *",
        "yearly" | "annually" => "H H H H H *",
        _ => return None,
    })
}

/// A word in lower case; an empty one, if it is longer than any that is known.
fn lower_case<'a>(word: &str, into: &'a mut [u8; 16]) -> &'a str {
    let Some(lower) = into.get_mut(..word.len()) else {
        return "";
    };
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    core::str::from_utf8(lower).unwrap_or("")
}

/// `given` is what `text` ends with.
fn every(text: &str, given: &str, grammar: &Grammar) -> Result<CronPattern, CronError> {
    let seconds = period(given).filter(|seconds| (1..=CENTURY).contains(seconds));
    let Some(seconds) = seconds else {
        return Err(CronError::Period {
            place: CronPlace::new(text, None, text.len() - given.len()..text.len()),
        });
    };
    Ok(CronPattern {
        spec: Spec::Every(seconds),
        dialect: grammar.dialect,
        dst: FIXED,
    })
}

/// Whole hours, minutes and seconds, in this order, each of them once at the most.
fn period(text: &str) -> Option<u32> {
    let mut total = 0_u32;
    let mut rest = text;
    let mut larger = u32::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at(digits);
        let seconds = match unit.as_bytes().first()? {
            b'h' => 3_600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        if seconds >= larger {
            return None;
        }
        larger = seconds;
        let part = number.parse::<u32>().ok()?.checked_mul(seconds)?;
        total = total.checked_add(part)?;
        rest = &unit[1..];
    }
    Some(total)
}

/// 36,525 days.
const CENTURY: u32 = 36_525 * 86_400;

#[cold]
fn unknown(text: &str, grammar: &Grammar) -> CronError {
    CronError::Nickname {
        place: CronPlace::new(text, None, 0..text.len()),
        known: match (grammar.nicknames, grammar.every, grammar.reboot) {
            (Nicknames::Cronos, ..) => {
                "@yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, \
                 @every_minute and @every_second"
            }
            (_, true, true) => {
                "@yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, @reboot and \
                 @every with a period"
            }
            (_, true, false) => {
                "@yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly and @every \
                 with a period"
            }
            _ => "@yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly and @reboot",
        },
    }
}
