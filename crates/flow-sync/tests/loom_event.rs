//! Models of the counted event.
#![cfg(loom)]

mod loom_common;

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use flow_sync::Event;
use flow_sync::model::explore;
use flow_sync::sync::Arc;
use flow_sync::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use loom_common::block_on;

#[test]
fn notify_meets_wait() {
    explore("event: notify || wait", 3, || {
        let shared = Arc::new((Event::new(), AtomicBool::new(false)));
        let notifier = {
            let shared = shared.clone();
            thread::spawn(move || {
                // Relaxed: the event's fences alone must do.
                shared.1.store(true, Ordering::Relaxed);
                shared.0.notify_all();
            })
        };
        let look = || shared.1.load(Ordering::Relaxed).then_some(());
        let mut wait = pin!(shared.0.wait_until(look));
        block_on(|cx| wait.as_mut().poll(cx));
        notifier.join().unwrap();
        assert_eq!(shared.0.listeners(), 0);
    });
}

#[test]
fn two_items_two_takers() {
    explore("event: two items || two takers", 2, || {
        let shared = Arc::new((Event::new(), AtomicUsize::new(0)));
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || {
                    let take = || {
                        shared
                            .1
                            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                                n.checked_sub(1)
                            })
                            .ok()
                    };
                    let mut wait = pin!(shared.0.wait_until(take));
                    block_on(|cx| wait.as_mut().poll(cx));
                })
            })
            .collect();
        for _ in 0..2 {
            shared.1.fetch_add(1, Ordering::Relaxed);
            shared.0.notify_one();
        }
        for taker in takers {
            taker.join().unwrap();
        }
        assert_eq!(shared.0.listeners(), 0);
    });
}

#[test]
fn notify_all_meets_two() {
    explore("event: notify all || two wait", 2, || {
        let shared = Arc::new((Event::new(), AtomicBool::new(false)));
        let wait = |shared: Arc<(Event, AtomicBool)>| {
            let look = || shared.1.load(Ordering::Relaxed).then_some(());
            let mut wait = pin!(shared.0.wait_until(look));
            block_on(|cx| wait.as_mut().poll(cx));
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || wait(shared))
        };
        let notifier = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.1.store(true, Ordering::Relaxed);
                shared.0.notify_all();
            })
        };
        wait(shared.clone());
        other.join().unwrap();
        notifier.join().unwrap();
        assert_eq!(shared.0.listeners(), 0);
    });
}

#[test]
fn a_notified_listener_gives_up() {
    explore(
        "event: notify one || the first gives up || the second waits",
        3,
        || {
            let shared = Arc::new((Event::new(), AtomicBool::new(false)));
            let notifier = {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.1.store(true, Ordering::Relaxed);
                    shared.0.notify_one();
                })
            };
            let first = shared.0.listen();
            let look = || shared.1.load(Ordering::Relaxed).then_some(());
            let mut second = pin!(shared.0.wait_until(look));
            let ready = block_on(|cx| Poll::Ready(second.as_mut().poll(cx).is_ready()));
            drop(first);
            if !ready {
                block_on(|cx| second.as_mut().poll(cx));
            }
            notifier.join().unwrap();
            assert_eq!(shared.0.listeners(), 0);
        },
    );
}
