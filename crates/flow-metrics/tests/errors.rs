//! What the errors say, word for word, what they come from, and what `{:?}` tells.

mod support;

use std::error::Error;
use std::sync::Arc;

use flow_metrics::{
    BoundsError, Counter, Desc, DescError, Gauge, RegisterError, Registry, RegistryError, Sink,
    Value,
};
use support::{Fixed, Limiter};

static REQUESTS: &[Desc] = &[Desc::counter("app_requests_total", "Requests.", &["path"])];
static OTHERS: &[Desc] = &[Desc::counter("app_requests_total", "Requests.", &[])];

#[track_caller]
fn says<E: Error>(error: &E, text: &str, source: Option<&dyn Error>) {
    assert_eq!(error.to_string(), text);
    assert_eq!(
        error.source().map(ToString::to_string),
        source.map(ToString::to_string)
    );
}

#[test]
fn of_a_catalogue() {
    let errors = [
        (
            DescError::Name {
                name: "9lives",
                problem: "must not start with a digit",
            },
            "the metric name \"9lives\" must not start with a digit",
        ),
        (
            DescError::Label {
                name: "requests_total",
                label: "le",
                problem: "is reserved",
            },
            "the label \"le\" of metric \"requests_total\" is reserved",
        ),
        (
            DescError::NoHelp {
                name: "requests_total",
            },
            "the metric \"requests_total\" has no help text",
        ),
    ];
    for (error, text) in errors {
        says(&error, text, None);
        says(&RegisterError::from(error), text, Some(&error));
    }
}

#[test]
fn of_registering() {
    let registry = Registry::new();
    let nothing = |_: &mut dyn Sink| ();
    let _kept = registry.register(Arc::new(Fixed(REQUESTS, nothing)));
    let conflict = registry.register(Arc::new(Fixed(OTHERS, nothing)));
    says(
        &conflict.map(drop).unwrap_err(),
        "the metric name \"app_requests_total\" is in use: declared as Counter with labels [], \
         registered as Counter with labels [\"path\"]",
        None,
    );
    says(
        &RegisterError::BaseLabel {
            name: "requests_total",
            label: "path",
        },
        "the label \"path\" of metric \"requests_total\" is also a base label of the registry",
        None,
    );
}

#[test]
fn of_a_registry_and_of_bounds() {
    let errors = [
        (
            RegistryError::Prefix {
                prefix: "My".to_owned(),
            },
            "the prefix \"My\" must be lower-case words joined by single `_`, without one at the \
             end",
        ),
        (
            RegistryError::Label {
                label: "le".to_owned(),
                problem: "is reserved",
            },
            "the base label \"le\" is reserved",
        ),
        (
            RegistryError::ZeroMaxSeries,
            "max_series is 0; it must be at least 1",
        ),
    ];
    for (error, text) in &errors {
        says(error, text, None);
    }
    let errors = [
        (
            BoundsError::Empty,
            "a histogram needs at least one bucket bound",
        ),
        (
            BoundsError::TooMany {
                given: 99,
                allowed: 64,
            },
            "99 bucket bounds given, at most 64 allowed",
        ),
        (
            BoundsError::NotRising { index: 2 },
            "bucket bound 2 must be finite and above the one before it",
        ),
        (
            BoundsError::Counts {
                given: 2,
                expected: 3,
            },
            "2 bucket counts given, 3 needed: one per bound and one above",
        ),
    ];
    for (error, text) in &errors {
        says(error, text, None);
    }
}

#[test]
fn cells_and_registries_show_their_state() {
    let counter = Counter::default();
    counter.add(3);
    assert_eq!(format!("{counter:?}"), "Counter(3)");
    let gauge = Gauge::default();
    gauge.add(3);
    gauge.set(-4);
    assert_eq!(format!("{gauge:?}"), "Gauge(-4)");

    let registry = Registry::default();
    let kept = registry.register(Limiter::new("api")).unwrap();
    let text = format!("{registry:?}");
    assert!(text.starts_with("Registry { prefix: "), "{text}");
    assert!(text.contains("collectors: "), "{text}");
    assert!(
        format!("{kept:?}").starts_with("Registration { id: "),
        "{kept:?}"
    );
}

#[test]
fn a_snapshot_gives_a_value_as_its_own_kind_only() {
    let registry = Registry::new();
    let limiter = Limiter::new("api");
    registry.register(limiter.clone()).unwrap().forget();
    limiter.allowed.add(2);
    limiter.denied.increment();
    *limiter.tokens.lock().unwrap() = 1.5;
    limiter.waits.record(7);
    let now = registry.collect();
    let gauge = ("flow_ratelimit_tokens", [("limiter", "api")]);
    let waits = ("flow_ratelimit_wait_seconds", [("limiter", "api")]);
    assert_eq!(now.gauge(gauge.0, &gauge.1), Some(1.5));
    assert_eq!(now.counter(gauge.0, &gauge.1), None);
    assert!(now.histogram(gauge.0, &gauge.1).is_none());
    assert_eq!(now.histogram(waits.0, &waits.1).unwrap().count(), 1);
    assert_eq!(now.gauge(waits.0, &waits.1), None);
    assert_eq!(now.gauge("nothing", &[]), None);

    let tokens = now
        .families()
        .iter()
        .find(|family| family.name() == gauge.0);
    let tokens = tokens.unwrap();
    assert_eq!(tokens.desc().name(), gauge.0);
    assert_eq!(tokens.series()[0].value(), &Value::Gauge(1.5));
}
