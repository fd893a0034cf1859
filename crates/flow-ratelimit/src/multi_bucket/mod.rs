//! Several limits for one subject, decided at once.

mod blocking;
mod builder;
pub(crate) mod core;
mod decide;
mod denied;
mod grant;
mod line;
mod lines;
#[cfg(feature = "metrics")]
mod metrics;
mod snapshot;
mod weigh;

use ::core::fmt;
use ::core::task::{Context, Poll};
use ::core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use flow_rt::{Clock, DefaultClock};

use self::core::Core;
use crate::error::{AcquireError, ConfigError, Denied};
use crate::granted::Granted;
use crate::limiter::{Acquire, AcquireTimeout, Limiter, LimiterExt};
use crate::quota::IntoQuota;
use crate::rate::Rate;
use crate::token_bucket::Snapshot;
use crate::wait_state::WaitState;
use crate::waiting::{Serves, Waits};

pub use builder::MultiBucketBuilder;
pub use denied::DeniedByLimit;

/// Several limits at once for one subject, so many per second *and* so many per hour: exact, and all
/// or nothing.
///
/// A request takes its tokens of every limit, or of none: one compare-and-swap decides for all of
/// them, so nobody ever sees tokens missing that come back, and a request that is denied changes
/// nothing. Each limit is as exact as a [`TokenBucket`](crate::TokenBucket)'s: over any time `t` no
/// more than `burst + rate × t` tokens are granted by any of them. Those who wait stand in one
/// queue for all limits, first in, first out.
///
/// For limits that are shared in different ways, one per client and one for all, there is
/// [`Composite`](crate::Composite).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_ratelimit::MultiBucket;
///
/// let both = MultiBucket::new(["10/s burst 2", "1000/h burst 1000"])?;
/// assert_eq!(both.try_acquire_n(2)?.remaining(), 0);
///
/// let denied = both.try_acquire().unwrap_err();
/// assert_eq!(denied.limit, Some(0));
/// assert!(denied.retry_after().is_some_and(|wait| wait.as_millis() <= 100));
/// assert_eq!(both.limit(1).map(|hourly| hourly.available), Some(998));
/// # Ok(())
/// # }
/// ```
///
/// Clients can be told of each limit by a name of its own, with the feature `http`:
/// [`Policy::of_each`](crate::fields::Policy::of_each).
///
/// # Cost
/// Two limits are half as much again as one bucket, by one thread or by two at once; a little more
/// where both have run over since the last request.
///
/// # Which limits go together
/// Any, from one to seven, in any order. One that another implies, with a higher rate and a larger
/// burst, never denies alone and does no harm. More than the smallest burst is never granted, and
/// so refused at once. A limit of [`Rate::ZERO`] grants its burst and then no more; one of
/// [`Rate::UNLIMITED`] grants everything, and leaves the decision to the others.
pub struct MultiBucket<C = DefaultClock> {
    core: Arc<Core<C>>,
}

impl MultiBucket {
    /// A bucket whose limits start full: each a rate and a burst, like `"100/s burst 20"`.
    ///
    /// # Errors
    /// Those of [`build`](MultiBucketBuilder::build).
    pub fn new<Q: IntoQuota>(limits: impl IntoIterator<Item = Q>) -> Result<Self, ConfigError> {
        Self::builder().limits(limits).build()
    }

    /// A bucket to be configured.
    pub fn builder() -> MultiBucketBuilder {
        MultiBucketBuilder::new()
    }
}

impl<C: Clock> MultiBucket<C> {
    /// Takes one token of each limit now, or says which has none.
    ///
    /// # Errors
    /// [`DeniedByLimit`]; nothing was taken then.
    ///
    /// # Cost
    /// One look at the clock and one compare-and-swap, and another for each limit that was full.
    /// A denial swaps nothing.
    #[inline]
    pub fn try_acquire(&self) -> Result<Granted, DeniedByLimit> {
        self.core.try_take(1)
    }

    /// Takes `n` tokens of each limit now, or says which has not so many. A grant tells of the
    /// limit with the fewest tokens left. 0 tokens are there as long as it is open.
    ///
    /// # Errors
    /// [`DeniedByLimit`]; nothing was taken then. If waiting helps, a lone caller who waits for its
    /// [`retry_after`](DeniedByLimit::retry_after) is granted; behind others who wait it is when
    /// that may be at the earliest.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_n(&self, n: u64) -> Result<Granted, DeniedByLimit> {
        self.core.try_take(n)
    }

    /// Whether one token of each limit could be taken now. Takes and counts nothing.
    ///
    /// # Errors
    /// What [`try_acquire`](Self::try_acquire) would say.
    pub fn peek(&self) -> Result<(), DeniedByLimit> {
        self.core.peek(1)
    }

    /// Whether `n` tokens of each limit could be taken now. Takes and counts nothing.
    ///
    /// # Errors
    /// What [`try_acquire_n`](Self::try_acquire_n) would say.
    pub fn peek_n(&self, n: u64) -> Result<(), DeniedByLimit> {
        self.core.peek(n)
    }

    /// Gives `n` tokens back to each limit that were taken and not used, exactly. What does not fit
    /// is lost. A limit whose rate was unlimited when they were taken gets them too, and so it does
    /// when a wait is dropped that was granted then, unless all were.
    pub fn refund(&self, n: u64) {
        self.core.refund(n);
    }

    /// Whole tokens that every limit has now; those who wait have not taken theirs yet.
    pub fn available(&self) -> u64 {
        let core = &*self.core;
        core.granted(core.least(core.word(), core.clock.now()))
            .remaining()
    }

    /// How one limit stands; none from [`count`](Self::count) on.
    pub fn limit(&self, index: usize) -> Option<LimitStats> {
        let params = self.core.params.get(index)?;
        Some(LimitStats {
            rate: params.rate(),
            burst: params.anchor().burst >> self.core.bits,
            available: self.core.available_of(index),
        })
    }

    /// How each limit stands, all at one instant.
    #[cfg(feature = "http")]
    pub(crate) fn stand_of_each(&self) -> Vec<crate::fields::Stand> {
        self.core.stand_of_each()
    }

    /// How many limits there are.
    pub fn count(&self) -> usize {
        self.core.params.len()
    }

    /// The name given to the builder.
    pub fn name(&self) -> Option<&str> {
        self.core.rules.name.as_deref()
    }

    /// Changes the rate of one limit from now on, and its burst if the quota has one. What was
    /// earned at the old rate stays; tokens beyond a smaller burst are lost, and a larger one fills
    /// at the rate. The other limits are not touched, and those who wait are served by the new one.
    ///
    /// Whoever waits for more than a smaller burst gets [`AcquireError::ExceedsBurst`] when it is
    /// their turn.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use flow_ratelimit::{MultiBucket, Rate};
    ///
    /// let both = MultiBucket::new(["10/s burst 20", "1000/h burst 1000"])?;
    /// both.set_quota(0, "50/s burst 100")?;
    /// both.set_quota(1, Rate::per_hour(5_000))?; // of the burst as it was
    /// assert_eq!(both.limit(1).map(|hourly| hourly.burst), Some(1_000));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] if there is no such limit, if it is no quota, or rate or burst do not fit:
    /// the number of fraction bits was chosen for the limits it was built with, and leaves room for
    /// 10^9 per second and bursts of 2^28 at the least. The old quota stays then.
    pub fn set_quota(&self, index: usize, quota: impl IntoQuota) -> Result<(), ConfigError> {
        let quota = quota.into_quota()?;
        self.core.set_quota(index, quota.rate, quota.burst)?;
        #[cfg(feature = "tracing")]
        crate::events::changed(self.name(), "quota", &quota);
        Ok(())
    }

    /// How each limit stands, all at one instant, as plain data for
    /// [`restore`](MultiBucketBuilder::restore) after a restart: an hour's limit does not begin
    /// anew with the process. Whoever waits is not in it. The time is the wall clock's, as of
    /// [`TokenBucket::snapshot`](crate::TokenBucket::snapshot).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use flow_ratelimit::MultiBucket;
    ///
    /// let both = MultiBucket::new(["10/s burst 20", "1000/h burst 1000"])?;
    /// both.try_acquire_n(20)?;
    /// let snapshots = both.snapshots();
    /// // Kept over a restart:
    /// let both = MultiBucket::builder().restore(&snapshots).build()?;
    /// assert_eq!(both.limit(1).map(|hourly| hourly.available), Some(980));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cost
    /// A lock, and a list.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.core.snapshots()
    }

    /// Lets nobody go any more, for ever: whoever waits gets an error. Idempotent.
    pub fn close(&self) {
        #[cfg(feature = "tracing")]
        if !self.is_closed() {
            let waiting = self.core.waiting.load(Ordering::Acquire);
            crate::events::closed(self.name(), waiting);
        }
        self.core.close();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.core.closed.load(Ordering::Acquire)
    }

    /// What it has done and how it stands, without a lock.
    pub fn stats(&self) -> MultiBucketStats {
        let (granted, denied) = self.core.counted().unwrap_or_default();
        MultiBucketStats {
            granted,
            denied,
            waiting: self.core.waiting.load(Ordering::Acquire),
            available: self.available(),
        }
    }
}

#[cfg(feature = "metrics")]
impl<C: Clock + 'static> MultiBucket<C> {
    /// What shows this bucket in a `flow_metrics::Registry`, under its name, with each limit by its
    /// place.
    ///
    /// It keeps the bucket alive while it is registered. Nothing is published in between: the
    /// numbers are read when somebody collects.
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect> {
        Arc::new(metrics::MultiBucketCollector(self.clone()))
    }
}

/// Waiting: first in, first out, for all limits in one queue.
///
/// Whoever waits needs a runtime: the one given to the builder, else the one that polls. A small
/// task there looks at the clock for all of them, as for a [`TokenBucket`](crate::TokenBucket).
/// These are the methods of [`LimiterExt`], so that no import is needed.
impl<C: Clock + 'static> MultiBucket<C> {
    /// Waits for one token of each limit. See [`LimiterExt::acquire_n`].
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    pub fn acquire(&self) -> Acquire<'_, Self> {
        LimiterExt::acquire_n(self, 1)
    }

    /// Waits for `n` tokens of each limit. A large `n` holds up those behind it. See
    /// [`LimiterExt::acquire_n`].
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    pub fn acquire_n(&self, n: u64) -> Acquire<'_, Self> {
        LimiterExt::acquire_n(self, n)
    }

    /// Waits for one token of each limit, and fails at once if `limit` cannot suffice. See
    /// [`LimiterExt::acquire_n_timeout`].
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    pub fn acquire_timeout(&self, limit: Duration) -> AcquireTimeout<'_, Self> {
        LimiterExt::acquire_n_timeout(self, 1, limit)
    }
}

/// Denied by the limit with the longest wait.
impl<C: Clock + 'static> Limiter for MultiBucket<C> {
    fn try_acquire_n(&self, n: u64) -> Result<Granted, Denied> {
        Ok(self.core.try_take(n)?)
    }

    fn peek_n(&self, n: u64) -> Result<(), Denied> {
        Ok(self.core.peek(n)?)
    }

    fn refund(&self, n: u64) {
        self.core.refund(n);
    }

    fn poll_acquire_n(
        &self,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>> {
        self.core.poll_take(cx, n, state)
    }
}

impl<C> Clone for MultiBucket<C> {
    /// Another handle to the same bucket.
    fn clone(&self) -> Self {
        Self {
            core: self.core.clone(),
        }
    }
}

impl<C: Clock> fmt::Debug for MultiBucket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits: Vec<_> = (0..self.count()).filter_map(|it| self.limit(it)).collect();
        f.debug_struct("MultiBucket")
            .field("name", &self.name())
            .field("limits", &limits)
            .field("waiting", &self.core.waiting.load(Ordering::Acquire))
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// What a [`MultiBucket`] has done and how it stands.
///
/// Each number is exact; together they are of about the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MultiBucketStats {
    /// Requests that were granted, at once or after a wait; 0 if they are not counted.
    pub granted: u64,
    /// Requests that were denied, and waits that ended with an error, at their limit too; 0 if they
    /// are not counted. Waits that were dropped are in neither number.
    pub denied: u64,
    /// Callers in the queue.
    pub waiting: usize,
    /// Whole tokens that every limit has.
    pub available: u64,
}

/// How one limit of a [`MultiBucket`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitStats {
    /// The rate in force.
    pub rate: Rate,
    /// The burst in force.
    pub burst: u64,
    /// Whole tokens that it has.
    pub available: u64,
}
