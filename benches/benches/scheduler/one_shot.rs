//! Jobs that are due once, and mostly never come to it.

use core::time::Duration;

use flow_benches::{Bench, repeat, timed};
use flow_sched::JobHandle;
use tokio::runtime::Runtime;
use tokio_util::time::DelayQueue;

use crate::{later, named, scheduler, unnamed};

pub(crate) fn scheduled_and_cancelled(bench: &mut Bench, runtime: &Runtime, alive: u64) {
    let row = format!("one-shot scheduled and cancelled, {alive} alive");
    if !bench.wants(&row) {
        return;
    }
    // Both start timers of the current runtime.
    let _entered = runtime.enter();
    let scheduler = scheduler(runtime);
    let mut queue = DelayQueue::new();
    for i in 0..alive {
        drop(named(&scheduler, format!("job {i}"), later(i)));
        queue.insert(i, later(i));
    }
    bench
        .row(row)
        .flow(|n| {
            repeat(n, |i| {
                let job = named(&scheduler, "one more".to_owned(), later(i));
                // It has gone now; the future would wait for its runs.
                drop(job.remove());
            })
        })
        .peer("DelayQueue", |n| {
            repeat(n, |i| {
                let key = queue.insert(i, later(i));
                queue.remove(&key)
            })
        })
        .measure();
}

/// Scheduling alone: what was scheduled goes before the next batch, off the clock.
pub(crate) fn scheduled(bench: &mut Bench, runtime: &Runtime) {
    let _entered = runtime.enter();
    for kind in ["without a name", "by name"] {
        let row = format!("one-shot scheduled, {kind}");
        if !bench.wants(&row) {
            continue;
        }
        let by_name = kind == "by name";
        let row = bench
            .row(row)
            .flow(|n| schedule(runtime, n, by_name))
            .peer("DelayQueue", |n| {
                let mut queue = DelayQueue::new();
                repeat(n, |i| queue.insert(i, later(i)))
            });
        // Its jobs all have names.
        if by_name {
            row.goflow("schedule").measure();
        } else {
            row.measure();
        }
    }
}

fn schedule(runtime: &Runtime, n: u64, by_name: bool) -> Duration {
    let scheduler = scheduler(runtime);
    let count = usize::try_from(n).expect("a count");
    let mut names: Vec<String> = Vec::new();
    if by_name {
        names.extend((0..n).map(|i| format!("job {i}")));
    }
    let mut jobs: Vec<JobHandle> = Vec::with_capacity(count);
    let took = if by_name {
        timed(|| {
            jobs.extend(
                names
                    .into_iter()
                    .zip(0..)
                    .map(|(name, i)| named(&scheduler, name, later(i))),
            );
        })
    } else {
        timed(|| jobs.extend((0..n).map(|i| unnamed(&scheduler, later(i)))))
    };
    drop(jobs);
    scheduler.close();
    took
}
