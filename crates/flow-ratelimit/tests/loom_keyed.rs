//! Models of a limiter of keys: a table of one set, of two slots under loom, whose keys push one
//! another out; or of six sets, of which a key has two. `loom-mutations.toml` lists the lines
//! without which they fail.
#![cfg(loom)]

mod loom_common;

use flow_ratelimit::{KeyedLimiter, KeyedLimiterBuilder, Rate, WhenFull};
use flow_rt::{Clock, Instant};
use loom::thread;
use loom_common::{Time, explore, per_milli};

/// Time that stands still, at no cost to the model.
struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant::from_nanos(1_000)
    }
}

type Limiter = KeyedLimiter<u64, Still>;

fn builder(burst: u64) -> KeyedLimiterBuilder<u64, Still> {
    let builder = KeyedLimiter::builder().rate(Rate::ZERO).burst(burst);
    // By this one key 1 would be denied by the word of key 3, not granted.
    let builder = builder.max_keys(2).seed(3).counted(false);
    builder.clock(Still)
}

/// A table of six sets. By this seed key 0 has sets 3 and 2, key 14 has 2 and 3, key 8 has 3 and 4,
/// key 23 has 4 and 0.
fn of_six_sets() -> Limiter {
    builder(1).max_keys(3).build().unwrap()
}

fn limiter(burst: u64) -> Limiter {
    builder(burst).build().unwrap()
}

fn spawn<T: 'static>(
    limiter: &Limiter,
    run: impl FnOnce(&Limiter) -> T + 'static,
) -> thread::JoinHandle<T> {
    let limiter = limiter.clone();
    thread::spawn(move || run(&limiter))
}

#[test]
fn a_key_comes_twice_at_once() {
    explore("keyed: insert || insert of one key", 3, || {
        let limiter = limiter(1);
        let other = spawn(&limiter, |it| it.try_acquire(&1).is_ok());
        let ours = limiter.try_acquire(&1).is_ok();
        assert!(ours != other.join().unwrap(), "one of the two");
        assert_eq!((limiter.len(), limiter.stats().evicted), (1, 0));
    });
}

#[test]
fn two_keys_come_at_once() {
    explore("keyed: insert || insert of two keys", 3, || {
        let limiter = limiter(1);
        let other = spawn(&limiter, |it| it.try_acquire(&1).is_ok());
        assert!(limiter.try_acquire(&2).is_ok());
        assert!(other.join().unwrap());
        assert_eq!((limiter.len(), limiter.stats().evicted), (2, 0));
        assert!(limiter.try_acquire(&1).is_err() && limiter.try_acquire(&2).is_err());
    });
}

/// Both come to one set, the one as to its second, each with another set beside it.
#[test]
fn two_keys_come_to_one_set_of_two() {
    explore(
        "keyed: insert || insert of keys with one set in common",
        2,
        || {
            let limiter = of_six_sets();
            limiter.try_acquire(&0).unwrap();
            let other = spawn(&limiter, |it| it.try_acquire(&8).is_ok());
            assert!(limiter.try_acquire(&23).is_ok());
            assert!(other.join().unwrap());
            assert_eq!((limiter.len(), limiter.stats().evicted), (3, 0));
            assert!(
                [0, 8, 23]
                    .iter()
                    .all(|key| limiter.try_acquire(key).is_err())
            );
        },
    );
}

/// The first set of each is the second of the other: neither waits for ever.
#[test]
fn two_keys_come_to_the_same_two_sets() {
    explore(
        "keyed: insert || insert of keys with both sets in common",
        2,
        || {
            let limiter = of_six_sets();
            let other = spawn(&limiter, |it| it.try_acquire(&0).is_ok());
            assert!(limiter.try_acquire(&14).is_ok());
            assert!(other.join().unwrap());
            assert_eq!((limiter.len(), limiter.stats().evicted), (2, 0));
            assert!([0, 14].iter().all(|key| limiter.try_acquire(key).is_err()));
        },
    );
}

/// It goes to its second set, and is looked for there meanwhile.
#[test]
fn a_key_comes_twice_to_its_second_set() {
    explore("keyed: insert || insert of one key, second set", 2, || {
        let limiter = of_six_sets();
        limiter.try_acquire(&0).unwrap();
        let other = spawn(&limiter, |it| it.try_acquire(&8).is_ok());
        let ours = limiter.try_acquire(&8).is_ok();
        assert!(ours != other.join().unwrap(), "one of the two");
        assert_eq!((limiter.len(), limiter.stats().evicted), (2, 0));
    });
}

/// Key 3 takes the place of key 1, and a refund makes it owe what key 1 owed.
#[test]
fn an_eviction_meets_a_hit_and_a_refund() {
    explore("keyed: evict, refund || hit", 3, || {
        let limiter = limiter(2);
        limiter.try_acquire(&1).unwrap();
        limiter.try_acquire_n(&2, 2).unwrap();
        let hit = spawn(&limiter, |it| it.try_acquire(&1).is_ok());
        limiter.try_acquire_n(&3, 2).unwrap();
        limiter.refund(&3, 1);
        assert!(hit.join().unwrap(), "key 1 has two, or had one");
        let expected = match limiter.stats().evicted {
            1 => 1,
            // Key 1 came again, and took its place back.
            _ => 2,
        };
        assert_eq!(limiter.available(&3), expected);
    });
}

/// The slot of key 1 passes to key 3, and from key 3 to key 1.
#[test]
fn a_hit_meets_two_evictions() {
    explore("keyed: evict twice || hit", 3, || {
        let limiter = limiter(3);
        limiter.try_acquire(&1).unwrap();
        limiter.try_acquire_n(&2, 3).unwrap();
        let hit = spawn(&limiter, |it| it.try_acquire(&1).is_ok());
        limiter.try_acquire(&3).unwrap();
        limiter.try_acquire(&1).unwrap();
        assert!(hit.join().unwrap(), "key 1 has one at the least");
    });
}

/// Full keys are forgotten before a larger burst is in force; this one spends meanwhile.
#[test]
fn a_larger_burst_meets_a_hit() {
    explore("keyed: set_burst || hit of a full key", 3, || {
        let limiter = limiter(1);
        limiter.try_acquire(&1).unwrap();
        limiter.refund(&1, 1);
        let hit = spawn(&limiter, |it| it.try_acquire(&1).is_ok());
        limiter.set_burst(2).unwrap();
        assert!(hit.join().unwrap());
        assert!(limiter.available(&1) < 2, "it spent one");
    });
}

/// A decision looks at the line before it loads the word. The second update writes there.
#[test]
fn a_decision_is_overtaken_by_two_updates() {
    explore("keyed: two updates || take", 1, || {
        let time = Time::new();
        let builder = KeyedLimiter::<u64>::builder().rate(per_milli()).burst(8);
        let builder = builder.max_keys(1).seed(1).counted(false);
        let limiter = builder.clock(time.clone()).build().unwrap();
        limiter.try_acquire_n(&1, 8).unwrap();
        time.set(4);
        let takes = {
            let limiter = limiter.clone();
            // Four are there, by whatever line; by parts of two there may be eight.
            thread::spawn(move || assert!(limiter.try_acquire_n(&1, 5).is_err(), "torn"))
        };
        limiter.set_rate(per_milli()).unwrap();
        limiter.set_rate(per_milli()).unwrap();
        takes.join().unwrap();
        assert_eq!(limiter.available(&1), 4);
    });
}

/// A key is asked for by two classes at once: it stands in one of them, with what it spent in both.
#[test]
fn a_key_changes_its_class_while_it_is_hit() {
    explore("keyed: another class || hit", 3, || {
        let limiter = builder(4).classes(["0/s burst 4"]).build().unwrap();
        limiter.try_acquire(&1).unwrap();
        let hit = spawn(&limiter, |it| it.try_acquire(&1).is_ok());
        let other = limiter.class(1).unwrap();
        assert!(other.try_acquire(&1).is_ok());
        assert!(hit.join().unwrap());
        assert_eq!((limiter.len(), limiter.stats().evicted), (1, 0));
        assert_eq!(limiter.available(&1), 1, "three of four are spent");
    });
}

/// Two threads bring one key to two classes at once.
#[test]
fn a_key_comes_in_two_classes_at_once() {
    explore(
        "keyed: insert || insert of one key in two classes",
        3,
        || {
            let limiter = builder(1).classes(["0/s burst 1"]).build().unwrap();
            let other = spawn(&limiter, |it| it.class(1).unwrap().try_acquire(&1).is_ok());
            let ours = limiter.try_acquire(&1).is_ok();
            assert!(ours != other.join().unwrap(), "one of the two");
            assert_eq!(limiter.len(), 1);
        },
    );
}

#[test]
fn a_kept_key_comes_twice_at_once() {
    explore("keyed, exact: insert || insert of one key", 3, || {
        let limiter = builder(1).build_exact().unwrap();
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.try_acquire(&1).is_ok())
        };
        let ours = limiter.try_acquire(&1).is_ok();
        assert!(ours != other.join().unwrap(), "one of the two");
        assert_eq!((limiter.len(), limiter.stats().evicted), (1, 0));
    });
}

/// Full keys are forgotten before a larger burst is in force; this one spends meanwhile.
#[test]
fn a_larger_burst_meets_a_kept_key() {
    explore("keyed, exact: set_burst || hit of a full key", 3, || {
        let limiter = builder(1).build_exact().unwrap();
        limiter.try_acquire(&1).unwrap();
        limiter.refund(&1, 1);
        let hit = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.try_acquire(&1).is_ok())
        };
        limiter.set_burst(2).unwrap();
        assert!(hit.join().unwrap());
        assert!(limiter.available(&1) < 2, "it spent one");
    });
}

/// Two come with one key that has no room: there is a second table, and it stands there once.
#[test]
fn a_key_comes_twice_while_the_table_grows() {
    explore("keyed: grow || grow, of one key", 2, || {
        let limiter = builder(1).when_full(WhenFull::Grow).grow_to(4);
        let limiter = limiter.build().unwrap();
        limiter.try_acquire(&1).unwrap();
        limiter.try_acquire(&2).unwrap();
        let other = spawn(&limiter, |it| it.try_acquire(&3).is_ok());
        let ours = limiter.try_acquire(&3).is_ok();
        assert!(ours != other.join().unwrap(), "one of the two");
        assert_eq!((limiter.len(), limiter.capacity()), (3, 4));
        assert_eq!(limiter.stats().evicted, 0);
        assert!(limiter.try_acquire(&1).is_err(), "it has not been moved");
    });
}

/// Two keys come at once: whoever finds that the other has made room does not make more.
#[test]
fn two_keys_come_while_the_table_grows() {
    explore("keyed: grow || grow, of two keys", 2, || {
        let limiter = builder(1).when_full(WhenFull::Grow).grow_to(8);
        let limiter = limiter.build().unwrap();
        limiter.try_acquire(&1).unwrap();
        limiter.try_acquire(&2).unwrap();
        let other = spawn(&limiter, |it| it.try_acquire(&3).is_ok());
        limiter.try_acquire(&4).unwrap();
        assert!(other.join().unwrap());
        assert_eq!((limiter.len(), limiter.capacity()), (4, 4));
        assert!(limiter.try_acquire(&3).is_err() && limiter.try_acquire(&4).is_err());
        // Nobody has taken it for grown.
        limiter.try_acquire(&5).unwrap();
        assert_eq!((limiter.len(), limiter.capacity()), (5, 8));
    });
}
