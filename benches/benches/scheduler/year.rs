//! A year of a thousand hourly jobs in virtual time.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flow_benches::{Bench, timed};
use flow_rt::sim::Sim;
use flow_sched::Scheduler;

use crate::HOUR;

const JOBS: u64 = 1_000;

pub(crate) fn year(bench: &mut Bench) {
    let row = "a run of a simulated year, 1000 hourly jobs";
    if !bench.wants(row) {
        return;
    }
    let hours = 365 * 24;
    bench
        .row(row)
        .batch(JOBS * hours)
        .flow(|n| (0..n).map(|_| simulate(hours, true)).sum())
        .peer("a task each", |n| {
            (0..n).map(|_| simulate(hours, false)).sum()
        })
        .measure();
}

fn simulate(hours: u64, by_scheduler: bool) -> Duration {
    let runs = Arc::new(AtomicU64::new(0));
    let counted = runs.clone();
    let took = timed(|| {
        let sim = Sim::new(1).livelock_polls(u64::MAX);
        let run = sim.run(|rt| async move {
            let scheduler = Scheduler::builder()
                .runtime(&rt)
                .build()
                .expect("a valid scheduler");
            for _ in 0..JOBS {
                let counted = counted.clone();
                if by_scheduler {
                    let job = scheduler.unnamed_with(counted, async |_cx, runs: Arc<AtomicU64>| {
                        runs.fetch_add(1, Ordering::Relaxed);
                    });
                    job.every(HOUR).start().expect("it has no name to be taken");
                } else {
                    let clock = rt.clone();
                    rt.spawn_detached(async move {
                        for _ in 0..hours {
                            clock.sleep(HOUR).await;
                            counted.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            }
            let end = HOUR * u32::try_from(hours).expect("a year") + Duration::from_secs(1);
            rt.sleep(end).await;
            scheduler.close();
        });
        run.expect("it ends");
    });
    assert_eq!(runs.load(Ordering::Relaxed), JOBS * hours);
    took
}
