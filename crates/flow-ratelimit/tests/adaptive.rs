//! The adaptive limiter: what its permits teach, when it decides, what it refuses to be built
//! with, and clocks that are wrong.
#![cfg(not(loom))]

use std::error::Error;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_ratelimit::{
    AdaptiveConfigError, AdaptiveLimiter, Aimd, ConcurrencyConfigError, ConcurrencyLimiter,
    Fairness, Gradient2, LimitAlgorithm, PermitError, TryPermitError, Vegas, Window,
};
use flow_rt::sim;
use flow_rt::{Instant, ManualClock, TestRuntime};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

flow_rt::on_every_runtime! {
    seeds 0..20;
    a_raised_limit_lets_those_in_who_wait,
    waits_are_those_of_the_limiter,
}

/// Keeps the windows that it is shown, and answers as it is told.
#[derive(Debug, Clone, Default)]
struct Told {
    seen: Arc<Mutex<Vec<Window>>>,
    answer: Arc<AtomicU32>,
}

impl LimitAlgorithm for Told {
    fn on_window(&mut self, window: &Window) -> u32 {
        self.seen.lock().unwrap().push(*window);
        match self.answer.load(Ordering::Relaxed) {
            0 => window.limit(),
            PANIC => panic!("the algorithm's own"),
            answer => answer,
        }
    }
}

const PANIC: u32 = 7_777;

impl Told {
    fn take(&self) -> Vec<Window> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    fn answer(&self, limit: u32) {
        self.answer.store(limit, Ordering::Relaxed);
    }
}

fn told(clock: &ManualClock, samples: u32) -> (Told, AdaptiveLimiter<ManualClock>) {
    let told = Told::default();
    let limiter = ConcurrencyLimiter::adaptive(told.clone())
        .range(1..=100)
        .min_samples(samples)
        .clock(clock.clone());
    (told, limiter.build().expect("valid"))
}

#[test]
fn a_window_holds_what_the_permits_said() {
    let clock = ManualClock::new();
    let (told, limiter) = told(&clock, 3);
    let [one, two, three, four] = [(); 4].map(|()| limiter.try_acquire().expect("free"));
    clock.advance(10 * MS);
    one.success();
    clock.advance(20 * MS);
    two.success();
    three.ignore();
    clock.advance(70 * MS);
    assert!(told.take().is_empty(), "the window is open");
    four.failure();
    let seen = told.take();
    let [window] = seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(window.limit(), 20);
    assert_eq!((window.success_count(), window.failure_count()), (2, 1));
    assert_eq!(window.mean_latency(), Some(20 * MS));
    assert_eq!(window.min_latency(), Some(10 * MS));
    assert_eq!(window.latency_deviation(), 10 * MS);
    assert_eq!(window.most_in_flight(), 4);
    assert_eq!(window.elapsed(), 100 * MS);
    assert!((window.failure_rate() - 1.0 / 3.0).abs() < 1e-9);
    assert_eq!(limiter.in_flight(), 0);
    let stats = limiter.stats();
    assert_eq!((stats.windows, stats.increases, stats.decreases), (1, 0, 0));
    assert_eq!(stats.last_latency, Some(20 * MS));
    assert_eq!((stats.failures, stats.permits.granted), (1, 4));
}

#[test]
fn dropped_and_ignored_permits_teach_nothing() {
    let clock = ManualClock::new();
    let (told, limiter) = told(&clock, 1);
    for _ in 0..10 {
        drop(limiter.try_acquire().expect("free"));
        limiter.try_acquire_owned().expect("free").ignore();
        clock.advance(200 * MS);
    }
    let limiter_in_panic = AssertUnwindSafe(&limiter);
    let panicked = catch_unwind(move || {
        let _permit = limiter_in_panic.try_acquire().expect("free");
        panic!("while it is held");
    });
    assert!(panicked.is_err());
    assert_eq!(limiter.in_flight(), 0);
    assert!(told.take().is_empty());
}

#[test]
fn permits_are_split_and_merged_and_forgotten() {
    let clock = ManualClock::new();
    let (told, limiter) = told(&clock, 2);
    let mut batch = limiter.try_acquire_n(5).expect("free");
    assert!(batch.split(6).is_none());
    let part = batch.split(2).expect("it has five");
    clock.advance(50 * MS);
    let later = limiter.try_acquire_n(3).expect("free");
    batch.merge(later).expect("of one limiter");
    assert_eq!(
        (batch.count(), part.count(), limiter.in_flight()),
        (6, 2, 8)
    );
    clock.advance(50 * MS);
    // Each tells of its own end; what was merged is one sample, from the begin of the first.
    part.success();
    let (other_told, other) = self::told(&clock, 1);
    let mut foreign = other.try_acquire().expect("free");
    let batch = foreign
        .merge(batch)
        .expect_err("of two limiters")
        .into_permit();
    assert_eq!((foreign.count(), batch.count()), (1, 6));
    batch.success();
    let seen = told.take();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].success_count(), 2);
    assert_eq!(seen[0].mean_latency(), Some(100 * MS));
    assert_eq!(seen[0].most_in_flight(), 8);
    assert_eq!(limiter.in_flight(), 0);

    let mut owned = other.try_acquire_owned_n(3).expect("free");
    let part = owned.split(1).expect("it has three");
    owned.merge(part).expect("of one limiter");
    let foreign_owned = limiter.try_acquire_owned().expect("free");
    let back = owned.merge(foreign_owned).expect_err("of two limiters");
    assert!(back.to_string().contains("different limiters"));
    back.into_permit().forget();
    foreign.forget();
    clock.advance(200 * MS);
    owned.success();
    assert_eq!(other_told.take().len(), 1);
    assert_eq!((limiter.in_flight(), other.in_flight()), (1, 1));
}

#[test]
fn a_cell_that_is_full_costs_little_and_closes_its_window_all_the_same() {
    let clock = ManualClock::new();
    let (told, limiter) = told(&clock, 1);
    // A hundred thousand permits in the first window, of which four thousand are taken.
    for _ in 0..100_000 {
        let permit = limiter.try_acquire().expect("free");
        clock.advance(Duration::from_micros(1));
        permit.success();
    }
    let mut late = 0;
    while told.seen.lock().unwrap().is_empty() {
        limiter.try_acquire().expect("free").success();
        late += 1;
    }
    assert!(late < 2 * 64, "{late} more permits");
    let first = told.take()[0];
    let full = 4_096..=8_192;
    assert!(full.contains(&first.success_count()), "{first:?}");
    // The next one is sampled as thinly as is enough, at once.
    for _ in 0..101_000 {
        let permit = limiter.try_acquire().expect("free");
        clock.advance(Duration::from_micros(1));
        permit.success();
    }
    let second = told.take()[0];
    let sampled = 1_700..=2_500;
    assert!(sampled.contains(&second.success_count()), "{second:?}");
    assert_eq!(second.mean_latency(), Some(Duration::from_micros(1)));
}

#[test]
fn too_few_samples_make_no_window() {
    let clock = ManualClock::new();
    let (told, limiter) = told(&clock, 5);
    for sample in 1..=5 {
        let permit = limiter.try_acquire().expect("free");
        clock.advance(300 * MS);
        permit.success();
        assert_eq!(told.take().len(), usize::from(sample == 5));
    }
}

#[test]
fn permits_from_before_a_decrease_teach_nothing() {
    let clock = ManualClock::new();
    let (told, limiter) = told(&clock, 1);
    let mut old: Vec<_> = (0..3)
        .map(|_| limiter.try_acquire().expect("free"))
        .collect();
    let permit = limiter.try_acquire().expect("free");
    clock.advance(100 * MS);
    told.answer(10);
    permit.success();
    assert_eq!(limiter.limit(), 10);
    assert_eq!(told.take().len(), 1);
    told.answer(0);
    // It closes no window, nor is it in the next.
    clock.advance(100 * MS);
    let oldest = old.pop();
    for permit in old {
        permit.failure();
    }
    // The first window after a decrease is thrown away.
    let settling = limiter.try_acquire().expect("free");
    clock.advance(500 * MS);
    settling.success();
    assert!(told.take().is_empty());
    let permit = limiter.try_acquire().expect("free");
    oldest.expect("three").failure();
    clock.advance(200 * MS);
    permit.success();
    let seen = told.take();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].success_count(), seen[0].failure_count()), (1, 0));
    assert_eq!(seen[0].most_in_flight(), 1);
}

#[test]
fn the_answer_is_brought_into_the_range() {
    let clock = ManualClock::new();
    let (told, limiter) = told(&clock, 1);
    for (answer, limit) in [(u32::MAX, 100), (100, 100), (1, 1), (50, 50)] {
        told.answer(answer);
        // Once more than needed: the window after a decrease is not asked about.
        for _ in 0..2 {
            let permit = limiter.try_acquire().expect("free");
            clock.advance(1_000 * MS);
            permit.success();
        }
        assert_eq!(limiter.limit(), limit);
    }
    let stats = limiter.stats();
    assert_eq!((stats.increases, stats.decreases), (2, 1));
}

#[test]
fn a_panic_of_the_algorithm_keeps_neither_permit_nor_window() {
    let clock = ManualClock::new();
    let (told, limiter) = told(&clock, 1);
    told.answer(PANIC);
    let permit = limiter.try_acquire().expect("free");
    clock.advance(100 * MS);
    let panicked = catch_unwind(AssertUnwindSafe(|| permit.success()));
    assert!(panicked.is_err());
    assert_eq!((limiter.in_flight(), limiter.limit()), (0, 20));
    told.answer(30);
    let permit = limiter.try_acquire().expect("free");
    clock.advance(200 * MS);
    permit.success();
    assert_eq!(limiter.limit(), 30);
}

/// Says that it decides, and does not end before it is told to.
#[derive(Debug)]
struct Slow {
    decides: Sender<()>,
    go_on: Receiver<()>,
}

impl LimitAlgorithm for Slow {
    fn on_window(&mut self, window: &Window) -> u32 {
        self.decides.send(()).expect("somebody listens");
        self.go_on.recv().expect("it is told");
        window.limit()
    }
}

/// One thread decides; however long that takes, the others take and end permits, and windows' time
/// passes.
#[test]
fn nobody_waits_for_a_decision() {
    let clock = ManualClock::new();
    let ((decides, is_deciding), (tell, go_on)) = (channel(), channel());
    let limiter = ConcurrencyLimiter::adaptive(Slow { decides, go_on })
        .range(1..=100)
        .min_samples(1)
        .clock(clock.clone());
    let limiter = limiter.build().expect("valid");
    let work = || {
        for _ in 0..1_000 {
            let (one, other) = (limiter.try_acquire(), limiter.try_acquire_owned());
            clock.advance(10 * MS);
            one.expect("free").success();
            other.expect("free").failure();
        }
        let all = limiter.try_acquire_n(20).expect("free");
        let mut cx = Context::from_waker(Waker::noop());
        let mut wait = pin!(limiter.acquire());
        assert!(wait.as_mut().poll(&mut cx).is_pending());
        all.success();
        assert!(wait.as_mut().poll(&mut cx).is_ready());
        limiter.stats().windows
    };
    std::thread::scope(|scope| {
        // Goes with this scope: if it fails, nobody waits to be told.
        let tell = tell;
        let permit = limiter.try_acquire().expect("free");
        clock.advance(100 * MS);
        scope.spawn(move || permit.success());
        is_deciding.recv().expect("it decides");
        let (done, is_done) = channel();
        scope.spawn(move || done.send(work()).expect("it is awaited"));
        // Far more than it takes, so that one that waits is a failure and no hang.
        let windows = is_done.recv_timeout(Duration::from_secs(60));
        tell.send(()).expect("it waits");
        assert_eq!(windows, Ok(0), "somebody waited, or decided as well");
    });
    assert_eq!((limiter.stats().windows, limiter.in_flight()), (1, 0));
}

#[test]
fn much_traffic_is_sampled_and_the_shares_stay() {
    let clock = ManualClock::new();
    let (told, limiter) = told(&clock, 1);
    for turn in 0..44_000_u32 {
        let permit = limiter.try_acquire().expect("free");
        clock.advance(Duration::from_micros(5));
        if turn % 10 == 0 {
            permit.failure();
        } else {
            permit.success();
        }
    }
    let seen = told.take();
    // The first window is full of samples, later ones have enough.
    let last = seen.last().expect("two windows");
    let samples = last.success_count() + last.failure_count();
    assert!((1_500..3_000).contains(&samples), "{samples}");
    assert!((0.07..0.13).contains(&last.failure_rate()), "{last:?}");
    assert_eq!(last.mean_latency(), Some(Duration::from_micros(5)));
}

#[test]
fn a_slow_service_makes_long_windows() {
    let clock = ManualClock::new();
    let (told, limiter) = told(&clock, 1);
    let permit = limiter.try_acquire().expect("free");
    clock.advance(500 * MS);
    permit.success();
    assert_eq!(told.take().len(), 1);
    for (wait, windows) in [(900, 0), (101, 1)] {
        let permit = limiter.try_acquire().expect("free");
        clock.advance(wait * MS);
        permit.success();
        assert_eq!(told.take().len(), windows, "after {wait} ms");
    }
}

#[test]
fn wrong_values_are_refused() {
    type Wrong = AdaptiveConfigError;
    let with = || ConcurrencyLimiter::adaptive(Aimd::default());
    let wrong = |builder: flow_ratelimit::AdaptiveLimiterBuilder| {
        let error = builder.build().expect_err("wrong");
        assert!(!error.to_string().is_empty());
        error
    };
    let zero = Wrong::Limiter(ConcurrencyConfigError::ZeroLimit);
    assert_eq!(wrong(with().range(0..=10)), zero);
    assert!(zero.source().is_some());
    let large = wrong(with().range(1..=u32::MAX));
    assert!(matches!(
        large,
        Wrong::Limiter(ConcurrencyConfigError::LimitTooLarge { .. })
    ));
    let nobody = Wrong::Limiter(ConcurrencyConfigError::ZeroWaiters);
    assert_eq!(wrong(with().max_waiters(0)), nobody);
    #[allow(clippy::reversed_empty_ranges)] // the mistake that is meant
    let empty = wrong(with().range(10..=9));
    assert_eq!(empty, Wrong::EmptyRange { min: 10, max: 9 });
    assert!(empty.to_string().contains("10..=9"));
    let outside = Wrong::InitialOutside {
        given: 5,
        min: 10,
        max: 20,
    };
    assert_eq!(wrong(with().range(10..=20).initial(5)), outside);
    assert!(matches!(
        wrong(with().window(Duration::ZERO)),
        Wrong::Window { .. }
    ));
    assert!(matches!(
        wrong(with().window(Duration::MAX)),
        Wrong::Window { .. }
    ));
    for samples in [0, 1_025] {
        assert!(matches!(
            wrong(with().min_samples(samples)),
            Wrong::Samples { .. }
        ));
    }
}

#[test]
fn wrong_parameters_are_refused() {
    fn refused(algorithm: impl LimitAlgorithm) -> String {
        let error = ConcurrencyLimiter::adaptive(algorithm)
            .build()
            .expect_err("wrong");
        assert!(
            matches!(error, AdaptiveConfigError::Parameter { .. }),
            "{error:?}"
        );
        error.to_string()
    }
    for wrong in [f64::NAN, -0.1, 0.0, 1.1, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(refused(Aimd::new().backoff(wrong)).contains("backoff"));
        assert!(refused(Vegas::new().alpha(wrong)).contains("alpha"));
        assert!(refused(Vegas::new().beta(wrong)).contains("beta"));
        refused(Vegas::new().backoff(wrong));
        refused(Gradient2::new().smoothing(wrong));
        refused(Gradient2::new().backoff(wrong));
    }
    for wrong in [f64::NAN, -0.1, 1.1] {
        refused(Aimd::new().tolerate_failures(wrong));
        refused(Vegas::new().tolerate_failures(wrong));
        refused(Gradient2::new().tolerate_failures(wrong));
    }
    for wrong in [f64::NAN, 0.9, f64::INFINITY] {
        refused(Gradient2::new().tolerance(wrong));
    }
    refused(Aimd::new().backoff(1.0));
    refused(Aimd::new().max_latency(Duration::ZERO));
    assert!(refused(Vegas::new().alpha(0.5).beta(0.4)).contains("0.5"));
    refused(Vegas::new().probe_every(0));
    refused(Gradient2::new().probe_every(0));
}

async fn a_raised_limit_lets_those_in_who_wait(rt: TestRuntime) {
    let told = Told::default();
    let limiter = ConcurrencyLimiter::adaptive(told.clone())
        .range(1..=10)
        .initial(1)
        .min_samples(1)
        .build()
        .expect("valid");
    let held = limiter.acquire_owned().await.expect("free");
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            rt.spawn({
                let limiter = limiter.clone();
                async move { limiter.acquire_owned().await.map(drop) }
            })
        })
        .collect();
    rt.settle().await;
    told.answer(3);
    rt.sleep(200 * MS).await.expect("it runs");
    held.success();
    for waiter in waiters {
        waiter.await.expect("no panic").expect("let in");
    }
    assert_eq!(limiter.limit(), 3);
    assert_eq!(told.take().len(), 1);
}

async fn waits_are_those_of_the_limiter(_rt: TestRuntime) {
    let limiter = ConcurrencyLimiter::adaptive(Vegas::default())
        .range(2..=2)
        .name("api");
    let limiter = limiter.build().expect("valid");
    assert_eq!(
        (limiter.name(), limiter.limit(), limiter.available()),
        (Some("api"), 2, 2)
    );
    let permit = limiter.try_acquire_n(2).expect("free");
    assert_eq!(permit.count(), 2);
    assert!(matches!(
        limiter.try_acquire_n(1),
        Err(TryPermitError::Full { .. })
    ));
    assert!(limiter.try_acquire_owned_n(3).is_err());
    let timeout = limiter.acquire_timeout(MS).await.expect_err("full");
    assert!(
        matches!(timeout, PermitError::Timeout { .. }),
        "{timeout:?}"
    );
    assert!(format!("{limiter:?} {permit:?}").contains("api"));
    let owned = permit.into_owned();
    assert_eq!(owned.count(), 2);
    owned.success();
    limiter.acquire().await.expect("free").success();
    limiter.acquire_n(2).await.expect("free").failure();
    limiter.acquire_owned_n(2).await.expect("free").failure();
    limiter
        .acquire_n_timeout(2, MS)
        .await
        .expect("free")
        .ignore();
    limiter.acquire_blocking().expect("free").ignore();
    let timed = limiter.acquire_n_blocking_timeout(2, MS).expect("free");
    assert_eq!(timed.count(), 2);
    timed.success();
    let never = limiter.acquire_n(3).await.expect_err("more than the limit");
    assert!(
        matches!(never, PermitError::ExceedsLimit { .. }),
        "{never:?}"
    );
    let never = limiter.acquire_n_timeout(3, 1_000 * MS).await;
    assert!(matches!(never, Err(PermitError::ExceedsLimit { .. })));
    limiter.close();
    assert!(limiter.is_closed());
    assert_eq!(
        limiter.acquire().await.expect_err("closed"),
        PermitError::Closed
    );
}

#[test]
fn an_idle_window_changes_nothing_unless_permits_failed() {
    let algorithms: [Box<dyn LimitAlgorithm>; 2] =
        [Box::new(Vegas::default()), Box::new(Gradient2::default())];
    for mut algorithm in algorithms {
        let idle = Window::new(100).successes(1_000, MS).max_in_flight(10);
        assert_eq!(algorithm.on_window(&idle), 100, "{algorithm:?}");
        let failed = algorithm.on_window(&idle.failures(100));
        assert_eq!(failed, 90, "{algorithm:?}");
    }
}

/// Each request needs eight, and the service refuses until the limit is below that: they go one
/// by one then, and the limit finds its way up again by what they say.
#[test]
fn a_limit_below_what_each_request_needs_rises_again() {
    let clock = ManualClock::new();
    for fairness in [Fairness::Fifo, Fairness::Barging] {
        let limiter = ConcurrencyLimiter::adaptive(Aimd::default())
            .range(1..=100)
            .fairness(fairness)
            .min_samples(10)
            .clock(clock.clone());
        let limiter = limiter.build().expect("valid");
        let request = || {
            clock.advance(10 * MS);
            limiter.try_acquire_n(8).expect("nothing else is in flight")
        };
        for _ in 0..500 {
            request().failure();
        }
        assert_eq!(limiter.limit(), 1);
        let (alone, mut cx) = (request(), Context::from_waker(Waker::noop()));
        assert_eq!((limiter.in_flight(), limiter.available()), (8, 0));
        assert!(matches!(
            limiter.try_acquire_n(8),
            Err(TryPermitError::Full { .. })
        ));
        let mut next = pin!(limiter.acquire_n(8));
        assert!(next.as_mut().poll(&mut cx).is_pending());
        alone.success();
        assert!(matches!(
            next.as_mut().poll(&mut cx),
            Poll::Ready(Ok(permit)) if permit.count() == 8
        ));
        for _ in 0..500 {
            request().success();
        }
        assert!(limiter.limit() >= 8, "{}", limiter.limit());
        let never = limiter.try_acquire_n(101).expect_err("out of the range");
        assert!(matches!(
            never,
            TryPermitError::ExceedsLimit { limit: 100, .. }
        ));
    }
}

#[test]
fn newcomers_pass_if_they_may() {
    for (fairness, passes) in [(Fairness::Fifo, false), (Fairness::Barging, true)] {
        let limiter = ConcurrencyLimiter::adaptive(Aimd::default())
            .range(1..=1)
            .fairness(fairness);
        let limiter = limiter.build().expect("valid");
        let held = limiter.try_acquire().expect("free");
        let mut waits = pin!(limiter.acquire());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(&mut cx).is_pending());
        // It comes back, and the one who waits was not polled yet.
        held.ignore();
        assert_eq!(limiter.try_acquire().is_ok(), passes, "{fairness:?}");
        assert!(waits.as_mut().poll(&mut cx).is_ready());
    }
}

#[test]
fn runs_in_virtual_time_are_equal() {
    let run = || {
        let limits = sim::Sim::new(7).run(|rt| async move {
            let limiter = ConcurrencyLimiter::adaptive(Gradient2::default())
                .build()
                .unwrap();
            let mut limits = Vec::new();
            for turn in 0..2_000_u32 {
                let permit = limiter.acquire_owned().await.unwrap();
                rt.spawn_detached({
                    let rt = rt.clone();
                    async move {
                        rt.sleep((5 + turn % 7) * MS).await;
                        permit.success();
                    }
                });
                limits.push(limiter.limit());
            }
            limits
        });
        limits.unwrap().output
    };
    let first = run();
    assert!(first.last() > first.first());
    assert_eq!(first, run());
}

/// Any algorithm with any windows.
fn windows() -> impl Strategy<Value = Vec<(u64, u64, u64, u64, u32)>> {
    let latency = prop_oneof![0..=10_u64, 1_000..50_000_000_u64, Just(u64::MAX)];
    let count = prop_oneof![0..3_u64, 0..2_000_u64, Just(u64::MAX)];
    let window = (count.clone(), latency.clone(), latency, count, any::<u32>());
    proptest::collection::vec(window, 1..200)
}

proptest! {
    #[test]
    fn no_windows_bring_an_algorithm_off(windows in windows(), max in 1..5_000_u32) {
        let algorithms: [Box<dyn LimitAlgorithm>; 3] = [
            Box::new(Aimd::default().max_latency(MS)),
            Box::new(Vegas::default()),
            Box::new(Gradient2::default()),
        ];
        for mut algorithm in algorithms {
            let mut limit = max.min(20);
            for (successes, latency, deviation, failures, in_flight) in &windows {
                let window = Window::new(limit)
                    .successes(*successes, Duration::from_nanos(*latency))
                    .deviation(Duration::from_nanos(*deviation))
                    .failures(*failures)
                    .max_in_flight(*in_flight);
                limit = algorithm.on_window(&window).clamp(1, max);
            }
            // It is alive: in calm it grows, or is at the end.
            for _ in 0..2_000 {
                let calm = Window::new(limit).successes(1_000, MS / 2).max_in_flight(limit);
                limit = algorithm.on_window(&calm).clamp(1, max);
            }
            // The last window may be a probe, which is a fifth lower.
            prop_assert!(limit >= max * 3 / 4, "{algorithm:?}: {limit} of {max}");
        }
    }

    #[test]
    fn no_clock_brings_a_limiter_off(times in proptest::collection::vec(
        prop_oneof![0..1_000_000_000_u64, any::<u64>(), Just(u64::MAX), Just(0)], 1..300)
    ) {
        let clock = ManualClock::new();
        let limiter = ConcurrencyLimiter::adaptive(Vegas::default())
            .range(5..=50)
            .min_samples(2)
            .clock(clock.clone())
            .build()
            .unwrap();
        for pair in times.chunks(2) {
            clock.set(Instant::from_nanos(pair[0]));
            let permit = limiter.try_acquire().unwrap();
            clock.set(Instant::from_nanos(*pair.last().unwrap()));
            permit.success();
            prop_assert!((5..=50).contains(&limiter.limit()));
        }
        // A clock that goes right again closes windows again.
        let before = limiter.stats().windows;
        let mut now = 1_000_000_000;
        for _ in 0..200 {
            clock.set(Instant::from_nanos(now));
            let permit = limiter.try_acquire().unwrap();
            now += 50_000_000;
            clock.set(Instant::from_nanos(now));
            permit.success();
        }
        prop_assert!(limiter.stats().windows > before + 20);
        prop_assert_eq!(limiter.in_flight(), 0);
    }
}
