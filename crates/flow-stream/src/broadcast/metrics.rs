//! A broadcast's catalogue, and its collector.

use flow_metrics::{Collect, Desc, Sink};
use flow_sync::sync::Arc;

use super::Shared;

/// Holds the broadcast without being one of its ends: it keeps nothing open.
pub(super) struct BroadcastCollector<T>(pub(super) Arc<Shared<T>>);

impl<T: Send> Collect for BroadcastCollector<T> {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let stats = self.0.stats();
        let name = ("broadcast", &*self.0.name);
        out.counter(&CATALOGUE[0], &[name], stats.sent);
        out.counter(&CATALOGUE[1], &[name], stats.evicted);
        out.counter(&CATALOGUE[2], &[name], stats.missed);
        out.counter(&CATALOGUE[3], &[name], stats.disconnected);
        out.counter(&CATALOGUE[4], &[name], stats.blocked_sends);
        out.gauge(&CATALOGUE[5], &[name], stats.len as f64);
        out.gauge(&CATALOGUE[6], &[name], stats.capacity as f64);
        out.gauge(&CATALOGUE[7], &[name], stats.receivers as f64);
    }
}

static CATALOGUE: &[Desc] = &[
    Desc::counter(
        "flow_stream_broadcast_sent_total",
        "Items that entered the broadcast.",
        &["broadcast"],
    ),
    Desc::counter(
        "flow_stream_broadcast_evicted_total",
        "Items that gave way before every receiver had them.",
        &["broadcast"],
    ),
    Desc::counter(
        "flow_stream_broadcast_missed_total",
        "Items that receivers missed, summed over receivers.",
        &["broadcast"],
    ),
    Desc::counter(
        "flow_stream_broadcast_disconnected_total",
        "Receivers that were disconnected because they lagged.",
        &["broadcast"],
    ),
    Desc::counter(
        "flow_stream_broadcast_blocked_sends_total",
        "Sends that found no room and waited.",
        &["broadcast"],
    ),
    Desc::gauge(
        "flow_stream_broadcast_buffered_items",
        "Items that some receiver has not had.",
        &["broadcast"],
    ),
    Desc::gauge(
        "flow_stream_broadcast_capacity_items",
        "How many items the broadcast can hold.",
        &["broadcast"],
    ),
    Desc::gauge(
        "flow_stream_broadcast_receivers",
        "Receivers of the broadcast.",
        &["broadcast"],
    ),
];
