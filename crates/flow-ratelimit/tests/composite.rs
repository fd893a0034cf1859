//! Several limits at once.
#![cfg(not(loom))]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use flow_ratelimit::{
    AcquireError, Composite, ConfigError, Denied, Granted, KeyedLimiter, LeakyBucket, Limiter,
    LimiterExt, Limits, Rate, TokenBucket, WaitState, WhenFull,
};
use flow_rt::{Instant, ManualClock, TestRuntime};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn clock() -> ManualClock {
    ManualClock::starting_at(Instant::from_nanos(3_000_000_000))
}

fn bucket(clock: &ManualClock, per_second: u64, burst: u64) -> TokenBucket<ManualClock> {
    let builder = TokenBucket::builder().rate(Rate::per_second(per_second));
    let built = builder.burst(burst).clock(clock.clone()).build();
    built.expect("a valid bucket")
}

/// A bucket of one token whose waiters lose nothing and gain nothing by a timer that is late.
fn waited(rate: &str) -> TokenBucket {
    let builder = TokenBucket::builder().rate(rate).burst(1);
    builder.catch_up(Duration::ZERO).build().unwrap()
}

flow_rt::on_every_runtime! {
    seeds 0..50;
    whoever_waits_gets_all_at_once,
    many_who_wait_keep_to_each_limit,
    who_goes_from_line_to_line_has_the_time_that_is_left,
    what_was_granted_without_a_limit_does_not_come_back,
    whoever_waits_is_counted_once_whatever_line_it_is_in,
    a_wait_for_another_number_of_tokens_ends,
}

#[test]
fn all_grant_or_none_is_touched() {
    let clock = clock();
    let (wide, narrow) = (bucket(&clock, 10, 10), bucket(&clock, 1, 3));
    let both = Composite::new((&wide, &narrow));
    let granted = both.try_acquire_n(2).unwrap();
    assert_eq!((granted.remaining(), granted.limit()), (1, 3));
    let denied = both.try_acquire_n(2).unwrap_err();
    assert_eq!((denied.index, denied.retry_after()), (1, Some(1_000 * MS)));
    assert_eq!(both.peek_n(2), Err(denied));
    assert_eq!((wide.available(), narrow.available()), (8, 1));
    both.peek().unwrap();
    both.try_acquire().unwrap();
    both.refund(2);
    assert_eq!((wide.available(), narrow.available()), (9, 2));
    assert_eq!(both.try_acquire_n(0).unwrap().remaining(), 2);
}

#[test]
fn the_longest_wait_is_the_answer_and_never_is_longer() {
    let clock = clock();
    let limits = [
        bucket(&clock, 10, 5),
        bucket(&clock, 1, 5),
        bucket(&clock, 4, 5),
    ];
    let all = Composite::new(&limits[..]);
    all.try_acquire_n(5).unwrap();
    let denied = all.try_acquire_n(2).unwrap_err();
    assert_eq!((denied.index, denied.retry_after()), (1, Some(2_000 * MS)));
    let text = denied.to_string();
    assert_eq!(
        text,
        "limit 1 of the composite: not enough tokens yet; retry after 2s"
    );

    // Whoever waits so long is admitted by all.
    clock.advance(2_000 * MS);
    all.try_acquire_n(2).unwrap();

    limits[2].set_rate(Rate::ZERO).unwrap();
    let denied = all.try_acquire_n(5).unwrap_err();
    assert_eq!((denied.index, denied.denied), (2, Denied::NeverRefills));
    let denied = all.try_acquire_n(6).unwrap_err();
    assert_eq!(denied.denied, Denied::exceeds_burst(6, 5));
    limits[0].close();
    let denied = all.try_acquire_n(5).unwrap_err();
    assert_eq!((denied.index, denied.denied), (0, Denied::Closed));
}

#[test]
fn limits_of_any_kind_and_number() {
    let clock = clock();
    let bucket = bucket(&clock, 1, 4);
    let leaky = LeakyBucket::builder()
        .rate("1/s")
        .capacity(3)
        .clock(clock.clone());
    let leaky = leaky.build().unwrap();
    let dynamic: Vec<Box<dyn Limiter>> = vec![Box::new(bucket.clone()), Box::new(leaky.clone())];
    let nested = Composite::new((Composite::new(dynamic), &bucket));
    // Two of them are the same bucket.
    nested.try_acquire_n(2).unwrap();
    assert_eq!((bucket.available(), leaky.available()), (0, 1));
    bucket.refund(3);
    let denied = nested.try_acquire_n(2).unwrap_err();
    assert_eq!((denied.index, denied.retry_after()), (0, Some(1_000 * MS)));

    // Each would grant two by itself, and one of them is asked twice.
    leaky.refund(2);
    let denied = nested.try_acquire_n(2).unwrap_err();
    assert_eq!(denied.index, 1);
    assert_eq!((bucket.available(), leaky.available()), (3, 3));

    let six = Composite::new((&bucket, &leaky, &leaky, &leaky, &bucket, &bucket));
    six.try_acquire().unwrap();
    assert_eq!((bucket.available(), leaky.available()), (0, 0));

    let none = Composite::new([&bucket; 0]);
    none.try_acquire_n(u64::MAX).unwrap();
}

#[test]
fn it_counts_what_it_decides_and_which_limit_denied() {
    let clock = clock();
    let (wide, narrow) = (bucket(&clock, 0, 10), bucket(&clock, 1, 3));
    let both = Composite::builder((&wide, &narrow)).name("api");
    let both = both.build().unwrap();
    let handle = both.clone();
    assert_eq!(both.name(), Some("api"));
    both.try_acquire_n(3).unwrap();
    handle.try_acquire().unwrap_err();
    // As a limiter like any other.
    Limiter::try_acquire_n(&both, 11).unwrap_err();
    clock.advance(3_000 * MS);
    both.try_acquire_n(3).unwrap();
    wide.try_acquire_n(2).unwrap();
    clock.advance(3_000 * MS);
    handle.try_acquire_n(3).unwrap_err();
    // These decide nothing.
    both.peek_n(4).unwrap_err();
    both.peek().unwrap();
    both.refund(1);
    let stats = both.stats();
    assert_eq!((stats.granted, stats.denied, stats.waiting), (2, 3, 0));
    // Of two that never grant so much it is the first.
    assert_eq!(*stats.denied_by, [2, 1]);
    assert_eq!(handle.stats(), stats);
    let text = format!("{both:?}");
    assert!(
        text.contains("\"api\"") && text.contains("limits: 2"),
        "{text}"
    );
    assert!(text.contains("denied_by: [2, 1]"), "{text}");

    for quiet in [
        Composite::new((&wide, &narrow)),
        Composite::builder((&wide, &narrow))
            .counted(false)
            .build()
            .unwrap(),
    ] {
        quiet.try_acquire_n(11).unwrap_err();
        let stats = quiet.stats();
        assert_eq!((stats.granted, stats.denied), (0, 0));
        assert!(stats.denied_by.is_empty());
        assert_eq!(quiet.name(), None);
    }
}

#[test]
fn one_name_and_one_count_for_the_limits_of_every_key() {
    let clock = clock();
    let builder = KeyedLimiter::<str>::builder()
        .rate("1/h burst 2")
        .max_keys(100);
    let clients = builder.clock(clock.clone()).build().unwrap();
    let (all, spare) = (bucket(&clock, 0, 5), bucket(&clock, 0, 1));
    let api = Composite::builder((clients.key(""), &all)).name("api");
    let api = api.build().unwrap();
    for client in ["anna", "ben", "anna", "anna", "ben", "cleo", "cleo", "dora"] {
        let of_client = api.with_limits((clients.key(client), &all)).unwrap();
        let _ = of_client.try_acquire();
    }
    let stats = api.stats();
    assert_eq!((stats.granted, stats.denied), (5, 3));
    assert_eq!(*stats.denied_by, [1, 2]);
    assert_eq!(clients.available(""), 2);

    // By a place that there was not: it is one denial more, and by nobody in particular.
    all.refund(5);
    let three = api.with_limits([&all, &all, &spare]).unwrap();
    assert_eq!(three.name(), Some("api"));
    three.try_acquire().unwrap();
    assert_eq!(three.try_acquire().unwrap_err().index, 2);
    let stats = api.stats();
    assert_eq!((stats.granted, stats.denied), (6, 4));
    assert_eq!(*stats.denied_by, [1, 2]);
    let plain = Composite::new((&all, &spare));
    let uncounted = plain.with_limits([&spare]).unwrap();
    uncounted.try_acquire().unwrap_err();
    assert_eq!(uncounted.stats(), plain.stats());
}

#[test]
fn no_limits_and_too_many_are_refused_under_a_name() {
    let clock = clock();
    let one = bucket(&clock, 0, 2_000);
    let none = Composite::builder([&one; 0]).name("api").build();
    let error = none.unwrap_err();
    assert_eq!(error, ConfigError::NoLimits);
    assert_eq!(
        error.to_string(),
        "no limit was given: give the builder one at least"
    );
    let many = |count| Composite::builder(vec![&one; count]).build();
    let most = many(1_024).unwrap();
    most.try_acquire().unwrap();
    assert_eq!(one.available(), 2_000 - 1_024);
    assert_eq!(most.try_acquire().unwrap_err().index, 976);
    assert_eq!(most.stats().denied_by.len(), 1_024);
    let error = many(1_025).unwrap_err();
    assert_eq!(
        error.to_string(),
        "1025 limits are too many for one limiter: at most 1024"
    );
    let endless = Composite::builder(Endless).counted(false).build();
    assert!(matches!(
        endless,
        Err(ConfigError::TooManyLimits {
            given: usize::MAX,
            max: 1_024
        })
    ));
    // Nor by the way of a composite that is under one already.
    let none = most.with_limits([&one; 0]);
    assert_eq!(none.unwrap_err(), ConfigError::NoLimits);
    let many = most.with_limits(vec![&one; 1_025]).unwrap_err();
    assert_eq!(many, error);
}

/// Says that there are more limits than could ever be.
#[derive(Debug)]
struct Endless;

impl Limits for Endless {
    fn count(&self) -> usize {
        usize::MAX
    }

    fn at(&self, _: usize) -> Option<&dyn Limiter> {
        None
    }
}

#[test]
fn threads_take_from_both_alike() {
    let clock = clock();
    let (one, other) = (bucket(&clock, 0, 500), bucket(&clock, 0, 700));
    let granted: usize = thread::scope(|scope| {
        let threads: Vec<_> = [false, true, false, true]
            .map(|swapped| {
                let pair = if swapped {
                    (&other, &one)
                } else {
                    (&one, &other)
                };
                scope.spawn(move || {
                    let both = Composite::new(pair);
                    (0..400).filter(|_| both.try_acquire().is_ok()).count()
                })
            })
            .into();
        threads.into_iter().map(|it| it.join().unwrap()).sum()
    });
    // Those that another's peek kept out have gone; nothing is lost.
    assert!(granted <= 500);
    assert_eq!(one.available(), 500 - granted as u64);
    assert_eq!(other.available(), 700 - granted as u64);
}

async fn whoever_waits_gets_all_at_once(rt: TestRuntime) {
    let (fast, slow) = (waited("1000/s"), waited("100/s"));
    let both = Composite::new((&fast, &slow));
    let start = rt.now();
    for _ in 0..6 {
        both.acquire().await.unwrap();
    }
    assert_eq!(rt.now() - start, 50 * MS);
    assert_eq!(fast.available(), 0);

    // A wait that is dropped has taken nothing.
    {
        let mut waits = pin!(both.acquire());
        let polled = poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
    }
    rt.advance(20 * MS).await;
    assert_eq!((fast.available(), slow.available()), (1, 1));
    both.acquire().await.unwrap();

    let timeout = both.acquire_timeout(5 * MS).await;
    assert!(matches!(timeout, Err(AcquireError::Timeout { .. })));
    both.acquire_timeout(10 * MS).await.unwrap();
    let never = both.acquire_n(2).await.unwrap_err();
    assert!(matches!(never, AcquireError::ExceedsBurst { .. }));
}

async fn many_who_wait_keep_to_each_limit(rt: TestRuntime) {
    let (one, other) = (waited("50/s"), waited("40/s"));
    let start = rt.now();
    let tasks: Vec<_> = (0..20)
        .map(|i| {
            let pair = if i % 2 == 0 {
                [&one, &other]
            } else {
                [&other, &one]
            };
            let both = Composite::new(pair.map(Clone::clone));
            rt.spawn(async move { both.acquire().await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    // 19 after the first, 25 ms each.
    assert!(rt.now() - start >= 19 * 25 * MS);
    rt.advance(100 * MS).await;
    assert_eq!((one.available(), other.available()), (1, 1));
}

async fn who_goes_from_line_to_line_has_the_time_that_is_left(rt: TestRuntime) {
    for (limit, ends) in [(150, 100), (250, 190)] {
        let (first, second) = (waited("10/s"), waited("10/s"));
        let both = Composite::new([first.clone(), second.clone()]);
        first.try_acquire().unwrap();
        let start = rt.now();
        let runtime = (*rt).clone();
        let waits = rt.spawn(async move {
            let waited = both.acquire_timeout(limit * MS).await.map(drop);
            (waited, runtime.now())
        });
        rt.settle().await;
        rt.advance(90 * MS).await;
        second.try_acquire().unwrap();
        // At 100 ms the second has its token in 90 ms: for one of the two that is too late.
        let (waited, at) = waits.await.unwrap();
        assert_eq!(at - start, ends * MS);
        match waited {
            Err(AcquireError::Timeout { would_wait, .. }) => {
                assert_eq!((limit, would_wait), (150, 90 * MS));
            }
            other => assert_eq!((limit, other), (250, Ok(()))),
        }
    }
}

async fn what_was_granted_without_a_limit_does_not_come_back(rt: TestRuntime) {
    let (first, second) = (waited("1/h"), waited("1/h"));
    let both = Composite::new((&first, &second));
    first.try_acquire().unwrap();
    let mut waits = pin!(both.acquire());
    let polled = poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    first.set_rate(Rate::UNLIMITED).unwrap();
    rt.settle().await;
    assert_eq!(first.stats().waiting, 0, "it was granted");
    first.set_rate("1/h").unwrap();
    first.try_acquire().unwrap();
    second.try_acquire().unwrap();
    // Now the second one denies.
    let polled = poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    assert_eq!((first.available(), second.stats().waiting), (0, 1));
}

async fn whoever_waits_is_counted_once_whatever_line_it_is_in(rt: TestRuntime) {
    let (first, second) = (waited("1/h"), waited("1/h"));
    let both = Composite::builder([first.clone(), second.clone()]);
    let both = both.name("api").build().unwrap();
    both.acquire().await.unwrap();
    let polled = {
        let mut waits = pin!(both.acquire());
        let polled = poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await;
        assert_eq!(both.stats().waiting, 1);
        polled
    };
    assert!(polled.is_pending());
    assert_eq!(both.stats().waiting, 0, "it was dropped");

    for limit in [&first, &second] {
        limit.set_rate("100/s").unwrap();
    }
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let both = both.clone();
            rt.spawn(async move { both.acquire().await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let stats = both.stats();
    assert_eq!((stats.granted, stats.denied, stats.waiting), (6, 0, 0));

    // The first one's token comes while the second has none for an hour: from one line to another.
    for limit in [&first, &second] {
        limit.set_rate("1/h").unwrap();
        let _ = limit.try_acquire();
    }
    first.refund(1);
    let mut waits = pin!(both.acquire());
    let polled = poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    assert_eq!((second.stats().waiting, both.stats().waiting), (1, 1));
    first.try_acquire().unwrap();
    second.refund(1);
    rt.settle().await;
    let polled = poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    assert_eq!((second.stats().waiting, first.stats().waiting), (0, 1));
    assert_eq!(both.stats().waiting, 1);

    // Whoever waits in vain was denied, by that limit.
    first.close();
    waits.as_mut().await.unwrap_err();
    let late = both.acquire_timeout(MS).await.unwrap_err();
    assert_eq!(late, AcquireError::Closed);
    let stats = both.stats();
    assert_eq!((stats.granted, stats.denied, stats.waiting), (6, 2, 0));
    assert_eq!(*stats.denied_by, [2, 0]);
}

async fn a_wait_for_another_number_of_tokens_ends(rt: TestRuntime) {
    let one = TokenBucket::new("1/h", 3).unwrap();
    let both = Composite::new((&one, &one));
    one.try_acquire_n(3).unwrap();
    let mut state = WaitState::new();
    let polled = poll_fn(|cx| Poll::Ready(both.poll_acquire_n(cx, 1, &mut state))).await;
    assert!(polled.is_pending());
    one.refund(3);
    rt.settle().await;
    assert_eq!(one.available(), 2, "one was granted");
    // Its one token comes back.
    let polled = poll_fn(|cx| Poll::Ready(both.poll_acquire_n(cx, 0, &mut state))).await;
    assert!(polled.is_ready() && !state.is_waiting());
    assert_eq!(one.available(), 3);
}

#[test]
fn a_wait_that_its_own_timer_ends_is_counted_as_denied() {
    flow_rt::sim::check(0..5, |_rt| async move {
        let one = waited("100/s");
        let both = Composite::builder([one.clone()]).build().unwrap();
        both.acquire().await.unwrap();
        // Refused at once.
        let refused = both.acquire_timeout(MS).await.unwrap_err();
        assert!(matches!(refused, AcquireError::Timeout { .. }));
        let mut waits = pin!(both.acquire_timeout(20 * MS));
        let polled = poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
        one.set_rate("1/h").unwrap();
        let late = waits.await.unwrap_err();
        assert!(matches!(late, AcquireError::Timeout { .. }));
        assert_eq!((both.stats().granted, both.stats().denied), (1, 2));
        assert_eq!((both.stats().waiting, one.stats().waiting), (0, 0));
        // By the limit in whose line it stood too.
        assert_eq!((one.stats().granted, one.stats().denied), (1, 2));
    });
}

/// Looked at it grants; but when it is asked somebody has emptied another limiter, and has set a
/// limit if there was none.
struct Outrun<'a>(&'a TokenBucket<ManualClock>);

impl Limiter for Outrun<'_> {
    fn try_acquire_n(&self, _: u64) -> Result<Granted, Denied> {
        if self.0.rate().is_unlimited() {
            self.0.set_rate("1/s").expect("valid");
        }
        self.0.try_acquire_n(self.0.available())?;
        Err(Denied::not_yet(10 * MS))
    }

    fn peek_n(&self, _: u64) -> Result<(), Denied> {
        Ok(())
    }

    fn refund(&self, _: u64) {}

    fn poll_acquire_n(
        &self,
        _: &mut Context<'_>,
        _: u64,
        _: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>> {
        Poll::Pending
    }
}

#[test]
fn one_that_was_outrun_is_told_the_longest_wait_too() {
    let clock = clock();
    let (slow, other) = (bucket(&clock, 1, 5), bucket(&clock, 1, 5));
    let both = Composite::new((&slow, Outrun(&other)));
    let denied = both.try_acquire_n(3).unwrap_err();
    assert_eq!((denied.index, denied.retry_after()), (1, Some(10 * MS)));
    assert_eq!((slow.available(), other.available()), (5, 0));

    other.refund(5);
    let all = Composite::new((&slow, Outrun(&other), &other));
    let denied = all.try_acquire_n(3).unwrap_err();
    assert_eq!((denied.index, denied.retry_after()), (2, Some(3_000 * MS)));
    assert_eq!((slow.available(), other.available()), (5, 0));

    // Nothing was taken of one without a limit, so nothing goes back to it.
    other.set_rate(Rate::UNLIMITED).unwrap();
    let both = Composite::new((&slow, &other, Outrun(&other)));
    both.try_acquire_n(3).unwrap_err();
    assert_eq!((slow.available(), other.available()), (5, 0));
}

/// Made-up keys that find no room are denied before anything is taken of the limits beside theirs.
#[test]
fn a_key_without_room_takes_nothing_of_the_other_limits() {
    let clock = clock();
    let build = || {
        let builder = KeyedLimiter::<u64>::builder().rate("1/s").burst(10);
        let builder = builder.max_keys(8).when_full(WhenFull::Deny);
        builder.clock(clock.clone())
    };
    let (hashed, exact) = (build().build().unwrap(), build().build_exact().unwrap());
    for key in 0..8 {
        hashed.try_acquire_n(&key, 5).unwrap();
        exact.try_acquire_n(&key, 5).unwrap();
    }
    for made_up in 100..200 {
        let (hashed, exact) = (hashed.key(&made_up), exact.key(&made_up));
        let keys: [&dyn Limiter; 2] = [&hashed, &exact];
        for key in keys {
            let all = bucket(&clock, 1, 5);
            let both = Composite::new((&all, key));
            let denied = both.peek().unwrap_err();
            assert_eq!(both.try_acquire(), Err(denied));
            assert_eq!(denied.index, 1);
            assert!(matches!(denied.denied, Denied::KeysFull { .. }));
            assert_eq!(denied.retry_after(), Some(5_000 * MS));
            assert_eq!(all.stats().granted, 0, "not even for a moment");
        }
    }
}

proptest! {
    /// Beside each bucket stands one that is asked for the same only if all grant. One may have two
    /// places: then all are looked at, and those before its second place give back what they gave.
    #[test]
    fn a_request_that_is_denied_changes_no_count(
        limits in prop::collection::vec((0..20_u64, 1..20_u64), 1..6),
        twice in prop::option::of(any::<[prop::sample::Index; 2]>()),
        steps in prop::collection::vec((0..500_u64, 0..12_u64), 1..80),
    ) {
        let clock = clock();
        let build = || -> Vec<_> {
            limits.iter().map(|(rate, burst)| bucket(&clock, *rate, *burst)).collect()
        };
        let (ours, model) = (build(), build());
        let mut places: Vec<_> = (0..limits.len()).collect();
        if let Some([which, before]) = twice {
            places.insert(before.index(limits.len() + 1), which.index(limits.len()));
        }
        let all: Vec<_> = places.iter().map(|it| &ours[*it]).collect();
        let all = Composite::new(&all[..]);
        for (ms, n) in steps {
            clock.advance(u32::try_from(ms).expect("small") * MS);
            let would: Vec<_> = places.iter().map(|it| model[*it].peek_n(n)).collect();
            match all.try_acquire_n(n) {
                Ok(granted) => {
                    prop_assert!(would.iter().all(Result::is_ok));
                    for it in &places {
                        prop_assert!(model[*it].try_acquire_n(n).is_ok());
                    }
                    let least = model.iter().map(TokenBucket::available).min();
                    prop_assert_eq!(Some(granted.remaining()), least);
                }
                Err(by) if would.iter().all(Result::is_ok) => {
                    let same = places.iter().filter(|it| **it == places[by.index]);
                    prop_assert_eq!(same.count(), 2);
                    let second = places.iter().rposition(|it| *it == places[by.index]);
                    prop_assert_eq!(second, Some(by.index));
                    prop_assert!(model[places[by.index]].available() < 2 * n);
                }
                Err(by) => {
                    prop_assert_eq!(would[by.index], Err(by.denied));
                    let waits = would.iter().filter_map(|it| it.err());
                    let never = waits.clone().any(|it| it.retry_after().is_none());
                    let longest = waits.filter_map(|it| it.retry_after()).max();
                    prop_assert_eq!(by.retry_after(), longest.filter(|_| !never));
                }
            }
            for (ours, model) in ours.iter().zip(&model) {
                prop_assert_eq!(ours.available(), model.available());
                prop_assert_eq!(ours.peek_n(n), model.peek_n(n));
            }
        }
    }
}
