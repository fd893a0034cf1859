//! A sender as a sink, on every runtime.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use flow_rt::{OnFull, TestRuntime};
use flow_stream::{Channel, ChannelSink, DropReason, ReserveError};
use futures_util::{Sink, SinkExt, StreamExt, stream};

flow_rt::on_every_runtime! {
    a_stream_goes_through_a_sink,
    ready_means_room,
    each_wait_of_a_sink_is_counted,
    sinks_by_the_answer_to_full,
    what_a_sink_cannot_send_is_dropped_and_told,
    a_sink_without_room_holds_one_item,
}

fn poll_ready<T>(sink: &mut ChannelSink<T>) -> Poll<Result<(), ReserveError>> {
    Pin::new(sink).poll_ready(&mut Context::from_waker(Waker::noop()))
}

async fn a_stream_goes_through_a_sink(rt: TestRuntime) {
    let (tx, rx) = Channel::bounded(3).unwrap();
    let forwarding = rt.spawn(stream::iter(0..100).map(Ok).forward(tx.into_sink()));
    assert_eq!(rx.collect::<Vec<_>>().await, (0..100).collect::<Vec<_>>());
    assert_eq!(forwarding.await.unwrap(), Ok(()));
}

async fn ready_means_room(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(1).unwrap();
    let mut sink = tx.clone().into_sink();
    assert_eq!(poll_ready(&mut sink), Poll::Ready(Ok(())));
    assert_eq!(poll_ready(&mut sink), Poll::Ready(Ok(())), "still");
    assert!(format!("{sink:?}").contains("ready: true"));
    assert!(tx.try_send(9).is_err(), "the room is taken");
    sink.start_send_unpin(1).unwrap();
    assert!(poll_ready(&mut sink).is_pending() && poll_ready(&mut sink).is_pending());
    assert_eq!(tx.stats().blocked_sends, 1);
    assert_eq!(rx.recv().await, Ok(1));
    // The room that it was promised goes back with it.
    assert!(tx.try_send(9).is_err());
    assert!(sink.into_inner().is_some());
    tx.try_send(2).unwrap();
    let mut sink = tx.into_sink();
    sink.close().await.unwrap();
    assert!(rx.is_closed());
    assert_eq!(
        poll_ready(&mut sink),
        Poll::Ready(Err(ReserveError::Closed))
    );
    assert_eq!(sink.start_send_unpin(3), Err(ReserveError::Closed));
    assert!(sink.into_inner().is_none());
    assert_eq!(rx.recv().await, Ok(2));
}

async fn each_wait_of_a_sink_is_counted(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(1).unwrap();
    tx.try_send(0).unwrap();
    let mut sink = tx.clone().into_sink();
    for nth in 1..=3 {
        assert!(poll_ready(&mut sink).is_pending());
        assert_eq!(tx.stats().blocked_sends, nth);
        assert_eq!(rx.recv().await, Ok(nth - 1));
        // There is room before it has parked.
        assert_eq!(poll_ready(&mut sink), Poll::Ready(Ok(())));
        sink.start_send_unpin(nth).unwrap();
    }
}

async fn sinks_by_the_answer_to_full(_: TestRuntime) {
    for (answer, kept) in [(OnFull::DropNewest, 1), (OnFull::DropOldest, 3)] {
        let (tx, rx) = Channel::builder()
            .capacity(1)
            .on_full(answer)
            .build()
            .unwrap();
        let mut sink = tx.into_sink();
        for item in 1..=3 {
            sink.send(item).await.unwrap();
        }
        assert_eq!(rx.recv().await, Ok(kept));
        rx.close();
        assert_eq!(sink.send(4).await, Err(ReserveError::Closed));
    }
    let (tx, _rx) = Channel::builder()
        .capacity(1)
        .on_full(OnFull::Reject)
        .build()
        .unwrap();
    let mut sink = tx.into_sink();
    sink.send(1).await.unwrap();
    assert_eq!(sink.send(2).await, Err(ReserveError::Full));
}

async fn what_a_sink_cannot_send_is_dropped_and_told(_: TestRuntime) {
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let (tx, rx) = Channel::builder()
        .capacity(1)
        .on_drop({
            let dropped = dropped.clone();
            move |item, why| dropped.lock().unwrap().push((item, why))
        })
        .build()
        .unwrap();
    let mut sink = tx.into_sink();
    sink.start_send_unpin(1).unwrap();
    assert_eq!(sink.start_send_unpin(2), Err(ReserveError::Full));
    rx.close();
    assert_eq!(sink.start_send_unpin(3), Err(ReserveError::Closed));
    let told = [(2, DropReason::Newest), (3, DropReason::Closed)];
    assert_eq!(*dropped.lock().unwrap(), told);
    let stats = rx.stats();
    assert_eq!((stats.dropped_newest, stats.dropped_closed), (1, 1));
    assert_eq!(stats.dropped(), 2);
}

/// Into a rendezvous, and where items are weighed.
async fn a_sink_without_room_holds_one_item(rt: TestRuntime) {
    let (tx, rx) = Channel::rendezvous();
    let mut sink = tx.clone().into_sink();
    assert_eq!(poll_ready(&mut sink), Poll::Ready(Ok(())));
    sink.start_send_unpin(1).unwrap();
    assert!(poll_ready(&mut sink).is_pending(), "nobody has taken it");
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(poll_ready(&mut sink), Poll::Ready(Ok(())));
    sink.start_send_unpin(2).unwrap();
    assert!(poll_ready(&mut sink).is_pending());
    drop(sink);
    assert!(rx.try_recv().is_err(), "it went with the sink");
    let forwarding = rt.spawn(stream::iter(0..50).map(Ok).forward(tx.into_sink()));
    assert_eq!(rx.collect::<Vec<_>>().await, (0..50).collect::<Vec<_>>());
    assert_eq!(forwarding.await.unwrap(), Ok(()));

    let lost = Arc::new(Mutex::new(Vec::new()));
    let hook = lost.clone();
    let (tx, rx) = Channel::builder()
        .max_weight(5, |item| *item)
        .on_drop(move |item, why| hook.lock().unwrap().push((item, why)))
        .build()
        .unwrap();
    let mut sink = tx.clone().into_sink();
    sink.send(4).await.unwrap();
    let too_heavy = ReserveError::TooHeavy {
        weight: 6,
        limit: 5,
    };
    assert_eq!(sink.send(6).await, Err(too_heavy));
    sink.start_send_unpin(3).unwrap();
    assert!(poll_ready(&mut sink).is_pending() && poll_ready(&mut sink).is_pending());
    assert_eq!(rx.recv().await, Ok(4));
    assert_eq!(poll_ready(&mut sink), Poll::Ready(Ok(())));
    sink.start_send_unpin(5).unwrap();
    rx.close();
    assert_eq!(sink.close().await, Err(ReserveError::Closed));
    assert_eq!(sink.close().await, Ok(()));
    assert_eq!(rx.recv().await, Ok(3));
    let all = [(6, DropReason::TooHeavy), (5, DropReason::Closed)];
    assert_eq!(*lost.lock().unwrap(), all);
    let stats = rx.stats();
    assert_eq!((stats.dropped_too_heavy, stats.dropped_closed), (1, 1));
    assert_eq!((stats.dropped_newest, stats.dropped()), (0, 2));
}
