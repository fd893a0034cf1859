//! A part of the keys that are kept whole: a table under somebody's lock.
//!
//! # State
//! `entries`, in no order; `index`, a power of two of places with the number of an entry each, or
//! `NONE`. An entry's place is the first free one from its hash on. `hand` is where those who look
//! for room go on.
//!
//! # Invariants
//! 1. Each entry's number stands at one place, and no free place is between that and where its hash
//!    points to.
//! 2. At most half of the places are taken.
//!
//! # Source
//! Linear probing, with deletion by shifting back: Knuth, *The Art of Computer Programming*, vol. 3,
//! 6.4, algorithm R.

use core::ops::Range;

/// Some keys.
pub(super) struct Shard<K> {
    entries: Vec<Entry<K>>,
    index: Vec<u32>,
    hand: usize,
}

/// A key that is known.
pub(super) struct Entry<K> {
    pub(super) key: K,
    /// Of its class.
    pub(super) hash: u64,
    /// What it has spent.
    pub(super) used: u64,
}

impl<K> Shard<K> {
    pub(super) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            index: Vec::new(),
            hand: 0,
        }
    }

    pub(super) fn entries(&self) -> &[Entry<K>] {
        &self.entries
    }

    pub(super) fn entry(&mut self, number: usize) -> Option<&mut Entry<K>> {
        self.entries.get_mut(number)
    }

    /// The number of the entry that is the one. It holds until an entry is removed.
    pub(super) fn find(&self, hash: u64, is: impl Fn(&Entry<K>) -> bool) -> Option<usize> {
        let mut place = self.home(hash)?;
        loop {
            let number = self.index[place];
            let entry = self.entries.get(number as usize)?;
            if is(entry) {
                return Some(number as usize);
            }
            place = self.after(place);
        }
    }

    /// Adds one that is not there.
    pub(super) fn insert(&mut self, entry: Entry<K>) {
        let number = self.entries.len();
        self.entries.push(entry);
        if self.entries.len() * 2 > self.index.len() {
            self.rebuild();
        } else {
            self.place(number);
        }
    }

    /// Removes an entry; the last one gets its number.
    pub(super) fn remove(&mut self, number: usize) -> Option<Entry<K>> {
        let place = self.place_of(number)?;
        self.shift_back(place);
        let last = self.entries.len() - 1;
        if last != number
            && let Some(place) = self.place_of(last)
        {
            self.index[place] = number as u32;
        }
        Some(self.entries.swap_remove(number))
    }

    /// The numbers that are so far ahead of the hand; each once, if they are more than there are.
    pub(super) fn ahead(&self, far: Range<usize>) -> impl Iterator<Item = usize> + use<K> {
        let (hand, all) = (self.hand, self.entries.len());
        (far.start..far.end.min(all)).map(move |it| (hand + it) % all)
    }

    /// Moves the hand past so many.
    pub(super) fn pass(&mut self, count: usize) {
        let all = self.entries.len();
        let count = count.min(all);
        self.hand = (self.hand + count).checked_rem(all).unwrap_or(0);
    }

    /// Gives memory back that is not needed any more.
    pub(super) fn shrink(&mut self) {
        self.entries.shrink_to_fit();
        self.rebuild();
    }

    fn rebuild(&mut self) {
        let places = (self.entries.capacity().max(4) * 2).next_power_of_two();
        self.index = vec![NONE; places];
        for number in 0..self.entries.len() {
            self.place(number);
        }
    }

    /// Lets an entry stand at the first free place (2).
    fn place(&mut self, number: usize) {
        let hash = self.entries.get(number).map(|it| it.hash);
        let Some(mut place) = hash.and_then(|hash| self.home(hash)) else {
            return;
        };
        while self.index[place] != NONE {
            place = self.after(place);
        }
        self.index[place] = number as u32;
    }

    fn place_of(&self, number: usize) -> Option<usize> {
        let mut place = self.home(self.entries.get(number)?.hash)?;
        while self.index[place] != number as u32 {
            place = self.after(place);
        }
        Some(place)
    }

    /// Frees a place, and moves those behind it that would not be found any more (1).
    fn shift_back(&mut self, mut free: usize) {
        let mut place = free;
        loop {
            self.index[free] = NONE;
            loop {
                place = self.after(place);
                let number = self.index[place];
                let Some(entry) = self.entries.get(number as usize) else {
                    return;
                };
                let home = self.home(entry.hash).unwrap_or(place);
                let mask = self.index.len() - 1;
                // Whether the free place is on its way from home to here.
                if place.wrapping_sub(home) & mask >= place.wrapping_sub(free) & mask {
                    self.index[free] = number;
                    free = place;
                    break;
                }
            }
        }
    }

    /// Where a hash points to: by bits that say neither the shard nor the class.
    fn home(&self, hash: u64) -> Option<usize> {
        let mask = self.index.len().checked_sub(1)?;
        Some((hash >> 8) as usize & mask)
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.index.len() - 1)
    }
}

/// No entry: there are never so many.
const NONE: u32 = u32::MAX;
