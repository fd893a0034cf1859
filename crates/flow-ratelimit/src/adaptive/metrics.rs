//! An adaptive limiter's catalogue, and its collector.

use std::sync::OnceLock;

use flow_metrics::{Collect, Desc, Sink};
use flow_rt::Clock;

use super::AdaptiveLimiter;

/// Looks at a limiter when somebody collects; in between it costs nothing.
pub(super) struct AdaptiveCollector<C>(pub(super) AdaptiveLimiter<C>);

impl<C: Clock> Collect for AdaptiveCollector<C> {
    fn descriptions(&self) -> &'static [Desc] {
        static ALL: OnceLock<Vec<Desc>> = OnceLock::new();
        ALL.get_or_init(|| [self.0.limiter.collector().descriptions(), CATALOGUE].concat())
    }

    fn collect(&self, out: &mut dyn Sink) {
        let limiter = &self.0;
        limiter.limiter.collector().collect(out);
        let stats = limiter.stats();
        let name = ("limiter", limiter.name().unwrap_or(UNNAMED));
        for (change, count) in [("raised", stats.increases), ("lowered", stats.decreases)] {
            out.counter(&CATALOGUE[0], &[name, ("change", change)], count);
        }
        out.counter(&CATALOGUE[1], &[name], stats.windows);
        if let Some(latency) = stats.last_latency {
            out.gauge(&CATALOGUE[2], &[name], latency.as_secs_f64());
        }
        out.counter(&CATALOGUE[3], &[name], stats.failures);
        let (least, most) = limiter.range().into_inner();
        for (bound, limit) in [("least", least), ("most", most)] {
            out.gauge(&CATALOGUE[4], &[name, ("bound", bound)], f64::from(limit));
        }
    }
}

static CATALOGUE: &[Desc] = &[
    Desc::counter(
        "flow_ratelimit_limit_changes_total",
        "How often the limiter has changed its limit, by direction.",
        &["limiter", "change"],
    ),
    Desc::counter(
        "flow_ratelimit_windows_total",
        "Windows of samples that the limiter has decided upon.",
        &["limiter"],
    ),
    Desc::gauge(
        "flow_ratelimit_window_latency_seconds",
        "The mean latency of the last window.",
        &["limiter"],
    ),
    Desc::counter(
        "flow_ratelimit_sampled_failures_total",
        "Failures among the samples of all windows.",
        &["limiter"],
    ),
    Desc::gauge(
        "flow_ratelimit_limit_range_permits",
        "The bounds that the limiter may choose its limit from.",
        &["limiter", "bound"],
    ),
];

/// What a limiter without a name is called, as without the adaptive part.
const UNNAMED: &str = "concurrency_limiter";
