//! A job: its settings, its state, and the steps from one state to the next.
//!
//! # State
//! Everything that changes stands under one short mutex, `Job::state`: no user code, no waker
//! and no other lock is met while it is held. The driver's timer follows `armed`; whoever
//! changes `armed` outside of the driver hands the job over (`Shared::touch`), and the driver
//! makes the timer match.
//!
//! # Invariants
//! 1. A run is in `active` from when it is let in until it has ended, however it ends.
//! 2. `active` is never longer than the overlap policy allows.
//! 3. `epoch` moves on whenever `armed` does: a step that asked the trigger outside of the lock
//!    takes effect only if nothing else has happened to the job since.
//! 4. A job that has ended lets no run in, is armed for nothing and holds no body: what its
//!    closure captured goes with its last run.
//! 5. Runs let in never outnumber `max_runs`.
//! 6. A run counts in `running` from the step that lets it in, under the lock: so whoever ends a
//!    job, and then waits until nothing runs, waits for every run that came before.

use core::time::Duration;
use std::sync::Arc;
use std::time::SystemTime;

use flow_rt::{CancellationToken, Instant, contain};
use flow_sync::Event;

use super::context::JobContext;
use super::guarded::BoxFuture;
use super::outcome::BoxError;
use super::policy::{Misfire, Overlap};
use super::report::{EndReason, JobState, JobStats, RunCounts, RunReport};
use super::shared::Shared;
use super::trigger::{CatchUp, Due, Trigger, TriggerContext, is_past, moves_on};
use super::wall;
use super::wheel::Key;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// What a job does, erased.
pub(crate) type Body = Arc<dyn Fn(JobContext) -> BoxFuture<Result<(), BoxError>> + Send + Sync>;

pub(crate) struct Job {
    /// Counts the jobs of a scheduler: decides among equal deadlines.
    pub(crate) id: u64,
    pub(crate) name: Arc<str>,
    pub(crate) settings: Settings,
    pub(crate) trigger: Box<dyn Trigger>,
    pub(crate) started: Instant,
    pub(crate) state: Mutex<State>,
    /// The runs of the whole scheduler.
    running: Arc<AtomicUsize>,
    /// Notified when a run has ended.
    pub(crate) ended: Event,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) overlap: Overlap,
    pub(crate) misfire: Misfire,
    pub(crate) max_runs: Option<u64>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) recurring: bool,
    /// Whether the driver itself may ask the trigger.
    pub(crate) cheap: bool,
}

pub(crate) struct State {
    pub(crate) phase: JobState,
    body: Option<Body>,
    /// What the job waits for.
    armed: Option<Due>,
    /// What was due last.
    previous: Option<Due>,
    /// Set while the next due time is to be counted from the end of the runs in progress.
    after_runs: Option<Duration>,
    /// Whether nothing is due after what is armed and running.
    exhausted: bool,
    epoch: u64,
    /// The driver's timer, and the driver's alone.
    pub(crate) timer: Option<(Clock, Key)>,
    active: Vec<Active>,
    buffered: Option<When>,
    counts: RunCounts,
    last: Option<RunReport>,
}

/// Which clock a timer runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Monotonic,
    Wall,
}

struct Active {
    run: u64,
    /// Told to stop before it began.
    cancelled: bool,
    token: Option<CancellationToken>,
}

/// When a run is due, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct When {
    pub(crate) due: Instant,
    pub(crate) scheduled_at: SystemTime,
}

/// A run that was let in.
pub(crate) struct Ticket {
    pub(crate) run: u64,
    pub(crate) when: When,
    pub(crate) body: Body,
}

/// What became of a request to run.
pub(crate) enum Admission {
    Start(Ticket),
    /// It follows when the runs in progress have ended; these are to be told to stop, and so
    /// many requests gave way to it.
    Buffered {
        stop: Vec<CancellationToken>,
        replaced: u64,
    },
    /// An earlier run has not ended.
    Skipped {
        running: usize,
    },
    /// The job lets no run in.
    Closed,
}

/// What a step asks its caller to do, once the lock is released.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) start: Option<Ticket>,
    pub(crate) stop: Vec<CancellationToken>,
    /// The driver's timer no longer matches.
    pub(crate) rearm: bool,
    pub(crate) skipped: u64,
    pub(crate) missed: u64,
    pub(crate) end: Option<EndReason>,
}

/// What the trigger said about a time that is due.
struct Plan {
    latest: Due,
    missed: u64,
    next: Option<Due>,
    failed: bool,
}

impl Job {
    pub(crate) fn new(
        shared: &Shared,
        name: Arc<str>,
        settings: Settings,
        trigger: Box<dyn Trigger>,
        body: Body,
        started: Instant,
        first: Due,
    ) -> Self {
        Self {
            id: shared.next_id(),
            name,
            settings,
            trigger,
            started,
            state: Mutex::new(State {
                phase: JobState::Active,
                body: Some(body),
                armed: Some(first),
                previous: None,
                after_runs: None,
                exhausted: false,
                epoch: 0,
                timer: None,
                active: Vec::new(),
                buffered: None,
                counts: RunCounts::default(),
                last: None,
            }),
            running: shared.running.clone(),
            ended: Event::new(),
        }
    }

    fn context(&self, now: Instant, wall: SystemTime) -> TriggerContext {
        TriggerContext::new(now, wall).started_at(self.started)
    }

    /// What the job waits for, if it is to wait.
    pub(crate) fn armed(&self) -> Option<Due> {
        self.state.lock().wanted()
    }

    /// Asks the trigger about the time that is due, and lets a run in. Calls the trigger outside
    /// of the lock, and lets its panic through for the caller to contain; nothing has changed then.
    pub(crate) fn fire(&self, now: Instant, wall: SystemTime) -> Effects {
        let cx = self.context(now, wall);
        let (due, epoch) = {
            let state = self.state.lock();
            match state.wanted() {
                Some(due) if is_past(due, &cx) => (due, state.epoch),
                // Paused, removed or moved meanwhile, or the clock was set back.
                _ => {
                    return Effects {
                        rearm: true,
                        ..Effects::default()
                    };
                }
            }
        };
        let plan = plan(&*self.trigger, due, &cx);
        let mut state = self.state.lock();
        if state.epoch != epoch {
            return Effects {
                rearm: true,
                ..Effects::default()
            };
        }
        self.carry_out(&mut state, &plan, &cx)
    }

    fn carry_out(&self, state: &mut State, plan: &Plan, cx: &TriggerContext) -> Effects {
        let mut effects = Effects {
            missed: plan.missed,
            rearm: true,
            ..Effects::default()
        };
        state.previous = Some(plan.latest);
        let when = when(plan.latest, cx);
        if lateness(plan.latest, cx) <= self.settings.misfire.within() {
            effects.admit(self.admit(state, when));
        } else {
            effects.missed += 1;
        }
        state.counts.missed += effects.missed;
        if plan.failed {
            effects.end = Some(EndReason::TriggerFailed);
        } else if !self.is_used_up(state) {
            state.set_next(plan.next, cx.now());
        }
        if effects.end.is_none() && state.is_finished() {
            effects.end = Some(EndReason::Finished);
        }
        effects
    }

    /// Lets a run in, by the overlap policy and the run limit.
    fn admit(&self, state: &mut State, when: When) -> Admission {
        let Some(body) = &state.body else {
            return Admission::Closed;
        };
        if self.is_used_up(state) {
            return Admission::Closed;
        }
        let running = state.active.len();
        let room = match self.settings.overlap {
            Overlap::Allow(limit) => running < limit,
            _ => running == 0,
        };
        if room {
            let body = body.clone();
            let ticket = state.start(body, when);
            // Relaxed: the lock publishes it (invariant 6).
            self.running.fetch_add(1, Ordering::Relaxed);
            if self.is_used_up(state) {
                state.exhaust();
            }
            return Admission::Start(ticket);
        }
        match self.settings.overlap {
            Overlap::Skip | Overlap::Allow(_) => {
                state.counts.skipped += 1;
                Admission::Skipped { running }
            }
            policy => {
                let replaced = u64::from(state.buffered.replace(when).is_some());
                state.counts.skipped += replaced;
                let stop = if policy == Overlap::CancelPrevious {
                    state.cancel_active()
                } else {
                    Vec::new()
                };
                Admission::Buffered { stop, replaced }
            }
        }
    }

    /// Lets a run in at once, beside the timetable, paused or not.
    pub(crate) fn admit_by_hand(&self, when: When) -> Admission {
        self.admit(&mut self.state.lock(), when)
    }

    /// Notes that a run begins; false if it must not, because the job was removed meanwhile.
    pub(crate) fn begin(&self, run: u64, token: &CancellationToken) -> bool {
        let mut state = self.state.lock();
        let removed = state.phase == JobState::Ended(EndReason::Removed);
        let Some(active) = state.active.iter_mut().find(|active| active.run == run) else {
            return false;
        };
        active.token = Some(token.clone());
        let cancelled = active.cancelled;
        drop(state);
        if cancelled {
            token.cancel();
        }
        !removed
    }

    /// Notes that a run has ended, and lets in the one that waited for it.
    pub(crate) fn finish(&self, report: RunReport, now: Instant) -> Effects {
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        state.active.retain(|active| active.run != report.run);
        state.counts.count(&report.outcome);
        state.last = Some(report);
        if state.active.is_empty() {
            let buffered = state.buffered.take();
            if let Some(when) = buffered
                && let Admission::Start(ticket) = self.admit(&mut state, when)
            {
                effects.start = Some(ticket);
            } else if let Some(delay) = state.after_runs.take() {
                state.arm(Some(Due::At(now + delay)));
                effects.rearm = true;
            }
        }
        if state.is_finished() {
            effects.end = Some(EndReason::Finished);
        }
        effects
    }

    /// Stops the timetable; false if the job is not active.
    pub(crate) fn pause(&self) -> bool {
        let mut state = self.state.lock();
        if state.phase != JobState::Active {
            return false;
        }
        state.phase = JobState::Paused;
        state.epoch += 1;
        state.counts.skipped += u64::from(state.buffered.take().is_some());
        true
    }

    /// Goes on with the first time that is due from now on; false if the job is not paused.
    ///
    /// Lets a panic of the trigger through; the job is still paused then.
    pub(crate) fn resume(&self, now: Instant, wall: SystemTime) -> bool {
        let cx = self.context(now, wall);
        loop {
            let (armed, epoch) = {
                let state = self.state.lock();
                if state.phase != JobState::Paused {
                    return false;
                }
                (state.armed, state.epoch)
            };
            // What passed in the pause is not made up, unless it was the last: a job that is due
            // once is then due now.
            let next = armed
                .filter(|&due| is_past(due, &cx))
                .and_then(|due| self.trigger.next(&cx.after(now_like(due, &cx))));
            let mut state = self.state.lock();
            if state.epoch != epoch {
                continue;
            }
            state.phase = JobState::Active;
            state.epoch += 1;
            if next.is_some() {
                state.set_next(next, now);
            }
            return true;
        }
    }

    /// Ends the job; false if it had ended. Runs in progress go on.
    pub(crate) fn end(&self, reason: EndReason) -> bool {
        let body = {
            let mut state = self.state.lock();
            if matches!(state.phase, JobState::Ended(_)) {
                return false;
            }
            state.phase = JobState::Ended(reason);
            state.arm(None);
            state.after_runs = None;
            state.buffered = None;
            state.body.take()
        };
        // What the closure captured is the user's: not under the lock.
        contain(|| drop(body));
        true
    }

    /// Tokens of the runs in progress, for the caller to cancel.
    pub(crate) fn cancel_active(&self) -> Vec<CancellationToken> {
        self.state.lock().cancel_active()
    }

    pub(crate) fn running(&self) -> usize {
        self.state.lock().active.len()
    }

    fn is_used_up(&self, state: &State) -> bool {
        self.settings
            .max_runs
            .is_some_and(|max| state.counts.started >= max)
    }

    /// The next `n` times that are due as things stand, on the wall clock.
    pub(crate) fn upcoming(&self, n: usize, now: Instant, wall: SystemTime) -> Vec<SystemTime> {
        let (armed, left) = {
            let state = self.state.lock();
            let left = self
                .settings
                .max_runs
                .map_or(u64::MAX, |max| max - state.counts.started);
            (state.wanted(), left)
        };
        let n = n.min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut cx = self.context(now, wall);
        let mut due = armed;
        let mut times = Vec::new();
        while times.len() < n {
            let Some(at @ (Due::At(_) | Due::Wall(_))) = due else {
                break;
            };
            if !moves_on(at, &cx) {
                break;
            }
            times.push(when(at, &cx).scheduled_at);
            cx = cx.after(at);
            due = self.trigger.next(&cx);
        }
        times
    }

    pub(crate) fn stats(&self, now: Instant, wall: SystemTime) -> JobStats {
        let cx = self.context(now, wall);
        let state = self.state.lock();
        JobStats {
            name: self.name.clone(),
            state: state.phase,
            runs: state.counts,
            running: state.active.len(),
            next: state.wanted().map(|due| when(due, &cx).scheduled_at),
            last: state.last.clone(),
            recurring: self.settings.recurring,
            max_runs: self.settings.max_runs,
        }
    }
}

impl State {
    fn wanted(&self) -> Option<Due> {
        if self.phase == JobState::Active {
            self.armed
        } else {
            None
        }
    }

    fn arm(&mut self, due: Option<Due>) {
        self.armed = due;
        self.epoch += 1;
    }

    /// Takes the trigger's answer over.
    fn set_next(&mut self, next: Option<Due>, now: Instant) {
        self.after_runs = None;
        match next {
            Some(Due::AfterRun(delay)) if self.active.is_empty() => {
                self.arm(Some(Due::At(now + delay)));
            }
            Some(Due::AfterRun(delay)) => {
                self.after_runs = Some(delay);
                self.arm(None);
            }
            Some(due) => self.arm(Some(due)),
            None => self.exhaust(),
        }
    }

    fn exhaust(&mut self) {
        self.exhausted = true;
        self.after_runs = None;
        self.arm(None);
    }

    fn start(&mut self, body: Body, when: When) -> Ticket {
        self.counts.started += 1;
        let run = self.counts.started;
        self.active.push(Active {
            run,
            cancelled: false,
            token: None,
        });
        Ticket { run, when, body }
    }

    fn cancel_active(&mut self) -> Vec<CancellationToken> {
        for active in &mut self.active {
            active.cancelled = true;
        }
        self.active
            .iter()
            .filter_map(|active| active.token.clone())
            .collect()
    }

    fn is_finished(&self) -> bool {
        self.exhausted
            && self.armed.is_none()
            && self.active.is_empty()
            && self.buffered.is_none()
            && !matches!(self.phase, JobState::Ended(_))
    }
}

impl Effects {
    fn admit(&mut self, admission: Admission) {
        match admission {
            Admission::Start(ticket) => self.start = Some(ticket),
            Admission::Buffered { stop, replaced } => {
                self.stop = stop;
                self.skipped += replaced;
            }
            Admission::Skipped { .. } => self.skipped += 1,
            Admission::Closed => {}
        }
    }
}

/// Asks the trigger what was missed since `due`, and what comes next.
fn plan(trigger: &dyn Trigger, due: Due, cx: &TriggerContext) -> Plan {
    let mut plan = Plan {
        latest: due,
        missed: 0,
        next: None,
        failed: false,
    };
    let after_due = cx.after(due);
    let Some(next) = trigger.next(&after_due) else {
        return plan;
    };
    plan.next = Some(next);
    if !moves_on(next, &after_due) {
        plan.failed = true;
        return plan;
    }
    if !is_past(next, cx) {
        return plan;
    }
    let caught = trigger
        .catch_up(&after_due)
        .filter(|caught| is_past(caught.latest, cx) && moves_on(caught.latest, &after_due))
        .unwrap_or_else(|| CatchUp::new(next, 1));
    plan.latest = caught.latest;
    plan.missed = caught.passed;
    // After the latest that was found; if there were more than it was ready to count, after now.
    plan.next = trigger.next(&cx.after(caught.latest));
    if plan.next.is_some_and(|next| is_past(next, cx)) {
        plan.next = trigger.next(&cx.after(now_like(next, cx)));
        plan.failed = plan.next.is_some_and(|next| is_past(next, cx));
    }
    plan
}

/// Now, on the clock that `due` stands on.
fn now_like(due: Due, cx: &TriggerContext) -> Due {
    match due {
        Due::Wall(_) => Due::Wall(cx.wall()),
        Due::At(_) | Due::AfterRun(_) => Due::At(cx.now()),
    }
}

fn lateness(due: Due, cx: &TriggerContext) -> Duration {
    match due {
        Due::At(at) => cx.now() - at,
        // On its own clock: the monotonic one may have begun after it.
        Due::Wall(at) => cx.wall().duration_since(at).unwrap_or_default(),
        Due::AfterRun(_) => Duration::ZERO,
    }
}

fn when(due: Due, cx: &TriggerContext) -> When {
    match due {
        Due::At(due) => When {
            due,
            scheduled_at: wall::from_instant(due, cx.now(), cx.wall()),
        },
        Due::Wall(scheduled_at) => When {
            due: wall::to_instant(scheduled_at, cx.now(), cx.wall()),
            scheduled_at,
        },
        // Never armed as such: `set_next` turns it into an instant.
        Due::AfterRun(delay) => When {
            due: cx.now() + delay,
            scheduled_at: wall::from_instant(cx.now() + delay, cx.now(), cx.wall()),
        },
    }
}
