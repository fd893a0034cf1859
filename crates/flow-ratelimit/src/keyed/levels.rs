//! Slots that may become more: tables of them, one after the other, and no key ever moves.
//!
//! # State
//! The first table is there from the start; `more` are places for others, each as large as all before
//! it, and `count` says how many of them are taken. A key stands in one slot of one table.
//!
//! # Invariants
//! 1. Whoever puts a key in holds its locks in every table that it can see, taken from the first
//!    table on. All who put that key in meet at the lock of the first table: so the key stands once,
//!    though a table may come meanwhile that one of them does not see.
//! 2. A table that is there stays. It was stored before `count` says so, and by one thread at a
//!    time.
//!
//! # Steps
//! - find: the first table, then those that came later.
//! - put in: lock; the first slot of a key like a stranger, from the first table on: so keys go back
//!   to the first one when they become fewer. None? Unlock, grow, and look again.
//! - grow: lock `growing`; it has grown since? done. Take memory; store; count.
//!
//! # Cost
//! Nobody who finds a key waits while others grow, and no key is moved; those who are let in wait for
//! the memory of one table. A key of a later table costs a look into two more sets for each table
//! before it, and one that is not remembered two more locks for each; with more than [`NEAR`]
//! tables beyond the first also an allocation.
//!
//! # Source
//! Tables that are chained rather than copied, as in a filter that scales (Almeida, Baquero,
//! Preguiça and Hutchison, "Scalable Bloom Filters", 2007).

use core::{array, iter};
use std::collections::TryReserveError;
use std::sync::OnceLock;

use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicUsize, Ordering};

use super::slots::{Candidate, Locked, Slot, Slots};

/// Tables of slots.
pub(super) struct Levels {
    first: Slots,
    more: Box<[OnceLock<Slots>]>,
    count: AtomicUsize,
    growing: Mutex<()>,
    /// How many keys the first table is for, and all together at the most.
    keys: usize,
    grow_to: usize,
}

/// The sets of a key in all tables, for one who may put it in.
pub(super) struct LockedLevels<'a> {
    first: Locked<'a>,
    /// Those of the next few tables, without memory of their own.
    near: [Option<Locked<'a>>; NEAR],
    far: Vec<Locked<'a>>,
}

impl Levels {
    /// Slots for so many keys, and places for tables until there are as many as `grow_to`.
    ///
    /// # Errors
    /// There is no memory for the first of them.
    pub(super) fn new(keys: usize, grow_to: usize) -> Result<Self, TryReserveError> {
        let mut places = 0;
        while keys_of(keys, places) < grow_to {
            places += 1;
        }
        Ok(Self {
            first: Slots::for_keys(keys)?,
            more: (0..places).map(|_| OnceLock::new()).collect(),
            count: AtomicUsize::new(0),
            growing: Mutex::new(()),
            keys,
            grow_to,
        })
    }

    /// How many keys there is room for.
    pub(super) fn keys(&self) -> usize {
        keys_of(self.keys, self.count.load(Ordering::Acquire)).min(self.grow_to)
    }

    /// The slot of a key, if it stands in one.
    #[inline]
    pub(super) fn find(&self, hash: u64) -> Option<Slot<'_>> {
        match self.first.find(hash) {
            None if !self.more.is_empty() => self.find_later(hash),
            found => found,
        }
    }

    #[inline(never)]
    fn find_later(&self, hash: u64) -> Option<Slot<'_>> {
        self.later().find_map(|slots| slots.find(hash))
    }

    /// Locks the sets of a key in all tables.
    pub(super) fn lock(&self, hash: u64) -> LockedLevels<'_> {
        let first = self.first.lock(hash);
        let mut later = self.later().map(|slots| slots.lock(hash)).fuse();
        LockedLevels {
            first,
            near: array::from_fn(|_| later.next()),
            far: later.collect(),
        }
    }

    /// Whether there may be more than so many tables beyond the first.
    pub(super) fn has_place(&self, seen: usize) -> bool {
        seen < self.more.len()
    }

    /// Whether there is another table than those that were locked: it has come meanwhile, or now.
    /// There is none for want of memory, or because there are as many as there may be.
    #[cold]
    pub(super) fn grow(&self, seen: usize) -> bool {
        let Some(place) = self.more.get(seen) else {
            return false;
        };
        let _growing = self.growing.lock();
        if self.count.load(Ordering::Relaxed) > seen {
            return true;
        }
        let before = keys_of(self.keys, seen);
        let keys = before.min(self.grow_to.saturating_sub(before));
        let Ok(slots) = Slots::for_keys(keys) else {
            return false;
        };
        let is_stored = place.set(slots).is_ok();
        if is_stored {
            self.count.store(seen + 1, Ordering::Release);
        }
        is_stored
    }

    /// As [`Slots::forget`].
    pub(super) fn forget(&self, concerns: impl Fn(u64) -> bool, owed: impl Fn(u64) -> i64) {
        for slots in self.all() {
            slots.forget(&concerns, &owed);
        }
    }

    /// As [`Slots::for_each`].
    pub(super) fn for_each(&self, mut visit: impl FnMut(u64, u64)) {
        for slots in self.all() {
            slots.for_each(&mut visit);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Slots> {
        iter::once(&self.first).chain(self.later())
    }

    /// The tables that came after the first.
    fn later(&self) -> impl Iterator<Item = &Slots> {
        let count = self.count.load(Ordering::Acquire);
        self.more.iter().take(count).filter_map(OnceLock::get)
    }
}

impl<'a> LockedLevels<'a> {
    /// As [`Locked::find`].
    pub(super) fn find(&self, hash: u64) -> Option<Slot<'a>> {
        self.all().find_map(|locked| locked.find(hash))
    }

    /// As [`Locked::find_same`].
    pub(super) fn find_same(&self, is_same: impl Fn(u64) -> bool) -> Option<(Slot<'a>, u64)> {
        self.all().find_map(|locked| locked.find_same(&is_same))
    }

    /// The slot that a newcomer should have: in the first table that has one to spare, or that of
    /// the key which owes least in any.
    pub(super) fn candidate(&self, owed: impl Fn(u64, u64) -> i128) -> Option<Candidate<'a>> {
        let mut least: Option<Candidate<'_>> = None;
        for locked in self.all() {
            let Some(candidate) = locked.candidate(&owed) else {
                continue;
            };
            if candidate.owed <= 0 {
                return Some(candidate);
            }
            if least.is_none_or(|least| candidate.owed < least.owed) {
                least = Some(candidate);
            }
        }
        least
    }

    /// How many tables there were beyond the first.
    pub(super) fn seen(&self) -> usize {
        self.all().count() - 1
    }

    fn all(&self) -> impl Iterator<Item = &Locked<'a>> {
        let later = self.near.iter().flatten().chain(&self.far);
        iter::once(&self.first).chain(later)
    }
}

/// How many keys there is room for with so many tables beyond the first: each doubles it.
const fn keys_of(keys: usize, tables: usize) -> usize {
    let doubled = keys as u128 * (1 << tables);
    if doubled > usize::MAX as u128 {
        usize::MAX
    } else {
        doubled as usize
    }
}

/// The locks of so many tables beyond the first take no allocation: of 16 times the keys.
const NEAR: usize = 4;
