//! Models of plain threads that wait for a bucket beside tasks. They sleep until the model moves
//! the time or somebody wakes them: who was not handed the seat, or not woken, is a deadlock.
#![cfg(loom)]

mod loom_common;

use std::sync::Arc;

use flow_ratelimit::{AcquireBlockingError, AcquireError, Rate};
use loom::thread::{self, JoinHandle};
use loom_common::{Bucket, Fate, Time, acquire, bucket, explore, per_milli};

fn blocking(time: &Arc<Time>, bucket: &Bucket) -> JoinHandle<Result<(), AcquireBlockingError>> {
    let (time, bucket) = (time.clone(), bucket.clone());
    thread::spawn(move || {
        time.wakes_this_thread();
        bucket.acquire_blocking().map(drop)
    })
}

/// A thread that sleeps long is woken by what comes back.
#[test]
fn refund_meets_a_thread() {
    explore("threads: refund || a thread waits", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_hour(1), 1, Fate::Runs);
        let waits = blocking(&time, &bucket);
        bucket.refund(1);
        waits.join().unwrap().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// Too little comes back to grant at once, so the thread has to look earlier.
#[test]
fn set_rate_meets_a_thread() {
    explore("threads: set_rate || a thread sleeps", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_hour(1), 1, Fate::Runs);
        let waits = blocking(&time, &bucket);
        bucket.set_rate(per_milli()).unwrap();
        time.set(1);
        waits.join().unwrap().unwrap();
        assert_eq!(bucket.stats().waiting, 0);
    });
}

/// One looks for both; when it goes the other has to. Whoever is first moves the clock.
#[test]
fn a_seat_is_handed_over() {
    explore("threads: two threads || clock", 2, || {
        let time = Time::new();
        let bucket = bucket(&time, per_milli(), 1, Fate::Runs);
        let other = {
            let (time, bucket) = (time.clone(), bucket.clone());
            thread::spawn(move || wait_and_move(&time, &bucket))
        };
        time.set(1);
        wait_and_move(&time, &bucket);
        other.join().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// The thread goes, as primary perhaps: the task is driven on. Bound 1: at 2 it is 270,000
/// executions.
#[test]
fn a_thread_leaves_a_task() {
    explore("threads: a thread || a task and its driver", 1, || {
        let time = Time::new();
        let bucket = bucket(&time, per_milli(), 1, Fate::Runs);
        let task = {
            let (time, bucket) = (time.clone(), bucket.clone());
            thread::spawn(move || {
                time.set(1);
                acquire(&bucket, 1).unwrap();
                time.set(2);
            })
        };
        wait_and_move(&time, &bucket);
        task.join().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

fn wait_and_move(time: &Time, bucket: &Bucket) {
    time.wakes_this_thread();
    bucket.acquire_blocking().unwrap();
    time.set(2);
}

#[test]
fn close_meets_a_thread() {
    explore("threads: close || a thread waits", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_hour(1), 1, Fate::Runs);
        let waits = blocking(&time, &bucket);
        bucket.close();
        let closed = AcquireBlockingError::NotGranted(AcquireError::Closed);
        assert_eq!(waits.join().unwrap(), Err(closed));
        assert_eq!(bucket.stats().waiting, 0);
    });
}
