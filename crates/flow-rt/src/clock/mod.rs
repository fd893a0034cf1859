//! Clocks of the hot paths: where a primitive reads the time when no runtime is asked.

#[cfg(all(feature = "tsc", target_os = "linux", target_arch = "x86_64"))]
mod anchor;
mod coarse;
#[cfg(not(all(feature = "tsc", target_os = "linux", target_arch = "x86_64")))]
mod monotonic;
#[cfg(all(feature = "tsc", target_os = "linux", target_arch = "x86_64"))]
mod tsc;

use core::fmt;
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(not(all(feature = "tsc", target_os = "linux", target_arch = "x86_64")))]
use self::monotonic as machine;
#[cfg(all(feature = "tsc", target_os = "linux", target_arch = "x86_64"))]
use self::tsc as machine;
use crate::ambient;
use crate::instant::Instant;

pub use self::coarse::{CoarseClock, CoarseClockError};

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

/// The clock a primitive gets unless told otherwise: that of the simulation, or of the stepped
/// runtime, in which it is built, else the machine's.
///
/// With the feature `tsc`, on Linux on x86-64, the machine's clock is the processor's time stamp
/// counter if the kernel keeps its own time by it (`current_clocksource` says `tsc`) and the
/// processor promises that it runs evenly. Otherwise, and for the first milliseconds of a process
/// until this is known, it is `CLOCK_MONOTONIC`. Either way the origin is that of
/// [`Instant::now_monotonic`] and of the hosts' timers.
///
/// Each thread ties the counter to `CLOCK_MONOTONIC` anew every 8 ms. Its readings stay within
/// 0.5 µs of that as long as the kernel's rate changes by no more than 50 ppm in between, so two
/// threads may differ by 1 µs. On one thread they never go back. A counter that jumps is
/// corrected at the thread's next look, having misled it by 8 ms at the most; one that jumps
/// again and again is given up for good, by the whole process. While the machine is suspended
/// `CLOCK_MONOTONIC` stands still, and so does this clock.
///
/// # Cost
/// A read of the counter and about a nanosecond; without the counter, a read of
/// `CLOCK_MONOTONIC`, twice to three times as much (benches, `rt`).
#[derive(Clone)]
pub struct DefaultClock(Option<Arc<AtomicU64>>);

impl DefaultClock {
    /// The clock for where this is called: virtual inside a simulation, and in the tasks and
    /// under the `enter` of a stepped runtime, else the machine's.
    pub fn new() -> Self {
        let time = ambient::virtual_time();
        if time.is_none() {
            machine::ask();
        }
        Self(time)
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
            None => machine::now(),
            Some(time) => Instant::from_nanos(time.load(Ordering::Acquire)),
        }
    }
}

impl fmt::Debug for DefaultClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None if machine::is_tsc() => "DefaultClock(machine, tsc)",
            None => "DefaultClock(machine, monotonic)",
            Some(_) => "DefaultClock(virtual)",
        })
    }
}

/// The machine's `CLOCK_MONOTONIC`, read each time, whatever features are on.
///
/// For those who do not want [`DefaultClock`] to read a counter.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct MonotonicClock;

impl MonotonicClock {
    /// The clock.
    pub const fn new() -> Self {
        Self
    }
}

impl Clock for MonotonicClock {
    #[inline]
    fn now(&self) -> Instant {
        Instant::now_monotonic()
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
