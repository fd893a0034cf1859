//! What the channels of others lose or hang on, as fixed tests of ours.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use crate::common::{park, poll};
use flow_rt::TestRuntime;
use flow_stream::{Channel, Receiver, RecvError, Sender};
use futures_util::{StreamExt, pin_mut, select_biased};

flow_rt::on_every_runtime! {
    kanal_24_a_dropped_receive_has_taken_nothing,
    kanal_50_the_branch_that_is_not_selected_keeps_its_item,
    flume_104_a_cancelled_send_has_sent_nothing,
    flume_124_the_last_item_comes_before_the_end,
    iroh_2536_a_cancelled_receive_passes_its_wake_up_on,
    tokio_8260_a_reservation_that_is_dropped_ends_the_wait,
    tokio_8260_a_grant_that_nobody_comes_for_ends_with_the_close,
    tokio_7709_a_permit_blocks_nobody_else,
    tokio_7714_an_item_for_nobody_is_dropped_at_once,
    async_channel_87_a_cancelled_send_gives_its_item_back,
    async_std_452_a_wake_up_is_not_lost_between_two,
    a_wait_that_is_kept_and_not_polled_holds_up_nobody,
}

/// One of each kind, over each queue.
fn kinds() -> [(Sender<u64>, Receiver<u64>); 4] {
    let weighed = Channel::builder().max_weight(2, |_| 2);
    [
        Channel::bounded(1).unwrap(),
        Channel::bounded(1 << 20).unwrap(),
        weighed.build().unwrap(),
        Channel::rendezvous(),
    ]
}

/// The receive is pending, the item is sent, the receive is dropped before it is polled again.
async fn kanal_24_a_dropped_receive_has_taken_nothing(_: TestRuntime) {
    for (tx, rx) in kinds() {
        for item in 0..200 {
            let mut recv = rx.recv();
            park(&mut recv);
            tx.try_send(item).unwrap();
            drop(recv);
            assert_eq!(rx.try_recv(), Ok(item));
        }
    }
}

/// Two channels in a `select!`, both of whose receives are woken.
async fn kanal_50_the_branch_that_is_not_selected_keeps_its_item(rt: TestRuntime) {
    for ((first_tx, first), (second_tx, second)) in kinds().into_iter().zip(kinds()) {
        let senders = [first_tx, second_tx].map(|tx| {
            rt.spawn(async move {
                for item in 0..50 {
                    tx.send(item).await.unwrap();
                }
            })
        });
        let (mut from_first, mut from_second) = (Vec::new(), Vec::new());
        loop {
            let (one, other) = (first.recv(), second.recv());
            pin_mut!(one, other);
            select_biased! {
                item = one => match item {
                    Ok(item) => from_first.push(item),
                    Err(_) => break,
                },
                item = other => match item {
                    Ok(item) => from_second.push(item),
                    Err(_) => break,
                },
            }
        }
        // One has ended; what is left is the other's.
        from_first.extend(first.collect::<Vec<_>>().await);
        from_second.extend(second.collect::<Vec<_>>().await);
        for sender in senders {
            sender.await.unwrap();
        }
        assert!(from_first.into_iter().eq(0..50) && from_second.into_iter().eq(0..50));
    }
}

/// The send is pending and dropped; room comes after that, or has come before it.
async fn flume_104_a_cancelled_send_has_sent_nothing(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(1).unwrap();
    for room_first in [false, true] {
        tx.try_send(1).unwrap();
        let mut send = tx.send(2);
        park(&mut send);
        if room_first {
            assert_eq!(rx.try_recv(), Ok(1));
            drop(send);
        } else {
            drop(send);
            assert_eq!(rx.try_recv(), Ok(1));
        }
        assert!(rx.try_recv().is_err(), "it was cancelled");
    }
    assert_eq!(tx.stats().sent, 2);
}

async fn flume_124_the_last_item_comes_before_the_end(rt: TestRuntime) {
    for (tx, rx) in kinds() {
        let receiver = rt.spawn(rx.collect::<Vec<_>>());
        tx.send(1).await.unwrap();
        tx.send(2).await.unwrap();
        drop(tx);
        assert_eq!(receiver.await.unwrap(), [1, 2]);
    }
}

/// Of two receives that wait the first is woken and dropped: the second must get the item.
async fn iroh_2536_a_cancelled_receive_passes_its_wake_up_on(rt: TestRuntime) {
    for (tx, rx) in kinds() {
        let mut first = rx.recv();
        park(&mut first);
        let second = rt.spawn({
            let rx = rx.clone();
            async move { rx.recv().await }
        });
        // It is parked behind the first.
        rt.settle().await;
        tx.try_send(1).unwrap();
        drop(first);
        assert_eq!(second.await.unwrap(), Ok(1));
    }
}

/// A receiver that waits for the end of a closed channel, with a permit out and reservations in
/// line. The permit's drop ends the wait, before that of the reservations or after it.
async fn tokio_8260_a_reservation_that_is_dropped_ends_the_wait(rt: TestRuntime) {
    for permit_first in [false, true] {
        let (tx, rx) = Channel::<u64>::bounded(1).unwrap();
        let permit = tx.try_reserve().unwrap();
        let mut queued = tx.reserve();
        park(&mut queued);
        let mut owned = tx.reserve_owned();
        park(&mut owned);
        let receiver = rt.spawn(async move {
            rx.close();
            rx.recv().await
        });
        rt.settle().await;
        assert!(!receiver.is_finished(), "the permit is out");
        if permit_first {
            drop(permit);
            // It was the last that receivers waited for: nobody comes for a place in the line.
            assert_eq!(receiver.await.unwrap(), Err(RecvError::Closed));
            drop((queued, owned));
        } else {
            drop((queued, owned));
            rt.settle().await;
            assert!(!receiver.is_finished(), "the permit is out still");
            drop(permit);
            assert_eq!(receiver.await.unwrap(), Err(RecvError::Closed));
        }
    }
}

/// Room that a reservation was granted before the close, and never comes for, holds up nobody.
async fn tokio_8260_a_grant_that_nobody_comes_for_ends_with_the_close(rt: TestRuntime) {
    // Items of 8 KiB, so that one of the channels is too large for a ring.
    for capacity in [1, 1024] {
        let (tx, rx) = Channel::<[u64; 1024]>::bounded(capacity).unwrap();
        let permits: Vec<_> = (0..capacity).map(|_| tx.try_reserve().unwrap()).collect();
        let (mut queued, mut owned) = (tx.reserve(), tx.reserve_owned());
        park(&mut queued);
        park(&mut owned);
        drop(permits);
        let receiver = rt.spawn(async move {
            rx.close();
            rx.recv().await.is_err()
        });
        assert!(receiver.await.unwrap());
        drop((queued, owned));
    }
}

/// A permit that is kept takes the room of one item, and nobody's turn.
async fn tokio_7709_a_permit_blocks_nobody_else(rt: TestRuntime) {
    let (tx, rx) = Channel::bounded(2).unwrap();
    let kept = tx.reserve_owned().await.unwrap();
    let sender = rt.spawn(async move {
        for item in 0..20 {
            tx.send(item).await.unwrap();
        }
    });
    for item in 0..20 {
        assert_eq!(rx.recv().await, Ok(item));
    }
    sender.await.unwrap();
    kept.send(20);
    assert_eq!(rx.collect::<Vec<_>>().await, [20]);
}

struct Counted(Arc<AtomicU64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

async fn tokio_7714_an_item_for_nobody_is_dropped_at_once(_: TestRuntime) {
    let dropped = Arc::new(AtomicU64::new(0));
    let (tx, rx) = Channel::bounded(2).unwrap();
    let permit = tx.try_reserve_owned().unwrap();
    tx.try_send(Counted(dropped.clone())).unwrap();
    drop(rx);
    assert_eq!(dropped.load(Relaxed), 1);
    permit.send(Counted(dropped.clone()));
    assert_eq!(dropped.load(Relaxed), 2, "though a sender is there still");
    drop(tx);
}

async fn async_channel_87_a_cancelled_send_gives_its_item_back(_: TestRuntime) {
    for (tx, rx) in kinds() {
        while tx.try_send(0).is_ok() {}
        let mut send = tx.send(7);
        assert!(poll(&mut send).is_pending());
        assert_eq!(send.into_inner(), Some(7));
        rx.close();
        let mut late = tx.send(8);
        let Poll::Ready(Err(refused)) = poll(&mut late) else {
            panic!("it is closed");
        };
        assert_eq!((refused.into_inner(), late.into_inner()), (8, None));
    }
}

/// Two sends wait, and two items are taken at once: both must be woken.
async fn async_std_452_a_wake_up_is_not_lost_between_two(rt: TestRuntime) {
    let (tx, rx) = Channel::bounded(2).unwrap();
    tx.try_send(0).unwrap();
    tx.try_send(1).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let senders = [2, 3].map(|item| {
        let (tx, order) = (tx.clone(), order.clone());
        rt.spawn(async move {
            tx.send(item).await.unwrap();
            order.lock().unwrap().push(item);
        })
    });
    rt.settle().await;
    assert_eq!(tx.stats().blocked_sends, 2);
    let mut batch = Vec::new();
    while batch.len() < 4 {
        rx.recv_many(&mut batch, 4).await;
    }
    for sender in senders {
        sender.await.unwrap();
    }
    batch.sort_unstable();
    assert_eq!((batch, order.lock().unwrap().len()), (vec![0, 1, 2, 3], 2));
}

/// async-channel's `forget_blocked_sender` and `forget_blocked_receiver`: whoever waits and does
/// not come for what it is granted has that, and nothing of the others'.
async fn a_wait_that_is_kept_and_not_polled_holds_up_nobody(rt: TestRuntime) {
    let weighed = Channel::builder().max_weight(2, |_| 1);
    for (tx, rx) in [Channel::bounded(2).unwrap(), weighed.build().unwrap()] {
        tx.try_send(3).unwrap();
        tx.try_send(7).unwrap();
        let mut forgotten = tx.send(13);
        park(&mut forgotten);
        let sender = rt.spawn({
            let tx = tx.clone();
            async move { tx.send(42).await }
        });
        rt.settle().await;
        assert_eq!((rx.recv().await, rx.recv().await), (Ok(3), Ok(7)));
        sender.await.unwrap().unwrap();
        assert_eq!(rx.try_recv(), Ok(42));
        drop(forgotten);

        let mut forgotten = rx.recv();
        park(&mut forgotten);
        let receiver = rt.spawn({
            let rx = rx.clone();
            async move { rx.recv().await }
        });
        rt.settle().await;
        tx.send(3).await.unwrap();
        tx.send(7).await.unwrap();
        assert_eq!(receiver.await.unwrap(), Ok(3));
        tx.try_send(42).unwrap();
        drop(forgotten);
        assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(7), Ok(42)));
    }
}
