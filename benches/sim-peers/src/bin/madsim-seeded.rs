//! madsim's runtime, with a seed.

use std::time::Duration;

use madsim::Config;
use madsim::runtime::Runtime;
use madsim::task::JoinHandle;
use madsim::time::sleep;
use sim_peers::{HOURS, RUNS, TASKS, YIELDS, delays, yield_now};

fn main() {
    sim_peers::main(|workload| match workload {
        "poll" => tasks(7, TASKS, |_| async {
            for _ in 0..YIELDS {
                yield_now().await;
            }
        }),
        "timers" => tasks(7, TASKS, |n| async move {
            for delay in delays(n) {
                sleep(delay).await;
            }
        }),
        "year" => tasks(7, TASKS, |_| async {
            for _ in 0..HOURS {
                sleep(Duration::from_secs(3_600)).await;
            }
        }),
        "seeds" => {
            for seed in 0..RUNS {
                tasks(seed, 6, |_| async {});
            }
        }
        other => panic!("there is no workload {other}"),
    });
}

/// Runs so many tasks to their end, in a runtime of their own.
fn tasks<F: Future<Output = ()> + Send + 'static>(seed: u64, count: u64, task: impl Fn(u64) -> F) {
    let runtime = Runtime::with_seed_and_config(seed, Config::default());
    runtime.block_on(async {
        let tasks: Vec<JoinHandle<()>> = (0..count).map(|n| madsim::task::spawn(task(n))).collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
}
