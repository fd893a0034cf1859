//! What is known about jobs and runs: counts, states, reports, events.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;
use std::time::SystemTime;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunOutcome {
    /// The job's future returned `()` or `Ok`.
    Completed,
    /// It returned an error; its message.
    Failed(Arc<str>),
    /// It panicked; the panic's message.
    Panicked(Arc<str>),
    /// It was dropped because it took longer than the job's timeout.
    TimedOut,
    /// It was dropped because a newer run took its place; see
    /// [`Overlap::TerminatePrevious`](crate::Overlap::TerminatePrevious).
    Terminated,
    /// It never began, because the job's condition said no.
    Declined,
    /// It never began, because another instance has claimed its occurrence, or leads.
    Elsewhere,
    /// It never began, because the store of the claims failed; its message. See
    /// [`OnStoreError`](crate::OnStoreError).
    Unclaimed(Arc<str>),
    /// It never began, or was dropped half-way: the pool was closed, the runtime went away, or
    /// the job was removed while the run waited for room.
    Dropped,
}

impl RunOutcome {
    /// Whether the run failed: by an error, a panic, or its timeout.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Panicked(_) | Self::TimedOut)
    }
}

/// One run that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunReport {
    /// The number of the run, from 1.
    pub run: u64,
    /// The time it was due, on the wall clock.
    pub scheduled_at: SystemTime,
    /// From the first poll to the end, with all attempts and the delays between them; zero if it
    /// never began.
    pub duration: Duration,
    /// How often the body was run: once, unless the job is told to retry; never, if the run never
    /// began.
    pub attempts: u32,
    /// How it ended.
    pub outcome: RunOutcome,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobState {
    /// It will run when it is due.
    Active,
    /// It will not run until it is resumed, except by hand.
    Paused,
    /// It will not run any more.
    Ended(EndReason),
}

/// Why a job will not run any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// Its trigger has no further time, or its runs are used up.
    Finished,
    /// It was removed.
    Removed,
    /// A run failed, and it was told to stop on errors.
    RunFailed,
    /// Its trigger panicked, or did not move on.
    TriggerFailed,
    /// The scheduler was shut down or dropped.
    ShutDown,
}

/// How often what happened to a job's runs, since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RunCounts {
    /// Runs that became due and were let in: all the ones below, and those in progress.
    pub started: u64,
    /// Ended well.
    pub completed: u64,
    /// Returned an error.
    pub failed: u64,
    /// Panicked.
    pub panicked: u64,
    /// Took longer than the timeout.
    pub timed_out: u64,
    /// Were dropped because a newer run took their place.
    pub terminated: u64,
    /// Never began, because the job's condition said no.
    pub declined: u64,
    /// Never began, because another instance had them.
    pub elsewhere: u64,
    /// Never began, because the store of the claims failed.
    pub unclaimed: u64,
    /// Never began, or were dropped half-way.
    pub dropped: u64,
    /// Not let in because an earlier run had not ended: at once by the overlap policy, or forgotten
    /// while they waited, for a newer one, by a pause or with the end of their job.
    pub skipped: u64,
    /// Occurrences that passed unnoticed and were not made up.
    ///
    /// Those of a cron pattern, and of other triggers that do not count them at once, may be
    /// counted as 1,024 where more passed in one go.
    pub missed: u64,
}

impl RunCounts {
    pub(crate) fn count(&mut self, outcome: &RunOutcome) {
        *match outcome {
            RunOutcome::Completed => &mut self.completed,
            RunOutcome::Failed(_) => &mut self.failed,
            RunOutcome::Panicked(_) => &mut self.panicked,
            RunOutcome::TimedOut => &mut self.timed_out,
            RunOutcome::Terminated => &mut self.terminated,
            RunOutcome::Declined => &mut self.declined,
            RunOutcome::Elsewhere => &mut self.elsewhere,
            RunOutcome::Unclaimed(_) => &mut self.unclaimed,
            RunOutcome::Dropped => &mut self.dropped,
        } += 1;
    }
}

/// A job at one moment; see [`JobHandle::stats`](crate::JobHandle::stats).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobStats {
    /// Its name.
    pub name: Arc<str>,
    /// Where it stands.
    pub state: JobState,
    /// What happened to its runs.
    pub runs: RunCounts,
    /// Runs let in and not ended, those that wait for room in the pool among them.
    pub running: usize,
    /// When it is due next, on the wall clock; `None` if it is not armed.
    pub next: Option<SystemTime>,
    /// The run that ended last.
    pub last: Option<RunReport>,
    /// Whether it is due more than once.
    pub recurring: bool,
    /// The runs it may take; `None` without a limit.
    pub max_runs: Option<u64>,
}

/// A scheduler at one moment; see [`Scheduler::stats`](crate::Scheduler::stats).
///
/// The counts are read one by one while work goes on, so they may differ by what happened in
/// between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SchedulerStats {
    /// Jobs that have not ended.
    pub jobs: usize,
    /// Jobs started since the beginning.
    pub scheduled: u64,
    /// Jobs removed by hand before they had finished.
    pub removed: u64,
    /// Runs let in and not ended.
    pub running: usize,
    /// What happened to all runs of all jobs.
    pub runs: RunCounts,
    /// Times the driver woke up.
    pub wakeups: u64,
    /// Questions that the store of the claims did not answer.
    pub store_errors: u64,
    /// Claims that were lost while their runs were in progress.
    pub lost_claims: u64,
}

/// What became of the runs at [`Scheduler::shutdown`](crate::Scheduler::shutdown).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SchedulerReport {
    /// Jobs ended by this call.
    pub jobs: usize,
    /// Runs that were in progress and ended in time.
    pub finished: usize,
    /// Runs that had not ended by the deadline and were told to stop.
    pub cancelled: usize,
    /// Of those, runs still in progress when the report was made, but for one that calls the
    /// shutdown: all that had no time to heed it, unless the shutdown gave them some
    /// ([`Shutdown::then_cancel`](crate::Shutdown::then_cancel)).
    pub left: usize,
}

impl fmt::Display for SchedulerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} jobs ended, {} runs finished, {} told to stop",
            self.jobs, self.finished, self.cancelled
        )?;
        if self.left > 0 {
            write!(f, ", {} of them still in progress", self.left)?;
        }
        Ok(())
    }
}

/// Something that happened to a job; what
/// [`SchedulerBuilder::on_event`](crate::SchedulerBuilder::on_event) gets.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct JobEvent<'a> {
    /// The job's name.
    pub job: &'a str,
    /// What happened.
    pub kind: JobEventKind<'a>,
}

/// What happened to a job.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum JobEventKind<'a> {
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
        outcome: &'a RunOutcome,
    },
    /// A run of a job with retries has failed for good.
    GaveUp(&'a RunReport),
    /// A run has ended.
    RunEnded(&'a RunReport),
    /// Runs were not let in because an earlier one had not ended; how many.
    Skipped(u64),
    /// Occurrences passed unnoticed and were not made up; how many.
    Missed(u64),
    /// The store of the claims did not answer a question about a run.
    StoreFailed {
        /// The number of the run.
        run: u64,
        /// What went wrong.
        message: &'a str,
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
