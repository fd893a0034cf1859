//! Sends and receives between real threads that are given up a million times: each item arrives
//! once, and those of a sender in their order.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use crate::common::poll;
use flow_rt::block_on;
use flow_stream::{Channel, Receiver, RecvError, RecvFuture, Sender};

const SENDERS: usize = 4;
const RECEIVERS: usize = 4;

/// Who sent an item, and the how-manieth of that sender it is.
type Item = (usize, u64);

/// Polls a future one to three times and then gives it up; what came out, if anything did.
fn poll_a_little<F: Future + Unpin>(future: &mut F, turn: u64) -> Option<F::Output> {
    (0..=turn % 3).find_map(|_| match poll(future) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    })
}

/// Sends until `cancels` futures have been given up by all together; the number of its items.
fn send_until(tx: &Sender<Item>, who: usize, given_up: &AtomicU64, cancels: u64) -> u64 {
    let mut turn = who as u64;
    let mut sent = 0;
    while given_up.load(Relaxed) < cancels {
        turn += 1;
        let mut send = tx.send((who, sent));
        if let Some(answer) = poll_a_little(&mut send, turn) {
            answer.expect("a receiver is there");
            sent += 1;
        } else {
            given_up.fetch_add(1, Relaxed);
            // Only a rendezvous does not give it back: a receiver has it.
            sent += u64::from(send.into_inner().is_none());
        }
    }
    sent
}

/// Now and then it waits, so that wake-ups that went astray would be missed.
fn receive(mut recv: RecvFuture<'_, Item>, turn: u64) -> Option<Result<Item, RecvError>> {
    match turn % 8 {
        0 => Some(block_on(recv).expect("no task of a runtime")),
        _ => poll_a_little(&mut recv, turn),
    }
}

/// Receives until the channel is closed; how many items of each sender.
fn receive_all(
    who: usize,
    given_up: &AtomicU64,
    mut receive: impl FnMut(u64) -> Option<Result<Item, RecvError>>,
) -> [u64; SENDERS] {
    let mut turn = who as u64;
    let (mut received, mut next) = ([0; SENDERS], [0; SENDERS]);
    loop {
        turn += 1;
        match receive(turn) {
            Some(Ok((sender, n))) => {
                assert!(n >= next[sender], "{n} of sender {sender} out of order");
                next[sender] = n + 1;
                received[sender] += 1;
            }
            Some(Err(_)) => return received,
            None => {
                given_up.fetch_add(1, Relaxed);
            }
        }
    }
}

fn storm((tx, rx): (Sender<Item>, Receiver<Item>), cancels: u64) {
    let given_up = &AtomicU64::new(0);
    let (sent, received) = thread::scope(|scope| {
        let receiving: Vec<_> = (0..RECEIVERS)
            .map(|who| {
                let rx = rx.clone();
                scope.spawn(move || receive_all(who, given_up, |turn| receive(rx.recv(), turn)))
            })
            .collect();
        let sending: Vec<_> = (0..SENDERS)
            .map(|who| {
                let tx = tx.clone();
                scope.spawn(move || send_until(&tx, who, given_up, cancels))
            })
            .collect();
        drop((tx, rx));
        let sent: Vec<u64> = sending.into_iter().map(|s| s.join().unwrap()).collect();
        let mut received = vec![0; SENDERS];
        for receiver in receiving {
            for (all, own) in received.iter_mut().zip(receiver.join().unwrap()) {
                *all += own;
            }
        }
        (sent, received)
    });
    assert_eq!(received, sent);
}

#[test]
fn a_million_cancels_over_the_ring_lose_nothing() {
    storm(Channel::bounded(2).unwrap(), 1_000_000);
}

#[test]
fn cancels_over_a_lock_lose_nothing() {
    let weighed = Channel::builder().max_weight(4, |item: &Item| item.1 % 3 + 1);
    storm(weighed.build().unwrap(), 200_000);
}

#[test]
fn cancels_where_nothing_is_buffered_lose_nothing() {
    storm(Channel::rendezvous(), 200_000);
}

#[test]
fn a_million_cancels_beside_a_sole_receiver_lose_nothing() {
    let channel = Channel::builder().capacity(2);
    let (tx, mut rx) = channel.build_single_consumer().unwrap();
    let given_up = &AtomicU64::new(0);
    let (sent, received) = thread::scope(|scope| {
        let receiving =
            scope.spawn(move || receive_all(0, given_up, |turn| receive(rx.recv(), turn)));
        let sending: Vec<_> = (0..SENDERS)
            .map(|who| {
                let tx = tx.clone();
                scope.spawn(move || send_until(&tx, who, given_up, 1_000_000))
            })
            .collect();
        drop(tx);
        let sent: Vec<u64> = sending.into_iter().map(|s| s.join().unwrap()).collect();
        (sent, receiving.join().unwrap())
    });
    assert_eq!(sent, received);
}
