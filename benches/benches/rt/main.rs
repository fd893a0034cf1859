//! flow-rt beside what it wraps: spawns, timers, time-outs, cancellation, contexts, retries.

mod cancel;
mod clock;
mod context;
mod spawn;
mod time;

use std::process::ExitCode;

use flow_rt::Handle;
use tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    let packages = [
        "tokio",
        "tokio-util",
        "smol",
        "async-std",
        "async-io",
        "async-executor",
        "quanta",
        "backon",
    ];
    flow_benches::run(
        "rt",
        "A `Handle` beside its hosts' own spawns and timers; cancellation beside tokio-util's; \
         contexts and retries.",
        &packages,
        |bench| {
            let hosts = Hosts::new();
            spawn::rows(bench, &hosts);
            time::rows(bench, &hosts);
            cancel::rows(bench);
            clock::rows(bench, &hosts);
            context::rows(bench, &hosts.on_workers);
            bench.note(
                "Spawns come in waves of 1000, from the thread in `block_on`: on tokio's \
                 current-thread runtime that thread runs them too, elsewhere the host's workers \
                 do (tokio 2, smol 1, async-std one per core).",
            );
            bench.note(
                "A timer that is moved later more than 32 times before it fires is left where it \
                 is, and wakes its task early, once; the wake is not in the figure. One that \
                 fires after 16 moves never gets there.",
            );
            bench.note(
                "A new tokio sleep that is due before every other timer of its runtime wakes the \
                 driver by a system call; one that is not, does not. Both cases are measured; the \
                 target is for the first, a primitive whose timer is the next one due.",
            );
        },
    )
}

/// The runtimes, and a handle to each.
struct Hosts {
    workers: Runtime,
    current: Runtime,
    on_workers: Handle,
    on_current: Handle,
}

impl Hosts {
    fn new() -> Self {
        let workers = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads can be started");
        let current = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        Self {
            on_workers: Handle::tokio(workers.handle().clone()).expect("it has timers"),
            on_current: Handle::tokio(current.handle().clone()).expect("it has timers"),
            workers,
            current,
        }
    }
}
