//! How other threads hand work to the driver, and when they wake it.
//!
//! # State
//! The items, and `asleep`, by when the driver will wake by itself: nothing while it is awake.
//!
//! # Why under a lock
//! It is guarded by its scheduler's lock, which whoever starts a job holds anyway for the registry:
//! a start is handed over by a word in a deque. A lock-free queue (crossbeam's, and a counter) took
//! two more instructions that wait for the driver's core, and a block for every 31 starts, for the
//! driver to free. A start takes 8 % less CPU time for it (127 and 117 ns, 2 cores, driver on the
//! other one), by name 5 % (162 and 154). Who ends or moves a job takes the lock for the hand-over
//! alone, which costs as much as the queue did: a million alive, each cancelled and replaced, took
//! 1.8 µs of CPU time each before and after, the driver's included.
//!
//! # Invariants
//! 1. The driver's waker is registered before it says that it sleeps.
//! 2. It sleeps with no item handed over, and from then on each item that is needed before it wakes
//!    by itself has it woken, once.
//! 3. Items that nobody needs soon (a removed job's timer, to be forgotten) wake nobody until
//!    `BATCH` of them have gathered: memory stays bounded, and nobody wakes for nothing.
//! 4. Times of day are compared with what the wall clock will show when the driver wakes, by the
//!    driver's own reading of both clocks. To turn them into instants by another reading takes the
//!    moments between the two for a difference: every second start of those due at the same time
//!    of day, or later than the driver looks anyway, was earlier by that, and woke it.

use std::collections::VecDeque;
use std::time::SystemTime;

/// So many items wake the driver even if none is needed soon.
const BATCH: usize = 1_024;

pub(crate) struct Handoff<T> {
    items: VecDeque<T>,
    asleep: Option<Asleep>,
}

/// By when the driver wakes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asleep {
    /// On the monotonic clock, in nanoseconds.
    pub(crate) until: u64,
    /// What the wall clock shows then, if nobody sets it; `None` if that is too far ahead for those
    /// who wait for a time of day.
    pub(crate) wall: Option<SystemTime>,
}

/// By when the driver must have seen an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NeededBy {
    SomeTime,
    /// In nanoseconds of the monotonic clock.
    Instant(u64),
    /// A time of day, for somebody who has just seen that of `now`.
    Wall {
        at: SystemTime,
        now: SystemTime,
    },
}

impl Asleep {
    /// Whether it wakes too late for an item.
    #[inline]
    fn misses(self, needed_by: NeededBy) -> bool {
        match needed_by {
            NeededBy::SomeTime => false,
            NeededBy::Instant(at) => at < self.until,
            // If the wall clock is past that, and it still sleeps, then the clock was set.
            NeededBy::Wall { at, now } => self.wall.is_none_or(|wall| at < wall || now > wall),
        }
    }
}

impl<T> Default for Handoff<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            asleep: None,
        }
    }
}

impl<T> Handoff<T> {
    /// Hands an item over. True if the driver is to be woken, outside of the lock.
    #[inline]
    #[must_use]
    pub(crate) fn push(&mut self, item: T, needed_by: NeededBy) -> bool {
        self.items.push_back(item);
        let is_full = self.items.len() >= BATCH;
        let wakes = |asleep: &mut Asleep| is_full || asleep.misses(needed_by);
        // Once: it looks at the items before it says that it sleeps again.
        self.asleep.take_if(wakes).is_some()
    }

    /// For the driver, which is awake: gives what was handed over, for memory to be used again.
    pub(crate) fn take(&mut self, empty: VecDeque<T>) -> VecDeque<T> {
        self.asleep = None;
        core::mem::replace(&mut self.items, empty)
    }

    /// Says that the driver sleeps; false if there is something to do first.
    pub(crate) fn sleep(&mut self, asleep: Asleep) -> bool {
        if self.items.is_empty() {
            self.asleep = Some(asleep);
        }
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn day(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Whether a driver that sleeps like that is woken for one item.
    fn wakes(until: u64, wall: Option<SystemTime>, needed_by: NeededBy) -> bool {
        let mut handoff = Handoff::default();
        assert!(handoff.sleep(Asleep { until, wall }));
        let wakes = handoff.push((), needed_by);
        // Once at the most, until it has taken it.
        assert!(!(wakes && handoff.push((), needed_by)));
        assert!(!handoff.sleep(Asleep { until, wall }));
        assert_eq!(handoff.take(VecDeque::new()).len(), 1 + usize::from(wakes));
        assert!(handoff.sleep(Asleep { until, wall }));
        assert_eq!(handoff.push((), needed_by), wakes);
        wakes
    }

    #[test]
    fn the_driver_is_woken_for_what_is_earlier_than_it_wakes() {
        let instant = |at| wakes(100, None, NeededBy::Instant(at));
        assert_eq!([99, 100, 101].map(instant), [true, false, false]);
        let some_time = |wall| wakes(100, wall, NeededBy::SomeTime);
        assert_eq!([None, Some(day(7_100))].map(some_time), [false, false]);
    }

    #[test]
    fn times_of_day_are_compared_with_that_at_which_the_driver_wakes() {
        let by = |at, now| NeededBy::Wall {
            at: day(at),
            now: day(now),
        };
        let wall = |at, now| wakes(100, Some(day(7_100)), by(at, now));
        // Whatever the one who starts a job has seen.
        for now in [7_000, 7_001, 7_100] {
            let at = |at| wall(at, now);
            assert_eq!([7_099, 7_100, 7_101].map(at), [true, false, false]);
        }
        // The clock was set forward, past what the driver waits for.
        assert!(wall(9_000, 7_101));
        // It would not look in time at a clock that somebody may set.
        assert!(wakes(100, None, by(9_000_000_000, 7_000)));
    }

    #[test]
    fn many_wake_the_driver_whenever_they_are_needed() {
        let mut handoff = Handoff::default();
        let asleep = Asleep {
            until: u64::MAX,
            wall: None,
        };
        for _ in 0..2 {
            assert!(handoff.sleep(asleep));
            let woken = (1..=2 * BATCH).filter(|_| handoff.push((), NeededBy::SomeTime));
            assert!(woken.eq([BATCH]));
            assert_eq!(handoff.take(VecDeque::new()).len(), 2 * BATCH);
        }
    }
}
