//! A bucket with several limits against exact rational arithmetic, over random schedules.
#![cfg(not(loom))]

use std::time::Duration;

use flow_ratelimit::{Denied, DeniedByLimit, MultiBucket, Quota, Rate};
use flow_rt::{Clock, Instant, ManualClock};
use proptest::prelude::*;

/// One token in the model's units: every period below divides it, so the model never rounds.
const TOKEN: i128 = 3_600_000_000_000 * 7;

/// The model may differ from the bucket by two grains of 2^-26 token.
const GRAINS: i128 = TOKEN / (1 << 25) + 1;

const PERIODS: [u64; 4] = [
    7_000_000_000,
    1_000_000_000,
    60_000_000_000,
    3_600_000_000_000,
];

#[derive(Debug, Clone, Copy)]
enum Step {
    Advance(u64),
    Take(u64),
    Refund(u64),
    SetQuota(usize, Limit, bool),
}

#[derive(Debug, Clone, Copy)]
struct Limit {
    tokens: u64,
    period: usize,
    burst: u64,
}

impl Limit {
    fn quota(self, with_burst: bool) -> Quota {
        let period = Duration::from_nanos(PERIODS[self.period]);
        Quota {
            rate: Rate::per(self.tokens, period).expect("not zero"),
            burst: with_burst.then_some(self.burst),
        }
    }
}

fn limits() -> impl Strategy<Value = Limit> {
    (0..100_000_u64, 0..PERIODS.len(), 1..2_000_u64).prop_map(|(tokens, period, burst)| Limit {
        tokens,
        period,
        burst,
    })
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..10_000_000_000_u64).prop_map(Step::Advance),
        2 => (0..1_000_u64).prop_map(Step::Advance),
        8 => (1..2_000_u64).prop_map(Step::Take),
        2 => (0..3_000_u64).prop_map(Step::Refund),
        1 => (0..7_usize, limits(), any::<bool>())
            .prop_map(|(index, limit, burst)| Step::SetQuota(index, limit, burst)),
    ]
}

/// A bucket of one limit: what it holds, brought up to date at each step.
struct Naive {
    slope: i128,
    burst: i128,
    held: i128,
}

impl Naive {
    fn new(limit: Limit) -> Self {
        let mut naive = Self {
            slope: 0,
            burst: 0,
            held: i128::from(limit.burst) * TOKEN,
        };
        naive.set(limit, true);
        naive
    }

    fn set(&mut self, limit: Limit, with_burst: bool) {
        self.slope = i128::from(limit.tokens) * (TOKEN / i128::from(PERIODS[limit.period]));
        if with_burst {
            self.burst = i128::from(limit.burst) * TOKEN;
            self.held = self.held.min(self.burst);
        }
    }

    fn add(&mut self, more: i128) {
        self.held = (self.held + more).min(self.burst);
    }

    /// Nanoseconds until so much is there.
    fn wait(&self, need: i128) -> Option<i128> {
        let missing = need - self.held;
        match (missing, self.slope) {
            (..=0, _) => Some(0),
            (_, 0) => None,
            _ => Some((missing + self.slope - 1) / self.slope),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn follows_one_naive_bucket_per_limit(
        limits in prop::collection::vec(limits(), 1..=7),
        start in prop_oneof![Just(0), 0..1_u64 << 40],
        schedule in prop::collection::vec(steps(), 1..120),
    ) {
        let clock = ManualClock::starting_at(Instant::from_nanos(start));
        let quotas = limits.iter().map(|limit| limit.quota(true));
        let built = MultiBucket::builder().limits(quotas).clock(clock.clone()).build();
        let bucket = built.expect("valid");
        let mut model: Vec<_> = limits.into_iter().map(Naive::new).collect();
        for step in schedule {
            match step {
                Step::Advance(nanos) => {
                    clock.advance(Duration::from_nanos(nanos));
                    for naive in &mut model {
                        naive.add(i128::from(nanos) * naive.slope);
                    }
                }
                Step::Take(n) => {
                    let need = i128::from(n) * TOKEN;
                    let peeked = bucket.peek_n(n);
                    let taken = bucket.try_acquire_n(n);
                    prop_assert_eq!(peeked.err(), taken.err());
                    match taken {
                        Ok(granted) => {
                            for naive in &mut model {
                                prop_assert!(need <= naive.held + GRAINS);
                                naive.held -= need;
                            }
                            let least = model.iter().map(|it| it.held).min().unwrap_or(0);
                            let shown = i128::from(granted.remaining());
                            prop_assert!(is_about(shown, least), "{shown} of {least}");
                        }
                        Err(by) => is_right(&bucket, &clock, &model, n, by)?,
                    }
                }
                Step::Refund(n) => {
                    bucket.refund(n);
                    for naive in &mut model {
                        naive.add(i128::from(n) * TOKEN);
                    }
                }
                Step::SetQuota(index, limit, with_burst) => {
                    let index = index % model.len();
                    bucket.set_quota(index, limit.quota(with_burst)).expect("in range");
                    model[index].set(limit, with_burst);
                }
            }
            for (index, naive) in model.iter().enumerate() {
                let shown = i128::from(bucket.limit(index).expect("one of them").available);
                prop_assert!(is_about(shown, naive.held), "{shown} of {}", naive.held);
            }
        }
    }

    /// Any rates, bursts and clock: no limit grants more than was supplied, no panic, no wrap.
    #[test]
    fn mints_nothing_from_any_numbers(
        limits in prop::collection::vec(
            (
                prop_oneof![any::<u64>(), 0..1_000_u64],
                prop_oneof![any::<u64>(), 1..1_000_u64, Just(u64::MAX)],
                prop_oneof![any::<u64>(), 1..1_000_u64, Just(1 << 50)],
            ),
            1..4,
        ),
        start in any::<u64>(),
        schedule in prop::collection::vec((any::<u64>(), any::<u64>(), 0..64_u32), 1..60),
    ) {
        let mut quotas = Vec::new();
        for &(tokens, period, burst) in &limits {
            let Ok(rate) = Rate::per(tokens, Duration::from_nanos(period)) else { return Ok(()) };
            quotas.push(Quota { rate, burst: Some(burst) });
        }
        let clock = ManualClock::starting_at(Instant::from_nanos(start));
        let built = MultiBucket::builder().limits(quotas).clock(clock.clone()).build();
        let Ok(bucket) = built else { return Ok(()) };
        let (mut admitted, mut latest) = (0_u128, start);
        for (at, n, shift) in schedule {
            clock.set(Instant::from_nanos(at));
            latest = latest.max(at);
            let n = n >> shift;
            if bucket.try_acquire_n(n).is_ok() {
                admitted += u128::from(n);
            }
            bucket.peek_n(n).map_or_else(|denied| drop(denied.to_string()), drop);
            for (index, &(tokens, period, burst)) in limits.iter().enumerate() {
                let limit = bucket.limit(index).expect("one of them");
                prop_assert!(limit.available <= burst);
                // tokens × time is below 2^128, and one grain is at most a token.
                let supplied = u128::from(tokens) * u128::from(latest - start) / u128::from(period);
                prop_assert!(admitted <= u128::from(burst) + supplied + 1, "{admitted}");
            }
        }
    }
}

/// Whether so many whole tokens are shown of what is held.
fn is_about(shown: i128, held: i128) -> bool {
    shown * TOKEN <= held.max(0) + GRAINS && (shown + 1) * TOKEN > held - GRAINS
}

/// A denial names the limit that holds up longest; a lone caller who waits exactly as long as it
/// was told is granted, and not a moment sooner.
fn is_right(
    bucket: &MultiBucket<ManualClock>,
    clock: &ManualClock,
    model: &[Naive],
    n: u64,
    by: DeniedByLimit,
) -> Result<(), TestCaseError> {
    let need = i128::from(n) * TOKEN;
    let index = by.limit.expect("it was a limit");
    let smallest = model.iter().map(|it| it.burst).min().expect("there is one");
    if let Denied::ExceedsBurst { burst, .. } = by.denied {
        prop_assert_eq!(i128::from(burst) * TOKEN, smallest);
        prop_assert_eq!(model[index].burst, smallest);
        prop_assert!(need > smallest);
        return Ok(());
    }
    prop_assert!(model.iter().any(|it| need > it.held - GRAINS));
    let Some(wait) = by.retry_after() else {
        prop_assert_eq!(model[index].slope, 0);
        return Ok(());
    };
    let longest = model.iter().filter_map(|it| it.wait(need)).max();
    let nanos = i128::try_from(wait.as_nanos()).expect("small");
    // A grain of the slowest limit is so long.
    let slack = GRAINS / model[index].slope + 1;
    prop_assert!(
        (nanos - longest.unwrap_or(0)).abs() <= slack,
        "{nanos} of {longest:?}"
    );
    // So far ahead no anchor is moved: an instant before it counts as it when the clock goes back.
    if wait > Duration::from_secs(5_000) {
        return Ok(());
    }
    let now = clock.now();
    clock.set(now + wait);
    prop_assert!(bucket.peek_n(n).is_ok(), "waited {wait:?} for {n}");
    clock.set(now + wait - Duration::from_nanos(1));
    prop_assert!(bucket.peek_n(n).is_err(), "{wait:?} is too long for {n}");
    clock.set(now);
    Ok(())
}
