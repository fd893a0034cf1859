//! The token bucket against exact rational arithmetic, over random schedules.
#![cfg(not(loom))]

use std::time::Duration;

use flow_ratelimit::{Denied, Fairness, Rate, TokenBucket};
use flow_rt::{Clock, Instant, ManualClock};
use proptest::prelude::*;

/// One token in the model's units: every period below divides it, so the model never rounds.
const TOKEN: i128 = 3_600_000_000_000 * 7;

/// The model may differ from the bucket by two grains of 2^-30 token.
const GRAINS: i128 = TOKEN / (1 << 29) + 1;

#[derive(Debug, Clone, Copy)]
enum Step {
    Advance(u64),
    Back(u64),
    Take(u64),
    Refund(u64),
    SetRate(u64, usize),
    SetBurst(u64),
    Close,
}

const PERIODS: [u64; 4] = [
    7_000_000_000,
    1_000_000_000,
    60_000_000_000,
    3_600_000_000_000,
];

/// Whether the clock goes back, and how high rates get. Where it goes back the rates are so low
/// that the bucket does not move its anchor by itself: an instant before that counts as it.
fn steps(goes_back: bool, highest: u64) -> impl Strategy<Value = Step> {
    prop_oneof![
        32 => (0..10_000_000_000_u64).prop_map(Step::Advance),
        16 => (0..1_000_u64).prop_map(Step::Advance),
        8 => (0..10_000_000_000_u64)
            .prop_map(move |nanos| if goes_back { Step::Back(nanos) } else { Step::Advance(nanos) }),
        64 => few_or(2_000).prop_map(Step::Take),
        16 => (0..3_000_u64).prop_map(Step::Refund),
        8 => (0..highest, 0..PERIODS.len()).prop_map(|(n, p)| Step::SetRate(n, p)),
        8 => few_or(2_000).prop_map(Step::SetBurst),
        1 => Just(Step::Close),
    ]
}

/// So few tokens that one more or less is what matters, or any number of them.
fn few_or(most: u64) -> impl Strategy<Value = u64> {
    prop_oneof![1..5_u64, 1..most]
}

/// Virtual tokens without rounding.
struct Model {
    at: i128,
    base: i128,
    /// Units per nanosecond.
    slope: i128,
    spent: i128,
    burst: i128,
}

impl Model {
    fn supply(&self, now: i128) -> i128 {
        self.base + (now - self.at).max(0) * self.slope
    }

    fn clip(&mut self, now: i128) {
        self.spent = self.spent.max(self.supply(now) - self.burst);
    }

    /// Looking changes nothing.
    fn free(&self, now: i128) -> i128 {
        (self.supply(now) - self.spent).min(self.burst)
    }

    fn take(&mut self, now: i128, need: i128) {
        self.clip(now);
        self.spent += need;
    }

    fn change(&mut self, now: i128, slope: i128, burst: i128) {
        self.clip(now);
        self.base = self.supply(now);
        self.at = self.at.max(now);
        (self.slope, self.burst) = (slope, burst);
    }
}

fn slope(tokens: u64, period: u64) -> i128 {
    i128::from(tokens) * (TOKEN / i128::from(period))
}

/// A debt, a jitter, a warm-up, and whether newcomers may pass: each of them none in most cases, since
/// some do not go together.
fn settings() -> impl Strategy<Value = (u64, Duration, Option<Duration>, bool)> {
    let nanos = || prop_oneof![1..1_u64 << 34, any::<u64>()].prop_map(Duration::from_nanos);
    (
        prop_oneof![3 => Just(0), 1 => 1..1_000_u64, 1 => any::<u64>()],
        prop_oneof![3 => Just(Duration::ZERO), 1 => nanos()],
        prop_oneof![3 => Just(None), 1 => nanos().prop_map(Some)],
        prop_oneof![3 => Just(false), 1 => Just(true)],
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn follows_the_rational_model(
        tokens in 0..100_000_u64,
        period in 0..PERIODS.len(),
        burst in few_or(2_000),
        start in prop_oneof![Just(0), 0..1_u64 << 40, Just(u64::MAX - (1 << 45))],
        schedule in prop::collection::vec(steps(true, 100_000), 1..120),
    ) {
        follow(tokens, period, burst, start, schedule)?;
    }

    #[test]
    fn follows_the_rational_model_at_rates_that_move_its_anchor(
        tokens in 0..1_000_000_000_u64,
        period in 0..PERIODS.len(),
        burst in few_or(2_000),
        schedule in prop::collection::vec(steps(false, 1_000_000_000), 1..120),
    ) {
        follow(tokens, period, burst, 0, schedule)?;
    }

    /// Any rate, burst and clock: never more than was supplied, no panic, no wrap.
    #[test]
    fn mints_nothing_from_any_numbers(
        tokens in prop_oneof![any::<u64>(), 0..1_000_u64, Just(u64::MAX)],
        period in prop_oneof![any::<u64>(), 1..1_000_u64, Just(u64::MAX)],
        more_seconds in prop_oneof![Just(0), any::<u64>()],
        burst in prop_oneof![any::<u64>(), 1..1_000_u64, Just(1 << 61)],
        start in any::<u64>(),
        (debt, jitter, warm_up, barges) in settings(),
        schedule in prop::collection::vec((any::<u64>(), any::<u64>(), 0..64_u32, 0..8_u8), 1..60),
    ) {
        let per = Duration::from_secs(more_seconds).saturating_add(Duration::from_nanos(period));
        let Ok(rate) = Rate::per(tokens, per) else { return Ok(()) };
        let clock = ManualClock::starting_at(Instant::from_nanos(start));
        let mut builder = TokenBucket::builder().rate(rate).burst(burst).debt(debt).jitter(jitter);
        if barges {
            builder = builder.fairness(Fairness::Barging);
        }
        if let Some(period) = warm_up {
            builder = builder.warm_up(period);
        }
        let Ok(bucket) = builder.clock(clock.clone()).build() else { return Ok(()) };
        // A debt, a pace that rises or others who pass are no promise to a lone caller.
        let is_plain = warm_up.is_none() && !barges;
        let (mut admitted, mut given_back, mut latest) = (0_u128, 0_u128, start);
        let (mut rates, mut largest) = (vec![rate], burst);
        let mut changes = 0_u128;
        for (at, n, shift, does) in schedule {
            clock.set(Instant::from_nanos(at));
            latest = latest.max(at);
            let n = n >> shift;
            match does {
                0 => {
                    let rate = Rate::per(n, Duration::from_nanos(at));
                    if let Ok(rate) = rate && bucket.set_rate(rate).is_ok() {
                        rates.push(rate);
                        changes += 1;
                    }
                }
                1 if bucket.set_burst(n).is_ok() => {
                    largest = largest.max(n);
                    changes += 1;
                }
                2 => {
                    bucket.refund(n);
                    given_back += u128::from(n.min(bucket.burst()));
                }
                3 => if let Ok(reserved) = bucket.reserve_n(n) && reserved.delay().is_zero() {
                    admitted += u128::from(n);
                },
                _ => match bucket.try_acquire_n(n) {
                    Ok(_) => admitted += u128::from(n),
                    // Far ahead the wait may be a nanosecond too long. Beyond the horizon of a line,
                    // of 2^61 ns at such rates, it may be so by a part of all the time
                    // (`supply::ready_at`): of years it is only held not to be too short.
                    Err(_) if !is_plain => {}
                    Err(denied) => {
                        let wait = denied.retry_after().unwrap_or_default().as_nanos() as u64;
                        let sooner = if wait >> 56 == 0 { 2 } else { wait };
                        keeps_its_promise(&bucket, &clock, n, denied, sooner)?;
                    }
                },
            }
            bucket.peek_n(n).map_or_else(|denied| drop(denied.to_string()), drop);
            prop_assert!(bucket.available() <= bucket.burst());
            // As if the highest rate had been in force all the time, where the clock goes back and
            // forth. tokens × time is below 2^128, and one grain, with each line, is at most a
            // token.
            let supplied = |rate: &Rate| {
                u128::from(rate.tokens()) * u128::from(latest - start) / rate.period().as_nanos()
            };
            let supplied = rates.iter().map(supplied).max().unwrap_or(0);
            let most = (u128::from(largest) + u128::from(debt) + given_back + changes + 1).saturating_add(supplied);
            prop_assert!(admitted <= most, "{admitted}, not {most}");
        }
    }

    #[test]
    fn a_refund_restores_exactly(
        tokens in 1..1_000_000_000_u64,
        burst in 1..1_000_000_u64,
        takes in prop::collection::vec((1..1_000_u64, 0..1_000_000_u64), 1..40),
    ) {
        let clock = ManualClock::new();
        let build = || TokenBucket::builder()
            .rate(Rate::per_second(tokens)).burst(burst).clock(clock.clone()).build().expect("valid");
        let (bucket, untouched) = (build(), build());
        bucket.try_acquire_n(burst).expect("full");
        untouched.try_acquire_n(burst).expect("full");
        for (n, nanos) in takes {
            clock.advance(Duration::from_nanos(nanos));
            if bucket.try_acquire_n(n).is_ok() {
                bucket.refund(n);
            }
            prop_assert_eq!(bucket.available(), untouched.available());
        }
    }

    #[test]
    fn rates_survive_their_text(
        tokens in any::<u64>(),
        seconds in prop_oneof![0..10_000_u64, any::<u64>()],
        nanos in prop_oneof![Just(0), 1..1_000_000_000_u32],
    ) {
        let Ok(rate) = Rate::per(tokens, Duration::new(seconds, nanos)) else { return Ok(()) };
        let read: Rate = rate.to_string().parse().expect("its own text");
        prop_assert_eq!((read.tokens(), read.period()), (rate.tokens(), rate.period()));
        prop_assert_eq!(read, rate);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}", number in "[0-9]{0,45}", unit in "[a-z]{0,4}") {
        drop(text.parse::<Rate>());
        drop(format!("{number}/{number}{unit}").parse::<Rate>());
    }
}

fn follow(
    tokens: u64,
    period: usize,
    burst: u64,
    start: u64,
    schedule: Vec<Step>,
) -> Result<(), TestCaseError> {
    let rate = |n, p: usize| Rate::per(n, Duration::from_nanos(PERIODS[p])).expect("not zero");
    let clock = ManualClock::starting_at(Instant::from_nanos(start));
    let bucket = TokenBucket::builder()
        .rate(rate(tokens, period))
        .burst(burst)
        .clock(clock.clone())
        .build()
        .expect("valid");
    let full = i128::from(burst) * TOKEN;
    let mut model = Model {
        at: start.into(),
        base: full,
        slope: slope(tokens, PERIODS[period]),
        spent: 0,
        burst: full,
    };
    let mut is_closed = false;
    for step in schedule {
        let now = clock.now();
        let at = i128::from(now.as_nanos());
        match step {
            Step::Advance(nanos) => clock.advance(Duration::from_nanos(nanos)),
            Step::Back(nanos) => clock.set(now - Duration::from_nanos(nanos)),
            Step::Take(n) => {
                let need = i128::from(n) * TOKEN;
                let free = model.free(at);
                match bucket.try_acquire_n(n) {
                    Ok(_) => {
                        prop_assert!(need <= model.burst && !is_closed);
                        prop_assert!(need <= free + GRAINS, "took {need} of {free}");
                        model.take(at, need);
                    }
                    Err(Denied::Closed) => prop_assert!(is_closed),
                    Err(Denied::ExceedsBurst { .. }) => prop_assert!(need > model.burst),
                    Err(denied) => {
                        prop_assert!(!is_closed);
                        prop_assert!(need > free - GRAINS, "refused {need} of {free}");
                        keeps_its_promise(&bucket, &clock, n, denied, 1)?;
                    }
                }
            }
            Step::Refund(n) => {
                bucket.refund(n);
                // What runs over goes when the bucket is next used.
                let back = i128::from(n).min(model.burst / TOKEN) * TOKEN;
                model.spent = (model.spent - back).max(model.base - model.burst);
            }
            Step::SetRate(n, p) => {
                bucket.set_rate(rate(n, p)).expect("in range");
                model.change(at, slope(n, PERIODS[p]), model.burst);
            }
            Step::SetBurst(burst) => {
                bucket.set_burst(burst).expect("in range");
                model.change(at, model.slope, i128::from(burst) * TOKEN);
            }
            Step::Close => {
                bucket.close();
                is_closed = true;
            }
        }
        let free = model.free(clock.now().as_nanos().into()).max(0);
        let shown = i128::from(bucket.available());
        prop_assert!(shown * TOKEN <= free + GRAINS && (shown + 1) * TOKEN > free - GRAINS);
    }
    Ok(())
}

/// A lone caller who waits exactly as long as it was told is granted, and not so much sooner.
fn keeps_its_promise(
    bucket: &TokenBucket<ManualClock>,
    clock: &ManualClock,
    n: u64,
    denied: Denied,
    sooner: u64,
) -> Result<(), TestCaseError> {
    let now = clock.now();
    let Some(wait) = denied.retry_after() else {
        return Ok(());
    };
    let Some(then) = now.checked_add(wait).filter(|then| !then.is_far_future()) else {
        return Ok(());
    };
    clock.set(then);
    prop_assert!(bucket.peek_n(n).is_ok(), "waited {wait:?} for {n}");
    clock.set(then - Duration::from_nanos(sooner));
    prop_assert!(bucket.peek_n(n).is_err(), "{wait:?} is too long for {n}");
    clock.set(now);
    Ok(())
}
