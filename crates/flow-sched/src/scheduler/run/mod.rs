//! One run, from when it is let in to its report.

pub(super) mod count;
pub(super) mod gate;
pub(super) mod waiting;

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{CancellationToken, Instant, Panic, TaskContext, catch, contain};

use super::cluster::{Fence, Held};
use super::error::TriggerNowError;
use super::job::{Effects, Job};
use super::report::{JobEventKind, RunOutcome, RunReport};
use super::shared::{SHUT_DOWN, Shared};
use super::work::{Body, Failure};
use crate::pool::{Submit, SubmitError, TrySubmitError, WorkerPool};
use crate::scheduler::job::context::JobContext;
use crate::scheduler::job::state::{Place, Ticket};
use crate::scheduler::triggers::draw::mix;
use crate::scheduler::triggers::plan::When;
use crate::scheduler::work::guarded::Guarded;
use crate::scheduler::work::outcome::BoxError;

/// What the user's future leaves.
type Ended = Result<(), Failure>;

/// Where runs go.
pub(crate) enum Target {
    Runtime,
    Pool(WorkerPool),
}

impl Target {
    /// How many priorities runs may have.
    pub(crate) fn priorities(&self) -> usize {
        match self {
            Self::Runtime => 1,
            Self::Pool(pool) => pool.priorities(),
        }
    }
}

/// Starts a run that was let in by the timetable, as part of the work that has started the job. It
/// returns at once.
///
/// Not of the work around it: that may be the run before, which has just ended.
pub(crate) fn launch(shared: &Arc<Shared>, job: &Arc<Job>, run: Run) {
    launch_by(shared, job, run, job.settings.origin.clone());
}

/// Starts a run that was let in with a claim, like any other.
pub(crate) fn launch_claimed(
    shared: &Arc<Shared>,
    job: &Arc<Job>,
    ticket: Ticket,
    hold: impl FnOnce(&Run) -> Held,
) {
    let mut run = Run::new(shared.clone(), job.clone(), ticket);
    let held = hold(&run);
    run.rest().held = Some(held);
    job.claims(run.number);
    launch_by(shared, job, run, job.settings.origin.clone());
}

fn launch_by(shared: &Arc<Shared>, job: &Arc<Job>, run: Run, by: Option<TaskContext>) {
    if job.settings.is_gated() || job.asks_for(run.when()) {
        let context = context(shared, by.as_ref());
        shared.handle.spawn_detached(async move {
            let Some(run) = run.pass(&context).await else {
                return;
            };
            let shared = run.shared.clone();
            match &shared.target {
                Target::Runtime => run.execute(Under::Context(context)).await,
                Target::Pool(pool) => hand_in(&shared, pool, run, by),
            }
        });
        return;
    }
    match &shared.target {
        // Its context is made when it begins: many may be due at once, and memory that is used
        // for one after the other is in reach.
        Target::Runtime => shared.handle.spawn_detached(run.execute(Under::Work(by))),
        Target::Pool(pool) => hand_in(shared, pool, run, by),
    }
}

/// What a run belongs to.
pub(crate) enum Under {
    /// A task, and this is its context.
    Context(TaskContext),
    /// Other work, or none: it gets a context of its own.
    Work(Option<TaskContext>),
}

/// The context of a run that has none of a pool.
fn context(shared: &Shared, by: Option<&TaskContext>) -> TaskContext {
    let stop = shared.stop.clone();
    match by {
        Some(by) => by.child_under_token(stop),
        None => TaskContext::under_token(stop),
    }
}

/// Hands a run to a pool. What the pool does not take is dropped, and so reported.
fn hand_in(shared: &Arc<Shared>, pool: &WorkerPool, run: Run, mut by: Option<TaskContext>) {
    let (job, number) = (run.job.clone(), run.number);
    let task = move |cx| run.execute(Under::Context(cx));
    // Also its first try: a pool that drops the oldest would have it take somebody's place.
    let submit = order(pool, &job, task).wait_for_room().detach();
    let refused = TaskContext::enter_from(&mut by, || submit.try_before_waiting().err());
    if let Some(TrySubmitError::Full { task, .. }) = refused {
        wait_for_room(shared, pool, &job, number, by, task.into_inner());
    }
}

/// A run's task as a pool is to take it: by the job's priority, and under its name if the pool's
/// dumps name tasks.
fn order<'p, F, Fut>(pool: &'p WorkerPool, job: &Job, task: F) -> Submit<'p, F, ()>
where
    F: FnOnce(TaskContext) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let submit = pool.submit(task).handed_over();
    let submit = submit.priority(job.settings.priority);
    if pool.tracks_tasks() && !job.name.is_empty() {
        submit.name(job.name.to_string())
    } else {
        submit
    }
}

/// Waits for room in a task of its own: a full pool delays this job and no other. If the job is
/// removed, so is its place in the line.
fn wait_for_room<F, Fut>(
    shared: &Arc<Shared>,
    pool: &WorkerPool,
    job: &Arc<Job>,
    run: u64,
    by: Option<TaskContext>,
    task: F,
) where
    F: FnOnce(TaskContext) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    // Refused, or told to stop: the task is dropped, and its run is reported.
    let Some(removed) = job.waits_for_room(run, Place::Room) else {
        return;
    };
    let (shared, pool, job) = (shared.clone(), pool.clone(), job.clone());
    let handle = shared.handle.clone();
    handle.spawn_detached(async move {
        let submit = order(&pool, &job, task).wait_for_room().detach();
        let submit = removed.run_until_cancelled(shared.stop.run_until_cancelled(submit));
        drop(match by {
            Some(by) => by.scope(submit).await,
            None => submit.await,
        });
        shared.dropped(&job, job.has_room_in_pool(run));
    });
}

/// Starts a run that was let in by hand, and waits until it was taken over.
///
/// It belongs to the work that asks for it; to that which has started the job, if there is none.
pub(crate) async fn submit(
    shared: &Arc<Shared>,
    job: &Arc<Job>,
    ticket: Ticket,
) -> Result<(), TriggerNowError> {
    let by = TaskContext::current().or_else(|| job.settings.origin.clone());
    let pool = match &shared.target {
        Target::Pool(pool) if !job.settings.is_gated() => pool,
        _ => {
            let run = Run::new(shared.clone(), job.clone(), ticket);
            launch_by(shared, job, run, by);
            return Ok(());
        }
    };
    let run = Run::new(shared.clone(), job.clone(), ticket);
    let number = run.number;
    let task = move |cx| run.execute(Under::Context(cx));
    let submit = order(pool, job, task).wait_unless_rejected().detach();
    let submit = until_removed(shared, job, number, submit);
    let submitted = match &by {
        Some(by) => by.clone().scope(submit).await,
        None => submit.await,
    };
    match submitted {
        Some(Ok(())) => Ok(()),
        Some(Err(SubmitError::Nested { task, .. })) => {
            wait_for_room(shared, pool, job, number, by, task.into_inner());
            Ok(())
        }
        Some(Err(SubmitError::Full { capacity, .. })) => {
            Err(TriggerNowError::PoolFull { capacity })
        }
        Some(Err(_)) => Err(TriggerNowError::PoolClosed),
        None => Err(TriggerNowError::Ended),
    }
}

/// Hands a run in that was asked for by hand; `None` if its job is removed while it waits for room,
/// or a shutdown stops the runs.
async fn until_removed<S: Future>(
    shared: &Shared,
    job: &Job,
    run: u64,
    submit: S,
) -> Option<S::Output> {
    let mut submit = pin!(submit);
    // Mostly there is room, and nothing to wait for.
    let now = poll_fn(|cx| Poll::Ready(submit.as_mut().poll(cx))).await;
    if let Poll::Ready(submitted) = now {
        return Some(submitted);
    }
    let removed = job.waits_for_room(run, Place::CallersRoom)?;
    let submit = shared.stop.run_until_cancelled(submit);
    let submitted = removed.run_until_cancelled(submit).await.flatten();
    shared.dropped(job, job.has_room_in_pool(run));
    submitted
}

/// A run that was let in. However it goes, even dropped before its first poll, it is reported.
pub(crate) struct Run {
    pub(super) shared: Arc<Shared>,
    pub(super) job: Arc<Job>,
    /// Until it has ended.
    body: Option<Body>,
    /// From 1; 0 once it was reported.
    pub(super) number: u64,
    when: When,
    /// `FAR_FUTURE` until it begins.
    began: Instant,
    attempts: u32,
    /// A pointer away: most runs have none of it, and all are moved about.
    rest: Option<Box<Rest>>,
}

/// What only a run has that other instances have a say in.
#[derive(Default)]
pub(super) struct Rest {
    pub(super) fence: Option<Fence>,
    pub(super) held: Option<Held>,
    /// How it has ended, while its claim is being settled.
    pub(super) ended: Option<HasEnded>,
}

/// What is known of a run that is to be reported when its claim is settled.
pub(super) struct HasEnded {
    pub(super) outcome: RunOutcome,
    /// When its body ended, if that is not when it is reported.
    pub(super) at: Option<Instant>,
}

impl Run {
    pub(crate) fn new(shared: Arc<Shared>, job: Arc<Job>, ticket: Ticket) -> Self {
        shared.run_started();
        shared.skipped(&job, ticket.forgotten);
        Self {
            number: ticket.run,
            when: ticket.when,
            body: Some(ticket.body),
            began: Instant::FAR_FUTURE,
            attempts: 0,
            rest: None,
            shared,
            job,
        }
    }

    pub(super) fn when(&self) -> &When {
        &self.when
    }

    pub(super) fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    pub(super) fn set_fence(&mut self, fence: Option<Fence>) {
        if fence.is_some() || self.rest.is_some() {
            self.rest().fence = fence;
        }
    }

    /// Its claim, if it has one.
    pub(super) fn held(&self) -> Option<&Held> {
        self.rest.as_ref()?.held.as_ref()
    }

    fn take_held(&mut self) -> Option<Held> {
        self.rest.as_mut()?.held.take()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.ended.is_some())
    }

    /// Runs the job's body in the context of the task that carries it, and nothing else.
    ///
    /// A block and no `async fn`, whose future would hold the run twice: as its argument and where
    /// it is used.
    #[allow(clippy::manual_async_fn)] // that is why
    pub(crate) fn execute(mut self, under: Under) -> impl Future<Output = ()> + Send {
        async move {
            let began = self.shared.handle.now();
            let task = match under {
                Under::Context(task) => task,
                Under::Work(by) => context(&self.shared, by.as_ref()),
            };
            let Some(body) = self.body.take() else {
                return;
            };
            // It may have waited since its gate. A claim says who runs, whoever leads by now.
            if self.held().is_none() {
                match self.lead() {
                    Ok(None) => {}
                    Ok(lead) => self.led(lead),
                    Err(outcome) => {
                        contain(|| drop(body));
                        self.report(outcome, None);
                        return;
                    }
                }
            }
            let Some(begun) = self.job.begin(self.number, &task, self.held().is_some()) else {
                contain(|| drop(body));
                if self.held().is_some() {
                    Box::pin(self.give_back()).await;
                }
                self.report_gone();
                return;
            };
            if self.shared.stop.is_cancelled() {
                // After a shutdown has told all others: a pool's contexts hear of it from nobody.
                task.cancellation().cancel_with(SHUT_DOWN);
            }
            self.began = began;
            self.take_over(begun.newer);
            self.shared
                .emit(&self.job, JobEventKind::RunBegins(self.number));
            let settings = &self.job.settings;
            let outcome =
                if settings.retry.is_none() && settings.timeout.is_none() && begun.kill.is_none() {
                    self.attempts = 1;
                    match self.begin(&body, task) {
                        Ok(future) => outcome(future.await).0,
                        Err(panic) => panicked(panic),
                    }
                } else {
                    // Boxed, since every other run would carry its size about.
                    Box::pin(self.under_limits(&body, task, begun.kill, began)).await
                };
            // The body's last reference may be this one, and what it captured is the user's.
            contain(|| drop(body));
            if self.held().is_some() {
                Box::pin(self.settle(outcome)).await;
            } else {
                self.report(outcome, None);
            }
        }
    }

    /// Takes the place of a newer request, if there is one, and begins.
    fn take_over(&mut self, newer: Option<When>) {
        if let Some(newer) = newer {
            self.when = newer;
            // Nobody was asked for the newer one.
            self.set_fence(None);
            self.shared.skipped(&self.job, 1);
        }
        if let Some(held) = self.rest.as_mut().and_then(|rest| rest.held.as_mut()) {
            held.begin();
        }
    }

    /// Settles the run's claim, and reports it then: after a shutdown nothing is left to be told.
    async fn settle(&mut self, outcome: RunOutcome) {
        let is_done = outcome == RunOutcome::Completed;
        // In its place: the run may be dropped meanwhile.
        let at = Some(self.shared.handle.now());
        self.rest().ended = Some(HasEnded { outcome, at });
        if let Some(held) = self.take_held() {
            held.settle(is_done).await;
        }
        self.report_ended();
    }

    /// Runs the body until it succeeds, has failed for good, or a newer run takes its place.
    async fn under_limits(
        &mut self,
        body: &Body,
        task: TaskContext,
        kill: Option<CancellationToken>,
        began: Instant,
    ) -> RunOutcome {
        let attempts = self.attempts(body, &task, began);
        let ended = match kill {
            None => Some(attempts.await),
            Some(kill) => kill.run_until_cancelled(attempts).await,
        };
        ended.unwrap_or_else(|| {
            let token = task.cancellation();
            token.cancel_with("a newer run of the job takes this one's place");
            RunOutcome::Terminated
        })
    }

    /// Runs the body until it succeeds, or has failed for good.
    async fn attempts(&mut self, body: &Body, task: &TaskContext, began: Instant) -> RunOutcome {
        let Some(retry) = self.job.settings.retry else {
            self.attempts = 1;
            return self.attempt(body, task.clone()).await.0;
        };
        // Checked when the job was started; each run draws its own jitter.
        let seed = mix(self.shared.drawn ^ mix(self.job.id()) ^ self.number);
        let mut delays = retry.delays_with_seed(seed).ok();
        loop {
            self.attempts = self.attempts.saturating_add(1);
            let (outcome, retry) = self.attempt(body, task.child()).await;
            if !outcome.is_failure() || !retry || task.is_cancelled() {
                return outcome;
            }
            let elapsed = self.shared.handle.now() - began;
            let delay = delays
                .as_mut()
                .and_then(|delays| delays.next_within(elapsed).ok());
            let Some(delay) = delay else {
                return outcome;
            };
            let retrying = JobEventKind::Retrying {
                run: self.number,
                failed: self.attempts,
                delay,
                outcome: &outcome,
            };
            self.shared.emit(&self.job, retrying);
            if !pause(&self.shared, &self.job, self.number, task, delay).await {
                return outcome;
            }
        }
    }

    /// Runs the body once; also, whether it is worth another attempt if it failed.
    async fn attempt(&self, body: &Body, mut task: TaskContext) -> (RunOutcome, bool) {
        let timeout = self.job.settings.timeout;
        if let Some(timeout) = timeout {
            task = task.with_deadline(self.shared.handle.now() + timeout);
        }
        let token = task.cancellation().clone();
        let future = match self.begin(body, task) {
            Ok(future) => future,
            Err(panic) => return (panicked(panic), true),
        };
        let ended = match timeout {
            None => future.await,
            Some(timeout) => match self.shared.handle.timeout(timeout, future).await {
                Ok(ended) => ended,
                Err(flow_rt::TimeoutError::Elapsed { .. }) => {
                    // What the run has spawned with its context stops too.
                    token.cancel_with("the run took longer than its job's timeout");
                    return (RunOutcome::TimedOut, true);
                }
                Err(_) => return (RunOutcome::Dropped, false),
            },
        };
        outcome(ended)
    }

    /// Calls the user's closure; polls nothing.
    fn begin(&self, body: &Body, task: TaskContext) -> Result<Guarded<Ended>, Panic> {
        let retry_if = self.job.settings.retry_if.clone();
        let begin = |task| {
            let cx = self.context(task, self.attempts);
            body.begin(cx, retry_if)
        };
        let future = catch(|| task.scope_with(begin))?;
        let id = self.shared.id_of(&self.job, self.number);
        Ok(Guarded::new(future, id))
    }

    /// What the user's code of this run is handed.
    pub(super) fn context(&self, task: TaskContext, attempt: u32) -> JobContext {
        JobContext {
            task,
            shared: self.shared.clone(),
            job: self.job.clone(),
            run: self.number,
            attempt,
            due: self.when.due,
            scheduled_at: self.when.scheduled_at,
            fence: self.rest.as_ref().and_then(|rest| rest.fence),
        }
    }

    /// Gives the claim of a run back that is not to begin, before the run counts as ended.
    pub(super) async fn give_back(&mut self) {
        if let Some(held) = self.take_held() {
            held.give_back().await;
        }
    }

    /// Reports a run that is not to begin, or to go on.
    pub(super) fn report_gone(&mut self) {
        let outcome = if self.job.is_killed(self.number) {
            RunOutcome::Terminated
        } else {
            RunOutcome::Dropped
        };
        self.report(outcome, None);
    }

    /// Reports a run that has ended before its claim was settled.
    pub(super) fn report_ended(&mut self) {
        let ended = self.rest.as_mut().and_then(|rest| rest.ended.take());
        let ended = ended.map_or((RunOutcome::Dropped, None), |ended| {
            (ended.outcome, ended.at)
        });
        self.report(ended.0, ended.1);
    }

    /// Reports the run, whose body has ended `at` some time, or now.
    fn report(&mut self, outcome: RunOutcome, at: Option<Instant>) {
        if self.began.is_far_future() && !self.job.reports(self.number) {
            // Whoever removed its job has done so.
            self.number = 0;
            return;
        }
        let now = self.shared.handle.now();
        let report = RunReport {
            run: self.number,
            scheduled_at: self.when.scheduled_at,
            duration: if self.began.is_far_future() {
                Duration::ZERO
            } else {
                at.unwrap_or(now) - self.began
            },
            attempts: self.attempts,
            outcome,
        };
        // Counted and told first: whoever waits for the run or its job finds both.
        self.shared.count_end(&report.outcome);
        if self.job.settings.retry.is_some() && report.outcome.is_failure() {
            self.shared.emit(&self.job, JobEventKind::GaveUp(&report));
            if let Some(hook) = &self.job.settings.on_give_up {
                contain(|| hook(&report));
            }
        }
        self.shared.emit(&self.job, JobEventKind::RunEnded(&report));
        let effects = self.job.finish(report, &self.shared.running, now);
        let starts = effects.start.is_some();
        self.apply(effects);
        if starts {
            self.start_others(now);
        }
        self.shared.run_left();
        self.number = 0;
    }

    /// Starts what else waits as runs end that were started: one after another and not each by the
    /// end of the one before it, since what is refused has ended when it comes back from being
    /// started.
    fn start_others(&self, mut now: Instant) {
        loop {
            // Whatever the runtime's clock does: others have left what follows to this.
            contain(|| now = self.shared.handle.now());
            let Some(effects) = self.job.finish_next(&self.shared.running, now) else {
                return;
            };
            self.apply(effects);
        }
    }

    /// Does what follows from the end of a run. Contains a panic of the runtime that is to start
    /// the next one: that one has ended with it, and others wait for their turn.
    fn apply(&self, effects: Effects) {
        contain(|| {
            if self.shared.apply(&self.job, effects, None) {
                self.shared.touch(&self.job);
            }
        });
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Runs are numbered from 1; 0 is one that was reported.
        if self.number != 0 {
            // First: what is left to be told to the store counts as a run in progress.
            drop(self.take_held());
            self.report_ended();
        }
        // The body's last reference may be this one, and what it captured is the user's.
        let body = self.body.take();
        contain(|| drop(body));
    }
}

/// Waits for the next attempt, without a slot of the pool; false if there is to be none.
pub(super) async fn pause(
    shared: &Shared,
    job: &Job,
    run: u64,
    task: &TaskContext,
    delay: Duration,
) -> bool {
    let Some(wait) = job.rest(run) else {
        return false;
    };
    let sleep = shared.handle.sleep(delay);
    let cancelled = task.cancellation();
    let paused = wait.run_until_cancelled(cancelled.run_until_cancelled(sleep));
    let slept = match &shared.target {
        Target::Runtime => paused.await,
        Target::Pool(pool) => pool.release_slot(paused).await,
    };
    job.rested(run) && matches!(slept, Some(Some(Ok(()))))
}

/// How an attempt ended; also, whether it is worth another one if it failed.
fn outcome(ended: Result<Ended, Panic>) -> (RunOutcome, bool) {
    match ended {
        Ok(Ok(())) => (RunOutcome::Completed, false),
        Ok(Err(failure)) => (failed(failure.error), failure.retry),
        Err(panic) => (panicked(panic), true),
    }
}

fn failed(error: BoxError) -> RunOutcome {
    RunOutcome::Failed(message_of(error))
}

/// What an error says; it goes.
pub(super) fn message_of(error: BoxError) -> Arc<str> {
    // Formatting and dropping the error are the user's code.
    let mut message = None;
    contain(|| {
        message = Some(error.to_string());
        drop(error);
    });
    let message = message.unwrap_or_else(|| "the error panicked when it was printed".to_owned());
    message.into()
}

pub(super) fn panicked(panic: Panic) -> RunOutcome {
    let message = panic.message().into();
    contain(|| drop(panic));
    RunOutcome::Panicked(message)
}
