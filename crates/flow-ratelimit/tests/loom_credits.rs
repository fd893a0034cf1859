//! Models of credits: taken and given back while others take, wait, change and close. All threads
//! of a model are one to the shards, so they are all on the same one.
#![cfg(loom)]

mod loom_common;

use std::sync::Arc;

use flow_ratelimit::{Denied, OwnedLocalBucket, Rate};
use flow_sync::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use loom_common::{Bucket, Fate, Time, bucket, enter, explore, sharded_bucket, wait_on, waiter};

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

/// A bucket of 16 with one shard, of 8, that has `tokens`, and gets no more while a model runs.
fn sharded(tokens: u64) -> Bucket {
    let bucket = sharded_bucket(&Time::new(), Rate::per_hour(1), 16);
    bucket.refund(tokens);
    bucket
}

#[test]
fn two_threads_are_on_one_shard() {
    explore("shard: two take a batch, one spends", 2, || {
        let bucket = sharded(4);
        let takes = {
            let bucket = bucket.clone();
            thread::spawn(move || u64::from(bucket.try_acquire().is_ok()))
        };
        let mut taken = u64::from(bucket.try_acquire().is_ok());
        taken += u64::from(bucket.try_acquire().is_ok());
        taken += takes.join().unwrap();
        assert_eq!(taken, 3, "four were there");
        assert_eq!(bucket.available(), 1);
        bucket.try_acquire().unwrap();
        assert!(bucket.try_acquire().is_err());
    });
}

/// The last token is a credit of the one, and asked for by the other.
#[test]
fn a_recall_meets_a_spender() {
    explore("shard: recall || spend", 3, || {
        let bucket = sharded(4);
        bucket.try_acquire().unwrap();
        let spends = {
            let bucket = bucket.clone();
            thread::spawn(move || u64::from(bucket.try_acquire().is_ok()))
        };
        let all = 3 * u64::from(bucket.try_acquire_n(3).is_ok());
        let spent = spends.join().unwrap();
        assert_ne!(all + spent, 0, "three were there");
        let left = bucket.available();
        assert_eq!(left + all + spent, 3);
        // Whatever is left, wherever it is, is there for who asks.
        assert!(left == 0 || bucket.try_acquire_n(left).is_ok());
    });
}

/// What the one asks for and the other spends are all of the credits there are.
#[test]
fn a_recall_leaves_what_is_not_missing() {
    explore("shard: recall of a part || spend", 3, || {
        let bucket = sharded(7);
        bucket.try_acquire().unwrap();
        // Three in the word, three in the shard.
        let spends = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire().unwrap())
        };
        bucket.try_acquire_n(5).unwrap();
        spends.join().unwrap();
        assert_eq!(bucket.available(), 0);
    });
}

/// The batch is taken before W is set, or not at all; and its credits are the waiter's.
#[test]
fn a_batch_meets_push() {
    explore("shard: take a batch || push", 3, || {
        let bucket = sharded(4);
        let waiter = waiter(&bucket, 3);
        let taken = u64::from(bucket.try_acquire().is_ok());
        waiter.join().unwrap().unwrap();
        assert_eq!(bucket.available(), 1 - taken);
        assert_eq!(bucket.stats().waiting, 0);
    });
}

/// As [`a_batch_meets_push`], of one whom nobody drives.
#[test]
fn a_batch_meets_a_reservation() {
    explore("shard: take a batch || reserve", 3, || {
        let bucket = sharded(4);
        let takes = {
            let bucket = bucket.clone();
            thread::spawn(move || u64::from(bucket.try_acquire().is_ok()))
        };
        let reserved = bucket.reserve_n(3).unwrap();
        let taken = takes.join().unwrap();
        assert!(reserved.delay().is_zero());
        assert_eq!(bucket.available(), 1 - taken);
        assert_eq!(bucket.stats().waiting, 0);
    });
}

#[test]
fn a_recall_meets_push() {
    explore("shard: recall || push", 2, || {
        let bucket = sharded(4);
        bucket.try_acquire().unwrap();
        let waiter = waiter(&bucket, 1);
        let all = bucket.try_acquire_n(3).is_ok();
        if all {
            bucket.refund(1);
        }
        waiter.join().unwrap().unwrap();
        assert_eq!(bucket.available(), if all { 0 } else { 2 });
    });
}

#[test]
fn no_credit_of_a_shard_passes_those_who_wait() {
    explore("shard: push || spend", 2, || {
        let bucket = sharded(4);
        bucket.try_acquire().unwrap();
        let has_entered = Arc::new(AtomicBool::new(false));
        let spends = {
            let (bucket, has_entered) = (bucket.clone(), has_entered.clone());
            thread::spawn(move || {
                let knows = has_entered.load(Ordering::Acquire);
                let spent = bucket.try_acquire().is_ok();
                assert!(!spent || !knows, "spent before one who waits");
                u64::from(spent)
            })
        };
        let waits = enter(&bucket, 5).unwrap();
        has_entered.store(true, Ordering::Release);
        let spent = spends.join().unwrap();
        bucket.refund(2 + spent);
        wait_on(&bucket, 5, waits).unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

#[test]
fn no_credit_of_a_shard_is_spent_once_closed() {
    explore("shard: close || spend", 3, || {
        let bucket = sharded(4);
        bucket.try_acquire().unwrap();
        let has_closed = Arc::new(AtomicBool::new(false));
        let spends = {
            let (bucket, has_closed) = (bucket.clone(), has_closed.clone());
            thread::spawn(move || {
                let knows = has_closed.load(Ordering::Acquire);
                let spent = bucket.try_acquire();
                assert!(spent.is_ok() || spent == Err(Denied::Closed));
                assert!(spent.is_err() || !knows, "spent after close");
                u64::from(spent.is_ok())
            })
        };
        bucket.close();
        has_closed.store(true, Ordering::Release);
        let spent = spends.join().unwrap();
        assert_eq!(bucket.available(), 3 - spent);
    });
}

#[test]
fn set_burst_meets_a_batch_of_a_shard() {
    explore("shard: set_burst || take a batch", 3, || {
        let bucket = sharded(4);
        let takes = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire().unwrap())
        };
        bucket.set_burst(20).unwrap();
        takes.join().unwrap();
        assert_eq!((bucket.available(), bucket.burst()), (3, 20));
    });
}
