//! tokio's current-thread runtime with a paused clock.

use std::time::Duration;

use sim_peers::{HOURS, RUNS, TASKS, YIELDS, delays, yield_now};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio::time::sleep;

fn main() {
    sim_peers::main(|workload| match workload {
        "poll" => tasks(TASKS, |_| async {
            for _ in 0..YIELDS {
                yield_now().await;
            }
        }),
        "timers" => tasks(TASKS, |n| async move {
            for delay in delays(n) {
                sleep(delay).await;
            }
        }),
        "year" => tasks(TASKS, |_| async {
            for _ in 0..HOURS {
                sleep(Duration::from_secs(3_600)).await;
            }
        }),
        "seeds" => {
            for _ in 0..RUNS {
                tasks(6, |_| async {});
            }
        }
        other => panic!("there is no workload {other}"),
    });
}

/// Runs so many tasks to their end, in a runtime of their own.
fn tasks<F: Future<Output = ()> + Send + 'static>(count: u64, task: impl Fn(u64) -> F) {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let tasks: Vec<JoinHandle<()>> = (0..count).map(|n| tokio::spawn(task(n))).collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
}
