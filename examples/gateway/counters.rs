//! What the gateway did, as its catalogue entries say it.

use std::sync::atomic::{AtomicU64, Ordering};

use flow_metrics::{Collect, Desc, Sink};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Forwarded, and answered by the upstream.
    Admitted,
    /// Over the client's rate.
    Limited,
    /// The signature is missing or wrong.
    Unsigned,
    /// Too many requests in flight or clients, or no decision to be had.
    Overloaded,
    /// The upstream could not be reached or broke off.
    BadGateway,
    /// The upstream did not begin to answer in time.
    TimedOut,
}

const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Admitted, "admitted"),
    (Outcome::Limited, "limited"),
    (Outcome::Unsigned, "unsigned"),
    (Outcome::Overloaded, "overloaded"),
    (Outcome::BadGateway, "bad_gateway"),
    (Outcome::TimedOut, "timed_out"),
];

/// Requests by outcome.
#[derive(Debug, Default)]
pub(crate) struct Counters([AtomicU64; OUTCOMES.len()]);

impl Counters {
    pub(crate) fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn value(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|cell| cell.load(Ordering::Relaxed)).sum()
    }
}

static CATALOGUE: [Desc; 1] = [Desc::counter(
    "flow_gateway_requests_total",
    "Requests by how they ended",
    &["outcome"],
)];

impl Collect for Counters {
    fn descriptions(&self) -> &'static [Desc] {
        &CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        for (outcome, name) in OUTCOMES {
            out.counter(&CATALOGUE[0], &[("outcome", name)], self.value(outcome));
        }
    }
}
