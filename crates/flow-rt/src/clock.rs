//! Clocks of the hot paths: where a primitive reads the time when no runtime is asked.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ambient;
use crate::instant::Instant;

/// A source of monotonic time for hot paths, as a generic parameter with a default.
///
/// It should not go back; consumers stay sound if it does, and mint nothing.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Instant;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Instant {
        (**self).now()
    }
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Instant {
        (**self).now()
    }
}

/// The clock a primitive gets unless told otherwise: the simulation's when it is built inside
/// one, else the machine's `CLOCK_MONOTONIC`.
#[derive(Clone)]
pub struct DefaultClock(Option<Arc<AtomicU64>>);

impl DefaultClock {
    /// The clock for where this is called: a simulation's inside one, else the machine's.
    pub fn new() -> Self {
        Self(ambient::simulated_time())
    }

    /// The machine's clock, wherever this is called; usable in a `static`.
    pub const fn machine() -> Self {
        Self(None)
    }
}

impl Default for DefaultClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for DefaultClock {
    #[inline]
    fn now(&self) -> Instant {
        match &self.0 {
            None => Instant::now_monotonic(),
            Some(time) => Instant::from_nanos(time.load(Ordering::Acquire)),
        }
    }
}

impl fmt::Debug for DefaultClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "DefaultClock(machine)",
            Some(_) => "DefaultClock(simulated)",
        })
    }
}

/// A clock that stands still until it is moved: for tests. Clones share the time.
///
/// ```
/// use std::time::Duration;
/// use flow_rt::{Clock, Instant, ManualClock};
///
/// let clock = ManualClock::new();
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(clock.now(), Instant::ORIGIN + Duration::from_secs(1));
/// ```
#[derive(Clone, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock at the origin.
    pub fn new() -> Self {
        Self::default()
    }

    /// A clock at `now`.
    pub fn starting_at(now: Instant) -> Self {
        Self(Arc::new(AtomicU64::new(now.as_nanos())))
    }

    /// Moves the clock forward; it stops at [`Instant::FAR_FUTURE`].
    pub fn advance(&self, by: Duration) {
        let moved = |now| Some((Instant::from_nanos(now) + by).as_nanos());
        // The closure never refuses, so there is no error to see.
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, moved);
    }

    /// Sets the clock, backward too: consumers must stand that.
    pub fn set(&self, now: Instant) {
        self.0.store(now.as_nanos(), Ordering::Release);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::Acquire))
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}
