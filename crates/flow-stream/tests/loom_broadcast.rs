//! Models of the broadcast: every interleaving of two or three threads over capacity 1 or 2.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p flow-stream --release --features loom --test loom_broadcast`
#![cfg(loom)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use flow_stream::broadcast::{self, OnLag, Receiver, RecvError, Sender, TryRecvError};
use flow_sync::model::explore;
use loom::future::block_on;
use loom::thread;

fn open<T>(capacity: usize, on_lag: OnLag) -> (Sender<T>, Receiver<T>) {
    let builder = broadcast::builder().capacity(capacity).on_lag(on_lag);
    builder.build().unwrap()
}

/// Polls until it is parked: the first poll only yields.
fn park<F: Future + Unpin>(future: &mut F) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    let mut poll = || Pin::new(&mut *future).poll(&mut cx).is_pending();
    poll() && poll()
}

/// Who subscribes gets every item that is sent later and none that was sent before, and is counted
/// in for no other.
#[test]
fn a_send_meets_a_subscribe() {
    explore("send, send || subscribe", 3, || {
        let (tx, first) = open(2, OnLag::Wait);
        let other = tx.clone();
        let sender = thread::spawn(move || {
            tx.try_send(1).unwrap();
            tx.try_send(2).unwrap();
        });
        let mut rx = other.subscribe();
        sender.join().unwrap();
        match rx.try_recv() {
            Ok(1) => assert_eq!(rx.try_recv(), Ok(2)),
            Ok(2) | Err(TryRecvError::Empty) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        drop((rx, first));
        assert_eq!(other.len(), 0);
    });
}

/// A receiver that waits is woken, whichever step of its wait the send falls between.
#[test]
fn a_send_meets_a_wait() {
    explore("send || recv || recv", 2, || {
        let (tx, mut rx) = open(1, OnLag::Wait);
        let mut other = rx.clone();
        let receiver = thread::spawn(move || block_on(other.recv()));
        let sender = thread::spawn(move || {
            tx.try_send(7).unwrap();
            // Stays open, so that only the item can end the waits.
            tx
        });
        assert_eq!(block_on(rx.recv()), Ok(7));
        assert_eq!(receiver.join().unwrap(), Ok(7));
        drop(sender.join().unwrap());
    });
}

/// The last receiver to come for an item wakes the sender that waits for its room.
#[test]
fn a_receive_makes_room() {
    explore("send || try_recv || try_recv", 3, || {
        let (tx, mut rx) = open(1, OnLag::Wait);
        let mut other = rx.clone();
        tx.try_send(1).unwrap();
        let receiver = thread::spawn(move || (other.try_recv(), other));
        let sender = thread::spawn(move || {
            assert!(block_on(tx.send(2)).is_ok());
            tx
        });
        assert_eq!(rx.try_recv(), Ok(1));
        let (first, mut other) = receiver.join().unwrap();
        assert_eq!(first, Ok(1));
        drop(sender.join().unwrap());
        assert_eq!((rx.try_recv(), other.try_recv()), (Ok(2), Ok(2)));
    });
}

/// The slowest receiver goes away, and with it what kept a sender waiting.
#[test]
fn the_slowest_receiver_meets_a_waiting_sender() {
    explore("drop of the slowest || send", 3, || {
        let (tx, mut fast) = open(1, OnLag::Wait);
        let slow = fast.clone();
        tx.try_send(1).unwrap();
        assert_eq!(fast.try_recv(), Ok(1));
        let dropping = thread::spawn(move || drop(slow));
        assert!(block_on(tx.send(2)).is_ok());
        dropping.join().unwrap();
        assert_eq!(fast.try_recv(), Ok(2));
    });
}

/// A receiver goes away while others send and receive: items leave in their order, and all their
/// room comes back.
#[test]
fn a_receiver_goes_amid_sends() {
    explore("drop of the slow || send, recv, send", 3, || {
        let (tx, mut fast) = open(2, OnLag::Wait);
        let slow = fast.clone();
        tx.try_send(1).unwrap();
        assert_eq!(fast.try_recv(), Ok(1));
        let dropping = thread::spawn(move || drop(slow));
        tx.try_send(2).unwrap();
        assert_eq!(fast.try_recv(), Ok(2));
        // Full while the slow one has had neither.
        let third = tx.try_send(3).is_ok();
        dropping.join().unwrap();
        if third {
            assert_eq!(fast.try_recv(), Ok(3));
        }
        assert_eq!(tx.len(), 0);
        tx.try_send(4).unwrap();
        tx.try_send(5).unwrap();
        assert_eq!((fast.try_recv(), fast.try_recv()), (Ok(4), Ok(5)));
    });
}

/// The last receiver goes away: all senders that wait get their items back, and no item stays.
#[test]
fn the_last_receiver_meets_waiting_senders() {
    explore("drop of the last || send, send", 3, || {
        let item = Arc::new(());
        let (tx, rx) = open(1, OnLag::Wait);
        tx.try_send(item.clone()).unwrap();
        // It is granted the room, and does not come for it before the other has ended.
        let mut first = tx.send(item.clone());
        assert!(park(&mut first));
        let other = tx.clone();
        let sent = item.clone();
        let sender = thread::spawn(move || block_on(other.send(sent)).is_err());
        let dropping = thread::spawn(move || drop(rx));
        assert!(sender.join().unwrap());
        dropping.join().unwrap();
        assert!(block_on(first).is_err());
        assert_eq!((Arc::strong_count(&item), tx.len()), (1, 0));
    });
}

/// An item that is sent while its receivers go away is refused or dropped, once.
#[test]
fn the_last_receiver_meets_a_send() {
    explore("drop of the last || try_send", 3, || {
        let item = Arc::new(());
        let (tx, rx) = open(1, OnLag::Wait);
        let dropping = thread::spawn(move || drop(rx));
        drop(tx.try_send(item.clone()));
        dropping.join().unwrap();
        assert_eq!((Arc::strong_count(&item), tx.len()), (1, 0));
    });
}

/// A send that races with a close is received or comes back; never neither, never both.
#[test]
fn a_close_meets_a_send() {
    explore("close || send || recv", 3, || {
        let (tx, mut rx) = open(1, OnLag::Wait);
        let closer = tx.clone();
        let sender = thread::spawn(move || {
            let sent = block_on(tx.send(7)).map_err(|error| error.into_inner());
            (sent, tx)
        });
        let closing = thread::spawn(move || {
            closer.close();
            closer
        });
        let received = block_on(rx.recv());
        drop(closing.join().unwrap());
        match sender.join().unwrap().0 {
            Ok(()) => assert_eq!(received, Ok(7)),
            Err(item) => assert_eq!((item, received), (7, Err(RecvError::Closed))),
        }
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    });
}

/// A sender that is parked is told of the close.
#[test]
fn a_close_meets_a_waiting_sender() {
    explore("close || send on a full broadcast", 3, || {
        let (tx, mut rx) = open(1, OnLag::Wait);
        tx.try_send(1).unwrap();
        let closer = tx.clone();
        let closing = thread::spawn(move || closer.close());
        assert_eq!(block_on(tx.send(2)).unwrap_err().into_inner(), 2);
        closing.join().unwrap();
        assert_eq!(rx.try_recv(), Ok(1));
    });
}

/// An item is received or evicted: a receiver sees every item, or is told how many it missed.
#[test]
fn an_eviction_meets_a_receive() {
    explore("send, send || recv, recv", 3, || {
        let (tx, mut rx) = open(1, OnLag::DropOldest);
        tx.try_send(0).unwrap();
        let sender = thread::spawn(move || {
            tx.try_send(1).unwrap();
            tx.try_send(2).unwrap();
            tx
        });
        let mut next = 0;
        let mut take = |rx: &mut Receiver<u64>| match rx.try_recv() {
            Ok(item) => {
                assert_eq!(item, next);
                next += 1;
                true
            }
            Err(TryRecvError::Lagged(missed)) => {
                assert!(missed > 0);
                next += missed;
                true
            }
            _ => false,
        };
        take(&mut rx);
        take(&mut rx);
        let tx = sender.join().unwrap();
        while take(&mut rx) {}
        assert_eq!((next, tx.len()), (3, 0));
    });
}

/// Two receivers and an eviction: the item is nobody's, one's or both's, and goes once.
#[test]
fn an_eviction_meets_the_last_receive() {
    explore("send || recv || recv", 3, || {
        let item = Arc::new(());
        let (tx, mut rx) = open(1, OnLag::DropOldest);
        let mut other = rx.clone();
        tx.try_send(item.clone()).unwrap();
        let second = Arc::new(());
        let sent = second.clone();
        let sender = thread::spawn(move || {
            tx.try_send(sent).unwrap();
            tx
        });
        let receiver = thread::spawn(move || {
            let first = other.try_recv();
            (first.is_ok(), other)
        });
        drop(rx.try_recv());
        let (_, other) = receiver.join().unwrap();
        let tx = sender.join().unwrap();
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(tx.len() <= 1);
        drop((rx, other));
        assert_eq!((Arc::strong_count(&second), tx.len()), (1, 0));
    });
}

/// A clone has what its original has, whoever else receives meanwhile.
#[test]
fn a_clone_meets_a_receive_and_a_send() {
    explore("clone || recv || send", 3, || {
        let (tx, rx) = open(2, OnLag::Wait);
        let mut other = rx.clone();
        tx.try_send(1).unwrap();
        let receiver = thread::spawn(move || {
            assert_eq!(other.try_recv(), Ok(1));
            other
        });
        let sender = thread::spawn(move || {
            tx.try_send(2).unwrap();
            tx
        });
        let mut clone = rx.clone();
        let other = receiver.join().unwrap();
        let tx = sender.join().unwrap();
        assert_eq!((clone.try_recv(), clone.try_recv()), (Ok(1), Ok(2)));
        assert_eq!(tx.len(), 2);
        drop((rx, other, clone));
        assert_eq!(tx.len(), 0);
    });
}

/// Room that was promised to a send that is dropped goes to the one behind it.
#[test]
fn a_dropped_send_passes_its_room_on() {
    explore("recv || drop of a parked send || send", 2, || {
        let (tx, mut rx) = open(1, OnLag::Wait);
        tx.try_send(1).unwrap();
        let other = tx.clone();
        let sender = thread::spawn(move || block_on(other.send(2)).is_ok());
        let receiver = thread::spawn(move || (rx.try_recv(), rx));
        let mut send = tx.send(3);
        let parked = park(&mut send);
        drop(send);
        let (first, mut rx) = receiver.join().unwrap();
        assert_eq!(first, Ok(1));
        let next = block_on(rx.recv()).unwrap();
        assert_eq!(next, if parked { 2 } else { 3 });
        if next == 3 {
            assert_eq!(block_on(rx.recv()), Ok(2));
        }
        assert!(sender.join().unwrap());
    });
}

/// Room is promised in the order of parking: a newcomer takes none of it.
#[test]
fn a_newcomer_leaves_what_is_promised() {
    explore("recv || try_send beside a parked send", 3, || {
        let (tx, mut rx) = open(1, OnLag::Wait);
        tx.try_send(1).unwrap();
        let mut send = tx.send(2);
        assert!(park(&mut send));
        let newcomer = tx.clone();
        let thief = thread::spawn(move || newcomer.try_send(3).is_ok());
        let receiver = thread::spawn(move || (rx.try_recv(), rx));
        assert!(!thief.join().unwrap());
        let (first, rx) = receiver.join().unwrap();
        assert_eq!(first, Ok(1));
        assert!(block_on(send).is_ok());
        drop(rx);
    });
}

/// A receiver that waits is told of the end.
#[test]
fn a_close_meets_a_wait() {
    explore("close || recv", 3, || {
        let (tx, mut rx) = open::<u64>(1, OnLag::Wait);
        let closing = thread::spawn(move || {
            tx.close();
            tx
        });
        assert_eq!(block_on(rx.recv()), Err(RecvError::Closed));
        drop(closing.join().unwrap());
    });
}

/// A sender that waits for nobody to receive is told.
#[test]
fn the_last_receiver_meets_a_wait_for_it() {
    explore("closed().await || drop || drop", 2, || {
        let (tx, rx) = open::<u64>(1, OnLag::Wait);
        let other = rx.clone();
        let first = thread::spawn(move || drop(rx));
        let second = thread::spawn(move || drop(other));
        block_on(tx.closed());
        first.join().unwrap();
        second.join().unwrap();
    });
}
