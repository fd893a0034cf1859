//! Rates and quotas as text: what is read, what is refused and why.

use core::time::Duration;

use flow_ratelimit::{ConfigError, Quota, Rate, TokenBucket};
use proptest::prelude::*;

#[test]
fn texts_that_are_quotas() {
    let ms = Duration::from_millis;
    for (text, rate, burst) in [
        ("100/s", Rate::per_second(100), None),
        (" 60 / min ", Rate::per_second(1), None),
        ("5000/1h burst 200", Rate::per_hour(5_000), Some(200)),
        ("1/250ms  burst  1", Rate::every(ms(250)).unwrap(), Some(1)),
        ("1/sburst 2", Rate::per_second(1), Some(2)),
        ("unlimited", Rate::UNLIMITED, None),
        ("unlimited burst 9", Rate::UNLIMITED, Some(9)),
        ("0/s burst 7", Rate::ZERO, Some(7)),
        (
            "18446744073709551615/ns burst 18446744073709551615",
            Rate::per(u64::MAX, Duration::from_nanos(1)).unwrap(),
            Some(u64::MAX),
        ),
    ] {
        assert_eq!(text.parse(), Ok(Quota { rate, burst }), "{text}");
    }
}

#[test]
fn texts_that_are_none_say_why() {
    for (text, reason) in [
        ("", "there is no slash"),
        ("burst 5", "there is no slash"),
        ("100", "there is no slash"),
        ("/s", "before the slash"),
        ("-1/s", "before the slash"),
        ("+1/s", "before the slash"),
        ("1.5/s", "before the slash"),
        ("NaN/s", "before the slash"),
        ("18446744073709551616/s", "more tokens"),
        ("1/0s", "zero"),
        ("1/fortnight", "unit"),
        ("1/", "unit"),
        ("1/99999999999999999999d", "longer"),
        ("1/s burst", "not a whole number"),
        ("1/s burst -1", "not a whole number"),
        ("1/s burst 1.5", "not a whole number"),
        ("1/s burst 1 burst 2", "not a whole number"),
        ("1/s burst 18446744073709551616", "the burst is more"),
    ] {
        let refused = text.parse::<Quota>();
        let Err(ConfigError::InvalidRate {
            text: of,
            reason: why,
        }) = &refused
        else {
            panic!("{text}: {refused:?}");
        };
        assert_eq!(&**of, text, "the whole text is named");
        assert!(why.contains(reason), "{text}: {why}");
    }
    let alone = "1/s burst 5".parse::<Rate>().unwrap_err();
    assert!(
        alone.to_string().contains("no part of a rate alone"),
        "{alone}"
    );
}

#[test]
fn a_builder_takes_one_burst() {
    let build = |rate: &str, burst: Option<u64>| {
        let builder = TokenBucket::builder().rate(rate);
        match burst {
            Some(burst) => builder.burst(burst),
            None => builder,
        }
        .build()
        .map(|bucket| bucket.burst())
    };
    assert_eq!(build("5/s burst 7", None), Ok(7));
    assert_eq!(build("5/s", Some(7)), Ok(7));
    assert_eq!(build("5/s burst 7", Some(7)), Ok(7));
    assert_eq!(build("5/s", None), Err(ConfigError::MissingBurst));
    assert_eq!(build("5/s burst 0", None), Err(ConfigError::ZeroBurst));
    let two = build("5/s burst 7", Some(8)).unwrap_err();
    assert_eq!(
        two,
        ConfigError::TwoBursts {
            in_text: 7,
            given: 8
        }
    );
    assert!(two.to_string().contains("7 beside the rate and 8"), "{two}");
    let bucket = TokenBucket::new("5/s", 7).unwrap();
    assert!(
        bucket.set_rate("9/s burst 7").is_err(),
        "set_rate sets a rate"
    );
    assert_eq!(bucket.rate(), Rate::per_second(5));
}

proptest! {
    #[test]
    fn every_quota_reads_its_own_text(
        tokens: u64,
        seconds: u64,
        nanos in 0..1_000_000_000_u32,
        burst: Option<u64>,
    ) {
        let period = Duration::new(seconds, nanos);
        prop_assume!(!period.is_zero());
        let quota = Quota { rate: Rate::per(tokens, period).unwrap(), burst };
        let read: Quota = quota.to_string().parse().unwrap();
        prop_assert_eq!(read, quota);
        prop_assert_eq!(read.rate.period(), period, "not only the same fraction");
    }

    #[test]
    fn no_text_panics(text in ".{0,40}", like in "[0-9/ a-z]{0,20}(burst)?[ 0-9]{0,22}") {
        let _ = text.parse::<Quota>();
        let _ = like.parse::<Quota>();
    }
}

#[cfg(feature = "serde")]
#[test]
fn they_stand_in_configuration_as_text() {
    let quota: Quota = serde_json::from_str("\"100/s burst 20\"").unwrap();
    assert_eq!(serde_json::to_string(&quota).unwrap(), "\"100/s burst 20\"");
    let rate: Rate = serde_json::from_str("\"60/min\"").unwrap();
    assert_eq!(serde_json::to_string(&rate).unwrap(), "\"60/min\"");
    let wrong = serde_json::from_str::<Rate>("\"60/minute or so\"").unwrap_err();
    assert!(wrong.to_string().contains("unit of the period"), "{wrong}");
    assert!(serde_json::from_str::<Quota>("100").is_err());
}
