//! Clocks that are wrong: behind the runtime's or ahead of it, slower, faster, standing, going
//! back, differing between threads. Nothing is minted by them, and nobody waits for ever.
#![cfg(not(loom))]

use std::cell::Cell;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use flow_ratelimit::{
    FairShare, KeyedLimiter, LeakyBucket, Limiter, MultiBucket, Pacer, Rate, TokenBucket,
};
use flow_rt::sim::{self, Sim};
use flow_rt::{Clock, CoarseClock, Handle, Instant, ManualClock};

const MS: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

fn bucket<C: Clock>(clock: C, rate: Rate, burst: u64, initial: u64) -> TokenBucket<C> {
    let bucket = TokenBucket::builder()
        .rate(rate)
        .burst(burst)
        .initial(initial)
        .clock(clock);
    bucket.build().expect("a valid bucket")
}

/// Every kind of bucket that keeps more than a count and a time: the plain one, one in shards, which
/// has no time in its credits, and one that warms up, for 32 steps of a millisecond.
fn kinds<C: Clock + Clone>(
    clock: &C,
    rate: Rate,
    initial: u64,
) -> [(&'static str, TokenBucket<C>); 3] {
    let builder = |burst| {
        let builder = TokenBucket::builder().rate(rate).burst(burst);
        builder.initial(initial).clock(clock.clone())
    };
    let warms_up = builder(3).warm_up(32 * MS);
    [
        ("plain", builder(3)),
        ("sharded", builder(64).sharded(4)),
        ("warm-up", warms_up),
    ]
    .map(|(name, builder)| (name, builder.build().expect("a valid bucket")))
}

/// A clock that is elsewhere than its runtime's and runs at `percent` of its speed.
#[derive(Clone)]
struct Skewed {
    runtime: Handle,
    start: Instant,
    shows: Instant,
    percent: u32,
}

impl Skewed {
    fn new(runtime: &Handle, shows: Instant, percent: u32) -> Self {
        Self {
            runtime: runtime.clone(),
            start: runtime.now(),
            shows,
            percent,
        }
    }
}

impl Clock for Skewed {
    fn now(&self) -> Instant {
        self.shows + (self.runtime.now() - self.start) * self.percent / 100
    }
}

#[test]
fn a_clock_behind_or_ahead_of_the_runtimes_grants_by_its_own_time() {
    sim::check(0..3, |rt| async move {
        for shows in [
            Instant::ORIGIN,
            rt.now() - MS,
            rt.now(),
            rt.now() + MS,
            rt.now() + 400 * 365 * DAY,
        ] {
            for percent in [1, 50, 99, 100, 101, 1_000] {
                let clock = Skewed::new(&rt, shows, percent);
                let bucket = bucket(clock.clone(), Rate::per_second(10), 1, 0);
                let (start, by_runtime) = (clock.now(), rt.now());
                for n in 1..=5 {
                    bucket.acquire().await.expect("open");
                    let passed = clock.now() - start;
                    assert!(passed >= n * 100 * MS, "the {n}th after {passed:?}");
                }
                // It sleeps by the runtime's time, so a faster clock is seen late; a slower one
                // is looked at again until it is time.
                let due = (500 * MS * 100 / percent).max(500 * MS);
                let took = rt.now() - by_runtime;
                assert!(took <= due + 20 * MS, "{took:?} at {percent} %");
                assert_eq!(bucket.stats().granted, 5);
            }
        }
    });
}

#[test]
fn a_clock_that_stands_grants_nothing_and_hangs_nobody() {
    for catch_up in [Duration::ZERO, 4 * MS] {
        Sim::new(3)
            .run(|rt| async move {
                let clock = ManualClock::starting_at(Instant::from_nanos(7));
                let bucket = TokenBucket::builder()
                    .rate(Rate::per_second(10))
                    .burst(1)
                    .initial(0)
                    .catch_up(catch_up)
                    .clock(clock.clone());
                let bucket = bucket.build().expect("a valid bucket");
                let mut wait = pin!(bucket.acquire());
                // An hour of the runtime's time, which is not the bucket's.
                let hour = Duration::from_secs(3_600);
                assert!(rt.timeout(hour, wait.as_mut()).await.is_err());
                assert!(bucket.try_acquire().is_err());
                clock.advance(100 * MS);
                wait.await.expect("open");
                assert!(bucket.try_acquire().is_err());
                assert_eq!(bucket.stats().granted, 1);
            })
            .expect("no deadlock, no livelock");
    }
}

/// However the clock goes to and fro, what is granted was supplied up to the latest time seen.
#[test]
fn a_clock_that_goes_to_and_fro_mints_nothing_and_serves_everybody() {
    for kind in 0..3 {
        sim::check(0..30, |rt| goes_to_and_fro(rt, kind));
    }
}

async fn goes_to_and_fro(rt: Sim, kind: usize) {
    const WAITERS: u64 = 20;
    let start = Instant::from_nanos(1_000_000_000);
    let clock = ManualClock::starting_at(start);
    let kinds = kinds(&clock, Rate::per_second(1_000), 0);
    let (name, bucket) = kinds[kind].clone();
    let mut group = rt.task_group();
    for _ in 0..WAITERS {
        let bucket = bucket.clone();
        group.spawn(async move { bucket.acquire().await });
    }
    let mut rng = rt.rng();
    let mut latest = start;
    // To and fro, then as it should be: by then whoever fell asleep on a clock that was
    // back for most of a second has looked again.
    for step in 0..3_000 {
        match rng.below(3) {
            _ if step >= 500 => clock.set(latest + MS),
            0 => clock.set(clock.now() - Duration::from_micros(rng.below(5_000))),
            1 => clock.set(start - Duration::from_micros(rng.below(900_000))),
            _ => clock.set(latest + Duration::from_micros(rng.below(1_500))),
        }
        latest = latest.max(clock.now());
        rt.sleep(MS).await;
        let supplied = (latest - start).as_millis() as u64;
        let granted = bucket.stats().granted;
        assert!(granted <= supplied, "{name}: {granted} of {supplied}");
    }
    assert_eq!(bucket.stats().granted, WAITERS, "{name}");
    while let Some(waited) = group.join_next().await {
        waited.expect("no panic").expect("open");
    }
}

thread_local! {
    static OFFSET: Cell<u64> = const { Cell::new(0) };
}

/// A clock that every thread sees otherwise.
#[derive(Clone)]
struct Torn(ManualClock);

impl Clock for Torn {
    fn now(&self) -> Instant {
        self.0.now() + Duration::from_nanos(OFFSET.get())
    }
}

#[test]
fn a_clock_that_differs_between_threads_mints_nothing() {
    const LOOKS: u64 = 20_000;
    let offsets = [0, 1, 500, 40_000_000];
    for kind in 0..3 {
        let clock = ManualClock::starting_at(Instant::from_nanos(5_000_000_000));
        let start = clock.now();
        let kinds = kinds(&Torn(clock.clone()), Rate::per_second(1_000), 3);
        let (name, bucket) = kinds[kind].clone();
        let granted = AtomicU64::new(0);
        thread::scope(|scope| {
            for offset in offsets {
                let (bucket, clock, granted) = (&bucket, &clock, &granted);
                scope.spawn(move || {
                    OFFSET.set(offset);
                    for look in 0..LOOKS {
                        if bucket.try_acquire().is_ok() {
                            granted.fetch_add(1, Ordering::Relaxed);
                        }
                        if look % 4 == 0 {
                            clock.advance(Duration::from_micros(1));
                        }
                    }
                });
            }
        });
        let latest = clock.now() + Duration::from_nanos(offsets[3]);
        let supplied = 3 + (latest - start).as_millis() as u64;
        let granted = granted.into_inner();
        assert!(granted <= supplied, "{name}: {granted} of {supplied}");
        assert_eq!(granted, bucket.stats().granted, "{name}");
    }
}

/// 584 years on a bucket is full, once: not again when the clock is right, or at the end of time
/// again.
#[test]
fn a_clock_that_jumps_to_the_end_of_time_fills_a_bucket_once() {
    let start = Instant::from_nanos(5_000_000_000);
    let clock = ManualClock::starting_at(start);
    for (name, bucket) in kinds(&clock, Rate::per_second(1_000), 0) {
        // From as many threads as there are shards.
        let take = || -> u64 {
            let takes = || (0..1_000).filter(|_| bucket.try_acquire().is_ok()).count();
            let one = |_| thread::scope(|scope| scope.spawn(takes).join()).expect("no panic");
            (0..4).map(one).sum::<usize>() as u64
        };
        clock.set(start);
        assert_eq!(take(), 0, "{name}");
        clock.set(Instant::FAR_FUTURE);
        // In shards the room of their credits is kept free, until there are any.
        let full = bucket.available();
        assert!((3..=bucket.burst()).contains(&full), "{name}");
        assert_eq!(take(), full, "{name}");
        for at in [start, Instant::ORIGIN, Instant::FAR_FUTURE, start + DAY] {
            clock.set(at);
            assert_eq!(take(), 0, "{name} at {at:?}");
        }
        bucket.refund(2);
        assert_eq!(take(), 2, "{name}");
        assert_eq!(bucket.stats().granted, full + 2, "{name}");
    }
}

/// Nor does it give those who wait more than what fills it, and who comes after waits on.
#[test]
fn those_who_wait_meet_the_end_of_time_once() {
    sim::check(0..3, |rt| async move {
        let start = Instant::from_nanos(5_000_000_000);
        let clock = ManualClock::starting_at(start);
        let bucket = bucket(clock.clone(), Rate::per_second(1_000), 3, 0);
        let waits: Vec<_> = (0..10)
            .map(|_| {
                let bucket = bucket.clone();
                rt.spawn(async move { bucket.acquire().await })
            })
            .collect();
        rt.sleep(MS / 2).await;
        assert_eq!((bucket.stats().waiting, bucket.stats().granted), (10, 0));
        clock.set(Instant::FAR_FUTURE);
        // Somebody looks: the driver may sleep by the runtime's clock, which did not jump.
        let _ = bucket.peek();
        rt.sleep(10 * MS).await;
        let granted = bucket.stats().granted;
        assert!(
            (3..=7).contains(&granted),
            "{granted}: a burst, and what is kept for a late driver"
        );
        for at in [start, Instant::ORIGIN, Instant::FAR_FUTURE, start] {
            clock.set(at);
            let _ = bucket.peek();
            rt.sleep(10 * MS).await;
            assert_eq!(bucket.stats().granted, granted, "at {at:?}");
        }
        // The rest is served by hand, and nobody waits for ever.
        bucket.refund(3);
        rt.sleep(10 * MS).await;
        bucket.close();
        let answers = futures_util::future::join_all(waits).await;
        let served = answers
            .into_iter()
            .filter(|it| matches!(it, Ok(Ok(_))))
            .count() as u64;
        assert_eq!(served, granted + 3.min(10 - granted));
        assert_eq!(bucket.stats().waiting, 0);
    });
}

#[test]
fn a_bucket_on_a_coarse_clock_keeps_its_rate() {
    for runtime in [Handle::smol(), Handle::async_std()] {
        let clock = CoarseClock::on(&runtime, MS).expect("a resolution above zero");
        let bucket = bucket(clock.clone(), Rate::per_second(500), 1, 0);
        let start = clock.now();
        let waits = async {
            for _ in 0..5 {
                bucket.acquire().await.expect("open");
            }
        };
        flow_rt::block_on(async {
            runtime.timeout(DAY, waits).await.expect("within a day");
        })
        .expect("not inside a simulation");
        assert!(clock.now() - start >= 10 * MS);
    }
}

/// How many go, one after the other, until one is denied; it is told when to come back.
fn goes(limiter: &dyn Limiter) -> usize {
    let went = (0..100).take_while(|_| limiter.try_acquire_n(1).is_ok());
    let went = went.count();
    let denied = limiter.peek_n(1).expect_err("none is left");
    assert!(denied.retry_after().is_some_and(|wait| wait >= 100 * MS));
    went
}

#[test]
fn a_clock_that_stands_or_goes_back_mints_and_loses_nothing_anywhere() {
    let clock = ManualClock::starting_at(Instant::from_nanos(9_000_000_000_000));
    let rate = Rate::per_second(10);
    let keyed = || {
        let builder = KeyedLimiter::<u64>::builder().rate(rate).burst(5);
        builder.max_keys(100).clock(clock.clone())
    };
    let hashed = keyed().build().expect("valid");
    let exact = keyed().build_exact().expect("valid");
    let leaky = LeakyBucket::builder().rate(rate).capacity(5);
    let pacer = Pacer::builder().rate(rate).capacity(5);
    let multi = MultiBucket::builder().limits(["10/s burst 5", "20/s burst 8"]);
    let shares = FairShare::builder().rate("10/s burst 5").child("one", 1);
    let shares = shares.clock(clock.clone()).build().expect("valid");
    let limiters: [(&str, usize, Box<dyn Limiter + '_>); 7] = [
        ("token", 5, Box::new(bucket(clock.clone(), rate, 5, 5))),
        (
            "leaky",
            5,
            Box::new(leaky.clock(clock.clone()).build().expect("valid")),
        ),
        (
            "pacer",
            1,
            Box::new(pacer.clock(clock.clone()).build().expect("valid")),
        ),
        (
            "multi",
            5,
            Box::new(multi.clock(clock.clone()).build().expect("valid")),
        ),
        ("share", 5, Box::new(shares.child("one").expect("it"))),
        ("hashed", 5, Box::new(hashed.key(&1))),
        ("exact", 5, Box::new(exact.key(&1))),
    ];
    for (name, burst, limiter) in limiters {
        assert_eq!(goes(&*limiter), burst, "{name}");
        assert_eq!(goes(&*limiter), 0, "{name}: the clock stands");
        let before = clock.now();
        for back in [MS, 100 * MS, 3_600 * 1_000 * MS] {
            clock.set(before - back);
            assert_eq!(goes(&*limiter), 0, "{name}: {back:?} ago");
            clock.set(before);
            assert_eq!(goes(&*limiter), 0, "{name}: after {back:?} ago");
        }
        clock.advance(100 * MS);
        assert_eq!(goes(&*limiter), 1, "{name}: one has come");
    }
}
