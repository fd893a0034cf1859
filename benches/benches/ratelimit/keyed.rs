//! A limit for each of many keys, some of which come far more often than others.

use core::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use flow_benches::process::resident;
use flow_benches::{Bench, repeat};
use flow_ratelimit::{KeyedLimiter, Rate};
use governor::clock::DefaultClock;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::bucket::{PLENTY, some};

type Governor<S> = RateLimiter<u64, DashMapStateStore<u64, S>, DefaultClock>;

/// How many requests are drawn, at the most; they come again and again.
const REQUESTS: usize = 1 << 22;

pub(crate) fn rows(bench: &mut Bench) {
    // Before rows of times: what they give back to the allocator would not be seen to grow.
    bytes(bench);
    for (keys, name) in [(1_000, "1 k"), (1_000_000, "1 M")] {
        granted(bench, keys, name);
    }
    denied(bench);
    bench.note(
        "Keyed, of 1 k keys by one thread: 10 ns are the clock and the swap, as in a `TokenBucket`, \
         and 5 to 10 hash and look up, which the clock does not hide: with the key looked up before \
         it a grant took 5 ns more, with the clock before the hash as long. 1.6 times governor's \
         speed would take a lookup of 6 ns. By callgrind a grant is 348 instructions, 98 more than \
         one of a `TokenBucket`; some 180 are `clock_gettime`, which it has in the place of the time \
         stamp counter. governor takes 290, with ahash 150. A denial is 295 more than a grant: it \
         says when there will be a token, which governor leaves to who asks. Of 1 M keys what counts \
         is the way to memory: one key in nine stands in its second set, on another line.",
    );
}

/// Each key has nothing left, and never has.
fn denied(bench: &mut Bench) {
    const KEYS: usize = 1_000;
    let requests = zipf(KEYS);
    let last = requests.len() - 1;
    let key = |i: u64| {
        requests
            .get(i as usize & last)
            .copied()
            .map_or(0, u64::from)
    };
    let ours = ours(Rate::per_hour(1), 1, KEYS);
    let quota = Quota::per_hour(some(1));
    let with_ahash = governor::<ahash::RandomState>(quota);
    let governor = governor::<RandomState>(quota);
    for key in shuffled(KEYS) {
        assert!(ours.try_acquire(&key).is_ok(), "it is full");
        assert!(governor.check_key(&key).is_ok(), "it is full");
        assert!(with_ahash.check_key(&key).is_ok(), "it is full");
    }
    bench
        .row("keyed try_acquire denied, 1 k keys, 1 thread")
        .flow(|n| repeat(n, |i| ours.try_acquire(&key(i))))
        .peer("governor", |n| repeat(n, |i| governor.check_key(&key(i))))
        .peer("governor, ahash", |n| {
            repeat(n, |i| with_ahash.check_key(&key(i)))
        })
        .measure();
}

fn granted(bench: &mut Bench, keys: usize, name: &str) {
    let rows = [1, 2].map(|threads| {
        let plural = if threads == 1 { "" } else { "s" };
        (
            threads,
            format!("keyed try_acquire, {name} keys, {threads} thread{plural}"),
        )
    });
    if !rows.iter().any(|(_, row)| bench.wants(row)) {
        return;
    }
    let requests = zipf(keys);
    // Their number is a power of two.
    let last = requests.len() - 1;
    let key = |i: u64| {
        requests
            .get(i as usize & last)
            .copied()
            .map_or(0, u64::from)
    };
    let ours = ours(Rate::per_second(PLENTY.into()), PLENTY.into(), keys);
    let quota = Quota::per_second(some(PLENTY));
    let with_ahash = governor::<ahash::RandomState>(quota);
    let governor = governor::<RandomState>(quota);
    // Each has seen every key, in any order: were the most frequent the first, they would have the
    // best places.
    for key in shuffled(keys) {
        assert!(ours.try_acquire(&key).is_ok(), "there is plenty");
        assert!(governor.check_key(&key).is_ok(), "there is plenty");
        assert!(with_ahash.check_key(&key).is_ok(), "there is plenty");
    }
    for (threads, row) in rows {
        let sides = (threads, requests.len() as u64);
        bench
            .row(row)
            .flow(|n| apart(sides, n, |i| ours.try_acquire(&key(i))))
            .peer("governor", |n| {
                apart(sides, n, |i| governor.check_key(&key(i)))
            })
            .peer("governor, ahash", |n| {
                apart(sides, n, |i| with_ahash.check_key(&key(i)))
            })
            .measure();
    }
}

/// What a million keys that have spent something take, and twenty million that come by once.
fn bytes(bench: &mut Bench) {
    const ROW: &str = "keyed, bytes per key, 1 M keys";
    const FLOOD: &str = "keyed, MiB after a flood of 20 M keys";
    const GROWN: &str = "keyed, MiB more by a flood of 20 M keys";
    const LOST: &str = "keyed, live keys lost of 1 M";
    const KEYS: u64 = 1_000_000;
    const MIB: f64 = 1_048_576.0;
    if ![ROW, FLOOD, GROWN, LOST].iter().any(|row| bench.wants(row)) {
        return;
    }
    let flood = 20 * KEYS;
    let before = resident();
    let grown = || resident().saturating_sub(before) as f64;
    let ours = ours(Rate::per_hour(1), 2, KEYS as usize);
    (0..KEYS).for_each(|key| assert!(ours.try_acquire(&key).is_ok(), "it is full"));
    let live = grown();
    let lost = ours.stats().evicted;
    repeat(flood, |key| ours.try_acquire(&key));
    let flooded = grown();

    let before = resident();
    let grown = || resident().saturating_sub(before) as f64;
    let peer = governor::<RandomState>(Quota::per_hour(some(1)));
    repeat(KEYS, |key| peer.check_key(&key));
    let peers_live = grown();
    repeat(flood, |key| peer.check_key(&key));
    let peers_flooded = grown();

    let per_key = 1.0 / KEYS as f64;
    let peers = [("governor", vec![peers_live * per_key])];
    bench.record(ROW, "B", &[live * per_key], &peers);
    let peers = [("governor", vec![peers_flooded / MIB])];
    bench.record(FLOOD, "MiB", &[flooded / MIB], &peers);
    let peers = [("governor", vec![(peers_flooded - peers_live) / MIB])];
    bench.record(GROWN, "MiB", &[(flooded - live) / MIB], &peers);
    let peers = [("two in ten thousand", vec![KEYS as f64 / 5_000.0])];
    bench.record(LOST, "keys", &[lost as f64], &peers);
    bench.note(format!(
        "Keyed: *lost* are those of {KEYS} live keys, as many as the limiter was built for, that \
         were forgotten too early. The flood is of {flood} keys."
    ));
}

fn ours(rate: Rate, burst: u64, keys: usize) -> KeyedLimiter<u64> {
    KeyedLimiter::new(rate, burst, keys).expect("a valid limit")
}

fn governor<S: BuildHasher + Clone + Default>(quota: Quota) -> Governor<S> {
    RateLimiter::dashmap_with_hasher(quota, S::default())
}

/// How long `n` operations take on each of so many threads, which are as far from one another as
/// they can be in so many requests.
fn apart<T>(
    (threads, requests): (u64, u64),
    n: u64,
    operation: impl Fn(u64) -> T + Sync,
) -> Duration {
    if threads == 1 {
        return repeat(n, operation);
    }
    let barrier = Barrier::new(threads as usize);
    let side = |side: u64| {
        barrier.wait();
        let start = side * (requests / threads);
        repeat(n, |i| operation(start + i))
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|it| scope.spawn(move || side(it)))
            .collect();
        let ended = running
            .into_iter()
            .map(|it| it.join().expect("a contender panicked"));
        ended.max().unwrap_or_default()
    })
}

/// Requests of keys whose frequencies fall off as 1 / rank^0.99.
fn zipf(keys: usize) -> Vec<u32> {
    let mut sum = 0.0;
    let weights = (1..=keys).map(|rank| (rank as f64).powf(-0.99));
    let below: Vec<f64> = weights
        .map(|weight| {
            sum += weight;
            sum
        })
        .collect();
    let count = (keys * 16).next_power_of_two().min(REQUESTS);
    let draw = |unit: f64| below.partition_point(|it| *it < unit * sum) as u32;
    units().take(count).map(draw).collect()
}

/// All keys in an order that has nothing to do with their frequencies, the same each time.
#[allow(clippy::cast_sign_loss)] // a unit is not negative
fn shuffled(keys: usize) -> Vec<u64> {
    let mut shuffled: Vec<_> = (0..keys as u64).collect();
    for (last, unit) in (1..keys).rev().zip(units()) {
        // At most `last`, as a unit is less than 1.
        shuffled.swap(last, (unit * (last + 1) as f64) as usize);
    }
    shuffled
}

/// Numbers from 0 to 1 as if at random, always the same: xorshift64*, by Marsaglia and Vigna.
fn units() -> impl Iterator<Item = f64> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    core::iter::repeat_with(move || {
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        (seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    })
}
