//! What the peers' programs share: the command line, and the numbers of the workloads.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Tasks of a workload.
pub const TASKS: u64 = 1_000;
/// Yields of each in `poll`.
pub const YIELDS: u64 = 1_000;
/// Sleeps of each in `timers`.
pub const SLEEPS: u64 = 100;
/// Hours of each in `year`.
pub const HOURS: u64 = 24 * 365;
/// Runs of `seeds`.
pub const RUNS: u64 = 1_000;

/// Runs the workload that the command line names, so often, and prints the nanoseconds it took.
///
/// # Panics
/// On a command line of another form than `WORKLOAD COUNT`.
pub fn main(run: impl Fn(&str)) {
    let mut arguments = std::env::args().skip(1);
    let workload = arguments.next().expect("a workload");
    let count: u64 = arguments
        .next()
        .expect("a count")
        .parse()
        .expect("a number");
    let start = Instant::now();
    for _ in 0..count {
        run(&workload);
    }
    println!("{}", start.elapsed().as_nanos());
}

/// The delays of one task of `timers`: 1 to 100 000 ms (splitmix64, as the simulation's).
pub fn delays(task: u64) -> impl Iterator<Item = Duration> {
    let mut state = task;
    (0..SLEEPS).map(move |_| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        Duration::from_millis(1 + ((u128::from(mixed) * 100_000) >> 64) as u64)
    })
}

/// Lets the other tasks go first, once.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
