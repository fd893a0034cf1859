//! Waves of tasks: detached, and joined.

use core::future::{Future, Ready, poll_fn, ready};
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Poll};

use flow_benches::{Bench, timed};
use flow_rt::Handle;
use futures_util::task::AtomicWaker;

use crate::Hosts;

const WAVE: u64 = 1000;

/// Polls a future to its end on a host; a reference, so that no contender allocates for it.
type Drive<'a> = &'a dyn Fn(Pin<&mut dyn Future<Output = ()>>);

// The natives are what is measured against.
#[allow(clippy::disallowed_methods)]
pub(crate) fn rows(bench: &mut Bench, hosts: &Hosts) {
    let workers: Drive<'_> = &|wave| hosts.workers.block_on(wave);
    let current: Drive<'_> = &|wave| hosts.current.block_on(wave);
    let smol: Drive<'_> = &|wave| smol::block_on(wave);
    let async_std: Drive<'_> = &|wave| async_std::task::block_on(wave);

    let host = "tokio 2 workers";
    detached(bench, host, workers, &hosts.on_workers, |task| {
        drop(tokio::spawn(task));
    });
    let host = "tokio current-thread";
    detached(bench, host, current, &hosts.on_current, |task| {
        drop(tokio::spawn(task));
    });
    detached(bench, "smol", smol, &Handle::smol(), |task| {
        smol::spawn(task).detach();
    });
    let handle = Handle::async_std();
    detached(bench, "async-std", async_std, &handle, |task| {
        drop(async_std::task::spawn(task));
    });

    let host = "tokio 2 workers";
    joined(bench, host, workers, &hosts.on_workers, tokio::spawn);
    let host = "tokio current-thread";
    joined(bench, host, current, &hosts.on_current, tokio::spawn);
    joined(bench, "smol", smol, &Handle::smol(), smol::spawn);
    let handle = Handle::async_std();
    joined(
        bench,
        "async-std",
        async_std,
        &handle,
        async_std::task::spawn,
    );
}

fn detached(
    bench: &mut Bench,
    host: &str,
    drive: Drive<'_>,
    handle: &Handle,
    native: impl Fn(Arrive),
) {
    static WAVES: Wave = Wave::new();
    let waves = |n: u64, spawn: &dyn Fn(Arrive)| {
        timed(|| {
            for _ in 0..n {
                drive(pin!(async {
                    WAVES.left.store(WAVE, Ordering::Relaxed);
                    for _ in 0..WAVE {
                        spawn(Arrive(&WAVES));
                    }
                    WAVES.all_arrived().await;
                }));
            }
        })
    };
    bench
        .row(format!("spawn detached, {host}"))
        .batch(WAVE)
        .instructions(20)
        .flow(|n| waves(n, &|task| handle.spawn_detached(task)))
        .peer("native", |n| waves(n, &native))
        .measure();
}

fn joined<J: Future>(
    bench: &mut Bench,
    host: &str,
    drive: Drive<'_>,
    handle: &Handle,
    native: impl Fn(Ready<u64>) -> J,
) {
    bench
        .row(format!("spawn and join, {host}"))
        .batch(WAVE)
        .instructions(20)
        .flow(|n| join_waves(n, drive, |task| handle.spawn(task)))
        .peer("native", |n| join_waves(n, drive, &native))
        .measure();
}

fn join_waves<J: Future>(
    n: u64,
    drive: Drive<'_>,
    spawn: impl Fn(Ready<u64>) -> J,
) -> core::time::Duration {
    let mut tasks = Vec::with_capacity(WAVE as usize);
    timed(|| {
        for _ in 0..n {
            drive(pin!(async {
                tasks.extend((0..WAVE).map(|i| spawn(ready(i))));
                for task in tasks.drain(..) {
                    core::hint::black_box(task.await);
                }
            }));
        }
    })
}

/// Counts the tasks of a wave down.
struct Wave {
    left: AtomicU64,
    waker: AtomicWaker,
}

impl Wave {
    const fn new() -> Self {
        Self {
            left: AtomicU64::new(0),
            waker: AtomicWaker::new(),
        }
    }

    fn all_arrived(&self) -> impl Future<Output = ()> {
        poll_fn(|cx| {
            self.waker.register(cx.waker());
            if self.left.load(Ordering::Acquire) == 0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    }
}

/// A task that does nothing else.
struct Arrive(&'static Wave);

impl Future for Arrive {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.waker.wake();
        }
        Poll::Ready(())
    }
}
