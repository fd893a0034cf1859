//! What virtual time is made of, in a simulation and on a real host: two clocks and timers.

mod timers;

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::SystemTime;

use crate::instant::Instant;
use crate::sim::Step;

pub(crate) use timers::{Key, Timers};

/// A monotonic clock that stands until it is moved, and a wall clock that moves with it.
pub(crate) struct VirtualTime {
    /// Virtual nanoseconds. Shared with clocks built inside.
    nanos: Arc<AtomicU64>,
    /// Wall clock minus virtual time, in nanoseconds since the epoch.
    wall_offset: AtomicI64,
}

impl VirtualTime {
    /// Time that starts a second after the origin, with the wall clock at `wall`.
    pub(crate) fn starting_at(wall: SystemTime) -> Self {
        let since_epoch = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self {
            nanos: Arc::new(AtomicU64::new(START)),
            wall_offset: AtomicI64::new(signed(since_epoch).saturating_sub_unsigned(START)),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.nanos.load(Ordering::Acquire)
    }

    /// Moves time to `to`. The caller sees to it that it does not go back.
    pub(crate) fn set(&self, to: u64) {
        self.nanos.store(to, Ordering::Release);
    }

    /// The nanoseconds, as clocks read them.
    pub(crate) fn nanos(&self) -> &Arc<AtomicU64> {
        &self.nanos
    }

    pub(crate) fn instant(&self) -> Instant {
        Instant::from_nanos(self.now())
    }

    pub(crate) fn wall(&self) -> SystemTime {
        let nanos = self
            .wall_offset
            .load(Ordering::Relaxed)
            .saturating_add_unsigned(self.now());
        match u64::try_from(nanos) {
            Ok(after) => SystemTime::UNIX_EPOCH + Duration::from_nanos(after),
            Err(_) => SystemTime::UNIX_EPOCH - Duration::from_nanos(nanos.unsigned_abs()),
        }
    }

    /// Moves the wall clock and leaves monotonic time alone.
    pub(crate) fn step_wall(&self, by: Duration, direction: Step) {
        let by = signed(by);
        let by = match direction {
            Step::Forward => by,
            Step::Backward => -by,
        };
        let moved = |offset: i64| Some(offset.saturating_add(by));
        // The closure never refuses, so there is no error to see.
        let _ = self
            .wall_offset
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved);
    }
}

/// Where wall clocks start unless told otherwise: 2026-01-01 00:00 UTC.
pub(crate) fn default_wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

/// Runs start a second after the origin, so that a test can look at earlier instants.
const START: u64 = 1_000_000_000;

fn signed(of: Duration) -> i64 {
    i64::try_from(of.as_nanos()).unwrap_or(i64::MAX)
}
