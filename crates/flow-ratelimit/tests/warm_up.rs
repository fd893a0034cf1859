//! Warming up, on a clock moved by hand and for those who wait.
#![cfg(not(loom))]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_ratelimit::{ConfigError, Denied, Fairness, Pacer, Rate, TokenBucket, TokenBucketBuilder};
use flow_rt::{Clock, DefaultClock, Instant, ManualClock, TestRuntime, sim};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// 32 steps of 300 ms each.
const PERIOD: Duration = Duration::from_millis(9_600);

fn builder(burst: u64) -> TokenBucketBuilder {
    let builder = TokenBucket::builder().rate(Rate::per_second(10));
    builder.burst(burst).warm_up(PERIOD)
}

fn by_hand(burst: u64) -> (TokenBucket<ManualClock>, ManualClock) {
    let clock = ManualClock::starting_at(Instant::from_nanos(1_000_000_007));
    let bucket = builder(burst).clock(clock.clone());
    (bucket.build().expect("valid"), clock)
}

fn wait(bucket: &TokenBucket<ManualClock>) -> Duration {
    let denied = bucket.try_acquire().expect_err("not yet");
    denied.retry_after().expect("it comes")
}

/// Takes token after token, each when it comes. When they came, after the first.
fn take_in_a_row(bucket: &TokenBucket<ManualClock>, clock: &ManualClock, n: u64) -> Vec<Duration> {
    let start = clock.now();
    bucket.try_acquire().expect("the first");
    let times = (1..n).map(|_| {
        clock.advance(wait(bucket));
        bucket.try_acquire().expect("as promised");
        clock.now() - start
    });
    times.collect()
}

/// What has come until `at` after the beginning, if 10 come in a second after `PERIOD`: in
/// [`TOKEN`]ths.
fn supply(at: u128) -> u128 {
    let steps = (0..32).map(|step| at.saturating_sub(step * STEP).min(STEP) * (16 + step));
    steps.sum::<u128>() + at.saturating_sub(32 * STEP) * 48
}

const STEP: u128 = PERIOD.as_nanos() / 32;
const TOKEN: u128 = 48 * 100_000_000;

/// The first nanosecond at which `n` tokens have come after `at`.
fn due_after(at: Duration, n: u64) -> Duration {
    let target = supply(at.as_nanos()) + u128::from(n) * TOKEN;
    // At a third of the rate at the least.
    let (mut early, mut late) = (0, at.as_nanos() + u128::from(n) * 300_000_000);
    while early < late {
        let middle = u128::midpoint(early, late);
        if supply(middle) < target {
            early = middle + 1;
        } else {
            late = middle;
        }
    }
    Duration::from_nanos(late as u64)
}

fn due(n: u64) -> Duration {
    due_after(Duration::ZERO, n)
}

fn just_before(at: Duration) -> Duration {
    at.saturating_sub(Duration::from_nanos(1))
}

/// As the model has it. The bucket counts in grains, of which a nanosecond has many: where the
/// model has just come to a nanosecond it may be one off.
#[track_caller]
fn assert_spaced(times: &[Duration]) {
    let model = spaced(times.len());
    let off = |(time, model): (&Duration, &Duration)| time.abs_diff(*model);
    let most = times.iter().zip(&model).map(off).max();
    assert!(most <= Some(Duration::from_nanos(3)), "{times:?} {model:?}");
}

/// When so many go after the first, if each goes when its token comes and nothing is kept: each
/// time is rounded up.
fn spaced(n: usize) -> Vec<Duration> {
    let next = |last: &Duration| Some(due_after(*last, 1));
    let times = std::iter::successors(Some(Duration::ZERO), next);
    times.skip(1).take(n).collect()
}

#[test]
fn spacing_shrinks_from_a_third_of_the_rate() {
    let (bucket, clock) = by_hand(1);
    let came = take_in_a_row(&bucket, &clock, 90);
    assert_eq!(came[0], 300 * MS);
    assert_spaced(&came);
    assert_eq!(came[88].abs_diff(came[87]), 100 * MS);
    assert_eq!(bucket.rate(), Rate::per_second(10));
    // A bit less than two thirds of 96, and the nanoseconds that were rounded up.
    let within = came.iter().filter(|&&at| at <= PERIOD + MS);
    assert_eq!(within.count(), 63);
}

#[test]
fn a_pause_cools_it_down_and_a_shorter_one_does_not() {
    let (bucket, clock) = by_hand(1);
    take_in_a_row(&bucket, &clock, 90);
    // The token came 100 ms after the last grant: the pause begins there.
    clock.advance(PERIOD + 99 * MS);
    bucket.try_acquire().expect("there since long");
    assert_eq!(wait(&bucket), 100 * MS);
    clock.advance(PERIOD + 100 * MS);
    bucket.try_acquire().expect("there since long");
    assert_eq!(wait(&bucket), 300 * MS);
    // It goes on wherever somebody looks.
    clock.advance(2 * SECOND);
    assert_eq!(take_in_a_row(&bucket, &clock, 2).len(), 1);
}

#[test]
fn the_burst_is_there_at_once_and_what_follows_is_slow() {
    let (bucket, clock) = by_hand(20);
    bucket.try_acquire_n(20).expect("full");
    assert_eq!((wait(&bucket), bucket.available()), (300 * MS, 0));
    let denied = bucket.try_acquire_n(20).expect_err("empty");
    assert_eq!(denied.retry_after(), Some(due(20)));
    clock.advance(just_before(due(20)));
    assert_eq!(bucket.available(), 19);
    assert!(bucket.peek_n(20).is_err());
    clock.advance(Duration::from_nanos(1));
    assert!(bucket.peek_n(20).is_ok());
    bucket.try_acquire_n(20).expect("as promised");
}

/// guava#3552: where tokens come more slowly than it warms up, it never came to its rate.
#[test]
fn low_rates_and_batches_come_to_their_rate() {
    for (burst, period) in [(1, 20 * MS), (10, 500 * MS), (10, 999 * MS)] {
        let clock = ManualClock::new();
        let bucket = TokenBucket::builder().rate("10/s").burst(burst);
        let bucket = bucket.warm_up(period).clock(clock.clone());
        let bucket = bucket.build().expect("valid");
        bucket.try_acquire_n(burst).expect("full");
        let start = clock.now();
        for _ in 0..20 {
            let denied = bucket.try_acquire_n(burst).expect_err("not yet");
            clock.advance(denied.retry_after().expect("it comes"));
            bucket.try_acquire_n(burst).expect("as promised");
        }
        let full = Duration::from_millis(100 * 20 * burst);
        let took = clock.now() - start;
        assert!(took > full && took <= full + period, "{took:?}");
    }
}

#[test]
fn who_wants_less_than_one_that_was_told_ends_a_pause() {
    let (bucket, clock) = by_hand(1_000);
    take_in_a_row(&bucket, &clock, 1);
    clock.advance(200 * SECOND);
    bucket.try_acquire_n(1_000).expect("full");
    clock.advance(SECOND);
    bucket
        .try_acquire_n(1_000)
        .expect_err("in more than a minute");
    clock.advance(PERIOD + SECOND);
    bucket.try_acquire().expect("there since long");
    let free = bucket.available();
    clock.advance(300 * MS);
    assert_eq!(bucket.available(), free + 1);
}

#[test]
fn a_new_rate_is_warmed_up_to() {
    let (bucket, clock) = by_hand(1);
    bucket.try_acquire().expect("full");
    bucket.set_rate("100/s").expect("valid");
    assert_eq!(bucket.rate(), Rate::per_second(100));
    assert_eq!(wait(&bucket), 30 * MS);
    clock.advance(PERIOD / 2);
    bucket.try_acquire().expect("there");
    // Two thirds of the rate.
    assert_eq!(wait(&bucket), 15 * MS);
    bucket.set_rate(Rate::ZERO).expect("valid");
    assert_eq!(bucket.try_acquire(), Err(Denied::NeverRefills));
    bucket.set_rate(Rate::UNLIMITED).expect("valid");
    bucket.try_acquire().expect("unlimited");
    bucket.set_rate("10/s").expect("valid");
    bucket.try_acquire().expect("full");
    assert_eq!(wait(&bucket), 150 * MS);
    bucket.set_burst(2).expect("valid");
    assert_eq!(wait(&bucket), 150 * MS);
    clock.advance(PERIOD / 2);
    bucket.try_acquire_n(2).expect("there");
    assert_eq!(wait(&bucket), 100 * MS);
}

#[test]
fn a_pause_under_no_rate_counts_from_when_a_token_is_there() {
    let (bucket, clock) = by_hand(1);
    take_in_a_row(&bucket, &clock, 90);
    bucket.set_rate(Rate::ZERO).expect("valid");
    clock.advance(10 * PERIOD);
    bucket.set_rate("10/s").expect("valid");
    clock.advance(100 * MS);
    bucket.try_acquire().expect("it came just now");
    assert_eq!(wait(&bucket), 100 * MS);
    bucket.set_rate(Rate::ZERO).expect("valid");
    bucket.refund(1);
    // It was told to come back in 100 ms, before the rate was changed.
    clock.advance(PERIOD + 100 * MS);
    bucket.set_rate("10/s").expect("valid");
    bucket.try_acquire().expect("it came back");
    assert_eq!(wait(&bucket), 300 * MS);
}

#[test]
fn an_unlimited_bucket_warms_up_by_what_it_grants() {
    let (bucket, clock) = by_hand(1);
    bucket.set_rate(Rate::UNLIMITED).expect("valid");
    for _ in 0..4 {
        bucket.try_acquire().expect("unlimited");
        clock.advance(PERIOD / 3);
    }
    bucket.set_rate("10/s").expect("valid");
    bucket.try_acquire().expect("full");
    assert_eq!(wait(&bucket), 100 * MS);
}

#[test]
fn reservations_know_the_steps_to_come() {
    let (bucket, clock) = by_hand(20);
    let start = clock.now();
    bucket.reserve_n(20).expect("full").commit().expect("ready");
    let line = [5, 1, 20, 20, 20].map(|n| bucket.reserve_n(n).expect("a place"));
    let ready: Vec<_> = line.iter().map(|it| it.ready_at() - start).collect();
    assert_eq!(ready, [5, 6, 26, 46, 66].map(due));
    // The one in the middle goes, and nobody looks until long after.
    let [first, second, third, fourth, last] = line;
    drop(third);
    assert_eq!(last.ready_at() - start, due(46));
    clock.advance(just_before(due(26)));
    assert_eq!(
        (first.delay(), second.delay()),
        (Duration::ZERO, Duration::ZERO)
    );
    assert_eq!(fourth.delay(), Duration::from_nanos(1));
    clock.advance(40 * SECOND);
    assert_eq!(
        (fourth.delay(), last.delay()),
        (Duration::ZERO, Duration::ZERO)
    );
    for reservation in [first, second, fourth, last] {
        reservation.commit().expect("ready");
    }
    assert_eq!(bucket.available(), 20);
}

#[test]
fn one_that_was_served_late_does_not_hide_a_pause() {
    let (bucket, clock) = by_hand(1);
    bucket.try_acquire().expect("full");
    let reserved = bucket.reserve().expect("a place");
    clock.advance(due(1) + PERIOD.saturating_sub(MS));
    drop(bucket.reserve().expect("it came"));
    reserved.commit().expect("ready");
    let (bucket, clock) = by_hand(1);
    bucket.try_acquire().expect("full");
    let reserved = bucket.reserve().expect("a place");
    clock.advance(due(1) + PERIOD);
    bucket.try_acquire().expect("there");
    assert_eq!(wait(&bucket), 300 * MS);
    reserved.commit().expect("ready");
}

#[test]
fn a_clock_that_goes_back_changes_nothing() {
    let (bucket, clock) = by_hand(1);
    let start = clock.now();
    bucket.try_acquire().expect("full");
    clock.set(start - 700 * MS);
    assert_eq!(wait(&bucket), SECOND);
    clock.set(start + 299 * MS);
    assert_eq!(wait(&bucket), MS);
    clock.set(start + 300 * MS);
    bucket.try_acquire().expect("as promised");
    assert_eq!(clock.now() + wait(&bucket), start + due(2));
    clock.set(Instant::from_nanos(u64::MAX));
    bucket.try_acquire().expect("long after");
    assert!(bucket.try_acquire().is_err());
}

#[test]
fn a_restored_bucket_is_cold() {
    let (bucket, clock) = by_hand(20);
    bucket.try_acquire_n(20).expect("full");
    clock.advance(due(5));
    let snapshot = bucket.snapshot();
    assert_eq!(
        (snapshot.tokens(), snapshot.rate),
        (5, Rate::per_second(10))
    );
    let bucket = TokenBucket::builder().restore(&snapshot).warm_up(PERIOD);
    let bucket = bucket.clock(clock.clone()).build().expect("valid");
    bucket.try_acquire_n(5).expect("as they were");
    let left = wait(&bucket);
    assert!(left <= 300 * MS && left > 200 * MS, "{left:?}");
}

#[test]
fn debts_and_barging_warm_up_too() {
    let clock = ManualClock::new();
    let owing = builder(2).debt(3).clock(clock.clone());
    let owing = owing.build().expect("valid");
    owing.try_acquire_n(2).expect("full");
    owing.try_acquire_n(3).expect("on credit");
    assert_eq!((wait(&owing), owing.available()), (300 * MS, 0));
    assert_eq!(owing.reserve().expect("a place").delay(), due(4));

    let barging = builder(2).fairness(Fairness::Barging).clock(clock.clone());
    let barging = barging.build().expect("valid");
    barging.try_acquire_n(2).expect("full");
    assert_eq!(wait(&barging), 300 * MS);
    clock.advance(300 * MS);
    barging.try_acquire().expect("as promised");
}

#[test]
fn bad_settings_are_refused() {
    let year = Duration::from_secs(365 * 86_400);
    builder(1).warm_up(year).build().expect("a year");
    let given = year + Duration::from_nanos(1);
    let refused = builder(1).warm_up(given).build().unwrap_err();
    assert_eq!(refused, ConfigError::WarmUpTooLong { given });
    let refused = Pacer::builder().rate("1/s").capacity(1);
    let refused = refused.warm_up(Duration::MAX).build().unwrap_err();
    assert_eq!(
        refused,
        ConfigError::WarmUpTooLong {
            given: Duration::MAX
        }
    );

    let refused = ConfigError::CreditsWithWarmUp { period: PERIOD };
    assert_eq!(builder(100).sharded(2).build().unwrap_err(), refused);
    let bucket = builder(100).build().expect("valid");
    assert_eq!(bucket.local(8).map(drop), Err(refused));
    assert_eq!(bucket.burst(), 100);
}

/// guava#2730, guava#6475: without a period it did not limit at all.
#[test]
fn no_period_is_no_warm_up() {
    let clock = ManualClock::new();
    let bucket = builder(1).warm_up(Duration::ZERO).clock(clock.clone());
    let bucket = bucket.build().expect("valid");
    bucket.try_acquire().expect("full");
    assert_eq!(wait(&bucket), 100 * MS);
    // And the shortest ones.
    for nanos in 1..40 {
        let bucket = builder(1).warm_up(Duration::from_nanos(nanos));
        let bucket = bucket.clock(clock.clone()).build().expect("valid");
        bucket.try_acquire().expect("full");
        let left = wait(&bucket);
        assert!(left >= 100 * MS && left <= 100 * MS + Duration::from_nanos(nanos));
        clock.advance(left);
        bucket.try_acquire().expect("as promised");
        assert_eq!(wait(&bucket), 100 * MS);
    }
}

#[test]
fn a_closed_one_says_so() {
    let (bucket, clock) = by_hand(1);
    bucket.try_acquire().expect("full");
    bucket.close();
    clock.advance(PERIOD);
    assert_eq!(bucket.try_acquire(), Err(Denied::Closed));
    assert_eq!(bucket.peek(), Err(Denied::Closed));
    assert_eq!((bucket.stats().granted, bucket.stats().denied), (1, 1));
}

/// In real time: no sooner.
#[test]
fn threads_wait_for_the_steps_too() {
    let bucket = TokenBucket::builder().rate("100/s").burst(1);
    let bucket = bucket.warm_up(SECOND).build().expect("valid");
    let clock = DefaultClock::machine();
    let start = clock.now();
    for _ in 0..3 {
        bucket.acquire_blocking().expect("open");
    }
    // A token and a bit come in the first step, of 31 ms, and the rest in 27 more.
    let took = clock.now() - start;
    assert!(took >= 58 * MS, "{took:?}");
}

/// A hundred tasks that come whenever they like, some of which give up: whoever is left goes when
/// there is a token.
#[test]
fn those_who_wait_are_spaced_by_the_steps() {
    sim::check(0..60, |rt| async move {
        let pacer = Pacer::builder().rate("10/s").capacity(200);
        let pacer = pacer.warm_up(PERIOD).build().expect("valid");
        let start = rt.now();
        pacer.acquire().await.expect("the first");
        let went: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let mut tasks = Vec::new();
        for _ in 0..90 {
            let (pacer, went, handle) = (pacer.clone(), went.clone(), (*rt).clone());
            let pause = Duration::from_millis(rt.rng().below(290));
            tasks.push(rt.spawn(async move {
                handle.sleep(pause).await.expect("it keeps time");
                pacer.acquire().await.expect("open");
                went.lock()
                    .expect("not poisoned")
                    .push(handle.now() - start);
            }));
        }
        rt.sleep(SECOND).await;
        for _ in 0..10 {
            let victim = rt.rng().below(tasks.len() as u64) as usize;
            tasks.swap_remove(victim).abort();
        }
        for task in tasks {
            task.await.expect("served");
        }
        let went = went.lock().expect("not poisoned").clone();
        assert!(went.len() >= 80);
        assert_spaced(&went);
    });
}

flow_rt::on_every_runtime! {
    five_leave_ever_nearer_to_one_another,
    a_timeout_knows_the_steps_to_come,
    newcomers_may_pass_those_who_wait,
    who_waits_long_for_many_makes_no_pause,
}

async fn five_leave_ever_nearer_to_one_another(rt: TestRuntime) {
    let pacer = Pacer::builder().rate("10/s").capacity(10).warm_up(PERIOD);
    let pacer = pacer.runtime(&rt).build().unwrap();
    for _ in 0..2 {
        let went: Arc<Mutex<usize>> = Arc::default();
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let (pacer, went) = (pacer.clone(), went.clone());
                rt.spawn(async move {
                    pacer.acquire().await.unwrap();
                    *went.lock().unwrap() += 1;
                })
            })
            .collect();
        rt.settle().await;
        let mut passed = Duration::ZERO;
        for (gone, at) in (1..).zip(spaced(4)) {
            // Of whole milliseconds the last one before it, and the next.
            let before = just_before(at);
            let before = Duration::from_millis(before.as_millis() as u64);
            rt.advance(before.abs_diff(passed)).await;
            assert_eq!(*went.lock().unwrap(), gone);
            rt.advance(MS).await;
            assert_eq!(*went.lock().unwrap(), gone + 1);
            passed = before + MS;
        }
        for task in tasks {
            task.await.unwrap();
        }
        // Long enough for it to be cold again.
        rt.advance(2 * PERIOD).await;
    }
}

async fn a_timeout_knows_the_steps_to_come(rt: TestRuntime) {
    let bucket = builder(20).runtime(&rt).build().unwrap();
    bucket.acquire_n(20).await.unwrap();
    let refused =
        flow_ratelimit::LimiterExt::acquire_n_timeout(&bucket, 20, due(20).saturating_sub(MS))
            .await;
    assert!(refused.is_err());
    let waiter = bucket.clone();
    let waiter = rt.spawn(async move {
        let limit = due(20) + MS;
        flow_ratelimit::LimiterExt::acquire_n_timeout(&waiter, 20, limit).await
    });
    rt.settle().await;
    assert_eq!(bucket.stats().waiting, 1);
    rt.advance(due(20)).await;
    waiter.await.unwrap().unwrap();
}

async fn newcomers_may_pass_those_who_wait(rt: TestRuntime) {
    let bucket = builder(20).fairness(Fairness::Barging).runtime(&rt);
    let bucket = bucket.build().unwrap();
    bucket.try_acquire_n(20).unwrap();
    let waiter = bucket.clone();
    let waiter = rt.spawn(async move { waiter.acquire_n(20).await.map(drop) });
    rt.settle().await;
    rt.advance(due(2)).await;
    assert_eq!(bucket.stats().waiting, 1);
    assert!(bucket.peek_n(2).is_ok());
    bucket.try_acquire_n(2).unwrap();
    let denied = bucket.try_acquire_n(20).unwrap_err();
    assert!(matches!(denied, Denied::NotYet { .. }), "{denied}");
    rt.advance(due(22).abs_diff(due(2))).await;
    waiter.await.unwrap().unwrap();
}

async fn who_waits_long_for_many_makes_no_pause(rt: TestRuntime) {
    let bucket = builder(200).initial(0).runtime(&rt).build().unwrap();
    let waiter = bucket.clone();
    let waiter = rt.spawn(async move { waiter.acquire_n(200).await.map(drop) });
    rt.settle().await;
    rt.advance(due(200)).await;
    waiter.await.unwrap().unwrap();
    let denied = bucket.try_acquire().unwrap_err();
    // At the rate by now; the runtime's clock may have gone on.
    assert!(denied.retry_after().unwrap() <= 100 * MS);
}
