//! Between the wall clock and the monotonic one: signed nanoseconds, saturating at both ends.

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use flow_rt::Instant;

/// A sleep towards a time of day is never longer than this: whether the clock was set meanwhile,
/// or the machine suspended, shows only when one looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What the clocks show as it is looked what is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) now: Instant,
    pub(crate) wall: SystemTime,
    /// How far the wall clock has moved forward by itself since the driver looked before: it was
    /// set, or the machine suspended.
    pub(crate) jumped: Duration,
    /// How long the driver did not mean to look.
    pub(crate) slept: Duration,
}

impl Look {
    pub(crate) fn new(now: Instant, wall: SystemTime) -> Self {
        Self {
            now,
            wall,
            jumped: Duration::ZERO,
            slept: Duration::ZERO,
        }
    }

    /// Whether a time of day that is found so late may have come since the driver's last look, and
    /// is late for no other reason than that nobody looked.
    pub(crate) fn excuses(&self, late: Duration, within: Duration) -> bool {
        late <= self.slept && late <= self.jumped.saturating_add(within)
    }
}

/// Nanoseconds since the epoch, negative before it.
pub(crate) fn nanos(at: SystemTime) -> i128 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(after) => signed(after),
        Err(before) => -signed(before.duration()),
    }
}

/// How far the wall clock is ahead of the monotonic one. It changes when the clock is set, and
/// when the machine was suspended.
pub(crate) fn offset(now: Instant, wall: SystemTime) -> i128 {
    nanos(wall) - i128::from(now.as_nanos())
}

/// When the wall clock will show `at`, if nobody sets it.
pub(crate) fn to_instant(at: SystemTime, now: Instant, wall: SystemTime) -> Instant {
    let instant = nanos(at) - offset(now, wall);
    Instant::from_nanos(u64::try_from(instant.max(0)).unwrap_or(u64::MAX))
}

/// What the wall clock shows at `at`, if nobody sets it; the nearest representable time.
pub(crate) fn from_instant(at: Instant, now: Instant, wall: SystemTime) -> SystemTime {
    let moved = if at >= now {
        wall.checked_add(at - now)
    } else {
        wall.checked_sub(now - at)
    };
    moved.unwrap_or(wall)
}

fn signed(duration: Duration) -> i128 {
    // 2^64 s in nanoseconds is less than 2^94.
    duration.as_nanos().cast_signed()
}
