//! Models of credits: taken and given back while others take, wait, change and close.
#![cfg(loom)]

mod loom_common;

use std::sync::Arc;

use flow_ratelimit::{Denied, OwnedLocalBucket, Rate};
use flow_sync::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use loom_common::{Bucket, Fate, Time, bucket, enter, explore, wait_on, waiter};

/// A bucket of 8 that has `tokens`, and gets no more while a model runs.
fn stocked(tokens: u64) -> Bucket {
    let bucket = bucket(&Time::new(), Rate::per_hour(1), 8, Fate::Runs);
    bucket.refund(tokens);
    bucket
}

/// A handle that has taken one token and a credit; 4 tokens leave it no more.
fn with_a_credit(bucket: &Bucket) -> OwnedLocalBucket<Arc<Time>> {
    let local = bucket.local_owned(1).unwrap();
    local.try_acquire().unwrap();
    assert_eq!(local.credits(), 1);
    local
}

#[test]
fn a_drop_meets_takers() {
    explore("credits: drop || take a batch || take", 3, || {
        let bucket = stocked(4);
        let (first, second) = (with_a_credit(&bucket), bucket.local_owned(1).unwrap());
        let drops = thread::spawn(move || drop(first));
        let taken = u64::from(second.try_acquire().is_ok());
        let direct = u64::from(bucket.try_acquire().is_ok());
        drops.join().unwrap();
        let stock = bucket.available() + second.credits();
        assert_eq!(stock + taken + direct, 3);
        assert!(direct + taken >= 1, "two were there all the time");
        drop(second);
        assert_eq!(
            (bucket.available(), bucket.burst()),
            (3 - taken - direct, 8)
        );
    });
}

#[test]
fn set_burst_meets_a_batch() {
    explore("credits: set_burst || take a batch", 3, || {
        let bucket = stocked(4);
        let local = bucket.local_owned(1).unwrap();
        let takes = thread::spawn(move || {
            local.try_acquire().unwrap();
            local.credits()
        });
        bucket.set_burst(6).unwrap();
        // Four fit beside the credit in any case; the batch came back with its handle.
        assert_eq!(takes.join().unwrap(), 1);
        assert_eq!((bucket.available(), bucket.burst()), (3, 6));
    });
}

#[test]
fn no_credit_is_spent_once_closed() {
    explore("credits: close || spend", 3, || {
        let bucket = stocked(4);
        let local = with_a_credit(&bucket);
        let has_closed = Arc::new(AtomicBool::new(false));
        let spends = {
            let has_closed = has_closed.clone();
            thread::spawn(move || {
                let knows = has_closed.load(Ordering::Acquire);
                let spent = local.try_acquire();
                assert!(spent.is_ok() || spent == Err(Denied::Closed));
                assert!(spent.is_err() || !knows, "spent after close");
                spent.is_ok()
            })
        };
        bucket.close();
        has_closed.store(true, Ordering::Release);
        let spent = spends.join().unwrap();
        assert_eq!(bucket.available(), 3 - u64::from(spent));
    });
}

#[test]
fn no_credit_passes_those_who_wait() {
    explore("credits: push || spend", 3, || {
        let bucket = stocked(4);
        let local = with_a_credit(&bucket);
        let has_entered = Arc::new(AtomicBool::new(false));
        let spends = {
            let has_entered = has_entered.clone();
            thread::spawn(move || {
                let knows = has_entered.load(Ordering::Acquire);
                let spent = local.try_acquire().is_ok();
                assert!(!spent || !knows, "spent before one who waits");
                spent
            })
        };
        // There are 2, and the credit makes it 3.
        let waits = enter(&bucket, 5).unwrap();
        has_entered.store(true, Ordering::Release);
        let spent = u64::from(spends.join().unwrap());
        assert_eq!(bucket.available(), 3 - spent);
        bucket.refund(2 + spent);
        wait_on(&bucket, 5, waits).unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// Credits come back before W is set, or after.
#[test]
fn a_drop_meets_push() {
    explore("credits: drop || push", 3, || {
        let bucket = stocked(4);
        let local = with_a_credit(&bucket);
        let waiter = waiter(&bucket, 3);
        drop(local);
        waiter.join().unwrap().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}
