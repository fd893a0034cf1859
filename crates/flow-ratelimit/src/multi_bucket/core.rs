//! The words of several limits, and how one compare-and-swap decides for all of them.
//!
//! # State
//! Every grant takes the same number of tokens from each limit, so what was *spent* is one number
//! for all of them. What sets limits apart is their supply (see `supply`), and what ran over when
//! they were full: `lost[i]`, grains lost by limit `i` so far. Its `used` is `spent + lost[i]`,
//! modulo 2^63; a grain is the same part of a token for all.
//!
//! `word` = `spent << 1 | W`. Whole tokens are spent, so the fraction bits of `spent` would always
//! be zero: they count refunds instead (`tag`). W keeps fast paths out: somebody waits, or it is
//! closed. `word` and `lost` share a cache line that has nothing else in it. A limit's line of
//! supply stands in its `Params`, those of all limits once more in `queue`, whose lock is the right
//! to publish them. What the last denial of one token found out stands in `denial`, as in a token
//! bucket.
//!
//! # Invariants
//! 1. Tokens are taken and given back only by a compare-and-swap of `word`: of all limits at once,
//!    or of none.
//! 2. `lost[i]` rises only, to what limit `i` has lost by some instant at or before the load of
//!    the `word` that this was reckoned from. So it is right whatever becomes of the decision that
//!    noticed; and each swap is by the very number that it was reckoned from.
//! 3. Before a decision swaps `word` it has noted in `lost` what ran over by its own time, by the
//!    `word` that it swaps. So nobody finds tokens again that ran over before others were taken.
//! 4. Whoever decides loads `word`, then `lost`, then the parameters, or finds that those which it
//!    read before are still in force. They are at least as new as the word (2, 3), and the swap
//!    proves that no token was taken or came back meanwhile.
//! 5. W changes only under the lock of `queue` (see `waiting`).
//! 6. Parameters are published only under that lock, after `lost[i]` was brought up to what ran
//!    over by the line that ends.
//! 7. Each refund changes the tag. Without it one that runs over, and a taker of as many tokens,
//!    would leave the word as it was, though `lost` has risen between them; and a decision from
//!    before both would take what is not there any more.
//!
//! # Steps
//! - decide: clock; denied like the last one? done. Load `word`; W? the slow way. For each limit
//!   its parameters, `lost[i]`, and whether there are enough grains; one that has too few ends it
//!   without a write. Note in `lost` what ran over of those that were full; one of these swaps
//!   fails? again. Swap `word`. (How two limits are decided: see `decide`.)
//! - refund: subtract from `spent`, count in the tag; W? serve those who wait.
//! - set_quota: under the lock note what ran over by the old line, publish the new one.
//!
//! # Ordering
//! Swaps are AcqRel and loads Acquire. A decision notes in `lost` before it swaps `word`, so who
//! loads the new word finds what it noted (3, 4).
//!
//! # Why `lost` may rise between a decision's loads and its swap
//! Others noticed meanwhile that the limit was full at an instant later than the decision's own.
//! The word is the same, so it still is: there are as many tokens as its burst, and the decision
//! takes no more than that.
//!
//! # Why a refund has a floor
//! `used` must stay within 2^62 of its line's base. A refund takes `spent` back as far as the
//! emptiest limit has room, and a full one is so far behind at the most: with bursts of at most
//! 2^58 grains, and anchors that move after 2^60, less than 2^61.
//!
//! # A decision that overlaps `set_quota`
//! may still be made by the old line, as if it had come just before; what it takes or notes beyond
//! the new one is a debt that the new line pays first.
//!
//! # Source
//! The virtual tokens of `token_bucket::core`, with spent and lost tokens told apart.

use flow_rt::Clock;
use flow_sync::CachePadded;
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::line::{Limit, Queue};
use super::lines::Lines;
use crate::decisions::Decisions;
use crate::error::ConfigError;
#[cfg(feature = "http")]
use crate::granted::Granted;
use crate::rate::Rate;
use crate::supply::{self, Anchor, MAX_BITS, MAX_BURST, USED_MASK};
use crate::token_bucket::Snapshot;
#[cfg(feature = "http")]
use crate::token_bucket::core::not_yet;
use crate::token_bucket::denial::Denial;
use crate::waiting::{Rules, Serves};

/// What all clones of a bucket and all its waiters share.
pub(crate) struct Core<C> {
    pub(super) words: CachePadded<Words>,
    /// One for each limit.
    pub(super) params: Lines,
    /// Counts publications of parameters, each after it was made.
    pub(super) version: AtomicU64,
    /// What the last denial of one token found out: which limit it was beside the version.
    pub(super) denial: CachePadded<Denial>,
    /// Fraction bits: a token is `1 << bits` grains, of every limit.
    pub(super) bits: u32,
    /// That many, and the bits of `word` that say what was spent: for the fast path.
    pub(super) token: u64,
    pub(super) spent_mask: u64,
    pub(super) clock: C,
    pub(super) decisions: Decisions,
    pub(super) queue: Mutex<Queue>,
    /// Mirrors of the queue, stored under its lock, for those who only look.
    pub(super) queued: AtomicU64,
    pub(super) waiting: AtomicUsize,
    pub(super) closed: AtomicBool,
    pub(super) rules: Rules,
}

/// A cache line of 64 bytes.
pub(super) struct Words {
    pub(super) word: AtomicU64,
    pub(super) lost: [AtomicU64; MAX_LIMITS],
}

/// The bit of `word` that sends fast paths to the lock.
pub(super) const W: u64 = 1;

/// With the word beside them they fill a cache line of 64 bytes.
pub(crate) const MAX_LIMITS: usize = 7;

/// More than there are limits.
pub(super) const PLACES: u64 = 8;

/// Room for the floor of refunds.
pub(super) const MAX_LIMIT_BURST: u64 = MAX_BURST >> SPARE_BITS;

const SPARE_BITS: u32 = 3;

/// The least number of fraction bits: so many refunds are told apart.
const MIN_BITS: u32 = 8;

impl<C: Clock> Core<C> {
    /// `quotas` are as many as there may be, and at least one. `start` are as many snapshots, or
    /// none for limits that start full.
    pub(super) fn new(
        quotas: &[(Rate, u64)],
        start: &[Snapshot],
        clock: C,
        counted: bool,
        rules: Rules,
    ) -> Result<Self, ConfigError> {
        let bits = fraction_bits(quotas)?;
        let now = clock.now();
        let limits = quotas.iter().enumerate().map(|(index, &(rate, burst))| {
            let full = burst << bits;
            let line = match start.get(index) {
                Some(snapshot) => {
                    let elapsed = snapshot.elapsed(rules.runtime.as_ref());
                    snapshot.resume(elapsed, rate, bits, (full, 0), now)
                }
                None => Anchor::new(rate, full, full, bits, now),
            };
            Limit { line, rate }
        });
        let limits: Box<[_]> = limits.collect();
        Ok(Self {
            words: CachePadded::new(Words {
                word: AtomicU64::new(0),
                lost: core::array::from_fn(|_| AtomicU64::new(0)),
            }),
            params: Lines::of(&limits).ok_or(ConfigError::NoLimits)?,
            version: AtomicU64::new(0),
            denial: CachePadded::new(Denial::new()),
            bits,
            token: 1 << bits,
            // The tag and W stand below.
            spent_mask: u64::MAX << bits << 1,
            clock,
            decisions: Decisions::new(counted),
            queue: Mutex::new(Queue::new(limits)),
            queued: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            rules,
        })
    }

    /// Whole tokens that could be taken of one limit now, if nobody waited and the others had
    /// them too.
    pub(super) fn available_of(&self, index: usize) -> u64 {
        let now = self.clock.now();
        let (line, used) = self.stand(self.word(), index);
        if line.unlimited {
            return line.burst >> self.bits;
        }
        let free = line.level(used, now, line.burst).free;
        free.max(0).cast_unsigned() >> self.bits
    }

    /// How each limit stands now, for clients.
    #[cfg(feature = "http")]
    pub(super) fn stand_of_each(&self) -> Vec<crate::fields::Stand> {
        let (word, now) = (self.word(), self.clock.now());
        let each = (0..self.params.len()).map(|index| {
            let (line, used) = self.stand(word, index);
            let level = line.level(used, now, line.burst);
            crate::fields::Stand {
                rate: self.params[index].rate(),
                left: Granted::of(&line, level.free, 0, self.bits),
                next: not_yet(line, level.spent, self.grains(1), now),
            }
        });
        each.collect()
    }

    /// Gives `n` tokens back to each limit; beyond a full one they are lost.
    pub(super) fn refund(&self, n: u64) {
        self.refund_grains(self.grains(n));
    }

    /// Gives grains back, whole tokens of them, and those who wait their turn.
    pub(super) fn refund_grains(&self, grains: u64) {
        let mut word = self.word();
        loop {
            let back = grains.min(self.room(word));
            if back == 0 {
                return;
            }
            let tag = (word >> 1).wrapping_add(1) & self.tag_mask();
            let spent = self.spent(word).wrapping_sub(back) & USED_MASK;
            match self.words.word.compare_exchange_weak(
                word,
                (spent | tag) << 1 | word & W,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => break,
                Err(current) => word = current,
            }
        }
        if word & W != 0 {
            self.supply_rose();
        }
    }

    /// Grants and denials so far, if they are counted.
    pub(super) fn counted(&self) -> Option<(u64, u64)> {
        self.decisions.so_far()
    }

    #[inline]
    pub(super) fn count_decision(&self, granted: bool) {
        self.decisions.count(granted);
    }

    #[inline]
    pub(super) fn word(&self) -> u64 {
        self.words.word.load(Ordering::Acquire)
    }

    /// Grains that were spent by all limits, by a word.
    #[inline]
    pub(super) fn spent(&self, word: u64) -> u64 {
        (word & self.spent_mask) >> 1
    }

    /// What a limit has used, of the spent grains and those that it has lost.
    #[inline]
    pub(super) fn used(&self, word: u64, lost: u64) -> u64 {
        self.spent(word).wrapping_add(lost) & USED_MASK
    }

    #[inline]
    pub(super) fn lost(&self, index: usize) -> u64 {
        self.words.lost[index].load(Ordering::Acquire)
    }

    /// `n` tokens in grains: more than any burst if they do not fit.
    #[inline]
    pub(super) fn grains(&self, n: u64) -> u64 {
        n.saturating_mul(1 << self.bits)
    }

    const fn tag_mask(&self) -> u64 {
        (1 << self.bits) - 1
    }
}

/// The most fraction bits that all limits have room for.
fn fraction_bits(quotas: &[(Rate, u64)]) -> Result<u32, ConfigError> {
    let check = |bits| {
        quotas.iter().try_for_each(|&(rate, burst)| {
            supply::check_rate(rate, bits)?;
            check_burst(burst, bits)
        })
    };
    let finest = (MIN_BITS..=MAX_BITS)
        .rev()
        .find(|&bits| check(bits).is_ok());
    // Or the error that names the widest bounds.
    finest.map_or_else(|| check(MIN_BITS).map(|()| MIN_BITS), Ok)
}

/// Whether a limit with so many fraction bits can hold this burst.
pub(super) fn check_burst(burst: u64, bits: u32) -> Result<(), ConfigError> {
    supply::check_burst(burst, bits + SPARE_BITS)
}
