//! What happens by the clock, in the pool of the tasks: the one before them, the other when it may.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use flow_rt::Backoff;
use flow_rt::sim::Sim;
use flow_sched::{
    Adaptive, Chain, ChainStep, JobContext, JobHandle, OnError, OnSuccess, Scheduler, WorkerPool,
};

use crate::service::Service;
use crate::{Failure, SECOND};

const MINUTE: Duration = Duration::from_secs(60);

pub(crate) struct Maintenance {
    pub(crate) scheduler: Scheduler,
    started: SystemTime,
    cleanup: JobHandle,
    health: JobHandle,
    found: Arc<Mutex<Found>>,
}

/// What the health checks have found, at the worst.
#[derive(Default)]
struct Found {
    queued: u64,
    late: Duration,
}

pub(crate) fn start(rt: &Sim, service: &Service) -> Result<Maintenance, Failure> {
    let tasks = &service.tasks;
    let scheduler = Scheduler::builder()
        .runtime(rt)
        .pool(tasks)
        .timeout(30 * SECOND)
        .build()?;

    // Before all that is queued: it is to tell of the rush, not to wait for its end.
    let found = Arc::new(Mutex::new(Found::default()));
    let state = (rt.clone(), tasks.clone(), found.clone());
    let check = async |cx: JobContext, (rt, tasks, found): (Sim, WorkerPool, Arc<Mutex<Found>>)| {
        let mut found = found.lock().expect("nobody panics");
        found.queued = found.queued.max(tasks.stats().queued);
        found.late = found.late.max(rt.now() - cx.due());
    };
    let health = scheduler.job_with("health check", state, check);
    let health = health.every(30 * SECOND).priority(1).start()?;

    // After them, and every 5 minutes; less and less often, down to every 20, in a rush.
    let backs_off = Adaptive::new(tasks.load(), 20 * MINUTE)
        .threshold(0.8)
        .factor(2.0);
    let cleanup = scheduler.chain("cleanup", clean_up(rt, service));
    let cleanup = cleanup.every(5 * MINUTE).adaptive(backs_off);
    let cleanup = cleanup.history(100).start()?;

    Ok(Maintenance {
        scheduler,
        started: rt.wall(),
        cleanup,
        health,
        found,
    })
}

/// Takes old records out, and if there were any, gives their memory back.
fn clean_up(rt: &Sim, service: &Service) -> Chain {
    let records = service.pipeline.records.clone();
    let (rt, took_out) = (rt.clone(), Arc::new(Mutex::new(0)));
    let any = took_out.clone();
    let expire = ChainStep::new("expire", move |_cx| {
        let mut records = records.lock().expect("nobody panics");
        let (before, now) = (records.kept.len(), rt.now());
        records
            .kept
            .retain(|_id, record| now - record.stored_at < 10 * MINUTE);
        let expired = (before - records.kept.len()) as u64;
        records.expired += expired;
        *took_out.lock().expect("nobody panics") = expired;
        async {}
    });
    let expire = expire.on_success(move |_cx| match *any.lock().expect("nobody panics") {
        0 => OnSuccess::Stop,
        _ => OnSuccess::GoOn,
    });
    // Another one has locked the file now and then: it is tried again, and gives its slot away.
    let compact = ChainStep::new("compact", async |cx: JobContext| {
        if cx.run().is_multiple_of(3) && cx.attempt() == 1 {
            return Err("the file is locked");
        }
        Ok(())
    });
    let again = OnError::Retry(Backoff::exponential(SECOND).attempts(3));
    Chain::new().then(expire).then(compact.on_error(again))
}

impl Maintenance {
    pub(crate) fn report(&self, service: &Service) -> String {
        let due = self.cleanup.history().into_iter().map(|run| {
            let after = run.scheduled_at.duration_since(self.started);
            (after.unwrap_or_default().as_secs() / 60).to_string()
        });
        let due = due.collect::<Vec<_>>().join(", ");
        let (cleanup, health) = (self.cleanup.stats().runs, self.health.stats().runs);
        let found = self.found.lock().expect("nobody panics");
        let records = service.pipeline.records.lock().expect("nobody panics");
        format!(
            "cleanup: {} runs, {} failed, due in minutes {due}\n\
             health check: {} runs, {} failed, {:?} late at the most, while {} tasks waited\n\
             records: {} expired, {} kept, {} at the most",
            cleanup.completed,
            cleanup.failed,
            health.completed,
            health.failed,
            found.late,
            found.queued,
            records.expired,
            records.kept.len(),
            records.most,
        )
    }
}
