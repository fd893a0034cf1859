//! Counts of calls, in cells that few threads share or none.
//!
//! A breaker that is closed has nothing to do but to count, and an atomic addition costs more
//! than all the rest (5.8 ns of a budget of 5): so these are padded counters. 16 threads of the
//! process at a time have a cell to themselves, to which they add by a load and a store; all
//! others share 8 cells, and pay for the atomic addition.
//!
//! # Invariant
//! A sum never counts down. Whoever looks (under the breaker's lock) remembers what was there the
//! last time; the difference is what came since.
//!
//! # Ordering
//! Relaxed. A count that happened before a look, by any chain of synchronization, is seen by it, for
//! a load never sees a value older than one that happened before it; one that did not is seen by
//! the next look.

use flow_sync::PaddedCounters;

/// What is counted without the breaker's lock.
#[derive(Clone, Copy)]
pub(super) enum Count {
    /// Calls that went well, and not slowly, while the breaker was closed.
    Good = 0,
    Rejected = 1,
    Ignored = 2,
}

const GOOD: usize = Count::Good as usize;
const REJECTED: usize = Count::Rejected as usize;
const IGNORED: usize = Count::Ignored as usize;

#[derive(Default)]
pub(super) struct Cells(PaddedCounters<3>);

impl Cells {
    #[inline]
    pub(super) fn add(&self, what: Count) {
        match what {
            Count::Good => self.0.add::<GOOD>(1),
            Count::Rejected => self.0.add::<REJECTED>(1),
            Count::Ignored => self.0.add::<IGNORED>(1),
        }
    }

    /// All that was counted so far.
    pub(super) fn sum(&self, what: Count) -> u64 {
        match what {
            Count::Good => self.0.sum::<GOOD>(),
            Count::Rejected => self.0.sum::<REJECTED>(),
            Count::Ignored => self.0.sum::<IGNORED>(),
        }
    }
}
