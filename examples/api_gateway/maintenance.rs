//! What happens by the clock: with retries, in a window, as the load allows, and spread.

use std::time::Duration;

use flow_rt::Backoff;
use flow_rt::sim::Sim;
use flow_sched::{Adaptive, Every, Jitter, JobContext, Scheduler, Window};

use crate::Failure;
use crate::gateway::Gateway;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn start(rt: &Sim, gateway: &Gateway) -> Result<Scheduler, Failure> {
    let scheduler = Scheduler::builder()
        .runtime(rt)
        .pool(&gateway.analytics)
        .timeout(30 * SECOND)
        .build()?;

    // Every tenth run fails four times before it succeeds; its fifth attempt is the last.
    let cleanup = scheduler.job("cache cleanup", async |cx: JobContext| {
        if cx.run().is_multiple_of(10) && cx.attempt() < 5 {
            return Err("the cache is locked");
        }
        Ok(())
    });
    let backoff = Backoff::exponential(SECOND)
        .max_delay(10 * MINUTE)
        .attempts(5);
    cleanup.every(HOUR).retry(backoff).start()?;

    // Due every six hours, and put off to the night: that is one run a night.
    let database = scheduler.job("database", async |_cx| ());
    let night = Window::new("MON-FRI 02:00-04:00")?;
    database
        .trigger(Every::new(6 * HOUR).aligned())
        .window(night)
        .start()?;

    // Less and less often while the requests need the machine.
    let load = gateway.requests.load();
    let backs_off = Adaptive::new(load, 30 * MINUTE).threshold(0.7).factor(1.1);
    let aggregate = scheduler.job("aggregate", async |_cx| ());
    aggregate.every(15 * MINUTE).adaptive(backs_off).start()?;

    let health = scheduler.job("health check", async |_cx| ());
    health
        .every(2 * MINUTE)
        .jitter(Jitter::full(30 * SECOND))
        .start()?;
    Ok(scheduler)
}

/// A line for each job.
pub(crate) fn report(scheduler: &Scheduler) -> String {
    let jobs = scheduler.list();
    let lines = jobs.iter().map(|job| {
        let runs = job.runs;
        format!(
            "{:<14}{:>5} runs, {} failed",
            job.name, runs.completed, runs.failed
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}
