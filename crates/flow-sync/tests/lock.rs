//! The lock whose waiters stay awake for a while.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use flow_sync::sync::Mutex;

const THREADS: usize = 4;
const ROUNDS: usize = 10_000;

#[test]
fn those_who_stay_awake_exclude_each_other() {
    let (count, held) = (Mutex::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let mut count = count.lock_awake();
                    assert!(!held.swap(true, Ordering::Relaxed), "two hold it");
                    *count += 1;
                    held.store(false, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(count.into_inner(), THREADS * ROUNDS);
}

#[test]
fn one_who_holds_it_for_long_is_waited_for() {
    let count = Mutex::new(0);
    let waits = AtomicBool::new(false);
    let holder = count.lock_awake();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            waits.store(true, Ordering::Release);
            *count.lock_awake() += 1;
        });
        while !waits.load(Ordering::Acquire) {
            thread::yield_now();
        }
        // Longer than it stays awake.
        for _ in 0..ROUNDS {
            thread::yield_now();
        }
        assert!(!waiter.is_finished(), "it is held");
        drop(holder);
    });
    assert_eq!(count.into_inner(), 1);
}

#[test]
fn a_panic_of_the_holder_leaves_it_usable() {
    let count = Mutex::new(0);
    thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let mut count = count.lock_awake();
            *count = 1;
            panic!("on purpose");
        });
        assert!(holder.join().is_err());
    });
    assert_eq!(*count.lock_awake(), 1);
}
