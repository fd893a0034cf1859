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
//!    takes effect only if nothing else has happened to the job since. A time that the end of a run
//!    has fixed does so if no other one has taken its place (`Hanging`).
//! 4. A job that has ended lets no run in, is armed for nothing and holds no body: what its
//!    closure captured goes with its last run.
//! 5. Runs let in never outnumber `max_runs`.
//! 6. A run counts in `running` from the step that lets it in, under the lock: so whoever ends a
//!    job, and then waits until nothing runs, waits for every run that came before.
//! 7. One step at a time starts what waited for the end of a run (`ending`).

mod anew;
pub(super) mod builder;
pub(super) mod context;
mod ending;
pub(super) mod handle;
pub(super) mod label;
pub(super) mod policy;
pub(super) mod settings;
pub(super) mod state;
mod upcoming;

use core::time::Duration;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::SystemTime;

use flow_rt::{CancellationToken, Instant, TaskContext};

use super::report::{EndReason, JobState, JobStats, RunReport};
use super::work::Body;
use crate::scheduler::run::count::Running;
use crate::scheduler::triggers::draw::{mix, of_text};
use crate::scheduler::triggers::jitter::Jitter;
use crate::scheduler::triggers::plan::{Plan, When, lateness, plan, when};
use crate::scheduler::triggers::timetable::Timetable;
use crate::scheduler::triggers::trigger::{Due, Trigger, TriggerContext, is_past};
use crate::scheduler::triggers::wall::{self, Look};
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;
pub(crate) use ending::AfterRun;
use label::Label;
use policy::{Misfire, Overlap};
use settings::Policies;
use state::{Over, Place, State, Stop, Ticket};

/// In this order: among a million jobs each line of memory is a miss, and what most steps touch
/// lies beside the reference counts.
#[repr(C)]
pub(crate) struct Job {
    pub(crate) state: Mutex<State>,
    /// Counts the jobs of a scheduler: decides among equal deadlines. Given by the registry, before
    /// anybody else can see the job.
    pub(super) id: AtomicU64,
    pub(crate) name: Label,
    /// Where it stands in the registry, which alone uses it.
    pub(crate) place: AtomicU32,
    pub(crate) settings: Policies,
}

/// So many missed times are found while others wait.
const MANY: usize = 1_024;

/// A run that begins.
pub(crate) struct Begun {
    /// Cancelled when a newer run takes its place.
    pub(crate) kill: Option<CancellationToken>,
    /// The newer request that it takes over, having waited for its turn.
    pub(crate) newer: Option<When>,
}

/// What became of a request to run.
pub(crate) enum Admission {
    Start(Ticket),
    /// It follows when the runs in progress have ended, or the request does that waited before it;
    /// these are to be told to stop, and so many requests gave way.
    Buffered {
        stop: Vec<Stop>,
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
    pub(crate) stop: Vec<Stop>,
    /// The driver's timer no longer matches.
    pub(crate) rearm: bool,
    /// The trigger is to be asked in a task of its own; nothing else has happened.
    pub(crate) elsewhere: bool,
    pub(crate) skipped: u64,
    pub(crate) missed: u64,
    /// The job is to be ended.
    pub(crate) end: Option<EndReason>,
    /// It has ended, which is to be told.
    pub(crate) over: Option<Box<Over>>,
    /// The trigger is to be asked about the time that comes after the run.
    pub(crate) after_run: Option<Box<AfterRun>>,
}

impl Job {
    #[inline]
    pub(crate) fn new(
        name: Label,
        settings: Policies,
        timetable: Timetable,
        body: Body,
        started: Instant,
        first: Due,
    ) -> Self {
        let mut state = State::new(timetable, body, started, first);
        state.stretches = settings.stretch.is_some();
        Self {
            state: Mutex::new(state),
            id: AtomicU64::new(0),
            name,
            place: AtomicU32::new(0),
            settings,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed)
    }

    /// When the job is to be looked at, if it waits for anything: what it is armed for, with its
    /// jitter.
    pub(crate) fn wakes_at(&self, drawn: u64) -> Option<Due> {
        self.wakes(&self.state.lock(), drawn)
    }

    pub(crate) fn wakes(&self, state: &State, drawn: u64) -> Option<Due> {
        Some(self.delayed(state.wanted()?, drawn))
    }

    /// When a time that is due is to be looked at: with its jitter.
    #[inline]
    pub(crate) fn delayed(&self, due: Due, drawn: u64) -> Due {
        if self.settings.jitter.is_none() {
            return due;
        }
        self.jittered(due, drawn)
    }

    #[inline(never)]
    fn jittered(&self, due: Due, drawn: u64) -> Due {
        due.delayed(self.jitter(due, drawn))
    }

    /// The delay of a time that is due; `drawn` is the scheduler's number.
    fn jitter(&self, due: Due, drawn: u64) -> Duration {
        let Some(jitter) = self.settings.jitter else {
            return Duration::ZERO;
        };
        let seed = self.seed();
        let due = match due {
            Due::At(at) => at.as_nanos(),
            // The low bits are as good as all.
            Due::Wall(at) => wall::nanos(at).cast_unsigned() as u64,
            Due::AfterRun(_) => return Duration::ZERO,
        };
        jitter.delay(seed, mix(seed ^ drawn), due)
    }

    /// A number of the job's own.
    fn seed(&self) -> u64 {
        if self.name.is_empty() {
            mix(self.id())
        } else {
            of_text(&self.name)
        }
    }

    fn context(&self, state: &State, now: Instant, wall: SystemTime) -> TriggerContext {
        let cx = TriggerContext::new(now, wall).started_at(state.timetable.started());
        if state.timetable.is_ours() {
            // They draw no lots.
            return cx;
        }
        cx.seeded(self.seed())
    }

    /// Asks the trigger about the time that is due, and lets a run in; `running` counts the runs
    /// of the whole scheduler. Calls a user's trigger outside of the lock, and lets its panic
    /// through for the caller to contain; nothing has changed then. The driver, whose timer has
    /// fired, asks cheap triggers only.
    pub(crate) fn fire(
        &self,
        running: &Running,
        drawn: u64,
        by_driver: bool,
        look: &Look,
    ) -> Effects {
        let (cx, due, epoch, timetable, stretch) = {
            let mut state = self.state.lock();
            if by_driver {
                state.replace_timer(None);
            }
            let Some(due) = state.wanted() else {
                // Paused or removed meanwhile.
                return Effects::rearm();
            };
            let cx = self.context(&state, look.now, look.wall);
            let makes_up_many = self.may_make_up_many(due, &cx, drawn);
            if by_driver && (makes_up_many || !state.timetable.is_cheap()) {
                return Effects {
                    elsewhere: true,
                    ..Effects::default()
                };
            }
            if !is_past(self.delayed(due, drawn), &cx) {
                // Moved meanwhile, or the clock was set back.
                return Effects::rearm();
            }
            let timetable = state.timetable.clone();
            if timetable.is_ours() && !makes_up_many {
                let plan = self.plan(&timetable, due, &cx);
                return self.carry_out(&mut state, &plan, &cx, look, running, drawn);
            }
            if state.asking {
                // The step that asks for the load has the timer set when it is done.
                return Effects::default();
            }
            let stretch = self.settings.stretch.as_ref();
            let stretch = stretch.filter(|_| state.stretches);
            state.asking = stretch.is_some();
            (cx, due, state.epoch, timetable, stretch)
        };
        // What stretches is not cheap: this is out of the driver's way.
        let before = stretch.map(|stretch| stretch.ask());
        let plan = self.plan(&timetable, due, &cx);
        // It may be the last reference to a trigger that was replaced meanwhile.
        drop(timetable);
        let mut state = self.state.lock();
        state.asking = false;
        if state.epoch != epoch {
            if let (Some(stretch), Some(before)) = (stretch, before) {
                stretch.take_back(before);
            }
            return Effects::rearm();
        }
        self.carry_out(&mut state, &plan, &cx, look, running, drawn)
    }

    fn plan(&self, timetable: &Timetable, due: Due, cx: &TriggerContext) -> Plan {
        if !timetable.is_recurring() {
            // Not asked again: once the clocks have moved apart, its time might seem to be ahead.
            return Plan::last(due);
        }
        // What jitter may still delay is not in the past yet.
        let most = self.settings.jitter.map_or(Duration::ZERO, Jitter::most);
        plan(
            timetable,
            due,
            &cx.earlier(most),
            self.settings.misfire.made_up(),
        )
    }

    /// Whether so many times may have been missed, all of them to be made up, that to find them
    /// takes longer than others want to wait, for the driver or for the job's lock.
    fn may_make_up_many(&self, due: Due, cx: &TriggerContext, drawn: u64) -> bool {
        self.settings.misfire.made_up() > MANY
            && lateness(self.delayed(due, drawn), cx) > Misfire::PUNCTUAL
    }

    fn carry_out(
        &self,
        state: &mut State,
        plan: &Plan,
        cx: &TriggerContext,
        look: &Look,
        running: &Running,
        drawn: u64,
    ) -> Effects {
        let mut effects = Effects::default();
        let within = self.settings.misfire.within();
        let is_good = |due: Due| {
            let late = lateness(self.delayed(due, drawn), cx);
            late <= within || (matches!(due, Due::Wall(_)) && look.excuses(late, within))
        };
        let mut missed = plan.missed.saturating_add(1);
        let backlog = plan.backlog.iter().filter(|&&due| is_good(due));
        for &due in backlog {
            missed -= 1;
            state.runs().rest().backlog.push_back(when(due, cx));
        }
        if is_good(plan.latest) {
            missed -= 1;
            let when = when(plan.latest, cx);
            if plan.backlog.is_empty() {
                effects.admit(self.admit(state, when, running));
            } else {
                state.runs().rest().backlog.push_back(when);
            }
        }
        if !plan.backlog.is_empty() {
            // Those that still wait from an earlier look count, too.
            let most = self.settings.misfire.made_up() + 1;
            let backlog = &mut state.runs().rest().backlog;
            let over = backlog.len().saturating_sub(most);
            backlog.drain(..over);
            missed = missed.saturating_add(over as u64);
            effects.start = self.start_waiting(state, running);
        }
        effects.missed = missed;
        if effects.missed > 0 {
            let counts = &mut state.runs().counts;
            counts.missed = counts.missed.saturating_add(effects.missed);
        }
        if plan.failed {
            // Until it has ended, no other step lets a run in for this time.
            state.arm(None);
            effects.end = Some(EndReason::TriggerFailed);
        } else if !self.is_used_up(state)
            && let Some(delay) = state.set_next(plan.next)
        {
            effects.after_run = Some(Box::new(state.fix(cx.now() + delay)));
        }
        if effects.end.is_none() && state.is_finished() {
            effects.end = Some(EndReason::Finished);
        }
        // A run that was let in may begin on another core: the driver does not look at its job
        // again for nothing.
        effects.rearm = state.is_to_be_armed();
        effects
    }

    /// Lets a run in, by the overlap policy and the run limit.
    fn admit(&self, state: &mut State, when: When, running: &Running) -> Admission {
        if self.has_room(state) {
            return self.start(state, when, running);
        }
        if state.body.is_none() || self.is_used_up(state) {
            return Admission::Closed;
        }
        match self.settings.overlap {
            Overlap::Skip | Overlap::Allow(_) => {
                let running = state.running();
                state.runs().counts.skipped += 1;
                Admission::Skipped { running }
            }
            Overlap::BufferAll(limit) => {
                let running = state.running();
                let runs = state.runs();
                if runs.rest().buffered.len() >= limit {
                    runs.counts.skipped += 1;
                    return Admission::Skipped { running };
                }
                runs.rest().buffered.push_back(when);
                Admission::Buffered {
                    stop: Vec::new(),
                    replaced: 0,
                }
            }
            policy => {
                let runs = state.runs();
                let buffered = &mut runs.rest().buffered;
                let waits = buffered.pop_front();
                let replaced = u64::from(waits.is_some());
                // What somebody here has asked for does not give way to what others may have.
                let kept = waits.filter(|waits| waits.by_hand && self.asks_for(&when));
                buffered.push_back(kept.unwrap_or(when));
                runs.counts.skipped += replaced;
                let stop = match policy {
                    Overlap::CancelPrevious => state.cancel_active(),
                    Overlap::TerminatePrevious => state.kill_active(),
                    _ => Vec::new(),
                };
                Admission::Buffered { stop, replaced }
            }
        }
    }

    /// Whether the overlap policy lets a further run begin.
    fn has_room(&self, state: &State) -> bool {
        let running = state.running() + state.following();
        match self.settings.overlap {
            Overlap::Allow(limit) => running < limit,
            _ => running == 0,
        }
    }

    fn start(&self, state: &mut State, when: When, running: &Running) -> Admission {
        let Some(body) = state.body.clone() else {
            return Admission::Closed;
        };
        if self.is_used_up(state) {
            return Admission::Closed;
        }
        let mut ticket = state.start(body, when);
        running.begin();
        if self.is_used_up(state) {
            state.exhaust();
            ticket.forgotten = state.drop_waiting();
        }
        Admission::Start(ticket)
    }

    /// Lets a run in at once, beside the timetable, paused or not.
    pub(crate) fn admit_by_hand(&self, when: When, running: &Running) -> Admission {
        self.admit(&mut self.state.lock(), when, running)
    }

    /// Whether the job is active, and has room for a run beside its timetable.
    pub(crate) fn is_idle(&self) -> bool {
        self.has_idle_room(&self.state.lock())
    }

    fn has_idle_room(&self, state: &State) -> bool {
        state.phase == JobState::Active && self.has_room(state) && !self.is_used_up(state)
    }

    /// Lets a run in at once, beside the timetable, if the job is active and has room for it.
    pub(crate) fn admit_idle(&self, when: When, running: &Running) -> Option<Ticket> {
        let mut state = self.state.lock();
        if !self.has_idle_room(&state) {
            return None;
        }
        match self.start(&mut state, when, running) {
            Admission::Start(ticket) => Some(ticket),
            _ => None,
        }
    }

    /// Whether nothing is due any more after what is armed and running.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.state.lock().exhausted
    }

    /// Lets in the run whose turn it is next, if there is room.
    fn start_waiting(&self, state: &mut State, running: &Running) -> Option<Ticket> {
        if !self.has_room(state) {
            return None;
        }
        let when = state.runs().next_waiting()?;
        match self.start(state, when, running) {
            Admission::Start(ticket) => Some(ticket),
            _ => None,
        }
    }

    /// Whether other instances have a say in a run of it.
    pub(crate) fn asks_for(&self, when: &When) -> bool {
        !when.by_hand && self.settings.is_shared(&self.name)
    }

    /// Notes that a run begins; `None` if it must not, because the job was removed, its claim was
    /// lost, or a newer run takes its place. If the overlap policy may ask for its end, the token
    /// tells so.
    ///
    /// It takes a newer request over unless it is claimed, which is for one occurrence, or others
    /// are to be asked about the newer one: then that follows, and asks in its turn.
    pub(crate) fn begin(&self, run: u64, task: &TaskContext, claimed: bool) -> Option<Begun> {
        let mut state = self.state.lock();
        let removed = state.phase == JobState::Ended(EndReason::Removed);
        let active = state.active(run)?;
        if removed || active.killed || active.cancelled {
            return None;
        }
        active.task = Some(task.clone());
        if active.place != Place::Queue {
            // Its pool was quicker than who handed it in.
            active.leaves_its_place();
        }
        let overlap = self.settings.overlap;
        let kill = if overlap == Overlap::TerminatePrevious {
            active.kill = Some(CancellationToken::new());
            active.kill.clone()
        } else {
            None
        };
        let mut newer = None;
        if matches!(
            overlap,
            Overlap::CancelPrevious | Overlap::TerminatePrevious
        ) && !claimed
        {
            let runs = state.runs();
            newer = runs.take_newer(|first| !self.asks_for(first));
            runs.counts.skipped += u64::from(newer.is_some());
        }
        Some(Begun { kill, newer })
    }

    /// Tells a run in progress to stop, or not to begin: by what is to be cancelled for it.
    pub(crate) fn cancel_run(&self, run: u64) -> Option<Stop> {
        let mut state = self.state.lock();
        let active = state.active(run)?;
        active.cancelled = true;
        active.stop()
    }

    /// Lets a run wait, for its gate or its next attempt; `None` if it need not, because the job
    /// has ended or a newer run takes its place. The token ends the wait.
    pub(crate) fn rest(&self, run: u64) -> Option<CancellationToken> {
        let mut state = self.state.lock();
        if state.has_ended() {
            return None;
        }
        let active = state.active(run).filter(|active| !active.killed)?;
        if active.task.is_none() {
            active.place = Place::Gate;
        }
        // Several at once, if the run is a batch of chains.
        Some(active.wait.get_or_insert_default().clone())
    }

    /// Notes that a run is past its condition; false if its wait is being ended.
    pub(crate) fn joins_line(&self, run: u64) -> bool {
        let mut state = self.state.lock();
        let active = state.active(run);
        active.is_some_and(|active| {
            active.in_line = true;
            !active.killed && !active.cancelled
        })
    }

    /// Notes that a run has a claim.
    pub(crate) fn claims(&self, run: u64) {
        if let Some(active) = self.state.lock().active(run) {
            active.claimed = true;
        }
    }

    /// Notes that a run has waited; false if it is not to go on.
    pub(crate) fn rested(&self, run: u64) -> bool {
        let mut state = self.state.lock();
        let ended = state.has_ended();
        let Some(active) = state.active(run) else {
            return false;
        };
        let goes_on = !ended && !active.killed && !active.cancelled;
        if active.task.is_none() {
            // Its gate was the only one to wait.
            active.wait = None;
            if goes_on {
                active.leaves_its_place();
            }
        }
        goes_on
    }

    /// Lets a run wait for room in the pool, in a task of its own or its caller's; `None` if it
    /// need not, because its job was removed. The token ends the wait.
    pub(crate) fn waits_for_room(&self, run: u64, place: Place) -> Option<CancellationToken> {
        let mut state = self.state.lock();
        if state.phase == JobState::Ended(EndReason::Removed) {
            return None;
        }
        let active = state.active(run)?;
        active.place = place;
        active.in_line = true;
        Some(active.wait.insert(CancellationToken::new()).clone())
    }

    /// Notes that the pool has taken a run that waited for room. If the job was removed meanwhile,
    /// it is dropped, like others in the queue; its report then, to be told.
    pub(crate) fn has_room_in_pool(&self, run: u64) -> Vec<RunReport> {
        let mut state = self.state.lock();
        let removed = state.phase == JobState::Ended(EndReason::Removed);
        if let Some(active) = state.active(run)
            && active.waits_for_room()
        {
            active.leaves_its_place();
            if removed {
                return state.runs().drop_out_of_reach(self.settings.history);
            }
        }
        Vec::new()
    }

    /// Whether a run that has not begun is still to be reported, by whoever asks then.
    pub(crate) fn reports(&self, run: u64) -> bool {
        let mut state = self.state.lock();
        let active = state.active(run);
        active.is_some_and(|active| {
            active.place = Place::Gone;
            true
        })
    }

    /// Whether a newer run takes this one's place.
    pub(crate) fn is_killed(&self, run: u64) -> bool {
        let mut state = self.state.lock();
        state.active(run).is_some_and(|active| active.killed)
    }

    /// Whether nothing is left to happen to it.
    pub(crate) fn is_finished(&self) -> bool {
        self.state.lock().is_finished()
    }

    /// Stops the timetable, and says how many requests were forgotten; `None` if the job is not
    /// active.
    pub(crate) fn pause(&self) -> Option<u64> {
        let mut state = self.state.lock();
        if state.phase != JobState::Active {
            return None;
        }
        state.phase = JobState::Paused;
        state.moves_on();
        Some(state.drop_waiting())
    }

    /// Goes by another timetable from `now` on, whose first time is `first`; gives the old one
    /// back, to be dropped outside of the lock, or the new one if the job has ended.
    pub(crate) fn replace_timetable(
        &self,
        timetable: Timetable,
        now: Instant,
        first: Due,
    ) -> Result<Timetable, Timetable> {
        let mut state = self.state.lock();
        if state.has_ended() {
            return Err(timetable);
        }
        let old = core::mem::replace(&mut state.timetable, timetable.laid_out(now));
        state.stretches = false;
        if !self.is_used_up(&state) {
            state.exhausted = false;
            // No run is waited for: this is no delay after one.
            state.set_next(Some(first));
        }
        Ok(old)
    }

    /// The runs that ended last, the latest one last.
    pub(crate) fn history(&self) -> Vec<RunReport> {
        self.state.lock().history()
    }

    /// The report of the run that ended last.
    pub(crate) fn last(&self) -> Option<RunReport> {
        self.state.lock().last()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state.lock().has_ended()
    }

    /// Whether a job that has ended holds nothing of a user's, no trigger and no hook, and no more
    /// memory than it had when it was started, but for what counts its runs.
    pub(crate) fn is_plain(&self) -> bool {
        if !self.settings.is_plain() {
            return false;
        }
        let state = self.state.lock();
        !state.timetable.may_panic() && state.has_left_little()
    }

    /// Ends the job; what is left to be told. `None` if it had ended, or was found finished and is
    /// so no more.
    ///
    /// In a pool's queue runs may have to wait for others' tasks: if the job is removed, those that
    /// stand there are dropped here.
    pub(crate) fn end(&self, reason: EndReason, in_pool: bool) -> Option<Over> {
        let mut over = {
            let mut state = self.state.lock();
            // Between the step that found it finished and this one it may have got another
            // trigger, or a run by hand.
            if state.has_ended() || (reason == EndReason::Finished && !state.is_finished()) {
                return None;
            }
            let mut over = state.end(reason);
            if in_pool && reason == EndReason::Removed && over.running > 0 {
                over.dropped = state.runs().drop_out_of_reach(self.settings.history);
                over.running = state.running();
            }
            over
        };
        over.let_go();
        Some(over)
    }

    /// What tells the runs in progress to stop, for the caller to cancel.
    pub(crate) fn cancel_active(&self) -> Vec<Stop> {
        self.state.lock().cancel_active()
    }

    pub(crate) fn running(&self) -> usize {
        self.state.lock().running()
    }

    fn is_used_up(&self, state: &State) -> bool {
        self.settings
            .max_runs
            .is_some_and(|max| state.counts().started >= max)
    }

    pub(crate) fn stats(&self, now: Instant, wall: SystemTime) -> JobStats {
        let state = self.state.lock();
        let cx = TriggerContext::new(now, wall);
        JobStats {
            name: self.name.to_shared(),
            state: state.phase,
            runs: state.counts(),
            running: state.running(),
            next: state.wanted().map(|due| when(due, &cx).scheduled_at),
            last: state.last(),
            recurring: state.timetable.is_recurring(),
            max_runs: self.settings.max_runs,
        }
    }
}

impl Effects {
    fn rearm() -> Self {
        Self {
            rearm: true,
            ..Self::default()
        }
    }

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

#[cfg(all(test, not(loom)))]
mod tests;
