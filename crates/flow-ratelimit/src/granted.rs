//! What a grant knows about the bucket it came from.

use core::fmt;
use core::time::Duration;

/// Tokens were granted, and this is how the limiter stood right after.
///
/// The tokens are spent: dropping this gives nothing back, [`refund`] does.
///
/// [`refund`]: crate::Limiter::refund
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    remaining: u64,
    limit: u64,
    /// What is missing until full, to be divided by `per_nano / 2^shift` when asked for.
    missing: u64,
    per_nano: u64,
    shift: u32,
}

impl Granted {
    /// A grant of a limiter of your own.
    pub const fn new(remaining: u64, limit: u64, reset_after: Duration) -> Self {
        let nanos = reset_after.as_nanos();
        Self {
            remaining,
            limit,
            missing: if nanos > u64::MAX as u128 {
                u64::MAX
            } else {
                nanos as u64
            },
            per_nano: 1,
            shift: 0,
        }
    }

    /// A grant whose time to reset is computed only if somebody asks.
    #[inline]
    pub(crate) fn lazy(
        remaining: u64,
        limit: u64,
        missing: u64,
        per_nano: u64,
        shift: u32,
    ) -> Self {
        Self {
            remaining,
            limit,
            missing,
            per_nano,
            shift,
        }
    }

    /// Whole tokens left for the next caller.
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The most the limiter grants at once: its burst.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// How long until the limiter is full again if nobody takes anything, rounded up.
    ///
    /// `Duration::MAX` if that is never.
    pub fn reset_after(&self) -> Duration {
        if self.missing == 0 {
            return Duration::ZERO;
        }
        crate::supply::nanos_for(self.missing, 0, self.per_nano, self.shift)
            .map_or(Duration::MAX, Duration::from_nanos)
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted")
            .field("remaining", &self.remaining)
            .field("limit", &self.limit)
            .field("reset_after", &self.reset_after())
            .finish_non_exhaustive()
    }
}
