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
            "the cron pattern has 4 fields; it needs five (minute to weekday), six with seconds \
             before them, or seven with years after them",
        ),
        (
            "@weakly",
            "unknown cron nickname \"@weakly\"; known are @yearly, @annually, @monthly, @weekly, \
             @daily, @midnight, @hourly, @reboot and @every with a period",
        ),
        (
            "@every 5",
            "\"5\" is no period for `@every`; it takes hours, minutes and seconds such as 1h30m or \
             90s, one second at the least and a century at the most",
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
            "0 0 30 2 *",
            "the cron pattern \"0 0 30 2 *\" never occurs: no day of any year fits its day fields",
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
fn of_other_dialects() {
    says(
        "0 0 0 1 * 2",
        Dialect::Quartz,
        "0 of the two day fields are `?`; exactly one must be",
    );
    says(
        "0 0 * * *",
        Dialect::Quartz,
        "the cron pattern has 5 fields; it needs six (second to weekday), or seven with years \
         after them",
    );
    says(
        "0 0 0 * * *",
        Dialect::Vixie,
        "the cron pattern has 6 fields; it needs five (minute, hour, day of month, month, weekday)",
    );
    says(
        "61 * * * *",
        Dialect::Croner,
        "croner refuses the pattern: Component error: Number out of bounds",
    );
}

#[test]
fn places_can_be_asked_for() {
    let Err(CronError::OutOfRange { place, min, max }) = CronPattern::parse(" 0 9 * * 1,8 ") else {
        panic!("8 is no weekday");
    };
    assert_eq!(
        (place.field(), place.text(), place.range()),
        ("weekday", "8", 10..11)
    );
    assert_eq!((place.pattern(), min, max), ("0 9 * * 1,8", 0, 7));
}

#[test]
fn unknown_zones_name_the_nearest() {
    let error = says(
        "TZ=Europe/Berlim 0 9 * * *",
        Dialect::Flow,
        "unknown time zone \"Europe/Berlim\": expected a name of the IANA database; the nearest is \
         \"Europe/Berlin\"",
    );
    assert!(error.source().is_some());
}
