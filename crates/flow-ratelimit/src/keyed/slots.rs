//! The slots in which keys stand: a fixed table that forgets whoever has become like a stranger.
//!
//! # State
//! *Sets* of eight slots, 128 bytes each: eight hashes, 0 for an empty slot, and eight words. A key
//! may stand in one of two sets, chosen by its hash: the second but for the bits in which its class
//! may be, which reach the first by a carry only. A slot's word is how much its key has spent
//! (`used`, 63 bits: see `supply`), XORed with the key's scattered hash; or `BUSY`, the top bit,
//! while the slot passes from one key to another. Locks, by stripes of sets, are for those who pass
//! slots on; who only changes what a key has spent takes none.
//!
//! # Invariants
//! 1. A key stands in one slot at the most: who puts one in holds the locks of both its sets, and
//!    has looked for it in both. Of a million sets one key in 2^36 has other sets in some of its
//!    classes, and then is as many keys.
//! 2. A slot's hash changes only under its set's lock, and only while its word is `BUSY`.
//! 3. A word becomes `BUSY` by a compare-and-swap from the very value that was found worth giving
//!    up, so nothing that its key spends meanwhile is lost unseen.
//! 4. A word that was read is this key's if the hash is the key's before **and** after.
//! 5. A swap that begins from a word of one key never succeeds on a slot that another has taken
//!    since: words of two keys differ, whatever they have spent, but for a chance of 2^-63. (By
//!    `used` alone they would not: a refund brings an old number back. Nor would those of one key
//!    in two classes if its hashes, which differ in a few low bits, were not scattered.)
//!
//! # Steps
//! - find: compare eight hashes; none? the other set's eight.
//! - load: the word; `BUSY`? no. The hash again.
//! - replace: compare-and-swap of the word.
//! - recycle, under the locks: word from what it was to `BUSY`; hash; word of the new key. So does a
//!   key that changes its class, and with it its hash.
//!
//! # Ordering
//! Hash and word are stored with Release, loaded with Acquire. Who sees the new hash sees `BUSY` or
//! what came after it, not the old key's word; who sees the new word sees the new hash when it looks
//! again (4). A slot that was passed on twice between the two looks is found out by the swap, and
//! for answers that swap nothing by [`Slot::is_still`].
//!
//! # Source
//! Set-associative caches; two choices: Azar, Broder, Karlin and Upfal, *Balanced allocations*
//! (1994). With one choice a table four fifths full loses a key in fifteen, with two one in five
//! thousand.

use std::collections::TryReserveError;

use flow_sync::sync::atomic::{AtomicU64, Ordering};
use flow_sync::sync::{Mutex, MutexGuard};

use crate::supply::USED_MASK;

#[cfg(all(test, not(loom)))]
std::thread_local! {
    /// As if the machine had no more memory for what this thread makes.
    pub(super) static MEMORY_IS_SHORT: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
}

/// A fixed number of slots.
pub(super) struct Slots {
    sets: Box<[Set]>,
    stripes: Box<[Mutex<()>]>,
}

#[repr(align(128))]
struct Set {
    hashes: [AtomicU64; WAYS],
    words: [AtomicU64; WAYS],
}

/// A slot, as it was found.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    hash: &'a AtomicU64,
    word: &'a AtomicU64,
}

/// Both sets of a key, for one who may put it in.
pub(super) struct Locked<'a> {
    sets: [Option<&'a Set>; 2],
    _guards: (MutexGuard<'a, ()>, Option<MutexGuard<'a, ()>>),
}

/// The slot that is lost least by giving it to another key.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    slot: Slot<'a>,
    pub(super) hash: u64,
    /// What its key has spent.
    pub(super) used: u64,
    /// What its key lacks until full; 0 for an empty slot, and 0 or less for a key like a stranger.
    pub(super) owed: i128,
}

impl Slots {
    /// Slots for so many keys.
    ///
    /// # Errors
    /// There is no memory for them.
    pub(super) fn for_keys(keys: usize) -> Result<Self, TryReserveError> {
        let count = Self::sets_for(keys);
        let mut sets = Vec::new();
        #[cfg(all(test, not(loom)))]
        if MEMORY_IS_SHORT.get() {
            sets.try_reserve_exact(usize::MAX)?;
        }
        sets.try_reserve_exact(count)?;
        sets.resize_with(count, Set::new);
        Ok(Self {
            sets: sets.into(),
            stripes: (0..count.min(STRIPES)).map(|_| Mutex::new(())).collect(),
        })
    }

    /// How many bytes the slots for so many keys take.
    pub(super) fn bytes_for(keys: usize) -> usize {
        Self::sets_for(keys).saturating_mul(size_of::<Set>())
    }

    /// Eleven sixteenths full at the most. A small table is left emptier: its sets are filled less
    /// evenly.
    fn sets_for(keys: usize) -> usize {
        if keys <= WAYS {
            return 1;
        }
        let sets = keys.saturating_mul(2).div_ceil(WAYS * 11 / 8);
        sets.saturating_add(sets.min(SPARE_SETS))
    }

    /// The slot of a key, if it stands in one.
    #[inline]
    pub(super) fn find(&self, hash: u64) -> Option<Slot<'_>> {
        let first = scaled(hash, self.sets.len());
        match self.sets.get(first)?.find(hash) {
            None => self.find_second(hash, first),
            found => found,
        }
    }

    /// The slot of a key that is not in its first set.
    #[inline(never)]
    fn find_second(&self, hash: u64, first: usize) -> Option<Slot<'_>> {
        self.sets.get(self.second_of(hash, first))?.find(hash)
    }

    /// Locks both sets of a key.
    pub(super) fn lock(&self, hash: u64) -> Locked<'_> {
        let first = scaled(hash, self.sets.len());
        let second = self.second_of(hash, first);
        let set = |index: usize| self.sets.get(index);
        let [one, other] = [first, second].map(|index| index % self.stripes.len());
        // In one order, so that no two wait for each other.
        let low = self.stripes[one.min(other)].lock();
        let high = (one != other).then(|| self.stripes[one.max(other)].lock());
        Locked {
            sets: [set(first), (first != second).then(|| set(second)).flatten()],
            _guards: (low, high),
        }
    }

    /// Empties each slot with such a hash whose key owes nothing. Keys that come or spend meanwhile
    /// stay.
    pub(super) fn forget(&self, concerns: impl Fn(u64) -> bool, owed: impl Fn(u64) -> i64) {
        for (index, set) in self.sets.iter().enumerate() {
            let _guard = self.stripes[index % self.stripes.len()].lock();
            for slot in set.slots() {
                let hash = slot.hash.load(Ordering::Acquire);
                if hash == EMPTY || !concerns(hash) {
                    continue;
                }
                while let Some(used) = slot.load(hash) {
                    if owed(used) > 0 || slot.pass_on(hash, used, EMPTY, 0) {
                        break;
                    }
                }
            }
        }
    }

    /// Tells the hash of each key that stands here, and what it has spent.
    pub(super) fn for_each(&self, mut visit: impl FnMut(u64, u64)) {
        for slot in self.sets.iter().flat_map(Set::slots) {
            let hash = slot.hash.load(Ordering::Acquire);
            if hash != EMPTY
                && let Some(used) = slot.load(hash)
            {
                visit(hash, used);
            }
        }
    }

    /// The second set of a key; the first again if there is one only.
    fn second_of(&self, hash: u64, first: usize) -> usize {
        let sets = self.sets.len();
        // Without the bits that say a class: a key stands in the same sets whatever its class is,
        // as near as makes no difference (1).
        let key = hash & !CLASSES;
        let second = scaled(key.rotate_left(32).wrapping_mul(SCATTER), sets);
        match second {
            _ if second != first => second,
            _ if first + 1 == sets => 0,
            _ => first + 1,
        }
    }
}

impl Set {
    fn new() -> Self {
        Self {
            hashes: [const { EMPTY }; WAYS].map(AtomicU64::new),
            words: [0; WAYS].map(AtomicU64::new),
        }
    }

    /// Without a branch per way: which of them it is cannot be foreseen. Two chains of conditional
    /// moves, side by side.
    #[inline]
    fn find(&self, hash: u64) -> Option<Slot<'_>> {
        // The words are on a line of their own: if it is not at hand it comes with that of the
        // hashes, not after it.
        let _ = self.words[0].load(Ordering::Relaxed);
        // One more than the way, or 0.
        let mut found = [0; 2];
        for way in 0..WAYS / 2 {
            for (half, found) in found.iter_mut().enumerate() {
                let way = half * (WAYS / 2) + way;
                if self.hashes[way].load(Ordering::Acquire) == hash {
                    *found = way + 1;
                }
            }
        }
        // A sum, as a choice would make one chain of both. A key that moves meanwhile may be seen at
        // both its places: whoever loads finds out that the slot is not its.
        let way = (found[0] + found[1]).wrapping_sub(1);
        Some(Slot {
            hash: self.hashes.get(way)?,
            word: self.words.get(way)?,
        })
    }

    fn slots(&self) -> impl Iterator<Item = Slot<'_>> {
        let pairs = self.hashes.iter().zip(&self.words);
        pairs.map(|(hash, word)| Slot { hash, word })
    }
}

impl Slot<'_> {
    /// What the key has spent, if the slot is that key's and not about to be another's.
    #[inline]
    pub(super) fn load(&self, hash: u64) -> Option<u64> {
        let word = self.word.load(Ordering::Acquire);
        let is_its = word & BUSY == 0 && self.hash.load(Ordering::Relaxed) == hash;
        is_its.then(|| coded(hash, word))
    }

    /// Changes what the key has spent, if that is still `from` and the slot still the key's.
    #[inline]
    pub(super) fn replace(&self, hash: u64, from: u64, to: u64) -> bool {
        let swapped = self.word.compare_exchange(
            coded(hash, from),
            coded(hash, to),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        swapped.is_ok()
    }

    /// Whether what was loaded still stands there: for an answer that changes nothing.
    #[inline]
    pub(super) fn is_still(&self, hash: u64, used: u64) -> bool {
        self.word.load(Ordering::Acquire) == coded(hash, used)
    }

    /// Passes the slot from one key to another, or to the same one in another class, if the first
    /// has not spent anything since. The set's lock is held.
    pub(super) fn pass_on(&self, from: u64, used: u64, to: u64, spent: u64) -> bool {
        let claimed = self.word.compare_exchange(
            coded(from, used),
            BUSY,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if claimed.is_err() {
            return false;
        }
        self.hash.store(to, Ordering::Release);
        self.word.store(coded(to, spent), Ordering::Release);
        true
    }
}

impl<'a> Locked<'a> {
    /// The slot of a key. What it has spent can be [loaded](Slot::load): nobody takes the slot.
    pub(super) fn find(&self, hash: u64) -> Option<Slot<'a>> {
        self.sets.iter().flatten().find_map(|set| set.find(hash))
    }

    /// A slot with such a hash, and that hash.
    pub(super) fn find_same(&self, is_same: impl Fn(u64) -> bool) -> Option<(Slot<'a>, u64)> {
        let slots = self.sets.iter().flatten().flat_map(|set| set.slots());
        let mut found = slots.map(|slot| (slot, slot.hash.load(Ordering::Acquire)));
        found.find(|&(_, hash)| hash != EMPTY && is_same(hash))
    }

    /// The slot that a newcomer should have: an empty one, in the set that has more of them; else
    /// that of the key which has been full for longest, or owes least.
    pub(super) fn candidate(&self, owed: impl Fn(u64, u64) -> i128) -> Option<Candidate<'a>> {
        let [first, second] = self.sets.map(|set| set.and_then(|set| survey(set, &owed)));
        let ((empty, ours), Some((others_empty, others))) = (first?, second) else {
            return first.map(|(_, best)| best);
        };
        let prefers_first = match (empty, others_empty) {
            (0, 0) => ours.owed <= others.owed,
            // The first set is looked into first, so it is filled first, but for a reserve.
            _ => empty > RESERVE || empty >= others_empty,
        };
        Some(if prefers_first { ours } else { others })
    }
}

impl Candidate<'_> {
    /// Gives the slot to a key, if its last key has not spent anything since it was chosen; by who
    /// still has both sets locked.
    pub(super) fn recycle(&self, hash: u64, used: u64) -> bool {
        self.slot.pass_on(self.hash, self.used, hash, used)
    }
}

/// How many slots of a set are empty, and one of these, or that of the key that owes least.
fn survey<'a>(set: &'a Set, owed: &impl Fn(u64, u64) -> i128) -> Option<(u32, Candidate<'a>)> {
    // Under the lock: hashes and words belong together.
    let standing = |slot: Slot<'a>| {
        let hash = slot.hash.load(Ordering::Acquire);
        let used = coded(hash, slot.word.load(Ordering::Acquire));
        Candidate {
            slot,
            hash,
            used,
            owed: if hash == EMPTY { 0 } else { owed(hash, used) },
        }
    };
    let empty = set
        .hashes
        .iter()
        .filter(|it| it.load(Ordering::Acquire) == EMPTY);
    let empty = empty.count() as u32;
    let mut all = set.slots().map(standing);
    let best = if empty > 0 {
        all.find(|it| it.hash == EMPTY)
    } else {
        all.min_by_key(|it| it.owed)
    };
    Some((empty, best?))
}

/// A word from what a key has spent, and back (invariant 5); both of 63 bits.
#[inline]
fn coded(hash: u64, word: u64) -> u64 {
    word ^ hash.wrapping_mul(SCATTER) & USED_MASK
}

/// The place of a hash among so many, by its upper bits.
#[inline]
fn scaled(hash: u64, among: usize) -> usize {
    // Less than `among`.
    ((u128::from(hash) * among as u128) >> 64) as usize
}

/// Slots of a set. Two are enough for a model.
const WAYS: usize = if cfg!(loom) { 2 } else { 8 };

/// The low bits of a hash, in which its class may be.
const CLASSES: u64 = 0xff;

/// The hash of an empty slot.
const EMPTY: u64 = 0;

/// A slot that passes from one key to another.
const BUSY: u64 = 1 << 63;

/// A newcomer goes to its second set if its first has so many slots left or fewer. At the full
/// number of keys one in 20 000 is lost so, and one in nine stands in its second set, which costs who
/// asks for it a wrong guess and another line. With tables three quarters full, at 21 bytes a key
/// instead of 23, it would take a reserve of 3 and one key in six.
const RESERVE: u32 = 2;

/// How many sets a table has at the most beyond what it would need if all were filled evenly.
const SPARE_SETS: usize = 64;

/// Who passes slots on in two sets at once needs two locks: few threads meet at one.
const STRIPES: usize = 1024;

/// Odd, from the digits of the square root of 3.
const SCATTER: u64 = 0xbb67_ae85_84ca_a73b;
