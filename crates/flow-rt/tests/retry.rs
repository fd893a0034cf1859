//! The plan of retries and the budget: arithmetic, without a runtime.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use flow_rt::{Backoff, BackoffConfigError, GiveUp, Instant, RetryBudget, RetryBudgetConfigError};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn millis(plan: Backoff) -> Vec<u128> {
    plan.delays()
        .unwrap()
        .map(|delay| delay.as_millis())
        .collect()
}

#[test]
fn delays_without_jitter() {
    assert_eq!(millis(Backoff::constant(7 * MS).attempts(4)), [7, 7, 7]);
    assert_eq!(
        millis(Backoff::exponential(100 * MS).attempts(4)),
        [100, 200, 400]
    );
    let tripled = Backoff::exponential(MS).factor(3.0).max_delay(20 * MS);
    assert_eq!(millis(tripled.attempts(6)), [1, 3, 9, 20, 20]);
    assert_eq!(millis(Backoff::exponential(MS)).len(), 2);
    assert_eq!(millis(Backoff::exponential(MS).attempts(1)), [0; 0]);
    // The longest delay unless set is 20 seconds, or the first one.
    let long = Backoff::exponential(8_000 * MS).attempts(5);
    assert_eq!(millis(long), [8_000, 16_000, 20_000, 20_000]);
    assert_eq!(millis(Backoff::constant(30_000 * MS)), [30_000, 30_000]);
}

#[test]
fn the_default_is_three_runs_with_full_jitter() {
    assert_eq!(
        Backoff::default(),
        Backoff::exponential(100 * MS).full_jitter().attempts(3)
    );
    let delays: Vec<Duration> = Backoff::default().delays().unwrap().collect();
    assert!(delays.len() == 2 && delays[0] <= 100 * MS && delays[1] <= 200 * MS);
}

#[test]
fn values_out_of_range_are_refused() {
    use BackoffConfigError::{Delay, Factor, MaxDelay, MaxElapsed, NoAttempts};
    let plan = Backoff::exponential(MS);
    for given in [
        Duration::ZERO,
        YEAR + Duration::from_nanos(1),
        Duration::MAX,
    ] {
        assert_eq!(Backoff::constant(given).validate(), Err(Delay { given }));
        assert_eq!(
            plan.max_elapsed(given).validate(),
            Err(MaxElapsed { given })
        );
        let first = MS;
        assert_eq!(
            plan.max_delay(given).validate(),
            Err(MaxDelay { given, first })
        );
    }
    let decorrelated = false;
    for given in [
        -1.0,
        -0.0,
        0.0,
        0.99,
        1_000.1,
        f64::MAX,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ] {
        assert_eq!(
            plan.factor(given).validate(),
            Err(Factor {
                given,
                decorrelated
            })
        );
    }
    let nan = plan.factor(f64::NAN).delays().unwrap_err();
    assert!(matches!(nan, Factor { given, .. } if given.is_nan()));
    let decorrelated = true;
    for given in [1.0, 0.5, f64::NAN] {
        let refused = plan.factor(given).decorrelated_jitter().validate();
        let Err(Factor {
            decorrelated: d, ..
        }) = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!(d, decorrelated);
    }
    assert!(
        Backoff::constant(MS)
            .decorrelated_jitter()
            .validate()
            .is_err()
    );
    assert_eq!(plan.attempts(0).validate(), Err(NoAttempts));

    // The ends of each range are inside it.
    for plan in [
        Backoff::constant(YEAR),
        Backoff::constant(Duration::from_nanos(1)),
        plan.factor(1.0).max_delay(MS),
        plan.factor(1_000.0).max_delay(YEAR).max_elapsed(YEAR),
        plan.attempts(u32::MAX).attempts(1),
    ] {
        assert_eq!(plan.validate(), Ok(()));
    }
}

#[test]
fn refusals_say_what_was_given_and_what_is_allowed() {
    let plan = Backoff::exponential(MS);
    for (plan, text) in [
        (
            Backoff::constant(Duration::ZERO),
            "a delay of 0ns, allowed are 1ns to 365 days",
        ),
        (plan.factor(-1.0), "a factor of -1, allowed are 1 to 1000"),
        (
            plan.factor(1.0).decorrelated_jitter(),
            "a factor of 1, allowed with decorrelated jitter are more than 1 to 1000",
        ),
        (
            plan.max_delay(MS / 2),
            "a longest delay of 500µs, allowed are 1ms (the first one) to 365 days",
        ),
        (
            plan.max_elapsed(Duration::ZERO),
            "a limit of 0ns for all runs, allowed are 1ns to 365 days",
        ),
        (plan.attempts(0), "0 attempts, allowed are 1 to 4294967295"),
    ] {
        assert_eq!(plan.delays().unwrap_err().to_string(), text);
    }
}

#[test]
fn a_plan_without_end_saturates() {
    let plan = Backoff::exponential(YEAR).factor(1_000.0).max_delay(YEAR);
    for plan in [plan, plan.decorrelated_jitter(), plan.equal_jitter()] {
        let mut delays = plan.attempts(u32::MAX).delays_with_seed(u64::MAX).unwrap();
        for _ in 0..1_000 {
            assert!(delays.next_within(Duration::MAX).unwrap() <= YEAR);
        }
        assert!(delays.by_ref().take(1_000).all(|delay| delay <= YEAR));
    }
}

#[test]
fn jitter_fills_its_range() {
    let plan = Backoff::constant(1_000 * MS).attempts(u32::MAX);
    let mean = |plan: Backoff| {
        let delays = plan.delays_with_seed(1).unwrap();
        delays.take(10_000).sum::<Duration>() / 10_000
    };
    let near = |mean: Duration, millis: u32| mean.abs_diff(millis * MS) < 20 * MS;
    assert!(near(mean(plan.full_jitter()), 500));
    assert!(near(mean(plan.equal_jitter()), 750));
    // With factor 3 and no cap in reach, the second is uniform between 1 s and three times the
    // first, which is uniform between 1 s and 3 s: 3.5 s.
    let decorrelated = Backoff::exponential(1_000 * MS).decorrelated_jitter();
    let seconds = (0..10_000).map(|seed| {
        let delays = decorrelated.delays_with_seed(seed).unwrap();
        delays.last().unwrap()
    });
    assert!(near(seconds.sum::<Duration>() / 10_000, 3_500));
}

#[test]
fn two_plans_draw_differently_and_one_seed_the_same() {
    let plan = Backoff::constant(YEAR).full_jitter();
    let draw = || plan.delays().unwrap().next().unwrap();
    assert_ne!(draw(), draw());
    let seeded = || plan.delays_with_seed(5).unwrap().collect::<Vec<_>>();
    assert_eq!(seeded(), seeded());
    let delays = plan.delays().unwrap();
    assert!(delays.clone().eq(delays));
}

fn plans() -> impl Strategy<Value = (Backoff, Spec)> {
    let durations = 1_u64..10_000_000_000;
    (
        durations,
        prop_oneof![Just(None), (1.001_f64..10.0).prop_map(Some)],
        0_u64..100_000_000_000,
        prop_oneof![Just(None), (1_u64..1_000_000_000_000).prop_map(Some)],
        1_u32..60,
        0_usize..4,
    )
        .prop_map(|(first, factor, over, max_elapsed, attempts, jitter)| {
            let spec = Spec {
                first: Duration::from_nanos(first),
                longest: Duration::from_nanos(first + over),
                max_elapsed: max_elapsed.map(Duration::from_nanos),
                factor,
                attempts,
                jitter,
            };
            (spec.plan(), spec)
        })
}

#[derive(Debug, Clone, Copy)]
struct Spec {
    first: Duration,
    longest: Duration,
    max_elapsed: Option<Duration>,
    factor: Option<f64>,
    attempts: u32,
    jitter: usize,
}

impl Spec {
    fn plan(self) -> Backoff {
        let mut plan = Backoff::exponential(self.first)
            .max_delay(self.longest)
            .attempts(self.attempts);
        if let Some(factor) = self.factor {
            plan = plan.factor(factor);
        }
        if let Some(limit) = self.max_elapsed {
            plan = plan.max_elapsed(limit);
        }
        match self.jitter {
            0 => plan,
            1 => plan.full_jitter(),
            2 => plan.equal_jitter(),
            _ => plan.decorrelated_jitter(),
        }
    }

    /// What the delays are without jitter, computed apart.
    fn ceilings(self) -> impl Iterator<Item = f64> {
        let (first, longest) = (self.first.as_nanos() as f64, self.longest.as_nanos() as f64);
        let factor = self.factor.unwrap_or(2.0);
        (0_i32..).map(move |n| (first * factor.powi(n)).min(longest))
    }
}

proptest! {
    #[test]
    fn every_delay_is_in_the_bounds_of_its_jitter((plan, spec) in plans(), seed: u64) {
        let delays: Vec<Duration> = plan.delays_with_seed(seed).unwrap().collect();
        prop_assert!(delays.len() < spec.attempts as usize);
        if spec.max_elapsed.is_none() {
            prop_assert_eq!(delays.len(), spec.attempts as usize - 1);
        }
        let mut before = spec.first;
        for (delay, ceiling) in delays.iter().zip(spec.ceilings()) {
            prop_assert!(*delay <= spec.longest);
            let nanos = delay.as_nanos() as f64;
            let slack = 1.0 + ceiling * 1e-9;
            match spec.jitter {
                0 => {
                    prop_assert!((nanos - ceiling).abs() <= slack);
                    prop_assert!(*delay >= before);
                }
                1 => prop_assert!(nanos <= ceiling + slack),
                2 => prop_assert!(nanos <= ceiling + slack && *delay >= spec.first / 2),
                _ => {
                    prop_assert!(*delay >= spec.first);
                    let most = before.as_nanos() as f64 * spec.factor.unwrap_or(3.0);
                    prop_assert!(nanos <= most + slack);
                }
            }
            before = *delay;
        }
    }

    #[test]
    fn no_run_begins_after_max_elapsed((plan, spec) in plans(), seed: u64, run in 0_u64..1_000_000_000) {
        let run = Duration::from_nanos(run);
        let mut delays = plan.delays_with_seed(seed).unwrap();
        let mut elapsed = run;
        let mut runs = 1;
        let why = loop {
            match delays.next_within(elapsed) {
                Ok(delay) => {
                    let begins = elapsed + delay;
                    prop_assert!(spec.max_elapsed.is_none_or(|limit| begins <= limit));
                    elapsed = begins + run;
                    runs += 1;
                }
                Err(why) => break why,
            }
        };
        match why {
            GiveUp::Attempts => prop_assert_eq!(runs, spec.attempts),
            GiveUp::MaxElapsed { limit } => {
                prop_assert_eq!(Some(limit), spec.max_elapsed);
                prop_assert!(runs < spec.attempts);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// In any span from the start: no more than burst, share of the first runs, and minimum.
    #[test]
    fn a_budget_never_gives_more_than_it_says(
        ratio in 0_u32..=1_000,
        min_per_second in 1_u32..100,
        burst in 1_u32..50,
        start in prop_oneof![Just(0_u64), Just((1 << 39) * 1_000_000 - 5), any::<u64>()],
        steps in prop::collection::vec((0_u64..40, any::<bool>()), 1..300),
    ) {
        let budget = RetryBudget::builder()
            .ratio(f64::from(ratio) / 1_000.0)
            .min_per_second(min_per_second)
            .burst(burst)
            .build()
            .unwrap();
        let start = Instant::from_nanos(start - start % 1_000_000);
        let mut now = start;
        // The model, in thousandths of a retry.
        let (mut model, full) = (u64::from(burst) * 1_000, u64::from(burst) * 1_000);
        for (millis, first_run) in steps {
            let before = now;
            now += Duration::from_millis(millis);
            let passed = (now - before).as_millis() as u64;
            model = full.min(model + passed * u64::from(min_per_second));
            if first_run {
                budget.deposit(now);
                model = full.min(model + u64::from(ratio));
            } else {
                prop_assert_eq!(u64::from(budget.available(now)), model / 1_000);
                prop_assert_eq!(budget.try_withdraw(now), model >= 1_000);
                model = model.checked_sub(1_000).unwrap_or(model);
            }
        }
    }
}

#[test]
fn a_budget_out_of_range_is_refused() {
    use RetryBudgetConfigError::{Burst, MinPerSecond, Nothing, Ratio};
    for given in [-0.1, 1.1, 0.000_4, f64::INFINITY, -f64::INFINITY] {
        assert_eq!(RetryBudget::new(given, 1).unwrap_err(), Ratio { given });
    }
    let nan = RetryBudget::new(f64::NAN, 1).unwrap_err();
    assert_eq!(
        nan.to_string(),
        "a ratio of NaN, allowed are 0 and 0.001 to 1"
    );
    let given = 10_001;
    assert_eq!(
        RetryBudget::new(0.2, given).unwrap_err(),
        MinPerSecond { given }
    );
    for given in [0, 10_001, u32::MAX] {
        let refused = RetryBudget::builder().burst(given).build();
        assert_eq!(refused.unwrap_err(), Burst { given });
    }
    assert_eq!(RetryBudget::new(0.0, 0).unwrap_err(), Nothing);
    let largest = RetryBudget::builder().ratio(1.0).min_per_second(10_000);
    let largest = largest.build().unwrap();
    assert_eq!(largest.available(Instant::FAR_FUTURE), 10_000);
    assert!(format!("{largest:?}").contains("burst: 10000.0"));
}

#[test]
fn a_budget_takes_no_time_from_a_clock_that_went_back() {
    let budget = RetryBudget::builder().min_per_second(1).burst(2);
    let budget = budget.build().unwrap();
    let second = Duration::from_secs(1);
    let now = Instant::from_nanos(0) + 10 * second;
    assert!(budget.try_withdraw(now) && budget.try_withdraw(now));
    assert!(!budget.try_withdraw(now - 5 * second));
    assert!(!budget.try_withdraw(now));
    assert!(budget.try_withdraw(now + second));
    assert!(!budget.try_withdraw(now + second));
}

#[test]
fn threads_together_get_no_more_than_the_budget() {
    let budget = RetryBudget::builder()
        .ratio(0.5)
        .min_per_second(0)
        .burst(100);
    let budget = budget.build().unwrap();
    let retries = AtomicU32::new(0);
    let now = Instant::from_nanos(7);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    budget.deposit(now);
                    for _ in 0..2 {
                        retries.fetch_add(u32::from(budget.try_withdraw(now)), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    // A deposit into a full budget is lost, so there may be fewer.
    let (retries, most) = (retries.into_inner(), 100 + 20_000);
    assert!(retries + budget.available(now) <= most);
    assert!(retries >= most - 100);
}
