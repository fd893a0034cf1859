//! Models of a bucket's drivers on runtimes that go away or stand still. Time moves only where a
//! model says so: whoever misses a wake-up sleeps for ever, and loom calls it a deadlock.
#![cfg(loom)]

mod loom_common;

use flow_ratelimit::{AcquireError, Rate};
use flow_rt::Handle;
use loom::thread;
use loom_common::{
    Fate, Threads, Time, acquire, bucket, enter, explore, per_milli, roaming_bucket, wait_on,
    waiter,
};

/// Whoever waits where nothing runs is told so, whether or not it made the seat.
#[test]
fn the_runtime_is_gone() {
    explore("drivers: dropped at spawn || two waiters", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_hour(1), 1, Fate::Dropped);
        let other = waiter(&bucket, 1);
        assert_eq!(acquire(&bucket, 1), Err(AcquireError::Stopped));
        assert_eq!(other.join().unwrap(), Err(AcquireError::Stopped));
        assert_eq!(bucket.stats().waiting, 0);
        // The fast path is open again.
        bucket.refund(1);
        bucket.try_acquire().unwrap();
    });
}

/// The only driver goes: whoever waits makes another one.
#[test]
fn a_driver_dropped_once_polled() {
    explore("drivers: dropped once polled || waiter", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, per_milli(), 1, Fate::DroppedOncePolled);
        let waiter = waiter(&bucket, 1);
        time.set(1);
        let answer = waiter.join().unwrap();
        check(&answer);
        assert_eq!(bucket.available(), u64::from(answer.is_err()));
        assert_eq!(bucket.stats().waiting, 0);
    });
}

/// The primary goes: the standby takes its place before it would be late.
#[test]
fn the_primary_is_dropped() {
    explore("drivers: primary dropped || standby", 2, || {
        let time = Time::new();
        let bucket = roaming_bucket(&time, per_milli(), 2);
        let gone = Threads::new(&time, Fate::DroppedOncePolled).handle();
        let Some(first) = inside(&gone, || enter(&bucket, 1)) else {
            return; // Refused, as the runtime was gone before it had entered.
        };
        let there = Threads::new(&time, Fate::Runs).handle();
        let _inside = there.enter();
        let second = enter(&bucket, 1).unwrap();
        time.set(2);
        wait_on(&bucket, 1, second).unwrap();
        wait_on(&bucket, 1, first).unwrap();
        assert_eq!(bucket.stats().waiting, 0);
    });
}

/// The primary's runtime stands still: the standby takes over when it is late.
#[test]
fn the_primary_is_blocked() {
    explore("drivers: primary blocked || standby", 2, || {
        let time = Time::new();
        let bucket = roaming_bucket(&time, per_milli(), 2);
        let blocked = Threads::new(&time, Fate::KeptOncePolled);
        let first = inside(&blocked.handle(), || enter(&bucket, 1)).unwrap();
        let there = Threads::new(&time, Fate::Runs).handle();
        let _inside = there.enter();
        let second = enter(&bucket, 1).unwrap();
        time.set(22);
        wait_on(&bucket, 1, second).unwrap();
        wait_on(&bucket, 1, first).unwrap();
        assert_eq!(bucket.stats().waiting, 0);
        blocked.go_away();
    });
}

/// A future is queued on one runtime, which stands still, and polled on another. Bound 1: two
/// drivers and a clock beside the waiter are 80,000 executions at 2.
#[test]
fn a_waiter_moves() {
    explore(
        "drivers: blocked || waiter moves to another runtime",
        1,
        || {
            let time = Time::new();
            let bucket = roaming_bucket(&time, per_milli(), 1);
            let blocked = Threads::new(&time, Fate::KeptOncePolled);
            let waiter = inside(&blocked.handle(), || enter(&bucket, 1)).unwrap();
            let clock = {
                let time = time.clone();
                thread::spawn(move || time.set(22))
            };
            let there = Threads::new(&time, Fate::Runs).handle();
            inside(&there, || wait_on(&bucket, 1, waiter)).unwrap();
            clock.join().unwrap();
            assert_eq!(bucket.stats().waiting, 0);
            blocked.go_away();
        },
    );
}

fn inside<T>(runtime: &Handle, f: impl FnOnce() -> T) -> T {
    let _inside = runtime.enter();
    f()
}

fn check(answer: &Result<(), AcquireError>) {
    assert!(matches!(answer, Ok(()) | Err(AcquireError::Stopped)));
}
