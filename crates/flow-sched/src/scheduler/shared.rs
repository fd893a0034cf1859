//! What the scheduler's handles, its driver and its runs share.

use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, Weak};
use std::time::SystemTime;

use chrono_tz::Tz;
use flow_rt::{CancellationToken, Handle, catch, contain};
use flow_sync::{CachePadded, Event, PaddedCounters};

use super::cluster::Cluster;
use super::error::ScheduleError;
use super::events::Listeners;
use super::job::state::Over;
use super::job::{AfterRun, Effects, Job};
use super::registry::{self, Registry};
use super::report::{
    EndReason, JobEvent, JobEventKind, RunCounts, RunOutcome, RunReport, SchedulerStats,
};
use super::run::waiting::Waiting;
use super::run::{self, Run, Target};
use super::spare::Spare;
use super::triggers::wall::Look;
use super::{Core, Scheduler};
use crate::scheduler::driver::handoff::{Asleep, Handoff, NeededBy};
#[cfg(feature = "tracing")]
use crate::scheduler::driver::warnings;
use crate::scheduler::job::builder::Prepared;
use crate::scheduler::job::settings::Policies;
use crate::scheduler::run::count::Running;
use crate::scheduler::triggers::draw::entropy;
use crate::scheduler::triggers::trigger::Due;
use crate::scheduler::work::guarded::RunId;
use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::{AtomicWaker, Mutex};

pub(crate) type Hook = Box<dyn Fn(&JobEvent<'_>) + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) handle: Handle,
    pub(crate) target: Target,
    pub(crate) zone: Tz,
    /// Registered by the driver before it sleeps.
    pub(crate) driver: AtomicWaker,
    /// Cancelled when the time for a shutdown is over.
    pub(crate) stop: CancellationToken,
    /// Runs that were let in and have not ended. Raised by the jobs.
    pub(crate) running: Running,
    /// Notified when a run has ended.
    pub(crate) ended: Event,
    /// Runs that wait for that.
    pub(crate) waiting: Waiting,
    pub(crate) counters: Counters,
    closed: AtomicBool,
    /// Whether a close has told of the end of every job.
    told: AtomicBool,
    /// Whether the timetables of all jobs stand still.
    stopped: AtomicBool,
    /// Jobs that have ended while runs of theirs were in progress, if these have contexts of a
    /// pool: no children of `stop`.
    left_running: Mutex<Vec<Weak<Job>>>,
    /// Written by whoever starts a job, and so apart from what runs write.
    intake: CachePadded<Mutex<Intake>>,
    spare: CachePadded<Spare>,
    /// What jobs have that were told nothing else.
    pub(crate) settings: Policies,
    /// Drawn for this scheduler: jitter differs from one process to the next.
    pub(crate) drawn: u64,
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

#[derive(Default)]
struct Intake {
    jobs: Registry,
    handoff: Handoff<Arc<Job>>,
}

/// Why runs are told to stop.
pub(crate) const SHUT_DOWN: &str = "the scheduler was shut down";

/// So many jobs are asked anew before other tasks get their turn.
const ASKED: usize = 256;

/// Memory to hand so many jobs over is kept.
const KEPT: usize = 4_096;

/// So many places are looked at under the lock for room to be given back.
pub(super) const TIDIED: usize = 32;

/// So many jobs that have ended are forgotten at a time.
pub(super) const SOME: usize = 8;

/// Scheduler-wide counts: they are statistics and order nothing.
pub(crate) type Counters = PaddedCounters<16>;

pub(crate) const WAKEUPS: usize = 0;
const SCHEDULED: usize = 1;
const REMOVED: usize = 2;
/// Jobs that ended in another way.
const ENDED: usize = 3;
const STARTED: usize = 4;
const COMPLETED: usize = 5;
const FAILED: usize = 6;
const PANICKED: usize = 7;
const TIMED_OUT: usize = 8;
const TERMINATED: usize = 9;
const DECLINED: usize = 10;
const DROPPED: usize = 11;
const SKIPPED: usize = 12;
const MISSED: usize = 13;
const ELSEWHERE: usize = 14;
const UNCLAIMED: usize = 15;

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
        settings: Policies,
        on_event: Option<Hook>,
    ) -> Self {
        Self {
            name,
            handle,
            target,
            zone,
            driver: AtomicWaker::new(),
            stop: CancellationToken::new(),
            running: Running::default(),
            ended: Event::new(),
            waiting: Waiting::default(),
            counters: Counters::default(),
            closed: AtomicBool::new(false),
            told: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            left_running: Mutex::default(),
            intake: CachePadded::default(),
            spare: CachePadded::default(),
            settings,
            drawn: entropy(),
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
        self.wake_driver();
        true
    }

    /// Whether anybody hears what happens to jobs as a matter of course.
    fn is_heard(&self) -> bool {
        self.on_event.is_some() || self.listeners.are_there()
    }

    #[inline]
    pub(crate) fn emit(&self, job: &Job, kind: JobEventKind<'_>) {
        if cfg!(feature = "tracing") || self.is_heard() {
            self.tell(job, kind);
        }
    }

    fn tell(&self, job: &Job, kind: JobEventKind<'_>) {
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
        self.told.load(Ordering::Acquire) && self.running.now() == 0
    }

    /// Takes all of the jobs in and hands them to the driver, or none: then the place of the one
    /// that was refused.
    pub(crate) fn insert(&self, prepared: &[Prepared]) -> Result<(), (usize, Refused)> {
        // Counted before the lock: once the tables are written to, whose lines the driver has had
        // last, each count waits for those.
        let counted = || prepared.first().map(|Prepared { job, .. }| job.clone());
        let (mut to_list, to_driver) = (counted(), counted());
        let (is_heard, to_driver, mut wakes) = {
            let mut intake = self.intake.lock();
            // Under the lock, so that `close` finds every job that was let in before it.
            if self.is_closed() {
                return Err((0, Refused::ShutDown));
            }
            for (place, Prepared { job, .. }) in prepared.iter().enumerate() {
                let listed = to_list.take().unwrap_or_else(|| job.clone());
                if !intake.jobs.insert(listed) {
                    for Prepared { job, .. } in &prepared[..place] {
                        // `prepared` holds it too: no last reference goes here.
                        drop(intake.jobs.remove(job));
                    }
                    return Err((place, Refused::NameTaken));
                }
            }
            // Before anybody can find them, and end them.
            self.counters.add::<SCHEDULED>(prepared.len() as u64);
            // Under the lock too: whoever listens, and then looks, hears of the job or sees it.
            let is_heard = self.is_heard();
            if is_heard {
                (true, to_driver, false)
            } else {
                let wakes = self.hand_over_all(&mut intake, prepared, to_driver);
                (false, None, wakes)
            }
        };
        if is_heard {
            // Told outside of the lock, and before the driver knows of them.
            for Prepared { job, .. } in prepared {
                self.emit(job, JobEventKind::Scheduled);
            }
            wakes = self.hand_over_all(&mut self.intake.lock(), prepared, to_driver);
        }
        if wakes {
            self.wake_driver();
        }
        Ok(())
    }

    /// Hands jobs that were taken in to the driver, the first of them as it was counted for that;
    /// whether it is to be woken.
    fn hand_over_all(
        &self,
        intake: &mut Intake,
        prepared: &[Prepared],
        mut first_job: Option<Arc<Job>>,
    ) -> bool {
        // There is no driver any more, if it was closed meanwhile.
        let is_closed = self.is_closed();
        let mut wakes = false;
        for Prepared { job, first, wall } in prepared {
            let needed_by = needed_by(Some(job.delayed(*first, self.drawn)), *wall);
            if !is_closed {
                let handed = first_job.take().unwrap_or_else(|| job.clone());
                wakes |= intake.handoff.push(handed, needed_by);
            }
        }
        wakes
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Job>> {
        self.intake.lock().jobs.find(name)
    }

    /// All jobs, in the order in which they were started; of those that come or go meanwhile, some.
    pub(crate) fn list(&self) -> Vec<Arc<Job>> {
        registry::list(|from, jobs| self.intake.lock().jobs.slice(from, jobs))
    }

    /// Tells the driver that what a job waits for has changed.
    pub(crate) fn touch(&self, job: &Arc<Job>) {
        self.hand_over(job, job.wakes_at(self.drawn));
    }

    /// Hands a job to the driver, which needs it by the time it is due.
    fn hand_over(&self, job: &Arc<Job>, due: Option<Due>) {
        if self.is_closed() {
            // Without the lock, which a close would take for each of its jobs.
            return;
        }
        // To read it may run a user's runtime: not under the lock.
        let by_wall = matches!(due, Some(Due::Wall(_)));
        let needed_by = needed_by(due, by_wall.then(|| self.handle.wall()));
        let wakes = {
            let mut intake = self.intake.lock();
            !self.is_closed() && intake.handoff.push(job.clone(), needed_by)
        };
        if wakes {
            self.wake_driver();
        }
    }

    /// Wakes the driver. Its waker is the runtime's: its panic is not for whoever has news.
    fn wake_driver(&self) {
        contain(|| self.driver.wake());
    }

    /// The driver is awake, and takes what was handed over in exchange for the room of what it has
    /// taken before, of which nothing is left.
    pub(crate) fn take_news(&self, news: &mut VecDeque<Arc<Job>>) {
        let mut empty = core::mem::take(news);
        if empty.capacity() > KEPT {
            // The memory of a burst goes back.
            empty = VecDeque::new();
        }
        *news = self.intake.lock().handoff.take(empty);
    }

    /// Says that the driver sleeps; false if there is something to do first.
    pub(crate) fn falls_asleep(&self, asleep: Asleep) -> bool {
        self.intake.lock().handoff.sleep(asleep)
    }

    /// Ends a job; false if it had ended.
    pub(crate) fn end(&self, job: &Arc<Job>, reason: EndReason) -> bool {
        self.end_counting(job, reason).is_some()
    }

    /// Ends a job; how many of its runs are in progress, or `None` if it had ended.
    ///
    /// The driver takes its timer and its place in the registry away, later: those lie elsewhere
    /// in memory, and whoever ends a job need not wait for that.
    pub(crate) fn end_counting(&self, job: &Arc<Job>, reason: EndReason) -> Option<usize> {
        let over = job.end(reason, self.is_pooled())?;
        let running = over.running;
        self.has_ended(job, over);
        Some(running)
    }

    fn is_pooled(&self) -> bool {
        matches!(self.target, Target::Pool(_))
    }

    /// Tells that a job has ended.
    fn has_ended(&self, job: &Arc<Job>, over: Over) {
        if over.running > 0 && self.is_pooled() {
            self.note_left_running(job);
        }
        if over.reason == EndReason::Removed {
            self.counters.add::<REMOVED>(1);
        } else {
            self.counters.add::<ENDED>(1);
        }
        self.hand_over(job, None);
        self.skipped(job, over.forgotten);
        self.emit(job, JobEventKind::Ended(over.reason));
        self.dropped(job, over.dropped);
    }

    /// Tells of runs that were dropped before they began.
    pub(crate) fn dropped(&self, job: &Job, reports: Vec<RunReport>) {
        for report in reports {
            self.count_end(&report.outcome);
            self.emit(job, JobEventKind::RunEnded(&report));
            self.run_left();
        }
    }

    fn note_left_running(&self, job: &Arc<Job>) {
        {
            let mut jobs = self.left_running.lock();
            if jobs.len() == jobs.capacity() {
                // No more of them than twice as many as there are runs, or handles.
                jobs.retain(|job| job.strong_count() > 0);
            }
            jobs.push(Arc::downgrade(job));
        }
        if self.stop.is_cancelled() {
            // One of two that close at once may still end jobs when the other one's time is over.
            self.stop_runs();
        }
    }

    /// Tells all runs in progress to stop, of jobs that have ended, and those that begin from now
    /// on as they do (`Run::execute`).
    pub(crate) fn stop_runs(&self) {
        self.stop.cancel_with(SHUT_DOWN);
        let jobs = core::mem::take(&mut *self.left_running.lock());
        for job in jobs {
            let Some(job) = job.upgrade() else { continue };
            for stop in job.cancel_active() {
                stop.token().cancel_with(SHUT_DOWN);
            }
            contain(|| drop(job));
        }
    }

    /// Takes jobs that have ended out of the registry, so few at a time that others who want its
    /// lock meanwhile get it before they have to sleep for it. Those that are not kept come back
    /// one by one, to be dropped: a trigger of the user's may panic. True if there is much more room
    /// then than is needed: see `tidy`.
    pub(crate) fn forget(
        &self,
        ended: &mut Vec<Arc<Job>>,
        mut let_go: impl FnMut(Arc<Job>),
    ) -> bool {
        let mut sparse = false;
        while !ended.is_empty() {
            let mut removed = [const { None }; SOME];
            let mut gone = [const { None }; SOME];
            {
                let mut intake = self.intake.lock();
                for place in 0..SOME {
                    let Some(job) = ended.pop() else { break };
                    // No last reference goes here: that is `job`.
                    let list = if intake.jobs.remove(&job).is_some() {
                        &mut removed
                    } else {
                        &mut gone
                    };
                    list[place] = Some(job);
                }
                sparse = intake.jobs.is_sparse();
            }
            self.spare.keep(&mut removed);
            let nobodys = removed.into_iter().chain(gone);
            nobodys.flatten().for_each(&mut let_go);
        }
        sparse
    }

    /// Gives room of the registry back that is not needed, a part of it; true if there is more.
    pub(crate) fn tidy(&self) -> bool {
        self.intake.lock().jobs.tidy(TIDIED)
    }

    #[cfg(test)]
    pub(super) fn with_registry<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        look(&self.intake.lock().jobs)
    }

    /// Makes a job, of one that has ended if there is any.
    #[inline]
    pub(crate) fn make(&self, job: impl FnOnce() -> Job) -> Arc<Job> {
        self.spare.make(job)
    }

    /// A job is due: asks its trigger and does what follows. Contains the trigger's panic. True if
    /// the job's timer no longer matches. The driver brings the reference that a run takes.
    pub(crate) fn fire(
        self: &Arc<Self>,
        job: &Arc<Job>,
        look: &Look,
        driver: Option<Arc<Self>>,
    ) -> bool {
        let by_driver = driver.is_some();
        match catch(|| job.fire(&self.running, self.drawn, by_driver, look)) {
            Ok(effects) if effects.elsewhere => {
                let (shared, job, look) = (self.clone(), job.clone(), *look);
                self.handle.spawn_detached(async move {
                    let (now, wall) = (shared.handle.now(), shared.handle.wall());
                    let look = Look { now, wall, ..look };
                    if shared.fire(&job, &look, None) {
                        shared.touch(&job);
                    }
                });
                false
            }
            Ok(effects) => self.apply(job, effects, driver),
            Err(panic) => {
                contain(|| drop(panic));
                self.end(job, EndReason::TriggerFailed);
                false
            }
        }
    }

    /// The wall clock was set back so far that jobs would wait in vain: asks the triggers of those
    /// that wait for a time of day for their first time from now on.
    pub(crate) fn wall_was_set_back(self: &Arc<Self>, by: Duration) {
        #[cfg(feature = "tracing")]
        warnings::set_back(self, by);
        #[cfg(not(feature = "tracing"))]
        let _ = by;
        let shared = self.clone();
        self.handle.spawn_detached(async move {
            for (nth, job) in (1_usize..).zip(shared.list()) {
                shared.ask_anew(&job);
                // It may be the last reference, and what it holds is the user's.
                contain(|| drop(job));
                if nth.is_multiple_of(ASKED) {
                    yield_now().await;
                }
            }
        });
    }

    fn ask_anew(&self, job: &Arc<Job>) {
        let (now, wall) = (self.handle.now(), self.handle.wall());
        match catch(|| job.ask_anew(now, wall)) {
            Ok(None) => {}
            Ok(Some(next)) => {
                self.touch(job);
                self.emit(job, JobEventKind::ClockSetBack { next });
            }
            Err(panic) => {
                contain(|| drop(panic));
                self.end(job, EndReason::TriggerFailed);
            }
        }
    }

    /// Does what a step asked for; true if the job's timer no longer matches. A run takes the
    /// reference, if the caller has one for it.
    pub(crate) fn apply(
        self: &Arc<Self>,
        job: &Arc<Job>,
        effects: Effects,
        reference: Option<Arc<Self>>,
    ) -> bool {
        for stop in effects.stop {
            stop.token().cancel();
        }
        self.missed(job, effects.missed);
        self.skipped(job, effects.skipped);
        if let Some(ticket) = effects.start {
            let reference = reference.unwrap_or_else(|| self.clone());
            run::launch(self, job, Run::new(reference, job.clone(), ticket));
        }
        if let Some(mut over) = effects.over {
            over.let_go();
            self.has_ended(job, *over);
        }
        if let Some(reason) = effects.end {
            self.end(job, reason);
        }
        let approved = effects
            .after_run
            .is_some_and(|fixed| self.approve(job, *fixed));
        effects.rearm || approved
    }

    /// Lets the trigger look at a time that the end of a run has fixed.
    fn approve(&self, job: &Arc<Job>, fixed: AfterRun) -> bool {
        let (now, wall) = (self.handle.now(), self.handle.wall());
        match catch(|| job.approve(fixed, now, wall)) {
            Ok(Some(approved)) => {
                if job.is_finished() {
                    self.end(job, EndReason::Finished);
                }
                approved
            }
            failed => {
                contain(|| drop(failed));
                self.end(job, EndReason::TriggerFailed);
                false
            }
        }
    }

    pub(crate) fn missed(&self, job: &Job, count: u64) {
        if count > 0 {
            self.counters.add::<MISSED>(count);
            self.emit(job, JobEventKind::Missed(count));
        }
    }

    pub(crate) fn skipped(&self, job: &Job, count: u64) {
        if count > 0 {
            self.counters.add::<SKIPPED>(count);
            self.emit(job, JobEventKind::Skipped(count));
        }
    }

    /// Stops the intake and ends all jobs; how many. Runs in progress go on.
    pub(crate) fn close(&self) -> usize {
        let (first, jobs) = {
            let mut intake = self.intake.lock();
            let first = !self.closed.swap(true, Ordering::AcqRel);
            (first, core::mem::take(&mut intake.jobs))
        };
        if let Some(cluster) = &self.cluster {
            cluster.over.cancel();
        }
        let ended = registry::list(|from, list| jobs.slice(from, list))
            .iter()
            .filter(|job| self.end(job, EndReason::ShutDown))
            .count();
        self.wake_driver();
        // A later close may come while the first one, which has all the jobs, still tells of them.
        if first {
            self.told.store(true, Ordering::Release);
            fence(Ordering::SeqCst);
            self.listeners.wake();
        }
        drop(self.spare.clear());
        // The last references of jobs, and so the users' triggers, may go here.
        contain(|| drop(jobs));
        ended
    }

    pub(crate) fn run_started(&self) {
        self.counters.add::<STARTED>(1);
    }

    /// Counts how a run ended, before anybody hears of it.
    pub(crate) fn count_end(&self, outcome: &RunOutcome) {
        let counters = &self.counters;
        match outcome {
            RunOutcome::Completed => counters.add::<COMPLETED>(1),
            RunOutcome::Failed(_) => counters.add::<FAILED>(1),
            RunOutcome::Panicked(_) => counters.add::<PANICKED>(1),
            RunOutcome::TimedOut => counters.add::<TIMED_OUT>(1),
            RunOutcome::Terminated => counters.add::<TERMINATED>(1),
            RunOutcome::Declined => counters.add::<DECLINED>(1),
            RunOutcome::Elsewhere => counters.add::<ELSEWHERE>(1),
            RunOutcome::Unclaimed(_) => counters.add::<UNCLAIMED>(1),
            RunOutcome::Dropped => counters.add::<DROPPED>(1),
        }
    }

    /// A run is over, with all that followed from its end.
    pub(crate) fn run_left(&self) {
        self.running.leave();
        self.ended.notify_all();
        // The fence of `notify_all` pairs with that of `close`: one of the two wakes those who wait
        // for the end.
        if self.told.load(Ordering::Relaxed) {
            self.listeners.wake();
        }
    }

    /// What names a run to the code inside of it.
    pub(crate) fn id_of(self: &Arc<Self>, job: &Arc<Job>, run: u64) -> RunId {
        RunId {
            scheduler: Arc::as_ptr(self) as usize,
            job: Arc::as_ptr(job) as usize,
            run,
        }
    }

    pub(crate) fn stats(&self) -> SchedulerStats {
        let counters = &self.counters;
        let of_cluster = |counter: fn(&Cluster) -> &AtomicU64| {
            let cluster = self.cluster.as_ref();
            cluster.map_or(0, |cluster| counter(cluster).load(Ordering::Relaxed))
        };
        // What has ended first: a job that is started and removed meanwhile is not to count as
        // ended alone. Nothing orders the counts, so where they are seen the other way round, the
        // difference is none.
        let removed = counters.sum::<REMOVED>();
        let ended = removed + counters.sum::<ENDED>();
        let scheduled = counters.sum::<SCHEDULED>();
        SchedulerStats {
            jobs: usize::try_from(scheduled.saturating_sub(ended)).unwrap_or(usize::MAX),
            scheduled,
            removed,
            running: self.running.now(),
            runs: RunCounts {
                started: counters.sum::<STARTED>(),
                completed: counters.sum::<COMPLETED>(),
                failed: counters.sum::<FAILED>(),
                panicked: counters.sum::<PANICKED>(),
                timed_out: counters.sum::<TIMED_OUT>(),
                terminated: counters.sum::<TERMINATED>(),
                declined: counters.sum::<DECLINED>(),
                elsewhere: counters.sum::<ELSEWHERE>(),
                unclaimed: counters.sum::<UNCLAIMED>(),
                dropped: counters.sum::<DROPPED>(),
                skipped: counters.sum::<SKIPPED>(),
                missed: counters.sum::<MISSED>(),
            },
            wakeups: counters.sum::<WAKEUPS>(),
            store_errors: of_cluster(|cluster| &cluster.store_errors),
            lost_claims: of_cluster(|cluster| &cluster.lost_claims),
        }
    }
}

/// Lets other tasks have their turn.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if core::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// By when the driver needs a job that is due then; what the wall clock shows, for times of day.
fn needed_by(due: Option<Due>, wall: Option<SystemTime>) -> NeededBy {
    match due {
        None => NeededBy::SomeTime,
        Some(Due::At(at)) => NeededBy::Instant(at.as_nanos()),
        Some(Due::Wall(at)) => NeededBy::Wall {
            at,
            now: wall.unwrap_or(SystemTime::UNIX_EPOCH),
        },
        // Never armed as such.
        Some(Due::AfterRun(_)) => NeededBy::Instant(0),
    }
}
