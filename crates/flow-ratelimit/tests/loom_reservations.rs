//! Models of reservations: places in the line that nobody drives until somebody comes by.
#![cfg(loom)]

mod loom_common;

use std::future::IntoFuture;

use flow_ratelimit::Rate;
use loom::future::block_on;
use loom::thread;
use loom_common::{Fate, Time, bucket, explore, per_milli, waiter};

/// Whoever comes while one reserves is before it or behind it.
#[test]
fn reserve_meets_a_newcomer() {
    explore("reservation: reserve || newcomer", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_hour(1), 2, Fate::Runs);
        bucket.refund(1);
        let newcomer = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire().is_ok())
        };
        let reserved = bucket.reserve_n(2).unwrap();
        assert!(
            bucket.try_acquire().is_err(),
            "it has a claim to what is there"
        );
        let passed = newcomer.join().unwrap();
        bucket.refund(1 + u64::from(passed));
        assert!(reserved.delay().is_zero());
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// It stands first and leaves as one comes to wait behind it.
#[test]
fn a_cancel_meets_push() {
    explore("reservation: cancel || push || clock", 2, || {
        let time = Time::new();
        let bucket = bucket(&time, per_milli(), 2, Fate::Runs);
        let reserved = bucket.reserve_n(2).unwrap();
        let waiter = waiter(&bucket, 1);
        drop(reserved);
        time.set(1);
        waiter.join().unwrap().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// A refund makes it ready as its holder begins to wait.
#[test]
fn a_refund_meets_an_await() {
    explore("reservation: refund || await", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_hour(1), 1, Fate::Runs);
        let reserved = bucket.reserve().unwrap();
        let waiter = thread::spawn(move || block_on(reserved.into_future()).map(drop));
        bucket.refund(1);
        waiter.join().unwrap().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
        bucket.refund(1);
        bucket.try_acquire().unwrap();
    });
}

/// Nobody has looked since it was due: the newcomer and its holder serve it once.
#[test]
fn a_newcomer_meets_its_end() {
    explore("reservation: due; newcomer || commit", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, per_milli(), 2, Fate::Runs);
        let reserved = bucket.reserve().unwrap();
        time.set(2);
        let newcomer = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire().is_ok())
        };
        reserved.commit().unwrap();
        assert!(newcomer.join().unwrap(), "the second token is there");
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
        assert!(bucket.try_acquire().is_err());
    });
}
