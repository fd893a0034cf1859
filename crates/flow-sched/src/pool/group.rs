//! Tasks that belong together: the first error ends all, or everything is collected.

use core::fmt;
use core::future::{Future, poll_fn};
use core::mem;
use core::ops::ControlFlow;
use core::panic::Location;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use flow_rt::{TaskContext, contain};

use super::error::{PoolConfigError, TaskError};
use super::roll::Origin;
use super::submit::{AbortOnDrop, Submit};
use super::worker_pool::WorkerPool;
use crate::sync::{AtomicWaker, SegQueue};

/// Runs tasks on a pool and waits for all of them; see [`WorkerPool::group`].
///
/// At most so many as the pool has slots are out at a time, or may come to have if it is
/// [adaptive](super::WorkerPoolBuilder::adaptive), unless [`at_once`](Self::at_once) says
/// otherwise; the others are not made before. One for which the queue has no room waits for it
/// while others of the group are out, whatever the pool's answer to a full queue is, unless that is
/// [`CallerRuns`](flow_rt::OnFull::CallerRuns): so a group is not lost to itself, however short the
/// queue.
///
/// In a task of the same pool, or of one above or below it, the group gives the task's slot to its
/// members while it waits: see [`release_slot`](WorkerPool::release_slot). So groups may be nested
/// to any depth, on one slot too.
#[derive(Debug, Clone)]
#[must_use = "a group does nothing until it runs tasks"]
pub struct PoolGroup<'p> {
    pool: &'p WorkerPool,
    /// As many as the pool may have slots, if not set.
    at_once: Option<usize>,
    place: &'static Location<'static>,
}

impl<'p> PoolGroup<'p> {
    #[track_caller]
    pub(super) fn new(pool: &'p WorkerPool) -> Self {
        Self {
            pool,
            at_once: None,
            place: Location::caller(),
        }
    }

    /// How many of the tasks are queued or run at a time.
    ///
    /// # Errors
    /// [`PoolConfigError::EmptyGroup`] for 0.
    pub fn at_once(mut self, tasks: usize) -> Result<Self, PoolConfigError> {
        if tasks == 0 {
            return Err(PoolConfigError::EmptyGroup);
        }
        self.at_once = Some(tasks);
        Ok(self)
    }

    /// Runs all tasks and collects what becomes of each, in their order.
    ///
    /// A task that the pool does not take, when none of the others is out, has the error that
    /// [`WorkerPool::run`] would have.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the tasks that are out; the others are never submitted.
    ///
    /// # Cost
    /// Per task that of [`WorkerPool::submit`], and an entry in a map.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use flow_sched::WorkerPool;
    ///
    /// let pool = WorkerPool::new(2, 10)?;
    /// let squares = pool.group().run_all((1..=3).map(|n| async move |_cx| n * n)).await;
    /// let squares = squares.into_iter().collect::<Result<Vec<u32>, _>>()?;
    /// assert_eq!(squares, [1, 4, 9]);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # });
    /// ```
    pub async fn run_all<F, Fut>(
        self,
        tasks: impl IntoIterator<Item = F>,
    ) -> Vec<Result<Fut::Output, TaskError>>
    where
        F: FnOnce(TaskContext) -> Fut + Send + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        let mut results = Vec::new();
        let collect = |index, result| {
            put(&mut results, index, result);
            ControlFlow::<()>::Continue(())
        };
        self.drive(tasks.into_iter(), collect).await;
        // Every task has ended, so none is left out.
        results.into_iter().flatten().collect()
    }

    /// Runs all tasks and collects their values, in their order, until one of them fails: then
    /// the others are aborted and waited for, and those that are left never submitted.
    ///
    /// # Errors
    /// [`GroupError`], of the task that failed first.
    ///
    /// # Cancel safety
    /// That of [`run_all`](Self::run_all).
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use flow_sched::{GroupError, WorkerPool};
    ///
    /// let pool = WorkerPool::new(2, 10)?;
    /// let numbers = ["1", "2", "three", "4"];
    /// let parsed = pool.group().try_run_all(numbers.map(|text| async move |_cx| text.parse::<u8>()));
    /// assert!(matches!(parsed.await, Err(GroupError::Failed { index: 2, .. })));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # });
    /// ```
    pub async fn try_run_all<F, Fut, T, E>(
        self,
        tasks: impl IntoIterator<Item = F>,
    ) -> Result<Vec<T>, GroupError<E>>
    where
        F: FnOnce(TaskContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let mut values = Vec::new();
        let collect = |index, result| match result {
            Ok(Ok(value)) => {
                put(&mut values, index, value);
                ControlFlow::Continue(())
            }
            Ok(Err(error)) => ControlFlow::Break(GroupError::Failed { index, error }),
            Err(error) => ControlFlow::Break(GroupError::Task { index, error }),
        };
        match self.drive(tasks.into_iter(), collect).await {
            Some(error) => Err(error),
            None => Ok(values.into_iter().flatten().collect()),
        }
    }

    /// Runs tasks and hands their results to `collect` until it breaks.
    async fn drive<F, Fut, B>(
        self,
        tasks: impl Iterator<Item = F>,
        mut collect: impl FnMut(usize, Result<Fut::Output, TaskError>) -> ControlFlow<B>,
    ) -> Option<B>
    where
        F: FnOnce(TaskContext) -> Fut + Send + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        let run = async {
            let mut members = Members::new();
            let mut tasks = tasks.enumerate();
            let broken = loop {
                // Each time: it may be resized meanwhile.
                let at_once = self.at_once.unwrap_or_else(|| self.pool.most_slots());
                let may_start = members.out.len() < at_once;
                let next = if may_start { tasks.next() } else { None };
                let ended = match next {
                    Some((index, task)) => {
                        let task = members.watched(index, task);
                        // Room in the queue may be long in coming, and members end meanwhile.
                        let submit = self.pool.submit(task).origin(Origin {
                            name: None,
                            place: Some(self.place),
                        });
                        let mut submit = if members.out.is_empty() {
                            submit
                        } else {
                            // No member is lost to the others.
                            submit.wait_for_others()
                        };
                        loop {
                            match poll_fn(|cx| members.poll_submit(&mut submit, cx)).await {
                                Event::Queued(handle) => {
                                    members.out.insert(index, AbortOnDrop(handle));
                                    break None;
                                }
                                Event::Refused(error) => break Some((index, Err(error))),
                                Event::Ended(index) => {
                                    let result = members.join(index).await;
                                    if let ControlFlow::Break(with) = collect(index, result) {
                                        drop(submit);
                                        members.abort().await;
                                        return Some(with);
                                    }
                                }
                            }
                        }
                    }
                    None if members.out.is_empty() => break None,
                    None => {
                        let index = poll_fn(|cx| members.poll_ended(cx)).await;
                        Some((index, members.join(index).await))
                    }
                };
                if let Some((index, result)) = ended
                    && let ControlFlow::Break(with) = collect(index, result)
                {
                    break Some(with);
                }
            };
            members.abort().await;
            broken
        };
        self.pool.release_slot(run).await
    }
}

fn put<T>(results: &mut Vec<Option<T>>, index: usize, result: T) {
    if results.len() <= index {
        results.resize_with(index + 1, || None);
    }
    results[index] = Some(result);
}

/// The members of a group that are out.
struct Members<T> {
    /// By age, which is the order of an abort: a hash's would differ from run to run of one seed.
    out: BTreeMap<usize, AbortOnDrop<T>>,
    ended: Arc<Ended>,
}

enum Event<T> {
    Queued(super::task::TaskHandle<T>),
    Refused(TaskError),
    Ended(usize),
}

impl<T: Send + 'static> Members<T> {
    fn new() -> Self {
        Self {
            out: BTreeMap::new(),
            ended: Arc::default(),
        }
    }

    /// The task, made to report its end: by a destructor, so however it goes.
    fn watched<F, Fut>(
        &self,
        index: usize,
        task: F,
    ) -> impl FnOnce(TaskContext) -> Watched<Fut> + Send + use<F, Fut, T>
    where
        F: FnOnce(TaskContext) -> Fut + Send + 'static,
    {
        let report = ReportEnd {
            index,
            ended: self.ended.clone(),
        };
        move |cx| Watched {
            future: task(cx),
            _report: report,
        }
    }

    fn poll_submit<F>(
        &self,
        submit: &mut Submit<'_, F, T>,
        cx: &mut Context<'_>,
    ) -> Poll<Event<T>> {
        match Pin::new(submit).poll(cx) {
            Poll::Ready(Ok(handle)) => Poll::Ready(Event::Queued(handle)),
            Poll::Ready(Err(refused)) => Poll::Ready(Event::Refused(refused.into_task_error())),
            Poll::Pending => self.poll_ended(cx).map(Event::Ended),
        }
    }

    /// The next member that has reported its end.
    fn poll_ended(&self, cx: &Context<'_>) -> Poll<usize> {
        loop {
            let index = ready!(self.ended.poll_next(cx));
            // Tasks that were refused report too.
            if self.out.contains_key(&index) {
                return Poll::Ready(index);
            }
        }
    }

    /// The result of a member that has reported.
    async fn join(&mut self, index: usize) -> Result<T, TaskError> {
        match self.out.remove(&index) {
            Some(member) => member.await,
            // Reported by a task that was refused; nobody asks for those.
            None => Err(TaskError::Cancelled),
        }
    }

    /// Aborts all that are out, and waits for them.
    async fn abort(&mut self) {
        for member in self.out.values() {
            member.0.abort();
        }
        for (_, member) in mem::take(&mut self.out) {
            // Its result came too late to be wanted.
            let _ = member.await;
        }
    }
}

pin_project_lite::pin_project! {
    /// A member's future.
    struct Watched<Fut> {
        #[pin]
        future: Fut,
        _report: ReportEnd,
    }
}

impl<Fut: Future> Future for Watched<Fut> {
    type Output = Fut::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fut::Output> {
        self.project().future.poll(cx)
    }
}

/// Members whose future is gone, and who waits for them.
#[derive(Default)]
struct Ended {
    indices: Reports,
    waiter: AtomicWaker,
}

struct Reports(SegQueue<usize>);

impl Default for Reports {
    fn default() -> Self {
        Self(SegQueue::new())
    }
}

impl Ended {
    fn poll_next(&self, cx: &Context<'_>) -> Poll<usize> {
        if let Some(index) = self.indices.0.pop() {
            return Poll::Ready(index);
        }
        self.waiter.register(cx.waker());
        // After registering: a report from here on wakes.
        self.indices.0.pop().map_or(Poll::Pending, Poll::Ready)
    }
}

struct ReportEnd {
    index: usize,
    ended: Arc<Ended>,
}

impl Drop for ReportEnd {
    fn drop(&mut self) {
        self.ended.indices.0.push(self.index);
        // It may be dropped by an unwinding, and no panic of a waker is for whoever drops it.
        contain(|| self.ended.waiter.wake());
    }
}

/// Why a group has no values; see [`PoolGroup::try_run_all`].
#[derive(Debug)]
#[non_exhaustive]
pub enum GroupError<E> {
    /// A task returned an error.
    Failed {
        /// Which of the tasks, from 0.
        index: usize,
        /// Its error.
        error: E,
    },
    /// A task gave no value, or the pool did not take it.
    Task {
        /// Which of the tasks, from 0.
        index: usize,
        /// What became of it.
        error: TaskError,
    },
}

impl<E> fmt::Display for GroupError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { index, .. } => write!(f, "task {index} of the group failed"),
            Self::Task { index, .. } => write!(f, "task {index} of the group gave no value"),
        }
    }
}

impl<E: Error + 'static> Error for GroupError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed { error, .. } => Some(error),
            Self::Task { error, .. } => Some(error),
        }
    }
}
