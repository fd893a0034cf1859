//! The ring between real threads, with sends and receives that give up at every turn: what loom
//! cannot reach, and what a thread sanitizer sees. Every ring here wraps its positions.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use flow_sync::{PopError, Ring, Turn};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls up to so many times, sleeping in between; for ever with `None`.
fn poll_up_to<T>(
    polls: Option<u32>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    for n in 1.. {
        if let Poll::Ready(answer) = poll(&mut cx) {
            return Some(answer);
        }
        match polls {
            Some(most) if n >= most => return None,
            Some(_) => thread::yield_now(),
            None => thread::park(),
        }
    }
    None
}

/// A little chance, without a dependency.
fn dice(seed: &mut u64, sides: u64) -> u32 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed % sides) as u32
}

fn send_all(ring: &Ring<(u64, u64)>, who: u64, items: u64) {
    let mut seed = who + 1;
    for n in 0..items {
        let mut slot = Some((who, n));
        loop {
            match dice(&mut seed, 6) {
                0 => {
                    if ring.try_promise().is_ok() {
                        if dice(&mut seed, 2) == 0 {
                            let sent = ring.push_promised(slot.take().expect("not sent"));
                            sent.expect("it was promised");
                            break;
                        }
                        ring.withdraw();
                    }
                }
                1 => {
                    let mut many = VecDeque::from([slot.expect("not sent")]);
                    if ring.try_push_many(&mut many) == Ok(1) {
                        break;
                    }
                }
                polls => {
                    let (polls, mut turn) = ((polls < 5).then_some(polls), Turn::New);
                    let sent = poll_up_to(polls, |cx| ring.poll_push(cx, &mut turn, &mut slot));
                    ring.leave_push(&mut turn);
                    if let Some(sent) = sent {
                        sent.expect("open");
                        break;
                    }
                }
            }
        }
    }
}

fn receive_all(ring: &Ring<(u64, u64)>, who: u64, senders: usize) -> Vec<u64> {
    let mut seed = 1_000 + who;
    let mut next = vec![0; senders];
    let mut received = vec![0; senders];
    let mut batch = Vec::new();
    loop {
        let ended = match dice(&mut seed, 6) {
            0 => match ring.try_pop() {
                Ok(item) => {
                    batch.push(item);
                    false
                }
                Err(why) => why == PopError::Closed,
            },
            1 => ring.try_pop_many(&mut batch, 3) == Err(PopError::Closed),
            polls => {
                let (polls, mut turn) = ((polls < 5).then_some(polls), Turn::New);
                let yields = dice(&mut seed, 2) == 0;
                if yields {
                    ring.rest();
                }
                let popped = poll_up_to(polls, |cx| ring.poll_pop(cx, &mut turn, yields));
                ring.leave_pop(&mut turn);
                batch.extend(popped.flatten());
                popped == Some(None)
            }
        };
        for (sender, n) in batch.drain(..) {
            let sender = sender as usize;
            assert!(n >= next[sender], "out of order");
            next[sender] = n + 1;
            received[sender] += 1;
        }
        if ended {
            return received;
        }
    }
}

fn storm(capacity: usize, senders: usize, receivers: usize, items: u64) {
    let ring = Ring::new(capacity).expect("a small capacity");
    storm_over(&ring, senders, receivers, items);
}

fn storm_over(ring: &Ring<(u64, u64)>, senders: usize, receivers: usize, items: u64) {
    thread::scope(|scope| {
        let receiving: Vec<_> = (0..receivers)
            .map(|who| scope.spawn(move || receive_all(ring, who as u64, senders)))
            .collect();
        thread::scope(|scope| {
            for who in 0..senders {
                scope.spawn(move || send_all(ring, who as u64, items));
            }
        });
        ring.close();
        let mut received = vec![0; senders];
        for receiver in receiving {
            let part = receiver.join().expect("it saw what it should");
            for (sum, n) in received.iter_mut().zip(part) {
                *sum += n;
            }
        }
        assert_eq!(received, vec![items; senders]);
    });
    assert!(ring.is_drained());
}

#[test]
fn four_and_four_over_one_place() {
    storm(1, 4, 4, 10_000);
}

#[test]
fn four_and_four_over_a_few_places() {
    storm(3, 4, 4, 10_000);
    storm(64, 4, 4, 20_000);
}

/// Too many for a line each, and once no power of two.
#[test]
fn four_and_four_over_many_places() {
    storm(1024, 4, 4, 20_000);
    storm(300, 4, 4, 20_000);
}

#[test]
fn one_receiver_gets_each_senders_items_in_order() {
    storm(8, 7, 1, 10_000);
}

#[test]
fn a_sole_receiver_sleeps_through_nothing() {
    for capacity in [1, 3, 64] {
        let ring = Ring::with_one_receiver(capacity).expect("a small capacity");
        storm_over(&ring, 7, 1, 10_000);
    }
}

/// Items that are dropped with the ring, and those that were taken, are dropped once.
#[test]
fn every_item_is_dropped_once() {
    let item = Arc::new(());
    let ring = Ring::new(3).expect("a small capacity");
    for round in 0..2_000 {
        while ring.try_push(item.clone()).is_ok() {}
        assert_eq!(Arc::strong_count(&item), 4);
        let mut batch = Vec::new();
        ring.try_pop_many(&mut batch, round % 4)
            .expect("it is full");
        drop(batch);
        assert_eq!(Arc::strong_count(&item), 4 - round % 4);
    }
    drop(ring);
    assert_eq!(Arc::strong_count(&item), 1);
}
