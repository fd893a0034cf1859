//! The handle of a job.

use core::fmt;
use core::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use flow_rt::{catch, contain};

use super::builder;
use super::{Admission, Job};
use crate::scheduler::error::{ScheduleError, TriggerNowError};
use crate::scheduler::report::{EndReason, JobState, JobStats, RunReport};
use crate::scheduler::run;
use crate::scheduler::run::waiting::Waiter;
use crate::scheduler::shared::Shared;
use crate::scheduler::triggers::plan::When;
use crate::scheduler::triggers::trigger::Trigger;

/// One job. Clones are the same job; dropping a handle lets the job run on.
#[derive(Clone)]
pub struct JobHandle {
    shared: Arc<Shared>,
    job: Arc<Job>,
}

impl JobHandle {
    pub(crate) fn new(shared: Arc<Shared>, job: Arc<Job>) -> Self {
        Self { shared, job }
    }

    /// The job's name.
    pub fn name(&self) -> &str {
        &self.job.name
    }

    /// Stops the timetable; runs in progress go on, and those that wait for them to end are
    /// forgotten, and counted as skipped. False if the job was not active.
    pub fn pause(&self) -> bool {
        let Some(forgotten) = self.job.pause() else {
            return false;
        };
        self.shared.touch(&self.job);
        self.shared.skipped(&self.job, forgotten);
        true
    }

    /// Goes on with the first time that is due from now on. False if the job was not paused.
    ///
    /// What was due in the pause is not made up: a job whose last time it was ends. One that is due
    /// once at all ([`Trigger::is_recurring`]), and was then, is due now.
    pub fn resume(&self) -> bool {
        let (now, wall) = (self.shared.handle.now(), self.shared.handle.wall());
        match catch(|| self.job.resume(now, wall)) {
            Ok(Some(resumed)) => {
                if resumed {
                    self.shared.touch(&self.job);
                    if self.job.is_finished() {
                        self.shared.end(&self.job, EndReason::Finished);
                    }
                }
                resumed
            }
            failed => {
                contain(|| drop(failed));
                self.shared.end(&self.job, EndReason::TriggerFailed);
                false
            }
        }
    }

    /// Runs the job now, beside its timetable, paused or not; here, whichever instance leads.
    ///
    /// Ready when the run was taken over by the runtime or the pool, or, by the overlap policy,
    /// noted to follow the one in progress; not when it has ended. In a full pool it waits for
    /// room, as runs that are due do, unless the pool rejects what it has no room for.
    ///
    /// # Errors
    /// [`TriggerNowError`].
    ///
    /// # Cancel safety
    /// Dropped while it waits for room in the pool, it takes the run back: counted as dropped.
    pub async fn trigger_now(&self) -> Result<(), TriggerNowError> {
        let when = When {
            due: self.shared.handle.now(),
            scheduled_at: self.shared.handle.wall(),
            by_hand: true,
            is_shared: false,
        };
        match self.job.admit_by_hand(when, &self.shared.running) {
            Admission::Start(ticket) => run::submit(&self.shared, &self.job, ticket).await,
            Admission::Buffered { stop, replaced } => {
                for stop in stop {
                    stop.token().cancel();
                }
                self.shared.skipped(&self.job, replaced);
                Ok(())
            }
            Admission::Skipped { running } => {
                self.shared.skipped(&self.job, 1);
                Err(TriggerNowError::Overlap { running })
            }
            Admission::Closed => Err(TriggerNowError::Ended),
        }
    }

    /// Goes by another trigger from now on, as if the job had been started with it now; what was
    /// due by the old one is forgotten, and runs in progress and those that wait for them stay.
    ///
    /// The job's limit of runs holds on, and so do its policies. A window, calendars and ends that
    /// its builder was told of were part of the old trigger: see
    /// [`Trigger::within`] and its sisters. A paused job stays paused.
    ///
    /// # Errors
    /// [`ScheduleError`]: the trigger is refused, is never due, or the job has ended. The job goes
    /// by its old trigger then.
    pub fn update(&self, trigger: impl Trigger) -> Result<(), ScheduleError> {
        let (timetable, now, first) = builder::lay_out(Arc::new(trigger), &self.shared)?;
        builder::check_shared_time(&self.shared, &self.job.name, &self.job.settings, first)?;
        let replaced = self.job.replace_timetable(timetable, now, first);
        let result = match replaced {
            Ok(_) => {
                self.shared.touch(&self.job);
                Ok(())
            }
            Err(_) => Err(ScheduleError::Ended),
        };
        contain(|| drop(replaced));
        result
    }

    /// The reports of the runs that ended last, the latest one last: as many as
    /// [`JobBuilder::history`](crate::JobBuilder::history) keeps, at least the last one.
    pub fn history(&self) -> Vec<RunReport> {
        self.job.history()
    }

    /// The report of the run that ended last.
    pub fn last(&self) -> Option<RunReport> {
        self.job.last()
    }

    /// The next `n` times the job is due, as things stand: fewer if it ends before; none if it
    /// is paused or has ended. No more than 65,536, since most jobs have no end.
    ///
    /// With a fixed delay only the next one is known.
    ///
    /// # Cost
    /// The trigger is asked once for each of them, here.
    pub fn upcoming(&self, n: usize) -> Vec<SystemTime> {
        let (now, wall) = (self.shared.handle.now(), self.shared.handle.wall());
        catch(|| self.job.upcoming(n, now, wall)).unwrap_or_else(|panic| {
            // The driver will meet the same panic and end the job.
            contain(|| drop(panic));
            Vec::new()
        })
    }

    /// Removes the job, at once; the future waits until its runs in progress have ended.
    ///
    /// False if the job had ended. The runs are not told to stop. Those that have not begun, in the
    /// queue of the pool or waiting for room in it, are dropped, and nobody waits for their turn;
    /// what stands for one in the queue leaves it then. One that has a claim there is waited for, as it
    /// gives that back when its turn comes. Inside a run of the job itself, the future
    /// does not wait for that run, nor for others that wait for its end in the same way, or by a
    /// [`shutdown`](crate::Scheduler::shutdown).
    ///
    /// # Cancel safety
    /// The job is removed before the future is polled; dropping it only stops the waiting.
    pub fn remove(&self) -> impl Future<Output = bool> + Send + use<> {
        let running = self.shared.end_counting(&self.job, EndReason::Removed);
        // Without a run in progress there will be none: nothing to wait for, nothing to keep.
        let waiting = (running != Some(0)).then(|| self.clone());
        async move {
            if let Some(this) = waiting {
                this.runs_ended().await;
            }
            running.is_some()
        }
    }

    async fn runs_ended(&self) {
        let mut waiter = Waiter::for_runs_of(&self.shared, &self.job);
        loop {
            let ended = self.shared.ended.listen();
            let running = self.job.running();
            if running <= waiter.excused() {
                return;
            }
            ended.await;
        }
    }

    /// Where the job stands.
    pub fn state(&self) -> JobState {
        self.job.state.lock().phase
    }

    /// What is known about the job, also after it has ended. One short lock.
    pub fn stats(&self) -> JobStats {
        let (now, wall) = (self.shared.handle.now(), self.shared.handle.wall());
        self.job.stats(now, wall)
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("JobHandle")
            .field("name", &stats.name)
            .field("state", &stats.state)
            .field("running", &stats.running)
            .field("runs", &stats.runs)
            .finish_non_exhaustive()
    }
}
