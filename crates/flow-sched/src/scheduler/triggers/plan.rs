//! What a trigger says about a time that is due: what was missed since, and what comes next.

use core::time::Duration;
use std::collections::VecDeque;
use std::time::SystemTime;

use flow_rt::Instant;

use super::timetable::Timetable;
use super::trigger::{CatchUp, Due, MOST_STEPS, Trigger, TriggerContext, is_past, moves_on};
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
pub(crate) fn plan(trigger: &Timetable, due: Due, cx: &TriggerContext, made_up: usize) -> Plan {
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
/// Few enough to be counted one by one are all asked for: only so are those right that hang on the
/// one before them; and those that are known to hang on it, however many they are. Of more, and of our own rates, a trigger is asked from where `most` times would
/// lie behind if all were as far apart; from twice as far back, as long as there are too few; and
/// where they lie too dense to get from there to the latest one in some steps, from half way
/// between. So it takes a few such walks, and for times as uneven as can be 64 each way.
fn backlog(
    trigger: &Timetable,
    due: Due,
    caught: CatchUp,
    cx: &TriggerContext,
    most: usize,
) -> VecDeque<Due> {
    let CatchUp {
        latest,
        passed,
        chained,
    } = caught;
    let span = (cx.position(latest) - cx.position(due)).max(0);
    let steps = most.saturating_mul(4).saturating_add(16);
    let mut back = if chained || (passed < MOST_STEPS && !trigger.is_ours()) {
        span
    } else {
        span.saturating_mul(most as i128) / i128::from(passed.max(1))
    };
    // From the one there are too few, from the other one too many.
    let (mut short, mut long) = (0, None);
    loop {
        let all = back >= span;
        let mut found = VecDeque::new();
        let mut at = if all { due } else { shifted(latest, back) };
        if all {
            found.push_back(due);
        }
        let steps = if all {
            let every_one = if chained { passed } else { MOST_STEPS };
            steps.max(usize::try_from(every_one).unwrap_or(usize::MAX))
        } else {
            steps
        };
        let mut arrives = false;
        for _ in 0..steps {
            let next = trigger.next(&cx.after(at));
            let next = next.filter(|&next| {
                cx.position(next) < cx.position(latest) && moves_on(next, &cx.after(at))
            });
            let Some(next) = next else {
                arrives = true;
                break;
            };
            at = next;
            found.push_back(next);
            if found.len() > most {
                found.pop_front();
            }
        }
        if arrives && (all || found.len() >= most) {
            return found;
        }
        let tried = back;
        if arrives {
            short = back;
        } else {
            long = Some(back);
        }
        back = match long {
            None => (back * 2).max(1),
            Some(long) => short + (long - short) / 2,
        };
        if back == tried || back == short {
            // No moment lies between: the trigger does not say the same each time.
            return found;
        }
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

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn at(nanos: u64, by_wall: bool) -> Due {
        if by_wall {
            Due::Wall(UNIX_EPOCH + Duration::from_nanos(nanos))
        } else {
            Due::At(Instant::from_nanos(nanos))
        }
    }

    /// Due at these nanoseconds of either clock, which show the same.
    struct Times(Vec<u64>, bool);

    impl Trigger for Times {
        fn next(&self, cx: &TriggerContext) -> Option<Due> {
            let Self(times, by_wall) = self;
            let previous = cx.previous_instant().map(Instant::as_nanos);
            let next = times.partition_point(|&time| Some(time) <= previous);
            times.get(next).map(|&time| at(time, *by_wall))
        }
    }

    fn made_up(trigger: impl Trigger, due: Due, now: u64, most: usize) -> Plan {
        let now = Duration::from_nanos(now);
        let cx = TriggerContext::new(Instant::ORIGIN + now, UNIX_EPOCH + now);
        let cx = cx.started_at(Instant::ORIGIN);
        plan(&Timetable::of(Arc::new(trigger)), due, &cx, most)
    }

    /// A gap, and so many times that far apart.
    fn stretch() -> impl Strategy<Value = (u64, usize, u64)> {
        let far = prop_oneof![
            1..10_u64,
            1..1_000_000_000_u64,
            1..1_000_000_000_000_000_u64
        ];
        let many = prop_oneof![1..9_usize, 1..200_usize, 1..4_000_usize];
        let apart = prop_oneof![1..10_u64, 1..1_000_000_u64, 1..1_000_000_000_000_u64];
        (far, many, apart)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

        #[test]
        fn the_latest_are_made_up_however_uneven_they_are(
            stretches in prop::collection::vec(stretch(), 1..6),
            most in prop_oneof![1..5_usize, 1..300_usize],
            by_wall: bool,
        ) {
            let mut times = Vec::new();
            let mut time = 0;
            for (gap, many, apart) in stretches {
                time += gap;
                for _ in 0..many {
                    times.push(time);
                    time += apart;
                }
            }
            let (&last, before) = times.split_last().unwrap();
            let from = before.len().saturating_sub(most);
            let expected: Vec<_> = before[from..].iter().map(|&time| at(time, by_wall)).collect();
            let plan = made_up(Times(times.clone(), by_wall), at(times[0], by_wall), time, most);
            prop_assert_eq!(plan.latest, at(last, by_wall));
            prop_assert!(plan.backlog == expected, "{:?}, not {:?}", plan.backlog, expected);
        }
    }

    #[test]
    fn times_that_hang_on_those_before_them_are_made_up_as_they_are() {
        /// At 1, 2, 4, 8 ...
        struct Doubling;

        impl Trigger for Doubling {
            fn next(&self, cx: &TriggerContext) -> Option<Due> {
                let previous = cx.previous_instant()?;
                Some(Due::At(previous + (previous - cx.started())))
            }
        }

        let plan = made_up(Doubling, at(1, false), 600, 2);
        assert_eq!(plan.latest, at(512, false));
        assert_eq!(plan.backlog, [at(128, false), at(256, false)]);
        assert_eq!(plan.missed, 9);
    }
}
