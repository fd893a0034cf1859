//! The concurrency limiter at its edges: passing those who wait, no limit at all, permits that are
//! parted and joined, threads that wait for a time, panics, futures that nobody polls; and what
//! goflow got wrong (its defects 8 to 11).
#![cfg(not(loom))]

#[path = "support/race.rs"]
mod race;

use std::error::Error;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use flow_ratelimit::{ConcurrencyLimiter, Fairness, PermitError, TryPermitError};
use flow_rt::{BlockOnError, Clock, MonotonicClock, TestRuntime};

const MS: Duration = Duration::from_millis(1);

flow_rt::on_every_runtime! {
    seeds 0..50;
    goflow_8_a_shrunk_limit_is_not_exceeded,
    goflow_10_nobody_is_overtaken,
    goflow_11_more_than_the_limit_fails_at_once,
    at_no_limit_nothing_passes,
    barging_newcomers_pass,
    barging_tells_the_next_when_one_leaves,
    barging_close_ends_the_waits,
    barging_many_share_few,
    no_time_needs_no_timer,
    a_permit_that_comes_with_the_limit_of_time_wins,
    a_permit_comes_back_from_a_task_that_panics,
}

fn limiter(limit: u32) -> ConcurrencyLimiter {
    ConcurrencyLimiter::new(limit).expect("a valid limit")
}

fn barging(limit: u32) -> ConcurrencyLimiter {
    let builder = ConcurrencyLimiter::builder().limit(limit);
    builder.fairness(Fairness::Barging).build().expect("valid")
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Defect 8: a limit lowered below what is out let more in than it said once that came back.
async fn goflow_8_a_shrunk_limit_is_not_exceeded(_rt: TestRuntime) {
    let limiter = limiter(10);
    let mut held: Vec<_> = (0..10)
        .map(|_| limiter.try_acquire().expect("free"))
        .collect();
    limiter.set_limit(5).expect("valid");
    let waiter = limiter.acquire_n(2);
    let mut waiter = pin!(waiter);
    assert!(poll_once(waiter.as_mut()).is_pending());
    held.truncate(4);
    assert_eq!((limiter.available(), limiter.in_flight()), (1, 4));
    assert!(poll_once(waiter.as_mut()).is_pending());
    drop(held);
    drop(waiter.await.expect("it fits"));
    assert_eq!((limiter.available(), limiter.in_flight()), (5, 0));
    assert!(matches!(
        limiter.try_acquire_n(10),
        Err(TryPermitError::ExceedsLimit { limit: 5, .. })
    ));
}

/// Defect 9: a wait that ended as its grant came lost the permit for good.
#[test]
fn goflow_9_a_cancelled_grant_is_not_lost() {
    for limiter in [limiter(1), barging(1)] {
        race::cancels_meet_grants(&limiter, 10_000);
    }
}

/// The same beside newcomers, who come between the grant and the one who leaves.
#[test]
fn a_cancelled_grant_beside_newcomers_is_not_lost() {
    for limiter in [limiter(1), barging(1)] {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..50_000 {
                    drop(limiter.try_acquire());
                }
            });
            let mut waits = 0;
            for _ in 0..50_000 {
                // It is out, with this thread or the other.
                let held = limiter.try_acquire();
                let mut wait = pin!(limiter.acquire());
                waits += u32::from(poll_once(wait.as_mut()).is_pending());
                drop(held);
            }
            assert!(waits > 0, "nobody had to wait");
        });
        let stats = limiter.stats();
        assert_eq!((stats.in_flight, stats.waiting), (0, 0));
        drop(limiter.try_acquire().expect("nothing is lost"));
    }
}

/// Defect 10: small requests passed a large one, which never got its turn.
async fn goflow_10_nobody_is_overtaken(rt: TestRuntime) {
    let limiter = limiter(4);
    let held = limiter.acquire_n(4).await.expect("free");
    let large = rt.spawn(limiter.acquire_owned_n(4));
    rt.settle().await;
    let small: Vec<_> = (0..4).map(|_| rt.spawn(limiter.acquire_owned())).collect();
    rt.settle().await;
    drop(held);
    let large = large.await.expect("no panic").expect("its turn");
    assert_eq!((large.count(), limiter.stats().waiting), (4, 4));
    drop(large);
    for small in small {
        drop(small.await.expect("no panic").expect("open"));
    }
    assert_eq!((limiter.in_flight(), limiter.stats().waiting), (0, 0));
}

/// Defect 11: a wait for more than the limit hung; giving back too much, which permits that come
/// back by themselves cannot do, panicked.
async fn goflow_11_more_than_the_limit_fails_at_once(_rt: TestRuntime) {
    for limiter in [limiter(3), barging(3)] {
        let held = limiter.acquire_n(2).await.expect("free");
        let refused = limiter.acquire_n(4).await.expect_err("more than the limit");
        assert!(matches!(refused, PermitError::ExceedsLimit { .. }));
        let refused = limiter.acquire_n_timeout(u32::MAX, MS).await;
        assert!(matches!(refused, Err(PermitError::ExceedsLimit { .. })));
        drop(held);
        assert_eq!(limiter.available(), 3);
    }
}

/// A limit of 0 is no wait without end: everybody is refused, until it is raised.
async fn at_no_limit_nothing_passes(rt: TestRuntime) {
    for limiter in [limiter(2), barging(2)] {
        let held = limiter.acquire_n(2).await.expect("free");
        let waiters: Vec<_> = (0..40).map(|_| rt.spawn(limiter.acquire_owned())).collect();
        rt.settle().await;
        assert_eq!(limiter.set_limit(0), Ok(2));
        for waiter in waiters {
            let refused = waiter.await.expect("no panic").expect_err("nothing passes");
            assert!(matches!(
                refused,
                PermitError::ExceedsLimit {
                    requested: 1,
                    limit: 0,
                    ..
                }
            ));
        }
        assert!(limiter.acquire().await.is_err());
        assert!(limiter.try_acquire().is_err());
        assert_eq!(limiter.try_acquire_n(0).expect("nothing").count(), 0);
        assert_eq!((limiter.in_flight(), limiter.available()), (2, 0));
        drop(held);
        assert_eq!((limiter.in_flight(), limiter.available()), (0, 0));
        assert!(limiter.try_acquire().is_err());
        limiter.set_limit(1).expect("valid");
        drop(limiter.acquire().await.expect("raised"));
    }
}

/// Newcomers take what is free, whoever waits; who waits gets it when they leave it.
async fn barging_newcomers_pass(rt: TestRuntime) {
    let limiter = barging(2);
    let held = limiter.acquire().await.expect("free");
    let mut two = pin!(limiter.acquire_n(2));
    assert!(poll_once(two.as_mut()).is_pending());
    // One is free: not enough for the one who waits, and nobody is held up behind it.
    let newcomer = limiter.try_acquire().expect("free");
    drop(limiter.acquire_n(0).await.expect("always there"));
    drop(held);
    let again = limiter.acquire().await.expect("free");
    assert!(poll_once(two.as_mut()).is_pending());
    drop((newcomer, again));
    assert_eq!(limiter.available(), 2, "nobody's until it is taken");
    assert_eq!(two.await.expect("open").count(), 2);
    assert_eq!((limiter.in_flight(), limiter.stats().waiting), (0, 0));
    rt.settle().await;
    assert_eq!(rt.live_tasks(), 0, "a task stays");
}

/// Whoever was told and leaves passes that on.
async fn barging_tells_the_next_when_one_leaves(rt: TestRuntime) {
    let limiter = barging(1);
    let held = limiter.acquire().await.expect("free");
    let mut first = Box::pin(limiter.acquire());
    assert!(poll_once(first.as_mut()).is_pending());
    let next = rt.spawn(limiter.acquire_owned());
    rt.settle().await;
    drop(held);
    // Told, and not polled: it holds up the one behind it, who is told as it goes.
    assert_eq!((limiter.available(), limiter.stats().waiting), (1, 2));
    drop(first);
    drop(next.await.expect("no panic").expect("open"));
    assert_eq!((limiter.available(), limiter.stats().waiting), (1, 0));
}

/// Close sends everybody away here too, the one who was told included.
async fn barging_close_ends_the_waits(rt: TestRuntime) {
    let limiter = barging(1);
    let held = limiter.acquire().await.expect("free");
    let mut told = pin!(limiter.acquire());
    assert!(poll_once(told.as_mut()).is_pending());
    let waiters: Vec<_> = (0..40).map(|_| rt.spawn(limiter.acquire_owned())).collect();
    rt.settle().await;
    drop(held);
    limiter.close();
    assert_eq!(told.await.err(), Some(PermitError::Closed));
    for waiter in waiters {
        let refused = waiter.await.expect("no panic").expect_err("closed");
        assert_eq!(refused, PermitError::Closed);
    }
    assert_eq!(limiter.try_acquire().err(), Some(TryPermitError::Closed));
    assert_eq!((limiter.in_flight(), limiter.stats().waiting), (0, 0));
}

/// Nobody who waits is forgotten.
async fn barging_many_share_few(rt: TestRuntime) {
    let limiter = barging(3);
    let tasks: Vec<_> = (0..20_u32)
        .map(|task| {
            let (limiter, rt) = (limiter.clone(), rt.clone());
            rt.clone().spawn(async move {
                for _ in 0..20 {
                    let _permit = limiter.acquire_n(1 + task % 3).await.expect("open");
                    assert!(limiter.in_flight() <= 3);
                    rt.sleep(MS).await.expect("it runs");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let stats = limiter.stats();
    assert_eq!((stats.in_flight, stats.waiting, stats.granted), (0, 0, 400));
}

/// A limit of no time is known to be over without a timer, and without a runtime.
async fn no_time_needs_no_timer(_rt: TestRuntime) {
    let limiter = limiter(1);
    let held = limiter
        .acquire_timeout(Duration::ZERO)
        .await
        .expect("there at once");
    let mut none = pin!(limiter.acquire_timeout(Duration::ZERO));
    let Poll::Ready(Err(error)) = poll_once(none.as_mut()) else {
        panic!("no time is over");
    };
    assert_eq!(error.to_string(), "the permits were not there within 0ns");
    assert_eq!((limiter.stats().waiting, limiter.stats().denied), (0, 1));
    drop(held);
}

/// Its time is over when it is looked at again, and the permit is there: that is the answer.
async fn a_permit_that_comes_with_the_limit_of_time_wins(rt: TestRuntime) {
    for limiter in [limiter(1), barging(1)] {
        let held = limiter.acquire().await.expect("free");
        for late in [Duration::ZERO, MS] {
            let mut wait = pin!(limiter.acquire_timeout(10 * MS));
            assert!(poll_once(wait.as_mut()).is_pending());
            rt.advance(10 * MS + late).await;
            let Poll::Ready(Err(PermitError::Timeout { .. })) = poll_once(wait.as_mut()) else {
                panic!("its time is over, and no permit came");
            };
        }
        let mut wait = pin!(limiter.acquire_timeout(10 * MS));
        assert!(poll_once(wait.as_mut()).is_pending());
        rt.advance(10 * MS).await;
        drop(held);
        let Poll::Ready(Ok(permit)) = poll_once(wait.as_mut()) else {
            panic!("the permit is there");
        };
        drop(permit);
        let stats = limiter.stats();
        assert_eq!((stats.in_flight, stats.waiting, stats.denied), (0, 0, 2));
    }
}

/// What a task held comes back when it panics.
async fn a_permit_comes_back_from_a_task_that_panics(rt: TestRuntime) {
    let limiter = limiter(1);
    let holder = limiter.clone();
    let task = rt.spawn(async move {
        let _permit = holder.acquire().await.expect("free");
        panic!("on purpose");
    });
    task.await.expect_err("it panicked");
    assert_eq!((limiter.in_flight(), limiter.stats().waiting), (0, 0));
    drop(limiter.try_acquire().expect("it came back"));
}

#[test]
fn a_permit_comes_back_while_a_thread_unwinds() {
    let limiter = limiter(2);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let mut whole = limiter.try_acquire_n(2).expect("free");
        let _part = whole.split(1).expect("it is two");
        panic!("on purpose");
    }));
    assert!(unwound.is_err());
    assert_eq!(limiter.available(), 2);
}

#[test]
fn futures_that_nobody_polls_hold_nothing() {
    let limiter = limiter(1);
    drop(limiter.acquire());
    drop(limiter.acquire_owned_n(1));
    drop(limiter.acquire_timeout(MS));
    let idle = limiter.acquire();
    drop(limiter.try_acquire().expect("it was not polled"));
    drop(idle);
    assert_eq!((limiter.in_flight(), limiter.stats().granted), (0, 1));
}

struct Bomb;

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        panic!("a waker panics");
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_waker_that_panics_harms_nobody() {
    for limiter in [limiter(2), barging(2)] {
        let held = limiter.try_acquire_n(2).expect("free");
        let bomb = Waker::from(Arc::new(Bomb));
        let count = Arc::new(Count::default());
        let counting = Waker::from(count.clone());
        let mut first = Box::pin(limiter.acquire());
        let mut second = Box::pin(limiter.acquire());
        let is_pending = first.as_mut().poll(&mut Context::from_waker(&bomb));
        assert!(is_pending.is_pending());
        let is_pending = second.as_mut().poll(&mut Context::from_waker(&counting));
        assert!(is_pending.is_pending());
        drop(held);
        // It is there all the same; those behind it are told now or when it has looked.
        assert!(poll_once(first.as_mut()).is_ready());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(poll_once(second.as_mut()).is_ready());
        assert_eq!(limiter.in_flight(), 0);
    }
}

#[test]
fn permits_are_joined_if_they_are_of_one_limiter() {
    let (one, other) = (limiter(10), limiter(10));
    let mut permit = one.try_acquire_n(2).expect("free");
    permit
        .merge(one.try_acquire_n(3).expect("free"))
        .expect("of one limiter");
    assert_eq!((permit.count(), one.in_flight()), (5, 5));
    let refused = permit
        .merge(other.try_acquire_n(4).expect("free"))
        .expect_err("of another");
    assert_eq!(
        refused.to_string(),
        "permits of different limiters or classes cannot be merged"
    );
    assert!(refused.source().is_none());
    // Both are as they were.
    assert_eq!((permit.count(), other.in_flight()), (5, 4));
    assert_eq!(refused.into_permit().count(), 4);
    assert_eq!(other.in_flight(), 0);

    let mut owned = permit.into_owned();
    let part = owned.split(4).expect("it is five");
    owned.merge(part).expect("of one limiter");
    let foreign = other.try_acquire_owned_n(1).expect("free");
    let refused = owned.merge(foreign).expect_err("of another");
    drop(refused);
    assert_eq!((owned.count(), other.in_flight()), (5, 0));
    drop(owned);
    assert_eq!(one.in_flight(), 0);
}

#[test]
fn a_thread_waits_for_so_long() {
    let limiter = limiter(2);
    let held = limiter.try_acquire().expect("free");
    let clock = MonotonicClock::new();
    let start = clock.now();
    let late = limiter
        .acquire_n_blocking_timeout(2, 20 * MS)
        .expect_err("held");
    assert!(matches!(late, PermitError::Timeout { .. }));
    assert!(clock.now() - start >= 20 * MS);
    assert!(matches!(
        limiter.acquire_n_blocking_timeout(3, Duration::MAX),
        Err(PermitError::ExceedsLimit { .. })
    ));
    drop(
        limiter
            .acquire_blocking_timeout(Duration::ZERO)
            .expect("free"),
    );
    assert_eq!(limiter.stats().waiting, 0);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let permit = limiter.acquire_n_blocking_timeout(2, Duration::MAX);
            permit.expect("it comes").count()
        });
        while limiter.stats().waiting == 0 {
            std::thread::yield_now();
        }
        drop(held);
        assert_eq!(waiter.join().expect("no panic"), 2);
    });
    assert_eq!(limiter.in_flight(), 0);
    let nested = flow_rt::block_on(async {
        let _all = limiter.acquire_n_blocking(2).expect("free");
        limiter
            .acquire_blocking_timeout(MS)
            .expect_err("it must not wait here")
    });
    assert_eq!(
        nested.expect("a plain thread"),
        PermitError::WouldBlock(BlockOnError::Nested)
    );
}

#[test]
fn grants_are_counted_over_many_laps() {
    let limiter = limiter(8);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0..10_000 {
                    drop(limiter.try_acquire_n(n % 4));
                }
            });
        }
        let mut before = 0;
        for _ in 0..1_000 {
            let granted = limiter.stats().granted;
            assert!(granted >= before, "a counter goes up only");
            before = granted;
        }
    });
    let stats = limiter.stats();
    assert_eq!((stats.granted, stats.denied), (20_000, 0));
}
