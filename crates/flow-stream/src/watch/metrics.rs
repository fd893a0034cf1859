//! A watch channel's catalogue, and its collector.

use std::borrow::Cow;

use flow_metrics::{Collect, Desc, Sink};
use flow_sync::sync::Arc;

use super::Shared;

/// Holds the channel without being one of its ends: it keeps nothing open.
pub(super) struct WatchCollector<T> {
    pub(super) name: Cow<'static, str>,
    pub(super) shared: Arc<Shared<T>>,
}

impl<T: Send + Sync> Collect for WatchCollector<T> {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let stats = self.shared.stats();
        let name = ("watch", &*self.name);
        out.counter(&CATALOGUE[0], &[name], stats.changes);
        out.gauge(&CATALOGUE[1], &[name], stats.receivers as f64);
    }
}

static CATALOGUE: &[Desc] = &[
    Desc::counter(
        "flow_stream_watch_changes_total",
        "Changes of the value.",
        &["watch"],
    ),
    Desc::gauge(
        "flow_stream_watch_receivers",
        "Receivers of the value.",
        &["watch"],
    ),
];
