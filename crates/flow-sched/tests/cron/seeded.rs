//! `H`, a value that a seed chooses: the expectations of Cronos' own tests, and any seed.

use std::time::Duration;

use flow_sched::{Cron, CronError, Dialect};
use proptest::prelude::*;

use crate::vectors::instant;

const ZONE: &str = "America/New_York";

fn next(pattern: &str, seed: u64, from: &str, inclusive: bool) -> std::time::SystemTime {
    let cron = Cron::parse_seeded(pattern, Dialect::Cronos, seed).unwrap();
    let cron = cron.time_zone(ZONE).unwrap();
    let from = instant(from, ZONE);
    let after = if inclusive {
        from - Duration::from_nanos(1)
    } else {
        from
    };
    cron.next_after(after).unwrap()
}

#[test]
fn values_are_those_of_cronos() {
    for (pattern, seed, from, expected) in [
        ("H * * * *", 3, "2017-03-23 16:46", "2017-03-23 17:17:00"),
        ("* H * * *", 3, "2017-03-23 16:46", "2017-03-24 07:00:00"),
        ("* * H * *", 3, "2017-03-23 16:46", "2017-04-09 00:00:00"),
        ("* * * H *", 3, "2017-03-23 16:46", "2017-04-01 00:00:00"),
        ("* * * * H", 3, "2017-03-23 16:46", "2017-03-28 00:00:00"),
        ("H/30 * * * *", 3, "2017-03-23 16:46", "2017-03-23 17:08:00"),
        ("* H/12 * * *", 3, "2017-03-23 16:46", "2017-03-24 03:00:00"),
        ("* * H/15 * *", 3, "2017-03-23 16:46", "2017-04-05 00:00:00"),
        ("* * * H/6 *", 3, "2017-03-23 16:46", "2017-08-01 00:00:00"),
        ("* * * * H/3", 4, "2017-03-23 16:46", "2017-03-24 00:00:00"),
        ("* * H/3 * *", 3, "2017-03-27 16:46", "2017-03-28 00:00:00"),
        ("* * * H/3 *", 4, "2017-10-23 16:46", "2017-12-01 00:00:00"),
        (
            "@every_minute",
            3,
            "2017-03-23 16:46",
            "2017-03-23 16:46:17",
        ),
        ("@hourly", 3, "2017-03-23 16:46", "2017-03-23 17:41:17"),
        ("@daily", 3, "2017-03-23 16:46", "2017-03-23 20:41:17"),
        ("@weekly", 3, "2017-03-23 16:46", "2017-03-27 20:41:17"),
        ("@monthly", 3, "2017-03-23 16:46", "2017-04-06 20:41:17"),
        ("@yearly", 3, "2017-03-23 16:46", "2017-07-06 20:41:17"),
        ("@annually", 3, "2019-03-23 17:40", "2019-07-06 20:41:17"),
    ] {
        let from = format!("{from}:00");
        let found = next(pattern, seed, &from, true);
        assert_eq!(found, instant(expected, ZONE), "{pattern} with {seed}");
    }
}

/// Its minute is 8 or 38. With a step, a pattern repeats in an overlap.
#[test]
fn clocks_change_as_with_other_steps() {
    for (from, expected, inclusive) in [
        ("03-13 01:08 -05:00", "03-13 01:08 -05:00", true),
        ("03-13 01:59 -05:00", "03-13 03:00 -04:00", true),
        ("03-13 03:15 -04:00", "03-13 03:38 -04:00", true),
        ("03-13 01:38 -05:00", "03-13 03:00 -04:00", false),
        ("03-13 03:38 -04:00", "03-13 04:08 -04:00", false),
        ("11-06 01:59 -04:00", "11-06 01:08 -05:00", true),
        ("11-06 01:38 -05:00", "11-06 01:38 -05:00", true),
        ("11-06 01:08 -04:00", "11-06 01:38 -04:00", false),
        ("11-06 01:38 -04:00", "11-06 01:08 -05:00", false),
        ("11-06 01:45 -05:00", "11-06 02:08 -05:00", true),
    ] {
        let full = |time: &str| format!("2016-{}:00{}", &time[..11], &time[11..]);
        let found = next("0 H/30 * * * *", 3, &full(from), inclusive);
        assert_eq!(found, instant(&full(expected), ZONE), "from {from}");
    }
}

#[test]
fn without_a_seed_or_in_another_place_it_is_refused() {
    let refused = Cron::parse_as("0 H/5 * * *", Dialect::Cronos).unwrap_err();
    let CronError::NoSeed { place } = refused else {
        panic!("{refused}");
    };
    assert_eq!((place.field(), place.range()), (Some("hour"), 2..3));
    for text in [
        "H,5 * * * *",
        "5,H * * * *",
        "H-5 * * * *",
        "H/0 * * * *",
        "H/60 * * * *",
        "H(0-5) * * * *",
        "0 0 H/29 * *",
        "0 0 HW * *",
        "0 0 * * H#2",
        "h * * * *",
    ] {
        assert!(
            Cron::parse_seeded(text, Dialect::Cronos, 3).is_err(),
            "{text}"
        );
    }
    for dialect in [Dialect::Flow, Dialect::Quartz, Dialect::Croner] {
        assert!(Cron::parse_seeded("0 H 1 * * ?", dialect, 3).is_err());
    }
    let daily = Cron::parse_as("@daily", Dialect::Cronos).unwrap();
    assert_eq!(daily.to_string(), "0 0 * * *", "no seed, no spreading");
}

proptest! {
    #[test]
    fn any_seed_gives_values_of_the_field(seed in any::<u64>(), step in 2..=12_u32) {
        for text in [
            "H H H H H H".to_owned(),
            format!("H/{step} H/{step} H/{step} H/{step} H/{step} *"),
            format!("0 0 0 * * H/{}", step.min(7)),
            "@weekly".to_owned(),
        ] {
            let read = || Cron::parse_seeded(&text, Dialect::Cronos, seed);
            match read() {
                Ok(cron) => {
                    let same = read();
                    prop_assert_eq!(same.as_ref(), Ok(&cron));
                    let shown = cron.to_string();
                    let again = Cron::parse_as(&shown, Dialect::Cronos);
                    prop_assert_eq!(again.as_ref(), Ok(&cron), "{} as {}", text, shown);
                }
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
    }
}
