//! Ways of writing: dialects, normal forms, English, serde.

use std::collections::HashSet;

use flow_sched::{Cron, CronError, CronPattern, Dialect};

use crate::common::{at, seconds};

fn parse(text: &str) -> CronPattern {
    CronPattern::parse(text).unwrap()
}

#[test]
fn normal_forms() {
    for (text, shown) in [
        ("@hourly", "0 * * * *"),
        ("@weekly", "0 0 * * SUN"),
        ("@midnight", "0 0 * * *"),
        ("@every 90m", "@every 1h30m"),
        ("@reboot", "@reboot"),
        ("0,15,30,45 9-17 * * 1,2,3,4,5", "0-45/15 9-17 * * MON-FRI"),
        ("*/15 9-17 * * 1-5", "*/15 9-17 * * MON-FRI"),
        ("00 08 ? * 5-7", "0 8 * * SUN,FRI,SAT"),
        ("0 12 1-31 * FRI", "0 12 * * *"),
        ("0 12 1 * +MON", "0 12 1 * +MON"),
        ("0 0 L 2,jan *", "0 0 L JAN,FEB *"),
        ("0 0 LW * *", "0 0 LW * *"),
        ("0 0 * * 5L", "0 0 * * FRI#L"),
        ("30 0 0 1 1 * 2030-2040/2", "30 0 0 1 JAN * 2030-2040/2"),
        ("0 0 9 * * *", "0 9 * * *"),
        ("* * * * * * 1970-2199", "* * * * * *"),
    ] {
        let pattern = parse(text);
        assert_eq!(pattern.to_string(), shown);
        assert_eq!(parse(shown), pattern, "{text}");
    }
    let set: HashSet<CronPattern> = ["@weekly", "0 0 * * 7", "0 0 0 ? * SUN"].map(parse).into();
    assert_eq!(set.len(), 1);
    for (text, same) in [
        ("0 0 * * MON#1,MON#2,MON#3,MON#4,MON#5", "0 0 * * MON"),
        ("0 0 * * MON,MON#1,FRI#2", "0 0 * * MON,FRI#2"),
        ("0 0 * * FRI,FRI#L", "0 0 * * FRI"),
        ("0 0 13 * 0-5,SAT#1,6#2,6#3,6#4,6#5", "0 0 * * *"),
    ] {
        assert_eq!(parse(text), parse(same));
        assert_eq!(parse(text).to_string(), same);
    }
}

#[test]
fn patterns_that_select_the_same_are_equal() {
    for (text, same) in [
        ("0 0 31 4,5 *", "0 0 31 5 *"),
        ("0 0 29-31 2 *", "0 0 29 2 *"),
        ("0 0 L 1,3 *", "0 0 31 1,3 *"),
        ("0 0 1-7 * +MON", "0 0 * * MON#1"),
        ("0 0 22-28 2 +TUE", "0 0 22-28 FEB +TUE#4"),
        ("0 0 0 29 2 * 2023-2025", "0 0 0 29 2 * 2024"),
        ("0 0 0 L 2 * 2023,2025", "0 0 0 28 2 * 2023,2025"),
    ] {
        let (pattern, same) = (parse(text), parse(same));
        assert_eq!(pattern, same, "{text}");
        assert_eq!(HashSet::from([pattern, same]).len(), 1, "{text}");
    }
    for (text, other) in [
        ("0 0 L 1,2 *", "0 0 31 1,2 *"),
        ("0 0 1-8 * +MON", "0 0 * * MON#1"),
        ("0 0 0 29 2 * 2023-2025", "0 0 0 28 2 * 2024"),
        ("0 0 0 1 1 * 2023", "0 0 0 1 1 * 2023,2024"),
        ("0 0 29 2 *", "0 0 0 29 2 * 2000-2199"),
    ] {
        assert_ne!(parse(text), parse(other), "{text}");
    }
}

#[test]
fn dialects_differ() {
    let first = |text, dialect| {
        let cron = Cron::parse_as(text, dialect).unwrap();
        seconds(cron.next_after(at(0)).unwrap()) / 86_400
    };
    // 1970-01-01 was a Thursday; the first Monday is the 5th.
    assert_eq!(
        first("0 0 */2 * 1", Dialect::Flow),
        2,
        "the 3rd, or a Monday"
    );
    assert_eq!(
        first("0 0 */2 * 1", Dialect::Vixie),
        4,
        "an odd day that is a Monday"
    );
    assert_eq!(first("0 0 3-31 * 1", Dialect::Cronos), 4, "both");
    assert_eq!(first("0 0 0 ? * 2", Dialect::Quartz), 4, "Monday is 2");
    assert_eq!(first("0 0 0 L-3 * ?", Dialect::Quartz), 27);
    assert_eq!(first("0 0 0 ? * 2#2", Dialect::Quartz), 11);
    assert_eq!(first("0 0 0 ? * 7#1", Dialect::Quartz), 2, "Saturday is 7");
    assert_eq!(first("0 0 * * 7#1", Dialect::Flow), 3, "Sunday is 7");
    assert_eq!(
        first("0 0 0 ? * L", Dialect::Quartz),
        2,
        "the week ends on Saturday"
    );
    assert_eq!(first("0 0 * * sat-mon", Dialect::Cronos), 2);
    assert_eq!(first("0 0 3/7 * ?", Dialect::Robfig), 2);
    for (text, dialect) in [
        ("0 0 * * FRI#L", Dialect::Quartz),
        ("0 0 L * *", Dialect::Vixie),
        ("0 0 * * 5#2", Dialect::Vixie),
        ("0 0 * * 5#2", Dialect::Robfig),
        ("0 0 0 ? * 0#2", Dialect::Quartz),
        ("0 0 * * 7", Dialect::Robfig),
        ("@every 1h", Dialect::Ocps),
        ("0 0 L-3 * *", Dialect::Flow),
        ("0 0 ? * *", Dialect::Vixie),
        ("@daily", Dialect::Quartz),
        ("@REBOOT", Dialect::Flow),
    ] {
        assert!(
            CronPattern::parse_as(text, dialect).is_err(),
            "{text} in {dialect:?}"
        );
    }
}

#[test]
fn in_english() {
    for (text, english) in [
        ("0 9 * * MON-FRI", "at 09:00, on Monday to Friday"),
        ("*/15 9-17 * * *", "every 15 minutes in the hours 9 to 17"),
        ("* * * * *", "every minute"),
        ("* * * * * *", "every second"),
        ("5,20 * * * *", "at minutes 5 and 20 of every hour"),
        ("5 * * * * *", "at second 5 of every minute"),
        (
            "5,7 * 9 * * *",
            "at seconds 5 and 7 of every minute in the hour 9",
        ),
        ("*/20 * * * * *", "every 20 seconds"),
        (
            "0 0 29 2 *",
            "at 00:00, on day 29 of the month, in February",
        ),
        (
            "0 12 1 * +MON",
            "at 12:00, on day 1 of the month if it is Monday",
        ),
        (
            "0 12 L * FRI#2",
            "at 12:00, on the last day of the month or on the second Friday of the month",
        ),
        ("30 0 12 * * * 2030", "at 12:00:30, in 2030"),
        ("@every 1h30m", "every 1 hour and 30 minutes"),
    ] {
        assert_eq!(parse(text).describe(), english);
    }
    let berlin = Cron::new("TZ=Europe/Berlin @daily").unwrap();
    assert_eq!(berlin.describe(), "at 00:00 (Europe/Berlin)");
}

/// With the names of weekdays and months they would be longer than what is read.
#[test]
fn long_forms_are_short_and_read_back() {
    let nth = |first: u32| -> String {
        let nth = (0..35_u32).filter(|i| i % 7 != i / 7);
        let nth = nth.map(|i| format!("{}#{}", i % 7 + first, i / 7 + 1));
        let last = (0..7).map(|day| format!("{}L", day + first));
        nth.chain(last).collect::<Vec<_>>().join(",")
    };
    let steps = "*/7,*/8,*/9,*/11,*/13";
    for (text, dialect) in [
        (
            format!(
                "{steps} {steps} 1,4,6,9,11,14,19,22,23 */7,*/11 */5,*/7 {}",
                nth(0)
            ),
            Dialect::Flow,
        ),
        (
            format!(
                "{steps} {steps} 1,4,6,9,11,14,19,22,23 ? */5,*/7 {}",
                nth(1)
            ),
            Dialect::Quartz,
        ),
        (
            format!(
                "{steps} {steps} 1,4,6,9,11,14,19,22,23 */7,*/11 */5,*/7 {}",
                nth(0)
            ),
            Dialect::Cronos,
        ),
    ] {
        let pattern = CronPattern::parse_as(&text, dialect).unwrap();
        let shown = pattern.to_string();
        assert_eq!(CronPattern::parse_as(&shown, dialect), Ok(pattern.clone()));
        assert!(shown.contains("4#1") && shown.len() <= 256, "{shown}");
        // The zone before it does not count.
        let zone = "America/Argentina/ComodRivadavia";
        let cron = Cron::from(pattern).time_zone(zone).unwrap();
        let shown = cron.to_string();
        assert_eq!(Cron::parse_as(&shown, dialect), Ok(cron));
    }
}

/// 256 bytes are read, not one more; a zone before them is none of them.
#[test]
fn the_longest_patterns() {
    let longest = format!("00{} 0 * * *", ",0".repeat(123));
    assert_eq!(longest.len(), 256);
    assert_eq!(longest.parse(), Ok(parse("0 0 * * *")));
    let zoned = format!(" CRON_TZ=America/Argentina/ComodRivadavia {longest} ");
    let cron: Cron = zoned.parse().unwrap();
    assert_eq!(cron.zone(), "America/Argentina/ComodRivadavia");
    for longer in [
        format!("{longest},1"),
        format!("{zoned}0").replace("* 0", "*,0"),
    ] {
        let refused = longer.parse::<Cron>();
        assert!(
            matches!(refused, Err(CronError::TooLong { max: 256, .. })),
            "{refused:?}"
        );
    }
    let blanks = format!("TZ=UTC {}@daily", " ".repeat(1_000));
    assert!(blanks.parse::<Cron>().is_err());
}

#[test]
fn periods_and_starts_have_no_times_of_their_own() {
    let every = Cron::new("@every 1m").unwrap();
    assert_eq!(every.next_after(at(7)), Some(at(67)));
    assert_eq!(every.prev_before(at(67)), Some(at(7)));
    assert!(!every.matches(at(60)));
    let reboot = Cron::new("@reboot").unwrap();
    assert_eq!(
        (reboot.next_after(at(0)), reboot.prev_before(at(0))),
        (None, None)
    );
}

#[test]
fn ends_of_time() {
    let cron = Cron::new("* * * * *").unwrap();
    let far = at(100_000_000_000);
    assert_eq!(cron.next_after(far), None);
    assert!(cron.prev_before(far).is_some());
    assert_eq!(cron.prev_before(at(-100_000_000_000)), None);
    assert!(cron.next_after(at(-100_000_000_000)).is_some());
    let over = Cron::new("0 0 0 1 1 * 1999").unwrap();
    assert_eq!(over.next_after(at(1_774_742_400)), None);
    assert_eq!(over.iter_after(at(0)).count(), 1);
}

#[cfg(feature = "serde")]
#[test]
fn as_text_or_with_what_the_text_leaves_out() {
    use flow_sched::{DstGap, DstOverlap, DstPolicy};

    let check = |cron: &Cron, json: &str| {
        assert_eq!(serde_json::to_string(cron).unwrap(), json);
        assert_eq!(&serde_json::from_str::<Cron>(json).unwrap(), cron);
    };
    let cron = Cron::new("TZ=Europe/Berlin 0 9 * * 1-5").unwrap();
    check(&cron, r#""TZ=Europe/Berlin 0 9 * * MON-FRI""#);
    let policy = DstPolicy {
        gap: DstGap::ShiftForward,
        overlap: DstOverlap::Last,
    };
    check(
        &cron.dst_policy(policy),
        r#"{"pattern":"TZ=Europe/Berlin 0 9 * * MON-FRI","dialect":"flow","dst":{"gap":"shift_forward","overlap":"last"}}"#,
    );
    let quartz = CronPattern::parse_as("0 0 9 ? * 2", Dialect::Quartz).unwrap();
    let json = r#"{"pattern":"0 0 9 ? * MON","dialect":"quartz"}"#;
    assert_eq!(serde_json::to_string(&quartz).unwrap(), json);
    assert_eq!(serde_json::from_str::<CronPattern>(json).unwrap(), quartz);
    for (json, told) in [
        (r#""0 0 30 2 *""#, "30 February never comes"),
        (
            r#"{"pattern":"0 0 * * *","dialect":"quarz"}"#,
            "unknown variant `quarz`",
        ),
        (r#"{"dialect":"quartz"}"#, "missing field `pattern`"),
        (
            r#"{"pattern":"0 0 * * *","zone":"UTC"}"#,
            "unknown field `zone`",
        ),
        ("5", "expected a cron pattern, or a map"),
    ] {
        let refused = serde_json::from_str::<Cron>(json).unwrap_err().to_string();
        assert!(refused.contains(told), "{refused}");
    }
    let policy = r#"{"pattern":"0 0 * * *","dst":{"gap":"skip","overlap":"both"}}"#;
    let refused = serde_json::from_str::<CronPattern>(policy).unwrap_err();
    assert!(refused.to_string().contains("`dst`"), "{refused}");
}
