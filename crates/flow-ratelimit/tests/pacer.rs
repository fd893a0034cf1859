//! The leaky bucket as a queue: spacing, capacity, order.

use core::time::Duration;
use std::sync::{Arc, Mutex};

use flow_ratelimit::{AcquireError, ConfigError, Denied, Limiter, Pacer, Rate};
use flow_rt::{Clock, Instant, ManualClock, TestRuntime, sim};
use proptest::prelude::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn bad_settings_are_refused() {
    assert_eq!(
        Pacer::new("10/s", 0).unwrap_err(),
        ConfigError::ZeroCapacity
    );
    let text = Pacer::new("10", 1).unwrap_err();
    assert!(matches!(text, ConfigError::InvalidRate { .. }));
    let missing = Pacer::builder().rate("1/s").build().unwrap_err();
    assert_eq!(missing, ConfigError::MissingCapacity);
    let missing = Pacer::builder().capacity(1).build().unwrap_err();
    assert_eq!(missing, ConfigError::MissingRate);
}

#[test]
fn one_at_a_time_without_waiting() {
    let clock = ManualClock::new();
    let pacer = Pacer::builder()
        .rate("10/s")
        .capacity(3)
        .clock(clock.clone())
        .build()
        .unwrap();
    pacer.try_acquire().unwrap();
    let denied = pacer.try_acquire().unwrap_err();
    assert_eq!(denied.retry_after(), Some(ms(100)));
    clock.advance(ms(10_000));
    assert!(pacer.peek().is_ok());
    pacer.try_acquire().unwrap();
    assert!(
        pacer.try_acquire().is_err(),
        "a pause earns one, however long"
    );
    let two = pacer.try_acquire_n(2);
    assert!(matches!(two, Err(Denied::ExceedsBurst { .. })));
    assert_eq!((pacer.capacity(), pacer.rate()), (3, Rate::per_second(10)));
    assert_eq!((pacer.stats().granted, pacer.stats().denied), (2, 3));
}

proptest! {
    /// However irregularly somebody looks, and however late: never nearer than the spacing.
    #[test]
    fn lateness_is_never_made_up_for(
        rate in 1..1_000_000_u64,
        pauses in prop::collection::vec(0..5_000_000_u64, 1..200),
    ) {
        let clock = ManualClock::new();
        let builder = Pacer::builder().rate(Rate::per_second(rate)).capacity(1);
        let pacer = builder.clock(clock.clone()).build().unwrap();
        let mut last: Option<Instant> = None;
        for pause in pauses {
            clock.advance(Duration::from_nanos(pause));
            if pacer.try_acquire().is_ok() {
                let now = clock.now();
                if let Some(last) = last {
                    // Grants at whole nanoseconds: a spacing that is none is rounded down.
                    let spacing = Duration::from_nanos(1_000_000_000 / rate);
                    prop_assert!(now - last >= spacing, "{:?}", now - last);
                }
                last = Some(now);
            }
        }
    }
}

/// In whatever order and at whatever times callers come, they leave evenly and without a gap.
#[test]
fn spacing_holds_for_random_arrivals() {
    sim::check(0..100, |rt| async move {
        let pacer = Pacer::new("100/s", 1_000).unwrap();
        let went: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let tasks: Vec<_> = (0..30)
            .map(|_| {
                let (pacer, went, handle) = (pacer.clone(), went.clone(), (*rt).clone());
                let pause = Duration::from_micros(rt.rng().below(200_000));
                rt.spawn(async move {
                    handle.sleep(pause).await.unwrap();
                    pacer.acquire().await.unwrap();
                    went.lock().unwrap().push(handle.now());
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let went = went.lock().unwrap();
        assert_eq!(went.len(), 30);
        for pair in went.windows(2) {
            assert!(pair[1] - pair[0] >= ms(10), "{:?}", pair[1] - pair[0]);
        }
    });
}

flow_rt::on_every_runtime! {
    lb_48_five_leave_evenly_spaced,
    whoever_finds_it_full_is_refused,
    one_that_gives_up_moves_the_others_up,
    a_new_rate_is_for_those_who_wait_too,
    a_close_ends_every_wait,
}

fn pacer(rt: &TestRuntime, rate: &str, capacity: usize) -> Pacer {
    let builder = Pacer::builder().rate(rate).capacity(capacity);
    builder.runtime(rt).name("pacer").build().unwrap()
}

async fn lb_48_five_leave_evenly_spaced(rt: TestRuntime) {
    let pacer = pacer(&rt, "10/s", 10);
    let went: Arc<Mutex<Vec<usize>>> = Arc::default();
    let mut tasks = Vec::new();
    for i in 0..5 {
        let (pacer, went) = (pacer.clone(), went.clone());
        tasks.push(rt.spawn(async move {
            pacer.acquire().await.unwrap();
            went.lock().unwrap().push(i);
        }));
        rt.settle().await;
    }
    for gone in 1..=5 {
        assert_eq!(*went.lock().unwrap(), (0..gone).collect::<Vec<_>>());
        rt.advance(ms(99)).await;
        assert_eq!(went.lock().unwrap().len(), gone);
        rt.advance(ms(1)).await;
    }
    for task in tasks {
        task.await.unwrap();
    }
}

async fn whoever_finds_it_full_is_refused(rt: TestRuntime) {
    let pacer = pacer(&rt, "1/h", 2);
    pacer.acquire().await.unwrap();
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let pacer = pacer.clone();
            rt.spawn(async move { pacer.acquire().await.map(drop) })
        })
        .collect();
    rt.settle().await;
    assert_eq!(pacer.waiting(), 2);
    let refused = pacer.acquire().await.unwrap_err();
    assert!(
        matches!(refused, AcquireError::QueueFull { max_waiters: 2, .. }),
        "{refused}"
    );
    pacer.close();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Err(AcquireError::Closed));
    }
}

async fn one_that_gives_up_moves_the_others_up(rt: TestRuntime) {
    let pacer = pacer(&rt, "10/s", 10);
    pacer.acquire().await.unwrap();
    let spawn = || {
        let pacer = pacer.clone();
        rt.spawn(async move { pacer.acquire().await.map(drop) })
    };
    let first = spawn();
    rt.settle().await;
    let second = spawn();
    rt.settle().await;
    first.abort();
    rt.settle().await;
    rt.advance(ms(100)).await;
    second.await.unwrap().unwrap();
    assert!(first.await.unwrap_err().is_cancelled());
}

async fn a_new_rate_is_for_those_who_wait_too(rt: TestRuntime) {
    let pacer = pacer(&rt, "1/h", 10);
    pacer.acquire().await.unwrap();
    let waiter = pacer.clone();
    let waiter = rt.spawn(async move { waiter.acquire().await.map(drop) });
    rt.settle().await;
    pacer.set_rate("10/s").unwrap();
    rt.advance(ms(100)).await;
    waiter.await.unwrap().unwrap();
    let cannot = pacer.acquire_timeout(ms(99)).await.unwrap_err();
    assert!(matches!(cannot, AcquireError::Timeout { .. }), "{cannot}");
}

async fn a_close_ends_every_wait(rt: TestRuntime) {
    let pacer = pacer(&rt, "1/h", 10);
    pacer.acquire().await.unwrap();
    let waiter = pacer.clone();
    let waiter = rt.spawn(async move { waiter.acquire().await.map(drop) });
    rt.settle().await;
    pacer.close();
    assert_eq!(waiter.await.unwrap(), Err(AcquireError::Closed));
    assert!(pacer.is_closed());
    assert_eq!(pacer.name(), Some("pacer"));
}
