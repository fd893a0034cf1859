//! The catalogue of a limiter with classes, and its collector.

use flow_metrics::{Collect, Desc, Sink};

use super::ClassedLimiter;
use crate::decisions;

/// Looks at a limiter when somebody collects; in between it costs nothing.
pub(super) struct ClassesCollector(pub(super) ClassedLimiter);

impl Collect for ClassesCollector {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let limiter = &self.0;
        let name = ("limiter", limiter.name().unwrap_or(UNNAMED));
        out.gauge(&CATALOGUE[0], &[name], f64::from(limiter.in_flight()));
        out.gauge(&CATALOGUE[1], &[name], f64::from(limiter.limit()));
        for class in limiter.classes() {
            let stats = class.stats();
            let labels = [name, ("class", class.name())];
            decisions::show(class.counted(), out, &CATALOGUE[2], &labels);
            out.gauge(&CATALOGUE[3], &labels, stats.waiting as f64);
            out.gauge(&CATALOGUE[4], &labels, f64::from(stats.in_flight));
            out.gauge(&CATALOGUE[5], &labels, f64::from(stats.share));
        }
    }
}

/// The first two are those of a limiter without classes.
static CATALOGUE: &[Desc] = &[
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
    Desc::counter(
        "flow_ratelimit_class_decisions_total",
        "Requests of a class that were decided, by decision.",
        &["limiter", "class", "decision"],
    ),
    Desc::gauge(
        "flow_ratelimit_class_waiting_callers",
        "Callers of a class that wait for permits.",
        &["limiter", "class"],
    ),
    Desc::gauge(
        "flow_ratelimit_class_in_flight_permits",
        "Permits of a class held now.",
        &["limiter", "class"],
    ),
    Desc::gauge(
        "flow_ratelimit_class_share_permits",
        "What is kept for a class of the limit.",
        &["limiter", "class"],
    ),
];

/// What a limiter without a name is called.
const UNNAMED: &str = "classed_limiter";
