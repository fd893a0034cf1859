//! Waiting, on every runtime: on real ones in stepped time, and in the simulation.
#![cfg(not(loom))]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_ratelimit::{
    AcquireError, Composite, ConcurrencyLimiter, Denied, Limiter, LimiterExt, Rate, TokenBucket,
};
use flow_rt::{ManualClock, TestRuntime};
use futures_util::FutureExt;

const MS: Duration = Duration::from_millis(1);
const LINGER: Duration = Duration::from_millis(100);

flow_rt::on_every_runtime! {
    seeds 0..50;
    waits_its_time,
    serves_everybody,
    a_held_waiter_blocks_nobody,
    tb_20_a_dropped_wait_takes_nothing,
    tb_21_hopeless_timeouts_fail_at_once,
    a_timeout_at_its_limit_says_how_it_stands,
    tb_22_never_is_not_a_timeout,
    tb_33_more_than_the_burst_never_waits,
    close_ends_the_waits,
    changes_reach_those_who_wait,
    a_grant_without_a_limit_gives_nothing_back,
    a_late_grant_without_a_limit_gives_nothing_back,
    newcomers_stay_behind,
    a_look_says_what_a_newcomer_would_hear_though_the_driver_is_late,
    a_panicking_waker_harms_nobody,
    a_panicking_waker_harms_nobody_granted_with_it,
    a_waker_that_panics_when_dropped_harms_nobody,
    dyn_limiters_wait_too,
    a_wait_that_has_ended_takes_nothing_more,
    a_driver_lingers_for_the_next_who_waits,
    no_driver_outlives_its_bucket,
    a_driver_leaves_whoever_empties_the_queue,
}

fn bucket(rate: Rate, burst: u64, initial: u64) -> TokenBucket {
    let bucket = TokenBucket::builder()
        .rate(rate)
        .burst(burst)
        .initial(initial);
    bucket.build().expect("a valid bucket")
}

fn poll_once(future: std::pin::Pin<&mut impl Future>) -> bool {
    future
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

/// When nobody waits any more, nothing is left running for it but for a short time.
async fn no_driver_stays(rt: &TestRuntime) {
    // It may sleep until somebody was due first.
    rt.advance(2 * LINGER).await;
    assert_eq!(rt.live_tasks(), 0, "a driver stays");
}

/// Waits take as long as the rate says, to the nanosecond.
async fn waits_its_time(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(200), 1, 1);
    let start = rt.now();
    for _ in 0..4 {
        bucket.acquire().await.expect("open");
    }
    assert_eq!(rt.now() - start, 15 * MS);
    assert_eq!((bucket.stats().granted, bucket.stats().waiting), (4, 0));
    no_driver_stays(&rt).await;
}

/// Concurrent waiters are all served, at the rate.
async fn serves_everybody(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(1_000), 1, 0);
    let start = rt.now();
    let waiters: Vec<_> = (0..20)
        .map(|_| {
            let bucket = bucket.clone();
            rt.spawn(async move { bucket.acquire().await })
        })
        .collect();
    for waiter in waiters {
        waiter.await.expect("no panic").expect("open");
    }
    assert_eq!(rt.now() - start, 20 * MS);
    assert_eq!(bucket.stats().granted, 20);
    no_driver_stays(&rt).await;
}

/// A waiter that was polled once and is held un-polled does not hold up the others.
async fn a_held_waiter_blocks_nobody(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(500), 1, 0);
    let mut held = pin!(bucket.acquire());
    assert!(!poll_once(held.as_mut()));
    let other = bucket.clone();
    rt.spawn(async move { other.acquire().await })
        .await
        .expect("no panic")
        .expect("open");
    // The held one was first and has its token.
    held.await.expect("open");
    assert_eq!(bucket.stats().granted, 2);
    no_driver_stays(&rt).await;
}

/// 20: a wait that is dropped takes no token and passes its turn on.
async fn tb_20_a_dropped_wait_takes_nothing(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(100), 4, 0);
    let behind = bucket.clone();
    let behind = {
        let mut large = pin!(bucket.acquire_n(4));
        assert!(!poll_once(large.as_mut()));
        let behind = rt.spawn(async move { behind.acquire().await });
        assert!(bucket.stats().waiting >= 1);
        behind
    };
    behind.await.expect("no panic").expect("open");
    assert_eq!(bucket.stats().waiting, 0);
    no_driver_stays(&rt).await;
}

/// 21: a wait that cannot end in time fails at once and takes nothing.
async fn tb_21_hopeless_timeouts_fail_at_once(rt: TestRuntime) {
    let bucket = bucket(
        Rate::per(1, Duration::from_secs(10)).expect("not zero"),
        1,
        0,
    );
    let mut wait = pin!(bucket.acquire_timeout(50 * MS));
    // Ready at its first poll.
    let Poll::Ready(Err(AcquireError::Timeout { would_wait, .. })) =
        wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("not refused at once");
    };
    assert!(would_wait > Duration::from_secs(5) && would_wait <= Duration::from_secs(10));
    assert_eq!((bucket.stats().waiting, bucket.available()), (0, 0));

    // One that suffices is not refused; if the rate falls meanwhile it ends at the limit.
    let bucket = self::bucket(Rate::per_second(100), 1, 0);
    let start = rt.now();
    let mut wait = pin!(bucket.acquire_timeout(15 * MS));
    assert!(!poll_once(wait.as_mut()));
    bucket.set_rate(Rate::ZERO).expect("valid");
    let ended = wait.await.expect_err("nothing came");
    assert_eq!(ended, AcquireError::NeverRefills, "no timeout any more");
    assert_eq!(Denied::from(ended), Denied::NeverRefills);
    assert_eq!(rt.now() - start, 15 * MS);
    assert_eq!((bucket.stats().waiting, bucket.stats().denied), (0, 1));
    no_driver_stays(&rt).await;
}

/// What it says is reckoned from then on, not from when it began.
async fn a_timeout_at_its_limit_says_how_it_stands(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(100), 1, 0);
    let mut wait = pin!(bucket.acquire_timeout(15 * MS));
    assert!(!poll_once(wait.as_mut()));
    bucket.set_rate(Rate::per_second(10)).expect("valid");
    let late = wait.await.expect_err("ten times as slow");
    let retry_after = Denied::from(late).retry_after().expect("it comes");
    assert_eq!(retry_after, 85 * MS);
    rt.advance(retry_after).await;
    bucket.try_acquire().expect("as it was told");

    // Behind another one, as that stands by then.
    bucket.set_rate(Rate::per_second(100)).expect("valid");
    let mut first = pin!(bucket.acquire());
    let mut wait = pin!(bucket.acquire_timeout(25 * MS));
    assert!(!poll_once(first.as_mut()) && !poll_once(wait.as_mut()));
    bucket.set_rate(Rate::per_second(10)).expect("valid");
    let late = wait.await.expect_err("ten times as slow");
    assert_eq!(Denied::from(late).retry_after(), Some(175 * MS));
    assert_eq!((bucket.stats().waiting, bucket.stats().denied), (1, 2));
    first.await.expect("open");

    // One that stood behind a large need finds what that has left.
    bucket.set_burst(3).expect("valid");
    bucket.set_rate(Rate::per_second(100)).expect("valid");
    let mut large = Box::pin(bucket.acquire_n(3));
    let mut wait = pin!(bucket.acquire_timeout(40 * MS));
    assert!(!poll_once(large.as_mut()) && !poll_once(wait.as_mut()));
    bucket.set_rate(Rate::per_second(50)).expect("valid");
    rt.advance(20 * MS).await;
    drop(large);
    wait.await.expect("it moved up");
    no_driver_stays(&rt).await;
}

/// 22: of a rate of zero nothing will come, and that is another error than a timeout.
async fn tb_22_never_is_not_a_timeout(rt: TestRuntime) {
    let bucket = bucket(Rate::ZERO, 5, 0);
    assert_eq!(bucket.acquire().await, Err(AcquireError::NeverRefills));
    let timed = bucket.acquire_timeout(MS).await;
    assert_eq!(timed, Err(AcquireError::NeverRefills));
    no_driver_stays(&rt).await;
}

/// 33: more than the burst is refused at once.
async fn tb_33_more_than_the_burst_never_waits(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(1_000), 1, 1);
    assert!(matches!(
        bucket.acquire_n(101).await,
        Err(AcquireError::ExceedsBurst {
            requested: 101,
            burst: 1,
            ..
        })
    ));
    assert_eq!(bucket.available(), 1);
    no_driver_stays(&rt).await;
}

/// Those who wait when it is closed are told so.
async fn close_ends_the_waits(rt: TestRuntime) {
    let bucket = bucket(Rate::per_hour(1), 1, 0);
    let mut held = pin!(bucket.acquire());
    assert!(!poll_once(held.as_mut()));
    let waiter = bucket.clone();
    let waiter = rt.spawn(async move { waiter.acquire().await });
    bucket.close();
    assert_eq!(held.await, Err(AcquireError::Closed));
    assert_eq!(waiter.await.expect("no panic"), Err(AcquireError::Closed));
    assert_eq!(bucket.stats().waiting, 0);
    no_driver_stays(&rt).await;
}

/// A raised rate, a refund and a larger supply reach those who wait already.
async fn changes_reach_those_who_wait(rt: TestRuntime) {
    let bucket = bucket(Rate::per_hour(1), 2, 0);
    let wait = |n| {
        let bucket = bucket.clone();
        rt.spawn(async move { bucket.acquire_n(n).await })
    };
    let first = wait(1);
    bucket.refund(1);
    first.await.expect("no panic").expect("refunded");

    let second = wait(2);
    bucket.set_rate(Rate::per_second(1_000)).expect("valid");
    second.await.expect("no panic").expect("faster now");

    bucket.set_rate(Rate::per_hour(1)).expect("valid");
    let third = wait(2);
    bucket.set_rate(Rate::UNLIMITED).expect("valid");
    third.await.expect("no panic").expect("no limit");
    assert_eq!(bucket.stats().waiting, 0);
    no_driver_stays(&rt).await;
}

/// Nothing was taken for it, so nothing comes back.
async fn a_grant_without_a_limit_gives_nothing_back(rt: TestRuntime) {
    let bucket = bucket(Rate::per_hour(1), 5, 0);
    let mut wait = Box::pin(bucket.acquire_n(5));
    assert!(!poll_once(wait.as_mut()));
    bucket.set_rate(Rate::UNLIMITED).expect("valid");
    assert_eq!(bucket.stats().waiting, 0, "it was granted");
    bucket.set_rate(Rate::per_hour(1)).expect("valid");
    bucket.try_acquire_n(5).expect("full");
    drop(wait);
    assert_eq!(bucket.available(), 0);
    drop(rt);
}

/// Nor if it has been looked at, and is put off.
async fn a_late_grant_without_a_limit_gives_nothing_back(rt: TestRuntime) {
    let bucket = TokenBucket::builder().rate("1/h burst 5").initial(0);
    let bucket = bucket.jitter(Duration::from_secs(3_600));
    let bucket = bucket.build().expect("a valid bucket");
    let mut wait = Box::pin(bucket.acquire_n(5));
    assert!(!poll_once(wait.as_mut()));
    bucket.set_rate(Rate::UNLIMITED).expect("valid");
    assert!(!poll_once(wait.as_mut()), "it is put off");
    bucket.set_rate(Rate::per_hour(1)).expect("valid");
    bucket.try_acquire_n(5).expect("full");
    drop(wait);
    assert_eq!(bucket.available(), 0);
    drop(rt);
}

/// No newcomer passes those who wait, and the queue has a bound if it was given one.
async fn newcomers_stay_behind(rt: TestRuntime) {
    let bucket = TokenBucket::builder()
        .rate(Rate::per_second(100))
        .burst(3)
        .initial(1)
        .max_waiters(1)
        .build()
        .expect("valid");
    let mut first = pin!(bucket.acquire_n(3));
    assert!(!poll_once(first.as_mut()));
    // There is one token, but not for those who come later.
    assert!(matches!(bucket.try_acquire(), Err(Denied::NotYet { .. })));
    assert!(bucket.peek().is_err());
    assert!(matches!(
        bucket.acquire().await,
        Err(AcquireError::QueueFull { max_waiters: 1, .. })
    ));
    first.await.expect("open");
    no_driver_stays(&rt).await;
}

/// The one in front could go, and there is enough for both.
async fn a_look_says_what_a_newcomer_would_hear_though_the_driver_is_late(rt: TestRuntime) {
    for in_composite in [false, true] {
        let clock = ManualClock::new();
        let bucket = TokenBucket::builder().rate("1/s").burst(2).initial(0);
        let bucket = bucket.clock(clock.clone()).build().expect("valid");
        let mut first = pin!(bucket.acquire());
        assert!(!poll_once(first.as_mut()));
        clock.advance(Duration::from_secs(2));
        if in_composite {
            let limits = Composite::new((&bucket,));
            limits.try_acquire().expect("as its only limit says");
        } else {
            bucket.peek().expect("there are two");
            bucket.try_acquire().expect("there are two");
        }
        assert!(poll_once(first.as_mut()));
        assert!(bucket.peek().is_err());
    }
    drop(rt);
}

/// A waker that panics harms nobody else.
async fn a_panicking_waker_harms_nobody(rt: TestRuntime) {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            // Not `panic!`: the hook would print it.
            std::panic::resume_unwind(Box::new("a waker's panic"));
        }
    }
    let bucket = bucket(Rate::per_second(500), 2, 0);
    let waker = Waker::from(Arc::new(Panics));
    let mut first = pin!(bucket.acquire());
    assert!(
        first
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let behind = bucket.clone();
    rt.spawn(async move { behind.acquire().await })
        .await
        .expect("no panic")
        .expect("open");
    first.await.expect("it has its token all the same");
    no_driver_stays(&rt).await;
}

/// Nor does it keep those from their wake-up that are woken after it.
async fn a_panicking_waker_harms_nobody_granted_with_it(rt: TestRuntime) {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("a waker's panic"));
        }
    }
    #[derive(Default)]
    struct Told(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let bucket = bucket(Rate::per_hour(1), 2, 0);
    let told = Arc::new(Told::default());
    let wakers = [Arc::new(Panics).into(), told.clone().into()];
    let mut waits = wakers.map(|waker: Waker| {
        let mut wait = Box::pin(bucket.acquire());
        let polled = wait.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        wait
    });
    bucket.refund(2);
    assert_eq!(bucket.stats().waiting, 0, "both were granted");
    assert!(told.0.load(std::sync::atomic::Ordering::SeqCst));
    assert!(waits.iter_mut().all(|wait| poll_once(wait.as_mut())));
    no_driver_stays(&rt).await;
}

/// Nor one whose destructor panics: whoever moves up is told, and the tokens of a wait that is
/// given up, or that is granted as it comes, are nobody's loss.
async fn a_waker_that_panics_when_dropped_harms_nobody(rt: TestRuntime) {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Panics {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                std::panic::resume_unwind(Box::new("a waker's panic"));
            }
        }
    }
    // The wait holds the only one there is.
    fn poll_with_it(wait: std::pin::Pin<&mut impl Future>) -> bool {
        let waker = Waker::from(Arc::new(Panics));
        let ready = wait.poll(&mut Context::from_waker(&waker)).is_ready();
        flow_rt::contain(|| drop(waker));
        ready
    }
    let bucket = bucket(Rate::per_hour(1), 10, 2);
    let mut first = Box::pin(bucket.acquire_n(10));
    assert!(!poll_with_it(first.as_mut()));
    let behind = rt.spawn({
        let bucket = bucket.clone();
        async move { bucket.acquire_n(2).await }
    });
    rt.settle().await;
    assert_eq!(bucket.stats().waiting, 2);
    drop(first);
    behind.await.expect("no panic").expect("moved up");

    let mut granted = Box::pin(bucket.acquire_n(3));
    assert!(!poll_with_it(granted.as_mut()));
    bucket.refund(3);
    drop(granted);
    assert_eq!((bucket.stats().waiting, bucket.available()), (0, 3));
    no_driver_stays(&rt).await;
}

/// The object-safe way: `dyn Limiter`, and a manual wait.
async fn dyn_limiters_wait_too(rt: TestRuntime) {
    let limiter: Arc<dyn Limiter> = Arc::new(bucket(Rate::per_second(200), 1, 0));
    limiter.acquire().await.expect("open");
    limiter.acquire_n(1).await.expect("open");
    limiter
        .acquire_timeout(Duration::from_secs(1))
        .await
        .expect("in time");
    let mut state = flow_ratelimit::WaitState::new();
    let first = std::future::poll_fn(|cx| limiter.poll_acquire_n(cx, 1, &mut state)).await;
    first.expect("open");
    let mut cx = Context::from_waker(Waker::noop());
    assert!(limiter.poll_acquire_n(&mut cx, 1, &mut state).is_pending());
    assert!(state.is_waiting());
    limiter.cancel(&mut state);
    assert!(!state.is_waiting());
    no_driver_stays(&rt).await;
}

async fn a_wait_that_has_ended_takes_nothing_more(rt: TestRuntime) {
    let bucket = TokenBucket::new(Rate::per_hour(1), 5).unwrap();
    let mut one = bucket.acquire();
    assert!((&mut one).await.is_ok());
    assert!((&mut one).now_or_never().is_none());
    let mut timed = bucket.acquire_timeout(Duration::from_secs(1));
    assert!((&mut timed).await.is_ok());
    assert!((&mut timed).now_or_never().is_none());
    let mut late = bucket.acquire_n_timeout(4, Duration::from_secs(1));
    assert!((&mut late).await.is_err());
    bucket.refund(1);
    assert!((&mut late).now_or_never().is_none());
    assert!(bucket.try_acquire_n(4).is_ok());

    let limiter = ConcurrencyLimiter::builder()
        .limit(2)
        .runtime(&rt)
        .build()
        .unwrap();
    let mut permit = limiter.acquire();
    let held = (&mut permit).await.unwrap();
    assert!((&mut permit).now_or_never().is_none());
    let mut owned = Box::pin(limiter.acquire_owned());
    let other = owned.as_mut().await.unwrap();
    assert!(owned.as_mut().now_or_never().is_none());
    let mut late = Box::pin(limiter.acquire_timeout(Duration::from_secs(1)));
    assert!(late.as_mut().await.is_err());
    drop((held, other));
    assert!(late.as_mut().now_or_never().is_none());
    assert_eq!(limiter.stats().in_flight, 0);
}

/// Whoever waits again within the linger finds its driver still there; after it nothing is left.
async fn a_driver_lingers_for_the_next_who_waits(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(100), 1, 0);
    bucket.acquire().await.expect("open");
    let start = rt.now();
    for _ in 0..3 {
        rt.advance(99 * MS).await;
        assert_eq!(rt.live_tasks(), 1, "the driver lingers");
        bucket.try_acquire().expect("it has come meanwhile");
        bucket.acquire().await.expect("open");
    }
    assert_eq!(rt.now() - start, 3 * 109 * MS);
    rt.advance(99 * MS).await;
    assert_eq!(rt.live_tasks(), 1);
    rt.advance(MS).await;
    assert_eq!(rt.live_tasks(), 0, "a driver stays");
    bucket.try_acquire().expect("it has come meanwhile");
    bucket.acquire().await.expect("another driver comes");
}

/// A clock that holds something, to see whether a bucket lives.
#[derive(Clone)]
struct Holding {
    _held: Arc<()>,
    clock: flow_rt::DefaultClock,
}
impl flow_rt::Clock for Holding {
    fn now(&self) -> flow_rt::Instant {
        self.clock.now()
    }
}

/// The last handle ends a linger; what the bucket held goes with it at once.
async fn no_driver_outlives_its_bucket(rt: TestRuntime) {
    let held = Arc::new(());
    let clock = Holding {
        _held: held.clone(),
        clock: flow_rt::DefaultClock::new(),
    };
    let bucket = TokenBucket::builder()
        .rate(Rate::per_second(100))
        .burst(1)
        .initial(0)
        .clock(clock)
        .build()
        .expect("valid");
    bucket.acquire().await.expect("open");
    rt.settle().await;
    assert_eq!((rt.live_tasks(), Arc::strong_count(&held)), (1, 2));
    let now = rt.now();
    drop(bucket);
    assert_eq!(Arc::strong_count(&held), 1);
    rt.settle().await;
    assert_eq!((rt.live_tasks(), rt.now()), (0, now));
}

/// A driver that slept until somebody was due goes when nobody is any more.
async fn a_driver_leaves_whoever_empties_the_queue(rt: TestRuntime) {
    let bucket = bucket(Rate::per_hour(1), 2, 0);
    let enter = || {
        let mut wait = Box::pin(bucket.acquire());
        assert!(!poll_once(wait.as_mut()));
        wait
    };
    // By leaving.
    let wait = enter();
    rt.settle().await;
    assert_eq!(rt.live_tasks(), 1);
    drop(wait);
    no_driver_stays(&rt).await;
    // By a grant of somebody else.
    let wait = enter();
    rt.settle().await;
    bucket.refund(1);
    no_driver_stays(&rt).await;
    wait.await.expect("open");
    // By what it cannot have any more.
    let mut wait = Box::pin(bucket.acquire_n(2));
    assert!(!poll_once(wait.as_mut()));
    rt.settle().await;
    bucket.set_burst(1).expect("valid");
    no_driver_stays(&rt).await;
    assert!(wait.await.is_err());
    // By a close.
    let wait = enter();
    rt.settle().await;
    bucket.close();
    rt.settle().await;
    assert_eq!(rt.live_tasks(), 0, "it has nothing to linger for");
    assert_eq!(wait.await, Err(AcquireError::Closed));
}
