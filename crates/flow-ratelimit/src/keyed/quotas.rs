//! The quotas of a limiter's classes: a line of supply each, and what a key lacks by it.
//!
//! # State
//! All keys of a class share one line, so a change of its rate or burst touches none of them. The
//! line is read in `params`; a plain copy of it, and the right to publish another, is in `line`. A
//! key's class is in the low bits of its hash, as many as tell the classes apart: none, if there is
//! one class only. The bits above say which key it is.
//!
//! # Invariants
//! 1. Parameters are published only under `line`'s lock. The lock of `line` is taken before those
//!    of a store, never after them; those of two classes never together.
//! 2. `unswept` is how far `base` has moved since full keys were last forgotten: at most 2^60
//!    grains, and a burst more where a limit began. Burst and horizon are at most 2^60 too. So every
//!    `used` is within 2^62 of `base`.
//! 3. Before a larger burst is in force, keys that are full by the smaller one have been forgotten:
//!    they are full by the larger one too, whether or not they were still known.
//!
//! # Steps
//! - change: lock `line`; move the anchor to now; forget full keys if (2) or (3) asks for it; publish.
//! - a key comes with another class than it has: what it lacks until full, in tokens and rounded up,
//!   it lacks by the new class too, up to the new burst. Nothing is minted by going to and fro.

use core::hash::{BuildHasher, Hash};
use core::time::Duration;

use flow_rt::Instant;
use flow_sync::HashSeed;
use flow_sync::sync::Mutex;

use super::store::{Ask, Store};
use crate::error::{ConfigError, Denied};
use crate::granted::Granted;
use crate::params::Params;
use crate::rate::Rate;
use crate::supply::{self, Anchor, MAX_BITS, USED_MASK};
use crate::token_bucket::core::not_yet;

/// The quotas of all classes.
pub struct Quotas {
    /// By itself, so that a limiter with one class looks no further.
    first: Class,
    more: Box<[Class]>,
    /// The bits of a hash that say the class.
    mask: u64,
}

/// The quota of a class.
pub(super) struct Class {
    pub(super) params: Params,
    /// Fraction bits: a token is `1 << bits` grains.
    bits: u32,
    /// That many, for the fast path.
    token: u64,
    line: Mutex<Line>,
}

/// The parameters in force, for who may publish others.
struct Line {
    anchor: Anchor,
    rate: Rate,
    /// Grains (2).
    unswept: u64,
}

impl Quotas {
    /// The quotas of at least one class, by class.
    pub(super) fn new(quotas: &[(Rate, u64)], now: Instant) -> Result<Self, ConfigError> {
        let classes = quotas.iter();
        let mut classes = classes.map(|&(rate, burst)| Class::new(rate, burst, now));
        let first = classes.next().ok_or(ConfigError::MissingRate)??;
        let more = classes.collect::<Result<Box<[_]>, _>>()?;
        Ok(Self {
            mask: quotas.len().next_power_of_two() as u64 - 1,
            first,
            more,
        })
    }

    /// The hash of a key in a class: never 0, which marks an empty slot.
    #[inline]
    pub(super) fn hash<Q: Hash + ?Sized>(&self, seed: HashSeed, key: &Q, class: u8) -> u64 {
        self.hash_of(seed.hash_one(key), class)
    }

    /// The hash of a key in a class, from that of the key alone.
    #[inline]
    pub(super) fn hash_of(&self, key: u64, class: u8) -> u64 {
        // The bit above the class is always set.
        (key & !self.mask) | (self.mask + 1) | u64::from(class)
    }

    /// The quota that goes by a hash.
    #[inline]
    pub(super) fn of(&self, hash: u64) -> &Class {
        match (hash & self.mask) as usize {
            0 => &self.first,
            // Every hash has a class that there is.
            class => self.more.get(class - 1).unwrap_or(&self.first),
        }
    }

    /// Whether two hashes are of one key, of whatever class.
    #[inline]
    pub(super) fn is_same_key(&self, hash: u64, other: u64) -> bool {
        (hash ^ other) & !self.mask == 0
    }

    /// The hash of the same key in another class.
    pub(super) fn in_class(&self, hash: u64, class: usize) -> u64 {
        hash & !self.mask | class as u64 & self.mask
    }

    /// Whether two hashes are of one class.
    pub(super) fn is_same_class(&self, hash: u64, other: u64) -> bool {
        (hash ^ other) & self.mask == 0
    }

    /// The class of a hash.
    pub(super) fn class_of(&self, hash: u64) -> u8 {
        (hash & self.mask) as u8
    }

    /// How many classes there are.
    pub(super) fn len(&self) -> usize {
        1 + self.more.len()
    }

    /// All quotas, by class.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Class> {
        core::iter::once(&self.first).chain(&self.more)
    }

    /// What keys lack until full at `now`, by the lines of this moment.
    pub(super) fn lacks(&self, now: Instant) -> impl Fn(u64, u64) -> i64 {
        let anchors: Vec<_> = self.iter().map(|it| it.params.anchor()).collect();
        let mask = self.mask;
        move |hash, used| {
            let anchor = anchors.get((hash & mask) as usize);
            anchor.map_or(0, |anchor| lacks(anchor, used, now))
        }
    }

    /// What a key lacks until full, in a unit that is the same for all classes.
    pub(super) fn debt(&self, hash: u64, used: u64, now: Instant) -> i128 {
        let class = self.of(hash);
        class.scaled(lacks(&class.params.anchor(), used, now))
    }

    /// `used` of a key that comes by the class of `hash` and has been in that of `other`; none if it
    /// lacks nothing.
    pub(super) fn carried(
        &self,
        (other, used): (u64, u64),
        (hash, anchor): (u64, &Anchor),
        now: Instant,
    ) -> Option<u64> {
        let from = self.of(other);
        let line = from.params.anchor();
        // By no limit nothing is lacking.
        let lacking = if line.unlimited {
            0
        } else {
            lacks(&line, used, now)
        };
        self.of(hash).spent_by(anchor, from.bits, lacking, now)
    }
}

impl Class {
    fn new(rate: Rate, burst: u64, now: Instant) -> Result<Self, ConfigError> {
        let bits = fraction_bits(rate, burst)?;
        let grains = burst << bits;
        let anchor = Anchor::new(rate, grains, grains, bits, now);
        Ok(Self {
            params: Params::new(&anchor, rate),
            bits,
            token: 1 << bits,
            line: Mutex::new(Line {
                anchor,
                rate,
                unswept: 0,
            }),
        })
    }

    pub(super) fn rate(&self) -> Rate {
        self.params.rate()
    }

    pub(super) fn burst(&self) -> u64 {
        self.params.anchor().burst >> self.bits
    }

    /// Whether nothing ever comes.
    pub(super) fn never_refills(&self) -> bool {
        let anchor = self.params.anchor();
        anchor.mult == 0 && !anchor.unlimited
    }

    pub(super) const fn bits(&self) -> u32 {
        self.bits
    }

    /// Puts a rate in force from now on.
    pub(super) fn set_rate(
        &self,
        rate: Rate,
        now: Instant,
        forget: impl FnOnce(&Anchor),
    ) -> Result<(), ConfigError> {
        supply::check_rate(rate, self.bits)?;
        let mut line = self.line.lock();
        let anchor = self.at_rate(&mut line, rate, now, forget);
        self.publish(&mut line, anchor, rate);
        Ok(())
    }

    /// Puts a burst in force from now on.
    pub(super) fn set_burst(
        &self,
        burst: u64,
        now: Instant,
        forget: impl FnOnce(&Anchor),
    ) -> Result<(), ConfigError> {
        check_burst(burst, self.bits)?;
        let mut line = self.line.lock();
        let anchor = self.at_burst(&mut line, burst, now, forget);
        let rate = line.rate;
        self.publish(&mut line, anchor, rate);
        Ok(())
    }

    /// Puts a rate and a burst in force together.
    pub(super) fn set_quota(
        &self,
        rate: Rate,
        burst: u64,
        now: Instant,
        forget: impl FnOnce(&Anchor),
    ) -> Result<(), ConfigError> {
        supply::check_rate(rate, self.bits)?;
        check_burst(burst, self.bits)?;
        let mut line = self.line.lock();
        // Full keys are forgotten by the burst that was.
        let moved = self.at_burst(&mut line, burst, now, forget);
        let anchor = self.goes_on(&mut line, moved, rate);
        self.publish(&mut line, anchor, rate);
        Ok(())
    }

    fn at_rate(
        &self,
        line: &mut Line,
        rate: Rate,
        now: Instant,
        forget: impl FnOnce(&Anchor),
    ) -> Anchor {
        let moved = self.moved(line, now, false, forget);
        self.goes_on(line, moved, rate)
    }

    fn goes_on(&self, line: &mut Line, moved: Anchor, rate: Rate) -> Anchor {
        // A limiter that ceases to be unlimited finds every key full.
        let anchor = moved.with_pace(rate, self.bits, moved.base);
        line.unswept += anchor.base.wrapping_sub(moved.base) & USED_MASK;
        anchor
    }

    fn at_burst(
        &self,
        line: &mut Line,
        burst: u64,
        now: Instant,
        forget: impl FnOnce(&Anchor),
    ) -> Anchor {
        let grains = burst << self.bits;
        let grows = grains > line.anchor.burst;
        Anchor {
            burst: grains,
            ..self.moved(line, now, grows, forget)
        }
    }

    /// Moves the anchor before its numbers run out of range.
    #[cold]
    pub(super) fn move_anchor(&self, now: Instant, forget: impl FnOnce(&Anchor)) {
        let mut line = self.line.lock();
        // Somebody may have moved it before.
        if line.anchor.is_stale(now) {
            let moved = self.moved(&mut line, now, false, forget);
            let rate = line.rate;
            self.publish(&mut line, moved, rate);
        }
    }

    /// The anchor at `now`. Full keys are forgotten if they must be, or else would be too far away.
    fn moved(
        &self,
        line: &mut Line,
        now: Instant,
        forgets: bool,
        forget: impl FnOnce(&Anchor),
    ) -> Anchor {
        let anchor = line.anchor;
        let moved = anchor.moved(now, line.rate, self.bits);
        // Below 2^62, and `unswept` at most 2^61.
        line.unswept += moved.base.wrapping_sub(anchor.base) & USED_MASK;
        if forgets || line.unswept > MAX_UNSWEPT {
            forget(&anchor);
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
    pub(super) fn grains(&self, anchor: &Anchor, n: u64) -> Result<u64, Denied> {
        let burst = anchor.burst >> self.bits;
        if n > burst && !anchor.unlimited {
            return Err(Denied::exceeds_burst(n, burst));
        }
        // At most a burst, which fits; of an unlimited limiter nothing is taken.
        Ok(n.min(burst) << self.bits)
    }

    /// `n` tokens in grains; any number, if those are more than a burst holds.
    #[inline]
    pub(super) const fn grains_unchecked(&self, n: u64) -> u64 {
        n.wrapping_mul(self.token)
    }

    /// `n` tokens in grains, at most a burst of them.
    pub(super) fn at_most_a_burst(&self, anchor: &Anchor, n: u64) -> u64 {
        // More than a burst cannot come back, and a burst fits.
        (u128::from(n) << self.bits).min(u128::from(anchor.burst)) as u64
    }

    /// A grant that leaves `free` grains.
    #[inline]
    pub(super) fn granted(&self, anchor: &Anchor, free: i64) -> Granted {
        Granted::of(anchor, free, 0, self.bits)
    }

    /// The same of a line that has a limit.
    #[inline]
    pub(super) fn granted_by(&self, anchor: &Anchor, free: i64) -> Granted {
        let pace = (anchor.mult, anchor.finer);
        Granted::by(pace, anchor.burst, free, 0, self.bits)
    }

    /// Whole tokens of a key that lacks so many grains until full.
    pub(super) fn tokens_without(&self, lacking: i64) -> u64 {
        let burst = self.params.anchor().burst.cast_signed();
        (burst - lacking).max(0).cast_unsigned() >> self.bits
    }

    /// `used` of a key that lacks so many grains of another size, up to a burst; none if it lacks
    /// nothing.
    pub(super) fn spent_by(
        &self,
        anchor: &Anchor,
        bits: u32,
        lacking: i64,
        now: Instant,
    ) -> Option<u64> {
        if lacking <= 0 {
            return None;
        }
        let finer = i128::from(lacking) << self.bits.saturating_sub(bits);
        let coarser = bits.saturating_sub(self.bits);
        // What is lacking is rounded up.
        let lacking = (finer + ((1 << coarser) - 1)) >> coarser;
        let lacking = lacking.min(i128::from(anchor.burst)).unsigned_abs() as u64;
        Some(full(anchor, now).wrapping_add(lacking) & USED_MASK)
    }

    fn scaled(&self, grains: i64) -> i128 {
        i128::from(grains) << (MAX_BITS - self.bits)
    }
}

/// Empties what is full of the class of a hash: what a change of its line asks of a store. It is
/// asked under the line's lock, so whom it forgets is dropped later, with `gone`.
pub(super) fn forgetting<'a, S: Store>(
    store: &'a S,
    quotas: &'a Quotas,
    hash: u64,
    now: Instant,
    gone: &'a mut S::Gone,
) -> impl FnOnce(&Anchor) + 'a {
    move |anchor| store.forget(quotas, hash, &|used| lacks(anchor, used, now), gone)
}

/// What a key lacks until full, in grains: 0 or less if it is full, the less for the longer.
pub(super) fn lacks(anchor: &Anchor, used: u64, now: Instant) -> i64 {
    // Each within 2^62 of zero.
    anchor.burst.cast_signed() + anchor.distance(used) - anchor.supplied(now)
}

/// `used` of a key that is just full.
pub(super) fn full(anchor: &Anchor, now: Instant) -> u64 {
    // A number so far back that it counts as full.
    anchor.lifted(anchor.level(anchor.base, now, 0), anchor.burst)
}

/// How long until a key is full, if it lacks something at `now`.
pub(super) fn full_after(anchor: &Anchor, used: u64, now: Instant) -> Duration {
    let spent = anchor.level(used, now, anchor.burst).spent;
    let denied = not_yet(*anchor, spent, anchor.burst, now);
    denied.retry_after().unwrap_or(Duration::MAX)
}

/// The most that a key has for who asks: for one who has waited, what comes while whoever serves it
/// is late, beside the burst.
#[inline]
pub(super) fn kept(anchor: &Anchor, ask: Ask) -> u64 {
    match ask {
        Ask::TakeForWaiter => anchor.burst.max(anchor.in_time(CATCH_UP).min(MAX_KEPT)),
        Ask::Take | Ask::Peek => anchor.burst,
    }
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

/// Whether a key can hold so much: half of what a bucket can (2).
fn check_burst(burst: u64, bits: u32) -> Result<(), ConfigError> {
    supply::check_burst(burst, bits + 1)
}

/// How far the line goes on before full keys must be forgotten, in grains (2).
const MAX_UNSWEPT: u64 = 1 << 60;

/// The most that is kept for those who wait, in grains: as much as the largest burst (2).
const MAX_KEPT: u64 = 1 << 60;

/// How late whoever serves those who wait may be without loss: as for a bucket.
const CATCH_UP: Duration = Duration::from_millis(4);
