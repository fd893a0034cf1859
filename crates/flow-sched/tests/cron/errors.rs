//! What is said about bad input, word for word.

use std::error::Error;

use flow_sched::{Cron, CronError, CronPattern, Dialect};

#[track_caller]
fn says(text: &str, dialect: Dialect, message: &str) -> CronError {
    match Cron::parse_as(text, dialect) {
        Ok(cron) => panic!("{text} was taken as {cron}"),
        Err(error) => {
            assert_eq!(error.to_string(), message);
            error
        }
    }
}

#[test]
fn messages_mark_the_place_and_say_what_is_allowed() {
    let long = "0 ".repeat(200);
    for (text, message) in [
        (
            &*long,
            "the cron pattern has 399 bytes; at most 256 are read",
        ),
        (
            "* * * *",
            "\"* * * *><\" has 4 fields; a cron pattern needs five (minute to weekday), six with \
             seconds before them, or seven with years after them",
        ),
        (
            "",
            "\"><\" has 0 fields; a cron pattern needs five (minute to weekday), six with seconds \
             before them, or seven with years after them",
        ),
        (
            "0 0 0 1 1 * 2030  echo 1",
            "\"0 0 0 1 1 * 2030  >echo 1<\" has 9 fields; a cron pattern needs five (minute to \
             weekday), six with seconds before them, or seven with years after them",
        ),
        (
            "@weakly",
            "unknown cron nickname \">@weakly<\"; known are @yearly, @annually, @monthly, @weekly, \
             @daily, @midnight, @hourly, @reboot and @every with a period",
        ),
        (
            "@every 5",
            "\"5\" is no period in \"@every >5<\"; `@every` takes hours, minutes and seconds such as \
             1h30m or 90s, one second at the least and a century at the most",
        ),
        (
            "1,,2 * * * *",
            "an empty item in the list of the minute field of \"1,><,2 * * * *\"",
        ),
        (
            "0 24 * * *",
            "24 does not fit the hour field of \"0 >24< * * *\"; allowed are 0 to 23",
        ),
        (
            "0 17-9 * * *",
            "the range 17-9 ends before it begins in the hour field of \"0 >17-9< * * *\"; write it \
             as two",
        ),
        (
            "*/0 * * * *",
            "a step of zero in the minute field of \"*/>0< * * * *\"; the least is 1",
        ),
        (
            "*/90 * * * *",
            "the step 90 is too large for the minute field of \"*/>90< * * * *\"; the most is 60",
        ),
        (
            "0 0 * MON *",
            "\"MON\" is no word of the month field of \"0 0 * >MON< *\"; it knows JAN to DEC",
        ),
        (
            "0 0 * * TODAY",
            "\"TODAY\" is no word of the weekday field of \"0 0 * * >TODAY<\"; it knows SUN to SAT, \
             and `L` behind one of them",
        ),
        (
            "5/15 * * * *",
            "\"/15\" cannot stand there in the minute field of \"5>/15< * * * *\"; a step behind `*` \
             or a range can",
        ),
        (
            "1- * * * *",
            "something is missing in the minute field of \"1->< * * * *\": a number, a name, `*` or \
             a range",
        ),
        (
            "0 0 1,15W * *",
            "`W` takes a single day, not a list or a range, in the day of month field of \
             \"0 0 1,>15W< * *\"",
        ),
        (
            "0 0 * * \u{661}",
            "\"\u{661}\" cannot stand there in the weekday field of \"0 0 * * >\u{661}<\"; a number, a \
             name, `*` or a range can",
        ),
    ] {
        says(text, Dialect::Flow, message);
    }
}

#[test]
fn patterns_that_never_occur_say_why() {
    for (text, message) in [
        (
            "0 0 30 2 *",
            "the cron pattern \"0 0 >30 2 *<\" never occurs: 30 February never comes",
        ),
        (
            "0 0 31 2,4,6 *",
            "the cron pattern \"0 0 >31 2,4,6 *<\" never occurs: 31 February, April or June never \
             comes",
        ),
        (
            "0 0 0 29 2 * 2025-2027",
            "the cron pattern \"0 0 0 >29 2 * 2025-2027<\" never occurs: 29 February never comes \
             in 2025 to 2027",
        ),
        (
            "0 0 1W * +SUN",
            "the cron pattern \"0 0 >1W * +SUN<\" never occurs: no day is the weekday nearest to \
             day 1 of the month if it is Sunday",
        ),
    ] {
        says(text, Dialect::Flow, message);
    }
}

/// So that a program can tell them apart.
#[test]
fn each_fault_is_a_variant_of_its_own() {
    type Is = fn(&CronError) -> bool;
    let long = "0 ".repeat(200);
    let faults: [(&str, Is); 15] = [
        (&long, |e| {
            matches!(e, CronError::TooLong { len: 399, max: 256 })
        }),
        ("* * * *", |e| {
            matches!(e, CronError::Fields { found: 4, .. })
        }),
        ("* * * * * * * *", |e| {
            matches!(e, CronError::Fields { found: 8, .. })
        }),
        ("60 * * * *", |e| {
            matches!(
                e,
                CronError::OutOfRange {
                    min: 0,
                    max: 59,
                    ..
                }
            )
        }),
        ("9-5 * * * *", |e| {
            matches!(e, CronError::InvertedRange { .. })
        }),
        ("*/0 * * * *", |e| matches!(e, CronError::ZeroStep { .. })),
        ("*/90 * * * *", |e| {
            matches!(e, CronError::StepTooLarge { max: 60, .. })
        }),
        (", * * * *", |e| matches!(e, CronError::EmptyItem { .. })),
        ("MON * * * *", |e| {
            matches!(
                e,
                CronError::Name {
                    allowed: "none",
                    ..
                }
            )
        }),
        (
            "TZ=Europe/Berlim @daily",
            |e| matches!(e, CronError::UnknownZone { zone, .. } if zone.nearest() == "Europe/Berlin"),
        ),
        (
            "0 0 30 2 *",
            |e| matches!(e, CronError::NeverOccurs { reason, .. } if reason == "30 February never comes"),
        ),
        ("0 0 1-5W * *", |e| {
            matches!(e, CronError::NearestOfMany { .. })
        }),
        ("1/5 * * * *", |e| matches!(e, CronError::Unexpected { .. })),
        ("@weakly", |e| matches!(e, CronError::Nickname { .. })),
        ("@every 0s", |e| matches!(e, CronError::Period { .. })),
    ];
    for (text, is) in faults {
        let refused = text.parse::<Cron>().unwrap_err();
        assert!(is(&refused), "{text}: {refused:?}");
        // The zone aside, a pattern without one says the same.
        if !text.starts_with("TZ=") {
            assert_eq!(text.parse::<CronPattern>(), Err(refused));
        }
    }
}

#[test]
fn of_other_dialects() {
    says(
        "0 0 0 1 * 2",
        Dialect::Quartz,
        "0 of the two day fields are `?`, with the weekday field of \"0 0 0 1 * >2<\"; exactly one \
         must be",
    );
    says(
        "H 3 * * *",
        Dialect::Cronos,
        "an `H` in the minute field of \">H< 3 * * *\", which needs a seed to choose its value",
    );
    says(
        "0 0 * * *",
        Dialect::Quartz,
        "\"0 0 * * *><\" has 5 fields; a cron pattern needs six (second to weekday), or seven \
         with years after them",
    );
    says(
        "0 0 0 * * *",
        Dialect::Vixie,
        "\"0 0 0 * * >*<\" has 6 fields; a cron pattern needs five (minute, hour, day of month, \
         month, weekday)",
    );
}

#[test]
fn what_croner_takes_wrongly_is_refused_as_elsewhere() {
    for text in [
        "61 * * * *",
        "0 17-9 * * *",
        "*/0 * * * *",
        "*/90 * * * *",
        "0 0 1,15W * *",
        "0 0 l * *",
        "0 0 15w * *",
        "0 0 * * L",
        "0 0 1 * l",
        "MON1 * * * *",
        "1,,2 * * * *",
        "0 0 0 1 1 * 1969",
    ] {
        let refused = CronPattern::parse_as(text, Dialect::Croner).unwrap_err();
        assert_eq!(CronPattern::parse(text), Err(refused));
    }
    for text in [
        "0 0 * * FRI-SUN",
        "0 0 * * FRI#L",
        "0 0 ? * 5L,mon#2",
        "0 0 LW feb +1",
    ] {
        assert!(CronPattern::parse_as(text, Dialect::Croner).is_ok());
    }
}

#[test]
fn places_can_be_asked_for() {
    let Err(CronError::OutOfRange { place, min, max }) = CronPattern::parse(" 0 9 * * 1,8 ") else {
        panic!("8 is no weekday");
    };
    assert_eq!(
        (place.field(), place.text(), place.range()),
        (Some("weekday"), "8", 10..11)
    );
    assert_eq!((place.pattern(), min, max), ("0 9 * * 1,8", 0, 7));
}

/// What a user typed is shown whole, and marked where it is wrong.
#[test]
fn places_count_from_the_zone_before_the_pattern() {
    let place = |text: &str, dialect| match Cron::parse_as(text, dialect) {
        Err(
            CronError::OutOfRange { place, .. }
            | CronError::Fields { place, .. }
            | CronError::NeverOccurs { place, .. }
            | CronError::Period { place }
            | CronError::UnknownZone { place, .. },
        ) => (place.range(), place.to_string()),
        other => panic!("{other:?}"),
    };
    for (text, range, shown) in [
        (
            "  TZ=Europe/Berlin \t0 24 * * * ",
            20..22,
            "the hour field of \"TZ=Europe/Berlin \\t0 >24< * * *\"",
        ),
        ("CRON_TZ=UTC", 11..11, "\"CRON_TZ=UTC><\""),
        ("TZ=UTC 0 0 30 2 *", 11..17, "\"TZ=UTC 0 0 >30 2 *<\""),
        ("TZ=UTC @every 5", 14..15, "\"TZ=UTC @every >5<\""),
        (
            "CRON_TZ=UTX * * * * *",
            8..11,
            "\"CRON_TZ=>UTX< * * * * *\"",
        ),
    ] {
        assert_eq!(place(text, Dialect::Flow), (range, shown.to_owned()));
    }
}

#[cfg(feature = "scheduler")]
#[test]
fn a_job_shows_its_text_whole_too() {
    use flow_rt::sim::Sim;
    use flow_sched::Scheduler;

    let job = async |rt: flow_rt::sim::Sim| {
        let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
        let job = scheduler.job("a", async |_cx| ()).cron("TZ=UTC 0 24 * * *");
        let refused = job.start().unwrap_err().to_string();
        assert!(refused.contains("\"TZ=UTC 0 >24< * * *\""), "{refused}");
    };
    Sim::new(0).run(job).unwrap();
}

#[test]
fn unknown_zones_name_the_nearest() {
    let error = says(
        "TZ=Europe/Berlim 0 9 * * *",
        Dialect::Flow,
        "unknown time zone \"Europe/Berlim\": expected a name of the IANA database; the nearest is \
         \"Europe/Berlin\", in \"TZ=>Europe/Berlim< 0 9 * * *\"",
    );
    assert!(error.source().is_none(), "or it would be told twice");
}
