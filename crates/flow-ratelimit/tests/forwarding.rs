//! Limiters behind pointers, as trait objects and through their accessors, and what `{:?}` tells.
#![cfg(not(loom))]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use flow_ratelimit::{
    AcquireError, ConcurrencyLimiter, Denied, LeakyBucket, Limiter, LimiterExt, Pacer, Quota, Rate,
    TokenBucket, WaitState,
};
use flow_rt::{ManualClock, TestRuntime};

const SEC: Duration = Duration::from_secs(1);

flow_rt::on_every_runtime! {
    a_limiter_behind_a_pointer_is_that_limiter,
    permits_show_what_they_hold,
}

/// Everything that the trait has, of a limiter of one token per second that holds two.
async fn is_a_limiter(limiter: impl Limiter) {
    let mut granted = limiter.try_acquire().unwrap();
    assert_eq!(granted.remaining(), 1);
    granted = limiter.try_acquire_n(1).unwrap();
    assert_eq!(granted.remaining(), 0);
    assert!(matches!(limiter.peek(), Err(Denied::NotYet { .. })));
    limiter.refund(2);
    limiter.peek_n(2).unwrap();
    granted = limiter.acquire_n(2).await.unwrap();
    assert_eq!(granted.remaining(), 0);

    let wait = limiter.acquire();
    assert_eq!(format!("{wait:?}"), "Acquire { n: 1, waiting: false, .. }");
    wait.await.unwrap();
    let wait = limiter.acquire_timeout(SEC / 2);
    let text = format!("{wait:?}");
    assert!(
        text.starts_with("AcquireTimeout { n: 1, limit: 500ms, waiting: false"),
        "{text}"
    );
    assert!(matches!(wait.await, Err(AcquireError::Timeout { .. })));

    let mut state = WaitState::new();
    let parked = std::future::poll_fn(|cx| {
        std::task::Poll::Ready(limiter.poll_acquire_n(cx, 1, &mut state).is_pending())
    });
    assert!(parked.await);
    assert!(state.is_waiting());
    limiter.cancel(&mut state);
    assert!(!state.is_waiting());
    limiter.acquire_n_timeout(1, SEC).await.unwrap();
}

fn bucket(rt: &TestRuntime) -> TokenBucket {
    let builder = TokenBucket::builder().rate("1/s").burst(2).runtime(rt);
    builder.build().unwrap()
}

async fn a_limiter_behind_a_pointer_is_that_limiter(rt: TestRuntime) {
    let limiter = bucket(&rt);
    is_a_limiter(&limiter).await;
    is_a_limiter(Box::new(bucket(&rt))).await;
    is_a_limiter(Arc::new(bucket(&rt))).await;
    let object: Box<dyn Limiter> = Box::new(bucket(&rt));
    is_a_limiter(object).await;
    let object: Arc<dyn Limiter> = Arc::new(bucket(&rt));
    is_a_limiter(&object).await;
    let leaky = LeakyBucket::builder().rate("1/s").capacity(2).runtime(&rt);
    let object: Arc<dyn Limiter> = Arc::new(leaky.build().unwrap());
    is_a_limiter(object).await;
}

#[test]
fn a_leaky_bucket_shows_its_state() {
    let clock = ManualClock::new();
    let builder = LeakyBucket::builder()
        .rate("10/s")
        .capacity(5)
        .initial_level(4)
        .name("api")
        .max_waiters(3)
        .counted(false)
        .clock(clock.clone());
    let text = format!("{builder:?}");
    assert!(
        text.starts_with("LeakyBucketBuilder { capacity: Some(5), initial_level: 4"),
        "{text}"
    );
    let bucket = builder.build().unwrap();
    assert_eq!(bucket.name(), Some("api"));
    bucket.peek().unwrap();
    bucket.try_acquire().unwrap();
    assert!(bucket.peek().is_err());
    let stats = bucket.stats();
    assert_eq!((stats.granted, stats.level, stats.capacity), (0, 5, 5));
    let text = format!("{bucket:?}");
    for part in [
        "LeakyBucket",
        "\"api\"",
        "capacity: 5",
        "level: 5",
        "closed: false",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!bucket.is_closed());
    bucket.clone().close();
    assert!(bucket.is_closed());
    assert_eq!(bucket.peek(), Err(Denied::Closed));
}

#[test]
fn a_pacer_shows_its_state() {
    let builder = Pacer::builder()
        .rate("10/s")
        .capacity(5)
        .name("mail")
        .counted(false)
        .clock(ManualClock::new());
    let text = format!("{builder:?}");
    assert!(
        text.starts_with("PacerBuilder { capacity: Some(5)"),
        "{text}"
    );
    let pacer = builder.build().unwrap();
    let text = format!("{pacer:?}");
    for part in [
        "Pacer",
        "\"mail\"",
        "capacity: 5",
        "waiting: 0",
        "closed: false",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let object: &dyn Limiter = &pacer;
    object.peek_n(1).unwrap();
    object.try_acquire_n(1).unwrap();
    assert!(matches!(object.peek_n(1), Err(Denied::NotYet { .. })));
    object.refund(1);
    object.peek_n(1).unwrap();
    assert_eq!(pacer.stats().granted, 0);
}

async fn permits_show_what_they_hold(rt: TestRuntime) {
    let limiter = ConcurrencyLimiter::builder()
        .limit(4)
        .runtime(&rt)
        .build()
        .unwrap();
    let two = limiter.acquire_n(2);
    let text = format!("{two:?}");
    assert!(
        text.starts_with("AcquirePermit { count: 2, queued: false"),
        "{text}"
    );
    let two = two.await.unwrap();
    assert_eq!(format!("{two:?}"), "Permit(2)");
    let one = limiter.acquire_owned();
    let text = format!("{one:?}");
    assert!(text.starts_with("AcquireOwnedPermit { count: 1"), "{text}");
    let one = one.await.unwrap();
    assert_eq!(format!("{one:?}"), "OwnedPermit(1)");
    let wait = limiter.acquire_n_timeout(2, SEC);
    let text = format!("{wait:?}");
    assert!(
        text.starts_with("AcquirePermitTimeout { acquire: AcquirePermit { count: 2"),
        "{text}"
    );
    assert!(wait.await.is_err());
    // What is forgotten stays in flight.
    two.forget();
    one.forget();
    assert_eq!((limiter.in_flight(), limiter.available()), (3, 1));
}

#[test]
fn rates_and_quotas_come_in_every_form() {
    let (text, owned) = ("10/s burst 5", "10/s burst 5".to_owned());
    let quota: Quota = text.parse().unwrap();
    let build = || TokenBucket::builder();
    let bursts = [
        build().rate(quota).build().unwrap().burst(),
        build().rate(text).build().unwrap().burst(),
        build().rate(&owned).build().unwrap().burst(),
        build().rate(owned.clone()).build().unwrap().burst(),
        build().rate(Ok(quota)).build().unwrap().burst(),
    ];
    assert_eq!(bursts, [5; 5]);
    let bucket = build().rate(text).build().unwrap();
    bucket.set_rate("1/s".to_owned()).unwrap();
    let two = "2/s".to_owned();
    bucket.set_rate(&two).unwrap();
    assert_eq!(two.parse(), Ok(bucket.rate()));
    assert_eq!(bucket.rate(), Rate::per_second(2));
    assert_eq!(Rate::UNLIMITED.to_string(), "unlimited");
    let same = HashSet::from([
        Rate::per_second(2),
        Rate::per(120, Duration::from_secs(60)).unwrap(),
    ]);
    assert_eq!(same.len(), 1);
}
