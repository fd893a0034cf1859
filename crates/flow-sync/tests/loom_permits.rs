//! Models of the permits. A wake list holds one waker here, so every model of several waiters
//! also goes through the rounds of `more`.
#![cfg(loom)]

mod loom_common;

use std::sync::Arc;
use std::task::Poll;

use flow_sync::model::explore;
use flow_sync::{AcquireError, PermitWait, Permits, TryAcquireError};
use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle};
use loom_common::block_on;

fn permits(limit: u32) -> Arc<Permits> {
    Arc::new(Permits::new(limit, usize::MAX).expect("a small limit"))
}

fn acquire(permits: &Arc<Permits>, n: u32) -> Result<(), AcquireError> {
    let mut wait = PermitWait::new();
    block_on(|cx| permits.poll_acquire(cx, n, &mut wait))
}

/// A thread that acquires and keeps.
fn acquirer(permits: &Arc<Permits>, n: u32) -> JoinHandle<Result<(), AcquireError>> {
    let permits = permits.clone();
    thread::spawn(move || acquire(&permits, n))
}

/// A thread that polls once and gives up; what it got it gives back.
fn quitter(permits: &Arc<Permits>, n: u32) -> JoinHandle<()> {
    let permits = permits.clone();
    thread::spawn(move || {
        let mut wait = PermitWait::new();
        if block_on(|cx| Poll::Ready(permits.poll_acquire(cx, n, &mut wait))).is_ready() {
            permits.release(n).unwrap();
        }
    })
}

#[test]
fn release_meets_enqueue() {
    explore("permits: release || enqueue", 3, || {
        let permits = permits(1);
        permits.try_acquire(1).unwrap();
        let waiter = acquirer(&permits, 1);
        permits.release(1).unwrap();
        waiter.join().unwrap().unwrap();
        assert_eq!((permits.in_flight(), permits.waiting()), (1, 0));
    });
}

#[test]
fn release_of_too_many_meets_enqueue() {
    explore("permits: release of too many || enqueue", 3, || {
        let permits = permits(1);
        let waiter = acquirer(&permits, 1);
        // Nothing or one is out. Meanwhile nothing seems to be free, and nobody else comes by.
        permits.release(2).unwrap_err();
        waiter.join().unwrap().unwrap();
        assert_eq!((permits.in_flight(), permits.waiting()), (1, 0));
        permits.release(1).unwrap();
        permits.try_acquire(1).unwrap();
    });
}

#[test]
fn release_meets_two_enqueues() {
    explore("permits: release || enqueue || enqueue", 2, || {
        let permits = permits(1);
        permits.try_acquire(1).unwrap();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let permits = permits.clone();
                thread::spawn(move || {
                    acquire(&permits, 1).unwrap();
                    permits.release(1).unwrap();
                })
            })
            .collect();
        permits.release(1).unwrap();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!((permits.in_flight(), permits.waiting()), (0, 0));
        permits.try_acquire(1).expect("the waiter bit is clear");
    });
}

#[test]
fn one_release_serves_two() {
    explore("permits: release of two || two enqueues", 2, || {
        let permits = permits(2);
        permits.try_acquire(2).unwrap();
        let waiters = [acquirer(&permits, 1), acquirer(&permits, 1)];
        permits.release(2).unwrap();
        for waiter in waiters {
            waiter.join().unwrap().unwrap();
        }
        assert_eq!(permits.in_flight(), 2);
    });
}

#[test]
fn one_release_serves_three() {
    explore("permits: release of three || enqueue behind two", 3, || {
        let permits = permits(3);
        permits.try_acquire(3).unwrap();
        let mut waits = [PermitWait::new(), PermitWait::new()];
        for wait in &mut waits {
            let queued = block_on(|cx| Poll::Ready(permits.poll_acquire(cx, 1, wait)));
            assert!(queued.is_pending());
        }
        let third = acquirer(&permits, 1);
        permits.release(3).unwrap();
        for wait in &mut waits {
            block_on(|cx| permits.poll_acquire(cx, 1, wait)).unwrap();
        }
        third.join().unwrap().unwrap();
        assert_eq!((permits.in_flight(), permits.waiting()), (3, 0));
    });
}

#[test]
fn grant_meets_cancel() {
    explore("permits: grant || cancel || a third", 2, || {
        let permits = permits(1);
        permits.try_acquire(1).unwrap();
        let quitter = quitter(&permits, 1);
        let third = acquirer(&permits, 1);
        permits.release(1).unwrap();
        quitter.join().unwrap();
        third.join().unwrap().unwrap();
        assert_eq!((permits.in_flight(), permits.waiting()), (1, 0));
    });
}

#[test]
fn a_big_head_leaves() {
    explore("permits: a big head leaves || a small one comes", 3, || {
        let permits = permits(2);
        permits.try_acquire(1).unwrap();
        let big = quitter(&permits, 2);
        // Nobody releases: only the big one's leaving lets it in.
        acquire(&permits, 1).unwrap();
        big.join().unwrap();
        assert_eq!((permits.in_flight(), permits.waiting()), (2, 0));
    });
}

#[test]
fn a_big_head_leaves_room_for_two() {
    explore(
        "permits: a big head leaves || two small ones come",
        2,
        || {
            let permits = permits(3);
            permits.try_acquire(1).unwrap();
            let small = [acquirer(&permits, 1), acquirer(&permits, 1)];
            block_on(|cx| {
                let mut wait = PermitWait::new();
                if permits.poll_acquire(cx, 3, &mut wait).is_ready() {
                    panic!("one permit is out");
                }
                Poll::Ready(())
            });
            for waiter in small {
                waiter.join().unwrap().unwrap();
            }
            assert_eq!((permits.in_flight(), permits.waiting()), (3, 0));
        },
    );
}

#[test]
fn resize_meets_release() {
    explore("permits: raised limit || release || two wait", 1, || {
        let permits = permits(1);
        permits.try_acquire(1).unwrap();
        let waiters = [acquirer(&permits, 1), acquirer(&permits, 1)];
        let resizer = {
            let permits = permits.clone();
            thread::spawn(move || permits.set_limit(2).unwrap())
        };
        permits.release(1).unwrap();
        assert_eq!(resizer.join().unwrap(), 1);
        for waiter in waiters {
            waiter.join().unwrap().unwrap();
        }
        assert_eq!((permits.in_flight(), permits.limit()), (2, 2));
    });
}

/// One waits for two: the release alone makes room for one, and so does the raised limit.
#[test]
fn resize_and_release_serve_together() {
    explore("permits: raised limit || release, of a waiter", 3, || {
        let permits = permits(2);
        permits.try_acquire(2).unwrap();
        let mut wait = PermitWait::new();
        let queued = block_on(|cx| Poll::Ready(permits.poll_acquire(cx, 2, &mut wait)));
        assert!(queued.is_pending());
        let resizer = {
            let permits = permits.clone();
            thread::spawn(move || permits.set_limit(3).unwrap())
        };
        permits.release(1).unwrap();
        block_on(|cx| permits.poll_acquire(cx, 2, &mut wait)).unwrap();
        assert_eq!(resizer.join().unwrap(), 2);
        assert_eq!((permits.in_flight(), permits.waiting()), (3, 0));
    });
}

#[test]
fn resize_meets_enqueue() {
    explore("permits: raised limit || enqueue", 3, || {
        let permits = permits(1);
        permits.try_acquire(1).unwrap();
        let waiter = acquirer(&permits, 1);
        permits.set_limit(2).unwrap();
        waiter.join().unwrap().unwrap();
        assert_eq!(permits.in_flight(), 2);
    });
}

#[test]
fn a_lowered_limit_sends_away() {
    explore("permits: lowered limit || enqueue too big", 3, || {
        let permits = permits(2);
        permits.try_acquire(1).unwrap();
        let big = acquirer(&permits, 2);
        permits.set_limit(1).unwrap();
        // It is still held: the big one cannot have got anything.
        let refused = big.join().unwrap().unwrap_err();
        assert_eq!(refused, AcquireError::TooMany { asked: 2, limit: 1 });
        permits.release(1).unwrap();
        permits.try_acquire(1).expect("nobody is in the way");
    });
}

fn alone(permits: Permits, most: u32) -> Arc<Permits> {
    Arc::new(permits.alone_up_to(most).expect("a small need"))
}

#[test]
fn one_that_goes_alone_meets_the_last_release() {
    explore("permits: lowered limit || release || alone", 2, || {
        let permits = alone(Permits::new(2, usize::MAX).unwrap(), 2);
        permits.try_acquire(1).unwrap();
        let big = acquirer(&permits, 2);
        let resizer = {
            let permits = permits.clone();
            thread::spawn(move || permits.set_limit(1).unwrap())
        };
        permits.release(1).unwrap();
        resizer.join().unwrap();
        big.join().unwrap().unwrap();
        assert_eq!((permits.in_flight(), permits.waiting()), (2, 0));
        permits.release(2).unwrap();
        permits.try_acquire(1).expect("the waiter bit is clear");
    });
}

#[test]
fn one_that_goes_alone_meets_a_newcomer() {
    explore("permits: alone || another", 3, || {
        let permits = alone(Permits::new(1, usize::MAX).unwrap(), 2);
        let newcomer = {
            let permits = permits.clone();
            thread::spawn(move || {
                if permits.try_acquire(1).is_ok() {
                    assert_eq!(permits.in_flight(), 1);
                    permits.release(1).unwrap();
                }
            })
        };
        if permits.try_acquire(2).is_ok() {
            assert_eq!(permits.in_flight(), 2);
            permits.release(2).unwrap();
        }
        newcomer.join().unwrap();
        assert_eq!(permits.in_flight(), 0);
    });
}

#[test]
fn barging_alone_meets_release() {
    explore("permits, barging: release || alone", 3, || {
        let permits = alone(Permits::barging(1, usize::MAX).unwrap(), 2);
        permits.try_acquire(1).unwrap();
        let big = acquirer(&permits, 2);
        permits.release(1).unwrap();
        big.join().unwrap().unwrap();
        assert_eq!((permits.in_flight(), permits.waiting()), (2, 0));
    });
}

fn close_among_enqueues(permits: &Arc<Permits>) {
    permits.try_acquire(1).unwrap();
    let waiters = [acquirer(permits, 1), acquirer(permits, 1)];
    permits.close();
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), Err(AcquireError::Closed));
    }
    permits.release(1).unwrap();
    assert_eq!((permits.in_flight(), permits.waiting()), (0, 0));
}

#[test]
fn close_meets_push() {
    explore("permits: close || enqueue || enqueue", 3, || {
        close_among_enqueues(&permits(1));
    });
}

fn close_among_releases(permits: &Arc<Permits>) {
    permits.try_acquire(1).unwrap();
    let waiter = acquirer(permits, 1);
    let closer = {
        let permits = permits.clone();
        thread::spawn(move || permits.close())
    };
    permits.release(1).unwrap();
    let got = waiter.join().unwrap();
    closer.join().unwrap();
    assert!(permits.is_closed());
    assert_eq!(permits.in_flight(), u32::from(got.is_ok()));
    assert_eq!(permits.waiting(), 0);
    // Free or not, none is given any more.
    assert_eq!(permits.try_acquire(1), Err(TryAcquireError::Closed));
}

#[test]
fn close_meets_release() {
    explore("permits: close || release || a waiter", 3, || {
        close_among_releases(&permits(1));
    });
}

/// Loom's cell fails when two accesses are not ordered by what the permits do.
#[test]
fn permits_order_what_they_guard() {
    explore("permits: mutual exclusion of three", 2, || {
        let shared = Arc::new((permits(1), UnsafeCell::new(())));
        let work = |shared: &(Arc<Permits>, UnsafeCell<()>)| {
            acquire(&shared.0, 1).unwrap();
            shared.1.with_mut(|_| ());
            shared.0.release(1).unwrap();
        };
        let others: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || work(&shared))
            })
            .collect();
        work(&shared);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(shared.0.in_flight(), 0);
    });
}

#[test]
fn a_newcomer_takes_no_more_than_the_limit() {
    explore("permits: try || release || a waiter", 3, || {
        let permits = permits(1);
        permits.try_acquire(1).unwrap();
        let waiter = {
            let permits = permits.clone();
            thread::spawn(move || {
                acquire(&permits, 1).unwrap();
                permits.release(1).unwrap();
            })
        };
        let newcomer = {
            let permits = permits.clone();
            thread::spawn(move || {
                if permits.try_acquire(1).is_ok() {
                    assert_eq!(permits.in_flight(), 1);
                    permits.release(1).unwrap();
                }
            })
        };
        permits.release(1).unwrap();
        waiter.join().unwrap();
        newcomer.join().unwrap();
        assert_eq!((permits.in_flight(), permits.waiting()), (0, 0));
    });
}

fn barging(limit: u32) -> Arc<Permits> {
    Arc::new(Permits::barging(limit, usize::MAX).expect("a small limit"))
}

#[test]
fn barging_release_meets_enqueue() {
    explore("permits, barging: release || enqueue", 3, || {
        let permits = barging(1);
        permits.try_acquire(1).unwrap();
        let waiter = acquirer(&permits, 1);
        permits.release(1).unwrap();
        waiter.join().unwrap().unwrap();
        assert_eq!((permits.in_flight(), permits.waiting()), (1, 0));
    });
}

#[test]
fn barging_tells_one_after_another() {
    explore("permits, barging: release || two enqueues", 2, || {
        let permits = barging(2);
        permits.try_acquire(2).unwrap();
        let waiters = [acquirer(&permits, 1), acquirer(&permits, 1)];
        permits.release(2).unwrap();
        for waiter in waiters {
            waiter.join().unwrap().unwrap();
        }
        assert_eq!((permits.in_flight(), permits.waiting()), (2, 0));
    });
}

#[test]
fn barging_told_meets_cancel() {
    explore("permits, barging: told || cancel || another", 2, || {
        let permits = barging(1);
        permits.try_acquire(1).unwrap();
        let quitter = quitter(&permits, 1);
        let third = acquirer(&permits, 1);
        permits.release(1).unwrap();
        quitter.join().unwrap();
        third.join().unwrap().unwrap();
        assert_eq!((permits.in_flight(), permits.waiting()), (1, 0));
    });
}

#[test]
fn barging_newcomer_passes_and_gives_back() {
    explore("permits, barging: a newcomer || a told waiter", 2, || {
        let permits = barging(1);
        permits.try_acquire(1).unwrap();
        let waiter = acquirer(&permits, 1);
        let newcomer = {
            let permits = permits.clone();
            thread::spawn(move || {
                if permits.try_acquire(1).is_ok() {
                    permits.release(1).unwrap();
                }
            })
        };
        permits.release(1).unwrap();
        newcomer.join().unwrap();
        waiter.join().unwrap().unwrap();
        assert_eq!((permits.in_flight(), permits.waiting()), (1, 0));
    });
}

#[test]
fn barging_told_leaves_while_another_holds() {
    explore("permits, barging: told leaves || a newcomer", 2, || {
        let permits = barging(1);
        permits.try_acquire(1).unwrap();
        let quitter = quitter(&permits, 1);
        let third = acquirer(&permits, 1);
        permits.release(1).unwrap();
        if permits.try_acquire(1).is_ok() {
            permits.release(1).unwrap();
        }
        quitter.join().unwrap();
        third.join().unwrap().unwrap();
        assert_eq!((permits.in_flight(), permits.waiting()), (1, 0));
    });
}

#[test]
fn barging_resize_meets_enqueue() {
    explore("permits, barging: raised limit || enqueue", 3, || {
        let permits = barging(1);
        permits.try_acquire(1).unwrap();
        let waiter = acquirer(&permits, 1);
        permits.set_limit(2).unwrap();
        waiter.join().unwrap().unwrap();
        assert_eq!(permits.in_flight(), 2);
    });
}

/// As in the strict order; the waiter is a thread of its own, as one that polls again takes what is
/// there without being told.
#[test]
fn barging_resize_and_release_serve_together() {
    explore("permits, barging: raised limit || release", 3, || {
        let permits = barging(2);
        permits.try_acquire(2).unwrap();
        let waiter = acquirer(&permits, 2);
        let resizer = {
            let permits = permits.clone();
            thread::spawn(move || permits.set_limit(3).unwrap())
        };
        permits.release(1).unwrap();
        waiter.join().unwrap().unwrap();
        assert_eq!(resizer.join().unwrap(), 2);
        assert_eq!((permits.in_flight(), permits.waiting()), (3, 0));
    });
}

#[test]
fn barging_close_meets_enqueue() {
    explore("permits, barging: close || two enqueues", 3, || {
        close_among_enqueues(&barging(1));
    });
}

#[test]
fn barging_close_meets_release() {
    explore("permits, barging: close || release || a waiter", 3, || {
        close_among_releases(&barging(1));
    });
}
