//! One run, from when it is let in to its report.

use core::future::Future;
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{Instant, Panic, TaskContext, catch, contain};

use super::context::JobContext;
use super::error::TriggerNowError;
use super::guarded::Guarded;
use super::job::Job;
use super::outcome::BoxError;
use super::plan::When;
use super::report::{JobEventKind, RunOutcome, RunReport};
use super::shared::Shared;
use super::state::Ticket;
use crate::pool::{SubmitError, TrySubmitError, WorkerPool};

/// Where runs go.
pub(crate) enum Target {
    Runtime,
    Pool(WorkerPool),
}

/// Starts a run that was let in. It returns at once.
pub(crate) fn launch(shared: &Arc<Shared>, job: &Arc<Job>, ticket: Ticket) {
    let run = Run::new(shared.clone(), job.clone(), ticket);
    match &shared.target {
        Target::Runtime => {
            // Of the driver there is none; a run by hand belongs to the work that asked for it.
            let stop = shared.stop.clone();
            let context = match TaskContext::current() {
                Some(asked_by) => asked_by.child_with_token(stop),
                None => TaskContext::from_token(stop),
            };
            shared.handle.spawn_detached(run.execute(context));
        }
        Target::Pool(pool) => {
            // What the pool does not take is dropped, and so reported.
            let submit = pool.submit(move |cx| run.execute(cx)).handed_over();
            if let Err(TrySubmitError::Full { task, .. }) = submit.try_now() {
                wait_for_room(shared, pool, task.into_inner());
            }
        }
    }
}

/// Waits for room in a task of its own: a full pool delays this job and no other.
fn wait_for_room<F, Fut>(shared: &Arc<Shared>, pool: &WorkerPool, task: F)
where
    F: FnOnce(TaskContext) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (pool, stop) = (pool.clone(), shared.stop.clone());
    shared.handle.spawn_detached(async move {
        // Refused, or told to stop: the task is dropped, and its run is reported.
        let submit = pool.submit(task).handed_over().wait_for_room();
        drop(stop.run_until_cancelled(submit).await);
    });
}

/// Starts a run that was let in, and waits until it was taken over.
pub(crate) async fn submit(
    shared: &Arc<Shared>,
    job: &Arc<Job>,
    ticket: Ticket,
) -> Result<(), TriggerNowError> {
    let Target::Pool(pool) = &shared.target else {
        launch(shared, job, ticket);
        return Ok(());
    };
    let run = Run::new(shared.clone(), job.clone(), ticket);
    match pool.submit(move |cx| run.execute(cx)).handed_over().await {
        Ok(_) => Ok(()),
        Err(SubmitError::Nested { task, .. }) => {
            wait_for_room(shared, pool, task.into_inner());
            Ok(())
        }
        Err(SubmitError::Full { capacity, .. }) => Err(TriggerNowError::PoolFull { capacity }),
        Err(_) => Err(TriggerNowError::PoolClosed),
    }
}

/// A run that was let in. However it goes, even dropped before its first poll, it is reported.
pub(crate) struct Run {
    shared: Arc<Shared>,
    job: Arc<Job>,
    ticket: Option<Ticket>,
    number: u64,
    when: When,
    began: Option<Instant>,
}

impl Run {
    pub(crate) fn new(shared: Arc<Shared>, job: Arc<Job>, ticket: Ticket) -> Self {
        shared.run_started();
        Self {
            number: ticket.run,
            when: ticket.when,
            ticket: Some(ticket),
            began: None,
            shared,
            job,
        }
    }

    /// Runs the job's body in the context of the task that carries it.
    pub(crate) async fn execute(mut self, parent: TaskContext) {
        let began = self.shared.handle.now();
        let mut task = parent.child();
        if let Some(timeout) = self.job.settings.timeout {
            task = task.with_deadline(began + timeout);
        }
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        if !self.job.begin(self.number, task.cancellation()) {
            return;
        }
        self.began = Some(began);
        self.shared
            .emit(&self.job, JobEventKind::RunBegins(self.number));
        let token = task.cancellation().clone();
        let outcome = self.drive(&ticket, task).await;
        if outcome == RunOutcome::TimedOut {
            // What the run has spawned with its context stops too.
            token.cancel_with("the run took longer than its job's timeout");
        }
        // The body's last reference may be this one, and what it captured is the user's.
        contain(|| drop(ticket));
        self.report(outcome);
    }

    async fn drive(&self, ticket: &Ticket, task: TaskContext) -> RunOutcome {
        let context = |task| JobContext {
            task,
            shared: self.shared.clone(),
            job: self.job.name.clone(),
            run: self.number,
            due: self.when.due,
            scheduled_at: self.when.scheduled_at,
        };
        let future = match catch(|| task.scope_with(|task| (ticket.body)(context(task)))) {
            Ok(future) => Guarded::new(future, self.shared.id_of(&self.job)),
            Err(panic) => return panicked(panic),
        };
        let handle = &self.shared.handle;
        let ended = match self.job.settings.timeout {
            None => future.await,
            Some(timeout) => match handle.timeout(timeout, future).await {
                Ok(ended) => ended,
                Err(flow_rt::TimeoutError::Elapsed { .. }) => return RunOutcome::TimedOut,
                Err(_) => return RunOutcome::Dropped,
            },
        };
        match ended {
            Ok(Ok(())) => RunOutcome::Completed,
            Ok(Err(error)) => failed(error),
            Err(panic) => panicked(panic),
        }
    }

    fn report(&mut self, outcome: RunOutcome) {
        let now = self.shared.handle.now();
        let report = RunReport {
            run: self.number,
            scheduled_at: self.when.scheduled_at,
            duration: self.began.map_or(Duration::ZERO, |began| now - began),
            outcome,
        };
        // Counted and told first: whoever waits for the run or its job finds both.
        self.shared.count_end(&report.outcome);
        self.shared.emit(&self.job, JobEventKind::RunEnded(&report));
        let effects = self.job.finish(report, &self.shared.running, now);
        if self.shared.apply(&self.job, effects) {
            self.shared.touch(&self.job);
        }
        self.shared.run_left();
        self.number = 0;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Runs are numbered from 1; 0 is one that was reported.
        if self.number != 0 {
            self.report(RunOutcome::Dropped);
        }
    }
}

fn failed(error: BoxError) -> RunOutcome {
    // Formatting and dropping the error are the user's code.
    let mut message = None;
    contain(|| {
        message = Some(error.to_string());
        drop(error);
    });
    let message = message.unwrap_or_else(|| "the error panicked when it was printed".to_owned());
    RunOutcome::Failed(message.into())
}

fn panicked(panic: Panic) -> RunOutcome {
    let message = panic.message().into();
    contain(|| drop(panic));
    RunOutcome::Panicked(message)
}
