//! Keys of several classes, and limiters that keep their keys.
#![cfg(not(loom))]

use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use flow_ratelimit::{
    AcquireError, ConfigError, Denied, Exact, KeyedLimiter, KeyedLimiterBuilder, Quota, Rate,
    WhenFull,
};
use flow_rt::sim::Sim;
use flow_rt::{Instant, ManualClock};

const SECOND: Duration = Duration::from_secs(1);

fn clock() -> ManualClock {
    ManualClock::starting_at(Instant::from_nanos(3_000_000_000))
}

fn builder(clock: &ManualClock, keys: usize) -> KeyedLimiterBuilder<u64, ManualClock> {
    let builder = KeyedLimiter::builder().rate("1/s").burst(10);
    builder.max_keys(keys).seed(7).clock(clock.clone())
}

fn exact(keys: usize, when_full: WhenFull) -> KeyedLimiter<u64, ManualClock, Exact<u64>> {
    let builder = builder(&clock(), keys).when_full(when_full);
    builder.build_exact().expect("a valid limiter")
}

#[test]
fn a_class_has_a_quota_of_its_own() {
    let clock = clock();
    let builder =
        builder(&clock, 100).classes(["10/s burst 100", "0/s burst 1", "unlimited burst 5"]);
    let limiter = builder.build().unwrap();
    let [base, paid, once, free] = [0, 1, 2, 3].map(|class| limiter.class(class).unwrap());
    assert_eq!((paid.burst(), paid.rate()), (100, Rate::per_second(10)));
    base.try_acquire_n(&1, 10).unwrap();
    paid.try_acquire_n(&2, 100).unwrap();
    once.try_acquire(&3).unwrap();
    assert_eq!(once.try_acquire(&3), Err(Denied::NeverRefills));
    assert_eq!(once.peek_n(&3, 2), Err(Denied::exceeds_burst(2, 1)));
    free.try_acquire_n(&4, 1_000).unwrap();
    let waits = [base.peek(&1), paid.peek(&2)].map(|it| it.unwrap_err().retry_after());
    assert_eq!(waits, [Some(SECOND), Some(SECOND / 10)]);
    assert_eq!((limiter.len(), limiter.stats().evicted), (3, 0));
    clock.advance(SECOND);
    assert_eq!((base.available(&1), paid.available(&2)), (1, 10));
}

#[test]
fn quotas_change_while_they_are_in_use() {
    let clock = clock();
    let limiter = builder(&clock, 100)
        .classes(["10/s burst 100"])
        .build()
        .unwrap();
    let paid = limiter.class(1).unwrap();
    paid.try_acquire_n(&1, 60).unwrap();
    paid.set_quota("20/s burst 50").unwrap();
    assert_eq!((paid.available(&1), paid.available(&2)), (40, 50));
    clock.advance(SECOND / 4);
    assert_eq!(paid.available(&1), 45);
    paid.set_quota(Rate::per_second(40)).unwrap();
    paid.set_burst(200).unwrap();
    clock.advance(SECOND);
    assert_eq!((paid.available(&1), paid.available(&2)), (85, 200));
    let unchanged = (paid.rate(), paid.burst());
    paid.set_quota("1/s burst 0").unwrap_err();
    paid.set_quota(Quota {
        rate: Rate::per_second(u64::MAX),
        burst: Some(7),
    })
    .unwrap_err();
    assert_eq!((paid.rate(), paid.burst()), unchanged);
    assert_eq!((limiter.rate(), limiter.burst()), (Rate::per_second(1), 10));
}

/// Going to and fro between classes brings nothing.
#[test]
fn a_key_that_changes_its_class_lacks_what_it_lacked() {
    let builder =
        || builder(&clock(), 100).classes(["10/s burst 100", "1/h burst 3", "unlimited burst 9"]);
    let hashed = builder().build().unwrap();
    let exact = builder().build_exact().unwrap();
    macro_rules! check {
        ($limiter:expr) => {
            let [base, paid, poor, free] = [0, 1, 2, 3].map(|it| $limiter.class(it).unwrap());
            base.try_acquire_n(&1, 8).unwrap();
            assert_eq!((paid.available(&1), poor.available(&1)), (92, 0));
            assert_eq!(base.available(&1), 2, "looking moves nobody");
            paid.try_acquire_n(&1, 52).unwrap();
            base.try_acquire(&1).unwrap_err();
            // A class without a limit neither moves it nor fills it up.
            free.try_acquire_n(&1, 9).unwrap();
            free.refund(&1, 9);
            assert_eq!((paid.available(&1), base.available(&1)), (90, 0));
            poor.try_acquire(&1).unwrap_err();
            assert_eq!(paid.available(&1), 97);
            // Given back to whichever class it is in.
            base.refund(&1, 2);
            assert_eq!(poor.available(&1), 2);
            poor.try_acquire_n(&1, 2).unwrap();
            assert_eq!($limiter.len(), 1);
        };
    }
    check!(hashed);
    check!(exact);
}

#[test]
fn classes_out_of_range_are_refused() {
    let limiter = builder(&clock(), 9)
        .classes(["1/s burst 1"])
        .build()
        .unwrap();
    assert_eq!(
        limiter.class(2).unwrap_err(),
        ConfigError::NoSuchClass {
            given: 2,
            classes: 2
        }
    );
    limiter.class(usize::MAX).unwrap_err();
    limiter.class(257).unwrap_err();
    let of = |count| builder(&clock(), 9).classes(vec!["1/s burst 1"; count]);
    let many = of(255).build().unwrap();
    many.class(255).unwrap().try_acquire(&1).unwrap();
    many.class(255).unwrap().try_acquire(&1).unwrap_err();
    many.class(256).unwrap_err();
    assert_eq!(
        of(256).build().unwrap_err(),
        ConfigError::TooManyClasses {
            given: 257,
            max: 256
        }
    );
    let refusal = |quota: &str| builder(&clock(), 9).classes([quota]).build().unwrap_err();
    assert_eq!(refusal("1/s"), ConfigError::MissingBurst);
    assert!(matches!(refusal("often"), ConfigError::InvalidRate { .. }));
    assert_eq!(refusal("1/s burst 0"), ConfigError::ZeroBurst);
}

/// Whatever hash they have: keys are compared.
#[test]
fn keys_that_hash_alike_on_purpose_are_told_apart() {
    #[derive(Clone, PartialEq, Eq, Debug)]
    struct Alike(u64);

    impl Hash for Alike {
        fn hash<H: Hasher>(&self, state: &mut H) {
            state.write_u8(0);
        }
    }

    let builder = || {
        KeyedLimiter::<Alike>::builder()
            .rate("1/h")
            .burst(2)
            .max_keys(100)
    };
    let exact = builder().build_exact().unwrap();
    for key in 0..100 {
        exact.try_acquire_n(&Alike(key), 2).unwrap();
        exact.try_acquire(&Alike(key)).unwrap_err();
    }
    assert_eq!((exact.len(), exact.stats().evicted), (100, 0));
    exact.refund(&Alike(50), 1);
    assert!(exact.remove(&Alike(7)) && !exact.remove(&Alike(7)));
    let available = [7, 50, 51].map(|key| exact.available(&Alike(key)));
    assert_eq!(available, [2, 1, 0]);
    // By their hashes they are one key: fewer are let go, not more.
    let hashed = builder().build().unwrap();
    hashed.try_acquire_n(&Alike(1), 2).unwrap();
    hashed.try_acquire(&Alike(2)).unwrap_err();
    assert_eq!(hashed.len(), 1);
}

#[test]
fn kept_keys_can_be_looked_through_and_let_go() {
    let builder = KeyedLimiter::<String>::builder().rate("1/h").burst(5);
    let limiter = builder
        .max_keys(1_000)
        .classes(["1/h burst 9"])
        .build_exact()
        .unwrap();
    for n in 0..1_000_u64 {
        let key = format!("client {n}");
        limiter
            .class((n % 2) as usize)
            .unwrap()
            .try_acquire_n(key.as_str(), 1 + n % 5)
            .unwrap();
    }
    assert_eq!(
        (limiter.len(), limiter.capacity(), limiter.iter().count()),
        (1_000, 1_000, 1_000)
    );
    assert!(limiter.iter().all(|(key, available)| {
        let n = key["client ".len()..].parse::<u64>().unwrap();
        available == [5, 9][(n % 2) as usize] - (1 + n % 5)
    }));
    // It may use the limiter meanwhile.
    limiter.retain(|key, available| limiter.peek(key).is_ok() && available > 3);
    assert!(limiter.iter().all(|(_, available)| available > 3));
    // Of those with an even number a fifth, of the others all but a fifth, which had nothing left in class 0.
    assert_eq!(limiter.len(), 500);
    limiter.retain(|_, _| false);
    assert_eq!((limiter.len(), limiter.stats().evicted), (0, 0));
    limiter.try_acquire_n("client 4", 5).unwrap();
}

#[test]
fn no_key_is_forgotten_before_as_many_are_known_as_may_be() {
    for keys in [1, 7, 64, 5_000] {
        let limiter = exact(keys, WhenFull::EvictNearestFull);
        for key in 0..keys as u64 {
            limiter.try_acquire(&key).unwrap();
        }
        assert_eq!((limiter.len(), limiter.stats().evicted), (keys, 0));
        limiter.try_acquire_n(&u64::MAX, 2).unwrap();
        assert_eq!((limiter.len(), limiter.stats().evicted), (keys, 1));
    }
}

#[test]
fn the_kept_key_nearest_to_full_makes_room() {
    let limiter = exact(8, WhenFull::EvictNearestFull);
    for key in 0..8 {
        limiter.try_acquire_n(&key, 10 - key).unwrap();
    }
    limiter.try_acquire_n(&8, 9).unwrap();
    let available = [5, 6, 7, 8].map(|key| limiter.available(&key));
    assert_eq!(available, [5, 6, 10, 1]);
}

/// Keys that come once each, far more than are kept, push out one another and not the one that has
/// nothing left; and the memory stays what it is.
#[test]
fn a_flood_of_keys_does_not_fill_up_one_that_is_empty() {
    const KEYS: usize = 1_000;
    const FLOOD: u64 = 50_000;
    // A shard that has nobody when the others are full takes one all the same.
    const SHARDS: usize = 3;
    let limiter = exact(KEYS, WhenFull::EvictNearestFull);
    limiter.try_acquire_n(&u64::MAX, 10).unwrap();
    for key in 0..FLOOD {
        limiter.try_acquire(&key).unwrap();
        if key % 100 == 0 {
            limiter.try_acquire(&u64::MAX).unwrap_err();
        }
    }
    let known = limiter.len();
    assert!((KEYS..=KEYS + SHARDS).contains(&known), "{known} keys");
    assert_eq!(limiter.stats().evicted, FLOOD + 1 - known as u64);
    assert_eq!(limiter.available(&u64::MAX), 0);
}

/// The same where nobody is pushed out: whoever came first stays, and no more are let in.
#[test]
fn a_flood_of_keys_is_denied_room_if_it_is_told_to() {
    const KEYS: usize = 1_000;
    const SHARDS: usize = 3;
    let clock = clock();
    let builder = builder(&clock, KEYS).when_full(WhenFull::Deny);
    let limiter = builder.build_exact().unwrap();
    let let_in = (0..50_000).filter(|key| limiter.try_acquire(key).is_ok());
    let let_in = let_in.count();
    assert!((KEYS..=KEYS + SHARDS).contains(&let_in), "{let_in} keys");
    assert_eq!((limiter.len(), limiter.stats().evicted), (let_in, 0));
    // Their time over, there is room for others: as many for each shard as it had keys.
    clock.advance(SECOND);
    let others = (50_000..50_000 + KEYS as u64).filter(|key| limiter.try_acquire(key).is_ok());
    let others = others.count();
    assert!(others * 10 > KEYS * 7, "{others} keys");
}

#[test]
fn kept_keys_are_denied_room_if_it_is_told_to() {
    let clock = clock();
    let builder = builder(&clock, 4).when_full(WhenFull::Deny);
    let limiter = builder.build_exact().unwrap();
    for key in 0..4 {
        limiter.try_acquire_n(&key, key + 3).unwrap();
    }
    let denied = limiter.try_acquire(&4).unwrap_err();
    assert!(matches!(denied, Denied::KeysFull { .. }));
    assert_eq!(denied.retry_after(), Some(3 * SECOND));
    assert_eq!(limiter.peek(&4), Err(denied), "a look says the same");
    assert_eq!(limiter.peek_n(&4, 0), Ok(()), "which take no room");
    assert_eq!(limiter.peek_n(&0, 7), Ok(()), "it has its place");
    clock.advance(3 * SECOND);
    assert_eq!(limiter.peek(&4), Ok(()));
    limiter.try_acquire(&4).unwrap();
    assert_eq!((limiter.stats().evicted, limiter.len()), (0, 4));
}

/// A look and a request look at the same keys of many, and so they say the same.
#[test]
fn a_look_foretells_whether_there_is_room() {
    let clock = clock();
    let builder = builder(&clock, 1_000).when_full(WhenFull::Deny);
    let limiter = builder.build_exact().unwrap();
    for key in 0..1_000 {
        // One in a hundred is full after a second.
        let n = if key % 100 == 0 { 1 } else { 9 };
        limiter.try_acquire_n(&key, n).unwrap();
    }
    clock.advance(SECOND);
    let mut denied = 0;
    for key in 1_000..2_000 {
        let told = limiter.peek(&key);
        assert_eq!(limiter.try_acquire(&key).map(drop), told);
        denied += usize::from(told.is_err());
    }
    assert!((900..1_000).contains(&denied), "{denied}");
}

/// As `build_exact` says: a key and 24 bytes for each, and up to twice as much.
#[test]
fn kept_keys_take_the_memory_that_is_said() {
    const ENTRY: u64 = 8 + 24;
    let mut most: u64 = 0;
    for count in [1_000, 10_000, 20_000, 33_000, 60_000] {
        let builder = builder(&clock(), 100_000).counted(false);
        let limiter = builder.build_exact().unwrap();
        let taken = measure(|| {
            for key in 0..count {
                limiter.try_acquire(&key).unwrap();
            }
        });
        let taken = u64::try_from(taken.bytes_current).unwrap();
        // Vectors with few keys have room for four, and some shards have more keys than others.
        let fits = ENTRY * count..=ENTRY * (2 * count + 4 * 256);
        assert!(fits.contains(&taken), "{taken} bytes of {count} keys");
        most = most.max(100 * taken / (ENTRY * count));
    }
    assert!(most > 150, "{most} % of what the keys need");
}

#[test]
fn a_limiter_grows_if_it_is_told_to() {
    let limiter = builder(&clock(), 4).when_full(WhenFull::Grow);
    let limiter = limiter.grow_to(10_000).build_exact().unwrap();
    for key in 0..10_000 {
        limiter.try_acquire(&key).unwrap();
    }
    assert_eq!((limiter.len(), limiter.capacity()), (10_000, 10_000));
    assert!((0..10_000).all(|key| limiter.available(&key) == 9));
    assert_eq!(limiter.stats().evicted, 0);
    // As many as it may know: from here on the one nearest to full is forgotten.
    limiter.try_acquire(&10_000).unwrap();
    assert_eq!((limiter.len(), limiter.stats().evicted), (10_000, 1));
    let limiter = exact(4, WhenFull::Grow);
    for key in 0..100 {
        limiter.try_acquire(&key).unwrap();
    }
    assert_eq!((limiter.len(), limiter.stats().evicted), (64, 36));
}

#[test]
fn threads_are_granted_each_token_of_kept_keys_once() {
    let limiter = exact(64, WhenFull::Deny);
    limiter.set_rate(Rate::ZERO).unwrap();
    let granted: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let tries = (0..20).flat_map(|_| 0..32);
                    tries.filter(|key| limiter.try_acquire(key).is_ok()).count()
                })
            })
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).sum()
    });
    assert_eq!(granted, 32 * 10);
}

/// Full keys of a class are forgotten before its burst grows, others stay.
#[test]
fn a_larger_burst_of_one_class_leaves_the_others_alone() {
    let clock = clock();
    let builder = || builder(&clock, 100).classes(["1/s burst 10"]);
    let (hashed, exact) = (builder().build().unwrap(), builder().build_exact().unwrap());
    macro_rules! check {
        ($limiter:expr) => {
            let [base, other] = [0, 1].map(|it| $limiter.class(it).unwrap());
            for key in 0..20 {
                base.try_acquire_n(&key, 1).unwrap();
                other.try_acquire_n(&(100 + key), 5).unwrap();
            }
            clock.advance(SECOND);
            base.set_burst(30).unwrap();
            assert!((0..20).all(|key| base.available(&key) == 30));
            assert!((100..120).all(|key| other.available(&key) == 6));
            assert_eq!($limiter.len(), 20);
        };
    }
    check!(hashed);
    check!(exact);
}

#[test]
fn a_closed_limiter_lets_nobody_go() {
    let limiter = builder(&clock(), 100).build().unwrap();
    limiter.try_acquire_n(&1, 4).unwrap();
    assert!(!limiter.is_closed());
    limiter.close();
    limiter.close();
    assert!(limiter.is_closed());
    for n in [0, 1, 100] {
        assert_eq!(limiter.try_acquire_n(&1, n), Err(Denied::Closed));
        assert_eq!(limiter.peek_n(&2, n), Err(Denied::Closed));
    }
    limiter.refund(&1, 4);
    assert_eq!((limiter.available(&1), limiter.len()), (0, 0));
    assert_eq!(limiter.stats().waiting, 0);
}

/// It finds room wherever there is any, though it does not look at all keys: of 100,000 so many in a
/// hundred are not full.
#[test]
fn how_full_a_limiter_is_that_denies() {
    let denied_at = |live: u64| {
        let clock = clock();
        let builder = builder(&clock, 100_000).when_full(WhenFull::Deny);
        let limiter = builder.build_exact().unwrap();
        for key in 0..100_000 {
            let n = if key % 100 < live { 9 } else { 1 };
            limiter.try_acquire_n(&key, n).unwrap();
        }
        clock.advance(SECOND);
        let newcomers = 1_000_000..1_000_200_u64;
        let denied = newcomers.filter(|key| limiter.try_acquire(key).is_err());
        denied.count()
    };
    let denied = [50, 90, 95, 98, 99, 100].map(denied_at);
    assert_eq!(
        (&denied[..3], denied[5]),
        (&[0, 0, 0][..], 200),
        "{denied:?}"
    );
    assert!(denied[3] <= 10 && denied[4] <= 40, "{denied:?}");
}

/// A key that asks all limiters how many are known, and whether another may go, when it is dropped.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Asks(u64);

static ASKED: OnceLock<[KeyedLimiter<Asks, ManualClock, Exact<Asks>>; 2]> = OnceLock::new();

static OTHER: Asks = Asks(u64::MAX);

impl Drop for Asks {
    fn drop(&mut self) {
        for limiter in ASKED.get().into_iter().flatten() {
            assert!(limiter.len() <= 2);
            // Under the lock of those who wait, while somebody does.
            let _ = limiter.peek(&OTHER);
        }
    }
}

#[test]
fn a_key_that_is_forgotten_may_use_the_limiter() {
    let clock = clock();
    let limiters = [WhenFull::EvictNearestFull, WhenFull::Deny].map(|when_full| {
        let builder = KeyedLimiter::builder().rate("1/s").burst(10).max_keys(2);
        let builder = builder.when_full(when_full).clock(clock.clone());
        builder
            .max_waiters(2)
            .build_exact()
            .expect("a valid limiter")
    });
    let [evicts, denies] = ASKED.get_or_init(|| limiters);
    for key in 0..5 {
        evicts.try_acquire(&Asks(key)).unwrap();
        let denied = denies.try_acquire(&Asks(key)).is_err();
        assert_eq!(denied, key >= 2, "there is room for two");
    }
    assert_eq!(evicts.stats().evicted, 3);
    assert!(evicts.remove(&Asks(4)));
    evicts.retain(|key, _| key.0 > 9);
    assert_eq!(evicts.len(), 0);

    // Those that are full are forgotten where the burst grows.
    clock.advance(SECOND);
    denies.set_burst(20).unwrap();
    assert_eq!(denies.len(), 0);
    denies.try_acquire_n(&Asks(7), 10).unwrap();
    let ended = Sim::new(0).run(|_| waits_for_keys(evicts));
    ended.expect("it ends");
}

/// Waits behind another, too long, and with too many.
async fn waits_for_keys(limiter: &KeyedLimiter<Asks, ManualClock, Exact<Asks>>) {
    let [one, other] = [1, 2].map(Asks);
    for key in [&one, &other] {
        limiter.try_acquire_n(key, 10).unwrap();
    }
    let cx = &mut Context::from_waker(Waker::noop());
    let (mut first, mut second) = (pin!(limiter.acquire(&one)), pin!(limiter.acquire(&one)));
    assert!(first.as_mut().poll(cx).is_pending());
    assert!(second.as_mut().poll(cx).is_pending());
    let late = limiter.acquire_timeout(&other, SECOND / 2).await;
    assert!(matches!(late, Err(AcquireError::Timeout { .. })));
    let many = limiter.acquire(&other).await;
    assert!(matches!(many, Err(AcquireError::QueueFull { .. })));
    limiter.close();
}
