//! What a queue under a lock counts, to be read without the lock.

// Plain counts: no part of a protocol, so not loom's.
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::stats::Tally;

/// It has one writer at a time, the lock's holder, so a load and a store do where a locked
/// instruction would cost more than the queue itself.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pushed: AtomicU64,
    popped: AtomicU64,
    evicted: AtomicU64,
    len: AtomicUsize,
    max_len: AtomicUsize,
    weight: AtomicU64,
    closed: AtomicBool,
}

impl Counters {
    pub(super) fn count_pushed(&self, n: usize, len: usize) {
        add(&self.pushed, n);
        self.len.store(len, Relaxed);
        if len > self.max_len.load(Relaxed) {
            self.max_len.store(len, Relaxed);
        }
    }

    /// One item in place of another.
    pub(super) fn count_displaced(&self) {
        add(&self.pushed, 1);
        add(&self.evicted, 1);
    }

    pub(super) fn count_popped(&self, n: usize, len: usize) {
        add(&self.popped, n);
        self.len.store(len, Relaxed);
    }

    pub(super) fn count_evicted(&self, n: usize) {
        add(&self.evicted, n);
    }

    pub(super) fn show_weight(&self, weight: u64) {
        self.weight.store(weight, Relaxed);
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight.load(Relaxed)
    }

    pub(super) fn tally(&self) -> Tally {
        Tally {
            pushed: self.pushed.load(Relaxed),
            popped: self.popped.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
            max_len: self.max_len.load(Relaxed),
        }
    }
}

fn add(cell: &AtomicU64, n: usize) {
    cell.store(cell.load(Relaxed).wrapping_add(n as u64), Relaxed);
}
