//! Waiting for children of one rate, on every runtime: on real ones in stepped time, and in the
//! simulation.
#![cfg(not(loom))]

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use flow_ratelimit::{
    AcquireBlockingError, AcquireError, Composite, Denied, FairShare, LimiterExt, Rate, Share,
    TokenBucket,
};
use flow_rt::{JoinHandle, ManualClock, TestRuntime};

const MS: Duration = Duration::from_millis(1);

flow_rt::on_every_runtime! {
    seeds 0..50;
    a_child_waits_for_its_own,
    an_idle_child_leaves_all_it_has,
    what_is_left_goes_by_weight,
    large_needs_borrow_as_much_as_small_ones,
    everybody_has_a_part_whatever_others_do,
    serves_a_child_in_order,
    a_large_need_holds_up_its_own_line_only,
    a_dropped_wait_takes_nothing,
    a_turn_that_is_given_up_is_the_next_ones,
    a_grant_without_a_limit_gives_nothing_back,
    hopeless_timeouts_fail_at_once,
    a_wait_beyond_all_clocks_is_hopeless,
    changes_reach_those_who_wait,
    a_smaller_part_ends_a_wait,
    close_ends_the_waits_of_all,
    newcomers_borrow_nothing_before_those_who_wait,
    a_look_says_what_a_newcomer_would_hear_though_the_driver_is_late,
    a_refund_serves_those_who_wait,
    a_line_may_be_full,
    late_timers_cost_nothing,
    a_snapshot_has_nothing_for_late_timers,
    a_larger_burst_keeps_nothing_that_was_for_a_late_timer,
    a_newcomer_finds_nothing_that_was_for_a_late_timer,
    it_waits_in_a_composite,
    a_composite_gives_back_what_came_to_one_that_is_full_again,
}

/// Children that hold nothing, and nothing is shared.
fn empty(quota: &str, children: &[(&'static str, u32)]) -> (FairShare, Vec<Share>) {
    let builder = FairShare::builder().rate(quota);
    let children = children.iter();
    let builder = children.fold(builder, |builder, &(name, weight)| {
        builder.child(name, weight)
    });
    let share = builder.build().expect("valid");
    let children: Vec<_> = share.children().collect();
    for child in &children {
        while child.try_acquire().is_ok() {}
    }
    (share, children)
}

fn poll_once(future: Pin<&mut impl Future>) -> bool {
    future
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

/// A task that asks for `n` tokens again and again, and counts those it was granted.
fn asks(rt: &TestRuntime, child: &Share, n: u64) -> (Arc<AtomicU64>, JoinHandle<()>) {
    let (count, child) = (Arc::new(AtomicU64::new(0)), child.clone());
    let granted = count.clone();
    let task = rt.spawn(async move {
        while child.acquire_n(n).await.is_ok() {
            granted.fetch_add(n, Ordering::Relaxed);
        }
    });
    (count, task)
}

async fn a_child_waits_for_its_own(rt: TestRuntime) {
    let (share, children) = empty("100/s burst 20", &[("a", 1), ("b", 4)]);
    let start = rt.now();
    // Neither is full before the other is served: each waits for its own part.
    let mut b = pin!(children[1].acquire_n(4));
    let mut a = pin!(children[0].acquire());
    assert!(!poll_once(a.as_mut()) && !poll_once(b.as_mut()));
    assert_eq!(share.stats().waiting, 2);
    b.await.expect("open");
    a.await.expect("open");
    assert_eq!(rt.now() - start, 50 * MS);
    let stats = children[0].stats();
    assert_eq!((stats.granted, stats.waiting, stats.borrowed), (5, 0, 0));
    rt.advance(200 * MS).await;
    assert_eq!(rt.live_tasks(), 0, "a driver stays");
}

async fn an_idle_child_leaves_all_it_has(rt: TestRuntime) {
    let (_, children) = empty("100/s burst 20", &[("a", 1), ("b", 1)]);
    // In 200 ms the other has its part of the burst, and all comes here.
    rt.advance(200 * MS).await;
    assert_eq!(
        (children[0].available(), children[1].stats().kept),
        (10, 10)
    );
    children[0].try_acquire_n(10).expect("its own");
    let start = rt.now();
    for _ in 0..10 {
        children[0].acquire_n(5).await.expect("open");
    }
    assert_eq!(rt.now() - start, 500 * MS);
    assert_eq!(children[0].stats().borrowed, 25);
    children[1].try_acquire_n(10).expect("nobody touched it");
}

async fn what_is_left_goes_by_weight(rt: TestRuntime) {
    let (share, children) = empty("1000/s burst 60", &[("a", 3), ("b", 1), ("idle", 2)]);
    rt.advance(60 * MS).await;
    let (a, _a) = asks(&rt, &children[0], 1);
    let (b, _b) = asks(&rt, &children[1], 1);
    rt.settle().await;
    let before = (a.load(Ordering::Relaxed), b.load(Ordering::Relaxed));
    rt.advance(1_000 * MS).await;
    let a = a.load(Ordering::Relaxed) - before.0;
    let b = b.load(Ordering::Relaxed) - before.1;
    // All of it, a third of which nobody asks for whose it is. Looks are a millisecond apart, so the
    // last one may be just behind the end.
    assert!((998..=1_001).contains(&(a + b)), "{a} and {b}");
    assert!((748..=751).contains(&a), "{a} and {b}");
    share.close();
}

async fn large_needs_borrow_as_much_as_small_ones(rt: TestRuntime) {
    let (share, children) = empty("1000/s burst 90", &[("a", 1), ("b", 1), ("idle", 1)]);
    rt.advance(90 * MS).await;
    let (large, _a) = asks(&rt, &children[0], 25);
    let (small, _b) = asks(&rt, &children[1], 1);
    rt.settle().await;
    let before = (large.load(Ordering::Relaxed), small.load(Ordering::Relaxed));
    rt.advance(3_000 * MS).await;
    let large = large.load(Ordering::Relaxed) - before.0;
    let small = small.load(Ordering::Relaxed) - before.1;
    assert!(
        (2_970..=3_030).contains(&(large + small)),
        "{large}, {small}"
    );
    assert!(large.abs_diff(small) <= 50, "{large} and {small}");
    share.close();
}

/// One that comes back finds its part of the burst, and from then on its part of the rate.
async fn everybody_has_a_part_whatever_others_do(rt: TestRuntime) {
    let (share, children) = empty("1000/s burst 40", &[("quiet", 1), ("loud", 3)]);
    let (loud, _loud) = asks(&rt, &children[1], 2);
    rt.advance(500 * MS).await;
    assert!(loud.load(Ordering::Relaxed) >= 480);
    children[0].try_acquire_n(10).expect("it was kept");
    let before = loud.load(Ordering::Relaxed);
    let (quiet, _quiet) = asks(&rt, &children[0], 1);
    rt.advance(1_000 * MS).await;
    let loud = loud.load(Ordering::Relaxed) - before;
    let quiet = quiet.load(Ordering::Relaxed);
    assert!((249..=251).contains(&quiet), "{quiet} and {loud}");
    assert!((748..=752).contains(&loud), "{quiet} and {loud}");
    share.close();
}

async fn serves_a_child_in_order(rt: TestRuntime) {
    let (_, children) = empty("1000/s burst 4", &[("a", 1), ("b", 1)]);
    let start = rt.now();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for number in 0..10 {
        let (child, order) = (children[number % 2].clone(), order.clone());
        tasks.push(rt.spawn(async move {
            let granted = child.acquire().await;
            order.lock().expect("no panic").push(number);
            granted
        }));
        // In the line before the next one comes.
        rt.settle().await;
    }
    for task in tasks {
        task.await.expect("no panic").expect("open");
    }
    let order = order.lock().expect("no panic").clone();
    for child in 0..2 {
        let of = order.iter().copied().filter(|number| number % 2 == child);
        assert!(of.is_sorted(), "{order:?}");
    }
    assert_eq!(rt.now() - start, 10 * MS);
}

async fn a_large_need_holds_up_its_own_line_only(rt: TestRuntime) {
    let (_, children) = empty("100/s burst 20", &[("a", 1), ("b", 1)]);
    let mut large = pin!(children[0].acquire_n(4));
    let mut small = pin!(children[0].acquire());
    let mut other = pin!(children[1].acquire());
    assert!(!poll_once(large.as_mut()) && !poll_once(small.as_mut()));
    assert!(!poll_once(other.as_mut()));
    rt.advance(20 * MS).await;
    assert!(!poll_once(small.as_mut()) && poll_once(other.as_mut()));
    rt.advance(59 * MS).await;
    assert!(!poll_once(large.as_mut()));
    rt.advance(MS).await;
    assert!(poll_once(large.as_mut()) && !poll_once(small.as_mut()));
    rt.advance(20 * MS).await;
    assert!(poll_once(small.as_mut()));
}

async fn a_dropped_wait_takes_nothing(rt: TestRuntime) {
    let (share, children) = empty("100/s burst 6", &[("a", 1), ("b", 1)]);
    let mut granted = Box::pin(children[0].acquire_n(2));
    let mut waiting = Box::pin(children[0].acquire_n(3));
    let mut last = pin!(children[0].acquire());
    assert!(!poll_once(granted.as_mut()) && !poll_once(waiting.as_mut()));
    assert!(!poll_once(last.as_mut()));
    rt.advance(40 * MS).await;
    // Both tokens are its own by now; they go back, and to the next who fits.
    drop(granted);
    drop(waiting);
    assert!(poll_once(last.as_mut()));
    assert_eq!((children[0].stats().kept, children[1].stats().kept), (1, 2));
    assert_eq!((share.stats().waiting, share.available()), (0, 3));
}

/// Two lines wait for what a third has left; the first of them leaves.
async fn a_turn_that_is_given_up_is_the_next_ones(rt: TestRuntime) {
    let (share, children) = empty("1/h burst 30", &[("a", 1), ("b", 1), ("idle", 1)]);
    let mut first = Box::pin(children[0].acquire_n(2));
    let mut second = Box::pin(children[1].acquire());
    assert!(!poll_once(first.as_mut()) && !poll_once(second.as_mut()));
    // Its own part has room for all of it.
    children[2].refund(10);
    assert!(!poll_once(first.as_mut()) && !poll_once(second.as_mut()));
    // This goes to all, and it is not the second's turn.
    children[2].refund(1);
    assert!(!poll_once(first.as_mut()) && !poll_once(second.as_mut()));
    drop(first);
    assert!(poll_once(second.as_mut()));
    assert_eq!(share.available(), 10);
    drop(rt);
}

/// Nothing was taken for it, so nothing comes back.
async fn a_grant_without_a_limit_gives_nothing_back(rt: TestRuntime) {
    let (share, children) = empty("1/h burst 20", &[("a", 1), ("b", 1)]);
    let mut wait = Box::pin(children[0].acquire_n(10));
    assert!(!poll_once(wait.as_mut()));
    share.set_rate(Rate::UNLIMITED).expect("valid");
    assert_eq!(share.stats().waiting, 0, "it was granted");
    // Everybody is full, and takes it all.
    share.set_rate(Rate::per_hour(1)).expect("valid");
    for child in &children {
        child.try_acquire_n(10).expect("full");
    }
    drop(wait);
    assert_eq!(share.available(), 0);
    drop(rt);
}

async fn hopeless_timeouts_fail_at_once(rt: TestRuntime) {
    let (share, children) = empty("100/s burst 6", &[("a", 1), ("b", 1)]);
    let start = rt.now();
    // The other will be full after 60 ms: two of its own by then, and one more.
    let refused = children[0].acquire_n(3).await;
    assert!(refused.is_ok() && rt.now() - start == 60 * MS);
    let refused = children[0].acquire_timeout(9 * MS).await;
    let would_wait = 10 * MS;
    assert!(
        matches!(refused, Err(AcquireError::Timeout { would_wait: it, .. }) if it == would_wait),
        "{refused:?}"
    );
    children[0]
        .acquire_timeout(10 * MS)
        .await
        .expect("just in time");
    assert_eq!(rt.now() - start, 70 * MS);
    let refused = children[0].acquire_n(4).await;
    assert!(matches!(
        refused,
        Err(AcquireError::ExceedsBurst {
            requested: 4,
            burst: 3,
            ..
        })
    ));
    share.set_rate(Rate::ZERO).expect("in range");
    let refused = children[0].acquire_timeout(Duration::MAX).await;
    assert_eq!(refused, Err(AcquireError::NeverRefills));
}

/// All that waits in the line needs more than a word of units, after some time has passed.
async fn a_wait_beyond_all_clocks_is_hopeless(rt: TestRuntime) {
    const ALL: u64 = 10_000_000;
    let builder = FairShare::builder().rate("1/s burst 1000000000");
    let builder = builder.child("a", 1).child("b", 99);
    let share = builder.build().expect("valid");
    let children: Vec<_> = share.children().collect();
    children[0].try_acquire_n(ALL).expect("it starts full");
    children[1].try_acquire().expect("it starts full");
    rt.advance(10 * MS).await;
    let mut waits: Vec<_> = (0..17)
        .map(|_| Box::pin(children[0].acquire_n(ALL)))
        .collect();
    assert!(waits.iter_mut().all(|wait| !poll_once(wait.as_mut())));
    let start = rt.now();
    let refused = children[0]
        .acquire_n_timeout(ALL, Duration::from_secs(1))
        .await;
    assert!(
        matches!(refused, Err(AcquireError::Timeout { .. })),
        "{refused:?}"
    );
    assert_eq!(rt.now(), start);
}

async fn changes_reach_those_who_wait(rt: TestRuntime) {
    let (share, children) = empty("1/h burst 20", &[("a", 1), ("b", 1)]);
    let start = rt.now();
    let waits = {
        let child = children[0].clone();
        rt.spawn(async move { child.acquire_n(2).await })
    };
    rt.settle().await;
    share.set_rate(Rate::per_second(100)).expect("in range");
    rt.advance(20 * MS).await;
    // Half of what is still to come, then four fifths of it.
    children[0].set_weight(4).expect("room for all");
    waits.await.expect("no panic").expect("open");
    assert_eq!(rt.now() - start, 32_500 * Duration::from_micros(1));
}

async fn a_smaller_part_ends_a_wait(rt: TestRuntime) {
    let (share, children) = empty("100/s burst 20", &[("a", 1), ("b", 1)]);
    let mut large = pin!(children[0].acquire_n(6));
    let mut small = pin!(children[0].acquire());
    assert!(!poll_once(large.as_mut()) && !poll_once(small.as_mut()));
    rt.advance(20 * MS).await;
    share.set_burst(10).expect("room for all");
    assert!(matches!(
        large.await,
        Err(AcquireError::ExceedsBurst {
            requested: 6,
            burst: 5,
            ..
        })
    ));
    assert!(poll_once(small.as_mut()));
}

async fn close_ends_the_waits_of_all(rt: TestRuntime) {
    let (share, children) = empty("1/h burst 2", &[("a", 1), ("b", 1)]);
    let waits: Vec<_> = children
        .iter()
        .cloned()
        .map(|child| rt.spawn(async move { child.acquire().await }))
        .collect();
    rt.settle().await;
    share.close();
    for wait in waits {
        assert_eq!(wait.await.expect("no panic"), Err(AcquireError::Closed));
    }
    assert_eq!(children[1].acquire().await, Err(AcquireError::Closed));
    assert_eq!(children[0].try_acquire(), Err(Denied::Closed));
    assert_eq!(children[0].peek(), Err(Denied::Closed));
    assert!(share.is_closed() && share.stats().waiting == 0);
}

async fn newcomers_borrow_nothing_before_those_who_wait(rt: TestRuntime) {
    let (_, children) = empty("1/h burst 30", &[("a", 1), ("b", 1), ("idle", 1)]);
    children[2].refund(12);
    // Two are for whoever waits, and this one needs more.
    let mut waits = pin!(children[0].acquire_n(3));
    assert!(!poll_once(waits.as_mut()));
    assert_eq!(children[1].available(), 2);
    let denied = children[1].try_acquire().expect_err("others wait");
    // When its own will be there.
    assert_eq!(denied.retry_after(), Some(3 * Duration::from_secs(3_600)));
    assert_eq!(children[1].peek(), Err(denied));
    children[2].refund(1);
    assert!(poll_once(waits.as_mut()));
    children[2].refund(1);
    children[1].try_acquire().expect("nobody waits any more");
    drop(rt);
}

/// The one in front could go, and there is enough for both.
async fn a_look_says_what_a_newcomer_would_hear_though_the_driver_is_late(rt: TestRuntime) {
    let (clock, _, children) = with_late_timers();
    let mut first = pin!(children[0].acquire());
    assert!(!poll_once(first.as_mut()));
    clock.advance(MS);
    children[0].peek().expect("there is one of the burst left");
    children[0]
        .try_acquire()
        .expect("there is one of the burst left");
    assert!(poll_once(first.as_mut()));
    drop(rt);
}

async fn a_refund_serves_those_who_wait(rt: TestRuntime) {
    let (_, children) = empty("1/h burst 10", &[("a", 1), ("b", 1)]);
    let start = rt.now();
    let mut waits = pin!(children[0].acquire_n(3));
    assert!(!poll_once(waits.as_mut()));
    children[0].refund(3);
    assert!(poll_once(waits.as_mut()));
    children[0].refund(1);
    children[0].try_acquire().expect("nobody waits any more");
    assert_eq!(rt.now(), start);
}

async fn a_line_may_be_full(rt: TestRuntime) {
    let share = FairShare::builder().rate("1/s burst 2").max_waiters(1);
    let share = share.child("a", 1).child("b", 1).build().expect("valid");
    let (a, b) = (share.child("a").expect("it"), share.child("b").expect("it"));
    a.acquire().await.expect("it starts full");
    b.acquire().await.expect("it starts full");
    let mut waits = pin!(a.acquire());
    let mut other = pin!(b.acquire());
    assert!(!poll_once(waits.as_mut()) && !poll_once(other.as_mut()));
    let refused = a.acquire().await;
    assert!(matches!(
        refused,
        Err(AcquireError::QueueFull { max_waiters: 1, .. })
    ));
    drop(rt);
}

/// Far more comes in a timer's tick than the burst holds.
async fn late_timers_cost_nothing(rt: TestRuntime) {
    let (share, children) = empty("100000/s burst 4", &[("a", 1), ("b", 1)]);
    let tasks: Vec<_> = (0..2_000)
        .map(|number| {
            let child = children[number % 2].clone();
            rt.spawn(async move { child.acquire().await })
        })
        .collect();
    let start = rt.now();
    for task in tasks {
        task.await.expect("no panic").expect("open");
    }
    assert!((20 * MS..=22 * MS).contains(&(rt.now() - start)));
    // What was kept for a late driver is nobody's.
    rt.advance(MS).await;
    assert_eq!(share.available(), 4);
}

/// Two children that hold nothing, on a clock that no timer follows, at a rate by which far more
/// than the burst comes in the time of a late timer.
fn with_late_timers() -> (ManualClock, FairShare<ManualClock>, Vec<Share<ManualClock>>) {
    let clock = ManualClock::new();
    let builder = FairShare::builder().rate("100000/s burst 4");
    let builder = builder.child("a", 1).child("b", 1).clock(clock.clone());
    let share = builder.build().expect("valid");
    let children: Vec<_> = share.children().collect();
    for child in &children {
        child.try_acquire_n(2).expect("it starts full");
    }
    (clock, share, children)
}

/// While somebody waits there may be far more than a burst, until the driver comes.
async fn a_snapshot_has_nothing_for_late_timers(rt: TestRuntime) {
    let (clock, share, children) = with_late_timers();
    let mut waits = pin!(children[0].acquire_n(2));
    assert!(!poll_once(waits.as_mut()));
    clock.advance(MS);
    assert_eq!((share.available(), share.stats().available), (4, 4));
    let snapshot = share.snapshot();
    assert_eq!(snapshot.tokens(), 4);
    let restored = FairShare::builder().restore(&snapshot).build();
    assert_eq!(restored.expect("as it was").available(), 4);
    drop(rt);
}

/// The change serves the one who waits, and what was there for it beyond the burst goes with it.
async fn a_larger_burst_keeps_nothing_that_was_for_a_late_timer(rt: TestRuntime) {
    let (clock, share, children) = with_late_timers();
    let mut waits = pin!(children[0].acquire_n(2));
    assert!(!poll_once(waits.as_mut()));
    clock.advance(MS);
    share.set_burst(400).expect("room for all");
    assert_eq!((share.stats().waiting, share.available()), (0, 4));
    assert!(poll_once(waits.as_mut()));
    drop(rt);
}

/// The one who waits is due, and is served by whoever comes to its line next. That one and the
/// others share a burst then, as with one bucket.
async fn a_newcomer_finds_nothing_that_was_for_a_late_timer(rt: TestRuntime) {
    let (clock, share, children) = with_late_timers();
    let mut waits = pin!(children[0].acquire_n(2));
    assert!(!poll_once(waits.as_mut()));
    clock.advance(MS);
    let mut granted = 0;
    for child in [0, 0, 1, 1] {
        granted += children[child].try_acquire_n(2).map_or(0, |_| 2);
    }
    assert_eq!((share.stats().waiting, granted), (0, 4));
    assert!(poll_once(waits.as_mut()));
    drop(rt);
}

async fn it_waits_in_a_composite(rt: TestRuntime) {
    let (_, children) = empty("100/s burst 2", &[("a", 1), ("b", 1)]);
    let other = TokenBucket::builder().rate("40/s").burst(1).initial(0);
    let other = other.build().expect("valid");
    let all = Composite::new((&children[0], &other));
    let start = rt.now();
    all.acquire().await.expect("open");
    assert_eq!(rt.now() - start, 25 * MS);
    assert_eq!((children[0].stats().kept, other.available()), (0, 0));
}

/// A grant tells how its child stands when its caller looks: full again, and of a rate of zero,
/// which is no reason to take it for one without a limit.
async fn a_composite_gives_back_what_came_to_one_that_is_full_again(rt: TestRuntime) {
    let clock = ManualClock::new();
    let builder = FairShare::builder()
        .rate("1/h burst 2")
        .clock(clock.clone());
    let share = builder.child("a", 1).child("b", 1).build().expect("valid");
    let children: Vec<_> = share.children().collect();
    let other = TokenBucket::builder()
        .rate("1/h")
        .burst(1)
        .clock(clock.clone());
    let other = other.build().expect("valid");
    children[0].try_acquire().expect("it starts full");
    clock.advance(Duration::from_secs(3_600));
    children[0].try_acquire().expect("half of it is borrowed");
    children[1].try_acquire().expect("it was kept");
    other.try_acquire().expect("it starts full");

    let both = Composite::new((&children[0], &other));
    let mut waits = pin!(both.acquire());
    assert!(!poll_once(waits.as_mut()));
    assert_eq!(share.stats().waiting, 1);
    share.set_rate(Rate::ZERO).expect("in range");
    children[0].refund(1);
    assert_eq!(share.stats().waiting, 0, "it was granted");
    children[0].refund(1);
    assert_eq!(children[0].stats().kept, 1, "it is full");
    // The other one denies, and this token goes to all.
    assert!(!poll_once(waits.as_mut()));
    assert_eq!((share.available(), other.stats().waiting), (2, 1));
    drop(rt);
}

/// Real threads in real time: a lower bound only.
#[test]
fn threads_wait_too() {
    let (share, children) = empty("1000/s burst 4", &[("a", 1), ("b", 1)]);
    #[allow(clippy::disallowed_methods, reason = "real time is what is tested")]
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let child = &children[number % 2];
            scope.spawn(move || {
                for _ in 0..5 {
                    child.acquire_blocking().expect("open");
                }
            });
        }
    });
    // Up to four had come before.
    assert!(start.elapsed() >= 16 * MS);
    // Nothing comes while this runs, but it would in the end.
    share.set_rate(Rate::per_hour(1)).expect("in range");
    while children[0].try_acquire().is_ok() {}
    let refused = children[0].acquire_n_blocking_timeout(1, Duration::ZERO);
    assert!(matches!(
        refused,
        Err(AcquireBlockingError::NotGranted(
            AcquireError::Timeout { .. }
        ))
    ));
    let refused = children[0].acquire_n_blocking(3);
    assert!(matches!(
        refused,
        Err(AcquireBlockingError::NotGranted(
            AcquireError::ExceedsBurst { .. }
        ))
    ));
    share.set_rate(Rate::per_second(1_000)).expect("in range");
    children[1]
        .acquire_blocking_timeout(Duration::MAX)
        .expect("it comes");
}
