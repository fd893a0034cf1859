//! The end of a run, and what follows from it: the next request, the next time, the end of the job.
//!
//! What waited for a run to end is started by one step, one request after another. A run that ends
//! while that step is at it leaves what follows to the step, as a count in `left`, and the step goes
//! on until there is none; a request that comes in between finds the room taken. Each end starting
//! the next one itself would nest: a pool that is closed, or a runtime that is gone, refuses a run at
//! once, a refused run has ended, and its end starts the next one; the stack would have to hold all
//! that waited.

use std::time::SystemTime;

use flow_rt::Instant;

use super::state::{Hanging, State};
use super::{Effects, Job};
use crate::scheduler::report::{EndReason, RunReport};
use crate::scheduler::run::count::Running;
use crate::scheduler::triggers::timetable::Timetable;
use crate::scheduler::triggers::trigger::{Due, Trigger};

/// What the end of a run has fixed, and the trigger has to approve.
pub(crate) struct AfterRun {
    pub(super) due: Due,
    pub(super) epoch: u32,
    pub(super) timetable: Timetable,
}

impl Job {
    /// Notes that a run has ended, and lets in the one that waited for it: then
    /// [`finish_next`](Self::finish_next) is to follow, until it has nothing more.
    pub(crate) fn finish(&self, report: RunReport, running: &Running, now: Instant) -> Effects {
        let mut effects = Effects::default();
        // Before the lock, so that it is dropped after it: its context may be the last one.
        let _ended;
        let mut state = self.state.lock();
        let runs = state.runs();
        _ended = runs.ended(report.run);
        runs.counts.count(&report.outcome);
        let failed = report.outcome.is_failure();
        runs.note(report, self.settings.history);
        if failed && self.settings.stop_on_error && !state.has_ended() {
            // Under the same lock: no step lets another run in before it is told.
            effects.over = Some(Box::new(state.end(EndReason::RunFailed)));
            return effects;
        }
        if !state.runs().leaves_what_follows() {
            self.follow(&mut state, &mut effects, running, now);
            if effects.start.is_some() {
                state.runs().begins_to_follow();
            }
        }
        effects
    }

    /// What follows from the end of a run that ended while the caller started what waited.
    pub(crate) fn finish_next(&self, running: &Running, now: Instant) -> Option<Effects> {
        let mut state = self.state.lock();
        if !state.runs().follows_one_more() {
            return None;
        }
        let mut effects = Effects::default();
        self.follow(&mut state, &mut effects, running, now);
        Some(effects)
    }

    fn follow(&self, state: &mut State, effects: &mut Effects, running: &Running, now: Instant) {
        effects.start = self.start_waiting(state, running);
        if effects.start.is_none()
            && state.running() == 0
            && let Hanging::Delay(delay) = state.runs().hanging
        {
            effects.after_run = Some(Box::new(state.fix(now + delay)));
        }
        if state.is_finished() {
            effects.end = Some(EndReason::Finished);
        }
    }

    /// Asks the trigger about a time that the end of a run has fixed, and arms the job, paused or
    /// not; false if another time has taken its place since, `None` if the answer is no time. Lets a
    /// panic of the trigger through.
    pub(crate) fn approve(&self, fixed: AfterRun, now: Instant, wall: SystemTime) -> Option<bool> {
        let AfterRun {
            due,
            epoch,
            timetable,
        } = fixed;
        let cx = self.context(&self.state.lock(), now, wall);
        let next = timetable.after_run(due, &cx);
        drop(timetable);
        let mut state = self.state.lock();
        let runs = state.runs();
        if runs.hanging != Hanging::Fixed(epoch) {
            return Some(false);
        }
        runs.hanging = Hanging::Nothing;
        match next {
            // It has ended.
            Some(Due::AfterRun(_)) => return None,
            Some(next) => state.arm(Some(next)),
            None => state.exhaust(),
        }
        Some(true)
    }
}
