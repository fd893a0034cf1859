//! A permit taken and given back: where there is always room, where the limit moves meanwhile,
//! and where many tasks want the only one.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_lock::Semaphore as AsyncLock;
use flow_benches::{Bench, beside, on_threads, repeat, timed};
use flow_ratelimit::{ClassedLimiter, ConcurrencyLimiter, Fairness};
use flow_rt::{Clock, DefaultClock, Handle};
use tokio::sync::Semaphore as Tokio;

const LIMIT: u32 = 64;
/// How many want the only permit, and how often before they are awaited.
const TASKS: u64 = 64;
const TURNS: u64 = 500;

pub(crate) fn rows(bench: &mut Bench) {
    free(bench);
    moving(bench);
    timed_waits(bench);
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime");
    scarce(
        bench,
        "tokio",
        &Handle::tokio(tokio.handle().clone()).expect("it runs"),
    );
    scarce(bench, "smol", &Handle::smol());
}

fn free(bench: &mut Bench) {
    let ours = ConcurrencyLimiter::new(LIMIT).expect("a valid limit");
    let tokio = Tokio::new(LIMIT as usize);
    let async_lock = AsyncLock::new(LIMIT as usize);
    let classed = ClassedLimiter::builder()
        .limit(LIMIT)
        .class("interactive", LIMIT / 2)
        .class("batch", 1)
        .build()
        .expect("valid classes");
    let class = classed.class("batch").expect("it is there");
    let word = AtomicU64::new(0);
    bench
        .row("permit acquire and release, 1 thread")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| drop(at_once(ours.acquire()))))
        .peer("tokio", |n| repeat(n, |_| drop(at_once(tokio.acquire()))))
        .peer("async-lock", |n| {
            repeat(n, |_| drop(at_once(async_lock.acquire())))
        })
        .peer("two locked instructions", |n| {
            repeat(n, |_| locked_twice(&word))
        })
        .measure();
    bench
        .row("permit acquire and release, 2 threads")
        .flow(|n| on_threads(2, n, |_| drop(at_once(ours.acquire()))))
        .peer("tokio", |n| {
            on_threads(2, n, |_| drop(at_once(tokio.acquire())))
        })
        .peer("async-lock", |n| {
            on_threads(2, n, |_| drop(at_once(async_lock.acquire())))
        })
        .peer("two locked instructions", |n| {
            on_threads(2, n, |_| locked_twice(&word))
        })
        .measure();
    bench
        .row("permit try_acquire and release, 1 thread")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| drop(ours.try_acquire())))
        .peer("tokio", |n| repeat(n, |_| drop(tokio.try_acquire())))
        .peer("async-lock", |n| {
            repeat(n, |_| drop(async_lock.try_acquire()))
        })
        .goflow("acquire")
        .peer("flow, of a class", |n| {
            repeat(n, |_| drop(class.try_acquire()))
        })
        .measure();
}

/// What no counted permit can do without: one swap that takes, one subtraction that gives back.
fn locked_twice(word: &AtomicU64) {
    let before = word.load(Ordering::Relaxed);
    let _ = word.compare_exchange(before, before + 1, Ordering::Acquire, Ordering::Relaxed);
    black_box(word.fetch_sub(1, Ordering::Release));
}

/// Somebody moves the limit every ten microseconds, as nobody does; what a permit costs meanwhile.
fn moving(bench: &mut Bench) {
    let still = ConcurrencyLimiter::new(LIMIT).expect("a valid limit");
    let moved = ConcurrencyLimiter::new(LIMIT).expect("a valid limit");
    bench
        .row("permit while set_limit is called 100,000 times a second")
        .flow(|n| {
            let mut limit = LIMIT;
            let set = || {
                limit ^= 1;
                let _ = moved.set_limit(limit);
            };
            every_ten(set, || repeat(n, |_| drop(moved.try_acquire())))
        })
        // The other thread is there as well, so that only what it does differs.
        .peer("limit at rest", |n| {
            every_ten(|| (), || repeat(n, |_| drop(still.try_acquire())))
        })
        .measure();
}

/// Measures while another thread does something every ten microseconds. It looks at the clock in
/// between: a sleep of ten takes ninety.
fn every_ten(mut act: impl FnMut() + Send, measure: impl FnOnce() -> Duration) -> Duration {
    const PERIOD: Duration = Duration::from_micros(10);
    let clock = DefaultClock::default();
    let mut next = clock.now();
    let look = move || {
        let now = clock.now();
        if now < next {
            std::hint::spin_loop();
            return;
        }
        act();
        // What it missed while it was off its core is not made up for.
        next = (next + PERIOD).max(now);
    };
    beside(look, measure)
}

/// A wait with a limit of time that need not wait: goflow's is told by a context.
fn timed_waits(bench: &mut Bench) {
    let ours = ConcurrencyLimiter::new(1).expect("a valid limit");
    let minute = Duration::from_secs(60);
    bench
        .row("permit with a timeout, and its release")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| drop(at_once(ours.acquire_timeout(minute)))))
        .goflow("wait")
        .measure();
}

fn scarce(bench: &mut Bench, host: &str, handle: &Handle) {
    let fifo = Arc::new(ConcurrencyLimiter::new(1).expect("a valid limit"));
    let barging = ConcurrencyLimiter::builder()
        .limit(1)
        .fairness(Fairness::Barging);
    let barging = Arc::new(barging.build().expect("a valid limit"));
    let tokio = Arc::new(Tokio::new(1));
    let async_lock = Arc::new(AsyncLock::new(1));
    bench
        .row(format!("1 permit, 64 tasks, in order, {host}"))
        .batch(TASKS * TURNS)
        .flow(|n| {
            turns(handle, n, &fifo, |it| async move {
                for _ in 0..TURNS {
                    drop(it.acquire().await);
                }
            })
        })
        .peer("tokio", |n| {
            turns(handle, n, &tokio, |it| async move {
                for _ in 0..TURNS {
                    drop(it.acquire().await);
                }
            })
        })
        .measure();
    bench
        .row(format!("1 permit, 64 tasks, barging, {host}"))
        .batch(TASKS * TURNS)
        .flow(|n| {
            turns(handle, n, &barging, |it| async move {
                for _ in 0..TURNS {
                    drop(it.acquire().await);
                }
            })
        })
        .peer("async-lock", |n| {
            turns(handle, n, &async_lock, |it| async move {
                for _ in 0..TURNS {
                    drop(it.acquire().await);
                }
            })
        })
        .measure();
}

/// Lets so many tasks take their turns, all at once, and waits for them; so many times.
fn turns<S, F>(handle: &Handle, n: u64, semaphore: &Arc<S>, take: impl Fn(Arc<S>) -> F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    timed(|| {
        for _ in 0..n {
            let tasks: Vec<_> = (0..TASKS)
                .map(|_| handle.spawn(take(semaphore.clone())))
                .collect();
            let all = async {
                for task in tasks {
                    task.await.expect("no panic");
                }
            };
            flow_rt::block_on(all).expect("a plain thread");
        }
    })
}

/// What a future gives at its first poll.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "as an `await` is: out of line, the stores of the future's fields and the loads of its \
              copy do not match in width, and wait for each other"
)]
fn at_once<F: Future>(future: F) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("there is room"),
    }
}
