//! A collector whose values a test sets by hand.

use std::sync::{Arc, Mutex};

use flow_metrics::{Collect, Counter, Desc, Histogram, Sink};

/// A limiter, as far as its metrics go.
pub(crate) struct Limiter {
    name: String,
    pub(crate) allowed: Counter,
    pub(crate) denied: Counter,
    pub(crate) tokens: Mutex<f64>,
    pub(crate) waits: Histogram,
}

pub(crate) static CATALOGUE: &[Desc] = &[
    Desc::counter(
        "flow_ratelimit_decisions_total",
        "Decisions, by outcome.",
        &["limiter", "outcome"],
    ),
    Desc::gauge("flow_ratelimit_tokens", "Tokens left.", &["limiter"]),
    Desc::histogram(
        "flow_ratelimit_wait_seconds",
        "Time waited for tokens.",
        &["limiter"],
    ),
];

impl Limiter {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            allowed: Counter::new(),
            denied: Counter::new(),
            tokens: Mutex::new(0.0),
            waits: Histogram::latency(),
        })
    }
}

impl Collect for Limiter {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let name = &*self.name;
        let decisions = &CATALOGUE[0];
        // The order of labels is the collector's own business.
        let allowed = &[("outcome", "allowed"), ("limiter", name)];
        let denied = &[("limiter", name), ("outcome", "denied")];
        out.counter(decisions, allowed, self.allowed.get());
        out.counter(decisions, denied, self.denied.get());
        out.gauge(
            &CATALOGUE[1],
            &[("limiter", name)],
            *self.tokens.lock().unwrap(),
        );
        out.histogram(&CATALOGUE[2], &[("limiter", name)], &self.waits.snapshot());
    }
}

/// A collector from a catalogue and a closure.
pub(crate) struct Fixed<F>(pub(crate) &'static [Desc], pub(crate) F);

impl<F: Fn(&mut dyn Sink) + Send + Sync> Collect for Fixed<F> {
    fn descriptions(&self) -> &'static [Desc] {
        self.0
    }

    fn collect(&self, out: &mut dyn Sink) {
        (self.1)(out);
    }
}
