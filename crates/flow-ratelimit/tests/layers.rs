//! Layers in front of services: what is held when a service is ready, and what those hear who may
//! not go.
#![cfg(all(not(loom), feature = "tower", feature = "http"))]

#[path = "support/structured.rs"]
mod structured;

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_ratelimit::fields::Policy;
use flow_ratelimit::{
    AdaptiveLayer, Aimd, CallRejected, CircuitBreaker, CircuitBreakerLayer, Composite,
    ConcurrencyLayer, ConcurrencyLimiter, Denied, KeyedLimiter, LimitError, PermitError, Rate,
    RateLimitLayer, TokenBucket, Verdict, WithoutKey,
};
use flow_rt::{ManualClock, TestRuntime, block_on};
use http::{HeaderMap, Request, Response, StatusCode};
use structured::{numbers, parsed};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

flow_rt::on_every_runtime! {
    seeds 0..30;
    those_who_wait_go_in_their_order,
    a_wait_that_cannot_suffice_is_none,
    a_wait_ends_though_the_rate_falls,
    a_wait_behind_others_that_ends_says_when_its_turn_is,
    a_key_waits_for_its_own_turn,
    a_permit_is_waited_for_up_to_a_limit,
    a_service_that_waits_gives_its_place_up,
    a_token_that_was_not_taken_does_not_come_back,
    a_token_that_was_waited_for_comes_back_though_none_is_missing,
}

/// A bucket by a clock that stands until it is moved.
fn bucket(rate: &str, burst: u64) -> (TokenBucket<ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let builder = TokenBucket::builder().rate(rate).burst(burst);
    (builder.clock(clock.clone()).build().unwrap(), clock)
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// What a future says that has no reason to wait.
fn now<F: Future>(future: F) -> F::Output {
    match poll(future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn ready<S: Service<R>, R>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

/// Says its number plus one.
fn plus_one()
-> impl Service<u32, Response = u32, Error = io::Error, Future: Send> + Clone + Send + Sync {
    service_fn(async |n: u32| Ok(n + 1))
}

/// Says the path that it was asked for.
fn echo() -> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync {
    service_fn(async |request: Request<()>| Ok(Response::new(request.uri().path().to_owned())))
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

#[test]
fn a_service_that_is_ready_holds_a_token() {
    let (bucket, _clock) = bucket("1/h", 3);
    let mut service = RateLimitLayer::new(&bucket).fail().layer(plus_one());
    assert_eq!(bucket.available(), 3, "nobody has asked");
    for _ in 0..3 {
        assert!(ready(&mut service).is_ready());
        assert_eq!(
            bucket.available(),
            2,
            "one token, however often it is asked"
        );
    }
    let clone = service.clone();
    assert_eq!(bucket.available(), 2, "a clone has none yet");
    drop(clone);
    assert_eq!(bucket.available(), 2);

    assert_eq!(now(service.call(6)).unwrap(), 7);
    assert_eq!(bucket.available(), 2, "it went with the call");
    assert!(ready(&mut service).is_ready());
    assert_eq!(bucket.available(), 1);
    drop(service);
    assert_eq!(bucket.available(), 2, "it was not used");
}

#[test]
fn a_call_that_is_dropped_has_spent_its_token() {
    let (bucket, _clock) = bucket("1/h", 1);
    let mut service = RateLimitLayer::new(&bucket).fail().layer(plus_one());
    assert!(ready(&mut service).is_ready());
    drop(service.call(6));
    drop(service);
    assert_eq!(bucket.available(), 0);
}

#[test]
fn denied_is_what_the_call_says_and_the_service_stays_usable() {
    let (bucket, clock) = bucket("1/s", 1);
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let mut service = RateLimitLayer::new(&bucket)
        .fail()
        .layer(service_fn(move |n: u32| {
            counted.fetch_add(1, Relaxed);
            async move { Ok::<_, io::Error>(n + 1) }
        }));
    assert!(matches!(ready(&mut service), Poll::Ready(Ok(()))));
    assert_eq!(now(service.call(1)).unwrap(), 2);
    assert!(matches!(ready(&mut service), Poll::Ready(Ok(()))));
    let denied = now(service.call(2)).unwrap_err();
    assert_eq!(denied.retry_after(), Some(SECOND));
    assert!(denied.into_inner().is_none());
    // A denial from before is not held against a call from after.
    assert!(ready(&mut service).is_ready());
    clock.advance(SECOND);
    assert!(ready(&mut service).is_ready());
    assert_eq!(now(service.call(3)).unwrap(), 4);
    assert_eq!(calls.load(Relaxed), 2);
}

#[test]
fn a_call_without_readiness_takes_what_there_is() {
    let (bucket, _clock) = bucket("1/h", 1);
    let mut service = RateLimitLayer::new(&bucket).fail().layer(plus_one());
    assert_eq!(now(service.call(1)).unwrap(), 2);
    assert!(now(service.call(1)).is_err());
    assert_eq!(bucket.available(), 0);
}

#[test]
fn all_services_of_a_layer_share_the_limit() {
    let (bucket, _clock) = bucket("1/h", 5);
    let layer = RateLimitLayer::new(&bucket).fail();
    let services = [
        layer.layer(plus_one()),
        layer.clone().layer(plus_one()),
        layer.layer(plus_one()).clone(),
    ];
    let asked = services.iter().cycle().take(30);
    let granted = asked.filter(|it| now((*it).clone().oneshot(0)).is_ok());
    assert_eq!(granted.count(), 5);
}

#[test]
fn the_errors_of_a_service_are_its_own() {
    let (bucket, _clock) = bucket("1/h", 5);
    let failing = service_fn(async |_: u32| Err::<(), _>(io::Error::other("broken")));
    let service = RateLimitLayer::new(&bucket).fail().layer(failing);
    let error = now(service.clone().oneshot(0)).unwrap_err();
    assert_eq!(error.to_string(), "broken");
    assert!(error.denied().is_none() && error.retry_after().is_none());
    assert_eq!(error.into_inner().unwrap().to_string(), "broken");
    bucket.close();
    let error = now(service.oneshot(0)).unwrap_err();
    assert_eq!(error.denied(), Some(&Denied::Closed));
    assert_eq!(error.to_string(), "the limiter is closed");
    assert!(error.source().is_none());
}

/// As axum asks for it: no error of its own, `Clone`, `Send` and `Sync`, and so are its futures.
#[test]
fn services_that_cannot_fail_stay_so() {
    fn fits_axum<S>(_: &S)
    where
        S: Service<Request<()>, Error = Infallible, Future: Send + 'static>,
        S: Clone + Send + Sync + 'static,
    {
    }
    let bucket = TokenBucket::new("1/h", 5).unwrap();
    let per_path = KeyedLimiter::<String>::new("1/h", 5, 100).unwrap();
    let permits = ConcurrencyLimiter::new(5).unwrap();
    let adaptive = ConcurrencyLimiter::adaptive(Aimd::default())
        .build()
        .unwrap();
    let breaker = CircuitBreaker::new(0.5).unwrap();
    let path = |request: &Request<()>| Some(request.uri().path().to_owned());
    let wait = 100 * MS;

    let one = RateLimitLayer::new(&bucket).wait_up_to(wait).layer(echo());
    fits_axum(&one);
    let keyed = RateLimitLayer::keyed(&per_path, path).wait().layer(echo());
    fits_axum(&keyed);
    let bounded = ConcurrencyLayer::new(&permits)
        .wait_up_to(wait)
        .layer(echo());
    fits_axum(&bounded);
    let learning = AdaptiveLayer::new(&adaptive).by_status().layer(echo());
    fits_axum(&learning);
    let broken = CircuitBreakerLayer::new(&breaker).by_status().layer(echo());
    fits_axum(&broken);
    let all = ServiceBuilder::new()
        .layer(RateLimitLayer::new(&bucket).problem_json())
        .layer(RateLimitLayer::keyed(&per_path, path).legacy_fields())
        .layer(ConcurrencyLayer::new(&permits).problem_json())
        .layer(AdaptiveLayer::new(&adaptive).by_status().reject())
        .layer(CircuitBreakerLayer::new(&breaker).problem_json())
        .service(echo());
    fits_axum(&all);
    let response = block_on(all.oneshot(get("/x"))).unwrap().unwrap();
    assert_eq!(response.body(), "/x");
    assert_eq!(adaptive.in_flight() + permits.in_flight(), 0);
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let mut values = headers.get_all(name).iter();
    let value = values.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(values.next().is_none(), "{name} is there twice");
    value.to_str().unwrap()
}

#[test]
fn denied_is_a_429_that_says_when_to_come_back() {
    let (bucket, _clock) = bucket("3/2s", 2);
    let layer = RateLimitLayer::new(&bucket).policy(Policy::of("api", &bucket).unwrap());
    let service = layer.legacy_fields().layer(echo());
    let granted = now(service.clone().oneshot(get("/a"))).unwrap();
    assert_eq!(granted.status(), StatusCode::OK);
    assert_eq!(granted.body(), "/a");
    let headers = granted.headers();
    assert_eq!(field(headers, "ratelimit-policy"), "\"api\";q=2;w=2");
    assert_eq!(field(headers, "ratelimit"), "\"api\";r=1;t=1");
    let api = |of: &[(&str, u64)]| vec![("api".to_owned(), numbers(of))];
    let allowed = api(&[("q", 2), ("w", 2)]);
    assert_eq!(parsed(headers, "ratelimit-policy"), allowed);
    assert_eq!(parsed(headers, "ratelimit"), api(&[("r", 1), ("t", 1)]));
    assert_eq!(field(headers, "x-ratelimit-limit"), "2");
    assert_eq!(field(headers, "x-ratelimit-remaining"), "1");
    assert_eq!(field(headers, "x-ratelimit-reset"), "1");
    assert!(!headers.contains_key("retry-after"));
    now(service.clone().oneshot(get("/a"))).unwrap();

    let denied = now(service.oneshot(get("/a"))).unwrap();
    assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(denied.body(), "");
    let headers = denied.headers();
    assert_eq!(parsed(headers, "ratelimit-policy"), allowed);
    assert_eq!(parsed(headers, "ratelimit"), api(&[("r", 0), ("t", 1)]));
    assert_eq!(field(headers, "retry-after"), "1");
    assert_eq!(field(headers, "x-ratelimit-remaining"), "0");
}

fn has_no_legacy_fields(headers: &HeaderMap) -> bool {
    let mut names = headers.keys();
    !names.any(|name| name.as_str().starts_with("x-ratelimit"))
}

#[test]
fn a_layer_without_a_policy_says_what_is_left_and_no_more() {
    let (bucket, _clock) = bucket("1/h", 1);
    let service = RateLimitLayer::new(&bucket).layer(echo());
    for (status, left) in [(StatusCode::OK, 0), (StatusCode::TOO_MANY_REQUESTS, 0)] {
        let response = now(service.clone().oneshot(get("/"))).unwrap();
        assert_eq!(response.status(), status);
        let headers = response.headers();
        let limit = numbers(&[("r", left), ("t", 3_600)]);
        assert_eq!(
            parsed(headers, "ratelimit"),
            [("default".to_owned(), limit)]
        );
        assert!(!headers.contains_key("ratelimit-policy"));
        assert!(has_no_legacy_fields(headers));
        let is_denied = status != StatusCode::OK;
        assert_eq!(headers.contains_key("retry-after"), is_denied);
    }
}

#[test]
fn problems_are_json_that_names_the_policy() {
    let (bucket, _clock) = bucket("1/h", 1);
    let name = r#"a "quoted\ name"#;
    let layer = RateLimitLayer::new(&bucket).policy(Policy::of(name, &bucket).unwrap());
    let service = layer.problem_json().layer(echo());
    now(service.clone().oneshot(get("/"))).unwrap();
    let denied = now(service.clone().oneshot(get("/"))).unwrap();
    assert_eq!(
        field(denied.headers(), "content-type"),
        "application/problem+json"
    );
    assert_eq!(parsed(denied.headers(), "ratelimit")[0].0, name);
    let problem: serde_json::Value = serde_json::from_str(denied.body()).unwrap();
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );
    assert_eq!(problem["status"], 429);
    assert_eq!(problem["violated-policies"], serde_json::json!([name]));

    // While the server drains.
    bucket.close();
    let denied = now(service.oneshot(get("/"))).unwrap();
    assert_eq!(denied.status(), StatusCode::SERVICE_UNAVAILABLE);
    let problem: serde_json::Value = serde_json::from_str(denied.body()).unwrap();
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
    );
    assert!(!denied.headers().contains_key("retry-after"));
    assert!(!denied.headers().contains_key("ratelimit"));
}

#[test]
fn a_response_of_ones_own() {
    let (bucket, _clock) = bucket("1/h", 1);
    let service = RateLimitLayer::new(&bucket)
        .respond_with(|denied: &Denied| Response::new(format!("no: {denied}")))
        .layer(echo());
    now(service.clone().oneshot(get("/"))).unwrap();
    let denied = now(service.oneshot(get("/"))).unwrap();
    assert_eq!(denied.status(), StatusCode::OK);
    assert!(denied.body().starts_with("no: not enough tokens yet"));
}

#[test]
fn each_key_has_a_limit() {
    let per_path = KeyedLimiter::<String>::new("1/h", 2, 100).unwrap();
    let path = |request: &Request<()>| Some(request.uri().path().to_owned());
    let policy = Policy::of("path", &per_path).unwrap();
    let service = RateLimitLayer::keyed(&per_path, path)
        .policy(policy)
        .layer(echo());
    for path in ["/a", "/b"] {
        for left in [1, 0] {
            let granted = now(service.clone().oneshot(get(path))).unwrap();
            let limit = &parsed(granted.headers(), "ratelimit")[0];
            assert_eq!(limit.0, "path");
            assert!(has_no_legacy_fields(granted.headers()));
            assert_eq!(limit.1[0], ("r".to_owned(), left));
        }
        let denied = now(service.clone().oneshot(get(path))).unwrap();
        assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(per_path.stats().granted, 4);
}

/// While the server drains: whoever had tokens left, and whoever is new.
#[test]
fn a_keyed_limiter_that_is_closed_is_a_503() {
    let per_path = KeyedLimiter::<String>::new("1/h", 2, 100).unwrap();
    let path = |request: &Request<()>| Some(request.uri().path().to_owned());
    let layer = RateLimitLayer::keyed(&per_path, path);
    let layers = [
        layer.clone(),
        layer.clone().wait(),
        layer.wait_up_to(SECOND),
    ];
    for layer in &layers {
        let service = layer.layer(echo());
        now(service.clone().oneshot(get("/a"))).unwrap();
        per_path.refund("/a", 1);
    }
    per_path.close();
    for layer in layers {
        let service = layer.problem_json().layer(echo());
        for path in ["/a", "/b"] {
            let denied = now(service.clone().oneshot(get(path))).unwrap();
            assert_eq!(denied.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(denied.body().contains("temporary-reduced-capacity"));
            assert!(!denied.headers().contains_key("retry-after"));
            assert!(!denied.headers().contains_key("ratelimit"));
        }
    }
}

#[test]
fn what_has_no_key_is_denied_or_admitted() {
    let per_client = KeyedLimiter::<String>::new("1/h", 1, 100).unwrap();
    let layer = RateLimitLayer::keyed(&per_client, |_: &Request<()>| None::<String>);
    let denied = now(layer.layer(echo()).oneshot(get("/"))).unwrap();
    assert_eq!(denied.status(), StatusCode::BAD_REQUEST);
    let failing = layer.clone().fail().layer(echo());
    let error = now(failing.oneshot(get("/"))).unwrap_err();
    assert_eq!(error, LimitError::Denied(Denied::NoKey));
    assert_eq!(error.to_string(), "nothing says whose limit it is");
    let lenient = layer.without_key(WithoutKey::Admit).layer(echo());
    for _ in 0..3 {
        let admitted = now(lenient.clone().oneshot(get("/"))).unwrap();
        assert_eq!(admitted.status(), StatusCode::OK);
        assert!(!admitted.headers().contains_key("ratelimit"));
    }
    assert!(per_client.is_empty());
}

/// The one that is ready is the one that is called.
#[test]
fn a_keyed_service_calls_the_one_that_was_ready() {
    #[derive(Default)]
    struct Picky(bool);
    impl Clone for Picky {
        fn clone(&self) -> Self {
            Self(false)
        }
    }
    impl Service<u32> for Picky {
        type Response = u32;
        type Error = io::Error;
        type Future = std::future::Ready<Result<u32, io::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
            self.0 = true;
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, n: u32) -> Self::Future {
            assert!(std::mem::take(&mut self.0), "it was not ready");
            std::future::ready(Ok(n))
        }
    }
    let limiter = KeyedLimiter::<u32>::new("1/h", 2, 100).unwrap();
    let breaker = CircuitBreaker::new(0.5).unwrap();
    let mut keyed = RateLimitLayer::keyed(&limiter, |n: &u32| Some(*n))
        .fail()
        .layer(Picky(false));
    let mut broken = CircuitBreakerLayer::new(&breaker)
        .fail()
        .layer(Picky(false));
    for n in 0..3 {
        assert!(ready(&mut keyed).is_ready());
        assert_eq!(now(keyed.call(n)).unwrap(), n);
        assert!(ready(&mut broken).is_ready());
        assert_eq!(now(broken.call(n)).unwrap(), n);
    }
}

#[test]
fn a_service_that_is_ready_holds_a_permit() {
    let limiter = ConcurrencyLimiter::new(2).unwrap();
    let mut service = ConcurrencyLayer::new(&limiter).fail().layer(plus_one());
    assert!(ready(&mut service).is_ready());
    assert!(ready(&mut service).is_ready());
    let clone = service.clone();
    assert_eq!(limiter.in_flight(), 1);
    let call = service.call(6);
    assert_eq!(limiter.in_flight(), 1, "it went with the call");
    assert!(ready(&mut service).is_ready());
    assert_eq!(limiter.in_flight(), 2);
    let mut waits = clone;
    assert!(ready(&mut waits).is_pending());
    drop(service);
    assert_eq!(limiter.in_flight(), 2, "handed to the one that waits");
    assert!(ready(&mut waits).is_ready());
    drop(waits);
    assert_eq!(limiter.in_flight(), 1);
    assert_eq!(now(call).unwrap(), 7);
    assert_eq!(limiter.in_flight(), 0);
}

#[test]
fn a_call_that_is_dropped_gives_its_permit_back() {
    let limiter = ConcurrencyLimiter::new(1).unwrap();
    let never = service_fn(|_: u32| std::future::pending::<Result<(), io::Error>>());
    let mut service = ConcurrencyLayer::new(&limiter).reject().fail().layer(never);
    assert!(ready(&mut service).is_ready());
    let mut call = Box::pin(service.call(6));
    assert!(poll(call.as_mut()).is_pending());
    let denied = now(service.clone().oneshot(6)).unwrap_err();
    assert!(denied.is_busy());
    assert!(matches!(denied.denied(), Some(PermitError::Timeout { limit, .. }) if limit.is_zero()));
    drop(call);
    assert_eq!(limiter.in_flight(), 0);
    limiter.close();
    let denied = now(service.oneshot(6)).unwrap_err();
    assert_eq!(denied.denied(), Some(&PermitError::Closed));
    assert!(!denied.is_busy());
}

#[test]
fn no_permit_is_a_503() {
    let limiter = ConcurrencyLimiter::new(1).unwrap();
    let _taken = limiter.try_acquire().unwrap();
    let service = ConcurrencyLayer::new(&limiter).reject().layer(echo());
    let denied = now(service.oneshot(get("/"))).unwrap();
    assert_eq!(denied.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn an_adaptive_limit_hears_how_it_went() {
    let clock = ManualClock::new();
    let limiter = ConcurrencyLimiter::adaptive(Aimd::default())
        .range(4..=100)
        .initial(50)
        .clock(clock.clone())
        .build()
        .unwrap();
    let by_status = service_fn(async |status: u16| {
        let status = StatusCode::from_u16(status).unwrap();
        let response = Response::builder().status(status).body(()).unwrap();
        Ok::<_, Infallible>(response)
    });
    let service = AdaptiveLayer::new(&limiter).by_status().layer(by_status);
    let before = limiter.limit();
    let run = |status: u16| {
        for _ in 0..200 {
            now(service.clone().oneshot(status)).unwrap();
            clock.advance(MS);
        }
    };
    run(503);
    let lowered = limiter.limit();
    assert!(lowered < before, "{lowered} of {before}");
    let judged = AdaptiveLayer::new(&limiter)
        .judge(|_: &Result<u32, io::Error>| Verdict::Ignored)
        .reject()
        .fail()
        .layer(plus_one());
    for _ in 0..200 {
        now(judged.clone().oneshot(1)).unwrap();
        clock.advance(MS);
    }
    assert_eq!(limiter.limit(), lowered, "it says nothing");
    assert_eq!(limiter.in_flight(), 0);
}

#[test]
fn a_breaker_opens_by_status_and_says_when_to_come_back() {
    let clock = ManualClock::new();
    let breaker = CircuitBreaker::builder()
        .minimum_calls(2)
        .open_for(1_500 * MS)
        .clock(clock.clone())
        .build()
        .unwrap();
    let failing = service_fn(async |status: u16| {
        let status = StatusCode::from_u16(status).unwrap();
        Ok::<_, Infallible>(Response::builder().status(status).body(()).unwrap())
    });
    let layer = CircuitBreakerLayer::new(&breaker).by_status();
    let service = layer.clone().layer(failing);
    for status in [404, 501, 500] {
        let response = now(service.clone().oneshot(status)).unwrap();
        assert_eq!(response.status(), status);
    }
    let rejected = now(service.clone().oneshot(200)).unwrap();
    assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(field(rejected.headers(), "retry-after"), "2");
    let rejected = now(layer.fail().layer(failing).oneshot(200)).unwrap_err();
    assert!(matches!(
        rejected,
        LimitError::Denied(CallRejected::Open { .. })
    ));
    assert_eq!(rejected.retry_after(), Some(1_500 * MS));
    clock.advance(2 * SECOND);
    let trial = now(service.oneshot(200)).unwrap();
    assert_eq!(trial.status(), StatusCode::OK);
    assert_eq!(breaker.stats().ignored, 1, "501 says nothing");
}

/// One call after the other, in the order in which they came.
async fn those_who_wait_go_in_their_order(rt: TestRuntime) {
    let bucket = TokenBucket::new("10/s", 1).unwrap();
    let service = RateLimitLayer::new(&bucket).wait().fail().layer(plus_one());
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut calls = Vec::new();
    for n in 0..5 {
        let (service, order) = (service.clone(), order.clone());
        calls.push(rt.spawn(async move {
            service.oneshot(n).await.unwrap();
            order.lock().unwrap().push(n);
        }));
        rt.settle().await;
    }
    assert_eq!(bucket.stats().waiting, 4);
    rt.advance(400 * MS).await;
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
}

async fn a_wait_that_cannot_suffice_is_none(rt: TestRuntime) {
    let bucket = TokenBucket::new("1/s", 1).unwrap();
    bucket.try_acquire().unwrap();
    let layer = RateLimitLayer::new(&bucket).fail();
    let hasty = layer.clone().wait_up_to(999 * MS).layer(plus_one());
    let start = rt.now();
    let denied = hasty.oneshot(1).await.unwrap_err();
    assert!(denied.retry_after().is_some_and(|wait| wait > 999 * MS));
    assert_eq!(rt.now(), start, "found out at once");
    let patient = layer.wait_up_to(SECOND).layer(plus_one());
    let call = rt.spawn(patient.oneshot(1));
    rt.settle().await;
    rt.advance(SECOND).await;
    assert_eq!(call.await.unwrap().unwrap(), 2);
}

async fn a_wait_ends_though_the_rate_falls(rt: TestRuntime) {
    let bucket = TokenBucket::new("1/s", 1).unwrap();
    bucket.try_acquire().unwrap();
    let layer = RateLimitLayer::new(&bucket).fail().wait_up_to(SECOND);
    let call = rt.spawn(layer.layer(plus_one()).oneshot(1));
    rt.settle().await;
    bucket.set_rate("1/h").unwrap();
    rt.advance(SECOND).await;
    let denied = call.await.unwrap().unwrap_err();
    rt.settle().await;
    assert_eq!(bucket.stats().waiting, 0);

    // Not how long it has waited: when there is a token.
    let retry_after = denied.retry_after().unwrap();
    assert!(retry_after > 3_000 * SECOND, "{retry_after:?}");
    rt.advance(retry_after.saturating_sub(SECOND)).await;
    assert!(bucket.peek().is_err());
    rt.advance(SECOND).await;
    bucket.try_acquire().unwrap();
}

async fn a_wait_behind_others_that_ends_says_when_its_turn_is(rt: TestRuntime) {
    let bucket = TokenBucket::new("1/s", 1).unwrap();
    bucket.try_acquire().unwrap();
    let layer = RateLimitLayer::new(&bucket).fail();
    let patient = layer.clone().wait().layer(plus_one());
    let first = rt.spawn(patient.oneshot(1));
    rt.settle().await;

    // Known at once, by the queue too.
    let hasty = layer.clone().wait_up_to(1_500 * MS).layer(plus_one());
    let denied = hasty.oneshot(1).await.unwrap_err();
    let at_once = denied.retry_after().unwrap();
    assert!(at_once > 1_500 * MS, "{at_once:?}");

    let second = rt.spawn(layer.wait_up_to(2 * SECOND).layer(plus_one()).oneshot(1));
    rt.settle().await;
    bucket.set_rate("1/h").unwrap();
    rt.advance(2 * SECOND).await;
    let denied = second.await.unwrap().unwrap_err();
    let retry_after = denied.retry_after().unwrap();
    assert!(retry_after > 7_000 * SECOND, "{retry_after:?}");
    rt.advance(retry_after.saturating_sub(SECOND)).await;
    assert_eq!(first.await.unwrap().unwrap(), 2);
    assert!(bucket.peek().is_err());
    rt.advance(SECOND).await;
    bucket.try_acquire().unwrap();
}

async fn a_key_waits_for_its_own_turn(rt: TestRuntime) {
    let limiter = KeyedLimiter::<u32>::new("1/s", 1, 100).unwrap();
    let layer = RateLimitLayer::keyed(&limiter, |n: &u32| Some(*n)).fail();
    let service = layer.clone().wait_up_to(2 * SECOND).layer(plus_one());
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 2);
    let waits = rt.spawn(service.clone().oneshot(1));
    rt.settle().await;
    assert_eq!(service.oneshot(2).await.unwrap(), 3, "another key");
    rt.advance(SECOND).await;
    assert_eq!(waits.await.unwrap().unwrap(), 2);
    let hasty = layer.wait_up_to(999 * MS).layer(plus_one());
    let denied = hasty.oneshot(1).await.unwrap_err();
    assert!(denied.retry_after().is_some_and(|wait| wait > 999 * MS));
}

async fn a_permit_is_waited_for_up_to_a_limit(rt: TestRuntime) {
    let limiter = ConcurrencyLimiter::new(1).unwrap();
    let adaptive = ConcurrencyLimiter::adaptive(Aimd::default())
        .range(1..=1)
        .build()
        .unwrap();
    let (taken, taken_too) = (
        limiter.try_acquire().unwrap(),
        adaptive.try_acquire().unwrap(),
    );
    let fixed = ConcurrencyLayer::new(&limiter)
        .wait_up_to(SECOND)
        .fail()
        .layer(plus_one());
    let learns = AdaptiveLayer::new(&adaptive)
        .wait_up_to(SECOND)
        .fail()
        .layer(plus_one());
    let calls = [
        rt.spawn(fixed.clone().oneshot(1)),
        rt.spawn(learns.clone().oneshot(1)),
    ];
    rt.settle().await;
    rt.advance(SECOND).await;
    for call in calls {
        let denied = call.await.unwrap().unwrap_err();
        assert!(
            matches!(denied.denied(), Some(PermitError::Timeout { limit, .. }) if *limit == SECOND)
        );
    }
    let calls = [rt.spawn(fixed.oneshot(1)), rt.spawn(learns.oneshot(1))];
    rt.settle().await;
    drop((taken, taken_too));
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), 2);
    }
    assert_eq!(limiter.in_flight() + adaptive.in_flight(), 0);
}

async fn a_service_that_waits_gives_its_place_up(rt: TestRuntime) {
    let bucket = TokenBucket::new("1/s", 1).unwrap();
    bucket.try_acquire().unwrap();
    let mut service = RateLimitLayer::new(&bucket).wait().fail().layer(plus_one());
    let pending = poll_fn(|cx| Poll::Ready(service.poll_ready(cx).is_pending()));
    assert!(pending.await);
    assert_eq!(bucket.stats().waiting, 1);
    let clone = service.clone();
    drop(service);
    assert_eq!(bucket.stats().waiting, 0);
    let call = rt.spawn(clone.oneshot(1));
    rt.settle().await;
    rt.advance(SECOND).await;
    assert_eq!(call.await.unwrap().unwrap(), 2);
}

async fn a_token_that_was_not_taken_does_not_come_back(rt: TestRuntime) {
    for waits in [false, true] {
        let bucket = TokenBucket::new("1/h", 1).unwrap();
        let layer = RateLimitLayer::new(&bucket).wait().fail();
        let mut service = layer.layer(plus_one());
        if waits {
            bucket.try_acquire().unwrap();
            assert!(ready(&mut service).is_pending());
        }
        bucket.set_rate(Rate::UNLIMITED).unwrap();
        rt.settle().await;
        if !waits {
            assert!(ready(&mut service).is_ready());
        }
        bucket.set_rate("1/h").unwrap();
        assert!(ready(&mut service).is_ready());
        bucket.try_acquire().unwrap();
        drop(service);
        assert_eq!(bucket.available(), 0, "{waits}");
    }
    // One of several without a limit says nothing of the others.
    let free = TokenBucket::new(Rate::UNLIMITED, 1).unwrap();
    let limited = TokenBucket::new("1/h", 5).unwrap();
    let both = Composite::new([free, limited.clone()]);
    let mut service = RateLimitLayer::new(&both).fail().layer(plus_one());
    assert!(ready(&mut service).is_ready());
    assert_eq!(limited.available(), 4);
    drop(service);
    assert_eq!(limited.available(), 5);
}

/// By the time that its caller looks the bucket is full again, and nothing comes any more, as if
/// there were no limit.
async fn a_token_that_was_waited_for_comes_back_though_none_is_missing(rt: TestRuntime) {
    let bucket = TokenBucket::new("1/h", 2).unwrap();
    bucket.try_acquire_n(2).unwrap();
    let layer = RateLimitLayer::new(&bucket).wait().fail();
    let mut service = layer.layer(plus_one());
    assert!(ready(&mut service).is_pending());
    bucket.set_rate(Rate::ZERO).unwrap();
    bucket.refund(2);
    assert_eq!((bucket.stats().waiting, bucket.available()), (0, 1));
    bucket.set_burst(1).unwrap();
    assert!(ready(&mut service).is_ready());
    bucket.try_acquire().unwrap();
    drop(service);
    assert_eq!(bucket.available(), 1);
    drop(rt);
}
