//! What a job is told once, and keeps.

use core::time::Duration;

use super::error::ScheduleError;
use super::jitter::Jitter;
use super::policy::{Misfire, Overlap};

/// A job's policies. Jobs that were told nothing share those of their scheduler.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) overlap: Overlap,
    pub(crate) misfire: Misfire,
    pub(crate) max_runs: Option<u64>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) jitter: Option<Jitter>,
}

impl Settings {
    /// Checks every value.
    pub(crate) fn check(&self) -> Result<(), ScheduleError> {
        if self.overlap == Overlap::Allow(0) {
            return Err(ScheduleError::ZeroOverlap);
        }
        if self.misfire.within().is_zero() {
            return Err(ScheduleError::ZeroWithin);
        }
        if self.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(ScheduleError::ZeroTimeout);
        }
        self.jitter.map_or(Ok(()), Jitter::check)
    }
}
