//! The word of the permits.

use super::Permits;
use crate::error::LimitTooLarge;

/// The limit.
pub(super) const LIMIT: u64 = (1 << BITS) - 1;
/// Whoever gives permits back comes to the lock.
pub(super) const W: u64 = 1 << BITS;
/// Closed.
pub(super) const C: u64 = 1 << (BITS + 1);
/// One request granted.
const GRANT: u64 = 1 << GRANT_SHIFT;
/// So many grants, and those in the word begin at none again.
pub(super) const LAP: u64 = 1 << (64 - GRANT_SHIFT);

const BITS: u32 = 28;
const OUT_SHIFT: u32 = BITS + 2;
const GRANT_SHIFT: u32 = OUT_SHIFT + BITS;

/// The limit, where it stands in the word.
pub(super) const fn checked(limit: u32) -> Result<u64, LimitTooLarge> {
    if limit > Permits::MAX_LIMIT {
        return Err(LimitTooLarge { given: limit });
    }
    Ok(limit as u64)
}

#[inline]
pub(super) const fn limit_of(word: u64) -> u32 {
    (word & LIMIT) as u32
}

#[inline]
pub(super) const fn in_flight_of(word: u64) -> u64 {
    word >> OUT_SHIFT & LIMIT
}

/// Grants since the last lap.
pub(super) const fn grants_of(word: u64) -> u64 {
    word >> GRANT_SHIFT
}

/// So many permits, where those in flight stand in the word.
#[inline]
pub(super) const fn out(n: u64) -> u64 {
    n << OUT_SHIFT
}

#[inline]
pub(super) const fn free(word: u64) -> u64 {
    (word & LIMIT).saturating_sub(in_flight_of(word))
}

/// The word after a request took `n` of its free permits; and whether that ends a lap.
#[inline]
pub(super) const fn taken(word: u64, n: u64) -> (u64, bool) {
    word.overflowing_add(out(n) + GRANT)
}
