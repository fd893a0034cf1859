//! Models of a circuit breaker's transitions: trials that come and go, outcomes that meet a
//! change, and hooks. What calls count is counted by padded counters, whose models are flow-sync's
//! (`loom_seat`).
#![cfg(loom)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flow_ratelimit::{
    BreakerState, BreakerTransition, CallPermit, CircuitBreaker, CircuitBreakerBuilder,
    OwnedCallPermit,
};
use flow_rt::{Clock, Instant};
use flow_sync::model::explore;
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicU64, AtomicUsize};
use loom::thread;

const SECOND: Duration = Duration::from_secs(1);

/// Time that the model moves by hand, as a number that loom knows.
#[derive(Clone)]
struct Time(Arc<AtomicU64>);

impl Time {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(0)))
    }

    fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1_000_000_000, Ordering::Release);
    }
}

impl Clock for Time {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::Acquire))
    }
}

type Breaker = CircuitBreaker<Time>;

/// Opens for a second when a call fails.
fn builder(time: &Time) -> CircuitBreakerBuilder<Time> {
    CircuitBreaker::builder()
        .window(4)
        .minimum_calls(1)
        .failure_rate(0.1)
        .open_for(SECOND)
        .trial_calls(1)
        .clock(time.clone())
}

/// A breaker whose time to stay open has just passed.
fn due(time: &Time, trials: u32) -> Breaker {
    let breaker = builder(time).trial_calls(trials).build().expect("valid");
    breaker.open();
    time.pass(1);
    breaker
}

/// How many trials are under way at once.
#[derive(Clone, Default)]
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(&self, most: usize) {
        let before = self.0.fetch_add(1, Ordering::AcqRel);
        assert!(before < most, "too many trials at once");
    }

    fn end(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[test]
fn no_more_trials_than_allowed() {
    explore("breaker: three come for two trials", 3, || {
        let breaker = due(&Time::new(), 2);
        let come = |breaker: Breaker| move || breaker.try_acquire().map(std::mem::forget).is_ok();
        let others = [0, 1].map(|_| thread::spawn(come(breaker.clone())));
        let first = come(breaker.clone())();
        let others = others.map(|other| other.join().unwrap());
        let through = [first, others[0], others[1]];
        assert_eq!(through.iter().filter(|it| **it).count(), 2);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    });
}

#[test]
fn a_dropped_trial_meets_one_who_comes() {
    explore("breaker: drop of a trial || two calls", 3, || {
        let breaker = due(&Time::new(), 1);
        let under_way = UnderWay::default();
        let other = {
            let (breaker, under_way) = (breaker.clone(), under_way.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    if let Ok(trial) = breaker.try_acquire() {
                        under_way.begin(1);
                        under_way.end();
                        drop(trial);
                    }
                }
            })
        };
        if let Ok(trial) = breaker.try_acquire() {
            under_way.begin(1);
            under_way.end();
            drop(trial);
        }
        other.join().unwrap();
        // Whoever dropped it, the place is there again.
        breaker.try_acquire().expect("free").success();
        assert_eq!(breaker.state(), BreakerState::Closed);
    });
}

#[test]
fn the_last_outcome_meets_one_who_comes() {
    explore("breaker: success of the last trial || a call", 3, || {
        let breaker = due(&Time::new(), 2);
        breaker.try_acquire().expect("a trial").success();
        let last = breaker.try_acquire().expect("a trial");
        let other = {
            let breaker = breaker.clone();
            thread::spawn(move || breaker.try_acquire().map(CallPermit::success).is_ok())
        };
        last.success();
        let came_through = other.join().unwrap();
        assert_eq!(breaker.state(), BreakerState::Closed);
        let stats = breaker.stats();
        // It was no trial, for there were two already: it counts in the window, if at all.
        assert_eq!(stats.calls, u64::from(came_through));
    });
}

#[test]
fn two_failures_open_it_once() {
    explore("breaker: two failures", 3, || {
        let time = Time::new();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hook = heard.clone();
        let breaker = builder(&time)
            .on_transition(move |change: &BreakerTransition| hook.lock().push(change.to))
            .build()
            .expect("valid");
        let fail = |breaker: Breaker| {
            move || {
                let call = breaker.try_acquire();
                call.map(CallPermit::failure).is_ok()
            }
        };
        let other = thread::spawn(fail(breaker.clone()));
        let mine = fail(breaker.clone())();
        assert!(other.join().unwrap() || mine);
        let stats = breaker.stats();
        assert_eq!((stats.state, stats.opened), (BreakerState::Open, 1));
        assert_eq!(*heard.lock(), [BreakerState::Open]);
    });
}

#[test]
fn a_success_meets_the_opening() {
    explore("breaker: open || a success", 3, || {
        let breaker = builder(&Time::new()).build().expect("valid");
        let other = {
            let breaker = breaker.clone();
            thread::spawn(move || {
                let call = breaker.try_acquire();
                call.map(CallPermit::success).is_ok()
            })
        };
        breaker.open();
        let came_through = other.join().unwrap();
        assert_eq!(breaker.state(), BreakerState::Open);
        let stats = breaker.stats();
        assert_eq!(stats.succeeded + stats.ignored, u64::from(came_through));
    });
}

#[test]
fn a_dropped_trial_meets_a_reset() {
    explore("breaker: reset || drop of a trial", 3, || {
        let breaker = due(&Time::new(), 1);
        let other = {
            let breaker = breaker.clone();
            thread::spawn(move || drop(breaker.try_acquire()))
        };
        breaker.reset();
        other.join().unwrap();
        assert_eq!(breaker.state(), BreakerState::Closed);
    });
}

/// A trial ends like this as its time is over and a call comes that finds so: whoever is first
/// decides. Whether the call came through, and how the breaker stands then.
fn a_trial_ends_late(end: fn(OwnedCallPermit<Time>)) -> (bool, Breaker, Time) {
    let time = Time::new();
    let breaker = builder(&time).trial_timeout(SECOND).build();
    let breaker = breaker.expect("valid");
    breaker.open();
    time.pass(1);
    let trial = breaker.try_acquire_owned().expect("a trial");
    time.pass(1);
    let other = {
        let breaker = breaker.clone();
        thread::spawn(move || breaker.try_acquire().map(std::mem::forget).is_ok())
    };
    end(trial);
    let came_through = other.join().unwrap();
    (came_through, breaker, time)
}

#[test]
fn a_good_trial_meets_its_timeout() {
    explore("breaker: success of a trial || its time-out", 3, || {
        let (came_through, breaker, _) = a_trial_ends_late(OwnedCallPermit::success);
        let stats = breaker.stats();
        let found = (stats.state, stats.opened, stats.succeeded, stats.ignored);
        if came_through {
            assert_eq!(found, (BreakerState::Closed, 1, 1, 0));
        } else {
            assert_eq!(found, (BreakerState::Open, 2, 0, 1));
        }
    });
}

#[test]
fn a_bad_trial_meets_its_timeout() {
    explore("breaker: failure of a trial || its time-out", 3, || {
        let (came_through, breaker, _) = a_trial_ends_late(OwnedCallPermit::failure);
        assert!(!came_through);
        // Once for the trial, whichever way.
        let stats = breaker.stats();
        assert_eq!((stats.state, stats.opened), (BreakerState::Open, 2));
        assert_eq!(stats.failed + stats.ignored, 1);
    });
}

#[test]
fn a_dropped_trial_meets_its_timeout() {
    explore("breaker: drop of a trial || its time-out", 3, || {
        let (came_through, breaker, time) = a_trial_ends_late(drop);
        let stats = breaker.stats();
        if came_through {
            assert_eq!((stats.state, stats.opened), (BreakerState::HalfOpen, 1));
        } else {
            assert_eq!((stats.state, stats.opened), (BreakerState::Open, 2));
            time.pass(1);
            breaker
                .try_acquire()
                .map(std::mem::forget)
                .expect("a trial");
        }
        // There is one place, and it is taken.
        breaker.try_acquire().map(drop).expect_err("no place");
    });
}

#[test]
fn hooks_hear_changes_in_their_order() {
    explore("breaker: open || reset, heard", 3, || {
        let time = Time::new();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hook = heard.clone();
        let breaker = builder(&time)
            .on_transition(move |change: &BreakerTransition| {
                hook.lock().push((change.from, change.to));
            })
            .build()
            .expect("valid");
        let other = {
            let breaker = breaker.clone();
            thread::spawn(move || breaker.open())
        };
        breaker.force_closed();
        other.join().unwrap();
        let heard = heard.lock().clone();
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert_eq!(heard[0].0, BreakerState::Closed);
        assert_eq!(heard[0].1, heard[1].0);
        assert_eq!(heard[1].1, breaker.state());
    });
}

#[test]
fn what_is_said_of_the_time_is_of_this_opening() {
    explore("breaker: a rejection || the trial begins", 3, || {
        let time = Time::new();
        let breaker = builder(&time)
            .trial_timeout(100 * SECOND)
            .build()
            .expect("valid");
        breaker.open();
        let other = {
            let breaker = breaker.clone();
            thread::spawn(move || {
                if let Err(rejected) = breaker.try_acquire() {
                    // Not the time that the trial has.
                    assert!(rejected.retry_after().is_none_or(|it| it <= SECOND));
                }
            })
        };
        // The one who changes is the main thread, which loom runs first: it does not see that a
        // change races with a look before it, because the change itself looks in between.
        time.pass(1);
        let came_through = breaker.try_acquire().map(std::mem::forget).is_ok();
        other.join().unwrap();
        assert!(came_through || breaker.state() == BreakerState::HalfOpen);
    });
}
