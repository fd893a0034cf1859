//! Layers around a service that does nothing: what they add to each request that they let through.

use core::convert::Infallible;
use core::future::{Future, Ready, ready};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use flow_benches::{Bench, repeat};
use flow_ratelimit::{ConcurrencyLayer, ConcurrencyLimiter, KeyedLimiter, RateLimitLayer};
use flow_ratelimit::{Rate, TokenBucket};
use http::{Request, Response};
use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer as TowerLayer};
use tower::{Layer, Service};
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::KeyExtractor;
use tower_governor::{GovernorError, GovernorLayer};

use crate::bucket::PLENTY;

pub(crate) fn rows(bench: &mut Bench) {
    // That of tower makes its timer when it is built.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    one_limit(bench);
    permits(bench);
    keys(bench);
}

fn one_limit(bench: &mut Bench) {
    let bucket = TokenBucket::new(Rate::per_second(PLENTY.into()), PLENTY.into());
    let bucket = bucket.expect("a valid limit");
    let mut ours = RateLimitLayer::new(&bucket).fail().layer(Nothing);
    let mut towers = TowerLayer::new(PLENTY.into(), Duration::from_secs(1)).layer(Nothing);
    let mut bare = Nothing;
    bench
        .row("rate limit around a service")
        .instructions(10_000)
        .flow(|n| repeat(n, |i| answer(&mut ours, i)))
        .peer("tower", |n| repeat(n, |i| answer(&mut towers, i)))
        .peer("no layer", |n| repeat(n, |i| answer(&mut bare, i)))
        .measure();
}

fn permits(bench: &mut Bench) {
    let limiter = ConcurrencyLimiter::new(64).expect("a valid limit");
    let mut ours = ConcurrencyLayer::new(&limiter).fail().layer(Nothing);
    let mut towers = ConcurrencyLimitLayer::new(64).layer(Nothing);
    bench
        .row("concurrency limit around a service")
        .instructions(10_000)
        .flow(|n| repeat(n, |i| answer(&mut ours, i)))
        .peer("tower", |n| repeat(n, |i| answer(&mut towers, i)))
        .measure();
}

/// A request of HTTP each, which carries its key among its extensions: one of 1,000. Ours writes the
/// fields only where it says so, and tower_governor none.
fn keys(bench: &mut Bench) {
    let limiter = KeyedLimiter::<u64>::new(Rate::per_second(PLENTY.into()), PLENTY.into(), 1_000);
    let limiter = limiter.expect("a valid limit");
    let layer = RateLimitLayer::keyed(&limiter, |request: &Request<()>| Key.extract(request).ok());
    let mut silent = layer.clone().fail().layer(Nothing);
    let mut tells = layer.layer(Nothing);
    let mut config = GovernorConfigBuilder::default().key_extractor(Key);
    let config = config.per_nanosecond(1).burst_size(PLENTY).finish();
    let mut governor = GovernorLayer::new(config.expect("a valid limit")).layer(Nothing);
    let request = |i: u64| {
        let mut request = Request::new(());
        request.extensions_mut().insert(i % 1_000);
        request
    };
    bench
        .row("keyed rate limit around a service, 1 k keys")
        .flow(|n| repeat(n, |i| answer(&mut silent, request(i))))
        .peer("tower_governor", |n| {
            repeat(n, |i| answer(&mut governor, request(i)))
        })
        .peer("flow, with fields", |n| {
            repeat(n, |i| answer(&mut tells, request(i)))
        })
        .measure();
}

/// The number that a request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key;

impl KeyExtractor for Key {
    type Key = u64;

    fn extract<T>(&self, request: &Request<T>) -> Result<u64, GovernorError> {
        let number = request.extensions().get();
        number.copied().ok_or(GovernorError::UnableToExtractKey)
    }
}

/// Ready at once, and so is its answer.
#[derive(Clone, Copy)]
struct Nothing;

impl Service<u64> for Nothing {
    type Response = u64;
    type Error = Infallible;
    type Future = Ready<Result<u64, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, n: u64) -> Self::Future {
        ready(Ok(n))
    }
}

impl Service<Request<()>> for Nothing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Body::empty())))
    }
}

/// One request, from readiness to the answer.
fn answer<S: Service<R>, R>(service: &mut S, request: R) -> Result<S::Response, S::Error> {
    let cx = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(cx) else {
        panic!("it is always ready");
    };
    match pin!(service.call(request)).poll(cx) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("there is plenty"),
    }
}
