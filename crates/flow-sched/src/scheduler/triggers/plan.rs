//! What a trigger says about a time that is due: what was missed since, and what comes next.

use core::time::Duration;
use std::collections::VecDeque;
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
    /// The latest of those, as many as are to be made up, the earliest first.
    pub(crate) backlog: VecDeque<Due>,
    pub(crate) next: Option<Due>,
    /// The trigger does not move on.
    pub(crate) failed: bool,
}

impl Plan {
    /// Due now, and never again.
    pub(crate) fn last(due: Due) -> Self {
        Self {
            latest: due,
            missed: 0,
            backlog: VecDeque::new(),
            next: None,
            failed: false,
        }
    }
}

/// When a run is due, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct When {
    pub(crate) due: Instant,
    pub(crate) scheduled_at: SystemTime,
    /// Asked for by a person here, so that no other instance has a say in it.
    pub(crate) by_hand: bool,
    /// Whether it is a time of day, and so the same in all instances.
    pub(crate) is_shared: bool,
}

/// Asks the trigger what was missed since `due`, and what comes next; up to `made_up` of the missed
/// times one by one.
pub(crate) fn plan(trigger: &dyn Trigger, due: Due, cx: &TriggerContext, made_up: usize) -> Plan {
    let mut plan = Plan::last(due);
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
    if made_up > 0 {
        plan.backlog = backlog(trigger, due, caught, cx, made_up);
        // A trigger may have found more one by one than it was ready to count.
        plan.missed = plan.missed.max(plan.backlog.len() as u64);
    }
    // After the latest that was found; if there were more than it was ready to count, after now.
    plan.next = trigger.next(&cx.after(caught.latest));
    if plan.next.is_some_and(|next| is_past(next, cx)) {
        plan.next = trigger.next(&cx.after(now_like(next, cx)));
        plan.failed = plan.next.is_some_and(|next| is_past(next, cx));
    }
    plan
}

/// The last `most` times from `due` on and before the latest one, by asking for one after the
/// other.
///
/// A trigger can be asked from any time on, but only forwards. So it is asked from where so many
/// times would lie behind if all were as far apart, and from further back if there are too few.
fn backlog(
    trigger: &dyn Trigger,
    due: Due,
    caught: CatchUp,
    cx: &TriggerContext,
    most: usize,
) -> VecDeque<Due> {
    let CatchUp { latest, passed } = caught;
    let span = (cx.position(latest) - cx.position(due)).max(0);
    let mut back = span * most as i128 / i128::from(passed.max(1));
    loop {
        let all = back >= span;
        let mut found = VecDeque::new();
        let mut at = if all { due } else { shifted(latest, back) };
        if all {
            found.push_back(due);
        }
        // More than so many mean that the trigger is denser than it said; they are let go.
        for _ in 0..most.saturating_mul(4).saturating_add(16) {
            let next = trigger.next(&cx.after(at));
            let Some(next) = next.filter(|&next| cx.position(next) < cx.position(latest)) else {
                break;
            };
            if !moves_on(next, &cx.after(at)) {
                break;
            }
            at = next;
            found.push_back(next);
            if found.len() > most {
                found.pop_front();
            }
        }
        if all || found.len() >= most {
            return found;
        }
        back = (back * 2).max(1);
    }
}

/// So many nanoseconds before `due`.
fn shifted(due: Due, back: i128) -> Due {
    let back = u64::try_from(back).unwrap_or(u64::MAX);
    match due {
        Due::At(at) => Due::At(Instant::from_nanos(at.as_nanos().saturating_sub(back))),
        Due::Wall(at) => Due::Wall(at.checked_sub(Duration::from_nanos(back)).unwrap_or(at)),
        Due::AfterRun(_) => due,
    }
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
            by_hand: false,
            is_shared: false,
        },
        Due::Wall(scheduled_at) => When {
            due: wall::to_instant(scheduled_at, cx.now(), cx.wall()),
            scheduled_at,
            by_hand: false,
            is_shared: true,
        },
        // Never armed as such: `State::set_next` turns it into an instant.
        Due::AfterRun(delay) => When {
            due: cx.now() + delay,
            scheduled_at: wall::from_instant(cx.now() + delay, cx.now(), cx.wall()),
            by_hand: false,
            is_shared: false,
        },
    }
}
