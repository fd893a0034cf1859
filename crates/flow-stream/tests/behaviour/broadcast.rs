//! Every receiver gets every item: what tokio's broadcast and async-broadcast are tested for, on
//! every runtime.

use std::task::Poll;
use std::time::Duration;

use crate::common::{park, poll, yield_now};
use flow_rt::TestRuntime;
use flow_stream::broadcast::{
    self, OnLag, Receiver, RecvError, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError,
    TrySendError,
};
use futures_util::StreamExt;
use futures_util::future::FusedFuture;
use futures_util::stream::FusedStream;

const SEC: Duration = Duration::from_secs(1);

flow_rt::on_every_runtime! {
    everybody_gets_everything,
    a_receiver_begins_with_the_next_item_and_a_clone_at_its_original,
    senders_wait_for_the_slowest_in_their_order,
    the_slowest_receiver_goes_and_makes_room,
    a_close_keeps_what_is_there,
    who_lags_is_told_how_many_it_missed,
    who_lags_too_far_is_disconnected,
    waits_with_a_limit_end_at_it,
    the_stream_tells_of_lag_and_ends,
    senders_are_told_when_nobody_receives,
    many_senders_many_receivers,
}

pub(crate) fn lossy<T>(capacity: usize, on_lag: OnLag) -> (Sender<T>, Receiver<T>) {
    let builder = broadcast::builder().capacity(capacity).on_lag(on_lag);
    builder.build().unwrap()
}

async fn everybody_gets_everything(rt: TestRuntime) {
    let (tx, rx) = broadcast::channel(4).unwrap();
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let mut rx = rx.clone();
            rt.spawn(async move {
                let mut got = Vec::new();
                while let Ok(item) = rx.recv().await {
                    got.push(item);
                }
                got
            })
        })
        .collect();
    drop(rx);
    for item in 0..100 {
        tx.send(item).await.unwrap();
    }
    drop(tx);
    for receiver in receivers {
        assert!(receiver.await.unwrap().into_iter().eq(0..100));
    }
}

async fn a_receiver_begins_with_the_next_item_and_a_clone_at_its_original(_: TestRuntime) {
    let (tx, mut rx) = broadcast::channel(8).unwrap();
    tx.send(1).await.unwrap();
    tx.send(2).await.unwrap();
    assert_eq!(rx.recv().await, Ok(1));
    let mut clone = rx.clone();
    let mut late = tx.subscribe();
    let mut later = rx.subscribe();
    assert_eq!(
        (rx.len(), clone.len(), late.len(), later.len()),
        (1, 1, 0, 0)
    );
    tx.send(3).await.unwrap();
    for receiver in [&mut rx, &mut clone] {
        assert_eq!(receiver.recv().await, Ok(2));
        assert_eq!(receiver.recv().await, Ok(3));
    }
    assert_eq!(late.recv().await, Ok(3));
    assert_eq!(tx.len(), 1);
    assert_eq!(later.recv().await, Ok(3));
    assert!(tx.is_empty() && later.is_empty());
    assert_eq!((tx.receiver_count(), rx.receiver_count()), (4, 4));
}

async fn senders_wait_for_the_slowest_in_their_order(_: TestRuntime) {
    let (tx, mut fast) = broadcast::channel(2).unwrap();
    let mut slow = fast.clone();
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    let full = tx.try_send(3).unwrap_err();
    assert!(matches!(full, TrySendError::Full(_)));
    let mut third = tx.send(full.into_inner());
    park(&mut third);
    let mut fourth = tx.send(4);
    park(&mut fourth);
    assert_eq!(fast.recv().await, Ok(1));
    assert_eq!(fast.recv().await, Ok(2));
    assert!(poll(&mut third).is_pending(), "the slowest has had none");
    assert_eq!(slow.recv().await, Ok(1));
    // The room is promised: a newcomer does not get it.
    assert!(tx.try_send(9).is_err());
    assert!(poll(&mut fourth).is_pending());
    assert!(matches!(poll(&mut third), Poll::Ready(Ok(()))));
    assert_eq!(slow.recv().await, Ok(2));
    assert!(matches!(poll(&mut fourth), Poll::Ready(Ok(()))));
    for receiver in [&mut fast, &mut slow] {
        assert_eq!(receiver.recv().await, Ok(3));
        assert_eq!(receiver.recv().await, Ok(4));
    }
    assert_eq!(tx.stats().blocked_sends, 2);
}

async fn the_slowest_receiver_goes_and_makes_room(rt: TestRuntime) {
    let (tx, mut fast) = broadcast::channel(1).unwrap();
    let slow = fast.clone();
    tx.send(1).await.unwrap();
    assert_eq!(fast.recv().await, Ok(1));
    let sender = rt.spawn(async move {
        tx.send(2).await.unwrap();
        tx
    });
    yield_now().await;
    yield_now().await;
    assert!(!sender.is_finished());
    drop(slow);
    let tx = sender.await.unwrap();
    assert_eq!(fast.recv().await, Ok(2));
    // The last one: who waits is refused and gets its item back.
    tx.send(3).await.unwrap();
    let mut refused = tx.send(4);
    park(&mut refused);
    drop(fast);
    let error = refused.await.unwrap_err();
    assert_eq!(error.to_string(), "the broadcast has no receiver");
    assert_eq!(error.into_inner(), 4);
    assert_eq!(tx.len(), 0);
    let mut again = tx.subscribe();
    tx.send(5).await.unwrap();
    assert_eq!(again.recv().await, Ok(5));
}

async fn a_close_keeps_what_is_there(rt: TestRuntime) {
    let (tx, mut rx) = broadcast::channel(1).unwrap();
    tx.send(1).await.unwrap();
    let mut waiting = tx.send(2);
    park(&mut waiting);
    let closed = rt.spawn({
        let tx = tx.clone();
        async move { tx.closed().await }
    });
    yield_now().await;
    tx.close();
    rx.close();
    closed.await.unwrap();
    assert!(tx.is_closed() && rx.is_closed());
    assert_eq!(waiting.await.unwrap_err().into_inner(), 2);
    assert!(matches!(tx.try_send(3), Err(TrySendError::Closed(_))));
    let mut late = tx.subscribe();
    assert_eq!(late.recv().await, Err(RecvError::Closed));
    assert_eq!(rx.recv().await, Ok(1));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(rx.recv().await, Err(RecvError::Closed));

    // Whoever waits for an item is told, by the last sender too.
    let (tx, mut rx) = broadcast::channel::<u8>(1).unwrap();
    let weak = tx.downgrade();
    assert!(weak.clone().upgrade().is_some());
    let receiver = rt.spawn(async move { rx.recv().await });
    yield_now().await;
    drop(tx);
    assert_eq!(receiver.await.unwrap(), Err(RecvError::Closed));
    assert!(weak.upgrade().is_none());
}

async fn who_lags_is_told_how_many_it_missed(_: TestRuntime) {
    let (tx, mut slow) = lossy(3, OnLag::DropOldest);
    let mut fast = slow.clone();
    for item in 0..5 {
        tx.send(item).await.unwrap();
        assert_eq!(fast.recv().await, Ok(item));
    }
    assert_eq!((slow.len(), tx.len()), (3, 3));
    assert_eq!(slow.recv().await, Err(RecvError::Lagged(2)));
    // Told once; then it may lag again before it has had what is left.
    tx.send(5).await.unwrap();
    assert_eq!(slow.try_recv(), Err(TryRecvError::Lagged(1)));
    for item in 3..6 {
        assert_eq!(slow.recv().await, Ok(item));
    }
    assert_eq!(slow.try_recv(), Err(TryRecvError::Empty));
    let stats = tx.stats();
    assert_eq!((stats.sent, stats.evicted, stats.missed), (6, 3, 3));
    assert_eq!((stats.blocked_sends, stats.disconnected), (0, 0));
    // Within the capacity nobody lags, and what all have had is no item of the oldest.
    assert_eq!(fast.recv().await, Ok(5));
    for item in 6..9 {
        tx.send(item).await.unwrap();
    }
    assert_eq!(slow.recv().await, Ok(6));
    // It is told of its lag after the close too, and gets the rest.
    tx.send(9).await.unwrap();
    drop(tx);
    assert_eq!(fast.recv().await, Err(RecvError::Lagged(1)));
    for item in 7..10 {
        assert_eq!(fast.recv().await, Ok(item));
        assert_eq!(slow.recv().await, Ok(item));
    }
    assert_eq!(fast.recv().await, Err(RecvError::Closed));
}

async fn who_lags_too_far_is_disconnected(_: TestRuntime) {
    let (tx, mut slow) = lossy(2, OnLag::Disconnect);
    let mut fast = slow.clone();
    for item in 0..2 {
        tx.send(item).await.unwrap();
        assert_eq!(fast.recv().await, Ok(item));
    }
    // As far behind as it may be.
    assert_eq!(slow.recv().await, Ok(0));
    for item in 2..4 {
        tx.send(item).await.unwrap();
        assert_eq!(fast.recv().await, Ok(item));
    }
    assert_eq!(tx.receiver_count(), 2);
    // It has not had 1, 2 and 3.
    assert_eq!(slow.recv().await, Err(RecvError::Disconnected(3)));
    assert_eq!(tx.receiver_count(), 1);
    assert_eq!(tx.len(), 0, "what it has not had is gone with it");
    let mut clone = slow.clone();
    assert_eq!(clone.try_recv(), Err(TryRecvError::Disconnected(3)));
    assert_eq!((slow.len(), tx.receiver_count()), (0, 1));
    drop((slow, clone));
    tx.send(4).await.unwrap();
    assert_eq!(fast.recv().await, Ok(4));
    let stats = tx.stats();
    assert_eq!((stats.disconnected, stats.missed, stats.evicted), (1, 3, 1));
}

async fn waits_with_a_limit_end_at_it(rt: TestRuntime) {
    let builder = broadcast::builder().capacity(1).runtime(&rt);
    let (tx, mut rx) = builder.build().unwrap();
    let start = rt.now();
    let mut recv = rx.recv_timeout(SEC);
    let timed_out = RecvTimeoutError::TimedOut { timeout: SEC };
    assert_eq!((&mut recv).await, Err(timed_out));
    assert!(recv.is_terminated() && poll(&mut recv).is_pending());
    drop(recv);
    tx.send_timeout(1, SEC).await.unwrap();
    let mut send = tx.send_timeout(2, SEC);
    let Err(SendTimeoutError::TimedOut { item, timeout }) = (&mut send).await else {
        panic!("there was no room");
    };
    assert_eq!((item.into_inner(), timeout), (2, SEC));
    assert!(send.is_terminated() && poll(&mut send).is_pending());
    assert!(rt.now() - start >= 2 * SEC);
    let zero = tx.send_timeout(3, Duration::ZERO);
    assert_eq!(zero.await.unwrap_err().into_inner(), 3);
    // It tried once and did not wait.
    assert!(poll(&mut tx.send_timeout(3, Duration::ZERO)).is_ready());
    assert_eq!(tx.stats().blocked_sends, 1);
    assert_eq!(tx.send_timeout(4, SEC).into_inner(), Some(4));
    assert_eq!(rx.recv_timeout(Duration::ZERO).await, Ok(1));
    assert!(poll(&mut rx.recv_timeout(Duration::ZERO)).is_ready());
    tx.close();
    assert_eq!(rx.recv_timeout(SEC).await, Err(RecvTimeoutError::Closed));
    let closed = tx.send_timeout(5, SEC).await.unwrap_err();
    assert!(matches!(closed, SendTimeoutError::Closed(_)), "{closed:?}");
}

async fn the_stream_tells_of_lag_and_ends(rt: TestRuntime) {
    let (tx, mut rx) = lossy(2, OnLag::DropOldest);
    // Parked as a stream it can be received from in another way.
    park(&mut rx.next());
    tx.send(0).await.unwrap();
    assert_eq!(rx.recv().await, Ok(0));
    for item in 1..4 {
        tx.send(item).await.unwrap();
    }
    let rest = rt.spawn(async move {
        let mut got = Vec::new();
        while let Some(item) = rx.next().await {
            got.push(item);
        }
        assert!(rx.is_terminated());
        assert_eq!(rx.next().await, None);
        got
    });
    drop(tx);
    let expected = [Err(RecvError::Lagged(1)), Ok(2), Ok(3)];
    assert_eq!(rest.await.unwrap(), expected);

    let (tx, mut rx) = lossy(1, OnLag::Disconnect);
    tx.send(0).await.unwrap();
    tx.send(1).await.unwrap();
    assert_eq!(rx.next().await, Some(Err(RecvError::Disconnected(2))));
    assert_eq!(rx.next().await, None);
}

async fn senders_are_told_when_nobody_receives(rt: TestRuntime) {
    let (tx, rx) = broadcast::channel(1).unwrap();
    let other = rx.clone();
    let closed = rt.spawn({
        let tx = tx.clone();
        async move { tx.closed().await }
    });
    drop(rx);
    yield_now().await;
    assert!(!closed.is_finished());
    drop(other);
    closed.await.unwrap();
    assert!(!tx.is_closed());
    let refused = tx.try_send(1).unwrap_err();
    assert!(matches!(refused, TrySendError::NoReceiver(_)));
    assert_eq!(refused.into_inner(), 1);
    assert_eq!(tx.send(2).await.unwrap_err().into_inner(), 2);
}

async fn many_senders_many_receivers(rt: TestRuntime) {
    const SENDERS: u64 = 5;
    const ITEMS: u64 = 60;
    let (tx, rx) = broadcast::channel(3).unwrap();
    let receivers: Vec<_> = (0..5)
        .map(|_| {
            let mut rx = rx.clone();
            rt.spawn(async move {
                let mut next = [0; SENDERS as usize];
                while let Ok((who, n)) = rx.recv().await {
                    let expected: &mut u64 = &mut next[who as usize];
                    assert_eq!(n, *expected, "of sender {who}");
                    *expected += 1;
                }
                next
            })
        })
        .collect();
    drop(rx);
    let senders: Vec<_> = (0..SENDERS)
        .map(|who| {
            let tx = tx.clone();
            rt.spawn(async move {
                for n in 0..ITEMS {
                    tx.send((who, n)).await.unwrap();
                }
            })
        })
        .collect();
    drop(tx);
    for sender in senders {
        sender.await.unwrap();
    }
    for receiver in receivers {
        assert_eq!(receiver.await.unwrap(), [ITEMS; SENDERS as usize]);
    }
}
