//! A limiter's catalogue, and its collector.

use std::sync::Arc;

use flow_metrics::{Collect, Desc, Sink};

use crate::limiter::shared::Shared;

/// Looks at a limiter's counts when somebody collects.
pub(super) struct LimiterCollector(pub(super) Arc<Shared>);

impl Collect for LimiterCollector {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let stats = self.0.counts.stats();
        let limiter = ("limiter", &*self.0.name);
        for (decision, source, count) in [
            ("granted", "remote", stats.granted),
            ("denied", "remote", stats.denied),
            ("granted", "fallback", stats.fallback_granted),
            ("denied", "fallback", stats.fallback_denied),
        ] {
            let labels = [limiter, ("decision", decision), ("source", source)];
            out.counter(&CATALOGUE[0], &labels, count);
        }
        out.counter(&CATALOGUE[1], &[limiter], stats.failures);
    }
}

static CATALOGUE: &[Desc] = &[
    Desc::counter(
        "flow_redis_decisions_total",
        "Checks that were decided, by decision and by who decided.",
        &["limiter", "decision", "source"],
    ),
    Desc::counter(
        "flow_redis_failures_total",
        "Checks that the server did not decide.",
        &["limiter"],
    ),
];
