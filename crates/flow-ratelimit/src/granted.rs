//! What a grant knows about the bucket it came from.

use core::fmt;
use core::num::NonZeroU64;
use core::time::Duration;

use crate::error::Denied;
use crate::supply::{self, Anchor};

/// Tokens were granted, and this is how the limiter stood right after.
///
/// The tokens are spent: dropping this gives nothing back, [`refund`] does.
///
/// [`refund`]: crate::Limiter::refund
// A `Result` with a denial is no larger: what tells them apart is `pace`, which is never zero, after
// the three words of a denial. The word of two halves is where a denial has one: so both are moved
// by the same words.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Granted {
    /// What is left, in parts of a token of which there are `2^bits`; negative is owed. If the time
    /// is [known](KNOWN) it is any u64.
    left: u64,
    /// The most there can be.
    limit: u64,
    /// At most 31, or [`KNOWN`].
    finer: u32,
    bits: u32,
    /// How comes what is missing from `left` to `limit`: `pace / 2^64` in each of the `2^finer`
    /// parts of a nanosecond. Nothing is computed before somebody asks. If the time is known it is
    /// that, in nanoseconds, and one more.
    pace: NonZeroU64,
}

/// Stands for `finer` where it is known how long it is until full.
const KNOWN: u32 = 1 << 8;

/// How nothing comes: one part would, in 584 years, which is more than a clock counts. A line has
/// that pace, and nothing finer, if it has none.
const NEVER: NonZeroU64 = NonZeroU64::MIN;

const _: () = assert!(size_of::<Result<Granted, Denied>>() == 32);

impl Granted {
    /// A grant of a limiter of your own. What takes longer than a clock counts, 584 years, never
    /// comes.
    pub const fn new(remaining: u64, limit: u64, reset_after: Duration) -> Self {
        let nanos = reset_after.as_nanos();
        let is_counted = nanos < u64::MAX as u128;
        Self::known(
            remaining,
            limit,
            if is_counted { nanos as u64 } else { u64::MAX },
        )
    }

    /// A grant that knows how many nanoseconds it is until full; `u64::MAX` if that is never.
    #[inline]
    pub(crate) const fn known(remaining: u64, limit: u64, reset: u64) -> Self {
        Self {
            left: remaining,
            limit,
            finer: KNOWN,
            bits: 0,
            pace: NonZeroU64::MIN.saturating_add(reset),
        }
    }

    /// Whole tokens left for the next caller.
    pub const fn remaining(&self) -> u64 {
        let is_owed = self.finer != KNOWN && self.left.cast_signed() < 0;
        if is_owed { 0 } else { self.left >> self.bits }
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
        let nanos = match (self.finer, self.missing()) {
            (KNOWN, _) => (self.pace != NonZeroU64::MAX).then(|| self.pace.get() - 1),
            (_, 0) => Some(0),
            (finer, missing) => supply::nanos_for(missing, 0, self.pace.get(), finer),
        };
        nanos.map_or(Duration::MAX, Duration::from_nanos)
    }

    /// What is missing until full, by numbers below 2^62; if the time is known it says nothing.
    const fn missing(&self) -> u64 {
        let missing = self.limit.wrapping_sub(self.left).cast_signed();
        if missing < 0 {
            0
        } else {
            missing.cast_unsigned()
        }
    }

    /// Whether nothing was taken for it, though it was asked for something: there was no limit.
    pub(crate) const fn is_free(&self) -> bool {
        // Where nothing comes either, what was taken is missing.
        self.finer == 0 && self.pace.get() == NEVER.get() && self.missing() == 0
    }

    /// Of one who waited, for whom so many tokens were taken: none where there was no limit then,
    /// though there may be one by now. It was full then. Of what was taken nothing may be missing
    /// by now.
    pub(crate) const fn for_taken(mut self, taken: u64) -> Self {
        if taken > 0 {
            return self.not_free();
        }
        (self.left, self.finer, self.pace) = (self.limit, 0, NEVER);
        self
    }

    /// The same of one for which something was taken elsewhere.
    pub(crate) const fn not_free(mut self) -> Self {
        if self.is_free() {
            // Nothing is missing: that is known, and says nothing else.
            (self.finer, self.pace) = (KNOWN, NonZeroU64::MIN);
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
            left: free.wrapping_sub_unsigned(debt).cast_unsigned(),
            limit: burst.wrapping_sub(debt),
            finer,
            bits,
            pace: NonZeroU64::new(mult).unwrap_or(NEVER),
        }
    }

    /// A grant of a limit that nothing was taken of: there is none.
    pub(crate) const fn free(limit: u64, bits: u32) -> Self {
        Self {
            left: limit,
            limit,
            finer: 0,
            bits,
            pace: NEVER,
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
