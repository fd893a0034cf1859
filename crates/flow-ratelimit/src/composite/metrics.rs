//! The catalogue of several limits at once, and its collector.

use std::sync::Arc;

use flow_metrics::{Collect, Desc, Sink};

use super::tally::Tally;
use crate::decisions;

/// Looks at the counts when somebody collects; in between it costs nothing.
pub(super) struct CompositeCollector(pub(super) Option<Arc<Tally>>);

impl Collect for CompositeCollector {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let Some(tally) = &self.0 else {
            return;
        };
        let stats = tally.stats();
        let name = ("limiter", tally.name.as_deref().unwrap_or(UNNAMED));
        decisions::show(tally.counted(), out, &CATALOGUE[0], &[name]);
        for (index, denied) in stats.denied_by.iter().enumerate() {
            // Its place, and no name: a limit may be that of one key of millions.
            let place = index.to_string();
            out.counter(&CATALOGUE[1], &[name, ("limit", &place)], *denied);
        }
        out.gauge(&CATALOGUE[2], &[name], stats.waiting as f64);
    }
}

static CATALOGUE: &[Desc] = &[
    Desc::counter(
        "flow_ratelimit_composite_decisions_total",
        "Requests that were decided by several limiters at once, by decision.",
        &["limiter", "decision"],
    ),
    Desc::counter(
        "flow_ratelimit_composite_denials_total",
        "Requests that one of several limiters denied, by its place.",
        &["limiter", "limit"],
    ),
    Desc::gauge(
        "flow_ratelimit_composite_waiting_callers",
        "Callers that wait for several limiters at once.",
        &["limiter"],
    ),
];

/// What one without a name is called.
const UNNAMED: &str = "composite";
