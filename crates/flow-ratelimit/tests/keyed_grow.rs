//! A limiter that knows more keys than it was built for, when it is told to.
#![cfg(not(loom))]

use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use flow_ratelimit::{ConfigError, KeyedLimiter, KeyedLimiterBuilder, Rate, WhenFull};
use flow_rt::{Instant, ManualClock};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn clock() -> ManualClock {
    ManualClock::starting_at(Instant::from_nanos(3_000_000_000))
}

fn builder(clock: &ManualClock, keys: usize) -> KeyedLimiterBuilder<u64, ManualClock> {
    let builder = KeyedLimiter::builder().rate("1/s burst 10").max_keys(keys);
    let builder = builder.when_full(WhenFull::Grow).seed(7);
    builder.clock(clock.clone())
}

#[test]
fn nobody_is_forgotten_while_it_may_grow() {
    let limiter = builder(&clock(), 100).grow_to(100_000).build().unwrap();
    for key in 0..20_000 {
        assert_eq!(limiter.try_acquire(&key).unwrap().remaining(), 9);
    }
    for key in 0..20_000 {
        assert_eq!(limiter.try_acquire(&key).unwrap().remaining(), 8);
        limiter.refund(&key, 1);
    }
    assert!((0..20_000).all(|key| limiter.available(&key) == 9));
    assert_eq!((limiter.len(), limiter.stats().evicted), (20_000, 0));
    // 100 doubled eight times, and no further.
    assert_eq!(
        (limiter.capacity(), limiter.stats().capacity),
        (25_600, 25_600)
    );
}

#[test]
fn it_grows_as_far_as_it_was_told() {
    let limiter = builder(&clock(), 8).grow_to(20).build().unwrap();
    for key in 0..1_000 {
        limiter.try_acquire(&key).unwrap();
    }
    assert_eq!(limiter.capacity(), 20);
    let (known, evicted) = (limiter.len(), limiter.stats().evicted);
    // Each table is left a little room.
    assert!((20..=40).contains(&known), "{known}");
    assert_eq!(known + evicted as usize, 1_000);

    let limiter = builder(&clock(), 8).build().unwrap();
    for key in 0..1_000 {
        limiter.try_acquire(&key).unwrap();
    }
    assert_eq!(limiter.capacity(), 128);
}

/// When keys become fewer they go back to the first table, and no memory is taken any more.
#[test]
fn memory_is_taken_when_it_grows_and_only_then() {
    let clock = clock();
    let limiter = builder(&clock, 1_000).counted(false).build().unwrap();
    let growing = measure(|| {
        for key in 0..4_000 {
            limiter.try_acquire(&key).unwrap();
        }
    });
    assert!(growing.count_total > 0);
    assert_eq!(limiter.capacity(), 4_000);
    let hits = measure(|| {
        for key in 0..4_000 {
            limiter.try_acquire(&key).unwrap();
        }
    });
    assert_eq!(hits.count_total, 0);
    clock.advance(20 * SECOND);
    assert_eq!(limiter.len(), 0);
    let newcomers = measure(|| {
        for key in 10_000..13_000 {
            limiter.try_acquire(&key).unwrap();
        }
    });
    assert_eq!(newcomers.count_total, 0);
    assert_eq!((limiter.len(), limiter.capacity()), (3_000, 4_000));
    assert_eq!(limiter.stats().evicted, 0);
}

#[test]
fn changes_reach_all_tables() {
    let clock = clock();
    let builder = builder(&clock, 8).classes(["1/s burst 20"]);
    let limiter = builder.grow_to(4_096).build().unwrap();
    for key in 0..1_000 {
        limiter.try_acquire_n(&key, 4).unwrap();
    }
    clock.advance(SECOND);
    // Those of the other class lack what they lacked, wherever they stand.
    for key in 0..500 {
        let granted = limiter.class(1).unwrap().try_acquire(&key).unwrap();
        assert_eq!(granted.remaining(), 16);
    }
    limiter.set_rate(Rate::per_second(2)).unwrap();
    limiter.set_burst(12).unwrap();
    clock.advance(SECOND);
    assert!((500..1_000).all(|key| limiter.available(&key) == 9));
    assert_eq!((limiter.len(), limiter.stats().evicted), (1_000, 0));
    clock.advance(2 * SECOND);
    // These are full, and stay so when there is room for more.
    limiter.set_burst(20).unwrap();
    assert!((500..1_000).all(|key| limiter.available(&key) == 20));
}

#[test]
fn it_is_restored_with_all_its_keys() {
    let clock = clock();
    let limiter = builder(&clock, 8).grow_to(1_024).build().unwrap();
    for key in 0..600 {
        limiter.try_acquire_n(&key, 4).unwrap();
    }
    limiter.set_rate(Rate::ZERO).unwrap();
    let restored = builder(&clock, 8).rate("0/s burst 10").grow_to(1_024);
    let restored = restored.build_from(&limiter.snapshot()).unwrap();
    assert_eq!((restored.len(), restored.stats().evicted), (600, 0));
    assert!((0..600).all(|key| restored.available(&key) == 6));
    assert!((256..=1_024).contains(&restored.capacity()));
}

/// All threads take of the same keys while tables come.
#[test]
fn threads_are_granted_each_token_once() {
    let limiter = builder(&clock(), 8).grow_to(1 << 15).build().unwrap();
    let granted: usize = thread::scope(|scope| {
        let takers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let keys = (0..2_000_u64).flat_map(|key| [key; 4]);
                    keys.filter(|key| limiter.try_acquire(key).is_ok()).count()
                })
            })
            .collect();
        takers.into_iter().map(|it| it.join().unwrap()).sum()
    });
    assert_eq!((granted, limiter.len()), (20_000, 2_000));
    assert_eq!(limiter.stats().evicted, 0);
}

#[test]
fn what_cannot_grow_says_why() {
    let clock = clock();
    let refused = |builder: KeyedLimiterBuilder<u64, _>| builder.build().map(drop).unwrap_err();
    assert_eq!(
        refused(builder(&clock, 10).grow_to(9)),
        ConfigError::GrowthBelowKeys { given: 9, keys: 10 }
    );
    assert_eq!(
        refused(builder(&clock, 10).when_full(WhenFull::Deny).grow_to(20)),
        ConfigError::GrowthWithoutGrow { given: 20 }
    );
    let most = u32::MAX as usize;
    // On 32 bits nobody can ask for more.
    if let Some(given) = most.checked_add(1) {
        assert_eq!(
            refused(builder(&clock, 10).grow_to(given)),
            ConfigError::TooManyKeys { given, max: most }
        );
    }
    builder(&clock, 10).grow_to(10).build().unwrap();
    builder(&clock, 10).grow_to(most).build().unwrap();
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Advance(u64),
    Take(u64, usize, u64),
    Refund(u64, u64),
    SetRate(u64),
    SetBurst(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let keys = 0..300_u64;
    prop_oneof![
        2 => (0..5_000_u64).prop_map(Step::Advance),
        12 => (keys.clone(), 0..2_usize, 1..12_u64).prop_map(|(key, class, n)| Step::Take(key, class, n)),
        1 => (keys, 1..12_u64).prop_map(|(key, n)| Step::Refund(key, n)),
        1 => (0..20_u64).prop_map(Step::SetRate),
        1 => (1..20_u64).prop_map(Step::SetBurst),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// One that begins with a few keys is as one that keeps and compares them all.
    #[test]
    fn as_if_it_had_been_large_from_the_start(schedule in prop::collection::vec(steps(), 1..900)) {
        let clock = clock();
        let builder = || builder(&clock, 8).classes(["3/s burst 7"]).grow_to(4_096);
        let (grown, exact) = (builder().build().unwrap(), builder().build_exact().unwrap());
        for step in schedule {
            match step {
                Step::Advance(millis) => clock.advance(Duration::from_millis(millis)),
                Step::Take(key, class, n) => {
                    let ours = grown.class(class).unwrap().try_acquire_n(&key, n);
                    let theirs = exact.class(class).unwrap().try_acquire_n(&key, n);
                    prop_assert_eq!(ours, theirs);
                }
                Step::Refund(key, n) => {
                    grown.refund(&key, n);
                    exact.refund(&key, n);
                }
                Step::SetRate(rate) => {
                    grown.set_rate(Rate::per_second(rate)).unwrap();
                    exact.set_rate(Rate::per_second(rate)).unwrap();
                }
                Step::SetBurst(burst) => {
                    grown.set_burst(burst).unwrap();
                    exact.set_burst(burst).unwrap();
                }
            }
        }
        prop_assert_eq!(grown.len(), exact.len());
        prop_assert_eq!(grown.stats().evicted, 0);
    }
}
