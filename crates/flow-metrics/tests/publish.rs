//! Export through the `metrics` facade, to a recorder that remembers everything.

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use flow_metrics::{Desc, Histogram, Registry, Sink};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use proptest::prelude::*;
use support::{Fixed, Limiter};

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    counters: HashMap<String, u64>,
    gauges: HashMap<String, f64>,
    samples: HashMap<String, Vec<f64>>,
    units: HashMap<String, Option<Unit>>,
}

impl Memory {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap()
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, help: &SharedString) {
        assert!(!help.is_empty());
        self.told().units.insert(name.as_str().to_owned(), unit);
    }
}

/// The name and the labels, as in `name,a=1,b=2`.
fn text(key: &Key) -> String {
    let labels = key
        .labels()
        .map(|label| format!(",{}={}", label.key(), label.value()));
    labels.fold(key.name().to_owned(), |text, label| text + &label)
}

impl Recorder for Memory {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&key, unit, &help);
    }
    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&key, unit, &help);
    }
    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&key, unit, &help);
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Cell(self.clone(), text(key))))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(Cell(self.clone(), text(key))))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::from_arc(Arc::new(Cell(self.clone(), text(key))))
    }
}

struct Cell(Memory, String);

impl CounterFn for Cell {
    fn increment(&self, by: u64) {
        *self.0.told().counters.entry(self.1.clone()).or_default() += by;
    }
    fn absolute(&self, _: u64) {
        panic!("differences are sent");
    }
}

impl GaugeFn for Cell {
    fn increment(&self, _: f64) {
        panic!("values are sent");
    }
    fn decrement(&self, _: f64) {
        panic!("values are sent");
    }
    fn set(&self, value: f64) {
        self.0.told().gauges.insert(self.1.clone(), value);
    }
}

impl HistogramFn for Cell {
    fn record(&self, value: f64) {
        self.0
            .told()
            .samples
            .entry(self.1.clone())
            .or_default()
            .push(value);
    }
}

#[test]
fn changes_are_sent_once() {
    let memory = Memory::default();
    let registry = Registry::builder()
        .prefix("shop")
        .label("region", "eu")
        .build()
        .unwrap();
    let limiter = Limiter::new("api");
    let _kept = registry.register(limiter.clone()).unwrap();
    let publish = || metrics::with_local_recorder(&memory, || assert!(registry.publish()));

    limiter.allowed.add(3);
    *limiter.tokens.lock().unwrap() = 7.5;
    limiter.waits.record_duration(Duration::from_millis(3));
    publish();
    let allowed = "shop_flow_ratelimit_decisions_total,region=eu,limiter=api,outcome=allowed";
    let tokens = "shop_flow_ratelimit_tokens,region=eu,limiter=api";
    let waits = "shop_flow_ratelimit_wait_seconds,region=eu,limiter=api";
    assert_eq!(memory.told().counters[allowed], 3);
    assert!((memory.told().gauges[tokens] - 7.5).abs() < 1e-9);
    let sent = memory.told().samples[waits].clone();
    assert!(
        matches!(&*sent, [value] if (value - 0.003).abs() < 1e-9),
        "{sent:?}"
    );
    let units = memory.told().units.clone();
    assert_eq!(
        units["shop_flow_ratelimit_wait_seconds"],
        Some(Unit::Seconds)
    );

    publish();
    assert_eq!(memory.told().counters[allowed], 3);
    assert_eq!(memory.told().samples[waits].len(), 1);

    limiter.allowed.add(4);
    limiter.waits.record_duration(Duration::from_secs(100));
    publish();
    assert_eq!(memory.told().counters[allowed], 7);
    let sent = memory.told().samples[waits].clone();
    assert_eq!(sent.len(), 2);
    assert!((sent[1] - 100.0).abs() < 1e-6, "{sent:?}");
}

#[test]
fn a_counter_that_fell_starts_from_zero() {
    let memory = Memory::default();
    let registry = Registry::new();
    let publish = || metrics::with_local_recorder(&memory, || assert!(registry.publish()));
    let allowed = "flow_ratelimit_decisions_total,limiter=api,outcome=allowed";

    let limiter = Limiter::new("api");
    let registration = registry.register(limiter.clone()).unwrap();
    limiter.allowed.add(10);
    publish();
    drop(registration);
    let replaced = Limiter::new("api");
    let registration = registry.register(replaced.clone()).unwrap();
    replaced.allowed.add(4);
    publish();
    assert_eq!(memory.told().counters[allowed], 14);

    // Gone for one publication, then back.
    drop(registration);
    publish();
    let _kept = registry.register(replaced.clone()).unwrap();
    replaced.allowed.add(1);
    publish();
    assert_eq!(memory.told().counters[allowed], 19);
}

#[test]
fn what_was_missing_for_a_while_is_not_sent_again() {
    static MINE: &[Desc] = &[
        Desc::counter("app_hits_total", "Hits.", &["page"]),
        Desc::histogram("app_size_bytes", "Size.", &["page"]),
    ];
    #[derive(Clone, Copy, Debug)]
    enum Round {
        Whole,
        Panic,
        /// Another series takes the only place.
        Rejected,
        LeftOut,
    }
    let round = Arc::new(Mutex::new(Round::Whole));
    let hits = Arc::new(AtomicU64::new(0));
    let sizes = Arc::new(Histogram::values(&[10, 100]).unwrap());
    let (now, count, shown) = (round.clone(), hits.clone(), sizes.clone());
    let collect = move |out: &mut dyn Sink| {
        let now = *now.lock().unwrap();
        match now {
            Round::Whole => {}
            Round::Panic => panic!("expected by the test"),
            Round::LeftOut => return,
            Round::Rejected => {
                out.counter(&MINE[0], &[("page", "b")], 0);
                let none = Histogram::values(&[10, 100]).unwrap().snapshot();
                out.histogram(&MINE[1], &[("page", "b")], &none);
            }
        }
        out.counter(&MINE[0], &[("page", "a")], count.load(Ordering::Relaxed));
        out.histogram(&MINE[1], &[("page", "a")], &shown.snapshot());
    };
    let registry = Registry::builder().max_series(1).build().unwrap();
    registry
        .register(Arc::new(Fixed(MINE, collect)))
        .unwrap()
        .forget();
    let memory = Memory::default();
    let publish = |now| {
        *round.lock().unwrap() = now;
        metrics::with_local_recorder(&memory, || assert!(registry.publish()));
    };
    let mut expected = 0;
    for missing in [Round::Panic, Round::Rejected, Round::LeftOut] {
        for now in [Round::Whole, missing, missing, Round::Whole] {
            hits.fetch_add(1, Ordering::Relaxed);
            sizes.record(5);
            expected += 1;
            publish(now);
        }
        let told = memory.told();
        assert_eq!(
            told.counters["app_hits_total,page=a"], expected,
            "{missing:?}"
        );
        let samples = told.samples["app_size_bytes,page=a"].len();
        assert_eq!(samples as u64, expected, "{missing:?}");
    }
}

#[test]
fn a_name_over_its_limit_hides_no_restart() {
    static MINE: &[Desc] = &[Desc::counter("app_hits_total", "Hits.", &["page"])];
    let hits = Arc::new(AtomicU64::new(50));
    let shown = hits.clone();
    let collect = move |out: &mut dyn Sink| {
        out.counter(&MINE[0], &[("page", "a")], shown.load(Ordering::Relaxed));
        out.counter(&MINE[0], &[("page", "no room")], 1);
    };
    let registry = Registry::builder().max_series(1).build().unwrap();
    registry
        .register(Arc::new(Fixed(MINE, collect)))
        .unwrap()
        .forget();
    let memory = Memory::default();
    for now in [50, 2, 5] {
        hits.store(now, Ordering::Relaxed);
        metrics::with_local_recorder(&memory, || assert!(registry.publish()));
    }
    assert_eq!(memory.told().counters["app_hits_total,page=a"], 55);
}

#[test]
fn who_takes_the_place_of_one_that_has_gone_counts_from_zero() {
    let registry = Registry::new();
    let memory = Memory::default();
    let publish = || metrics::with_local_recorder(&memory, || assert!(registry.publish()));
    let limiter = |name: &str, allowed: u64| {
        let limiter = Limiter::new(name);
        limiter.allowed.add(allowed);
        limiter.waits.record_duration(Duration::from_millis(5));
        registry.register(limiter).unwrap()
    };
    let other = limiter("other", 1);
    let first = limiter("api", 100);
    publish();
    drop(first);
    publish();
    let second = limiter("api", 150);
    publish();
    publish();
    let told = memory.told();
    let allowed = |name| {
        let key = format!("flow_ratelimit_decisions_total,limiter={name},outcome=allowed");
        told.counters[&key]
    };
    assert_eq!((allowed("api"), allowed("other")), (250, 1));
    let waits = &told.samples["flow_ratelimit_wait_seconds,limiter=api"];
    assert_eq!(waits.len(), 2);
    drop((other, second));
}

#[test]
fn a_sum_that_is_half_handed_over_did_not_fall() {
    static MINE: &[Desc] = &[
        Desc::counter("app_hits_total", "Hits.", &[]),
        Desc::histogram("app_size_bytes", "Size.", &[]),
    ];
    let broken = Arc::new(AtomicBool::new(false));
    let registry = Registry::new();
    let sizes = Histogram::values(&[10]).unwrap();
    sizes.record(5);
    for may_break in [false, true] {
        let (broken, sizes) = (broken.clone(), sizes.snapshot());
        let collect = move |out: &mut dyn Sink| {
            assert!(
                !(may_break && broken.load(Ordering::Relaxed)),
                "expected by the test"
            );
            out.counter(&MINE[0], &[], 3);
            out.histogram(&MINE[1], &[], &sizes);
        };
        registry
            .register(Arc::new(Fixed(MINE, collect)))
            .unwrap()
            .forget();
    }
    let memory = Memory::default();
    for now in [false, true, false] {
        broken.store(now, Ordering::Relaxed);
        metrics::with_local_recorder(&memory, || assert!(registry.publish()));
    }
    let told = memory.told();
    assert_eq!(told.counters["app_hits_total"], 6);
    assert_eq!(told.samples["app_size_bytes"].len(), 2);
}

#[test]
fn publications_do_not_overlap() {
    static MINE: &[Desc] = &[Desc::gauge(
        "app_nested_bytes",
        "Whether it was let in.",
        &[],
    )];
    let registry = Registry::new();
    let inside = registry.clone();
    let collect = move |out: &mut dyn Sink| {
        out.gauge(&MINE[0], &[], f64::from(u8::from(inside.publish())));
    };
    registry
        .register(Arc::new(Fixed(MINE, collect)))
        .unwrap()
        .forget();
    let memory = Memory::default();
    metrics::with_local_recorder(&memory, || assert!(registry.publish()));
    assert!(memory.told().gauges["app_nested_bytes"].abs() < 1e-9);
    assert!(registry.publish(), "the first one is over");
}

proptest! {
    /// What a recorder with the same bounds gets has the same buckets, and the same sum.
    #[test]
    fn samples_keep_buckets_and_sum(
        rounds in proptest::collection::vec(proptest::collection::vec(0_u64..150, 0..20), 1..4),
    ) {
        static MINE: &[Desc] = &[Desc::histogram("app_size_bytes", "Size.", &[])];
        const BOUNDS: [u64; 5] = [0, 7, 20, 64, 100];
        let histogram = Arc::new(Histogram::values(&BOUNDS).unwrap());
        let shown = histogram.clone();
        let collect = move |out: &mut dyn Sink| out.histogram(&MINE[0], &[], &shown.snapshot());
        let registry = Registry::new();
        registry.register(Arc::new(Fixed(MINE, collect))).unwrap().forget();
        let memory = Memory::default();
        for round in &rounds {
            for &value in round {
                histogram.record(value);
            }
            metrics::with_local_recorder(&memory, || registry.publish());
        }
        let sent = memory.told().samples.get("app_size_bytes").cloned().unwrap_or_default();
        let mut counts = vec![0; BOUNDS.len() + 1];
        for value in &sent {
            let fits = |bound: &u64| *value <= *bound as f64;
            counts[BOUNDS.iter().position(fits).unwrap_or(BOUNDS.len())] += 1;
        }
        let now = histogram.snapshot();
        prop_assert_eq!(&counts[..], now.counts());
        let sum: f64 = sent.iter().sum();
        prop_assert!((sum - now.sum()).abs() < 1e-3, "{} instead of {}", sum, now.sum());
    }
}
