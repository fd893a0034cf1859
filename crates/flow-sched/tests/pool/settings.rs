//! Builders read from configuration.

use std::time::Duration;

use flow_rt::{OnFull, sim};
use flow_sched::{PoolConfigError, WorkerPool, WorkerPoolBuilder};
use serde_json::from_str;

fn refusal(text: &str) -> String {
    from_str::<WorkerPoolBuilder>(text).unwrap_err().to_string()
}

#[test]
fn every_setting_is_read() {
    let text = r#"{
        "name": "io", "slots": "2 ..= 8", "queue": 100, "priorities": 3, "ageing": 4,
        "on_full": "drop-oldest", "task_timeout": "250ms", "idle_timeout": "2 min",
        "track_tasks": true
    }"#;
    let read = from_str::<WorkerPoolBuilder>(text).unwrap();
    let written = WorkerPool::builder()
        .name("io")
        .slots(2..=8)
        .queue(100)
        .priorities(3)
        .ageing(4)
        .on_full(OnFull::DropOldest)
        .task_timeout(Duration::from_millis(250))
        .idle_timeout(Duration::from_secs(120))
        .track_tasks(true);
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    let empty = from_str::<WorkerPoolBuilder>("{}").unwrap();
    assert_eq!(format!("{empty:?}"), format!("{:?}", WorkerPool::builder()));
}

#[test]
fn queues_and_slots_have_words_and_numbers() {
    sim::check(0..1, |_rt| async {
        let build = |text| from_str::<WorkerPoolBuilder>(text).unwrap().build();
        let pool = build(r#"{ "slots": 4, "queue": "unbounded" }"#).unwrap();
        assert_eq!((pool.slots(), pool.capacity()), (4..=4, None));
        let pool = build(r#"{ "queue": "rendezvous", "on_full": "caller-runs" }"#).unwrap();
        assert_eq!((pool.slots(), pool.capacity()), (1..=64, Some(0)));
        // What is well formed and senseless is the builder's to refuse.
        let refused = build(r#"{ "slots": "5..=2" }"#).unwrap_err();
        assert_eq!(refused, PoolConfigError::EmptySlotRange { min: 5, max: 2 });
        let refused = build(r#"{ "queue": 0 }"#).unwrap_err();
        assert_eq!(refused, PoolConfigError::ZeroQueue);
        assert!(build(r#"{ "idle_timeout": "0s" }"#).is_err());
    });
}

#[test]
fn what_is_no_setting_is_named() {
    for (text, said) in [
        (r#"{ "slot": 4 }"#, "unknown field `slot`"),
        (r#"{ "slots": "1..64" }"#, "a range like \"1..=64\""),
        (r#"{ "slots": -1 }"#, "integer `-1`"),
        (
            r#"{ "queue": "endless" }"#,
            "\"unbounded\" or \"rendezvous\"",
        ),
        (
            r#"{ "queue": " unbounded" }"#,
            "invalid value: string \" unbounded\"",
        ),
        (r#"{ "on_full": "wait " }"#, "unknown answer `wait `"),
        (
            r#"{ "on_full": "drop-newest" }"#,
            "`wait`, `reject`, `drop-oldest`, `caller-runs`",
        ),
        (
            r#"{ "task_timeout": "5 parsecs" }"#,
            "`5 parsecs` is no time",
        ),
        (
            r#"{ "task_timeout": "99999999999999999999s" }"#,
            "below 2^64",
        ),
        (
            r#"{ "task_timeout": "18446744073709551615d" }"#,
            "is no time",
        ),
        (r#"{ "task_timeout": "5" }"#, "is no time"),
    ] {
        let error = refusal(text);
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[cfg(feature = "adaptive")]
#[test]
fn a_pool_that_finds_its_slots_is_read() {
    sim::check(0..1, |_rt| async {
        for algorithm in [
            r#""aimd""#,
            r#""vegas""#,
            r#""gradient2""#,
            r#"{ "vegas": { "beta": 0.1 } }"#,
        ] {
            let text = format!(
                r#"{{ "slots": "2..=8", "adaptive": {{ "algorithm": {algorithm}, "window": "1s" }} }}"#
            );
            let pool = from_str::<WorkerPoolBuilder>(&text).unwrap();
            let pool = pool.build().unwrap();
            assert_eq!(pool.sizing().map(|now| now.limit), Some(2), "{text}");
        }
        let plain = r#"{ "slots": "2..=8", "adaptive": {} }"#;
        let plain = from_str::<WorkerPoolBuilder>(plain).unwrap();
        assert!(plain.build().unwrap().sizing().is_some());
        let zero = r#"{ "adaptive": { "target_wait": "0s" } }"#;
        let zero = from_str::<WorkerPoolBuilder>(zero).unwrap().build();
        assert!(matches!(zero, Err(PoolConfigError::ZeroDuration { .. })));
    });
    for (text, said) in [
        (
            r#"{ "adaptive": { "algoritm": "aimd" } }"#,
            "unknown field `algoritm`",
        ),
        (
            r#"{ "adaptive": { "algorithm": "reno" } }"#,
            "unknown variant `reno`, expected one of `aimd`, `vegas`, `gradient2`",
        ),
        (
            r#"{ "adaptive": { "algorithm": {} } }"#,
            "a table without an algorithm",
        ),
        (
            r#"{ "adaptive": { "algorithm": 5 } }"#,
            "the name of an algorithm",
        ),
        (
            r#"{ "adaptive": { "algorithm": { "aimd": {}, "vegas": {} } } }"#,
            "a pool goes by one algorithm",
        ),
    ] {
        let error = refusal(text);
        assert!(error.contains(said), "{text}: {error}");
    }
}
