//! The bucket's word and what is done to it by one compare-and-swap.
//!
//! # State
//! `word` = `used << 1 | W`: grains ever spent (see `supply`), and whether fast paths must keep
//! out: somebody waits, or the bucket is closed. It has its cache lines for itself. The line of
//! supply stands in `params`; the queue, and the right to publish parameters, in `queue`.
//!
//! # Invariants
//! 1. Tokens are taken and given back only by a compare-and-swap of `word`.
//! 2. Whoever decides loads `word` **before** `params`. The parameters are then at least as new
//!    as the word, and a swap that succeeds proves that the word was still right when they were
//!    read: `used` is within 2^62 of their `base`.
//! 3. W changes only under the lock of `queue` (see `waiting`).
//! 4. Parameters are published only under that lock, after `used` was lifted to `A - burst` by
//!    the line that ends. So a larger burst finds no tokens that ran over before, and the anchor
//!    never loses sight of `used`.
//!
//! # Ordering
//! The swap is AcqRel and the load Acquire, so that what a thread did before it gave tokens back
//! is visible to who takes them; for the arithmetic Relaxed would do. The parameters' Acquire
//! load cannot move before the word's Acquire load (2).
//!
//! # A decision that overlaps `set_rate`
//! may still be made by the old line, as if it had come just before. What it takes beyond the
//! new line is a debt that the new line pays first: the long-run count is exact all the same.
//!
//! # Source
//! Virtual tokens: a counter of spent tokens against a line of supply, in place of governor's
//! theoretical arrival time, so that rates change without touching the state and refunds are
//! exact in any order.

use core::time::Duration;
use std::borrow::Cow;

use flow_rt::{Clock, Handle, Instant};
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use flow_sync::{CachePadded, PaddedCounter};

use crate::error::{ConfigError, Denied};
use crate::granted::Granted;
use crate::params::Params;
use crate::rate::Rate;
use crate::supply::{self, Anchor, Level};
use crate::waiting::Queue;
use crate::wakes::Wakes;

/// What all clones of a bucket and all its waiters share.
pub(crate) struct Core<C> {
    pub(crate) word: CachePadded<AtomicU64>,
    pub(crate) params: Params,
    /// Fraction bits: a token is `1 << bits` grains.
    pub(crate) bits: u32,
    pub(crate) clock: C,
    counts: Option<Counts>,
    pub(crate) queue: Mutex<Queue>,
    /// Mirrors of the queue, stored under its lock, for those who only look.
    pub(crate) queued: AtomicU64,
    pub(crate) waiting: AtomicUsize,
    pub(crate) closed: AtomicBool,
    pub(crate) settings: Settings,
}

/// What is fixed when the bucket is built.
pub(crate) struct Settings {
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) max_waiters: usize,
    pub(crate) catch_up: Duration,
    pub(crate) runtime: Option<Handle>,
}

/// Decisions, in cells that the deciding threads do not share.
struct Counts {
    granted: PaddedCounter,
    denied: PaddedCounter,
}

/// The bit of `word` that sends fast paths to the lock.
pub(crate) const W: u64 = 1;

impl<C: Clock> Core<C> {
    pub(crate) fn new(
        rate: Rate,
        burst: u64,
        initial: u64,
        clock: C,
        counted: bool,
        settings: Settings,
    ) -> Result<Self, ConfigError> {
        let bits = supply::fraction_bits(rate, burst)?;
        if initial > burst {
            return Err(ConfigError::InitialAboveBurst {
                given: initial,
                burst,
            });
        }
        let anchor = Anchor::new(rate, burst << bits, initial << bits, bits, clock.now());
        Ok(Self {
            word: CachePadded::new(AtomicU64::new(0)),
            params: Params::new(&anchor, rate),
            bits,
            clock,
            counts: counted.then(|| Counts {
                granted: PaddedCounter::new(),
                denied: PaddedCounter::new(),
            }),
            queue: Mutex::new(Queue::new()),
            queued: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            settings,
        })
    }

    /// Takes `n` tokens, or says why not.
    #[inline]
    pub(crate) fn try_take(&self, n: u64) -> Result<Granted, Denied> {
        let decision = self.decide(n);
        self.count(decision.is_ok());
        decision
    }

    /// [`try_take`](Self::try_take) without counting.
    #[inline]
    pub(crate) fn decide(&self, n: u64) -> Result<Granted, Denied> {
        let mut word = self.word.load(Ordering::Acquire);
        let mut now = self.clock.now();
        loop {
            if word & W != 0 {
                self.keep_out(n, now)?;
                (word, now) = (self.word.load(Ordering::Acquire), self.clock.now());
                if word & W != 0 {
                    // Others came in between: they were first.
                    return self.answer_behind(n, now);
                }
            }
            let anchor = self.params.anchor();
            if anchor.is_stale(now) {
                self.move_anchor(now);
                word = self.word.load(Ordering::Acquire);
                continue;
            }
            let (level, need) = self.check(&anchor, word >> 1, n, now)?;
            if need == 0 || anchor.unlimited {
                return Ok(self.granted(&anchor, level.free));
            }
            match self.word.compare_exchange_weak(
                word,
                anchor.take(level, need) << 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(self.granted(&anchor, level.free - need.cast_signed())),
                Err(current) => word = current,
            }
        }
    }

    /// What [`decide`](Self::decide) would say, without taking anything.
    pub(crate) fn peek(&self, n: u64) -> Result<(), Denied> {
        let word = self.word.load(Ordering::Acquire);
        let now = self.clock.now();
        if word & W != 0 {
            return self.answer_behind(n, now).map(drop);
        }
        self.check(&self.params.anchor(), word >> 1, n, now)
            .map(drop)
    }

    /// Whole tokens that could be taken now, if nobody waited.
    pub(crate) fn available(&self) -> u64 {
        let word = self.word.load(Ordering::Acquire);
        let now = self.clock.now();
        let anchor = self.params.anchor();
        if anchor.unlimited {
            return anchor.burst >> self.bits;
        }
        self.tokens(anchor.level(word >> 1, now, anchor.burst).free)
    }

    /// Gives `n` tokens back; beyond a full bucket they are lost.
    pub(crate) fn refund(&self, n: u64) {
        let burst = self.params.anchor().burst;
        // More than a burst cannot come back, and a burst fits.
        let grains = (u128::from(n) << self.bits).min(u128::from(burst)) as u64;
        self.refund_grains(grains);
    }

    /// Gives grains back, and those who wait their turn.
    pub(crate) fn refund_grains(&self, grains: u64) {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let anchor = self.params.anchor();
            let used = if anchor.unlimited {
                word >> 1
            } else {
                anchor.put_back(word >> 1, grains.min(anchor.burst))
            };
            match self.word.compare_exchange_weak(
                word,
                used << 1 | word & W,
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

    /// Puts a rate in force from now on.
    pub(crate) fn set_rate(&self, rate: Rate) -> Result<(), ConfigError> {
        supply::check_rate(rate, self.bits)?;
        self.change(|anchor, used, _| (anchor.with_rate(rate, self.bits, used), rate));
        Ok(())
    }

    /// Puts a burst in force from now on.
    pub(crate) fn set_burst(&self, burst: u64) -> Result<(), ConfigError> {
        supply::check_burst(burst, self.bits)?;
        let burst = burst << self.bits;
        self.change(|anchor, _, rate| (Anchor { burst, ..anchor }, rate));
        Ok(())
    }

    pub(crate) fn rate(&self) -> Rate {
        self.params.rate()
    }

    pub(crate) fn burst(&self) -> u64 {
        self.params.anchor().burst >> self.bits
    }

    /// Grants and denials so far, if they are counted.
    pub(crate) fn counted(&self) -> Option<(u64, u64)> {
        self.counts
            .as_ref()
            .map(|counts| (counts.granted.sum(), counts.denied.sum()))
    }

    #[inline]
    pub(crate) fn count(&self, granted: bool) {
        if let Some(counts) = &self.counts {
            let of = if granted {
                &counts.granted
            } else {
                &counts.denied
            };
            of.add(1);
        }
    }

    /// `n` tokens in grains, if the bucket can ever hold them.
    #[inline]
    pub(crate) fn grains(&self, anchor: &Anchor, n: u64) -> Result<u64, Denied> {
        let burst = anchor.burst >> self.bits;
        if n > burst && !anchor.unlimited {
            return Err(Denied::ExceedsBurst {
                requested: n,
                burst,
            });
        }
        // At most a burst, which fits; of an unlimited bucket nothing is taken.
        Ok(n.min(burst) << self.bits)
    }

    /// A grant that leaves `free` grains.
    #[inline]
    pub(crate) fn granted(&self, anchor: &Anchor, free: i64) -> Granted {
        let limit = anchor.burst >> self.bits;
        if anchor.unlimited {
            return Granted::lazy(limit, limit, 0, 0, 0);
        }
        // Not negative: nothing is free beyond the burst.
        let missing = (anchor.burst.cast_signed() - free).max(0).cast_unsigned();
        Granted::lazy(self.tokens(free), limit, missing, anchor.mult, anchor.shift)
    }

    /// Moves the anchor to the present, by the lock's holder. `used` is lifted first, to what
    /// a bucket of `cap` grains holds (invariant 4).
    pub(crate) fn lift(&self, now: Instant, cap: u64) -> Anchor {
        let anchor = self.params.anchor();
        if anchor.unlimited {
            return anchor.moved(now, self.rate(), self.bits);
        }
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let level = anchor.level(word >> 1, now, cap);
            let lifted = anchor.take(level, 0) << 1 | word & W;
            match self
                .word
                .compare_exchange_weak(word, lifted, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return anchor.moved(now, self.rate(), self.bits),
                Err(current) => word = current,
            }
        }
    }

    /// Whether `n` could be taken: how the bucket stands, and `n` in grains.
    #[inline]
    fn check(
        &self,
        anchor: &Anchor,
        used: u64,
        n: u64,
        now: Instant,
    ) -> Result<(Level, u64), Denied> {
        let need = self.grains(anchor, n)?;
        let level = anchor.level(used, now, anchor.burst);
        if level.free < need.cast_signed() && need != 0 && !anchor.unlimited {
            return Err(not_yet(anchor, level.spent, need, now));
        }
        Ok((level, need))
    }

    /// The way of those whom W keeps out. `Ok` if what was in the way is gone.
    #[cold]
    fn keep_out(&self, n: u64, now: Instant) -> Result<(), Denied> {
        match self.answer_behind(n, now) {
            // Those in front can go already, their driver is late: grant them here.
            Err(Denied::NotYet { retry_after }) if retry_after <= Duration::from_nanos(1) => {
                self.supply_rose();
                Ok(())
            }
            Err(denied) => Err(denied),
            Ok(_) => Ok(()),
        }
    }

    /// The answer for one who stands behind all who wait.
    #[cold]
    fn answer_behind(&self, n: u64, now: Instant) -> Result<Granted, Denied> {
        // Stored before W was set, so seen by who saw W.
        if self.closed.load(Ordering::Acquire) {
            return Err(Denied::Closed);
        }
        let used = self.word.load(Ordering::Acquire) >> 1;
        let anchor = self.params.anchor();
        let level = anchor.level(used, now, anchor.burst);
        let need = self.grains(&anchor, n)?;
        if need == 0 || anchor.unlimited {
            return Ok(self.granted(&anchor, level.free));
        }
        let grains = self.queued.load(Ordering::Acquire).saturating_add(need);
        match not_yet(&anchor, level.spent, grains, now) {
            // Not zero: one who comes back at once meets the same queue.
            Denied::NotYet { retry_after } => Err(Denied::NotYet {
                retry_after: retry_after.max(Duration::from_nanos(1)),
            }),
            denied => Err(denied),
        }
    }

    /// Moves the anchor before its numbers run out of range.
    #[cold]
    fn move_anchor(&self, now: Instant) {
        let queue = self.queue.lock();
        // Somebody may have moved it before.
        if self.params.anchor().is_stale(now) {
            let anchor = self.lift(now, self.cap(&self.params.anchor()));
            self.params.publish(&anchor, self.params.rate());
        }
        drop(queue);
    }

    /// Ends one line of supply and begins another, at one instant.
    pub(crate) fn change(&self, next: impl FnOnce(Anchor, u64, Rate) -> (Anchor, Rate)) {
        let mut wakes = Wakes::new();
        let now = self.clock.now();
        {
            let mut queue = self.queue.lock();
            // What the old line has earned goes to those who waited under it.
            self.pump_all(&mut queue, now, &mut wakes);
            let burst = self.params.anchor().burst;
            let anchor = self.lift(now, burst);
            let used = self.word.load(Ordering::Acquire) >> 1;
            let (anchor, rate) = next(anchor, used, self.params.rate());
            self.params.publish(&anchor, rate);
            self.pump_all(&mut queue, now, &mut wakes);
            self.kick(&mut queue, now, &mut wakes);
        }
        wakes.wake();
    }

    /// Whole tokens in `free` grains.
    #[inline]
    fn tokens(&self, free: i64) -> u64 {
        free.max(0).cast_unsigned() >> self.bits
    }
}

/// When `grains` beyond `spent` will have been supplied, as a denial.
#[cold]
pub(crate) fn not_yet(anchor: &Anchor, spent: i64, grains: u64, now: Instant) -> Denied {
    if anchor.mult == 0 && !anchor.unlimited {
        return Denied::NeverRefills;
    }
    Denied::NotYet {
        retry_after: match anchor.ready_at(spent, grains) {
            Some(at) => at.saturating_duration_since(now),
            None => Duration::MAX,
        },
    }
}
