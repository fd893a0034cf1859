//! Waiting for several limits in one queue, on every runtime: on real ones in stepped time, and in
//! the simulation.
#![cfg(not(loom))]

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use flow_ratelimit::{
    AcquireBlockingError, AcquireError, Composite, Denied, LimiterExt, MultiBucket, Rate,
    TokenBucket,
};
use flow_rt::{ManualClock, TestRuntime};

const MS: Duration = Duration::from_millis(1);

flow_rt::on_every_runtime! {
    seeds 0..50;
    waits_for_the_scarcest_limit,
    serves_everybody_in_order,
    a_large_need_holds_up_those_behind,
    a_dropped_wait_takes_nothing,
    a_grant_without_a_limit_gives_nothing_back,
    hopeless_timeouts_fail_at_once,
    quotas_reach_those_who_wait,
    a_smaller_burst_ends_a_wait,
    close_ends_the_waits,
    newcomers_stay_behind,
    a_look_says_what_a_newcomer_would_hear_though_the_driver_is_late,
    a_refund_serves_those_who_wait,
    the_queue_may_be_full,
    nothing_is_kept_of_a_limit_that_was_full,
    it_waits_in_a_composite,
}

/// A bucket whose limits hold nothing.
fn empty(limits: &[&str]) -> MultiBucket {
    let bucket = MultiBucket::new(limits.iter().copied()).expect("valid limits");
    while bucket.try_acquire().is_ok() {}
    bucket
}

fn poll_once(future: Pin<&mut impl Future>) -> bool {
    future
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

/// Waits take as long as the slowest limit says, to the nanosecond.
async fn waits_for_the_scarcest_limit(rt: TestRuntime) {
    let both = MultiBucket::new(["200/s burst 1", "20/s burst 3"]).expect("valid limits");
    let start = rt.now();
    let mut went = Vec::new();
    for _ in 0..6 {
        both.acquire().await.expect("open");
        went.push((rt.now() - start).as_millis());
    }
    // Three by the first limit, then by the second: it was full at 0.
    assert_eq!(went, [0, 5, 10, 50, 100, 150]);
    let stats = both.stats();
    assert_eq!((stats.granted, stats.waiting), (6, 0));
    rt.advance(200 * MS).await;
    assert_eq!(rt.live_tasks(), 0, "a driver stays");
}

async fn serves_everybody_in_order(rt: TestRuntime) {
    let both = empty(&["1000/s burst 1", "100000/h burst 1"]);
    let start = rt.now();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for number in 0..10 {
        let (bucket, order) = (both.clone(), order.clone());
        tasks.push(rt.spawn(async move {
            let granted = bucket.acquire().await;
            order.lock().expect("no panic").push(number);
            granted
        }));
        // In the queue before the next one comes.
        rt.settle().await;
    }
    for task in tasks {
        task.await.expect("no panic").expect("open");
    }
    assert_eq!(
        *order.lock().expect("no panic"),
        (0..10).collect::<Vec<_>>()
    );
    assert_eq!(rt.now() - start, 360 * MS);
    assert_eq!(both.stats().waiting, 0);
}

async fn a_large_need_holds_up_those_behind(rt: TestRuntime) {
    let both = empty(&["100/s burst 5", "50/s burst 5"]);
    let mut large = pin!(both.acquire_n(4));
    let mut small = pin!(both.acquire());
    assert!(!poll_once(large.as_mut()) && !poll_once(small.as_mut()));
    rt.advance(79 * MS).await;
    assert!(!poll_once(small.as_mut()) && !poll_once(large.as_mut()));
    rt.advance(MS).await;
    assert!(poll_once(large.as_mut()) && !poll_once(small.as_mut()));
    rt.advance(20 * MS).await;
    assert!(poll_once(small.as_mut()));
}

async fn a_dropped_wait_takes_nothing(rt: TestRuntime) {
    let both = empty(&["100/s burst 3", "50/s burst 3"]);
    let mut granted = Box::pin(both.acquire_n(2));
    let mut waiting = Box::pin(both.acquire_n(3));
    let mut last = pin!(both.acquire());
    assert!(!poll_once(granted.as_mut()) && !poll_once(waiting.as_mut()));
    assert!(!poll_once(last.as_mut()));
    rt.advance(40 * MS).await;
    // Both tokens are its own by now; they go back, and to the next who fits.
    drop(granted);
    drop(waiting);
    assert!(poll_once(last.as_mut()));
    let left: Vec<_> = (0..2).filter_map(|it| both.limit(it)).collect();
    assert_eq!((left[0].available, left[1].available), (2, 1));
    assert_eq!(both.stats().waiting, 0);
}

/// Nothing was taken for it, so nothing comes back.
async fn a_grant_without_a_limit_gives_nothing_back(rt: TestRuntime) {
    let both = empty(&["1/h burst 5", "1/h burst 9"]);
    let set_all = |rate| {
        for limit in 0..2 {
            both.set_quota(limit, rate).expect("in range");
        }
    };
    let mut wait = Box::pin(both.acquire_n(5));
    assert!(!poll_once(wait.as_mut()));
    set_all(Rate::UNLIMITED);
    assert_eq!(both.stats().waiting, 0, "it was granted");
    set_all(Rate::per_hour(1));
    both.try_acquire_n(5).expect("full");
    drop(wait);
    assert_eq!(both.available(), 0);
    drop(rt);
}

async fn hopeless_timeouts_fail_at_once(rt: TestRuntime) {
    let both = empty(&["100/s burst 3", "10/s burst 3"]);
    let start = rt.now();
    let refused = both.acquire_timeout(99 * MS).await;
    let would_wait = 100 * MS;
    assert!(
        matches!(refused, Err(AcquireError::Timeout { would_wait: it, .. }) if it == would_wait)
    );
    assert_eq!(rt.now(), start);
    both.acquire_timeout(100 * MS).await.expect("just in time");
    assert_eq!(rt.now() - start, 100 * MS);
    let refused = both.acquire_n(4).await;
    assert!(matches!(
        refused,
        Err(AcquireError::ExceedsBurst {
            requested: 4,
            burst: 3,
            ..
        })
    ));

    both.set_quota(0, Rate::ZERO).expect("in range");
    let refused = both.acquire_timeout(Duration::MAX).await;
    let never = both.try_acquire_n(3).expect_err("there are two");
    assert_eq!((never.limit, never.denied), (Some(0), Denied::NeverRefills));
    refused.expect_err("none of the second");
}

async fn quotas_reach_those_who_wait(rt: TestRuntime) {
    let both = empty(&["100/s burst 1", "1/h burst 1"]);
    let start = rt.now();
    let waits = {
        let both = both.clone();
        rt.spawn(async move { both.acquire().await })
    };
    rt.settle().await;
    both.set_quota(1, Rate::per_second(50)).expect("in range");
    waits.await.expect("no panic").expect("open");
    assert_eq!(rt.now() - start, 20 * MS);
}

async fn a_smaller_burst_ends_a_wait(rt: TestRuntime) {
    let both = empty(&["100/s burst 5", "100/s burst 5"]);
    let mut large = pin!(both.acquire_n(4));
    let mut small = pin!(both.acquire());
    assert!(!poll_once(large.as_mut()) && !poll_once(small.as_mut()));
    rt.advance(10 * MS).await;
    both.set_quota(1, "100/s burst 3").expect("in range");
    assert!(matches!(
        large.await,
        Err(AcquireError::ExceedsBurst {
            requested: 4,
            burst: 3,
            ..
        })
    ));
    assert!(poll_once(small.as_mut()));
}

async fn close_ends_the_waits(rt: TestRuntime) {
    let both = empty(&["1/h burst 1", "1/s burst 1"]);
    let waits = {
        let both = both.clone();
        rt.spawn(async move { both.acquire().await })
    };
    rt.settle().await;
    both.close();
    let ended = waits.await.expect("no panic");
    assert_eq!(ended, Err(AcquireError::Closed));
    assert_eq!(both.acquire().await, Err(AcquireError::Closed));
    let denied = both.try_acquire().expect_err("closed");
    assert_eq!((denied.limit, denied.denied), (None, Denied::Closed));
}

async fn newcomers_stay_behind(rt: TestRuntime) {
    let both = empty(&["100/s burst 5", "50/s burst 5"]);
    let mut waits = pin!(both.acquire_n(3));
    assert!(!poll_once(waits.as_mut()));
    rt.advance(20 * MS).await;
    let denied = both.try_acquire().expect_err("others wait");
    assert_eq!(
        (denied.limit, denied.retry_after()),
        (Some(1), Some(60 * MS))
    );
    assert_eq!(both.peek(), Err(denied));
    rt.advance(40 * MS).await;
    assert!(poll_once(waits.as_mut()));
    rt.advance(20 * MS).await;
    both.try_acquire()
        .expect("it has waited as long as it was told");
}

/// The one in front could go, and there is enough for both.
async fn a_look_says_what_a_newcomer_would_hear_though_the_driver_is_late(rt: TestRuntime) {
    let clock = ManualClock::new();
    let builder = MultiBucket::builder()
        .limit("1/s burst 2")
        .limit("3/s burst 3");
    let both = builder.clock(clock.clone()).build().expect("valid limits");
    both.try_acquire_n(2).expect("it starts full");
    let mut first = pin!(both.acquire());
    assert!(!poll_once(first.as_mut()));
    clock.advance(Duration::from_secs(2));
    both.peek().expect("there are two");
    both.try_acquire().expect("there are two");
    assert!(poll_once(first.as_mut()));
    assert!(both.peek().is_err());
    drop(rt);
}

async fn a_refund_serves_those_who_wait(rt: TestRuntime) {
    let both = empty(&["1/h burst 5", "1/h burst 9"]);
    let start = rt.now();
    let mut waits = pin!(both.acquire_n(3));
    assert!(!poll_once(waits.as_mut()));
    both.refund(3);
    assert!(poll_once(waits.as_mut()));
    both.refund(1);
    both.try_acquire().expect("the fast path is open again");
    assert_eq!(rt.now(), start);
}

async fn the_queue_may_be_full(rt: TestRuntime) {
    let both = MultiBucket::builder().limits(["100/s burst 1", "1/s burst 1"]);
    let both = both.max_waiters(1).build().expect("valid limits");
    both.acquire().await.expect("it starts full");
    let mut waits = pin!(both.acquire());
    assert!(!poll_once(waits.as_mut()));
    let refused = both.acquire().await;
    assert!(matches!(
        refused,
        Err(AcquireError::QueueFull { max_waiters: 1, .. })
    ));
    drop(rt);
}

/// The first limit is full long before the second lets the head go: it grants no more than its
/// burst then, however much a late driver may have.
async fn nothing_is_kept_of_a_limit_that_was_full(rt: TestRuntime) {
    let both = empty(&["1000000/s burst 2", "1/h burst 2"]);
    let mut waits: Vec<_> = (0..5).map(|_| Box::pin(both.acquire())).collect();
    for wait in &mut waits {
        assert!(!poll_once(wait.as_mut()));
    }
    rt.advance(100 * MS).await;
    both.set_quota(1, Rate::UNLIMITED).expect("in range");
    let went = waits
        .iter_mut()
        .filter_map(|it| poll_once(it.as_mut()).then_some(()));
    assert_eq!(went.count(), 2);
}

async fn it_waits_in_a_composite(rt: TestRuntime) {
    let both = empty(&["100/s burst 1", "50/s burst 1"]);
    let other = TokenBucket::builder().rate("40/s").burst(1).initial(0);
    let other = other.build().expect("valid");
    let all = Composite::new((&both, &other));
    let start = rt.now();
    all.acquire().await.expect("open");
    assert_eq!(rt.now() - start, 25 * MS);
    assert_eq!((both.available(), other.available()), (0, 0));
}

/// Real threads in real time: a lower bound only.
#[test]
fn threads_wait_too() {
    let both = MultiBucket::new(["2000/s burst 1", "1000/s burst 1"]).expect("valid limits");
    #[allow(clippy::disallowed_methods, reason = "real time is what is tested")]
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    both.acquire_blocking().expect("open");
                }
            });
        }
    });
    assert!(start.elapsed() >= 19 * MS);
    both.set_quota(0, Rate::ZERO).expect("in range");
    while both.try_acquire().is_ok() {}
    both.acquire_n_blocking_timeout(1, Duration::ZERO)
        .expect_err("none is left");
    let refused = both.acquire_n_blocking(2);
    assert!(matches!(
        refused,
        Err(AcquireBlockingError::NotGranted(
            AcquireError::ExceedsBurst { .. }
        ))
    ));
}
