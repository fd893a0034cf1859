//! Permits by priority: shares, what is lent, and waiting, on every runtime in virtual time.
#![cfg(not(loom))]

use std::error::Error;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_ratelimit::{
    ClassPermit, ClassedConfigError, ClassedLimiter, PermitClass, PermitError, TryPermitError,
};
use flow_rt::{BlockOnError, TestRuntime};

const MS: Duration = Duration::from_millis(1);

flow_rt::on_every_runtime! {
    seeds 0..50;
    the_highest_class_goes_first,
    a_share_waits_for_what_is_lent_and_no_longer,
    a_share_is_kept_under_load_from_above,
    a_lower_class_has_its_share_beside_a_higher_that_waits,
    a_dropped_wait_passes_on,
    a_wait_is_bounded,
    limits_and_shares_move_while_callers_wait,
    close_ends_the_waits,
    many_of_all_classes_share_few,
    no_more_wait_than_may,
    what_needs_no_wait_does_not_block,
    a_need_above_its_share_keeps_its_class_behind_those_within_theirs,
    at_no_limit_those_who_wait_are_refused,
    permits_come_back_from_a_task_that_panics,
}

/// Three classes of a limit of 10, with 4, 3 and nothing kept for them.
fn three() -> (ClassedLimiter, [PermitClass; 3]) {
    let builder = ClassedLimiter::builder().limit(10).name("api");
    let builder = builder.class("high", 4).class("middle", 3);
    let limiter = builder.class("low", 0).build().expect("valid");
    let class = |name| limiter.class(name).expect("it is there");
    let classes = [class("high"), class("middle"), class("low")];
    (limiter, classes)
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A wait leaves nothing running behind it.
async fn no_task_stays(rt: &TestRuntime) {
    rt.settle().await;
    assert_eq!(rt.live_tasks(), 0, "a task stays");
}

async fn the_highest_class_goes_first(rt: TestRuntime) {
    let (limiter, [high, middle, low]) = three();
    let mut held = low.acquire_n(10).await.expect("nobody else is there");
    assert_eq!(low.stats().lent, 10);
    // Asked for in the wrong order, each for more than its class has: all is lent.
    let mut waits = [
        Box::pin(low.acquire_n(5)),
        Box::pin(middle.acquire_n(5)),
        Box::pin(high.acquire_n(5)),
    ];
    for wait in &mut waits {
        assert!(poll_once(wait.as_mut()).is_pending());
    }
    assert_eq!(
        limiter.stats().iter().map(|it| it.waiting).sum::<usize>(),
        3
    );
    drop(held.split(5));
    let [low, middle, high] = waits;
    let high = high.await.expect("the highest");
    drop(held);
    let middle = middle.await.expect("the next");
    assert_eq!(
        (high.count(), middle.count(), limiter.available()),
        (5, 5, 0)
    );
    drop(high);
    drop(low.await.expect("the last"));
    drop(middle);
    assert_eq!(limiter.in_flight(), 0);
    no_task_stays(&rt).await;
}

async fn a_share_waits_for_what_is_lent_and_no_longer(rt: TestRuntime) {
    let (limiter, [high, middle, low]) = three();
    let mut lent: Vec<_> = (0..10)
        .map(|_| low.try_acquire().expect("nobody else is there"))
        .collect();
    let mut wait = pin!(middle.acquire_n(3));
    assert!(poll_once(wait.as_mut()).is_pending());
    for back in 1..=2 {
        drop(lent.pop());
        // Free, and lent to nobody: not to the class that has it now, nor to the highest for
        // more than its share.
        assert_eq!(limiter.available(), back);
        assert!(matches!(
            low.try_acquire(),
            Err(TryPermitError::Full { limit: 10, .. })
        ));
        assert!(high.try_acquire_n(5).is_err());
        assert!(poll_once(wait.as_mut()).is_pending());
    }
    drop(lent.pop());
    assert_eq!(wait.await.expect("its share").count(), 3);
    // Whoever asks within a higher share goes before.
    drop(lent.pop());
    assert_eq!(limiter.available(), 4);
    drop(high.try_acquire_n(4).expect("its share"));
    no_task_stays(&rt).await;
}

/// However much the highest class asks for, the others have their shares.
async fn a_need_above_its_share_keeps_its_class_behind_those_within_theirs(_rt: TestRuntime) {
    let builder = ClassedLimiter::builder().limit(6).class("high", 2);
    let limiter = builder.class("middle", 2).class("low", 2).build();
    let limiter = limiter.expect("valid");
    let class = |name| limiter.class(name).expect("it is there");
    let (high, lower) = (class("high"), [class("middle"), class("low")]);
    let take = |class| PermitClass::try_acquire_n(class, 2).expect("its share");
    let mut held = lower.each_ref().map(take);
    let mut big = pin!(high.acquire_n(4));
    assert!(poll_once(big.as_mut()).is_pending());
    let mut small = pin!(high.acquire());
    assert!(poll_once(small.as_mut()).is_pending());
    for turn in 0..20 {
        // Two are free, which is the share of the highest, and lower ones pass within theirs.
        assert_eq!(limiter.available(), 2);
        drop(held[turn % 2].split(1));
        let again = lower[turn % 2].try_acquire().expect("within its share");
        held[turn % 2].merge(again).expect("the same class");
        assert!(poll_once(big.as_mut()).is_pending());
        assert!(poll_once(small.as_mut()).is_pending());
    }
    // Without them it has what they leave.
    drop(held);
    assert_eq!(big.await.expect("they are free").count(), 4);
    drop(small.await.expect("it is free"));
}

async fn a_share_is_kept_under_load_from_above(rt: TestRuntime) {
    let (limiter, [high, middle, _]) = three();
    let tasks: Vec<_> = (0..40)
        .map(|_| {
            let (high, rt) = (high.clone(), rt.clone());
            rt.clone().spawn(async move {
                for _ in 0..20 {
                    let _permit = high.acquire().await.expect("open");
                    rt.sleep(MS).await.expect("it runs");
                }
            })
        })
        .collect();
    rt.settle().await;
    assert_eq!((limiter.available(), high.stats().lent), (0, 6));
    for _ in 0..10 {
        // What is out is lent for a millisecond at the most: no longer it waits.
        let start = rt.now();
        let permit = middle.acquire_n(3).await.expect("open");
        assert!(rt.now() - start <= MS, "{:?}", rt.now() - start);
        rt.sleep(2 * MS).await.expect("it runs");
        assert!(high.in_flight() <= 7);
        drop(permit);
        rt.sleep(3 * MS).await.expect("it runs");
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(high.stats().granted, 800);
    assert_eq!(limiter.in_flight(), 0);
    no_task_stays(&rt).await;
}

async fn a_lower_class_has_its_share_beside_a_higher_that_waits(rt: TestRuntime) {
    let (limiter, [high, middle, low]) = three();
    let held = high.acquire_n(7).await.expect("free");
    let mut more = pin!(high.acquire_n(5));
    assert!(poll_once(more.as_mut()).is_pending());
    let mut behind = pin!(low.acquire());
    assert!(poll_once(behind.as_mut()).is_pending());
    let permit = middle.acquire_n(2).await.expect("its share");
    let last = middle.try_acquire().expect("its share");
    assert_eq!((limiter.available(), limiter.in_flight()), (0, 10));
    drop((held, permit, last));
    drop(more.await.expect("lent"));
    drop(behind.await.expect("lent"));
    no_task_stays(&rt).await;
}

async fn a_dropped_wait_passes_on(rt: TestRuntime) {
    let (limiter, [high, _, low]) = three();
    let held = low.acquire_n(10).await.expect("free");
    let mut dropped = Box::pin(high.acquire_n(4));
    let mut handed = Box::pin(high.acquire_n(4));
    assert!(poll_once(dropped.as_mut()).is_pending());
    assert!(poll_once(handed.as_mut()).is_pending());
    let last = rt.spawn({
        let low = low.clone();
        async move { low.acquire_n(8).await.map(ClassPermit::into_owned) }
    });
    rt.settle().await;
    drop(dropped);
    assert_eq!((high.stats().waiting, low.stats().waiting), (1, 1));
    drop(held);
    // It has its permits now, and is dropped before it is polled again.
    assert_eq!((high.in_flight(), low.in_flight()), (4, 0));
    drop(handed);
    let last = last.await.expect("no panic").expect("open");
    assert_eq!((last.count(), limiter.in_flight()), (8, 8));
    drop(last);
    assert_eq!(limiter.in_flight(), 0);
    no_task_stays(&rt).await;
}

async fn a_wait_is_bounded(rt: TestRuntime) {
    let (limiter, [high, _, low]) = three();
    let held = low
        .acquire_n_timeout(10, Duration::ZERO)
        .await
        .expect("there at once");
    let start = rt.now();
    let error = high.acquire_timeout(10 * MS).await.expect_err("held");
    assert!(matches!(error, PermitError::Timeout { limit, .. } if limit == 10 * MS));
    assert_eq!(rt.now() - start, 10 * MS);
    let none = high.acquire_timeout(Duration::ZERO).await;
    assert!(matches!(none, Err(PermitError::Timeout { .. })));
    let never = high.acquire_n_timeout(11, MS).await;
    assert!(matches!(
        never,
        Err(PermitError::ExceedsLimit {
            requested: 11,
            limit: 10,
            ..
        })
    ));
    let stats = high.stats();
    assert_eq!((stats.granted, stats.denied, stats.waiting), (0, 3, 0));
    // Its time is over when it is looked at again, and the permit is there: that is the answer.
    let mut wait = pin!(high.acquire_timeout(10 * MS));
    assert!(poll_once(wait.as_mut()).is_pending());
    rt.advance(10 * MS).await;
    drop(held);
    let Poll::Ready(Ok(permit)) = poll_once(wait.as_mut()) else {
        panic!("the permit is there");
    };
    drop(permit);
    assert_eq!((limiter.in_flight(), high.stats().denied), (0, 3));
    no_task_stays(&rt).await;
}

/// Where no class has a share there may be no limit, and who waits is refused then.
async fn at_no_limit_those_who_wait_are_refused(rt: TestRuntime) {
    let builder = ClassedLimiter::builder().limit(2).class("high", 0);
    let limiter = builder.class("low", 0).build().expect("valid");
    let classes = ["high", "low"].map(|name| limiter.class(name).expect("it is there"));
    let held = classes[1].acquire_n(2).await.expect("free");
    let waiters: Vec<_> = (0..40)
        .map(|n| {
            let class = classes[n % 2].clone();
            rt.spawn(async move { class.acquire().await.map(drop) })
        })
        .collect();
    rt.settle().await;
    assert_eq!(classes.each_ref().map(|it| it.stats().waiting), [20; 2]);
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
    assert_eq!((limiter.in_flight(), limiter.available()), (2, 0));
    drop(held);
    assert_eq!((limiter.in_flight(), limiter.available()), (0, 0));
    limiter.set_limit(1).expect("valid");
    drop(classes[0].acquire().await.expect("raised"));
    no_task_stays(&rt).await;
}

/// What a task held comes back when it panics, and goes to the one who waits.
async fn permits_come_back_from_a_task_that_panics(rt: TestRuntime) {
    let (limiter, [high, _, low]) = three();
    let task = rt.spawn({
        let (rt, low) = (rt.clone(), low.clone());
        async move {
            let mut held = low.acquire_n(10).await.expect("free").into_owned();
            let _part = held.split(3).expect("it is ten");
            rt.sleep(MS).await.expect("it runs");
            panic!("on purpose");
        }
    });
    rt.settle().await;
    let mut wait = pin!(high.acquire_n(10));
    assert!(poll_once(wait.as_mut()).is_pending());
    task.await.expect_err("it panicked");
    assert_eq!(wait.await.expect("they came back").count(), 10);
    assert_eq!((limiter.in_flight(), low.in_flight()), (0, 0));
    no_task_stays(&rt).await;
}

#[test]
fn permits_come_back_while_a_thread_unwinds() {
    let (limiter, [high, middle, low]) = three();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let mut whole = high.try_acquire_n(4).expect("free");
        let _part = whole.split(1).expect("it is four");
        let mut owned = middle.try_acquire_n(3).expect("free").into_owned();
        let _owned_part = owned.split(2).expect("it is three");
        panic!("on purpose");
    }));
    assert!(unwound.is_err());
    assert_eq!((high.in_flight(), middle.in_flight()), (0, 0));
    drop(low.try_acquire_n(10).expect("all came back"));
    assert_eq!(limiter.in_flight(), 0);
}

async fn limits_and_shares_move_while_callers_wait(rt: TestRuntime) {
    let (limiter, [high, middle, low]) = three();
    let held = high.acquire_n(10).await.expect("free");
    let mut wait = pin!(low.acquire_n(2));
    assert!(poll_once(wait.as_mut()).is_pending());
    assert_eq!(limiter.set_limit(12).expect("valid"), 10);
    drop(wait.await.expect("raised"));

    let mut big = pin!(low.acquire_n(12));
    assert!(poll_once(big.as_mut()).is_pending());
    assert_eq!(
        limiter.set_limit(6),
        Err(ClassedConfigError::SharesAboveLimit {
            shares: 7,
            limit: 6
        })
    );
    assert_eq!(limiter.limit(), 12);
    limiter.set_limit(8).expect("valid");
    let refused = big.await.expect_err("it is above the limit now");
    assert!(matches!(
        refused,
        PermitError::ExceedsLimit {
            requested: 12,
            limit: 8,
            ..
        }
    ));
    assert_eq!((limiter.available(), limiter.in_flight()), (0, 10));
    drop(held);

    // A share that grows makes one the next that was not.
    let held = low.acquire_n(6).await.expect("free");
    let mut above = pin!(high.acquire_n(8));
    assert!(poll_once(above.as_mut()).is_pending());
    let mut below = pin!(low.acquire());
    assert!(poll_once(below.as_mut()).is_pending());
    let error = low.set_share(2).expect_err("too much");
    assert_eq!(
        error.to_string(),
        "the classes' shares are 9 permits in all, more than the limit of 8"
    );
    assert_eq!(high.set_share(0).expect("valid"), 4);
    assert_eq!(middle.set_share(0).expect("valid"), 3);
    assert_eq!(low.set_share(8).expect("valid"), 0);
    drop(below.await.expect("its share"));
    drop(held);
    drop(above.await.expect("lent"));

    // Without shares there may be no limit: nothing passes.
    low.set_share(0).expect("valid");
    limiter.set_limit(0).expect("no shares");
    assert!(high.acquire().await.is_err());
    assert_eq!(high.try_acquire_n(0).expect("nothing").count(), 0);
    no_task_stays(&rt).await;
}

async fn close_ends_the_waits(rt: TestRuntime) {
    let (limiter, classes) = three();
    let held = classes[2].acquire_n(10).await.expect("free");
    let waiters: Vec<_> = (0..60)
        .map(|n| {
            let class = classes[n % 3].clone();
            rt.spawn(async move { class.acquire().await.map(drop) })
        })
        .collect();
    rt.settle().await;
    assert_eq!(classes.each_ref().map(|it| it.stats().waiting), [20; 3]);
    limiter.close();
    limiter.close();
    for waiter in waiters {
        let refused = waiter.await.expect("no panic").expect_err("closed");
        assert_eq!(refused, PermitError::Closed);
    }
    assert!(limiter.is_closed());
    let refused = classes[0].try_acquire().expect_err("closed");
    assert_eq!(refused, TryPermitError::Closed);
    drop(held);
    assert_eq!(limiter.in_flight(), 0);
    no_task_stays(&rt).await;
}

/// None is lost, never more are out than there are, and nobody is forgotten.
async fn many_of_all_classes_share_few(rt: TestRuntime) {
    let (limiter, classes) = three();
    let most = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..30_u32)
        .map(|task| {
            let class = classes[task as usize % 3].clone();
            let (limiter, most, rt) = (limiter.clone(), most.clone(), rt.clone());
            rt.clone().spawn(async move {
                for _ in 0..20 {
                    let _permit = class.acquire_n(1 + task % 5).await.expect("open");
                    most.fetch_max(limiter.in_flight(), Ordering::Relaxed);
                    rt.sleep(MS).await.expect("it runs");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert!(most.load(Ordering::Relaxed) <= 10);
    for stats in limiter.stats() {
        assert_eq!((stats.in_flight, stats.waiting, stats.granted), (0, 0, 200));
    }
    no_task_stays(&rt).await;
}

async fn no_more_wait_than_may(rt: TestRuntime) {
    let builder = ClassedLimiter::builder().limit(1).max_waiters(1);
    let limiter = builder.class("a", 0).class("b", 0).build().expect("valid");
    let (a, b) = (
        limiter.class("a").expect("a"),
        limiter.class("b").expect("b"),
    );
    let held = a.acquire().await.expect("free");
    let mut first = pin!(b.acquire());
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(matches!(
        a.acquire().await,
        Err(PermitError::QueueFull { max_waiters: 1, .. })
    ));
    drop(held);
    drop(first.await.expect("open"));
    no_task_stays(&rt).await;
}

#[test]
fn wrong_values_are_refused() {
    let built = |builder: flow_ratelimit::ClassedLimiterBuilder| {
        let error = builder.build().expect_err("it is wrong");
        (error.to_string(), error)
    };
    let builder = ClassedLimiter::builder;
    assert_eq!(
        built(builder().class("a", 1)).1,
        ClassedConfigError::MissingLimit
    );
    assert_eq!(
        built(builder().limit(0).class("a", 0)).1,
        ClassedConfigError::ZeroLimit
    );
    assert_eq!(
        built(builder().limit(1)).1,
        ClassedConfigError::MissingClass
    );
    assert_eq!(
        built(builder().limit(1).class("a", 0).max_waiters(0)).1,
        ClassedConfigError::ZeroWaiters
    );
    let twice = builder().limit(1).class("a", 0).class("b", 0).class("a", 1);
    assert_eq!(built(twice).0, "two classes are called `a`");
    let above = builder().limit(5).class("a", 3).class("b", 3);
    assert_eq!(
        built(above).1,
        ClassedConfigError::SharesAboveLimit {
            shares: 6,
            limit: 5
        }
    );
    let classes = |n: usize| {
        (0..n).fold(builder(), |builder, class| {
            builder.class(format!("class {class}"), 0)
        })
    };
    assert_eq!(
        built(classes(9).limit(1)).0,
        "9 classes are too many: there can be 8"
    );
    assert_eq!(
        built(classes(3).limit(40_000)).0,
        "the limit 40000 is too large: with 3 classes at most 32767 permits can be counted, and \
         with 2 it could be had"
    );
    assert!(!built(classes(1).limit(u32::MAX)).0.contains("could be had"));
    assert!(
        classes(8)
            .limit(ClassedLimiter::max_limit(8))
            .build()
            .is_ok()
    );
    assert_eq!(ClassedLimiter::MAX_CLASSES, 8);

    let (limiter, _) = three();
    let unknown = limiter.class("High").expect_err("it has no capital");
    assert_eq!(
        unknown.to_string(),
        "there is no class `High`; there are `high`, `middle`, `low`"
    );
    assert!(unknown.source().is_none());
    assert_eq!(
        limiter.set_limit(40_000),
        Err(ClassedConfigError::LimitTooLarge {
            given: 40_000,
            classes: 3,
            max: 32_767
        })
    );
    assert_eq!(limiter.limit(), 10);
}

#[test]
fn permits_come_back_once_to_their_class() {
    let (limiter, [high, middle, _]) = three();
    let (_, [foreign, ..]) = three();
    let mut permit = high.try_acquire_n(5).expect("free");
    let part = permit.split(2).expect("it is five");
    assert!(permit.split(4).is_none());
    let stats = high.stats();
    assert_eq!((stats.in_flight, stats.share, stats.lent), (5, 4, 1));
    permit.merge(part).expect("of one class");
    let refused = permit
        .merge(middle.try_acquire().expect("free"))
        .expect_err("of another class");
    assert_eq!(
        refused.to_string(),
        "permits of different limiters or classes cannot be merged"
    );
    assert_eq!(refused.into_permit().count(), 1);
    let foreign = foreign.try_acquire().expect("free");
    assert!(permit.merge(foreign).is_err());
    assert_eq!((permit.count(), middle.in_flight()), (5, 0));

    let mut owned = permit.into_owned();
    let part = owned.split(2).expect("it is five");
    assert!(owned.split(4).is_none());
    std::thread::spawn(move || drop(part))
        .join()
        .expect("no panic");
    assert_eq!((owned.count(), high.in_flight()), (3, 3));
    let one = high.try_acquire().expect("free").into_owned();
    owned.merge(one).expect("of one class");
    let other = middle.try_acquire().expect("free").into_owned();
    assert!(owned.merge(other).is_err());
    assert_eq!(format!("{owned:?}"), "OwnedClassPermit(4)");
    owned.split(1).expect("it is four").forget();
    drop(owned);
    high.try_acquire().expect("free").forget();
    assert_eq!((high.in_flight(), limiter.in_flight()), (2, 2));
}

#[test]
fn a_thread_waits_in_the_same_queue() {
    let (limiter, [high, _, low]) = three();
    std::thread::scope(|scope| {
        for class in [&high, &low, &low] {
            scope.spawn(move || {
                for n in 0..500 {
                    let _permit = class.acquire_n_blocking(1 + n % 10).expect("open");
                    assert!(class.in_flight() <= 10);
                }
            });
        }
    });
    assert_eq!(limiter.in_flight(), 0);
    assert_eq!((high.stats().granted, low.stats().granted), (500, 1_000));

    let held = low.acquire_blocking().expect("free");
    let all = high.acquire_n_blocking_timeout(10, MS);
    assert!(matches!(all, Err(PermitError::Timeout { limit, .. }) if limit == MS));
    drop(high.acquire_blocking_timeout(MS).expect("free"));
    let nested = flow_rt::block_on(async {
        let refused = high.acquire_n_blocking(10).expect_err("it would stop here");
        let timed = high.acquire_n_blocking_timeout(10, MS);
        (refused, timed.expect_err("it would stop here"))
    });
    let refused = PermitError::WouldBlock(BlockOnError::Nested);
    assert_eq!(nested.expect("a plain thread"), (refused, refused));
    drop(held);
    assert_eq!((limiter.in_flight(), high.stats().waiting), (0, 0));
}

/// Where a wait must not be, and no wait is needed to know the answer.
async fn what_needs_no_wait_does_not_block(_rt: TestRuntime) {
    let (limiter, [high, ..]) = three();
    for refused in [
        high.acquire_n_blocking(11),
        high.acquire_n_blocking_timeout(11, Duration::ZERO),
        high.acquire_n_blocking_timeout(11, MS),
    ] {
        let refused = refused.expect_err("more than there are");
        assert!(matches!(refused, PermitError::ExceedsLimit { .. }));
    }
    let held = high.acquire_n_blocking_timeout(10, Duration::ZERO);
    let late = high.acquire_blocking_timeout(Duration::ZERO);
    assert!(matches!(late, Err(PermitError::Timeout { limit, .. }) if limit.is_zero()));
    limiter.close();
    for refused in [
        high.acquire_blocking(),
        high.acquire_blocking_timeout(Duration::ZERO),
        high.acquire_blocking_timeout(MS),
    ] {
        assert_eq!(refused.expect_err("closed"), PermitError::Closed);
    }
    drop(held.expect("they were free"));
    let stats = high.stats();
    assert_eq!((stats.granted, stats.denied, stats.waiting), (1, 7, 0));
}

#[test]
fn stats_debug_and_names() {
    let (limiter, [high, _, low]) = three();
    assert_eq!((limiter.name(), high.name()), (Some("api"), "high"));
    let _permit = high.try_acquire_n(2).expect("free");
    low.try_acquire_n(9).expect_err("two are out");
    let stats = limiter.stats();
    assert_eq!(stats.len(), 3);
    assert_eq!((stats[0].granted, stats[0].in_flight), (1, 2));
    assert_eq!((stats[2].denied, stats[2].share), (1, 0));
    assert_eq!((high.share(), limiter.available()), (4, 8));
    let names: Vec<_> = limiter.classes().map(|it| it.name().to_owned()).collect();
    assert_eq!(names, ["high", "middle", "low"]);
    let shown = format!("{limiter:?} {high:?}");
    assert!(shown.contains("limit: 10") && shown.contains("name: \"high\""));

    let uncounted = ClassedLimiter::builder().limit(1).class("a", 1);
    let uncounted = uncounted.counted(false).build().expect("valid");
    let class = uncounted.class("a").expect("it is there");
    drop(class.try_acquire().expect("free"));
    class.try_acquire_n(2).expect_err("too many");
    assert_eq!((class.stats().granted, class.stats().denied), (0, 0));
}
