//! Triggers that let only some of another one's times through, or put them off.

use std::sync::Arc;
use std::time::SystemTime;

use super::calendar::Calendar;
use super::trigger::{CatchUp, Due, Trigger, TriggerContext};
use super::window::Window;
use crate::scheduler::error::ScheduleError;

/// The times of a trigger, those outside of a window put off to its opening; see
/// [`Trigger::within`].
#[derive(Debug, Clone)]
pub struct Within<T> {
    pub(crate) inner: T,
    pub(crate) window: Window,
}

impl<T> Within<T> {
    fn put_off(&self, due: Due, cx: &TriggerContext) -> Option<Due> {
        let Some(at) = cx.on_wall(due) else {
            return Some(due);
        };
        if self.window.contains(at) {
            return Some(due);
        }
        self.window.opens_after(at).map(Due::Wall)
    }
}

impl<T: Trigger> Trigger for Within<T> {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        self.put_off(self.inner.next(cx)?, cx)
    }

    fn after_run(&self, due: Due, cx: &TriggerContext) -> Option<Due> {
        self.put_off(self.inner.after_run(due, cx)?, cx)
    }

    fn is_cheap(&self) -> bool {
        self.inner.is_cheap()
    }

    fn is_recurring(&self) -> bool {
        self.inner.is_recurring()
    }

    fn check(&self) -> Result<(), ScheduleError> {
        self.inner.check()
    }
}

/// The times of a trigger that a calendar does not exclude; see [`Trigger::excluding`].
#[derive(Debug, Clone)]
pub struct Excluding<T, C> {
    pub(crate) inner: T,
    pub(crate) calendar: C,
}

/// So many spans are skipped in search of a time that is not excluded.
const STEPS: usize = 10_000;

impl<T: Trigger, C: Calendar> Trigger for Excluding<T, C> {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        let mut due = self.inner.next(cx)?;
        for _ in 0..STEPS {
            let Some(at) = cx.on_wall(due) else {
                return Some(due);
            };
            match self.calendar.excluded_until(at) {
                None => return Some(due),
                // A calendar that does not move on would be asked for ever.
                Some(until) if until <= at => return None,
                Some(until) => due = go_on(&self.inner, cx, due, until)?,
            }
        }
        None
    }

    /// There is no later one to take its place: it is put off to the end of what is excluded.
    fn after_run(&self, due: Due, cx: &TriggerContext) -> Option<Due> {
        let mut due = self.inner.after_run(due, cx)?;
        for _ in 0..STEPS {
            let at = cx.on_wall(due)?;
            match self.calendar.excluded_until(at) {
                None => return Some(due),
                Some(until) if until <= at => return None,
                Some(until) => due = Due::Wall(until),
            }
        }
        None
    }

    fn is_recurring(&self) -> bool {
        self.inner.is_recurring()
    }

    fn check(&self) -> Result<(), ScheduleError> {
        self.inner.check()
    }
}

/// The first time of a trigger from `from` on, when `due` was too early.
fn go_on(trigger: &impl Trigger, cx: &TriggerContext, due: Due, from: SystemTime) -> Option<Due> {
    let from = cx.like(due, from);
    Some(match trigger.next(&cx.after(from.just_before()?))? {
        // No run has been yet that it could hang on.
        Due::AfterRun(_) => from,
        next => next,
    })
}

/// The times of a trigger from a first to a last moment; see [`Trigger::not_before`] and
/// [`Trigger::not_after`].
#[derive(Debug, Clone)]
pub struct Between<T> {
    pub(crate) inner: T,
    pub(crate) from: Option<SystemTime>,
    pub(crate) to: Option<SystemTime>,
}

impl<T> Between<T> {
    /// Without the times before `from`, on the wall clock; that of [`Trigger::not_before`] for a
    /// trigger with an end: an end before the start is refused then.
    #[must_use]
    pub fn not_before(mut self, from: SystemTime) -> Self {
        self.from = self.from.max(Some(from));
        self
    }

    /// Without the times after `to`, on the wall clock; that of [`Trigger::not_after`] for a
    /// trigger with a start: an end before the start is refused then.
    #[must_use]
    pub fn not_after(mut self, to: SystemTime) -> Self {
        self.to = Some(self.to.map_or(to, |before| before.min(to)));
        self
    }

    fn is_over(&self, due: Due, cx: &TriggerContext) -> bool {
        match (self.to, cx.on_wall(due)) {
            (Some(to), Some(at)) => at > to,
            _ => false,
        }
    }
}

impl<T: Trigger> Trigger for Between<T> {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        let mut due = self.inner.next(cx)?;
        if let (Some(from), Some(at)) = (self.from, cx.on_wall(due))
            && at < from
        {
            due = go_on(&self.inner, cx, due, from)?;
        }
        (!self.is_over(due, cx)).then_some(due)
    }

    fn after_run(&self, due: Due, cx: &TriggerContext) -> Option<Due> {
        let due = self.inner.after_run(due, cx)?;
        (!self.is_over(due, cx)).then_some(due)
    }

    fn is_cheap(&self) -> bool {
        self.inner.is_cheap()
    }

    fn is_recurring(&self) -> bool {
        self.inner.is_recurring()
    }

    fn check(&self) -> Result<(), ScheduleError> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && to < from
        {
            return Err(ScheduleError::EndBeforeStart { from, to });
        }
        self.inner.check()
    }
}

impl<T: Trigger + ?Sized> Trigger for Arc<T> {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        (**self).next(cx)
    }

    fn catch_up(&self, cx: &TriggerContext) -> Option<CatchUp> {
        (**self).catch_up(cx)
    }

    fn after_run(&self, due: Due, cx: &TriggerContext) -> Option<Due> {
        (**self).after_run(due, cx)
    }

    fn is_cheap(&self) -> bool {
        (**self).is_cheap()
    }

    fn is_recurring(&self) -> bool {
        (**self).is_recurring()
    }

    fn check(&self) -> Result<(), ScheduleError> {
        (**self).check()
    }
}
