//! Cancellation: the tree, reasons, waiters, and the leaks that others had.
#![cfg(not(loom))]

use std::future::{Future, pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use flow_rt::CancellationToken;
use futures_util::FutureExt;

#[test]
fn cancelling_goes_down_the_tree_and_not_up() {
    let root = CancellationToken::new();
    let (left, right) = (root.child_token(), root.child_token());
    let leaf = left.child_token();
    left.cancel();
    assert!(left.is_cancelled() && leaf.is_cancelled());
    assert!(!root.is_cancelled() && !right.is_cancelled());
    root.cancel();
    assert!(root.is_cancelled() && right.is_cancelled());
}

#[test]
fn clones_are_the_same_token() {
    let token = CancellationToken::new();
    let clone = token.clone();
    assert_eq!(token, clone);
    assert_ne!(token, token.child_token());
    assert_ne!(token, CancellationToken::default());
    clone.cancel();
    assert!(token.is_cancelled());
}

#[test]
fn the_first_reason_stays_and_goes_down() {
    let root = CancellationToken::new();
    let child = root.child_token();
    let own = root.child_token();
    assert_eq!(root.reason(), None);
    own.cancel_with("its own");
    root.cancel_with(String::from("shutting down"));
    root.cancel_with("too late");
    assert_eq!(root.reason().as_deref(), Some("shutting down"));
    assert_eq!(child.reason().as_deref(), Some("shutting down"));
    assert_eq!(own.reason().as_deref(), Some("its own"));
    // Born cancelled, with the reason.
    let late = root.child_token();
    assert!(late.is_cancelled());
    assert_eq!(late.reason().as_deref(), Some("shutting down"));

    let silent = CancellationToken::new();
    silent.cancel();
    silent.cancel_with("too late");
    assert_eq!(silent.reason(), None);
}

#[test]
fn a_grandchild_is_reached_when_nobody_holds_its_parent() {
    let root = CancellationToken::new();
    let leaf = root.child_token().child_token().child_token();
    root.cancel();
    assert!(leaf.is_cancelled());
}

#[test]
fn waiters_wake_however_they_wait() {
    let token = CancellationToken::new();
    let mut borrowed = pin!(token.cancelled());
    let mut owned = pin!(token.child_token().cancelled_owned());
    assert!((&mut borrowed).now_or_never().is_none());
    assert!((&mut owned).now_or_never().is_none());
    token.cancel();
    assert!(borrowed.now_or_never().is_some());
    assert!(owned.now_or_never().is_some());
    assert!(token.cancelled().now_or_never().is_some());
}

#[test]
fn a_waiter_that_is_dropped_leaves_the_others_theirs() {
    let token = CancellationToken::new();
    let counts: Vec<_> = (0..10).map(|_| Arc::new(Count::default())).collect();
    let mut waits: Vec<_> = counts.iter().map(|_| Box::pin(token.cancelled())).collect();
    for (wait, count) in waits.iter_mut().zip(&counts) {
        let waker = Waker::from(count.clone());
        assert!(
            wait.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
    }
    waits.truncate(5);
    token.cancel();
    let woken: Vec<_> = counts
        .iter()
        .map(|count| count.0.load(Ordering::Relaxed))
        .collect();
    assert_eq!(woken, [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]);
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_future_runs_until_it_is_ready_or_the_token_is_cancelled() {
    let token = CancellationToken::new();
    assert_eq!(
        token.run_until_cancelled(ready(1)).now_or_never(),
        Some(Some(1))
    );
    let mut run = pin!(token.run_until_cancelled(pending::<()>()));
    assert_eq!((&mut run).now_or_never(), None);
    // Once it runs, ready wins over cancelled.
    let cell = std::cell::Cell::new(false);
    let mut late = pin!(token.run_until_cancelled(poll_fn(|_| {
        if cell.get() {
            Poll::Ready(2)
        } else {
            Poll::Pending
        }
    })));
    assert_eq!((&mut late).now_or_never(), None);
    cell.set(true);
    token.cancel();
    assert_eq!(run.now_or_never(), Some(None));
    assert_eq!(late.now_or_never(), Some(Some(2)));
}

#[test]
fn a_future_is_not_begun_under_a_token_that_is_cancelled() {
    let token = CancellationToken::new();
    token.cancel();
    let begun = async { panic!("polled") };
    assert_eq!(token.run_until_cancelled(begun).now_or_never(), Some(None));
}

#[test]
fn a_cancel_wakes_who_polled_the_run_last() {
    let token = CancellationToken::new();
    let counts = [(); 3].map(|()| Arc::new(Count::default()));
    let mut run = pin!(token.run_until_cancelled(pending::<()>()));
    // The middle one twice, so that it finds its waker there; then it moves on.
    for who in [0, 1, 1, 2, 2] {
        let waker = Waker::from(counts[who].clone());
        let mut cx = Context::from_waker(&waker);
        assert!(run.as_mut().poll(&mut cx).is_pending());
    }
    token.cancel();
    let woken = counts.map(|count| count.0.load(Ordering::Relaxed));
    assert_eq!(woken, [0, 0, 1]);
    assert_eq!(run.now_or_never(), Some(None));
}

#[test]
fn a_token_is_unique_while_nothing_else_holds_it() {
    let token = CancellationToken::new();
    assert!(token.is_unique());
    let clone = token.clone();
    assert!(!token.is_unique());
    drop(clone);
    assert!(token.is_unique());
    let child = token.child_token();
    assert!(!token.is_unique() && child.is_unique());
    drop(child);
    let mut wait = Box::pin(token.clone().cancelled_owned());
    assert!((&mut wait).now_or_never().is_none());
    assert!(!token.is_unique());
    drop(wait);
    assert!(token.is_unique());
}

#[test]
fn a_unique_token_has_seen_what_its_clones_did() {
    for _ in 0..1_000 {
        let token = CancellationToken::new();
        let clone = token.clone();
        let other = thread::spawn(move || clone.cancel());
        while !token.is_unique() {
            thread::yield_now();
        }
        assert!(token.is_cancelled());
        other.join().unwrap();
    }
}

#[test]
fn a_guard_cancels_unless_it_is_disarmed() {
    let token = CancellationToken::new();
    drop(token.child_token().drop_guard());
    let guard = token.clone().drop_guard();
    assert_eq!(guard.disarm(), token);
    assert!(!token.is_cancelled());
    drop(token.clone().drop_guard());
    assert!(token.is_cancelled());
}

#[test]
fn debug_shows_the_state() {
    let token = CancellationToken::new();
    assert!(format!("{token:?}").contains("cancelled: false"));
    token.cancel_with("why not");
    let shown = format!("{token:?}");
    assert!(
        shown.contains("cancelled: true") && shown.contains("why not"),
        "{shown}"
    );
}

/// tokio-util#7026: the registry of a long-lived parent grew with every child.
#[test]
fn dropped_children_leave_the_parent() {
    let root = CancellationToken::new();
    let kept = root.child_token();
    for _ in 0..100_000 {
        drop(root.child_token());
        assert_eq!(root.child_count(), 1);
    }
    let many: Vec<_> = (0..1_000).map(|_| root.child_token()).collect();
    assert_eq!(root.child_count(), 1_001);
    // Out of order, so that places are freed in the middle and used again.
    let (even, odd): (Vec<_>, Vec<_>) = many.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
    drop(even);
    assert_eq!(root.child_count(), 501);
    let again: Vec<_> = (0..500).map(|_| root.child_token()).collect();
    drop(odd);
    assert_eq!(root.child_count(), 501);
    root.cancel();
    assert!(kept.is_cancelled() && again.iter().all(CancellationToken::is_cancelled));
}

/// tokio-util#4639: children of a cancelled parent were kept.
#[test]
fn a_cancelled_parent_keeps_no_children() {
    let root = CancellationToken::new();
    let children: Vec<_> = (0..100).map(|_| root.child_token()).collect();
    root.cancel();
    assert_eq!(root.child_count(), 0);
    let late: Vec<_> = (0..100).map(|_| root.child_token()).collect();
    assert_eq!(root.child_count(), 0);
    drop((children, late));
    assert_eq!(root.child_count(), 0);
    assert!(root.child_token().is_cancelled());
}

#[test]
fn a_chain_of_200_000_is_cancelled_and_dropped_without_recursion() {
    let chain = |root: &CancellationToken| {
        let mut last = root.child_token();
        for _ in 0..200_000 {
            last = last.child_token();
        }
        last
    };
    let root = CancellationToken::new();
    let last = chain(&root);
    root.cancel();
    assert!(last.is_cancelled());
    drop(last);
    drop(root);

    // From the bottom up, when only the leaf holds them all; and uncancelled.
    let root = CancellationToken::new();
    let last = chain(&root);
    drop(root);
    assert!(!last.is_cancelled());
    drop(last);

    // From the top, when every link is held by somebody.
    let root = CancellationToken::new();
    let mut held = vec![root.child_token()];
    for n in 0..200_000 {
        let child = held[n].child_token();
        held.push(child);
    }
    drop(root);
    drop(held);
}

#[test]
fn a_hundred_thousand_children_are_cancelled() {
    let root = CancellationToken::new();
    let children: Vec<_> = (0..100_000).map(|_| root.child_token()).collect();
    root.cancel_with("all of you");
    assert!(children.iter().all(CancellationToken::is_cancelled));
    assert_eq!(children[99_999].reason().as_deref(), Some("all of you"));
}

/// Wakers run outside of the locks: this one uses the token in every way there is.
#[test]
fn a_waker_may_use_the_token() {
    struct Busybody(CancellationToken);

    impl Wake for Busybody {
        fn wake(self: Arc<Self>) {
            let child = self.0.child_token();
            assert!(child.is_cancelled() && self.0.is_cancelled());
            child.cancel();
            self.0.cancel_with("again");
            assert_eq!(self.0.child_count(), 0);
            assert_eq!(self.0.reason().as_deref(), Some("once"));
        }
    }

    let root = CancellationToken::new();
    let child = root.child_token();
    let wakers = [&root, &child].map(|token| Waker::from(Arc::new(Busybody(token.clone()))));
    let mut waits = [Box::pin(root.cancelled()), Box::pin(child.cancelled())];
    for (wait, waker) in waits.iter_mut().zip(&wakers) {
        assert!(
            wait.as_mut()
                .poll(&mut Context::from_waker(waker))
                .is_pending()
        );
    }
    root.cancel_with("once");
    for wait in waits {
        assert_eq!(wait.now_or_never(), Some(()));
    }
}

/// What an executor does whose queue is gone: its wake drops the task, and with it the wait.
#[test]
fn a_wake_may_drop_the_task_that_waits() {
    struct Gone(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);

    impl Wake for Gone {
        fn wake(self: Arc<Self>) {
            let task = self.0.lock().unwrap().take();
            drop(task);
        }
    }

    let token = CancellationToken::new();
    let task = Arc::new(Gone(Mutex::new(None)));
    let mut wait: Pin<Box<dyn Future<Output = ()> + Send>> =
        Box::pin(token.clone().cancelled_owned());
    let waker = Waker::from(task.clone());
    let polled = wait.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    *task.0.lock().unwrap() = Some(wait);
    token.cancel();
    assert!(task.0.lock().unwrap().is_none());
}

/// Each of them has its turn, and when it comes the whole tree is cancelled.
#[test]
fn a_waker_that_panics_harms_nobody() {
    struct Panics(CancellationToken);

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            assert!(self.0.is_cancelled());
            std::panic::resume_unwind(Box::new("planned"));
        }
    }

    let root = CancellationToken::new();
    let leaf = root.child_token().child_token();
    let count = Arc::new(Count::default());
    let wakers = [
        Waker::from(Arc::new(Panics(leaf.clone()))),
        Waker::from(count.clone()),
    ];
    let mut waits = [Box::pin(root.cancelled()), Box::pin(root.cancelled())];
    for (wait, waker) in waits.iter_mut().zip(&wakers) {
        let polled = wait.as_mut().poll(&mut Context::from_waker(waker));
        assert!(polled.is_pending());
    }
    root.cancel();
    assert!(leaf.is_cancelled());
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    for wait in waits {
        assert_eq!(wait.now_or_never(), Some(()));
    }
}

/// Waits that end early leave their place to others, in any order.
#[test]
fn waits_come_and_go() {
    let token = CancellationToken::new();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    let mut waits: Vec<_> = (0..100).map(|_| Box::pin(token.cancelled())).collect();
    for round in 0..3 {
        for wait in &mut waits {
            assert!(wait.as_mut().poll(&mut cx).is_pending());
        }
        let mut nth = 0;
        waits.retain(|_| {
            nth += 1;
            (nth + round) % 3 != 0
        });
        waits.push(Box::pin(token.cancelled()));
    }
    for wait in &mut waits {
        assert!(wait.as_mut().poll(&mut cx).is_pending());
    }
    token.cancel();
    assert_eq!(count.0.load(Ordering::Relaxed), waits.len());
}

/// A child that is being born while its parent is cancelled is cancelled, on every side.
#[test]
fn children_born_during_a_cancel_are_cancelled() {
    for _ in 0..200 {
        let root = CancellationToken::new();
        let barrier = Arc::new(Barrier::new(3));
        let parents = [0, 1].map(|_| {
            let (root, barrier) = (root.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                let born: Vec<_> = (0..50).map(|_| root.child_token().child_token()).collect();
                born
            })
        });
        barrier.wait();
        root.cancel();
        for parent in parents {
            let born = parent.join().unwrap();
            assert!(born.iter().all(CancellationToken::is_cancelled));
        }
        assert_eq!(root.child_count(), 0);
    }
}

/// Waiting and cancelling race: the wake-up is never lost.
#[test]
fn a_wait_that_races_with_a_cancel_ends() {
    for _ in 0..500 {
        let token = CancellationToken::new();
        let barrier = Arc::new(Barrier::new(2));
        let waiter = {
            let (token, barrier) = (token.child_token(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                flow_rt::block_on(token.cancelled())
            })
        };
        barrier.wait();
        token.cancel();
        assert_eq!(waiter.join().unwrap(), Ok(()));
    }
}

#[test]
fn a_wait_may_move_to_another_waker() {
    let token = CancellationToken::new();
    let mut wait = pin!(token.cancelled());
    let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
    for count in [&first, &second] {
        let waker = Waker::from(count.clone());
        let polled = wait.as_mut().poll(&mut Context::from_waker(&waker));
        assert_eq!(polled, Poll::Pending);
    }
    token.cancel();
    assert_eq!(second.0.load(Ordering::Relaxed), 1);
}
