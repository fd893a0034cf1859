//! flow-metrics beside the `metrics` facade with its Prometheus exporter.

use std::process::ExitCode;
use std::sync::Arc;

use flow_benches::{Bench, on_threads, repeat};
use flow_metrics::{Collect, Counter, Desc, Registry, Sink};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

const SERIES: usize = 1000;

fn main() -> ExitCode {
    flow_benches::run(
        "metrics",
        "A registry beside metrics-exporter-prometheus.",
        &["metrics", "metrics-exporter-prometheus"],
        |bench| {
            let exporter = PrometheusBuilder::new().build_recorder();
            text(bench, &exporter);
            count(bench, &exporter);
            bench.note("A text holds 1000 counters of one name; figures are per counter.");
        },
    )
}

static CATALOGUE: &[Desc] = &[Desc::counter(
    "bench_events_total",
    "What the bench counts.",
    &["series"],
)];

/// Counters that differ in one label.
struct Many(Vec<(String, Counter)>);

impl Collect for Many {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        for (series, counter) in &self.0 {
            out.counter(&CATALOGUE[0], &[("series", series)], counter.get());
        }
    }
}

fn text(bench: &mut Bench, exporter: &PrometheusRecorder) {
    let registry = Registry::new();
    let many = (0..SERIES).map(|i| (i.to_string(), Counter::new()));
    let many = Many(many.collect());
    for (series, counter) in &many.0 {
        counter.increment();
        theirs(exporter, series.clone()).increment(1);
    }
    let registered = registry.register(Arc::new(many));
    let _registered = registered.expect("a valid collector");

    let rendered = exporter.handle();
    let lines = |text: &str| text.matches("bench_events_total{").count();
    assert_eq!(lines(&registry.collect().to_prometheus()), SERIES);
    assert_eq!(lines(&rendered.render()), SERIES);
    bench
        .row("text of 1000 counters")
        .batch(SERIES as u64)
        .instructions(20)
        .flow(|n| repeat(n, |_| registry.collect().to_prometheus()))
        .peer("metrics-exporter-prometheus", |n| {
            repeat(n, |_| rendered.render())
        })
        .measure();
}

fn count(bench: &mut Bench, exporter: &PrometheusRecorder) {
    let ours = Counter::new();
    let theirs = theirs(exporter, "one".to_owned());
    bench
        .row("increment, 1 thread")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| ours.increment()))
        .peer("metrics", |n| repeat(n, |_| theirs.increment(1)))
        .measure();
    bench
        .row("increment, 2 threads")
        .flow(|n| on_threads(2, n, |_| ours.increment()))
        .peer("metrics", |n| on_threads(2, n, |_| theirs.increment(1)))
        .measure();
}

/// A counter of the exporter's, held as the facade advises for hot paths.
fn theirs(exporter: &PrometheusRecorder, series: String) -> metrics::Counter {
    metrics::with_local_recorder(
        exporter,
        || metrics::counter!("bench_events_total", "series" => series),
    )
}
