//! Models of permits in classes. A wake list holds one waker here, so every model of several
//! waiters also goes through the rounds of `more`.
#![cfg(loom)]

mod loom_common;

use std::sync::Arc;
use std::task::Poll;

use flow_sync::model::explore;
use flow_sync::{AcquireError, ClassedPermits, ClassedWait, TryAcquireError};
use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle};
use loom_common::block_on;

const HIGH: usize = 0;
const LOW: usize = 1;

fn permits(limit: u32, shares: [u32; 2]) -> Arc<ClassedPermits> {
    Arc::new(ClassedPermits::new(limit, &shares, usize::MAX).expect("small"))
}

fn acquire(permits: &Arc<ClassedPermits>, class: usize, n: u32) -> Result<(), AcquireError> {
    let mut wait = ClassedWait::new();
    block_on(|cx| permits.poll_acquire(cx, class, n, &mut wait))
}

/// A thread that acquires and keeps.
fn acquirer(
    permits: &Arc<ClassedPermits>,
    class: usize,
    n: u32,
) -> JoinHandle<Result<(), AcquireError>> {
    let permits = permits.clone();
    thread::spawn(move || acquire(&permits, class, n))
}

/// A thread that polls once and gives up; what it got it gives back.
fn quitter(permits: &Arc<ClassedPermits>, class: usize, n: u32) -> JoinHandle<()> {
    let permits = permits.clone();
    thread::spawn(move || {
        let mut wait = ClassedWait::new();
        if block_on(|cx| Poll::Ready(permits.poll_acquire(cx, class, n, &mut wait))).is_ready() {
            permits.release(class, n).unwrap();
        }
    })
}

#[test]
fn release_meets_enqueue() {
    explore("classes: release || enqueue", 3, || {
        let permits = permits(1, [1, 0]);
        permits.try_acquire(LOW, 1).unwrap();
        let waiter = acquirer(&permits, HIGH, 1);
        permits.release(LOW, 1).unwrap();
        waiter.join().unwrap().unwrap();
        assert_eq!((permits.in_flight_of(HIGH), permits.waiting()), (1, 0));
        permits.release(HIGH, 1).unwrap();
        permits
            .try_acquire(LOW, 1)
            .expect("the waiter bit is clear");
    });
}

#[test]
fn one_release_serves_both_classes() {
    explore("classes: release of two || two enqueues", 2, || {
        let permits = permits(2, [1, 1]);
        permits.try_acquire(LOW, 2).unwrap();
        let waiters = [acquirer(&permits, LOW, 1), acquirer(&permits, HIGH, 1)];
        permits.release(LOW, 2).unwrap();
        for waiter in waiters {
            waiter.join().unwrap().unwrap();
        }
        assert_eq!(
            (permits.in_flight_of(HIGH), permits.in_flight_of(LOW)),
            (1, 1)
        );
        assert_eq!(permits.waiting(), 0);
    });
}

/// Nothing is lent while somebody waits within its share: not to one that comes, and not to one
/// that waits.
#[test]
fn a_share_is_not_lent_beside_its_waiter() {
    explore("classes: share waits || release || a borrower", 2, || {
        let permits = permits(2, [2, 0]);
        permits.try_acquire(LOW, 2).unwrap();
        let mut wait = ClassedWait::new();
        let polled = block_on(|cx| Poll::Ready(permits.poll_acquire(cx, HIGH, 2, &mut wait)));
        assert!(polled.is_pending());
        let borrower = {
            let permits = permits.clone();
            thread::spawn(move || permits.try_acquire(LOW, 1))
        };
        let releaser = {
            let permits = permits.clone();
            thread::spawn(move || permits.release(LOW, 1).unwrap())
        };
        permits.release(LOW, 1).unwrap();
        assert_eq!(borrower.join().unwrap(), Err(TryAcquireError::Unavailable));
        releaser.join().unwrap();
        block_on(|cx| permits.poll_acquire(cx, HIGH, 2, &mut wait)).unwrap();
        assert_eq!(
            (permits.in_flight_of(HIGH), permits.in_flight_of(LOW)),
            (2, 0)
        );
    });
}

/// A waiter for more than is free keeps nobody of a higher class out.
#[test]
fn a_try_passes_one_that_waits_for_what_is_lent() {
    explore(
        "classes: a big low one waits || a high one tries",
        3,
        || {
            let permits = permits(2, [1, 0]);
            permits.try_acquire(LOW, 1).unwrap();
            let big = quitter(&permits, LOW, 2);
            permits.try_acquire(HIGH, 1).expect("it is its share");
            big.join().unwrap();
            assert_eq!((permits.in_flight(), permits.waiting()), (2, 0));
        },
    );
}

#[test]
fn grant_meets_cancel() {
    explore("classes: grant || cancel || a third", 2, || {
        let permits = permits(1, [1, 0]);
        permits.try_acquire(LOW, 1).unwrap();
        let quitter = quitter(&permits, HIGH, 1);
        let third = acquirer(&permits, LOW, 1);
        permits.release(LOW, 1).unwrap();
        quitter.join().unwrap();
        third.join().unwrap().unwrap();
        assert_eq!((permits.in_flight_of(LOW), permits.waiting()), (1, 0));
    });
}

#[test]
fn a_big_head_leaves() {
    explore(
        "classes: a big high head leaves || a low one comes",
        3,
        || {
            let permits = permits(2, [0, 0]);
            permits.try_acquire(LOW, 1).unwrap();
            let big = quitter(&permits, HIGH, 2);
            // Nobody releases: only the big one's leaving lets it in.
            acquire(&permits, LOW, 1).unwrap();
            big.join().unwrap();
            assert_eq!((permits.in_flight_of(LOW), permits.waiting()), (2, 0));
        },
    );
}

#[test]
fn resize_meets_enqueue() {
    explore("classes: raised limit || enqueue", 3, || {
        let permits = permits(1, [0, 0]);
        permits.try_acquire(HIGH, 1).unwrap();
        let waiter = acquirer(&permits, LOW, 1);
        permits.set_limit(2).unwrap();
        waiter.join().unwrap().unwrap();
        assert_eq!(permits.in_flight(), 2);
    });
}

#[test]
fn resize_meets_release() {
    explore("classes: raised limit || release || two wait", 1, || {
        let permits = permits(1, [1, 0]);
        permits.try_acquire(LOW, 1).unwrap();
        let waiters = [acquirer(&permits, LOW, 1), acquirer(&permits, HIGH, 1)];
        let resizer = {
            let permits = permits.clone();
            thread::spawn(move || permits.set_limit(2).unwrap())
        };
        permits.release(LOW, 1).unwrap();
        assert_eq!(resizer.join().unwrap(), 1);
        for waiter in waiters {
            waiter.join().unwrap().unwrap();
        }
        assert_eq!((permits.in_flight(), permits.limit()), (2, 2));
    });
}

/// A share that is raised makes a low one the next, before a high one that does not fit.
#[test]
fn a_raised_share_meets_enqueue() {
    explore("classes: raised share || enqueue", 3, || {
        let permits = permits(2, [0, 0]);
        permits.try_acquire(LOW, 1).unwrap();
        let mut high = ClassedWait::new();
        let polled = block_on(|cx| Poll::Ready(permits.poll_acquire(cx, HIGH, 2, &mut high)));
        assert!(polled.is_pending());
        let low = acquirer(&permits, LOW, 1);
        permits.set_share(LOW, 2).unwrap();
        low.join().unwrap().unwrap();
        assert_eq!((permits.in_flight_of(LOW), permits.waiting()), (2, 1));
    });
}

#[test]
fn close_meets_push_and_release() {
    explore("classes: close || enqueue || release", 3, || {
        let permits = permits(1, [1, 0]);
        permits.try_acquire(LOW, 1).unwrap();
        let waiter = acquirer(&permits, HIGH, 1);
        let closer = {
            let permits = permits.clone();
            thread::spawn(move || permits.close())
        };
        permits.release(LOW, 1).unwrap();
        let got = waiter.join().unwrap();
        closer.join().unwrap();
        assert_eq!(permits.in_flight(), u32::from(got.is_ok()));
        assert_eq!(permits.try_acquire(HIGH, 1), Err(TryAcquireError::Closed));
        assert_eq!(permits.waiting(), 0);
    });
}

#[test]
fn close_meets_two_pushes() {
    explore("classes: close || two enqueues", 3, || {
        let permits = permits(1, [1, 0]);
        permits.try_acquire(LOW, 1).unwrap();
        let waiters = [acquirer(&permits, HIGH, 1), acquirer(&permits, LOW, 1)];
        permits.close();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Err(AcquireError::Closed));
        }
        permits.release(LOW, 1).unwrap();
        assert_eq!((permits.in_flight(), permits.waiting()), (0, 0));
    });
}

/// Loom's cell fails when two accesses are not ordered by what the permits do.
#[test]
fn permits_order_what_they_guard() {
    explore("classes: mutual exclusion of three", 2, || {
        let shared = Arc::new((permits(1, [1, 0]), UnsafeCell::new(())));
        let work = |shared: &(Arc<ClassedPermits>, UnsafeCell<()>), class| {
            acquire(&shared.0, class, 1).unwrap();
            shared.1.with_mut(|_| ());
            shared.0.release(class, 1).unwrap();
        };
        let others: Vec<_> = (0..2)
            .map(|class| {
                let shared = shared.clone();
                thread::spawn(move || work(&shared, class))
            })
            .collect();
        work(&shared, LOW);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(shared.0.in_flight(), 0);
    });
}
