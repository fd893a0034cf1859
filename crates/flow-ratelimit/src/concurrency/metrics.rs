//! A concurrency limiter's catalogue, and its collector.

use flow_metrics::{Collect, Desc, Sink};

use super::ConcurrencyLimiter;
use crate::decisions;

/// Looks at a limiter when somebody collects; in between it costs nothing.
pub(super) struct LimiterCollector(pub(super) ConcurrencyLimiter);

impl Collect for LimiterCollector {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let limiter = &self.0;
        let stats = limiter.stats();
        let name = ("limiter", limiter.name().unwrap_or(UNNAMED));
        decisions::show(limiter.counted(), out, &CATALOGUE[0], &[name]);
        out.gauge(&CATALOGUE[1], &[name], stats.waiting as f64);
        out.gauge(&CATALOGUE[2], &[name], f64::from(stats.in_flight));
        out.gauge(&CATALOGUE[3], &[name], f64::from(stats.limit));
    }
}

/// The first two are those of a token bucket: one name for limiters of either kind.
static CATALOGUE: &[Desc] = &[
    Desc::counter(
        "flow_ratelimit_decisions_total",
        "Requests that were decided, by decision.",
        &["limiter", "decision"],
    ),
    Desc::gauge(
        "flow_ratelimit_waiting_callers",
        "Callers that wait for tokens or permits.",
        &["limiter"],
    ),
    Desc::gauge(
        "flow_ratelimit_in_flight_permits",
        "Permits held now.",
        &["limiter"],
    ),
    Desc::gauge(
        "flow_ratelimit_limit_permits",
        "How many permits the limiter gives at the most.",
        &["limiter"],
    ),
];

/// What a limiter without a name is called.
const UNNAMED: &str = "concurrency_limiter";
