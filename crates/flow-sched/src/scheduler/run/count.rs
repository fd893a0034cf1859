//! How many runs are in progress.
//!
//! # State
//! Two counts that only grow, each on lines of its own: runs are let in by the driver, mostly, and
//! end on other cores, and one count of both would go from core to core with each run.
//!
//! # Invariants
//! 1. A run is in `begun` before it can be in `left`, so whoever reads `left` first never finds more
//!    runs that have left than have begun, and none in progress only if there was none at that
//!    moment: those that were let in since count.

use flow_sync::CachePadded;

use crate::sync::atomic::{AtomicUsize, Ordering};

#[derive(Default)]
pub(crate) struct Running {
    begun: CachePadded<AtomicUsize>,
    left: CachePadded<AtomicUsize>,
}

impl Running {
    /// A run is let in, or what counts as one.
    pub(crate) fn begin(&self) {
        // Whoever lets it in publishes it: a job's lock, or another count of the same run.
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// One has ended.
    pub(crate) fn leave(&self) {
        self.left.fetch_add(1, Ordering::AcqRel);
    }

    /// How many are in progress.
    pub(crate) fn now(&self) -> usize {
        let left = self.left.load(Ordering::Acquire);
        self.begun.load(Ordering::Acquire).wrapping_sub(left)
    }
}
