//! Limits by weight, on every runtime.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use crate::common::{park, poll};
use flow_rt::{OnFull, TestRuntime};
use flow_stream::{
    Channel, ChannelBuilder, ChannelConfigError, DropReason, RecvError, ReserveError,
    SendBlockingError, SendError, SendManyError, SendTimeoutError, TryRecvError, TrySendError,
};

flow_rt::on_every_runtime! {
    items_wait_for_room_by_weight,
    a_light_item_does_not_overtake_a_heavy_one,
    what_never_fits_comes_back,
    by_the_answer_to_full,
    many_at_once,
    places_pass_on_what_they_were_promised,
    both_limits_hold,
    extremes,
    no_permits,
    receivers_keep_their_order_when_a_heavy_item_takes_the_place_of_theirs,
    nobody_overtakes_a_receiver_that_went_back,
    a_place_without_its_item_passes_on_what_comes,
    a_weight_that_grows_while_its_sender_waits,
}

/// Items that weigh what they say.
fn weighed(limit: u64) -> ChannelBuilder<u64> {
    Channel::builder().max_weight(limit, |item| *item)
}

async fn items_wait_for_room_by_weight(_: TestRuntime) {
    let (tx, rx) = weighed(10).build().unwrap();
    tx.send(4).await.unwrap();
    tx.send(6).await.unwrap();
    let stats = tx.stats();
    assert_eq!(
        (stats.weight, stats.max_weight, stats.len),
        (10, Some(10), 2)
    );
    assert!((stats.utilization() - 1.0).abs() < 1e-9);
    assert!(tx.try_send(1).is_err());
    tx.try_send(0).unwrap();
    let mut send = tx.send(5);
    park(&mut send);
    assert_eq!(tx.stats().blocked_sends, 1);
    assert_eq!(rx.recv().await, Ok(4));
    assert!(poll(&mut send).is_pending(), "one too many");
    assert_eq!(rx.recv().await, Ok(6));
    send.await.unwrap();
    assert_eq!((rx.recv().await, rx.recv().await), (Ok(0), Ok(5)));
    assert_eq!(tx.stats().weight, 0);
}

async fn a_light_item_does_not_overtake_a_heavy_one(_: TestRuntime) {
    let (tx, rx) = weighed(10).build().unwrap();
    tx.send(3).await.unwrap();
    tx.send(3).await.unwrap();
    let (mut heavy, mut light) = (tx.send(8), tx.send(1));
    park(&mut heavy);
    assert!(
        matches!(tx.try_send(1), Err(TrySendError::Full(_))),
        "there is room, and a line"
    );
    park(&mut light);
    assert_eq!(rx.recv().await, Ok(3));
    assert!(poll(&mut light).is_pending() && poll(&mut heavy).is_pending());
    // Room that was promised is nobody else's.
    assert_eq!(rx.recv().await, Ok(3));
    assert!(tx.try_send(2).is_err());
    assert!(matches!(poll(&mut light), Poll::Ready(Ok(()))));
    assert!(matches!(poll(&mut heavy), Poll::Ready(Ok(()))));
    assert_eq!(tx.stats().weight, 9);
    tx.try_send(1).unwrap();
}

async fn what_never_fits_comes_back(rt: TestRuntime) {
    for answer in [
        OnFull::Wait,
        OnFull::Reject,
        OnFull::DropNewest,
        OnFull::DropOldest,
    ] {
        let (tx, rx) = weighed(10).on_full(answer).runtime(&rt).build().unwrap();
        tx.try_send(10).unwrap();
        match tx.try_send(11) {
            Err(TrySendError::TooHeavy(heavy)) => {
                assert_eq!((heavy.weight(), heavy.limit()), (11, 10));
                assert_eq!(heavy.into_inner(), 11);
            }
            other => panic!("{other:?}"),
        }
        let error = tx.send(11).await.unwrap_err();
        assert!(matches!(error, SendError::TooHeavy(_)), "{error:?}");
        assert!(!error.is_closed());
        assert_eq!(error.into_inner(), 11);
        let error = tx
            .send_timeout(12, Duration::from_secs(1))
            .await
            .unwrap_err();
        assert!(matches!(error, SendTimeoutError::TooHeavy(_)), "{error:?}");
        let error = tx.send_blocking(13).unwrap_err();
        assert!(matches!(error, SendBlockingError::TooHeavy(_)), "{error:?}");
        let mut items = VecDeque::from([14, 1]);
        let too_heavy = Err(SendManyError::TooHeavy {
            weight: 14,
            limit: 10,
        });
        assert_eq!(tx.try_send_many(&mut items), too_heavy);
        assert_eq!(tx.send_many(&mut items).await, too_heavy);
        assert_eq!(items, [14, 1]);
        assert_eq!(rx.recv().await, Ok(10), "it gave way to nothing");
        let stats = tx.stats();
        assert_eq!(
            (stats.dropped(), stats.blocked_sends, stats.sent),
            (0, 0, 1)
        );
        tx.close();
        assert!(tx.try_send(11).unwrap_err().is_closed());
    }
}

async fn by_the_answer_to_full(_: TestRuntime) {
    let lost = Arc::new(Mutex::new(Vec::new()));
    let build = |answer| {
        let lost = lost.clone();
        let hook = move |item, why| lost.lock().unwrap().push((item, why));
        weighed(10).on_full(answer).on_drop(hook).build().unwrap()
    };
    let (tx, rx) = build(OnFull::DropOldest);
    for item in [3, 3, 3, 7] {
        tx.send(item).await.unwrap();
    }
    let oldest = [(3, DropReason::Oldest), (3, DropReason::Oldest)];
    assert_eq!(*lost.lock().unwrap(), oldest, "as many as must go");
    assert_eq!((tx.stats().weight, tx.stats().dropped_oldest), (10, 2));
    assert_eq!((rx.recv().await, rx.recv().await), (Ok(3), Ok(7)));
    lost.lock().unwrap().clear();

    let (tx, rx) = build(OnFull::DropNewest);
    for item in [6, 5, 4] {
        tx.send(item).await.unwrap();
    }
    assert_eq!(*lost.lock().unwrap(), [(5, DropReason::Newest)]);
    assert_eq!((rx.recv().await, rx.recv().await), (Ok(6), Ok(4)));
}

async fn many_at_once(rt: TestRuntime) {
    let (tx, rx) = weighed(10).build().unwrap();
    let mut items = VecDeque::from([4, 4, 4, 2]);
    assert_eq!(tx.try_send_many(&mut items), Err(SendManyError::Full));
    assert_eq!((&items, tx.stats().weight), (&VecDeque::from([4, 2]), 8));
    let mut batch = Vec::new();
    assert_eq!(rx.drain(&mut batch, 64), 2);
    assert_eq!(tx.stats().weight, 0);
    let sender = rt.spawn(async move {
        let mut items: VecDeque<u64> = (0..200).map(|n| n % 11).collect();
        tx.send_many(&mut items).await.map(|()| items.len())
    });
    batch.clear();
    while rx.recv_many(&mut batch, 5).await > 0 {
        assert!(rx.stats().weight <= 10);
    }
    assert_eq!(sender.await.unwrap(), Ok(0));
    assert_eq!(batch, (0..200).map(|n| n % 11).collect::<Vec<_>>());
}

async fn places_pass_on_what_they_were_promised(_: TestRuntime) {
    let (tx, rx) = weighed(10).build().unwrap();
    tx.send(10).await.unwrap();
    let (mut first, mut second, mut third) = (tx.send(9), tx.send(5), tx.send(5));
    park(&mut first);
    park(&mut second);
    park(&mut third);
    assert_eq!(rx.recv().await, Ok(10));
    drop(first);
    assert!(matches!(poll(&mut third), Poll::Ready(Ok(()))));
    let mut fourth = tx.send(1);
    park(&mut fourth);
    rx.close();
    assert_eq!(fourth.await.unwrap_err().into_inner(), 1);
    assert!(second.await.is_err(), "it had not come for it");
    assert_eq!(rx.recv().await, Ok(5));
    assert!(rx.recv().await.is_err());
    assert_eq!(tx.stats().weight, 0);
}

async fn both_limits_hold(_: TestRuntime) {
    let (tx, _rx) = weighed(100).capacity(2).build().unwrap();
    tx.try_send(1).unwrap();
    tx.try_send(1).unwrap();
    assert!(tx.try_send(1).is_err());
    assert_eq!(tx.capacity(), 2);
}

async fn extremes(_: TestRuntime) {
    assert_eq!(
        weighed(0).build().unwrap_err(),
        ChannelConfigError::ZeroWeight
    );
    let error = weighed(5).rendezvous().build().unwrap_err();
    let holds = ChannelConfigError::RendezvousHolds {
        capacity: None,
        weight: Some(5),
    };
    assert_eq!(error, holds);
    assert_eq!(
        weighed(5).capacity(0).build().unwrap_err(),
        ChannelConfigError::ZeroCapacity
    );
    let (tx, rx) = weighed(u64::MAX).build().unwrap();
    tx.try_send(u64::MAX).unwrap();
    assert!(tx.try_send(1).is_err());
    let mut waiting = tx.send(u64::MAX);
    park(&mut waiting);
    assert_eq!(rx.recv().await, Ok(u64::MAX));
    waiting.await.unwrap();
    let mut items = VecDeque::from([u64::MAX, u64::MAX]);
    assert_eq!(rx.recv().await, Ok(u64::MAX));
    assert_eq!(tx.try_send_many(&mut items), Err(SendManyError::Full));
    assert_eq!(items.len(), 1);
}

async fn no_permits(_: TestRuntime) {
    let (tx, _rx) = weighed(5).build().unwrap();
    assert_eq!(tx.try_reserve().unwrap_err(), ReserveError::Weighed);
    assert_eq!(tx.reserve().await.unwrap_err(), ReserveError::Weighed);
}

async fn receivers_keep_their_order_when_a_heavy_item_takes_the_place_of_theirs(_: TestRuntime) {
    let (tx, rx) = weighed(3).on_full(OnFull::DropOldest).build().unwrap();
    let (mut first, mut second, mut third) = (rx.recv(), rx.recv(), rx.recv());
    for recv in [&mut first, &mut second, &mut third] {
        park(recv);
    }
    tx.try_send(1).unwrap();
    tx.try_send(1).unwrap();
    tx.try_send(3).unwrap();
    assert_eq!((tx.stats().dropped_oldest, tx.len()), (2, 1));
    assert!(
        poll(&mut second).is_pending(),
        "what is left is the first's"
    );
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(poll(&mut first), Poll::Ready(Ok(3)));
    tx.try_send(2).unwrap();
    assert!(poll(&mut third).is_pending(), "the second comes before it");
    assert_eq!(poll(&mut second), Poll::Ready(Ok(2)));
    tx.try_send(1).unwrap();
    assert_eq!(poll(&mut third), Poll::Ready(Ok(1)));
}

async fn nobody_overtakes_a_receiver_that_went_back(_: TestRuntime) {
    let (tx, rx) = weighed(3).on_full(OnFull::DropOldest).build().unwrap();
    let (mut first, mut second, mut third) = (rx.recv(), rx.recv(), rx.recv());
    for recv in [&mut first, &mut second, &mut third] {
        park(recv);
    }
    for _ in 0..3 {
        tx.try_send(1).unwrap();
    }
    tx.try_send(3).unwrap();
    assert!(poll(&mut second).is_pending(), "it goes back");
    assert_eq!(poll(&mut first), Poll::Ready(Ok(3)));
    tx.try_send(1).unwrap();
    assert!(poll(&mut third).is_pending(), "the second comes before it");
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(poll(&mut second), Poll::Ready(Ok(1)));
    tx.try_send(2).unwrap();
    assert_eq!(poll(&mut third), Poll::Ready(Ok(2)));
}

async fn a_place_without_its_item_passes_on_what_comes(_: TestRuntime) {
    let (tx, rx) = weighed(2).on_full(OnFull::DropOldest).build().unwrap();
    let (mut first, mut second) = (rx.recv(), rx.recv());
    park(&mut first);
    park(&mut second);
    tx.try_send(1).unwrap();
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    assert!(poll(&mut second).is_pending());
    drop(first);
    assert_eq!(poll(&mut second), Poll::Ready(Ok(2)), "the first gave up");
    // A close ends the wait of those for whom nothing is left.
    let (mut first, mut second) = (rx.recv(), rx.recv());
    park(&mut first);
    park(&mut second);
    tx.try_send(1).unwrap();
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    tx.close();
    assert!(poll(&mut second).is_pending());
    assert_eq!(poll(&mut first), Poll::Ready(Ok(2)));
    assert_eq!(poll(&mut second), Poll::Ready(Err(RecvError::Closed)));
}

async fn a_weight_that_grows_while_its_sender_waits(_: TestRuntime) {
    let weight = Arc::new(AtomicU64::new(6));
    let weigh = {
        let weight = weight.clone();
        move |_: &u64| weight.load(Ordering::Relaxed)
    };
    let (tx, rx) = Channel::builder().max_weight(10, weigh).build().unwrap();
    tx.send(1).await.unwrap();
    let (mut send, mut items) = (tx.send(2), VecDeque::from([3]));
    let mut many = tx.send_many(&mut items);
    assert!(poll(&mut send).is_pending() && poll(&mut many).is_pending());
    weight.store(11, Ordering::Relaxed);
    match poll(&mut send) {
        Poll::Ready(Err(SendError::TooHeavy(heavy))) => {
            assert_eq!((heavy.weight(), heavy.limit()), (11, 10));
            assert_eq!(heavy.into_inner(), 2);
        }
        other => panic!("{other:?}"),
    }
    let too_heavy = SendManyError::TooHeavy {
        weight: 11,
        limit: 10,
    };
    assert_eq!(poll(&mut many), Poll::Ready(Err(too_heavy)));
    drop(many);
    assert_eq!(items, [3]);
    // Nobody stands in the line for room that never comes.
    weight.store(4, Ordering::Relaxed);
    tx.try_send(4).unwrap();
    assert_eq!((rx.recv().await, rx.recv().await), (Ok(1), Ok(4)));
}

#[test]
fn a_scale_that_panics_is_the_senders_affair() {
    let (tx, rx) = Channel::builder()
        .max_weight(
            5,
            |item: &u64| if *item == 3 { panic!("three") } else { *item },
        )
        .build()
        .unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| tx.try_send(3))).is_err());
    let mut items = VecDeque::from([1, 3]);
    assert!(catch_unwind(AssertUnwindSafe(|| tx.try_send_many(&mut items))).is_err());
    assert_eq!(items, [1, 3], "the channel is as it was");
    tx.try_send(4).unwrap();
    assert_eq!((rx.len(), rx.try_recv()), (1, Ok(4)));
}
