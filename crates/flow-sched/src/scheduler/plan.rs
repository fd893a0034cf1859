//! What a trigger says about a time that is due: what was missed since, and what comes next.

use core::time::Duration;
use std::time::SystemTime;

use flow_rt::Instant;

use super::trigger::{CatchUp, Due, Trigger, TriggerContext, is_past, moves_on};
use super::wall;

/// The trigger's answers, taken outside of the job's lock.
pub(crate) struct Plan {
    /// The latest time that is due.
    pub(crate) latest: Due,
    /// Times that were due before it, without a run.
    pub(crate) missed: u64,
    pub(crate) next: Option<Due>,
    /// The trigger does not move on.
    pub(crate) failed: bool,
}

/// When a run is due, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct When {
    pub(crate) due: Instant,
    pub(crate) scheduled_at: SystemTime,
}

/// Asks the trigger what was missed since `due`, and what comes next.
pub(crate) fn plan(trigger: &dyn Trigger, due: Due, cx: &TriggerContext) -> Plan {
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
pub(crate) fn now_like(due: Due, cx: &TriggerContext) -> Due {
    match due {
        Due::Wall(_) => Due::Wall(cx.wall()),
        Due::At(_) | Due::AfterRun(_) => Due::At(cx.now()),
    }
}

pub(crate) fn lateness(due: Due, cx: &TriggerContext) -> Duration {
    match due {
        Due::At(at) => cx.now() - at,
        // On its own clock: the monotonic one may have begun after it.
        Due::Wall(at) => cx.wall().duration_since(at).unwrap_or_default(),
        Due::AfterRun(_) => Duration::ZERO,
    }
}

pub(crate) fn when(due: Due, cx: &TriggerContext) -> When {
    match due {
        Due::At(due) => When {
            due,
            scheduled_at: wall::from_instant(due, cx.now(), cx.wall()),
        },
        Due::Wall(scheduled_at) => When {
            due: wall::to_instant(scheduled_at, cx.now(), cx.wall()),
            scheduled_at,
        },
        // Never armed as such: `State::set_next` turns it into an instant.
        Due::AfterRun(delay) => When {
            due: cx.now() + delay,
            scheduled_at: wall::from_instant(cx.now() + delay, cx.now(), cx.wall()),
        },
    }
}
