//! Two triggers as one.

use core::time::Duration;

use super::plan::now_like;
use super::trigger::{Due, Trigger, TriggerContext};
use crate::scheduler::error::ScheduleError;

/// Due when one of two triggers is; see [`Trigger::or`].
#[derive(Debug, Clone)]
pub struct Union<A, B>(pub(crate) A, pub(crate) B);

fn earlier(a: Option<Due>, b: Option<Due>, cx: &TriggerContext) -> Option<Due> {
    match (a, b) {
        (Some(a), Some(b)) if cx.position(b) < cx.position(a) => Some(b),
        (a, b) => a.or(b),
    }
}

/// Where a time goes that one side of a union may have had fixed, a delay of `shortest` after a run,
/// and whose answer is `next` now.
fn side_after_run(
    side: &impl Trigger,
    next: Option<Due>,
    due: Due,
    shortest: Duration,
    cx: &TriggerContext,
) -> Option<Due> {
    match next? {
        // That of the longer one is later by as much.
        Due::AfterRun(delay) => side.after_run(due.delayed(delay.saturating_sub(shortest)), cx),
        at => Some(at),
    }
}

impl<A: Trigger, B: Trigger> Trigger for Union<A, B> {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        earlier(self.0.next(cx), self.1.next(cx), cx)
    }

    /// What a side makes of its delay holds for it alone, and the other side's next time may come
    /// before.
    fn after_run(&self, due: Due, cx: &TriggerContext) -> Option<Due> {
        // As if due now, since the run is over.
        let now = cx.after(now_like(due, cx));
        let (a, b) = (self.0.next(&now), self.1.next(&now));
        let delay = |next| match next {
            Some(Due::AfterRun(delay)) => Some(delay),
            _ => None,
        };
        let Some(shortest) = delay(a).into_iter().chain(delay(b)).min() else {
            // A side that is a union itself, with a time of its own before the end of the delay; or
            // one that has changed its mind.
            return earlier(earlier(a, b, cx), Some(due), cx);
        };
        let a = side_after_run(&self.0, a, due, shortest, cx);
        let b = side_after_run(&self.1, b, due, shortest, cx);
        earlier(a, b, cx)
    }

    fn is_cheap(&self) -> bool {
        self.0.is_cheap() && self.1.is_cheap()
    }

    fn check(&self) -> Result<(), ScheduleError> {
        self.0.check()?;
        self.1.check()
    }
}

/// Due when both of two triggers are; see [`Trigger::and`].
#[derive(Debug, Clone)]
pub struct Intersection<A, B>(pub(crate) A, pub(crate) B);

/// So many steps are taken in search of a time that both know.
const STEPS: usize = 10_000;

impl<A: Trigger, B: Trigger> Trigger for Intersection<A, B> {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        let mut a = self.0.next(cx)?;
        let mut b = self.1.next(cx)?;
        for _ in 0..STEPS {
            // What hangs on the end of a run is no time yet, to meet another one.
            cx.on_wall(a).and(cx.on_wall(b))?;
            let (at_a, at_b) = (cx.position(a), cx.position(b));
            if at_a == at_b {
                return Some(a);
            }
            // Whoever is behind goes on to where the other one is, or beyond.
            let (behind, target) = if at_a < at_b {
                (&mut a, b)
            } else {
                (&mut b, a)
            };
            let from = cx.after(target.just_before()?);
            let next = if at_a < at_b {
                self.0.next(&from)?
            } else {
                self.1.next(&from)?
            };
            *behind = next;
        }
        None
    }

    fn is_cheap(&self) -> bool {
        // The search is bounded, and not by little.
        false
    }

    fn is_recurring(&self) -> bool {
        self.0.is_recurring() && self.1.is_recurring()
    }

    fn check(&self) -> Result<(), ScheduleError> {
        self.0.check()?;
        self.1.check()
    }
}
