//! A limiter of keys with room for all of them against one count of tokens for each, over random
//! schedules. Time goes by in steps in which whole tokens come, so that the count never rounds.
#![cfg(not(loom))]

use std::collections::HashMap;
use std::time::Duration;

use flow_ratelimit::{Denied, KeyedLimiter, Rate, TokenBucket};
use flow_rt::{Instant, ManualClock};
use proptest::prelude::*;

const KEYS: u64 = 24;

/// What time goes by in.
const TICK: Duration = Duration::from_millis(4);

#[derive(Debug, Clone, Copy)]
enum Step {
    Advance(u32),
    Take(u64, u64),
    Peek(u64, u64),
    Refund(u64, u64),
    /// So many tokens in a tick.
    SetRate(u64),
    SetBurst(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5_u32).prop_map(Step::Advance),
        1 => (0..1_000_000_000_u32).prop_map(Step::Advance),
        10 => (0..KEYS, 0..12_u64).prop_map(|(key, n)| Step::Take(key, n)),
        2 => (0..KEYS, 0..12_u64).prop_map(|(key, n)| Step::Peek(key, n)),
        3 => (0..KEYS, 0..12_u64).prop_map(|(key, n)| Step::Refund(key, n)),
        1 => prop_oneof![Just(0), Just(1), Just(2), Just(4), Just(1_000)].prop_map(Step::SetRate),
        1 => (1..12_u64).prop_map(Step::SetBurst),
    ]
}

/// The tokens of those keys that are not full.
struct Model {
    tokens: HashMap<u64, u64>,
    rate: u64,
    burst: u64,
}

impl Model {
    fn advance(&mut self, ticks: u32) {
        let come = self.rate * u64::from(ticks);
        self.tokens.values_mut().for_each(|it| *it += come);
        self.forget();
    }

    fn forget(&mut self) {
        self.tokens.retain(|_, it| *it < self.burst);
    }

    fn of(&self, key: u64) -> u64 {
        self.tokens.get(&key).copied().unwrap_or(self.burst)
    }

    fn peek(&self, key: u64, n: u64) -> Result<u64, Denied> {
        if n > self.burst {
            return Err(Denied::exceeds_burst(n, self.burst));
        }
        let missing = match self.of(key).checked_sub(n) {
            Some(left) => return Ok(left),
            None => n - self.of(key),
        };
        if self.rate == 0 {
            return Err(Denied::NeverRefills);
        }
        let nanos = (TICK.as_nanos() as u64 * missing).div_ceil(self.rate);
        Err(Denied::not_yet(Duration::from_nanos(nanos)))
    }

    fn set(&mut self, key: u64, tokens: u64) {
        self.tokens.insert(key, tokens);
        self.forget();
    }
}

fn rate(per_tick: u64) -> Rate {
    Rate::per(per_tick, TICK).expect("not zero")
}

fn start() -> ManualClock {
    ManualClock::starting_at(Instant::from_nanos(5_000_000_000))
}

fn limiter(clock: &ManualClock, burst: u64, keys: usize) -> KeyedLimiter<u64, ManualClock> {
    let builder = KeyedLimiter::builder().rate(rate(1)).burst(burst);
    let built = builder.max_keys(keys).clock(clock.clone()).build();
    built.expect("a valid limiter")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn each_key_is_counted_exactly(
        burst in 1..12_u64,
        steps in prop::collection::vec(steps(), 1..120),
    ) {
        let clock = start();
        let limiter = limiter(&clock, burst, KEYS as usize);
        let mut model = Model { tokens: HashMap::new(), rate: 1, burst };
        for step in steps {
            match step {
                Step::Advance(ticks) => {
                    clock.advance(TICK * ticks);
                    model.advance(ticks);
                }
                Step::Take(key, n) => {
                    let expected = model.peek(key, n);
                    let granted = limiter.try_acquire_n(&key, n);
                    prop_assert_eq!(granted.map(|it| it.remaining()), expected);
                    if let Ok(left) = expected {
                        model.set(key, left);
                    }
                }
                Step::Peek(key, n) => {
                    let expected = model.peek(key, n).map(drop);
                    prop_assert_eq!(limiter.peek_n(&key, n), expected);
                }
                Step::Refund(key, n) => {
                    limiter.refund(&key, n);
                    let tokens = model.of(key) + n;
                    model.set(key, tokens);
                }
                Step::SetRate(per_tick) => {
                    limiter.set_rate(rate(per_tick)).expect("low enough");
                    model.rate = per_tick;
                }
                Step::SetBurst(burst) => {
                    limiter.set_burst(burst).expect("small enough");
                    model.burst = burst;
                    model.forget();
                }
            }
            prop_assert_eq!(limiter.len(), model.tokens.len());
            for key in 0..KEYS {
                prop_assert_eq!(limiter.available(&key), model.of(key), "key {}", key);
            }
        }
        prop_assert_eq!(limiter.stats().evicted, 0);
    }

    /// At any instants: as buckets that were built with it.
    #[test]
    fn each_key_is_as_a_bucket(
        burst in 1..12_u64,
        steps in prop::collection::vec((0..3_000_000_000_u64, 0..KEYS, 0..12_u64), 1..120),
    ) {
        let clock = start();
        let limiter = limiter(&clock, burst, KEYS as usize);
        let bucket = |_| {
            let builder = TokenBucket::builder().rate(rate(1)).burst(burst);
            builder.clock(clock.clone()).build().expect("a valid bucket")
        };
        let buckets: Vec<_> = (0..KEYS).map(bucket).collect();
        for (nanos, key, n) in steps {
            clock.advance(Duration::from_nanos(nanos % 7_000_000));
            let bucket = &buckets[key as usize];
            prop_assert_eq!(limiter.available(&key), bucket.available());
            let [ours, theirs] = [limiter.try_acquire_n(&key, n), bucket.try_acquire_n(n)]
                .map(|it| it.map(|granted| granted.remaining()));
            match (ours, theirs) {
                // The grains of the two are not as fine.
                (Err(Denied::NotYet { retry_after: ours, .. }),
                 Err(Denied::NotYet { retry_after: theirs, .. })) => {
                    prop_assert!(ours.abs_diff(theirs) <= Duration::from_nanos(1));
                }
                (ours, theirs) => prop_assert_eq!(ours, theirs),
            }
        }
    }

    /// With fewer slots than keys what is granted beyond a bucket is a burst for each eviction.
    #[test]
    fn evictions_are_all_that_is_lost(
        burst in 1..12_u64,
        steps in prop::collection::vec((0..20_u32, 0..KEYS, 0..12_u64), 1..200),
    ) {
        let clock = start();
        let limiter = limiter(&clock, burst, 8);
        let mut granted = 0;
        let mut ticks = 0;
        for (advance, key, n) in steps {
            clock.advance(TICK * (advance / 10));
            ticks += u64::from(advance / 10);
            if limiter.try_acquire_n(&key, n).is_ok() {
                granted += n;
            }
        }
        let most = KEYS * (burst + ticks) + limiter.stats().evicted * burst;
        prop_assert!(granted <= most);
        prop_assert!(limiter.len() <= 8);
    }
}
