//! flow's worker pool beside spawning on the host, and beside other pools.

mod blocking;
mod bytes;
mod cpu;
mod fire;
mod idle;
mod joined;
mod sleeping;
mod wave;

use std::process::ExitCode;

use flow_benches::Bench;
use flow_rt::Handle;
use flow_sched::WorkerPool;
use tokio::runtime::{Builder, Runtime};

/// Threads of each host, and slots of most pools.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    flow_benches::run(
        "pool",
        "`WorkerPool` beside spawning on its host, and beside other pools.",
        &["tokio", "smol", "async-channel", "rayon", "threadpool"],
        |bench| {
            let runtime = Builder::new_multi_thread()
                .worker_threads(WORKERS)
                .enable_all()
                .build()
                .expect("threads can be started");
            // First: what others have given back to the allocator would not be seen to grow.
            bytes::rows(bench, &runtime);
            fire::rows(bench, &runtime);
            joined::rows(bench, &runtime);
            blocking::rows(bench, &runtime);
            cpu::rows(bench, &runtime);
            sleeping::rows(bench, &runtime);
            idle::rows(bench, &runtime);
            notes(bench);
        },
    )
}

fn notes(bench: &mut Bench) {
    bench.note(
        "Tasks come in waves of 1000, from a task or a thread that runs none of them, and run on \
         tokio's 2 threads or smol's one; the queue holds a whole wave.",
    );
    bench.note(
        "async-channel is the pool that one would write in an afternoon: boxed futures in a \
         bounded channel, and tasks that receive and await them.",
    );
}

fn tokio_handle(runtime: &Runtime) -> Handle {
    Handle::tokio(runtime.handle().clone()).expect("it has timers")
}

fn pool(host: &Handle, slots: usize, queue: usize) -> WorkerPool {
    let builder = WorkerPool::builder().runtime(host);
    builder
        .slots(slots)
        .queue(queue)
        .build()
        .expect("a valid pool")
}
