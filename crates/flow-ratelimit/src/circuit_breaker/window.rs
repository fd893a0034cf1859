//! What a breaker remembers of the calls it judges by: plain arithmetic, used under its lock.
//!
//! Successes come in runs, since nobody looks while there are no failures (see `cells`). So each
//! window takes any number of them at once, at no more than the price of its own length.

use core::time::Duration;

use flow_rt::Instant;

/// Calls that were counted, and how many of them were bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) failed: u64,
    pub(super) slow: u64,
}

impl Tally {
    pub(super) fn add(&mut self, outcome: Outcome) {
        self.calls += 1;
        self.failed += u64::from(outcome.failed);
        self.slow += u64::from(outcome.slow);
    }

    fn take_away(&mut self, other: Self) {
        self.calls -= other.calls;
        self.failed -= other.failed;
        self.slow -= other.slow;
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

impl Outcome {
    pub(super) fn is_bad(self) -> bool {
        self.failed || self.slow
    }
}

/// The calls of late, by number or by time.
#[derive(Debug)]
pub(super) enum Window {
    Count(CountWindow),
    Time(TimeWindow),
}

impl Window {
    /// Takes in `good` calls that were neither failed nor slow.
    pub(super) fn good(&mut self, good: u64) {
        match self {
            Self::Count(window) => window.good(good),
            Self::Time(window) => window.good(good),
        }
    }

    pub(super) fn push(&mut self, outcome: Outcome) {
        match self {
            Self::Count(window) => window.push(outcome),
            Self::Time(window) => window.push(outcome),
        }
    }

    pub(super) fn tally(&self) -> Tally {
        match self {
            Self::Count(window) => window.tally,
            Self::Time(window) => window.tally,
        }
    }

    /// Forgets everything; time windows begin anew at `now`.
    pub(super) fn clear(&mut self, now: Instant) {
        match self {
            Self::Count(window) => window.clear(),
            Self::Time(window) => window.clear(now),
        }
    }
}

/// The last so many calls, exactly: two bits for each.
#[derive(Debug)]
pub(super) struct CountWindow {
    size: u64,
    /// Where the next call goes.
    next: u64,
    tally: Tally,
    failed: Box<[u64]>,
    slow: Box<[u64]>,
}

impl CountWindow {
    pub(super) fn new(size: u32) -> Self {
        let words = || vec![0; size.div_ceil(u64::BITS) as usize].into_boxed_slice();
        Self {
            size: size.into(),
            next: 0,
            tally: Tally::default(),
            failed: words(),
            slow: words(),
        }
    }

    fn good(&mut self, good: u64) {
        if good >= self.size {
            self.clear();
            self.tally.calls = self.size;
            return;
        }
        let to_the_end = (self.size - self.next).min(good);
        for (from, calls) in [(self.next, to_the_end), (0, good - to_the_end)] {
            self.tally.failed -= zero(&mut self.failed, from, calls);
            self.tally.slow -= zero(&mut self.slow, from, calls);
        }
        self.tally.calls = self.size.min(self.tally.calls + good);
        self.next = (self.next + good) % self.size;
    }

    fn push(&mut self, outcome: Outcome) {
        let at = self.next;
        // Puts out the call that leaves, and moves on.
        self.good(1);
        let (word, bit) = place(at);
        self.failed[word] |= u64::from(outcome.failed) << bit;
        self.slow[word] |= u64::from(outcome.slow) << bit;
        self.tally.failed += u64::from(outcome.failed);
        self.tally.slow += u64::from(outcome.slow);
    }

    fn clear(&mut self) {
        self.next = 0;
        self.tally = Tally::default();
        self.failed.fill(0);
        self.slow.fill(0);
    }
}

/// Zeroes `count` bits from the one at `from`, and says how many were set.
fn zero(bits: &mut [u64], mut from: u64, mut count: u64) -> u64 {
    let mut were_set = 0;
    while count > 0 {
        let (word, bit) = place(from);
        let here = count.min(u64::from(u64::BITS) - bit);
        let mask = (u64::MAX >> (u64::from(u64::BITS) - here)) << bit;
        were_set += u64::from((bits[word] & mask).count_ones());
        bits[word] &= !mask;
        from += here;
        count -= here;
    }
    were_set
}

/// The word and the bit of a call.
fn place(at: u64) -> (usize, u64) {
    let bits = u64::from(u64::BITS);
    // A window has at most 2^20 calls.
    ((at / bits) as usize, at % bits)
}

/// The calls of the last so long, by tenths: between nine tenths of it and all of it.
#[derive(Debug)]
pub(super) struct TimeWindow {
    /// A tenth, in nanoseconds.
    tenth: u64,
    /// The bucket in use, and when it ends.
    at: usize,
    ends: u64,
    tally: Tally,
    buckets: Box<[Tally; TENTHS]>,
}

impl TimeWindow {
    /// Of `length`, which is a year at the most, beginning at `now`.
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        let nanos = length.as_nanos() as u64;
        let mut window = Self {
            tenth: nanos.div_ceil(TENTHS as u64).max(1),
            at: 0,
            ends: 0,
            tally: Tally::default(),
            buckets: Box::default(),
        };
        window.clear(now);
        window
    }

    /// When the bucket in use ends: a call that ends then or later makes it [`turn`](Self::turn).
    pub(super) fn ends(&self) -> u64 {
        self.ends
    }

    /// Moves on to the bucket of `now`. A clock that goes back stays in the bucket in use.
    pub(super) fn turn(&mut self, now: Instant) {
        let now = now.as_nanos();
        if now < self.ends {
            return;
        }
        let passed = (now - self.ends) / self.tenth + 1;
        for _ in 0..passed.min(TENTHS as u64) {
            self.at = (self.at + 1) % TENTHS;
            let left = core::mem::take(&mut self.buckets[self.at]);
            self.tally.take_away(left);
        }
        self.ends = self.ends.saturating_add(passed.saturating_mul(self.tenth));
    }

    fn good(&mut self, good: u64) {
        self.tally.calls += good;
        self.buckets[self.at].calls += good;
    }

    fn push(&mut self, outcome: Outcome) {
        self.tally.add(outcome);
        self.buckets[self.at].add(outcome);
    }

    fn clear(&mut self, now: Instant) {
        self.ends = now.as_nanos().saturating_add(self.tenth);
        self.tally = Tally::default();
        *self.buckets = [Tally::default(); TENTHS];
    }
}

/// Buckets of a time window.
const TENTHS: usize = 10;
