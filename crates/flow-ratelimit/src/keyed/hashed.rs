//! Keys by their hashes: what is decided about one, by one compare-and-swap of its word.
//!
//! # State
//! The keys' words are in `slots`, in one table or several (see `levels`), the lines of supply they
//! go by in [`Quotas`].
//!
//! # Invariants
//! 1. A key that stands nowhere is full. A key that is full (`used` at or below `A - burst`) may be
//!    forgotten at any time; one that is not is forgotten only when the table is full, and counted.
//! 2. Who decides finds that the parameters it read are still in force after it loaded the word, as
//!    in a bucket: they are at least as new as the word.
//! 3. A key stands in one class at a time: who puts one in looks for it in all classes, under the
//!    locks of both its sets.
//!
//! # Steps
//! - take: clock; find; parameters, within the horizon? Load; parameters in force? Compare-and-swap.
//!   Where one of these comes to nothing it begins again, out of line; where there is too little, from
//!   what was found.
//! - take by a key that stands nowhere: lock both its sets; look again, and whether the parameters
//!   are still in force. It stands in another class? Pass its slot to its hash of this class, with
//!   what it lacks. Else recycle the slot that is lost least; if that is lost too early, and there
//!   may be more slots, unlock, make more, and begin again.
//!
//! # Ordering
//! That of `slots` and `params`. A decision that overlaps a change is made by the old line, as if
//! it had come just before.

use core::hash::Hash;
use core::time::Duration;
use std::collections::TryReserveError;

use flow_rt::Instant;
use flow_sync::sync::atomic::{AtomicU64, Ordering};

use super::builder::WhenFull;
use super::levels::{Levels, LockedLevels};
use super::quotas::{Class, Quotas, forgetting, full, full_after, kept};
use super::slots::{Candidate, Slot};
use super::store::{Ask, Finds, Stood, Store};
use crate::error::Denied;
use crate::granted::Granted;
use crate::params::Look;
use crate::supply::{Anchor, USED_MASK};
use crate::token_bucket::core::not_yet;

#[cfg(all(test, not(loom)))]
mod tests;

/// Keys are known by a hash of 64 bits, in slots that are all there from the start, unless it may
/// [grow](WhenFull::Grow): what a [`KeyedLimiter`](crate::KeyedLimiter) does unless told otherwise.
pub struct Hashed {
    slots: Levels,
    denies: bool,
    /// Before this instant no more slots are asked for: there was no memory. `NEVER_AGAIN`, if no
    /// clock gets there.
    grows_at: AtomicU64,
    evicted: AtomicU64,
}

impl Hashed {
    /// Slots for so many keys, and room to grow to so many.
    ///
    /// # Errors
    /// There is no memory for them.
    pub(super) fn new(
        max_keys: usize,
        grow_to: usize,
        when_full: WhenFull,
    ) -> Result<Self, TryReserveError> {
        Ok(Self {
            slots: Levels::new(max_keys, grow_to)?,
            denies: when_full == WhenFull::Deny,
            grows_at: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        })
    }

    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "out of line an answer of five words goes through memory"
    )]
    fn decide_by(
        &self,
        quotas: &Quotas,
        hash: u64,
        n: u64,
        ask: Ask,
        now: Instant,
    ) -> Result<Granted, Denied> {
        // By their parts: as a whole an answer would be where the callee put it, and all answers in
        // memory.
        if ask == Ask::Take {
            match self.attempt(quotas, hash, n, now) {
                Ok(granted) => return Ok(granted),
                Err(Miss::Lacks(found)) => {
                    let granted = self.decide_lacking(quotas, hash, found, n, now)?;
                    return Ok(granted);
                }
                Err(Miss::Other) => {}
            }
        }
        let granted = self.decide_after(quotas, hash, n, ask, now)?;
        Ok(granted)
    }

    /// Takes `n` tokens of a key, if it is where most keys are, has them, and nothing is in the way.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "as `decide_by`, of which it is the most"
    )]
    fn attempt(
        &self,
        quotas: &Quotas,
        hash: u64,
        n: u64,
        now: Instant,
    ) -> Result<Granted, Miss<'_>> {
        let class = quotas.of(hash);
        let slot = self.slots.find(hash).ok_or(Miss::Other)?;
        let Look {
            version,
            anchor,
            end,
        } = class.params.look();
        // There is no limit, or the anchor must be moved; or is ahead of the clock.
        let elapsed = now.as_nanos().wrapping_sub(anchor.at);
        if elapsed >= end {
            return Err(Miss::Other);
        }
        let supplied = anchor.all_supplied_in(elapsed);
        let used = slot.load(hash).ok_or(Miss::Other)?;
        // After the word was loaded (2).
        if !class.params.are_still(version) {
            return Err(Miss::Other);
        }
        // Of what is more than this there may be any number of grains.
        if n.wrapping_sub(1) >= u64::from(u32::MAX) {
            return Err(Miss::Other);
        }
        let need = class.grains_unchecked(n);
        let burst = anchor.burst.cast_signed();
        // As `Anchor::level` has it.
        let held = (supplied.wrapping_sub(used) << 1).cast_signed() >> 1;
        let left = held.min(burst) - need.cast_signed();
        if left < 0 {
            return Err(Miss::Lacks(Found {
                slot,
                used,
                version,
            }));
        }
        // A branch: so the swap waits for the clock only where its part is of use.
        let spent = if held > burst {
            supplied.wrapping_sub(anchor.burst)
        } else {
            used
        };
        if slot.replace(hash, used, spent.wrapping_add(need) & USED_MASK) {
            Ok(class.granted_by(&anchor, left))
        } else {
            Err(Miss::Other)
        }
    }

    /// Decides where an attempt has found too little: by what it has found, if that is still so, so
    /// that who is denied is looked up once.
    #[cold]
    #[inline(never)]
    fn decide_lacking(
        &self,
        quotas: &Quotas,
        hash: u64,
        found: Found<'_>,
        n: u64,
        now: Instant,
    ) -> Result<Granted, Denied> {
        let Found {
            slot,
            used,
            version,
        } = found;
        let class = quotas.of(hash);
        let look = class.params.look();
        // Those that were in force after the word was loaded (2).
        let is_same = look.version == version && class.params.is_in_force(&look);
        let decided = is_same
            .then(|| decide_at(class, &look.anchor, slot, (hash, used), n, Ask::Take, now))
            .flatten();
        decided.unwrap_or_else(|| self.decide_after(quotas, hash, n, Ask::Take, now))
    }

    /// Decides after an attempt that came to nothing, and whatever else is asked.
    #[cold]
    #[inline(never)]
    fn decide_after(
        &self,
        quotas: &Quotas,
        hash: u64,
        n: u64,
        ask: Ask,
        now: Instant,
    ) -> Result<Granted, Denied> {
        let class = quotas.of(hash);
        loop {
            let look = class.params.look();
            let found = self.slots.find(hash);
            let Some((slot, used)) = found.and_then(|it| Some((it, it.load(hash)?))) else {
                match self.decide_absent(quotas, hash, n, ask, now) {
                    Some(decided) => return decided,
                    None => continue,
                }
            };
            // As above.
            if !class.params.is_in_force(&look) {
                continue;
            }
            if look.anchor.is_stale(now) {
                class.move_anchor(now, forgetting(self, quotas, hash, now, &mut ()));
                continue;
            }
            let at = (hash, used);
            if let Some(decided) = decide_at(class, &look.anchor, slot, at, n, ask, now) {
                return decided;
            }
        }
    }

    /// A decision about a key that was not found: it is full, or about to stand somewhere, or in
    /// another class.
    #[cold]
    #[inline(never)]
    fn decide_absent(
        &self,
        quotas: &Quotas,
        hash: u64,
        n: u64,
        ask: Ask,
        now: Instant,
    ) -> Option<Result<Granted, Denied>> {
        let class = quotas.of(hash);
        let Look {
            version, anchor, ..
        } = class.params.look();
        if !class.params.are_still(version) {
            return None;
        }
        if anchor.is_stale(now) {
            // Not under the locks of a set.
            class.move_anchor(now, forgetting(self, quotas, hash, now, &mut ()));
            return None;
        }
        let locked = self.slots.lock(hash);
        let found = locked.find(hash);
        let used = found.and_then(|slot| slot.load(hash));
        // It took a lock, and perhaps long: after the word again (2).
        let look = class.params.look();
        if look.version != version || !class.params.is_in_force(&look) {
            return None;
        }
        let anchor = &look.anchor;
        if let Some(slot) = found {
            let used = used?;
            return decide_at(class, anchor, slot, (hash, used), n, ask, now);
        }
        let need = match class.grains(anchor, n) {
            Ok(need) => need,
            Err(denied) => return Some(Err(denied)),
        };
        let mut free = anchor.burst.cast_signed();
        let mut stands = false;
        if !anchor.unlimited
            && let Some((slot, other)) =
                locked.find_same(|it| it != hash && quotas.is_same_key(hash, it))
        {
            stands = true;
            let spent = slot.load(other)?;
            let used = quotas.carried((other, spent), (hash, anchor), now);
            let used = used.unwrap_or_else(|| full(anchor, now));
            if ask != Ask::Peek && need > 0 {
                // It is found in this class then; or it has spent something meanwhile.
                slot.pass_on(other, spent, hash, used);
                return None;
            }
            let level = anchor.level(used, now, anchor.burst);
            if need > 0 && level.free < need.cast_signed() {
                return Some(Err(not_yet(*anchor, level.spent, need, now)));
            }
            free = level.free;
        }
        // Only where somebody may be denied room a look has to see whether there is some.
        let asks_only = ask == Ask::Peek && !self.denies;
        if need == 0 || anchor.unlimited || stands || asks_only {
            return Some(Ok(class.granted(anchor, free)));
        }
        if ask == Ask::Peek {
            let candidate = locked.candidate(|hash, used| quotas.debt(hash, used, now));
            let kept_out = candidate.and_then(|it| self.keeps_out(quotas, &it, now));
            return Some(kept_out.map_or_else(|| Ok(class.granted(anchor, free)), Err));
        }
        let let_in = self.let_in(quotas, anchor, &locked, hash, need, now);
        if let_in.is_none() {
            self.grow(locked, now);
        }
        let_in
    }

    /// Makes more slots than those that were locked. None, if there is no memory for them: then it
    /// is not asked for again for a while, and a key that is not full is forgotten meanwhile.
    fn grow(&self, locked: LockedLevels<'_>, now: Instant) {
        let seen = locked.seen();
        drop(locked);
        if !self.slots.grow(seen) {
            let later = now.saturating_add(WITHOUT_MEMORY).as_nanos();
            self.grows_at.store(later, Ordering::Relaxed);
        }
    }

    /// Whether a key that is not full is worth more slots.
    fn may_grow(&self, locked: &LockedLevels<'_>, now: Instant) -> bool {
        let at = self.grows_at.load(Ordering::Relaxed);
        self.slots.has_place(locked.seen()) && now.as_nanos() >= at && at != NEVER_AGAIN
    }

    /// Gives a key that is full a slot, and takes what it needs; `None` if there should be more slots
    /// for that.
    fn let_in(
        &self,
        quotas: &Quotas,
        anchor: &Anchor,
        locked: &LockedLevels<'_>,
        hash: u64,
        need: u64,
        now: Instant,
    ) -> Option<Result<Granted, Denied>> {
        let used = full(anchor, now).wrapping_add(need) & USED_MASK;
        // A set always has slots.
        while let Some(candidate) = locked.candidate(|hash, used| quotas.debt(hash, used, now)) {
            if let Some(why) = self.keeps_out(quotas, &candidate, now) {
                return Some(Err(why));
            }
            if candidate.owed > 0 && self.may_grow(locked, now) {
                return None;
            }
            if candidate.recycle(hash, used) {
                if candidate.owed > 0 {
                    self.evicted.fetch_add(1, Ordering::Relaxed);
                }
                break;
            }
        }
        let granted = quotas.of(hash);
        let left = (anchor.burst - need).cast_signed();
        Some(Ok(granted.granted(anchor, left)))
    }

    /// Why a key does not get the slot that is lost least, if it does not.
    fn keeps_out(
        &self,
        quotas: &Quotas,
        candidate: &Candidate<'_>,
        now: Instant,
    ) -> Option<Denied> {
        let is_kept = candidate.owed > 0 && self.denies;
        is_kept.then(|| {
            let line = quotas.of(candidate.hash).params.anchor();
            // When that key is full.
            let retry_after = full_after(&line, candidate.used, now);
            Denied::KeysFull { retry_after }
        })
    }

    /// Lets a key in that was carried over a restart.
    pub(super) fn restore(&self, quotas: &Quotas, hash: u64, used: u64, now: Instant) {
        let debt = |hash, used| quotas.debt(hash, used, now);
        loop {
            let locked = self.slots.lock(hash);
            if locked
                .find_same(|it| quotas.is_same_key(hash, it))
                .is_some()
            {
                return;
            }
            let Some(candidate) = locked.candidate(debt) else {
                return;
            };
            if candidate.owed > 0 && self.may_grow(&locked, now) {
                self.grow(locked, now);
                continue;
            }
            if candidate.recycle(hash, used) && candidate.owed > 0 {
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
    }

    fn refund_by(&self, quotas: &Quotas, hash: u64, n: u64) {
        if quotas.of(hash).params.anchor().unlimited {
            return;
        }
        loop {
            let look = quotas.of(hash).params.look();
            let found = self
                .slots
                .find(hash)
                .and_then(|it| Some((it, it.load(hash)?)));
            let mut locked = None;
            let (hash, look, slot, used) = if let Some((slot, used)) = found {
                (hash, look, slot, used)
            } else {
                // It may be about to move from one slot to another, or stand in another class.
                let locked = locked.insert(self.slots.lock(hash));
                let found = locked.find(hash).map(|slot| (slot, hash));
                let Some((slot, its)) =
                    found.or_else(|| locked.find_same(|it| quotas.is_same_key(hash, it)))
                else {
                    return;
                };
                let look = quotas.of(its).params.look();
                let Some(used) = slot.load(its) else {
                    continue;
                };
                (its, look, slot, used)
            };
            let class = quotas.of(hash);
            if !class.params.is_in_force(&look) {
                continue;
            }
            let anchor = look.anchor;
            let put_back = anchor.put_back(used, class.at_most_a_burst(&anchor, n), 0);
            if anchor.unlimited || slot.replace(hash, used, put_back) {
                return;
            }
        }
    }
}

/// Why an attempt came to nothing.
enum Miss<'a> {
    /// The key has too little.
    Lacks(Found<'a>),
    /// It was not found at once, or something was in the way.
    Other,
}

/// What an attempt has found: the word's number, and the version of the parameters that were in force
/// after it was loaded.
#[derive(Clone, Copy)]
struct Found<'a> {
    slot: Slot<'a>,
    used: u64,
    version: u64,
}

/// A decision about a key that stands in a slot; none if it spent something meanwhile, or the
/// slot is another's.
fn decide_at(
    class: &Class,
    anchor: &Anchor,
    slot: Slot<'_>,
    (hash, used): (u64, u64),
    n: u64,
    ask: Ask,
    now: Instant,
) -> Option<Result<Granted, Denied>> {
    let level = anchor.level(used, now, kept(anchor, ask));
    let need = class.grains_unchecked(n);
    let left = level.free.wrapping_sub(need.cast_signed());
    // Of others a need that is less than 2^32 is compared with no more than a burst.
    let may_be_too_large = n > u64::from(u32::MAX) || ask == Ask::TakeForWaiter;
    let is_too_large = may_be_too_large && n > anchor.burst >> class.bits();
    let fits = left >= 0 && !is_too_large;
    if n == 0 || anchor.unlimited || ask == Ask::Peek && fits {
        let is_still = slot.is_still(hash, used);
        return is_still.then(|| Ok(class.granted(anchor, level.free)));
    }
    if !fits {
        let need = match class.grains(anchor, n) {
            Ok(need) => need,
            Err(denied) => return Some(Err(denied)),
        };
        let is_still = slot.is_still(hash, used);
        return is_still.then(|| Err(not_yet(*anchor, level.spent, need, now)));
    }
    slot.replace(hash, used, anchor.take(level, need))
        .then(|| Ok(class.granted(anchor, left)))
}

impl Store for Hashed {
    /// Two keys of one hash are one.
    type Tag = ();
    /// A hash is dropped anywhere.
    type Gone = ();

    fn forget(&self, quotas: &Quotas, of: u64, lacks: &dyn Fn(u64) -> i64, (): &mut ()) {
        self.slots
            .forget(|hash| quotas.is_same_class(of, hash), lacks);
    }

    fn for_each(&self, visit: &mut dyn FnMut(u64, u64)) {
        self.slots.for_each(visit);
    }

    fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    fn capacity(&self) -> usize {
        self.slots.keys()
    }

    fn decide_tagged(
        &self,
        quotas: &Quotas,
        (hash, ()): (u64, &()),
        n: u64,
        ask: Ask,
        now: Instant,
    ) -> Result<Granted, Denied> {
        self.decide_by(quotas, hash, n, ask, now)
    }

    fn refund_tagged(&self, quotas: &Quotas, (hash, ()): (u64, &()), n: u64) {
        self.refund_by(quotas, hash, n);
    }

    fn stand(&self, quotas: &Quotas, (hash, ()): (u64, &()), ask: Ask, now: Instant) -> Stood {
        let class = quotas.of(hash);
        loop {
            let look = class.params.look();
            let found = self.slots.find(hash).and_then(|it| it.load(hash));
            if class.params.is_in_force(&look) {
                let anchor = look.anchor;
                let used = found.unwrap_or_else(|| full(&anchor, now));
                let level = anchor.level(used, now, kept(&anchor, ask));
                return Stood { anchor, level };
            }
        }
    }
}

impl<Q: Hash + ?Sized> Finds<Q> for Hashed {
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "out of line an answer of five words goes through memory"
    )]
    fn decide(
        &self,
        quotas: &Quotas,
        (hash, _): (u64, &Q),
        n: u64,
        ask: Ask,
        now: Instant,
    ) -> Result<Granted, Denied> {
        self.decide_by(quotas, hash, n, ask, now)
    }

    fn refund(&self, quotas: &Quotas, (hash, _): (u64, &Q), n: u64) {
        self.refund_by(quotas, hash, n);
    }

    fn tag(_: &Q) {}

    fn is_of((): &(), _: &Q) -> bool {
        true
    }
}

/// How long it does without more slots where there was no memory for them: many times what it
/// takes to ask.
const WITHOUT_MEMORY: Duration = Duration::from_secs(1);

/// The end of all clocks, and of `grows_at`.
const NEVER_AGAIN: u64 = u64::MAX;
