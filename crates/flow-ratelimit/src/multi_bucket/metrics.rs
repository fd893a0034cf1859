//! The catalogue of a bucket with several limits, and its collector.

use flow_metrics::{Collect, Desc, Sink};
use flow_rt::Clock;

use super::MultiBucket;
use crate::decisions;

/// Looks at a bucket when somebody collects; in between it costs nothing.
pub(super) struct MultiBucketCollector<C>(pub(super) MultiBucket<C>);

impl<C: Clock> Collect for MultiBucketCollector<C> {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let bucket = &self.0;
        let stats = bucket.stats();
        let name = ("limiter", bucket.name().unwrap_or(UNNAMED));
        decisions::show(bucket.core.counted(), out, &CATALOGUE[0], &[name]);
        out.gauge(&CATALOGUE[1], &[name], stats.waiting as f64);
        for (index, place) in PLACES.iter().enumerate() {
            let Some(limit) = bucket.limit(index) else {
                break;
            };
            let labels = [name, ("limit", *place)];
            out.gauge(&CATALOGUE[2], &labels, limit.available as f64);
            out.gauge(&CATALOGUE[3], &labels, limit.burst as f64);
        }
    }
}

static CATALOGUE: &[Desc] = &[
    Desc::counter(
        "flow_ratelimit_multi_decisions_total",
        "Requests that were decided by several limits at once, by decision.",
        &["limiter", "decision"],
    ),
    Desc::gauge(
        "flow_ratelimit_multi_waiting_callers",
        "Callers that wait for tokens of several limits at once.",
        &["limiter"],
    ),
    Desc::gauge(
        "flow_ratelimit_multi_available_tokens",
        "Whole tokens that a limit has, by its place.",
        &["limiter", "limit"],
    ),
    Desc::gauge(
        "flow_ratelimit_multi_burst_tokens",
        "How many tokens a limit holds at the most, by its place.",
        &["limiter", "limit"],
    ),
];

/// As many as there may be.
const PLACES: [&str; super::core::MAX_LIMITS] = ["0", "1", "2", "3", "4", "5", "6"];

/// What a bucket without a name is called.
const UNNAMED: &str = "multi_bucket";
