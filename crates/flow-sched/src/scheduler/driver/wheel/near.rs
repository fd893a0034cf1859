//! The timers of the ticks that have begun, in order.
//!
//! Those that begin together are sorted once and taken from the end: among a million a heap's
//! every step down is a miss, and there are twenty of them. What comes later goes to a heap.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Near {
    pub(super) deadline: u64,
    pub(super) order: u64,
    pub(super) seq: u64,
    pub(super) index: u32,
}

#[derive(Debug, Default)]
pub(super) struct Nearest {
    /// The last one first.
    sorted: Vec<Near>,
    heap: BinaryHeap<Reverse<Near>>,
}

impl Nearest {
    pub(super) fn len(&self) -> usize {
        self.sorted.len() + self.heap.len()
    }

    pub(super) fn push(&mut self, near: Near) {
        self.heap.push(Reverse(near));
    }

    /// Adds many at once, in whichever order.
    pub(super) fn extend(&mut self, many: impl Iterator<Item = Near>) {
        if self.sorted.is_empty() {
            self.sorted.extend(many);
            self.sorted.sort_unstable_by(|one, other| other.cmp(one));
        } else {
            self.heap.extend(many.map(Reverse));
        }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<Near> {
        match (self.sorted.last(), self.heap.peek()) {
            (Some(&one), Some(&Reverse(other))) => Some(one.min(other)),
            (one, other) => one.copied().or(other.map(|&Reverse(near)| near)),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Near> {
        let first = self.peek()?;
        if self.sorted.last() == Some(&first) {
            self.sorted.pop()
        } else {
            self.heap.pop().map(|Reverse(near)| near)
        }
    }

    pub(super) fn retain(&mut self, mut is_live: impl FnMut(&Near) -> bool) {
        self.sorted.retain(&mut is_live);
        self.heap.retain(|Reverse(near)| is_live(near));
    }

    /// Bytes that are kept.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        (self.sorted.capacity() + self.heap.capacity()) * size_of::<Near>()
    }

    /// Drops memory for many more than there are.
    pub(super) fn shrink(&mut self, floor: usize) {
        if self.sorted.capacity() > 4 * self.sorted.len() + floor {
            self.sorted.shrink_to(2 * self.sorted.len());
        }
        if self.heap.capacity() > 4 * self.heap.len() + floor {
            self.heap.shrink_to(2 * self.heap.len());
        }
    }

    /// Drops all, and the memory for more than so many.
    pub(super) fn clear(&mut self, keep: usize) {
        self.sorted.clear();
        self.sorted.shrink_to(keep);
        self.heap.clear();
        self.heap.shrink_to(keep);
    }
}
