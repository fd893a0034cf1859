//! Times of std, chrono and jiff: the same occurrences, each in its own type and zone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flow_sched::Cron;

use crate::common::at;

fn noon() -> Cron {
    Cron::new("TZ=Europe/Berlin 0 12 * * *").unwrap()
}

/// 2026-06-01 10:00:00 UTC, noon in Berlin.
const NOON: i64 = 1_780_308_000;
const DAY: i64 = 86_400;

#[test]
fn parts_of_a_second_are_after_it() {
    let cron = noon();
    for (rest, next, prev) in [
        (Duration::ZERO, NOON + DAY, NOON - DAY),
        (Duration::from_nanos(1), NOON + DAY, NOON),
        (Duration::from_nanos(999_999_999), NOON + DAY, NOON),
    ] {
        let time = at(NOON) + rest;
        assert_eq!(cron.next_after(time), Some(at(next)));
        assert_eq!(cron.prev_before(time), Some(at(prev)));
        assert_eq!(cron.matches(time), rest.is_zero());
    }
    let before = UNIX_EPOCH - Duration::from_millis(1);
    let midnight = Cron::new("@daily").unwrap();
    assert_eq!(midnight.next_after(before), Some(UNIX_EPOCH));
    assert_eq!(midnight.prev_before(before), Some(at(-DAY)));
    let two: Vec<SystemTime> = cron.next_n(at(NOON), 2);
    assert_eq!(two, [at(NOON + DAY), at(NOON + 2 * DAY)]);
}

#[cfg(feature = "chrono")]
#[test]
fn of_chrono_in_any_zone() {
    use chrono::{DateTime, FixedOffset, TimeZone, Utc};
    use chrono_tz::Asia::Tokyo;

    let cron = noon();
    let utc = DateTime::<Utc>::from_timestamp(NOON, 0).unwrap();
    assert!(cron.matches(utc));
    let tokyo = cron.next_after(utc.with_timezone(&Tokyo)).unwrap();
    assert_eq!(tokyo.to_rfc3339(), "2026-06-02T19:00:00+09:00");
    let west = FixedOffset::west_opt(3_600).unwrap();
    let west = west.timestamp_opt(NOON, 1).unwrap();
    assert!(!cron.matches(west));
    let back: Vec<String> = cron
        .iter_before(west)
        .take(2)
        .map(|at| at.to_rfc3339())
        .collect();
    assert_eq!(
        back,
        ["2026-06-01T09:00:00-01:00", "2026-05-31T09:00:00-01:00"]
    );
    let early = DateTime::<Utc>::from_timestamp(-1, 999_000_000).unwrap();
    let midnight = Cron::new("@daily").unwrap();
    assert_eq!(
        midnight.next_after(early),
        DateTime::<Utc>::from_timestamp(0, 0)
    );
    assert_eq!(midnight.next_after(DateTime::<Utc>::MAX_UTC), None);
    assert_eq!(midnight.prev_before(DateTime::<Utc>::MIN_UTC), None);
}

#[cfg(feature = "jiff")]
#[test]
fn of_jiff_in_any_zone() {
    use jiff::tz::{TimeZone, offset};
    use jiff::{Timestamp, Zoned};

    let cron = noon();
    let at = Timestamp::from_second(NOON).unwrap();
    assert!(cron.matches(at));
    assert_eq!(
        cron.next_after(at).unwrap().to_string(),
        "2026-06-02T10:00:00Z"
    );
    let tokyo: Zoned = at.to_zoned(TimeZone::fixed(offset(9)));
    let days: Vec<String> = cron
        .iter_after(tokyo)
        .take(2)
        .map(|at| at.datetime().to_string())
        .collect();
    assert_eq!(days, ["2026-06-02T19:00:00", "2026-06-03T19:00:00"]);
    let midnight = Cron::new("@daily").unwrap();
    let early = Timestamp::new(-1, -1_000_000).unwrap();
    assert_eq!(
        midnight.next_after(early),
        Timestamp::from_second(0).ok(),
        "before the epoch, parts of a second count from it too"
    );
    assert!(!midnight.matches(Timestamp::new(0, -1).unwrap()));
    assert_eq!(midnight.next_after(Timestamp::MAX), None);
    assert_eq!(midnight.prev_before(Timestamp::MIN), None);
}
