//! Two triggers as one.

use super::trigger::{Due, Trigger, TriggerContext};
use crate::scheduler::error::ScheduleError;

/// Due when one of two triggers is; see [`Trigger::or`].
#[derive(Debug, Clone)]
pub struct Union<A, B>(pub(crate) A, pub(crate) B);

impl<A: Trigger, B: Trigger> Trigger for Union<A, B> {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        match (self.0.next(cx), self.1.next(cx)) {
            (Some(a), Some(b)) if cx.position(b) < cx.position(a) => Some(b),
            (a, b) => a.or(b),
        }
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
