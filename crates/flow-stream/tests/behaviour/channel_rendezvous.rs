//! Channels that hold nothing: sender and receiver meet, on every runtime.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use crate::common::poll;
use flow_rt::{OnFull, TestRuntime};
use flow_stream::{
    Channel, ChannelConfigError, DropReason, RecvError, ReserveError, SendTimeoutError,
    TryRecvError, TrySendError,
};
use futures_util::StreamExt;
use futures_util::future::FusedFuture;

flow_rt::on_every_runtime! {
    a_send_ends_when_its_item_is_taken,
    try_send_needs_a_receiver_that_waits,
    first_come_first_served_at_both_ends,
    a_close_gives_every_item_back,
    a_dropped_send_takes_its_item_along,
    a_dropped_receive_passes_its_item_on,
    a_receiver_whose_sender_withdrew_keeps_its_place,
    a_send_that_was_taken_says_so,
    limits_of_time,
    many_at_once,
    by_the_answer_to_full,
    there_is_no_room_to_reserve,
    the_last_receiver_sends_the_senders_away,
    one_receiver,
    every_item_meets_one_receiver,
}

async fn a_send_ends_when_its_item_is_taken(_: TestRuntime) {
    let (tx, rx) = Channel::rendezvous();
    let mut send = tx.send(1);
    assert!(poll(&mut send).is_pending() && poll(&mut send).is_pending());
    assert!(!send.is_terminated());
    assert_eq!((tx.len(), tx.capacity(), tx.stats().sent), (0, 0, 0));
    assert_eq!(rx.try_recv(), Ok(1));
    assert!(matches!(poll(&mut send), Poll::Ready(Ok(()))));
    assert!(send.is_terminated() && poll(&mut send).is_pending());
    let stats = tx.stats();
    assert_eq!((stats.sent, stats.received, stats.blocked_sends), (1, 1, 1));
    assert!(stats.utilization() < f64::EPSILON);

    // The receiver comes first: the send still waits until the item is taken.
    let mut recv = rx.recv();
    assert!(poll(&mut recv).is_pending());
    let mut send = tx.send(2);
    assert!(poll(&mut send).is_pending());
    assert_eq!(poll(&mut recv), Poll::Ready(Ok(2)));
    assert!(matches!(poll(&mut send), Poll::Ready(Ok(()))));
    assert_eq!(tx.stats().blocked_sends, 1, "a receiver was there");
}

async fn try_send_needs_a_receiver_that_waits(_: TestRuntime) {
    let (tx, rx) = Channel::rendezvous();
    let full = tx.try_send(1).unwrap_err();
    assert!(matches!(full, TrySendError::Full(_)), "{full:?}");
    assert_eq!(full.into_inner(), 1);
    let (mut first, mut second) = (rx.recv(), rx.recv());
    assert!(poll(&mut first).is_pending());
    tx.try_send(2).unwrap();
    assert!(tx.try_send(3).is_err(), "one receiver, one item");
    assert_eq!(tx.len(), 1, "on its way");
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "it is the first's");
    assert!(poll(&mut second).is_pending());
    tx.try_send(3).unwrap();
    // Behind them a send waits for a third receiver.
    let mut send = tx.send(4);
    assert!(poll(&mut send).is_pending());
    assert_eq!(
        poll(&mut second),
        Poll::Ready(Ok(2)),
        "of any two, the first"
    );
    assert_eq!(poll(&mut first), Poll::Ready(Ok(3)));
    assert_eq!((tx.len(), rx.try_recv()), (0, Ok(4)));
    // What was handed to one that gives up is the next one's, though the channel is closed.
    let mut third = rx.recv();
    assert!(poll(&mut third).is_pending());
    tx.try_send(5).unwrap();
    drop(third);
    tx.close();
    assert!(matches!(tx.try_send(6), Err(TrySendError::Closed(_))));
    assert_eq!(rx.recv().await, Ok(5));
    assert_eq!(rx.recv().await, Err(RecvError::Closed));
}

async fn first_come_first_served_at_both_ends(_: TestRuntime) {
    let (tx, rx) = Channel::rendezvous();
    let mut sends: Vec<_> = (0..4).map(|item| tx.send(item)).collect();
    for send in &mut sends {
        assert!(poll(send).is_pending());
    }
    for item in 0..4 {
        assert_eq!(rx.recv().await, Ok(item));
        for (nth, send) in sends.iter_mut().enumerate().skip(item) {
            assert_eq!(poll(send).is_ready(), nth == item);
        }
    }
    let mut receives: Vec<_> = (0..4).map(|_| rx.recv()).collect();
    for recv in &mut receives {
        assert!(poll(recv).is_pending());
    }
    for item in 0..4 {
        let mut send = tx.send(item);
        assert!(poll(&mut send).is_pending());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "others wait");
        for (nth, recv) in receives.iter_mut().enumerate().skip(item) {
            match poll(recv) {
                Poll::Ready(received) => assert_eq!((nth, received), (item, Ok(item))),
                Poll::Pending => assert!(nth > item),
            }
        }
        send.await.unwrap();
    }
}

async fn a_close_gives_every_item_back(rt: TestRuntime) {
    let (tx, rx) = Channel::rendezvous();
    let mut sends: Vec<_> = (0..3).map(|item| tx.send(item)).collect();
    for send in &mut sends {
        assert!(poll(send).is_pending());
    }
    assert_eq!(rx.recv().await, Ok(0));
    let waiting = rt.spawn({
        let (tx, rx) = (tx.clone(), rx.clone());
        async move {
            tx.closed().await;
            rx.recv().await
        }
    });
    rt.settle().await;
    rx.close();
    assert_eq!(rx.recv().await, Err(RecvError::Closed));
    let mut sends = sends.into_iter();
    sends.next().unwrap().await.unwrap();
    for (item, send) in (1..3).zip(sends) {
        let refused = send.await.unwrap_err();
        assert!(refused.is_closed());
        assert_eq!(refused.into_inner(), item);
    }
    assert_eq!(waiting.await.unwrap(), Err(RecvError::Closed));
    assert_eq!(tx.send(9).await.unwrap_err().into_inner(), 9);
}

async fn a_dropped_send_takes_its_item_along(_: TestRuntime) {
    let (tx, rx) = Channel::rendezvous();
    let (mut first, mut second) = (tx.send(1), tx.send(2));
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    assert_eq!(first.into_inner(), Some(1));
    assert_eq!(rx.try_recv(), Ok(2));
    assert_eq!(
        second.into_inner(),
        None,
        "it was taken, though it never said so"
    );
    drop(tx.send(3));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(tx.stats().sent, 1);
}

async fn a_dropped_receive_passes_its_item_on(_: TestRuntime) {
    let (tx, rx) = Channel::rendezvous();
    let (mut first, mut second) = (rx.recv(), rx.recv());
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    let mut send = tx.send(1);
    assert!(poll(&mut send).is_pending());
    drop(first);
    assert!(poll(&mut send).is_pending(), "nobody has taken it");
    assert_eq!(poll(&mut second), Poll::Ready(Ok(1)));
    send.await.unwrap();
}

async fn a_receiver_whose_sender_withdrew_keeps_its_place(_: TestRuntime) {
    let (tx, rx) = Channel::rendezvous();
    let (mut first, mut second) = (rx.recv(), rx.recv());
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    let mut send = tx.send(1);
    assert!(poll(&mut send).is_pending());
    drop(send);
    assert!(poll(&mut first).is_pending(), "there is nothing");
    tx.try_send(2).unwrap();
    assert!(poll(&mut second).is_pending(), "it is the first's");
    assert_eq!(poll(&mut first), Poll::Ready(Ok(2)));
    rx.close();
    assert_eq!(poll(&mut second), Poll::Ready(Err(RecvError::Closed)));
}

async fn a_send_that_was_taken_says_so(rt: TestRuntime) {
    let (tx, rx) = Channel::builder()
        .rendezvous()
        .runtime(&rt)
        .build()
        .unwrap();
    let mut send = tx.send_timeout(1, Duration::from_millis(5));
    assert!(poll(&mut send).is_pending());
    assert_eq!(rx.try_recv(), Ok(1));
    rt.sleep(Duration::from_millis(10)).await.unwrap();
    assert!(send.await.is_ok(), "long over, but it was in time");
}

async fn limits_of_time(rt: TestRuntime) {
    let (tx, rx) = Channel::builder()
        .rendezvous()
        .runtime(&rt)
        .build()
        .unwrap();
    let limit = Duration::from_millis(100);
    let start = rt.now();
    match tx.send_timeout(1, limit).await {
        Err(SendTimeoutError::TimedOut { item, timeout }) => {
            assert_eq!((item.into_inner(), timeout), (1, limit));
        }
        other => panic!("{other:?}"),
    }
    assert!(rt.now() - start >= limit);
    assert!(rx.recv_timeout(limit).await.is_err());
    // Zero tries once: a receiver has to be there.
    assert!(tx.send_timeout(2, Duration::ZERO).await.is_err());
    let mut recv = rx.recv();
    assert!(poll(&mut recv).is_pending());
    tx.send_timeout(3, Duration::ZERO).await.unwrap();
    assert_eq!(recv.await, Ok(3));
}

async fn many_at_once(rt: TestRuntime) {
    let (tx, rx) = Channel::rendezvous();
    let mut items = VecDeque::from([1, 2, 3, 4]);
    let mut sending = tx.send_many(&mut items);
    assert!(poll(&mut sending).is_pending());
    assert_eq!(rx.recv().await, Ok(1));
    assert!(poll(&mut sending).is_pending());
    drop(sending);
    assert_eq!(items, [2, 3, 4], "what nobody took is there, in its order");

    let (mut first, mut second) = (rx.recv(), rx.recv());
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    assert!(tx.try_send_many(&mut items).is_err());
    assert_eq!(items, [4], "as many as receivers waited");
    assert_eq!((first.await, second.await), (Ok(2), Ok(3)));

    let sender = rt.spawn({
        let tx = tx.clone();
        async move { tx.send_many(&mut (0..50).collect()).await }
    });
    let mut batch = Vec::new();
    while batch.len() < 50 {
        assert!((1..=7).contains(&rx.recv_many(&mut batch, 7).await));
    }
    sender.await.unwrap().unwrap();
    assert_eq!(batch, (0..50).collect::<Vec<_>>());

    let mut sends = [tx.send(1), tx.send(2), tx.send(3)];
    for send in &mut sends {
        assert!(poll(send).is_pending());
    }
    batch.clear();
    assert_eq!(
        (rx.drain(&mut batch, 2), rx.recv_many(&mut batch, 64).await),
        (2, 1)
    );
    assert_eq!(batch, [1, 2, 3]);
    rx.close();
    assert_eq!(
        (rx.recv_many(&mut batch, 64).await, rx.drain(&mut batch, 1)),
        (0, 0)
    );
    assert!(tx.send_many(&mut items).await.is_err());
    assert_eq!(items, [4]);
}

async fn by_the_answer_to_full(_: TestRuntime) {
    let lost = Arc::new(Mutex::new(Vec::new()));
    let hook = lost.clone();
    let (tx, rx) = Channel::builder()
        .rendezvous()
        .on_full(OnFull::DropNewest)
        .on_drop(move |item, why| hook.lock().unwrap().push((item, why)))
        .build()
        .unwrap();
    tx.send(1).await.unwrap();
    let mut recv = rx.recv();
    assert!(poll(&mut recv).is_pending());
    tx.send(2).await.unwrap();
    tx.send(3).await.unwrap();
    assert_eq!(recv.await, Ok(2));
    let newest = [(1, DropReason::Newest), (3, DropReason::Newest)];
    assert_eq!(*lost.lock().unwrap(), newest);
    assert_eq!((tx.stats().sent, tx.stats().dropped_newest), (1, 2));

    let rejecting = Channel::builder().rendezvous().on_full(OnFull::Reject);
    let (tx, _rx) = rejecting.build().unwrap();
    assert_eq!(tx.send(4).await.unwrap_err().into_inner(), 4);
    assert_eq!(tx.stats().blocked_sends, 0);

    let error = |builder: flow_stream::ChannelBuilder<u8>| builder.build().unwrap_err();
    assert_eq!(
        error(Channel::builder().rendezvous().on_full(OnFull::DropOldest)),
        ChannelConfigError::RendezvousDropsOldest
    );
    assert_eq!(
        error(Channel::builder().rendezvous().capacity(3)),
        ChannelConfigError::RendezvousHolds {
            capacity: Some(3),
            weight: None
        }
    );
}

async fn there_is_no_room_to_reserve(_: TestRuntime) {
    let (tx, _rx) = Channel::<u8>::rendezvous();
    assert_eq!(tx.try_reserve().unwrap_err(), ReserveError::Rendezvous);
    assert_eq!(tx.reserve().await.unwrap_err(), ReserveError::Rendezvous);
}

async fn the_last_receiver_sends_the_senders_away(rt: TestRuntime) {
    let lost = Arc::new(Mutex::new(Vec::new()));
    let hook = lost.clone();
    let (tx, rx) = Channel::builder()
        .rendezvous()
        .on_drop(move |item, why| hook.lock().unwrap().push((item, why)))
        .build()
        .unwrap();
    let mut recv = rx.recv();
    assert!(poll(&mut recv).is_pending());
    tx.try_send(1).unwrap();
    let blocked = rt.spawn({
        let tx = tx.clone();
        async move { tx.send(2).await.map_err(flow_stream::SendError::into_inner) }
    });
    rt.settle().await;
    drop(recv);
    drop(rx);
    assert_eq!(blocked.await.unwrap(), Err(2));
    assert_eq!(*lost.lock().unwrap(), [(1, DropReason::NoReceiver)]);
    let stats = tx.stats();
    assert_eq!((stats.sent, stats.received, stats.abandoned), (1, 0, 1));
}

async fn one_receiver(rt: TestRuntime) {
    let (tx, mut rx) = Channel::builder()
        .rendezvous()
        .build_single_consumer()
        .unwrap();
    let sender = rt.spawn(async move {
        for item in 0..20 {
            tx.send(item).await.unwrap();
        }
    });
    assert_eq!(rx.recv().await, Ok(0));
    assert_eq!(rx.next().await, Some(1));
    let rest: Vec<_> = rx.collect().await;
    assert_eq!(rest, (2..20).collect::<Vec<_>>());
    sender.await.unwrap();
}

async fn every_item_meets_one_receiver(rt: TestRuntime) {
    let (tx, rx) = Channel::rendezvous();
    let receivers: Vec<_> = (0..3)
        .map(|_| {
            let rx = rx.clone();
            rt.spawn(async move { rx.collect::<Vec<_>>().await })
        })
        .collect();
    let senders: Vec<_> = (0..4)
        .map(|who| {
            let tx = tx.clone();
            rt.spawn(async move {
                for nth in 0..25 {
                    tx.send(who * 100 + nth).await.unwrap();
                }
            })
        })
        .collect();
    drop((tx, rx));
    for sender in senders {
        sender.await.unwrap();
    }
    let mut all = Vec::new();
    for receiver in receivers {
        all.extend(receiver.await.unwrap());
    }
    all.sort_unstable();
    let sent: Vec<u32> = (0..4)
        .flat_map(|who| (0..25).map(move |n| who * 100 + n))
        .collect();
    assert_eq!(all, sent);
}

#[test]
fn threads_meet() {
    let (tx, rx) = Channel::rendezvous();
    let receiver = std::thread::spawn(move || {
        let mut sum = 0;
        while let Ok(item) = rx.recv_blocking() {
            sum += item;
        }
        sum
    });
    for item in 1..=1_000_u32 {
        tx.send_blocking(item).unwrap();
    }
    drop(tx);
    assert_eq!(receiver.join().unwrap(), 500_500);
}
