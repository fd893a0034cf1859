//! Builders read from configuration.
#![cfg(all(feature = "serde", not(loom)))]

use std::sync::Arc;
use std::time::Duration;

use flow_ratelimit::{
    AdaptiveLimiterBuilder, Aimd, CircuitBreaker, CircuitBreakerBuilder, ClassedConfigError,
    ClassedLimiterBuilder, CompositeBuilder, ConcurrencyLimiter, ConcurrencyLimiterBuilder,
    ConfigError, FairShareBuilder, Fairness, Gradient2, KeyedLimiterBuilder, LeakyBucketBuilder,
    Limiter, MultiBucketBuilder, PacerBuilder, Rate, TokenBucketBuilder, Vegas,
};
use flow_rt::Backoff;
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
fn every_setting_of_a_leaky_bucket_is_read() {
    let text = r#"{
        "rate": "2/s", "capacity": 8, "initial_level": 3, "name": "m", "max_waiters": 9,
        "counted": false, "catch_up": "0ms"
    }"#;
    let read = from_str::<LeakyBucketBuilder>(text).unwrap();
    let written = flow_ratelimit::LeakyBucket::builder()
        .rate(Rate::per_second(2))
        .capacity(8)
        .initial_level(3)
        .name("m")
        .max_waiters(9)
        .counted(false)
        .catch_up(Duration::ZERO);
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    let bucket = read.build().unwrap();
    assert_eq!((bucket.capacity(), bucket.level()), (8, 3));
}

#[test]
fn every_setting_of_a_pacer_is_read() {
    let text = r#"{
        "rate": "10/s", "capacity": 100, "name": "p", "counted": false, "warm_up": "5s"
    }"#;
    let read = from_str::<PacerBuilder>(text).unwrap();
    let written = flow_ratelimit::Pacer::builder()
        .rate(Rate::per_second(10))
        .capacity(100)
        .name("p")
        .counted(false)
        .warm_up(Duration::from_secs(5));
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    assert_eq!(read.build().unwrap().rate(), Rate::per_second(10));
}

#[test]
fn every_setting_of_a_concurrency_limiter_is_read() {
    let text = r#"{
        "limit": 5, "max_waiters": 9, "fairness": "barging", "name": "db", "counted": false
    }"#;
    let read = from_str::<ConcurrencyLimiterBuilder>(text).unwrap();
    let written = flow_ratelimit::ConcurrencyLimiter::builder()
        .limit(5)
        .max_waiters(9)
        .fairness(flow_ratelimit::Fairness::Barging)
        .name("db")
        .counted(false);
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    let unknown = from_str::<ConcurrencyLimiterBuilder>(r#"{ "limits": 5 }"#);
    assert!(unknown.unwrap_err().to_string().contains("`limits`"));
}

#[test]
fn every_setting_of_a_limiter_with_classes_is_read() {
    let text = r#"{
        "limit": 10, "max_waiters": 9, "name": "api", "counted": false,
        "classes": [{ "name": "high", "share": 6 }, { "name": "low" }]
    }"#;
    let read = from_str::<ClassedLimiterBuilder>(text).unwrap();
    let written = flow_ratelimit::ClassedLimiter::builder()
        .limit(10)
        .class("high", 6)
        .class("low", 0)
        .max_waiters(9)
        .name("api")
        .counted(false);
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    assert_eq!(read.build().unwrap().class("high").unwrap().share(), 6);
    let nothing = from_str::<ClassedLimiterBuilder>("{}").unwrap().build();
    assert_eq!(nothing.unwrap_err(), ClassedConfigError::MissingLimit);
    let unknown = r#"{ "classes": [{ "name": "high", "shares": 6 }] }"#;
    let unknown = from_str::<ClassedLimiterBuilder>(unknown).unwrap_err();
    assert!(unknown.to_string().contains("`shares`"), "{unknown}");
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
fn every_setting_of_a_composite_is_read() {
    type Read = CompositeBuilder<Vec<Arc<dyn Limiter>>>;
    let text = r#"{
        "name": "api", "counted": false, "limits": [
            { "token_bucket": { "rate": "1000/h burst 1000", "name": "hourly" } },
            { "leaky_bucket": { "rate": "10/s", "capacity": 20 } },
            { "pacer": { "rate": "10/s", "capacity": 9 } },
            { "multi_bucket": { "limits": ["10/s burst 30", "1000/h burst 1000"] } }
        ]
    }"#;
    let read = from_str::<Read>(text).unwrap();
    let shown = format!("{read:?}");
    for part in ["limits: Ok(4)", "Some(\"api\")", "counted: false"] {
        assert!(shown.contains(part), "{shown}");
    }
    let all = read.build().unwrap();
    assert_eq!((all.name(), all.limits().len()), (Some("api"), 4));
    let limits: Vec<_> = all.limits().iter().map(|it| it.peek_n(25)).collect();
    assert!(limits[0].is_ok() && limits[1].is_err() && limits[2].is_err() && limits[3].is_ok());

    let none = from_str::<Read>("{}").unwrap();
    assert_eq!(none.build().unwrap_err(), ConfigError::NoLimits);
    let sound = r#"{ "pacer": { "rate": "1/s", "capacity": 1 } }"#;
    let wrong = r#"{ "token_bucket": { "rate": "1/s", "burst": 0 } }"#;
    let text = format!(r#"{{ "limits": [{sound}, {wrong}, {wrong}] }}"#);
    let read = from_str::<Read>(&text).unwrap().name("other");
    let refused = ConfigError::InvalidLimit {
        index: 1,
        reason: Box::new(ConfigError::ZeroBurst),
    };
    let text = "limit 1: the burst must be at least 1: a bucket of 0 would grant nothing";
    assert_eq!(refused.to_string(), text);
    assert_eq!(read.build().unwrap_err(), refused);
    // How many they are is looked at before any of them.
    let text = format!(r#"{{ "limits": [{}] }}"#, vec![wrong; 1_025].join(","));
    let refused = from_str::<Read>(&text).unwrap().build().unwrap_err();
    let (given, max) = (1_025, 1_024);
    assert_eq!(refused, ConfigError::TooManyLimits { given, max });
    for (text, word) in [
        (r#"{ "rate": "1/s" }"#, "`limits`"),
        (r#"{ "limits": [{ "bucket": {} }] }"#, "`token_bucket`"),
        (r#"{ "limits": [{ "pacer": { "burst": 1 } }] }"#, "`burst`"),
        (r#"{ "limits": [{ "pacer": { "rate": "1/x" } }] }"#, "1/x"),
        (r#"{ "limits": 3 }"#, "3"),
    ] {
        let said = from_str::<Read>(text).unwrap_err().to_string();
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn every_setting_of_a_fair_share_is_read() {
    let text = r#"{
        "rate": "1000/s", "burst": 200, "name": "api", "max_waiters": 9, "counted": false,
        "catch_up": "0ms",
        "children": [{ "name": "web", "weight": 3 }, { "name": "batch", "weight": 1 }]
    }"#;
    let read = from_str::<FairShareBuilder>(text).unwrap();
    let written = flow_ratelimit::FairShare::builder()
        .rate("1000/s")
        .burst(200)
        .child("web", 3)
        .child("batch", 1)
        .name("api")
        .max_waiters(9)
        .counted(false)
        .catch_up(Duration::ZERO);
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    let share = read.build().unwrap();
    assert_eq!(share.child("batch").unwrap().burst(), 50);
    let none = from_str::<FairShareBuilder>(r#"{ "rate": "1/s burst 1" }"#).unwrap();
    assert_eq!(none.build().unwrap_err(), ConfigError::NoChildren);
    let unknown = r#"{ "children": [{ "name": "web", "share": 3 }] }"#;
    let unknown = from_str::<FairShareBuilder>(unknown);
    assert!(unknown.unwrap_err().to_string().contains("`weight`"));
}

#[test]
fn every_setting_of_a_keyed_limiter_is_read() {
    let text = r#"{
        "rate": "60/min burst 10", "max_keys": 1000, "when_full": "deny", "name": "clients",
        "counted": false, "max_waiters": 50, "classes": ["600/min burst 100", "10/s burst 5"]
    }"#;
    let read = from_str::<KeyedLimiterBuilder<str>>(text).unwrap();
    let written = flow_ratelimit::KeyedLimiter::<str>::builder()
        .rate("60/min burst 10")
        .max_keys(1_000)
        .when_full(flow_ratelimit::WhenFull::Deny)
        .name("clients")
        .counted(false)
        .max_waiters(50)
        .classes(["600/min burst 100", "10/s burst 5"]);
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    let limiter = read.build().unwrap();
    assert_eq!((limiter.capacity(), limiter.burst()), (1_000, 10));
    let grows = r#"{ "rate": "1/s burst 1", "max_keys": 8, "when_full": "grow", "grow_to": 7 }"#;
    let refused = from_str::<KeyedLimiterBuilder<str>>(grows).unwrap().build();
    let expected = ConfigError::GrowthBelowKeys { given: 7, keys: 8 };
    assert_eq!(refused.map(drop).unwrap_err(), expected);
    assert_eq!(limiter.class(2).unwrap().burst(), 5);
    let unknown = from_str::<KeyedLimiterBuilder<str>>(r#"{ "seed": 1 }"#);
    assert!(unknown.unwrap_err().to_string().contains("`seed`"));
}

#[test]
fn every_setting_of_an_adaptive_limiter_is_read() {
    let text = r#"{
        "algorithm": { "aimd": { "backoff": 0.8, "tolerate_failures": 0.1, "max_latency": "1s" } },
        "range": "10 ..= 200", "initial": 30, "window": "250ms", "min_samples": 9,
        "max_waiters": 5, "fairness": "barging", "name": "api", "counted": false
    }"#;
    let aimd = Aimd::new().backoff(0.8).tolerate_failures(0.1);
    let aimd = aimd.max_latency(Duration::from_secs(1));
    let written = ConcurrencyLimiter::adaptive(aimd)
        .range(10..=200)
        .initial(30)
        .window(Duration::from_millis(250))
        .min_samples(9)
        .max_waiters(5)
        .fairness(Fairness::Barging)
        .name("api")
        .counted(false);
    let read = from_str::<AdaptiveLimiterBuilder>(text).unwrap();
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    assert_eq!(read.build().unwrap().limit(), 30);
}

#[test]
fn algorithms_are_read_by_name_and_with_parameters() {
    let read = |algorithm: &str| {
        let text = format!(r#"{{ "algorithm": {algorithm} }}"#);
        from_str::<AdaptiveLimiterBuilder>(&text).map(|builder| format!("{builder:?}"))
    };
    let vegas = Vegas::new().alpha(0.02).beta(0.2).probe_every(9);
    let gradient = Gradient2::new().tolerance(1.1).smoothing(0.5);
    let gradient = gradient.tolerate_failures(0.0).backoff(0.5).probe_every(60);
    for (algorithm, written) in [
        (r#""vegas""#, ConcurrencyLimiter::adaptive(Vegas::default())),
        (
            r#""gradient2""#,
            ConcurrencyLimiter::adaptive(Gradient2::default()),
        ),
        (r#""aimd""#, ConcurrencyLimiter::adaptive(Aimd::default())),
        (
            r#"{ "vegas": { "alpha": 0.02, "beta": 0.2, "probe_every": 9 } }"#,
            ConcurrencyLimiter::adaptive(vegas),
        ),
        (
            r#"{ "gradient2": { "tolerance": 1.1, "smoothing": 0.5, "tolerate_failures": 0.0,
                 "backoff": 0.5, "probe_every": 60 } }"#,
            ConcurrencyLimiter::adaptive(gradient),
        ),
    ] {
        assert_eq!(read(algorithm).unwrap(), format!("{written:?}"));
    }
    for (algorithm, told) in [
        (
            r#""reno""#,
            "unknown variant `reno`, expected one of `gradient2`, `vegas`, `aimd`",
        ),
        (r#"{ "reno": {} }"#, "unknown variant `reno`"),
        (r#"{ "aimd": { "gamma": 1 } }"#, "unknown field `gamma`"),
        (r#"{ "aimd": {}, "vegas": {} }"#, "two algorithms"),
        ("{}", "a table without an algorithm"),
        (
            "7",
            "expected the name of an algorithm, or a table of parameters",
        ),
    ] {
        let error = read(algorithm).unwrap_err().to_string();
        assert!(error.contains(told), "{algorithm}: {error}");
    }
    let range = r#"{ "algorithm": "vegas", "range": "10-20" }"#;
    let error = from_str::<AdaptiveLimiterBuilder>(range).unwrap_err();
    assert!(error.to_string().contains("`10-20` is no range of limits"));
    let missing = from_str::<AdaptiveLimiterBuilder>("{}").unwrap_err();
    assert!(missing.to_string().contains("missing field `algorithm`"));
    // Values are checked where they always are.
    let wrong = r#"{ "algorithm": { "vegas": { "alpha": 2.0 } } }"#;
    let wrong = from_str::<AdaptiveLimiterBuilder>(wrong).unwrap().build();
    assert!(wrong.unwrap_err().to_string().contains("alpha is 2"));
}

#[test]
fn every_setting_of_a_circuit_breaker_is_read() {
    let text = r#"{
        "failure_rate": 0.25, "slow_call": { "from": "2s", "rate": 0.75 }, "window": 50,
        "minimum_calls": 5, "trial_calls": 2, "trial_timeout": "5s", "dropped_fails": true,
        "open_for": { "first": "1s", "factor": 3.0, "max_delay": "1min", "jitter": "equal" },
        "name": "db"
    }"#;
    let second = Duration::from_secs(1);
    let growing = Backoff::exponential(second).factor(3.0);
    let growing = growing.max_delay(60 * second).equal_jitter();
    let written = CircuitBreaker::builder()
        .failure_rate(0.25)
        .slow_call(2 * second, 0.75)
        .window(50)
        .minimum_calls(5)
        .trial_calls(2)
        .trial_timeout(5 * second)
        .dropped_fails(true)
        .open_for(growing)
        .name("db");
    let read = from_str::<CircuitBreakerBuilder>(text).unwrap();
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    assert_eq!(read.build().unwrap().name(), Some("db"));

    let text = r#"{ "window_of": "10s", "open_for": "3s" }"#;
    let written = CircuitBreaker::builder()
        .window_of(10 * second)
        .open_for(3 * second);
    let read = from_str::<CircuitBreakerBuilder>(text).unwrap();
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    for (text, told) in [
        (r#"{ "window": 5, "window_of": "10s" }"#, "both given"),
        (
            r#"{ "slow_call": { "from": "2s" } }"#,
            "missing field `rate`",
        ),
        (
            r#"{ "open_for": { "jitter": "some" } }"#,
            "`full`, `equal`, `decorrelated`",
        ),
        (r#"{ "open_for": {} }"#, "missing field `first`"),
        (r#"{ "open_for": "soon" }"#, "`soon` is no period"),
        (
            r#"{ "open_for": 10 }"#,
            "expected a period like `10s`, or a table",
        ),
        (
            r#"{ "on_transition": "x" }"#,
            "unknown field `on_transition`",
        ),
    ] {
        let error = from_str::<CircuitBreakerBuilder>(text).unwrap_err();
        assert!(error.to_string().contains(told), "{text}: {error}");
    }
    let wrong = from_str::<CircuitBreakerBuilder>(r#"{ "failure_rate": 1.5 }"#);
    assert!(wrong.unwrap().build().is_err());
}
