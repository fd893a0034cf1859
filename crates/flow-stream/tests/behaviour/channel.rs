//! The behaviour of channels, written once, on every runtime, in virtual time. Numbers are those
//! of the cases CH.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use crate::common::{park, poll, yield_now};
use flow_rt::{CancellationToken, OnFull, TestRuntime};
use flow_stream::{
    Channel, ChannelConfigError, DropReason, RecvError, RecvTimeoutError, SendError,
    SendTimeoutError, TryRecvError, TrySendError,
};
use futures_util::StreamExt;
use futures_util::future::FusedFuture;

flow_rt::on_every_runtime! {
    ch143_new,
    ch144_len_follows_sends_and_receives,
    ch145_reject,
    ch146_try_recv_on_empty,
    ch147_wait,
    ch148_drop_newest,
    ch149_drop_oldest,
    ch150_receive_cancelled_or_expired,
    ch151_close_keeps_what_is_buffered,
    ch152_try_recv_drains_after_close,
    ch153_many_senders_many_receivers,
    ch154_utilization,
    ch155_drop_stats,
    ch156_wraps,
    ch157_double_close,
    ch158_blocked_once_per_send,
    ch159_send_timeout,
    ch160_stats_under_traffic,
    ch161_dropped_futures_pass_on,
    ch163_close_returns_parked_items,
    last_sender_closes,
    last_receiver_closes_and_abandons,
    recv_many_takes_what_is_there,
    the_stream_ends_when_drained,
    futures_are_fused_for_select,
    one_item_between_many_tasks,
}

async fn ch143_new(_: TestRuntime) {
    let (tx, rx) = Channel::<u8>::bounded(10).unwrap();
    assert_eq!((tx.capacity(), tx.len(), tx.is_closed()), (10, 0, false));
    assert_eq!((rx.capacity(), rx.len(), rx.is_closed()), (10, 0, false));
    assert_eq!(
        Channel::<u8>::bounded(0).unwrap_err(),
        ChannelConfigError::ZeroCapacity
    );
    let huge = Channel::<u64>::bounded(usize::MAX).unwrap();
    huge.0.try_send(1).unwrap();
}

async fn ch144_len_follows_sends_and_receives(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(10).unwrap();
    for item in 1..=3 {
        tx.send(item).await.unwrap();
    }
    assert_eq!(tx.len(), 3);
    assert_eq!(rx.recv().await, Ok(1));
    assert_eq!(rx.recv().await, Ok(2));
    assert_eq!(rx.len(), 1);
}

async fn ch145_reject(_: TestRuntime) {
    let (tx, _rx) = Channel::builder()
        .capacity(2)
        .on_full(OnFull::Reject)
        .build()
        .unwrap();
    tx.try_send(1).unwrap();
    tx.send(2).await.unwrap();
    let full = tx.try_send(3).unwrap_err();
    assert!(matches!(full, TrySendError::Full(_)));
    assert_eq!(full.into_inner(), 3);
    let full = tx.send(4).await.unwrap_err();
    assert!(matches!(full, SendError::Full(_)));
    assert_eq!(full.into_inner(), 4);
    let full = tx.send_timeout(5, Duration::from_secs(1)).await;
    assert!(matches!(full, Err(SendTimeoutError::Full(_))));
    assert_eq!(tx.stats().blocked_sends, 0);
}

async fn ch146_try_recv_on_empty(_: TestRuntime) {
    let (_tx, rx) = Channel::<u8>::bounded(2).unwrap();
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
}

async fn ch147_wait(rt: TestRuntime) {
    let (tx, rx) = Channel::bounded(2).unwrap();
    tx.send(1).await.unwrap();
    tx.send(2).await.unwrap();
    assert!(tx.try_send(9).is_err());
    let mut third = tx.send(3);
    park(&mut third);
    assert_eq!(rx.recv().await, Ok(1));
    third.await.unwrap();
    assert_eq!(tx.len(), 2);

    let fourth = rt.spawn({
        let tx = tx.clone();
        async move { tx.send(4).await.is_ok() }
    });
    assert_eq!(rx.recv().await, Ok(2));
    assert!(fourth.await.unwrap());
    assert_eq!((rx.recv().await, rx.recv().await), (Ok(3), Ok(4)));
}

/// Dropped items, with the reason, as the hook saw them.
type Dropped = Arc<Mutex<Vec<(u32, DropReason)>>>;

fn note(dropped: &Dropped) -> impl Fn(u32, DropReason) + Send + Sync + 'static {
    let dropped = dropped.clone();
    move |item, why| dropped.lock().unwrap().push((item, why))
}

async fn ch148_drop_newest(_: TestRuntime) {
    let dropped = Dropped::default();
    let (tx, rx) = Channel::builder()
        .capacity(2)
        .on_full(OnFull::DropNewest)
        .on_drop(note(&dropped))
        .build()
        .unwrap();
    for item in 1..=3 {
        tx.send(item).await.unwrap();
    }
    tx.try_send(4).unwrap();
    assert_eq!(
        *dropped.lock().unwrap(),
        [(3, DropReason::Newest), (4, DropReason::Newest)]
    );
    assert_eq!((rx.recv().await, rx.recv().await), (Ok(1), Ok(2)));
}

async fn ch149_drop_oldest(_: TestRuntime) {
    let dropped = Dropped::default();
    let (tx, rx) = Channel::builder()
        .capacity(2)
        .on_full(OnFull::DropOldest)
        .on_drop(note(&dropped))
        .build()
        .unwrap();
    for item in 1..=3 {
        tx.send(item).await.unwrap();
    }
    assert_eq!(*dropped.lock().unwrap(), [(1, DropReason::Oldest)]);
    tx.try_send(4).unwrap();
    tx.send_timeout(5, Duration::ZERO).await.unwrap();
    assert_eq!(dropped.lock().unwrap().len(), 3);
    assert_eq!((rx.recv().await, rx.recv().await), (Ok(4), Ok(5)));

    // A receiver that is parked is woken by an evicting send too, and an item that was set aside
    // for it may give way to a newer one, which is then set aside instead.
    let mut parked = rx.recv();
    park(&mut parked);
    for item in 6..=9 {
        tx.try_send(item).unwrap();
    }
    assert_eq!(poll(&mut parked), Poll::Ready(Ok(8)));
    assert_eq!(rx.recv().await, Ok(9));
}

async fn ch150_receive_cancelled_or_expired(rt: TestRuntime) {
    let (tx, rx) = Channel::<u8>::bounded(1).unwrap();
    let token = CancellationToken::new();
    token.cancel();
    assert!(token.run_until_cancelled(rx.recv()).await.is_none());

    let limit = Duration::from_millis(5);
    let start = rt.now();
    let expired = rx.recv_timeout(limit).await;
    assert_eq!(expired, Err(RecvTimeoutError::TimedOut { timeout: limit }));
    assert_eq!(rt.now() - start, limit);
    assert!(rx.recv_timeout(Duration::ZERO).await.is_err());
    tx.try_send(1).unwrap();
    assert_eq!(rx.recv_timeout(Duration::ZERO).await, Ok(1));
}

async fn ch151_close_keeps_what_is_buffered(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(2).unwrap();
    tx.send(1).await.unwrap();
    tx.close();
    assert!(tx.is_closed() && rx.is_closed());
    assert_eq!(tx.send(2).await.unwrap_err().into_inner(), 2);
    assert!(matches!(tx.try_send(3), Err(TrySendError::Closed(_))));
    assert!(matches!(
        tx.send_timeout(4, Duration::from_secs(1)).await,
        Err(SendTimeoutError::Closed(_))
    ));
    assert_eq!(rx.recv().await, Ok(1));
    assert_eq!(rx.recv().await, Err(RecvError::Closed));
}

async fn ch152_try_recv_drains_after_close(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(2).unwrap();
    tx.send(1).await.unwrap();
    tx.send(2).await.unwrap();
    rx.close();
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(1), Ok(2)));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

async fn ch153_many_senders_many_receivers(rt: TestRuntime) {
    let (tx, rx) = Channel::<u64>::bounded(7).unwrap();
    let receivers: Vec<_> = (0..10)
        .map(|_| {
            let rx = rx.clone();
            rt.spawn(async move {
                let mut sum = 0;
                while let Ok(item) = rx.recv().await {
                    sum += item;
                }
                sum
            })
        })
        .collect();
    for sender in 0..10 {
        let tx = tx.clone();
        rt.spawn_detached(async move {
            for item in 0..100 {
                tx.send(sender * 100 + item).await.unwrap();
            }
        });
    }
    drop((tx, rx));
    let mut sum = 0;
    for receiver in receivers {
        sum += receiver.await.unwrap();
    }
    assert_eq!(sum, 499_500);
}

async fn ch154_utilization(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(5).unwrap();
    tx.send(1).await.unwrap();
    tx.send(2).await.unwrap();
    assert!((tx.stats().utilization() - 0.4).abs() < f64::EPSILON);
    rx.recv().await.unwrap();
    assert!((rx.stats().utilization() - 0.2).abs() < f64::EPSILON);
    assert_eq!(rx.stats().max_len, 2);
}

async fn ch155_drop_stats(_: TestRuntime) {
    let (tx, _rx) = Channel::builder()
        .capacity(2)
        .on_full(OnFull::DropNewest)
        .build()
        .unwrap();
    for item in 0..4 {
        tx.send(item).await.unwrap();
    }
    let stats = tx.stats();
    assert_eq!((stats.sent, stats.dropped_newest), (2, 2));
    assert_eq!(stats.dropped(), 2);
}

async fn ch156_wraps(_: TestRuntime) {
    for capacity in [1, 2, 3, 1_000] {
        let (tx, rx) = Channel::bounded(capacity).unwrap();
        for round in 0..3 {
            for item in 0..capacity {
                tx.send((round, item)).await.unwrap();
            }
            for item in 0..capacity {
                assert_eq!(rx.recv().await, Ok((round, item)));
            }
        }
    }
}

async fn ch157_double_close(_: TestRuntime) {
    let (tx, rx) = Channel::<u8>::bounded(1).unwrap();
    rx.close();
    rx.close();
    tx.close();
    assert!(tx.is_closed());
    assert_eq!(rx.recv().await, Err(RecvError::Closed));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

async fn ch158_blocked_once_per_send(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(1).unwrap();
    tx.send(1).await.unwrap();
    assert_eq!(tx.stats().blocked_sends, 0);
    let mut blocked = tx.send(2);
    for _ in 0..5 {
        assert!(poll(&mut blocked).is_pending());
    }
    rx.recv().await.unwrap();
    blocked.await.unwrap();
    assert_eq!(tx.stats().blocked_sends, 1);
}

async fn ch159_send_timeout(rt: TestRuntime) {
    let (tx, rx) = Channel::bounded(1).unwrap();
    tx.send(1).await.unwrap();
    let limit = Duration::from_millis(10);
    let start = rt.now();
    let late = tx.send_timeout(2, limit).await;
    assert_eq!(rt.now() - start, limit);
    match late {
        Err(SendTimeoutError::TimedOut { item, timeout }) => {
            assert_eq!((item.into_inner(), timeout), (2, limit));
        }
        other => panic!("{other:?}"),
    }
    assert!(tx.send_timeout(3, Duration::ZERO).await.is_err());
    // Neither left anything behind, and never is a limit too.
    let mut never = tx.send_timeout(4, Duration::MAX);
    park(&mut never);
    assert_eq!(rx.recv().await, Ok(1));
    never.await.unwrap();
    assert_eq!(rx.recv().await, Ok(4));
}

async fn ch160_stats_under_traffic(rt: TestRuntime) {
    let (tx, rx) = Channel::<u32>::bounded(4).unwrap();
    let watcher = rt.spawn({
        let rx = rx.clone();
        async move {
            while !rx.is_closed() {
                let stats = rx.stats();
                assert!(stats.len <= 4 && stats.max_len <= 4);
                yield_now().await;
            }
        }
    });
    let sender = rt.spawn(async move {
        for item in 0..1_000 {
            tx.send(item).await.unwrap();
        }
    });
    for item in 0..1_000 {
        assert_eq!(rx.recv().await, Ok(item));
    }
    sender.await.unwrap();
    watcher.await.unwrap();
    let stats = rx.stats();
    assert_eq!((stats.sent, stats.received, stats.len), (1_000, 1_000, 0));
}

async fn ch161_dropped_futures_pass_on(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(1).unwrap();
    tx.send(1).await.unwrap();
    // A granted send is dropped: its room goes to the next in line, its item has gone nowhere.
    let (mut first, mut second) = (tx.send(2), tx.send(3));
    park(&mut first);
    park(&mut second);
    assert_eq!(rx.recv().await, Ok(1));
    assert!(tx.try_send(9).is_err(), "the room is promised");
    assert_eq!(first.into_inner(), Some(2));
    assert!(matches!(poll(&mut second), Poll::Ready(Ok(()))));
    assert_eq!(rx.recv().await, Ok(3));

    // A granted receive is dropped: the item set aside for it goes to the next.
    let (mut first, mut second) = (rx.recv(), rx.recv());
    park(&mut first);
    park(&mut second);
    tx.send(4).await.unwrap();
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "set aside");
    assert!(poll(&mut second).is_pending(), "not its turn");
    drop(first);
    assert_eq!(poll(&mut second), Poll::Ready(Ok(4)));
}

async fn ch163_close_returns_parked_items(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(1).unwrap();
    tx.send(0).await.unwrap();
    let mut parked: Vec<_> = (1..=5).map(|item| tx.send(item)).collect();
    for send in &mut parked {
        park(send);
    }
    // The first is granted room by this receive, and has not used it when the close comes.
    assert_eq!(rx.recv().await, Ok(0));
    rx.close();
    assert_eq!(rx.recv().await, Err(RecvError::Closed));
    for (send, item) in parked.into_iter().zip(1..) {
        let error = send.await.unwrap_err();
        assert!(error.is_closed());
        assert_eq!(error.into_inner(), item);
    }
}

async fn last_sender_closes(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(2).unwrap();
    let other = tx.clone();
    let (mut first, mut second) = (rx.recv(), rx.recv());
    park(&mut first);
    park(&mut second);
    drop(tx);
    other.send(1).await.unwrap();
    assert!(!rx.is_closed());
    drop(other);
    assert_eq!(first.await, Ok(1));
    // Whoever takes the last item of a closed channel tells the rest.
    assert_eq!(poll(&mut second), Poll::Ready(Err(RecvError::Closed)));
}

async fn last_receiver_closes_and_abandons(_: TestRuntime) {
    let dropped = Dropped::default();
    let (tx, rx) = Channel::builder()
        .capacity(2)
        .on_drop(note(&dropped))
        .build()
        .unwrap();
    let other = rx.clone();
    tx.send(1).await.unwrap();
    tx.send(2).await.unwrap();
    let mut parked = tx.send(3);
    park(&mut parked);
    drop(rx);
    assert!(!tx.is_closed() && dropped.lock().unwrap().is_empty());
    drop(other);
    assert_eq!(parked.await.unwrap_err().into_inner(), 3);
    assert!(tx.is_closed());
    let gone = [(1, DropReason::NoReceiver), (2, DropReason::NoReceiver)];
    assert_eq!(*dropped.lock().unwrap(), gone);
    assert_eq!((tx.stats().abandoned, tx.len()), (2, 0));
    assert!(matches!(tx.try_send(4), Err(TrySendError::Closed(_))));
    assert_eq!(tx.send(5).await.unwrap_err().into_inner(), 5);
    assert!(tx.reserve().await.is_err() && tx.try_reserve_owned().is_err());
}

async fn recv_many_takes_what_is_there(rt: TestRuntime) {
    let (tx, rx) = Channel::bounded(8).unwrap();
    for item in 0..5 {
        tx.send(item).await.unwrap();
    }
    let mut batch = Vec::new();
    assert_eq!(rx.recv_many(&mut batch, 0).await, 0);
    assert_eq!(rx.recv_many(&mut batch, 3).await, 3);
    assert_eq!(rx.recv_many(&mut batch, usize::MAX).await, 2);
    assert_eq!(batch, [0, 1, 2, 3, 4]);

    let sender = rt.spawn(async move {
        for item in 5..100 {
            tx.send(item).await.unwrap();
        }
    });
    while rx.recv_many(&mut batch, 7).await > 0 {}
    sender.await.unwrap();
    assert_eq!(batch, (0..100).collect::<Vec<_>>());
}

async fn the_stream_ends_when_drained(rt: TestRuntime) {
    let (tx, mut rx) = Channel::bounded(2).unwrap();
    // A place taken as a stream does not stand in the way of another receive, and is not lost.
    park(&mut rx.next());
    tx.send(1).await.unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
    park(&mut rx.next());
    tx.send(2).await.unwrap();
    assert_eq!(rx.next().await, Some(2));
    // Nor does a clone inherit it, nor does it outlive its receiver.
    park(&mut rx.next());
    let mut heir = rx.clone();
    drop(rx);
    tx.send(3).await.unwrap();
    assert_eq!(heir.next().await, Some(3));

    rt.spawn_detached(async move {
        for item in 4..20 {
            tx.send(item).await.unwrap();
        }
    });
    let rest: Vec<i32> = heir.collect().await;
    assert_eq!(rest, (4..20).collect::<Vec<_>>());
}

async fn futures_are_fused_for_select(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(1).unwrap();
    let (mut send, mut recv) = (tx.send(1), rx.recv());
    assert!(!send.is_terminated() && !recv.is_terminated());
    (&mut send).await.unwrap();
    assert_eq!((&mut recv).await, Ok(1));
    assert!(send.is_terminated() && recv.is_terminated());
    // Polled again they stay pending; they neither panic nor take anything.
    tx.try_send(2).unwrap();
    assert!(poll(&mut send).is_pending() && poll(&mut recv).is_pending());
    drop((send, recv));
    assert_eq!(rx.try_recv(), Ok(2));
}

async fn one_item_between_many_tasks(rt: TestRuntime) {
    // Capacity 1 and both ends parked all the time: every wake-up counts.
    let (tx, rx) = Channel::<u32>::bounded(1).unwrap();
    let received = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..4)
        .flat_map(|_| {
            let (tx, rx, received) = (tx.clone(), rx.clone(), received.clone());
            let sending = rt.spawn(async move {
                for item in 0..50 {
                    tx.send(item).await.unwrap();
                }
            });
            let receiving = rt.spawn(async move {
                while rx.recv().await.is_ok() {
                    received.fetch_add(1, SeqCst);
                }
            });
            [sending, receiving]
        })
        .collect();
    drop((tx, rx));
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(received.load(SeqCst), 200);
}
