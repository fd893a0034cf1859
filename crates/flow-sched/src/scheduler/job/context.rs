//! What a run is handed.

use core::fmt;
use core::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use flow_rt::{Instant, TaskContext};

use super::Job;
use crate::scheduler::Scheduler;
use crate::scheduler::cluster::Fence;
use crate::scheduler::shared::Shared;

/// What a run knows about itself; it derefs to the [`TaskContext`] with its cancellation and its
/// deadline.
///
/// ```
/// # use flow_sched::JobContext;
/// async fn report(cx: JobContext) {
///     if cx.is_cancelled() {
///         return;
///     }
///     println!("run {} of {:?}, due at {:?}", cx.run(), cx.job(), cx.scheduled_at());
/// }
/// ```
#[derive(Clone)]
pub struct JobContext {
    pub(crate) task: TaskContext,
    pub(crate) shared: Arc<Shared>,
    pub(crate) job: Arc<Job>,
    pub(crate) run: u64,
    pub(crate) attempt: u32,
    pub(crate) due: Instant,
    pub(crate) scheduled_at: SystemTime,
    pub(crate) fence: Option<Fence>,
}

impl JobContext {
    /// The job's name.
    pub fn job(&self) -> &str {
        &self.job.name
    }

    /// The number of this run, from 1.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// The number of this attempt of the run, from 1; 0 in a condition
    /// ([`JobBuilder::when`](crate::JobBuilder::when)), which is asked before all of them.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When this run was due on the wall clock: the key of an effect that must happen once.
    ///
    /// For a run by hand, when it was asked for; for one that makes up for missed ones, when the
    /// latest of them was due.
    pub fn scheduled_at(&self) -> SystemTime {
        self.scheduled_at
    }

    /// The fence of this run's claim, or of the term of the instance that leads: hand it to what the
    /// run acts upon, so that it refuses a holder that has stalled. See [`Fence`].
    ///
    /// `None` for a run that was not claimed: the scheduler has neither
    /// [`Claims`](crate::Claims) nor an [`Elector`](crate::Elector), the job is
    /// [`local`](crate::JobBuilder::local), the run is one by hand, or the store failed.
    pub fn fence(&self) -> Option<Fence> {
        self.fence
    }

    /// When this run was due on the runtime's clock.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// The scheduler, to start, list or remove jobs from within; `None` once it was dropped.
    ///
    /// Closures get it here rather than capture it: a captured one would keep the scheduler
    /// alive for as long as it keeps the closure.
    pub fn scheduler(&self) -> Option<Scheduler> {
        self.shared.scheduler()
    }
}

impl Deref for JobContext {
    type Target = TaskContext;

    fn deref(&self) -> &TaskContext {
        &self.task
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext")
            .field("job", &self.job())
            .field("run", &self.run)
            .field("scheduled_at", &self.scheduled_at)
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}
