//! A channel's catalogue, and its collector.

use flow_metrics::{Collect, Desc, Sink};
use flow_sync::sync::Arc;

use super::Shared;

/// Holds the channel without being one of its ends: it keeps nothing open.
pub(super) struct ChannelCollector<T>(pub(super) Arc<Shared<T>>);

impl<T: Send> Collect for ChannelCollector<T> {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let stats = self.0.stats();
        let name = ("channel", &*self.0.name);
        out.counter(&CATALOGUE[0], &[name], stats.sent);
        out.counter(&CATALOGUE[1], &[name], stats.received);
        for (reason, dropped) in [
            ("newest", stats.dropped_newest),
            ("oldest", stats.dropped_oldest),
            ("no_receiver", stats.abandoned),
            ("closed", stats.dropped_closed),
            ("too_heavy", stats.dropped_too_heavy),
        ] {
            out.counter(&CATALOGUE[2], &[name, ("reason", reason)], dropped);
        }
        out.counter(&CATALOGUE[3], &[name], stats.blocked_sends);
        out.gauge(&CATALOGUE[4], &[name], stats.len as f64);
        out.gauge(&CATALOGUE[5], &[name], stats.capacity as f64);
        if let Some(limit) = stats.max_weight {
            out.gauge(&CATALOGUE[6], &[name], stats.weight as f64);
            out.gauge(&CATALOGUE[7], &[name], limit as f64);
        }
    }
}

static CATALOGUE: &[Desc] = &[
    Desc::counter(
        "flow_stream_channel_sent_total",
        "Items that entered the channel.",
        &["channel"],
    ),
    Desc::counter(
        "flow_stream_channel_received_total",
        "Items that were received.",
        &["channel"],
    ),
    Desc::counter(
        "flow_stream_channel_dropped_total",
        "Items that the channel dropped, by reason.",
        &["channel", "reason"],
    ),
    Desc::counter(
        "flow_stream_channel_blocked_sends_total",
        "Sends that found the channel full and waited.",
        &["channel"],
    ),
    Desc::gauge(
        "flow_stream_channel_buffered_items",
        "Items in the channel.",
        &["channel"],
    ),
    Desc::gauge(
        "flow_stream_channel_capacity_items",
        "How many items the channel can hold.",
        &["channel"],
    ),
    Desc::gauge(
        "flow_stream_channel_buffered_weight",
        "What the items in the channel weigh, if they are weighed.",
        &["channel"],
    ),
    Desc::gauge(
        "flow_stream_channel_max_weight",
        "What the items in the channel may weigh, if they are weighed.",
        &["channel"],
    ),
];
