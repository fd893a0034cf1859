//! When a job will be due.

use std::time::SystemTime;

use flow_rt::Instant;

use super::Job;
use crate::scheduler::triggers::plan::when;
use crate::scheduler::triggers::trigger::{Due, Trigger, moves_on};

/// So many times are told: there may be no end of them.
const MOST: usize = 65_536;

impl Job {
    /// The next `n` times that are due as things stand, on the wall clock; `MOST` at the most.
    pub(crate) fn upcoming(&self, n: usize, now: Instant, wall: SystemTime) -> Vec<SystemTime> {
        let (mut cx, armed, left, timetable) = {
            let state = self.state.lock();
            let left = self
                .settings
                .max_runs
                .map_or(u64::MAX, |max| max - state.counts().started);
            let cx = self.context(&state, now, wall);
            (cx, state.wanted(), left, state.timetable.clone())
        };
        let n = n.min(MOST).min(usize::try_from(left).unwrap_or(usize::MAX));
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
            if !timetable.is_recurring() {
                break;
            }
            cx = cx.after(at);
            due = timetable.next(&cx);
        }
        times
    }
}
