//! Handles with credits of their own, on a clock moved by hand.
#![cfg(not(loom))]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_ratelimit::Limiter;
use flow_ratelimit::{
    ConfigError, Denied, Fairness, LocalBucket, OwnedLocalBucket, Rate, TokenBucket, WaitState,
};
use flow_rt::sim::Sim;
use flow_rt::{DefaultClock, ManualClock};

fn bucket(rate: Rate, burst: u64) -> (TokenBucket<ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let bucket = TokenBucket::builder().rate(rate).burst(burst);
    (bucket.clock(clock.clone()).build().expect("valid"), clock)
}

/// How many go, one by one, until one is denied.
fn drained(mut one: impl FnMut() -> bool) -> u64 {
    (0..1 << 20).take_while(|_| one()).count() as u64
}

#[test]
fn credits_are_spent_and_come_back() {
    let (bucket, _) = bucket(Rate::per_second(1), 100);
    let local = bucket.local(20).expect("a fifth");
    assert_eq!((local.credits(), local.batch()), (0, 20));
    assert_eq!((bucket.burst(), bucket.available()), (100, 80));

    local.try_acquire().expect("plenty");
    assert_eq!((local.credits(), bucket.available()), (20, 59));
    local.try_acquire_n(20).expect("credits");
    assert_eq!((local.credits(), bucket.available()), (0, 59));
    local.try_acquire_n(30).expect("more than a batch");
    assert_eq!((local.credits(), bucket.available()), (14, 15));
    // All of the credits, and what is missing.
    local.try_acquire_n(16).expect("14 and 2");
    assert_eq!((local.credits(), bucket.available()), (6, 7));
    local.try_acquire_n(0).expect("nothing");
    assert_eq!((local.credits(), bucket.available()), (6, 7));

    drop(local);
    assert_eq!((bucket.burst(), bucket.available()), (100, 13));
}

#[test]
fn batches_are_half_of_the_burst_at_the_most() {
    let (bucket, _) = bucket(Rate::per_second(1), 100);
    assert_eq!(bucket.local(0).err(), Some(ConfigError::ZeroBatch));
    let too_large = ConfigError::BatchTooLarge { given: 51, max: 50 };
    assert_eq!(bucket.local(51).err(), Some(too_large));
    let most = bucket.local(50).expect("half");
    let none_left = ConfigError::BatchTooLarge { given: 1, max: 0 };
    assert_eq!(bucket.local(1).err(), Some(none_left));
    drop(most);
    let (_first, second) = (bucket.local(25), bucket.local_owned(25));
    assert!(second.is_ok());

    let too_small = ConfigError::BurstBelowCredits {
        given: 99,
        min: 100,
    };
    assert_eq!(bucket.set_burst(99), Err(too_small));
    assert_eq!(bucket.burst(), 100);
    bucket.set_burst(100).expect("twice the credits");
    bucket.set_burst(200).expect("more");
    assert!(bucket.local(50).is_ok());

    let one = TokenBucket::new("1/s", 1).expect("valid");
    assert!(one.local(1).is_err());
}

#[test]
fn the_burst_is_no_larger_whatever_handles_hold() {
    let (bucket, clock) = bucket(Rate::per_second(10), 100);
    let handles: Vec<_> = (0..5).map(|_| bucket.local(10).expect("fits")).collect();
    for local in &handles {
        local.try_acquire().expect("plenty");
        assert!(local.credits() > 0);
    }
    // It fills up again beside the credits.
    clock.advance(Duration::from_secs(1_000));
    let mut granted = drained(|| bucket.try_acquire().is_ok());
    assert_eq!(granted, 50);
    for local in &handles {
        granted += drained(|| local.try_acquire().is_ok());
    }
    assert!((51..=100).contains(&granted), "{granted}");
    drop(handles);
    assert_eq!(bucket.available(), 0);
    clock.advance(Duration::from_secs(1_000));
    assert_eq!(drained(|| bucket.try_acquire().is_ok()), 100);
}

#[test]
fn the_last_tokens_are_for_everybody() {
    let (bucket, clock) = bucket(Rate::per_second(1), 100);
    let local = bucket.local(10).expect("fits");
    bucket.try_acquire_n(90).expect("full");
    clock.advance(Duration::from_secs(1));
    local.try_acquire().expect("one has come");
    assert_eq!(local.credits(), 0);
    clock.advance(Duration::from_secs(3));
    local.try_acquire().expect("three have come");
    assert_eq!((local.credits(), bucket.available()), (1, 1));
}

#[test]
fn a_denial_says_what_the_bucket_would_say() {
    let (bucket, clock) = bucket(Rate::per_second(10), 100);
    let local = bucket.local(10).expect("fits");
    let exceeds = local
        .try_acquire_n(95)
        .expect_err("more than is left of the burst");
    assert!(matches!(
        exceeds,
        Denied::ExceedsBurst {
            requested: 95,
            burst: 90,
            ..
        }
    ));
    local.try_acquire_n(88).expect("full");
    assert_eq!((local.credits(), bucket.available()), (1, 1));
    let denied = local.try_acquire_n(4).expect_err("two are missing");
    let wait = denied.retry_after().expect("they come");
    assert_eq!((wait, local.credits()), (Duration::from_millis(200), 1));
    clock.advance(wait);
    local.try_acquire_n(4).expect("as promised");

    bucket.set_rate(Rate::ZERO).expect("valid");
    assert_eq!(local.try_acquire(), Err(Denied::NeverRefills));
    bucket.set_rate(Rate::UNLIMITED).expect("valid");
    local.try_acquire_n(1 << 40).expect("no limit");
    assert_eq!(local.credits(), 0);
}

#[test]
fn those_who_wait_are_not_passed_by_credits() {
    Sim::new(0)
        .run(|_rt| async {
            let bucket = TokenBucket::new("1/h", 100).expect("valid");
            let local = bucket.local(20).expect("fits");
            local.try_acquire().expect("full");
            assert_eq!((local.credits(), bucket.available()), (20, 59));
            let mut cx = Context::from_waker(Waker::noop());
            let mut state = WaitState::new();
            let mut poll = |n| bucket.poll_acquire_n(&mut cx, n, &mut state);
            assert!(poll(80).is_pending());
            let denied = local.try_acquire().expect_err("somebody waits");
            assert!(denied.retry_after().is_some());
            // What it had went to the bucket, for the one who waits.
            assert_eq!((local.credits(), bucket.available()), (0, 79));
            bucket.refund(1);
            assert!(matches!(poll(80), Poll::Ready(Ok(_))));

            // Those who wait can go with the credits: then their turn is over.
            bucket.refund(80);
            local.try_acquire().expect("nobody waits");
            assert_eq!((local.credits(), bucket.available()), (20, 59));
            assert!(poll(70).is_pending());
            local.try_acquire().expect("nobody waits any more");
            assert!(matches!(poll(70), Poll::Ready(Ok(_))));
            assert_eq!(local.credits() + bucket.available(), 8);
        })
        .expect("no failure");
}

#[test]
fn a_dropped_handle_serves_those_who_wait() {
    Sim::new(0)
        .run(|_rt| async {
            let bucket = TokenBucket::new("1/h", 100).expect("valid");
            let local = bucket.local(20).expect("fits");
            local.try_acquire().expect("full");
            let mut waits = pin!(bucket.acquire_n(79));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(waits.as_mut().poll(&mut cx).is_pending());
            drop(local);
            assert_eq!(waits.await.expect("79 are there").remaining(), 0);
        })
        .expect("no failure");
}

#[test]
fn a_closed_bucket_takes_no_credits() {
    let (bucket, _) = bucket(Rate::per_second(1), 100);
    let local = bucket.local(20).expect("fits");
    local.try_acquire().expect("full");
    bucket.close();
    assert_eq!(local.try_acquire(), Err(Denied::Closed));
    assert_eq!((local.credits(), bucket.available()), (0, 79));
}

#[test]
fn requests_by_credits_are_counted() {
    let (bucket, _) = bucket(Rate::per_second(1), 100);
    let local = bucket.local(20).expect("fits");
    for _ in 0..11 {
        local.try_acquire().expect("full");
    }
    local.try_acquire_n(1_000).expect_err("too many");
    assert_eq!((bucket.stats().granted, bucket.stats().denied), (11, 1));
    local.try_acquire_n(2).expect("credits");
    drop(local);
    assert_eq!(bucket.stats().granted, 12);
}

#[test]
fn threads_share_one_burst() {
    const THREADS: u64 = 4;
    let (bucket, _) = bucket(Rate::per_hour(1), 10_000);
    let handles: Vec<_> = (0..THREADS)
        .map(|_| bucket.local_owned(32).expect("fits"))
        .collect();
    let granted: u64 = std::thread::scope(|scope| {
        let running: Vec<_> = handles
            .into_iter()
            .map(|local| scope.spawn(move || drained(|| local.try_acquire().is_ok())))
            .collect();
        running
            .into_iter()
            .map(|it| it.join().expect("no panic"))
            .sum()
    });
    assert_eq!(granted + bucket.available(), 10_000 - THREADS * 32);
    assert_eq!(bucket.stats().granted, granted);
}

#[test]
fn handles_go_to_other_threads() {
    fn is_send<T: Send>() {}
    is_send::<LocalBucket<'static, DefaultClock>>();
    is_send::<OwnedLocalBucket<DefaultClock>>();
}

#[test]
fn some_buckets_offer_no_credits() {
    let builder = || TokenBucket::builder().rate("1/s").burst(100);
    let owing = builder().debt(5).build().expect("valid");
    let refused = ConfigError::CreditsWithDebt { debt: 5 };
    assert_eq!(owing.local(1).err(), Some(refused.clone()));
    assert_eq!(owing.local_owned(1).err(), Some(refused));
    let barging = builder().fairness(Fairness::Barging);
    let barging = barging.build().expect("valid");
    assert_eq!(
        barging.local(1).err(),
        Some(ConfigError::CreditsWithBarging)
    );
    assert_eq!((barging.burst(), barging.available()), (100, 100));
}

#[test]
fn a_reservation_is_not_passed_by_credits() {
    let (bucket, clock) = bucket(Rate::per_second(1), 100);
    let local = bucket.local(20).expect("fits");
    local.try_acquire().expect("full");
    assert_eq!((local.credits(), bucket.available()), (20, 59));
    let first = bucket.reserve_n(75).expect("a place");
    assert_eq!(first.delay(), Duration::from_secs(16));
    let second = bucket.reserve_n(10).expect("a place");
    // With the credits the first one can go, and those behind it move up.
    let denied = local.try_acquire().expect_err("one has reserved");
    assert_eq!(denied.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(local.credits(), 0);
    assert_eq!(first.delay(), Duration::ZERO);
    assert_eq!(second.delay(), Duration::from_secs(6));
    // Nobody has looked when it was due: what came after it is the bucket's.
    clock.advance(Duration::from_secs(16));
    local.try_acquire().expect("as promised, and more");
    assert_eq!((local.credits(), bucket.available()), (4, 5));
    first.commit().expect("ready");
    second.commit().expect("ready");
    drop(local);
    assert_eq!(bucket.available(), 9);
}

#[test]
fn a_dropped_handle_serves_a_reservation() {
    let (bucket, clock) = bucket(Rate::per_second(1), 100);
    let local = bucket.local(20).expect("fits");
    local.try_acquire().expect("full");
    let waits = bucket.reserve_n(80).expect("all that is not set aside");
    assert_eq!(waits.delay(), Duration::from_secs(21));
    clock.advance(Duration::from_secs(1));
    drop(local);
    assert_eq!(waits.delay(), Duration::ZERO);
    assert_eq!((bucket.burst(), bucket.available()), (100, 0));
    drop(waits);

    // A batch is a smaller burst to one who has reserved more.
    let waits = bucket.reserve_n(81).expect("a place");
    let _local = bucket.local(20).expect("fits");
    assert_eq!(waits.delay(), Duration::MAX);
    waits.commit().expect_err("more than the burst");
}

#[test]
fn a_snapshot_has_no_credits_of_a_handle() {
    let (bucket, _) = bucket(Rate::per_hour(1), 100);
    let local = bucket.local(20).expect("fits");
    local.try_acquire().expect("full");
    let snapshot = bucket.snapshot();
    assert_eq!((snapshot.burst, snapshot.tokens()), (100, 59));
    drop(local);
    assert_eq!(bucket.snapshot().tokens(), 79);
    let again = TokenBucket::builder().restore(&snapshot).build();
    let again = again.expect("valid");
    assert_eq!((again.burst(), again.available()), (100, 59));
}
