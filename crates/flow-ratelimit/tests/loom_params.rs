//! Models of a bucket's parameters, which are read without a lock while they change.
#![cfg(loom)]

mod loom_common;

use std::time::Duration;

use flow_ratelimit::Rate;
use loom::thread;
use loom_common::{Bucket, Time, explore, per_milli, roaming_bucket};

/// A rate whose tokens and whose period both say which it is.
fn numbered(n: u64) -> Rate {
    Rate::per(n, Duration::new(n, n as u32)).unwrap()
}

/// Which one it is, if its parts belong together.
fn number(bucket: &Bucket) -> u64 {
    let rate = bucket.rate();
    assert_eq!(rate, numbered(rate.tokens()), "a torn rate");
    rate.tokens()
}

// The updates are the main thread's, which loom runs first: it does not see that an update races
// with a read before it, because the update itself looks at the version in between.

#[test]
fn a_reader_meets_an_update() {
    explore("params: update || two reads", 3, || {
        let bucket = roaming_bucket(&Time::new(), numbered(1), 1);
        let reader = {
            let bucket = bucket.clone();
            thread::spawn(move || {
                let first = number(&bucket);
                assert!(first <= number(&bucket), "the parameters went back");
            })
        };
        bucket.set_rate(numbered(2)).unwrap();
        reader.join().unwrap();
        assert_eq!(number(&bucket), 2);
    });
}

/// The second update writes where the reader of the first reads.
#[test]
fn a_reader_is_overtaken_by_two_updates() {
    explore("params: two updates || read", 3, || {
        let bucket = roaming_bucket(&Time::new(), numbered(1), 1);
        let reader = {
            let bucket = bucket.clone();
            thread::spawn(move || assert!((1..=3).contains(&number(&bucket))))
        };
        bucket.set_rate(numbered(2)).unwrap();
        bucket.set_rate(numbered(3)).unwrap();
        reader.join().unwrap();
        assert_eq!(number(&bucket), 3);
    });
}

/// A decision looks at the line before it loads the word. The second update writes there.
#[test]
fn a_decision_is_overtaken_by_two_updates() {
    explore("params: two updates || take", 1, || {
        let time = Time::new();
        let bucket = roaming_bucket(&time, per_milli(), 8);
        time.set(4);
        let takes = {
            let bucket = bucket.clone();
            // Four are there, by whatever line; by parts of two there may be eight.
            thread::spawn(move || assert!(bucket.try_acquire_n(5).is_err(), "torn"))
        };
        bucket.set_rate(per_milli()).unwrap();
        bucket.set_rate(per_milli()).unwrap();
        takes.join().unwrap();
        assert_eq!(bucket.available(), 4);
    });
}
