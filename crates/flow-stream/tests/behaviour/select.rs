//! In `select!`, which passes over what says that it has ended: nothing says so too early.

use flow_rt::{OnFull, TestRuntime};
use flow_stream::broadcast::{OnLag, RecvError};
use flow_stream::{Channel, Merge, Receiver, broadcast, watch};
use futures_util::stream::{self, FusedStream};
use futures_util::{StreamExt, select};

flow_rt::on_every_runtime! {
    a_stream_says_its_end_first,
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
