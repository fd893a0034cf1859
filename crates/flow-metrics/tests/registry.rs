//! Registration, the rules of the catalogue, and what a collection holds.

mod support;

use std::sync::Arc;
use std::time::Duration;

use flow_metrics::{Desc, DescError, Gauge, RegisterError, Registry, RegistryError, Sink, Unit};
use support::{Fixed, Limiter};

const DECISIONS: &str = "flow_ratelimit_decisions_total";

#[test]
fn case_221_denied_and_allowed_are_all_requests() {
    let registry = Registry::new();
    let limiter = Limiter::new("api");
    let _kept = registry.register(limiter.clone()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for request in 0..1_000 {
                    let cell = if request % 3 == 0 {
                        &limiter.denied
                    } else {
                        &limiter.allowed
                    };
                    cell.increment();
                }
            });
        }
    });
    let now = registry.collect();
    let of = |outcome| {
        let labels = [("limiter", "api"), ("outcome", outcome)];
        now.counter(DECISIONS, &labels).unwrap()
    };
    assert_eq!(of("denied"), 4 * 334);
    assert_eq!(of("denied") + of("allowed"), 4_000);
}

#[test]
fn case_222_two_limiters_on_one_registry() {
    let registry = Registry::new();
    let (api, web) = (Limiter::new("api"), Limiter::new("web"));
    let _api = registry.register(api.clone()).unwrap();
    let web_registration = registry.register(web.clone()).unwrap();
    api.allowed.add(2);
    web.allowed.add(5);
    let allowed = |limiter| {
        let labels = [("limiter", limiter), ("outcome", "allowed")];
        registry.collect().counter(DECISIONS, &labels)
    };
    assert_eq!((allowed("api"), allowed("web")), (Some(2), Some(5)));
    drop(web_registration);
    assert_eq!((allowed("api"), allowed("web")), (Some(2), None));
}

#[test]
fn case_223_prefix_and_labels_are_honoured() {
    let registry = Registry::builder()
        .prefix("shop")
        .label("region", "eu")
        .build()
        .unwrap();
    registry.register(Limiter::new("api")).unwrap().forget();
    let now = registry.collect();
    assert!(
        now.families()
            .iter()
            .all(|family| family.name().starts_with("shop_flow_"))
    );
    assert_eq!(now.base_labels().collect::<Vec<_>>(), [("region", "eu")]);
    assert_eq!(
        now.gauge("shop_flow_ratelimit_tokens", &[("limiter", "api")]),
        Some(0.0)
    );
    assert_eq!(
        now.gauge("flow_ratelimit_tokens", &[("limiter", "api")]),
        None
    );
}

#[test]
fn case_224_a_gauge_goes_up_and_comes_back() {
    static WAITING: &[Desc] = &[Desc::gauge("flow_ratelimit_waiting", "Waiters.", &[])];
    let waiting = Arc::new(Gauge::new());
    let seen = waiting.clone();
    let registry = Registry::new();
    let collect = move |out: &mut dyn Sink| out.gauge(&WAITING[0], &[], seen.get() as f64);
    registry
        .register(Arc::new(Fixed(WAITING, collect)))
        .unwrap()
        .forget();
    let shown = || registry.collect().gauge("flow_ratelimit_waiting", &[]);
    waiting.add(1);
    waiting.add(1);
    assert_eq!(shown(), Some(2.0));
    waiting.subtract(2);
    assert_eq!(shown(), Some(0.0));
}

#[test]
fn case_225_durations_add_up() {
    let limiter = Limiter::new("api");
    limiter.waits.record_duration(Duration::from_millis(5));
    let registry = Registry::new();
    let _kept = registry.register(limiter).unwrap();
    let now = registry.collect();
    let waits = now
        .histogram("flow_ratelimit_wait_seconds", &[("limiter", "api")])
        .unwrap();
    assert_eq!(waits.count(), 1);
    assert!(waits.sum() >= 0.005);
}

#[test]
fn case_226_what_is_not_registered_shows_nothing() {
    let registry = Registry::new();
    let limiter = Limiter::new("api");
    limiter.allowed.add(7);
    let now = registry.collect();
    let names: Vec<_> = now
        .families()
        .iter()
        .map(flow_metrics::Family::name)
        .collect();
    assert_eq!(
        names,
        [
            "flow_metrics_collector_panics_total",
            "flow_metrics_rejected_samples_total"
        ]
    );
}

#[test]
fn registries_have_nothing_in_common() {
    static OTHER: &[Desc] = &[Desc::counter(DECISIONS, "Other.", &[])];
    let (one, two) = (Registry::new(), Registry::new());
    let _kept = one.register(Limiter::new("api")).unwrap();
    assert_eq!(one.collect().families().len(), 5);
    assert_eq!(two.collect().families().len(), 2);
    // A name that is taken in one is free in the other.
    let other = || Arc::new(Fixed(OTHER, |_: &mut dyn Sink| {}));
    assert!(one.register(other()).is_err());
    assert!(two.register(other()).is_ok());
}

#[test]
fn one_name_means_one_thing() {
    static AS_COUNTER: &[Desc] = &[Desc::counter("app_jobs_total", "Jobs.", &["kind"])];
    static OTHER_LABELS: &[Desc] = &[
        Desc::gauge("app_queue_bytes", "Queue.", &[]),
        Desc::counter("app_jobs_total", "Jobs.", &["class"]),
    ];
    static TWICE: &[Desc] = &[
        Desc::gauge("app_depth_bytes", "Depth.", &[]),
        Desc::histogram("app_depth_bytes", "Depth.", &[]),
    ];
    let nothing = |_: &mut dyn Sink| {};
    let registry = Registry::new();
    let first = registry
        .register(Arc::new(Fixed(AS_COUNTER, nothing)))
        .unwrap();
    let again = registry
        .register(Arc::new(Fixed(AS_COUNTER, nothing)))
        .unwrap();
    let conflict = || {
        registry
            .register(Arc::new(Fixed(OTHER_LABELS, nothing)))
            .map(drop)
    };
    let error = conflict().unwrap_err();
    let expected = RegisterError::Conflict {
        given: &OTHER_LABELS[1],
        registered: &AS_COUNTER[0],
    };
    assert_eq!(error, expected);
    assert!(error.to_string().contains("app_jobs_total"), "{error}");
    drop(first);
    assert!(
        conflict().is_err(),
        "the second user of the name is still there"
    );
    drop(again);
    assert!(conflict().is_ok(), "nobody uses the name any more");
    // Within one catalogue too.
    assert!(registry.register(Arc::new(Fixed(TWICE, nothing))).is_err());
    assert_eq!(
        registry.collect().families().len(),
        2,
        "a refused collector leaves nothing"
    );
}

#[test]
fn names_follow_the_rules() {
    let good = [
        Desc::counter("flow_pool_tasks_total", "h", &["pool"]),
        Desc::gauge("flow_pool_queue_depth", "h", &[]),
        Desc::histogram("flow_pool_queue_wait_seconds", "h", &[]),
        Desc::counter("flow_channel_spilled_bytes_total", "h", &[]),
        Desc::gauge("gateway_clients", "h", &[]),
        Desc::gauge("app2_load1_ratio", "h", &[]),
    ];
    for desc in good {
        assert_eq!(desc.check(), Ok(()), "{desc:?}");
    }
    let bad = [
        Desc::gauge("", "h", &[]),
        Desc::gauge("depth", "h", &[]),
        Desc::gauge("flow_depth", "h", &[]),
        Desc::counter("flow_pool_total", "h", &[]),
        Desc::counter("flow_pool_tasks", "h", &[]),
        Desc::gauge("flow_pool_tasks_total", "h", &[]),
        Desc::gauge("flow_pool__depth", "h", &[]),
        Desc::gauge("_flow_pool_depth", "h", &[]),
        Desc::gauge("flow_pool_depth_", "h", &[]),
        Desc::gauge("flow_Pool_depth", "h", &[]),
        Desc::gauge("flow_pool_tiefe_ü", "h", &[]),
        Desc::gauge("2flow_pool_depth", "h", &[]),
        Desc::gauge("flow:pool_depth", "h", &[]),
        Desc::gauge("flow_pool_wait_ms", "h", &[]),
        Desc::counter("flow_pool_wait_milliseconds_total", "h", &[]),
        Desc::gauge("flow_pool_load_percent", "h", &[]),
        Desc::gauge("flow_pool_wait_sum", "h", &[]),
        Desc::gauge("flow_pool_wait_bucket", "h", &[]),
        Desc::histogram("flow_pool_wait_count", "h", &[]),
    ];
    for desc in bad {
        assert!(
            matches!(desc.check(), Err(DescError::Name { .. })),
            "{desc:?}"
        );
    }
    for labels in [
        &["le"][..],
        &["quantile"],
        &["a", "a"],
        &["__name__"],
        &["Pool"],
        &[""],
    ] {
        let desc = Desc::gauge("flow_pool_depth", "h", labels);
        assert!(
            matches!(desc.check(), Err(DescError::Label { .. })),
            "{desc:?}"
        );
    }
    let mute = Desc::gauge("flow_pool_depth", "", &[]);
    assert_eq!(
        mute.check(),
        Err(DescError::NoHelp {
            name: "flow_pool_depth"
        })
    );
}

#[test]
fn the_unit_is_in_the_name() {
    let unit = |name| Desc::gauge(name, "h", &[]).unit();
    assert_eq!(unit("flow_pool_wait_seconds"), Unit::Seconds);
    assert_eq!(unit("flow_pool_written_bytes_total"), Unit::Bytes);
    assert_eq!(unit("flow_pool_load_ratio"), Unit::Ratio);
    assert_eq!(unit("flow_pool_depth"), Unit::Count);
}

#[test]
fn settings_are_checked() {
    for prefix in ["Shop", "shop_", "_", "1shop", "sh op", "läden"] {
        let error = Registry::builder().prefix(prefix).build().unwrap_err();
        assert_eq!(
            error,
            RegistryError::Prefix {
                prefix: prefix.to_owned()
            }
        );
    }
    for label in ["le", "", "Region", "a-b"] {
        let error = Registry::builder().label(label, "x").build().unwrap_err();
        assert!(
            matches!(error, RegistryError::Label { .. }),
            "{label}: {error}"
        );
    }
    assert!(
        Registry::builder()
            .label("a", "1")
            .label("a", "2")
            .build()
            .is_err()
    );
    let error = Registry::builder().max_series(0).build().unwrap_err();
    assert_eq!(error, RegistryError::ZeroMaxSeries);

    let registry = Registry::builder().label("limiter", "all").build().unwrap();
    let error = registry.register(Limiter::new("api")).unwrap_err();
    let name = "flow_ratelimit_decisions_total";
    assert_eq!(
        error,
        RegisterError::BaseLabel {
            name,
            label: "limiter"
        }
    );
}

#[test]
fn equal_series_add_up_and_of_ratios_the_larger_counts() {
    static SHARED: &[Desc] = &[
        Desc::counter("app_jobs_total", "Jobs.", &[]),
        Desc::gauge("app_queue_depth", "Depth.", &[]),
        Desc::gauge("app_load_ratio", "Load.", &[]),
        Desc::histogram("app_wait_seconds", "Wait.", &[]),
    ];
    let registry = Registry::new();
    for (count, load) in [(2_u8, 0.9), (3, 0.5)] {
        let waits = flow_metrics::Histogram::latency();
        waits.record(u64::from(count));
        let collect = move |out: &mut dyn Sink| {
            out.counter(&SHARED[0], &[], u64::from(count));
            out.gauge(&SHARED[1], &[], f64::from(count));
            out.gauge(&SHARED[2], &[], load);
            out.histogram(&SHARED[3], &[], &waits.snapshot());
        };
        registry
            .register(Arc::new(Fixed(SHARED, collect)))
            .unwrap()
            .forget();
    }
    let now = registry.collect();
    assert_eq!(now.counter("app_jobs_total", &[]), Some(5));
    assert_eq!(now.gauge("app_queue_depth", &[]), Some(5.0));
    assert_eq!(now.gauge("app_load_ratio", &[]), Some(0.9));
    assert_eq!(now.histogram("app_wait_seconds", &[]).unwrap().count(), 2);
}

#[test]
fn samples_that_do_not_fit_are_counted_not_shown() {
    static MINE: &[Desc] = &[Desc::counter("app_jobs_total", "Jobs.", &["kind"])];
    static STRAY: Desc = Desc::gauge("app_stray_bytes", "Never declared.", &[]);
    let collect = |out: &mut dyn Sink| {
        out.gauge(&STRAY, &[], 1.0);
        out.gauge(&MINE[0], &[("kind", "a")], 1.0);
        out.counter(&MINE[0], &[], 1);
        out.counter(&MINE[0], &[("class", "a")], 1);
        out.counter(&MINE[0], &[("kind", "a"), ("more", "b")], 1);
        out.counter(&MINE[0], &[("kind", "a")], 1);
    };
    let registry = Registry::new();
    registry
        .register(Arc::new(Fixed(MINE, collect)))
        .unwrap()
        .forget();
    let rejected = |now: &flow_metrics::Snapshot| {
        now.counter("flow_metrics_rejected_samples_total", &[])
            .unwrap()
    };
    let now = registry.collect();
    assert_eq!(now.counter("app_jobs_total", &[("kind", "a")]), Some(1));
    assert_eq!(rejected(&now), 5);
    assert_eq!(rejected(&registry.collect()), 10);
}

#[test]
fn series_are_limited() {
    static MINE: &[Desc] = &[Desc::counter("app_jobs_total", "Jobs.", &["user"])];
    let collect = |out: &mut dyn Sink| {
        for user in 0..50 {
            out.counter(&MINE[0], &[("user", &user.to_string())], 1);
        }
    };
    let registry = Registry::builder().max_series(10).build().unwrap();
    registry
        .register(Arc::new(Fixed(MINE, collect)))
        .unwrap()
        .forget();
    let now = registry.collect();
    let jobs = now
        .families()
        .iter()
        .find(|family| family.name() == "app_jobs_total")
        .unwrap();
    assert_eq!(jobs.series().len(), 10);
    assert_eq!(
        now.counter("flow_metrics_rejected_samples_total", &[]),
        Some(40)
    );
}

#[test]
fn a_panicking_collector_harms_no_other() {
    static MINE: &[Desc] = &[Desc::gauge("app_queue_depth", "Depth.", &[])];
    let registry = Registry::new();
    let collect = |out: &mut dyn Sink| {
        out.gauge(&MINE[0], &[], 3.0);
        panic!("expected by the test");
    };
    registry
        .register(Arc::new(Fixed(MINE, collect)))
        .unwrap()
        .forget();
    let _kept = registry.register(Limiter::new("api")).unwrap();
    let now = registry.collect();
    assert_eq!(now.gauge("app_queue_depth", &[]), Some(3.0));
    assert_eq!(
        now.gauge("flow_ratelimit_tokens", &[("limiter", "api")]),
        Some(0.0)
    );
    assert_eq!(
        now.counter("flow_metrics_collector_panics_total", &[]),
        Some(1)
    );
}

#[test]
fn a_collector_may_use_its_registry() {
    static MINE: &[Desc] = &[Desc::gauge("app_queue_depth", "Depth.", &[])];
    let registry = Registry::new();
    let inside = registry.clone();
    let collect = move |out: &mut dyn Sink| {
        let registration = inside.register(Limiter::new("inner"));
        out.gauge(&MINE[0], &[], if registration.is_ok() { 1.0 } else { 0.0 });
    };
    let registration = registry.register(Arc::new(Fixed(MINE, collect))).unwrap();
    assert_eq!(registry.collect().gauge("app_queue_depth", &[]), Some(1.0));
    // The collector holds its registry: dropping it must not deadlock either.
    drop(registration);
    assert_eq!(registry.collect().gauge("app_queue_depth", &[]), None);
}

#[test]
fn a_registration_outlives_its_registry() {
    let registry = Registry::new();
    let registration = registry.register(Limiter::new("api")).unwrap();
    drop(registry);
    drop(registration);
}
