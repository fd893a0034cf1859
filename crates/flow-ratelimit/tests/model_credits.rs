//! Credits against a plain token bucket in exact arithmetic: whatever is held where, and however
//! it changes, no more is granted than by one bucket of the whole burst.
#![cfg(not(loom))]

use std::thread;
use std::time::Duration;

use flow_ratelimit::{ConfigError, Denied, OwnedLocalBucket, Rate, TokenBucket};
use flow_rt::ManualClock;
use proptest::prelude::*;

/// One token in the model's units: every period below divides it, so the model never rounds.
const TOKEN: i128 = 3_600_000_000_000 * 7;

/// The model may differ from the bucket by two grains of 2^-30 token.
const GRAINS: i128 = TOKEN / (1 << 29) + 1;

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
    Wait(u64),
    Refund(u64),
    TakeElsewhere(u64),
    TakeLocal(usize, u64),
    NewLocal(u32),
    DropLocal(usize),
    SetRate(u64, usize),
    SetBurst(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..10_000_000_000_u64).prop_map(Step::Advance),
        2 => (0..1_000_u64).prop_map(Step::Advance),
        4 => (1..200_u64).prop_map(Step::Take),
        8 => (1..4_u64).prop_map(Step::Take),
        2 => (1..200_u64).prop_map(Step::Wait),
        2 => (0..300_u64).prop_map(Step::Refund),
        1 => (1..20_u64).prop_map(Step::TakeElsewhere),
        12 => (any::<usize>(), prop_oneof![Just(1), 1..100_u64])
            .prop_map(|(i, n)| Step::TakeLocal(i, n)),
        3 => (1..200_u32).prop_map(Step::NewLocal),
        2 => any::<usize>().prop_map(Step::DropLocal),
        1 => (0..100_000_u64, 0..PERIODS.len()).prop_map(|(n, p)| Step::SetRate(n, p)),
        1 => (1..2_000_u64).prop_map(Step::SetBurst),
    ]
}

/// A bucket without credits, and without rounding: what may be granted at the most.
struct Model {
    stock: i128,
    burst: i128,
    slope: i128,
}

impl Model {
    fn advance(&mut self, nanos: u64) {
        let stock = self.stock + self.slope * i128::from(nanos);
        self.stock = stock.min(self.burst);
    }

    fn set_burst(&mut self, burst: u64) {
        self.burst = i128::from(burst) * TOKEN;
        self.stock = self.stock.min(self.burst);
    }

    /// A full bucket at the most.
    fn refund(&mut self, n: u64) {
        let stock = self.stock + i128::from(n) * TOKEN;
        self.stock = stock.min(self.burst);
    }

    fn take(&mut self, n: u64) -> bool {
        self.stock -= i128::from(n) * TOKEN;
        self.stock > -GRAINS
    }
}

fn rate(n: u64, period: usize) -> Rate {
    Rate::per(n, Duration::from_nanos(PERIODS[period])).expect("not zero")
}

fn slope(n: u64, period: usize) -> i128 {
    i128::from(n) * (TOKEN / i128::from(PERIODS[period]))
}

/// The largest batch possible.
fn most(bucket: &TokenBucket<ManualClock>) -> u64 {
    match bucket.local(u32::MAX) {
        Err(ConfigError::BatchTooLarge { max, .. }) => max,
        other => panic!("{other:?}"),
    }
}

type Handles = Vec<OwnedLocalBucket<ManualClock>>;

fn credits(handles: &Handles) -> u64 {
    handles.iter().map(OwnedLocalBucket::credits).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_more_is_granted_than_without_credits(
        tokens in 0..100_000_u64,
        period in 0..PERIODS.len(),
        burst in 1..2_000_u64,
        shards in 0..5_usize,
        schedule in prop::collection::vec(steps(), 1..200),
    ) {
        let clock = ManualClock::new();
        let builder = || TokenBucket::builder().rate(rate(tokens, period)).burst(burst).clock(clock.clone());
        // Where the burst is too small for shards there are none.
        let sharded = builder().sharded(shards).build();
        let bucket = sharded.unwrap_or_else(|_| builder().build().expect("valid"));
        let aside = burst / 2 - most(&bucket);
        let full = i128::from(burst) * TOKEN;
        let mut model = Model { stock: full, burst: full, slope: slope(tokens, period) };
        let mut handles = Handles::new();
        for step in schedule {
            match step {
                Step::Advance(nanos) => {
                    clock.advance(Duration::from_nanos(nanos));
                    model.advance(nanos);
                }
                Step::Take(n) => {
                    let (there, peeked) = (bucket.available(), bucket.peek_n(n));
                    match bucket.try_acquire_n(n) {
                        Ok(_) => {
                            prop_assert!(peeked.is_ok());
                            prop_assert!(model.take(n), "{n} too many");
                        }
                        Err(Denied::ExceedsBurst { .. }) => prop_assert!(peeked.is_err()),
                        // Nothing is stranded.
                        Err(denied) => {
                            prop_assert_eq!(peeked, Err(denied));
                            prop_assert!(there < n, "{n} of {there} were refused");
                        }
                    }
                }
                // Waiting as long as it is told, a lone caller succeeds.
                Step::Wait(n) => {
                    if let Err(Denied::NotYet { retry_after, .. }) = bucket.peek_n(n) {
                        clock.advance(retry_after);
                        let nanos = u64::try_from(retry_after.as_nanos());
                        model.advance(nanos.expect("less than a clock counts"));
                        prop_assert!(bucket.try_acquire_n(n).is_ok(), "{n} after {retry_after:?}");
                        prop_assert!(model.take(n), "{n} too many");
                    }
                }
                Step::Refund(n) => {
                    bucket.refund(n);
                    model.refund(n);
                }
                // Each thread has the next shard.
                Step::TakeElsewhere(n) => {
                    let there = bucket.available();
                    let taken = thread::scope(|it| it.spawn(|| bucket.try_acquire_n(n)).join());
                    match taken.expect("no panic") {
                        Ok(_) => prop_assert!(model.take(n), "{n} too many"),
                        Err(Denied::ExceedsBurst { .. }) => {}
                        Err(_) => prop_assert!(there < n, "{n} of {there} were refused"),
                    }
                }
                Step::TakeLocal(..) | Step::DropLocal(_) if handles.is_empty() => {}
                Step::TakeLocal(i, n) => {
                    let local = &handles[i % handles.len()];
                    let before = local.credits();
                    match local.try_acquire_n(n) {
                        Ok(()) => prop_assert!(model.take(n), "{n} too many"),
                        Err(_) => prop_assert!(before < n, "{n} of {before} credits were refused"),
                    }
                    prop_assert!(local.credits() <= local.batch().into());
                }
                Step::NewLocal(batch) => {
                    let batches = || handles.iter().map(|it| u64::from(it.batch())).sum::<u64>();
                    let fits = aside + batches() + u64::from(batch) <= bucket.burst() / 2;
                    let local = bucket.local_owned(batch);
                    prop_assert_eq!(fits, local.is_ok());
                    handles.extend(local);
                }
                Step::DropLocal(i) => drop(handles.swap_remove(i % handles.len())),
                Step::SetRate(n, p) => {
                    bucket.set_rate(rate(n, p)).expect("in range");
                    model.slope = slope(n, p);
                }
                Step::SetBurst(burst) => {
                    if bucket.set_burst(burst).is_ok() {
                        model.set_burst(burst);
                    }
                }
            }
            let held = bucket.available() + credits(&handles);
            prop_assert!(i128::from(held) * TOKEN <= model.stock + GRAINS, "{held} is minted");
        }
    }

    /// Where nothing runs over, nothing is lost.
    #[test]
    fn credits_go_back_to_the_last_one(
        burst in 400..2_000_u64,
        shards in 1..5_usize,
        schedule in prop::collection::vec(steps(), 1..100),
    ) {
        let clock = ManualClock::new();
        let mut stock = burst / 4;
        let bucket = TokenBucket::builder().rate("1/h").burst(burst).initial(stock).sharded(shards);
        let bucket = bucket.clock(clock.clone()).build().expect("valid");
        let mut handles = Handles::new();
        for step in schedule {
            match step {
                Step::Take(n) if bucket.try_acquire_n(n).is_ok() => stock -= n,
                Step::TakeElsewhere(n) => {
                    let taken = thread::scope(|it| it.spawn(|| bucket.try_acquire_n(n)).join());
                    if taken.expect("no panic").is_ok() {
                        stock -= n;
                    }
                }
                Step::TakeLocal(i, n) if !handles.is_empty() => {
                    let local = &handles[i % handles.len()];
                    if local.try_acquire_n(n).is_ok() {
                        stock -= n;
                    }
                }
                Step::NewLocal(batch) => handles.extend(bucket.local_owned(batch)),
                Step::DropLocal(i) if !handles.is_empty() => {
                    drop(handles.swap_remove(i % handles.len()));
                }
                _ => {}
            }
            prop_assert_eq!(bucket.available() + credits(&handles), stock);
        }
        drop(handles);
        prop_assert_eq!(bucket.available(), stock);
    }
}
