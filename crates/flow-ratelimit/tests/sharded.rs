//! Buckets in shards, on a clock moved by hand.
#![cfg(not(loom))]

use std::thread;
use std::time::Duration;

use flow_ratelimit::{ConfigError, Denied, Fairness, Rate, TokenBucket, TokenBucketBuilder};
use flow_rt::ManualClock;
use flow_rt::sim::Sim;

fn builder(rate: Rate, burst: u64, shards: usize) -> TokenBucketBuilder {
    let builder = TokenBucket::builder().rate(rate).burst(burst);
    builder.sharded(shards)
}

fn bucket(rate: Rate, burst: u64, shards: usize) -> (TokenBucket<ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let bucket = builder(rate, burst, shards).clock(clock.clone()).build();
    (bucket.expect("valid"), clock)
}

/// What a new thread takes, one by one, until it is denied or has `most`.
fn elsewhere(bucket: &TokenBucket<ManualClock>, most: usize) -> usize {
    let takes = || {
        (0..most)
            .take_while(|_| bucket.try_acquire().is_ok())
            .count()
    };
    thread::scope(|scope| scope.spawn(takes).join()).expect("no panic")
}

#[test]
fn shards_need_a_burst() {
    let build = |burst, shards| builder(Rate::per_second(1), burst, shards).build().err();
    assert_eq!(build(100, 0), Some(ConfigError::ZeroShards));
    let too_many = |given, max| Some(ConfigError::TooManyShards { given, max });
    assert_eq!(build(100, 13), too_many(13, 12));
    assert_eq!(build(7, 1), too_many(1, 0));
    assert_eq!(build(1 << 40, usize::MAX), too_many(usize::MAX, 1024));
    assert_eq!(build(8, 1), None);
    assert_eq!(build(100, 12), None);
}

#[test]
fn a_batch_pays_for_those_behind_it() {
    let (bucket, clock) = bucket(Rate::per_second(10), 1_000, 2);
    assert_eq!((bucket.burst(), bucket.available()), (1_000, 936));
    let granted = bucket.try_acquire().expect("plenty");
    assert_eq!((granted.remaining(), granted.limit()), (935, 936));
    // No clock is read as long as there are credits, and nothing is lost by that.
    clock.advance(Duration::from_secs(1));
    for i in 1..=32 {
        let granted = bucket.try_acquire().expect("a credit");
        assert_eq!((granted.remaining(), granted.limit()), (935 - i, 936));
        assert_eq!(granted.reset_after(), Duration::from_millis(100));
    }
    assert_eq!(bucket.available(), 913);
    assert_eq!(bucket.try_acquire().expect("a batch").remaining(), 912);
    assert_eq!(bucket.stats().granted, 34);
}

#[test]
fn the_burst_is_no_larger_whatever_shards_hold() {
    let (bucket, clock) = bucket(Rate::per_second(10), 1_000, 4);
    // Other tests' threads count too, so some shards may be met again, and some not at all.
    for _ in 0..4 {
        assert_eq!(elsewhere(&bucket, 1), 1);
    }
    clock.advance(Duration::from_secs(10_000));
    let there = bucket.available();
    assert!((873..=1_000).contains(&there), "{there}");
    // It takes the credits of all the shards, too.
    assert_eq!(elsewhere(&bucket, 2_000) as u64, there);
    assert_eq!(bucket.available(), 0);
    assert_eq!(bucket.stats().granted, there + 4);
}

#[test]
fn no_credit_is_stranded() {
    let (bucket, _) = bucket(Rate::per_hour(1), 1_000, 4);
    assert_eq!(elsewhere(&bucket, 1), 1);
    let left = bucket.available();
    bucket
        .try_acquire_n(left - 33)
        .expect("not those of the shard");
    bucket.peek_n(33).expect("it is there");
    bucket.try_acquire_n(33).expect("it comes back");
    let denied = bucket.try_acquire().expect_err("empty");
    let wait = denied.retry_after().expect("it comes");
    assert_eq!(wait, Duration::from_hours(1));
    let exceeds = bucket.try_acquire_n(900).expect_err("more than at once");
    assert!(matches!(exceeds, Denied::ExceedsBurst { burst: 872, .. }));
}

#[test]
fn it_changes_while_it_runs() {
    let (bucket, clock) = bucket(Rate::per_second(10), 1_000, 4);
    bucket.try_acquire().expect("full");
    let too_small = ConfigError::BurstBelowCredits {
        given: 255,
        min: 256,
    };
    assert_eq!(bucket.set_burst(255), Err(too_small));
    bucket.set_burst(256).expect("twice the credits");
    assert_eq!((bucket.burst(), bucket.available()), (256, 160));
    bucket.set_rate(Rate::ZERO).expect("valid");
    assert_eq!(
        (0..1_000).filter(|_| bucket.try_acquire().is_ok()).count(),
        160
    );
    assert_eq!(bucket.try_acquire(), Err(Denied::NeverRefills));
    bucket.refund(5);
    assert_eq!(bucket.available(), 5);
    bucket.set_rate(Rate::per_second(1)).expect("valid");
    clock.advance(Duration::from_secs(1_000));
    assert_eq!(bucket.available(), 128);
    bucket.set_rate(Rate::UNLIMITED).expect("valid");
    bucket.try_acquire_n(1 << 40).expect("no limit");
    assert_eq!(bucket.available(), 256);
}

#[test]
fn a_closed_bucket_spends_nothing() {
    let (bucket, _) = bucket(Rate::per_second(1), 100, 1);
    bucket.try_acquire().expect("full");
    bucket.close();
    assert_eq!(bucket.try_acquire(), Err(Denied::Closed));
    assert_eq!(bucket.peek(), Err(Denied::Closed));
}

#[test]
fn those_who_wait_get_the_credits_and_are_not_passed() {
    Sim::new(0)
        .run(|rt| async move {
            let bucket = builder(Rate::per_hour(1), 100, 1).build().expect("valid");
            bucket.try_acquire().expect("full");
            assert_eq!(bucket.available(), 67);
            // A wait takes the credits back at once.
            bucket.acquire_n(66).await.expect("with the credits");
            assert_eq!(bucket.available(), 1);
            bucket.refund(60);
            bucket.try_acquire().expect("there is one");
            let waits = rt.spawn({
                let bucket = bucket.clone();
                async move { bucket.acquire_n(62).await }
            });
            rt.run_until_idle().await;
            assert_eq!(bucket.stats().waiting, 1);
            let denied = bucket.try_acquire().expect_err("somebody waits");
            assert!(denied.retry_after().is_some());
            assert_eq!(bucket.available(), 60);
            bucket.refund(2);
            waits.await.expect("joined").expect("granted");
            assert_eq!(bucket.available(), 0);
        })
        .expect("no failure");
}

#[test]
fn threads_take_every_token_once() {
    const BURST: u64 = 20_000;
    let (bucket, _) = bucket(Rate::per_hour(1), BURST, 2);
    let granted: usize = thread::scope(|scope| {
        let takes = || (0..BURST).filter(|_| bucket.try_acquire().is_ok()).count();
        let running: Vec<_> = (0..4).map(|_| scope.spawn(takes)).collect();
        running
            .into_iter()
            .map(|it| it.join().expect("no panic"))
            .sum()
    });
    assert_eq!((granted as u64, bucket.available()), (BURST - 64, 0));
    let stats = bucket.stats();
    assert_eq!(
        (stats.granted, stats.granted + stats.denied),
        (BURST - 64, 4 * BURST)
    );
}

#[test]
fn some_buckets_are_in_one_piece() {
    let owing = builder(Rate::per_second(1), 100, 1).debt(5).build();
    assert_eq!(owing.err(), Some(ConfigError::CreditsWithDebt { debt: 5 }));
    let barging = builder(Rate::per_second(1), 100, 1).fairness(Fairness::Barging);
    assert_eq!(barging.build().err(), Some(ConfigError::CreditsWithBarging));
}

#[test]
fn a_reservation_gets_the_credits() {
    let (bucket, clock) = bucket(Rate::per_second(1), 100, 1);
    bucket.try_acquire().expect("full");
    assert_eq!(bucket.available(), 67);
    let first = bucket.reserve_n(66).expect("with the credits");
    assert_eq!((first.delay(), bucket.available()), (Duration::ZERO, 1));
    let second = bucket.reserve_n(11).expect("a place");
    assert_eq!(second.delay(), Duration::from_secs(10));
    let denied = bucket.try_acquire().expect_err("one has reserved");
    assert_eq!(denied.retry_after(), Some(Duration::from_secs(11)));
    // It is its own when it has come, and what comes then is for shards again.
    clock.advance(Duration::from_secs(30));
    bucket.try_acquire().expect("20 more than that");
    assert_eq!((second.delay(), bucket.available()), (Duration::ZERO, 19));
    first.commit().expect("ready");
    second.commit().expect("ready");
    assert_eq!(bucket.stats().granted, 4);
}

#[test]
fn a_thread_that_waits_gets_the_credits() {
    let bucket = builder(Rate::per_hour(1), 100, 1).build().expect("valid");
    bucket.try_acquire().expect("full");
    let granted = bucket.acquire_n_blocking(66).expect("with the credits");
    // One more is in the shard.
    assert_eq!((granted.remaining(), bucket.available()), (0, 1));
}

#[test]
fn credits_are_in_a_snapshot() {
    let (bucket, _) = bucket(Rate::per_hour(1), 100, 1);
    for _ in 0..3 {
        bucket.try_acquire().expect("full");
    }
    assert_eq!(bucket.available(), 65);
    let snapshot = bucket.snapshot();
    assert_eq!((snapshot.burst, snapshot.tokens()), (100, 65));
    // It moves none.
    assert_eq!((bucket.available(), bucket.stats().granted), (65, 3));
    let again = TokenBucket::builder().restore(&snapshot);
    let again = again.sharded(1).build().expect("valid");
    assert_eq!((again.burst(), again.available()), (100, 65));
}
