//! What channels and writers show of themselves.
use flow_metrics::Registry;
use flow_rt::{OnFull, sim};
use flow_stream::{AsyncWriter, Channel};

#[test]
fn a_channel_shows_its_counts_and_is_kept_open_by_nobody() {
    let (tx, rx) = Channel::builder()
        .name("events")
        .capacity(2)
        .on_full(OnFull::DropNewest)
        .build()
        .unwrap();
    let registry = Registry::new();
    let _registered = registry.register(tx.collector()).unwrap();
    for item in 0..3 {
        tx.try_send(item).unwrap();
    }
    rx.try_recv().unwrap();
    let now = registry.collect();
    let name = ("channel", "events");
    assert_eq!(
        now.counter("flow_stream_channel_sent_total", &[name]),
        Some(2)
    );
    assert_eq!(
        now.counter("flow_stream_channel_received_total", &[name]),
        Some(1)
    );
    let newest = &[name, ("reason", "newest")];
    assert_eq!(
        now.counter("flow_stream_channel_dropped_total", newest),
        Some(1)
    );
    drop(rx);
    assert!(tx.is_closed());
    let now = registry.collect();
    let gone = &[name, ("reason", "no_receiver")];
    assert_eq!(
        now.counter("flow_stream_channel_dropped_total", gone),
        Some(1)
    );
    assert!(format!("{tx:?}").contains("events"));
}

/// Each by its own reason, those of `DropReason`.
#[cfg(feature = "sink")]
#[test]
fn a_channel_shows_what_it_drops_by_reason() {
    use futures_util::SinkExt;

    let weighed = Channel::builder().max_weight(5, |item: &u64| *item);
    let (tx, rx) = weighed.on_full(OnFull::Reject).build().unwrap();
    let registry = Registry::new();
    let _registered = registry.register(tx.collector()).unwrap();
    let mut sink = tx.into_sink();
    for item in [5, 6, 1] {
        let _ = sink.start_send_unpin(item);
    }
    rx.close();
    sink.start_send_unpin(2).unwrap_err();
    drop(rx);
    let now = registry.collect();
    let dropped = |reason| {
        let labels = &[("channel", "channel"), ("reason", reason)];
        now.counter("flow_stream_channel_dropped_total", labels)
    };
    for reason in ["too_heavy", "newest", "closed", "no_receiver"] {
        assert_eq!(dropped(reason), Some(1), "{reason}");
    }
    assert_eq!(dropped("oldest"), Some(0));
}

#[test]
fn a_channel_that_weighs_its_items_shows_their_weight() {
    let weighed = Channel::builder()
        .name("bytes")
        .max_weight(10, |item| *item);
    let (tx, _rx) = weighed.build().unwrap();
    let registry = Registry::new();
    let _registered = registry.register(tx.collector()).unwrap();
    tx.try_send(7_u64).unwrap();
    let now = registry.collect();
    let gauge = |name: &str| now.gauge(name, &[("channel", "bytes")]);
    assert_eq!(gauge("flow_stream_channel_buffered_weight"), Some(7.0));
    assert_eq!(gauge("flow_stream_channel_max_weight"), Some(10.0));
}

#[test]
fn a_writer_shows_its_counts() {
    sim::check(0..1, |_| async {
        let writer = AsyncWriter::builder()
            .name("log")
            .build(Vec::new())
            .unwrap();
        let registry = Registry::new();
        let _registered = registry.register(writer.collector()).unwrap();
        writer.write(b"hello").await.unwrap();
        writer.flush().await.unwrap();
        let now = registry.collect();
        let counter = |name: &str| now.counter(name, &[("writer", "log")]);
        assert_eq!(counter("flow_stream_writer_writes_total"), Some(1));
        assert_eq!(counter("flow_stream_writer_written_bytes_total"), Some(5));
        assert_eq!(counter("flow_stream_writer_flushes_total"), Some(1));
        assert_eq!(counter("flow_stream_writer_errors_total"), Some(0));
        assert_eq!(counter("flow_stream_writer_dropped_bytes_total"), Some(0));
    });
}
