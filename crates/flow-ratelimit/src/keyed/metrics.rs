//! A keyed limiter's catalogue, and its collector. No label ever names a key.

use std::sync::Arc;

use flow_metrics::{Collect, Desc, Sink};
use flow_rt::Clock;

use super::store::Store;
use super::table::Table;
use crate::decisions;

/// Looks at a limiter when somebody collects; in between it costs nothing.
pub(super) struct KeyedCollector<C, S: Store>(pub(super) Arc<Table<C, S>>);

impl<C: Clock, S: Store> Collect for KeyedCollector<C, S> {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let table = &self.0;
        let name = ("limiter", table.name.as_deref().unwrap_or(UNNAMED));
        decisions::show(table.counted(), out, &CATALOGUE[0], &[name]);
        out.counter(&CATALOGUE[1], &[name], table.store.evicted());
        out.gauge(&CATALOGUE[2], &[name], table.len() as f64);
        out.gauge(&CATALOGUE[3], &[name], table.store.capacity() as f64);
        out.gauge(&CATALOGUE[4], &[name], table.quotas.of(0).burst() as f64);
        out.gauge(&CATALOGUE[5], &[name], table.waiting() as f64);
    }
}

static CATALOGUE: &[Desc] = &[
    Desc::counter(
        "flow_ratelimit_decisions_total",
        "Requests that were decided, by decision.",
        &["limiter", "decision"],
    ),
    Desc::counter(
        "flow_ratelimit_evicted_keys_total",
        "Keys that were forgotten before they were full, for want of room.",
        &["limiter"],
    ),
    Desc::gauge(
        "flow_ratelimit_live_keys",
        "Keys that are not full.",
        &["limiter"],
    ),
    Desc::gauge(
        "flow_ratelimit_max_keys",
        "How many keys that are not full can be told apart.",
        &["limiter"],
    ),
    Desc::gauge(
        "flow_ratelimit_burst_tokens",
        "How many tokens the bucket holds at the most.",
        &["limiter"],
    ),
    Desc::gauge(
        "flow_ratelimit_waiting_callers",
        "Callers that wait for tokens or permits.",
        &["limiter"],
    ),
];

/// What a limiter without a name is called.
const UNNAMED: &str = "keyed_limiter";
