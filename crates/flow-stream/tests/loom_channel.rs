//! Models of the channel's core: every interleaving of two or three threads over capacity 1.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p flow-stream --release --features loom --test loom_channel`
#![cfg(loom)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use flow_stream::{Channel, Receiver, RecvError, Sender, TryRecvError};
use flow_sync::model::explore;
use loom::future::block_on;
use loom::thread;

fn park<F: Future + Unpin>(future: &mut F) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    let mut poll = || Pin::new(&mut *future).poll(&mut cx).is_pending();
    poll() && poll()
}

/// Both ends of a new channel, of one kind or another.
type Make = fn() -> (Sender<u32>, Receiver<u32>);

fn bounded() -> (Sender<u32>, Receiver<u32>) {
    Channel::bounded(1).unwrap()
}

fn over_a_ring() -> (Sender<u32>, Receiver<u32>) {
    Channel::over_a_ring(1).unwrap()
}

/// A send that races with a close is received or comes back; never neither, never both.
fn a_send_meets_a_close(name: &str, preemptions: usize, make: Make) {
    explore(name, preemptions, move || {
        let (tx, rx) = make();
        let closer = tx.clone();
        let sender = thread::spawn(move || block_on(tx.send(7)).map_err(|e| e.into_inner()));
        let closing = thread::spawn(move || closer.close());
        let received = block_on(rx.recv());
        closing.join().unwrap();
        match sender.join().unwrap() {
            Ok(()) => assert_eq!(received, Ok(7)),
            Err(item) => assert_eq!((item, received), (7, Err(RecvError::Closed))),
        }
    });
}

/// The second send parks over capacity 1: its wake-up comes, in order.
fn two_sends_over_room_for_one(name: &str, preemptions: usize, make: Make) {
    explore(name, preemptions, move || {
        let (tx, rx) = make();
        let sender = thread::spawn(move || {
            block_on(async {
                tx.send(1).await.unwrap();
                tx.send(2).await.unwrap();
            });
        });
        assert_eq!(block_on(rx.recv()), Ok(1));
        assert_eq!(block_on(rx.recv()), Ok(2));
        sender.join().unwrap();
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    });
}

/// Whoever takes the last item of a closed channel tells the receiver that is parked.
fn the_last_item_ends_two_waits(name: &str, preemptions: usize, make: Make) {
    explore(name, preemptions, move || {
        let (tx, rx) = make();
        let other = rx.clone();
        let receiver = thread::spawn(move || block_on(other.recv()).is_ok());
        let sender = thread::spawn(move || {
            tx.try_send(7).unwrap();
            drop(tx);
        });
        let mine = block_on(rx.recv()).is_ok();
        assert!(mine ^ receiver.join().unwrap(), "exactly one gets the item");
        sender.join().unwrap();
    });
}

#[test]
fn send_races_with_close_and_recv() {
    a_send_meets_a_close("send || close || recv", 3, bounded);
}

#[test]
fn a_parked_sender_is_woken() {
    two_sends_over_room_for_one("send, send || recv, recv", 3, bounded);
}

#[test]
fn two_receivers_both_end() {
    the_last_item_ends_two_waits("recv || recv || send, drop", 3, bounded);
}

#[test]
fn a_meeting_races_with_a_close() {
    let name = "send || close || recv over a rendezvous";
    a_send_meets_a_close(name, 3, Channel::rendezvous);
}

#[test]
fn over_a_ring_send_races_with_close_and_recv() {
    a_send_meets_a_close("send || close || recv over a ring", 2, over_a_ring);
}

#[test]
fn over_a_ring_a_parked_sender_is_woken() {
    two_sends_over_room_for_one("send, send || recv, recv over a ring", 2, over_a_ring);
}

#[test]
fn over_a_ring_two_receivers_both_end() {
    the_last_item_ends_two_waits("recv || recv || send, drop, over a ring", 1, over_a_ring);
}

/// A granted receive that is dropped hands its item to the one parked behind it.
#[test]
fn a_dropped_receive_passes_its_item_on() {
    explore("send || drop granted recv || recv", 3, || {
        let (tx, rx) = Channel::bounded(1).unwrap();
        let other = rx.clone();
        let receiver = thread::spawn(move || block_on(other.recv()));
        let sender = thread::spawn(move || {
            tx.try_send(7).unwrap();
            // Stays open, so that only the item can end the wait.
            tx
        });
        let mut recv = rx.recv();
        let parked = park(&mut recv);
        drop(recv);
        if parked {
            assert_eq!(receiver.join().unwrap(), Ok(7));
        } else {
            // It took the item itself: the other one ends with the channel.
            rx.close();
            assert_eq!(receiver.join().unwrap(), Err(RecvError::Closed));
        }
        drop(sender.join().unwrap());
    });
}

/// Room granted to a send that is dropped goes to the one parked behind it.
#[test]
fn a_dropped_send_passes_its_room_on() {
    explore("recv || drop granted send || send", 3, || {
        let (tx, rx) = Channel::bounded(1).unwrap();
        tx.try_send(1).unwrap();
        let other = tx.clone();
        let sender = thread::spawn(move || block_on(other.send(2)).is_ok());
        let receiver = thread::spawn(move || (rx.try_recv(), rx));
        let mut send = tx.send(3);
        let parked = park(&mut send);
        drop(send);
        let (first, rx) = receiver.join().unwrap();
        assert_eq!(first, Ok(1));
        let next = block_on(rx.recv()).unwrap();
        assert_eq!(next, if parked { 2 } else { 3 });
        if next == 3 {
            assert_eq!(block_on(rx.recv()), Ok(2));
        }
        assert!(sender.join().unwrap());
    });
}

/// A receiver that is woken finds its item, whoever comes by in between.
#[test]
fn a_newcomer_leaves_what_is_set_aside() {
    explore("granted recv || try_recv", 3, || {
        let (tx, rx) = Channel::bounded(1).unwrap();
        let newcomer = rx.clone();
        let mut recv = rx.recv();
        assert!(park(&mut recv));
        let sender = thread::spawn(move || tx.try_send(7).is_ok());
        let thief = thread::spawn(move || newcomer.try_recv());
        assert!(sender.join().unwrap());
        assert!(thief.join().unwrap().is_err());
        assert_eq!(block_on(recv), Ok(7));
    });
}

/// An evicting send and a close: the new item is in or comes back, the old one is received or
/// given to whoever evicted it.
#[test]
fn an_evicting_send_meets_a_close() {
    explore("evicting send || close || recv", 3, || {
        let dropped = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let hook = dropped.clone();
        let (tx, rx) = Channel::builder()
            .capacity(1)
            .on_full(flow_rt::OnFull::DropOldest)
            .on_drop(move |item, _| hook.store(item, std::sync::atomic::Ordering::Relaxed))
            .build()
            .unwrap();
        tx.try_send(1).unwrap();
        let closer = tx.clone();
        let sender = thread::spawn(move || tx.try_send(2).map_err(|error| error.into_inner()));
        let closing = thread::spawn(move || closer.close());
        let first = rx.try_recv();
        closing.join().unwrap();
        let second = rx.try_recv();
        let sent = sender.join().unwrap();
        let third = rx.try_recv();
        if second == Err(TryRecvError::Closed) {
            assert_eq!(third, second, "drained is for ever");
        }
        let received = |item| [first, second, third].contains(&Ok(item));
        match (sent, dropped.load(std::sync::atomic::Ordering::Relaxed)) {
            (Err(item), 0) => assert!(item == 2 && received(1) && !received(2)),
            (Ok(()), 0) => assert!(received(1) && received(2)),
            (Ok(()), 1) => assert!(!received(1) && received(2)),
            other => panic!("{other:?}"),
        }
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    });
}

/// A send that may evict, and mostly finds nobody waiting, wakes the receiver that does.
#[test]
fn an_evicting_send_meets_a_receive() {
    explore("evicting send || recv", 3, || {
        let evicting = Channel::builder().on_full(flow_rt::OnFull::DropOldest);
        let (tx, rx) = evicting.capacity(1).build().unwrap();
        // The sender stays, so that nothing but the item can end the wait.
        let sender = thread::spawn(move || {
            tx.try_send(1).unwrap();
            tx
        });
        assert_eq!(block_on(rx.recv()), Ok(1));
        drop(sender.join().unwrap());
    });
}

/// A permit that is dropped on a closed channel ends the wait of its receiver (tokio#8260).
#[test]
fn a_dropped_permit_ends_the_wait_of_a_closed_channel() {
    explore("drop of a permit || close || recv", 3, || {
        let (tx, rx) = Channel::<u32>::bounded(1).unwrap();
        let closer = tx.clone();
        // Both stay, so that nothing but the permit can end the wait.
        let holder = thread::spawn(move || {
            drop(tx.try_reserve().ok());
            tx
        });
        let closing = thread::spawn(move || {
            closer.close();
            closer
        });
        assert_eq!(block_on(rx.recv()), Err(RecvError::Closed));
        drop(holder.join().unwrap());
        drop(closing.join().unwrap());
    });
}

/// A sender and a receiver meet once, whoever comes first.
#[test]
fn two_meet() {
    explore("send || recv", 3, || {
        let (tx, rx) = Channel::rendezvous();
        let sender = thread::spawn(move || block_on(tx.send(7)).is_ok());
        assert_eq!(block_on(rx.recv()), Ok(7));
        assert!(sender.join().unwrap());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    });
}

/// Of two senders each meets one of two receives.
#[test]
fn two_senders_meet_a_receiver_each() {
    explore("send || send || recv, recv", 2, || {
        let (tx, rx) = Channel::rendezvous();
        let other = tx.clone();
        let first = thread::spawn(move || block_on(tx.send(1)).is_ok());
        let second = thread::spawn(move || block_on(other.send(2)).is_ok());
        let sum = block_on(rx.recv()).unwrap() + block_on(rx.recv()).unwrap();
        assert_eq!(sum, 3);
        assert!(first.join().unwrap() && second.join().unwrap());
    });
}

/// An offer that nobody comes for ends with the close.
#[test]
fn a_close_gives_an_offer_back() {
    explore("send || close", 3, || {
        let (tx, rx) = Channel::rendezvous();
        let closer = tx.clone();
        let closing = thread::spawn(move || closer.close());
        let refused = block_on(tx.send(7)).unwrap_err();
        assert_eq!(refused.into_inner(), 7);
        closing.join().unwrap();
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    });
}

/// A send that is dropped has its item, or a receiver has.
#[test]
fn a_dropped_meeting_says_whether_it_took_place() {
    explore("drop of a send || try_recv", 3, || {
        let (tx, rx) = Channel::rendezvous();
        // The receiver stays, so that no close answers the send.
        let receiver = thread::spawn(move || (rx.try_recv().ok(), rx));
        let mut send = tx.send(7);
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut send).poll(&mut cx);
        let back = send.into_inner();
        let (received, _rx) = receiver.join().unwrap();
        assert_eq!(back.or(received), Some(7));
        assert!(back.is_none() || received.is_none(), "one item");
    });
}

/// What was handed to a receiver that gives up goes to the one behind it.
#[test]
fn a_dropped_receive_passes_its_meeting_on() {
    explore("try_send || drop of a recv || recv", 3, || {
        let (tx, rx) = Channel::rendezvous();
        let other = rx.clone();
        let mut recv = rx.recv();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut recv).poll(&mut cx).is_pending());
        tx.try_send(7).unwrap();
        let receiver = thread::spawn(move || block_on(other.recv()));
        drop(recv);
        assert_eq!(receiver.join().unwrap(), Ok(7));
        // Stays open, so that only the item can end the wait.
        drop(tx);
    });
}

/// A sender that withdraws leaves the receiver it was granted to where it was.
#[test]
fn a_withdrawn_offer_leaves_the_receiver_waiting() {
    explore("drop of a send, send || recv", 3, || {
        let (tx, rx) = Channel::rendezvous();
        let receiver = thread::spawn(move || block_on(rx.recv()));
        let mut send = tx.send(1);
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut send).poll(&mut cx);
        let back = send.into_inner();
        if back.is_some() {
            block_on(tx.send(2)).unwrap();
        }
        let received = receiver.join().unwrap();
        assert_eq!(received, Ok(if back.is_some() { 2 } else { 1 }));
    });
}

/// While a heavy item waits, and when it has been granted its room, no light one takes it.
#[test]
fn a_light_item_waits_behind_a_heavy_one() {
    explore("recv, recv || try_send light, heavy parked", 3, || {
        let weighed = Channel::builder().max_weight(2, |item: &u64| *item);
        let (tx, rx) = weighed.build().unwrap();
        tx.try_send(1).unwrap();
        tx.try_send(1).unwrap();
        let mut heavy = tx.send(2);
        assert!(park(&mut heavy));
        let light = tx.clone();
        let newcomer = thread::spawn(move || light.try_send(1).is_err());
        assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(1), Ok(1)));
        assert!(newcomer.join().unwrap(), "all that is free is promised");
        block_on(heavy).unwrap();
        assert_eq!((rx.try_recv(), rx.stats().weight), (Ok(2), 0));
    });
}

/// Room for a heavy item that is dropped lets in as many light ones as it is room for.
#[test]
fn a_dropped_heavy_send_passes_its_room_on() {
    explore("recv || drop of a heavy send || send light", 3, || {
        let weighed = Channel::builder().max_weight(2, |item: &u64| *item);
        let (tx, rx) = weighed.build().unwrap();
        tx.try_send(2).unwrap();
        let mut heavy = tx.send(2);
        assert!(park(&mut heavy));
        let light = tx.clone();
        let sender = thread::spawn(move || block_on(light.send(1)).is_ok());
        let receiver = thread::spawn(move || (rx.try_recv(), rx));
        drop(heavy);
        assert!(sender.join().unwrap());
        let (first, rx) = receiver.join().unwrap();
        assert_eq!((first, rx.try_recv()), (Ok(2), Ok(1)));
    });
}

/// A receiver whose item gave way, before it came for it, to a heavy one is woken by the next.
#[test]
fn an_eviction_meets_a_grant() {
    explore("try_send light, light, heavy || recv || recv", 2, || {
        let weighed = Channel::builder().max_weight(2, |item: &u64| *item);
        let evicting = weighed.on_full(flow_rt::OnFull::DropOldest);
        let (tx, rx) = evicting.build().unwrap();
        let other = rx.clone();
        let mut first = rx.recv();
        assert!(park(&mut first));
        let second = thread::spawn(move || block_on(other.recv()).is_ok());
        let sender = thread::spawn(move || {
            for item in [1, 1, 2] {
                tx.try_send(item).unwrap();
            }
            // Stays open, so that only an item can end a wait.
            tx
        });
        assert!(block_on(first).is_ok());
        let tx = sender.join().unwrap();
        tx.try_send(1).unwrap();
        assert!(second.join().unwrap());
        let stats = tx.stats();
        assert_eq!(2 + stats.dropped_oldest + stats.len as u64, 4);
    });
}

/// Over the ring: a granted receive that is dropped hands its item to the one parked behind it.
#[test]
fn over_a_ring_a_dropped_receive_passes_its_item_on() {
    explore("try_send || drop of a recv || recv, over a ring", 2, || {
        let (tx, rx) = Channel::over_a_ring(1).unwrap();
        let other = rx.clone();
        let mut recv = rx.recv();
        assert!(park(&mut recv));
        let sender = thread::spawn(move || {
            tx.try_send(7).unwrap();
            // Stays open, so that only the item can end the wait.
            tx
        });
        let receiver = thread::spawn(move || block_on(other.recv()));
        drop(recv);
        assert_eq!(receiver.join().unwrap(), Ok(7));
        drop(sender.join().unwrap());
    });
}

/// Over the ring: room granted to a send that is dropped goes to the one parked behind it.
#[test]
fn over_a_ring_a_dropped_send_passes_its_room_on() {
    explore("try_recv || drop of a send || send, over a ring", 2, || {
        let (tx, rx) = Channel::over_a_ring(1).unwrap();
        tx.try_send(1).unwrap();
        let mut send = tx.send(3);
        assert!(park(&mut send));
        let other = tx.clone();
        let sender = thread::spawn(move || block_on(other.send(2)).is_ok());
        let receiver = thread::spawn(move || (rx.try_recv(), rx));
        drop(send);
        let (first, rx) = receiver.join().unwrap();
        assert!(sender.join().unwrap());
        assert_eq!((first, rx.try_recv()), (Ok(1), Ok(2)));
    });
}

/// Over the ring: what the last receiver leaves behind, and what comes after it, is dropped with
/// its hook or comes back.
#[test]
fn over_a_ring_the_last_receiver_abandons() {
    explore("send || drop of the receiver", 3, || {
        let dropped = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let item = Counted(dropped.clone());
        let (tx, rx) = Channel::over_a_ring(1).unwrap();
        let sender = thread::spawn(move || (tx.try_send(item).is_err(), tx));
        drop(rx);
        let (_, tx) = sender.join().unwrap();
        // While a sender is there the channel is too: the item must not wait for its end.
        assert_eq!(dropped.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert_eq!(tx.len(), 0);
    });
}

/// Over the ring: an item pushed into promised room after the last receiver has gone is dropped.
#[test]
fn over_a_ring_a_permit_outlives_the_receiver() {
    explore("send of a permit || drop of the receiver", 3, || {
        let dropped = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let item = Counted(dropped.clone());
        let (tx, rx) = Channel::over_a_ring(1).unwrap();
        let permit = tx.try_reserve_owned().unwrap();
        let sender = thread::spawn(move || permit.send(item));
        drop(rx);
        sender.join().unwrap();
        assert_eq!(dropped.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert_eq!(tx.len(), 0);
    });
}

/// Over the ring: a permit that is dropped ends the wait of a closed channel (tokio#8260).
#[test]
fn over_a_ring_a_dropped_permit_ends_the_wait() {
    explore("drop of a permit || recv, closed, over a ring", 3, || {
        let (tx, rx) = Channel::<u32>::over_a_ring(1).unwrap();
        let permit = tx.try_reserve_owned().unwrap();
        tx.close();
        let holder = thread::spawn(move || drop(permit));
        assert_eq!(block_on(rx.recv()), Err(RecvError::Closed));
        holder.join().unwrap();
        drop(tx);
    });
}

/// Counts its drops.
struct Counted(std::sync::Arc<std::sync::atomic::AtomicU32>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}
