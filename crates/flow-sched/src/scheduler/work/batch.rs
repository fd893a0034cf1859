//! Tasks that run beside one another, as one run of a job.
//!
//! Each task is one of the scheduler's runtime, or of its pool: there a member of the group on the
//! runtime submits it and waits for it, so that the run itself holds no slot meanwhile. A batch
//! that ends early, by a failure or its timeout, tells the members by a token, and waits until all
//! have gone: when it has ended, nothing of it runs any more, and nothing begins after that it has
//! failed. If its run is dropped, the members are dropped too, and nobody waits for them.

use core::fmt;
use core::future::Future;
use core::time::Duration;
use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use flow_rt::{CancellationToken, TaskGroup, TimeoutError};

use super::outcome::{BoxError, Outcome};
use super::part::{Part, PartError};
use crate::pool::{AbortOnDrop, TaskError, WorkerPool};
use crate::scheduler::job::context::JobContext;
use crate::scheduler::run::Target;

/// Tasks that run beside one another, as one run of a job; see
/// [`Scheduler::batch`](crate::Scheduler::batch).
///
/// A task is what a job is: a closure that makes a future of `()` or of a `Result`. They run on the
/// scheduler's runtime or in its pool, there with the priority of the job. Those that may run at
/// once are handed over in their order, and begin in any. The first one that fails ends the batch,
/// unless it is told to [`collect_all`](Self::collect_all). Each has a context that is a child of
/// the run's.
///
/// Like a [`Chain`](crate::Chain) it may be run inside of a job, or of a chain's step, by
/// [`run`](Self::run).
///
/// ```
/// # flow_rt::sim::check(0..3, |rt| async move {
/// use std::time::Duration;
/// use flow_sched::{Batch, BatchError, Scheduler};
///
/// let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
/// let mut sites = Batch::new().concurrency(2).collect_all().timeout(Duration::from_secs(30));
/// for site in ["a.example", "b.example", "c.example"] {
///     sites = sites.task(site, move |_cx| async move {
///         if site.starts_with('b') { Err("no answer") } else { Ok(()) }
///     });
/// }
/// let job = scheduler.job("sites", move |cx| {
///     let batch = sites.run(cx);
///     async {
///         let Err(BatchError::Failed { failed, tasks }) = batch.await else { panic!() };
///         assert_eq!((failed.len(), tasks, failed[0].part()), (1, 3, "b.example"));
///     }
/// });
/// let job = job.after(Duration::from_secs(1)).start().unwrap();
/// rt.sleep(Duration::from_secs(2)).await;
/// assert_eq!(job.stats().runs.completed, 1);
/// # });
/// ```
#[derive(Clone)]
#[must_use = "a batch does nothing until it is a job, or is run in one"]
pub struct Batch {
    tasks: Vec<Part>,
    /// `usize::MAX` for all at once.
    concurrency: usize,
    collects: bool,
    timeout: Option<Duration>,
}

impl Batch {
    /// A batch without a task, which is refused until it has one.
    pub fn new() -> Self {
        Self {
            tasks: Vec::new(),
            concurrency: usize::MAX,
            collects: false,
            timeout: None,
        }
    }

    /// Adds a task that calls `run`. Its name is what errors call it by.
    pub fn task<F, Fut>(mut self, name: impl Into<Cow<'static, str>>, run: F) -> Self
    where
        F: Fn(JobContext) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.tasks.push(Part::new(name, run));
        self
    }

    /// Adds a task whose runs each get a clone of `state`.
    pub fn task_with<S, F, Fut>(self, name: impl Into<Cow<'static, str>>, state: S, run: F) -> Self
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(JobContext, S) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.task(name, move |cx| run(cx, state.clone()))
    }

    /// How many tasks run, or wait in the pool, at once; all unless set.
    pub fn concurrency(mut self, tasks: usize) -> Self {
        self.concurrency = tasks;
        self
    }

    /// Runs all tasks whatever becomes of the others; unless set, the first one that fails ends
    /// the batch: tasks that run are dropped, and the others do not begin.
    pub fn collect_all(mut self) -> Self {
        self.collects = true;
        self
    }

    /// Ends the batch when it takes longer, and drops the tasks that run.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Runs the tasks as part of a job's run, which gives its slot of a pool to others meanwhile.
    ///
    /// # Errors
    /// [`BatchError`], when every task has ended or was dropped.
    ///
    /// # Cancel safety
    /// Dropping the future drops the tasks that run, and does not wait for that.
    ///
    /// # Cost
    /// A task of the runtime for each, and in a pool one of the pool's too.
    pub fn run(
        &self,
        cx: JobContext,
    ) -> impl Future<Output = Result<(), BatchError>> + Send + use<> {
        let batch = self.clone();
        async move {
            batch.check().map_err(BatchError::Refused)?;
            let shared = cx.shared.clone();
            match &shared.target {
                Target::Runtime => batch.drive(cx).await,
                Target::Pool(pool) => pool.release_slot(batch.drive(cx)).await,
            }
        }
    }

    pub(in crate::scheduler) fn check(&self) -> Result<(), BatchConfigError> {
        if self.tasks.is_empty() {
            return Err(BatchConfigError::Empty);
        }
        if self.concurrency == 0 {
            return Err(BatchConfigError::ZeroConcurrency);
        }
        if self.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(BatchConfigError::ZeroTimeout);
        }
        if self.tasks.iter().any(|task| task.name.is_empty()) {
            return Err(BatchConfigError::EmptyName);
        }
        Ok(())
    }

    async fn drive(&self, cx: JobContext) -> Result<(), BatchError> {
        let handle = &cx.shared.handle;
        let halt = CancellationToken::new();
        let mut group = handle.task_group();
        let ended = match self.timeout {
            None => self.collect(&cx, &halt, &mut group).await,
            Some(timeout) => {
                let collected = self.collect(&cx, &halt, &mut group);
                match handle.timeout(timeout, collected).await {
                    Ok(ended) => ended,
                    Err(TimeoutError::Elapsed { .. }) => Err(BatchError::TimedOut { timeout }),
                    // Nobody keeps the time any more: its tasks are going, too.
                    Err(_) => Err(BatchError::Stopped),
                }
            }
        };
        halt.cancel();
        while group.join_next().await.is_some() {}
        ended
    }

    /// Starts the tasks, so many at once, and takes in what becomes of them.
    async fn collect(
        &self,
        cx: &JobContext,
        halt: &CancellationToken,
        group: &mut TaskGroup<Result<(), PartError>>,
    ) -> Result<(), BatchError> {
        let mut failed = Vec::new();
        let mut waiting = self.tasks.iter();
        loop {
            while group.len() < self.concurrency
                && let Some(task) = waiting.next()
            {
                group.spawn(member(task.clone(), cx.clone(), halt.clone()));
            }
            match group.join_next().await {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => {
                    failed.push(error);
                    if !self.collects {
                        break;
                    }
                }
                // A member contains its panics: its runtime has dropped it.
                Some(Err(_)) => return Err(BatchError::Stopped),
                None => break,
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        let tasks = self.tasks.len();
        Err(BatchError::Failed { failed, tasks })
    }
}

/// Runs one task to its end, or until the batch is over: what it says then nobody wants to know.
async fn member(task: Part, cx: JobContext, halt: CancellationToken) -> Result<(), PartError> {
    let shared = cx.shared.clone();
    let ended = match &shared.target {
        Target::Runtime => {
            let child = cx.task.child();
            let run = task.run(JobContext { task: child, ..cx });
            halt.run_until_cancelled(run).await
        }
        Target::Pool(pool) => in_pool(pool, &task, cx, &halt).await,
    };
    ended.unwrap_or(Ok(()))
}

/// Runs a task in the pool; `None` if the batch is over before, and the task gone then.
async fn in_pool(
    pool: &WorkerPool,
    task: &Part,
    cx: JobContext,
    halt: &CancellationToken,
) -> Option<Result<(), PartError>> {
    let priority = cx.job.settings.priority;
    let (work, over) = (task.clone(), halt.clone());
    let submit = pool.submit(async move |task| {
        if over.is_cancelled() {
            return Ok(());
        }
        work.run(JobContext { task, ..cx }).await
    });
    let submit = submit.priority(priority).wait_for_room();
    let Ok(handle) = halt.run_until_cancelled(submit).await? else {
        let closed: BoxError = TaskError::Closed.into();
        return Some(Err(task.failed(closed)));
    };
    let mut handle = AbortOnDrop(handle);
    match halt.run_until_cancelled(&mut handle).await {
        Some(Ok(ended)) => Some(ended),
        Some(Err(error)) => Some(Err(task.failed(error.into()))),
        None => {
            handle.0.abort();
            // Its end is all that is waited for.
            let _ = handle.await;
            None
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&Arc<str>> = self.tasks.iter().map(|task| &task.name).collect();
        f.debug_struct("Batch")
            .field("tasks", &names)
            .field("concurrency", &self.concurrency)
            .field("collect_all", &self.collects)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// Why a batch was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchConfigError {
    /// It has no task.
    Empty,
    /// A task's name is empty.
    EmptyName,
    /// No task may run at once.
    ZeroConcurrency,
    /// The timeout is zero: no batch could end in time.
    ZeroTimeout,
}

impl fmt::Display for BatchConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a batch needs a task at the least",
            Self::EmptyName => "the name of a batch's task must not be empty",
            Self::ZeroConcurrency => {
                "a batch with 0 tasks at once runs none; allowed are 1 and more"
            }
            Self::ZeroTimeout => {
                "the timeout of a batch is zero; leave it out for batches without a limit"
            }
        })
    }
}

impl Error for BatchConfigError {}

/// Why a batch has failed. None of its tasks runs any more.
#[derive(Debug)]
#[non_exhaustive]
pub enum BatchError {
    /// Tasks have failed: the first one, or all that have, if the batch collects all.
    Failed {
        /// Why, in the order in which they failed; one at the least.
        failed: Vec<PartError>,
        /// How many tasks the batch has.
        tasks: usize,
    },
    /// It took longer than it may.
    TimedOut {
        /// How long it may take.
        timeout: Duration,
    },
    /// The runtime has shut down under it.
    Stopped,
    /// The batch is none that could run; [`Batch::run`] alone comes to that.
    Refused(BatchConfigError),
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { failed, tasks } => {
                write!(f, "{} of {tasks} tasks of the batch failed", failed.len())?;
                match failed.first() {
                    Some(first) => write!(f, "; task {:?} {first}", first.part()),
                    None => Ok(()),
                }
            }
            Self::TimedOut { timeout } => write!(f, "the batch took longer than {timeout:?}"),
            Self::Stopped => f.write_str("the runtime of the batch has shut down"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

/// The text of the first task's error is part of its own.
impl Error for BatchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed { failed, .. } => failed.first()?.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::{RunOutcome, Scheduler};

    #[test]
    fn no_task_begins_once_the_batch_is_over() {
        flow_rt::sim::check(0..10, |rt| async move {
            let pool = WorkerPool::builder().runtime(&rt).slots(2).build().unwrap();
            let runtime = Scheduler::builder().runtime(&rt).build().unwrap();
            let pooled = Scheduler::builder().pool(&pool).build().unwrap();
            for scheduler in [runtime, pooled] {
                let begun = Arc::new(AtomicUsize::new(0));
                let counts = begun.clone();
                let task = Part::new("task", move |_cx| {
                    counts.fetch_add(1, Relaxed);
                    async {}
                });
                let job = scheduler.job("job", move |cx| {
                    let task = task.clone();
                    async move {
                        let halt = CancellationToken::new();
                        member(task.clone(), cx.clone(), halt.clone()).await?;
                        halt.cancel();
                        member(task, cx, halt).await
                    }
                });
                let job = job.after(Duration::from_secs(1)).start().unwrap();
                rt.sleep(Duration::from_secs(2)).await;
                assert_eq!(job.last().unwrap().outcome, RunOutcome::Completed);
                assert_eq!(begun.load(Relaxed), 1);
            }
        });
    }
}
