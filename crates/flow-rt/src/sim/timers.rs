//! The simulation's timers: a heap of due times with stale entries skipped.
//!
//! # State
//! A slot holds the waker of a registered timer, and the stamp of its entry in the heap; the
//! heap holds (due, stamp, slot).
//!
//! # Invariants
//! 1. Stamps are never used twice, so a [`Key`] whose slot was freed or moved is recognized.
//! 2. An entry of the heap counts only while its stamp is its slot's; at most half of a heap of
//!    more than 64 entries are stale, so memory stays within twice the live timers.
//! 3. A slot is taken from registration until the timer fires or is taken out, no longer.

use core::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::Waker;

#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    last_stamp: u64,
    waiting: usize,
}

#[derive(Default)]
struct Slot {
    due: u64,
    /// Zero while the slot is free.
    stamp: u64,
    /// The task that registered it.
    owner: u64,
    waker: Option<Waker>,
}

/// A registered timer.
#[derive(Clone, Copy)]
pub(super) struct Key {
    slot: u32,
    stamp: u64,
}

impl Timers {
    /// Registers `waker` for `due`, moving the timer with `key` if that is registered still.
    /// The waker that it replaces is the caller's to drop outside the lock.
    pub(super) fn register(
        &mut self,
        key: Option<Key>,
        due: u64,
        owner: u64,
        waker: &Waker,
    ) -> (Key, Option<Waker>) {
        let known = key.filter(|key| self.slots[key.slot as usize].stamp == key.stamp);
        let slot = match known {
            Some(key) => key.slot,
            None => self.take_slot(),
        };
        let entry = &mut self.slots[slot as usize];
        let replaced = match &entry.waker {
            Some(old) if old.will_wake(waker) => None,
            _ => entry.waker.replace(waker.clone()),
        };
        entry.owner = owner;
        if known.is_none() || entry.due != due {
            self.last_stamp += 1;
            entry.due = due;
            entry.stamp = self.last_stamp;
            self.heap.push(Reverse((due, self.last_stamp, slot)));
            if known.is_some() {
                self.compact();
            }
        }
        let stamp = self.slots[slot as usize].stamp;
        (Key { slot, stamp }, replaced)
    }

    /// Takes a timer out, unless it has fired; its waker is the caller's to drop outside the
    /// lock.
    pub(super) fn remove(&mut self, key: Key) -> Option<Waker> {
        if self.slots[key.slot as usize].stamp != key.stamp {
            return None;
        }
        let waker = self.free_slot(key.slot);
        self.compact();
        waker
    }

    /// When the next timer is due.
    pub(super) fn next_due(&mut self) -> Option<u64> {
        while let Some(&Reverse((due, stamp, slot))) = self.heap.peek() {
            if self.slots[slot as usize].stamp == stamp {
                return Some(due);
            }
            self.heap.pop();
        }
        None
    }

    /// Moves the wakers of all timers due at `now` or before into `wakers`, in the order in
    /// which they are due and were registered.
    pub(super) fn fire(&mut self, now: u64, wakers: &mut Vec<Waker>) {
        while let Some(&Reverse((due, stamp, slot))) = self.heap.peek() {
            if due > now {
                return;
            }
            self.heap.pop();
            if self.slots[slot as usize].stamp == stamp {
                wakers.extend(self.free_slot(slot));
            }
        }
    }

    /// Registered timers: when they are due, and the task that registered them.
    pub(super) fn armed(&self) -> impl Iterator<Item = (u64, u64)> {
        self.slots
            .iter()
            .filter(|slot| slot.stamp != 0)
            .map(|slot| (slot.due, slot.owner))
    }

    fn take_slot(&mut self) -> u32 {
        self.waiting += 1;
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            // A slot takes 48 bytes: 2^32 of them do not fit into memory.
            self.slots.len() as u32 - 1
        })
    }

    fn free_slot(&mut self, slot: u32) -> Option<Waker> {
        self.waiting -= 1;
        self.free.push(slot);
        let entry = &mut self.slots[slot as usize];
        entry.stamp = 0;
        entry.waker.take()
    }

    fn compact(&mut self) {
        if self.heap.len() > 64 && self.heap.len() > 2 * self.waiting {
            let slots = &self.slots;
            self.heap
                .retain(|Reverse((_, stamp, slot))| slots[*slot as usize].stamp == *stamp);
        }
    }
}
