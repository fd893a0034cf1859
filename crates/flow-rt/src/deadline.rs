//! A deadline: an instant by which something must be done, or none.

use core::fmt;
use core::time::Duration;

use crate::instant::Instant;

/// By when something must be done, on its runtime's clock; perhaps never.
///
/// Deadlines are ordered by time, and *none* is later than all others. So the one that holds,
/// of several, is [`min`](Ord::min).
///
/// ```
/// use std::time::Duration;
/// use flow_rt::{Deadline, Instant};
///
/// let now = Instant::from_nanos(1_000);
/// let own = Deadline::after(now, Duration::from_secs(5));
/// let parents = Deadline::after(now, Duration::from_secs(2));
/// assert_eq!(own.min(parents).remaining(now), Some(Duration::from_secs(2)));
/// assert_eq!(own.min(Deadline::NONE), own);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

impl Deadline {
    /// No deadline: never passes.
    pub const NONE: Self = Self(Instant::FAR_FUTURE);

    /// The deadline `at`; [`Instant::FAR_FUTURE`] is none.
    pub const fn at(at: Instant) -> Self {
        Self(at)
    }

    /// The deadline `timeout` after `now`; one beyond the end of time is none.
    pub const fn after(now: Instant, timeout: Duration) -> Self {
        Self(now.saturating_add(timeout))
    }

    /// When it is; `None` if there is none.
    pub const fn instant(self) -> Option<Instant> {
        if self.is_none() { None } else { Some(self.0) }
    }

    /// Whether there is no deadline.
    pub const fn is_none(self) -> bool {
        self.0.is_far_future()
    }

    /// The time left at `now`, zero when late; `None` without a deadline.
    pub fn remaining(self, now: Instant) -> Option<Duration> {
        self.instant().map(|at| at - now)
    }

    /// Whether no time is left at `now`.
    pub fn is_passed(self, now: Instant) -> bool {
        !self.is_none() && self.0 <= now
    }
}

impl Default for Deadline {
    /// None.
    fn default() -> Self {
        Self::NONE
    }
}

impl From<Instant> for Deadline {
    fn from(at: Instant) -> Self {
        Self::at(at)
    }
}

impl From<Option<Instant>> for Deadline {
    fn from(at: Option<Instant>) -> Self {
        at.map_or(Self::NONE, Self::at)
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.instant() {
            Some(at) => at.fmt(f),
            None => f.write_str("none"),
        }
    }
}
