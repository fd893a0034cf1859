//! How the wall clock moves against the monotonic one, from one look of the driver to the next.
//!
//! The driver sleeps for up to [`LOOK_EVERY`](wall::LOOK_EVERY) while a time of day is waited for.
//! A clock that is set forward meanwhile, and a machine that is suspended, bring times before their
//! turn: how late those are found is not their fault. A clock that is set back far was wrong
//! before: what was asked by it is to be asked anew.

use core::time::Duration;
use std::time::SystemTime;

use flow_rt::Instant;

use crate::scheduler::triggers::wall::{self, Look};

pub(super) struct Clocks {
    /// How far the wall clock was ahead of the monotonic one at the last look.
    offset: i128,
    /// The same when nothing was left to do, and the driver fell asleep: from when, until when.
    /// `None` if it does not look at the clocks.
    asleep: Option<(i128, Instant, Instant)>,
}

/// Set back by more than this at once, the clock is taken to have been wrong: cron's limit.
const CORRECTION: Duration = Duration::from_secs(3 * 3_600);

impl Clocks {
    pub(super) fn new(now: Instant, wall: SystemTime) -> Self {
        Self {
            offset: wall::offset(now, wall),
            asleep: None,
        }
    }

    /// What the clocks show; also, how far the wall clock was set back, if its jobs are to be asked
    /// anew.
    pub(super) fn look(&mut self, now: Instant, wall: SystemTime) -> (Look, Option<Duration>) {
        let offset = wall::offset(now, wall);
        let back = forward(offset, self.offset);
        self.offset = offset;
        let mut look = Look::new(now, wall);
        if let Some((before, since, until)) = self.asleep {
            look.jumped = forward(before, offset);
            look.slept = (until.min(now) - since).min(wall::LOOK_EVERY);
        }
        (look, (back > CORRECTION).then_some(back))
    }

    /// Nothing is due after a look, and the driver sleeps until `until`.
    pub(super) fn sleep(&mut self, look: &Look, until: Instant) {
        self.asleep = Some((self.offset, look.now, until));
    }

    /// The driver looks at no clock until further notice.
    pub(super) fn stop(&mut self) {
        self.asleep = None;
    }
}

/// How much later the one offset is than the other.
fn forward(from: i128, to: i128) -> Duration {
    Duration::from_nanos(u64::try_from((to - from).max(0)).unwrap_or(u64::MAX))
}
