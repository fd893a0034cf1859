//! Models of takers that meet at a bucket where nobody waits.
#![cfg(loom)]

mod loom_common;

use loom::thread;
use loom_common::{Time, explore, per_milli, roaming_bucket};

#[test]
fn two_takers_of_one_token() {
    explore("takers: take || take, of one token", 3, || {
        let time = Time::new();
        let bucket = roaming_bucket(&time, per_milli(), 1);
        time.set(1);
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire().is_ok())
        };
        let here = bucket.try_acquire().is_ok();
        assert!(here != other.join().unwrap(), "one of them has it");
        assert_eq!(bucket.available(), 0);
    });
}

#[test]
fn a_refund_meets_a_taker() {
    explore("takers: refund || take", 3, || {
        let time = Time::new();
        let bucket = roaming_bucket(&time, per_milli(), 2);
        time.set(1);
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire().is_ok())
        };
        bucket.refund(1);
        assert!(other.join().unwrap(), "it was there all the time");
        assert_eq!(bucket.available(), 1);
    });
}
