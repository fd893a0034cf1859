//! Growth where there is no memory.

use core::time::Duration;

use flow_rt::ManualClock;
use flow_sync::sync::atomic::Ordering;

use crate::keyed::{KeyedLimiter, WhenFull};

#[test]
fn it_grows_once_there_is_memory_again() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u64>::builder()
        .rate("1/h burst 10")
        .max_keys(8);
    let builder = builder.when_full(WhenFull::Grow).grow_to(1_024).seed(7);
    let limiter = builder.clock(clock.clone()).build().unwrap();
    let is_short = &limiter.table.store.slots.memory_is_short;
    let come = |keys: core::ops::Range<u64>| {
        for key in keys {
            limiter.try_acquire(&key).unwrap();
        }
        limiter.stats().evicted
    };

    is_short.store(true, Ordering::Relaxed);
    let evicted = come(0..50);
    assert!(evicted > 0);
    assert_eq!(limiter.capacity(), 8);

    // It has not looked since, and does without for a while.
    is_short.store(false, Ordering::Relaxed);
    assert_eq!(come(50..60), evicted + 10);
    clock.advance(Duration::from_millis(999));
    assert_eq!(come(60..70), evicted + 20);
    clock.advance(Duration::from_millis(1));
    assert_eq!(come(70..500), evicted + 20);
    let grown = limiter.capacity();
    assert!(grown >= 256);

    // Short again, and again for good.
    is_short.store(true, Ordering::Relaxed);
    let evicted = come(500..1_000);
    for _ in 0..3 {
        clock.advance(Duration::from_secs(1));
        limiter.try_acquire(&0).unwrap();
    }
    assert!(evicted > 20);
    assert_eq!(limiter.capacity(), grown);
}
