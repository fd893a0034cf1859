//! Models of the queue under a lock beyond those of its protocol's steps: permits after a close,
//! evictions that race, batches, what it holds at the most, and the order of those who wait.
#![cfg(loom)]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use flow_rt::OnFull;
use flow_stream::{Channel, Receiver, Sender, TryRecvError};
use flow_sync::model::explore;
use loom::future::block_on;
use loom::thread;

fn park<F: Future + Unpin>(future: &mut F) {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..2 {
        assert!(Pin::new(&mut *future).poll(&mut cx).is_pending());
    }
}

/// Under loom a channel is over the lock unless it says otherwise.
fn channel(capacity: usize) -> (Sender<u32>, Receiver<u32>) {
    Channel::bounded(capacity).unwrap()
}

/// An item that is sent into promised room is received however close and receives fall: the one
/// receiver has it, and both end.
#[test]
fn a_permit_sends_beside_the_close() {
    explore("send of a permit || close || recv || recv", 2, || {
        let (tx, rx) = channel(1);
        let permit = tx.try_reserve_owned().unwrap();
        let other = rx.clone();
        let receiver = thread::spawn(move || block_on(other.recv()).ok());
        let holder = thread::spawn(move || permit.send(7));
        let closing = thread::spawn(move || {
            tx.close();
            tx
        });
        let mine = block_on(rx.recv()).ok();
        let mut received = [mine, receiver.join().unwrap()];
        received.sort_unstable();
        assert_eq!(received, [None, Some(7)]);
        holder.join().unwrap();
        drop(closing.join().unwrap());
    });
}

/// Of two items that are sent into room for one, one is received and the other is received or
/// dropped with its hook.
#[test]
fn two_evicting_sends_meet_a_receive() {
    explore("evicting send || evicting send || recv", 3, || {
        // Loom switches threads at its own locks only, so nobody waits for this one.
        let dropped = Arc::new(Mutex::new(Vec::new()));
        let hook = dropped.clone();
        let (tx, rx) = Channel::builder()
            .capacity(1)
            .on_full(OnFull::DropOldest)
            .on_drop(move |item, _| hook.lock().unwrap().push(item))
            .build()
            .unwrap();
        let other = tx.clone();
        // The senders stay, so that nothing but an item can end the wait.
        let senders = [(tx, 1), (other, 2)].map(|(tx, item)| {
            thread::spawn(move || {
                tx.try_send(item).unwrap();
                tx
            })
        });
        let first = block_on(rx.recv()).unwrap();
        let senders = senders.map(|sender| sender.join().unwrap());
        assert!(rx.len() <= 1);
        let mut all = dropped.lock().unwrap().clone();
        all.push(first);
        all.extend(rx.try_recv().ok());
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        drop(senders);
    });
}

/// The second of two senders parks over room for one, and is woken.
#[test]
fn two_senders_meet_a_receive() {
    explore("send || send || recv, recv", 2, || {
        let (tx, rx) = channel(1);
        let other = tx.clone();
        let senders = [(tx, 1), (other, 2)]
            .map(|(tx, item)| thread::spawn(move || block_on(tx.send(item)).is_ok()));
        let mut received = [(); 2].map(|()| block_on(rx.recv()).unwrap());
        received.sort_unstable();
        assert_eq!(received, [1, 2]);
        assert!(senders.into_iter().all(|sender| sender.join().unwrap()));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    });
}

/// A batch that is larger than the channel arrives whole and in order, in batches.
#[test]
fn batches_meet() {
    explore("send_many of 3 || recv_many of 2, capacity 2", 3, || {
        let (tx, rx) = channel(2);
        let sender = thread::spawn(move || {
            let mut items = VecDeque::from([1, 2, 3]);
            block_on(tx.send_many(&mut items)).unwrap();
            items.len()
        });
        let mut batch = Vec::new();
        loop {
            match block_on(rx.recv_many(&mut batch, 2)) {
                0 => break,
                popped => assert!(popped <= 2),
            }
        }
        assert_eq!(sender.join().unwrap(), 0);
        assert_eq!(batch, [1, 2, 3]);
    });
}

/// Room for two that a batch makes goes to two who are parked.
#[test]
fn a_batch_wakes_every_sender_that_it_makes_room_for() {
    explore("parked send, parked send || drain", 3, || {
        let (tx, rx) = channel(2);
        let mut first: VecDeque<_> = [1, 2].into();
        tx.try_send_many(&mut first).unwrap();
        let mut sends = [3, 4].map(|item| tx.send(item));
        sends.iter_mut().for_each(park);
        let receiver = thread::spawn(move || {
            let mut batch = Vec::new();
            assert_eq!(rx.drain(&mut batch, 4), 2);
            (rx, batch)
        });
        for send in sends {
            block_on(send).unwrap();
        }
        let (rx, mut batch) = receiver.join().unwrap();
        assert_eq!(rx.drain(&mut batch, 4), 2);
        assert_eq!(batch, [1, 2, 3, 4]);
    });
}

#[test]
fn it_never_holds_more_than_its_capacity() {
    explore("try_send || try_send || try_recv, len", 3, || {
        let (tx, rx) = channel(1);
        let other = tx.clone();
        let senders = [(tx, 1), (other, 2)]
            .map(|(tx, item)| thread::spawn(move || tx.try_send(item).is_ok()));
        assert!(rx.len() <= 1);
        let received = rx.try_recv().is_ok();
        assert!(rx.len() <= 1);
        let sent = senders.map(|sender| sender.join().unwrap());
        let sent = sent.into_iter().filter(|sent| *sent).count();
        assert_eq!(sent, rx.len() + usize::from(received));
        assert_eq!(rx.stats().max_len, 1);
    });
}

#[test]
fn senders_go_in_the_order_in_which_they_parked() {
    explore("parked send, parked send || recv, recv, recv", 3, || {
        let (tx, rx) = channel(1);
        tx.try_send(0).unwrap();
        let mut sends = [1, 2].map(|item| tx.send(item));
        sends.iter_mut().for_each(park);
        let receiver = thread::spawn(move || [(); 3].map(|()| block_on(rx.recv()).unwrap()));
        // The later one asks first, and is told to wait for its turn.
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut sends[1]).poll(&mut cx).is_pending());
        for send in sends {
            block_on(send).unwrap();
        }
        assert_eq!(receiver.join().unwrap(), [0, 1, 2]);
    });
}

/// Nobody receives: what ends the wait is the close.
#[test]
fn a_parked_send_meets_a_close() {
    explore("parked send || close", 3, || {
        let (tx, rx) = channel(1);
        tx.try_send(1).unwrap();
        let closer = tx.clone();
        let closing = thread::spawn(move || closer.close());
        let refused = block_on(tx.send(2)).unwrap_err();
        assert!(refused.is_closed());
        assert_eq!(refused.into_inner(), 2);
        closing.join().unwrap();
        assert_eq!(rx.try_recv(), Ok(1));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    });
}
