//! Arithmetic of virtual tokens: how much has been supplied by now, exactly and for ever.
//!
//! # Units
//! A token is `2^f` *grains*; `f` is fixed when the bucket is built, from its rate and burst
//! (at most 30: a grain is then under a nanosecond's supply for rates above one per second). The
//! bucket's state is one number, `used`: grains ever spent, modulo 2^63. The other side is the
//! supply `A(now)`, grains ever supplied, modulo 2^63 too. What the bucket holds is
//! `min(burst, A(now) - used)`.
//!
//! # The line
//! `A` is a straight line through an [`Anchor`]: `base` grains and a fraction (`carry`) at the
//! instant `at`, then `mult / 2^64` grains in each of the `2^finer` parts of a nanosecond, by one
//! 64 x 64 -> 128 bit multiplication whose upper half are grains. `mult` is rounded **up**:
//! tokens that are due at a whole nanosecond are there at that nanosecond, not one later. What
//! that adds stays below an eighth of a grain, because the anchor moves before 2^61 parts have
//! passed, and moves along the exact rational line (`carry` is rounded up by `2^-64` of a grain).
//! So the supply is never a grain above the exact line, and never a grain below it.
//!
//! # Why it holds for ever
//! Numbers modulo 2^63 are compared by their signed distance from `base`, right while that stays
//! below 2^62. The anchor is therefore moved to the present once the supply since `at` passes
//! 2^60 grains, or 2^61 parts are over (`horizon`), by whoever comes first after that, and `used`
//! is lifted with it to at least `A - burst`; the supply itself saturates below 2^62, so an idle
//! time of any length does no harm. `burst` is at most 2^61, and rates are bounded so that the
//! horizon is no nearer than a second, less a nanosecond.
//!
//! # What never happens
//! An instant before `at` counts as `at`: a clock that goes back supplies nothing, and nothing
//! twice when it comes forward again.

use core::time::Duration;

use flow_rt::Instant;

use crate::error::ConfigError;
use crate::rate::{Rate, gcd};

#[cfg(all(test, not(loom)))]
mod tests;

/// The bits of `used`: the word's top 63.
pub(crate) const USED_MASK: u64 = u64::MAX >> 1;

/// A straight line of supply, and how much of it may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// The instant, in nanoseconds of the bucket's clock.
    pub(crate) at: u64,
    /// Grains supplied until then, modulo 2^63.
    pub(crate) base: u64,
    /// What was supplied until then beyond `base`, in parts of a grain: there are 2^64.
    pub(crate) carry: u64,
    /// Such parts per `2^-finer` nanoseconds; 0 for no supply.
    pub(crate) mult: u64,
    /// At most 31: no more than 2^60 grains come per second, so fewer than 2^31 per nanosecond.
    pub(crate) finer: u32,
    /// The most the bucket holds, in grains; at most [`MAX_BURST`].
    pub(crate) burst: u64,
    /// What is set aside for credits beside that, in tokens; at most [`MAX_ASIDE`].
    pub(crate) aside: u64,
    /// Nanoseconds after `at` from when on the anchor must be moved before use.
    pub(crate) horizon: u64,
    /// Everything is granted; the line stands still.
    pub(crate) unlimited: bool,
}

/// Where the bucket stands: distances from the anchor's `base`, in grains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// What counts as spent: `used`, or more where the bucket ran over since.
    pub(crate) spent: i64,
    /// What can be taken; negative while the clock is behind.
    pub(crate) free: i64,
}

/// A rate, or a part of one: what a line goes by, as an exact fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    rate: Rate,
    /// So many of so many parts, both at most 2^[`MAX_PART_BITS`].
    part: (u32, u32),
}

impl Pace {
    /// `part` parts of a rate, of the `of` that it has.
    pub(crate) const fn part(rate: Rate, part: u32, of: u32) -> Self {
        debug_assert!(part <= of && of <= 1 << MAX_PART_BITS);
        Self {
            rate,
            part: (part, of),
        }
    }
}

impl From<Rate> for Pace {
    fn from(rate: Rate) -> Self {
        Self::part(rate, 1, 1)
    }
}

impl Anchor {
    /// The line of a new bucket that holds `initial` grains now, with `used` = 0.
    pub(crate) fn new(rate: Rate, burst: u64, initial: u64, bits: u32, now: Instant) -> Self {
        let (mult, finer) = slope(rate.into(), bits);
        Self {
            at: now.as_nanos(),
            base: initial,
            carry: 0,
            mult,
            finer,
            burst,
            aside: 0,
            horizon: horizon(mult, finer),
            unlimited: rate.is_unlimited(),
        }
    }

    /// Grains supplied from `at` to `now`.
    pub(crate) fn supplied(&self, now: Instant) -> i64 {
        if !self.is_stale(now) {
            return self.supplied_soon(now);
        }
        let product = u128::from(self.elapsed(now)) * u128::from(self.mult);
        let fraction = (product as u64) << self.finer;
        let whole = u128::from(fraction.checked_add(self.carry).is_none());
        let grains = (product >> (64 - self.finer)) + whole;
        // Below 2^62 after the `min`.
        (grains.min(u128::from(MAX_SUPPLY)) as u64).cast_signed()
    }

    /// The same within the horizon, where nothing can overflow; of a line that is torn, any
    /// number.
    #[inline]
    pub(crate) fn supplied_soon(&self, now: Instant) -> i64 {
        self.supplied_in(self.elapsed(now))
    }

    /// The same, by how long `now` is after `at`.
    #[inline]
    pub(crate) fn supplied_in(&self, elapsed: u64) -> i64 {
        let parts = elapsed << self.finer;
        let product = u128::from(parts) * u128::from(self.mult);
        // The carry fits: no product has only ones in its upper half.
        (((product + u128::from(self.carry)) >> 64) as u64).cast_signed()
    }

    /// Grains ever supplied by `elapsed` after `at`, within the horizon; modulo 2^63, and above that
    /// any bit.
    #[inline]
    pub(crate) fn all_supplied_in(&self, elapsed: u64) -> u64 {
        let product = u128::from(elapsed << self.finer) * u128::from(self.mult);
        let start = u128::from(self.base) << 64 | u128::from(self.carry);
        (product.wrapping_add(start) >> 64) as u64
    }

    /// Whether the anchor must be moved before it is used at `now`.
    #[inline]
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        self.elapsed(now) > self.horizon
    }

    /// `now`, or the last instant before it up to which the line is exact.
    pub(crate) fn horizon_after(&self, now: Instant) -> Instant {
        // One nanosecond at the least: it is past the horizon then.
        let exact = self.at.saturating_add(self.horizon.saturating_add(1));
        now.min(Instant::from_nanos(exact))
    }

    /// Where the bucket stands at `now`, if it holds at most `cap` grains.
    #[inline]
    pub(crate) fn level(&self, used: u64, now: Instant, cap: u64) -> Level {
        let supplied = self.supplied(now);
        // Both within 2^62 of zero: nothing overflows.
        let spent = self.distance(used).max(supplied - cap.cast_signed());
        Level {
            spent,
            free: supplied - spent,
        }
    }

    /// How much a bucket that holds `cap` has run over, or so much less than full it is if that is
    /// negative; by an anchor that is not stale, so that nothing saturates.
    #[inline]
    pub(crate) fn over(&self, used: u64, now: Instant, cap: u64) -> i64 {
        // At most 2^60, by the horizon.
        self.supplied_soon(now) - cap.cast_signed() - self.distance(used)
    }

    /// `used` after `grains` are taken at `level`.
    #[inline]
    pub(crate) fn take(&self, level: Level, grains: u64) -> u64 {
        used(self.base, level.spent, grains)
    }

    /// `used` at `level`, less `back` grains, at most a burst of them.
    pub(crate) fn lifted(&self, level: Level, back: u64) -> u64 {
        self.take(level, 0).wrapping_sub(back) & USED_MASK
    }

    /// `used` after `grains`, at most a burst of them, come back: a full bucket at the most, and
    /// `claimed` grains beyond it for one who waits already.
    pub(crate) fn put_back(&self, used: u64, grains: u64, claimed: u64) -> u64 {
        let spent = self.distance(used).saturating_sub_unsigned(grains);
        // The supply is never before `base`, so this floor is at or below that of `level`.
        let most = self.burst.saturating_add(claimed).min(MAX_SUPPLY);
        let spent = spent.max(-most.cast_signed());
        self.base.wrapping_add(spent.cast_unsigned()) & USED_MASK
    }

    /// The first instant at which `grains` beyond `spent` have been supplied, if a clock can count
    /// so far. Beyond the horizon it may be late, by no more than one of `mult - 1` parts of the
    /// time; it is never early.
    pub(crate) fn ready_at(&self, spent: i64, grains: u64) -> Option<Instant> {
        let target = i128::from(spent) + i128::from(grains);
        if target <= 0 {
            return Some(Instant::from_nanos(self.at));
        }
        let target = u64::try_from(target).ok()?;
        let mut nanos = nanos_for(target, self.carry, self.mult, self.finer)?;
        if nanos > self.horizon {
            // What the slope was rounded up would count there.
            nanos = nanos_for(target, self.carry, self.mult - 1, self.finer)?;
        }
        let at = self.at.checked_add(nanos)?;
        (at != u64::MAX).then(|| Instant::from_nanos(at))
    }

    /// Grains that come in so much time.
    pub(crate) fn in_time(&self, time: Duration) -> u64 {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let grains = (u128::from(nanos) * u128::from(self.mult)) >> (64 - self.finer);
        u64::try_from(grains).unwrap_or(u64::MAX)
    }

    /// The same line, which goes by `pace`, anchored at `now`; unchanged if that is earlier.
    pub(crate) fn moved(&self, now: Instant, pace: impl Into<Pace>, bits: u32) -> Self {
        let (grains, carry) = self.exactly(self.elapsed(now), pace.into(), bits);
        // Beyond that it ran over long before: the fraction does not matter.
        let (grains, carry) = match u64::try_from(grains) {
            Ok(grains) if grains <= MAX_SUPPLY => (grains, carry),
            _ => (MAX_SUPPLY, 0),
        };
        Self {
            at: self.at.max(now.as_nanos()),
            base: self.base.wrapping_add(grains) & USED_MASK,
            carry,
            ..*self
        }
    }

    /// The line that goes on from this anchor at another pace. `used` matters only when the
    /// bucket ceases to be unlimited: it is full then.
    pub(crate) fn with_pace(&self, pace: impl Into<Pace>, bits: u32, used: u64) -> Self {
        let pace = pace.into();
        let (mult, finer) = slope(pace, bits);
        let unlimited = pace.rate.is_unlimited();
        let refilled = self.unlimited && !unlimited;
        Self {
            base: if refilled {
                used.wrapping_add(self.burst) & USED_MASK
            } else {
                self.base
            },
            mult,
            finer,
            horizon: horizon(mult, finer),
            unlimited,
            ..*self
        }
    }

    /// The same line, to be left after the instant `end`.
    pub(crate) fn until(&self, end: u64) -> Self {
        Self {
            horizon: horizon(self.mult, self.finer).min(end.saturating_sub(self.at)),
            ..*self
        }
    }

    /// Whole grains supplied in `elapsed` and the fraction left over, by the rational line.
    fn exactly(&self, elapsed: u64, pace: Pace, bits: u32) -> (u128, u64) {
        let (per, nanos) = grains_per(pace, bits);
        if nanos == 0 {
            // Without a limit nothing is supplied.
            return (0, self.carry);
        }
        let (grains, rest) = match u128::from(elapsed).checked_mul(per) {
            Some(product) => (product / nanos, product % nanos),
            None => times(elapsed, per, nanos),
        };
        // Two fractions of at most one grain each.
        let fraction = scaled_up(rest, nanos, 64) + u128::from(self.carry);
        (grains + (fraction >> 64), fraction as u64)
    }

    /// The signed distance of `used` from `base`.
    #[inline]
    pub(crate) fn distance(&self, used: u64) -> i64 {
        distance(used, self.base)
    }

    #[inline]
    pub(crate) fn elapsed(&self, now: Instant) -> u64 {
        now.as_nanos().saturating_sub(self.at)
    }
}

/// The signed distance of `used` from a line's `base`: sign-extends 63 bits.
#[inline]
pub(crate) fn distance(used: u64, base: u64) -> i64 {
    (used.wrapping_sub(base) << 1).cast_signed() >> 1
}

/// `used` after `grains` are taken from where so much is `spent` beyond a line's `base`.
#[inline]
pub(crate) fn used(base: u64, spent: i64, grains: u64) -> u64 {
    base.wrapping_add(spent.cast_unsigned())
        .wrapping_add(grains)
        & USED_MASK
}

/// The number of fraction bits for a bucket, or why there is none.
pub(crate) fn fraction_bits(rate: Rate, burst: u64) -> Result<u32, ConfigError> {
    let fits = |bits| check_rate(rate, bits).and_then(|()| check_burst(burst, bits));
    let finest = (1..=MAX_BITS).rev().find(|&bits| fits(bits).is_ok());
    // Without any fraction at least, or the error that names the widest bounds.
    finest.map_or_else(|| fits(0).map(|()| 0), Ok)
}

/// Whether a bucket with so many fraction bits can have this rate.
pub(crate) fn check_rate(rate: Rate, bits: u32) -> Result<(), ConfigError> {
    let nanos = rate.period().as_nanos();
    if nanos == 0 {
        return Ok(());
    }
    // 64 + 30 + 30 bits at the most.
    let scaled = (u128::from(rate.tokens()) << bits) * 1_000_000_000;
    if scaled.div_ceil(nanos) <= u128::from(MAX_PER_SECOND) {
        return Ok(());
    }
    Err(ConfigError::RateTooHigh {
        given: rate,
        max_per_second: MAX_PER_SECOND >> bits,
    })
}

/// Whether a bucket with so many fraction bits can hold this burst.
pub(crate) fn check_burst(burst: u64, bits: u32) -> Result<(), ConfigError> {
    let max = MAX_BURST >> bits;
    match burst {
        0 => Err(ConfigError::ZeroBurst),
        given if given > max => Err(ConfigError::BurstTooLarge { given, max }),
        _ => Ok(()),
    }
}

/// The least number of nanoseconds in which `grains` come, if a clock can count them.
pub(crate) fn nanos_for(grains: u64, carry: u64, mult: u64, finer: u32) -> Option<u64> {
    if mult == 0 {
        return None;
    }
    let missing = (u128::from(grains) << 64).saturating_sub(u128::from(carry));
    // By the two factors one after the other: a divisor of 64 bits is the cheaper one.
    let parts = missing.div_ceil(1 << finer);
    u64::try_from(parts.div_ceil(u128::from(mult))).ok()
}

/// A pace in lowest terms: so many grains per so many nanoseconds; (0, 0) without a limit.
fn grains_per(pace: Pace, bits: u32) -> (u128, u128) {
    let (part, of) = pace.part;
    // 64 + 30 bits and 94 bits, and those of a part: room enough.
    let nanos = pace.rate.period().as_nanos() * u128::from(of);
    if nanos == 0 {
        return (0, 0);
    }
    let grains = (u128::from(pace.rate.tokens()) << bits) * u128::from(part);
    let divisor = gcd(grains, nanos);
    (grains / divisor, nanos / divisor)
}

/// `mult` and `finer` of a pace: rounded up, with as many significant bits as a u64 holds.
fn slope(pace: Pace, bits: u32) -> (u64, u32) {
    let (grains, nanos) = grains_per(pace, bits);
    if grains == 0 {
        return (0, 0);
    }
    // At most 2^60 per second was checked, so the quotient starts below 2^31.
    let (mut quotient, mut rest) = (grains / nanos, grains % nanos);
    let mut shift = 0;
    while quotient < 1 << 63 && shift < 64 {
        (quotient, rest) = next_bit(quotient, rest, nanos);
        shift += 1;
    }
    quotient += u128::from(rest > 0);
    match u64::try_from(quotient) {
        Ok(mult) => (mult, 64 - shift),
        // All 64 bits were ones: it is 2^64 now.
        Err(_) => (1 << 63, 64 - (shift - 1)),
    }
}

/// `count * part / whole` and what is left over, where the product has more than 128 bits. There
/// are fewer than 2^31 wholes in a part: that many grains in a nanosecond.
fn times(count: u64, part: u128, whole: u128) -> (u128, u128) {
    let (wholes, part) = (part / whole, part % whole);
    let (mut quotient, mut rest) = (0, 0);
    for bit in (0..u64::BITS).rev() {
        (quotient, rest) = next_bit(quotient, rest, whole);
        if count >> bit & 1 == 1 {
            rest += part;
            if rest >= whole {
                (quotient, rest) = (quotient + 1, rest - whole);
            }
        }
    }
    (quotient + u128::from(count) * wholes, rest)
}

/// `part / whole * 2^shift`, rounded up, of a part less than the whole.
fn scaled_up(part: u128, whole: u128, shift: u32) -> u128 {
    let (mut quotient, mut rest) = (0, part);
    for _ in 0..shift {
        (quotient, rest) = next_bit(quotient, rest, whole);
    }
    quotient + u128::from(rest > 0)
}

/// A step of long division in binary. A period is below 2^94 ns and has at most 2^16 parts, so
/// `rest` has room.
fn next_bit(quotient: u128, rest: u128, divisor: u128) -> (u128, u128) {
    let rest = rest << 1;
    if rest >= divisor {
        ((quotient << 1) | 1, rest - divisor)
    } else {
        (quotient << 1, rest)
    }
}

/// Nanoseconds in which no more than 2^60 grains come, and no more than 2^61 parts of one pass.
fn horizon(mult: u64, finer: u32) -> u64 {
    if mult == 0 {
        return u64::MAX;
    }
    let nanos = (1_u128 << (60 + 64 - finer)) / u128::from(mult);
    u64::try_from(nanos)
        .unwrap_or(u64::MAX)
        .min(1 << (61 - finer))
}

/// A grain is no finer than 2^-30 token: leaves room to raise a low rate to 10^9 per second.
pub(crate) const MAX_BITS: u32 = 30;

/// The bits of a pace's parts.
const MAX_PART_BITS: u32 = 16;

/// The most grains a bucket holds.
pub(crate) const MAX_BURST: u64 = 1 << 61;

/// The most that is set aside, so that it fits the line's word: two million handles of 2^32.
pub(crate) const MAX_ASIDE: u64 = (1 << 55) - 1;

/// The most grains supplied since the anchor: what was lost beyond it was beyond the burst too.
const MAX_SUPPLY: u64 = (1 << 62) - 1;

/// The most grains per second: the horizon is about a second away at the least.
const MAX_PER_SECOND: u64 = 1 << 60;
