//! Models of those who wait for a bucket, and of its driver. Time moves only where a model says
//! so: whoever misses a wake-up sleeps for ever, and loom calls it a deadlock. A list of wakers
//! holds one here, so that models of several waiters go through the rounds of `more`.
#![cfg(loom)]

mod loom_common;

use flow_ratelimit::{AcquireError, Denied, Limiter, LimiterExt, Rate, WaitState};
use loom::future::block_on;
use loom::thread;
use loom_common::{
    Bucket, Fate, Time, acquire, barging_bucket, bucket, enter, explore, give_up, per_milli,
    wait_on, waiter,
};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// Whether a driver is woken by time.
#[test]
fn a_waiter_and_a_clock() {
    explore("bucket: waiter || clock || driver", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, per_milli(), 1, Fate::Runs);
        let waiter = waiter(&bucket, 1);
        time.set(1);
        waiter.join().unwrap().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// Whoever is first moves the clock for the second, past the quantum. Bound 1: at 2 it is 340,000
/// executions.
#[test]
fn two_waiters_and_a_clock() {
    explore("bucket: two waiters || clock || driver", 1, || {
        let time = Time::new();
        let bucket = bucket(&time, per_milli(), 1, Fate::Runs);
        let other = {
            let (time, bucket) = (time.clone(), bucket.clone());
            thread::spawn(move || {
                acquire(&bucket, 1).unwrap();
                time.set(2);
            })
        };
        time.set(1);
        acquire(&bucket, 1).unwrap();
        time.set(2);
        other.join().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// Tokens come back before W is set, or after.
#[test]
fn refund_meets_push() {
    explore("bucket: refund || push", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_hour(1), 1, Fate::Runs);
        let waiter = waiter(&bucket, 1);
        bucket.refund(1);
        waiter.join().unwrap().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
        // The fast path is open again.
        bucket.refund(1);
        bucket.try_acquire().unwrap();
    });
}

/// Enough for two comes at once, by hands that wake one at a time.
#[test]
fn one_refund_serves_two() {
    explore("bucket: refund of two || two push", 2, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_hour(1), 2, Fate::Runs);
        let both = {
            let bucket = bucket.clone();
            thread::spawn(move || acquire_both(&bucket))
        };
        bucket.refund(2);
        both.join().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// A driver serves all who are due: none of them need be polled for the others to go.
#[test]
fn a_held_waiter_blocks_nobody() {
    explore(
        "bucket: clock || a held waiter and one behind it",
        2,
        || {
            let time = Time::new();
            let bucket = bucket(&time, per_milli(), 2, Fate::Runs);
            let held = enter(&bucket, 1).unwrap();
            let behind = waiter(&bucket, 1);
            time.set(2);
            behind.join().unwrap().unwrap();
            wait_on(&bucket, 1, held).unwrap();
            assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
        },
    );
}

/// Too little comes back to grant at once, so the driver has to look earlier.
#[test]
fn refund_meets_arming() {
    explore("bucket: refund || driver arms", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, per_milli(), 2, Fate::Runs);
        let waiter = waiter(&bucket, 2);
        bucket.refund(1);
        time.set(1);
        waiter.join().unwrap().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

#[test]
fn set_rate_meets_arming() {
    explore("bucket: set_rate || driver arms", 2, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_hour(1), 1, Fate::Runs);
        let waiter = waiter(&bucket, 1);
        bucket.set_rate(per_milli()).unwrap();
        time.set(1);
        waiter.join().unwrap().unwrap();
        assert_eq!(bucket.stats().waiting, 0);
    });
}

/// Whoever waits for more than a smaller burst is sent away, and holds up nobody.
#[test]
fn set_burst_meets_push() {
    explore("bucket: smaller burst || push", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_hour(1), 2, Fate::Runs);
        let waiter = waiter(&bucket, 2);
        bucket.set_burst(1).unwrap();
        let refused = waiter.join().unwrap();
        assert!(matches!(refused, Err(AcquireError::ExceedsBurst { .. })));
        assert_eq!(bucket.stats().waiting, 0);
        bucket.refund(1);
        bucket.try_acquire().unwrap();
    });
}

/// The seat of a driver that leaves is no seat for who pushes now. Bound 1: at 2 it is 180,000
/// executions.
#[test]
fn a_driver_leaves_as_one_pushes() {
    explore("bucket: driver leaves || push", 1, || {
        let time = Time::new();
        let bucket = bucket(&time, per_milli(), 2, Fate::Runs);
        let other = waiter(&bucket, 1);
        bucket.refund(1);
        let late = waiter(&bucket, 1);
        time.set(1);
        late.join().unwrap().unwrap();
        other.join().unwrap().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// A driver that lingers for the next who waits looks when that one is due, not when it would go.
#[test]
fn a_lingering_driver_meets_a_push() {
    explore("bucket: driver lingers || push", 2, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_second(20), 1, Fate::Runs);
        let first = waiter(&bucket, 1);
        bucket.refund(1);
        first.join().unwrap().unwrap();
        let late = waiter(&bucket, 1);
        time.set(50);
        late.join().unwrap().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// The end of a driver's linger, and somebody to drive.
#[test]
fn a_linger_ends_as_one_pushes() {
    explore("bucket: driver's linger ends || push", 1, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_second(5), 1, Fate::Runs);
        let first = enter(&bucket, 1).unwrap();
        bucket.refund(1);
        wait_on(&bucket, 1, first).unwrap();
        let late = waiter(&bucket, 1);
        time.set(100);
        time.set(200);
        late.join().unwrap().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// The head goes while it is granted: the token is the second's, who is queued already.
#[test]
fn grant_meets_cancel() {
    explore("bucket: grant || cancel with refund || a second", 2, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_hour(1), 1, Fate::Runs);
        let (head, second) = (enter(&bucket, 1).unwrap(), enter(&bucket, 1).unwrap());
        let refunder = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.refund(1))
        };
        let quitter = thread::spawn(move || drop(head));
        wait_on(&bucket, 1, second).unwrap();
        refunder.join().unwrap();
        quitter.join().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// The time of a wait ends as it is granted: the tokens are its own or the bucket's.
#[test]
fn a_grant_meets_the_limit_of_a_wait() {
    explore("bucket: refund || a wait at its limit", 2, || {
        let time = Time::new();
        let bucket = bucket(&time, per_milli(), 4, Fate::Runs);
        // They would have come in time.
        let mut wait = bucket.acquire_n_timeout(2, 2 * MS);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut wait).poll(&mut cx).is_pending());
        bucket.set_rate(Rate::per_hour(1)).unwrap();
        time.set(2);
        let refunder = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.refund(2))
        };
        let granted = block_on(wait).is_ok();
        refunder.join().unwrap();
        let left = if granted { 0 } else { 2 };
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, left));
    });
}

/// The one behind is due earlier than the head was: the driver has to look earlier.
#[test]
fn a_big_head_leaves() {
    explore("bucket: a big head leaves || a small one is due", 2, || {
        let time = Time::new();
        let bucket = bucket(&time, per_milli(), 2, Fate::Runs);
        let (big, small) = (enter(&bucket, 2).unwrap(), enter(&bucket, 1).unwrap());
        let quitter = thread::spawn(move || drop(big));
        time.set(1);
        wait_on(&bucket, 1, small).unwrap();
        quitter.join().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// The one behind fits at once, and no time comes.
#[test]
fn a_big_head_leaves_room() {
    explore("bucket: a big head leaves || a small one fits", 2, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_hour(1), 2, Fate::Runs);
        bucket.refund(1);
        let small = waiter(&bucket, 1);
        give_up(&bucket, 2);
        small.join().unwrap().unwrap();
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

/// The last waiter's driver has nothing to wait for any more, and goes with the last handle.
#[test]
fn the_last_waiter_leaves() {
    explore(
        "bucket: the last waiter leaves || refund || driver",
        3,
        || {
            let time = Time::new();
            let bucket = bucket(&time, Rate::per_hour(1), 1, Fate::Runs);
            let quitter = {
                let bucket = bucket.clone();
                thread::spawn(move || drop(enter(&bucket, 1)))
            };
            bucket.refund(1);
            quitter.join().unwrap();
            // Given back, unless it had it at once.
            bucket.try_acquire().ok();
            assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
            bucket.refund(1);
            bucket.try_acquire().unwrap();
        },
    );
}

#[test]
fn a_newcomer_passes_nobody() {
    explore("bucket: newcomer || refund || waiter", 2, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_hour(1), 1, Fate::Runs);
        let waiter = enter(&bucket, 1).unwrap();
        let newcomer = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire())
        };
        bucket.refund(1);
        wait_on(&bucket, 1, waiter).unwrap();
        assert!(matches!(
            newcomer.join().unwrap(),
            Err(Denied::NotYet { .. })
        ));
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    });
}

#[test]
fn close_meets_push() {
    explore("bucket: close || push", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, per_milli(), 1, Fate::Runs);
        let waiter = waiter(&bucket, 1);
        bucket.close();
        assert_eq!(waiter.join().unwrap(), Err(AcquireError::Closed));
        assert_eq!(bucket.stats().waiting, 0);
    });
}

/// A newcomer that may pass takes the token of one who waits, and leaves it in the queue.
#[test]
fn a_barger_meets_a_grant() {
    explore("bucket: barger || refund || waiter", 3, || {
        let time = Time::new();
        let bucket = barging_bucket(&time, Rate::per_hour(1), 1);
        let waiter = enter(&bucket, 1).unwrap();
        let barger = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire().is_ok())
        };
        bucket.refund(1);
        if barger.join().unwrap() {
            assert_eq!(bucket.stats().waiting, 1, "one token for two");
            bucket.refund(1);
        }
        // It was told already, or is granted by what came back: no other look helps it.
        assert_eq!(bucket.stats().waiting, 0);
        wait_on(&bucket, 1, waiter).unwrap();
        assert_eq!(bucket.available(), 0);
    });
}

/// Whoever finds the fast path shut learns why.
#[test]
fn close_meets_a_newcomer() {
    explore("bucket: close || newcomer", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, per_milli(), 1, Fate::Runs);
        bucket.refund(1);
        let newcomer = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire())
        };
        bucket.close();
        match newcomer.join().unwrap() {
            Ok(_) | Err(Denied::Closed) => {}
            other => panic!("{other:?}"),
        }
        assert!(matches!(bucket.try_acquire(), Err(Denied::Closed)));
    });
}

#[test]
fn close_meets_a_leaving_driver() {
    explore("bucket: close || driver leaves", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, per_milli(), 1, Fate::Runs);
        let waiter = waiter(&bucket, 1);
        bucket.refund(1);
        bucket.close();
        match waiter.join().unwrap() {
            Ok(()) | Err(AcquireError::Closed) => {}
            other => panic!("{other:?}"),
        }
        assert!(matches!(bucket.try_acquire(), Err(Denied::Closed)));
        assert_eq!(bucket.stats().waiting, 0);
    });
}

/// Waits for two single tokens in one task.
fn acquire_both(bucket: &Bucket) {
    let mut waits = [WaitState::new(), WaitState::new()];
    let mut granted = [false; 2];
    block_on(poll_fn(|cx| {
        for (state, granted) in waits.iter_mut().zip(&mut granted) {
            *granted = *granted || bucket.poll_acquire_n(cx, 1, state).is_ready();
        }
        match granted {
            [true, true] => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }));
}

/// What is taken while a rate is put in force was there.
#[test]
fn set_rate_meets_newcomers() {
    explore("bucket: set_rate || two newcomers", 3, || {
        let time = Time::new();
        let bucket = bucket(&time, Rate::per_hour(1), 1, Fate::Runs);
        bucket.refund(1);
        let newcomers = [(); 2].map(|()| {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire().is_ok())
        });
        bucket.set_rate(per_milli()).unwrap();
        let granted = newcomers.map(|newcomer| newcomer.join().unwrap());
        assert!(granted[0] ^ granted[1], "one token, and {granted:?}");
        assert_eq!(bucket.available(), 0);
    });
}
