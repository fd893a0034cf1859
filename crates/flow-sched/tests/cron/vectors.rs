//! Published vectors, each in its dialect.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, FixedOffset, LocalResult, NaiveDateTime, TimeZone};
use chrono_tz::Tz;
use flow_sched::{Cron, CronError, Dialect};

/// `suite, zone, pattern, from, mode, expect, note`, separated by tabs.
const VECTORS: &str = include_str!("../data/cron_vectors.tsv");

/// Vectors that are held to be wrong: suite, pattern, and why by the suite's own specification.
const WRONG: [(&str, &str, &str); 1] = [(
    "cronos-dst-difficult-fwd",
    "30 0 L  * *",
    "\"Cronos adjusts the next occurrence to the next valid time in these cases\" (README of Cronos, \
     Transition to Summer time): 00:30 on 2017-03-31 is adjusted to 01:00, and so says the suite's \
     vector `cronos-dst-midnight-gap` for the same pattern and day. So 01:00 is an occurrence, and \
     the first one at or after 01:00 is 01:00 itself, not one a month later: Cronos forgets what it \
     adjusted when it is asked from the adjusted time on",
)];

struct Vector<'a> {
    suite: &'a str,
    zone: &'a str,
    pattern: &'a str,
    from: &'a str,
    inclusive: bool,
    expect: &'a str,
}

fn vectors() -> impl Iterator<Item = Vector<'static>> {
    VECTORS.lines().skip(1).map(|line| {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap();
        Vector {
            suite: next(),
            zone: next(),
            pattern: next(),
            from: next(),
            inclusive: next() == "i",
            expect: next(),
        }
    })
}

/// A time with its offset, or on a zone's clock.
pub(crate) fn instant(text: &str, zone: &str) -> SystemTime {
    if let Ok(at) = DateTime::<FixedOffset>::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f %:z") {
        return at.into();
    }
    let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap();
    match zone.parse::<Tz>().unwrap().from_local_datetime(&local) {
        LocalResult::Single(at) => at.into(),
        other => panic!("{text} in {zone}: {other:?}"),
    }
}

/// What is wrong with our answer, if anything.
fn wrong(vector: &Vector<'_>, dialect: Dialect) -> Option<String> {
    let parsed = Cron::parse_as(vector.pattern, dialect);
    match (vector.expect, &parsed) {
        ("OK", Ok(_)) | ("ERR", Err(_)) | ("NONE", Err(CronError::NeverOccurs { .. })) => {
            return None;
        }
        (_, Err(error)) => return Some(format!("refused: {error}")),
        ("ERR", Ok(cron)) => return Some(format!("taken as {cron}")),
        _ => {}
    }
    let cron = parsed.unwrap().time_zone(vector.zone).unwrap();
    let from = instant(vector.from, vector.zone);
    match vector.expect {
        "MATCH" => return (!cron.matches(from)).then(|| "no match".to_owned()),
        "NOMATCH" => return cron.matches(from).then(|| "a match".to_owned()),
        _ => {}
    }
    let after = if vector.inclusive {
        from - Duration::from_nanos(1)
    } else {
        from
    };
    let next = cron.next_after(after);
    let expected = (vector.expect != "NONE").then(|| instant(vector.expect, vector.zone));
    let show = |at: Option<SystemTime>| at.map(DateTime::<chrono::Utc>::from);
    (next != expected).then(|| format!("{:?} instead of {:?}", show(next), show(expected)))
}

fn run(suites: &str, dialect: Dialect, but: impl Fn(&Vector<'_>) -> bool) -> usize {
    let mut failures = Vec::new();
    let mut count = 0;
    for vector in vectors().filter(|vector| vector.suite.starts_with(suites)) {
        let known = WRONG
            .iter()
            .any(|&(suite, pattern, _)| (suite, pattern) == (vector.suite, vector.pattern));
        if known || but(&vector) {
            continue;
        }
        count += 1;
        if let Some(what) = wrong(&vector, dialect) {
            failures.push(format!(
                "{} {:?} in {} from {}: {what}",
                vector.suite, vector.pattern, vector.zone, vector.from
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count}:\n{}",
        failures.len(),
        failures.join("\n")
    );
    count
}

#[test]
fn of_the_open_cron_pattern_specification() {
    assert_eq!(run("ocps", Dialect::Ocps, |_| false), 124);
    // The default dialect has the same grammar and, for clock changes, the rules of Vixie cron.
    let gap = |vector: &Vector<'_>| vector.pattern == "30 2 * * *";
    assert_eq!(run("ocps", Dialect::Flow, gap), 123);
}

#[test]
fn of_croniter_in_utc() {
    assert_eq!(run("croniter-utc", Dialect::Flow, |_| false), 3_012);
}

#[test]
fn of_robfig() {
    assert_eq!(run("robfig", Dialect::Robfig, |_| false), 118);
}

#[test]
fn of_cronos() {
    assert_eq!(run("cronos", Dialect::Cronos, |_| false), 432);
}

#[test]
fn vectors_held_to_be_wrong_are_still_there() {
    for (suite, pattern, reason) in WRONG {
        let mut all = vectors();
        let vector = all.find(|vector| (vector.suite, vector.pattern) == (suite, pattern));
        assert!(vector.is_some(), "{suite} {pattern}: {reason}");
    }
}

#[test]
fn what_is_displayed_reads_back_as_an_equal_pattern() {
    for vector in vectors() {
        let dialect = match vector.suite.split(['-']).next().unwrap() {
            "robfig" => Dialect::Robfig,
            "cronos" => Dialect::Cronos,
            "ocps" => Dialect::Ocps,
            _ => Dialect::Flow,
        };
        let Ok(cron) = Cron::parse_as(vector.pattern, dialect) else {
            continue;
        };
        let text = cron.to_string();
        match Cron::parse_as(&text, dialect) {
            Ok(again) => assert_eq!(again, cron, "{:?} as {text}", vector.pattern),
            Err(error) => panic!("{:?} as {text}: {error}", vector.pattern),
        }
    }
}
