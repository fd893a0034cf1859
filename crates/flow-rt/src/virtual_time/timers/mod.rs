//! Timers of virtual time: a radix heap of linked lists, with a sorted front.
//!
//! # State
//! A slot for each registered timer: its due time and neighbours, and what it is for. `base` is an
//! instant up to which all timers were taken out. A due time is read as 9 digits: the lowest of 6
//! bits, the others of 8, so that the buckets of the levels are 1 ns, 64 ns, 16 us, 4 ms, 1 s, 5
//! minutes, 20 hours, 208 days and 146 years wide. A bucket is a list of slots: that of level `l`
//! and digit `d` holds what first differs from `base` in digit `l`, counted from the lowest, and
//! has `d` there; what is due at `base` is on level 0. So of two buckets, that of the lower level
//! is due before the other, and on one level that of the lower digit. `front` is a bucket that
//! was taken out since it is the first and is small: its slots, sorted, the next one last.
//!
//! # Invariants
//! 1. Nothing is due before `base`: virtual time does not go back, and what is due by now is not
//!    registered. (It would be taken to be due at `base`.)
//! 2. What is not in the front stands in the bucket that its due time and `base` give. `base`
//!    moves only while the front is empty, and no further than to the earliest due time, into the
//!    first bucket that is not empty. Then the timers of that bucket move to the front or to
//!    lower levels, and no other's bucket changes.
//! 3. What is in the front is due before what is in a bucket. A timer that is new goes to the
//!    front if it is due no later than the last one there. So the due time of that one tells
//!    which of the two a timer stands in.
//! 4. Lists are in the order of registration, also after a move, and so is the front among equal
//!    due times: who is due at one instant fires in that order.
//! 5. `bounds`, if known, are the earliest and the latest due time in the first bucket. They are
//!    not known while there is something in the front, which is due before.
//! 6. Stamps are never used twice, so a [`Key`] whose slot was freed is recognized.
//!
//! # Cost
//! Registering and removing: a few steps, whatever the number of timers. A timer moves at most
//! once per digit of its distance, hardly ever but to the front if a thousand are spread at random
//! over a minute; several timers that have a bucket for themselves, at one instant, are taken out
//! without a move. The digits are wide for that: with 6 bits each, two of three of those timers
//! moved once more. A binary heap pays a step of unpredictable branches per doubling of the number
//! of timers, also for those that never fire, and keeps the removed. A front that grows too long to
//! insert into goes back to the buckets.
//!
//! # Source
//! Ahuja, Mehlhorn, Orlin, Tarjan: *Faster algorithms for the shortest path problem* (J. ACM 37,
//! 1990). The sorted front is the bottom of a ladder queue: Tang, Goh, Thng: *Ladder queue: an
//! O(1) priority queue structure for large-scale discrete event simulation* (ACM TOMACS 15, 2005).

mod buckets;
mod front;
#[cfg(test)]
mod tests;

use core::num::NonZeroU64;

use front::Due;

/// Timers, each with a `W` that is handed out when it fires.
pub(crate) struct Timers<W> {
    nodes: Vec<Node<W>>,
    /// The first of the free slots; they are linked by `next`.
    free: u32,
    /// Of all levels that were needed so far.
    buckets: Vec<Bucket>,
    /// A bit for each bucket that is not empty.
    filled: [u64; WORDS],
    /// A bit for each of those words that is not zero.
    words: u64,
    bounds: Option<Bounds>,
    /// Due times and slots.
    front: Vec<(u64, u32)>,
    base: u64,
    last_stamp: NonZeroU64,
}

/// A slot. In a cache line of its own: every step touches one or two of them, each from anywhere.
#[repr(align(64))]
struct Node<W> {
    due: u64,
    /// Its neighbours in a bucket.
    previous: u32,
    next: u32,
    /// Zero while the slot is free.
    stamp: u64,
    /// The task that registered it.
    owner: u64,
    who: Option<W>,
}

#[derive(Clone, Copy)]
struct Bucket {
    first: u32,
    last: u32,
}

#[derive(Clone, Copy)]
struct Bounds {
    earliest: u64,
    latest: u64,
}

/// A registered timer.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) stamp: NonZeroU64,
}

impl<W> Timers<W> {
    pub(crate) const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: NONE,
            buckets: Vec::new(),
            filled: [0; WORDS],
            words: 0,
            bounds: None,
            front: Vec::new(),
            base: 0,
            last_stamp: NonZeroU64::MIN,
        }
    }

    /// Registers `who` for `due`, moving the timer with `key` if that is registered still. What
    /// it replaces is the caller's to drop outside of the lock.
    pub(crate) fn register(
        &mut self,
        key: Option<Key>,
        due: u64,
        owner: u64,
        who: W,
    ) -> (Key, Option<W>) {
        if let Some(key) = key.filter(|&key| self.is_registered(key)) {
            let node = &mut self.nodes[key.slot as usize];
            node.owner = owner;
            let replaced = node.who.replace(who);
            let due = due.max(self.base);
            if node.due != due {
                self.unlink(key.slot);
                self.add(key.slot, due);
            }
            return (key, replaced);
        }
        (self.insert(due, owner, who), None)
    }

    /// Registers `who` for `due`.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "its other callers, which are rare, share its weight"
    )]
    pub(crate) fn insert(&mut self, due: u64, owner: u64, who: W) -> Key {
        // It does not wrap in a human life.
        self.last_stamp = self.last_stamp.saturating_add(1);
        let stamp = self.last_stamp;
        let slot = if self.free == NONE {
            self.add_slot()
        } else {
            self.free
        };
        let node = &mut self.nodes[slot as usize];
        self.free = node.next;
        node.stamp = stamp.get();
        node.owner = owner;
        node.who = Some(who);
        self.add(slot, due.max(self.base));
        Key { slot, stamp }
    }

    /// Adds a free slot that is the next to be taken.
    #[cold]
    fn add_slot(&mut self) -> u32 {
        self.nodes.push(Node {
            due: 0,
            previous: NONE,
            next: NONE,
            stamp: 0,
            owner: 0,
            who: None,
        });
        // A slot takes 64 bytes: 2^32 of them do not fit into memory.
        self.nodes.len() as u32 - 1
    }

    /// Takes out all timers, unfired, and goes back to the start of time. What they held is the
    /// caller's to drop; the memory is kept.
    pub(crate) fn reset(&mut self) -> Vec<W> {
        if self.nodes.is_empty() {
            return Vec::new();
        }
        let held = self.nodes.drain(..).filter_map(|node| node.who);
        let held = held.collect();
        self.front.clear();
        self.free = NONE;
        if self.words != 0 {
            self.buckets.fill(Bucket::EMPTY);
            self.filled = [0; WORDS];
            self.words = 0;
        }
        self.bounds = None;
        self.base = 0;
        held
    }

    /// Whether none is registered.
    pub(crate) fn is_empty(&self) -> bool {
        self.words == 0 && self.front.is_empty()
    }

    /// For how many timers there is room.
    pub(crate) fn capacity(&self) -> usize {
        self.nodes.capacity()
    }

    /// Whether the timer with `key` waits for `due`, for somebody whom `same` recognizes.
    pub(crate) fn waits(&self, key: Key, due: u64, same: impl FnOnce(&W) -> bool) -> bool {
        self.is_registered(key)
            && self.nodes[key.slot as usize].due == due
            && self.nodes[key.slot as usize].who.as_ref().is_some_and(same)
    }

    /// Takes a timer out, unless it has fired; what it held is the caller's to drop outside of
    /// the lock.
    pub(crate) fn remove(&mut self, key: Key) -> Option<W> {
        if !self.is_registered(key) {
            return None;
        }
        self.unlink(key.slot);
        self.free_slot(key.slot).1
    }

    /// When the next timer is due.
    #[inline]
    pub(crate) fn next_due(&mut self) -> Option<u64> {
        match self.front.last() {
            Some(&(due, _)) => Some(due),
            None => self.measured().map(|bounds| bounds.earliest),
        }
    }

    /// Takes out one timer that is due at `now` or before, with its owner: the next one in the
    /// order in which they are due and were registered.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<(u64, W)> {
        let slot = match self.due_now(now) {
            Due::Nothing => return None,
            Due::Front => self.pop_front(now)?,
            Due::Bucket(at) => {
                let slot = self.buckets[at].first;
                let due = self.nodes[slot as usize].due;
                self.unlink(slot);
                if self.bounds.is_none() {
                    // It was the last of that time.
                    self.base = due;
                }
                slot
            }
        };
        let (owner, who) = self.free_slot(slot);
        Some((owner, who?))
    }

    /// Takes out the next timer, with when it is due and its owner, if nothing else is due then and
    /// it is due at `until` or before: for a caller that moves time to the next timer at once.
    ///
    /// What it leaves is for [`next_due`](Self::next_due) and [`fire`](Self::fire), which come to
    /// the same in all cases. Time has to move there also then: `base` may be past the present,
    /// and what is registered for an instant before it is due at `base`.
    #[inline]
    pub(crate) fn pop_alone(&mut self, until: u64) -> Option<(u64, u64, W)> {
        if self.front.is_empty() {
            self.fill_front();
        }
        let (&(due, slot), others) = self.front.split_last()?;
        if due > until || others.last().is_some_and(|&(next, _)| next == due) {
            return None;
        }
        self.front.pop();
        let (owner, who) = self.free_slot(slot);
        Some((due, owner, who?))
    }

    /// Takes out all timers that are due at `now` or before, with their owners, in that order.
    pub(crate) fn fire(&mut self, now: u64, mut fired: impl FnMut(u64, W)) {
        loop {
            match self.due_now(now) {
                Due::Nothing => return,
                Due::Front => {
                    while let Some(slot) = self.pop_front(now) {
                        let (owner, who) = self.free_slot(slot);
                        if let Some(who) = who {
                            fired(owner, who);
                        }
                    }
                }
                Due::Bucket(at) => self.fire_bucket(at, &mut fired),
            }
        }
    }

    /// Takes out what is in the first bucket, all of it due at once.
    fn fire_bucket(&mut self, at: usize, fired: &mut impl FnMut(u64, W)) {
        let mut slot = self.buckets[at].first;
        self.empty(at);
        self.base = self.nodes[slot as usize].due;
        while slot != NONE {
            let next = self.nodes[slot as usize].next;
            let (owner, who) = self.free_slot(slot);
            if let Some(who) = who {
                fired(owner, who);
            }
            slot = next;
        }
    }

    /// Registered timers: when they are due, and the task that registered them.
    pub(crate) fn armed(&self) -> impl Iterator<Item = (u64, u64)> {
        let registered = self.nodes.iter().filter(|node| node.stamp != 0);
        registered.map(|node| (node.due, node.owner))
    }

    #[inline]
    fn is_registered(&self, key: Key) -> bool {
        self.nodes[key.slot as usize].stamp == key.stamp.get()
    }

    #[inline]
    fn free_slot(&mut self, slot: u32) -> (u64, Option<W>) {
        let node = &mut self.nodes[slot as usize];
        node.next = self.free;
        self.free = slot;
        node.stamp = 0;
        (node.owner, node.who.take())
    }

    /// Puts a timer that is new there into its place.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as that of `insert`")]
    fn add(&mut self, slot: u32, due: u64) {
        let last = self.front.first().map(|&(last, _)| last);
        if last.is_some_and(|last| due <= last) {
            return self.add_to_front(slot, due);
        }
        let at = self.link(slot, due);
        if last.is_none() && self.first_bucket() == Some(at) {
            if self.buckets[at].first == slot {
                self.bounds = Some(Bounds::at(due));
            } else if let Some(bounds) = &mut self.bounds {
                bounds.include(due);
            }
        }
    }
}

impl<W> Default for Timers<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl Bucket {
    const EMPTY: Self = Self {
        first: NONE,
        last: NONE,
    };
}

impl Bounds {
    const fn at(due: u64) -> Self {
        Self {
            earliest: due,
            latest: due,
        }
    }

    fn include(&mut self, due: u64) {
        self.earliest = self.earliest.min(due);
        self.latest = self.latest.max(due);
    }
}

/// No slot.
const NONE: u32 = u32::MAX;
/// Bits of a digit.
const DIGIT: usize = 8;
/// Bits of the lowest digit.
const LOWEST: usize = 6;
/// Buckets of a level.
const RADIX: usize = 1 << DIGIT;
/// Buckets that a word tells of.
const WORD: usize = u64::BITS as usize;
const LEVELS: usize = 1 + (WORD - LOWEST).div_ceil(DIGIT);
const WORDS: usize = LEVELS * RADIX / WORD;
