//! What `src/cron/CRONER.md` says of croner 4.0.3, shown: when croner mends one of these, its test
//! fails, and its section goes.

use chrono::{DateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};

fn read(text: &str) -> Result<Cron, CronError> {
    CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Optional)
        .build()
        .parse(text)
}

/// The next `N` occurrences.
fn next<const N: usize>(text: &str, zone: Tz, (year, month, day): (i32, u32, u32)) -> [String; N] {
    let from = zone.with_ymd_and_hms(year, month, day, 0, 0, 0).unwrap();
    let cron = read(text).unwrap();
    let mut all = cron.iter_from(from, croner::Direction::Forward);
    [(); N].map(|()| all.next().unwrap().to_rfc3339())
}

#[test]
fn text_that_should_be_refused_is_read() {
    for text in [
        // 1. Empty items.
        "1,,2 * * * *",
        ",1 * * * *",
        "1, * * * *",
        ", * * * *",
        // 2. Names in a field of numbers.
        "MON * * * *",
        "MON1 * * * *",
        "0 0 JAN * *",
        // 3. Lists with `W`.
        "0 0 1,15W * *",
        // 4. Steps larger than the field.
        "*/90 * * * *",
        // 5. Days that never come.
        "0 0 30 2 *",
        "0 0 1W * +SUN",
        "0 0 * * L",
        // 6. Small letters.
        "0 0 l * *",
        "0 0 15w * *",
        "@DAILY",
        // 7. Years before 1970.
        "0 0 0 1 1 * 1969",
    ] {
        assert!(read(text).is_ok(), "{text}");
    }
    let from = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
    let monday = read("MON * * * *").unwrap();
    let minute = monday.find_next_occurrence(&from, true).unwrap().minute();
    assert_eq!(minute, 1);
    let never = read("0 0 30 2 *").unwrap();
    let searched = never.find_next_occurrence(&from, true);
    assert!(matches!(searched, Err(CronError::TimeSearchLimitExceeded)));
}

#[test]
fn text_that_should_be_read_is_refused() {
    for text in ["@midnight", "@reboot", "@every 5m", "TZ=UTC 0 0 * * *"] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn steps_of_years_count_from_year_1() {
    assert_eq!(
        next("0 0 0 1 1 * */2", Tz::UTC, (2026, 2, 1)),
        ["2027-01-01T00:00:00+00:00", "2029-01-01T00:00:00+00:00"]
    );
}

#[test]
fn lists_are_no_fixed_times_when_clocks_change() {
    assert_eq!(
        next("0,30 2 * * *", Tz::America__New_York, (2026, 3, 8)),
        ["2026-03-09T02:00:00-04:00", "2026-03-09T02:30:00-04:00"]
    );
    assert_eq!(
        next("0,30 1 * * *", Tz::America__New_York, (2026, 11, 1)),
        [
            "2026-11-01T01:00:00-04:00",
            "2026-11-01T01:30:00-04:00",
            "2026-11-01T01:00:00-05:00",
            "2026-11-01T01:30:00-05:00"
        ]
    );
}

/// Our dialect of its name, on both days on which clocks change: what it has fixed and what follows
/// the clock is as it has it.
#[test]
fn our_dialect_changes_clocks_as_croner_does() {
    let zone = Tz::America__New_York;
    for text in [
        "30 2 * * *",
        "0,30 1 * * *",
        "*/15 * * * *",
        "0,30 2 * * *",
        "30 1 * * *",
    ] {
        let ours = flow_sched::Cron::parse_as(text, flow_sched::Dialect::Croner).unwrap();
        let ours = ours.time_zone(zone.name()).unwrap();
        let theirs = read(text).unwrap();
        for (month, day) in [(3, 8), (11, 1)] {
            let from = zone.with_ymd_and_hms(2026, month, day, 0, 0, 0).unwrap();
            let until = from + TimeDelta::hours(36);
            let theirs: Vec<i64> = theirs
                .iter_after(from)
                .take_while(|next| *next < until)
                .map(|next| next.timestamp())
                .collect();
            let ours: Vec<i64> = ours
                .iter_after(crate::common::at(from.timestamp()))
                .map(crate::common::seconds)
                .take_while(|&next| next < until.timestamp())
                .collect();
            assert_eq!(ours, theirs, "{text} on {month}-{day}");
            assert!(!ours.is_empty());
        }
    }
}

#[test]
fn a_day_that_a_zone_left_out_ends_the_search() {
    let zone = Tz::Pacific__Apia;
    let from = zone.with_ymd_and_hms(2011, 12, 29, 12, 0, 0).unwrap();
    let cron = read("30 6 * * *").unwrap();
    let found = cron.find_next_occurrence(&from, false);
    assert!(matches!(found, Err(CronError::TimeSearchLimitExceeded)));
}

#[test]
fn an_inclusive_search_may_answer_with_a_time_before_its_start() {
    let minute: DateTime<Utc> = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
    let from = minute + TimeDelta::milliseconds(500);
    let cron = read("* * * * *").unwrap();
    let found = cron.find_next_occurrence(&from, true).unwrap();
    assert!(found < from, "{found}");
}
