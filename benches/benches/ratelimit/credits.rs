//! Tokens taken by the batch: from shards, and by handles of one's own.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use flow_benches::{Bench, on_threads, repeat};
use flow_ratelimit::{Rate, TokenBucket, TokenBucketBuilder};
use governor::Quota;

use crate::bucket::{PLENTY, governor, plenty_of_leaky, plenty_of_ratelimit, some};

const BATCH: u32 = 32;

pub(crate) fn rows(bench: &mut Bench) {
    let plain = || {
        let bucket = TokenBucket::builder().rate(Rate::per_second(PLENTY.into()));
        bucket.burst(PLENTY.into())
    };
    let sharded = build(plain().sharded(2));
    let whole = build(plain());
    let governor = governor(Quota::per_second(some(PLENTY)));
    let scaled = plenty_of_ratelimit();
    let leaky = plenty_of_leaky();

    bench
        .row("sharded try_acquire, 1 thread")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| sharded.try_acquire()))
        .peer("governor", |n| repeat(n, |_| governor.check()))
        .peer("ratelimit", |n| repeat(n, |_| scaled.try_wait()))
        .peer("leaky-bucket", |n| repeat(n, |_| leaky.try_acquire(1)))
        .goflow("allow")
        .measure();
    bench
        .row("sharded try_acquire, 2 threads")
        .flow(|n| on_threads(2, n, |_| sharded.try_acquire()))
        .peer("governor", |n| on_threads(2, n, |_| governor.check()))
        .peer("ratelimit", |n| on_threads(2, n, |_| scaled.try_wait()))
        .peer("leaky-bucket", |n| {
            on_threads(2, n, |_| leaky.try_acquire(1))
        })
        .measure();
    bench
        .row("local try_acquire, batch 32, 1 thread")
        .instructions(10_000)
        .flow(|n| locally(&whole, 1, n))
        .peer("governor", |n| repeat(n, |_| governor.check()))
        .peer("ratelimit", |n| repeat(n, |_| scaled.try_wait()))
        .peer("leaky-bucket", |n| repeat(n, |_| leaky.try_acquire(1)))
        .measure();
    bench
        .row("local try_acquire, batch 32, 2 threads")
        .flow(|n| locally(&whole, 2, n))
        .peer("governor", |n| on_threads(2, n, |_| governor.check()))
        .peer("ratelimit", |n| on_threads(2, n, |_| scaled.try_wait()))
        .peer("leaky-bucket", |n| {
            on_threads(2, n, |_| leaky.try_acquire(1))
        })
        .measure();
}

fn build(builder: TokenBucketBuilder) -> TokenBucket {
    let bucket = builder.build().expect("a valid limit");
    assert!(bucket.try_acquire().is_ok(), "there is plenty");
    bucket
}

/// How long `n` tokens take on each of so many threads, each with a handle of its own: the
/// slowest counts.
fn locally(bucket: &TokenBucket, threads: usize, n: u64) -> Duration {
    let barrier = Barrier::new(threads);
    let one = || {
        let local = bucket.local(BATCH).expect("a small part of the burst");
        barrier.wait();
        repeat(n, |_| local.try_acquire())
    };
    if threads == 1 {
        return one();
    }
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let took = running.into_iter().map(|it| it.join().expect("no panic"));
        took.max().unwrap_or_default()
    })
}
