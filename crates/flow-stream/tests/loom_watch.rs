//! Models of the watch channel: a change, a close and a dropped wait beside one that waits.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p flow-stream --release --features loom --test loom_watch`
#![cfg(loom)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use flow_stream::watch::{self, RecvError};
use flow_sync::model::explore;
use loom::future::block_on;
use loom::thread;

fn park<F: Future + Unpin>(future: &mut F) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(&mut *future).poll(&mut cx).is_pending()
}

/// A change is seen, whichever step of the wait it falls between.
#[test]
fn a_change_meets_a_wait() {
    explore("send || changed", 3, || {
        let (tx, mut rx) = watch::channel(0);
        let sender = thread::spawn(move || {
            tx.send(1).unwrap();
            // Stays, so that only the change can end the wait.
            tx
        });
        assert_eq!(block_on(rx.changed()), Ok(()));
        assert_eq!(*rx.borrow(), 1);
        drop(sender.join().unwrap());
    });
}

/// Two wait: one change tells both, over a list of wakers that takes one at a time.
#[test]
fn a_change_tells_everybody() {
    explore("send || changed || changed", 2, || {
        let (tx, mut rx) = watch::channel(0);
        let mut other = rx.clone();
        let waiting = thread::spawn(move || block_on(other.changed()));
        let sender = thread::spawn(move || {
            tx.send(1).unwrap();
            tx
        });
        assert_eq!(block_on(rx.changed()), Ok(()));
        assert_eq!(waiting.join().unwrap(), Ok(()));
        drop(sender.join().unwrap());
    });
}

/// The last value is seen before the end, and the end ends the wait.
#[test]
fn the_last_sender_meets_a_wait() {
    explore("send, drop || changed, changed", 3, || {
        let (tx, mut rx) = watch::channel(0);
        let sender = thread::spawn(move || {
            tx.send(1).unwrap();
        });
        assert_eq!(block_on(rx.changed()), Ok(()));
        assert_eq!(*rx.borrow_and_update(), 1);
        assert_eq!(block_on(rx.changed()), Err(RecvError::Closed));
        sender.join().unwrap();
    });
}

/// A wait that is dropped takes its own place with it, and nobody else's.
#[test]
fn a_dropped_wait_meets_a_change() {
    explore("drop of changed || changed || send", 2, || {
        let (tx, mut rx) = watch::channel(0);
        let mut other = rx.clone();
        let waiting = thread::spawn(move || block_on(other.changed()));
        let sender = thread::spawn(move || {
            tx.send(1).unwrap();
            tx
        });
        let mut changed = rx.changed();
        park(&mut changed);
        drop(changed);
        assert_eq!(waiting.join().unwrap(), Ok(()));
        drop(sender.join().unwrap());
    });
}

/// The version that a borrow has is that of its value.
#[test]
fn a_borrow_meets_a_change() {
    explore("borrow_and_update, changed || send", 3, || {
        let (tx, mut rx) = watch::channel(0);
        let sender = thread::spawn(move || {
            tx.send(1).unwrap();
            tx
        });
        let first = *rx.borrow_and_update();
        if first == 0 {
            // What was borrowed is what counts as seen: the change is still to come.
            assert_eq!(block_on(rx.changed()), Ok(()));
            assert_eq!(*rx.borrow(), 1);
        } else {
            assert_eq!(rx.has_changed(), Ok(false));
        }
        drop(sender.join().unwrap());
    });
}

/// A sender that waits for the last receiver to go is told.
#[test]
fn the_last_receiver_meets_a_wait() {
    explore("closed().await || drop || drop", 3, || {
        let (tx, rx) = watch::channel(0);
        let other = rx.clone();
        let first = thread::spawn(move || drop(rx));
        let second = thread::spawn(move || drop(other));
        block_on(tx.closed());
        first.join().unwrap();
        second.join().unwrap();
    });
}
