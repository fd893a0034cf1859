//! Permits in classes: their bounds, and what a priority and a share mean.
#![cfg(not(loom))]

mod common;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use common::Count;
use flow_sync::{AcquireError, ClassedPermits, ClassedWait, ClassesError, TryAcquireError};

fn permits(limit: u32, shares: &[u32]) -> Arc<ClassedPermits> {
    Arc::new(ClassedPermits::new(limit, shares, usize::MAX).unwrap())
}

fn poll(
    permits: &Arc<ClassedPermits>,
    class: usize,
    n: u32,
    wait: &mut ClassedWait,
) -> Poll<Result<(), AcquireError>> {
    permits.poll_acquire(&mut Context::from_waker(Waker::noop()), class, n, wait)
}

#[test]
fn bounds_are_checked_and_told() {
    let wrong = |limit, shares: &[u32]| {
        ClassedPermits::new(limit, shares, 1)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        wrong(1, &[]),
        "0 classes were given, and there can be 1 to 8"
    );
    assert_eq!(
        wrong(1, &[0; 9]),
        "9 classes were given, and there can be 1 to 8"
    );
    assert_eq!(
        wrong(4_096, &[0; 4]),
        "a limit of 4096 permits is larger than 4095, the largest allowed for 4 classes"
    );
    assert_eq!(
        wrong(4, &[2, 3]),
        "the shares of all classes are 5 permits, more than the limit of 4"
    );
    assert_eq!(
        wrong(4, &[u32::MAX, u32::MAX]),
        "the shares of all classes are 8589934590 permits, more than the limit of 4"
    );
    let limits = (0..10).map(ClassedPermits::max_limit);
    let bits = [0, 28, 20, 15, 12, 10, 8, 7, 6, 0].map(|bits| (1_u32 << bits) - 1);
    assert!(limits.eq(bits));
    for (classes, &max) in bits.iter().enumerate().take(9).skip(1) {
        assert!(ClassedPermits::new(max, &vec![0; classes], 1).is_ok());
        assert!(ClassedPermits::new(max + 1, &vec![0; classes], 1).is_err());
    }
}

#[test]
fn a_class_that_there_is_not_has_nothing() {
    let permits = permits(4, &[1, 1]);
    for class in [2, 7, 8, usize::MAX] {
        let unknown = TryAcquireError::UnknownClass { class, classes: 2 };
        assert_eq!(permits.try_acquire(class, 1), Err(unknown));
        assert_eq!(permits.try_acquire(class, 0), Err(unknown));
        assert_eq!(
            unknown.to_string(),
            format!("there is no class {class}, counted from 0: there are 2")
        );
        let polled = poll(&permits, class, 1, &mut ClassedWait::new());
        let unknown = AcquireError::UnknownClass { class, classes: 2 };
        assert_eq!(polled, Poll::Ready(Err(unknown)));
        assert_eq!(permits.release(class, 1).unwrap_err().in_flight(), 0);
        let unknown = ClassesError::UnknownClass { class, classes: 2 };
        assert_eq!(permits.set_share(class, 0), Err(unknown));
        assert_eq!(
            (
                permits.share(class),
                permits.in_flight_of(class),
                permits.waiting_of(class)
            ),
            (0, 0, 0)
        );
    }
    assert_eq!((permits.in_flight(), permits.classes()), (0, 2));
}

#[test]
fn what_is_lent_comes_back_to_the_share() {
    let permits = permits(4, &[3, 0]);
    permits.try_acquire(1, 4).unwrap();
    let mut share = ClassedWait::new();
    assert!(poll(&permits, 0, 2, &mut share).is_pending());
    // Nothing more is lent, not even the one that is free now.
    permits.release(1, 1).unwrap();
    assert_eq!(permits.try_acquire(1, 1), Err(TryAcquireError::Unavailable));
    permits.release(1, 1).unwrap();
    assert_eq!(poll(&permits, 0, 2, &mut share), Poll::Ready(Ok(())));
    assert_eq!((permits.in_flight_of(0), permits.in_flight_of(1)), (2, 2));
}

#[test]
fn a_share_is_had_whoever_waits_for_more() {
    let permits = permits(4, &[1, 1]);
    permits.try_acquire(0, 1).unwrap();
    permits.try_acquire(1, 2).unwrap();
    // One is free; the lower class waits for more than that, and so does the higher.
    let (mut low, mut high) = (ClassedWait::new(), ClassedWait::new());
    assert!(poll(&permits, 1, 2, &mut low).is_pending());
    assert!(poll(&permits, 0, 2, &mut high).is_pending());
    permits.release(1, 2).unwrap();
    // The higher class was served, with what is lent: one is free.
    assert_eq!(poll(&permits, 0, 2, &mut high), Poll::Ready(Ok(())));
    drop(low);
    let mut low = ClassedWait::new();
    assert!(poll(&permits, 0, 4, &mut high).is_pending());
    // Its own share the lower class gets beside the higher that waits for more than its own.
    assert_eq!(permits.try_acquire(1, 1), Ok(()));
    assert_eq!(permits.in_flight(), 4);
    assert!(poll(&permits, 1, 1, &mut low).is_pending());
}

#[test]
fn a_newcomer_passes_only_those_who_go_after_it() {
    let permits = permits(4, &[1, 0, 0]);
    permits.try_acquire(1, 2).unwrap();
    let mut waits = ClassedWait::new();
    assert!(poll(&permits, 1, 3, &mut waits).is_pending());
    let full = Err(TryAcquireError::Unavailable);
    // Two are free: not for the same class, nor for a lower one.
    assert_eq!(permits.try_acquire(1, 1), full);
    assert_eq!(permits.try_acquire(2, 1), full);
    assert_eq!(permits.try_acquire(2, 0), Ok(()));
    assert_eq!(permits.try_acquire(0, 3), full);
    assert_eq!(
        permits.try_acquire(0, 5),
        Err(TryAcquireError::TooMany { asked: 5, limit: 4 })
    );
    // A higher class may, within its share or not.
    assert_eq!(permits.try_acquire(0, 1), Ok(()));
    assert_eq!(permits.try_acquire(0, 1), Ok(()));
    permits.close();
    assert_eq!(permits.try_acquire(0, 0), Err(TryAcquireError::Closed));
    let closed = Poll::Ready(Err(AcquireError::Closed));
    assert_eq!(poll(&permits, 1, 3, &mut waits), closed);
    assert_eq!(poll(&permits, 0, 1, &mut waits), closed);
    permits.release(1, 2).unwrap();
    assert_eq!(permits.in_flight(), 2);
}

#[test]
fn the_queue_is_bounded_in_all() {
    let permits = Arc::new(ClassedPermits::new(1, &[0, 0], 2).unwrap());
    permits.try_acquire(0, 1).unwrap();
    let mut waits = [ClassedWait::new(), ClassedWait::new()];
    assert!(poll(&permits, 0, 1, &mut waits[0]).is_pending());
    assert!(poll(&permits, 1, 1, &mut waits[1]).is_pending());
    let full = AcquireError::QueueFull { max_waiters: 2 };
    assert_eq!(
        poll(&permits, 1, 1, &mut ClassedWait::new()),
        Poll::Ready(Err(full))
    );
    assert_eq!((permits.waiting(), permits.max_waiters()), (2, 2));
    // Polled as another class it begins anew.
    assert!(poll(&permits, 1, 1, &mut waits[0]).is_pending());
    assert_eq!((permits.waiting_of(0), permits.waiting_of(1)), (0, 2));
}

#[test]
fn a_changed_share_lets_in_whom_it_makes_the_next() {
    let permits = permits(4, &[0, 0]);
    permits.try_acquire(1, 2).unwrap();
    let count = Count::new();
    let waker = count.waker();
    let mut high = ClassedWait::new();
    assert!(poll(&permits, 0, 3, &mut high).is_pending());
    let mut low = ClassedWait::new();
    let mut cx = Context::from_waker(&waker);
    assert!(permits.poll_acquire(&mut cx, 1, 1, &mut low).is_pending());
    assert_eq!(permits.set_share(1, 3), Ok(0));
    assert_eq!(count.get(), 1);
    assert_eq!(
        permits.set_share(0, 2),
        Err(ClassesError::SharesAboveLimit {
            shares: 5,
            limit: 4
        })
    );
    assert_eq!(
        permits.set_limit(2),
        Err(ClassesError::SharesAboveLimit {
            shares: 3,
            limit: 2
        })
    );
    assert_eq!((permits.limit(), permits.share(1)), (4, 3));
    assert!(format!("{permits:?}").contains("waiting: 1"));
    assert!(format!("{high:?}").contains("queued: true"));
}
