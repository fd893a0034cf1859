//! The concurrency limiter: what needs no runtime, and waiting on every runtime in virtual time.
//! The numbers are those of the cases.
#![cfg(not(loom))]

#[path = "support/race.rs"]
mod race;
#[path = "support/turns.rs"]
mod turns;

use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_ratelimit::{ConcurrencyConfigError, ConcurrencyLimiter, PermitError, TryPermitError};
use flow_rt::{BlockOnError, CancellationToken, TestRuntime};
use turns::yield_now;

const MS: Duration = Duration::from_millis(1);

flow_rt::on_every_runtime! {
    seeds 0..50;
    cl_56_a_wait_is_bounded,
    cl_57_a_release_wakes_the_waiter,
    cl_58_several_at_once,
    cl_62_many_share_few,
    cl_63_first_come_first_served,
    cl_64_68_a_dropped_wait_passes_on,
    cl_66_newcomers_stay_behind,
    cl_67_more_than_the_limit_never_waits,
    no_more_wait_than_may,
    close_ends_the_waits,
    a_raised_limit_lets_waiters_in,
    what_needs_no_wait_does_not_block,
}

fn limiter(limit: u32) -> ConcurrencyLimiter {
    ConcurrencyLimiter::new(limit).expect("a valid limit")
}

/// A wait leaves nothing running behind it.
async fn no_task_stays(rt: &TestRuntime) {
    rt.settle().await;
    assert_eq!(rt.live_tasks(), 0, "a task stays");
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn cl_50_starts_with_everything_free() {
    let limiter = limiter(10);
    assert_eq!((limiter.available(), limiter.in_flight()), (10, 0));
    assert_eq!(limiter.limit(), 10);
}

#[test]
fn cl_51_wrong_values_are_refused() {
    let refused = ConcurrencyLimiter::new(0).expect_err("zero");
    assert_eq!(refused, ConcurrencyConfigError::ZeroLimit);
    let max = ConcurrencyLimiter::MAX_LIMIT;
    let given = max + 1;
    let too_large = ConcurrencyConfigError::LimitTooLarge { given, max };
    assert_eq!(
        ConcurrencyLimiter::new(given).expect_err("large"),
        too_large
    );
    assert!(too_large.to_string().contains("268435456"));
    let builder = ConcurrencyLimiter::builder();
    assert_eq!(
        builder.build().expect_err("none"),
        ConcurrencyConfigError::MissingLimit
    );
    let nobody = ConcurrencyLimiter::builder().limit(1).max_waiters(0);
    assert_eq!(
        nobody.build().expect_err("zero"),
        ConcurrencyConfigError::ZeroWaiters
    );

    let limiter = limiter(3);
    assert_eq!(limiter.set_limit(given), Err(too_large));
    assert_eq!(limiter.limit(), 3);
    assert_eq!(self::limiter(max).available(), max);
}

#[test]
fn cl_53_to_55_takes_and_gives_back() {
    let limiter = limiter(3);
    let mut permits = Vec::new();
    for left in [2, 1, 0] {
        permits.push(limiter.try_acquire().expect("free"));
        assert_eq!(limiter.available(), left);
    }
    assert!(matches!(
        limiter.try_acquire(),
        Err(TryPermitError::Full { limit: 3, .. })
    ));
    permits.pop();
    assert_eq!(limiter.available(), 1);

    let limiter = self::limiter(10);
    let mut first = limiter.try_acquire_n(3).expect("free");
    let _second = limiter.try_acquire_n(5).expect("free");
    assert!(limiter.try_acquire_n(3).is_err());
    assert_eq!(limiter.available(), 2);
    let third = limiter.try_acquire_n(2).expect("free");
    assert_eq!(limiter.available(), 0);
    let nothing = limiter.try_acquire_n(0).expect("always there");
    assert_eq!(nothing.count(), 0);
    // Four come back: two of the first, and the third.
    drop((first.split(2).expect("it is three"), third));
    assert_eq!((first.count(), limiter.available()), (1, 4));
    assert!(first.split(2).is_none());
    assert_eq!(first.count(), 1);
}

#[test]
fn permits_come_back_once_however_they_are_held() {
    let limiter = limiter(4);
    let mut owned = limiter.try_acquire_n(3).expect("free").into_owned();
    assert_eq!((owned.count(), limiter.in_flight()), (3, 3));
    let part = owned.split(1).expect("it is three");
    assert!(owned.split(3).is_none());
    drop(owned);
    assert_eq!(limiter.in_flight(), 1);
    limiter.try_acquire_owned().expect("free").forget();
    assert_eq!(limiter.in_flight(), 2, "forgotten ones never come back");
    let keeps_it = limiter.clone();
    drop(limiter);
    drop(part);
    assert_eq!(keeps_it.in_flight(), 1);
}

#[test]
fn cl_59_60_the_limit_moves_while_permits_are_out() {
    let limiter = limiter(5);
    let first = limiter.try_acquire_n(3).expect("free");
    assert_eq!(limiter.set_limit(8), Ok(5));
    assert_eq!(limiter.available(), 5);
    assert_eq!(limiter.set_limit(6), Ok(8));
    assert_eq!(limiter.available(), 3);
    let second = limiter.try_acquire_n(3).expect("free");
    limiter.set_limit(4).expect("valid");
    assert_eq!((limiter.available(), limiter.in_flight()), (0, 6));
    drop(first);
    assert_eq!((limiter.available(), limiter.in_flight()), (1, 3));
    drop(second);
    assert_eq!((limiter.available(), limiter.in_flight()), (4, 0));
}

#[test]
fn cl_65_a_cancel_that_races_with_a_grant_loses_nothing() {
    race::cancels_meet_grants(&limiter(1), 10_000);
}

#[test]
fn a_thread_waits_in_the_same_queue() {
    let limiter = limiter(1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let _permit = limiter.acquire_blocking().expect("open");
                    assert_eq!(limiter.in_flight(), 1);
                }
            });
        }
    });
    assert_eq!(limiter.in_flight(), 0);
    assert_eq!(limiter.stats().granted, 2_000);
    assert!(matches!(
        limiter.acquire_n_blocking(2),
        Err(PermitError::ExceedsLimit { .. })
    ));
}

#[test]
fn blocking_where_it_must_not_is_an_error() {
    let limiter = limiter(1);
    let asked = flow_rt::block_on(async {
        // What need not wait does not block.
        let permit = limiter.acquire_blocking()?;
        let refused = limiter.acquire_blocking().expect_err("nested");
        drop(permit);
        Ok::<_, PermitError>(refused)
    });
    let refused = asked.expect("a plain thread").expect("free");
    assert_eq!(refused, PermitError::WouldBlock(BlockOnError::Nested));
    assert!(refused.source().is_some());
    assert_eq!(limiter.stats().waiting, 0);
}

/// Where a wait must not be, and no wait is needed to know the answer.
async fn what_needs_no_wait_does_not_block(_rt: TestRuntime) {
    let limiter = limiter(1);
    for timeout in [Duration::ZERO, MS] {
        assert!(matches!(
            limiter.acquire_n_blocking_timeout(2, timeout),
            Err(PermitError::ExceedsLimit {
                requested: 2,
                limit: 1,
                ..
            })
        ));
    }
    assert!(matches!(
        limiter.acquire_n_blocking(2),
        Err(PermitError::ExceedsLimit { .. })
    ));
    let held = limiter.acquire_blocking_timeout(Duration::ZERO);
    let late = limiter.acquire_blocking_timeout(Duration::ZERO);
    assert!(matches!(late, Err(PermitError::Timeout { limit, .. }) if limit.is_zero()));
    limiter.close();
    for refused in [
        limiter.acquire_blocking(),
        limiter.acquire_blocking_timeout(Duration::ZERO),
        limiter.acquire_blocking_timeout(MS),
    ] {
        assert_eq!(refused.expect_err("closed"), PermitError::Closed);
    }
    drop(held.expect("it was free"));
    let stats = limiter.stats();
    assert_eq!((stats.granted, stats.denied, stats.waiting), (1, 7, 0));
}

#[test]
fn stats_debug_and_names() {
    let limiter = ConcurrencyLimiter::builder().limit(2).name("db").build();
    let limiter = limiter.expect("valid");
    let _permit = limiter.try_acquire_n(2).expect("free");
    assert!(limiter.try_acquire().is_err());
    let mut wait = pin!(limiter.acquire());
    assert!(poll_once(wait.as_mut()).is_pending());
    let stats = limiter.stats();
    assert_eq!((stats.granted, stats.denied, stats.waiting), (1, 1, 1));
    assert_eq!((stats.in_flight, stats.available, stats.limit), (2, 0, 2));
    assert_eq!(limiter.name(), Some("db"));
    let shown = format!("{limiter:?}");
    assert!(
        shown.contains("in_flight: 2") && shown.contains("waiting: 1"),
        "{shown}"
    );

    let uncounted = ConcurrencyLimiter::builder().limit(1).counted(false);
    let uncounted = uncounted.build().expect("valid");
    drop(uncounted.try_acquire().expect("free"));
    assert_eq!(uncounted.stats().granted, 0);
}

/// 56: a wait ends with its time, or with the task around it.
async fn cl_56_a_wait_is_bounded(rt: TestRuntime) {
    let limiter = limiter(1);
    let _held = limiter.try_acquire().expect("free");
    let start = rt.now();
    let error = limiter.acquire_timeout(10 * MS).await.expect_err("held");
    assert!(matches!(error, PermitError::Timeout { limit, .. } if limit == 10 * MS));
    assert_eq!(rt.now() - start, 10 * MS);

    let token = CancellationToken::new();
    let canceller = rt.spawn({
        let token = token.clone();
        async move { token.cancel() }
    });
    let cancelled = token.run_until_cancelled(limiter.acquire()).await;
    assert!(cancelled.is_none());
    canceller.await.expect("no panic");
    assert_eq!((limiter.stats().waiting, limiter.in_flight()), (0, 1));
    no_task_stays(&rt).await;
}

/// 57: whoever waits gets what comes back, and nobody else.
async fn cl_57_a_release_wakes_the_waiter(rt: TestRuntime) {
    let limiter = limiter(1);
    let held = limiter.try_acquire().expect("free");
    let waiter = rt.spawn(limiter.acquire_owned());
    rt.settle().await;
    assert_eq!(limiter.stats().waiting, 1);
    drop(held);
    assert_eq!(limiter.available(), 0);
    let permit = waiter.await.expect("no panic").expect("open");
    assert_eq!((permit.count(), limiter.in_flight()), (1, 1));
    no_task_stays(&rt).await;
}

/// 58: waits for several at once.
async fn cl_58_several_at_once(rt: TestRuntime) {
    let limiter = limiter(5);
    let three = limiter.acquire_n(3).await.expect("free");
    assert_eq!(limiter.available(), 2);
    assert_eq!(limiter.acquire_n(0).await.expect("always").count(), 0);
    let mut four = pin!(limiter.acquire_n(4));
    assert!(poll_once(four.as_mut()).is_pending());
    drop(three);
    let four = four.await.expect("open");
    assert_eq!((four.count(), limiter.available()), (4, 1));
    no_task_stays(&rt).await;
}

/// 62: many tasks, few permits, none lost, and never more out than there are.
async fn cl_62_many_share_few(rt: TestRuntime) {
    let limiter = limiter(10);
    let most = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (limiter, most) = (limiter.clone(), most.clone());
            rt.spawn(async move {
                for _ in 0..100 {
                    let _permit = limiter.acquire().await.expect("open");
                    most.fetch_max(limiter.in_flight(), Ordering::Relaxed);
                    yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert!(most.load(Ordering::Relaxed) <= 10);
    assert_eq!((limiter.available(), limiter.in_flight()), (10, 0));
    assert_eq!(limiter.stats().granted, 2_000);
    no_task_stays(&rt).await;
}

/// 63: in the order in which they came.
async fn cl_63_first_come_first_served(rt: TestRuntime) {
    let limiter = limiter(1);
    let held = limiter.acquire().await.expect("free");
    let mut waits: Vec<_> = (0..5).map(|_| Box::pin(limiter.acquire())).collect();
    for wait in &mut waits {
        assert!(poll_once(wait.as_mut()).is_pending());
    }
    drop(held);
    for mut wait in waits.drain(..) {
        let Poll::Ready(permit) = poll_once(wait.as_mut()) else {
            panic!("it was its turn");
        };
        drop(permit.expect("open"));
    }
    assert_eq!((limiter.in_flight(), limiter.stats().waiting), (0, 0));
    no_task_stays(&rt).await;
}

/// 64, 68: a wait that is dropped leaves its place, and passes on what it was handed.
async fn cl_64_68_a_dropped_wait_passes_on(rt: TestRuntime) {
    let limiter = limiter(1);
    let held = limiter.acquire().await.expect("free");
    let mut dropped = Box::pin(limiter.acquire());
    let mut handed = Box::pin(limiter.acquire());
    assert!(poll_once(dropped.as_mut()).is_pending());
    assert!(poll_once(handed.as_mut()).is_pending());
    drop(dropped);
    assert_eq!((limiter.available(), limiter.in_flight()), (0, 1));
    let last = rt.spawn(limiter.acquire_owned());
    rt.settle().await;
    assert_eq!(limiter.stats().waiting, 2);
    drop(held);
    // It has the permit now, and is dropped before it is polled again.
    drop(handed);
    let last = last.await.expect("no panic").expect("open");
    assert_eq!(limiter.in_flight(), 1);
    drop(last);
    assert_eq!(limiter.in_flight(), 0);
    no_task_stays(&rt).await;
}

/// 66: nobody passes a waiter, however little they ask for.
async fn cl_66_newcomers_stay_behind(rt: TestRuntime) {
    let limiter = limiter(2);
    let held = limiter.acquire().await.expect("free");
    let mut two = pin!(limiter.acquire_n(2));
    assert!(poll_once(two.as_mut()).is_pending());
    assert!(matches!(
        limiter.try_acquire(),
        Err(TryPermitError::Full { .. })
    ));
    let mut one = pin!(limiter.acquire());
    assert!(poll_once(one.as_mut()).is_pending());
    drop(held);
    assert!(poll_once(one.as_mut()).is_pending());
    drop(two.await.expect("open"));
    assert_eq!(one.await.expect("open").count(), 1);
    no_task_stays(&rt).await;
}

/// 67: more than there are is refused at once; for one that waits, in its turn.
async fn cl_67_more_than_the_limit_never_waits(rt: TestRuntime) {
    let limiter = limiter(3);
    let _held = limiter.acquire().await.expect("free");
    assert!(matches!(
        limiter.acquire_n(4).await,
        Err(PermitError::ExceedsLimit {
            requested: 4,
            limit: 3,
            ..
        })
    ));
    let mut three = pin!(limiter.acquire_n(3));
    assert!(poll_once(three.as_mut()).is_pending());
    limiter.set_limit(2).expect("valid");
    assert!(matches!(
        three.await,
        Err(PermitError::ExceedsLimit {
            requested: 3,
            limit: 2,
            ..
        })
    ));
    drop(limiter.acquire().await.expect("nobody is in the way"));
    no_task_stays(&rt).await;
}

/// The queue may be bounded.
async fn no_more_wait_than_may(rt: TestRuntime) {
    let limiter = ConcurrencyLimiter::builder().limit(1).max_waiters(1);
    let limiter = limiter.build().expect("valid");
    let held = limiter.acquire().await.expect("free");
    let mut first = pin!(limiter.acquire());
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(matches!(
        limiter.acquire().await,
        Err(PermitError::QueueFull { max_waiters: 1, .. })
    ));
    drop(held);
    assert_eq!(first.await.expect("open").count(), 1);
    no_task_stays(&rt).await;
}

/// Those who wait when it is closed are told so; what is out comes back.
async fn close_ends_the_waits(rt: TestRuntime) {
    let limiter = limiter(1);
    let held = limiter.acquire().await.expect("free");
    let waiters: Vec<_> = (0..40).map(|_| rt.spawn(limiter.acquire_owned())).collect();
    rt.settle().await;
    assert_eq!(limiter.stats().waiting, 40);
    limiter.close();
    limiter.close();
    for waiter in waiters {
        let refused = waiter.await.expect("no panic").expect_err("closed");
        assert_eq!(refused, PermitError::Closed);
    }
    assert!(limiter.is_closed());
    assert_eq!(limiter.try_acquire().err(), Some(TryPermitError::Closed));
    assert_eq!(limiter.acquire().await.err(), Some(PermitError::Closed));
    drop(held);
    assert_eq!((limiter.in_flight(), limiter.stats().waiting), (0, 0));
    no_task_stays(&rt).await;
}

/// A raised limit lets those in who wait; time that suffices is not a timeout.
async fn a_raised_limit_lets_waiters_in(rt: TestRuntime) {
    let limiter = limiter(1);
    let _held = limiter.acquire().await.expect("free");
    let waiter = rt.spawn({
        let limiter = limiter.clone();
        async move {
            let permit = limiter.acquire_n_timeout(1, Duration::MAX).await?;
            Ok::<_, PermitError>(permit.into_owned())
        }
    });
    rt.settle().await;
    assert_eq!(limiter.stats().waiting, 1);
    limiter.set_limit(2).expect("valid");
    let _permit = waiter.await.expect("no panic").expect("raised");
    assert_eq!(limiter.in_flight(), 2);
    no_task_stays(&rt).await;
}
