//! The catalogue of a rate that children share, and its collector.

use flow_metrics::{Collect, Desc, Sink};
use flow_rt::Clock;

use super::FairShare;
use crate::decisions;

/// Looks at all children when somebody collects; in between it costs nothing.
pub(super) struct FairShareCollector<C>(pub(super) FairShare<C>);

impl<C: Clock> Collect for FairShareCollector<C> {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let share = &self.0;
        let name = ("limiter", share.name().unwrap_or(UNNAMED));
        let all = share.stats();
        out.gauge(&CATALOGUE[0], &[name], all.available as f64);
        out.gauge(&CATALOGUE[1], &[name], all.burst as f64);
        for child in share.children() {
            let labels = [name, ("child", child.name())];
            decisions::show(child.counted(), out, &CATALOGUE[2], &labels);
            let stats = child.stats();
            out.counter(&CATALOGUE[3], &labels, stats.borrowed);
            out.gauge(&CATALOGUE[4], &labels, stats.waiting as f64);
            out.gauge(&CATALOGUE[5], &labels, stats.available as f64);
            out.gauge(&CATALOGUE[6], &labels, f64::from(stats.weight));
        }
    }
}

static CATALOGUE: &[Desc] = &[
    Desc::gauge(
        "flow_ratelimit_share_pool_available_tokens",
        "Whole tokens that all children hold together.",
        &["limiter"],
    ),
    Desc::gauge(
        "flow_ratelimit_share_pool_burst_tokens",
        "How many tokens all children hold together at the most.",
        &["limiter"],
    ),
    Desc::counter(
        "flow_ratelimit_share_decisions_total",
        "Requests of a child that were decided, by decision.",
        &["limiter", "child", "decision"],
    ),
    Desc::counter(
        "flow_ratelimit_share_borrowed_tokens_total",
        "Tokens that a child took of what others left.",
        &["limiter", "child"],
    ),
    Desc::gauge(
        "flow_ratelimit_share_waiting_callers",
        "Callers of a child that wait for tokens.",
        &["limiter", "child"],
    ),
    Desc::gauge(
        "flow_ratelimit_share_available_tokens",
        "Whole tokens that a child could take, its own and those that others left.",
        &["limiter", "child"],
    ),
    Desc::gauge(
        "flow_ratelimit_share_weight_parts",
        "The weight of a child.",
        &["limiter", "child"],
    ),
];

/// What one without a name is called.
const UNNAMED: &str = "fair_share";
