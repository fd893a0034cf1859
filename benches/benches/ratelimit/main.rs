//! flow-ratelimit beside its peers: token buckets, for each of many keys too, permits, circuit
//! breakers, and layers of all of these.

mod adaptive;
mod breaker;
mod bucket;
mod credits;
mod keyed;
mod layers;
mod multi;
mod permit;
mod precision;
mod share;
mod waiting;

use std::process::ExitCode;

fn main() -> ExitCode {
    let packages = [
        "governor",
        "ratelimit",
        "leaky-bucket",
        "tokio",
        "async-lock",
        "failsafe",
        "recloser",
        "tower",
        "tower_governor",
    ];
    flow_benches::run(
        "ratelimit",
        "`TokenBucket` beside governor, ratelimit and leaky-bucket; `ConcurrencyLimiter` beside \
         semaphores; `CircuitBreaker` beside failsafe and recloser; layers beside tower's and \
         tower_governor.",
        &packages,
        |bench| {
            waiting::weight(bench);
            keyed::rows(bench);
            bucket::rows(bench);
            credits::rows(bench);
            multi::rows(bench);
            share::rows(bench);
            permit::rows(bench);
            breaker::rows(bench);
            adaptive::rows(bench);
            layers::rows(bench);
            waiting::rows(bench);
            bench.note(
                "Buckets that grant refill faster than the machine takes. leaky-bucket answers \
                 yes or no; the others also say when to come back. Flow's buckets \
                 count their decisions; no peer does.",
            );
            precision::check(bench);
        },
    )
}
