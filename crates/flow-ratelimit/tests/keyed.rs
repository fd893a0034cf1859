//! What a limit for each key promises.
#![cfg(not(loom))]

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use flow_ratelimit::{ConfigError, Denied, KeyedLimiter, KeyedLimiterBuilder, Rate, WhenFull};
use flow_rt::{Clock, Instant, ManualClock};

const SECOND: Duration = Duration::from_secs(1);

fn clock() -> ManualClock {
    ManualClock::starting_at(Instant::from_nanos(3_000_000_000))
}

fn limiter(rate: Rate, burst: u64, keys: usize) -> (KeyedLimiter<u64, ManualClock>, ManualClock) {
    let clock = clock();
    let builder = KeyedLimiter::builder().rate(rate).burst(burst);
    let limiter = builder.max_keys(keys).seed(7).clock(clock.clone()).build();
    (limiter.expect("a valid limiter"), clock)
}

#[test]
fn each_key_has_a_bucket_of_its_own() {
    let (limiter, clock) = limiter(Rate::per_second(2), 3, 100);
    for key in 0..50 {
        assert_eq!(limiter.try_acquire(&key).unwrap().remaining(), 2);
        assert_eq!(limiter.try_acquire_n(&key, 2).unwrap().remaining(), 0);
        let denied = limiter.try_acquire(&key).unwrap_err();
        assert_eq!(denied.retry_after(), Some(SECOND / 2));
    }
    assert_eq!((limiter.len(), limiter.is_empty()), (50, false));
    clock.advance(SECOND / 2);
    for key in 0..50 {
        let granted = limiter.try_acquire(&key).unwrap();
        assert_eq!((granted.limit(), granted.remaining()), (3, 0));
        assert_eq!(granted.reset_after(), SECOND * 3 / 2);
    }
    clock.advance(SECOND * 3 / 2);
    assert_eq!((limiter.len(), limiter.is_empty()), (0, true));
    let stats = limiter.stats();
    assert_eq!((stats.granted, stats.denied, stats.evicted), (150, 50, 0));
    assert_eq!((stats.capacity, stats.burst), (100, 3));
}

#[test]
fn looking_takes_nothing_and_remembers_nobody() {
    let (limiter, _clock) = limiter(Rate::per_second(1), 4, 10);
    limiter.peek(&1).unwrap();
    limiter.peek_n(&1, 4).unwrap();
    assert_eq!(limiter.peek_n(&1, 5), Err(Denied::exceeds_burst(5, 4)));
    assert_eq!(limiter.available(&1), 4);
    assert_eq!(limiter.try_acquire_n(&1, 0).unwrap().remaining(), 4);
    assert_eq!(limiter.len(), 0);
    limiter.try_acquire_n(&1, 3).unwrap();
    limiter.peek(&1).unwrap();
    let denied = limiter.peek_n(&1, 2).unwrap_err();
    assert_eq!(denied.retry_after(), Some(SECOND));
    assert_eq!(limiter.available(&1), 1);
    assert_eq!(limiter.stats().granted, 2);
}

#[test]
fn more_than_the_burst_is_never_granted() {
    let (limiter, _clock) = limiter(Rate::per_second(1), 4, 10);
    for _ in 0..2 {
        let denied = limiter.try_acquire_n(&1, 5).unwrap_err();
        assert_eq!(denied, Denied::exceeds_burst(5, 4));
        assert_eq!(
            limiter.try_acquire_n(&1, u64::MAX),
            Err(Denied::exceeds_burst(u64::MAX, 4))
        );
        limiter.try_acquire(&1).unwrap();
    }
    assert_eq!(limiter.available(&1), 2);
}

#[test]
fn what_comes_back_is_there_again_and_no_more() {
    let (limiter, _clock) = limiter(Rate::ZERO, 4, 10);
    limiter.try_acquire_n(&1, 3).unwrap();
    limiter.refund(&1, 2);
    assert_eq!(limiter.available(&1), 3);
    limiter.refund(&1, u64::MAX);
    limiter.refund(&2, 3);
    assert_eq!((limiter.available(&1), limiter.available(&2)), (4, 4));
    assert_eq!(limiter.len(), 0);
    limiter.try_acquire_n(&1, 4).unwrap();
    assert_eq!(limiter.try_acquire(&1), Err(Denied::NeverRefills));
}

#[test]
fn keys_of_any_kind() {
    let by_name = KeyedLimiter::<String>::new("1/h", 1, 10).unwrap();
    by_name.try_acquire("anna").unwrap();
    by_name.try_acquire("anna").unwrap_err();
    by_name.try_acquire(&"anna\0".to_owned()).unwrap();
    by_name.try_acquire("").unwrap();

    let by_address = KeyedLimiter::<(IpAddr, u16)>::new(Rate::per_hour(1), 1, 10).unwrap();
    let address = IpAddr::from(Ipv4Addr::LOCALHOST);
    by_address.try_acquire(&(address, 80)).unwrap();
    by_address.try_acquire(&(address, 81)).unwrap();
    by_address.try_acquire(&(address, 80)).unwrap_err();

    let by_bytes = KeyedLimiter::<[u8]>::new("1/h", 1, 1_000).unwrap();
    let text = [0; 40];
    for end in 0..40 {
        by_bytes.try_acquire(&text[..end]).unwrap();
        by_bytes.try_acquire(&text[..end]).unwrap_err();
    }
}

/// A secret of its own: keys that share a set in one limiter do not in another.
#[test]
fn two_limiters_crowd_different_keys() {
    let crowded = || {
        let builder = KeyedLimiter::<u64>::builder().rate("1/h").burst(1);
        let limiter = builder.max_keys(1_000).build().unwrap();
        for key in 0..4_000 {
            limiter.try_acquire(&key).unwrap();
        }
        let known = (0..4_000).filter(|key| limiter.peek(key).is_err());
        known.collect::<Vec<u64>>()
    };
    assert_ne!(crowded(), crowded());
}

#[test]
fn a_clock_that_goes_back_mints_nothing() {
    let (limiter, clock) = limiter(Rate::per_second(1), 2, 10);
    limiter.try_acquire_n(&1, 2).unwrap();
    let start = clock.now();
    for _ in 0..5 {
        clock.set(Instant::from_nanos(start.as_nanos() - 2_000_000_000));
        assert!(limiter.try_acquire(&1).is_err());
        limiter.peek(&2).unwrap();
        clock.set(start);
        assert!(limiter.try_acquire(&1).is_err());
    }
    clock.advance(SECOND);
    limiter.try_acquire(&1).unwrap();
    assert!(limiter.try_acquire(&1).is_err());
}

#[test]
fn a_new_rate_holds_for_all_keys_from_now_on() {
    let (limiter, clock) = limiter(Rate::per_second(1), 10, 10);
    for key in 0..3 {
        limiter.try_acquire_n(&key, 10).unwrap();
    }
    clock.advance(SECOND);
    limiter.set_rate(Rate::per_second(4)).unwrap();
    assert_eq!(limiter.rate(), Rate::per_second(4));
    clock.advance(SECOND);
    for key in 0..3 {
        assert_eq!(limiter.available(&key), 5);
    }
    limiter.set_rate(Rate::UNLIMITED).unwrap();
    limiter.try_acquire_n(&0, 1_000).unwrap();
    limiter.set_rate(Rate::ZERO).unwrap();
    for key in 0..4 {
        assert_eq!(limiter.available(&key), 10, "full again");
    }
    limiter.set_rate("2/s").unwrap();
    let refused = limiter.set_rate(Rate::per_second(u64::MAX)).unwrap_err();
    assert!(matches!(refused, ConfigError::RateTooHigh { .. }));
    assert_eq!(limiter.rate(), Rate::per_second(2));
}

#[test]
fn a_new_burst_keeps_full_keys_full_and_mints_nothing_for_others() {
    let (limiter, clock) = limiter(Rate::per_second(1), 10, 10);
    limiter.try_acquire_n(&1, 7).unwrap();
    limiter.try_acquire_n(&2, 1).unwrap();
    clock.advance(SECOND);
    limiter.set_burst(20).unwrap();
    let available = [1, 2, 3].map(|key| limiter.available(&key));
    assert_eq!(available, [4, 20, 20]);
    limiter.set_burst(4).unwrap();
    assert_eq!(limiter.available(&1), 4);
    limiter.set_burst(5).unwrap();
    assert_eq!(limiter.available(&1), 5, "it was full");
    assert_eq!(limiter.set_burst(0), Err(ConfigError::ZeroBurst));
    let refused = limiter.set_burst(1 << 31).unwrap_err();
    let max = 1 << 30;
    assert_eq!(
        refused,
        ConfigError::BurstTooLarge {
            given: 1 << 31,
            max
        }
    );
    assert_eq!(limiter.burst(), 5);
}

/// The rate is such that 2^60 grains come in hours, the time such that they come many times over.
#[test]
fn long_times_and_high_rates_wear_nothing_out() {
    let (limiter, clock) = limiter(Rate::per_second(1), 1_000_000, 100);
    limiter.set_rate(Rate::per_second(1_000_000)).unwrap();
    for round in 0..200 {
        for key in 0..10 {
            let granted = limiter.try_acquire_n(&key, 1_000_000);
            assert_eq!(granted.unwrap().remaining(), 0, "round {round}");
            limiter.try_acquire(&key).unwrap_err();
        }
        clock.advance(Duration::from_millis(600));
        assert_eq!(
            limiter.available(&round),
            if round < 10 { 600_000 } else { 1_000_000 }
        );
        clock.advance(Duration::from_secs(400 + 3_600 * (round % 3)));
    }
    clock.advance(Duration::from_secs(60 * 60 * 24 * 365 * 100));
    assert_eq!((limiter.len(), limiter.stats().evicted), (0, 0));
    limiter.try_acquire_n(&1, 1_000_000).unwrap();
    limiter.try_acquire(&1).unwrap_err();
}

#[test]
fn as_many_keys_as_it_was_built_for_find_room() {
    const KEYS: u64 = 200_000;
    let (limiter, _clock) = limiter(Rate::ZERO, 1, KEYS as usize);
    for key in 0..KEYS {
        limiter.try_acquire(&key).unwrap();
    }
    let evicted = limiter.stats().evicted;
    assert!(evicted < KEYS / 5_000, "{evicted} lost");
    assert_eq!(limiter.len() as u64, KEYS - evicted);
    let wrong = (0..KEYS).filter(|key| limiter.peek(key).is_ok()).count();
    assert_eq!(wrong as u64, evicted);
}

#[test]
fn a_flood_of_keys_takes_no_memory_and_is_counted() {
    let (limiter, _clock) = limiter(Rate::per_hour(1), 1, 1_000);
    let allocations = measure(|| {
        for key in 0..100_000 {
            limiter.try_acquire(&key).unwrap();
        }
    });
    assert_eq!(allocations.count_total, 0);
    let evicted = limiter.stats().evicted;
    assert_eq!(limiter.len() as u64 + evicted, 100_000);
    assert!(limiter.len() >= 1_000);
}

/// Spenders, who lack from two tokens to all ten, in a flood of keys that lack one each:
/// which of them are forgotten, by what they have spent. In the flood they come by and are denied.
fn forgotten_in_a_flood(max_keys: usize, spenders: u64) -> Vec<u64> {
    const FLOOD: u64 = 100_000;
    let (limiter, _clock) = limiter(Rate::per_hour(1), 10, max_keys);
    let spent = |key: u64| 2 + key % 9;
    for key in 0..spenders {
        limiter.try_acquire_n(&key, spent(key)).unwrap();
    }
    assert_eq!(limiter.stats().evicted, 0);
    for key in spenders..spenders + FLOOD {
        limiter.try_acquire(&key).unwrap();
        let spender = key % spenders;
        if spent(spender) == 10 {
            limiter.try_acquire(&spender).unwrap_err();
        }
    }
    // Each eviction is counted, of the flood and of spenders.
    let (kept, evicted) = (limiter.len() as u64, limiter.stats().evicted);
    assert_eq!(kept, spenders + FLOOD - evicted);
    assert!(kept >= max_keys as u64);
    let is_forgotten = |key: &u64| limiter.available(key) != 10 - spent(*key);
    (0..spenders).filter(is_forgotten).map(spent).collect()
}

#[test]
fn a_flood_of_keys_pushes_out_no_heavy_spender() {
    const KEYS: usize = 10_000;
    assert_eq!(forgotten_in_a_flood(KEYS, KEYS as u64 * 4 / 5), []);
    // Where there are as many as it was built for, those go that have spent least of these.
    let forgotten = forgotten_in_a_flood(KEYS, KEYS as u64);
    assert!(
        forgotten.len() < KEYS / 100,
        "{} forgotten",
        forgotten.len()
    );
    assert!(forgotten.iter().all(|spent| *spent <= 5), "{forgotten:?}");
}

/// Keys that are full again are forgotten first, and nobody else.
#[test]
fn keys_that_are_full_again_make_room() {
    let (limiter, clock) = limiter(Rate::per_second(1), 2, 8);
    let mut key = 0;
    for _ in 0..100 {
        for _ in 0..4 {
            limiter.try_acquire_n(&key, 2).unwrap();
            key += 1;
        }
        clock.advance(SECOND);
    }
    assert_eq!((limiter.stats().evicted, limiter.len()), (0, 4));
}

#[test]
fn the_key_nearest_to_full_makes_room() {
    let (limiter, _clock) = limiter(Rate::per_hour(1), 10, 8);
    for key in 0..8 {
        limiter.try_acquire_n(&key, key + 2).unwrap();
    }
    limiter.try_acquire_n(&8, 9).unwrap();
    assert_eq!((limiter.stats().evicted, limiter.len()), (1, 8));
    let available = [0, 1, 7, 8].map(|key| limiter.available(&key));
    assert_eq!(available, [10, 7, 1, 1]);
}

#[test]
fn a_full_table_denies_if_it_is_told_to() {
    let clock = clock();
    let builder = KeyedLimiter::<u64>::builder().rate("1/s").burst(10);
    let builder = builder.max_keys(8).when_full(WhenFull::Deny);
    let limiter = builder.clock(clock.clone()).build().unwrap();
    for key in 0..8 {
        limiter.try_acquire_n(&key, key + 3).unwrap();
    }
    let denied = limiter.try_acquire(&8).unwrap_err();
    assert!(matches!(denied, Denied::KeysFull { .. }));
    assert_eq!(denied.retry_after(), Some(3 * SECOND));
    assert_eq!(limiter.peek(&8), Err(denied), "a look says the same");
    assert_eq!(limiter.peek_n(&8, 0), Ok(()), "which take no room");
    assert_eq!(limiter.peek_n(&0, 7), Ok(()), "it has its place");
    assert_eq!(limiter.available(&8), 10);
    assert_eq!(limiter.available(&7), 0);
    clock.advance(3 * SECOND);
    limiter.try_acquire(&8).unwrap();
    assert_eq!((limiter.stats().evicted, limiter.len()), (0, 8));
    limiter.set_rate(Rate::ZERO).unwrap();
    let denied = limiter.try_acquire(&9).unwrap_err();
    assert_eq!(denied.retry_after(), Some(Duration::MAX));
}

#[test]
fn threads_are_granted_each_token_once() {
    let (limiter, _clock) = limiter(Rate::ZERO, 50, 64);
    let granted: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let tries = (0..100).flat_map(|_| 0..32);
                    tries.filter(|key| limiter.try_acquire(key).is_ok()).count()
                })
            })
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).sum()
    });
    assert_eq!(granted, 32 * 50);
    assert_eq!((limiter.len(), limiter.stats().evicted), (32, 0));
}

/// Many more keys than slots on several threads: whatever is forgotten, nobody is granted more
/// at once than a burst for each time that it was.
#[test]
fn threads_in_a_flood_are_granted_a_burst_for_each_eviction_at_the_most() {
    let (limiter, _clock) = limiter(Rate::ZERO, 3, 8);
    let granted: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let tries = (0..2_000).flat_map(|_| 0..12);
                    tries.filter(|key| limiter.try_acquire(key).is_ok()).count() as u64
                })
            })
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).sum()
    });
    let stats = limiter.stats();
    assert_eq!(stats.granted, granted);
    assert!(
        granted <= 3 * (limiter.len() as u64 + stats.evicted),
        "{stats:?}"
    );
}

#[test]
fn what_cannot_be_built_says_why() {
    let builder = || {
        KeyedLimiter::<u64>::builder()
            .rate("1/s")
            .burst(1)
            .max_keys(1)
    };
    let refusal = |builder: KeyedLimiterBuilder<u64>| builder.build().unwrap_err();
    let empty = KeyedLimiter::<u64>::builder;
    assert_eq!(refusal(empty()), ConfigError::MissingRate);
    assert_eq!(refusal(empty().rate("1/s")), ConfigError::MissingBurst);
    let without = empty().rate("1/s burst 5");
    assert_eq!(refusal(without), ConfigError::MissingMaxKeys);
    assert_eq!(refusal(builder().max_keys(0)), ConfigError::ZeroKeys);
    assert!(matches!(
        refusal(builder().max_keys(usize::MAX)),
        ConfigError::TooManyKeys {
            given: usize::MAX,
            ..
        }
    ));
    assert_eq!(refusal(builder().burst(0)), ConfigError::ZeroBurst);
    let max = 1 << 60;
    assert_eq!(
        refusal(builder().burst(u64::MAX)),
        ConfigError::BurstTooLarge {
            given: u64::MAX,
            max
        }
    );
    let given = max + 1;
    assert_eq!(
        refusal(builder().burst(given)),
        ConfigError::BurstTooLarge { given, max }
    );
    builder().burst(max).build().unwrap();
    assert!(matches!(
        refusal(builder().rate(Rate::per_second(u64::MAX))),
        ConfigError::RateTooHigh { .. }
    ));
    let text = refusal(builder().max_keys(0)).to_string();
    assert!(text.starts_with("max_keys must be at least 1"), "{text}");
}
