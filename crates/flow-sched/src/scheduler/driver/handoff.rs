//! How other threads hand work to the driver, and when they wake it.
//!
//! # State
//! The items, and `asleep_until`, the time the driver will wake by itself: 0 while it is awake.
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

use std::collections::VecDeque;

/// So many items wake the driver even if none is needed soon.
const BATCH: usize = 1_024;

pub(crate) struct Handoff<T> {
    items: VecDeque<T>,
    asleep_until: u64,
}

impl<T> Default for Handoff<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            asleep_until: 0,
        }
    }
}

impl<T> Handoff<T> {
    /// Hands an item over, which must be seen by `needed_by`; `u64::MAX` is some time. True if the
    /// driver is to be woken, outside of the lock.
    #[inline]
    #[must_use]
    pub(crate) fn push(&mut self, item: T, needed_by: u64) -> bool {
        self.items.push_back(item);
        let is_full = self.items.len() >= BATCH && self.asleep_until != 0;
        let wakes = needed_by < self.asleep_until || is_full;
        if wakes {
            // Once: it looks at the items before it says that it sleeps again.
            self.asleep_until = 0;
        }
        wakes
    }

    /// For the driver, which is awake: gives what was handed over, for memory to be used again.
    pub(crate) fn take(&mut self, empty: VecDeque<T>) -> VecDeque<T> {
        self.asleep_until = 0;
        core::mem::replace(&mut self.items, empty)
    }

    /// Says that the driver sleeps until `until`; false if there is something to do first.
    pub(crate) fn sleep(&mut self, until: u64) -> bool {
        if self.items.is_empty() {
            self.asleep_until = until;
        }
        self.items.is_empty()
    }
}
