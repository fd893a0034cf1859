//! flow-stream beside its peers: channels, and a writer.

mod channel;
mod writer;

use std::process::ExitCode;

use flow_rt::Handle;
use tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    let packages = ["tokio", "async-channel", "flume"];
    flow_benches::run(
        "stream",
        "`Channel` beside async-channel, tokio's mpsc and flume; `AsyncWriter` beside `BufWriter`.",
        &packages,
        |bench| {
            let runtime = Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("threads can be started");
            channel::rows(bench, &runtime);
            writer::rows(bench, &runtime);
            bench.note(
                "Channels hold 1024 items; producers and consumers are tasks on tokio with 2 \
                 workers. tokio's mpsc has one consumer, so it has no part in 4:4.",
            );
            bench.note(
                "`BufWriter` belongs to one thread and blocks it; `AsyncWriter` is shared, and \
                 writes on the runtime's blocking threads.",
            );
        },
    )
}

fn handle(runtime: &Runtime) -> Handle {
    Handle::tokio(runtime.handle().clone()).expect("it has timers")
}
