//! Credits in shards: threads spend them side by side, each on a line of its own.
//!
//! # State
//! [`Shard`], one for every `n`th thread. `state` = credits, and above them: requests granted by
//! credits since they were last counted; BUSY, one thread moves credits between this shard and the
//! bucket's word; RECALL, somebody began to wait meanwhile. Beside it, what the last batch saw of
//! the bucket, for the grants that it pays. The batches of all shards are set aside from the burst
//! when the bucket is built (see `credits`).
//!
//! # Invariants
//! 1. Who moves credits holds BUSY from before the first leaves the one place until all are in
//!    the other. Meanwhile others may spend what the shard has, and nobody adds to it. So a shard
//!    and what is on its way to or from it are a batch at the most.
//! 2. No batch is taken while somebody waits: the swap of the word fails once W is set.
//! 3. Who began to wait, or has reserved, takes back from the shards what the queue's head needs,
//!    after W is set. Where it finds BUSY it leaves RECALL, and who holds BUSY does the same at its
//!    end.
//! 4. A denial, or a wait, comes only after the shards were asked for what is missing. Those that
//!    are BUSY are passed over: others decide with these tokens just now, or a snapshot counts
//!    them.
//!
//! # Steps
//! - take: enough credits, nobody waits, not closed? One swap of `state`.
//! - take a batch: set BUSY, count; one swap of the word takes the tokens asked for, and credits as
//!   far as there is room and plenty; put them here and clear BUSY. BUSY already? Without credits.
//! - recall so many: of each shard in turn, set BUSY and take them out, put them into the word,
//!   clear BUSY.
//!
//! # Ordering
//! A spender looks at `open` as a handle does (see `local`). For (3): the swap
//! that set BUSY comes before the swap of the word that takes the batch. W is set by another swap
//! of the word. That one first: the batch fails (2). The batch first: who waits sees BUSY by its
//! (Acquire) load, or what came later. If it is BUSY, RECALL is set by a swap of `state`, and so
//! before the swap that clears BUSY, which returns it; or that one came first, and there are
//! credits to be seen.
//!
//! # Fairness
//! Between the threads of one shard and between shards: none, as without shards. No credit is
//! stranded in the shard of an idle thread, as each denial and each wait asks for it.

use core::cell::Cell;
// The threads' numbers take part in no protocol; under loom all threads have one, and one shard.
use core::sync::atomic::AtomicUsize;
use std::thread_local;

use flow_rt::Clock;
use flow_sync::CachePadded;
use flow_sync::sync::atomic::{AtomicU64, Ordering};

use super::core::Core;
use crate::error::{ConfigError, Denied};
use crate::granted::Granted;
use crate::waiting::Source;

/// The shards of a bucket; most buckets have none.
pub(crate) struct Shards {
    all: Box<[CachePadded<Shard>]>,
    /// The most credits of each.
    batch: u64,
    /// A batch is at most what is left, divided by two to the power of this.
    caution: u32,
}

struct Shard {
    state: AtomicU64,
    /// What the last batch left in the word.
    remaining: AtomicU64,
    limit: AtomicU64,
    /// Nanoseconds until the bucket is full; [`NEVER`] if it never is.
    reset: AtomicU64,
}

impl Shards {
    /// So many shards for a burst, if it is large enough for them.
    pub(crate) fn new(count: Option<usize>, burst: u64) -> Result<Self, ConfigError> {
        let Some(count) = count else {
            return Ok(Self {
                all: Box::new([]),
                batch: 0,
                caution: 0,
            });
        };
        let max = MAX_SHARDS.min(usize::try_from(burst / (2 * MIN_BATCH)).unwrap_or(MAX_SHARDS));
        match count {
            0 => Err(ConfigError::ZeroShards),
            given if given > max => Err(ConfigError::TooManyShards { given, max }),
            _ => Ok(Self {
                all: (0..count).map(|_| Shard::new()).collect(),
                batch: (burst / 2 / count as u64).min(MAX_BATCH),
                caution: (2 * count).next_power_of_two().trailing_zeros(),
            }),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What they need of the burst.
    pub(crate) fn aside(&self) -> u64 {
        self.batch * self.all.len() as u64
    }

    /// All credits.
    pub(crate) fn credits(&self) -> u64 {
        self.sum(|state| state % REQUEST)
    }

    /// Requests granted by credits that are not counted yet.
    pub(crate) fn uncounted(&self) -> u64 {
        self.sum(|state| state % RECALL / REQUEST)
    }

    fn sum(&self, part: impl Fn(u64) -> u64) -> u64 {
        let states = self.all.iter().map(|it| it.state.load(Ordering::Acquire));
        states.map(part).sum()
    }

    /// This thread's.
    #[inline]
    fn mine(&self) -> &Shard {
        let (number, count) = (thread_number(), self.all.len());
        // The first threads need no division.
        &self.all[if number < count {
            number
        } else {
            number % count
        }]
    }
}

impl Shard {
    fn new() -> CachePadded<Self> {
        CachePadded::new(Self {
            state: AtomicU64::new(0),
            remaining: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            reset: AtomicU64::new(0),
        })
    }

    /// What one is told whose tokens were credits, of which so many are left. The bucket is as the
    /// last batch saw it; each number stands for itself.
    #[inline]
    fn granted(&self, credits: u64) -> Granted {
        let limit = self.limit.load(Ordering::Relaxed);
        let remaining = self.remaining.load(Ordering::Relaxed) + credits;
        let reset = self.reset.load(Ordering::Relaxed);
        Granted::known(remaining, limit, reset)
    }

    /// Keeps what a batch saw of the bucket; only while BUSY.
    fn saw(&self, granted: &Granted, credits: u64) {
        let remaining = granted.remaining().saturating_sub(credits);
        self.remaining.store(remaining, Ordering::Relaxed);
        self.limit.store(granted.limit(), Ordering::Relaxed);
        let reset = u64::try_from(granted.reset_after().as_nanos()).unwrap_or(NEVER);
        self.reset.store(reset, Ordering::Relaxed);
    }

    /// Sets BUSY and takes up to `wanted` credits out; `None` if it is BUSY.
    fn begin(&self, wanted: u64) -> Option<Moved> {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            if state & BUSY != 0 {
                return None;
            }
            let moved = Moved {
                requests: state / REQUEST,
                taken: wanted.min(state % REQUEST),
                left: (state % REQUEST).saturating_sub(wanted),
            };
            match self.state.compare_exchange_weak(
                state,
                BUSY | moved.left,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(moved),
                Err(current) => state = current,
            }
        }
    }

    /// Adds credits and clears BUSY. Whether somebody began to wait meanwhile.
    fn end(&self, credits: u64) -> bool {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            match self.state.compare_exchange_weak(
                state,
                state % RECALL + credits,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return state & RECALL != 0,
                Err(current) => state = current,
            }
        }
    }

    /// Leaves RECALL, if it is BUSY.
    fn leave_word(&self) -> bool {
        let mut state = self.state.load(Ordering::Acquire);
        while state & BUSY != 0 {
            match self.state.compare_exchange_weak(
                state,
                state | RECALL,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(current) => state = current,
            }
        }
        false
    }
}

/// What was found, and moved, when BUSY was set.
struct Moved {
    requests: u64,
    taken: u64,
    left: u64,
}

/// What came of asking the shards.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Recalled {
    tokens: u64,
    /// Somebody began to wait meanwhile, who is to be served.
    met_push: bool,
}

impl<C: Clock> Core<C> {
    /// Takes `n` tokens by the credits of this thread's shard, or with a new batch.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `try_take`, which it is part of")]
    pub(crate) fn take_sharded(&self, n: u64) -> Result<Granted, Denied> {
        let shard = self.shards.mine();
        let mut state = shard.state.load(Ordering::Acquire);
        // Between 1 and the credits.
        while n.wrapping_sub(1) < state % REQUEST && self.is_open() {
            match shard.state.compare_exchange_weak(
                state,
                state + REQUEST - n,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(shard.granted(state % REQUEST - n)),
                Err(current) => state = current,
            }
        }
        // By its parts: as a whole it would be where the callee put it, and all answers in memory.
        let granted = self.take_batch(shard, n)?;
        Ok(granted)
    }

    #[inline(never)]
    fn take_batch(&self, shard: &Shard, n: u64) -> Result<Granted, Denied> {
        let decision = self.decide_by_batch(shard, n);
        self.count(decision.is_ok());
        decision
    }

    fn decide_by_batch(&self, shard: &Shard, n: u64) -> Result<Granted, Denied> {
        let Some(moved) = shard.begin(0) else {
            return self.decide_recalling(n);
        };
        self.count_granted(moved.requests);
        // It may have fewer by now, not more (1).
        let room = self.shards.batch - moved.left;
        let taken = self.decide_with(n, |left| room.min(left >> self.shards.caution));
        let credits = taken.map_or(0, |(granted, credits)| {
            shard.saw(&granted, credits);
            credits
        });
        if shard.end(credits) {
            self.serve_by_credits();
        }
        match taken {
            Ok((granted, _)) => Ok(granted),
            Err(denied) => self.recall_and_decide(n, denied),
        }
    }

    /// [`decide_paid`](Self::decide_paid), which asks the shards before it denies (4).
    #[inline]
    pub(crate) fn decide_recalling(&self, n: u64) -> Result<Granted, Denied> {
        let decision = self.decide_paid(n);
        match decision {
            Err(denied) if !self.shards.is_empty() => self.recall_and_decide(n, denied),
            decision => decision,
        }
    }

    #[cold]
    fn recall_and_decide(&self, n: u64, denied: Denied) -> Result<Granted, Denied> {
        let is_missing = matches!(denied, Denied::NotYet { .. } | Denied::NeverRefills);
        if !is_missing || self.shards.credits() == 0 || !self.is_open() {
            return Err(denied);
        }
        let recalled = self.recall(self.missing(n), false);
        if recalled.met_push {
            self.serve_by_credits();
        }
        if recalled.tokens == 0 {
            return Err(denied);
        }
        self.decide_paid(n)
    }

    /// Credits for those who wait (3): what the head needs, as long as there are some.
    #[cold]
    pub(crate) fn serve_by_shards(&self) {
        if self.shards.is_empty() {
            return;
        }
        loop {
            let missing = self.missing_for_head();
            if missing == 0 {
                return;
            }
            let recalled = self.recall(missing, true);
            if recalled.tokens == 0 && !recalled.met_push {
                return;
            }
        }
    }

    /// Looks at the bucket while no credits move, told how many there are. Those that are on
    /// their way just now are left out.
    pub(crate) fn look_at_credits<T>(&self, look: impl FnOnce(u64) -> T) -> T {
        let mut credits = 0;
        let mut held = Vec::new();
        for shard in &self.shards.all {
            if let Some(moved) = shard.begin(0) {
                self.count_granted(moved.requests);
                credits += moved.left;
                held.push(shard);
            }
        }
        let result = look(credits);
        let met_push = held.into_iter().fold(false, |met, it| it.end(0) | met);
        if met_push {
            self.serve_by_credits();
        }
        result
    }

    /// Takes up to `wanted` credits back from the shards, for who asks first, or waits.
    fn recall(&self, wanted: u64, leave_word: bool) -> Recalled {
        let mut recalled = Recalled {
            tokens: 0,
            met_push: false,
        };
        for shard in &self.shards.all {
            let missing = wanted - recalled.tokens;
            if missing == 0 {
                break;
            }
            let moved = loop {
                match shard.begin(missing) {
                    // Not BUSY any more: it has what was under way.
                    None if leave_word && !shard.leave_word() => {}
                    moved => break moved,
                }
            };
            let Some(moved) = moved else { continue };
            self.count_granted(moved.requests);
            self.refund_credits(moved.taken);
            recalled.tokens += moved.taken;
            recalled.met_push |= shard.end(0);
        }
        recalled
    }
}

/// The number of this thread: they count up from 0, in the order in which they first ask.
#[inline]
fn thread_number() -> usize {
    NUMBER.try_with(Cell::get).map_or(0, |number| {
        if number != UNSET {
            return number;
        }
        let number = NEXT.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        // The key was there a moment ago, on this very thread.
        let _ = NUMBER.try_with(|cell| cell.set(number));
        number
    })
}

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(UNSET) };
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

const UNSET: usize = usize::MAX;

/// Enough to make the word's price small; more would only be in idle hands.
const MAX_BATCH: u64 = 32;
/// With fewer credits a shard is not worth its line.
const MIN_BATCH: u64 = 4;
/// 128 KiB of lines.
const MAX_SHARDS: usize = 1024;

/// One request in a state; credits, a batch at the most, are below it.
const REQUEST: u64 = 1 << 16;
/// Requests, two batches at the most, are below it.
const RECALL: u64 = 1 << 32;
const BUSY: u64 = 1 << 33;

/// Stands for no time at all.
const NEVER: u64 = u64::MAX;
