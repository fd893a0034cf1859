//! Layers whose requests wait for a key, and those that hold something while a call is under way: in
//! what order, for how long, and what comes back when one gives up.
#![cfg(all(not(loom), feature = "tower", feature = "http"))]

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_ratelimit::{
    AdaptiveLayer, Aimd, BreakerState, CallRejected, CircuitBreaker, CircuitBreakerLayer,
    ConcurrencyLayer, ConcurrencyLimiter, DecideKey, Denied, Granted, KeyedLimiter, LimitError,
    PermitError, RateLimitLayer, TokenBucket, Verdict, WaitState,
};
use flow_rt::{Handle, ManualClock, SteppedRuntime, TestRuntime, block_on};
use tower::{Layer, Service, ServiceExt, service_fn};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

flow_rt::on_every_runtime! {
    seeds 0..30;
    those_who_wait_for_a_key_go_in_their_order,
    a_key_of_an_exact_limiter_is_waited_for,
    a_call_that_gives_up_leaves_the_line,
    a_wait_for_a_key_ends_though_its_rate_falls,
    who_waits_as_long_as_a_wait_for_a_key_says_is_admitted,
    who_waits_for_a_key_keeps_nobody_from_the_service,
    a_decider_that_does_not_wait_is_asked_again,
    a_decider_that_says_nothing_is_given_up,
    a_trial_that_is_dropped_gives_its_place_back,
}

fn plus_one()
-> impl Service<u32, Response = u32, Error = io::Error, Future: Send> + Clone + Send + Sync {
    service_fn(async |n: u32| Ok(n + 1))
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    clippy::unnecessary_wraps,
    reason = "what a layer asks for"
)]
fn same(n: &u32) -> Option<u32> {
    Some(n % 10)
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

async fn those_who_wait_for_a_key_go_in_their_order(rt: TestRuntime) {
    let limiter = KeyedLimiter::<u32>::new("10/s", 1, 100).unwrap();
    let service = RateLimitLayer::keyed(&limiter, same)
        .wait()
        .fail()
        .layer(plus_one());
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut calls = Vec::new();
    for n in [1, 11, 21, 31, 41] {
        let (service, order) = (service.clone(), order.clone());
        calls.push(rt.spawn(async move {
            assert_eq!(service.oneshot(n).await.unwrap(), n + 1);
            order.lock().unwrap().push(n);
        }));
        rt.settle().await;
    }
    assert_eq!(limiter.stats().waiting, 4, "each has its place");
    assert!(limiter.try_acquire(&1).is_err());
    assert_eq!(service.oneshot(2).await.unwrap(), 3, "another key's turn");
    rt.advance(400 * MS).await;
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [1, 11, 21, 31, 41]);
    let stats = limiter.stats();
    assert_eq!((stats.waiting, stats.granted), (0, 6));
}

async fn a_key_of_an_exact_limiter_is_waited_for(rt: TestRuntime) {
    let builder = KeyedLimiter::<String>::builder().rate("1/s").burst(1);
    let limiter = builder.max_keys(10).build_exact().unwrap();
    let layer = RateLimitLayer::keyed(&limiter, |n: &u32| Some(n.to_string()));
    let service = layer.wait_up_to(SECOND).fail().layer(plus_one());
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 2);
    let call = rt.spawn(service.clone().oneshot(1));
    rt.settle().await;
    let late = service.oneshot(1).await.unwrap_err();
    assert!(late.retry_after().is_some_and(|wait| wait > SECOND));
    rt.advance(SECOND).await;
    assert_eq!(call.await.unwrap().unwrap(), 2);
}

async fn a_call_that_gives_up_leaves_the_line(rt: TestRuntime) {
    let limiter = KeyedLimiter::<u32>::new("1/s", 1, 100).unwrap();
    limiter.try_acquire(&1).unwrap();
    let mut service = RateLimitLayer::keyed(&limiter, same)
        .wait()
        .fail()
        .layer(plus_one());
    let mut first = Box::pin(service.call(1));
    poll_fn(|cx| {
        assert!(first.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    let second = rt.spawn(service.clone().oneshot(11));
    rt.settle().await;
    assert_eq!(limiter.stats().waiting, 2);
    drop(first);
    assert_eq!(limiter.stats().waiting, 1);
    rt.advance(SECOND).await;
    assert_eq!(second.await.unwrap().unwrap(), 12);

    // One that was granted and did not look gives its token back.
    let third = Box::pin(service.call(1));
    rt.advance(SECOND).await;
    drop(third);
    assert!(limiter.try_acquire(&1).is_ok());
}

async fn a_wait_for_a_key_ends_though_its_rate_falls(rt: TestRuntime) {
    let limiter = KeyedLimiter::<u32>::new("1/s", 1, 100).unwrap();
    limiter.try_acquire(&1).unwrap();
    let layer = RateLimitLayer::keyed(&limiter, same).fail();
    let call = rt.spawn(
        layer
            .clone()
            .wait_up_to(SECOND)
            .layer(plus_one())
            .oneshot(1),
    );
    let patient = layer.wait_up_to(Duration::MAX).layer(plus_one());
    rt.settle().await;
    let patient = rt.spawn(patient.oneshot(1));
    rt.settle().await;
    limiter.set_rate("1/h").unwrap();
    rt.advance(SECOND).await;
    let denied = call.await.unwrap().unwrap_err();
    // When the one before it has gone and there is another token.
    let retry_after = denied.retry_after().unwrap();
    assert!(retry_after > 7_000 * SECOND, "{retry_after:?}");
    rt.settle().await;
    assert_eq!(limiter.stats().waiting, 1);
    limiter.set_rate("1000/s").unwrap();
    rt.advance(SECOND).await;
    assert_eq!(patient.await.unwrap().unwrap(), 2);
}

async fn who_waits_as_long_as_a_wait_for_a_key_says_is_admitted(rt: TestRuntime) {
    let limiter = KeyedLimiter::<u32>::new("1/s", 1, 100).unwrap();
    limiter.try_acquire(&1).unwrap();
    let layer = RateLimitLayer::keyed(&limiter, same).fail();
    let service = layer.wait_up_to(SECOND).layer(plus_one());
    let call = rt.spawn(service.clone().oneshot(1));
    rt.settle().await;
    limiter.set_rate("1/h").unwrap();
    rt.advance(SECOND).await;
    let denied = call.await.unwrap().unwrap_err();
    let retry_after = denied.retry_after().unwrap();
    assert!(retry_after > 3_000 * SECOND, "{retry_after:?}");
    rt.advance(retry_after.saturating_sub(2 * SECOND)).await;
    let again = service.clone().oneshot(1).await.unwrap_err();
    assert!(again.retry_after().is_some_and(|wait| wait > SECOND));
    rt.advance(2 * SECOND).await;
    assert_eq!(service.oneshot(1).await.unwrap(), 2);
}

/// What is behind it has one permit, and those who wait for their key do not hold it.
async fn who_waits_for_a_key_keeps_nobody_from_the_service(rt: TestRuntime) {
    let limiter = KeyedLimiter::<u32>::new("1/s", 1, 100).unwrap();
    let permits = ConcurrencyLimiter::new(1).unwrap();
    let inner = ConcurrencyLayer::new(&permits).fail().layer(plus_one());
    let service = RateLimitLayer::keyed(&limiter, same)
        .wait()
        .fail()
        .layer(inner);
    limiter.try_acquire(&1).unwrap();
    let waits = rt.spawn(service.clone().oneshot(1));
    rt.settle().await;
    assert_eq!(limiter.stats().waiting, 1);
    assert_eq!(permits.in_flight(), 0);
    assert_eq!(service.oneshot(2).await.unwrap(), 3);

    // It is made ready when the wait is over.
    let permit = permits.try_acquire().unwrap();
    rt.advance(SECOND).await;
    rt.settle().await;
    assert_eq!((limiter.stats().waiting, permits.stats().waiting), (0, 1));
    drop(permit);
    assert_eq!(waits.await.unwrap().unwrap(), 2);
    assert_eq!(permits.in_flight(), 0);
}

/// Says "not yet" so often, each time for a second; then yes.
#[derive(Clone)]
struct Puts(Arc<AtomicU32>);

impl DecideKey<u32> for Puts {
    fn poll_decide_key(
        &self,
        _: &mut Context<'_>,
        _: &u32,
        _: u64,
        _: &mut WaitState,
    ) -> Poll<Result<Granted, Denied>> {
        Poll::Ready(match self.0.load(Relaxed) {
            0 => Ok(Granted::new(0, 1, SECOND)),
            left => {
                self.0.store(left - 1, Relaxed);
                Err(Denied::not_yet(SECOND))
            }
        })
    }
}

async fn a_decider_that_does_not_wait_is_asked_again(rt: TestRuntime) {
    let decider = Puts(Arc::new(AtomicU32::new(2)));
    let layer = RateLimitLayer::keyed(&decider, same).fail();
    let call = rt.spawn(layer.clone().wait().layer(plus_one()).oneshot(1));
    for left in [1, 0] {
        rt.settle().await;
        assert_eq!(decider.0.load(Relaxed), left, "asked when it said so");
        rt.advance(SECOND).await;
    }
    assert_eq!(call.await.unwrap().unwrap(), 2);

    // Two waits of a second are one too many.
    decider.0.store(2, Relaxed);
    let call = rt.spawn(layer.wait_up_to(1_500 * MS).layer(plus_one()).oneshot(1));
    rt.settle().await;
    rt.advance(SECOND).await;
    let denied = call.await.unwrap().unwrap_err();
    assert_eq!(denied.retry_after(), Some(SECOND));
    assert_eq!(decider.0.load(Relaxed), 0);
}

/// Never has an answer.
#[derive(Clone)]
struct Mute;

impl DecideKey<u32> for Mute {
    fn poll_decide_key(
        &self,
        cx: &mut Context<'_>,
        _: &u32,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, Denied>> {
        state.poll_elsewhere(cx, self, n, std::future::pending)
    }
}

async fn a_decider_that_says_nothing_is_given_up(rt: TestRuntime) {
    let layer = RateLimitLayer::keyed(&Mute, same).fail();
    let call = rt.spawn(layer.wait_up_to(SECOND).layer(plus_one()).oneshot(1));
    rt.settle().await;
    rt.advance(SECOND).await;
    let denied = call.await.unwrap().unwrap_err();
    assert_eq!(denied.denied(), Some(&Denied::not_yet(SECOND)));
}

async fn a_trial_that_is_dropped_gives_its_place_back(rt: TestRuntime) {
    let breaker = CircuitBreaker::builder()
        .minimum_calls(1)
        .trial_calls(1)
        .open_for(SECOND)
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state(), BreakerState::Open);
    rt.advance(2 * SECOND).await;
    let gate = Arc::new(AtomicU32::new(0));
    let inner = {
        let gate = gate.clone();
        service_fn(move |n: u32| {
            let gate = gate.clone();
            poll_fn(move |_| match gate.load(Relaxed) {
                0 => Poll::Pending,
                _ => Poll::Ready(Ok::<_, io::Error>(n + 1)),
            })
        })
    };
    let mut service = CircuitBreakerLayer::new(&breaker).fail().layer(inner);
    let trial = service.call(1);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    let rejected = service.call(2).await.unwrap_err();
    assert_eq!(rejected.denied(), Some(&CallRejected::TrialsRunning));
    drop(trial);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    let trial = service.call(3);
    gate.store(1, Relaxed);
    assert_eq!(trial.await.unwrap(), 4);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

/// A service that is neither `Clone` nor `Send`, nor is its future.
struct Plain(std::rc::Rc<()>);

impl Service<u32> for Plain {
    type Response = u32;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<u32, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, n: u32) -> Self::Future {
        let held = self.0.clone();
        Box::pin(async move {
            drop(held);
            Ok(n)
        })
    }
}

#[test]
fn a_breaker_asks_nothing_of_its_service() {
    let breaker = CircuitBreaker::new(0.5).unwrap();
    let mut service = CircuitBreakerLayer::new(&breaker)
        .fail()
        .layer(Plain(std::rc::Rc::default()));
    let Poll::Ready(Ok(n)) = poll(service.call(6)) else {
        panic!("it has no reason to wait");
    };
    assert_eq!((n, breaker.stats().succeeded), (6, 1));
}

#[test]
fn a_call_that_panics_has_failed_at_once() {
    let breaker = CircuitBreaker::new(0.5).unwrap();
    let permits = ConcurrencyLimiter::new(1).unwrap();
    let late =
        service_fn(|_: u32| poll_fn(|_| -> Poll<Result<u32, Infallible>> { panic!("late") }));
    let early = service_fn(|n: u32| -> std::future::Ready<Result<u32, Infallible>> {
        assert!(n == 0, "early");
        std::future::ready(Ok(n))
    });
    let mut broken = CircuitBreakerLayer::new(&breaker).fail().layer(late);
    let mut call = Box::pin(broken.call(1));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(call.as_mut()))).is_err());
    assert_eq!(
        breaker.stats().failed,
        1,
        "though its future is still there"
    );
    drop(call);
    assert_eq!(breaker.stats().failed, 1);
    let mut broken = CircuitBreakerLayer::new(&breaker).fail().layer(early);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(broken.call(1)))).is_err());
    assert_eq!(breaker.stats().failed, 2);

    let mut bounded = ConcurrencyLayer::new(&permits).fail().layer(late);
    let mut call = Box::pin(bounded.call(1));
    assert_eq!(permits.in_flight(), 1);
    assert!(catch_unwind(AssertUnwindSafe(|| poll(call.as_mut()))).is_err());
    assert_eq!(permits.in_flight(), 0, "though its future is still there");
}

/// A call that nobody was ready for is not held up by the place of its own service.
#[test]
fn a_call_instead_of_a_wait_takes_what_has_come_to_it() {
    let clock = ManualClock::new();
    let builder = TokenBucket::builder().rate("1/s").burst(1);
    let bucket = builder.clock(clock.clone()).build().unwrap();
    bucket.try_acquire().unwrap();
    let limiter = ConcurrencyLimiter::new(1).unwrap();
    let permit = limiter.try_acquire().unwrap();
    let (limited, bounded) = block_on(async {
        let mut limited = RateLimitLayer::new(&bucket).wait().fail().layer(plus_one());
        let mut bounded = ConcurrencyLayer::new(&limiter).fail().layer(plus_one());
        poll_fn(|cx| {
            assert!(limited.poll_ready(cx).is_pending());
            assert!(bounded.poll_ready(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        clock.advance(SECOND);
        drop(permit);
        (limited.call(1).await, bounded.call(1).await)
    })
    .unwrap();
    assert_eq!((limited.unwrap(), bounded.unwrap()), (2, 2));
    assert_eq!((bucket.stats().waiting, limiter.in_flight()), (0, 0));
}

/// What a [`Door`] says when it is asked whether it is ready.
#[derive(Default)]
struct Answers {
    /// 0: not yet; 1: it is; 2: it never will be.
    answer: AtomicU32,
    asked: AtomicU32,
}

/// A service that is ready when it is told to be.
#[derive(Clone, Default)]
struct Door(Arc<Answers>);

impl Door {
    fn answers(&self, answer: u32) {
        self.0.answer.store(answer, Relaxed);
    }
}

impl Service<u32> for Door {
    type Response = u32;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<u32>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.asked.fetch_add(1, Relaxed);
        match self.0.answer.load(Relaxed) {
            0 => Poll::Pending,
            1 => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(io::Error::other("gone"))),
        }
    }

    fn call(&mut self, n: u32) -> Self::Future {
        std::future::ready(Ok(n + 1))
    }
}

fn ready<S: Service<u32>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn an_open_breaker_does_not_ask_its_service_whether_it_is_ready() {
    let clock = ManualClock::new();
    let breaker = CircuitBreaker::builder().minimum_calls(1).trial_calls(1);
    let breaker = breaker.open_for(SECOND).clock(clock.clone());
    let breaker = breaker.build().unwrap();
    let door = Door::default();
    let mut service = CircuitBreakerLayer::new(&breaker)
        .fail()
        .layer(door.clone());
    assert!(ready(&mut service).is_pending());
    breaker.open();
    // Nobody hangs on a service that may never be ready.
    assert!(matches!(ready(&mut service), Poll::Ready(Ok(()))));
    assert!(matches!(ready(&mut service.clone()), Poll::Ready(Ok(()))));
    assert_eq!(door.0.asked.load(Relaxed), 1);
    assert_eq!(breaker.stats().rejected, 0, "there was no call yet");
    // Its time passes between the two: there is no trial with a service that is not ready.
    clock.advance(SECOND);
    let Poll::Ready(Err(rejected)) = poll(service.call(1)) else {
        panic!("it was not ready");
    };
    assert_eq!(rejected.retry_after(), Some(SECOND));
    assert_eq!(breaker.stats().rejected, 1);
    assert_eq!(breaker.state(), BreakerState::Open);
    // The next one is a trial, when the service is ready for it.
    assert!(ready(&mut service).is_pending());
    door.answers(1);
    assert!(matches!(ready(&mut service), Poll::Ready(Ok(()))));
    assert!(matches!(poll(service.call(1)), Poll::Ready(Ok(2))));
    assert_eq!(breaker.state(), BreakerState::Closed);
    breaker.force_open();
    assert!(matches!(ready(&mut service), Poll::Ready(Ok(()))));
    let Poll::Ready(Err(rejected)) = poll(service.call(1)) else {
        panic!("it is held open");
    };
    assert_eq!(rejected.denied(), Some(&CallRejected::ForcedOpen));
    assert_eq!(door.0.asked.load(Relaxed), 3);
}

#[test]
fn a_service_that_fails_to_be_ready_has_failed() {
    let clock = ManualClock::new();
    let breaker = CircuitBreaker::builder().minimum_calls(2).trial_calls(1);
    let breaker = breaker.open_for(SECOND).clock(clock.clone());
    let breaker = breaker.build().unwrap();
    let door = Door::default();
    door.answers(2);
    let layer = CircuitBreakerLayer::new(&breaker).fail();
    let mut service = layer.clone().layer(door.clone());
    for calls in [1, 2] {
        let Poll::Ready(Err(failed)) = ready(&mut service) else {
            panic!("it is gone");
        };
        assert!(failed.denied().is_none());
        assert_eq!(
            (breaker.stats().calls, breaker.stats().failures),
            (calls, calls)
        );
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    // Once its time has passed it is a trial that fails.
    clock.advance(SECOND);
    assert!(matches!(ready(&mut service), Poll::Ready(Err(_))));
    assert_eq!(
        (breaker.state(), breaker.stats().opened),
        (BreakerState::Open, 2)
    );
    // The judge says what it means.
    breaker.reset();
    let mut judged = layer
        .judge(|_: &io::Result<u32>| Verdict::Ignored)
        .layer(door);
    assert!(matches!(ready(&mut judged), Poll::Ready(Err(_))));
    let stats = breaker.stats();
    assert_eq!((stats.calls, stats.ignored), (0, 1));
}

/// A limiter's own runtime keeps the time of waits, wherever they are polled: here by a thread
/// whose own would be smol.
#[test]
fn a_wait_is_bounded_by_the_runtime_that_the_limiter_was_given() {
    let rt = SteppedRuntime::over(&Handle::smol());
    // So their clocks are the runtime's.
    let inside = rt.enter();
    let bucket = TokenBucket::builder().rate("1/s").burst(1).runtime(&rt);
    let bucket = bucket.build().unwrap();
    let keyed = KeyedLimiter::<u32>::builder().rate("1/s").burst(1);
    let keyed = keyed.max_keys(9).runtime(&rt).build().unwrap();
    let permits = ConcurrencyLimiter::builder().limit(1).runtime(&rt);
    let permits = permits.build().unwrap();
    let learns = ConcurrencyLimiter::adaptive(Aimd::default()).range(1..=1);
    let learns = learns.runtime(&rt).build().unwrap();
    drop(inside);
    let _taken = (
        bucket.try_acquire().unwrap(),
        keyed.try_acquire(&1).unwrap(),
        permits.try_acquire().unwrap(),
        learns.try_acquire().unwrap(),
    );
    let limit = 1_500 * MS;
    let limited = RateLimitLayer::new(&bucket).wait_up_to(limit).fail();
    let by_key = RateLimitLayer::keyed(&keyed, same).wait_up_to(limit).fail();
    let bounded = ConcurrencyLayer::new(&permits).wait_up_to(limit).fail();
    let learning = AdaptiveLayer::new(&learns).wait_up_to(limit).fail();
    let mut limited = pin!(limited.layer(plus_one()).oneshot(1));
    let mut by_key = pin!(by_key.layer(plus_one()).oneshot(1));
    let mut bounded = pin!(bounded.layer(plus_one()).oneshot(1));
    let mut learning = pin!(learning.layer(plus_one()).oneshot(1));
    assert!(poll(limited.as_mut()).is_pending());
    assert!(poll(by_key.as_mut()).is_pending());
    assert!(poll(bounded.as_mut()).is_pending());
    assert!(poll(learning.as_mut()).is_pending());
    // The rates fall meanwhile, so that all of them end at their limit.
    bucket.set_rate("1/h").unwrap();
    keyed.set_rate("1/h").unwrap();
    block_on(rt.advance(2 * SECOND)).unwrap();
    let denied = |polled: Poll<Result<u32, LimitError<io::Error>>>| match polled {
        Poll::Ready(Err(LimitError::Denied(why))) => why,
        other => panic!("{other:?}"),
    };
    for why in [
        denied(poll(limited.as_mut())),
        denied(poll(by_key.as_mut())),
    ] {
        assert!(matches!(why, Denied::NotYet { .. }), "{why:?}");
    }
    for polled in [poll(bounded.as_mut()), poll(learning.as_mut())] {
        let Poll::Ready(Err(LimitError::Denied(why))) = polled else {
            panic!("it was not bounded");
        };
        assert!(matches!(why, PermitError::Timeout { .. }), "{why:?}");
    }
}

/// The time until the service is ready, for whatever it waits itself, is no latency of a request.
#[test]
fn a_request_that_is_learnt_from_begins_when_the_service_is_ready() {
    let clock = ManualClock::new();
    let limiter = ConcurrencyLimiter::adaptive(Aimd::default()).min_samples(1);
    let limiter = limiter.clock(clock.clone()).build().unwrap();
    let door = Door::default();
    let mut service = AdaptiveLayer::new(&limiter).fail().layer(door.clone());
    for late in [true, false] {
        door.answers(u32::from(!late));
        if late {
            assert!(ready(&mut service).is_pending());
            clock.advance(SECOND);
            door.answers(1);
        }
        assert!(matches!(ready(&mut service), Poll::Ready(Ok(()))));
        let mut call = pin!(service.call(1));
        clock.advance(200 * MS);
        assert!(matches!(poll(call.as_mut()), Poll::Ready(Ok(2))));
        assert_eq!(limiter.stats().last_latency, Some(200 * MS), "late: {late}");
        clock.advance(SECOND);
    }
}

/// Nobody waits, and so needs no runtime.
#[test]
fn who_rejects_by_key_needs_no_runtime() {
    let limiter = KeyedLimiter::<u32>::new("1/h", 1, 100).unwrap();
    let layer = RateLimitLayer::keyed(&limiter, same).fail();
    for layer in [layer.clone(), layer.wait_up_to(Duration::ZERO)] {
        let mut service = layer.layer(plus_one());
        let _ = poll(service.call(1));
        let Poll::Ready(Err(denied)) = poll(service.call(1)) else {
            panic!("it waits");
        };
        assert!(denied.retry_after().is_some());
    }
}
