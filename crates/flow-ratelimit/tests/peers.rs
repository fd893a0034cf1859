//! What goes wrong in other limiters, as it was reported or reproduced there. Those that concern
//! numbers and waits of one caller stand with the behaviour cases in `token_bucket` and
//! `waiting`; those of reservations (go#69419, goflow's Cancel) in `reservations`.
#![cfg(not(loom))]

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use flow_ratelimit::{Rate, TokenBucket};
use flow_rt::{Clock, Handle, Instant, ManualClock};

const MS: Duration = Duration::from_millis(1);

fn started(rate: Rate, burst: u64, initial: u64) -> (TokenBucket<ManualClock>, ManualClock) {
    let clock = ManualClock::starting_at(Instant::from_nanos(3_000_000_000));
    let bucket = TokenBucket::builder()
        .rate(rate)
        .burst(burst)
        .initial(initial)
        .clock(clock.clone());
    (bucket.build().expect("a valid bucket"), clock)
}

/// governor rounds the time of a token down to whole nanoseconds: `Quota::new(100, 25ns)` is one
/// each zero, and 600 M/s is 1 G/s.
#[test]
fn governor_tokens_shorter_than_a_nanosecond() {
    let rate = Rate::per(100, Duration::from_nanos(25)).expect("not zero");
    let (bucket, clock) = started(rate, 1_000, 0);
    clock.advance(Duration::from_nanos(25));
    assert_eq!(bucket.available(), 100);
    for (rate, tokens) in [(300, 7_500), (600, 15_000), (700, 17_500)] {
        let (bucket, clock) = started(Rate::per_second(rate * 1_000_000), 1_000_000, 0);
        clock.advance(Duration::from_micros(25));
        assert_eq!(bucket.available(), tokens);
    }
}

/// governor#299: a time stamp counter that is behind on one core denies at random. Here a caller
/// whose clock is behind is denied what came within the skew, and nobody else is.
#[test]
fn governor_299_a_skewed_clock_denies_no_more_than_the_skew() {
    const SKEW: Duration = Duration::from_millis(3);
    let (bucket, clock) = started(Rate::per_second(1_000), 100, 100);
    let (start, mut granted) = (clock.now(), 0);
    for step in 0..100_000_u64 {
        clock.advance(Duration::from_micros(10));
        let ahead = clock.now();
        // Every other caller runs on the core that is behind.
        if step % 2 == 0 {
            clock.set(ahead - SKEW);
        }
        granted += u64::from(bucket.try_acquire().is_ok());
        clock.set(ahead);
    }
    let supplied = (clock.now() - start).as_millis() as u64;
    assert_eq!(granted, 100 + supplied);
    // Alone on the slow core: what came within the skew is not seen yet.
    clock.advance(50 * MS);
    let ahead = clock.now();
    clock.set(ahead - SKEW);
    assert_eq!(bucket.available(), 47);
    assert!(bucket.try_acquire_n(48).is_err());
    bucket.try_acquire_n(47).expect("there by its clock");
    clock.set(ahead);
    assert_eq!(bucket.available(), 3);
}

/// go#56287: old and new times in turn mint tokens. go#71360: callers that were held up on the
/// lock come with old times and let the limit pass by thousands.
#[test]
fn go_56287_and_71360_old_times_mint_nothing() {
    let (bucket, clock) = started(Rate::per_second(10), 5, 5);
    let (old, new) = (clock.now(), clock.now() + Duration::from_secs(1));
    let mut granted = 0;
    for _ in 0..10_000 {
        for time in [new, old] {
            clock.set(time);
            granted += u64::from(bucket.try_acquire().is_ok());
            // As a change of the limit or a cancel would, which look at the time too.
            bucket.set_rate(Rate::per_second(10)).expect("valid");
            let reserved = bucket.reserve().is_ok_and(|it| it.delay().is_zero());
            granted += u64::from(reserved);
        }
    }
    // A burst, and no more than a burst of the ten that came.
    assert!((5..=10).contains(&granted), "{granted}");
    clock.set(new);
    assert_eq!(bucket.available(), 0);
}

/// leaky-bucket#39: a wait dropped by one thread stores a stale state over what others did, and
/// the bucket never grants again.
#[test]
fn leaky_bucket_39_dropped_waits_wedge_nothing() {
    let (bucket, clock) = started(Rate::per_second(1_000_000), 1_000_000, 0);
    let start = clock.now();
    let taken = AtomicU64::new(0);
    let smol = Handle::smol();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (bucket, clock, taken, smol) = (&bucket, &clock, &taken, &smol);
            scope.spawn(move || {
                let _inside = smol.enter();
                for step in 0..3_000_u64 {
                    clock.advance(Duration::from_micros(2));
                    let mut wait = pin!(bucket.acquire_n(1 + (step + thread) % 3));
                    let mut cx = Context::from_waker(Waker::noop());
                    if wait.as_mut().poll(&mut cx).is_ready() {
                        taken.fetch_add(1 + (step + thread) % 3, Ordering::Relaxed);
                    }
                    if step % 3 == 0 {
                        // Given up before it is awaited: ready or not, it gives back.
                        drop(bucket.reserve_n(2).expect("in line").into_future());
                    } else if bucket.try_acquire().is_ok() {
                        bucket.refund(1);
                    }
                }
            });
        }
    });
    assert_eq!(bucket.stats().waiting, 0);
    // Nothing ran over, so what was supplied was taken or is there.
    let supplied = (clock.now() - start).as_micros() as u64;
    assert_eq!(taken.into_inner() + bucket.available(), supplied);
    bucket.try_acquire_n(bucket.available()).expect("there");
    assert!(bucket.try_acquire().is_err());
    clock.advance(Duration::from_micros(1));
    bucket.try_acquire().expect("it goes on");
}
