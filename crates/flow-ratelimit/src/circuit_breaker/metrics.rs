//! A breaker's catalogue, and its collector.

use flow_metrics::{Collect, Desc, Sink};
use flow_rt::Clock;

use super::CircuitBreaker;
use super::transition::BreakerState;

/// Looks at a breaker when somebody collects; in between it costs nothing.
pub(super) struct BreakerCollector<C>(pub(super) CircuitBreaker<C>);

impl<C: Clock> Collect for BreakerCollector<C> {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let stats = self.0.stats();
        let name = ("breaker", self.0.name().unwrap_or(UNNAMED));
        for (outcome, count) in [
            ("success", stats.succeeded),
            ("failure", stats.failed),
            ("ignored", stats.ignored),
            ("rejected", stats.rejected),
        ] {
            out.counter(&CATALOGUE[0], &[name, ("outcome", outcome)], count);
        }
        out.counter(&CATALOGUE[1], &[name], stats.slow);
        out.counter(&CATALOGUE[2], &[name], stats.opened);
        for state in BreakerState::ALL {
            let is_it = f64::from(u8::from(state == stats.state));
            out.gauge(&CATALOGUE[3], &[name, ("state", state.as_str())], is_it);
        }
        out.gauge(&CATALOGUE[4], &[name], stats.failure_rate().unwrap_or(0.0));
        out.gauge(&CATALOGUE[5], &[name], stats.slow_rate().unwrap_or(0.0));
    }
}

static CATALOGUE: &[Desc] = &[
    Desc::counter(
        "flow_ratelimit_breaker_calls_total",
        "Calls that were made or rejected, by outcome.",
        &["breaker", "outcome"],
    ),
    Desc::counter(
        "flow_ratelimit_breaker_slow_calls_total",
        "Calls that were slow, whether they failed or not.",
        &["breaker"],
    ),
    Desc::counter(
        "flow_ratelimit_breaker_openings_total",
        "How often the breaker has opened.",
        &["breaker"],
    ),
    Desc::gauge(
        "flow_ratelimit_breaker_state",
        "1 for the state that the breaker is in, 0 for the others.",
        &["breaker", "state"],
    ),
    Desc::gauge(
        "flow_ratelimit_breaker_failure_ratio",
        "The share of failed calls of those it is judged by.",
        &["breaker"],
    ),
    Desc::gauge(
        "flow_ratelimit_breaker_slow_ratio",
        "The share of slow calls of those it is judged by.",
        &["breaker"],
    ),
];

/// What a breaker without a name is called.
const UNNAMED: &str = "circuit_breaker";
