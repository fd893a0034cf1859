//! Models of denials that rely on one before them.
#![cfg(loom)]

mod loom_common;

use flow_ratelimit::Rate;
use loom::thread;
use loom_common::{Time, explore, per_milli, roaming_bucket};

#[test]
fn a_denial_meets_a_refund() {
    explore("denial: refund || denied twice", 3, || {
        let bucket = roaming_bucket(&Time::new(), Rate::per_hour(1), 2);
        let asks = {
            let bucket = bucket.clone();
            thread::spawn(move || {
                let first = bucket.try_acquire().is_ok();
                first || bucket.try_acquire().is_ok()
            })
        };
        bucket.refund(1);
        let taken = asks.join().unwrap();
        assert_eq!(bucket.try_acquire().is_ok(), !taken);
    });
}

/// The word is what it was when the denial was decided, and the answer is another one.
#[test]
fn a_denial_meets_a_new_rate() {
    explore("denial: set_rate || denied twice", 3, || {
        let time = Time::new();
        let bucket = roaming_bucket(&time, Rate::per_hour(1), 2);
        let asks = {
            let bucket = bucket.clone();
            thread::spawn(move || {
                assert!(bucket.try_acquire().is_err());
                assert!(bucket.try_acquire().is_err());
            })
        };
        bucket.set_rate(per_milli()).unwrap();
        asks.join().unwrap();
        let denied = bucket.try_acquire().unwrap_err();
        let wait = denied.retry_after().unwrap();
        assert_eq!(wait.as_millis(), 1);
        time.set(1);
        bucket.try_acquire().unwrap();
    });
}

/// Two denials, of before a token came and of after it was taken, are remembered at once; then it
/// comes back, and the word is that of the first.
#[test]
fn two_denials_meet() {
    explore("denial: two remember", 3, || {
        let time = Time::new();
        let bucket = roaming_bucket(&time, per_milli(), 2);
        let early = {
            let bucket = bucket.clone();
            thread::spawn(move || {
                if bucket.try_acquire().is_ok() {
                    bucket.refund(1);
                }
            })
        };
        time.set(1);
        let taken = [bucket.try_acquire(), bucket.try_acquire()];
        if taken.iter().any(Result::is_ok) {
            bucket.refund(1);
        }
        early.join().unwrap();
        bucket.try_acquire().unwrap();
    });
}
