//! A limiter of keys with room for all of them against one count of tokens for each, over random
//! schedules. Time goes by in steps in which whole tokens come, so that the count never rounds.
#![cfg(not(loom))]

use std::collections::HashMap;
use std::time::Duration;

use flow_ratelimit::{Denied, KeyedLimiter, KeyedLimiterBuilder, Quota, Rate, TokenBucket};
use flow_rt::{Instant, ManualClock};
use proptest::prelude::*;

const KEYS: u64 = 24;

/// What time goes by in.
const TICK: Duration = Duration::from_millis(4);

#[derive(Debug, Clone, Copy)]
enum Step {
    Advance(u32),
    /// Class, key, tokens.
    Take(usize, u64, u64),
    Peek(usize, u64, u64),
    Refund(u64, u64),
    /// So many tokens in a tick.
    SetRate(usize, u64),
    SetBurst(usize, u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let class = || 0..CLASSES;
    let rates = prop_oneof![Just(0), Just(1), Just(2), Just(4), Just(1_000)];
    prop_oneof![
        4 => (0..5_u32).prop_map(Step::Advance),
        1 => (0..1_000_000_000_u32).prop_map(Step::Advance),
        10 => (class(), 0..KEYS, 0..12_u64).prop_map(|(class, key, n)| Step::Take(class, key, n)),
        2 => (class(), 0..KEYS, 0..12_u64).prop_map(|(class, key, n)| Step::Peek(class, key, n)),
        3 => (0..KEYS, 0..12_u64).prop_map(|(key, n)| Step::Refund(key, n)),
        1 => (class(), rates).prop_map(|(class, rate)| Step::SetRate(class, rate)),
        1 => (class(), 1..12_u64).prop_map(|(class, burst)| Step::SetBurst(class, burst)),
    ]
}

const CLASSES: usize = 3;

/// The class and the tokens of those keys that are not full.
struct Model {
    keys: HashMap<u64, (usize, u64)>,
    rates: [u64; CLASSES],
    bursts: [u64; CLASSES],
}

impl Model {
    fn new(burst: u64) -> Self {
        Self {
            keys: HashMap::new(),
            rates: [1, 2, 0],
            bursts: [burst, burst + 3, burst],
        }
    }

    fn advance(&mut self, ticks: u32) {
        for (class, tokens) in self.keys.values_mut() {
            *tokens += self.rates[*class] * u64::from(ticks);
        }
        self.forget();
    }

    fn forget(&mut self) {
        let bursts = self.bursts;
        self.keys
            .retain(|_, (class, tokens)| *tokens < bursts[*class]);
    }

    /// What a key has as one of a class: it lacks what it lacks in its own.
    fn of(&self, class: usize, key: u64) -> u64 {
        match self.keys.get(&key) {
            None => self.bursts[class],
            Some(&(its, tokens)) => self.bursts[class].saturating_sub(self.bursts[its] - tokens),
        }
    }

    fn peek(&self, class: usize, key: u64, n: u64) -> Result<u64, Denied> {
        let burst = self.bursts[class];
        if n > burst {
            return Err(Denied::exceeds_burst(n, burst));
        }
        let missing = match self.of(class, key).checked_sub(n) {
            Some(left) => return Ok(left),
            None => n - self.of(class, key),
        };
        if self.rates[class] == 0 {
            return Err(Denied::NeverRefills);
        }
        let nanos = (TICK.as_nanos() as u64 * missing).div_ceil(self.rates[class]);
        Err(Denied::not_yet(Duration::from_nanos(nanos)))
    }

    fn take(&mut self, class: usize, key: u64, n: u64) -> Result<u64, Denied> {
        let answer = self.peek(class, key, n);
        let tokens = match answer {
            Ok(_) if n == 0 => return answer,
            Ok(left) => left,
            Err(Denied::ExceedsBurst { .. }) => return answer,
            Err(_) => self.of(class, key),
        };
        if answer.is_ok() || self.keys.contains_key(&key) {
            self.keys.insert(key, (class, tokens));
            self.forget();
        }
        answer
    }

    fn refund(&mut self, key: u64, n: u64) {
        if let Some((_, tokens)) = self.keys.get_mut(&key) {
            *tokens += n;
        }
        self.forget();
    }
}

fn rate(per_tick: u64) -> Rate {
    Rate::per(per_tick, TICK).expect("not zero")
}

fn start() -> ManualClock {
    ManualClock::starting_at(Instant::from_nanos(5_000_000_000))
}

fn builder(clock: &ManualClock, burst: u64, keys: usize) -> KeyedLimiterBuilder<u64, ManualClock> {
    let builder = KeyedLimiter::builder().rate(rate(1)).burst(burst);
    builder.max_keys(keys).clock(clock.clone())
}

fn limiter(clock: &ManualClock, burst: u64, keys: usize) -> KeyedLimiter<u64, ManualClock> {
    let built = builder(clock, burst, keys).build();
    built.expect("a valid limiter")
}

/// The classes of the model.
fn classes(model: &Model) -> [Quota; CLASSES - 1] {
    [1, 2].map(|class| Quota {
        rate: rate(model.rates[class]),
        burst: Some(model.bursts[class]),
    })
}

/// Runs the steps with a limiter and the model. A macro, for limiters of both kinds.
macro_rules! compare {
    ($limiter:expr, $clock:expr, $model:expr, $steps:expr) => {{
        let (limiter, clock, mut model) = ($limiter, $clock, $model);
        for step in $steps {
            match step {
                Step::Advance(ticks) => {
                    clock.advance(TICK * ticks);
                    model.advance(ticks);
                }
                Step::Take(class, key, n) => {
                    let expected = model.take(class, key, n);
                    let granted = limiter.class(class).unwrap().try_acquire_n(&key, n);
                    prop_assert_eq!(granted.map(|it| it.remaining()), expected);
                }
                Step::Peek(class, key, n) => {
                    let expected = model.peek(class, key, n).map(drop);
                    let peeked = limiter.class(class).unwrap().peek_n(&key, n);
                    prop_assert_eq!(peeked, expected);
                }
                Step::Refund(key, n) => {
                    limiter.refund(&key, n);
                    model.refund(key, n);
                }
                Step::SetRate(class, per_tick) => {
                    let of = limiter.class(class).unwrap();
                    of.set_rate(rate(per_tick)).expect("low enough");
                    model.rates[class] = per_tick;
                }
                Step::SetBurst(class, burst) => {
                    let of = limiter.class(class).unwrap();
                    of.set_burst(burst).expect("small enough");
                    // Full keys stay full, and others keep what they have, as far as it fits.
                    model.bursts[class] = burst;
                    model.forget();
                }
            }
            prop_assert_eq!(limiter.len(), model.keys.len());
            for key in 0..KEYS {
                for class in 0..CLASSES {
                    let available = limiter.class(class).unwrap().available(&key);
                    prop_assert_eq!(available, model.of(class, key), "key {}", key);
                }
            }
        }
        prop_assert_eq!(limiter.stats().evicted, 0);
    }};
}

/// What happens to keys and to buckets alike.
#[derive(Debug, Clone, Copy)]
enum BucketStep {
    /// Key, tokens.
    Take(u64, u64),
    Peek(u64, u64),
    Refund(u64, u64),
    SetRate(usize, &'static str),
}

/// The first are those that the classes begin with.
const BUCKET_RATES: [&str; 7] = ["250/s", "7/s", "1000/3s", "1/h", "999/s", "0/s", "100/7s"];

/// Each key has one class here.
const fn class_of(key: u64) -> usize {
    (key % CLASSES as u64) as usize
}

/// How long it is until then, and what happens then.
fn bucket_steps() -> impl Strategy<Value = (u64, BucketStep)> {
    let nanos = prop_oneof![
        2 => Just(0),
        8 => 0..7_000_000_u64,
        2 => 0..3_000_000_000_u64,
        1 => 0..100_000_000_000_000_u64,
    ];
    let step = prop_oneof![
        10 => (0..KEYS, 0..12_u64).prop_map(|(key, n)| BucketStep::Take(key, n)),
        2 => (0..KEYS, 0..12_u64).prop_map(|(key, n)| BucketStep::Peek(key, n)),
        3 => (0..KEYS, 0..12_u64).prop_map(|(key, n)| BucketStep::Refund(key, n)),
        2 => (0..CLASSES, prop::sample::select(&BUCKET_RATES[..]))
            .prop_map(|(class, rate)| BucketStep::SetRate(class, rate)),
    ];
    (nanos, step)
}

/// By how much keys and buckets of a class may differ. The parts of a token that they count are not of
/// one size, and each change of the rate rounds to a whole one.
struct Slack {
    changes: u32,
    /// In which a token comes.
    period: Duration,
}

impl Slack {
    fn of(rate: &str) -> Self {
        let rate: Rate = rate.parse().unwrap();
        let tokens = u32::try_from(rate.tokens()).unwrap();
        let period = rate.period().checked_div(tokens);
        Self {
            changes: 1,
            period: period.unwrap_or(Duration::ZERO),
        }
    }

    fn changed(&mut self, rate: &str) {
        let changes = self.changes + 1;
        *self = Self {
            changes,
            ..Self::of(rate)
        };
    }

    /// A nanosecond, which times are rounded to, and a part for each change. They are as fine as a
    /// rate of up to 1,000 per second leaves room for, of which 2^35 come in a second.
    fn in_force(&self) -> Duration {
        Duration::from_nanos(1) + self.period * self.changes / (1 << 24)
    }
}

/// Whether these are the same, or not to be told apart.
fn are_near(ours: Result<u64, Denied>, theirs: Result<u64, Denied>, slack: Duration) -> bool {
    match (ours, theirs) {
        (
            Err(Denied::NotYet {
                retry_after: ours, ..
            }),
            Err(Denied::NotYet {
                retry_after: theirs,
                ..
            }),
        ) => ours.abs_diff(theirs) <= slack,
        (Ok(_), Err(Denied::NotYet { retry_after, .. }))
        | (Err(Denied::NotYet { retry_after, .. }), Ok(_)) => retry_after <= slack,
        (ours, theirs) => ours == theirs,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn each_key_is_counted_exactly(
        burst in 1..12_u64,
        steps in prop::collection::vec(steps(), 1..120),
    ) {
        let clock = start();
        let model = Model::new(burst);
        let limiter = builder(&clock, burst, KEYS as usize).classes(classes(&model));
        compare!(limiter.build().unwrap(), &clock, model, steps);
    }

    #[test]
    fn each_key_that_is_kept_is_counted_exactly(
        burst in 1..12_u64,
        steps in prop::collection::vec(steps(), 1..120),
    ) {
        let clock = start();
        let model = Model::new(burst);
        let limiter = builder(&clock, burst, KEYS as usize).classes(classes(&model));
        compare!(limiter.build_exact().unwrap(), &clock, model, steps);
    }

    /// Whatever goes on: no more keys are known than may be, and the table finds all of them.
    #[test]
    fn keys_that_are_kept_are_found(
        steps in prop::collection::vec((0..4_u8, 0..60_u64), 1..400),
    ) {
        let limiter = builder(&start(), 5, 32).build_exact().unwrap();
        limiter.set_rate(Rate::ZERO).unwrap();
        let mut known = HashMap::<u64, u64>::new();
        for (step, key) in steps {
            let evicted = limiter.stats().evicted;
            match step {
                0 => prop_assert_eq!(limiter.remove(&key), known.remove(&key).is_some()),
                _ if limiter.try_acquire(&key).is_ok() => *known.entry(key).or_default() += 1,
                _ => prop_assert_eq!(known.get(&key), Some(&5)),
            }
            if limiter.stats().evicted > evicted {
                let still = limiter.iter().map(|(key, _)| key).collect::<Vec<_>>();
                let gone = known.keys().find(|it| !still.contains(it)).copied();
                let gone = known.remove(&gone.expect("one was forgotten")).unwrap();
                prop_assert!(known.iter().all(|(it, spent)| *it == key || *spent >= gone));
            }
            let mut all: Vec<_> = limiter.iter().collect();
            all.sort_unstable();
            let mut expected: Vec<_> = known.iter().map(|(key, spent)| (*key, 5 - spent)).collect();
            expected.sort_unstable();
            prop_assert_eq!(all, expected);
        }
    }

    /// At any instants, by several rates that change meanwhile: as buckets that were built with it,
    /// one for each key.
    #[test]
    fn each_key_is_as_a_bucket(
        burst in 1..12_u64,
        steps in prop::collection::vec(bucket_steps(), 1..120),
    ) {
        let clock = start();
        let builder = || builder(&clock, burst, KEYS as usize).classes(
            BUCKET_RATES[1..CLASSES].iter().map(|rate| format!("{rate} burst {burst}")),
        ).rate(BUCKET_RATES[0]);
        let limiter = builder().build().unwrap();
        let exact = builder().build_exact().unwrap();
        let bucket = |key: u64| {
            let builder = TokenBucket::builder().rate(BUCKET_RATES[class_of(key)]).burst(burst);
            builder.clock(clock.clone()).build().expect("a valid bucket")
        };
        let buckets: Vec<_> = (0..KEYS).map(bucket).collect();
        let mut slack = [Slack::of(BUCKET_RATES[0]), Slack::of(BUCKET_RATES[1]), Slack::of(BUCKET_RATES[2])];
        for (nanos, step) in steps {
            clock.advance(Duration::from_nanos(nanos));
            match step {
                BucketStep::Take(key, n) => {
                    let slack = slack[class_of(key)].in_force();
                    let bucket = &buckets[key as usize];
                    let theirs = bucket.try_acquire_n(n).map(|it| it.remaining());
                    let hashed = limiter.class(class_of(key)).unwrap().try_acquire_n(&key, n);
                    let kept = exact.class(class_of(key)).unwrap().try_acquire_n(&key, n);
                    prop_assert_eq!(hashed, kept);
                    let ours = hashed.map(|it| it.remaining());
                    prop_assert!(are_near(ours, theirs, slack), "{:?} {:?}", ours, theirs);
                    // Of those that differ by less than can be told neither has taken anything.
                    if ours.is_ok() && theirs.is_err() {
                        limiter.refund(&key, n);
                        exact.refund(&key, n);
                    }
                    if theirs.is_ok() && ours.is_err() {
                        bucket.refund(n);
                    }
                }
                BucketStep::Peek(key, n) => {
                    let theirs = buckets[key as usize].peek_n(n).map(|()| 0);
                    let hashed = limiter.class(class_of(key)).unwrap().peek_n(&key, n);
                    let kept = exact.class(class_of(key)).unwrap().peek_n(&key, n);
                    prop_assert_eq!(hashed, kept);
                    let (ours, slack) = (hashed.map(|()| 0), slack[class_of(key)].in_force());
                    prop_assert!(are_near(ours, theirs, slack), "{:?} {:?}", ours, theirs);
                }
                BucketStep::Refund(key, n) => {
                    limiter.refund(&key, n);
                    exact.refund(&key, n);
                    buckets[key as usize].refund(n);
                }
                BucketStep::SetRate(class, rate) => {
                    limiter.class(class).unwrap().set_rate(rate).unwrap();
                    exact.class(class).unwrap().set_rate(rate).unwrap();
                    for key in (0..KEYS).filter(|key| class_of(*key) == class) {
                        buckets[key as usize].set_rate(rate).unwrap();
                    }
                    slack[class].changed(rate);
                }
            }
            for key in 0..KEYS {
                let ours = limiter.class(class_of(key)).unwrap();
                prop_assert_eq!(ours.available(&key), exact.class(class_of(key)).unwrap().available(&key));
                let bucket = &buckets[key as usize];
                let (ours, theirs) = (ours.available(&key), bucket.available());
                if ours != theirs {
                    // One of them is about to have it.
                    let most = ours.max(theirs);
                    prop_assert_eq!(ours.abs_diff(theirs), 1, "key {}", key);
                    let of = limiter.class(class_of(key)).unwrap();
                    let [ours, theirs] = [of.peek_n(&key, most), bucket.peek_n(most)].map(|it| it.map(|()| 0));
                    prop_assert!(are_near(ours, theirs, slack[class_of(key)].in_force()), "key {}: {:?} {:?}", key, ours, theirs);
                }
            }
        }
        prop_assert_eq!((limiter.stats().evicted, exact.stats().evicted), (0, 0));
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
