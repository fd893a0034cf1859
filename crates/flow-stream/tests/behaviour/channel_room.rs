//! Permits, batches, weak ends, the one receiver, the wait for the close: on every runtime.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use crate::common::{park, poll};
use flow_rt::{OnFull, TestRuntime};
use flow_stream::{Channel, DropReason, RecvError, ReserveError, SendManyError, TryRecvError};
use futures_util::StreamExt;
use futures_util::future::FusedFuture;

flow_rt::on_every_runtime! {
    a_permit_is_room,
    a_permit_is_good_after_the_close,
    a_permit_outlives_the_last_receiver,
    a_wait_for_a_permit_is_a_place_in_the_line,
    permits_by_the_answer_to_full,
    owned_permits,
    send_many_sends_in_order_and_keeps_the_rest,
    send_many_by_the_answer_to_full,
    weak_ends_keep_nothing_open,
    whoever_waits_for_the_close_is_told,
    one_receiver,
    a_channel_without_a_bound,
    a_large_channel_waits_too,
    on_block_once_per_send,
}

async fn a_permit_is_room(_: TestRuntime) {
    for capacity in [2, 3, 4] {
        let (tx, rx) = Channel::bounded(capacity).unwrap();
        let permit = tx.try_reserve().unwrap();
        let second = tx.reserve().await.unwrap();
        for item in 2..capacity {
            tx.try_send(item).unwrap();
        }
        assert!(tx.try_send(99).is_err());
        assert_eq!(tx.try_reserve().unwrap_err(), ReserveError::Full);
        assert_eq!(tx.len(), capacity - 2, "room is no item");
        assert_eq!(format!("{permit:?}"), "Permit { channel: \"channel\", .. }");
        drop(second);
        tx.try_send(100).unwrap();
        permit.send(101);
        for item in (2..capacity).chain([100, 101]) {
            assert_eq!(rx.try_recv(), Ok(item));
        }
        assert_eq!(tx.stats().sent, capacity as u64);
    }
}

async fn a_permit_is_good_after_the_close(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(2).unwrap();
    let (used, dropped) = (tx.try_reserve().unwrap(), tx.try_reserve().unwrap());
    tx.close();
    assert_eq!(tx.try_reserve().unwrap_err(), ReserveError::Closed);
    let mut recv = rx.recv();
    park(&mut recv);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "not drained");
    used.send(7);
    assert_eq!(poll(&mut recv), Poll::Ready(Ok(7)));
    let mut last = rx.recv();
    park(&mut last);
    drop(dropped);
    assert_eq!(poll(&mut last), Poll::Ready(Err(RecvError::Closed)));
}

async fn a_permit_outlives_the_last_receiver(_: TestRuntime) {
    let gone = Arc::new(Mutex::new(Vec::new()));
    let (tx, rx) = Channel::builder()
        .capacity(2)
        .on_drop({
            let gone = gone.clone();
            move |item, why| gone.lock().unwrap().push((item, why))
        })
        .build()
        .unwrap();
    // One that is received, so that not every figure is nothing.
    tx.try_send(0).unwrap();
    assert_eq!(rx.try_recv(), Ok(0));
    let permit = tx.try_reserve().unwrap();
    tx.try_send(1).unwrap();
    drop(rx);
    permit.send(2);
    let all = [(1, DropReason::NoReceiver), (2, DropReason::NoReceiver)];
    assert_eq!(*gone.lock().unwrap(), all);
    assert_eq!(
        (tx.len(), tx.stats().abandoned, tx.stats().received),
        (0, 2, 1)
    );
}

async fn a_wait_for_a_permit_is_a_place_in_the_line(rt: TestRuntime) {
    let (tx, rx) = Channel::bounded(1).unwrap();
    tx.try_send(1).unwrap();
    let mut first = tx.reserve();
    park(&mut first);
    let mut second = tx.send(3);
    park(&mut second);
    assert_eq!(tx.stats().blocked_sends, 2);
    assert_eq!(rx.recv().await, Ok(1));
    assert!(poll(&mut second).is_pending(), "not its turn");
    let Poll::Ready(Ok(permit)) = poll(&mut first) else {
        panic!("it is its turn");
    };
    assert!(first.is_terminated() && poll(&mut first).is_pending());
    permit.send(2);
    assert_eq!(rx.recv().await, Ok(2));
    second.await.unwrap();
    // One that is dropped passes its place on; one that is refused by a close says so.
    let (mut third, mut fourth) = (tx.reserve(), tx.reserve());
    park(&mut third);
    park(&mut fourth);
    assert_eq!(rx.recv().await, Ok(3));
    drop(third);
    let permit = fourth.await.unwrap();
    let waiting = rt.spawn({
        let tx = tx.clone();
        async move { tx.reserve().await.err() }
    });
    rx.close();
    assert_eq!(waiting.await.unwrap(), Some(ReserveError::Closed));
    drop(permit);
}

async fn permits_by_the_answer_to_full(_: TestRuntime) {
    for answer in [OnFull::Reject, OnFull::DropNewest] {
        let (tx, _rx) = Channel::builder()
            .capacity(1)
            .on_full(answer)
            .build()
            .unwrap();
        tx.try_send(1).unwrap();
        assert_eq!(tx.reserve().await.unwrap_err(), ReserveError::Full);
    }
    let (tx, rx) = Channel::builder()
        .capacity(1)
        .on_full(OnFull::DropOldest)
        .build()
        .unwrap();
    tx.try_send(1).unwrap();
    let (permit, other) = (tx.try_reserve().unwrap(), tx.reserve().await.unwrap());
    permit.send(2);
    assert_eq!(rx.recv().await, Ok(2));
    tx.close();
    other.send(3);
    assert_eq!(rx.recv().await, Err(RecvError::Closed));
    assert_eq!(
        (tx.stats().dropped_oldest, tx.stats().dropped_closed),
        (1, 1)
    );
    assert_eq!(tx.try_reserve().unwrap_err(), ReserveError::Closed);
    assert_eq!(tx.reserve().await.unwrap_err(), ReserveError::Closed);
}

async fn owned_permits(rt: TestRuntime) {
    let (tx, rx) = Channel::bounded(1).unwrap();
    let permit = tx.reserve_owned().await.unwrap();
    assert_eq!(
        format!("{permit:?}"),
        "OwnedPermit { channel: \"channel\", .. }"
    );
    assert_eq!(tx.try_reserve_owned().unwrap_err(), ReserveError::Full);
    let mut second = tx.reserve_owned();
    park(&mut second);
    assert!(format!("{second:?}").contains("parked: true, done: false"));
    let mut third = tx.reserve_owned();
    park(&mut third);
    drop(tx);
    assert!(!rx.is_closed(), "a permit is a sender");
    rt.spawn(async move { permit.send(1) }).await.unwrap();
    assert_eq!(rx.recv().await, Ok(1));
    drop(second);
    let permit = (&mut third).await.unwrap();
    assert!(third.is_terminated() && poll(&mut third).is_pending());
    drop(third);
    drop(permit);
    assert!(rx.is_closed(), "the last one");
    assert_eq!(rx.recv().await, Err(RecvError::Closed));

    let (tx, rx) = Channel::builder()
        .capacity(1)
        .on_full(OnFull::DropOldest)
        .build()
        .unwrap();
    let (first, second) = (
        tx.try_reserve_owned().unwrap(),
        tx.reserve_owned().await.unwrap(),
    );
    first.send(1);
    second.send(2);
    assert_eq!(rx.try_recv(), Ok(2));
    rx.close();
    assert_eq!(tx.reserve_owned().await.unwrap_err(), ReserveError::Closed);
    let (meets, _rx) = Channel::<u8>::rendezvous();
    assert_eq!(
        meets.reserve_owned().await.unwrap_err(),
        ReserveError::Rendezvous
    );
}

async fn send_many_sends_in_order_and_keeps_the_rest(rt: TestRuntime) {
    let (tx, rx) = Channel::bounded(3).unwrap();
    let mut items: VecDeque<u32> = (0..5).collect();
    assert_eq!(tx.try_send_many(&mut items), Err(SendManyError::Full));
    assert_eq!(items, [3, 4]);
    let mut batch = Vec::new();
    assert_eq!((rx.drain(&mut batch, 2), rx.drain(&mut batch, 64)), (2, 1));
    assert_eq!(rx.drain(&mut batch, 64), 0);

    // It waits, and what it has sent when it is dropped is gone from the queue.
    items.extend(5..8);
    let mut sending = tx.send_many(&mut items);
    park(&mut sending);
    assert_eq!(rx.drain(&mut batch, 1), 1);
    assert!(format!("{sending:?}").contains("left: 2, parked: true"));
    drop(sending);
    assert_eq!(items, [6, 7]);
    tx.try_send(90).unwrap();
    assert_eq!(rx.drain(&mut batch, 64), 3);
    assert_eq!(batch, [0, 1, 2, 3, 4, 5, 90]);

    let sender = rt.spawn({
        let tx = tx.clone();
        async move {
            let mut items = (100..1_000).collect();
            tx.send_many(&mut items).await.map(|()| items.len())
        }
    });
    batch.clear();
    while batch.len() < 900 {
        rx.recv_many(&mut batch, 7).await;
    }
    assert_eq!(sender.await.unwrap(), Ok(0));
    assert_eq!(batch, (100..1_000).collect::<Vec<_>>());

    rx.close();
    let mut late = VecDeque::from([1]);
    assert_eq!(tx.send_many(&mut late).await, Err(SendManyError::Closed));
    assert_eq!(late, [1]);
    late.clear();
    assert_eq!(tx.send_many(&mut late).await, Ok(()), "nothing to send");
}

async fn send_many_by_the_answer_to_full(_: TestRuntime) {
    for (answer, kept, counted) in [
        (OnFull::DropNewest, [0, 1], (3, 0)),
        (OnFull::DropOldest, [3, 4], (0, 3)),
    ] {
        let (tx, rx) = Channel::builder()
            .capacity(2)
            .on_full(answer)
            .build()
            .unwrap();
        let mut items = (0..5).collect();
        tx.send_many(&mut items).await.unwrap();
        assert!(items.is_empty());
        assert_eq!([rx.recv().await, rx.recv().await], kept.map(Ok));
        let stats = tx.stats();
        assert_eq!((stats.dropped_newest, stats.dropped_oldest), counted);
        tx.close();
        items.push_back(5);
        assert_eq!(tx.try_send_many(&mut items), Err(SendManyError::Closed));
        assert_eq!(items, [5]);
    }
    let (tx, _rx) = Channel::builder()
        .capacity(2)
        .on_full(OnFull::Reject)
        .build()
        .unwrap();
    let mut items = (0..5).collect();
    assert_eq!(tx.send_many(&mut items).await, Err(SendManyError::Full));
    assert_eq!(items, [2, 3, 4]);
}

async fn weak_ends_keep_nothing_open(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(2).unwrap();
    let (weak_tx, weak_rx) = (tx.downgrade(), rx.downgrade().clone());
    assert!(format!("{weak_tx:?} {weak_rx:?}").contains("WeakReceiver"));
    weak_tx.clone().upgrade().unwrap().try_send(1).unwrap();
    assert_eq!(weak_rx.upgrade().unwrap().recv().await, Ok(1));
    assert!(!rx.is_closed(), "one of each is left");
    let second = weak_tx.upgrade().unwrap();
    drop(tx);
    assert!(!rx.is_closed());
    drop(second);
    assert!(rx.is_closed() && weak_tx.upgrade().is_none());
    drop(rx);
    assert!(weak_rx.upgrade().is_none());
}

async fn whoever_waits_for_the_close_is_told(rt: TestRuntime) {
    for by_the_sender in [false, true] {
        let (tx, rx) = Channel::<u8>::bounded(1).unwrap();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let tx = tx.clone();
                rt.spawn(async move { tx.closed().await })
            })
            .collect();
        // They wait: what they are told is what wakes them.
        rt.settle().await;
        let mut dropped = Box::pin(tx.closed());
        park(&mut dropped);
        drop(dropped);
        if by_the_sender {
            tx.close();
        } else {
            drop(rx);
        }
        rt.settle().await;
        assert!(waiting.iter().all(flow_rt::JoinHandle::is_finished));
        for waiter in waiting {
            waiter.await.unwrap();
        }
        tx.closed().await;
    }
}

async fn one_receiver(rt: TestRuntime) {
    let (tx, mut rx) = Channel::builder()
        .capacity(4)
        .build_single_consumer()
        .unwrap();
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    // It parks at once, and a dropped wait leaves nothing behind.
    assert!(poll(&mut rx.recv()).is_pending());
    tx.try_send(1).unwrap();
    assert_eq!((rx.len(), rx.capacity(), rx.is_empty()), (1, 4, false));
    assert_eq!(rx.recv().await, Ok(1));
    assert!(rx.recv_timeout(Duration::from_millis(1)).await.is_err());
    let sender = rt.spawn(async move {
        for item in 0..100 {
            tx.send(item).await.unwrap();
        }
    });
    let mut batch = Vec::new();
    assert!((1..=3).contains(&rx.recv_many(&mut batch, 3).await));
    batch.push(rx.next().await.unwrap());
    rx.drain(&mut batch, 2);
    while let Some(item) = rx.next().await {
        batch.push(item);
    }
    sender.await.unwrap();
    assert_eq!(batch, (0..100).collect::<Vec<_>>());
    assert!(rx.is_closed() && futures_util::stream::FusedStream::is_terminated(&rx));
    assert_eq!(rx.stats().received, 101);
    assert!(rx.recv_blocking().is_err());
    rx.close();
    assert!(format!("{rx:?}").starts_with("SoleReceiver"));
}

async fn a_channel_without_a_bound(rt: TestRuntime) {
    let (tx, rx) = Channel::unbounded();
    let receiver = rt.spawn(async move { rx.collect::<Vec<_>>().await });
    for item in 0..10_000 {
        tx.send(item).await.unwrap();
    }
    assert_eq!(tx.stats().blocked_sends, 0);
    drop(tx);
    assert_eq!(receiver.await.unwrap().len(), 10_000);
}

/// The other queue has the same lines: a channel too large for a ring.
async fn a_large_channel_waits_too(rt: TestRuntime) {
    const CAPACITY: usize = 1 << 20;
    let (tx, rx) = Channel::bounded(CAPACITY).unwrap();
    let mut items = (0..CAPACITY as u32).collect();
    tx.try_send_many(&mut items).unwrap();
    assert!(tx.try_reserve().is_err());
    let (mut first, mut second) = (tx.send(1), tx.reserve());
    park(&mut first);
    park(&mut second);
    assert_eq!(rx.recv().await, Ok(0));
    assert!(tx.try_send(9).is_err() && poll(&mut second).is_pending());
    drop(first);
    let permit = second.await.unwrap();
    tx.close();
    let mut batch = Vec::new();
    assert_eq!(rx.recv_many(&mut batch, usize::MAX).await, CAPACITY - 1);
    let receiver = rt.spawn(async move { (rx.recv().await, rx.recv().await) });
    permit.send(7);
    assert_eq!(receiver.await.unwrap(), (Ok(7), Err(RecvError::Closed)));
}

async fn on_block_once_per_send(_: TestRuntime) {
    let blocked = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = Channel::builder()
        .capacity(1)
        .on_block({
            let blocked = blocked.clone();
            move || {
                blocked.fetch_add(1, SeqCst);
                panic!("a hook may");
            }
        })
        .build()
        .unwrap();
    tx.send(1).await.unwrap();
    assert_eq!(blocked.load(SeqCst), 0);
    let mut second = tx.send(2);
    park(&mut second);
    assert!(poll(&mut second).is_pending());
    assert!(tx.try_send(3).is_err());
    assert_eq!((blocked.load(SeqCst), tx.stats().blocked_sends), (1, 1));
    assert_eq!(rx.recv().await, Ok(1));
    second.await.unwrap();
    // A send of many is one, in however many pieces it goes.
    let mut items = (3..6).collect();
    let mut many = tx.send_many(&mut items);
    for item in 2..5 {
        park(&mut many);
        assert_eq!(rx.try_recv(), Ok(item));
    }
    many.await.unwrap();
    assert_eq!((blocked.load(SeqCst), tx.stats().blocked_sends), (2, 2));
}
