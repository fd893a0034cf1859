//! A writer's catalogue, and its collector.

use std::sync::Arc;

use flow_metrics::{Collect, Desc, Sink};

use super::state::Shared;

/// Holds the writer's counters without being one of its handles: it keeps nothing open.
pub(super) struct WriterCollector(pub(super) Arc<Shared>);

impl Collect for WriterCollector {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let settings = &self.0.settings;
        let stats = self.0.counters.snapshot(settings.capacity);
        let labels = &[("writer", &*settings.name)];
        let counters = [
            stats.writes,
            stats.accepted_bytes,
            stats.written_bytes,
            stats.flushes,
            stats.errors,
            stats.blocked_writes,
            stats.rejected_writes,
            stats.dropped_writes,
            stats.dropped_bytes,
        ];
        for (desc, value) in CATALOGUE.iter().zip(counters) {
            out.counter(desc, labels, value);
        }
        let gauge = &CATALOGUE[counters.len()];
        out.gauge(gauge, labels, stats.buffered_bytes as f64);
    }
}

/// The counters in the order of `collect`, then the gauge.
static CATALOGUE: &[Desc] = &[
    Desc::counter(
        "flow_stream_writer_writes_total",
        "Writes that were accepted.",
        &["writer"],
    ),
    Desc::counter(
        "flow_stream_writer_accepted_bytes_total",
        "Bytes that were accepted.",
        &["writer"],
    ),
    Desc::counter(
        "flow_stream_writer_written_bytes_total",
        "Bytes that the sink took.",
        &["writer"],
    ),
    Desc::counter(
        "flow_stream_writer_flushes_total",
        "Flushes of the sink that succeeded.",
        &["writer"],
    ),
    Desc::counter(
        "flow_stream_writer_errors_total",
        "Calls of the sink that failed, retries included.",
        &["writer"],
    ),
    Desc::counter(
        "flow_stream_writer_blocked_writes_total",
        "Writes that found no room and waited.",
        &["writer"],
    ),
    Desc::counter(
        "flow_stream_writer_rejected_writes_total",
        "Writes refused for want of room.",
        &["writer"],
    ),
    Desc::counter(
        "flow_stream_writer_dropped_writes_total",
        "Writes dropped for want of room.",
        &["writer"],
    ),
    Desc::counter(
        "flow_stream_writer_dropped_bytes_total",
        "Bytes of the writes that were dropped.",
        &["writer"],
    ),
    Desc::gauge(
        "flow_stream_writer_buffered_bytes",
        "Bytes that are accepted and not taken by the sink yet.",
        &["writer"],
    ),
];
