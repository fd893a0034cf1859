//! What is decided about a key, by one compare-and-swap of its word.
//!
//! # State
//! The keys' words are in `slots`, one line of supply for all of them in `params`; a plain copy of
//! it, and the right to publish another, in `line`. The arithmetic is that of a single bucket (see
//! `supply`): all keys share the line, so a change of rate or burst touches none of them.
//!
//! # Invariants
//! 1. A key that stands nowhere is full. A key that is full (`used` at or below `A - burst`) may be
//!    forgotten at any time; one that is not is forgotten only when the table is full, and counted.
//! 2. Who decides finds that the parameters it read are still in force after it loaded the word, as
//!    in a bucket: they are at least as new as the word.
//! 3. Parameters are published only under `line`'s lock. The lock of `line` is taken before those
//!    of `slots`, never after them.
//! 4. `unswept` is how far `base` has moved since full keys were last forgotten, at most 2^60
//!    grains; burst and horizon are at most as much. So every `used` is within 2^62 of `base`.
//! 5. Before a larger burst is in force, keys that are full by the smaller one have been forgotten:
//!    they are full by the larger one too, whether or not they were still known.
//!
//! # Steps
//! - take: clock; parameters; find; load; parameters in force? Within the horizon? Compare-and-swap.
//! - take by a key that stands nowhere: lock both its sets; look again; recycle the slot that is
//!   lost least.
//! - change: lock `line`; move the anchor to now; forget full keys if (4) or (5) asks for it; publish.
//!
//! # Ordering
//! That of `slots` and `params`. A decision that overlaps a change is made by the old line, as if
//! it had come just before.

use std::borrow::Cow;
use std::hash::Hash;

use flow_rt::{Clock, Instant};
use flow_sync::PaddedCounter;
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicU64, Ordering};

use super::builder::WhenFull;
use super::hash::Seed;
use super::slots::{Locked, Slot, Slots};
use crate::error::{ConfigError, Denied};
use crate::granted::Granted;
use crate::params::Params;
use crate::rate::Rate;
use crate::supply::{self, Anchor, USED_MASK};
use crate::token_bucket::core::not_yet;

/// What all handles of a limiter share.
pub(super) struct Table<C> {
    slots: Slots,
    params: Params,
    /// Fraction bits: a token is `1 << bits` grains.
    bits: u32,
    seed: Seed,
    clock: C,
    when_full: WhenFull,
    counts: Option<Counts>,
    evicted: AtomicU64,
    line: Mutex<Line>,
    pub(super) max_keys: usize,
    pub(super) name: Option<Cow<'static, str>>,
}

/// What is fixed when the limiter is built.
pub(super) struct Settings {
    pub(super) max_keys: usize,
    pub(super) when_full: WhenFull,
    pub(super) seed: Option<u64>,
    pub(super) is_counted: bool,
    pub(super) name: Option<Cow<'static, str>>,
}

/// The parameters in force, for who may publish others.
struct Line {
    anchor: Anchor,
    rate: Rate,
    /// Grains (4).
    unswept: u64,
}

struct Counts {
    granted: PaddedCounter,
    denied: PaddedCounter,
}

impl<C: Clock> Table<C> {
    pub(super) fn new(
        rate: Rate,
        burst: u64,
        clock: C,
        settings: Settings,
    ) -> Result<Self, ConfigError> {
        let Settings { max_keys, .. } = settings;
        match max_keys {
            0 => return Err(ConfigError::ZeroKeys),
            given if given > MAX_KEYS => {
                return Err(ConfigError::TooManyKeys {
                    given,
                    max: MAX_KEYS,
                });
            }
            _ => {}
        }
        let bits = fraction_bits(rate, burst)?;
        let slots = Slots::for_keys(max_keys).map_err(|_| ConfigError::NoMemoryForKeys {
            given: max_keys,
            bytes: Slots::bytes_for(max_keys),
        })?;
        let grains = burst << bits;
        let anchor = Anchor::new(rate, grains, grains, bits, clock.now());
        Ok(Self {
            slots,
            params: Params::new(&anchor, rate),
            bits,
            seed: settings.seed.map_or_else(Seed::random, Seed::fixed),
            clock,
            when_full: settings.when_full,
            counts: settings.is_counted.then(|| Counts {
                granted: PaddedCounter::new(),
                denied: PaddedCounter::new(),
            }),
            evicted: AtomicU64::new(0),
            line: Mutex::new(Line {
                anchor,
                rate,
                unswept: 0,
            }),
            max_keys,
            name: settings.name,
        })
    }

    #[inline]
    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.seed.hash(key)
    }

    /// Takes `n` tokens of a key, or says why not.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "out of line an answer of five words goes through memory"
    )]
    pub(super) fn try_take(&self, hash: u64, n: u64) -> Result<Granted, Denied> {
        let decided = self.decide::<true>(hash, n);
        if let Some(counts) = &self.counts {
            let of = match decided {
                Ok(_) => &counts.granted,
                Err(_) => &counts.denied,
            };
            of.add(1);
        }
        decided
    }

    /// What [`try_take`](Self::try_take) would say, without taking anything.
    pub(super) fn peek(&self, hash: u64, n: u64) -> Result<Granted, Denied> {
        self.decide::<false>(hash, n)
    }

    /// Gives `n` tokens back to a key; one that is forgotten is full already.
    pub(super) fn refund(&self, hash: u64, n: u64) {
        loop {
            let look = self.params.look();
            let found = self
                .slots
                .find(hash)
                .and_then(|it| Some((it, it.load(hash)?)));
            let mut locked = None;
            let (slot, used) = if let Some(found) = found {
                found
            } else {
                // It may be about to move from one slot to another.
                let locked = locked.insert(self.slots.lock(hash));
                let Some(slot) = locked.find(hash) else {
                    return;
                };
                let Some(used) = slot.load(hash) else {
                    continue;
                };
                (slot, used)
            };
            if !self.params.is_in_force(&look) {
                continue;
            }
            let anchor = look.anchor;
            // More than a burst cannot come back, and a burst fits.
            let grains = (u128::from(n) << self.bits).min(u128::from(anchor.burst)) as u64;
            let put_back = anchor.put_back(used, grains, 0);
            if anchor.unlimited || slot.replace(hash, used, put_back) {
                return;
            }
        }
    }

    /// Puts a rate in force from now on.
    pub(super) fn set_rate(&self, rate: Rate) -> Result<(), ConfigError> {
        supply::check_rate(rate, self.bits)?;
        let now = self.clock.now();
        let mut line = self.line.lock();
        let moved = self.moved(&mut line, now, false);
        // A limiter that ceases to be unlimited finds every key full.
        let anchor = moved.with_pace(rate, self.bits, moved.base);
        line.unswept += anchor.base.wrapping_sub(moved.base) & USED_MASK;
        self.publish(&mut line, anchor, rate);
        Ok(())
    }

    /// Puts a burst in force from now on.
    pub(super) fn set_burst(&self, burst: u64) -> Result<(), ConfigError> {
        check_burst(burst, self.bits)?;
        let grains = burst << self.bits;
        let now = self.clock.now();
        let mut line = self.line.lock();
        let grows = grains > line.anchor.burst;
        let moved = self.moved(&mut line, now, grows);
        let anchor = Anchor {
            burst: grains,
            ..moved
        };
        let rate = line.rate;
        self.publish(&mut line, anchor, rate);
        Ok(())
    }

    pub(super) fn rate(&self) -> Rate {
        self.params.rate()
    }

    pub(super) fn burst(&self) -> u64 {
        self.params.anchor().burst >> self.bits
    }

    /// How many keys are not full now.
    pub(super) fn len(&self) -> usize {
        let (now, anchor) = (self.clock.now(), self.params.anchor());
        self.slots.count(|used| owed(&anchor, used, now) > 0)
    }

    /// Grants and denials so far, if they are counted.
    pub(super) fn counted(&self) -> Option<(u64, u64)> {
        let counts = self.counts.as_ref()?;
        Some((counts.granted.sum(), counts.denied.sum()))
    }

    /// Keys that were forgotten before they were full.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "out of line an answer of five words goes through memory"
    )]
    fn decide<const TAKES: bool>(&self, hash: u64, n: u64) -> Result<Granted, Denied> {
        let now = self.clock.now();
        loop {
            let look = self.params.look();
            let found = self
                .slots
                .find(hash)
                .and_then(|it| Some((it, it.load(hash)?)));
            // After the word was loaded (2).
            if !self.params.is_in_force(&look) {
                continue;
            }
            let anchor = &look.anchor;
            if anchor.is_stale(now) {
                self.move_anchor(now);
                continue;
            }
            let decided = match found {
                Some((slot, used)) => self.decide_at::<TAKES>(anchor, slot, (hash, used), n, now),
                None => self.decide_absent::<TAKES>(anchor, hash, n, now),
            };
            if let Some(decided) = decided {
                return decided;
            }
        }
    }

    /// A decision about a key that stands in a slot; none if it spent something meanwhile, or the
    /// slot is another's.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "out of line an answer of five words goes through memory"
    )]
    fn decide_at<const TAKES: bool>(
        &self,
        anchor: &Anchor,
        slot: Slot<'_>,
        (hash, used): (u64, u64),
        n: u64,
        now: Instant,
    ) -> Option<Result<Granted, Denied>> {
        let need = match self.grains(anchor, n) {
            Ok(need) => need,
            Err(denied) => return Some(Err(denied)),
        };
        let level = anchor.level(used, now, anchor.burst);
        if need == 0 || anchor.unlimited || !TAKES && level.free >= need.cast_signed() {
            let is_still = slot.is_still(hash, used);
            return is_still.then(|| Ok(self.granted(anchor, level.free)));
        }
        let left = level.free - need.cast_signed();
        if left < 0 {
            let is_still = slot.is_still(hash, used);
            return is_still.then(|| Err(not_yet(*anchor, level.spent, need, now)));
        }
        slot.replace(hash, used, anchor.take(level, need))
            .then(|| Ok(self.granted(anchor, left)))
    }

    /// A decision about a key that was not found: it is full, or about to stand somewhere.
    #[cold]
    #[inline(never)]
    fn decide_absent<const TAKES: bool>(
        &self,
        anchor: &Anchor,
        hash: u64,
        n: u64,
        now: Instant,
    ) -> Option<Result<Granted, Denied>> {
        let locked = self.slots.lock(hash);
        if let Some(slot) = locked.find(hash) {
            let used = slot.load(hash)?;
            return self.decide_at::<TAKES>(anchor, slot, (hash, used), n, now);
        }
        let need = match self.grains(anchor, n) {
            Ok(need) => need,
            Err(denied) => return Some(Err(denied)),
        };
        if need == 0 || anchor.unlimited || !TAKES {
            return Some(Ok(self.granted(anchor, anchor.burst.cast_signed())));
        }
        Some(self.let_in(anchor, &locked, hash, need, now))
    }

    /// Gives a key that is full a slot, and takes what it needs.
    fn let_in(
        &self,
        anchor: &Anchor,
        locked: &Locked<'_>,
        hash: u64,
        need: u64,
        now: Instant,
    ) -> Result<Granted, Denied> {
        // A number so far back that it counts as full.
        let full = anchor.lifted(anchor.level(anchor.base, now, 0), anchor.burst);
        let used = full.wrapping_add(need) & USED_MASK;
        // A set always has slots.
        while let Some(candidate) = locked.candidate(|used| owed(anchor, used, now)) {
            if candidate.owed > 0 && self.when_full == WhenFull::Deny {
                let spent = anchor.level(candidate.used, now, anchor.burst).spent;
                return Err(Denied::KeysFull {
                    // When that key is full.
                    retry_after: not_yet(*anchor, spent, anchor.burst, now)
                        .retry_after()
                        .unwrap_or(core::time::Duration::MAX),
                });
            }
            if candidate.recycle(hash, used) {
                if candidate.owed > 0 {
                    self.evicted.fetch_add(1, Ordering::Relaxed);
                }
                break;
            }
        }
        Ok(self.granted(anchor, (anchor.burst - need).cast_signed()))
    }

    /// Moves the anchor before its numbers run out of range.
    #[cold]
    fn move_anchor(&self, now: Instant) {
        let mut line = self.line.lock();
        // Somebody may have moved it before.
        if line.anchor.is_stale(now) {
            let moved = self.moved(&mut line, now, false);
            let rate = line.rate;
            self.publish(&mut line, moved, rate);
        }
    }

    /// The anchor at `now`. Full keys are forgotten if they must be, or else would be too far away.
    fn moved(&self, line: &mut Line, now: Instant, forgets: bool) -> Anchor {
        let anchor = line.anchor;
        let moved = anchor.moved(now, line.rate, self.bits);
        // Below 2^62, and `unswept` not much above 2^60.
        line.unswept += moved.base.wrapping_sub(anchor.base) & USED_MASK;
        if forgets || line.unswept > MAX_UNSWEPT {
            self.slots.forget(|used| owed(&anchor, used, now));
            line.unswept = 0;
        }
        moved
    }

    fn publish(&self, line: &mut Line, anchor: Anchor, rate: Rate) {
        (line.anchor, line.rate) = (anchor, rate);
        self.params.publish(&anchor, rate);
    }

    /// `n` tokens in grains, if a key can ever have them.
    #[inline]
    fn grains(&self, anchor: &Anchor, n: u64) -> Result<u64, Denied> {
        let burst = anchor.burst >> self.bits;
        if n > burst && !anchor.unlimited {
            return Err(Denied::exceeds_burst(n, burst));
        }
        // At most a burst, which fits; of an unlimited limiter nothing is taken.
        Ok(n.min(burst) << self.bits)
    }

    /// A grant that leaves `free` grains.
    #[inline]
    fn granted(&self, anchor: &Anchor, free: i64) -> Granted {
        Granted::of(anchor, free, 0, self.bits)
    }
}

/// What a key lacks until full, in grains: 0 or less if it is full, the less for the longer.
fn owed(anchor: &Anchor, used: u64, now: Instant) -> i64 {
    // Each within 2^62 of zero.
    anchor.burst.cast_signed() + anchor.distance(used) - anchor.supplied(now)
}

/// As many fraction bits as leave a year to the horizon, if so many are possible.
fn fraction_bits(rate: Rate, burst: u64) -> Result<u32, ConfigError> {
    let finest =
        supply::fraction_bits(rate, burst.saturating_mul(2)).map_err(|error| match error {
            ConfigError::BurstTooLarge { max, .. } => ConfigError::BurstTooLarge {
                given: burst,
                max: max / 2,
            },
            error => error,
        })?;
    let nanos = rate.period().as_nanos().max(1);
    let per_second = u128::from(rate.tokens()) * 1_000_000_000 / nanos;
    // 2^60 grains in 2^25 seconds.
    let grains = if rate.is_unlimited() { 0 } else { per_second };
    let wanted = (1..=finest).rev().find(|bits| grains << bits <= 1 << 35);
    Ok(wanted.unwrap_or(0))
}

/// Whether a key can hold so much: half of what a bucket can (4).
fn check_burst(burst: u64, bits: u32) -> Result<(), ConfigError> {
    supply::check_burst(burst, bits + 1)
}

/// How far the line goes on before full keys must be forgotten, in grains (4).
const MAX_UNSWEPT: u64 = 1 << 60;

/// The most keys: some 90 GiB of slots, or a third of what 32 bits can address.
const MAX_KEYS: usize = if usize::BITS < 64 {
    1 << 26
} else {
    u32::MAX as usize
};
