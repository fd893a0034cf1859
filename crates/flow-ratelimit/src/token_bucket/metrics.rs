//! A bucket's catalogue, and its collector.

use std::sync::Arc;

use flow_metrics::{Collect, Desc, Sink};
use flow_rt::Clock;

use super::TokenBucket;
use super::core::Core;
use crate::decisions;

/// Looks at a bucket when somebody collects; in between it costs nothing.
struct BucketCollector<C> {
    core: Arc<Core<C>>,
    /// What a bucket without a name is called.
    unnamed: &'static str,
}

impl<C: Clock + 'static> TokenBucket<C> {
    /// What shows this bucket, under its name or else as one of those without a name of its kind:
    /// what else is made of a bucket is not to be added up with buckets.
    pub(crate) fn collector_or(&self, unnamed: &'static str) -> Arc<dyn Collect> {
        Arc::new(BucketCollector {
            core: self.core.clone(),
            unnamed,
        })
    }
}

impl<C: Clock> Collect for BucketCollector<C> {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let bucket = TokenBucket {
            core: self.core.clone(),
        };
        let stats = bucket.stats();
        let name = ("limiter", bucket.name().unwrap_or(self.unnamed));
        decisions::show(bucket.core.counted(), out, &CATALOGUE[0], &[name]);
        out.gauge(&CATALOGUE[1], &[name], stats.waiting as f64);
        out.gauge(&CATALOGUE[2], &[name], stats.available as f64);
        out.gauge(&CATALOGUE[3], &[name], stats.burst as f64);
    }
}

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
        "flow_ratelimit_available_tokens",
        "Whole tokens in the bucket.",
        &["limiter"],
    ),
    Desc::gauge(
        "flow_ratelimit_burst_tokens",
        "How many tokens the bucket holds at the most.",
        &["limiter"],
    ),
];
