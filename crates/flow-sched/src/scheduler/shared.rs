//! What the scheduler's handles, its driver and its runs share.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, Weak};

use chrono_tz::Tz;
use flow_rt::{CancellationToken, Handle, catch, contain};
use flow_sync::Event;

use super::cluster::Cluster;
use super::draw::entropy;
use super::error::ScheduleError;
use super::events::Listeners;
use super::guarded::RunId;
use super::handoff::Handoff;
use super::job::{AfterRun, Effects, Job};
use super::job_builder::Prepared;
use super::registry::Registry;
use super::report::{EndReason, JobEvent, JobEventKind, RunCounts, RunOutcome, SchedulerStats};
use super::run::{self, Target};
use super::settings::Settings;
use super::trigger::Due;
#[cfg(feature = "tracing")]
use super::warnings;
use super::{Core, Scheduler, wall};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

pub(crate) type Hook = Box<dyn Fn(&JobEvent<'_>) + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) handle: Handle,
    pub(crate) target: Target,
    pub(crate) zone: Tz,
    pub(crate) handoff: Handoff<Arc<Job>>,
    /// Cancelled when the time for a shutdown is over.
    pub(crate) stop: CancellationToken,
    /// Runs that were let in and have not ended. Raised by the jobs.
    pub(crate) running: AtomicUsize,
    /// Notified when a run has ended.
    pub(crate) ended: Event,
    pub(crate) counters: Counters,
    closed: AtomicBool,
    /// Whether a close has told of the end of every job.
    told: AtomicBool,
    /// Whether the timetables of all jobs stand still.
    stopped: AtomicBool,
    next_id: AtomicU64,
    jobs: Mutex<Registry>,
    /// What jobs have that were told nothing else.
    pub(crate) settings: Arc<Settings>,
    /// Drawn for this scheduler: jitter differs from one process to the next.
    pub(crate) drawn: u64,
    /// The name of those without one.
    pub(crate) unnamed: Arc<str>,
    on_event: Option<Hook>,
    pub(crate) listeners: Listeners,
    #[cfg(feature = "tracing")]
    pub(crate) misses: warnings::Misses,
    #[cfg(feature = "tracing")]
    pub(crate) store_faults: warnings::Misses,
    /// The other instances, if there are any.
    pub(super) cluster: Option<Cluster>,
    core: OnceLock<Weak<Core>>,
}

/// Scheduler-wide counts, each on its own: they are statistics and order nothing.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) wakeups: AtomicU64,
    scheduled: AtomicU64,
    removed: AtomicU64,
    started: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
    timed_out: AtomicU64,
    terminated: AtomicU64,
    declined: AtomicU64,
    elsewhere: AtomicU64,
    unclaimed: AtomicU64,
    dropped: AtomicU64,
    skipped: AtomicU64,
    missed: AtomicU64,
}

/// Why a job was not taken in.
pub(crate) enum Refused {
    NameTaken,
    ShutDown,
}

impl Refused {
    pub(crate) fn into_error(self, name: &str) -> ScheduleError {
        match self {
            Self::ShutDown => ScheduleError::Closed,
            Self::NameTaken => ScheduleError::NameTaken {
                name: name.to_owned(),
            },
        }
    }
}

impl Shared {
    pub(crate) fn new(
        name: String,
        handle: Handle,
        target: Target,
        zone: Tz,
        settings: Settings,
        on_event: Option<Hook>,
    ) -> Self {
        Self {
            name,
            handle,
            target,
            zone,
            handoff: Handoff::new(),
            stop: CancellationToken::new(),
            running: AtomicUsize::new(0),
            ended: Event::new(),
            counters: Counters::default(),
            closed: AtomicBool::new(false),
            told: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            next_id: AtomicU64::new(0),
            jobs: Mutex::default(),
            settings: Arc::new(settings),
            drawn: entropy(),
            unnamed: "".into(),
            on_event,
            listeners: Listeners::default(),
            #[cfg(feature = "tracing")]
            misses: warnings::Misses::default(),
            #[cfg(feature = "tracing")]
            store_faults: warnings::Misses::default(),
            cluster: None,
            core: OnceLock::new(),
        }
    }

    pub(crate) fn set_core(&self, core: Weak<Core>) {
        // Set once, by the builder.
        let _ = self.core.set(core);
    }

    pub(crate) fn scheduler(&self) -> Option<Scheduler> {
        self.core.get()?.upgrade().map(Scheduler::from_core)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Lets the timetables stand still, or go on; false if they did so already, or the scheduler
    /// is closed.
    pub(crate) fn set_stopped(&self, stopped: bool) -> bool {
        if self.is_closed() || self.stopped.swap(stopped, Ordering::AcqRel) == stopped {
            return false;
        }
        // The driver registers its waker before it looks.
        self.handoff.wake();
        true
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn emit(&self, job: &Job, kind: JobEventKind<'_>) {
        if let Some(hook) = &self.on_event {
            let event = JobEvent {
                job: &job.name,
                kind,
            };
            contain(|| hook(&event));
        }
        self.listeners.tell(&job.name, kind);
        #[cfg(feature = "tracing")]
        warnings::tell(self, &job.name, kind);
    }

    /// Whether all has been told that happens to jobs: they have ended, and so have their runs.
    pub(crate) fn is_over(&self) -> bool {
        self.told.load(Ordering::Acquire) && self.running.load(Ordering::Acquire) == 0
    }

    /// Takes a new job in and hands it to the driver.
    pub(crate) fn insert(&self, job: &Arc<Job>, first: Due) -> Result<(), Refused> {
        {
            let mut jobs = self.jobs.lock();
            // Under the lock, so that `close` finds every job that was let in before it.
            if self.is_closed() {
                return Err(Refused::ShutDown);
            }
            if !jobs.insert(job) {
                return Err(Refused::NameTaken);
            }
        }
        self.counters.scheduled.fetch_add(1, Ordering::Relaxed);
        self.emit(job, JobEventKind::Scheduled);
        self.hand_over(job, Some(first.delayed(job.jitter(first, self.drawn))));
        Ok(())
    }

    /// Takes all of the jobs in, or none: then the place of the one that was refused.
    pub(crate) fn insert_all(&self, prepared: &[Prepared]) -> Result<(), (usize, Refused)> {
        {
            let mut jobs = self.jobs.lock();
            if self.is_closed() {
                return Err((0, Refused::ShutDown));
            }
            for (place, Prepared { job, .. }) in prepared.iter().enumerate() {
                if !jobs.insert(job) {
                    for Prepared { job, .. } in &prepared[..place] {
                        // `prepared` holds it too: no last reference goes here.
                        drop(jobs.remove(job));
                    }
                    return Err((place, Refused::NameTaken));
                }
            }
        }
        let count = prepared.len() as u64;
        self.counters.scheduled.fetch_add(count, Ordering::Relaxed);
        for Prepared { job, first } in prepared {
            self.emit(job, JobEventKind::Scheduled);
            let first = first.delayed(job.jitter(*first, self.drawn));
            self.hand_over(job, Some(first));
        }
        Ok(())
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Job>> {
        self.jobs.lock().find(name)
    }

    /// All jobs, in the order in which they were started.
    pub(crate) fn list(&self) -> Vec<Arc<Job>> {
        self.jobs.lock().list()
    }

    /// Tells the driver that what a job waits for has changed.
    pub(crate) fn touch(&self, job: &Arc<Job>) {
        self.hand_over(job, job.wakes_at(self.drawn));
    }

    /// Hands a job to the driver, which needs it by the time it is due.
    fn hand_over(&self, job: &Arc<Job>, due: Option<Due>) {
        if self.is_closed() {
            return;
        }
        let needed_by = match due {
            None => u64::MAX,
            Some(Due::At(at)) => at.as_nanos(),
            Some(Due::Wall(at)) => {
                let now = self.handle.now();
                let at = wall::to_instant(at, now, self.handle.wall());
                // The driver may sleep without an end now; with this job it must not.
                at.min(now + wall::LOOK_EVERY).as_nanos()
            }
            // Never armed as such.
            Some(Due::AfterRun(_)) => 0,
        };
        self.handoff.push(job.clone(), needed_by);
    }

    /// Ends a job; false if it had ended.
    pub(crate) fn end(&self, job: &Arc<Job>, reason: EndReason) -> bool {
        if !job.end(reason) {
            return false;
        }
        let known = self.jobs.lock().remove(job);
        drop(known);
        if reason == EndReason::Removed {
            self.counters.removed.fetch_add(1, Ordering::Relaxed);
        }
        self.hand_over(job, None);
        self.emit(job, JobEventKind::Ended(reason));
        true
    }

    /// A job is due: asks its trigger and does what follows. Contains the trigger's panic. True if
    /// the job's timer no longer matches.
    pub(crate) fn fire(self: &Arc<Self>, job: &Arc<Job>, by_driver: bool) -> bool {
        let (now, wall) = (self.handle.now(), self.handle.wall());
        match catch(|| job.fire(&self.running, self.drawn, by_driver, now, wall)) {
            Ok(effects) if effects.elsewhere => {
                let (shared, job) = (self.clone(), job.clone());
                self.handle.spawn_detached(async move {
                    if shared.fire(&job, false) {
                        shared.touch(&job);
                    }
                });
                false
            }
            Ok(effects) => self.apply(job, effects),
            Err(panic) => {
                contain(|| drop(panic));
                self.end(job, EndReason::TriggerFailed);
                false
            }
        }
    }

    /// Does what a step asked for; true if the job's timer no longer matches.
    pub(crate) fn apply(self: &Arc<Self>, job: &Arc<Job>, effects: Effects) -> bool {
        for token in effects.stop {
            token.cancel();
        }
        self.missed(job, effects.missed);
        self.skipped(job, effects.skipped);
        if let Some(ticket) = effects.start {
            run::launch(self, job, ticket);
        }
        if let Some(reason) = effects.end {
            self.end(job, reason);
        }
        let approved = effects
            .after_run
            .is_some_and(|fixed| self.approve(job, fixed));
        effects.rearm || approved
    }

    /// Lets the trigger look at a time that the end of a run has fixed.
    fn approve(&self, job: &Arc<Job>, fixed: AfterRun) -> bool {
        let (now, wall) = (self.handle.now(), self.handle.wall());
        match catch(|| job.approve(fixed, now, wall)) {
            Ok(approved) => {
                if job.is_finished() {
                    self.end(job, EndReason::Finished);
                }
                approved
            }
            Err(panic) => {
                contain(|| drop(panic));
                self.end(job, EndReason::TriggerFailed);
                false
            }
        }
    }

    pub(crate) fn missed(&self, job: &Job, count: u64) {
        if count > 0 {
            self.counters.missed.fetch_add(count, Ordering::Relaxed);
            self.emit(job, JobEventKind::Missed(count));
        }
    }

    pub(crate) fn skipped(&self, job: &Job, count: u64) {
        if count > 0 {
            self.counters.skipped.fetch_add(count, Ordering::Relaxed);
            self.emit(job, JobEventKind::Skipped(count));
        }
    }

    /// Stops the intake and ends all jobs; how many. Runs in progress go on.
    pub(crate) fn close(&self) -> usize {
        let (first, jobs) = {
            let mut jobs = self.jobs.lock();
            let first = !self.closed.swap(true, Ordering::AcqRel);
            (first, core::mem::take(&mut *jobs))
        };
        if let Some(cluster) = &self.cluster {
            cluster.over.cancel();
        }
        let ended = jobs
            .list()
            .iter()
            .filter(|job| self.end(job, EndReason::ShutDown))
            .count();
        self.handoff.wake();
        // A later close may come while the first one, which has all the jobs, still tells of them.
        if first {
            self.told.store(true, Ordering::Release);
            fence(Ordering::SeqCst);
            self.listeners.wake();
        }
        // The last references of jobs, and so the users' triggers, may go here.
        contain(|| drop(jobs));
        ended
    }

    pub(crate) fn run_started(&self) {
        self.counters.started.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts how a run ended, before anybody hears of it.
    pub(crate) fn count_end(&self, outcome: &RunOutcome) {
        let counters = &self.counters;
        match outcome {
            RunOutcome::Completed => &counters.completed,
            RunOutcome::Failed(_) => &counters.failed,
            RunOutcome::Panicked(_) => &counters.panicked,
            RunOutcome::TimedOut => &counters.timed_out,
            RunOutcome::Terminated => &counters.terminated,
            RunOutcome::Declined => &counters.declined,
            RunOutcome::Elsewhere => &counters.elsewhere,
            RunOutcome::Unclaimed(_) => &counters.unclaimed,
            RunOutcome::Dropped => &counters.dropped,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    /// A run is over, with all that followed from its end.
    pub(crate) fn run_left(&self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
        self.ended.notify_all();
        // The fence of `notify_all` pairs with that of `close`: one of the two wakes those who wait
        // for the end.
        if self.told.load(Ordering::Relaxed) {
            self.listeners.wake();
        }
    }

    /// What names this scheduler to code inside its runs.
    pub(crate) fn id_of(self: &Arc<Self>, job: &Arc<Job>) -> RunId {
        RunId {
            scheduler: Arc::as_ptr(self) as usize,
            job: Arc::as_ptr(job) as usize,
        }
    }

    pub(crate) fn stats(&self) -> SchedulerStats {
        let counters = &self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SchedulerStats {
            jobs: self.jobs.lock().len(),
            scheduled: read(&counters.scheduled),
            removed: read(&counters.removed),
            running: self.running.load(Ordering::Acquire),
            runs: RunCounts {
                started: read(&counters.started),
                completed: read(&counters.completed),
                failed: read(&counters.failed),
                panicked: read(&counters.panicked),
                timed_out: read(&counters.timed_out),
                terminated: read(&counters.terminated),
                declined: read(&counters.declined),
                elsewhere: read(&counters.elsewhere),
                unclaimed: read(&counters.unclaimed),
                dropped: read(&counters.dropped),
                skipped: read(&counters.skipped),
                missed: read(&counters.missed),
            },
            wakeups: read(&counters.wakeups),
            store_errors: self
                .cluster
                .as_ref()
                .map_or(0, |cluster| read(&cluster.store_errors)),
            lost_claims: self
                .cluster
                .as_ref()
                .map_or(0, |cluster| read(&cluster.lost_claims)),
        }
    }
}
