//! Models of the ring: two or three threads over a capacity of 1 or 2. A wake list holds one waker
//! here, and nobody spins for an item that is being written: he answers that there is none.
#![cfg(loom)]

mod loom_common;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use flow_sync::model::{explore, explore_all};
use flow_sync::sync::atomic::{AtomicBool, Ordering, fence};
use flow_sync::{BareRing, PopError, PushError, Ring, Turn};
use loom::thread;
use loom_common::block_on;

fn ring(capacity: usize) -> Arc<Ring<u32>> {
    Arc::new(Ring::new(capacity).expect("a small capacity"))
}

/// Sends, waiting; the item comes back if the ring is closed.
fn send(ring: &Ring<u32>, item: u32) -> Result<(), u32> {
    let (mut turn, mut slot) = (Turn::New, Some(item));
    match block_on(|cx| ring.poll_push(cx, &mut turn, &mut slot)) {
        Ok(()) => Ok(()),
        Err(_) => Err(slot.expect("it comes back")),
    }
}

/// Receives, waiting; parks at once unless it yields.
fn recv(ring: &Ring<u32>, yields: bool) -> Option<u32> {
    let mut turn = Turn::New;
    block_on(|cx| ring.poll_pop(cx, &mut turn, yields))
}

/// Polls until it is parked, at most; the result if it is not.
fn park<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..2 {
        if let Poll::Ready(answer) = poll(&mut cx) {
            return Some(answer);
        }
    }
    None
}

fn spawn<T: 'static>(
    ring: &Arc<Ring<u32>>,
    work: impl FnOnce(&Ring<u32>) -> T + 'static,
) -> thread::JoinHandle<T> {
    let ring = ring.clone();
    thread::spawn(move || work(&ring))
}

#[test]
fn send_meets_close_and_receive() {
    explore("ring: send || close || receive", 2, || {
        let ring = ring(1);
        let sender = spawn(&ring, |ring| send(ring, 7));
        let closer = spawn(&ring, |ring| ring.close());
        let received = recv(&ring, false);
        assert!(closer.join().unwrap(), "the first close");
        match sender.join().unwrap() {
            Ok(()) => assert_eq!(received, Some(7)),
            Err(item) => assert_eq!((item, received), (7, None)),
        }
    });
}

#[test]
fn a_parked_sender_meets_a_receive() {
    explore("ring: send, send || receive, receive", 2, || {
        let ring = ring(1);
        let sender = spawn(&ring, |ring| (send(ring, 1), send(ring, 2)));
        assert_eq!((recv(&ring, true), recv(&ring, true)), (Some(1), Some(2)));
        assert_eq!(sender.join().unwrap(), (Ok(()), Ok(())));
        assert_eq!(ring.try_pop(), Err(PopError::Empty));
        assert_eq!((ring.pushes(), ring.pops(), ring.len()), (2, 2, 0));
    });
}

#[test]
fn two_senders_meet_a_receive() {
    explore("ring: send || send || receive", 1, || {
        let ring = ring(1);
        let senders = [1, 2].map(|item| spawn(&ring, move |ring| send(ring, item)));
        let first = recv(&ring, false);
        let mut received = [first, recv(&ring, false)];
        received.sort_unstable();
        assert_eq!(received, [Some(1), Some(2)]);
        for sender in senders {
            assert_eq!(sender.join().unwrap(), Ok(()));
        }
    });
}

#[test]
fn a_parked_receiver_meets_a_send() {
    explore("ring: receive || receive || send, send", 2, || {
        let ring = ring(2);
        let receivers = [(); 2].map(|()| spawn(&ring, |ring| recv(ring, false)));
        send(&ring, 1).unwrap();
        send(&ring, 2).unwrap();
        let mut received = receivers.map(|receiver| receiver.join().unwrap());
        received.sort_unstable();
        assert_eq!(received, [Some(1), Some(2)]);
    });
}

#[test]
fn senders_go_in_the_order_in_which_they_parked() {
    explore(
        "ring: parked send, parked send || receive, receive",
        2,
        || {
            let ring = ring(1);
            ring.try_push(0).unwrap();
            let (mut turns, mut slots) = ([Turn::New; 2], [Some(1), Some(2)]);
            for (turn, slot) in turns.iter_mut().zip(&mut slots) {
                assert!(park(|cx| ring.poll_push(cx, turn, slot)).is_none());
            }
            let receiver = spawn(&ring, |ring| [0; 3].map(|_| recv(ring, false)));
            for (turn, slot) in turns.iter_mut().zip(&mut slots) {
                block_on(|cx| ring.poll_push(cx, turn, slot)).unwrap();
            }
            assert_eq!(receiver.join().unwrap(), [Some(0), Some(1), Some(2)]);
        },
    );
}

#[test]
fn a_granted_send_that_is_dropped_passes_its_room_on() {
    explore("ring: receive || drop of a granted send || send", 2, || {
        let ring = ring(1);
        ring.try_push(1).unwrap();
        let (mut turn, mut slot) = (Turn::New, Some(3));
        assert!(park(|cx| ring.poll_push(cx, &mut turn, &mut slot)).is_none());
        let sender = spawn(&ring, |ring| send(ring, 2));
        let receiver = spawn(&ring, |ring| ring.try_pop());
        ring.leave_push(&mut turn);
        assert_eq!(receiver.join().unwrap(), Ok(1));
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!(recv(&ring, true), Some(2));
    });
}

#[test]
fn a_granted_receive_that_is_dropped_passes_its_item_on() {
    explore(
        "ring: send || drop of a granted receive || receive",
        2,
        || {
            let ring = ring(1);
            let mut turn = Turn::New;
            assert!(park(|cx| ring.poll_pop(cx, &mut turn, true)).is_none());
            let receiver = spawn(&ring, |ring| recv(ring, false));
            let sender = spawn(&ring, |ring| ring.try_push(7));
            ring.leave_pop(&mut turn);
            assert_eq!(sender.join().unwrap(), Ok(()));
            assert_eq!(receiver.join().unwrap(), Some(7));
        },
    );
}

#[test]
fn a_granted_send_meets_a_close() {
    explore("ring: parked send || receive, receive || close", 2, || {
        let ring = ring(1);
        ring.try_push(1).unwrap();
        let sender = spawn(&ring, |ring| send(ring, 2));
        let closer = spawn(&ring, |ring| ring.close());
        assert_eq!(recv(&ring, true), Some(1));
        let second = recv(&ring, false);
        closer.join().unwrap();
        match sender.join().unwrap() {
            Ok(()) => assert_eq!(second, Some(2)),
            Err(item) => assert_eq!((item, second), (2, None)),
        }
    });
}

/// A granted send that is not polled holds nobody up once the ring is closed.
#[test]
fn a_close_takes_room_back_from_those_who_have_not_come_for_it() {
    explore("ring: granted send || close || receive", 2, || {
        let ring = ring(1);
        ring.try_push(1).unwrap();
        let (mut turn, mut slot) = (Turn::New, Some(2));
        assert!(park(|cx| ring.poll_push(cx, &mut turn, &mut slot)).is_none());
        let closer = spawn(&ring, |ring| ring.close());
        assert_eq!(recv(&ring, true), Some(1));
        assert_eq!(recv(&ring, false), None);
        closer.join().unwrap();
        let refused = block_on(|cx| ring.poll_push(cx, &mut turn, &mut slot));
        assert_eq!((refused, slot), (Err(PushError::Closed), Some(2)));
    });
}

#[test]
fn a_permit_that_is_dropped_meets_close_and_receive() {
    explore("ring: drop of a permit || close || receive", 2, || {
        let ring = ring(1);
        ring.try_promise().unwrap();
        let holder = spawn(&ring, |ring| ring.withdraw());
        let closer = spawn(&ring, |ring| ring.close());
        assert_eq!(recv(&ring, false), None);
        holder.join().unwrap();
        closer.join().unwrap();
        assert!(ring.is_drained());
    });
}

#[test]
fn a_permit_that_is_dropped_meets_a_send() {
    explore("ring: drop of a permit || send", 3, || {
        let ring = ring(1);
        ring.try_promise().unwrap();
        let holder = spawn(&ring, |ring| ring.withdraw());
        send(&ring, 7).unwrap();
        holder.join().unwrap();
        assert_eq!(ring.try_pop(), Ok(7));
    });
}

#[test]
fn a_permit_sends_after_the_close() {
    explore("ring: close, permit || receive || receive", 2, || {
        let ring = ring(1);
        ring.try_promise().unwrap();
        let other = spawn(&ring, |ring| recv(ring, false));
        let holder = spawn(&ring, |ring| {
            ring.close();
            ring.push_promised(7).unwrap();
        });
        let mine = recv(&ring, false);
        holder.join().unwrap();
        let mut received = [mine, other.join().unwrap()];
        received.sort_unstable();
        assert_eq!(received, [None, Some(7)], "one has the item, and both end");
    });
}

/// As above, with the close in a thread of its own.
#[test]
fn a_permit_sends_beside_the_close() {
    explore("ring: permit || close || receive || receive", 1, || {
        let ring = ring(1);
        ring.try_promise().unwrap();
        let other = spawn(&ring, |ring| recv(ring, false));
        let holder = spawn(&ring, |ring| ring.push_promised(7).unwrap());
        let closer = spawn(&ring, |ring| ring.close());
        let mut received = [recv(&ring, false), other.join().unwrap()];
        received.sort_unstable();
        assert_eq!(received, [None, Some(7)], "one has the item, and both end");
        holder.join().unwrap();
        assert!(closer.join().unwrap() && ring.is_drained());
    });
}

/// Nobody waits: what is left are the words and the slot themselves, without a bound.
#[test]
fn a_push_meets_a_close_and_a_pop() {
    explore_all("ring: try || close || try", || {
        let ring = ring(1);
        let sender = spawn(&ring, |ring| ring.try_push(7));
        let closer = spawn(&ring, |ring| ring.close());
        let first = ring.try_pop();
        assert!(closer.join().unwrap());
        let pushed = sender.join().unwrap();
        if first == Err(PopError::Closed) {
            assert_eq!(pushed, Err((7, PushError::Closed)), "drained is for ever");
        }
        let received = [first, ring.try_pop()].contains(&Ok(7));
        assert_eq!(received, pushed.is_ok());
        assert!(pushed.is_ok() || pushed == Err((7, PushError::Closed)));
        assert_eq!(ring.try_pop(), Err(PopError::Closed));
    });
}

/// Of a bare ring: its user puts somebody to sleep by a word of his own.
#[test]
fn a_bare_push_meets_one_that_falls_asleep() {
    explore_all("bare ring: push, look || fall asleep, look", || {
        let ring = Arc::new(BareRing::new(1).expect("a small capacity"));
        let sleeps = Arc::new(AtomicBool::new(false));
        let pusher = {
            let (ring, sleeps) = (ring.clone(), sleeps.clone());
            thread::spawn(move || {
                assert_eq!(ring.push(7), Ok(()));
                sleeps.load(Ordering::SeqCst)
            })
        };
        sleeps.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let found = ring.has_item().then(|| ring.pop());
        let is_woken = pusher.join().unwrap();
        assert!(found.is_some() || is_woken);
        assert_eq!(found.unwrap_or_else(|| ring.pop()), Some(7));
    });
}

/// The same of one that waits for room; and whoever sees it has it, though the item is still there.
#[test]
fn a_bare_pop_meets_one_that_waits_for_room() {
    explore_all("bare ring: pop, look || wait for room, look", || {
        let ring = Arc::new(BareRing::new(1).expect("a small capacity"));
        assert_eq!(ring.push(1), Ok(()));
        let waits = Arc::new(AtomicBool::new(false));
        let popper = {
            let (ring, waits) = (ring.clone(), waits.clone());
            thread::spawn(move || {
                assert_eq!(ring.pop(), Some(1));
                waits.load(Ordering::SeqCst)
            })
        };
        waits.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let has_room = ring.pops() == 1;
        if has_room {
            assert_eq!(ring.push(2), Ok(()));
        }
        let is_served = popper.join().unwrap();
        assert!(has_room || is_served);
        assert_eq!(ring.pop(), has_room.then_some(2));
    });
}

#[test]
fn a_wait_for_a_permit_meets_a_receive() {
    explore("ring: parked permit || receive || close", 2, || {
        let ring = ring(1);
        ring.try_push(1).unwrap();
        let holder = spawn(&ring, |ring| {
            let mut turn = Turn::New;
            let promised = block_on(|cx| ring.poll_promise(cx, &mut turn)).is_ok();
            if promised {
                ring.push_promised(2).unwrap();
            }
            promised
        });
        assert_eq!(recv(&ring, true), Some(1));
        ring.close();
        let second = recv(&ring, false);
        assert_eq!(second.is_some(), holder.join().unwrap());
    });
}

#[test]
fn whoever_takes_the_last_item_of_a_closed_ring_tells_the_others() {
    explore("ring: receive || receive || send, close", 2, || {
        let ring = ring(1);
        let other = spawn(&ring, |ring| recv(ring, false));
        let sender = spawn(&ring, |ring| {
            ring.try_push(7).unwrap();
            ring.close();
        });
        let mut received = [recv(&ring, false), other.join().unwrap()];
        sender.join().unwrap();
        received.sort_unstable();
        assert_eq!(received, [None, Some(7)]);
    });
}

/// A newcomer may be faster than a receiver that parks; that one is the first again.
#[test]
fn a_receiver_that_lost_its_item_keeps_its_place() {
    explore("ring: receive || try || send, send", 2, || {
        let ring = ring(2);
        let receiver = spawn(&ring, |ring| recv(ring, false));
        let newcomer = spawn(&ring, |ring| ring.try_pop());
        send(&ring, 1).unwrap();
        let taken = newcomer.join().unwrap();
        if taken.is_ok() {
            send(&ring, 2).unwrap();
        }
        let received = receiver.join().unwrap();
        assert_eq!(received, Some(if taken.is_ok() { 2 } else { 1 }));
        assert_eq!(ring.try_pop(), Err(PopError::Empty));
    });
}

#[test]
fn a_newcomer_leaves_what_is_set_aside() {
    explore("ring: granted receive || try || send", 3, || {
        let ring = ring(1);
        let mut turn = Turn::New;
        assert!(park(|cx| ring.poll_pop(cx, &mut turn, true)).is_none());
        let sender = spawn(&ring, |ring| ring.try_push(7));
        let newcomer = spawn(&ring, |ring| ring.try_pop());
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!(newcomer.join().unwrap(), Err(PopError::Empty));
        assert_eq!(block_on(|cx| ring.poll_pop(cx, &mut turn, true)), Some(7));
    });
}

/// One that sees how many are set aside takes what is there beyond them.
#[test]
fn a_newcomer_takes_what_is_not_set_aside() {
    explore("ring: granted receive || try || send, send", 2, || {
        let ring = ring(2);
        let mut turn = Turn::New;
        assert!(park(|cx| ring.poll_pop(cx, &mut turn, true)).is_none());
        let sender = spawn(&ring, |ring| [1, 2].map(|item| ring.try_push(item)));
        let newcomer = spawn(&ring, |ring| ring.try_pop());
        assert_eq!(sender.join().unwrap(), [Ok(()), Ok(())]);
        let taken = newcomer.join().unwrap();
        let received = block_on(|cx| ring.poll_pop(cx, &mut turn, true));
        if taken.is_ok() {
            assert_eq!((taken, received), (Ok(1), Some(2)));
        } else {
            assert_eq!((taken, received), (Err(PopError::Empty), Some(1)));
            assert_eq!(ring.try_pop(), Ok(2));
        }
        assert_eq!(ring.try_pop(), Err(PopError::Empty));
        // Each slot is free for the next lap, so that a push need not look for the taker.
        assert_eq!([3, 4].map(|item| ring.push_plainly(item)), [Ok(()), Ok(())]);
    });
}

#[test]
fn a_newcomer_does_not_overtake_a_sender_that_waits() {
    explore("ring: parked send || try || receive", 3, || {
        let ring = ring(1);
        ring.try_push(1).unwrap();
        let (mut turn, mut slot) = (Turn::New, Some(2));
        assert!(park(|cx| ring.poll_push(cx, &mut turn, &mut slot)).is_none());
        let newcomer = spawn(&ring, |ring| ring.try_push(9));
        assert_eq!(ring.try_pop(), Ok(1));
        assert_eq!(newcomer.join().unwrap(), Err((9, PushError::Full)));
        block_on(|cx| ring.poll_push(cx, &mut turn, &mut slot)).unwrap();
        assert_eq!(ring.try_pop(), Ok(2));
    });
}

/// Room beside a promise comes only from a receive.
#[test]
fn a_newcomer_finds_room_beside_a_promise() {
    explore("ring: permit || try || receive", 2, || {
        let ring = ring(2);
        ring.try_push(1).unwrap();
        ring.try_promise().unwrap();
        let newcomer = spawn(&ring, |ring| {
            let pushed = ring.try_push(2);
            // Whoever found room has seen that it was made.
            assert!(pushed.is_err() || ring.pops() == 1);
            assert!(ring.len() <= 2);
            pushed.is_ok()
        });
        let holder = spawn(&ring, |ring| ring.push_promised(7).unwrap());
        assert_eq!(ring.try_pop(), Ok(1));
        assert!(ring.len() <= 2);
        holder.join().unwrap();
        let pushed = newcomer.join().unwrap();
        let mut left = [ring.try_pop().ok(), ring.try_pop().ok()];
        left.sort_unstable();
        assert_eq!(left, [pushed.then_some(2), Some(7)]);
    });
}

#[test]
fn a_newcomer_leaves_what_is_promised() {
    explore("ring: permit || two tries", 3, || {
        let ring = ring(2);
        ring.try_promise().unwrap();
        let newcomer = spawn(&ring, |ring| [1, 2].map(|item| ring.try_push(item).is_ok()));
        ring.push_promised(7).unwrap();
        assert_eq!(newcomer.join().unwrap(), [true, false]);
        assert_eq!(ring.len(), 2);
    });
}

#[test]
fn batches_meet() {
    explore("ring: batch of 3 || batches", 2, || {
        let ring = ring(2);
        let sender = spawn(&ring, |ring| {
            let mut items = VecDeque::from([1, 2, 3]);
            let pushed = ring.try_push_many(&mut items);
            ring.close();
            (pushed, items.len())
        });
        let mut batch = Vec::new();
        loop {
            let mut turn = Turn::New;
            let popped = block_on(|cx| ring.poll_pop_many(cx, &mut turn, false, &mut batch, 2));
            match popped {
                Some(popped) => assert!((1..=2).contains(&popped)),
                None => break,
            }
        }
        let (pushed, left) = sender.join().unwrap();
        assert_eq!(pushed, Ok(2));
        assert_eq!(left, 1);
        assert_eq!(batch, [1, 2]);
    });
}

#[test]
fn a_batch_wakes_every_sender_that_it_makes_room_for() {
    explore("ring: parked send, parked send || batch", 2, || {
        let ring = ring(2);
        ring.try_push(1).unwrap();
        ring.try_push(2).unwrap();
        let (mut turns, mut slots) = ([Turn::New; 2], [Some(3), Some(4)]);
        for (turn, slot) in turns.iter_mut().zip(&mut slots) {
            assert!(park(|cx| ring.poll_push(cx, turn, slot)).is_none());
        }
        let receiver = spawn(&ring, |ring| {
            let mut batch = Vec::new();
            (ring.try_pop_many(&mut batch, 4), batch)
        });
        for (turn, slot) in turns.iter_mut().zip(&mut slots) {
            block_on(|cx| ring.poll_push(cx, turn, slot)).unwrap();
        }
        let (popped, batch) = receiver.join().unwrap();
        assert_eq!((popped, batch), (Ok(2), vec![1, 2]));
        assert_eq!((ring.try_pop(), ring.try_pop()), (Ok(3), Ok(4)));
    });
}

#[test]
fn it_never_holds_more_than_its_capacity() {
    explore("ring: push || push || pop || len", 2, || {
        let ring = ring(1);
        let pushers = [1, 2].map(|item| spawn(&ring, move |ring| ring.try_push(item).is_ok()));
        assert!(ring.len() <= 1);
        let popped = ring.try_pop().is_ok();
        assert!(ring.len() <= 1);
        let pushed = pushers.map(|pusher| pusher.join().unwrap());
        let pushed = pushed.into_iter().filter(|&pushed| pushed).count();
        assert_eq!(pushed - usize::from(popped), ring.len());
    });
}

/// The capacity that is no power of two has a slot too many.
#[test]
fn room_is_counted_where_slots_are_not_enough() {
    explore("ring: push || push || pop, of 3 in 4 slots", 2, || {
        let ring = ring(3);
        for item in 0..3 {
            ring.try_push(item).unwrap();
        }
        let pushers = [3, 4].map(|item| spawn(&ring, move |ring| ring.try_push(item).is_ok()));
        assert_eq!(ring.try_pop(), Ok(0));
        let pushed = pushers.map(|pusher| pusher.join().unwrap());
        assert!(pushed != [true, true]);
        assert!(ring.len() <= 3);
    });
}
