//! Models of the cancellation token, and of the one that a context makes late.
#![cfg(loom)]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use flow_rt::{CancellationToken, Instant, TaskContext};
use flow_sync::model::explore;
use loom::future::block_on;
use loom::thread;

#[test]
fn cancel_meets_wait() {
    explore("token: cancel || wait", 3, || {
        let token = CancellationToken::new();
        let canceller = {
            let token = token.clone();
            thread::spawn(move || token.cancel_with("stop"))
        };
        block_on(token.cancelled());
        assert_eq!(token.reason().as_deref(), Some("stop"));
        canceller.join().unwrap();
    });
}

#[test]
fn silent_cancel_meets_wait() {
    explore("token: silent cancel || wait", 3, || {
        let token = CancellationToken::new();
        let canceller = {
            let token = token.clone();
            thread::spawn(move || token.cancel())
        };
        block_on(token.cancelled());
        canceller.join().unwrap();
    });
}

#[test]
fn two_cancel_and_one_reason_stays() {
    explore("token: cancel || cancel || wait", 2, || {
        let token = CancellationToken::new();
        let cancellers: Vec<_> = ["one", "other"]
            .into_iter()
            .map(|reason| {
                let token = token.clone();
                thread::spawn(move || token.cancel_with(reason))
            })
            .collect();
        block_on(token.cancelled());
        let reason = token.reason();
        assert!(reason.is_some());
        for canceller in cancellers {
            canceller.join().unwrap();
        }
        assert_eq!(token.reason(), reason);
    });
}

#[test]
fn cancel_meets_a_new_child() {
    explore("token: cancel || child born and waiting", 3, || {
        let parent = CancellationToken::new();
        let canceller = {
            let parent = parent.clone();
            thread::spawn(move || parent.cancel_with("stop"))
        };
        let child = parent.child_token();
        block_on(child.cancelled());
        assert_eq!(child.reason().as_deref(), Some("stop"));
        canceller.join().unwrap();
    });
}

#[test]
fn silent_cancel_meets_a_first_child() {
    explore("token: silent cancel || first child", 3, || {
        let parent = CancellationToken::new();
        let canceller = {
            let parent = parent.clone();
            thread::spawn(move || parent.cancel())
        };
        let child = parent.child_token();
        block_on(child.cancelled());
        canceller.join().unwrap();
        assert_eq!(parent.child_count(), 0);
    });
}

#[test]
fn silent_cancel_meets_a_second_child() {
    explore("token: silent cancel || second child", 3, || {
        let parent = CancellationToken::new();
        let first = parent.child_token();
        let canceller = {
            let parent = parent.clone();
            thread::spawn(move || parent.cancel())
        };
        let second = parent.child_token();
        block_on(second.cancelled());
        canceller.join().unwrap();
        assert!(first.is_cancelled());
    });
}

#[test]
fn a_family_has_one_reason() {
    explore("token: silent cancel || cancel with a reason", 3, || {
        let parent = CancellationToken::new();
        let child = parent.child_token();
        let canceller = {
            let parent = parent.clone();
            thread::spawn(move || parent.cancel())
        };
        parent.cancel_with("stop");
        canceller.join().unwrap();
        assert!(child.is_cancelled());
        assert_eq!(child.reason(), parent.reason());
    });
}

#[test]
fn cancel_meets_a_leaving_child() {
    explore(
        "token: cancel || a child leaves || its sister waits",
        3,
        || {
            let parent = CancellationToken::new();
            let (leaving, staying) = (parent.child_token(), parent.child_token());
            let leaver = thread::spawn(move || drop(leaving));
            let canceller = {
                let parent = parent.clone();
                thread::spawn(move || parent.cancel())
            };
            block_on(staying.cancelled());
            leaver.join().unwrap();
            canceller.join().unwrap();
            assert_eq!(parent.child_count(), 0);
        },
    );
}

#[test]
fn cancel_meets_a_waiter_that_gives_up() {
    explore(
        "token: cancel || a waiter gives up || another waits",
        2,
        || {
            let token = CancellationToken::new();
            let quitter = {
                let token = token.clone();
                thread::spawn(move || {
                    let mut cancelled = pin!(token.cancelled());
                    block_on(poll_fn(|cx| Poll::Ready(cancelled.as_mut().poll(cx))))
                })
            };
            let waiter = {
                let token = token.clone();
                thread::spawn(move || block_on(token.cancelled()))
            };
            token.cancel();
            let _ = quitter.join().unwrap();
            waiter.join().unwrap();
        },
    );
}

#[test]
fn two_ask_for_a_contexts_token() {
    explore("context: token || token || the parent's cancel", 2, || {
        let parent = CancellationToken::new();
        let context = TaskContext::under_token(parent.clone());
        let asker = {
            let context = context.clone();
            thread::spawn(move || context.cancellation().clone())
        };
        let canceller = {
            let parent = parent.clone();
            thread::spawn(move || parent.cancel_with("stop"))
        };
        block_on(context.cancellation().cancelled());
        let token = asker.join().unwrap();
        assert!(token == *context.cancellation());
        canceller.join().unwrap();
        assert_eq!(token.reason().as_deref(), Some("stop"));
    });
}

#[test]
fn a_contexts_token_leaves_its_parent() {
    explore("context: token, dropped || token, dropped", 3, || {
        let parent = CancellationToken::new();
        let context = TaskContext::under_token(parent.clone());
        let asker = {
            let context = context.clone();
            thread::spawn(move || drop(context.cancellation().clone()))
        };
        assert!(!context.cancellation().is_cancelled());
        drop(context);
        asker.join().unwrap();
        // The one that came too late has left, too.
        assert_eq!(parent.child_count(), 0);
    });
}

#[test]
fn a_context_that_was_cancelled_stays_so() {
    explore("context: token made || parent's cancel || look", 2, || {
        let parent = CancellationToken::new();
        let context = TaskContext::under_token(parent.clone());
        let asker = {
            let context = context.clone();
            thread::spawn(move || context.cancellation().is_cancelled())
        };
        let canceller = thread::spawn(move || parent.cancel());
        let early = context.is_cancelled();
        asker.join().unwrap();
        assert!(!early || context.is_cancelled());
        canceller.join().unwrap();
        assert!(context.is_cancelled() && context.cancellation().is_cancelled());
    });
}

/// It is the same work with the same token, whoever is asked.
#[test]
fn a_context_that_was_changed_hears_as_soon_as_the_first() {
    explore("context: look, look at a changed one || cancel", 3, || {
        let parent = CancellationToken::new();
        let context = TaskContext::under_token(parent.clone());
        let changed = context.clone().with_deadline(Instant::from_nanos(1));
        let canceller = thread::spawn(move || parent.cancel());
        assert!(!context.is_cancelled() || changed.is_cancelled());
        canceller.join().unwrap();
    });
}
