//! Against models: brute force over minutes and seconds, croner, and each other.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use chrono::{DateTime, Datelike, Timelike, Utc};
use flow_sched::{Cron, CronError, CronPattern, Dialect};
use proptest::prelude::*;

use crate::common::{DIALECTS, at, seconds};

/// A field of plain values, or `*`.
fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
    let value = min..=max;
    let range = (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
    let stepped = (min..=max, min..=max, 1..=7_u32)
        .prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b)));
    let star = (2..=max).prop_map(|step| format!("*/{step}"));
    let item = prop_oneof![
        value.prop_map(|value| value.to_string()),
        range,
        stepped,
        star
    ];
    prop_oneof![
        2 => Just("*".to_owned()),
        3 => prop::collection::vec(item, 1..4).prop_map(|items| items.join(",")),
    ]
}

fn day() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => field(1, 31),
        1 => Just("L".to_owned()),
        1 => Just("LW".to_owned()),
        1 => (1..=31_u32).prop_map(|day| format!("{day}W")),
    ]
}

fn weekday() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => field(0, 6),
        1 => (0..=6_u32, 1..=5_u32).prop_map(|(day, n)| format!("{day}#{n}")),
        1 => (0..=6_u32).prop_map(|day| format!("{day}L")),
        1 => field(0, 6).prop_map(|field| format!("+{field}")),
    ]
}

/// Five fields.
fn pattern() -> impl Strategy<Value = String> {
    (field(0, 59), field(0, 23), day(), field(1, 12), weekday())
        .prop_map(|(m, h, dom, mon, dow)| format!("{m} {h} {dom} {mon} {dow}"))
}

fn months() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["JAN", "feb", "Mar", "APR", "JUN", "SEP", "DEC"]);
    prop_oneof![
        1 => field(1, 12),
        2 => prop::collection::vec(name, 1..4).prop_map(|names| names.join(",")),
        1 => Just("MAR-OCT/2".to_owned()),
    ]
}

fn weekdays() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(vec!["SUN", "mon", "Tue", "WED", "THU", "FRI", "SAT"]);
    prop_oneof![
        1 => weekday(),
        2 => prop::collection::vec(name(), 1..4).prop_map(|names| names.join(",")),
        1 => (name(), 1..=5_u32).prop_map(|(name, n)| format!("{name}#{n}")),
        1 => name().prop_map(|name| format!("{name}L")),
        1 => Just("MON-FRI".to_owned()),
    ]
}

/// Lists of years and ranges of them.
fn years() -> impl Strategy<Value = String> {
    let item = (1970..=2160_u32, 0..=40_u32).prop_map(|(year, more)| match more {
        0..=20 => year.to_string(),
        _ => format!("{year}-{}", year + more - 20),
    });
    prop_oneof![
        1 => Just("*".to_owned()),
        2 => prop::collection::vec(item, 1..4).prop_map(|items| items.join(",")),
    ]
}

/// From 1970 to 2160.
fn moment() -> impl Strategy<Value = i64> {
    0..6_000_000_000_i64
}

fn parse(text: &str) -> Option<Cron> {
    match Cron::new(text) {
        Ok(cron) => Some(cron),
        Err(CronError::NeverOccurs { .. }) => None,
        Err(error) => panic!("{text}: {error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn next_and_prev_are_inverse_and_match(text in pattern(), from in moment()) {
        let Some(cron) = parse(&text) else { return Ok(()) };
        let next = cron.next_after(at(from));
        let prev = cron.prev_before(at(from));
        prop_assert!(next.is_none_or(|next| next > at(from) && cron.matches(next)));
        prop_assert!(prev.is_none_or(|prev| prev < at(from) && cron.matches(prev)));
        // `from` itself is the only time that may lie between the two.
        let between = cron.matches(at(from)).then_some(at(from));
        if let (Some(next), Some(prev)) = (next, prev) {
            prop_assert_eq!(cron.prev_before(next), Some(between.unwrap_or(prev)));
            prop_assert_eq!(cron.next_after(prev), Some(between.unwrap_or(next)));
        }
        let run: Vec<_> = cron.iter_after(at(from)).take(5).collect();
        prop_assert!(run.is_sorted_by(|a, b| a < b));
        if let Some(&last) = run.last() {
            let mut back: Vec<_> = cron.iter_before(last + core::time::Duration::from_secs(1))
                .take(run.len()).collect();
            back.reverse();
            prop_assert_eq!(back, run);
        }
    }

    /// Nothing that fits lies between a time and the next occurrence, and what fits matches: all
    /// minutes of a day and more are looked at.
    #[test]
    fn next_is_the_first_that_fits(text in pattern(), from in moment()) {
        let Some(cron) = parse(&text) else { return Ok(()) };
        let from = from - from.rem_euclid(60);
        let next = cron.next_after(at(from)).map_or(i64::MAX, seconds);
        let croner: croner::Cron = text.parse().unwrap();
        let fits = |at: i64| {
            let time = DateTime::<Utc>::from_timestamp(at, 0).unwrap();
            croner.is_time_matching(&time).unwrap()
        };
        for minute in (from + 60..from + 2_000 * 60).step_by(60) {
            let fitting = fits(minute);
            prop_assert!(!fitting || minute >= next, "{minute} fits, {next} was found");
            prop_assert_eq!(cron.matches(at(minute)), fitting, "{}", minute);
        }
        prop_assert!(next == i64::MAX || fits(next));
    }

    #[test]
    fn in_utc_it_is_what_croner_finds(text in pattern(), from in moment()) {
        let Some(cron) = parse(&text) else { return Ok(()) };
        let croner: croner::Cron = text.parse().unwrap();
        let mut last = DateTime::<Utc>::from_timestamp(from, 0).unwrap();
        let mut ours = at(from);
        for _ in 0..4 {
            let Ok(next) = croner.find_next_occurrence(&last, false) else { break };
            if next.year() > 2_199 {
                prop_assert_eq!(cron.next_after(ours), None);
                break;
            }
            ours = cron.next_after(ours).unwrap();
            prop_assert_eq!(seconds(ours), next.timestamp(), "{}", next);
            prop_assert_eq!(next.second(), 0);
            last = next;
        }
        let same = Cron::parse_as(&text, Dialect::Croner).unwrap();
        prop_assert_eq!(same.next_after(at(from)), cron.next_after(at(from)));
    }

    /// The same of every second of some minutes.
    #[test]
    fn next_is_the_first_second_that_fits(
        second in field(0, 59),
        minute in field(0, 59),
        hour in prop_oneof![Just("*".to_owned()), field(0, 23)],
        from in moment(),
    ) {
        let text = format!("{second} {minute} {hour} * * *");
        let Some(cron) = parse(&text) else { return Ok(()) };
        let croner: croner::Cron = text.parse().unwrap();
        let fitting: Vec<i64> = (from + 1..from + 400)
            .filter(|&at| {
                let time = DateTime::<Utc>::from_timestamp(at, 0).unwrap();
                croner.is_time_matching(&time).unwrap()
            })
            .collect();
        let found: Vec<i64> = cron
            .iter_after(at(from))
            .map(seconds)
            .take_while(|&next| next < from + 400)
            .collect();
        prop_assert_eq!(&found, &fitting);
        let matching: Vec<i64> =
            (from + 1..from + 400).filter(|&second| cron.matches(at(second))).collect();
        prop_assert_eq!(&matching, &fitting);
    }

    /// Seconds, names and years; these without steps, which croner counts from year 1.
    #[test]
    fn seconds_names_and_years_are_what_croner_finds(
        text in (field(0, 59), field(0, 59), field(0, 23), day(), months(), weekdays(), years())
            .prop_map(|(s, m, h, dom, mon, dow, y)| format!("{s} {m} {h} {dom} {mon} {dow} {y}")),
        from in moment(),
    ) {
        let Some(cron) = parse(&text) else { return Ok(()) };
        let croner: croner::Cron = text.parse().unwrap();
        let mut last = DateTime::<Utc>::from_timestamp(from, 0).unwrap();
        for _ in 0..4 {
            let ours = cron.next_after(at(last.timestamp())).map(seconds);
            let theirs = croner.find_next_occurrence(&last, false).ok();
            prop_assert_eq!(ours, theirs.map(|next| next.timestamp()), "{} after {}", text, last);
            let Some(next) = theirs else { break };
            last = next;
        }
    }

    #[test]
    fn what_is_displayed_reads_back(
        text in pattern(),
        second in field(0, 59),
        year in field(1970, 2199),
        dialect in prop::sample::select(DIALECTS.to_vec()),
    ) {
        for text in [
            format!("{second} {text} {year}"),
            format!("{second} {text}"),
            format!("{second} {}", text.replacen(" *", " ?", 1)),
            text.clone(),
            text.replace('+', ""),
        ] {
            let Ok(pattern) = CronPattern::parse_as(&text, dialect) else { continue };
            let shown = pattern.to_string();
            match CronPattern::parse_as(&shown, dialect) {
                Ok(again) => prop_assert_eq!(&again, &pattern, "{} as {}", text, shown),
                Err(error) => return Err(TestCaseError::fail(format!("{text}: {shown}: {error}"))),
            }
            prop_assert!(!pattern.describe().is_empty());
        }
    }
}

/// The day fields of patterns of which many are the same.
fn days_of_few_kinds() -> impl Strategy<Value = String> {
    let day = ["*", "29", "30,31", "31", "L", "28-31", "1-7", "1W", "15-31"];
    let month = ["*", "2", "4,6", "1,3", "2,4"];
    let weekday = ["*", "MON", "+MON", "MON#1", "MON#1,TUE#L"];
    let year = ["*", "2023", "2023,2024", "1999,2024", "2026-2030/2"];
    let one_of = |texts: &[&'static str]| prop::sample::select(texts.to_vec());
    (
        one_of(&day),
        one_of(&month),
        one_of(&weekday),
        one_of(&year),
    )
        .prop_map(|(day, month, weekday, year)| format!("0 0 0 {day} {month} {weekday} {year}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Every shape of a year comes within 40 years.
    #[test]
    fn patterns_are_equal_if_they_select_the_same(
        one in days_of_few_kinds(),
        other in days_of_few_kinds(),
    ) {
        let (Some(one), Some(other)) = (parse(&one), parse(&other)) else { return Ok(()) };
        let times = |cron: &Cron| -> Vec<_> {
            let until = at(70 * 366 * 86_400);
            cron.iter_after(at(20 * 366 * 86_400)).take_while(|time| *time < until).collect()
        };
        prop_assert_eq!(one == other, times(&one) == times(&other), "{} and {}", one, other);
        if one == other {
            let hash = |cron: &Cron| BuildHasherDefault::<DefaultHasher>::default().hash_one(cron);
            prop_assert_eq!(hash(&one), hash(&other));
        }
    }
}
