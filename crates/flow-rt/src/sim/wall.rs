//! The wall clock: it follows virtual time, and is stepped and slewed away from it.

use core::time::Duration;
use std::time::SystemTime;

/// Which way the wall clock is stepped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // a clock has two directions
pub enum Step {
    /// Into the future.
    Forward,
    /// Into the past.
    Backward,
}

/// A line through (`since`, `then`) with the slope `1 + ppm / 1_000_000`.
pub(super) struct Wall {
    /// Virtual nanoseconds.
    since: u64,
    /// Nanoseconds since the epoch; it saturates at the years 1677 and 2262.
    then: i64,
    ppm: i32,
}

impl Wall {
    pub(super) fn new(since: u64, start: SystemTime) -> Self {
        let then = match start.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => nanos(after),
            Err(before) => -nanos(before.duration()),
        };
        Self {
            since,
            then,
            ppm: 0,
        }
    }

    pub(super) fn at(&self, now: u64) -> SystemTime {
        let nanos = self.nanos_at(now);
        let distance = Duration::from_nanos(nanos.unsigned_abs());
        if nanos < 0 {
            SystemTime::UNIX_EPOCH - distance
        } else {
            SystemTime::UNIX_EPOCH + distance
        }
    }

    pub(super) fn step(&mut self, by: Duration, direction: Step) {
        let by = nanos(by);
        self.then = match direction {
            Step::Forward => self.then.saturating_add(by),
            Step::Backward => self.then.saturating_sub(by),
        };
    }

    pub(super) fn slew(&mut self, now: u64, ppm: i32) {
        self.then = self.nanos_at(now);
        self.since = now;
        self.ppm = ppm;
    }

    fn nanos_at(&self, now: u64) -> i64 {
        let passed = i128::from(now.saturating_sub(self.since));
        let slewed = passed * i128::from(self.ppm) / 1_000_000;
        let nanos = i128::from(self.then) + passed + slewed;
        i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
    }
}

fn nanos(of: Duration) -> i64 {
    i64::try_from(of.as_nanos()).unwrap_or(i64::MAX)
}
