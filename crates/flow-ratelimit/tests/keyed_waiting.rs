//! Waiting for a key, on every runtime: on real ones in stepped time, and in the simulation.
#![cfg(not(loom))]

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_ratelimit::{
    AcquireError, Denied, KeyedLimiter, Limiter, LimiterExt, Rate, WaitState, WhenFull,
};
use flow_rt::TestRuntime;
use flow_rt::sim::Sim;
use futures_util::FutureExt;

const MS: Duration = Duration::from_millis(1);

flow_rt::on_every_runtime! {
    seeds 0..50;
    waits_its_time,
    keys_wait_apart_from_each_other,
    the_first_is_served_first,
    classes_of_a_key_wait_apart_from_each_other,
    a_held_waiter_blocks_nobody,
    a_dropped_wait_takes_nothing,
    a_grant_that_is_not_looked_at_comes_back,
    a_grant_without_a_limit_gives_nothing_back,
    hopeless_timeouts_fail_at_once,
    a_timeout_ends_a_wait_whose_rate_falls,
    more_than_the_burst_never_waits,
    newcomers_stay_behind,
    what_comes_back_goes_to_those_who_wait,
    a_new_quota_reaches_those_who_wait,
    close_ends_the_waits,
    as_many_wait_as_may,
    a_key_waits_for_room,
    a_wait_for_room_has_a_limit,
    kept_keys_wait_too,
    a_wait_for_another_key_ends_the_first,
    a_removed_key_lets_those_go_who_wait,
}

fn limiter(rate: &str, burst: u64) -> KeyedLimiter<str> {
    KeyedLimiter::new(rate, burst, 100).expect("a valid limiter")
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Nobody waits, so nothing runs, and the limiter knows of nobody who did.
async fn nothing_stays(rt: &TestRuntime, waiting: usize) {
    assert_eq!(waiting, 0);
    rt.advance(MS).await;
    assert_eq!(rt.live_tasks(), 0, "a driver stays");
}

/// Waits take as long as the rate says, to the nanosecond.
async fn waits_its_time(rt: TestRuntime) {
    let limiter = limiter("200/s", 1);
    let start = rt.now();
    for _ in 0..4 {
        limiter.acquire("anna").await.expect("open");
    }
    assert_eq!(rt.now() - start, 15 * MS);
    let stats = limiter.stats();
    assert_eq!((stats.granted, stats.denied), (4, 0));
    nothing_stays(&rt, stats.waiting).await;
}

async fn keys_wait_apart_from_each_other(rt: TestRuntime) {
    let limiter = limiter("100/s", 1);
    let start = rt.now();
    let waiters: Vec<_> = (0..40)
        .map(|n| {
            let limiter = limiter.clone();
            let key = format!("{}", n % 10);
            rt.spawn(async move { limiter.acquire(key.as_str()).await })
        })
        .collect();
    for waiter in waiters {
        waiter.await.expect("no panic").expect("open");
    }
    assert_eq!(rt.now() - start, 30 * MS);
    assert_eq!(limiter.stats().granted, 40);
    nothing_stays(&rt, limiter.stats().waiting).await;
}

async fn the_first_is_served_first(rt: TestRuntime) {
    let limiter = limiter("1000/s", 4);
    limiter.try_acquire_n("anna", 4).expect("full");
    let mut large = pin!(limiter.acquire_n("anna", 4));
    let mut small = pin!(limiter.acquire("anna"));
    assert!(poll_once(large.as_mut()).is_pending());
    assert!(poll_once(small.as_mut()).is_pending());
    rt.advance(3 * MS).await;
    assert!(
        poll_once(small.as_mut()).is_pending(),
        "the large one is first"
    );
    rt.advance(MS).await;
    assert!(large.now_or_never().is_some_and(|it| it.is_ok()));
    assert!(poll_once(small.as_mut()).is_pending());
    assert_eq!(limiter.stats().waiting, 1);
    small.await.expect("open");
    nothing_stays(&rt, limiter.stats().waiting).await;
}

/// A key that is waited for by two quotas has a line for each: whoever's token comes first is
/// first, and in each line the first.
async fn classes_of_a_key_wait_apart_from_each_other(rt: TestRuntime) {
    let builder = KeyedLimiter::<str>::builder().rate("1/s").burst(1);
    let builder = builder.max_keys(100).classes(["100/s burst 1"]);
    let limiter = builder.build().expect("a valid limiter");
    let [slow, fast] = [0, 1].map(|class| limiter.class(class).expect("there is one"));
    slow.try_acquire("anna").expect("full");
    let mut first = pin!(slow.acquire("anna"));
    let mut second = pin!(fast.acquire("anna"));
    let mut third = pin!(fast.acquire("anna"));
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(poll_once(second.as_mut()).is_pending());
    assert!(poll_once(third.as_mut()).is_pending());
    assert_eq!(limiter.stats().waiting, 3);
    rt.advance(10 * MS).await;
    assert!(poll_once(third.as_mut()).is_pending());
    assert!(second.now_or_never().is_some_and(|it| it.is_ok()));
    assert!(poll_once(first.as_mut()).is_pending());
    rt.advance(10 * MS).await;
    assert!(third.now_or_never().is_some_and(|it| it.is_ok()));
    // A newcomer of the other class does not stand behind it either.
    rt.advance(10 * MS).await;
    fast.try_acquire("anna").expect("by its quota it is there");
    first.await.expect("open");
    nothing_stays(&rt, limiter.stats().waiting).await;
}

/// A waiter that was polled once and is held un-polled does not hold up the others.
async fn a_held_waiter_blocks_nobody(rt: TestRuntime) {
    let limiter = limiter("500/s", 1);
    limiter.try_acquire("anna").expect("full");
    let mut held = pin!(limiter.acquire("anna"));
    assert!(poll_once(held.as_mut()).is_pending());
    let other = limiter.clone();
    let other = rt.spawn(async move { other.acquire("anna").await });
    other.await.expect("no panic").expect("open");
    held.await.expect("the first had its token");
    assert_eq!(limiter.stats().granted, 3);
    nothing_stays(&rt, limiter.stats().waiting).await;
}

async fn a_dropped_wait_takes_nothing(rt: TestRuntime) {
    let limiter = limiter("100/s", 4);
    limiter.try_acquire_n("anna", 3).expect("full");
    let behind = limiter.clone();
    let behind = {
        let mut large = pin!(limiter.acquire_n("anna", 4));
        assert!(poll_once(large.as_mut()).is_pending());
        let behind = rt.spawn(async move { behind.acquire("anna").await });
        rt.advance(Duration::ZERO).await;
        behind
    };
    behind.await.expect("no panic").expect("open");
    assert_eq!(limiter.available("anna"), 0);
    nothing_stays(&rt, limiter.stats().waiting).await;
}

async fn a_grant_that_is_not_looked_at_comes_back(rt: TestRuntime) {
    let limiter = limiter("100/s", 2);
    limiter.try_acquire_n("anna", 2).expect("full");
    {
        let mut wait = pin!(limiter.acquire_n("anna", 2));
        assert!(poll_once(wait.as_mut()).is_pending());
        rt.advance(20 * MS).await;
        assert_eq!((limiter.stats().waiting, limiter.available("anna")), (0, 0));
    }
    assert_eq!(limiter.available("anna"), 2);
    nothing_stays(&rt, limiter.stats().waiting).await;
}

/// Nothing was taken for it.
async fn a_grant_without_a_limit_gives_nothing_back(rt: TestRuntime) {
    let limiter = limiter("1/h", 5);
    limiter.try_acquire_n("anna", 5).expect("full");
    let mut wait = Box::pin(limiter.acquire_n("anna", 5));
    assert!(poll_once(wait.as_mut()).is_pending());
    limiter.set_rate(Rate::UNLIMITED).expect("valid");
    rt.settle().await;
    assert_eq!(limiter.stats().waiting, 0, "it was granted");
    limiter.set_rate("1/h").expect("valid");
    while limiter.try_acquire("anna").is_ok() {}
    drop(wait);
    assert_eq!(limiter.available("anna"), 0);
}

async fn hopeless_timeouts_fail_at_once(rt: TestRuntime) {
    let limiter = limiter("1/10s", 1);
    limiter.try_acquire("anna").expect("full");
    let Poll::Ready(Err(AcquireError::Timeout { would_wait, .. })) =
        poll_once(pin!(limiter.acquire_timeout("anna", 50 * MS)))
    else {
        panic!("not refused at once");
    };
    assert!(would_wait > Duration::from_secs(9) && would_wait <= Duration::from_secs(10));
    // Those who wait count too.
    let mut first = pin!(limiter.acquire("anna"));
    assert!(poll_once(first.as_mut()).is_pending());
    let limit = Duration::from_secs(11);
    let Poll::Ready(Err(AcquireError::Timeout { would_wait, .. })) =
        poll_once(pin!(limiter.acquire_timeout("anna", limit)))
    else {
        panic!("not refused at once");
    };
    assert!(would_wait > Duration::from_secs(19));
    // Nobody waits for the other one.
    limiter
        .acquire_timeout("ben", Duration::ZERO)
        .await
        .expect("full");
    assert_eq!(limiter.stats().waiting, 1);
    first.await.expect("open");
    nothing_stays(&rt, limiter.stats().waiting).await;
}

async fn a_timeout_ends_a_wait_whose_rate_falls(rt: TestRuntime) {
    let limiter = limiter("100/s", 1);
    limiter.try_acquire("anna").expect("full");
    let start = rt.now();
    let mut wait = pin!(limiter.acquire_timeout("anna", 50 * MS));
    assert!(poll_once(wait.as_mut()).is_pending());
    limiter.set_rate("0/s").expect("low enough");
    // As it stands by then.
    assert_eq!(wait.await, Err(AcquireError::NeverRefills));
    assert_eq!(rt.now() - start, 50 * MS);
    nothing_stays(&rt, limiter.stats().waiting).await;
}

async fn more_than_the_burst_never_waits(rt: TestRuntime) {
    let limiter = limiter("100/s", 2);
    let refused = limiter.acquire_n("anna", 3).await.expect_err("too many");
    assert!(matches!(
        refused,
        AcquireError::ExceedsBurst {
            requested: 3,
            burst: 2,
            ..
        }
    ));
    limiter.try_acquire_n("anna", 2).expect("full");
    // A smaller burst makes a wait hopeless.
    let mut wait = pin!(limiter.acquire_n("anna", 2));
    assert!(poll_once(wait.as_mut()).is_pending());
    limiter.set_burst(1).expect("not zero");
    let refused = wait.await.expect_err("too many");
    assert!(matches!(
        refused,
        AcquireError::ExceedsBurst {
            requested: 2,
            burst: 1,
            ..
        }
    ));
    limiter.set_rate("0/s").expect("low enough");
    let never = limiter.acquire("anna").await.expect_err("nothing comes");
    assert!(matches!(never, AcquireError::NeverRefills));
    nothing_stays(&rt, limiter.stats().waiting).await;
}

async fn newcomers_stay_behind(rt: TestRuntime) {
    let limiter = limiter("100/s", 2);
    limiter.try_acquire_n("anna", 2).expect("full");
    let mut wait = pin!(limiter.acquire_n("anna", 2));
    assert!(poll_once(wait.as_mut()).is_pending());
    rt.advance(10 * MS).await;
    let denied = limiter
        .try_acquire("anna")
        .expect_err("one is there, for the one who waits");
    assert_eq!(denied.retry_after(), Some(20 * MS));
    assert_eq!(
        limiter.peek("anna").map_err(|it| it.retry_after()),
        Err(Some(20 * MS))
    );
    limiter
        .try_acquire("ben")
        .expect("nobody waits for this one");
    limiter.try_acquire_n("anna", 0).expect("always");
    wait.await.expect("open");
    nothing_stays(&rt, limiter.stats().waiting).await;
}

async fn what_comes_back_goes_to_those_who_wait(rt: TestRuntime) {
    let limiter = limiter("1/h", 3);
    limiter.try_acquire_n("anna", 3).expect("full");
    let start = rt.now();
    let mut first = pin!(limiter.acquire_n("anna", 2));
    let mut second = pin!(limiter.acquire("anna"));
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(poll_once(second.as_mut()).is_pending());
    limiter.refund("ben", 3);
    limiter.refund("anna", 1);
    assert!(poll_once(first.as_mut()).is_pending());
    limiter.refund("anna", 2);
    first.await.expect("open");
    second.await.expect("open");
    assert_eq!((rt.now(), limiter.available("anna")), (start, 0));
    nothing_stays(&rt, limiter.stats().waiting).await;
}

async fn a_new_quota_reaches_those_who_wait(rt: TestRuntime) {
    let builder = KeyedLimiter::<str>::builder()
        .rate("1/h")
        .burst(1)
        .max_keys(10);
    let limiter = builder.classes(["1/h burst 1"]).build().expect("valid");
    let other = limiter.class(1).expect("there are two");
    limiter.try_acquire("anna").expect("full");
    other.try_acquire("ben").expect("full");
    let start = rt.now();
    let mut anna = pin!(limiter.acquire("anna"));
    let mut ben = pin!(other.acquire("ben"));
    assert!(poll_once(anna.as_mut()).is_pending());
    assert!(poll_once(ben.as_mut()).is_pending());
    other.set_rate("100/s").expect("low enough");
    ben.await.expect("open");
    assert_eq!(rt.now() - start, 10 * MS);
    limiter.set_rate("100/s").expect("low enough");
    anna.await.expect("open");
    // What came by the old rate is hers too.
    let waited = rt.now() - start;
    assert!(waited < 20 * MS && waited > 19 * MS, "{waited:?}");
    nothing_stays(&rt, limiter.stats().waiting).await;
}

async fn close_ends_the_waits(rt: TestRuntime) {
    let limiter = limiter("1/h", 1);
    let waiters: Vec<_> = (0..6)
        .map(|n| {
            let limiter = limiter.clone();
            let key = ["anna", "ben"][n % 2];
            rt.spawn(async move { limiter.acquire(key).await })
        })
        .collect();
    rt.advance(MS).await;
    assert_eq!(limiter.stats().waiting, 4);
    limiter.close();
    let mut granted = 0;
    for waiter in waiters {
        match waiter.await.expect("no panic") {
            Ok(_) => granted += 1,
            Err(error) => assert_eq!(error, AcquireError::Closed),
        }
    }
    assert_eq!(granted, 2);
    assert_eq!(limiter.acquire("clara").await, Err(AcquireError::Closed));
    nothing_stays(&rt, limiter.stats().waiting).await;
}

async fn as_many_wait_as_may(rt: TestRuntime) {
    let builder = KeyedLimiter::<str>::builder()
        .rate("100/s")
        .burst(1)
        .max_keys(10);
    let limiter = builder.max_waiters(2).build().expect("valid");
    for key in ["anna", "ben", "clara"] {
        limiter.try_acquire(key).expect("full");
    }
    let mut anna = pin!(limiter.acquire("anna"));
    let mut ben = pin!(limiter.acquire("ben"));
    assert!(poll_once(anna.as_mut()).is_pending());
    assert!(poll_once(ben.as_mut()).is_pending());
    let full = limiter.acquire("clara").await.expect_err("two wait");
    assert!(matches!(
        full,
        AcquireError::QueueFull { max_waiters: 2, .. }
    ));
    anna.await.expect("open");
    ben.await.expect("open");
    limiter.acquire("clara").await.expect("open");
    nothing_stays(&rt, limiter.stats().waiting).await;
}

/// Who is denied room waits until there is some.
async fn a_key_waits_for_room(rt: TestRuntime) {
    let builder = KeyedLimiter::<u64>::builder()
        .rate("100/s")
        .burst(1)
        .max_keys(8);
    let limiter = builder.when_full(WhenFull::Deny).build().expect("valid");
    for key in 0..8 {
        limiter.try_acquire(&key).expect("there is room");
    }
    assert!(matches!(
        limiter.try_acquire(&8),
        Err(Denied::KeysFull { .. })
    ));
    let start = rt.now();
    limiter.acquire(&8).await.expect("open");
    assert_eq!(rt.now() - start, 10 * MS);
    assert_eq!(limiter.stats().evicted, 0);
    nothing_stays(&rt, limiter.stats().waiting).await;
}

/// Nobody waits for room that does not come in time, and one whose room is late hears when it comes.
async fn a_wait_for_room_has_a_limit(rt: TestRuntime) {
    let builder = KeyedLimiter::<u64>::builder().rate("1/10s").burst(1);
    let builder = builder.max_keys(1).when_full(WhenFull::Deny);
    let limiter = builder.build_exact().expect("valid");
    limiter.try_acquire(&1).expect("there is room");
    let second = Duration::from_secs(1);
    let expect = |polled: Poll<_>, least: Duration, most: Duration| match polled {
        Poll::Ready(Err(AcquireError::Timeout { would_wait, .. })) => {
            assert!(would_wait > least && would_wait <= most, "{would_wait:?}");
        }
        other => panic!("not refused: {other:?}"),
    };
    for limit in [Duration::ZERO, 5 * second] {
        let polled = poll_once(pin!(limiter.acquire_timeout(&2, limit)));
        expect(polled, 9 * second, 10 * second);
    }
    let stats = limiter.stats();
    assert_eq!((stats.granted, stats.denied, stats.waiting), (1, 2, 0));
    // Those who wait for the room are in front.
    let mut first = Box::pin(limiter.acquire(&2));
    assert!(poll_once(first.as_mut()).is_pending());
    for limit in [Duration::ZERO, 15 * second] {
        let polled = poll_once(pin!(limiter.acquire_timeout(&2, limit)));
        expect(polled, 19 * second, 20 * second);
    }
    drop(first);
    let start = rt.now();
    let mut late = pin!(limiter.acquire_timeout(&2, 15 * second));
    assert!(poll_once(late.as_mut()).is_pending());
    limiter.set_rate("1/100s").expect("low enough");
    expect(Poll::Ready(late.await), 84 * second, 85 * second);
    assert_eq!(rt.now() - start, 15 * second);
    let room = limiter.acquire_timeout(&2, 90 * second).await;
    room.expect("it comes in time");
    let stats = limiter.stats();
    assert_eq!((stats.granted, stats.denied), (2, 5));
    nothing_stays(&rt, stats.waiting).await;
}

async fn kept_keys_wait_too(rt: TestRuntime) {
    let builder = KeyedLimiter::<String>::builder()
        .rate("200/s")
        .burst(1)
        .max_keys(8);
    let limiter = builder.build_exact().expect("valid");
    let start = rt.now();
    for _ in 0..3 {
        limiter.acquire("anna").await.expect("open");
    }
    assert_eq!(rt.now() - start, 10 * MS);
    let behind = limiter.clone();
    let behind = rt.spawn(async move { behind.acquire(&"anna".to_owned()).await });
    limiter.acquire("anna").await.expect("open");
    behind.await.expect("no panic").expect("open");
    assert_eq!(rt.now() - start, 20 * MS);
    nothing_stays(&rt, limiter.stats().waiting).await;
}

/// One state, polled for one key and then for another: the first wait ends.
async fn a_wait_for_another_key_ends_the_first(rt: TestRuntime) {
    let limiter = limiter("1/h", 1);
    let [anna, ben] = ["anna", "ben"].map(|key| limiter.key(key));
    anna.try_acquire().expect("full");
    ben.try_acquire().expect("full");
    let mut state = WaitState::new();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(anna.poll_acquire_n(&mut cx, 1, &mut state).is_pending());
    assert!(ben.poll_acquire_n(&mut cx, 1, &mut state).is_pending());
    assert_eq!(limiter.stats().waiting, 1);
    anna.refund(1);
    assert!(ben.poll_acquire_n(&mut cx, 1, &mut state).is_pending());
    ben.refund(1);
    assert!(ben.poll_acquire_n(&mut cx, 1, &mut state).is_ready());
    assert_eq!(
        (limiter.available("anna"), limiter.available("ben")),
        (1, 0)
    );
    nothing_stays(&rt, limiter.stats().waiting).await;
}

async fn a_removed_key_lets_those_go_who_wait(rt: TestRuntime) {
    let builder = KeyedLimiter::<String>::builder()
        .rate("1/h")
        .burst(2)
        .max_keys(8);
    let limiter = builder.build_exact().expect("valid");
    limiter.try_acquire_n("anna", 2).expect("full");
    let mut wait = pin!(limiter.acquire("anna"));
    assert!(poll_once(wait.as_mut()).is_pending());
    limiter.retain(|key, _| key != "anna");
    wait.await.expect("open");
    assert_eq!(limiter.available("anna"), 1);
    nothing_stays(&rt, limiter.stats().waiting).await;
}

/// Neither the hash's secret nor the order of its table differs from run to run of a seed.
#[test]
fn one_seed_is_one_order_of_the_keys() {
    let run = Sim::new(5).run_twice(|rt| async move {
        let limiter = limiter("100/s", 1);
        let mut group = rt.task_group();
        for key in 0..40 {
            let limiter = limiter.clone();
            group.spawn(async move {
                let key = format!("key {key}");
                // The first round is due at one instant for all; the second ends with the limiter.
                for _ in 0..3 {
                    let _ = limiter.acquire(&key).await;
                }
            });
        }
        rt.sleep(15 * MS).await;
        limiter.close();
        while group.join_next().await.is_some() {}
    });
    assert!(run.is_ok(), "{run:?}");
}
