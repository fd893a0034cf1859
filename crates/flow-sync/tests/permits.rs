//! Permits, step by step on one thread.
#![cfg(not(loom))]

mod common;

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use common::Count;
use flow_sync::{AcquireError, PermitWait, Permits, TryAcquireError};

/// A waiter and how often it was woken.
struct Waiter {
    n: u32,
    wait: PermitWait,
    count: Arc<Count>,
}

impl Waiter {
    fn new(n: u32) -> Self {
        Self {
            n,
            wait: PermitWait::new(),
            count: Count::new(),
        }
    }

    /// A waiter that has queued.
    fn queued(permits: &Arc<Permits>, n: u32) -> Self {
        let mut waiter = Self::new(n);
        assert!(waiter.poll(permits).is_pending());
        assert!(waiter.wait.is_queued());
        waiter
    }

    fn poll(&mut self, permits: &Arc<Permits>) -> Poll<Result<(), AcquireError>> {
        let waker = self.count.waker();
        permits.poll_acquire(&mut Context::from_waker(&waker), self.n, &mut self.wait)
    }
}

fn permits(limit: u32) -> Arc<Permits> {
    Arc::new(Permits::new(limit, usize::MAX).expect("a small limit"))
}

const OK: Poll<Result<(), AcquireError>> = Poll::Ready(Ok(()));

#[test]
fn takes_and_gives_back() {
    let permits = permits(10);
    assert_eq!((permits.available(), permits.in_flight()), (10, 0));
    permits.try_acquire(3).unwrap();
    assert_eq!(permits.available(), 7);
    permits.try_acquire(5).unwrap();
    assert_eq!(permits.try_acquire(3), Err(TryAcquireError::Unavailable));
    assert_eq!(permits.available(), 2);
    permits.try_acquire(2).unwrap();
    permits.try_acquire(0).unwrap();
    permits.release(4).unwrap();
    assert_eq!((permits.available(), permits.in_flight()), (4, 6));
}

#[test]
fn never_possible_is_not_not_now() {
    let permits = permits(2);
    let too_many = TryAcquireError::TooMany { asked: 3, limit: 2 };
    assert_eq!(permits.try_acquire(3), Err(too_many));
    assert_eq!(
        too_many.to_string(),
        "3 permits are more than the limit of 2"
    );
    let mut waiter = Waiter::new(u32::MAX);
    let too_many = AcquireError::TooMany {
        asked: u32::MAX,
        limit: 2,
    };
    assert_eq!(waiter.poll(&permits), Poll::Ready(Err(too_many)));
    assert!(!waiter.wait.is_queued());
}

#[test]
fn the_largest_limit_is_usable_and_larger_ones_are_refused() {
    let max = Permits::MAX_LIMIT;
    let permits = permits(max);
    permits.try_acquire(max).unwrap();
    let mut waiter = Waiter::queued(&permits, max);
    permits.release(max).unwrap();
    assert_eq!(waiter.poll(&permits), OK);
    assert_eq!(permits.in_flight(), max);
    let refused = permits.set_limit(max + 1).unwrap_err();
    assert_eq!((refused.given(), refused.max()), (max + 1, max));
    assert_eq!(permits.limit(), max);
    assert!(Permits::new(u32::MAX, 0).is_err());
}

#[test]
fn waiters_are_served_in_order_and_not_passed() {
    let permits = permits(2);
    permits.try_acquire(2).unwrap();
    let mut big = Waiter::queued(&permits, 2);
    let mut small = Waiter::queued(&permits, 1);
    permits.release(1).unwrap();
    // One is free, but the big one is first.
    assert_eq!(permits.available(), 1);
    assert_eq!(permits.try_acquire(1), Err(TryAcquireError::Unavailable));
    permits.try_acquire(0).unwrap();
    assert_eq!((big.count.get(), small.count.get()), (0, 0));
    permits.release(1).unwrap();
    assert_eq!((big.count.get(), small.count.get()), (1, 0));
    assert!(small.poll(&permits).is_pending());
    assert_eq!(big.poll(&permits), OK);
    permits.release(2).unwrap();
    assert_eq!(small.poll(&permits), OK);
    assert_eq!(small.count.get(), 1);
    // Nobody waits: the fast path is open again.
    permits.try_acquire(1).unwrap();
    assert_eq!(permits.waiting(), 0);
}

#[test]
fn a_big_head_that_leaves_frees_those_behind_it() {
    let permits = permits(3);
    permits.try_acquire(1).unwrap();
    let big = Waiter::queued(&permits, 3);
    let mut small = [Waiter::queued(&permits, 1), Waiter::queued(&permits, 1)];
    let mut last = Waiter::queued(&permits, 1);
    drop(big);
    for waiter in &mut small {
        assert_eq!(waiter.count.get(), 1);
        assert_eq!(waiter.poll(&permits), OK);
    }
    assert!(last.poll(&permits).is_pending());
    permits.release(1).unwrap();
    assert_eq!(last.poll(&permits), OK);
}

#[test]
fn a_grant_that_is_dropped_goes_to_the_next() {
    let permits = permits(1);
    permits.try_acquire(1).unwrap();
    let first = Waiter::queued(&permits, 1);
    let mut second = Waiter::queued(&permits, 1);
    permits.release(1).unwrap();
    assert_eq!((first.count.get(), second.count.get()), (1, 0));
    drop(first);
    assert_eq!(second.count.get(), 1);
    assert_eq!(second.poll(&permits), OK);
    permits.release(1).unwrap();
    assert_eq!((permits.in_flight(), permits.waiting()), (0, 0));
}

#[test]
fn the_last_waker_counts() {
    let permits = permits(1);
    permits.try_acquire(1).unwrap();
    let mut waiter = Waiter::queued(&permits, 1);
    let old = std::mem::replace(&mut waiter.count, Count::new());
    assert!(waiter.poll(&permits).is_pending());
    permits.release(1).unwrap();
    assert_eq!((old.get(), waiter.count.get()), (0, 1));
    assert_eq!(Arc::strong_count(&old), 1, "the old waker is gone");
    assert_eq!(waiter.poll(&permits), OK);
}

#[test]
fn another_need_or_other_permits_start_anew() {
    let (one, other) = (permits(2), permits(2));
    one.try_acquire(2).unwrap();
    other.try_acquire(2).unwrap();
    let mut waiter = Waiter::queued(&one, 2);
    let mut behind = Waiter::queued(&one, 1);
    waiter.n = 1;
    assert!(waiter.poll(&one).is_pending());
    one.release(1).unwrap();
    assert_eq!(behind.poll(&one), OK, "it lost its place");
    assert!(waiter.poll(&other).is_pending());
    assert_eq!((one.waiting(), other.waiting()), (0, 1));
    waiter.wait.cancel();
    waiter.wait.cancel();
    assert_eq!(other.waiting(), 0);
}

// Cases 59 and 60.
#[test]
fn the_limit_can_move_while_permits_are_out() {
    let permits = permits(5);
    permits.try_acquire(3).unwrap();
    assert_eq!(permits.set_limit(8), Ok(5));
    assert_eq!(permits.available(), 5);
    permits.set_limit(6).unwrap();
    assert_eq!(permits.available(), 3);
    permits.try_acquire(3).unwrap();
    permits.set_limit(4).unwrap();
    assert_eq!((permits.available(), permits.in_flight()), (0, 6));
    assert_eq!(permits.try_acquire(1), Err(TryAcquireError::Unavailable));
    permits.release(2).unwrap();
    assert_eq!(permits.try_acquire(1), Err(TryAcquireError::Unavailable));
    permits.release(4).unwrap();
    assert_eq!((permits.available(), permits.in_flight()), (4, 0));
}

#[test]
fn a_raised_limit_lets_waiters_in() {
    let permits = permits(1);
    permits.try_acquire(1).unwrap();
    let mut waiters: Vec<_> = (0..40).map(|_| Waiter::queued(&permits, 1)).collect();
    // More than one wake list holds.
    permits.set_limit(40).unwrap();
    for waiter in &mut waiters[..39] {
        assert_eq!(waiter.count.get(), 1);
        assert_eq!(waiter.poll(&permits), OK);
    }
    assert!(waiters[39].poll(&permits).is_pending());
}

#[test]
fn a_waiter_too_big_for_a_lowered_limit_is_sent_away_in_its_turn() {
    let permits = permits(4);
    permits.try_acquire(2).unwrap();
    let mut first = Waiter::queued(&permits, 3);
    let mut big = Waiter::queued(&permits, 4);
    let mut small = Waiter::queued(&permits, 1);
    permits.set_limit(3).unwrap();
    assert!(first.poll(&permits).is_pending());
    permits.release(2).unwrap();
    assert_eq!(first.poll(&permits), OK);
    let too_many = AcquireError::TooMany { asked: 4, limit: 3 };
    assert_eq!(big.poll(&permits), Poll::Ready(Err(too_many)));
    assert!(small.poll(&permits).is_pending());
    permits.release(3).unwrap();
    assert_eq!(small.poll(&permits), OK);
}

#[test]
fn more_than_the_limit_goes_alone_if_it_may() {
    for make in [Permits::new, Permits::barging] {
        let permits = make(4, usize::MAX).expect("a small limit");
        let permits = Arc::new(permits.alone_up_to(8).expect("as small"));
        permits.try_acquire(8).unwrap();
        assert_eq!((permits.in_flight(), permits.available()), (8, 0));
        // One that is within the limit waits for it; so does another that is not.
        let mut small = Waiter::queued(&permits, 1);
        let mut big = Waiter::queued(&permits, 5);
        permits.release(8).unwrap();
        assert_eq!(small.poll(&permits), OK);
        assert!(big.poll(&permits).is_pending());
        permits.release(1).unwrap();
        assert_eq!(big.count.get(), 1);
        assert_eq!(big.poll(&permits), OK);
        // It is not sent away when the limit falls, and goes as soon as nothing is out.
        let mut big = Waiter::queued(&permits, 8);
        permits.set_limit(1).unwrap();
        permits.release(5).unwrap();
        assert_eq!(big.poll(&permits), OK);
        permits.release(8).unwrap();
        let too_many = TryAcquireError::TooMany { asked: 9, limit: 8 };
        assert_eq!(permits.try_acquire(9), Err(too_many));
        permits.set_limit(10).unwrap();
        permits.try_acquire(9).unwrap();
        permits.release(9).unwrap();
        permits.close();
        assert_eq!(permits.try_acquire(8), Err(TryAcquireError::Closed));
    }
}

#[test]
fn more_than_the_limit_passes_nobody_who_waits() {
    let permits = Permits::new(2, usize::MAX).expect("a small limit");
    let permits = Arc::new(permits.alone_up_to(4).expect("as small"));
    permits.try_acquire(1).unwrap();
    let mut first = Waiter::queued(&permits, 3);
    permits.release(1).unwrap();
    // Granted already, and not yet polled.
    assert_eq!(permits.try_acquire(4), Err(TryAcquireError::Unavailable));
    assert_eq!(first.poll(&permits), OK);
    // It holds up those behind it, who would fit, until it leaves.
    let mut big = Waiter::queued(&permits, 4);
    permits.release(3).unwrap();
    assert_eq!(big.poll(&permits), OK);
    permits.release(4).unwrap();
    permits.try_acquire(1).unwrap();
    let big = Waiter::queued(&permits, 4);
    let mut small = Waiter::queued(&permits, 1);
    assert!(small.poll(&permits).is_pending());
    drop(big);
    assert_eq!(small.poll(&permits), OK);
}

#[test]
fn no_more_than_max_waiters_queue() {
    let permits = Arc::new(Permits::new(1, 1).unwrap());
    permits.try_acquire(1).unwrap();
    let first = Waiter::queued(&permits, 1);
    let full = AcquireError::QueueFull { max_waiters: 1 };
    assert_eq!(Waiter::new(1).poll(&permits), Poll::Ready(Err(full)));
    drop(first);
    let mut next = Waiter::queued(&permits, 1);
    permits.release(1).unwrap();
    assert_eq!(next.poll(&permits), OK);
}

#[test]
fn close_refuses_and_sends_everybody_away() {
    let permits = permits(1);
    permits.try_acquire(1).unwrap();
    let mut waiters: Vec<_> = (0..40).map(|_| Waiter::queued(&permits, 1)).collect();
    assert!(!permits.is_closed());
    permits.close();
    permits.close();
    assert!(permits.is_closed());
    for waiter in &mut waiters {
        assert_eq!(waiter.count.get(), 1);
        assert_eq!(
            waiter.poll(&permits),
            Poll::Ready(Err(AcquireError::Closed))
        );
    }
    for n in [0, 1, 2] {
        assert_eq!(permits.try_acquire(n), Err(TryAcquireError::Closed));
        let answer = Waiter::new(n).poll(&permits);
        assert_eq!(answer, Poll::Ready(Err(AcquireError::Closed)));
    }
    permits.release(1).unwrap();
    permits.set_limit(7).unwrap();
    assert!(permits.is_closed());
    assert_eq!((permits.in_flight(), permits.limit()), (0, 7));
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("a waker panics");
        }
    }
    let permits = permits(2);
    permits.try_acquire(2).unwrap();
    let bomb = Waker::from(Arc::new(Bomb));
    let mut first = PermitWait::new();
    let mut cx = Context::from_waker(&bomb);
    assert!(permits.poll_acquire(&mut cx, 1, &mut first).is_pending());
    let mut second = Waiter::queued(&permits, 1);
    permits.release(2).unwrap();
    assert_eq!(second.poll(&permits), OK);
    assert_eq!(permits.poll_acquire(&mut cx, 1, &mut first), OK);
}

#[test]
fn a_waker_that_panics_when_dropped_harms_nobody_else() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("planned"));
        }
    }
    let permits = permits(2);
    permits.try_acquire(1).unwrap();
    let bomb = Waker::from(Arc::new(Bomb));
    let mut first = PermitWait::new();
    let mut cx = Context::from_waker(&bomb);
    assert!(permits.poll_acquire(&mut cx, 2, &mut first).is_pending());
    // The queue's copy is the last one now.
    drop(bomb);
    let mut second = Waiter::queued(&permits, 1);
    drop(first);
    assert_eq!(second.poll(&permits), OK);
}

#[test]
fn more_than_is_out_cannot_be_released() {
    let permits = permits(3);
    let refused = permits.release(1).unwrap_err();
    assert_eq!((refused.given(), refused.in_flight()), (1, 0));
    permits.try_acquire(2).unwrap();
    for n in [3, Permits::MAX_LIMIT, u32::MAX] {
        let refused = permits.release(n).unwrap_err();
        assert_eq!((refused.given(), refused.in_flight()), (n, 2));
        assert_eq!((permits.limit(), permits.available()), (3, 1));
    }
    assert!(!permits.is_closed());
    assert!(Permits::new(1, 1).unwrap().alone_up_to(u32::MAX).is_err());

    // Nor does it let anybody in, or lose the queue.
    let mut waiter = Waiter::queued(&permits, 2);
    assert!(permits.release(4).is_err());
    assert!(waiter.poll(&permits).is_pending());
    assert_eq!((permits.waiting(), permits.in_flight()), (1, 2));
    permits.release(1).unwrap();
    assert_eq!(waiter.poll(&permits), OK);
    permits.release(3).unwrap();
    permits.release(0).unwrap();
    assert_eq!((permits.in_flight(), permits.available()), (0, 3));
}

#[test]
fn debug_shows_the_state() {
    let permits = permits(2);
    permits.try_acquire(2).unwrap();
    let _waiter = Waiter::queued(&permits, 1);
    assert_eq!(
        format!("{permits:?}"),
        "Permits { limit: 2, in_flight: 2, waiting: 1, closed: false, .. }"
    );
}
