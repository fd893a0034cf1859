//! Tokens taken ahead of time: in the line with those who wait, and out of it in any order.
#![cfg(not(loom))]

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_ratelimit::{AcquireError, Denied, Rate, Reservation, TokenBucket};
use flow_rt::{Clock, Instant, ManualClock, TestRuntime, sim};

const MS: Duration = Duration::from_millis(1);

flow_rt::on_every_runtime! {
    seeds 0..50;
    is_awaited,
    stands_in_the_line,
    a_dropped_wait_gives_back,
    a_dropped_wait_without_a_limit_gives_nothing_back,
    changes_move_it,
    close_ends_it,
    a_smaller_burst_ends_it,
    paid_debts,
}

fn bucket(rate: Rate, burst: u64, initial: u64) -> TokenBucket {
    let bucket = TokenBucket::builder()
        .rate(rate)
        .burst(burst)
        .initial(initial);
    bucket.build().expect("a valid bucket")
}

fn by_hand(rate: Rate, burst: u64, initial: u64) -> (TokenBucket<ManualClock>, ManualClock) {
    let clock = ManualClock::starting_at(Instant::from_nanos(1_000_000_007));
    let bucket = TokenBucket::builder()
        .rate(rate)
        .burst(burst)
        .initial(initial)
        .clock(clock.clone());
    (bucket.build().expect("a valid bucket"), clock)
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Beyond its linger.
async fn no_driver_stays(rt: &TestRuntime) {
    rt.advance(Duration::from_millis(200)).await;
    assert_eq!(rt.live_tasks(), 0, "a driver stays");
}

/// It waits until its time, to the nanosecond, wherever it is awaited.
async fn is_awaited(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(100), 3, 1);
    let start = rt.now();
    let at_once = bucket.reserve().expect("one");
    let third = {
        let second = bucket.reserve().expect("in line");
        let third = bucket.reserve_n(2).expect("in line");
        assert_eq!(bucket.stats().waiting, 2);
        assert_eq!((second.delay(), third.delay()), (10 * MS, 30 * MS));
        second.await.expect("open");
        third
    };
    assert_eq!(rt.now() - start, 10 * MS);
    at_once.await.expect("long ago");
    let third = rt.spawn(async move { third.await });
    assert_eq!(third.await.expect("no panic").expect("open").remaining(), 0);
    assert_eq!(rt.now() - start, 30 * MS);
    let stats = bucket.stats();
    assert_eq!((stats.granted, stats.denied, stats.waiting), (3, 0, 0));
    no_driver_stays(&rt).await;
}

/// It passes no waiter, and no waiter passes it.
async fn stands_in_the_line(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(100), 10, 0);
    let start = rt.now();
    let mut before = pin!(bucket.acquire_n(2));
    assert!(poll_once(before.as_mut()).is_pending());
    let reserved = bucket.reserve().expect("in line");
    let mut behind = pin!(bucket.acquire());
    assert!(poll_once(behind.as_mut()).is_pending());
    let last = bucket.reserve_n(2).expect("in line");
    assert_eq!((reserved.delay(), last.delay()), (30 * MS, 60 * MS));
    assert!(matches!(
        bucket.try_acquire(),
        Err(Denied::NotYet { retry_after, .. }) if retry_after == 70 * MS
    ));
    // Nobody awaits it: the driver of the others serves it.
    behind.await.expect("open");
    assert_eq!(rt.now() - start, 40 * MS);
    assert_eq!(reserved.delay(), Duration::ZERO);
    assert!(reserved.ready_at() <= rt.now());
    reserved.commit().expect("ready");
    last.await.expect("open");
    assert_eq!(rt.now() - start, 60 * MS);
    before.await.expect("granted first");
    assert_eq!(bucket.stats().granted, 4);
    no_driver_stays(&rt).await;
}

/// Half-way or granted and not yet returned: what is dropped goes to those behind.
async fn a_dropped_wait_gives_back(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(100), 4, 0);
    let behind = {
        let mut large = pin!(bucket.reserve_n(4).expect("in line").into_future());
        assert!(poll_once(large.as_mut()).is_pending());
        bucket.reserve().expect("in line")
    };
    assert_eq!(behind.delay(), 10 * MS);
    behind.await.expect("open");

    {
        let mut granted = pin!(bucket.reserve_n(3).expect("in line").into_future());
        assert!(poll_once(granted.as_mut()).is_pending());
        bucket.refund(3);
        assert_eq!((bucket.available(), bucket.stats().waiting), (0, 0));
    }
    assert_eq!(bucket.available(), 3);
    assert_eq!(bucket.stats().granted, 1);
    let at_once = bucket.reserve_n(3).expect("there");
    assert_eq!(bucket.available(), 0);
    drop(at_once.into_future());
    assert_eq!(bucket.available(), 3);
    no_driver_stays(&rt).await;
}

/// Nothing was taken for it, whether it stood in the line or was ready at once.
async fn a_dropped_wait_without_a_limit_gives_nothing_back(rt: TestRuntime) {
    let bucket = bucket(Rate::per_hour(1), 5, 0);
    let in_line = bucket.reserve_n(5).expect("in line").into_future();
    bucket.set_rate(Rate::UNLIMITED).expect("valid");
    let at_once = bucket.reserve_n(5).expect("no limit").into_future();
    bucket.set_rate(Rate::per_hour(1)).expect("valid");
    bucket.try_acquire_n(5).expect("full");
    drop((in_line, at_once));
    assert_eq!(bucket.available(), 0);
    no_driver_stays(&rt).await;
}

/// Whoever awaits goes when the line says so, whatever it said before.
async fn changes_move_it(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(10), 4, 0);
    let start = rt.now();
    let reserved = bucket.reserve_n(4).expect("in line");
    let promised = reserved.ready_at();
    assert_eq!(reserved.delay(), 400 * MS);
    bucket.refund(1);
    assert_eq!(reserved.delay(), 300 * MS);
    bucket.set_rate(Rate::ZERO).expect("valid");
    assert_eq!(reserved.delay(), Duration::MAX);
    assert!(reserved.ready_at().is_far_future());
    assert!(matches!(bucket.reserve(), Err(Denied::NeverRefills)));
    bucket.set_rate(Rate::per_second(100)).expect("valid");
    assert_eq!(reserved.ready_at(), promised - 370 * MS);
    let mut wait = pin!(reserved.into_future());
    assert!(poll_once(wait.as_mut()).is_pending());
    bucket.set_rate(Rate::per_second(1_000)).expect("valid");
    wait.await.expect("open");
    assert_eq!(rt.now() - start, 3 * MS);

    let reserved = bucket.reserve_n(4).expect("in line");
    bucket.set_rate(Rate::UNLIMITED).expect("valid");
    assert_eq!(reserved.delay(), Duration::ZERO);
    drop(reserved);
    no_driver_stays(&rt).await;
}

/// Closed before its time it is never ready, and what was ready stays so.
async fn close_ends_it(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(1_000), 4, 0);
    let (due, early, awaited) = (
        bucket.reserve().expect("in line"),
        bucket.reserve_n(4).expect("in line"),
        bucket.reserve().expect("in line"),
    );
    rt.advance(2 * MS).await;
    bucket.close();
    assert_eq!(due.delay(), Duration::ZERO);
    due.commit().expect("it was ready before");
    assert!(early.ready_at().is_far_future());
    assert_eq!(early.delay(), Duration::MAX);
    assert_eq!(early.commit(), Err(AcquireError::Closed));
    assert_eq!(awaited.await.map(drop), Err(AcquireError::Closed));
    assert!(matches!(bucket.reserve(), Err(Denied::Closed)));
    let stats = bucket.stats();
    assert_eq!((stats.granted, stats.denied, stats.waiting), (1, 3, 0));
    no_driver_stays(&rt).await;
}

/// One that can never be ready any more holds up nobody.
async fn a_smaller_burst_ends_it(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(10), 8, 0);
    let hopeless = bucket.reserve_n(8).expect("in line");
    let fine = bucket.reserve_n(2).expect("in line");
    bucket.set_burst(4).expect("valid");
    assert_eq!(hopeless.delay(), Duration::MAX);
    assert!(matches!(
        hopeless.commit(),
        Err(AcquireError::ExceedsBurst {
            requested: 8,
            burst: 4,
            ..
        })
    ));
    assert_eq!(fine.delay(), 200 * MS);
    fine.await.expect("open");
    no_driver_stays(&rt).await;
}

/// 33: with a debt more than the burst may be waited for, and that pays it.
async fn paid_debts(rt: TestRuntime) {
    let bucket = TokenBucket::builder()
        .rate(Rate::per_second(1_000))
        .burst(1)
        .debt(100);
    let bucket = bucket.build().expect("a valid bucket");
    let start = rt.now();
    bucket.acquire_n(101).await.expect("open");
    assert_eq!(rt.now() - start, 100 * MS);
    assert_eq!(bucket.available(), 0);

    // Whoever takes at once owes it, and those who wait pay it first.
    bucket.try_acquire_n(100).expect("on credit");
    assert_eq!(bucket.available(), 0);
    assert!(matches!(
        bucket.try_acquire(),
        Err(Denied::NotYet { retry_after, .. }) if retry_after == MS
    ));
    let start = rt.now();
    let reserved = bucket.reserve_n(50).expect("in line");
    assert_eq!(reserved.delay(), 150 * MS);
    let mut behind = pin!(bucket.acquire_n(101));
    assert!(poll_once(behind.as_mut()).is_pending());
    reserved.await.expect("open");
    assert_eq!(rt.now() - start, 150 * MS);
    behind.await.expect("open");
    assert_eq!(rt.now() - start, 251 * MS);
    // An idle bucket holds its burst and no more.
    rt.advance(Duration::from_secs(1)).await;
    assert_eq!(bucket.available(), 1);
    assert_eq!(bucket.try_acquire().expect("one").remaining(), 0);
    no_driver_stays(&rt).await;
}

#[test]
fn tb_15_16_delays_are_exact() {
    let (bucket, _) = by_hand(Rate::per_second(10), 1, 1);
    bucket.try_acquire().expect("one");
    assert_eq!(bucket.reserve().expect("in line").delay(), 100 * MS);

    let (bucket, clock) = by_hand(Rate::per_second(10), 2, 1);
    let first = bucket.reserve().expect("one to start with");
    let second = bucket.reserve().expect("in line");
    assert_eq!((first.delay(), second.delay()), (Duration::ZERO, 100 * MS));
    assert_eq!(first.ready_at(), clock.now());
    assert_eq!(second.ready_at(), clock.now() + 100 * MS);
    assert_eq!(second.tokens(), 1);
    assert!(format!("{second:?}").contains("100ms"));
}

#[test]
fn tb_17_18_19_a_cancel_is_exact_once_and_in_time() {
    let (bucket, clock) = by_hand(Rate::per_second(10), 2, 1);
    let reserved = bucket.reserve_n(2).expect("in line");
    assert_eq!(reserved.delay(), 100 * MS);
    // 18: that it is dropped once is the type's business.
    drop(reserved);
    assert_eq!(bucket.available(), 1);
    assert_eq!(bucket.reserve().expect("one").delay(), Duration::ZERO);
    assert_eq!(bucket.available(), 0);

    // 19: from its time on the tokens are spent.
    let reserved = bucket.reserve().expect("in line");
    clock.advance(100 * MS);
    drop(reserved);
    assert_eq!(bucket.available(), 0);
    assert_eq!(bucket.stats().granted, 2);
}

#[test]
fn tb_29_a_tiny_rate_saturates_the_delay() {
    let rate = Rate::every(Duration::from_secs(10_000_000_000)).expect("not zero");
    let (bucket, _) = by_hand(rate, 1_000, 0);
    let reserved = bucket.reserve_n(100).expect("in line");
    assert_eq!(reserved.delay(), Duration::MAX);
    assert!(reserved.ready_at().is_far_future());
}

/// x/time/rate gives back too little when others have reserved since, and its last cancel tells
/// what was lost (go#69419).
#[test]
fn go_69419_cancels_conserve_tokens_in_any_order() {
    let orders = [
        [0, 1, 2, 3],
        [3, 2, 1, 0],
        [1, 3, 0, 2],
        [2, 0, 3, 1],
        [0, 3, 1, 2],
    ];
    for order in orders {
        let (bucket, _) = by_hand(Rate::per_second(10), 10, 4);
        let mut line: Vec<Option<Reservation>> = [5, 1, 4, 2]
            .map(|n| Some(bucket.reserve_n(n).expect("in line")))
            .into();
        let delays = line.iter().flatten().map(Reservation::delay);
        assert!(delays.eq([100, 200, 600, 800].map(|ms| ms * MS)));
        for at in order {
            // One that has become ready by a cancel before it has kept its tokens.
            let reserved = line[at].take().expect("still there");
            if reserved.delay().is_zero() {
                reserved.commit().expect("ready");
                bucket.refund([5, 1, 4, 2][at]);
            }
        }
        assert_eq!(bucket.available(), 4, "{order:?}");
        assert_eq!(bucket.stats().waiting, 0);
    }
}

/// With all tokens given back and the times of others fixed, the two halves would act at the
/// same instants: twice the rate.
#[test]
fn a_cancel_in_the_middle_moves_up_those_behind() {
    let (bucket, clock) = by_hand(Rate::per_second(1), 1, 0);
    let mut line: Vec<_> = (0..10)
        .map(|_| bucket.reserve().expect("in line"))
        .collect();
    line.drain(..5);
    line.extend((0..5).map(|_| bucket.reserve().expect("in line")));
    let start = clock.now();
    let at = line.iter().map(|one| (one.ready_at() - start).as_secs());
    assert!(at.eq(1..=10));
    for passed in 1..=10 {
        clock.advance(Duration::from_secs(1));
        let ready = line.iter().filter(|one| one.delay().is_zero()).count();
        assert_eq!(ready, passed);
    }
}

/// Nobody has looked for long: its tokens were taken in time, and the bucket is full again.
#[test]
fn one_that_nobody_serves_takes_its_tokens_in_time() {
    let (bucket, clock) = by_hand(Rate::per_second(10), 5, 0);
    let (first, second) = (
        bucket.reserve_n(3).expect("in line"),
        bucket.reserve_n(5).expect("in line"),
    );
    let due = second.ready_at();
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(bucket.available(), 5);
    bucket.peek_n(5).expect("full");
    bucket.try_acquire_n(5).expect("full");
    assert!(bucket.try_acquire().is_err());
    assert_eq!(second.ready_at(), due);
    drop(first);
    second.commit().expect("ready");
    assert_eq!(bucket.available(), 0);

    // Not quite as long: the remainder is exact.
    let third = bucket.reserve_n(2).expect("in line");
    clock.advance(450 * MS);
    bucket.try_acquire_n(2).expect("there");
    assert!(bucket.try_acquire().is_err());
    drop(third);
}

#[test]
fn an_early_commit_is_credit() {
    let (bucket, clock) = by_hand(Rate::per_second(10), 5, 0);
    bucket
        .reserve_n(5)
        .expect("in line")
        .commit()
        .expect("open");
    assert_eq!(bucket.stats().granted, 1);
    let behind = bucket.reserve().expect("in line");
    assert_eq!(behind.delay(), 600 * MS);
    clock.advance(600 * MS);
    behind.commit().expect("ready");
    assert_eq!((bucket.available(), bucket.stats().waiting), (0, 0));
    bucket
        .reserve_n(5)
        .expect("in line")
        .commit()
        .expect("open");
    bucket.close();
    assert_eq!(bucket.stats().waiting, 0);
}

#[test]
fn bounds_are_kept() {
    let clock = ManualClock::new();
    let build = |max: usize, ahead| {
        TokenBucket::builder()
            .rate(Rate::per_second(10))
            .burst(2)
            .initial(0)
            .max_waiters(max)
            .max_reserve(ahead)
            .clock(clock.clone())
            .build()
            .expect("valid")
    };
    let bucket = build(2, Duration::MAX);
    assert!(matches!(
        bucket.reserve_n(3),
        Err(Denied::ExceedsBurst {
            requested: 3,
            burst: 2,
            ..
        })
    ));
    let line = [bucket.reserve(), bucket.reserve()];
    assert!(matches!(
        bucket.reserve(),
        Err(Denied::QueueFull { max_waiters: 2, .. })
    ));
    drop(line);
    assert!(bucket.reserve().is_ok());

    let bucket = build(9, 250 * MS);
    let _line = bucket.reserve_n(2).expect("200 ms ahead");
    let Err(Denied::NotYet { retry_after, .. }) = bucket.reserve() else {
        panic!("300 ms ahead");
    };
    assert_eq!(retry_after, 50 * MS);
    clock.advance(retry_after);
    assert_eq!(bucket.reserve().expect("now").delay(), 250 * MS);

    let bucket = build(9, Duration::ZERO);
    assert!(bucket.reserve().is_err());
    clock.advance(100 * MS);
    assert!(bucket.reserve().is_ok());

    let (bucket, _) = by_hand(Rate::ZERO, 2, 1);
    bucket.reserve().expect("one").commit().expect("ready");
    assert!(matches!(bucket.reserve(), Err(Denied::NeverRefills)));
    assert!(bucket.reserve_n(0).is_ok());
}

/// A clock that steps mints nothing and loses nothing.
#[test]
fn a_clock_that_steps_moves_the_delay_alone() {
    let (bucket, clock) = by_hand(Rate::per_second(10), 5, 0);
    let reserved = bucket.reserve_n(5).expect("in line");
    let at = reserved.ready_at();
    clock.advance(400 * MS);
    let here = clock.now();
    clock.set(Instant::ORIGIN);
    assert_eq!(reserved.ready_at(), at);
    assert_eq!(reserved.delay(), at - Instant::ORIGIN);
    clock.set(here);
    assert_eq!(reserved.delay(), 100 * MS);
    clock.set(Instant::from_nanos(u64::MAX - 1));
    assert_eq!(reserved.delay(), Duration::ZERO);
    assert_eq!(bucket.available(), 5);
}

/// At the highest rate the line leaves the range of the bucket's numbers within seconds.
#[test]
fn reservations_beyond_the_range_of_the_line_are_exact() {
    let rate = 1_000_000_000;
    let (bucket, clock) = by_hand(Rate::per_second(rate), 2 * rate, 0);
    let start = clock.now();
    let line: Vec<_> = (0..20)
        .map(|_| bucket.reserve_n(2 * rate).expect("in line"))
        .collect();
    // Nobody looks before the last is due.
    clock.advance(Duration::from_secs(40) - Duration::from_nanos(1));
    assert_eq!(line[19].delay(), Duration::from_nanos(1));
    assert_eq!(line[18].delay(), Duration::ZERO);
    assert_eq!(line[19].ready_at(), start + Duration::from_secs(40));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(line[19].delay(), Duration::ZERO);
    assert_eq!(bucket.available(), 0);
}

#[test]
fn a_debt_is_bounded_and_shown_by_none_of_the_numbers() {
    let clock = ManualClock::new();
    let build = |burst, debt| {
        TokenBucket::builder()
            .rate(Rate::per_second(10))
            .burst(burst)
            .debt(debt)
            .clock(clock.clone())
            .build()
    };
    let bucket = build(5, 3).expect("valid");
    assert_eq!((bucket.burst(), bucket.available()), (5, 5));
    let granted = bucket.try_acquire_n(8).expect("five and three on credit");
    assert_eq!((granted.remaining(), granted.limit()), (0, 5));
    assert_eq!(granted.reset_after(), 800 * MS);
    assert_eq!(
        bucket
            .try_acquire()
            .map(drop)
            .map_err(|denied| denied.retry_after()),
        Err(Some(100 * MS))
    );
    clock.advance(350 * MS);
    assert_eq!(bucket.available(), 0);
    bucket.try_acquire_n(3).expect("on credit again");
    clock.advance(Duration::from_secs(60));
    assert_eq!(bucket.available(), 5);
    bucket.set_burst(2).expect("valid");
    assert_eq!((bucket.burst(), bucket.available()), (2, 2));
    assert!(matches!(
        bucket.try_acquire_n(6),
        Err(Denied::ExceedsBurst { burst: 5, .. })
    ));
    bucket.try_acquire_n(5).expect("two and three on credit");
    bucket.refund(5);
    assert_eq!(bucket.available(), 2);
    bucket.refund(u64::MAX);
    assert_eq!(bucket.available(), 2);

    for debt in [1 << 61, u64::MAX] {
        let refused = build(5, debt).expect_err("too large").to_string();
        assert!(refused.contains("debt"), "{refused}");
    }
    let refused = build(1 << 62, 1).expect_err("too large").to_string();
    assert!(refused.contains("burst"), "{refused}");
    assert!(bucket.set_burst(1 << 62).is_err() && bucket.set_burst(0).is_err());
    assert!(build(1 << 60, 1 << 59).is_ok());
}

/// A million reservations, cancelled in a random order: not a token is lost or minted.
#[test]
fn a_million_random_cancels_conserve_every_token() {
    sim::check(0..1, |rt| async move {
        let (bucket, clock) = by_hand(Rate::per_second(1_000), 100, 100);
        bucket.try_acquire_n(100).expect("full");
        let (start, mut rng) = (clock.now(), rt.rng());
        let (mut held, mut taken) = (Vec::new(), 0);
        for _ in 0..1_000_000 {
            let n = 1 + rng.below(20);
            held.push((n, bucket.reserve_n(n).expect("in line")));
            if held.len() > 64 {
                let (n, reserved) = held.swap_remove(rng.below(64) as usize);
                if reserved.delay().is_zero() {
                    taken += n;
                }
            }
            if rng.below(64) == 0 {
                clock.advance(MS * rng.below(50) as u32);
            }
        }
        for (n, reserved) in held {
            taken += if reserved.delay().is_zero() { n } else { 0 };
        }
        // Somebody had a claim to every token all the time, so none ran over.
        let supplied = (clock.now() - start).as_millis() as u64;
        assert!(taken > 100_000, "{taken}");
        assert_eq!(taken + bucket.available(), supplied);
        assert_eq!(bucket.stats().waiting, 0);
    });
}
