//! Models of children that share a rate: they wait for their own tokens, and for what others leave,
//! while that is taken, given back and changed. The lock decides who goes; what may be lost is a
//! wake-up. How those who wait are driven is modelled with token buckets, but for what concerns
//! their lines.
#![cfg(loom)]

mod loom_common;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Waker};

use flow_ratelimit::{
    AcquireError, Denied, FairShare, FairShareBuilder, Limiter, Rate, Share, WaitState,
};
use loom::future::block_on;
use loom::thread::{self, JoinHandle};
use loom_common::{Fate, Threads, Time, explore};

type Child = Share<Arc<Time>>;

/// Children of one weight that have nothing, driven by a runtime of loom's threads; each has room for
/// so much.
fn children<const N: usize>(
    time: &Arc<Time>,
    rate: &str,
    each: u64,
) -> (FairShare<Arc<Time>>, [Child; N]) {
    children_driven(time, Fate::Runs, rate, each)
}

/// The same, whose first driver has another fate.
fn children_driven<const N: usize>(
    time: &Arc<Time>,
    first: Fate,
    rate: &str,
    each: u64,
) -> (FairShare<Arc<Time>>, [Child; N]) {
    let handle = Threads::new(time, first).handle();
    let builder = FairShare::builder().rate(rate).burst(each * N as u64);
    let add = |builder: FairShareBuilder, number: usize| builder.child(number.to_string(), 1);
    let builder = (0..N).fold(builder, add).counted(false);
    let built = builder.runtime(&handle).clock(time.clone()).build();
    let share = built.expect("valid");
    let children: Vec<_> = share.children().collect();
    for child in &children {
        child.try_acquire_n(each).expect("it starts full");
    }
    let children = children.try_into().expect("so many");
    (share, children)
}

fn acquire(child: &Child, n: u64) -> Result<(), AcquireError> {
    let mut state = WaitState::new();
    block_on(poll_fn(|cx| child.poll_acquire_n(cx, n, &mut state))).map(drop)
}

fn waiter(child: &Child, n: u64) -> JoinHandle<Result<(), AcquireError>> {
    let child = child.clone();
    thread::spawn(move || acquire(&child, n))
}

/// Tokens come back to one child and run over to the other, before it waits or after.
#[test]
fn what_runs_over_meets_a_push() {
    explore("share: refund of another child || push", 3, || {
        let (share, [a, b]) = children(&Time::new(), "1/h", 1);
        b.refund(1);
        let waiter = waiter(&a, 1);
        // There is no room for it in the child's own part.
        b.refund(1);
        waiter.join().unwrap().unwrap();
        assert_eq!((share.stats().waiting, share.available()), (0, 1));
        assert_eq!(a.try_acquire().map(drop).ok(), None);
        b.try_acquire().unwrap();
    });
}

/// The second line's head is due before that of the first, whose driver sleeps already, or not yet.
#[test]
fn a_line_that_is_due_earlier() {
    explore(
        "share: push of a line that is due earlier || clock",
        2,
        || {
            let time = Time::new();
            let (share, [a, b]) = children(&time, "1000/s", 4);
            let mut late = WaitState::new();
            let mut cx = Context::from_waker(Waker::noop());
            assert!(a.poll_acquire_n(&mut cx, 3, &mut late).is_pending());
            let early = waiter(&b, 1);
            time.set(2);
            early.join().unwrap().unwrap();
            drop(late);
            assert_eq!(share.stats().waiting, 0);
        },
    );
}

/// The line whose turn it is gives it up: what was held for it is the other's.
#[test]
fn a_turn_is_given_up() {
    explore("share: cancel || push of another line", 2, || {
        let (share, [a, b, idle]) = children(&Time::new(), "1/h", 2);
        // One has no room in its own part: it is held for the first who waits.
        idle.refund(3);
        let mut state = WaitState::new();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(a.poll_acquire_n(&mut cx, 2, &mut state).is_pending());
        let second = waiter(&b, 1);
        drop(state);
        second.join().unwrap().unwrap();
        assert_eq!((share.stats().waiting, share.available()), (0, 2));
    });
}

/// A wait ends while it is granted: its tokens go to the other line.
#[test]
fn grant_meets_cancel() {
    explore("share: refund || cancel || waiter", 2, || {
        let (share, [a, b]) = children(&Time::new(), "1/h", 1);
        let mut state = WaitState::new();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(a.poll_acquire_n(&mut cx, 1, &mut state).is_pending());
        let refund = {
            let a = a.clone();
            thread::spawn(move || a.refund(1))
        };
        drop(state);
        refund.join().unwrap();
        assert_eq!((share.stats().waiting, share.available()), (0, 1));
        a.try_acquire().unwrap();
        assert!(b.try_acquire().is_err());
    });
}

#[test]
fn changes_meet_arming() {
    explore("share: set_weight, set_rate || driver arms", 2, || {
        let time = Time::new();
        let (share, [a, _]) = children(&time, "1/h", 2);
        let waiter = waiter(&a, 1);
        a.set_weight(3).unwrap();
        share.set_rate(Rate::per_second(1_000)).unwrap();
        time.set(2);
        waiter.join().unwrap().unwrap();
        assert_eq!(share.stats().waiting, 0);
    });
}

#[test]
fn close_meets_push() {
    explore("share: close || push", 3, || {
        let (share, [a, b]) = children(&Time::new(), "1/h", 1);
        let waiter = waiter(&b, 1);
        share.close();
        assert_eq!(waiter.join().unwrap(), Err(AcquireError::Closed));
        assert_eq!(a.try_acquire().map(drop), Err(Denied::Closed));
    });
}

/// The only driver goes: who waits makes another one, in whichever line it stands.
#[test]
fn the_only_driver_is_dropped() {
    explore(
        "share: driver dropped once polled || waiter in a second line",
        2,
        || {
            let time = Time::new();
            let (share, [_, b]) = children_driven(&time, Fate::DroppedOncePolled, "2000/s", 1);
            let waiter = waiter(&b, 1);
            time.set(1);
            let answer = waiter.join().unwrap();
            assert!(matches!(answer, Ok(()) | Err(AcquireError::Stopped)));
            assert_eq!(share.stats().waiting, 0);
        },
    );
}
