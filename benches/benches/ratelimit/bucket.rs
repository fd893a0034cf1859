//! A token taken, and a token refused.

use core::future::Future;
use core::num::NonZeroU32;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use flow_benches::{Bench, on_threads, repeat};
use flow_ratelimit::{LeakyBucket as LeakyMeter, Rate, TokenBucket};
use flow_rt::{CoarseClock, Handle};
use governor::middleware::StateInformationMiddleware;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use leaky_bucket::RateLimiter as LeakyBucket;
use ratelimit::Ratelimiter;

const HOUR: Duration = Duration::from_secs(3600);
/// More per second than anybody takes.
pub(crate) const PLENTY: u32 = 1_000_000_000;

pub(crate) fn rows(bench: &mut Bench) {
    granted(bench);
    denied(bench);
    awaited(bench);
    denied_by_coarse_clock(bench);
}

fn granted(bench: &mut Bench) {
    let ours = TokenBucket::new(Rate::per_second(PLENTY.into()), PLENTY.into());
    let ours = ours.expect("a valid limit");
    let uncounted = TokenBucket::builder()
        .rate(Rate::per_second(PLENTY.into()))
        .burst(PLENTY.into())
        .counted(false)
        .build()
        .expect("a valid limit");
    let governor = governor(Quota::per_second(some(PLENTY)));
    let leaky = plenty_of_leaky();
    let scaled = plenty_of_ratelimit();

    assert!(ours.try_acquire().is_ok(), "there is plenty");
    assert!(governor.check().is_ok(), "there is plenty");
    assert!(scaled.try_wait().is_ok(), "there is plenty");
    assert!(leaky.try_acquire(1), "there is plenty");
    bench
        .row("try_acquire, 1 thread")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| ours.try_acquire().is_ok()))
        .peer("governor", |n| repeat(n, |_| governor.check().is_ok()))
        .peer("ratelimit", |n| repeat(n, |_| scaled.try_wait().is_ok()))
        .peer("leaky-bucket", |n| repeat(n, |_| leaky.try_acquire(1)))
        .goflow("allow")
        .peer("flow, not counted", |n| {
            repeat(n, |_| uncounted.try_acquire().is_ok())
        })
        .measure();
    bench
        .row("try_acquire, 2 threads")
        .flow(|n| on_threads(2, n, |_| ours.try_acquire().is_ok()))
        .goflow("allow, 2")
        .peer("governor", |n| {
            on_threads(2, n, |_| governor.check().is_ok())
        })
        .peer("ratelimit", |n| {
            on_threads(2, n, |_| scaled.try_wait().is_ok())
        })
        .peer("leaky-bucket", |n| {
            on_threads(2, n, |_| leaky.try_acquire(1))
        })
        .measure();
    let telling = RateLimiter::direct(Quota::per_second(some(PLENTY)))
        .with_middleware::<StateInformationMiddleware>();
    bench
        .row("try_acquire, and what is left")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| ours.try_acquire().map(|granted| granted.remaining())))
        .peer("governor", |n| {
            repeat(n, |_| {
                telling
                    .check()
                    .map(|state| state.remaining_burst_capacity())
            })
        })
        .measure();
    bench
        .row("try_acquire, the answer as a whole")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| ours.try_acquire()))
        .peer("governor", |n| repeat(n, |_| telling.check()))
        .peer("governor, which tells nothing", |n| {
            repeat(n, |_| governor.check())
        })
        .measure();
}

fn denied(bench: &mut Bench) {
    let ours = TokenBucket::new(Rate::per_hour(1), 1).expect("a valid limit");
    let (governor, scaled, leaky) = empty_peers();
    assert!(ours.try_acquire().is_ok(), "it starts full");
    assert!(ours.try_acquire().is_err(), "it is empty");
    bench
        .row("try_acquire denied, 1 thread")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| ours.try_acquire()))
        .peer("governor", |n| repeat(n, |_| governor.check()))
        .peer("ratelimit", |n| repeat(n, |_| scaled.try_wait()))
        .peer("leaky-bucket", |n| repeat(n, |_| leaky.try_acquire(1)))
        .goflow("denied")
        .measure();
}

/// Peers that are empty, to which nothing comes for long. ratelimit knows nothing slower than one
/// a second.
fn empty_peers() -> (DefaultDirectRateLimiter, Ratelimiter, LeakyBucket) {
    let governor = governor(Quota::per_hour(some(1)));
    let scaled = Ratelimiter::builder(1).max_tokens(1).initial_available(0);
    let scaled = scaled.build().expect("a valid limit");
    let leaky = LeakyBucket::builder()
        .initial(0)
        .max(1)
        .refill(1)
        .interval(HOUR)
        .build();
    assert!(governor.check().is_ok(), "it starts full");
    assert!(governor.check().is_err(), "it is empty");
    assert!(scaled.try_wait().is_err(), "it starts empty");
    assert!(!leaky.try_acquire(1), "it starts empty");
    (governor, scaled, leaky)
}

/// Waiting where there is no need to, and a leaky bucket.
fn awaited(bench: &mut Bench) {
    let ours = TokenBucket::new(Rate::per_second(PLENTY.into()), PLENTY.into());
    let ours = ours.expect("a valid limit");
    let leaky = LeakyMeter::new(Rate::per_second(PLENTY.into()), PLENTY.into());
    let leaky = leaky.expect("a valid limit");
    let governor = governor(Quota::per_second(some(PLENTY)));
    let permits = tokio::sync::Semaphore::new(1);
    bench
        .row("acquire of a token that is there")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| ready(ours.acquire()).is_ok()))
        .peer("governor", |n| repeat(n, |_| ready(governor.until_ready())))
        // A permit, which comes back.
        .peer("tokio", |n| repeat(n, |_| ready(permits.acquire()).is_ok()))
        .goflow("bucket wait")
        .measure();
    bench
        .row("leaky bucket, 1 thread")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| leaky.try_acquire().is_ok()))
        .peer("flow, a token bucket", |n| {
            repeat(n, |_| ours.try_acquire().is_ok())
        })
        .goflow("leaky")
        .measure();
}

/// What a future says at once.
fn ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("there is plenty"),
    }
}

/// The time is read from memory, where a task keeps it.
fn denied_by_coarse_clock(bench: &mut Bench) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let handle = Handle::tokio(runtime.handle().clone()).expect("it keeps time");
    let clock = CoarseClock::on(&handle, Duration::from_millis(1)).expect("not zero");
    let build = |counted| {
        let bucket = TokenBucket::builder().rate(Rate::per_hour(1)).burst(1);
        let bucket = bucket.counted(counted).clock(clock.clone());
        let bucket = bucket.build().expect("a valid limit");
        assert!(bucket.try_acquire().is_ok(), "it starts full");
        assert!(bucket.try_acquire().is_err(), "it is empty");
        bucket
    };
    let (ours, uncounted) = (build(true), build(false));
    let (governor, scaled, leaky) = empty_peers();
    bench
        .row("try_acquire denied, coarse clock")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| ours.try_acquire()))
        .peer("governor", |n| repeat(n, |_| governor.check()))
        .peer("ratelimit", |n| repeat(n, |_| scaled.try_wait()))
        .peer("leaky-bucket", |n| repeat(n, |_| leaky.try_acquire(1)))
        .peer("flow, not counted", |n| {
            repeat(n, |_| uncounted.try_acquire())
        })
        .measure();
}

pub(crate) fn governor(quota: Quota) -> DefaultDirectRateLimiter {
    RateLimiter::direct(quota)
}

pub(crate) fn plenty_of_leaky() -> LeakyBucket {
    LeakyBucket::builder()
        .initial(PLENTY as usize)
        .max(PLENTY as usize)
        .refill(PLENTY as usize / 1000)
        .interval(Duration::from_millis(1))
        .build()
}

pub(crate) fn plenty_of_ratelimit() -> Ratelimiter {
    Ratelimiter::builder(PLENTY.into())
        .max_tokens(PLENTY.into())
        .initial_available(PLENTY.into())
        .build()
        .expect("a valid limit")
}

pub(crate) fn some(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("not zero")
}
