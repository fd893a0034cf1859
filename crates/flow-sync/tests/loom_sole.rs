//! Models of a ring with one receiver: its sleep beside whatever wakes it.
#![cfg(loom)]

mod loom_common;

use std::sync::Arc;
use std::task::{Context, Waker};

use flow_sync::model::explore;
use flow_sync::{PopError, Ring, Turn};
use loom::thread;
use loom_common::block_on;

fn ring(capacity: usize) -> Arc<Ring<u32>> {
    Arc::new(Ring::with_one_receiver(capacity).expect("a small capacity"))
}

/// Receives, waiting; sleeps at once.
fn recv(ring: &Ring<u32>) -> Option<u32> {
    let mut turn = Turn::New;
    let received = block_on(|cx| ring.poll_pop(cx, &mut turn, false));
    assert_eq!(turn, Turn::New, "whoever is served sleeps no more");
    received
}

fn spawn<T: 'static>(
    ring: &Arc<Ring<u32>>,
    work: impl FnOnce(&Ring<u32>) -> T + 'static,
) -> thread::JoinHandle<T> {
    let ring = ring.clone();
    thread::spawn(move || work(&ring))
}

#[test]
fn a_sleep_meets_a_send() {
    explore("sole: receive, receive || send, send", 3, || {
        let ring = ring(2);
        let sender = spawn(&ring, |ring| [1, 2].map(|item| ring.try_push(item)));
        assert_eq!((recv(&ring), recv(&ring)), (Some(1), Some(2)));
        assert_eq!(sender.join().unwrap(), [Ok(()), Ok(())]);
        assert_eq!(ring.try_pop(), Err(PopError::Empty));
    });
}

/// Two wake-ups at once, one of which may find the waker of the next sleep.
#[test]
fn a_sleep_meets_two_senders() {
    explore("sole: receive, receive || send || send", 2, || {
        let ring = ring(2);
        let senders = [1, 2].map(|item| spawn(&ring, move |ring| ring.try_push(item)));
        let mut received = [recv(&ring), recv(&ring)];
        received.sort_unstable();
        assert_eq!(received, [Some(1), Some(2)]);
        for sender in senders {
            assert_eq!(sender.join().unwrap(), Ok(()));
        }
    });
}

#[test]
fn a_sleep_meets_a_sender_that_waits() {
    explore("sole: receive, receive || send, send in line", 2, || {
        let ring = ring(1);
        let sender = spawn(&ring, |ring| {
            for item in [1, 2] {
                let (mut turn, mut slot) = (Turn::New, Some(item));
                block_on(|cx| ring.poll_push(cx, &mut turn, &mut slot)).unwrap();
            }
        });
        assert_eq!((recv(&ring), recv(&ring)), (Some(1), Some(2)));
        sender.join().unwrap();
    });
}

#[test]
fn a_sleep_meets_a_close() {
    explore("sole: receive || send || close", 2, || {
        let ring = ring(1);
        let sender = spawn(&ring, |ring| ring.try_push(7).is_ok());
        let closer = spawn(&ring, |ring| ring.close());
        let received = recv(&ring);
        assert!(closer.join().unwrap());
        let sent = sender.join().unwrap();
        assert_eq!(received, sent.then_some(7));
        assert_eq!(ring.try_pop(), Err(PopError::Closed));
    });
}

#[test]
fn a_sleep_meets_the_last_promise_of_a_closed_ring() {
    explore("sole: receive || drop of a permit || close", 2, || {
        let ring = ring(1);
        ring.try_promise().unwrap();
        let holder = spawn(&ring, |ring| ring.withdraw());
        let closer = spawn(&ring, |ring| ring.close());
        assert_eq!(recv(&ring), None);
        holder.join().unwrap();
        closer.join().unwrap();
    });
}

/// Whoever gives up leaves nothing of its sleep behind, and loses nothing.
#[test]
fn a_sleep_that_is_given_up_meets_a_send() {
    explore("sole: receive given up, receive || send", 3, || {
        let ring = ring(1);
        let mut turn = Turn::New;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(ring.poll_pop(&mut cx, &mut turn, false).is_pending());
        assert_eq!(turn, Turn::Asleep);
        let sender = spawn(&ring, |ring| ring.try_push(7));
        ring.leave_pop(&mut turn);
        assert_eq!((turn, recv(&ring)), (Turn::New, Some(7)));
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}

/// One that is polled for another reason leaves its waker anew, beside a wake-up of the old one.
#[test]
fn a_sleep_that_is_polled_again_meets_two_sends() {
    explore("sole: receive polled again || send || send", 2, || {
        let ring = ring(2);
        let mut turn = Turn::New;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(ring.poll_pop(&mut cx, &mut turn, false).is_pending());
        let senders = [1, 2].map(|item| spawn(&ring, move |ring| ring.try_push(item)));
        let first = block_on(|cx| ring.poll_pop(cx, &mut turn, false));
        let mut received = [first, recv(&ring)];
        received.sort_unstable();
        assert_eq!(received, [Some(1), Some(2)]);
        for sender in senders {
            assert_eq!(sender.join().unwrap(), Ok(()));
        }
    });
}

#[test]
fn a_batch_meets_a_sleep() {
    explore("sole: batches || send, send", 2, || {
        let ring = ring(2);
        let sender = spawn(&ring, |ring| {
            for item in [1, 2] {
                ring.try_push(item).unwrap();
            }
            ring.close();
        });
        let mut batch = Vec::new();
        let mut turn = Turn::New;
        while block_on(|cx| ring.poll_pop_many(cx, &mut turn, false, &mut batch, 4)).is_some() {}
        assert_eq!(batch, [1, 2]);
        sender.join().unwrap();
    });
}
