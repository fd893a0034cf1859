//! flow's scheduler beside another, and timers: tokio's, async-io's, tokio-util's `DelayQueue`.
#![allow(clippy::disallowed_methods)] // it measures real time

use core::time::Duration;
use std::process::ExitCode;

use flow_rt::Handle;
use flow_sched::{JobHandle, Scheduler, SchedulerBuilder};
use tokio::runtime::{Builder, Runtime};

mod idle;
mod late;
mod many;
mod one_shot;
mod year;

const HOUR: Duration = Duration::from_secs(3600);

/// How many timers are many.
const MANY: u64 = 1_000_000;

fn main() -> ExitCode {
    flow_benches::run(
        "scheduler",
        "`Scheduler` beside tokio-cron-scheduler, tokio's `Sleep`, async-io's `Timer` and \
         tokio-util's `DelayQueue`.",
        &["async-io", "tokio", "tokio-cron-scheduler", "tokio-util"],
        |bench| {
            let runtime = Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("threads can be started");
            // First, before anything has left memory to be used again.
            many::memory(bench, &runtime);
            for alive in [1_000, 10_000] {
                one_shot::scheduled_and_cancelled(bench, &runtime, alive);
            }
            one_shot::scheduled(bench, &runtime);
            many::cancelled(bench, &runtime);
            many::registered(bench, &runtime);
            many::fired(bench, &runtime);
            late::late(bench, &runtime);
            idle::wakeups(bench, &runtime);
            year::year(bench);
            bench.note(
                "A `DelayQueue` is a data structure of one task, a `Sleep` and a `Timer` are \
                 timers: they run nothing. A flow job has a handle, policies and figures, may be \
                 scheduled from any thread, and its driver takes the change up on another one.",
            );
            bench.note(
                "tokio-cron-scheduler has no phases: its 10,000 jobs are all due at each second, \
                 and how late they are is modulo a second. \
                 The 1,000,000 that are due at once are due within a millisecond, and each once.",
            );
        },
    )
}

fn builder(runtime: &Runtime) -> SchedulerBuilder {
    let handle = Handle::tokio(runtime.handle().clone()).expect("it has timers");
    Scheduler::builder().runtime(&handle)
}

fn scheduler(runtime: &Runtime) -> Scheduler {
    builder(runtime).build().expect("a valid scheduler")
}

fn named(scheduler: &Scheduler, name: String, delay: Duration) -> JobHandle {
    let job = scheduler.job(name, async |_cx| {}).after(delay);
    job.start().expect("its name is free")
}

fn unnamed(scheduler: &Scheduler, delay: Duration) -> JobHandle {
    let job = scheduler.unnamed(async |_cx| {}).after(delay);
    job.start().expect("it has no name to be taken")
}

/// Spread over a minute, an hour from now.
fn later(i: u64) -> Duration {
    HOUR + Duration::from_millis(i * 7 % 60_000)
}
