//! Due once.

use core::time::Duration;

use super::trigger::{Due, Trigger, TriggerContext, moves_on};

/// Due once, at a point of either clock.
///
/// A time that has passed is due at once, and then a matter of [`Misfire`](crate::Misfire).
///
/// In a [`Union`](crate::Union) with a time of the other clock it can come twice, if the clocks
/// move apart between the two: the union knows what was due last, and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once(Due);

impl Once {
    /// Due at an [`Instant`](flow_rt::Instant) of the runtime, or at a `SystemTime` of the wall
    /// clock.
    pub fn new(at: impl Into<Due>) -> Self {
        Self(at.into())
    }
}

impl Trigger for Once {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        let comes = match self.0 {
            // There is no run before the only one.
            Due::AfterRun(_) => cx.previous().is_none(),
            at => moves_on(at, cx),
        };
        comes.then_some(self.0)
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn is_recurring(&self) -> bool {
        false
    }
}

/// Due once, so long after the job's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After(Duration);

impl After {
    /// Due `delay` after the job's start.
    pub fn new(delay: Duration) -> Self {
        Self(delay)
    }
}

impl Trigger for After {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        Once(Due::At(cx.started() + self.0)).next(cx)
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn is_recurring(&self) -> bool {
        false
    }
}
