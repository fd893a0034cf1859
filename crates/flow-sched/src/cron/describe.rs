//! A pattern in English.

use super::display::bits;
use super::fields::{
    ALL_60, ALL_DAYS, ALL_HOURS, ALL_MONTHS, ALL_WEEKDAYS, Fields, LAST_WEEKDAYS, Years,
};
use super::pattern::{CronPattern, Spec};

pub(super) fn describe(pattern: &CronPattern) -> String {
    match &pattern.spec {
        Spec::Reboot => "once, when the scheduler starts the job".to_owned(),
        Spec::Every(seconds) => {
            let parts = [
                count(seconds / 3_600, "hour"),
                count(seconds / 60 % 60, "minute"),
                count(seconds % 60, "second"),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            format!("every {}", join(&parts, "and"))
        }
        Spec::Calendar(fields) => {
            let mut text = time(fields);
            let parts = [days(fields), months(fields), years(fields)];
            for part in parts.into_iter().flatten() {
                text.push_str(", ");
                text.push_str(&part);
            }
            text
        }
    }
}

/// Why no day fits: "30 February never comes".
pub(super) fn never(fields: &Fields) -> String {
    let plain = fields.weekday == ALL_WEEKDAYS && fields.from_last == 0 && fields.nearest == 0;
    let years = years(fields);
    if plain {
        let days = runs(u64::from(fields.day), number, "or");
        let months = runs(u64::from(fields.month), month, "or");
        let years = years.map(|years| format!(" {years}")).unwrap_or_default();
        return format!("{days} {months} never comes{years}");
    }
    let days = days(fields).unwrap_or_default();
    let mut text = format!("no day is {}", days.trim_start_matches("on "));
    for part in [months(fields), years].into_iter().flatten() {
        text.push_str(", ");
        text.push_str(&part);
    }
    text
}

fn count(number: u32, unit: &str) -> Option<String> {
    match number {
        0 => None,
        1 => Some(format!("1 {unit}")),
        _ => Some(format!("{number} {unit}s")),
    }
}

fn time(fields: &Fields) -> String {
    let (seconds, minutes, hours) = (fields.second, fields.minute, u64::from(fields.hour));
    let times = seconds.count_ones() * minutes.count_ones() * hours.count_ones();
    if times <= LISTED {
        let mut all = Vec::new();
        for hour in bits(hours) {
            for minute in bits(minutes) {
                for second in bits(seconds) {
                    all.push(if seconds == 1 {
                        format!("{hour:02}:{minute:02}")
                    } else {
                        format!("{hour:02}:{minute:02}:{second:02}")
                    });
                }
            }
        }
        return format!("at {}", join(&all, "and"));
    }
    let mut parts = Vec::new();
    if seconds != 1 {
        parts.push(regular(seconds, ALL_60, 60, "second"));
    }
    if minutes != ALL_60 || seconds == 1 {
        parts.push(regular(minutes, ALL_60, 60, "minute"));
    } else if seconds != ALL_60 && step(seconds, 60).is_none() {
        parts.push("of every minute".to_owned());
    }
    if hours != u64::from(ALL_HOURS) {
        // "every 2 hours" alone would not say at which minute.
        parts.push(format!("in the {}", values(hours, "hour", number)));
    } else if minutes.count_ones() < 60 && step(minutes, 60).is_none() {
        parts.push("of every hour".to_owned());
    }
    parts.join(" ")
}

/// "every minute", "every 15 minutes", "at minutes 5 and 20".
fn regular(mask: u64, all: u64, count: u32, unit: &str) -> String {
    if mask == all {
        return format!("every {unit}");
    }
    match step(mask, count) {
        Some(step) => format!("every {step} {unit}s"),
        None => format!("at {}", values(mask, unit, number)),
    }
}

/// The step of values that are equally far apart all around.
fn step(mask: u64, count: u32) -> Option<u32> {
    (2..=count / 2).find(|&step| {
        let every = (0..count).step_by(step as usize);
        count.is_multiple_of(step) && every.fold(0, |mask, value| mask | 1 << value) == mask
    })
}

fn days(fields: &Fields) -> Option<String> {
    let by_day = (fields.day != ALL_DAYS).then(|| of_month(fields));
    let by_weekday = (fields.weekday != ALL_WEEKDAYS).then(|| of_week(fields));
    match (by_day, by_weekday) {
        (Some(day), Some(weekday)) if fields.either => Some(format!("on {day} or on {weekday}")),
        (Some(day), Some(weekday)) => Some(format!("on {day} if it is {weekday}")),
        (Some(one), None) | (None, Some(one)) => Some(format!("on {one}")),
        (None, None) => None,
    }
}

fn of_month(fields: &Fields) -> String {
    let mut parts = Vec::new();
    if fields.day != 0 {
        parts.push(values(u64::from(fields.day), "day", number));
    }
    for before in bits(u64::from(fields.from_last)) {
        parts.push(match before {
            0 => "the last day".to_owned(),
            1 => "the last day but one".to_owned(),
            _ => format!("the day {before} days before the last"),
        });
    }
    for bit in bits(fields.nearest) {
        parts.push(match bit {
            0..32 => format!("the weekday nearest to day {bit}"),
            32 => "the last weekday".to_owned(),
            _ => format!("the weekday nearest to {} days before the last", bit - 32),
        });
    }
    format!("{} of the month", join(&parts, "and"))
}

fn of_week(fields: &Fields) -> String {
    let mut parts = Vec::new();
    if fields.weekday != 0 {
        parts.push(runs(u64::from(fields.weekday), weekday, "and"));
    }
    for bit in bits(fields.nth) {
        let day = weekday(bit % 7);
        let which = ["first", "second", "third", "fourth", "fifth"];
        let which = which.get(bit as usize / 7);
        let which = which.filter(|_| bit < LAST_WEEKDAYS).unwrap_or(&"last");
        parts.push(format!("the {which} {day} of the month"));
    }
    join(&parts, "or")
}

fn months(fields: &Fields) -> Option<String> {
    let runs = || runs(u64::from(fields.month), month, "and");
    (fields.month != ALL_MONTHS).then(|| format!("in {}", runs()))
}

fn years(fields: &Fields) -> Option<String> {
    let years = fields.years.as_ref()?;
    let mut parts = Vec::new();
    let mut year = Years::FIRST;
    while year <= super::civil::LAST_YEAR {
        let mut end = year;
        while years.has(end) {
            end += 1;
        }
        match end - year {
            0 => {}
            1 => parts.push(year.to_string()),
            _ => parts.push(format!("{year} to {}", end - 1)),
        }
        year = end + 1;
    }
    Some(format!("in {}", join(&parts, "and")))
}

/// "minute 5", "minutes 5, 6 and 20 to 30".
fn values(mask: u64, unit: &str, name: fn(u32) -> String) -> String {
    let plural = if mask.is_power_of_two() { "" } else { "s" };
    format!("{unit}{plural} {}", runs(mask, name, "and"))
}

/// "5, 6 and 20 to 30", with that word before the last.
fn runs(mut mask: u64, name: fn(u32) -> String, word: &str) -> String {
    let mut parts = Vec::new();
    while mask != 0 {
        let low = mask.trailing_zeros();
        let run = (mask >> low).trailing_ones();
        let run = if run == 2 { 1 } else { run };
        parts.push(match run {
            1 => name(low),
            _ => format!("{} to {}", name(low), name(low + run - 1)),
        });
        mask &= !(u64::MAX >> (64 - run) << low);
    }
    join(&parts, word)
}

/// "a, b and c".
fn join(parts: &[String], word: &str) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} {word} {last}", first.join(", ")),
    }
}

fn number(value: u32) -> String {
    value.to_string()
}

fn weekday(day: u32) -> String {
    WEEKDAYS[day as usize % 7].to_owned()
}

/// Months count from 1.
fn month(month: u32) -> String {
    MONTHS[(month as usize + 11) % 12].to_owned()
}

/// So many times of day are listed one by one.
const LISTED: u32 = 6;

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
