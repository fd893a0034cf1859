//! What changes about a job, and what its runs leave behind. Everything here happens under the
//! job's lock, and runs no user code: but for its `Drop`, which is under no lock.

use core::time::Duration;
use std::collections::VecDeque;
use std::time::SystemTime;

use flow_rt::{CancellationToken, Instant, TaskContext, contain};

use super::AfterRun;
use crate::scheduler::report::{EndReason, JobState, RunCounts, RunOutcome, RunReport};
use crate::scheduler::triggers::plan::When;
use crate::scheduler::triggers::timetable::Timetable;
use crate::scheduler::triggers::trigger::Due;
use crate::scheduler::work::Body;

/// In this order: what the end of a job touches comes first.
#[repr(C)]
pub(crate) struct State {
    pub(in crate::scheduler) phase: JobState,
    /// Whether nothing is due after what is armed and running.
    pub(in crate::scheduler) exhausted: bool,
    /// Whether the job's timetable stretches with a load.
    pub(in crate::scheduler) stretches: bool,
    /// Whether a step is asking for that load.
    pub(in crate::scheduler) asking: bool,
    /// It wraps around: a step would have to wait for as many others as there are to mistake it.
    pub(in crate::scheduler) epoch: u32,
    /// There from the first run on: a job that has not run costs no more than it must.
    runs: Option<Box<Runs>>,
    pub(in crate::scheduler) body: Option<Body>,
    /// What the job waits for, until it has ended.
    armed: Armed,
    /// The driver's timer, and the driver's alone.
    timer: Option<Timer>,
    pub(in crate::scheduler) timetable: Timetable,
}

/// Which clock a timer runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Monotonic,
    Wall,
}

/// A [`Due`] that stands fixed, or none, in 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Armed {
    Nothing,
    At(Instant),
    Wall(SystemTime),
}

impl Armed {
    fn new(due: Option<Due>) -> Self {
        match due {
            Some(Due::At(at)) => Self::At(at),
            Some(Due::Wall(at)) => Self::Wall(at),
            // No time hangs on a run when it is armed: `State::set_next` turns it into an instant.
            Some(Due::AfterRun(_)) | None => Self::Nothing,
        }
    }

    fn due(self) -> Option<Due> {
        match self {
            Self::Nothing => None,
            Self::At(at) => Some(Due::At(at)),
            Self::Wall(at) => Some(Due::Wall(at)),
        }
    }
}

/// A cell of one of the driver's wheels. A job has one timer at the most, so the cell that holds
/// the job is its timer: it needs no key.
#[derive(Debug, Clone, Copy)]
struct Timer {
    index: u32,
    clock: Clock,
}

/// The runs of a job: those in progress, those that wait, and what became of the others.
#[derive(Default)]
pub(in crate::scheduler) struct Runs {
    /// A run in progress: the only one of most jobs.
    active: Option<Active>,
    pub(in crate::scheduler) hanging: Hanging,
    pub(in crate::scheduler) counts: RunCounts,
    last: Option<RunReport>,
    /// A pointer away, since of a million jobs most never have any of it.
    rest: Option<Box<Rest>>,
}

/// The next due time, as long as it hangs on the end of the runs in progress.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::scheduler) enum Hanging {
    #[default]
    Nothing,
    /// It is to be counted from there.
    Delay(Duration),
    /// It was, in that epoch, and waits for the trigger's approval. A pause and its end leave it as
    /// it is, though they move the epoch on: nobody else would arm the job.
    Fixed(u32),
}

#[derive(Default)]
pub(in crate::scheduler) struct Rest {
    /// Further runs in progress.
    active: Vec<Active>,
    /// Requests that the overlap policy keeps until there is room.
    pub(in crate::scheduler) buffered: VecDeque<When>,
    /// Missed occurrences that are being made up; before those that are buffered.
    pub(in crate::scheduler) backlog: VecDeque<When>,
    /// There while a step starts what waited: so many runs have ended meanwhile, and have left
    /// what follows to it (invariant 7).
    left: Option<usize>,
    /// The reports before the last one, as many as the job is told to keep.
    history: VecDeque<RunReport>,
}

#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(in crate::scheduler) struct Active {
    pub(in crate::scheduler) run: u64,
    scheduled_at: SystemTime,
    /// Told to stop.
    pub(in crate::scheduler) cancelled: bool,
    /// Past its condition, in line for its throttle or for room in the pool.
    pub(in crate::scheduler) in_line: bool,
    /// Where it waits, until it begins.
    pub(in crate::scheduler) place: Place,
    /// It has a claim, which it gives back itself.
    pub(in crate::scheduler) claimed: bool,
    /// Its context, once it has begun.
    pub(in crate::scheduler) task: Option<TaskContext>,
    /// A newer run takes its place.
    pub(in crate::scheduler) killed: bool,
    /// Drops the run, if the overlap policy may ask for that.
    pub(in crate::scheduler) kill: Option<CancellationToken>,
    /// Ends its wait, while it waits at its gate, for room or for its next attempt.
    pub(in crate::scheduler) wait: Option<CancellationToken>,
}

/// Where a run waits that has not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// With the runtime, or in the queue of the pool: when its turn comes, it learns whether it is
    /// to begin.
    Queue,
    /// At its gate, in a task of its own.
    Gate,
    /// For room in the pool, in a task of its own.
    Room,
    /// For room in the pool, in the task of whoever asked for it, who may poll it or not.
    CallersRoom,
    /// Nowhere any more: it is about to be reported.
    Gone,
}

/// Tells a run to stop, or ends its wait: outside of the job's lock, since wakers are woken, and
/// the token of a run that nobody has asked for its own is made.
pub(crate) enum Stop {
    Task(TaskContext),
    Token(CancellationToken),
}

impl Stop {
    pub(crate) fn token(&self) -> &CancellationToken {
        match self {
            Self::Task(task) => task.cancellation(),
            Self::Token(token) => token,
        }
    }
}

/// A run that was let in.
pub(crate) struct Ticket {
    pub(crate) run: u64,
    pub(crate) when: When,
    pub(crate) body: Body,
    /// So many requests were forgotten, since this is the last run.
    pub(crate) forgotten: u64,
}

/// What is left of a job that has just ended, for outside of its lock: what the closure captured is
/// the user's, and wakers are woken.
pub(crate) struct Over {
    pub(crate) reason: EndReason,
    /// So many runs are in progress, and go on.
    pub(crate) running: usize,
    /// So many requests were forgotten.
    pub(crate) forgotten: u64,
    /// Runs that are not to begin, and were dropped, which is to be told.
    pub(crate) dropped: Vec<RunReport>,
    body: Option<Body>,
    /// End the waits of its runs.
    waits: Vec<CancellationToken>,
}

impl Active {
    /// Whether it only waits for its turn, in the pool or for its throttle. To drop it would cost
    /// it its place in the line; it keeps that, and takes over what is newer when it begins.
    fn keeps_its_place(&self) -> bool {
        self.task.is_none() && (self.wait.is_none() || self.in_line)
    }

    /// Whether it only waits for room in the pool: it does so until there is some, or its job is
    /// removed, however else that may end.
    pub(in crate::scheduler) fn waits_for_room(&self) -> bool {
        matches!(self.place, Place::Room | Place::CallersRoom)
    }

    /// Whether it has not begun, hears of a removal of its job only when others let it, and has
    /// nothing to give back then.
    fn is_out_of_reach(&self) -> bool {
        let waits = matches!(self.place, Place::Queue | Place::CallersRoom);
        self.task.is_none() && waits && !self.claimed
    }

    /// It has waited: it goes on, or its pool has taken it.
    pub(in crate::scheduler) fn leaves_its_place(&mut self) {
        self.place = Place::Queue;
        self.wait = None;
    }

    /// What tells it to stop if it has begun, or else ends its wait.
    pub(in crate::scheduler) fn stop(&mut self) -> Option<Stop> {
        match &self.task {
            Some(task) => Some(Stop::Task(task.clone())),
            None => self.wait.take().map(Stop::Token),
        }
    }
}

/// The trigger and what the closure captured are the user's: whoever drops the job last, a panic of
/// theirs is not for them. One by one: two at once could not be contained.
impl Drop for State {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            contain(|| drop(body));
        }
        if matches!(self.timetable, Timetable::Shared { .. }) {
            let none = Timetable::After(Duration::ZERO);
            let trigger = core::mem::replace(&mut self.timetable, none);
            contain(|| drop(trigger));
        }
    }
}

impl Runs {
    /// Keeps the report of a run that has ended, and `most` in all.
    pub(in crate::scheduler) fn note(&mut self, report: RunReport, most: usize) {
        let before = self.last.replace(report);
        if most > 1 {
            let history = &mut self.rest().history;
            if history.len() + 1 >= most {
                history.pop_front();
            }
            history.extend(before);
        }
    }

    pub(in crate::scheduler) fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    fn active(&mut self) -> impl Iterator<Item = &mut Active> {
        let more = self.rest.iter_mut().flat_map(|rest| &mut rest.active);
        self.active.iter_mut().chain(more)
    }

    fn begins(&mut self, active: Active) {
        if self.active.is_none() {
            self.active = Some(active);
        } else {
            self.rest().active.push(active);
        }
    }

    /// Takes a run that has ended out: what it leaves is to be dropped outside of the lock.
    pub(in crate::scheduler) fn ended(&mut self, run: u64) -> Option<Active> {
        let first = self.active.take_if(|active| active.run == run);
        first.or_else(|| {
            let more = &mut self.rest.as_mut()?.active;
            let place = more.iter().position(|active| active.run == run)?;
            Some(more.swap_remove(place))
        })
    }

    fn running(&self) -> usize {
        let more = self.rest.as_ref().map_or(0, |rest| rest.active.len());
        usize::from(self.active.is_some()) + more
    }

    /// Drops runs that are not to begin and would not hear of it soon, and keeps their reports, as
    /// many as `most`.
    pub(in crate::scheduler) fn drop_out_of_reach(&mut self, most: usize) -> Vec<RunReport> {
        let mut dropped: Vec<_> = self
            .active
            .take_if(|active| active.is_out_of_reach())
            .into_iter()
            .collect();
        if let Some(rest) = &mut self.rest {
            dropped.extend(
                rest.active
                    .extract_if(.., |active| active.is_out_of_reach()),
            );
        }
        let reports = dropped.iter().map(|active| RunReport {
            run: active.run,
            scheduled_at: active.scheduled_at,
            duration: Duration::ZERO,
            attempts: 0,
            outcome: RunOutcome::Dropped,
        });
        let reports: Vec<_> = reports.collect();
        for report in &reports {
            self.counts.count(&report.outcome);
            self.note(report.clone(), most);
        }
        reports
    }

    /// How many wait for their turn.
    fn waiting(&self) -> usize {
        let rest = self.rest.as_ref();
        rest.map_or(0, |rest| rest.buffered.len() + rest.backlog.len())
    }

    /// Takes the newer request out that a run may take over as it begins: one that the overlap
    /// policy keeps, if none that was missed comes before it, and `may` says so.
    pub(in crate::scheduler) fn take_newer(
        &mut self,
        may: impl FnOnce(&When) -> bool,
    ) -> Option<When> {
        // Not `rest`, which would make what most jobs never need.
        let rest = self.rest.as_mut().filter(|rest| rest.backlog.is_empty())?;
        if !may(rest.buffered.front()?) {
            return None;
        }
        rest.buffered.pop_front()
    }

    /// Whether all that is left are counts, and a report without a message: nothing that grows, or
    /// will yet.
    fn are_little(&self) -> bool {
        let has_message = |report: &RunReport| {
            use RunOutcome::{Failed, Panicked, Unclaimed};
            matches!(report.outcome, Failed(_) | Panicked(_) | Unclaimed(_))
        };
        self.active.is_none() && self.rest.is_none() && !self.last.as_ref().is_some_and(has_message)
    }

    /// Begins to start what waited.
    pub(in crate::scheduler) fn begins_to_follow(&mut self) {
        self.rest().left = Some(0);
    }

    /// Leaves what follows from the end of a run to the step that starts what waited; false if
    /// there is none.
    pub(in crate::scheduler) fn leaves_what_follows(&mut self) -> bool {
        let left = self.rest.as_mut().and_then(|rest| rest.left.as_mut());
        left.map(|left| *left += 1).is_some()
    }

    /// Takes over what follows from the end of one more run; false if there is none, and then
    /// nothing is left to the caller any more.
    pub(in crate::scheduler) fn follows_one_more(&mut self) -> bool {
        let Some(rest) = &mut self.rest else {
            return false;
        };
        rest.left = rest.left.and_then(|left| left.checked_sub(1));
        rest.left.is_some()
    }

    /// The request whose turn it is next.
    pub(in crate::scheduler) fn next_waiting(&mut self) -> Option<When> {
        let rest = self.rest.as_mut()?;
        let first = rest.backlog.pop_front();
        first.or_else(|| rest.buffered.pop_front())
    }
}

impl State {
    #[inline]
    pub(in crate::scheduler) fn new(
        timetable: Timetable,
        body: Body,
        started: Instant,
        first: Due,
    ) -> Self {
        Self {
            phase: JobState::Active,
            exhausted: false,
            stretches: false,
            asking: false,
            epoch: 0,
            runs: None,
            body: Some(body),
            armed: Armed::new(Some(first)),
            timer: None,
            timetable: timetable.laid_out(started),
        }
    }

    /// Sets the driver's timer, and gives the one that was set before.
    pub(crate) fn replace_timer(&mut self, timer: Option<(Clock, u32)>) -> Option<(Clock, u32)> {
        let timer = timer.map(|(clock, index)| Timer { index, clock });
        let Timer { index, clock } = core::mem::replace(&mut self.timer, timer)?;
        Some((clock, index))
    }

    /// Whether the driver's timer may not match what the job waits for: it has one, or wants one.
    pub(in crate::scheduler) fn is_to_be_armed(&self) -> bool {
        self.timer.is_some() || self.wanted().is_some()
    }

    /// What a job that has not ended waits for, paused or not.
    pub(in crate::scheduler) fn armed(&self) -> Option<Due> {
        self.armed.due()
    }

    pub(in crate::scheduler) fn wanted(&self) -> Option<Due> {
        if self.phase == JobState::Active {
            self.armed.due()
        } else {
            None
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, JobState::Ended(_))
    }

    pub(in crate::scheduler) fn runs(&mut self) -> &mut Runs {
        self.runs.get_or_insert_default()
    }

    pub(in crate::scheduler) fn running(&self) -> usize {
        self.runs.as_ref().map_or(0, |runs| runs.running())
    }

    /// Requests that are about to take the room of runs that have ended (invariant 7): nobody who
    /// comes now goes before them.
    pub(in crate::scheduler) fn following(&self) -> usize {
        self.runs.as_ref().map_or(0, |runs| {
            let left = runs.rest.as_ref().and_then(|rest| rest.left);
            left.map_or(0, |left| left.min(runs.waiting()))
        })
    }

    pub(in crate::scheduler) fn counts(&self) -> RunCounts {
        self.runs
            .as_ref()
            .map_or_else(RunCounts::default, |runs| runs.counts)
    }

    pub(in crate::scheduler) fn last(&self) -> Option<RunReport> {
        self.runs.as_ref()?.last.clone()
    }

    pub(in crate::scheduler) fn history(&self) -> Vec<RunReport> {
        self.runs.as_ref().map_or_else(Vec::new, |runs| {
            let before = runs.rest.iter().flat_map(|rest| &rest.history);
            before.chain(&runs.last).cloned().collect()
        })
    }

    /// Whether the runs of a job that has ended have left no memory behind that grows with them.
    pub(in crate::scheduler) fn has_left_little(&self) -> bool {
        self.runs.as_ref().is_none_or(|runs| runs.are_little())
    }

    /// Whether anything waits for a run in progress to end.
    fn is_waited_for(&self) -> bool {
        let runs = self.runs.as_ref();
        runs.is_some_and(|runs| runs.waiting() != 0)
    }

    pub(in crate::scheduler) fn arm(&mut self, due: Option<Due>) {
        self.armed = Armed::new(due);
        self.moves_on();
    }

    /// Something has happened to what the job waits for.
    pub(in crate::scheduler) fn moves_on(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Takes the trigger's answer over; a delay after the runs, if there is none in progress that
    /// it could wait for.
    pub(in crate::scheduler) fn set_next(&mut self, next: Option<Due>) -> Option<Duration> {
        if let Some(runs) = &mut self.runs {
            runs.hanging = Hanging::Nothing;
        }
        match next {
            Some(Due::AfterRun(delay)) => {
                self.arm(None);
                if self.running() == 0 {
                    return Some(delay);
                }
                self.runs().hanging = Hanging::Delay(delay);
            }
            Some(due) => self.arm(Some(due)),
            None => self.exhaust(),
        }
        None
    }

    /// A time that is fixed now, for the trigger to approve.
    pub(in crate::scheduler) fn fix(&mut self, at: Instant) -> AfterRun {
        let epoch = self.epoch;
        self.runs().hanging = Hanging::Fixed(epoch);
        AfterRun {
            due: Due::At(at),
            epoch,
            timetable: self.timetable.clone(),
        }
    }

    pub(in crate::scheduler) fn exhaust(&mut self) {
        self.exhausted = true;
        if let Some(runs) = &mut self.runs {
            runs.hanging = Hanging::Nothing;
        }
        self.arm(None);
    }

    /// Forgets the requests that wait; how many.
    pub(in crate::scheduler) fn drop_waiting(&mut self) -> u64 {
        let Some(runs) = &mut self.runs else { return 0 };
        let dropped = runs.waiting() as u64;
        if let Some(rest) = &mut runs.rest {
            rest.buffered.clear();
            rest.backlog.clear();
        }
        runs.counts.skipped += dropped;
        dropped
    }

    pub(in crate::scheduler) fn start(&mut self, body: Body, when: When) -> Ticket {
        let runs = self.runs();
        runs.counts.started += 1;
        let run = runs.counts.started;
        runs.begins(Active {
            run,
            scheduled_at: when.scheduled_at,
            cancelled: false,
            in_line: false,
            claimed: false,
            place: Place::Queue,
            task: None,
            killed: false,
            kill: None,
            wait: None,
        });
        Ticket {
            run,
            when,
            body,
            forgotten: 0,
        }
    }

    /// Marks the runs in progress as told to stop; what tells those that have begun, and those
    /// whose condition is being asked.
    pub(in crate::scheduler) fn cancel_active(&mut self) -> Vec<Stop> {
        self.stop_active(|active| {
            active.cancelled = true;
            active.stop()
        })
    }

    /// Marks the runs in progress as to be dropped; what does so, for the same ones.
    pub(in crate::scheduler) fn kill_active(&mut self) -> Vec<Stop> {
        self.stop_active(|active| {
            active.killed = true;
            // Before it has begun it can only wait.
            let stop = active.kill.take().or_else(|| active.wait.take());
            stop.map(Stop::Token)
        })
    }

    fn stop_active(&mut self, mark: impl FnMut(&mut Active) -> Option<Stop>) -> Vec<Stop> {
        let Some(runs) = &mut self.runs else {
            return Vec::new();
        };
        let stopped = runs.active().filter(|active| !active.keeps_its_place());
        stopped.filter_map(mark).collect()
    }

    /// The run of that number, while it is in progress.
    pub(in crate::scheduler) fn active(&mut self, run: u64) -> Option<&mut Active> {
        let runs = self.runs.as_mut()?;
        runs.active().find(|active| active.run == run)
    }

    /// Whether nothing is left to happen.
    pub(in crate::scheduler) fn is_finished(&self) -> bool {
        self.exhausted
            && self.armed == Armed::Nothing
            && self.running() == 0
            && !self.is_waited_for()
            && !self.has_ended()
    }

    /// Ends the job: it is armed for nothing, and what waited does so no more. The rest is to
    /// follow outside of the lock.
    ///
    /// What it was armed for stays written, since it lies in another line of memory: nobody asks
    /// a job that has ended.
    pub(in crate::scheduler) fn end(&mut self, reason: EndReason) -> Over {
        self.phase = JobState::Ended(reason);
        self.moves_on();
        let forgotten = self.drop_waiting();
        let mut waits = Vec::new();
        if let Some(runs) = &mut self.runs {
            runs.hanging = Hanging::Nothing;
            let is_removed = reason == EndReason::Removed;
            let ends = runs
                .active()
                .filter(|active| is_removed || !active.waits_for_room());
            waits.extend(ends.filter_map(|active| active.wait.take()));
        }
        Over {
            reason,
            running: self.running(),
            dropped: Vec::new(),
            body: self.body.take(),
            waits,
            forgotten,
        }
    }
}

impl Over {
    /// Lets go of what the job held.
    pub(crate) fn let_go(&mut self) {
        // What the closure captured is the user's.
        let body = self.body.take();
        contain(|| drop(body));
        for wait in self.waits.drain(..) {
            wait.cancel();
        }
    }
}
