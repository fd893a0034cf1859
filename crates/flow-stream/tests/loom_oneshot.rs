//! Models of the oneshot: every interleaving of its two ends.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p flow-stream --release --features loom --test loom_oneshot`
#![cfg(loom)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use flow_stream::oneshot::{self, RecvError};
use flow_sync::model::explore;
use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

/// An item that is sent while its receiver goes away comes back or is dropped, once; one that is
/// sent later comes back.
#[test]
fn a_send_meets_the_drop_of_its_receiver() {
    explore("send || drop of the receiver", 3, || {
        let item = Arc::new(());
        let (tx, rx) = oneshot::channel();
        let (sent, gone) = (item.clone(), Arc::new(AtomicBool::new(false)));
        let seen = gone.clone();
        let sender = thread::spawn(move || {
            let gone = seen.load(Ordering::Acquire);
            (gone, tx.send(sent).map_err(|error| error.into_inner()))
        });
        drop(rx);
        gone.store(true, Ordering::Release);
        let (gone, back) = sender.join().unwrap();
        assert!(!gone || back.is_err());
        let holders = if back.is_err() { 2 } else { 1 };
        assert_eq!(Arc::strong_count(&item), holders);
    });
}

/// The waiting receiver is woken, whichever of its polls the send falls between.
#[test]
fn a_send_meets_a_poll() {
    explore("send || poll, wait", 3, || {
        let (tx, rx) = oneshot::channel();
        let sender = thread::spawn(move || tx.send(7).is_ok());
        assert_eq!(block_on(rx), Ok(7));
        assert!(sender.join().unwrap());
    });
}

/// Neither a wait nor the waker of an earlier one keeps the receiver from the end.
#[test]
fn the_drop_of_a_sender_meets_a_poll() {
    explore("drop of the sender || poll, wait", 3, || {
        let (tx, mut rx) = oneshot::channel::<u8>();
        let sender = thread::spawn(move || drop(tx));
        let mut cx = Context::from_waker(Waker::noop());
        let outcome = match Pin::new(&mut rx).poll(&mut cx) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => block_on(rx),
        };
        assert_eq!(outcome, Err(RecvError::Closed));
        sender.join().unwrap();
    });
}

/// What is sent before the close is received, what is sent after it comes back.
#[test]
fn a_close_meets_a_send() {
    explore("close || send", 3, || {
        let (tx, mut rx) = oneshot::channel();
        let sender = thread::spawn(move || tx.send(7).map_err(|error| error.into_inner()));
        rx.close();
        let received = block_on(rx);
        match sender.join().unwrap() {
            Ok(()) => assert_eq!(received, Ok(7)),
            Err(item) => assert_eq!((item, received), (7, Err(RecvError::Closed))),
        }
    });
}

/// A sender that waits for the end of its receiver is told, whether that closes or goes away.
#[test]
fn a_wait_for_the_close_meets_the_drop() {
    explore("closed().await || close, drop", 3, || {
        let (mut tx, rx) = oneshot::channel::<u8>();
        let receiver = thread::spawn(move || drop(rx));
        block_on(tx.closed());
        receiver.join().unwrap();
        let (mut tx, mut rx) = oneshot::channel::<u8>();
        let receiver = thread::spawn(move || {
            rx.close();
            rx
        });
        block_on(tx.closed());
        drop(receiver.join().unwrap());
    });
}
