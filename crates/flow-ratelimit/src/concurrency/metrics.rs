//! A concurrency limiter's catalogue, and its collector.

use flow_metrics::{Collect, Desc, Sink};

use super::ConcurrencyLimiter;

/// Looks at a limiter when somebody collects; in between it costs nothing.
pub(super) struct LimiterCollector(pub(super) ConcurrencyLimiter);

impl Collect for LimiterCollector {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let stats = self.0.stats();
        let labels = [("limiter", self.0.name().unwrap_or(UNNAMED))];
        for (desc, value) in CATALOGUE.iter().zip([
            f64::from(stats.limit),
            f64::from(stats.in_flight),
            stats.waiting as f64,
        ]) {
            out.gauge(desc, &labels, value);
        }
        out.counter(&CATALOGUE[3], &labels, stats.denied);
    }
}

static CATALOGUE: &[Desc] = &[
    Desc::gauge(
        "flow_ratelimit_limit_permits",
        "How many permits the limiter gives at the most.",
        &["limiter"],
    ),
    Desc::gauge(
        "flow_ratelimit_held_permits",
        "Permits held now.",
        &["limiter"],
    ),
    Desc::gauge(
        "flow_ratelimit_queued_callers",
        "Callers that wait for permits.",
        &["limiter"],
    ),
    Desc::counter(
        "flow_ratelimit_denied_permits_total",
        "Calls that asked for a permit without waiting and got none.",
        &["limiter"],
    ),
];

/// What a limiter without a name is called.
const UNNAMED: &str = "concurrency_limiter";
