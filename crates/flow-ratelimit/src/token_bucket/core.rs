//! The bucket's word and what is done to it by one compare-and-swap.
//!
//! # State
//! `word` = `used << 1 | W`: grains ever spent (see `supply`), and whether fast paths must keep
//! out: somebody waits, the bucket is closed, or it warms up (see `warm_up`). It has its cache
//! lines for itself. The line of supply stands in `params`; the queue, and the right to publish
//! parameters, in `queue`; what the last denial found out in `denial`; credits in `shards` and
//! with handles (see `credits`).
//!
//! # Invariants
//! 1. Tokens are taken and given back only by a compare-and-swap of `word`.
//! 2. Whoever decides loads `word` **before** `params`, or finds that the parameters that it read
//!    are still in force after it loaded `word`. They are then at least as new as the word, and a
//!    swap that succeeds proves that the word was still right when they were in force: `used` is
//!    within 2^62 of their `base`.
//! 3. W changes only under the lock of `queue` (see `waiting`).
//! 4. Parameters are published only under that lock, whose holders have a plain copy of them in
//!    `queue`, after `used` was lifted to `A - burst` by the line that ends. So a larger burst finds
//!    no tokens that ran over before, and the anchor never loses sight of `used`.
//!
//! # Ordering
//! The swap is AcqRel and the load Acquire, so that what a thread did before it gave tokens back
//! is visible to who takes them; for the arithmetic Relaxed would do. The look at the parameters'
//! version cannot move before the word's Acquire load (2). The fast path reads clock and
//! parameters first: between the load of the word and the swap, while another thread makes the
//! swap fail, only arithmetic is left.
//!
//! # Debt
//! A bucket of burst `b` that may be overdrawn by `d` is one of burst `b + d` whose line lies `d`
//! higher: takers check the same sum. Whoever waits or reserves leaves `d` in it, and so makes no
//! debt; `d` is taken off whatever is shown.
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

use flow_rt::{Clock, Instant};
use flow_sync::CachePadded;
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::fairness::Fairness;
use super::line::{Change, Lines, Queue};
use super::snapshot::Snapshot;
use crate::decisions::Decisions;
use crate::error::{ConfigError, Denied};
use crate::granted::Granted;
use crate::params::Params;
use crate::rate::Rate;
use crate::seldom::seldom;
use crate::supply::{self, Anchor};
use crate::token_bucket::credits;
use crate::token_bucket::denial::Denial;
use crate::token_bucket::sharded::Shards;
use crate::token_bucket::warm_up::WarmUp;
use crate::waiting::{Rules, Serves};

/// What all clones of a bucket and all its waiters share.
pub(crate) struct Core<C> {
    pub(crate) word: CachePadded<AtomicU64>,
    pub(crate) params: Params,
    /// What the last denial found out.
    pub(super) denial: CachePadded<Denial>,
    /// Fraction bits: a token is `1 << bits` grains.
    pub(crate) bits: u32,
    /// That many, for the fast path.
    pub(super) token: u64,
    /// How far takers may overdraw, in grains. The line of supply is shifted up by it: see
    /// [`Core::new`].
    pub(crate) debt: u64,
    pub(crate) clock: C,
    decisions: Decisions,
    pub(crate) queue: Mutex<Queue>,
    /// Mirrors of the queue, stored under its lock, for those who only look.
    pub(crate) queued: AtomicU64,
    pub(crate) waiting: AtomicUsize,
    /// What the head needs, and in the lowest bit whether it is a reservation: nobody may be
    /// there to serve it in time. 0 if there is none.
    pub(crate) head: AtomicU64,
    /// Reservations in the line.
    pub(crate) reservations: AtomicUsize,
    pub(crate) closed: AtomicBool,
    /// Whether nobody waits and it is not closed: both in one for who spends credits.
    pub(super) open: AtomicBool,
    pub(crate) shards: Shards,
    pub(crate) settings: Settings,
}

/// What is fixed when the bucket is built.
pub(crate) struct Settings {
    pub(crate) waits: Rules,
    pub(crate) fairness: Fairness,
    pub(crate) max_reserve: Duration,
    pub(crate) debt: u64,
    pub(crate) warm_up: Option<Duration>,
    pub(crate) shards: Option<usize>,
}

impl Settings {
    /// Whether tokens may be taken ahead as credits. A debt would have to be shared out among
    /// their holders too; who waits could not have them back while others pass; and what is spent
    /// out of sight may be what ends a pause.
    pub(crate) fn allow_credits(&self) -> Result<(), ConfigError> {
        if self.debt > 0 {
            return Err(ConfigError::CreditsWithDebt { debt: self.debt });
        }
        if self.fairness == Fairness::Barging {
            return Err(ConfigError::CreditsWithBarging);
        }
        if let Some(period) = self.warm_up {
            return Err(ConfigError::CreditsWithWarmUp { period });
        }
        Ok(())
    }
}

/// What a bucket begins with.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// So many tokens.
    With(u64),
    /// What there was, and what has come since.
    From(Snapshot, Duration),
}

/// The bit of `word` that sends fast paths to the lock.
pub(crate) const W: u64 = 1;

impl<C: Clock> Core<C> {
    pub(crate) fn new(
        rate: Rate,
        burst: u64,
        start: Start,
        clock: C,
        counted: bool,
        settings: Settings,
    ) -> Result<Self, ConfigError> {
        let debt = settings.debt;
        let room = room_for(burst, debt);
        let mut bits =
            supply::fraction_bits(rate, room).map_err(|error| blame_debt(error, burst, debt))?;
        match start {
            Start::With(initial) if initial > burst => {
                return Err(ConfigError::InitialAboveBurst {
                    given: initial,
                    burst,
                });
            }
            Start::With(_) => {}
            Start::From(snapshot, _) => {
                bits = snapshot.bits_for(rate, room).unwrap_or(bits);
            }
        }
        // A bucket that may be overdrawn is a larger one whose last tokens are not its own: the
        // one sum that takers check covers both.
        let debt = debt << bits;
        let shards = Shards::new(settings.shards, burst)?;
        let aside = shards.aside();
        let holds = ((burst - aside) << bits) + debt;
        let line = match start {
            Start::With(initial) => {
                Anchor::new(rate, holds, (initial << bits) + debt, bits, clock.now())
            }
            Start::From(snapshot, elapsed) => {
                snapshot.resume(elapsed, rate, bits, (holds, debt), clock.now())
            }
        };
        let anchor = Anchor { aside, ..line };
        let warm_up = settings.warm_up.map(|it| Box::new(WarmUp::new(it)));
        let word = if warm_up.is_some() { W } else { 0 };
        Ok(Self {
            word: CachePadded::new(AtomicU64::new(word)),
            params: Params::new(&anchor, rate),
            denial: CachePadded::new(Denial::new()),
            bits,
            token: 1 << bits,
            debt,
            clock,
            decisions: Decisions::new(counted),
            queue: Mutex::new(Queue::new(Lines {
                line: anchor,
                rate,
                warm_up,
            })),
            queued: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            head: AtomicU64::new(0),
            reservations: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            open: AtomicBool::new(true),
            shards,
            settings,
        })
    }

    /// Takes `n` tokens, or says why not.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "out of line an answer of five words goes through memory: 5 ns of a shard's 10"
    )]
    pub(crate) fn try_take(&self, n: u64) -> Result<Granted, Denied> {
        if !self.shards.is_empty() {
            seldom();
            return self.take_sharded(n);
        }
        match self.decide_prepared::<true, _>(n, || self.decisions.here()) {
            Ok((granted, here)) => {
                here.granted();
                Ok(granted)
            }
            Err(denied) => {
                self.count(false);
                Err(denied)
            }
        }
    }

    /// Takes `n` tokens if they are there, without overdrawing, and counts it if they are: for
    /// those who can wait, of a bucket without shards.
    #[inline]
    pub(crate) fn take_paid(&self, n: u64) -> Result<Granted, Denied> {
        let (granted, here) = self.decide_prepared::<false, _>(n, || self.decisions.here())?;
        here.granted();
        Ok(granted)
    }

    /// What [`try_take`](Self::try_take) would say, without taking anything.
    pub(crate) fn peek(&self, n: u64) -> Result<(), Denied> {
        let mut now = self.clock.now();
        let mut word = self.settled(now);
        if word & W != 0 {
            if self.warms_up() {
                return self.peek_warming(n);
            }
            if self.may_barge() {
                return self.peek_beside(n);
            }
            self.keep_out(n, now)?;
            (word, now) = (self.word.load(Ordering::Acquire), self.clock.now());
            if word & W != 0 {
                return self.answer_behind(n, now).map(drop);
            }
        }
        // What a denial would ask the shards for first.
        let credits = self.shards.credits() << self.bits;
        let used = (word >> 1).wrapping_sub(credits) & supply::USED_MASK;
        self.check(&self.params.anchor(), used, n, now)
    }

    /// Whole tokens that could be taken now, if nobody waited; those in shards are credits.
    pub(crate) fn available(&self) -> u64 {
        let now = self.clock.now();
        let (word, anchor) = self.stand(now);
        if anchor.unlimited {
            return self.burst_of(&anchor);
        }
        let tokens = self.tokens(anchor.level(word >> 1, now, anchor.burst).free);
        // What moves between the two looks may be seen twice.
        (tokens + self.shards.credits()).min(self.burst_of(&anchor))
    }

    /// How many tokens `n` lacks in the word.
    pub(crate) fn missing(&self, n: u64) -> u64 {
        let word = self.word.load(Ordering::Acquire);
        let now = self.clock.now();
        let anchor = self.params.anchor();
        let free = anchor.level(word >> 1, now, anchor.burst).free;
        self.grains(&anchor, n)
            .map_or(0, |need| self.lacking(need, free))
    }

    /// How many tokens `need` lacks of the `free` grains, whole ones.
    pub(crate) fn lacking(&self, need: u64, free: i64) -> u64 {
        need.saturating_add_signed(-free).div_ceil(1 << self.bits)
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
                let claimed = if word & W == 0 { 0 } else { self.claimed() };
                anchor.put_back(word >> 1, grains.min(anchor.burst), claimed)
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
        self.change(0, |_| Ok(Change::Rate(rate)))
    }

    /// Puts a burst in force from now on.
    pub(crate) fn set_burst(&self, burst: u64) -> Result<(), ConfigError> {
        let debt = self.settings.debt;
        supply::check_burst(burst, self.bits)?;
        supply::check_burst(room_for(burst, debt), self.bits).map_err(|error| match error {
            ConfigError::BurstTooLarge { max, .. } => ConfigError::BurstTooLarge {
                given: burst,
                // The bucket was built with a debt that fits.
                max: max - 2 * debt,
            },
            error => error,
        })?;
        self.change(0, |line| {
            let kept = credits::with_burst(burst, line.aside)?;
            Ok(self.sharing(kept, line.aside))
        })
    }

    /// Sets a batch of credits aside; less of the burst is for all others.
    pub(crate) fn set_aside(&self, batch: u64) -> Result<(), ConfigError> {
        self.settings.allow_credits()?;
        self.change(0, |line| {
            let aside = credits::with_batch(batch, self.burst_of(line), line.aside)?;
            Ok(self.sharing(self.burst_of(line) - aside, aside))
        })
    }

    /// Ends what [`set_aside`](Self::set_aside) began. What is left of the batch goes back.
    pub(crate) fn hand_back(&self, batch: u64, credits: u64) {
        // It is never refused.
        let _ = self.change(credits << self.bits, |line| {
            Ok(self.sharing(self.limit(line) + batch, line.aside - batch))
        });
    }

    pub(crate) fn rate(&self) -> Rate {
        self.params.rate()
    }

    /// The burst, credits included.
    pub(crate) fn burst(&self) -> u64 {
        self.burst_of(&self.params.anchor())
    }

    /// Grants and denials so far, if they are counted.
    pub(crate) fn counted(&self) -> Option<(u64, u64)> {
        let (granted, denied) = self.decisions.so_far()?;
        Some((granted + self.shards.uncounted(), denied))
    }

    #[inline]
    pub(crate) fn count(&self, granted: bool) {
        self.decisions.count(granted);
    }

    /// Counts grants by credits, all at once.
    pub(crate) fn count_granted(&self, requests: u64) {
        self.decisions.granted(requests);
    }

    /// Gives credits back to the bucket, and to those who wait.
    pub(crate) fn refund_credits(&self, credits: u64) {
        if credits > 0 {
            // A batch fits, as half of a burst.
            self.refund_grains(credits << self.bits);
        }
    }

    /// Whether nobody waits and it is not closed, by what is stored before the call that waits
    /// or closes returns: so that credits see it without touching the line of the word.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// `n` tokens in grains, if the bucket can ever hold them.
    #[inline]
    pub(crate) fn grains(&self, anchor: &Anchor, n: u64) -> Result<u64, Denied> {
        let burst = anchor.burst >> self.bits;
        if n <= burst {
            return Ok(n << self.bits);
        }
        if anchor.unlimited {
            // Nothing is taken.
            return Ok(0);
        }
        Err(Denied::ExceedsBurst {
            requested: n,
            burst,
        })
    }

    /// A grant that leaves `free` grains.
    #[inline]
    pub(crate) fn granted(&self, anchor: &Anchor, free: i64) -> Granted {
        Granted::of(anchor, free, self.debt, self.bits)
    }

    /// Whether `n` could be taken.
    fn check(&self, anchor: &Anchor, used: u64, n: u64, now: Instant) -> Result<(), Denied> {
        let need = self.grains(anchor, n)?;
        let level = anchor.level(used, now, anchor.burst);
        if level.free < need.cast_signed() && need != 0 && !anchor.unlimited {
            return Err(not_yet(*anchor, level.spent, need, now));
        }
        Ok(())
    }

    /// The word, after a reservation that is due has been served: it has no driver of its own.
    fn settled(&self, now: Instant) -> u64 {
        let word = self.word.load(Ordering::Acquire);
        if word & W == 0 || !self.reservation_is_due(now) {
            return word;
        }
        self.supply_rose();
        self.word.load(Ordering::Acquire)
    }

    /// The word, and the line of supply that is not older.
    pub(crate) fn stand(&self, now: Instant) -> (u64, Anchor) {
        if self.warms_up() {
            return self.stand_warming();
        }
        (self.settled(now), self.params.anchor())
    }

    /// Whether the reservation at the head can take its tokens.
    #[cold]
    pub(super) fn reservation_is_due(&self, now: Instant) -> bool {
        let head = self.head.load(Ordering::Acquire);
        let word = self.word.load(Ordering::Acquire);
        head & 1 != 0 && self.is_due(&self.params.anchor(), word, head >> 1, now)
    }

    /// Whether so many grains have been supplied to one who stood first all the time: what would
    /// have run over meanwhile was taken by it in time.
    pub(super) fn is_due(&self, anchor: &Anchor, word: u64, need: u64, now: Instant) -> bool {
        let target = anchor.distance(word >> 1) + (need + self.debt).cast_signed();
        anchor.unlimited || target <= anchor.supplied(now)
    }

    /// What the head will take, as far as it is known without the lock.
    #[cold]
    fn claimed(&self) -> u64 {
        (self.head.load(Ordering::Acquire) >> 1) + self.debt
    }

    /// What the bucket keeps: a burst, or what the head needs beyond it, where there may be a debt.
    pub(crate) fn kept(&self, head: u64, anchor: &Anchor) -> u64 {
        anchor.burst.max(head + self.debt)
    }

    /// Whole tokens in `free` grains, those that would be owed left out.
    #[inline]
    pub(super) fn tokens(&self, free: i64) -> u64 {
        (free - self.debt.cast_signed()).max(0).cast_unsigned() >> self.bits
    }

    /// The burst in tokens, credits included.
    pub(crate) fn burst_of(&self, anchor: &Anchor) -> u64 {
        self.limit(anchor) + anchor.aside
    }

    /// The most tokens that are granted at once: the burst, less what is set aside for credits.
    #[inline]
    pub(crate) fn limit(&self, anchor: &Anchor) -> u64 {
        (anchor.burst - self.debt) >> self.bits
    }
}

/// What the word must have room for: a waiter's need can be as much as burst and debt, and it
/// waits until its own debt is paid.
const fn room_for(burst: u64, debt: u64) -> u64 {
    if burst == 0 {
        return 0;
    }
    burst.saturating_add(debt).saturating_add(debt)
}

/// Says which of the two is too large.
fn blame_debt(error: ConfigError, burst: u64, debt: u64) -> ConfigError {
    match error {
        ConfigError::BurstTooLarge { max, .. } if debt > 0 && burst < max => {
            ConfigError::DebtTooLarge {
                given: debt,
                max: (max - burst) / 2,
            }
        }
        ConfigError::BurstTooLarge { max, .. } => ConfigError::BurstTooLarge { given: burst, max },
        error => error,
    }
}

/// When `grains` beyond `spent` will have been supplied, as a denial. The anchor comes by value, so
/// that the fast path, which only rarely calls this, may keep its own in registers.
#[cold]
pub(crate) fn not_yet(anchor: Anchor, spent: i64, grains: u64, now: Instant) -> Denied {
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
