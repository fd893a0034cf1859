//! flow's scheduler beside tokio-util's `DelayQueue`.

use core::time::Duration;
use std::process::ExitCode;

use flow_benches::{Bench, repeat};
use flow_rt::Handle;
use flow_sched::{JobHandle, Scheduler};
use tokio::runtime::{Builder, Runtime};
use tokio_util::time::DelayQueue;

const HOUR: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    flow_benches::run(
        "scheduler",
        "`Scheduler` beside tokio-util's `DelayQueue`: jobs that are scheduled and cancelled.",
        &["tokio-util", "tokio"],
        |bench| {
            let runtime = Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("threads can be started");
            for alive in [1_000, 10_000] {
                one_shot(bench, &runtime, alive);
            }
            bench.note(
                "A `DelayQueue` is a data structure of one task: it gives keys back and runs \
                 nothing. A flow job has a name, a handle, policies and figures, may be \
                 scheduled from any thread, and its driver takes the change up on another one.",
            );
        },
    )
}

fn one_shot(bench: &mut Bench, runtime: &Runtime, alive: u64) {
    let row = format!("one-shot scheduled and cancelled, {alive} alive");
    if !bench.wants(&row) {
        return;
    }
    // Both start timers of the current runtime.
    let _entered = runtime.enter();
    let scheduler = Scheduler::builder()
        .runtime(&Handle::tokio(runtime.handle().clone()).expect("it has timers"))
        .build()
        .expect("a valid scheduler");
    let mut queue = DelayQueue::new();
    for i in 0..alive {
        drop(schedule(&scheduler, format!("job {i}"), later(i)));
        queue.insert(i, later(i));
    }
    bench
        .row(row)
        .flow(|n| {
            repeat(n, |i| {
                let job = schedule(&scheduler, "one more".to_owned(), later(i));
                // It has gone now; the future would wait for its runs.
                drop(job.remove());
            })
        })
        .peer("DelayQueue", |n| {
            repeat(n, |i| {
                let key = queue.insert(i, later(i));
                queue.remove(&key)
            })
        })
        .measure();
}

fn schedule(scheduler: &Scheduler, name: String, delay: Duration) -> JobHandle {
    let job = scheduler.job(name, async |_cx| {}).after(delay);
    job.start().expect("its name is free")
}

/// Spread over a minute, an hour from now.
fn later(i: u64) -> Duration {
    HOUR + Duration::from_millis(i * 7 % 60_000)
}
