//! flow's worker pool beside spawning on the host.

use core::future::{Future, poll_fn};
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Poll;
use core::time::Duration;
use std::process::ExitCode;

use flow_benches::{Bench, timed};
use flow_rt::Handle;
use flow_sched::WorkerPool;
use futures_util::task::AtomicWaker;
use tokio::runtime::{Builder, Runtime};

/// Tasks that are out at a time.
const WAVE: u64 = 1000;

fn main() -> ExitCode {
    flow_benches::run(
        "pool",
        "`WorkerPool` beside tokio's spawn, with empty tasks.",
        &["tokio"],
        |bench| {
            let runtime = Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("threads can be started");
            for slots in [2, 64] {
                fire(bench, &runtime, slots);
            }
            joined(bench, &runtime);
            bench.note(
                "Tasks come in waves of 1000, submitted from the thread in `block_on` and run on \
                 tokio's 2 workers; the queue holds a whole wave.",
            );
        },
    )
}

// The host is what is measured against.
#[allow(clippy::disallowed_methods)]
fn fire(bench: &mut Bench, runtime: &Runtime, slots: usize) {
    static WAVES: Wave = Wave::new();
    let pool = pool(runtime, slots);
    bench
        .row(format!("fire and forget, {slots} slots"))
        .batch(WAVE)
        .flow(|n| {
            waves(runtime, n, async || {
                WAVES.begin();
                for _ in 0..WAVE {
                    let task = pool.submit(async |_cx| WAVES.arrive());
                    task.await.expect("the pool is open").detach();
                }
                WAVES.all_arrived().await;
            })
        })
        .peer("tokio spawn", |n| {
            waves(runtime, n, async || {
                WAVES.begin();
                for _ in 0..WAVE {
                    drop(tokio::spawn(async { WAVES.arrive() }));
                }
                WAVES.all_arrived().await;
            })
        })
        .measure();
}

#[allow(clippy::disallowed_methods)] // as above
fn joined(bench: &mut Bench, runtime: &Runtime) {
    let pool = pool(runtime, 2);
    bench
        .row("with handle, all submitted, then all awaited")
        .batch(WAVE)
        .flow(|n| {
            waves(runtime, n, async || {
                let mut tasks = Vec::with_capacity(WAVE as usize);
                for i in 0..WAVE {
                    let task = pool.submit(async move |_cx| i);
                    tasks.push(task.await.expect("the pool is open"));
                }
                for task in tasks {
                    task.await.expect("no task fails");
                }
            })
        })
        .peer("tokio spawn and join", |n| {
            waves(runtime, n, async || {
                let mut tasks = Vec::with_capacity(WAVE as usize);
                for i in 0..WAVE {
                    tasks.push(tokio::spawn(async move { i }));
                }
                for task in tasks {
                    task.await.expect("no task fails");
                }
            })
        })
        .measure();
}

fn pool(runtime: &Runtime, slots: usize) -> WorkerPool {
    WorkerPool::builder()
        .runtime(&Handle::tokio(runtime.handle().clone()).expect("it has timers"))
        .slots(slots)
        .queue(WAVE as usize)
        .build()
        .expect("a valid pool")
}

fn waves(runtime: &Runtime, n: u64, mut wave: impl AsyncFnMut()) -> Duration {
    timed(|| {
        runtime.block_on(async {
            for _ in 0..n {
                wave().await;
            }
        });
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

    fn begin(&self) {
        self.left.store(WAVE, Ordering::Relaxed);
    }

    fn arrive(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waker.wake();
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
