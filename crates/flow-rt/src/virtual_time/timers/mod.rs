//! Timers of virtual time: a radix heap of linked lists, with a sorted front.
//!
//! # State
//! A slot for each registered timer, in two parallel vectors: its due time and neighbours, which
//! moving touches, and what it is for. `base` is the latest instant up to which timers were taken
//! out. A due time is read as 11 digits of 6 bits. A bucket is a list of slots: that of level `l`
//! and digit `d` holds what first differs from `base` in digit `l`, counted from the lowest, and
//! has `d` there; what is due at `base` is on level 0. So of two buckets, that of the lower level
//! is due before the other, and on one level that of the lower digit. `front` is a bucket that
//! was taken out since it is the first and is small: its slots, sorted, the next one last.
//!
//! # Invariants
//! 1. Nothing is due before `base`: virtual time does not go back, and what is due by now is not
//!    registered. (It would be taken to be due at `base`.)
//! 2. A timer stands in the front or in the bucket that its due time and `base` give. `base`
//!    moves only to the earliest due time while the front is empty: it is in the first bucket
//!    that is not. Then the timers of that bucket move to the front or to lower levels, and no
//!    other's bucket changes.
//! 3. What is in the front is due before what is in a bucket. A timer that is new goes to the
//!    front if it is due no later than the last one there.
//! 4. Lists are in the order of registration, also after a move, and so is the front among equal
//!    due times: who is due at one instant fires in that order.
//! 5. `bounds`, if known, are the earliest and the latest due time in the first bucket. They are
//!    not known while there is something in the front, which is due before.
//! 6. Stamps are never used twice, so a [`Key`] whose slot was freed is recognized.
//!
//! # Cost
//! Registering and removing: a few steps, whatever the number of timers. A timer moves at most
//! once per digit of its distance, once and to the front if a thousand are spread at random over
//! a minute; timers that have a bucket for themselves, at one instant, are taken out without a
//! move. A binary heap pays a step of unpredictable branches per doubling of the number of timers,
//! also for those that never fire, and keeps the removed. A front that grows too long to insert
//! into goes back to the buckets.
//!
//! # Source
//! Ahuja, Mehlhorn, Orlin, Tarjan: *Faster algorithms for the shortest path problem* (J. ACM 37,
//! 1990). The sorted front is the bottom of a ladder queue: Tang, Goh, Thng: *Ladder queue: an
//! O(1) priority queue structure for large-scale discrete event simulation* (ACM TOMACS 15, 2005).

mod buckets;
mod front;
#[cfg(test)]
mod tests;

use front::Due;

/// Timers, each with a `W` that is handed out when it fires.
pub(crate) struct Timers<W> {
    links: Vec<Link>,
    entries: Vec<Entry<W>>,
    /// The first of the free slots; they are linked by `next`.
    free: u32,
    /// Of all levels that were needed so far.
    buckets: Vec<Bucket>,
    /// A bit for each level that is not empty.
    levels: u16,
    /// For each level, a bit for each bucket that is not empty.
    digits: [u64; LEVELS],
    bounds: Option<Bounds>,
    /// Due times and slots.
    front: Vec<(u64, u32)>,
    base: u64,
    last_stamp: u64,
}

struct Link {
    due: u64,
    /// [`FRONT`] for what is there.
    previous: u32,
    next: u32,
}

struct Entry<W> {
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
    slot: u32,
    stamp: u64,
}

impl<W> Timers<W> {
    pub(crate) const fn new() -> Self {
        Self {
            links: Vec::new(),
            entries: Vec::new(),
            free: NONE,
            buckets: Vec::new(),
            levels: 0,
            digits: [0; LEVELS],
            bounds: None,
            front: Vec::new(),
            base: 0,
            last_stamp: 0,
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
            let entry = &mut self.entries[key.slot as usize];
            entry.owner = owner;
            let replaced = entry.who.replace(who);
            let due = due.max(self.base);
            if self.links[key.slot as usize].due != due {
                self.unlink(key.slot);
                self.add(key.slot, due);
            }
            return (key, replaced);
        }
        (self.insert(due, owner, who), None)
    }

    /// Registers `who` for `due`.
    #[inline]
    pub(crate) fn insert(&mut self, due: u64, owner: u64, who: W) -> Key {
        self.last_stamp += 1;
        let stamp = self.last_stamp;
        let entry = Entry {
            stamp,
            owner,
            who: Some(who),
        };
        let slot = self.free;
        let slot = if slot == NONE {
            self.entries.push(entry);
            self.links.push(Link::new());
            // A slot takes 48 bytes: 2^32 of them do not fit into memory.
            self.links.len() as u32 - 1
        } else {
            self.free = self.links[slot as usize].next;
            self.entries[slot as usize] = entry;
            slot
        };
        self.add(slot, due.max(self.base));
        Key { slot, stamp }
    }

    /// Takes out all timers, unfired, and goes back to the start of time. What they held is the
    /// caller's to drop; the memory is kept.
    pub(crate) fn reset(&mut self) -> Vec<W> {
        let held = self.entries.drain(..).filter_map(|entry| entry.who);
        let held = held.collect();
        self.links.clear();
        self.front.clear();
        self.free = NONE;
        if self.levels != 0 {
            self.buckets.fill(Bucket::EMPTY);
        }
        self.levels = 0;
        self.digits = [0; LEVELS];
        self.bounds = None;
        self.base = 0;
        held
    }

    /// For how many timers there is room.
    pub(crate) fn capacity(&self) -> usize {
        self.links.capacity()
    }

    /// Whether the timer with `key` waits for `due`, for somebody whom `same` recognizes.
    pub(crate) fn waits(&self, key: Key, due: u64, same: impl FnOnce(&W) -> bool) -> bool {
        self.is_registered(key)
            && self.links[key.slot as usize].due == due
            && self.entries[key.slot as usize]
                .who
                .as_ref()
                .is_some_and(same)
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
                let due = self.links[slot as usize].due;
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

    /// Takes out all timers that are due at `now` or before, with their owners, in that order.
    #[inline]
    pub(crate) fn fire(&mut self, now: u64, mut fired: impl FnMut(u64, W)) {
        loop {
            while let Some(slot) = self.pop_front(now) {
                let (owner, who) = self.free_slot(slot);
                if let Some(who) = who {
                    fired(owner, who);
                }
            }
            if !self.front.is_empty() {
                return;
            }
            let at = match self.due_now(now) {
                Due::Nothing => return,
                Due::Front => continue,
                Due::Bucket(at) => at,
            };
            let mut slot = self.buckets[at].first;
            self.empty(at);
            self.base = self.links[slot as usize].due;
            while slot != NONE {
                let next = self.links[slot as usize].next;
                let (owner, who) = self.free_slot(slot);
                if let Some(who) = who {
                    fired(owner, who);
                }
                slot = next;
            }
        }
    }

    /// Registered timers: when they are due, and the task that registered them.
    pub(crate) fn armed(&self) -> impl Iterator<Item = (u64, u64)> {
        let all = self.links.iter().zip(&self.entries);
        all.filter(|(_, entry)| entry.stamp != 0)
            .map(|(link, entry)| (link.due, entry.owner))
    }

    #[inline]
    fn is_registered(&self, key: Key) -> bool {
        self.entries[key.slot as usize].stamp == key.stamp
    }

    #[inline]
    fn free_slot(&mut self, slot: u32) -> (u64, Option<W>) {
        self.links[slot as usize].next = self.free;
        self.free = slot;
        let entry = &mut self.entries[slot as usize];
        entry.stamp = 0;
        (entry.owner, entry.who.take())
    }

    /// Puts a timer that is new there into its place.
    #[inline]
    fn add(&mut self, slot: u32, due: u64) {
        if let Some(&(last, _)) = self.front.first() {
            if due <= last {
                self.add_to_front(slot, due);
            } else {
                self.link(slot, due);
            }
            return;
        }
        let at = self.link(slot, due);
        if self.first_bucket() == Some(at) {
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

impl Link {
    const fn new() -> Self {
        Self {
            due: 0,
            previous: NONE,
            next: NONE,
        }
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
/// Stands for the neighbour of a slot that is not in a list.
const FRONT: u32 = u32::MAX - 1;
/// Bits of a digit.
const DIGIT: u32 = 6;
const RADIX: usize = 1 << DIGIT;
const LEVELS: usize = u64::BITS.div_ceil(DIGIT) as usize;
