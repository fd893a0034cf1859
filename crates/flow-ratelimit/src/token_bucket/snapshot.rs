//! A bucket as plain data, to be carried over a restart.

use core::time::Duration;
use std::time::SystemTime;

use flow_rt::{Clock, Handle, Instant};
use flow_sync::sync::atomic::Ordering;

use super::core::Core;
use crate::error::ConfigError;
use crate::rate::Rate;
use crate::supply::{self, Anchor, MAX_BITS, MAX_BURST, USED_MASK};

/// How a bucket stood, exactly: what [`TokenBucket::snapshot`](super::TokenBucket::snapshot)
/// makes and [`restore`](super::TokenBucketBuilder::restore) takes.
///
/// Plain data, with the feature `serde` for any format. Whoever waits or has reserved is not in
/// it: they have taken nothing. Credits of a [`LocalBucket`](crate::LocalBucket) that lives count as
/// spent: only it knows how many it has.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_ratelimit::{Rate, TokenBucket};
///
/// let bucket = TokenBucket::new(Rate::per_hour(1), 10)?;
/// bucket.try_acquire_n(7)?;
/// let snapshot = bucket.snapshot();
/// assert_eq!(snapshot.tokens(), 3);
/// // Kept over a restart:
/// let bucket = TokenBucket::builder().restore(&snapshot).build()?;
/// assert_eq!((bucket.rate(), bucket.burst()), (Rate::per_hour(1), 10));
/// assert_eq!(bucket.available(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// The rate in force.
    pub rate: Rate,
    /// The burst in force, in tokens.
    pub burst: u64,
    /// What was in the bucket, in grains of `2^-bits` token; negative while a debt was owed.
    pub grains: i64,
    /// How fine a grain is: at most 30.
    pub bits: u32,
    /// What had been supplied of the next grain, in 2^-64 of it.
    pub fraction: u64,
    /// When it was taken, by the wall clock.
    pub taken_at: SystemTime,
}

impl Snapshot {
    /// Whole tokens that were in the bucket.
    pub const fn tokens(&self) -> u64 {
        if self.grains < 0 || self.bits > MAX_BITS {
            return 0;
        }
        self.grains.cast_unsigned() >> self.bits
    }

    /// Of a bucket that holds so many grains where its line stands; taken at the epoch.
    pub(crate) fn of(line: &Anchor, rate: Rate, burst: u64, grains: i64, bits: u32) -> Self {
        Self {
            rate,
            burst,
            grains,
            bits,
            fraction: line.carry,
            taken_at: SystemTime::UNIX_EPOCH,
        }
    }

    /// Whether its numbers can be those of a bucket.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |reason| Err(ConfigError::InvalidSnapshot { reason });
        if self.bits > MAX_BITS {
            return refuse("a token has more than 30 fraction bits");
        }
        if supply::check_rate(self.rate, self.bits).is_err() {
            return refuse("the rate does not fit its fraction bits");
        }
        if supply::check_burst(self.burst, self.bits).is_err() {
            return refuse("the burst does not fit its fraction bits");
        }
        let burst = (self.burst << self.bits).cast_signed();
        if self.grains > burst {
            return refuse("there are more tokens than the burst");
        }
        if self.grains < -MAX_BURST.cast_signed() {
            return refuse("more tokens are owed than a bucket allows");
        }
        Ok(())
    }

    /// What has been supplied since, by the wall clock: nothing if that was put back.
    pub(crate) fn elapsed(&self, runtime: Option<&Handle>) -> Duration {
        let now = wall(runtime);
        now.duration_since(self.taken_at).unwrap_or_default()
    }

    /// The fraction bits it was taken with, if a bucket of this rate and room can have them too.
    pub(super) fn bits_for(&self, rate: Rate, room: u64) -> Option<u32> {
        let fits = supply::check_rate(rate, self.bits)
            .and_then(|()| supply::check_burst(room, self.bits))
            .is_ok();
        fits.then_some(self.bits)
    }

    /// What the bucket holds after `elapsed` as grains of another size, and the line it came by.
    fn after(&self, elapsed: Duration, bits: u32) -> (i64, Anchor) {
        let burst = self.burst << self.bits;
        let start = Instant::ORIGIN;
        let mut line = Anchor::new(self.rate, burst, 0, self.bits, start);
        line.carry = self.fraction;
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let line = line.moved(Instant::from_nanos(nanos), self.rate, self.bits);
        let supplied = line.base.cast_signed();
        let mut grains = (self.grains + supplied).min(burst.cast_signed());
        if self.rate.is_unlimited() {
            grains = burst.cast_signed();
        }
        // To a coarser grain it is rounded down, a debt up.
        let finer = bits.saturating_sub(self.bits);
        let coarser = self.bits.saturating_sub(bits);
        let grains = (i128::from(grains) << finer) >> coarser;
        // A finer grain has room for as many tokens as the check of the new burst allows.
        let most = i128::from(MAX_BURST);
        (grains.clamp(-most, most) as i64, line)
    }

    /// A line that goes on from here: of a bucket that may be overdrawn by `debt` grains, at
    /// `now`, with `used` = 0.
    pub(crate) fn resume(
        &self,
        elapsed: Duration,
        rate: Rate,
        bits: u32,
        (burst, debt): (u64, u64),
        now: Instant,
    ) -> Anchor {
        let (grains, line) = self.after(elapsed, bits);
        let grains = grains.min((burst - debt).cast_signed()) + debt.cast_signed();
        let mut next = line.with_pace(rate, bits, 0);
        if bits != self.bits {
            // Less than a grain.
            next.carry = 0;
        }
        next.at = now.as_nanos();
        next.base = grains.cast_unsigned() & USED_MASK;
        next.burst = burst;
        next
    }
}

impl<C: Clock + 'static> Core<C> {
    pub(super) fn snapshot(&self) -> Snapshot {
        let taken_at = wall(self.settings.waits.runtime.as_ref());
        let look = |credits: u64| {
            self.look_at_queue(|queue, now, _| {
                let rate = queue.supply.rate;
                let word = self.word.load(Ordering::Acquire);
                let line = queue.supply.line.moved(now, queue.pace(), self.bits);
                // What is set aside counts to the burst, and credits of shards to what is there.
                let tokens = self.burst_of(&line);
                let burst = tokens << self.bits;
                let mut grains =
                    line.level(word >> 1, now, line.burst).free - self.debt.cast_signed();
                grains += (credits << self.bits).cast_signed();
                grains = grains.min(burst.cast_signed());
                if line.unlimited {
                    grains = burst.cast_signed();
                }
                Snapshot {
                    taken_at,
                    ..Snapshot::of(&line, rate, tokens, grains, self.bits)
                }
            })
        };
        self.look_at_credits(look)
    }
}

/// The wall clock: of the runtime, of the current one, else the machine's.
pub(crate) fn wall(runtime: Option<&Handle>) -> SystemTime {
    match runtime.cloned().map_or_else(Handle::current, Ok) {
        Ok(runtime) => runtime.wall(),
        #[allow(clippy::disallowed_methods)] // there is no runtime to ask
        Err(_) => SystemTime::now(),
    }
}
