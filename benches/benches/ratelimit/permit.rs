//! A permit taken and given back; there is always room.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use async_lock::Semaphore as AsyncLock;
use flow_benches::{Bench, on_threads, repeat};
use flow_ratelimit::ConcurrencyLimiter;
use tokio::sync::Semaphore as Tokio;

const LIMIT: u32 = 64;

pub(crate) fn rows(bench: &mut Bench) {
    let ours = ConcurrencyLimiter::new(LIMIT).expect("a valid limit");
    let tokio = Tokio::new(LIMIT as usize);
    let async_lock = AsyncLock::new(LIMIT as usize);
    bench
        .row("permit acquire and release, 1 thread")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| drop(at_once(ours.acquire()))))
        .peer("tokio", |n| repeat(n, |_| drop(at_once(tokio.acquire()))))
        .peer("async-lock", |n| {
            repeat(n, |_| drop(at_once(async_lock.acquire())))
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
        .measure();
    bench
        .row("permit try_acquire and release, 1 thread")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| drop(ours.try_acquire())))
        .peer("tokio", |n| repeat(n, |_| drop(tokio.try_acquire())))
        .peer("async-lock", |n| {
            repeat(n, |_| drop(async_lock.try_acquire()))
        })
        .measure();
}

/// What a future gives at its first poll.
#[inline]
fn at_once<F: Future>(future: F) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("there is room"),
    }
}
