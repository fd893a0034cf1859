//! Metrics cases 221 to 224 and 226: what a registry shows of a bucket.
#![cfg(all(feature = "metrics", not(loom)))]

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::task::{Context, Waker};

use flow_metrics::{Collect, Desc, HistogramSnapshot, Registry, Sink};
use flow_ratelimit::{
    Aimd, CircuitBreaker, ClassedLimiter, Composite, ConcurrencyLimiter, FairShare, KeyedLimiter,
    LeakyBucket, MultiBucket, Pacer, Rate, TokenBucket,
};
use flow_rt::{ManualClock, sim};

/// Every sample by its name and labels.
#[derive(Default)]
struct Samples(Mutex<BTreeMap<String, f64>>);

impl Samples {
    fn of(collector: &dyn Collect) -> Self {
        let mut samples = Self::default();
        collector.collect(&mut samples);
        samples
    }

    fn take(&self, desc: &Desc, labels: &[(&'static str, &str)], value: f64) {
        let labels: Vec<_> = labels.iter().map(|(_, value)| *value).collect();
        let key = format!("{}/{}", desc.name(), labels.join("/"));
        self.0.lock().expect("not poisoned").insert(key, value);
    }

    /// Of a bucket all samples are whole numbers.
    fn get(&self, key: &str) -> Option<String> {
        self.0
            .lock()
            .expect("not poisoned")
            .get(key)
            .map(f64::to_string)
    }
}

impl Sink for Samples {
    fn counter(&mut self, desc: &'static Desc, labels: &[(&'static str, &str)], value: u64) {
        self.take(desc, labels, value as f64);
    }

    fn gauge(&mut self, desc: &'static Desc, labels: &[(&'static str, &str)], value: f64) {
        self.take(desc, labels, value);
    }

    fn histogram(&mut self, _: &'static Desc, _: &[(&'static str, &str)], _: &HistogramSnapshot) {}
}

fn named(name: &'static str) -> TokenBucket {
    let bucket = TokenBucket::builder().rate(Rate::per_second(100)).burst(3);
    bucket.name(name).build().expect("valid")
}

#[test]
fn mt_221_222_decisions_add_up_for_each_limiter() {
    let (api, web) = (named("api"), named("web"));
    let registry = Registry::new();
    registry
        .register(api.collector())
        .expect("its catalogue is sound")
        .forget();
    registry
        .register(web.collector())
        .expect("a second one too")
        .forget();
    for _ in 0..10 {
        let _ = api.try_acquire();
    }
    let samples = Samples::of(&*api.collector());
    let decisions = |decision| {
        let key = format!("flow_ratelimit_decisions_total/api/{decision}");
        let shown = samples.get(&key).expect("shown");
        shown.parse::<u64>().expect("a whole number")
    };
    assert_eq!(decisions("granted") + decisions("denied"), 10);
    assert!(decisions("granted") >= 3);
    let web = Samples::of(&*web.collector());
    assert_eq!(
        web.get("flow_ratelimit_decisions_total/web/granted"),
        Some("0".to_owned())
    );
    assert_eq!(
        web.get("flow_ratelimit_available_tokens/web"),
        Some("3".to_owned())
    );
}

#[test]
fn mt_224_waiters_show_while_they_wait() {
    sim::check(0..20, |_rt| async move {
        let bucket = named("api");
        bucket.try_acquire_n(3).expect("full");
        let collector = bucket.collector();
        let waiting = || Samples::of(&*collector).get("flow_ratelimit_waiting_callers/api");
        let mut waits = [Box::pin(bucket.acquire()), Box::pin(bucket.acquire())];
        for wait in &mut waits {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(wait.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(waiting(), Some("2".to_owned()));
        for wait in waits {
            wait.await.expect("open");
        }
        assert_eq!(waiting(), Some("0".to_owned()));
    });
}

#[test]
fn mt_226_uncounted_buckets_show_no_decisions() {
    let bucket = TokenBucket::builder()
        .rate("1/s")
        .burst(1)
        .counted(false)
        .build()
        .expect("valid");
    let samples = Samples::of(&*bucket.collector());
    assert_eq!(
        samples.get("flow_ratelimit_decisions_total/token_bucket/granted"),
        None
    );
    assert_eq!(
        samples.get("flow_ratelimit_burst_tokens/token_bucket"),
        Some("1".to_owned())
    );
}

/// What is made of a bucket shows as one, but is not added up with those that nobody named either.
#[test]
fn mt_221_222_of_leaky_buckets_and_pacers() {
    let leaky = LeakyBucket::new("1/h", 3).expect("valid");
    let pacer = Pacer::new("1/h", 5).expect("valid");
    leaky.try_acquire_n(2).expect("there is room");
    pacer.try_acquire().expect("the first");
    pacer.try_acquire().expect_err("the second");
    for (collector, name, decisions, tokens) in [
        (leaky.collector(), "leaky_bucket", ["1", "0"], ["1", "3"]),
        (pacer.collector(), "pacer", ["1", "1"], ["0", "1"]),
    ] {
        let samples = Samples::of(&*collector);
        for (sample, value) in [
            (format!("decisions_total/{name}/granted"), decisions[0]),
            (format!("decisions_total/{name}/denied"), decisions[1]),
            (format!("waiting_callers/{name}"), "0"),
            (format!("available_tokens/{name}"), tokens[0]),
            (format!("burst_tokens/{name}"), tokens[1]),
        ] {
            let shown = samples.get(&format!("flow_ratelimit_{sample}"));
            assert_eq!(shown.as_deref(), Some(value), "{sample}");
        }
        let other = samples.get("flow_ratelimit_burst_tokens/token_bucket");
        assert_eq!(other, None);
    }
    let leaky = LeakyBucket::builder().rate("1/h").capacity(3);
    let leaky = leaky.name("api").build().expect("valid");
    let pacer = Pacer::builder().rate("1/h").capacity(3);
    let pacer = pacer.name("api").build().expect("valid");
    for collector in [leaky.collector(), pacer.collector()] {
        let samples = Samples::of(&*collector);
        assert!(samples.get("flow_ratelimit_burst_tokens/api").is_some());
    }
}

#[test]
fn mt_221_222_224_of_each_class_of_a_limiter() {
    let limiter = ClassedLimiter::builder().limit(4).class("high", 3);
    let limiter = limiter.class("low", 0).name("db").build().expect("valid");
    let other = ConcurrencyLimiter::builder().limit(1).name("other");
    let other = other.build().expect("valid");
    let registry = Registry::new();
    for collector in [limiter.collector(), other.collector()] {
        let registered = registry.register(collector);
        registered.expect("they share two names").forget();
    }
    let (high, low) = (
        limiter.class("high").expect("it is there"),
        limiter.class("low").expect("it is there"),
    );
    let permit = low.try_acquire_n(3).expect("free");
    assert!(low.try_acquire_n(2).is_err());
    let mut wait = std::pin::pin!(high.acquire_n(2));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(wait.as_mut().poll(&mut cx).is_pending());
    let samples = Samples::of(&*limiter.collector());
    for (name, value) in [
        ("in_flight_permits/db", "3"),
        ("limit_permits/db", "4"),
        ("class_decisions_total/db/low/granted", "1"),
        ("class_decisions_total/db/low/denied", "1"),
        ("class_decisions_total/db/high/granted", "0"),
        ("class_waiting_callers/db/high", "1"),
        ("class_in_flight_permits/db/low", "3"),
        ("class_share_permits/db/high", "3"),
    ] {
        let shown = samples.get(&format!("flow_ratelimit_{name}"));
        assert_eq!(shown.as_deref(), Some(value), "{name}");
    }
    drop(permit);

    let uncounted = ClassedLimiter::builder().limit(1).class("a", 0);
    let uncounted = uncounted.counted(false).build().expect("valid");
    let samples = Samples::of(&*uncounted.collector());
    let decisions = "flow_ratelimit_class_decisions_total/classed_limiter/a/granted";
    assert_eq!(samples.get(decisions), None);
}

#[test]
fn mt_221_222_224_of_a_concurrency_limiter() {
    let limiter = ConcurrencyLimiter::builder().limit(2).name("db");
    let limiter = limiter.build().expect("valid");
    let registry = Registry::new();
    for collector in [limiter.collector(), named("api").collector()] {
        let registered = registry.register(collector);
        registered.expect("they share two names").forget();
    }
    let permit = limiter.try_acquire_n(2).expect("free");
    assert!(limiter.try_acquire().is_err());
    let mut wait = std::pin::pin!(limiter.acquire());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(wait.as_mut().poll(&mut cx).is_pending());
    let shown = |name: &str| {
        let samples = Samples::of(&*limiter.collector());
        samples
            .get(&format!("flow_ratelimit_{name}"))
            .expect("shown")
    };
    assert_eq!(shown("decisions_total/db/granted"), "1");
    assert_eq!(shown("decisions_total/db/denied"), "1");
    assert_eq!(shown("waiting_callers/db"), "1");
    assert_eq!(shown("in_flight_permits/db"), "2");
    assert_eq!(shown("limit_permits/db"), "2");
    drop(permit);
    assert_eq!(shown("waiting_callers/db"), "0");
    assert_eq!(shown("in_flight_permits/db"), "1");
}

#[test]
fn of_a_circuit_breaker() {
    let breaker = CircuitBreaker::builder().minimum_calls(4).name("db");
    let breaker = breaker.build().expect("valid");
    let registry = Registry::new();
    let registered = registry.register(breaker.collector());
    registered.expect("its catalogue is sound").forget();
    let shown = |name: &str| {
        let samples = Samples::of(&*breaker.collector());
        let key = format!("flow_ratelimit_breaker_{name}");
        samples.get(&key).expect("shown")
    };
    assert_eq!(shown("state/db/closed"), "1");
    assert_eq!(shown("failure_ratio/db"), "0");
    for failed in [false, true, false, true] {
        let permit = breaker.try_acquire().expect("closed");
        if failed {
            permit.failure();
        } else {
            permit.success();
        }
    }
    assert!(breaker.try_acquire().is_err());
    assert_eq!(shown("state/db/closed"), "0");
    assert_eq!(shown("state/db/open"), "1");
    assert_eq!(shown("failure_ratio/db"), "0.5");
    assert_eq!(shown("slow_ratio/db"), "0");
    assert_eq!(shown("openings_total/db"), "1");
    assert_eq!(shown("slow_calls_total/db"), "0");
    for (outcome, calls) in [
        ("success", 2),
        ("failure", 2),
        ("ignored", 0),
        ("rejected", 1),
    ] {
        let key = format!("calls_total/db/{outcome}");
        assert_eq!(shown(&key), calls.to_string());
    }
}

#[test]
fn an_adaptive_limiter_shows_its_decisions_too() {
    let clock = ManualClock::new();
    let limiter = ConcurrencyLimiter::adaptive(Aimd::default())
        .range(1..=100)
        .initial(1)
        .min_samples(1)
        .name("db")
        .clock(clock.clone());
    let limiter = limiter.build().expect("valid");
    let registry = Registry::new();
    let fixed = ConcurrencyLimiter::new(1).expect("valid");
    for collector in [limiter.collector(), fixed.collector()] {
        let registered = registry.register(collector);
        registered.expect("they share four names").forget();
    }
    let rejected = registry.collect();
    let rejected = rejected.counter("flow_metrics_rejected_samples_total", &[]);
    assert_eq!(rejected, Some(0));
    let permit = limiter.try_acquire().expect("free");
    clock.advance(std::time::Duration::from_millis(250));
    permit.success();
    let shown =
        |name: &str| Samples::of(&*limiter.collector()).get(&format!("flow_ratelimit_{name}"));
    assert_eq!(shown("decisions_total/db/granted").as_deref(), Some("1"));
    assert_eq!(shown("limit_permits/db").as_deref(), Some("2"));
    assert_eq!(shown("limit_changes_total/db/raised").as_deref(), Some("1"));
    assert_eq!(
        shown("limit_changes_total/db/lowered").as_deref(),
        Some("0")
    );
    assert_eq!(shown("windows_total/db").as_deref(), Some("1"));
    assert_eq!(shown("window_latency_seconds/db").as_deref(), Some("0.25"));
    assert_eq!(shown("sampled_failures_total/db").as_deref(), Some("0"));
    assert_eq!(shown("limit_range_permits/db/least").as_deref(), Some("1"));
    assert_eq!(shown("limit_range_permits/db/most").as_deref(), Some("100"));
}

#[test]
fn a_multi_bucket_shows_each_limit_by_its_place() {
    let builder = MultiBucket::builder().limits(["1/h burst 3", "1/h burst 8"]);
    let bucket = builder.name("api").build().expect("valid");
    let registry = Registry::new();
    registry
        .register(bucket.collector())
        .expect("its catalogue is sound")
        .forget();
    bucket.try_acquire_n(2).expect("full");
    bucket.try_acquire_n(2).expect_err("one is left");
    let samples = Samples::of(&*bucket.collector());
    for (key, value) in [
        ("decisions_total/api/granted", "1"),
        ("decisions_total/api/denied", "1"),
        ("waiting_callers/api", "0"),
        ("available_tokens/api/0", "1"),
        ("available_tokens/api/1", "6"),
        ("burst_tokens/api/1", "8"),
    ] {
        let shown = samples.get(&format!("flow_ratelimit_multi_{key}"));
        assert_eq!(shown.as_deref(), Some(value), "{key}");
    }
}

#[test]
fn a_composite_shows_each_limit_by_its_place_and_no_key() {
    let clients = KeyedLimiter::<str>::new("1/h", 2, 100).expect("valid");
    let all = named("all");
    let builder = Composite::builder((clients.key("anna"), &all));
    let api = builder.name("api").build().expect("valid");
    let other = Composite::builder([&all]).counted(false).build();
    let other = other.expect("valid");
    let registry = Registry::new();
    for collector in [api.collector(), other.collector(), all.collector()] {
        let registered = registry.register(collector);
        registered.expect("its catalogue is sound").forget();
    }
    for client in ["anna", "anna", "anna", "ben", "ben"] {
        let of_client = api.with_limits((clients.key(client), &all)).expect("two");
        let _ = of_client.try_acquire();
    }
    let samples = Samples::of(&*api.collector());
    for (key, value) in [
        ("decisions_total/api/granted", "3"),
        ("decisions_total/api/denied", "2"),
        ("denials_total/api/0", "1"),
        ("denials_total/api/1", "1"),
        ("waiting_callers/api", "0"),
    ] {
        let shown = samples.get(&format!("flow_ratelimit_composite_{key}"));
        assert_eq!(shown.as_deref(), Some(value), "{key}");
    }
    let shown = samples.0.lock().expect("not poisoned").len();
    assert_eq!(shown, 5, "no key");
    let samples = Samples::of(&*other.collector());
    let waiting = samples.get("flow_ratelimit_composite_waiting_callers/composite");
    assert_eq!(waiting.as_deref(), Some("0"));
    assert_eq!(samples.0.lock().expect("not poisoned").len(), 1);
    let plain = Samples::of(&*Composite::new([&all]).collector());
    assert!(plain.0.lock().expect("not poisoned").is_empty());
    let rejected = registry.collect();
    let rejected = rejected.counter("flow_metrics_rejected_samples_total", &[]);
    assert_eq!(rejected, Some(0));
}

#[test]
fn a_fair_share_shows_each_child_by_its_name() {
    let builder = FairShare::builder().rate("0/s burst 12").name("api");
    let share = builder.child("web", 2).child("batch", 1).build();
    let share = share.expect("valid");
    let registry = Registry::new();
    let registered = registry.register(share.collector());
    registered.expect("its catalogue is sound").forget();
    let (web, batch) = (share.child("web"), share.child("batch"));
    let (web, batch) = (web.expect("it"), batch.expect("it"));
    // Two more than its part has room for.
    batch.try_acquire_n(2).expect("full");
    web.try_acquire_n(3).expect("full");
    batch.refund(4);
    batch.try_acquire_n(4).expect("full again");
    web.try_acquire_n(7)
        .expect("its own, and two that were left");
    web.try_acquire().expect_err("none is left");
    let samples = Samples::of(&*share.collector());
    for (key, value) in [
        ("pool_available_tokens/api", "0"),
        ("pool_burst_tokens/api", "12"),
        ("decisions_total/api/web/granted", "2"),
        ("decisions_total/api/web/denied", "1"),
        ("decisions_total/api/batch/granted", "2"),
        ("borrowed_tokens_total/api/web", "2"),
        ("borrowed_tokens_total/api/batch", "0"),
        ("waiting_callers/api/web", "0"),
        ("available_tokens/api/web", "0"),
        ("weight_parts/api/web", "2"),
    ] {
        let shown = samples.get(&format!("flow_ratelimit_share_{key}"));
        assert_eq!(shown.as_deref(), Some(value), "{key}");
    }
}

#[test]
fn a_keyed_limiter_shows_numbers_and_no_key() {
    let builder = KeyedLimiter::<str>::builder().rate("1/h").burst(2);
    let limiter = builder.max_keys(8).name("clients").build().expect("valid");
    for client in ["anna", "ben"] {
        for _ in 0..3 {
            let _ = limiter.try_acquire(client);
        }
    }
    let registry = Registry::new();
    let registered = registry.register(limiter.collector());
    registered.expect("its catalogue is sound").forget();
    let samples = Samples::of(&*limiter.collector());
    for (name, value) in [
        ("decisions_total/clients/granted", "4"),
        ("decisions_total/clients/denied", "2"),
        ("evicted_keys_total/clients", "0"),
        ("live_keys/clients", "2"),
        ("max_keys/clients", "8"),
        ("burst_tokens/clients", "2"),
        ("waiting_callers/clients", "0"),
    ] {
        let shown = samples.get(&format!("flow_ratelimit_{name}"));
        assert_eq!(shown.as_deref(), Some(value), "{name}");
    }
    let all = samples.0.lock().expect("not poisoned");
    assert!(all.keys().all(|key| !key.contains("anna")), "{all:?}");
}
