//! Builders read from configuration.
#![cfg(all(feature = "serde", not(loom)))]

use std::time::Duration;

use flow_ratelimit::{
    ConcurrencyLimiterBuilder, ConfigError, KeyedLimiterBuilder, LeakyBucketBuilder,
    MultiBucketBuilder, PacerBuilder, Rate, TokenBucketBuilder,
};
use serde_json::from_str;

fn refusal(text: &str) -> String {
    match from_str::<TokenBucketBuilder>(text) {
        Ok(builder) => panic!("{text} gave {builder:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_setting_of_a_token_bucket_is_read() {
    let text = r#"{
        "rate": "5000/1h", "burst": 200, "initial": 7, "name": "api", "max_waiters": 9,
        "fairness": "fifo", "debt": 0, "sharded": 4, "counted": false,
        "catch_up": "0ms", "max_reserve": "2min", "jitter": "15 ms", "warm_up": "0s"
    }"#;
    let read = from_str::<TokenBucketBuilder>(text).unwrap();
    let written = flow_ratelimit::TokenBucket::builder()
        .rate(Rate::per_hour(5_000))
        .burst(200)
        .initial(7)
        .name("api")
        .max_waiters(9)
        .fairness(flow_ratelimit::Fairness::Fifo)
        .debt(0)
        .sharded(4)
        .counted(false)
        .catch_up(Duration::ZERO)
        .max_reserve(Duration::from_secs(120))
        .jitter(Duration::from_millis(15))
        .warm_up(Duration::ZERO);
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    let bucket = read.build().unwrap();
    assert_eq!((bucket.burst(), bucket.available()), (200, 7));
}

#[test]
fn the_other_builders_are_read_by_the_same_rules() {
    let meter = r#"{ "rate": "2/s", "capacity": 8, "initial_level": 3, "name": "m" }"#;
    let meter = from_str::<LeakyBucketBuilder>(meter).unwrap();
    let meter = meter.build().unwrap();
    assert_eq!((meter.capacity(), meter.level()), (8, 3));
    let pacer = r#"{ "rate": "10/s", "capacity": 100, "counted": false, "warm_up": "5s" }"#;
    let pacer = from_str::<PacerBuilder>(pacer).unwrap();
    assert!(format!("{pacer:?}").contains("warm_up: Some(5s)"));
    assert_eq!(pacer.build().unwrap().rate(), Rate::per_second(10));
    let limiter = from_str::<ConcurrencyLimiterBuilder>(r#"{ "limit": 5 }"#);
    assert_eq!(limiter.unwrap().build().unwrap().limit(), 5);
}

#[test]
fn what_is_left_out_is_missed_by_build_alone() {
    let builder = from_str::<TokenBucketBuilder>("{}").unwrap();
    assert_eq!(builder.build().unwrap_err(), ConfigError::MissingRate);
    let builder = from_str::<TokenBucketBuilder>(r#"{ "rate": "1/s", "burst": 0 }"#).unwrap();
    assert_eq!(builder.build().unwrap_err(), ConfigError::ZeroBurst);
}

#[test]
fn wrong_settings_are_named() {
    let unknown = refusal(r#"{ "rate": "1/s", "bursts": 5 }"#);
    assert!(unknown.contains("unknown field `bursts`"), "{unknown}");
    assert!(unknown.contains("`burst`"), "{unknown}");
    let rate = refusal(r#"{ "rate": "fast" }"#);
    assert!(rate.contains("fast"), "{rate}");
    for (period, reason) in [
        ("5", "the unit of the period is none of"),
        ("5 fortnights", "the unit of the period is none of"),
        ("-5ms", "the unit of the period is none of"),
        ("99999999999999999999999d", "longer than a Duration"),
    ] {
        let told = refusal(&format!(r#"{{ "jitter": "{period}" }}"#));
        assert!(
            told.contains(&format!("`{period}` is no period: ")),
            "{told}"
        );
        assert!(told.contains(reason), "{told}");
    }
    let fairness = refusal(r#"{ "fairness": "lifo" }"#);
    assert!(fairness.contains("`fifo` or `barging`"), "{fairness}");
}

#[test]
fn every_setting_of_a_multi_bucket_is_read() {
    let text = r#"{
        "limits": ["10/s burst 20", "1000/h burst 1000"], "name": "api", "max_waiters": 9,
        "counted": false, "catch_up": "0ms"
    }"#;
    let read = from_str::<MultiBucketBuilder>(text).unwrap();
    let written = flow_ratelimit::MultiBucket::builder()
        .limit("10/s burst 20")
        .limit("1000/h burst 1000")
        .name("api")
        .max_waiters(9)
        .counted(false)
        .catch_up(Duration::ZERO);
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    assert_eq!(read.build().unwrap().count(), 2);
    let none = from_str::<MultiBucketBuilder>("{}").unwrap();
    assert_eq!(none.build().unwrap_err(), ConfigError::NoLimits);
    let unknown = from_str::<MultiBucketBuilder>(r#"{ "rate": "1/s" }"#);
    assert!(unknown.unwrap_err().to_string().contains("`limits`"));
}

#[test]
fn every_setting_of_a_keyed_limiter_is_read() {
    let text = r#"{
        "rate": "60/min burst 10", "max_keys": 1000, "when_full": "deny", "name": "clients",
        "counted": false
    }"#;
    let read = from_str::<KeyedLimiterBuilder<str>>(text).unwrap();
    let written = flow_ratelimit::KeyedLimiter::<str>::builder()
        .rate("60/min burst 10")
        .max_keys(1_000)
        .when_full(flow_ratelimit::WhenFull::Deny)
        .name("clients")
        .counted(false);
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    let limiter = read.build().unwrap();
    assert_eq!((limiter.capacity(), limiter.burst()), (1_000, 10));
    let unknown = from_str::<KeyedLimiterBuilder<str>>(r#"{ "seed": 1 }"#);
    assert!(unknown.unwrap_err().to_string().contains("`seed`"));
}
