//! What broadcasts and watches show of themselves.

use flow_metrics::Registry;
use flow_stream::broadcast::{self, OnLag, TryRecvError};
use flow_stream::watch;

#[test]
fn a_broadcast_shows_its_counts_and_is_kept_open_by_nobody() {
    let (tx, mut rx) = broadcast::builder()
        .name("prices")
        .capacity(2)
        .on_lag(OnLag::DropOldest)
        .build()
        .unwrap();
    let registry = Registry::new();
    let _registered = registry.register(rx.collector()).unwrap();
    for item in 0..3 {
        tx.try_send(item).unwrap();
    }
    assert_eq!(rx.try_recv(), Err(TryRecvError::Lagged(1)));
    let now = registry.collect();
    let name = ("broadcast", "prices");
    for (what, value) in [
        ("sent", 3),
        ("evicted", 1),
        ("missed", 1),
        ("disconnected", 0),
        ("blocked_sends", 0),
    ] {
        let metric = format!("flow_stream_broadcast_{what}_total");
        assert_eq!(now.counter(&metric, &[name]), Some(value), "{what}");
    }
    for (what, value) in [
        ("buffered_items", 2.0),
        ("capacity_items", 2.0),
        ("receivers", 1.0),
    ] {
        let metric = format!("flow_stream_broadcast_{what}");
        assert_eq!(now.gauge(&metric, &[name]), Some(value), "{what}");
    }
    drop(tx.collector());
    drop(tx);
    assert!(rx.is_closed());
}

#[test]
fn a_watch_shows_its_counts_and_is_kept_open_by_nobody() {
    let (tx, rx) = watch::channel(0);
    let registry = Registry::new();
    let _registered = registry.register(tx.collector("limits")).unwrap();
    tx.send_replace(1);
    tx.send_replace(2);
    let now = registry.collect();
    let name = ("watch", "limits");
    let changes = now.counter("flow_stream_watch_changes_total", &[name]);
    assert_eq!(changes, Some(2));
    let receivers = now.gauge("flow_stream_watch_receivers", &[name]);
    assert_eq!(receivers, Some(1.0));
    assert_eq!(rx.stats(), tx.stats());
    drop(tx);
    assert!(rx.is_closed());
}
