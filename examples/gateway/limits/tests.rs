//! Who is remembered, who is forgotten, and what is kept of those.

use flow_rt::block_on;

use super::*;

fn options(rate: u64, burst: u64) -> Options {
    Options {
        rate,
        burst,
        ..Options::default()
    }
}

fn decide(limits: &Limits, name: &str) -> Decision {
    block_on(limits.decide(name)).unwrap()
}

/// Forgets until nobody is left: each bucket here is full again within a microsecond.
fn forget_all(limits: &Limits) {
    while !lock(&limits.clients).is_empty() || !lock(&limits.strangers).is_empty() {
        limits.forget_idle();
    }
}

#[test]
fn the_counts_of_the_self_test_outlive_the_buckets() {
    let limits = block_on(Limits::open(&options(1_000_000, 1)))
        .unwrap()
        .unwrap();
    for round in 1..=3 {
        assert_eq!(decide(&limits, "a"), Decision::Admitted);
        assert_eq!(limits.counts()["a"], (round, 0));
        forget_all(&limits);
        assert_eq!(limits.counts()["a"], (round, 0));
    }
}

#[test]
fn a_gateway_that_stays_up_keeps_nothing_of_the_forgotten() {
    let options = Options {
        serve: Some(([127, 0, 0, 1], 0).into()),
        ..options(1_000_000, 1)
    };
    let limits = block_on(Limits::open(&options)).unwrap().unwrap();
    decide(&limits, "a");
    forget_all(&limits);
    assert!(limits.counts().is_empty());
}

#[test]
fn a_bucket_that_is_not_full_is_not_forgotten() {
    let limits = block_on(Limits::open(&options(1, 2))).unwrap().unwrap();
    decide(&limits, "a");
    limits.forget_idle();
    assert_eq!(lock(&limits.clients).len(), 1);
}

#[test]
fn a_full_table_takes_newcomers_again_once_others_are_idle() {
    let mut limits = block_on(Limits::open(&options(1_000_000, 1)))
        .unwrap()
        .unwrap();
    limits.max_clients = 2;
    assert_eq!(decide(&limits, "a"), Decision::Admitted);
    assert_eq!(decide(&limits, "b"), Decision::Admitted);
    assert_eq!(decide(&limits, "c"), Decision::Unavailable);
    forget_all(&limits);
    assert_eq!(decide(&limits, "c"), Decision::Admitted);
}

#[test]
fn clients_in_redis_are_forgotten_when_they_do_not_ask() {
    // Nobody listens there, and nobody needs to: the table is filled before Redis is asked.
    let redis = RedisBackend::connect("redis://127.0.0.1:1").unwrap();
    let limiter = DistributedLimiter::builder(&redis)
        .keyed::<str>("gateway")
        .rate(Rate::per_second(1))
        .burst(1)
        .build()
        .unwrap();
    let mut limits = block_on(Limits::open(&options(1, 1))).unwrap().unwrap();
    limits.redis = Some(limiter);
    for _ in 0..2 {
        assert_eq!(decide(&limits, "idle"), Decision::Unavailable);
        limits.forget_idle();
        decide(&limits, "busy");
        assert_eq!(lock(&limits.clients).len(), 2);
        limits.forget_idle();
        let left: Vec<String> = lock(&limits.clients).keys().cloned().collect();
        assert_eq!(left, ["busy"]);
    }
}

#[test]
fn a_stranger_pays_for_its_address_alone() {
    let limits = block_on(Limits::open(&options(1, 1))).unwrap().unwrap();
    let (one, other) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
    assert_eq!(limits.stranger(one), Decision::Admitted);
    assert!(matches!(limits.stranger(one), Decision::Limited { .. }));
    assert_eq!(limits.stranger(other), Decision::Admitted);
    assert_eq!(decide(&limits, "a"), Decision::Admitted);
}

#[test]
fn a_password_is_not_shown() {
    assert_eq!(without_password("redis://u:p@h:1/0"), "redis://***@h:1/0");
    assert_eq!(without_password("redis://h:1"), "redis://h:1");
}
