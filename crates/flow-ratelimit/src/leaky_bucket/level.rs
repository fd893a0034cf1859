//! A bucket's word read as a level: what has been poured in and has not leaked out.
//!
//! The level is `burst - (A - used)`, and so `used` above the line `A - burst`. A change of the
//! capacity moves `A` by the difference, which leaves that line, and the level with it, alone.

use flow_rt::Clock;

use crate::error::ConfigError;
use crate::supply::{self, Anchor, USED_MASK};
use crate::token_bucket::core::Core;
use crate::token_bucket::line::Change;

impl<C: Clock> Core<C> {
    /// How full it is now, in whole tokens, rounded up.
    pub(super) fn level(&self) -> u64 {
        let now = self.clock.now();
        // With a reservation that is due, as if it had been looked at.
        let (word, anchor) = self.stand(now);
        if anchor.unlimited {
            return 0;
        }
        let free = anchor.level(word >> 1, now, anchor.burst).free;
        // A burst is below 2^62, and so is the distance of `free` from zero.
        let level = (anchor.burst.cast_signed() - free).max(0).cast_unsigned();
        level.div_ceil(1 << self.bits)
    }

    /// Puts a capacity in force from now on. The level stays.
    pub(super) fn set_capacity(&self, capacity: u64) -> Result<(), ConfigError> {
        supply::check_burst(capacity, self.bits)?;
        self.change(0, |_| Ok(Change::Capacity(capacity << self.bits)))
    }
}

impl Anchor {
    /// The line of a bucket of another size that is as full.
    pub(crate) fn with_capacity(self, burst: u64) -> Self {
        let moved = burst.wrapping_sub(self.burst);
        let base = self.base.wrapping_add(moved) & USED_MASK;
        Self {
            base,
            burst,
            ..self
        }
    }
}
