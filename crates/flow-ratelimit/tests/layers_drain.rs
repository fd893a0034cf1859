//! A server that drains, before each layer: who waits hears that nobody is let through any more, who
//! comes hears it too, and what is under way ends well.
#![cfg(all(not(loom), feature = "tower"))]

use std::io;
use std::time::Duration;

use flow_ratelimit::{
    AdaptiveLayer, Aimd, CallRejected, CircuitBreaker, CircuitBreakerLayer, ConcurrencyLayer,
    ConcurrencyLimiter, Denied, KeyedLimiter, LimitError, PermitError, RateLimitLayer, TokenBucket,
};
use flow_rt::{JoinHandle, TestRuntime};
use tower::{Layer, Service, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

flow_rt::on_every_runtime! {
    seeds 0..30;
    those_who_wait_for_a_token_hear_that_it_closed,
    those_who_wait_for_a_key_hear_that_it_closed,
    those_who_wait_for_a_permit_hear_that_it_closed,
    those_who_wait_for_an_adaptive_permit_hear_that_it_closed,
    a_breaker_that_is_held_open_lets_calls_end,
}

type Outcome<D> = Result<u32, LimitError<io::Error, D>>;

/// A service whose calls take a second.
fn slow(
    rt: &TestRuntime,
) -> impl Service<u32, Response = u32, Error = io::Error, Future: Send> + Clone + Send + 'static + use<>
{
    let rt = (**rt).clone();
    service_fn(move |n: u32| {
        let rt = rt.clone();
        async move {
            rt.sleep(SECOND).await.map_err(io::Error::other)?;
            Ok(n + 1)
        }
    })
}

/// One call is under way, one waits, the limit closes, and one comes.
async fn drains<S, D>(
    rt: &TestRuntime,
    service: S,
    waiting: impl Fn() -> usize,
    close: impl Fn(),
    why: D,
) where
    S: Service<u32, Response = u32, Error = LimitError<io::Error, D>> + Clone + Send + 'static,
    S::Future: Send,
    D: std::fmt::Debug + PartialEq + Send + 'static,
{
    let call = |n| -> JoinHandle<Outcome<D>> { rt.spawn(service.clone().oneshot(n)) };
    let under_way = call(1);
    rt.settle().await;
    let waits = call(2);
    rt.settle().await;
    assert_eq!(waiting(), 1);
    close();
    // At once, by no time at all.
    let denied = waits.await.unwrap().unwrap_err();
    assert_eq!(denied.denied(), Some(&why));
    let denied = call(3).await.unwrap().unwrap_err();
    assert_eq!(denied.denied(), Some(&why));
    assert_eq!(waiting(), 0);
    rt.advance(SECOND).await;
    assert_eq!(under_way.await.unwrap().unwrap(), 2, "it was let through");
}

async fn those_who_wait_for_a_token_hear_that_it_closed(rt: TestRuntime) {
    for limit in [None, Some(2 * 3_600 * SECOND)] {
        let bucket = TokenBucket::new("1/h", 1).unwrap();
        let layer = RateLimitLayer::new(&bucket).fail();
        let layer = limit.map_or_else(|| layer.clone().wait(), |it| layer.clone().wait_up_to(it));
        let waiting = || bucket.stats().waiting;
        drains(
            &rt,
            layer.layer(slow(&rt)),
            waiting,
            || bucket.close(),
            Denied::Closed,
        )
        .await;
    }
}

async fn those_who_wait_for_a_key_hear_that_it_closed(rt: TestRuntime) {
    for limit in [None, Some(2 * 3_600 * SECOND)] {
        let keyed = KeyedLimiter::<u32>::new("1/h", 1, 100).unwrap();
        let layer = RateLimitLayer::keyed(&keyed, |_: &u32| Some(7)).fail();
        let layer = limit.map_or_else(|| layer.clone().wait(), |it| layer.clone().wait_up_to(it));
        let waiting = || keyed.stats().waiting;
        drains(
            &rt,
            layer.layer(slow(&rt)),
            waiting,
            || keyed.close(),
            Denied::Closed,
        )
        .await;
    }
}

async fn those_who_wait_for_a_permit_hear_that_it_closed(rt: TestRuntime) {
    for limit in [None, Some(3_600 * SECOND)] {
        let permits = ConcurrencyLimiter::new(1).unwrap();
        let layer = ConcurrencyLayer::new(&permits).fail();
        let layer = limit.map_or_else(|| layer.clone(), |it| layer.clone().wait_up_to(it));
        let waiting = || permits.stats().waiting;
        let closed = PermitError::Closed;
        drains(
            &rt,
            layer.layer(slow(&rt)),
            waiting,
            || permits.close(),
            closed,
        )
        .await;
        assert_eq!(permits.in_flight(), 0, "its permit came back");
    }
}

async fn those_who_wait_for_an_adaptive_permit_hear_that_it_closed(rt: TestRuntime) {
    for limit in [None, Some(3_600 * SECOND)] {
        let learns = ConcurrencyLimiter::adaptive(Aimd::default()).range(1..=1);
        let learns = learns.min_samples(1).build().unwrap();
        let layer = AdaptiveLayer::new(&learns).fail();
        let layer = limit.map_or_else(|| layer.clone(), |it| layer.clone().wait_up_to(it));
        let waiting = || learns.stats().permits.waiting;
        let closed = PermitError::Closed;
        drains(
            &rt,
            layer.layer(slow(&rt)),
            waiting,
            || learns.close(),
            closed,
        )
        .await;
        assert_eq!(learns.stats().permits.in_flight, 0, "its permit came back");
    }
}

/// A breaker has nobody who waits: it is held open, and what was let through ends as it does.
async fn a_breaker_that_is_held_open_lets_calls_end(rt: TestRuntime) {
    let breaker = CircuitBreaker::new(0.5).unwrap();
    let service = CircuitBreakerLayer::new(&breaker).fail().layer(slow(&rt));
    let under_way = rt.spawn(service.clone().oneshot(1));
    rt.settle().await;
    breaker.force_open();
    let rejected = service.oneshot(2).await.unwrap_err();
    assert_eq!(rejected.denied(), Some(&CallRejected::ForcedOpen));
    assert_eq!(rejected.retry_after(), None);
    rt.advance(SECOND).await;
    assert_eq!(under_way.await.unwrap().unwrap(), 2);
}
