//! Timers of virtual time: a heap of due times with stale entries skipped.

use core::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::Waker;

/// Timers by slot; the heap holds (due, stamp, slot) and an entry counts only while its stamp
/// is the slot's.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    next_stamp: u64,
    waiting: usize,
}

#[derive(Default)]
struct Slot {
    due: u64,
    /// The stamp of this slot's entry in the heap; 0 without one.
    stamp: u64,
    waker: Option<Waker>,
}

impl Timers {
    pub(crate) fn insert(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        })
    }

    /// Frees a slot; its waker is the caller's to drop outside the lock.
    pub(crate) fn remove(&mut self, slot: usize) -> Option<Waker> {
        let waker = self.disarm(slot);
        self.free.push(slot);
        waker
    }

    /// Takes a slot out of the heap.
    pub(crate) fn disarm(&mut self, slot: usize) -> Option<Waker> {
        let entry = &mut self.slots[slot];
        if core::mem::take(&mut entry.stamp) != 0 {
            self.waiting -= 1;
        }
        let waker = entry.waker.take();
        self.compact();
        waker
    }

    /// Registers `waker` for `due`; returns the one it replaces, and whether the slot was not
    /// waiting for `due` before.
    pub(crate) fn register(
        &mut self,
        slot: usize,
        due: u64,
        waker: &Waker,
    ) -> (Option<Waker>, bool) {
        let entry = &mut self.slots[slot];
        let replaced = match &entry.waker {
            Some(old) if old.will_wake(waker) => None,
            _ => entry.waker.replace(waker.clone()),
        };
        let anew = entry.stamp == 0 || entry.due != due;
        if anew {
            if entry.stamp == 0 {
                self.waiting += 1;
            }
            self.next_stamp += 1;
            entry.due = due;
            entry.stamp = self.next_stamp;
            self.heap.push(Reverse((due, self.next_stamp, slot)));
            self.compact();
        }
        (replaced, anew)
    }

    /// When the next timer is due.
    pub(crate) fn next_due(&mut self) -> Option<u64> {
        while let Some(&Reverse((due, stamp, slot))) = self.heap.peek() {
            if self.slots[slot].stamp == stamp {
                return Some(due);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes the waker of one timer due at `now` or before.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<Waker> {
        while self.next_due()? <= now {
            let Reverse((_, _, slot)) = self.heap.pop()?;
            let entry = &mut self.slots[slot];
            entry.stamp = 0;
            self.waiting -= 1;
            if let Some(waker) = entry.waker.take() {
                return Some(waker);
            }
        }
        None
    }

    /// Drops stale entries when they are the majority, so that memory stays within twice the
    /// live timers.
    fn compact(&mut self) {
        if self.heap.len() > 64 && self.heap.len() > 2 * self.waiting {
            let slots = &self.slots;
            self.heap
                .retain(|Reverse((_, stamp, slot))| slots[*slot].stamp == *stamp);
        }
    }
}
