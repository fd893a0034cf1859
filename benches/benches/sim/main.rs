//! flow-rt's simulation beside tokio's paused clock and madsim.

mod peers;

use std::future::poll_fn;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use flow_benches::{Bench, repeat};
use flow_rt::JoinHandle;
use flow_rt::sim::{Sim, SimRng};

use peers::{Peer, Workload};

const TASKS: u64 = 1_000;
const YIELDS: u64 = 1_000;
const SLEEPS: u64 = 100;
const HOURS: u64 = 24 * 365;
const RUNS: u64 = 1_000;

fn main() -> ExitCode {
    flow_benches::run(
        "sim",
        "Virtual time: `flow_rt::sim` beside tokio's paused clock and madsim.",
        &[],
        |bench| {
            let peers: Vec<Peer> = peers::build(bench);
            let poll = || tasks(7, TASKS, |_, _| yields());
            row(
                bench,
                &peers,
                "poll, 1000 tasks that yield",
                Workload::Poll,
                TASKS * YIELDS,
                poll,
            );
            let timers = || tasks(7, TASKS, |rt, n| sleeps(rt.clone(), n));
            let name = "timer fired, 1000 tasks, 1 to 100000 ms";
            row(
                bench,
                &peers,
                name,
                Workload::Timers,
                TASKS * SLEEPS,
                timers,
            );
            let year = || tasks(7, TASKS, |rt, _| hours(rt.clone()));
            let name = "timer fired, a year of 1000 hourly tasks";
            row(bench, &peers, name, Workload::Year, TASKS * HOURS, year);
            let seeds = || (0..RUNS).for_each(|seed| tasks(seed, 6, |_, _| async {}));
            let name = "a run of a test of six tasks, 1000 seeds";
            row(bench, &peers, name, Workload::Seeds, RUNS, seeds);
            bench.note(
                "The peers run in processes of their own, which time themselves: tokio with the \
                 feature `test-util`, madsim with `--cfg madsim`; both built as flow is. Their \
                 versions stand in benches/sim-peers/Cargo.lock. tokio has one order and rounds \
                 timers to a millisecond; madsim picks by its seed, as flow does, and adds 50 to \
                 100 virtual nanoseconds to every poll.",
            );
        },
    )
}

fn row(
    bench: &mut Bench,
    peers: &[Peer],
    name: &str,
    workload: Workload,
    batch: u64,
    flow: impl Fn(),
) {
    if !bench.wants(name) {
        return;
    }
    let mut row = bench
        .row(name)
        .batch(batch)
        .instructions(1)
        .flow(move |n| repeat(n, |_| flow()));
    for peer in peers {
        row = row.peer(peer.name, move |n| peer.run(workload, n));
    }
    row.measure();
}

/// Runs so many tasks to their end, in a simulation of their own. Those that sleep hold it; the
/// peers' find theirs by a thread-local.
fn tasks<F>(seed: u64, count: u64, task: impl Fn(&Sim, u64) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    // A million yields of a thousand tasks are no livelock.
    let sim = Sim::new(seed).livelock_polls(u64::MAX);
    let run = sim.run(|rt| async move {
        let tasks: Vec<JoinHandle<()>> = (0..count).map(|n| rt.spawn(task(&rt, n))).collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
    run.expect("it ends");
}

async fn yields() {
    for _ in 0..YIELDS {
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
}

async fn sleeps(rt: Sim, task: u64) {
    let mut rng = SimRng::new(task);
    for _ in 0..SLEEPS {
        rt.sleep(Duration::from_millis(1 + rng.below(100_000)))
            .await;
    }
}

async fn hours(rt: Sim) {
    for _ in 0..HOURS {
        rt.sleep(Duration::from_secs(3_600)).await;
    }
}
