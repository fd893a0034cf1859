//! Circuit breakers and adaptive limiters by clocks that are wrong: standing, going back, jumping to
//! the end of time, differing between threads. No call goes that may not, and nothing hangs.
#![cfg(not(loom))]

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use flow_ratelimit::{
    AdaptiveLimiter, Aimd, BreakerState, CircuitBreaker, CircuitBreakerBuilder, ConcurrencyLimiter,
    Gradient2, Vegas,
};
use flow_rt::{Clock, Instant, ManualClock};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

thread_local! {
    static OFFSET: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A clock that every thread sees otherwise.
#[derive(Clone)]
struct Torn(ManualClock);

impl Clock for Torn {
    fn now(&self) -> Instant {
        self.0.now() + OFFSET.get()
    }
}

/// Opens for a second from the first failure on, and lets one trial through.
fn nervous<C: Clock + Clone>(clock: &C) -> [CircuitBreaker<C>; 2] {
    let builder = || {
        let builder = CircuitBreaker::builder()
            .minimum_calls(1)
            .failure_rate(0.001);
        builder
            .open_for(SECOND)
            .trial_calls(1)
            .slow_call(HOUR, 0.001)
    };
    let build = |builder: CircuitBreakerBuilder| builder.clock(clock.clone()).build();
    [builder().window(1_000), builder().window_of(SECOND)].map(|it| build(it).expect("valid"))
}

#[test]
fn an_open_breaker_stays_open_while_its_clock_stands_or_is_back() {
    let start = Instant::ORIGIN + HOUR;
    let clock = ManualClock::starting_at(start);
    for breaker in nervous(&clock) {
        clock.set(start);
        for _ in 0..100 {
            breaker.try_acquire().expect("closed").success();
        }
        breaker.try_acquire().expect("closed").failure();
        for (at, left) in [
            (start, SECOND),
            (start - HOUR, SECOND + HOUR),
            (start + 999 * MS, MS),
            (start, SECOND),
        ] {
            clock.set(at);
            for _ in 0..100 {
                let rejected = breaker.try_acquire().expect_err("open");
                assert_eq!(rejected.retry_after(), Some(left));
            }
        }
        assert_eq!(breaker.stats().rejected, 400);
        clock.set(start + SECOND);
        let trial = breaker.try_acquire().expect("its time is over");
        // The trial is over before it began, by the clock.
        clock.set(start - HOUR);
        breaker.try_acquire().expect_err("a trial runs");
        trial.success();
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.try_acquire().expect("closed").success();
    }
}

proptest! {
    /// Calls that end at once, at any times: whether one goes follows from the latest opening alone.
    #[test]
    fn calls_go_by_the_time_that_the_clock_shows_whatever_it_is(
        calls in prop::collection::vec((time(), time(), any::<bool>()), 1..300),
    ) {
        let clock = ManualClock::new();
        for breaker in nervous(&clock) {
            let mut opens_at = None;
            let mut rejected = 0;
            for &(begins, ends, fails) in &calls {
                clock.set(begins);
                let goes = opens_at.is_none_or(|at| begins >= at);
                let permit = breaker.try_acquire();
                prop_assert_eq!(permit.is_ok(), goes);
                let Ok(permit) = permit else {
                    rejected += 1;
                    continue;
                };
                clock.set(ends);
                // It is an hour or more that makes a call slow, and one that is slow is bad.
                let is_bad = fails || ends.saturating_duration_since(begins) >= HOUR;
                if fails {
                    permit.failure();
                } else {
                    permit.success();
                }
                opens_at = is_bad.then(|| ends.saturating_add(SECOND));
                let state = if is_bad { BreakerState::Open } else { BreakerState::Closed };
                prop_assert_eq!(breaker.state(), state);
            }
            prop_assert_eq!(breaker.stats().rejected, rejected);
            breaker.reset();
            breaker.try_acquire().expect("closed").success();
        }
    }
}

/// Close together mostly, and anywhere.
fn time() -> impl Strategy<Value = Instant> {
    let nanos = prop_oneof![
        4 => 5_000_000_000..8_000_000_000_u64,
        1 => any::<u64>(),
        1 => Just(0),
        1 => Just(u64::MAX),
    ];
    nanos.prop_map(Instant::from_nanos)
}

#[test]
fn a_breaker_whose_clock_differs_between_threads_loses_no_call() {
    let clock = ManualClock::starting_at(Instant::ORIGIN + HOUR);
    for breaker in nervous(&Torn(clock.clone())) {
        let (went, rejected) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for (seat, offset) in [Duration::ZERO, MS, SECOND, HOUR].into_iter().enumerate() {
                let (breaker, clock) = (&breaker, &clock);
                let (went, rejected) = (&went, &rejected);
                scope.spawn(move || {
                    OFFSET.set(offset);
                    for call in 0..5_000 {
                        clock.advance(Duration::from_micros(500));
                        let Ok(permit) = breaker.try_acquire() else {
                            rejected.fetch_add(1, Ordering::Relaxed);
                            continue;
                        };
                        went.fetch_add(1, Ordering::Relaxed);
                        if (call + seat) % 7 == 0 {
                            permit.failure();
                        } else {
                            permit.success();
                        }
                    }
                });
            }
        });
        // Whatever was let through is counted, by its outcome or as one of a state that had
        // passed, and the others have been told.
        let (went, rejected) = (went.into_inner(), rejected.into_inner());
        assert_eq!(went + rejected, 4 * 5_000);
        let stats = breaker.stats();
        assert_eq!(stats.rejected, rejected);
        assert_eq!(stats.succeeded + stats.failed + stats.ignored, went);
        // By one clock again, once the latest of them has passed.
        clock.advance(HOUR + 2 * SECOND);
        for _ in 0..2 {
            breaker.try_acquire().expect("its time is over").success();
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}

/// One of each algorithm, between 5 and 50 permits.
fn adaptive<C: Clock + Clone>(clock: &C) -> [AdaptiveLimiter<C>; 3] {
    let gradient = ConcurrencyLimiter::adaptive(Gradient2::default());
    let vegas = ConcurrencyLimiter::adaptive(Vegas::default());
    let aimd = ConcurrencyLimiter::adaptive(Aimd::default());
    [gradient, vegas, aimd].map(|builder| {
        let builder = builder.range(5..=50).initial(20).min_samples(2);
        builder.clock(clock.clone()).build().expect("valid")
    })
}

fn calls<C: Clock>(limiter: &AdaptiveLimiter<C>, count: usize, fails: bool) {
    for _ in 0..count {
        let permit = limiter.try_acquire().expect("nobody else has any");
        if fails {
            permit.failure();
        } else {
            permit.success();
        }
    }
}

/// By a clock that is right, a window is closed every so often.
fn goes_on<C: Clock>(limiter: &AdaptiveLimiter<C>, clock: &ManualClock) {
    let before = limiter.stats().windows;
    // At first one in 64 may be looked at, if there was much traffic before.
    for _ in 0..600 {
        let permit = limiter.try_acquire().expect("nobody else has any");
        clock.advance(50 * MS);
        permit.success();
    }
    assert!(limiter.stats().windows >= before + 20, "{limiter:?}");
    assert!((5..=50).contains(&limiter.limit()));
    assert_eq!(limiter.in_flight(), 0);
    assert_eq!(limiter.available(), limiter.limit());
}

#[test]
fn a_clock_that_stands_decides_nothing_and_one_that_goes_far_back_once() {
    let start = Instant::ORIGIN + HOUR;
    let clock = ManualClock::starting_at(start);
    for limiter in adaptive(&clock) {
        clock.set(start);
        calls(&limiter, 1, false);
        for at in [start, start + MS, start - SECOND, start] {
            clock.set(at);
            calls(&limiter, 200, true);
            let all: Vec<_> = (0..20)
                .map(|_| limiter.try_acquire().expect("it"))
                .collect();
            limiter.try_acquire().expect_err("no more than 20");
            drop(all);
        }
        let stats = limiter.stats();
        assert_eq!((limiter.limit(), stats.windows), (20, 0), "{limiter:?}");
        // Nobody knows how long that window was: it is over.
        clock.set(Instant::ORIGIN);
        calls(&limiter, 200, true);
        assert_eq!(limiter.stats().windows, 1, "{limiter:?}");
        goes_on(&limiter, &clock);
    }
}

/// 584 years but for an hour are one window, whatever came in it.
#[test]
fn a_clock_that_jumps_to_the_end_of_time_decides_once() {
    let start = Instant::ORIGIN + HOUR;
    let clock = ManualClock::starting_at(start);
    for limiter in adaptive(&clock) {
        clock.set(start);
        calls(&limiter, 10, false);
        let across = limiter.try_acquire().expect("it");
        clock.set(Instant::FAR_FUTURE - HOUR);
        across.success();
        calls(&limiter, 500, true);
        assert!(limiter.stats().windows <= 2, "{limiter:?}");
        // At the end itself every window is over.
        clock.set(Instant::FAR_FUTURE);
        calls(&limiter, 500, true);
        assert!((5..=50).contains(&limiter.limit()));
        let back = limiter.try_acquire().expect("it");
        clock.set(start);
        back.success();
        goes_on(&limiter, &clock);
    }
}

#[test]
fn an_adaptive_limiter_whose_clock_differs_between_threads_keeps_its_range() {
    let start = Instant::ORIGIN + HOUR;
    let clock = ManualClock::starting_at(start);
    for limiter in adaptive(&Torn(clock.clone())) {
        clock.set(start);
        let running = AtomicU64::new(0);
        thread::scope(|scope| {
            let ends = Duration::from_nanos(u64::MAX);
            for (seat, offset) in [Duration::ZERO, MS, HOUR, ends].into_iter().enumerate() {
                let (limiter, clock, running) = (&limiter, &clock, &running);
                scope.spawn(move || {
                    OFFSET.set(offset);
                    for call in 0..5_000 {
                        let Ok(permit) = limiter.try_acquire_n(3) else {
                            continue;
                        };
                        let now = running.fetch_add(3, Ordering::Relaxed) + 3;
                        assert!(now <= 50, "{now} at once");
                        clock.advance(Duration::from_micros(300));
                        running.fetch_sub(3, Ordering::Relaxed);
                        if (call + seat) % 5 == 0 {
                            permit.failure();
                        } else {
                            permit.success();
                        }
                    }
                });
            }
        });
        assert!((5..=50).contains(&limiter.limit()), "{limiter:?}");
        goes_on(&limiter, &clock);
    }
}
