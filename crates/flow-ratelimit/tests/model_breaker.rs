//! The circuit breaker against a list of calls, over random schedules on a clock moved by hand.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::time::Duration;

use flow_ratelimit::{BreakerState, CallPermit, CallRejected, CircuitBreaker};
use flow_rt::{Clock, Instant, ManualClock};
use proptest::prelude::*;

const SLOW: u64 = 50;
const OPEN_FOR: u64 = 1_000;
const TRIAL_TIMEOUT: u64 = 3_000;

#[derive(Debug, Clone, Copy)]
enum Step {
    Advance(u64),
    Back(u64),
    Begin,
    Succeed(usize),
    Fail(usize),
    Drop(usize),
    Open,
    Reset,
    ForceOpen,
    ForceClosed,
}

fn steps() -> impl Strategy<Value = Step> {
    let which = || any::<usize>();
    prop_oneof![
        4 => (0..40_u64).prop_map(Step::Advance),
        1 => (0..4_000_u64).prop_map(Step::Advance),
        1 => (0..100_u64).prop_map(Step::Back),
        20 => Just(Step::Begin),
        10 => which().prop_map(Step::Succeed),
        5 => which().prop_map(Step::Fail),
        2 => which().prop_map(Step::Drop),
        1 => prop_oneof![
            Just(Step::Open),
            Just(Step::Reset),
            Just(Step::ForceOpen),
            Just(Step::ForceClosed)
        ],
    ]
}

#[derive(Debug, Clone, Copy)]
struct Setup {
    failure_rate: f64,
    slow_rate: f64,
    window: usize,
    minimum: usize,
    trials: usize,
}

fn setups() -> impl Strategy<Value = Setup> {
    let rate = || (1..=10_u32).prop_map(|tenths| f64::from(tenths) / 10.0);
    (rate(), rate(), 1..70_usize, 1..70_usize, 1..4_usize).prop_map(
        |(failure_rate, slow_rate, window, minimum, trials)| Setup {
            failure_rate,
            slow_rate,
            window,
            minimum: minimum.min(window),
            trials,
        },
    )
}

/// A breaker that remembers everything.
struct Model {
    setup: Setup,
    state: BreakerState,
    /// How often the state has changed: calls of another time say nothing.
    era: u64,
    until: u64,
    /// Failed, slow.
    calls: VecDeque<(bool, bool)>,
    places: usize,
    trials: Vec<(bool, bool)>,
}

impl Model {
    fn change(&mut self, state: BreakerState) {
        self.state = state;
        self.era += 1;
        match state {
            BreakerState::Closed => self.calls.clear(),
            BreakerState::HalfOpen => {
                self.places = 0;
                self.trials.clear();
            }
            _ => {}
        }
    }

    fn open(&mut self, now: u64) {
        self.change(BreakerState::Open);
        self.until = now + OPEN_FOR;
    }

    /// The era of the call that is let through, or why none is.
    fn begin(&mut self, now: u64) -> Result<u64, CallRejected> {
        match self.state {
            BreakerState::Open if now >= self.until => self.change(BreakerState::HalfOpen),
            BreakerState::HalfOpen if self.places == self.setup.trials && now >= self.until => {
                self.open(now);
            }
            _ => {}
        }
        match self.state {
            BreakerState::HalfOpen if self.places < self.setup.trials => {
                self.places += 1;
                if self.places == self.setup.trials {
                    self.until = now + TRIAL_TIMEOUT;
                }
                Ok(self.era)
            }
            BreakerState::HalfOpen => Err(CallRejected::TrialsRunning),
            BreakerState::ForcedOpen => Err(CallRejected::ForcedOpen),
            BreakerState::Open => Err(open_error(self.until - now)),
            _ => Ok(self.era),
        }
    }

    fn end(&mut self, era: u64, now: u64, failed: bool, slow: bool) {
        if era != self.era {
            return;
        }
        let too_many = |calls: &mut dyn Iterator<Item = (bool, bool)>, of: usize| {
            let (mut failed, mut slow) = (0, 0);
            for call in calls {
                failed += u32::from(call.0);
                slow += u32::from(call.1);
            }
            f64::from(failed) / of as f64 >= self.setup.failure_rate
                || f64::from(slow) / of as f64 >= self.setup.slow_rate
        };
        match self.state {
            BreakerState::Closed => {
                self.calls.push_back((failed, slow));
                if self.calls.len() > self.setup.window {
                    self.calls.pop_front();
                }
                let of = self.calls.len();
                if (failed || slow)
                    && of >= self.setup.minimum
                    && too_many(&mut self.calls.iter().copied(), of)
                {
                    self.open(now);
                }
            }
            BreakerState::HalfOpen => {
                self.trials.push((failed, slow));
                if too_many(&mut self.trials.iter().copied(), self.setup.trials) {
                    self.open(now);
                } else if self.trials.len() == self.setup.trials {
                    self.change(BreakerState::Closed);
                }
            }
            _ => {}
        }
    }

    fn drop_one(&mut self, era: u64) {
        if era == self.era && self.state == BreakerState::HalfOpen {
            self.places -= 1;
        }
    }
}

/// The variant cannot be made outside of its crate.
fn open_error(nanos: u64) -> CallRejected {
    let breaker = CircuitBreaker::builder()
        .open_for(Duration::from_nanos(nanos))
        .clock(ManualClock::new())
        .build()
        .expect("valid");
    breaker.open();
    breaker.try_acquire().map(drop).expect_err("it is open")
}

struct Running<'a> {
    permit: CallPermit<'a, ManualClock>,
    era: u64,
    began: u64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn it_does_what_the_model_does(
        setup in setups(),
        steps in proptest::collection::vec(steps(), 1..400),
    ) {
        let clock = ManualClock::starting_at(Instant::from_nanos(1_000_000));
        let breaker = CircuitBreaker::builder()
            .failure_rate(setup.failure_rate)
            .slow_call(Duration::from_nanos(SLOW), setup.slow_rate)
            .window(setup.window as u32)
            .minimum_calls(setup.minimum as u32)
            .trial_calls(setup.trials as u32)
            .trial_timeout(Duration::from_nanos(TRIAL_TIMEOUT))
            .open_for(Duration::from_nanos(OPEN_FOR))
            .clock(clock.clone())
            .build()
            .expect("valid");
        let mut model = Model {
            setup,
            state: BreakerState::Closed,
            era: 0,
            until: 0,
            calls: VecDeque::new(),
            places: 0,
            trials: Vec::new(),
        };
        let mut running: Vec<Running> = Vec::new();
        let (mut ended, mut let_through, mut rejected) = (0, 0, 0);
        for step in steps {
            let now = clock.now().as_nanos();
            match step {
                Step::Advance(by) => clock.advance(Duration::from_nanos(by)),
                Step::Back(by) => clock.set(Instant::from_nanos(now - by)),
                Step::Begin => match (breaker.try_acquire(), model.begin(now)) {
                    (Ok(permit), Ok(era)) => {
                        let_through += 1;
                        running.push(Running { permit, era, began: now });
                    }
                    (ours, theirs) => {
                        rejected += 1;
                        prop_assert_eq!(ours.map(drop), theirs.map(drop));
                    }
                },
                Step::Succeed(which) | Step::Fail(which) | Step::Drop(which) => {
                    if running.is_empty() {
                        continue;
                    }
                    let call = running.swap_remove(which % running.len());
                    ended += 1;
                    if matches!(step, Step::Drop(_)) {
                        drop(call.permit);
                        model.drop_one(call.era);
                        continue;
                    }
                    let failed = matches!(step, Step::Fail(_));
                    if failed {
                        call.permit.failure();
                    } else {
                        call.permit.success();
                    }
                    let slow = now.saturating_sub(call.began) >= SLOW;
                    model.end(call.era, now, failed, slow);
                }
                Step::Open => {
                    breaker.open();
                    // Anew, if its time is over.
                    if model.state != BreakerState::Open || now >= model.until {
                        model.open(now);
                    }
                }
                Step::Reset => {
                    breaker.reset();
                    model.change(BreakerState::Closed);
                }
                Step::ForceOpen | Step::ForceClosed => {
                    let (held, hold): (_, fn(&CircuitBreaker<ManualClock>)) = match step {
                        Step::ForceOpen => (BreakerState::ForcedOpen, CircuitBreaker::force_open),
                        _ => (BreakerState::ForcedClosed, CircuitBreaker::force_closed),
                    };
                    hold(&breaker);
                    if model.state != held {
                        model.change(held);
                    }
                }
            }
            prop_assert_eq!(breaker.state(), model.state);
            let stats = breaker.stats();
            if model.state == BreakerState::Closed {
                let count = |which: fn(&&(bool, bool)) -> bool| {
                    model.calls.iter().filter(which).count() as u64
                };
                prop_assert_eq!(stats.calls, model.calls.len() as u64);
                prop_assert_eq!(stats.failures, count(|it| it.0));
                prop_assert_eq!(stats.slow_calls, count(|it| it.1));
            }
            // Each call ends once, however it ends.
            prop_assert_eq!(stats.succeeded + stats.failed + stats.ignored, ended);
            prop_assert_eq!(let_through, ended + running.len() as u64);
            prop_assert_eq!(stats.rejected, rejected);
        }
    }
}
