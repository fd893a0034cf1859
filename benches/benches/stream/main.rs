//! flow-stream beside its peers: channels, and a writer.

mod channel;
mod fanout;
mod host;
mod topology;
mod writer;

use std::process::ExitCode;

use flow_rt::Handle;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let packages = [
        "tokio",
        "async-channel",
        "flume",
        "tachyonix",
        "kanal",
        "async-broadcast",
    ];
    flow_benches::run(
        "stream",
        "`Channel` beside async-channel, tokio's mpsc, flume, tachyonix and kanal; `broadcast`, \
         `watch` and `oneshot` beside tokio's and async-broadcast; `AsyncWriter` beside `BufWriter`.",
        &packages,
        |bench| {
            let runtime = host::workers(2);
            channel::rows(bench, &runtime);
            topology::rows(bench, &runtime);
            fanout::rows(bench, &runtime);
            writer::rows(bench, &runtime);
            bench.note(
                "Producers and consumers are tasks on tokio with 2 workers, or on smol's executor \
                 with 2 threads; \"one thread\": with 1. tokio's mpsc and tachyonix have one \
                 consumer, so they have no part in 4:4. kanal loses the item of a receive that is \
                 dropped after it was handed one (kanal#24).",
            );
            bench.note(
                "\"One core busy\": beside them a plain thread spins all the while, as a neighbour \
                 on the same machine would.",
            );
            bench.note(
                "A broadcast between tasks costs what it costs per item, all 4 receivers together. \
                 tokio's has no sender that waits, so where nobody lags it holds all items of a \
                 round.",
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
