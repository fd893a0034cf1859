//! A child of one rate for several, beside a bucket of its own.

use flow_benches::{Bench, on_threads, repeat};
use flow_ratelimit::{FairShare, Rate, Share, TokenBucket};
use governor::Quota;

use crate::bucket::{PLENTY, governor, some};

pub(crate) fn rows(bench: &mut Bench) {
    let plenty: u64 = PLENTY.into();
    // More than anybody takes, but less than they have; and full again before the next request.
    granted(bench, "a child of four", Rate::per_second(1_000), 1 << 48);
    let full = Rate::per_second(plenty);
    granted(bench, "a child of four, all full", full, plenty);
    denied(bench);
    bench.note(
        "*A child of four* takes of a `FairShare` among four, under a lock that they share; beside \
         it are a `TokenBucket` and governor with the whole rate each. While all are *full*, each \
         grant makes its child fill again.",
    );
}

fn granted(bench: &mut Bench, row: &str, rate: Rate, burst: u64) {
    let child = child(rate, burst);
    let bucket = TokenBucket::new(rate, burst).expect("a valid limit");
    let governor = governor(Quota::per_second(some(PLENTY)));
    assert!(child.try_acquire().is_ok(), "there is plenty");
    assert!(bucket.try_acquire().is_ok(), "there is plenty");
    assert!(governor.check().is_ok(), "there is plenty");
    bench
        .row(format!("{row}, 1 thread"))
        .instructions(10_000)
        .flow(|n| repeat(n, |_| child.try_acquire().is_ok()))
        .peer("bucket", |n| repeat(n, |_| bucket.try_acquire().is_ok()))
        .peer("governor", |n| repeat(n, |_| governor.check().is_ok()))
        .measure();
    bench
        .row(format!("{row}, 2 threads"))
        .flow(|n| on_threads(2, n, |_| child.try_acquire().is_ok()))
        .peer("bucket", |n| {
            on_threads(2, n, |_| bucket.try_acquire().is_ok())
        })
        .peer("governor", |n| {
            on_threads(2, n, |_| governor.check().is_ok())
        })
        .measure();
}

fn denied(bench: &mut Bench) {
    let hourly = Rate::per_hour(1);
    let child = child(hourly, 4);
    let bucket = TokenBucket::new(hourly, 1).expect("a valid limit");
    let governor = governor(Quota::per_hour(some(1)));
    assert!(child.try_acquire().is_ok(), "it starts full");
    assert!(bucket.try_acquire().is_ok(), "it starts full");
    assert!(governor.check().is_ok(), "it starts full");
    bench
        .row("a child of four, denied")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| child.try_acquire()))
        .peer("bucket", |n| repeat(n, |_| bucket.try_acquire()))
        .peer("governor", |n| repeat(n, |_| governor.check()))
        .measure();
}

/// One of four with equal weights.
fn child(rate: Rate, burst: u64) -> Share {
    let builder = FairShare::builder().rate(rate).burst(burst);
    let builder = ["a", "b", "c", "d"]
        .into_iter()
        .fold(builder, |builder, name| builder.child(name, 1));
    let share = builder.build().expect("valid shares");
    share.child("a").expect("the first")
}
