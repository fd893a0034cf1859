//! How many retries all callers of something may make together.
//!
//! # State
//! One word: the balance in thousandths of a retry (low 24 bits), and the time up to which it
//! was paid the minimum, in milliseconds of the clock modulo 2^40 (high bits). A word of ones,
//! which no balance can reach, is a budget that was not used yet: full, at any time.
//!
//! # Steps
//! Each operation computes the next word from the last and exchanges them, or begins again:
//! first the balance is paid the minimum for the milliseconds that have passed, which are whole
//! ones, so that nothing is lost in rounding; then a first run pays in its share, or a retry
//! takes out 1000. The balance never exceeds the burst. A stamp from before the word's counts as
//! no time.
//!
//! # Ordering
//! Relaxed: the word is all there is, and its own modification order decides.
//!
//! # Source
//! Finagle's `RetryBudget` (a share of the requests and a minimum per second); Envoy's retry
//! budget is the same of concurrent requests. Instead of expiring deposits one by one, the
//! balance has a cap, as gRPC's retry throttling has (gRFC A6), for a bound that can be stated.

use core::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::instant::Instant;

/// A limit on retries that many callers share, so that an outage is not made worse by all of
/// them trying again.
///
/// In any span of time there are at most `burst` retries, and `ratio` times the first runs in it,
/// and `min_per_second` times its seconds. It begins full.
///
/// Clones are the same budget. Give one to the calls of one dependency, by
/// [`Retry::budget`](crate::Retry::budget) or by [`deposit`](Self::deposit) and
/// [`try_withdraw`](Self::try_withdraw).
///
/// # Cost
/// One atomic exchange per first run and per retry.
///
/// ```
/// use flow_rt::{Instant, RetryBudget};
///
/// let budget = RetryBudget::builder().ratio(0.5).min_per_second(0).burst(1).build()?;
/// let now = Instant::from_nanos(0);
/// assert!(budget.try_withdraw(now)); // it begins full
/// assert!(!budget.try_withdraw(now));
/// budget.deposit(now);
/// budget.deposit(now);
/// assert!(budget.try_withdraw(now)); // one retry for two first runs
/// # Ok::<_, flow_rt::RetryBudgetConfigError>(())
/// ```
#[derive(Clone)]
pub struct RetryBudget(Arc<Inner>);

struct Inner {
    word: AtomicU64,
    /// Thousandths of a retry, like the next two.
    share: u64,
    per_milli: u64,
    burst: u64,
}

impl RetryBudget {
    /// A budget of `ratio` retries per first run and `min_per_second` beside, with the burst of
    /// ten seconds of that minimum, or of one retry.
    ///
    /// # Errors
    /// Those of [`RetryBudgetBuilder::build`].
    pub fn new(ratio: f64, min_per_second: u32) -> Result<Self, RetryBudgetConfigError> {
        Self::builder()
            .ratio(ratio)
            .min_per_second(min_per_second)
            .build()
    }

    /// A budget to configure.
    pub fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder {
            ratio: 0.2,
            min_per_second: 10,
            burst: None,
        }
    }

    /// Pays in for a first run.
    pub fn deposit(&self, now: Instant) {
        self.update(now, |balance| {
            Some((balance + self.0.share).min(self.0.burst))
        });
    }

    /// Takes out one retry, if there is one.
    pub fn try_withdraw(&self, now: Instant) -> bool {
        self.update(now, |balance| balance.checked_sub(RETRY))
    }

    /// How many retries could be made at `now`.
    pub fn available(&self, now: Instant) -> u32 {
        let (_, balance) = self.paid(self.0.word.load(Ordering::Relaxed), now);
        (balance / RETRY) as u32
    }

    fn update(&self, now: Instant, change: impl Fn(u64) -> Option<u64>) -> bool {
        let mut word = self.0.word.load(Ordering::Relaxed);
        loop {
            let (stamp, balance) = self.paid(word, now);
            let Some(balance) = change(balance) else {
                return false;
            };
            let next = stamp << BALANCE_BITS | balance;
            let exchanged =
                self.0
                    .word
                    .compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed);
            match exchanged {
                Ok(_) => return true,
                Err(found) => word = found,
            }
        }
    }

    /// The stamp and the balance of a word, with the minimum paid up to `now`.
    fn paid(&self, word: u64, now: Instant) -> (u64, u64) {
        let now = (now.as_nanos() / 1_000_000) & STAMP;
        if word == UNUSED {
            return (now, self.0.burst);
        }
        let (stamp, balance) = (word >> BALANCE_BITS, word & BALANCE);
        let passed = now.wrapping_sub(stamp) & STAMP;
        if passed > STAMP / 2 {
            return (stamp, balance);
        }
        let balance = balance + passed.saturating_mul(self.0.per_milli).min(self.0.burst);
        (now, balance.min(self.0.burst))
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_retry = |thousandths: u64| thousandths as f64 / RETRY as f64;
        let word = self.0.word.load(Ordering::Relaxed);
        let balance = if word == UNUSED {
            self.0.burst
        } else {
            word & BALANCE
        };
        f.debug_struct("RetryBudget")
            .field("balance", &per_retry(balance))
            .field("ratio", &per_retry(self.0.share))
            .field("min_per_second", &self.0.per_milli)
            .field("burst", &per_retry(self.0.burst))
            .finish()
    }
}

/// A [`RetryBudget`] to configure.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use = "a budget is made by `build`"]
pub struct RetryBudgetBuilder {
    ratio: f64,
    min_per_second: u32,
    burst: Option<u32>,
}

impl RetryBudgetBuilder {
    /// Retries per first run, from 0 to 1 in steps of a thousandth; 0.2 unless set.
    pub const fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = ratio;
        self
    }

    /// Retries per second beside, however few first runs there are, from 0 to 10 000; 10 unless
    /// set.
    pub const fn min_per_second(mut self, retries: u32) -> Self {
        self.min_per_second = retries;
        self
    }

    /// Retries that can be saved up, from 1 to 10 000; ten seconds of the minimum unless set, or
    /// one.
    pub const fn burst(mut self, retries: u32) -> Self {
        self.burst = Some(retries);
        self
    }

    /// The budget, full.
    ///
    /// # Errors
    /// [`RetryBudgetConfigError`], for the first value that is out of its range.
    pub fn build(self) -> Result<RetryBudget, RetryBudgetConfigError> {
        if !(0.0..=1.0).contains(&self.ratio) {
            return Err(RetryBudgetConfigError::Ratio { given: self.ratio });
        }
        #[allow(clippy::cast_sign_loss)] // checked: from 0 to 1
        let share = (self.ratio * RETRY as f64).round() as u64;
        if share == 0 && self.ratio > 0.0 {
            return Err(RetryBudgetConfigError::Ratio { given: self.ratio });
        }
        if self.min_per_second > MOST {
            return Err(RetryBudgetConfigError::MinPerSecond {
                given: self.min_per_second,
            });
        }
        if share == 0 && self.min_per_second == 0 {
            return Err(RetryBudgetConfigError::Nothing);
        }
        let ten_seconds = (self.min_per_second * 10).clamp(1, MOST);
        let burst = self.burst.unwrap_or(ten_seconds);
        if burst == 0 || burst > MOST {
            return Err(RetryBudgetConfigError::Burst { given: burst });
        }
        Ok(RetryBudget(Arc::new(Inner {
            word: AtomicU64::new(UNUSED),
            share,
            // So many retries per second are as many thousandths per millisecond.
            per_milli: u64::from(self.min_per_second),
            burst: u64::from(burst) * RETRY,
        })))
    }
}

/// Why a [`RetryBudget`] was refused.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum RetryBudgetConfigError {
    /// The ratio is not a number, negative, above 1, or so small that it would be none.
    Ratio {
        /// The ratio.
        given: f64,
    },
    /// The minimum per second is above 10 000.
    MinPerSecond {
        /// The minimum.
        given: u32,
    },
    /// The burst is zero or above 10 000.
    Burst {
        /// The burst.
        given: u32,
    },
    /// Ratio and minimum are both zero: once spent, the budget would stay so.
    Nothing,
}

impl fmt::Display for RetryBudgetConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio { given } => {
                write!(f, "a ratio of {given}, allowed are 0 and 0.001 to 1")
            }
            Self::MinPerSecond { given } => write!(
                f,
                "a minimum of {given} retries per second, allowed are 0 to {MOST}"
            ),
            Self::Burst { given } => {
                write!(f, "a burst of {given} retries, allowed are 1 to {MOST}")
            }
            Self::Nothing => f.write_str(
                "a retry budget with neither a ratio nor a minimum per second, one of them must be \
                 above 0",
            ),
        }
    }
}

impl std::error::Error for RetryBudgetConfigError {}

/// One retry, in the balance's unit.
const RETRY: u64 = 1_000;
const MOST: u32 = 10_000;
const BALANCE_BITS: u32 = 24;
const BALANCE: u64 = (1 << BALANCE_BITS) - 1;
const STAMP: u64 = u64::MAX >> BALANCE_BITS;
const UNUSED: u64 = u64::MAX;
