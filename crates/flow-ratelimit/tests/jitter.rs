//! Waits that return at random times after their grant, and nobody else's.
#![cfg(not(loom))]

use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_ratelimit::{ConfigError, Rate, TokenBucket};
use flow_rt::sim::Sim;
use flow_rt::{Handle, TestRuntime};
use futures_util::future::join_all;

const MS: Duration = Duration::from_millis(1);

flow_rt::on_every_runtime! {
    seeds 0..50;
    spreads_those_granted_together,
    holds_up_nobody_else,
    a_dropped_one_gives_back,
    a_timeout_is_kept,
}

fn bucket(rate: Rate, burst: u64, most: Duration) -> TokenBucket {
    let bucket = TokenBucket::builder()
        .rate(rate)
        .burst(burst)
        .initial(0)
        .jitter(most);
    bucket.build().expect("a valid bucket")
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// When each of `n` waiters returns that are granted at one instant.
async fn granted_together(rt: &Handle, n: u64) -> Vec<Duration> {
    let bucket = bucket(Rate::per_hour(1), n, 50 * MS);
    let wait = async || {
        bucket.acquire().await.expect("open");
        rt.now()
    };
    let mut waits: Vec<_> = (0..n).map(|_| Box::pin(wait())).collect();
    for wait in &mut waits {
        assert!(poll_once(wait.as_mut()).is_pending());
    }
    let start = rt.now();
    bucket.refund(n);
    assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    let after = join_all(waits).await.into_iter();
    after.map(|at| at - start).collect()
}

async fn spreads_those_granted_together(rt: TestRuntime) {
    let mut after = granted_together(&rt, 20).await;
    assert!(after.iter().all(|after| *after <= 50 * MS), "{after:?}");
    after.sort_unstable();
    after.dedup();
    // That half of twenty draws of fifty million coincide is not to be seen.
    assert!(after.len() > 10, "{after:?}");
}

/// The tokens are taken at their time: those behind come at theirs, and a refund is never late.
async fn holds_up_nobody_else(rt: TestRuntime) {
    let hour = Duration::from_secs(3_600);
    let bucket = bucket(Rate::per_second(100), 3, hour);
    let mut waits: Vec<_> = (0..3).map(|_| Box::pin(bucket.acquire())).collect();
    for wait in &mut waits {
        assert!(poll_once(wait.as_mut()).is_pending());
    }
    let start = rt.now();
    rt.advance(30 * MS).await;
    assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    bucket.refund(1);
    bucket.try_acquire().expect("at once");
    assert_eq!(rt.now() - start, 30 * MS);
    for granted in join_all(waits).await {
        granted.expect("open");
    }
    assert!(rt.now() - start <= hour + 30 * MS);
    // Who need not wait is not held up.
    bucket.refund(1);
    let before = rt.now();
    bucket.acquire().await.expect("open");
    assert_eq!(rt.now(), before);
    assert_eq!(bucket.stats().granted, 5);
}

async fn a_dropped_one_gives_back(rt: TestRuntime) {
    let bucket = bucket(Rate::per_hour(1), 4, Duration::from_secs(3_600));
    {
        let mut wait = pin!(bucket.acquire_n(3));
        assert!(poll_once(wait.as_mut()).is_pending());
        bucket.refund(3);
        assert!(poll_once(wait.as_mut()).is_pending());
        assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));
    }
    assert_eq!(bucket.available(), 3);
    assert_eq!(bucket.stats().granted, 0);
    {
        let reserved = bucket.reserve_n(4).expect("in line").into_future();
        let mut reserved = pin!(reserved);
        assert!(poll_once(reserved.as_mut()).is_pending());
        bucket.refund(1);
        assert!(poll_once(reserved.as_mut()).is_pending());
        assert_eq!(bucket.available(), 0);
    }
    assert_eq!(bucket.available(), 4);
    rt.settle().await;
}

async fn a_timeout_is_kept(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(100), 3, Duration::from_secs(86_400));
    let start = rt.now();
    bucket.acquire_timeout(15 * MS).await.expect("in time");
    let after = rt.now() - start;
    assert!(after >= 10 * MS && after <= 15 * MS, "{after:?}");
    assert_eq!(bucket.stats().granted, 1);
}

#[test]
fn a_seed_repeats_it() {
    let run = |seed| {
        let report = Sim::new(seed).run(|rt| async move { granted_together(&rt, 20).await });
        report.expect("no deadlock").output
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn what_no_timer_can_tell_is_refused() {
    let build = |most| {
        let bucket = TokenBucket::builder().rate("1/s").burst(1).jitter(most);
        bucket.build().map(drop)
    };
    assert_eq!(build(Duration::ZERO), Ok(()));
    assert_eq!(build(Duration::from_secs(86_400)), Ok(()));
    let given = Duration::MAX;
    assert_eq!(build(given), Err(ConfigError::JitterTooLong { given }));
}
