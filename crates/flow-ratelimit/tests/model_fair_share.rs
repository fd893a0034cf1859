//! Children of one rate against plain arithmetic that is brought up to date at each step, over random
//! schedules.
#![cfg(not(loom))]

use std::time::Duration;

use flow_ratelimit::{Denied, FairShare, Rate, Share};
use flow_rt::{Clock, Instant, ManualClock};
use proptest::prelude::*;

/// One token in the model's units: a period divides it, and what a weight leaves of it is nothing.
const TOKEN: i128 = (3_600_000_000_000 * 7) << 20;

/// The model may differ by some grains of 2^-30 token: each change of a weight loses up to one.
const GRAINS: i128 = TOKEN / (1 << 23) + 1;

const PERIODS: [u64; 4] = [
    7_000_000_000,
    1_000_000_000,
    60_000_000_000,
    3_600_000_000_000,
];

#[derive(Debug, Clone, Copy)]
enum Step {
    Advance(u64),
    Take(usize, u64),
    /// Waits as long as it is told, and takes.
    TakeLater(usize, u64),
    Refund(usize, u64),
    SetRate(u64, usize),
    SetBurst(u64),
    SetWeight(usize, u32),
}

fn steps() -> impl Strategy<Value = Step> {
    let child = 0..5_usize;
    let tokens = prop_oneof![1..20_u64, 1..1_000_u64];
    prop_oneof![
        4 => (0..10_000_000_000_u64).prop_map(Step::Advance),
        2 => (0..1_000_u64).prop_map(Step::Advance),
        8 => (child.clone(), tokens.clone()).prop_map(|(child, n)| Step::Take(child, n)),
        4 => (child.clone(), tokens.clone()).prop_map(|(child, n)| Step::TakeLater(child, n)),
        3 => (child.clone(), tokens).prop_map(|(child, n)| Step::Refund(child, n)),
        1 => (0..100_000_u64, 0..PERIODS.len()).prop_map(|(n, period)| Step::SetRate(n, period)),
        1 => (1..3_000_u64).prop_map(Step::SetBurst),
        1 => (child, 0..200_u32).prop_map(|(child, weight)| Step::SetWeight(child, weight)),
    ]
}

/// What all hold, and what is kept for each.
struct Naive {
    slope: i128,
    burst: i128,
    held: i128,
    weights: Vec<u32>,
    own: Vec<i128>,
}

impl Naive {
    fn new(slope: i128, burst: u64, weights: &[u32]) -> Self {
        let burst = i128::from(burst) * TOKEN;
        let mut naive = Self {
            slope,
            burst,
            held: burst,
            weights: weights.to_vec(),
            own: Vec::new(),
        };
        naive.own = (0..weights.len()).map(|child| naive.cap(child)).collect();
        naive
    }

    fn part(&self, of: i128, child: usize) -> i128 {
        let all: u32 = self.weights.iter().sum();
        of * i128::from(self.weights[child]) / i128::from(all)
    }

    fn cap(&self, child: usize) -> i128 {
        self.part(self.burst, child)
    }

    fn free(&self, child: usize) -> i128 {
        let kept: i128 = self.own.iter().sum();
        self.own[child] + self.held - kept
    }

    fn clip(&mut self) {
        self.held = self.held.min(self.burst);
        for child in 0..self.own.len() {
            self.own[child] = self.own[child].min(self.cap(child));
        }
    }

    fn advance(&mut self, nanos: u128) {
        let comes = i128::try_from(nanos).expect("small") * self.slope;
        self.held += comes;
        for child in 0..self.own.len() {
            self.own[child] += self.part(comes, child);
        }
        self.clip();
    }

    fn take(&mut self, child: usize, need: i128) {
        self.own[child] -= need.min(self.own[child]);
        self.held -= need;
    }

    fn refund(&mut self, child: usize, back: i128) {
        let back = back.min(self.burst - self.held);
        self.held += back;
        self.own[child] += back;
        self.clip();
    }
}

fn slope(tokens: u64, period: usize) -> i128 {
    i128::from(tokens) * (TOKEN / i128::from(PERIODS[period]))
}

fn rate(tokens: u64, period: usize) -> Rate {
    Rate::per(tokens, Duration::from_nanos(PERIODS[period])).expect("not zero")
}

/// Whether so many whole tokens are shown of what is held.
fn is_about(shown: u64, held: i128) -> bool {
    let shown = i128::from(shown);
    shown * TOKEN <= held.max(0) + GRAINS && (shown + 1) * TOKEN > held - GRAINS
}

fn build(
    quota: (Rate, u64),
    weights: &[u32],
    clock: &ManualClock,
) -> Option<(FairShare<ManualClock>, Vec<Share<ManualClock>>)> {
    let builder = FairShare::builder().rate(quota.0).burst(quota.1);
    let children = weights.iter().enumerate();
    let builder = children.fold(builder, |builder, (index, &weight)| {
        builder.child(index.to_string(), weight)
    });
    let share = builder.clock(clock.clone()).counted(false).build().ok()?;
    let children = share.children().collect();
    Some((share, children))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn follows_naive_arithmetic(
        weights in prop::collection::vec(1..100_u32, 1..=5),
        (tokens, period, burst) in (0..100_000_u64, 0..PERIODS.len(), 500..3_000_u64),
        start in prop_oneof![Just(0), 0..1_u64 << 40],
        schedule in prop::collection::vec(steps(), 1..120),
    ) {
        let clock = ManualClock::starting_at(Instant::from_nanos(start));
        let built = build((rate(tokens, period), burst), &weights, &clock);
        let (share, children) = built.expect("room for all");
        let mut model = Naive::new(slope(tokens, period), burst, &weights);
        for step in schedule {
            match step {
                Step::Advance(nanos) => {
                    clock.advance(Duration::from_nanos(nanos));
                    model.advance(u128::from(nanos));
                }
                Step::Take(child, n) | Step::TakeLater(child, n) => {
                    let child = child % children.len();
                    let waits = matches!(step, Step::TakeLater(..));
                    take(&clock, (&children, &mut model), (child, n), waits)?;
                }
                Step::Refund(child, n) => {
                    let child = child % children.len();
                    children[child].refund(n);
                    let n = n.min(share.burst());
                    model.refund(child, i128::from(n) * TOKEN);
                }
                Step::SetRate(tokens, period) => {
                    share.set_rate(rate(tokens, period)).expect("in range");
                    model.slope = slope(tokens, period);
                }
                Step::SetBurst(burst) => if share.set_burst(burst).is_ok() {
                    model.burst = i128::from(burst) * TOKEN;
                    model.clip();
                },
                Step::SetWeight(child, weight) => {
                    let child = child % children.len();
                    if children[child].set_weight(weight).is_ok() {
                        model.weights[child] = weight;
                        model.clip();
                    }
                }
            }
            prop_assert!(is_about(share.available(), model.held));
            for (index, child) in children.iter().enumerate() {
                let stats = child.stats();
                let free = model.free(index).min(model.cap(index));
                prop_assert!(is_about(stats.available, free), "{stats:?}, not {free}");
                prop_assert!(is_about(stats.kept, model.own[index]), "{stats:?}");
            }
        }
    }

    /// Any rates, bursts, weights and clock: all together are granted no more than one bucket
    /// would; no panic, no wrap.
    #[test]
    fn mints_nothing_from_any_numbers(
        weights in prop::collection::vec(prop_oneof![any::<u32>(), 1..10_u32], 1..5),
        (tokens, period, burst) in (
            prop_oneof![any::<u64>(), 0..1_000_u64],
            prop_oneof![any::<u64>(), 1..1_000_u64, Just(u64::MAX)],
            prop_oneof![any::<u64>(), 1..1_000_u64, Just(1 << 50)],
        ),
        start in any::<u64>(),
        schedule in prop::collection::vec((any::<u64>(), 0..5_usize, any::<u64>(), 0..64_u32), 1..60),
    ) {
        let Ok(rate) = Rate::per(tokens, Duration::from_nanos(period)) else { return Ok(()) };
        let clock = ManualClock::starting_at(Instant::from_nanos(start));
        let Some((share, children)) = build((rate, burst), &weights, &clock) else { return Ok(()) };
        let (mut admitted, mut latest) = (0_u128, start);
        for (at, child, n, shift) in schedule {
            clock.set(Instant::from_nanos(at));
            latest = latest.max(at);
            let (child, n) = (&children[child % children.len()], n >> shift);
            if child.try_acquire_n(n).is_ok() {
                admitted += u128::from(n);
            }
            child.peek_n(n).map_or_else(|denied| drop(denied.to_string()), drop);
            if shift % 8 == 0 {
                drop(child.set_weight((n >> 40) as u32));
            }
            prop_assert!(share.available() <= burst);
            prop_assert!(children.iter().all(|child| child.available() <= child.burst()));
            // tokens × time is below 2^128, and one grain is at most a token.
            let supplied = u128::from(tokens) * u128::from(latest - start) / u128::from(period);
            prop_assert!(admitted <= u128::from(burst) + supplied + 1, "{admitted}");
        }
    }

    /// Whatever the others do: who asks all the time gets its part of the rate, and all together
    /// get what one bucket grants.
    #[test]
    fn nobody_keeps_a_child_from_its_part(
        weights in prop::collection::vec(1..20_u32, 2..=5),
        steps in prop::collection::vec((1..50_u64, 0..5_usize, 1..40_u64), 1..200),
    ) {
        let clock = ManualClock::new();
        let burst = 400;
        let built = build((Rate::per_second(1_000), burst), &weights, &clock);
        let (_, children) = built.expect("room for all");
        let start = clock.now();
        let (mut greedy, mut all) = (0, 0);
        for (millis, child, n) in steps {
            while children[0].try_acquire().is_ok() {
                greedy += 1;
            }
            let other = &children[1 + child % (children.len() - 1)];
            all += if other.try_acquire_n(n).is_ok() { n } else { 0 };
            clock.advance(Duration::from_millis(millis));
        }
        while children[0].try_acquire().is_ok() {
            greedy += 1;
        }
        let millis = u64::try_from((clock.now() - start).as_millis()).expect("short");
        let (weight, of) = (u64::from(weights[0]), weights.iter().copied().map(u64::from).sum::<u64>());
        // What it was given beside that it was lent; what it lacks is less than a token.
        prop_assert!((greedy + 1) * of > (burst + millis) * weight, "{greedy} in {millis} ms");
        prop_assert!(greedy + all <= burst + millis);
    }
}

/// Takes now, or after as long as it is told.
fn take(
    clock: &ManualClock,
    (children, model): (&[Share<ManualClock>], &mut Naive),
    (child, n): (usize, u64),
    waits: bool,
) -> Result<(), TestCaseError> {
    let (share, need) = (&children[child], i128::from(n) * TOKEN);
    let peeked = share.peek_n(n);
    let taken = share.try_acquire_n(n);
    prop_assert_eq!(peeked.err(), taken.as_ref().err().copied());
    match taken {
        Ok(granted) => {
            prop_assert!(need <= model.free(child) + GRAINS);
            model.take(child, need);
            let free = model.free(child).min(model.cap(child));
            prop_assert!(is_about(granted.remaining(), free));
            return Ok(());
        }
        Err(Denied::ExceedsBurst { burst, .. }) => {
            prop_assert!(n > burst && is_about(burst, model.cap(child)));
            return Ok(());
        }
        Err(Denied::NeverRefills) => {
            prop_assert!(model.slope == 0);
            return Ok(());
        }
        Err(denied) => {
            prop_assert!(need > model.free(child) - GRAINS);
            let wait = denied.retry_after().expect("it is a matter of time");
            if !waits || wait > Duration::from_secs(100_000) {
                return Ok(());
            }
            let then = clock.now() + wait;
            clock.set(then - Duration::from_nanos(1));
            prop_assert!(share.peek_n(n).is_err(), "{:?} is too long for {}", wait, n);
            clock.set(then);
            model.advance(wait.as_nanos());
        }
    }
    prop_assert!(
        share.try_acquire_n(n).is_ok(),
        "it has waited as long as it was told"
    );
    prop_assert!(need <= model.free(child) + GRAINS);
    model.take(child, need);
    Ok(())
}
