//! flow-ratelimit beside its peers: token buckets, and permits.

mod bucket;
mod permit;
mod waiting;

use std::process::ExitCode;

fn main() -> ExitCode {
    let packages = ["governor", "leaky-bucket", "tokio", "async-lock"];
    flow_benches::run(
        "ratelimit",
        "`TokenBucket` beside governor and leaky-bucket; `ConcurrencyLimiter` beside semaphores.",
        &packages,
        |bench| {
            bucket::rows(bench);
            permit::rows(bench);
            waiting::rows(bench);
            bench.note(
                "Buckets that grant refill faster than the machine takes. leaky-bucket answers \
                 yes or no; governor and flow also say when to come back.",
            );
        },
    )
}
