//! How exact a rate is, from one an hour to more than one can take: a check, not a speed.
#![allow(clippy::disallowed_methods)] // real time, by no contender's clock

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use flow_benches::Bench;
use flow_ratelimit::{Rate, TokenBucket};
use governor::Quota;
use leaky_bucket::RateLimiter as LeakyBucket;
use ratelimit::Ratelimiter;

use crate::bucket::{governor, some};

const ROW: &str = "precision, 2 threads: tokens outside of the bounds";
const THREADS: usize = 2;
const ROUNDS: usize = 3;
const HOUR: Duration = Duration::from_secs(3_600);

/// A limit: so many tokens in such a period, and at most so many at once.
#[derive(Clone, Copy)]
struct Limit {
    tokens: u32,
    period: Duration,
    burst: u32,
}

impl Limit {
    const fn per_second(tokens: u32) -> Self {
        Self {
            tokens,
            period: Duration::from_secs(1),
            // So much that a thread may be away for some milliseconds and nothing is lost.
            burst: tokens / 200,
        }
    }

    /// How many tokens come in so long a time.
    fn in_time(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.period.as_secs_f64() * f64::from(self.tokens)
    }
}

const LIMITS: [Limit; 5] = [
    Limit {
        tokens: 1,
        period: HOUR,
        burst: 1,
    },
    Limit::per_second(1_000),
    Limit::per_second(1_000_000),
    Limit::per_second(7_000_000),
    Limit::per_second(23_000_000),
];

/// Takes a token, if there is one.
type Take = Box<dyn Fn() -> bool + Sync>;
type Build = fn(Limit) -> Take;

/// Two threads take what they can get, and one what is left then. What they got is compared with
/// `rate × t` and that and the burst, where `t` is known to lie between two spans of std's clock.
pub(crate) fn check(bench: &mut Bench) {
    if !bench.wants(ROW) {
        return;
    }
    let contenders: [(&str, Build); 4] = [
        ("flow", flow),
        ("governor", governor_of),
        ("ratelimit", ratelimit),
        ("leaky-bucket", leaky_bucket),
    ];
    let length = bench.round() * 5;
    let mut worst = contenders.map(|(name, _)| (name, vec![0.0_f64; ROUNDS]));
    for limit in LIMITS {
        for round in 0..ROUNDS {
            for ((_, build), (_, worst)) in contenders.iter().zip(&mut worst) {
                worst[round] = worst[round].max(outside(limit, *build, length));
            }
        }
        let told = worst.iter().map(|(name, worst)| {
            let latest = worst.iter().fold(0.0_f64, |a, b| a.max(*b));
            format!("{name} {latest:.0}")
        });
        let told = told.collect::<Vec<_>>().join(", ");
        eprintln!(
            "{ROW}, up to {} in {:?}: {told}",
            limit.tokens, limit.period
        );
    }
    let [(_, ours), peers @ ..] = worst;
    bench.record(ROW, "tokens", &ours, &peers);
    bench.note(format!(
        "Precision: the worst of one an hour, 1 k, 1 M, 7 M and 23 M a second in {length:?} of real \
         time each, with a burst of half a percent of a second: how many tokens more were granted \
         than `rate × t + burst`, or less than `rate × t`. ratelimit and leaky-bucket cannot be \
         asked 23 M times a second here; governor's interval is a whole number of nanoseconds.",
    ));
}

fn flow(limit: Limit) -> Take {
    let rate = Rate::per(limit.tokens.into(), limit.period).expect("a period");
    let bucket = TokenBucket::new(rate, limit.burst.into()).expect("a valid limit");
    Box::new(move || bucket.try_acquire().is_ok())
}

fn governor_of(limit: Limit) -> Take {
    let quota = match limit.period {
        HOUR => Quota::per_hour(some(limit.tokens)),
        _ => Quota::per_second(some(limit.tokens)),
    };
    let limiter = governor(quota.allow_burst(some(limit.burst)));
    Box::new(move || limiter.check().is_ok())
}

fn ratelimit(limit: Limit) -> Take {
    // It knows only rates per second; what it makes of one an hour is not its fault.
    let rate = match limit.period {
        HOUR => 1,
        _ => limit.tokens.into(),
    };
    let limiter = Ratelimiter::builder(rate)
        .max_tokens(limit.burst.into())
        .initial_available(limit.burst.into())
        .build()
        .expect("a valid limit");
    Box::new(move || limiter.try_wait().is_ok())
}

fn leaky_bucket(limit: Limit) -> Take {
    let (refill, interval) = match limit.period {
        HOUR => (1, HOUR),
        _ => (limit.tokens as usize / 1_000, Duration::from_millis(1)),
    };
    let limiter = LeakyBucket::builder()
        .initial(limit.burst as usize)
        .max(limit.burst as usize)
        .refill(refill)
        .interval(interval)
        .build();
    Box::new(move || limiter.try_acquire(1))
}

/// How many tokens outside of the bounds were granted in about `length`.
fn outside(limit: Limit, build: Build, length: Duration) -> f64 {
    let before = Instant::now();
    let take = build(limit);
    let after = Instant::now();
    let end = after + length;
    let barrier = Barrier::new(THREADS);
    let one = || {
        barrier.wait();
        let mut granted = 0_u64;
        while Instant::now() < end {
            granted += (0..32).filter(|_| take()).count() as u64;
        }
        granted
    };
    let mut granted: u64 = thread::scope(|scope| {
        let running: Vec<_> = (0..THREADS).map(|_| scope.spawn(one)).collect();
        let joined = running.into_iter().map(|it| it.join().expect("no panic"));
        joined.sum()
    });
    // What came until here is taken once one is denied. One that is slower than its rate never
    // denies: it has had its chance after twice the burst.
    let from = Instant::now();
    let left = (0..limit.burst.saturating_mul(2)).take_while(|_| take());
    granted += left.count() as u64;
    let to = Instant::now();
    let least = limit.in_time(from - after).floor();
    let most = limit.in_time(to - before).ceil() + f64::from(limit.burst);
    let granted = granted as f64;
    (granted - most).max(least - granted).max(0.0)
}
