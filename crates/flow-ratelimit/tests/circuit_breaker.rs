//! The circuit breaker on a clock moved by hand: states, windows, trials, hooks, wrong values.
#![cfg(not(loom))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use flow_ratelimit::{
    BreakerCause, BreakerConfigError, BreakerState, CallError, CallRejected, CircuitBreaker,
    CircuitBreakerBuilder, Verdict,
};
use flow_rt::{Backoff, BackoffConfigError, Instant, ManualClock};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

type Breaker = CircuitBreaker<ManualClock>;

/// Opens for a second from the first failure on.
fn nervous(clock: &ManualClock) -> CircuitBreakerBuilder<ManualClock> {
    CircuitBreaker::builder()
        .window(10)
        .minimum_calls(1)
        .failure_rate(0.1)
        .open_for(SECOND)
        .trial_calls(1)
        .clock(clock.clone())
}

fn succeed(breaker: &Breaker, calls: usize) {
    for _ in 0..calls {
        breaker.try_acquire().expect("let through").success();
    }
}

fn fail(breaker: &Breaker, calls: usize) {
    for _ in 0..calls {
        breaker.try_acquire().expect("let through").failure();
    }
}

#[test]
fn it_opens_at_the_rate_and_not_before() {
    let clock = ManualClock::new();
    // 7 of 100 times 0.07 is more than 7 in binary fractions.
    for (rate, failures) in [(0.5, 50), (0.07, 7), (1.0, 100), (0.011, 2)] {
        let breaker = CircuitBreaker::builder()
            .failure_rate(rate)
            .minimum_calls(100)
            .clock(clock.clone())
            .build()
            .expect("valid");
        succeed(&breaker, 100 - failures);
        fail(&breaker, failures - 1);
        assert_eq!(breaker.state(), BreakerState::Closed, "{rate}");
        fail(&breaker, 1);
        assert_eq!(breaker.state(), BreakerState::Open, "{rate}");
        let stats = breaker.stats();
        assert_eq!((stats.calls, stats.failures), (100, failures as u64));
        assert_eq!((stats.opened, stats.rejected), (1, 0));
    }
}

#[test]
fn it_waits_for_the_minimum_and_a_success_never_opens_it() {
    let clock = ManualClock::new();
    let breaker = nervous(&clock).minimum_calls(5).build().expect("valid");
    fail(&breaker, 4);
    succeed(&breaker, 1);
    // Four of five failed, but it is the next failure that says so.
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(breaker.stats().failure_rate(), Some(0.8));
    fail(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn the_last_calls_are_counted_exactly() {
    let clock = ManualClock::new();
    let breaker = CircuitBreaker::builder()
        .window(4)
        .minimum_calls(4)
        .failure_rate(0.5)
        .clock(clock)
        .build()
        .expect("valid");
    for _ in 0..1_000 {
        // Never two of the last four.
        fail(&breaker, 1);
        succeed(&breaker, 3);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&breaker, 1);
    succeed(&breaker, 2);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!(breaker.stats().succeeded, 3_002);
    assert_eq!(breaker.stats().failed, 1_002);
}

#[test]
fn a_window_of_time_forgets() {
    let clock = ManualClock::new();
    let breaker = CircuitBreaker::builder()
        .window_of(10 * SECOND)
        .minimum_calls(4)
        .failure_rate(0.5)
        .clock(clock.clone())
        .build()
        .expect("valid");
    // An hour of successes does not weigh after it has passed, though nobody looked at it.
    for _ in 0..360 {
        succeed(&breaker, 10);
        clock.advance(10 * SECOND);
    }
    fail(&breaker, 3);
    assert_eq!(breaker.stats().calls, 3);
    clock.advance(8 * SECOND);
    assert_eq!(breaker.stats().calls, 3);
    clock.advance(2 * SECOND);
    assert_eq!(breaker.stats().calls, 0);
    fail(&breaker, 3);
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn slow_calls_open_it_whether_they_fail_or_not() {
    let clock = ManualClock::new();
    let breaker = || {
        let builder = nervous(&clock).failure_rate(1.0).minimum_calls(4);
        builder.slow_call(100 * MS, 0.5).build().expect("valid")
    };
    let timed = |breaker: &Breaker, took: Duration, verdict| {
        let permit = breaker.try_acquire().expect("let through");
        clock.advance(took);
        permit.finish(verdict);
    };
    let (first, second) = (breaker(), breaker());
    timed(&first, 99 * MS, Verdict::Success);
    timed(&first, 99 * MS, Verdict::Success);
    timed(&first, 100 * MS, Verdict::Success);
    assert_eq!(first.state(), BreakerState::Closed);
    timed(&first, 100 * MS, Verdict::Success);
    assert_eq!(first.state(), BreakerState::Open);
    let stats = first.stats();
    assert_eq!((stats.slow, stats.failed, stats.succeeded), (2, 0, 4));
    assert_eq!(stats.slow_rate(), Some(0.5));

    timed(&second, 5 * SECOND, Verdict::Failure);
    timed(&second, MS, Verdict::Failure);
    timed(&second, MS, Verdict::Success);
    assert_eq!(second.state(), BreakerState::Closed);
    timed(&second, 5 * SECOND, Verdict::Success);
    assert_eq!(second.state(), BreakerState::Open);
    assert_eq!((second.stats().failures, second.stats().slow_calls), (2, 2));

    // A slow trial is no recovery.
    clock.advance(SECOND);
    timed(&second, 5 * SECOND, Verdict::Success);
    assert_eq!(second.state(), BreakerState::Open);
}

#[test]
fn an_open_breaker_says_when_and_lets_trials_through_then() {
    let clock = ManualClock::new();
    let breaker = nervous(&clock).trial_calls(3).build().expect("valid");
    fail(&breaker, 1);
    clock.advance(999 * MS);
    let rejected = breaker.try_acquire().expect_err("open");
    assert_eq!(rejected.retry_after(), Some(MS));
    // Waiting just so long suffices.
    clock.advance(MS);
    assert_eq!(breaker.state(), BreakerState::Open);
    let trials: Vec<_> = (0..3)
        .map(|_| breaker.try_acquire().expect("a trial"))
        .collect();
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    let rejected = breaker.try_acquire().expect_err("three are under way");
    assert_eq!(rejected, CallRejected::TrialsRunning);
    assert_eq!(rejected.retry_after(), None);
    let mut trials = trials.into_iter();
    for _ in 0..2 {
        trials.next().expect("one of three").success();
        // An outcome makes no place for another trial.
        assert!(breaker.try_acquire().is_err());
    }
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    trials.next().expect("the last").success();
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(breaker.stats().calls, 0);
    assert_eq!(breaker.stats().rejected, 4);
}

#[test]
fn trials_that_fail_open_it_as_soon_as_it_is_sure() {
    let clock = ManualClock::new();
    let breaker = nervous(&clock)
        .failure_rate(0.5)
        .trial_calls(4)
        .build()
        .expect("valid");
    breaker.open();
    clock.advance(SECOND);
    fail(&breaker, 1);
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    let late = breaker.try_acquire().expect("the fourth may");
    fail(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Open);
    // What a trial of that round says now is too late.
    late.success();
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!(breaker.stats().ignored, 1);

    // One of four is fewer than half.
    clock.advance(SECOND);
    fail(&breaker, 1);
    succeed(&breaker, 3);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn a_trial_without_an_outcome_gives_its_place_back() {
    let clock = ManualClock::new();
    let breaker = nervous(&clock).build().expect("valid");
    breaker.open();
    clock.advance(SECOND);
    for _ in 0..10 {
        drop(breaker.try_acquire().expect("free again"));
        breaker.try_acquire().expect("free again").ignore();
    }
    let running = breaker.try_acquire().expect("free again");
    assert!(breaker.try_acquire().is_err());
    running.success();
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(breaker.stats().ignored, 20);
}

#[test]
fn a_trial_that_never_ends_is_given_up() {
    let clock = ManualClock::new();
    let breaker = nervous(&clock)
        .trial_calls(2)
        .trial_timeout(5 * SECOND)
        .build()
        .expect("valid");
    breaker.open();
    clock.advance(SECOND);
    let hangs = breaker.try_acquire().expect("a trial");
    // As long as there are places nobody is in a hurry.
    clock.advance(60 * SECOND);
    let fine = breaker.try_acquire().expect("another one");
    fine.success();
    clock.advance(4_999 * MS);
    assert_eq!(
        breaker.try_acquire().expect_err("too early"),
        CallRejected::TrialsRunning
    );
    clock.advance(MS);
    let rejected = breaker.try_acquire().expect_err("open again");
    assert_eq!(rejected.retry_after(), Some(SECOND));
    clock.advance(SECOND);
    succeed(&breaker, 1);
    hangs.failure(); // of a round that has passed
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn the_outcomes_of_an_earlier_state_say_nothing() {
    let clock = ManualClock::new();
    let breaker = nervous(&clock).build().expect("valid");
    let before: Vec<_> = (0..3)
        .map(|_| breaker.try_acquire().expect("closed"))
        .collect();
    let mut before = before.into_iter();
    fail(&breaker, 1);
    before.next().expect("one of three").success();
    assert_eq!(breaker.state(), BreakerState::Open);
    clock.advance(SECOND);
    let trial = breaker.try_acquire().expect("a trial");
    before.next().expect("one of three").success();
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    trial.success();
    before.next().expect("one of three").failure();
    assert_eq!(breaker.state(), BreakerState::Closed);
    let stats = breaker.stats();
    assert_eq!((stats.calls, stats.ignored, stats.opened), (0, 3, 1));
}

#[test]
fn it_stays_open_longer_each_time_and_begins_anew_when_it_has_closed() {
    let clock = ManualClock::new();
    let growing = Backoff::exponential(SECOND).max_delay(3 * SECOND);
    // The ends of a plan play no part.
    let growing = growing.attempts(1).max_elapsed(MS);
    let breaker = nervous(&clock).open_for(growing).build().expect("valid");
    for _ in 0..2 {
        fail(&breaker, 1);
        for seconds in [1, 2, 3, 3, 3] {
            let rejected = breaker.try_acquire().expect_err("open");
            assert_eq!(rejected.retry_after(), Some(seconds * SECOND));
            clock.advance(seconds * SECOND);
            fail(&breaker, 1);
        }
        clock.advance(3 * SECOND);
        succeed(&breaker, 1);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}

#[test]
fn by_hand() {
    let clock = ManualClock::new();
    let breaker = nervous(&clock).build().expect("valid");
    breaker.force_open();
    clock.advance(YEAR);
    let rejected = breaker.try_acquire().expect_err("held");
    assert_eq!(rejected, CallRejected::ForcedOpen);
    assert_eq!(rejected.retry_after(), None);

    breaker.force_closed();
    fail(&breaker, 100);
    succeed(&breaker, 100);
    drop(breaker.try_acquire());
    assert_eq!(breaker.state(), BreakerState::ForcedClosed);
    let stats = breaker.stats();
    assert_eq!((stats.failed, stats.succeeded, stats.ignored), (0, 0, 201));

    breaker.open();
    assert_eq!(breaker.state(), BreakerState::Open);
    clock.advance(SECOND / 2);
    breaker.open(); // its time goes on
    let rejected = breaker.try_acquire().expect_err("open");
    assert_eq!(rejected.retry_after(), Some(SECOND / 2));
    clock.advance(SECOND / 2);
    assert_eq!(breaker.stats().opened, 1);
    breaker.open(); // that has passed, though nobody came
    let rejected = breaker.try_acquire().expect_err("open anew");
    assert_eq!(rejected.retry_after(), Some(SECOND));
    assert_eq!(breaker.stats().opened, 2);

    breaker.reset();
    assert_eq!(breaker.state(), BreakerState::Closed);
    // A reset forgets the window, and those under way.
    let slack = nervous(&clock).minimum_calls(2).failure_rate(1.0);
    let breaker = slack.build().expect("valid");
    let under_way = breaker.try_acquire().expect("closed");
    fail(&breaker, 1);
    breaker.reset();
    under_way.failure();
    assert_eq!(breaker.stats().calls, 0);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn a_panic_is_a_failure_and_a_drop_as_was_chosen() {
    let clock = ManualClock::new();
    let breaker = nervous(&clock).build().expect("valid");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _ = breaker.call_sync(|| -> Result<(), ()> { panic!("as it may") });
    }));
    assert!(panicked.is_err());
    assert_eq!(breaker.state(), BreakerState::Open);

    let breaker = nervous(&clock).dropped_fails(true).build().expect("valid");
    breaker.try_acquire().expect("closed").ignore();
    assert_eq!(breaker.state(), BreakerState::Closed);
    drop(breaker.try_acquire());
    assert_eq!(breaker.state(), BreakerState::Open);
    clock.advance(SECOND);
    drop(breaker.try_acquire()); // a trial
    assert_eq!(breaker.stats().opened, 2);
}

#[test]
fn owned_permits_end_as_borrowed_ones_do() {
    let clock = ManualClock::new();
    let breaker = nervous(&clock)
        .failure_rate(1.0)
        .minimum_calls(10)
        .slow_call(100 * MS, 1.0)
        .name("billing")
        .build()
        .expect("valid");
    let owned = || breaker.try_acquire_owned().expect("closed");
    owned().success();
    owned().failure();
    owned().ignore();
    owned().finish(Verdict::Failure);
    drop(owned());
    let slow = owned();
    assert!(format!("{slow:?}").contains("billing"));
    clock.advance(100 * MS);
    // Into a thread of its own, where it ends with a panic.
    let panicked = thread::spawn(move || {
        let _slow = slow;
        panic!("as it may");
    });
    assert!(panicked.join().is_err());
    let stats = breaker.stats();
    assert_eq!(
        (stats.succeeded, stats.failed, stats.ignored, stats.slow),
        (1, 3, 2, 1)
    );
    // A trial that is dropped gives its place back, and one that ends does it once.
    breaker.open();
    clock.advance(SECOND);
    drop(breaker.try_acquire_owned().expect("a trial"));
    let trial = breaker.try_acquire_owned().expect("free again");
    assert_eq!(
        breaker.try_acquire_owned().map(drop),
        Err(CallRejected::TrialsRunning)
    );
    trial.success();
    assert_eq!(breaker.state(), BreakerState::Closed);

    let breaker = nervous(&clock).dropped_fails(true).build().expect("valid");
    drop(breaker.try_acquire_owned());
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn results_are_judged_as_told() {
    let clock = ManualClock::new();
    let breaker = nervous(&clock).failure_rate(1.0).minimum_calls(10);
    let breaker = breaker.build().expect("valid");
    assert_eq!(breaker.call_sync(|| Ok::<_, u8>("fine")), Ok("fine"));
    let failed = breaker.call_sync(|| Err::<(), _>("no"));
    assert_eq!(failed, Err(CallError::Inner("no")));
    assert_eq!(breaker.stats().failure_rate(), Some(0.5));

    let calls = breaker.failure_if(|answer: &Result<u16, u16>| *answer == Ok(503));
    assert_eq!(calls.call_sync(|| Err(404)), Err(CallError::Inner(404)));
    assert_eq!(calls.call_sync(|| Ok(503)), Ok(503));
    let stats = breaker.stats();
    assert_eq!((stats.succeeded, stats.failed), (2, 2));

    let calls = breaker.classify(|answer: &Result<u16, u16>| match answer {
        Ok(_) => Verdict::Success,
        Err(404) => Verdict::Ignored,
        Err(_) => Verdict::Failure,
    });
    for answer in [Ok(200), Err(404), Err(500)] {
        assert_eq!(calls.call_sync(|| answer), answer.map_err(CallError::Inner));
    }
    let stats = breaker.stats();
    assert_eq!((stats.succeeded, stats.failed, stats.ignored), (3, 3, 1));

    breaker.force_open();
    let rejected = calls.call_sync(|| unreachable!("it is open"));
    let error = rejected.expect_err("it is open");
    assert_eq!(error.rejected(), Some(CallRejected::ForcedOpen));
    assert_eq!(error.into_inner(), None);
}

#[test]
fn hooks_hear_each_change_once_and_in_order_under_no_lock() {
    let clock = ManualClock::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let itself: Arc<OnceLock<Breaker>> = Arc::default();
    let breaker = nervous(&clock)
        .on_transition({
            let (heard, itself) = (heard.clone(), itself.clone());
            move |change| {
                heard.lock().expect("sound").push(change.to_string());
                // A hook may use the breaker, and change it.
                let breaker = itself.get().expect("set below");
                let _ = breaker.stats();
                if change.to == BreakerState::ForcedClosed {
                    breaker.reset();
                    breaker.force_open();
                }
                assert_ne!(change.cause, BreakerCause::FailureRate, "contained");
            }
        })
        .build()
        .expect("valid");
    itself.set(breaker.clone()).expect("once");
    fail(&breaker, 1);
    clock.advance(SECOND);
    fail(&breaker, 1);
    clock.advance(SECOND);
    succeed(&breaker, 1);
    breaker.reset(); // no change
    breaker.force_closed();
    assert_eq!(
        *heard.lock().expect("sound"),
        [
            "closed -> open: too many calls failed",
            "open -> half_open: it was open for its time",
            "half_open -> open: too many trial calls failed",
            "open -> half_open: it was open for its time",
            "half_open -> closed: enough trial calls went well",
            "closed -> forced_closed: by hand",
            "forced_closed -> closed: by hand",
            "closed -> forced_open: by hand",
        ]
    );
}

#[test]
fn a_clock_that_goes_back_or_to_the_end_of_time_breaks_nothing() {
    let clock = ManualClock::starting_at(Instant::ORIGIN + 1_000 * SECOND);
    let breaker = nervous(&clock)
        .window_of(SECOND)
        .slow_call(MS, 1.0)
        .build()
        .expect("valid");
    let permit = breaker.try_acquire().expect("closed");
    clock.set(Instant::ORIGIN);
    permit.success(); // not slow: no time has passed
    assert_eq!((breaker.stats().calls, breaker.stats().slow), (1, 0));
    fail(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Open);
    let rejected = breaker.try_acquire().expect_err("open");
    assert_eq!(rejected.retry_after(), Some(SECOND));
    clock.set(Instant::FAR_FUTURE);
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Closed);
    // Open until the end of time, which it is.
    fail(&breaker, 1);
    succeed(&breaker, 1);
    fail(&breaker, 1);
    clock.set(Instant::ORIGIN);
    let rejected = breaker.try_acquire().expect_err("open");
    let far = Duration::from_nanos(u64::MAX);
    assert_eq!(rejected.retry_after(), Some(far));
    breaker.reset();
    succeed(&breaker, 3);
}

#[test]
fn wrong_values_are_refused() {
    let built = |change: fn(CircuitBreakerBuilder) -> CircuitBreakerBuilder| {
        change(CircuitBreaker::builder()).build().map(drop)
    };
    let text = |result: Result<(), BreakerConfigError>| result.expect_err("wrong").to_string();
    for rate in ["NaN", "-0.1", "0", "1.000001", "inf"] {
        let given: f64 = rate.parse().expect("a number");
        let refused = CircuitBreaker::new(given).map(drop);
        assert_eq!(
            text(refused),
            format!("a failure rate of {rate}, allowed are more than 0 to 1")
        );
        let slow = CircuitBreaker::builder().slow_call(MS, given).build();
        assert_eq!(
            text(slow.map(drop)),
            format!("a rate of slow calls of {rate}, allowed are more than 0 to 1")
        );
    }
    let cases: [(Result<(), BreakerConfigError>, &str); 12] = [
        (
            built(|it| it.slow_call(Duration::ZERO, 0.5)),
            "calls are slow from 0ns on, allowed are 1ns to 365 days",
        ),
        (
            built(|it| it.slow_call(YEAR + MS, 0.5)),
            "calls are slow from 31536000.001s on, allowed are 1ns to 365 days",
        ),
        (
            built(|it| it.window(0)),
            "a window of 0 calls, allowed are 1 to 1048576",
        ),
        (
            built(|it| it.window(1_048_577)),
            "a window of 1048577 calls, allowed are 1 to 1048576",
        ),
        (
            built(|it| it.window_of(Duration::ZERO)),
            "a window of 0ns, allowed are 1ms to 365 days",
        ),
        (
            built(|it| it.window_of(Duration::MAX)),
            "a window of 18446744073709551615.999999999s, allowed are 1ms to 365 days",
        ),
        (
            built(|it| it.minimum_calls(0)),
            "a minimum of 0 calls to judge by, allowed are 1 to 100",
        ),
        (
            built(|it| it.window(7).minimum_calls(8)),
            "a minimum of 8 calls to judge by, allowed are 1 to 7",
        ),
        (
            built(|it| it.trial_calls(0)),
            "0 trial calls, allowed are 1 to 1048576",
        ),
        (
            built(|it| it.trial_timeout(Duration::ZERO)),
            "0ns for trial calls, allowed are 1ns to 365 days",
        ),
        (
            built(|it| it.open_for(Duration::ZERO)),
            "how long to stay open: a delay of 0ns, allowed are 1ns to 365 days",
        ),
        (
            built(|it| it.open_for(Backoff::exponential(MS).factor(f64::NAN))),
            "how long to stay open: a factor of NaN, allowed are 1 to 1000",
        ),
    ];
    for (refused, expected) in cases {
        assert_eq!(text(refused), expected);
    }
    let given = YEAR + MS;
    let refused = CircuitBreaker::builder().open_for(given).build();
    assert_eq!(
        refused.map(drop),
        Err(BreakerConfigError::OpenFor(BackoffConfigError::Delay {
            given
        }))
    );
    // The smallest and the largest of what is allowed.
    for builder in [
        CircuitBreaker::builder().window(1).trial_calls(1),
        CircuitBreaker::builder()
            .window(1 << 20)
            .trial_calls(1 << 20),
        CircuitBreaker::builder()
            .window_of(MS)
            .minimum_calls(u32::MAX),
        CircuitBreaker::builder().window_of(YEAR).open_for(YEAR),
        CircuitBreaker::builder().slow_call(Duration::from_nanos(1), f64::MIN_POSITIVE),
    ] {
        let breaker = builder.build().expect("allowed");
        breaker.try_acquire().expect("closed").failure();
        assert_eq!(breaker.stats().failed, 1);
    }
}

#[test]
fn many_threads_lose_no_outcome() {
    let breaker = CircuitBreaker::builder()
        .window(1 << 20)
        .failure_rate(1.0)
        .build()
        .expect("valid");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let breaker = breaker.clone();
            thread::spawn(move || {
                for call in 0..2_000 {
                    let permit = breaker.try_acquire().expect("closed");
                    match call % 10 {
                        0 => permit.failure(),
                        1 => permit.ignore(),
                        _ => permit.success(),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    let stats = breaker.stats();
    assert_eq!((stats.calls, stats.failures), (14_400, 1_600));
    assert_eq!(
        (stats.succeeded, stats.failed, stats.ignored),
        (12_800, 1_600, 1_600)
    );
}

#[test]
fn it_says_what_it_is() {
    let clock = ManualClock::new();
    let breaker = nervous(&clock).name("billing").build().expect("valid");
    assert_eq!(breaker.name(), Some("billing"));
    let shown = format!("{breaker:?}");
    assert!(
        shown.contains("billing") && shown.contains("Closed"),
        "{shown}"
    );
    assert!(format!("{:?}", nervous(&clock)).contains("trial_calls: 1"));
    let permit = breaker.try_acquire().expect("closed");
    assert!(format!("{permit:?}").contains("billing"));
    permit.ignore();
}
