//! What a grant knows about the bucket it came from.

use core::fmt;
use core::time::Duration;

use crate::supply::{self, Anchor};

/// Tokens were granted, and this is how the limiter stood right after.
///
/// The tokens are spent: dropping this gives nothing back, [`refund`] does.
///
/// [`refund`]: crate::Limiter::refund
// In this order the word of two halves is where a denial has one: a `Result` is moved by the same
// words, whichever it is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Granted {
    /// What is left, in parts of a token of which there are `2^bits`.
    left: u64,
    /// The most there can be.
    limit: u64,
    finer: u32,
    bits: u32,
    /// What is missing until full, and how it comes: `mult / 2^64` in each of the `2^finer`
    /// parts of a nanosecond. Nothing here is computed before somebody asks.
    missing: u64,
    mult: u64,
}

impl Granted {
    /// A grant of a limiter of your own. What takes longer than a clock counts, 584 years, never
    /// comes.
    pub const fn new(remaining: u64, limit: u64, reset_after: Duration) -> Self {
        let nanos = reset_after.as_nanos();
        let comes = nanos <= u64::MAX as u128;
        let nanos = if comes { nanos as u64 } else { u64::MAX };
        Self::known(remaining, limit, nanos, comes)
    }

    /// A grant that knows how many nanoseconds it is until full, if anything comes at all.
    #[inline]
    pub(crate) const fn known(remaining: u64, limit: u64, reset: u64, refills: bool) -> Self {
        Self {
            left: remaining,
            limit,
            missing: reset,
            // One per nanosecond.
            mult: (refills as u64) << 63,
            finer: 1,
            bits: 0,
        }
    }

    /// Whole tokens left for the next caller.
    pub const fn remaining(&self) -> u64 {
        self.left >> self.bits
    }

    /// The most the limiter grants at once: its burst.
    pub const fn limit(&self) -> u64 {
        self.limit >> self.bits
    }

    /// How long until the limiter is full again if nobody takes anything, rounded up to a
    /// nanosecond, and too long by less than the smallest part of a token that is counted takes to
    /// come: what is there of that part already does not count.
    ///
    /// `Duration::MAX` if that is never.
    pub fn reset_after(&self) -> Duration {
        if self.missing == 0 {
            return Duration::ZERO;
        }
        supply::nanos_for(self.missing, 0, self.mult, self.finer)
            .map_or(Duration::MAX, Duration::from_nanos)
    }

    /// Whether nothing was taken for it, though it was asked for something: there was no limit.
    pub(crate) const fn is_free(&self) -> bool {
        // Where nothing comes either, what was taken is missing.
        self.mult == 0 && self.missing == 0
    }

    /// Of one who waited, for whom so many tokens were taken: none where there was no limit then,
    /// though there may be one by now. It was full then. Of what was taken nothing may be missing
    /// by now.
    pub(crate) const fn for_taken(mut self, taken: u64) -> Self {
        if taken > 0 {
            return self.not_free();
        }
        (self.left, self.missing, self.mult) = (self.limit, 0, 0);
        self
    }

    /// The same of one for which something was taken elsewhere.
    pub(crate) const fn not_free(mut self) -> Self {
        if self.is_free() {
            // Nothing is missing: how it comes says nothing else.
            (self.mult, self.finer) = (1 << 63, 1);
        }
        self
    }

    /// A grant that leaves `free` grains of a `burst`, some of which may be owed: whatever is
    /// shown leaves `debt` out. A token is `2^bits` grains.
    #[inline]
    pub(crate) fn by(
        (mult, finer): (u64, u32),
        burst: u64,
        free: i64,
        debt: u64,
        bits: u32,
    ) -> Self {
        Self {
            left: (free - debt.cast_signed()).max(0).cast_unsigned(),
            limit: burst - debt,
            missing: (burst.cast_signed() - free).max(0).cast_unsigned(),
            mult,
            finer,
            bits,
        }
    }

    /// A grant of a part of a limit, which is full once `missing` more have been supplied to all.
    pub(crate) const fn of_part(
        (mult, finer): (u64, u32),
        left: u64,
        limit: u64,
        missing: u64,
        bits: u32,
    ) -> Self {
        Self {
            left,
            limit,
            finer,
            bits,
            missing,
            mult,
        }
    }

    /// A grant of a line of supply.
    #[inline]
    pub(crate) fn of(anchor: &Anchor, free: i64, debt: u64, bits: u32) -> Self {
        let free = if anchor.unlimited {
            anchor.burst.cast_signed()
        } else {
            free
        };
        Self::by((anchor.mult, anchor.finer), anchor.burst, free, debt, bits)
    }
}

impl PartialEq for Granted {
    fn eq(&self, other: &Self) -> bool {
        let shown = |it: &Self| (it.remaining(), it.limit(), it.reset_after());
        shown(self) == shown(other)
    }
}

impl Eq for Granted {}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted")
            .field("remaining", &self.remaining())
            .field("limit", &self.limit())
            .field("reset_after", &self.reset_after())
            .finish_non_exhaustive()
    }
}
