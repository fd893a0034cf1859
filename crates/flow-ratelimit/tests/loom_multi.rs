//! Models of several limits behind one word: taken, given back, changed and waited for at once.
//! How those who wait are driven is modelled with token buckets.
#![cfg(loom)]

mod loom_common;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Waker};

use flow_ratelimit::{AcquireError, Denied, Limiter, MultiBucket, Rate, WaitState};
use loom::future::block_on;
use loom::thread::{self, JoinHandle};
use loom_common::{Fate, Threads, Time, explore};

type Bucket = MultiBucket<Arc<Time>>;

/// A bucket with full limits, driven by a runtime of loom's threads.
fn bucket(time: &Arc<Time>, limits: &[&str]) -> Bucket {
    let handle = Threads::new(time, Fate::Runs).handle();
    let builder = MultiBucket::builder().limits(limits.iter().copied());
    let builder = builder.counted(false).runtime(&handle);
    builder.clock(time.clone()).build().expect("valid limits")
}

fn available(bucket: &Bucket, index: usize) -> u64 {
    bucket.limit(index).expect("one of them").available
}

fn acquire(bucket: &Bucket, n: u64) -> Result<(), AcquireError> {
    let mut state = WaitState::new();
    block_on(poll_fn(|cx| bucket.poll_acquire_n(cx, n, &mut state))).map(drop)
}

fn waiter(bucket: &Bucket, n: u64) -> JoinHandle<Result<(), AcquireError>> {
    let bucket = bucket.clone();
    thread::spawn(move || acquire(&bucket, n))
}

/// The second limit has one token for two who want it: the first loses one only.
#[test]
fn two_takers_and_one_token() {
    explore("multi: take || take", 3, || {
        let bucket = bucket(&Time::new(), &["1/h burst 2", "1/h burst 1"]);
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire().is_ok())
        };
        let mine = bucket.try_acquire().is_ok();
        let theirs = other.join().unwrap();
        assert!(mine != theirs);
        assert_eq!((available(&bucket, 0), available(&bucket, 1)), (1, 0));
    });
}

/// The first limit has run over, and both takers may be the one to note it.
#[test]
fn what_ran_over_stays_lost() {
    explore("multi: take || take of a limit that ran over", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, &["1000/s burst 2", "1/h burst 9"]);
        time.set(5);
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire_n(2).is_ok())
        };
        let mine = bucket.try_acquire().is_ok();
        let taken = 2 * u64::from(other.join().unwrap()) + u64::from(mine);
        assert!(taken == 1 || taken == 2, "{taken} of two");
        assert_eq!(available(&bucket, 0), 2 - taken);
        assert_eq!(available(&bucket, 1), 9 - taken);
    });
}

/// Who takes by an older time than another, who has noted more.
#[test]
fn takers_and_a_clock() {
    explore("multi: take || clock, take", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, &["1000/s burst 2", "1/h burst 9"]);
        time.set(1);
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || 2 * u64::from(bucket.try_acquire_n(2).is_ok()))
        };
        time.set(5);
        let mine = u64::from(bucket.try_acquire().is_ok());
        let theirs = other.join().unwrap();
        // Whoever comes second by the same time gets nothing. The other may have taken its two by the
        // older time, and they are there again.
        assert!(mine + theirs > 0);
        assert_eq!(available(&bucket, 0), mine);
        assert_eq!(available(&bucket, 1), 9 - mine - theirs);
    });
}

/// What a denial found out holds by its own line only.
#[test]
fn set_quota_meets_a_denial() {
    explore("multi: set_quota || denial", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, &["1000/s burst 1", "1/h burst 1"]);
        bucket.try_acquire().unwrap();
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire().is_err())
        };
        bucket.set_quota(1, Rate::per_second(1_000)).unwrap();
        assert!(other.join().unwrap());
        time.set(1);
        bucket.try_acquire().unwrap();
    });
}

/// A refund that runs over, and a taker of as much: the word would be what it was.
#[test]
fn a_refund_runs_over_meanwhile() {
    explore("multi: take || refund, take", 3, || {
        let bucket = bucket(&Time::new(), &["1/h burst 2", "1/h burst 2"]);
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || {
                bucket.refund(1);
                bucket.try_acquire().is_ok()
            })
        };
        let mine = bucket.try_acquire_n(2).is_ok();
        let theirs = other.join().unwrap();
        let left = available(&bucket, 0);
        if mine && theirs {
            assert_eq!(left, 0, "the refund came in between");
        }
        // Nothing is owed.
        bucket.refund(1);
        assert_eq!(available(&bucket, 0), (left + 1).min(2));
        assert_eq!(available(&bucket, 1), (left + 1).min(2));
    });
}

/// The same where the limit runs over by what came back: the word is what it was, but for its tag,
/// and `lost` has risen.
#[test]
fn a_refund_that_is_lost_is_told_apart() {
    explore("multi: take || refund of a full limit, take", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, &["1000/s burst 2", "1/h burst 9"]);
        bucket.try_acquire().unwrap();
        time.set(5);
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || {
                bucket.refund(1);
                u64::from(bucket.try_acquire().is_ok())
            })
        };
        let mine = 2 * u64::from(bucket.try_acquire_n(2).is_ok());
        let theirs = other.join().unwrap();
        let left = available(&bucket, 0);
        // Between the two that were taken the refund was of use, or it was lost.
        assert!(
            mine + theirs + left <= 3,
            "{mine} and {theirs}, {left} left"
        );
        assert_eq!(available(&bucket, 1), 9 - mine - theirs);
        // Nothing is owed.
        bucket.refund(1);
        assert_eq!(available(&bucket, 0), (left + 1).min(2));
    });
}

/// The line of supply changes under takers: what they take is gone from the new one too.
#[test]
fn set_quota_meets_takers() {
    explore("multi: set_quota || take || take", 2, || {
        let time = Time::new();
        let bucket = bucket(&time, &["1000/s burst 4", "1/h burst 3"]);
        time.set(3);
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || u64::from(bucket.try_acquire().is_ok()))
        };
        let third = {
            let bucket = bucket.clone();
            thread::spawn(move || 2 * u64::from(bucket.try_acquire_n(2).is_ok()))
        };
        bucket.set_quota(0, "1/h burst 5").unwrap();
        let taken = other.join().unwrap() + third.join().unwrap();
        assert_eq!(taken, 3);
        assert_eq!((available(&bucket, 0), available(&bucket, 1)), (1, 0));
        bucket.refund(9);
        assert_eq!((available(&bucket, 0), available(&bucket, 1)), (5, 3));
    });
}

/// A decision looks at the lines before it loads the word. The second update writes there.
#[test]
fn a_decision_is_overtaken_by_two_updates() {
    explore("multi: two updates || take", 1, || {
        let time = Time::new();
        let bucket = bucket(&time, &["1000/s burst 8", "1/h burst 99"]);
        bucket.try_acquire_n(8).unwrap();
        time.set(4);
        let takes = {
            let bucket = bucket.clone();
            // Four are there, by whatever line; by parts of two there may be eight.
            thread::spawn(move || assert!(bucket.try_acquire_n(5).is_err(), "torn"))
        };
        bucket.set_quota(0, Rate::per_second(1_000)).unwrap();
        bucket.set_quota(0, Rate::per_second(1_000)).unwrap();
        takes.join().unwrap();
        assert_eq!((available(&bucket, 0), available(&bucket, 1)), (4, 91));
    });
}

/// Tokens come back before W is set, or after.
#[test]
fn refund_meets_push() {
    explore("multi: refund || push", 3, || {
        let bucket = bucket(&Time::new(), &["1/h burst 1", "1/h burst 2"]);
        bucket.try_acquire().unwrap();
        let waiter = waiter(&bucket, 1);
        bucket.refund(1);
        waiter.join().unwrap().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
        // The fast path is open again.
        bucket.refund(1);
        bucket.try_acquire().unwrap();
    });
}

#[test]
fn a_newcomer_passes_nobody() {
    explore("multi: newcomer || refund || waiter", 2, || {
        let bucket = bucket(&Time::new(), &["1/h burst 1", "1/h burst 2"]);
        bucket.try_acquire().unwrap();
        let mut state = WaitState::new();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(bucket.poll_acquire_n(&mut cx, 1, &mut state).is_pending());
        let newcomer = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire().is_ok())
        };
        bucket.refund(1);
        block_on(poll_fn(|cx| bucket.poll_acquire_n(cx, 1, &mut state))).unwrap();
        assert!(!newcomer.join().unwrap());
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// The limit that holds up the head gets another rate while its driver goes to sleep.
#[test]
fn set_quota_meets_arming() {
    explore("multi: set_quota || driver arms", 2, || {
        let time = Time::new();
        let bucket = bucket(&time, &["1000/s burst 1", "1/h burst 1"]);
        bucket.try_acquire().unwrap();
        let waiter = waiter(&bucket, 1);
        bucket.set_quota(1, Rate::per_second(1_000)).unwrap();
        time.set(1);
        waiter.join().unwrap().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

#[test]
fn close_meets_push() {
    explore("multi: close || push", 3, || {
        let bucket = bucket(&Time::new(), &["1/h burst 1", "1/h burst 1"]);
        bucket.try_acquire().unwrap();
        let waiter = waiter(&bucket, 1);
        bucket.close();
        assert_eq!(waiter.join().unwrap(), Err(AcquireError::Closed));
        let denied = bucket.try_acquire().unwrap_err();
        assert_eq!((denied.limit, denied.denied), (None, Denied::Closed));
    });
}
