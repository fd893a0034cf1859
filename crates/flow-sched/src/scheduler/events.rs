//! What happens to jobs, for whoever listens: hooks hear it where it happens, listeners later.
//!
//! A listener has a bounded queue under a short lock. Nobody waits for a listener: when its queue
//! is full, the oldest event is lost, and counted. Without listeners an event costs one load.

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use flow_rt::contain;
use futures_core::Stream;

use super::report::{EndReason, JobEventKind, RunOutcome, RunReport};
use super::shared::Shared;
use crate::scheduler::job::label::Label;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{AtomicWaker, Mutex};

/// Something that happened to a job, to keep: what [`JobEvents`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobNews {
    /// The job's name; empty for a job without one.
    pub job: Arc<str>,
    /// What happened.
    pub kind: JobNewsKind,
}

/// What happened to a job; a [`JobEventKind`] to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobNewsKind {
    /// It was started. Told once others can find the job: should one of them remove it at once,
    /// its end may be told before.
    Scheduled,
    /// A run begins; its number.
    RunBegins(u64),
    /// An attempt of a run has failed, and the next one follows.
    Retrying {
        /// The number of the run.
        run: u64,
        /// How many attempts have failed.
        failed: u32,
        /// How long until the next one.
        delay: Duration,
        /// How the last one ended.
        outcome: RunOutcome,
    },
    /// A run of a job with retries has failed for good.
    GaveUp(RunReport),
    /// A run has ended.
    RunEnded(RunReport),
    /// Runs were not let in because an earlier one had not ended; how many.
    Skipped(u64),
    /// Occurrences passed unnoticed and were not made up; how many.
    Missed(u64),
    /// The store of the claims did not answer a question about a run.
    StoreFailed {
        /// The number of the run.
        run: u64,
        /// What went wrong.
        message: Arc<str>,
    },
    /// The claim of a run in progress was lost, and the run was told to stop; its number.
    ClaimLost(u64),
    /// The wall clock was set back by more than three hours at once, and the job's trigger was
    /// asked anew: it is due before the time that it waited for. See
    /// [`Scheduler`](crate::Scheduler#clocks-that-are-set).
    ClockSetBack {
        /// When it is due next, on the wall clock.
        next: SystemTime,
    },
    /// It will not run any more.
    Ended(EndReason),
}

impl From<JobEventKind<'_>> for JobNewsKind {
    fn from(kind: JobEventKind<'_>) -> Self {
        match kind {
            JobEventKind::Scheduled => Self::Scheduled,
            JobEventKind::RunBegins(run) => Self::RunBegins(run),
            JobEventKind::Retrying {
                run,
                failed,
                delay,
                outcome,
            } => Self::Retrying {
                run,
                failed,
                delay,
                outcome: outcome.clone(),
            },
            JobEventKind::GaveUp(report) => Self::GaveUp(report.clone()),
            JobEventKind::RunEnded(report) => Self::RunEnded(report.clone()),
            JobEventKind::Skipped(count) => Self::Skipped(count),
            JobEventKind::Missed(count) => Self::Missed(count),
            JobEventKind::StoreFailed { run, message } => Self::StoreFailed {
                run,
                message: message.into(),
            },
            JobEventKind::ClaimLost(run) => Self::ClaimLost(run),
            JobEventKind::ClockSetBack { next } => Self::ClockSetBack { next },
            JobEventKind::Ended(reason) => Self::Ended(reason),
        }
    }
}

/// The events of a scheduler from when it was made on; see
/// [`Scheduler::events`](crate::Scheduler::events). Dropping it ends the listening. It does not
/// keep the scheduler alive. It is a [`Stream`] too.
pub struct JobEvents {
    shared: Arc<Shared>,
    listener: Arc<Listener>,
}

impl JobEvents {
    pub(crate) fn new(shared: Arc<Shared>, capacity: usize) -> Self {
        let listener = Arc::new(Listener {
            queue: Mutex::default(),
            capacity,
            lost: AtomicU64::new(0),
            waker: AtomicWaker::new(),
        });
        shared.listeners.add(&listener);
        Self { shared, listener }
    }

    /// The next event; `None` when the scheduler is closed, its last run has ended and all has
    /// been told.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<JobNews> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &Context<'_>) -> Poll<Option<JobNews>> {
        for registered in [false, true] {
            if registered {
                // Before the last look: what happens from here on wakes.
                self.listener.waker.register(cx.waker());
            }
            // Looked at before the queue: what happened before the end is in it by then.
            let over = self.shared.is_over();
            let event = self.listener.queue.lock().pop_front();
            if event.is_some() || over {
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<JobNews> {
        self.listener.queue.lock().pop_front()
    }

    /// How many events were lost because nobody fetched them in time.
    pub fn lost(&self) -> u64 {
        self.listener.lost.load(Ordering::Relaxed)
    }
}

/// The events one by one, as [`next`](JobEvents::next) gives them: for combinators, and for loops
/// over several sources.
impl Stream for JobEvents {
    type Item = JobNews;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<JobNews>> {
        self.poll_event(cx)
    }

    /// Those that wait to be fetched, at the least.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.listener.queue.lock().len(), None)
    }
}

impl Drop for JobEvents {
    fn drop(&mut self) {
        self.shared.listeners.remove(&self.listener);
    }
}

impl fmt::Debug for JobEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobEvents")
            .field("scheduler", &self.shared.name)
            .field("queued", &self.listener.queue.lock().len())
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}

struct Listener {
    queue: Mutex<VecDeque<JobNews>>,
    capacity: usize,
    lost: AtomicU64,
    /// That of the one task that fetches.
    waker: AtomicWaker,
}

impl Listener {
    fn tell(&self, news: JobNews) {
        {
            let mut queue = self.queue.lock();
            if queue.len() >= self.capacity {
                queue.pop_front();
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
            queue.push_back(news);
        }
        self.wake();
    }

    /// The waker is of whatever polls the listener: its panic is not for whom the event is of, nor
    /// for the other listeners.
    fn wake(&self) {
        contain(|| self.waker.wake());
    }
}

/// Those who listen to a scheduler.
#[derive(Default)]
pub(crate) struct Listeners {
    /// As many as are in the list, to be looked at without its lock.
    count: AtomicUsize,
    list: Mutex<Vec<Weak<Listener>>>,
}

impl Listeners {
    fn add(&self, listener: &Arc<Listener>) {
        self.list.lock().push(Arc::downgrade(listener));
        self.count.fetch_add(1, Ordering::Release);
    }

    fn remove(&self, listener: &Arc<Listener>) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        let mut list = self.list.lock();
        list.retain(|other| !core::ptr::eq(other.as_ptr(), Arc::as_ptr(listener)));
    }

    /// Whether there are any.
    #[inline]
    pub(crate) fn are_there(&self) -> bool {
        self.count.load(Ordering::Acquire) != 0
    }

    /// Tells all of them.
    pub(crate) fn tell(&self, job: &Label, kind: JobEventKind<'_>) {
        for listener in self.all() {
            listener.tell(JobNews {
                job: job.to_shared(),
                kind: kind.into(),
            });
        }
    }

    /// Lets all of them look whether the scheduler is over.
    pub(crate) fn wake(&self) {
        for listener in self.all() {
            listener.wake();
        }
    }

    fn all(&self) -> Vec<Arc<Listener>> {
        if !self.are_there() {
            return Vec::new();
        }
        self.list.lock().iter().filter_map(Weak::upgrade).collect()
    }
}
