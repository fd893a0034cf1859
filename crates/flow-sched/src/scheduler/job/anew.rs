//! A job's next time, asked for anew from the present one: after a pause, and when the wall clock
//! was set back.

use std::time::SystemTime;

use flow_rt::Instant;

use super::Job;
use crate::scheduler::report::JobState;
use crate::scheduler::triggers::plan::now_like;
use crate::scheduler::triggers::trigger::{Due, Trigger, is_past};

impl Job {
    /// Goes on with the first time that is due from now on; false if the job is not paused, `None`
    /// if its trigger gives no time.
    ///
    /// Lets a panic of the trigger through; the job is still paused then, as it is after `None`.
    pub(crate) fn resume(&self, now: Instant, wall: SystemTime) -> Option<bool> {
        loop {
            let (cx, armed, epoch, timetable) = {
                let state = self.state.lock();
                if state.phase != JobState::Paused {
                    return Some(false);
                }
                let cx = self.context(&state, now, wall);
                (cx, state.armed(), state.epoch, state.timetable.clone())
            };
            // What passed in the pause is not made up, but for the only time of a job that is due
            // once: it is due now.
            let passed = armed.filter(|&due| timetable.is_recurring() && is_past(due, &cx));
            let next = passed.and_then(|due| timetable.next(&cx.after(now_like(due, &cx))));
            // Without a run to wait for, a delay counts from now.
            let fixed = match next {
                Some(Due::AfterRun(delay)) => timetable.after_run(Due::At(now + delay), &cx),
                _ => None,
            };
            drop(timetable);
            let mut state = self.state.lock();
            if state.epoch != epoch {
                continue;
            }
            if matches!(fixed, Some(Due::AfterRun(_))) {
                return None;
            }
            state.phase = JobState::Active;
            state.moves_on();
            if passed.is_some() && state.set_next(next).is_some() {
                match fixed {
                    Some(fixed) => state.arm(Some(fixed)),
                    None => state.exhaust(),
                }
            }
            return Some(true);
        }
    }

    /// Asks for the first time from now on, since the wall clock was set back; the time, if it
    /// comes before the time of day that the job waits for, which gives way to it.
    ///
    /// Lets a panic of the trigger through; nothing has changed then.
    pub(crate) fn ask_anew(&self, now: Instant, wall: SystemTime) -> Option<SystemTime> {
        loop {
            let (cx, armed, epoch, timetable) = {
                let state = self.state.lock();
                // A time that comes once is right as it is.
                if state.has_ended() || !state.timetable.is_recurring() {
                    return None;
                }
                let Some(Due::Wall(armed)) = state.armed() else {
                    return None;
                };
                let cx = self.context(&state, now, wall);
                (cx, armed, state.epoch, state.timetable.clone())
            };
            let next = timetable.next(&cx.after(Due::Wall(wall)));
            drop(timetable);
            let mut state = self.state.lock();
            if state.epoch != epoch {
                continue;
            }
            return match next {
                Some(Due::Wall(at)) if wall < at && at < armed => {
                    state.arm(next);
                    Some(at)
                }
                _ => None,
            };
        }
    }
}
