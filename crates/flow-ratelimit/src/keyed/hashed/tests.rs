//! Limiters where there is no memory.

use core::time::Duration;

use flow_rt::ManualClock;

use crate::error::ConfigError;
use crate::keyed::slots::{MEMORY_IS_SHORT, Slots};
use crate::keyed::{KeyedLimiter, WhenFull};

#[test]
fn it_is_not_built_without_memory() {
    let builder = || {
        let builder = KeyedLimiter::<u64>::builder().rate("1/h burst 10");
        builder.max_keys(1_000).when_full(WhenFull::Grow)
    };
    let snapshot = builder().build().unwrap().snapshot();
    MEMORY_IS_SHORT.set(true);
    let (given, bytes) = (1_000, Slots::bytes_for(1_000));
    assert!(bytes > 16_000);
    let refused = ConfigError::NoMemoryForKeys { given, bytes };
    assert_eq!(builder().build().unwrap_err(), refused);
    assert_eq!(builder().build_from(&snapshot).unwrap_err(), refused);
    MEMORY_IS_SHORT.set(false);
    assert!(builder().build().is_ok());
}

#[test]
fn it_grows_once_there_is_memory_again() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u64>::builder()
        .rate("1/h burst 10")
        .max_keys(8);
    let builder = builder.when_full(WhenFull::Grow).grow_to(1_024).seed(7);
    let limiter = builder.clock(clock.clone()).build().unwrap();
    let come = |keys: core::ops::Range<u64>| {
        for key in keys {
            limiter.try_acquire(&key).unwrap();
        }
        limiter.stats().evicted
    };

    MEMORY_IS_SHORT.set(true);
    let evicted = come(0..50);
    assert!(evicted > 0);
    assert_eq!(limiter.capacity(), 8);

    // It has not looked since, and does without for a while.
    MEMORY_IS_SHORT.set(false);
    assert_eq!(come(50..60), evicted + 10);
    clock.advance(Duration::from_millis(999));
    assert_eq!(come(60..70), evicted + 20);
    clock.advance(Duration::from_millis(1));
    assert_eq!(come(70..500), evicted + 20);
    let grown = limiter.capacity();
    assert!(grown >= 256);

    // Short again, and again for good.
    MEMORY_IS_SHORT.set(true);
    let evicted = come(500..1_000);
    for _ in 0..3 {
        clock.advance(Duration::from_secs(1));
        limiter.try_acquire(&0).unwrap();
    }
    assert!(evicted > 20);
    assert_eq!(limiter.capacity(), grown);
}
