//! Models of those who wait for a key. `loom-mutations.toml` lists the lines without which they
//! fail.
#![cfg(loom)]

mod loom_common;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use flow_ratelimit::{AcquireError, KeyedLimiter, Limiter, Rate, WaitState};
use loom::future::block_on;
use loom::thread::{self, JoinHandle};
use loom_common::{Fate, Threads, Time, explore, per_milli};

type Keyed = KeyedLimiter<u64, Arc<Time>>;

/// A limiter of one token for each key, that key 1 has spent already.
fn limiter(time: &Arc<Time>, rate: Rate, first: Fate) -> Keyed {
    let runtime = Threads::new(time, first).handle();
    let builder = KeyedLimiter::builder().rate(rate).burst(1).max_keys(2);
    let builder = builder.seed(1).counted(false).runtime(&runtime);
    let limiter = builder.clock(time.clone()).build().unwrap();
    limiter.try_acquire(&1).unwrap();
    limiter
}

/// One who waits for key 1 already; `None` if it was answered at once.
fn enter(limiter: &Keyed) -> Option<WaitState> {
    let mut state = WaitState::new();
    let mut cx = Context::from_waker(Waker::noop());
    let polled = limiter.key(&1).poll_acquire_n(&mut cx, 1, &mut state);
    polled.is_pending().then_some(state)
}

fn wait_on(limiter: &Keyed, mut state: WaitState) -> Result<(), AcquireError> {
    block_on(poll_fn(|cx| {
        limiter.key(&1).poll_acquire_n(cx, 1, &mut state)
    }))
    .map(drop)
}

fn waiter(limiter: &Keyed) -> JoinHandle<Result<(), AcquireError>> {
    let limiter = limiter.clone();
    thread::spawn(move || wait_on(&limiter, WaitState::new()))
}

/// Slow, so that only what comes back can end a wait.
fn slow() -> Rate {
    Rate::per_hour(1)
}

/// The token comes back as one begins to wait for it.
#[test]
fn a_refund_meets_one_who_comes() {
    explore("keyed: enter || refund", 2, || {
        let time = Time::new();
        let limiter = limiter(&time, slow(), Fate::Runs);
        let waits = waiter(&limiter);
        limiter.refund(&1, 1);
        waits.join().unwrap().unwrap();
        assert_eq!((limiter.available(&1), limiter.stats().waiting), (0, 0));
    });
}

/// A wait is given up as its token comes: it goes back.
#[test]
fn a_refund_meets_one_who_leaves() {
    explore("keyed: cancel || refund", 2, || {
        let time = Time::new();
        let limiter = limiter(&time, slow(), Fate::Runs);
        let state = enter(&limiter).expect("nothing is there");
        let leaves = thread::spawn(move || drop(state));
        limiter.refund(&1, 1);
        leaves.join().unwrap();
        assert_eq!((limiter.available(&1), limiter.stats().waiting), (1, 0));
    });
}

/// The first one leaves as the token comes: it goes to the second.
#[test]
fn the_next_one_gets_what_is_given_up() {
    explore("keyed: cancel of the head || refund, two wait", 2, || {
        let time = Time::new();
        let limiter = limiter(&time, slow(), Fate::Runs);
        let first = enter(&limiter).expect("nothing is there");
        let second = enter(&limiter).expect("nothing is there");
        let leaves = thread::spawn(move || drop(first));
        limiter.refund(&1, 1);
        leaves.join().unwrap();
        wait_on(&limiter, second).unwrap();
        assert_eq!((limiter.available(&1), limiter.stats().waiting), (0, 0));
    });
}

/// The time comes as one begins to wait: its driver finds out.
#[test]
fn the_time_comes_while_one_comes() {
    explore("keyed: enter || time", 2, || {
        let time = Time::new();
        let limiter = limiter(&time, per_milli(), Fate::Runs);
        let waits = waiter(&limiter);
        time.set(1);
        waits.join().unwrap().unwrap();
        assert_eq!(limiter.stats().waiting, 0);
    });
}

#[test]
fn a_close_meets_one_who_comes() {
    explore("keyed: enter || close", 2, || {
        let time = Time::new();
        let limiter = limiter(&time, slow(), Fate::Runs);
        let waits = waiter(&limiter);
        limiter.close();
        assert_eq!(waits.join().unwrap(), Err(AcquireError::Closed));
        assert_eq!(limiter.stats().waiting, 0);
    });
}

/// The runtime drops its driver: whoever waits makes another one, or is told if it was dropped
/// before the wait had begun.
#[test]
fn a_driver_that_is_dropped_strands_nobody() {
    explore("keyed: driver dropped || wait", 2, || {
        let time = Time::new();
        let limiter = limiter(&time, per_milli(), Fate::DroppedOncePolled);
        let waits = waiter(&limiter);
        time.set(1);
        let waited = waits.join().unwrap();
        assert!(matches!(waited, Ok(()) | Err(AcquireError::Stopped)));
        assert_eq!(limiter.stats().waiting, 0);
    });
}

/// A runtime that is gone: the wait fails, and leaves nothing.
#[test]
fn a_runtime_that_is_gone_is_told() {
    explore("keyed: a runtime that drops all || refund", 2, || {
        let time = Time::new();
        let limiter = limiter(&time, slow(), Fate::Dropped);
        let waits = waiter(&limiter);
        limiter.refund(&1, 1);
        let left = match waits.join().unwrap() {
            Ok(()) => 0,
            Err(error) => {
                assert_eq!(error, AcquireError::Stopped);
                1
            }
        };
        assert_eq!((limiter.available(&1), limiter.stats().waiting), (left, 0));
    });
}

/// A newcomer never passes one whose wait has begun.
#[test]
fn a_newcomer_meets_a_refund() {
    explore("keyed: try_acquire || refund, one waits", 2, || {
        let time = Time::new();
        let limiter = limiter(&time, slow(), Fate::Runs);
        let state = enter(&limiter).expect("nothing is there");
        let newcomer = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.try_acquire(&1).is_ok())
        };
        limiter.refund(&1, 1);
        assert!(!newcomer.join().unwrap(), "it passed the one who waits");
        let mut state = state;
        let polled = block_on(poll_fn(|cx| {
            Poll::Ready(limiter.key(&1).poll_acquire_n(cx, 1, &mut state))
        }));
        assert!(polled.is_ready(), "the token is its own");
    });
}
