//! In `select!`, which passes over what says that it has ended: nothing says so too early.

use std::fmt::Debug;
use std::time::Duration;

use crate::common::poll;
use crate::sink::TestSink;
use flow_rt::{OnFull, TestRuntime};
use flow_stream::broadcast::{OnLag, RecvError};
use flow_stream::{AsyncWriter, Channel, Merge, Receiver, broadcast, oneshot, watch};
use futures_util::future::FusedFuture;
use futures_util::stream::{self, FusedStream};
use futures_util::{StreamExt, select};

flow_rt::on_every_runtime! {
    a_stream_says_its_end_first,
    a_close_is_waited_for_beside_other_things,
    a_writer_beside_other_things,
}

/// Whether the stream says its end, which is all that is left of it, and is passed over then.
async fn says_its_end(mut stream: impl FusedStream + Unpin) -> bool {
    let told = select! {
        item = stream.next() => item.is_none(),
        complete => false,
    };
    let passed_over = select! {
        _ = stream.next() => false,
        complete => true,
    };
    told && passed_over
}

async fn a_stream_says_its_end_first(_: TestRuntime) {
    let capacity = || Channel::<u64>::builder().capacity(4);
    for (name, builder) in [
        ("over a ring", capacity()),
        ("over a lock", capacity().on_full(OnFull::DropOldest)),
        ("weighed", Channel::builder().max_weight(4, |_| 1)),
        ("rendezvous", Channel::builder().rendezvous()),
    ] {
        let (_tx, rx) = builder.build().unwrap();
        rx.close();
        // Whatever a clone has said, or another way to receive.
        assert!(rx.clone().next().await.is_none() && rx.recv().await.is_err());
        assert!(says_its_end(rx).await, "{name}");
    }
    let (tx, mut rx) = capacity().build_single_consumer().unwrap();
    drop(tx);
    assert!(rx.recv().await.is_err());
    assert!(says_its_end(rx).await);

    let (tx, mut rx) = watch::channel(1);
    drop(tx);
    assert!(rx.changed().await.is_err());
    assert!(says_its_end(rx.into_changes()).await);

    let (tx, mut rx) = broadcast::channel::<u8>(1).unwrap();
    drop(tx);
    assert!(rx.recv().await.is_err());
    assert!(says_its_end(rx).await);
    let builder = broadcast::builder().capacity(1).on_lag(OnLag::Disconnect);
    let (tx, mut rx) = builder.build().unwrap();
    tx.send(0).await.unwrap();
    tx.send(1).await.unwrap();
    assert_eq!(rx.next().await, Some(Err(RecvError::Disconnected(2))));
    assert!(says_its_end(rx).await);

    assert!(says_its_end(Merge::<Receiver<u8>>::new()).await);
    let mut merged = Merge::new();
    assert!(merged.next().await.is_none());
    merged.push(0, stream::empty::<u8>());
    assert!(says_its_end(merged).await, "of the source that came later");
}

/// Whether the wait goes on until `close`, ends with it, and is passed over then.
async fn ends_with(
    mut closed: impl FusedFuture<Output = ()> + Unpin + Debug,
    close: impl FnOnce(),
) -> bool {
    for _ in 0..2 {
        select! {
            () = closed => return false,
            default => {}
        }
    }
    close();
    let ended = select! {
        () = closed => true,
        default => false,
    };
    let shown = format!("{closed:?}");
    assert_eq!(shown, "ClosedFuture { parked: false, done: true, .. }");
    let passed_over = select! {
        () = closed => false,
        complete => true,
    };
    ended && passed_over && poll(&mut closed).is_pending()
}

async fn a_close_is_waited_for_beside_other_things(rt: TestRuntime) {
    let (tx, rx) = Channel::<u8>::bounded(1).unwrap();
    assert!(ends_with(tx.closed(), || rx.close()).await);
    let (tx, rx) = broadcast::channel::<u8>(1).unwrap();
    assert!(ends_with(tx.closed(), || drop(rx)).await);
    let (tx, rx) = watch::channel(1);
    assert!(ends_with(tx.closed(), || drop(rx)).await);
    let (mut tx, mut rx) = oneshot::channel::<u8>();
    assert!(ends_with(tx.closed(), || rx.close()).await);

    // One that has noticed an event which was none for it waits on.
    let (tx, rx) = watch::channel(1);
    let mut closed = tx.closed();
    assert!(poll(&mut closed).is_pending());
    drop(rx);
    let again = tx.subscribe();
    assert!(poll(&mut closed).is_pending());
    let waiter = rt.spawn({
        let tx = tx.clone();
        async move { tx.closed().await }
    });
    rt.settle().await;
    drop(again);
    waiter.await.unwrap();
    assert!(poll(&mut closed).is_ready());
}

async fn a_writer_beside_other_things(rt: TestRuntime) {
    let sink = TestSink::default();
    let builder = AsyncWriter::builder().runtime(&rt).capacity(2);
    let (writer, mut driver) = builder.build_with_driver(sink.sink()).unwrap();
    writer.write(b"ab").await.unwrap();
    let (mut write, mut flush) = (writer.write(b"c"), writer.flush());
    let mut told = [0, 0];
    loop {
        select! {
            written = write => {
                written.unwrap();
                told[0] += 1;
            }
            flushed = flush => {
                flushed.unwrap();
                told[1] += 1;
            }
            () = driver => panic!("nobody has closed it"),
        }
        if write.is_terminated() && flush.is_terminated() {
            break;
        }
    }
    assert_eq!(told, [1, 1]);
    assert!(poll(&mut write).is_pending() && poll(&mut flush).is_pending());
    let mut shutdown = writer.shutdown(Duration::from_secs(5));
    let mut reports = Vec::new();
    loop {
        select! {
            report = shutdown => reports.push(report),
            () = driver => {}
            complete => break,
        }
    }
    assert!(reports.len() == 1 && reports[0].is_clean());
    assert!(poll(&mut shutdown).is_pending() && poll(&mut driver).is_pending());
    assert_eq!(sink.text(), "abc");
}
