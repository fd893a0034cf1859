//! The leaky bucket as a meter: what there is to say beyond the cases' scripts in `bucket_cases`, and
//! beside the token bucket that it is.

use core::time::Duration;

use flow_ratelimit::{AcquireError, ConfigError, Denied, LeakyBucket, Rate, TokenBucket};
use flow_rt::{ManualClock, TestRuntime};
use proptest::prelude::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn started(rate: Rate, capacity: u64, level: u64) -> (LeakyBucket<ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let bucket = LeakyBucket::builder()
        .rate(rate)
        .capacity(capacity)
        .initial_level(level)
        .clock(clock.clone())
        .build()
        .unwrap();
    (bucket, clock)
}

fn empty(rate: u64, capacity: u64) -> (LeakyBucket<ManualClock>, ManualClock) {
    started(Rate::per_second(rate), capacity, 0)
}

/// How many of `tries` go.
fn goes(bucket: &LeakyBucket<ManualClock>, tries: usize) -> usize {
    (0..tries).filter(|_| bucket.try_acquire().is_ok()).count()
}

#[test]
fn lb_35_45_bad_settings_are_refused() {
    let zero = LeakyBucket::new("10/s", 0).unwrap_err();
    assert_eq!(zero, ConfigError::ZeroCapacity);
    assert!(LeakyBucket::new("-1/s", 5).is_err());
    let capacity = LeakyBucket::builder().rate("1/s").build().unwrap_err();
    assert_eq!(capacity, ConfigError::MissingCapacity);
    let rate = LeakyBucket::builder().capacity(5).build().unwrap_err();
    assert_eq!(rate, ConfigError::MissingRate);
    let full = LeakyBucket::builder()
        .rate("1/s")
        .capacity(3)
        .initial_level(5);
    let refused = ConfigError::LevelAboveCapacity {
        given: 5,
        capacity: 3,
    };
    assert_eq!(full.build().unwrap_err(), refused);
    assert!(LeakyBucket::new("1/s", u64::MAX).is_err());
    let (bucket, _) = empty(10, 5);
    assert_eq!(bucket.set_capacity(0), Err(ConfigError::ZeroCapacity));
    assert!(bucket.set_capacity(u64::MAX).is_err());
    assert_eq!(bucket.capacity(), 5);
}

#[test]
fn lb_37_several_at_once() {
    let (bucket, _) = empty(10, 10);
    bucket.try_acquire_n(3).unwrap();
    assert_eq!(bucket.level(), 3);
    bucket.try_acquire_n(7).unwrap();
    assert!(bucket.try_acquire().is_err());
    bucket.try_acquire_n(0).unwrap();
    let never = bucket.peek_n(11);
    assert!(matches!(never, Err(Denied::ExceedsBurst { .. })));
}

#[test]
fn lb_38_46_the_level_falls_with_time() {
    let (bucket, clock) = started(Rate::per_second(10), 10, 10);
    clock.advance(ms(500));
    assert_eq!(bucket.level(), 5);
    clock.advance(ms(1));
    assert_eq!(bucket.level(), 5, "a part of one is one");
    clock.advance(ms(499));
    assert_eq!((bucket.level(), bucket.available()), (0, 10));

    let (bucket, clock) = empty(10, 20);
    assert_eq!(goes(&bucket, 21), 20);
    clock.advance(ms(1_000));
    assert_eq!(bucket.level(), 10);
    assert_eq!(goes(&bucket, 11), 10);
}

#[test]
fn lb_40_49_refunds_take_out_what_is_left() {
    let (bucket, clock) = empty(10, 5);
    bucket.try_acquire_n(2).unwrap();
    bucket.refund(2);
    assert_eq!(bucket.level(), 0);
    bucket.try_acquire_n(4).unwrap();
    clock.advance(ms(300));
    bucket.refund(4);
    assert_eq!(bucket.level(), 0, "three have leaked out: one was left");
    bucket.refund(4);
    assert_eq!((bucket.level(), bucket.available()), (0, 5));
}

#[test]
fn lb_41_rate_and_capacity_change_alone() {
    let (bucket, clock) = empty(10, 5);
    bucket.try_acquire_n(3).unwrap();
    bucket.set_rate("20/s").unwrap();
    assert_eq!((bucket.capacity(), bucket.level()), (5, 3));
    bucket.set_capacity(10).unwrap();
    assert_eq!((bucket.rate(), bucket.level()), (Rate::per_second(20), 3));
    assert_eq!(goes(&bucket, 8), 7);
    bucket.set_capacity(4).unwrap();
    assert_eq!((bucket.level(), bucket.available()), (10, 0));
    clock.advance(ms(300));
    assert_eq!(bucket.level(), 4);
    let denied = bucket.try_acquire();
    assert!(denied.is_err(), "what was poured in leaks out first");
    clock.advance(ms(50));
    assert_eq!(goes(&bucket, 2), 1);
}

proptest! {
    /// The same decisions as the token bucket's, and the level as its complement.
    #[test]
    fn a_token_bucket_from_the_other_side(
        per in 1..2_000_u64,
        capacity in 1..100_u64,
        steps in prop::collection::vec((0..4_u8, 0..120_u64, 0..2_000_000_000_u64), 1..60),
    ) {
        let (meter, clock) = empty(per, capacity);
        let tokens = TokenBucket::builder()
            .rate(Rate::per_second(per))
            .burst(capacity)
            .clock(clock.clone())
            .build()
            .unwrap();
        for (what, n, nanos) in steps {
            match what {
                0 => clock.advance(Duration::from_nanos(nanos)),
                1 => {
                    meter.refund(n);
                    tokens.refund(n);
                }
                _ => prop_assert_eq!(meter.try_acquire_n(n), tokens.try_acquire_n(n)),
            }
            prop_assert_eq!(meter.available(), tokens.available());
            prop_assert_eq!(meter.level(), capacity - tokens.available());
        }
    }

    /// No change of the capacity touches the level.
    #[test]
    fn the_level_outlives_every_capacity(
        level in 0..1_000_u64,
        capacities in prop::collection::vec(1..2_000_u64, 1..20),
        leak in 0..1_500_u64,
    ) {
        let (bucket, clock) = started(Rate::per_second(1_000), 1_000, level);
        for capacity in &capacities {
            bucket.set_capacity(*capacity).unwrap();
            prop_assert_eq!(bucket.level(), level);
        }
        clock.advance(ms(leak));
        prop_assert_eq!(bucket.level(), level.saturating_sub(leak));
        let capacity = capacities[capacities.len() - 1];
        prop_assert_eq!(bucket.available(), capacity.saturating_sub(bucket.level()));
    }
}

flow_rt::on_every_runtime! {
    lb_47_a_wait_that_cannot_end_in_time_is_refused,
    waiters_go_in_order_as_it_leaks,
    a_larger_capacity_lets_waiters_go,
}

async fn lb_47_a_wait_that_cannot_end_in_time_is_refused(rt: TestRuntime) {
    let bucket = LeakyBucket::builder()
        .rate("1/10s")
        .capacity(1)
        .runtime(&rt)
        .build()
        .unwrap();
    bucket.acquire().await.unwrap();
    let start = rt.now();
    let late = bucket.acquire_timeout(ms(50)).await.unwrap_err();
    assert!(matches!(late, AcquireError::Timeout { .. }), "{late}");
    assert_eq!((rt.now(), bucket.level()), (start, 1));
    bucket.close();
    assert_eq!(bucket.acquire().await, Err(AcquireError::Closed));
}

async fn waiters_go_in_order_as_it_leaks(rt: TestRuntime) {
    let bucket = LeakyBucket::builder()
        .rate("10/s")
        .capacity(4)
        .runtime(&rt)
        .build()
        .unwrap();
    bucket.acquire_n(4).await.unwrap();
    let (first, second) = (bucket.clone(), bucket.clone());
    let first = rt.spawn(async move { first.acquire_n(3).await.map(drop) });
    rt.settle().await;
    let second = rt.spawn(async move { second.acquire().await.map(drop) });
    rt.settle().await;
    assert_eq!(bucket.stats().waiting, 2);
    rt.advance(ms(299)).await;
    assert_eq!(
        bucket.stats().waiting,
        2,
        "a large one holds up those behind it"
    );
    rt.advance(ms(10)).await;
    first.await.unwrap().unwrap();
    assert_eq!(bucket.stats().waiting, 1);
    rt.advance(ms(100)).await;
    second.await.unwrap().unwrap();
}

async fn a_larger_capacity_lets_waiters_go(rt: TestRuntime) {
    let bucket = LeakyBucket::builder()
        .rate("1/h")
        .capacity(2)
        .runtime(&rt)
        .build()
        .unwrap();
    bucket.acquire_n(2).await.unwrap();
    let waiter = bucket.clone();
    let waiter = rt.spawn(async move { waiter.acquire().await.map(drop) });
    rt.settle().await;
    bucket.set_capacity(3).unwrap();
    waiter.await.unwrap().unwrap();
    assert_eq!(bucket.level(), 3);
}

#[test]
fn room_is_reserved_ahead_and_given_up_exactly() {
    let clock = ManualClock::new();
    let bucket = LeakyBucket::builder().rate("10/s").capacity(5);
    let bucket = bucket.clock(clock.clone()).build().unwrap();
    bucket.try_acquire_n(5).unwrap();
    let first = bucket.reserve_n(3).unwrap();
    let second = bucket.reserve().unwrap();
    assert_eq!(first.delay(), Duration::from_millis(300));
    assert_eq!(second.delay(), Duration::from_millis(400));
    drop(first);
    assert_eq!(second.delay(), Duration::from_millis(100));
    clock.advance(Duration::from_millis(100));
    second.commit().unwrap();
    assert_eq!(bucket.level(), 5);
    assert!(matches!(
        bucket.reserve_n(6),
        Err(Denied::ExceedsBurst { .. })
    ));
}

#[test]
fn a_reservation_that_is_due_is_in_the_level() {
    let (bucket, clock) = empty(10, 2);
    bucket.try_acquire_n(2).unwrap();
    let reserved = bucket.reserve().unwrap();
    clock.advance(ms(100));
    // Before anybody has looked, and after.
    assert_eq!((bucket.level(), bucket.available()), (2, 0));
    assert_eq!(bucket.level(), 2);
    drop(reserved);
}
