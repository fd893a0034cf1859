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

use flow_benches::Bench;

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
                 count their decisions; no peer does, nor does goflow: its bucket with metrics \
                 (`BucketMetricsAllow`) is gone from the version measured here.",
            );
            causes(bench);
            precision::check(bench);
        },
    )
}

/// Why rows of token buckets miss a target, on some machine or other.
fn causes(bench: &mut Bench) {
    bench.note(
        "*try_acquire* on one thread is a read of the counter, which all contenders share and which \
         takes 9.5 ns of it, and what does not fit beside that: of flow's supply, exact and by a rate \
         that may change, a nanosecond at the most.",
    );
    bench.note(
        "*Sharded* grants are one locked instruction each: of the two that a permit takes the row \
         *two locked instructions* says how long they take on this machine. Where one takes more than \
         5 ns in place of 2.4, shards are beyond 0.6 of governor on one thread, and on two short of \
         five times its throughput: governor's instruction is as slow, but behind its read of the \
         counter.",
    );
    bench.note(
        "*acquire of a token that is there* makes and drops a future with a place for a waiter in it, \
         which is what `try_acquire` does not: 6 ns of the 17. goflow's `Wait` is 15 ns above its \
         `Allow`.",
    );
}
