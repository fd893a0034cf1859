//! The leaky bucket as a queue.

use core::fmt;
use core::task::{Context, Poll};
use core::time::Duration;
#[cfg(feature = "metrics")]
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock};

use super::pacer_builder::PacerBuilder;
use crate::error::{AcquireBlockingError, AcquireError, ConfigError, Denied};
use crate::granted::Granted;
use crate::limiter::{Acquire, AcquireTimeout, Limiter, LimiterExt};
use crate::rate::{IntoRate, Rate};
use crate::token_bucket::{Reservation, TokenBucket};
use crate::wait_state::WaitState;

/// A queue that lets one caller go at a time, evenly spaced: the leaky bucket that smooths.
/// Shared by cloning.
///
/// Between two grants there is at least the time that the rate gives each, however long nobody
/// came and however late the host's timers are: nothing is ever made up for. So it grants at most
/// `1 + rate × t` in any time `t`; a host whose timers are coarser than the spacing grants fewer,
/// and a [`TokenBucket`] is the limiter that keeps such a rate.
///
/// The first caller after a pause goes at once. Whoever finds as many waiting as the capacity is
/// refused.
///
/// ```
/// # flow_rt::sim::check(0..3, |rt| async move {
/// use std::time::Duration;
/// use flow_ratelimit::Pacer;
///
/// let pacer = Pacer::new("10/s", 100)?;
/// let start = rt.now();
/// for _ in 0..5 {
///     pacer.acquire().await?;
/// }
/// assert_eq!(rt.now() - start, Duration::from_millis(400));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # });
/// ```
pub struct Pacer<C = DefaultClock> {
    bucket: TokenBucket<C>,
    capacity: usize,
}

impl Pacer {
    /// A pacer whose queue holds so many callers.
    ///
    /// # Errors
    /// [`ConfigError`] if the rate is no rate or out of range, or the capacity is zero.
    pub fn new(rate: impl IntoRate, capacity: usize) -> Result<Self, ConfigError> {
        let rate = rate.into_rate();
        Self::builder().rate(rate).capacity(capacity).build()
    }

    /// A pacer to be configured.
    pub fn builder() -> PacerBuilder {
        PacerBuilder::new()
    }
}

impl<C: Clock> Pacer<C> {
    pub(super) fn over(bucket: TokenBucket<C>, capacity: usize) -> Self {
        Self { bucket, capacity }
    }

    /// Goes now if nobody waits and the spacing allows it, or says why not.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn try_acquire(&self) -> Result<Granted, Denied> {
        self.bucket.try_acquire()
    }

    /// Whether one could go now.
    ///
    /// # Errors
    /// What [`try_acquire`](Self::try_acquire) would say.
    pub fn peek(&self) -> Result<(), Denied> {
        self.bucket.peek()
    }

    /// How many callers the queue holds.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many wait now.
    pub fn waiting(&self) -> usize {
        self.bucket.stats().waiting
    }

    /// The rate in force.
    pub fn rate(&self) -> Rate {
        self.bucket.rate()
    }

    /// The name given to the builder.
    pub fn name(&self) -> Option<&str> {
        self.bucket.name()
    }

    /// Changes the rate from now on, for those who wait too.
    ///
    /// # Errors
    /// Those of [`TokenBucket::set_rate`]. The old rate stays then.
    pub fn set_rate(&self, rate: impl IntoRate) -> Result<(), ConfigError> {
        self.bucket.set_rate(rate)
    }

    /// Lets nobody go any more, for ever: whoever waits gets an error. Idempotent.
    pub fn close(&self) {
        self.bucket.close();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.bucket.is_closed()
    }

    /// What it has done and how it stands. No lock is taken, unless it warms up or the time of a
    /// reservation has come: then shortly.
    pub fn stats(&self) -> PacerStats {
        let stats = self.bucket.stats();
        PacerStats {
            granted: stats.granted,
            denied: stats.denied,
            waiting: stats.waiting,
            capacity: self.capacity,
            rate: stats.rate,
        }
    }
}

/// Waiting: first in, first out.
///
/// Whoever waits needs a runtime: the one given to the builder, else the one that polls. These
/// are the methods of [`LimiterExt`], so that no import is needed.
impl<C: Clock + 'static> Pacer<C> {
    /// Waits for one's turn. See [`LimiterExt::acquire_n`].
    ///
    /// # Errors
    /// [`AcquireError`]; [`QueueFull`](AcquireError::QueueFull) if as many wait as may.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the turn, and those behind move up.
    pub fn acquire(&self) -> Acquire<'_, Self> {
        LimiterExt::acquire_n(self, 1)
    }

    /// Waits for one's turn, and fails at once if `limit` cannot suffice. See
    /// [`LimiterExt::acquire_n_timeout`].
    ///
    /// # Errors
    /// [`AcquireError`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up the turn, and those behind move up.
    pub fn acquire_timeout(&self, limit: Duration) -> AcquireTimeout<'_, Self> {
        LimiterExt::acquire_n_timeout(self, 1, limit)
    }

    /// Waits for one's turn on the calling thread, in one queue with the tasks that wait. See
    /// [`TokenBucket::acquire_n_blocking`].
    ///
    /// # Errors
    /// [`AcquireBlockingError`].
    pub fn acquire_blocking(&self) -> Result<Granted, AcquireBlockingError> {
        self.bucket.acquire_blocking()
    }

    /// Waits for one's turn on the calling thread, for `limit` at the most. See
    /// [`TokenBucket::acquire_n_blocking_timeout`].
    ///
    /// # Errors
    /// [`AcquireBlockingError`].
    pub fn acquire_blocking_timeout(
        &self,
        limit: Duration,
    ) -> Result<Granted, AcquireBlockingError> {
        self.bucket.acquire_blocking_timeout(limit)
    }

    /// Takes a turn ahead of time: the place in the queue, whose instant it tells. See
    /// [`TokenBucket::reserve_n`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use flow_ratelimit::Pacer;
    /// use flow_rt::ManualClock;
    ///
    /// let clock = ManualClock::new();
    /// let pacer = Pacer::builder().rate("10/s").capacity(8).clock(clock.clone()).build()?;
    /// let turns: Vec<_> = (0..3).map(|_| pacer.reserve()).collect::<Result<_, _>>()?;
    /// let delays: Vec<_> = turns.iter().map(|turn| turn.delay().as_millis()).collect();
    /// assert_eq!(delays, [0, 100, 200]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Denied`]; [`QueueFull`](Denied::QueueFull) if as many wait as may.
    pub fn reserve(&self) -> Result<Reservation, Denied> {
        self.bucket.reserve()
    }
}

#[cfg(feature = "metrics")]
impl<C: Clock + 'static> Pacer<C> {
    /// What shows this pacer in a `flow_metrics::Registry`, under its name, or `pacer`; as the
    /// token bucket of burst 1 that it is. See [`TokenBucket::collector`].
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect> {
        self.bucket.collector_or("pacer")
    }
}

/// One at a time: more than one is [`Denied::ExceedsBurst`].
impl<C: Clock + 'static> Limiter for Pacer<C> {
    fn try_acquire_n(&self, n: u64) -> Result<Granted, Denied> {
        self.bucket.try_acquire_n(n)
    }

    fn peek_n(&self, n: u64) -> Result<(), Denied> {
        self.bucket.peek_n(n)
    }

    /// Lets the next go where the last one did not.
    fn refund(&self, n: u64) {
        self.bucket.refund(n);
    }

    fn poll_acquire_n(
        &self,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>> {
        self.bucket.poll_acquire_n(cx, n, state)
    }
}

impl<C> Clone for Pacer<C> {
    /// Another handle to the same queue.
    fn clone(&self) -> Self {
        Self {
            bucket: self.bucket.clone(),
            capacity: self.capacity,
        }
    }
}

impl<C: Clock> fmt::Debug for Pacer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("Pacer")
            .field("name", &self.name())
            .field("rate", &stats.rate)
            .field("capacity", &stats.capacity)
            .field("waiting", &stats.waiting)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// What a [`Pacer`] has done and how it stands.
///
/// Each number is exact; together they are of about the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacerStats {
    /// Callers who went, at once or after a wait; 0 if they are not counted.
    pub granted: u64,
    /// Callers who were refused, and waits that ended with an error, at their limit too; 0 if they
    /// are not counted. Waits that were dropped are not among them.
    pub denied: u64,
    /// Callers in the queue.
    pub waiting: usize,
    /// How many the queue holds.
    pub capacity: usize,
    /// The rate in force.
    pub rate: Rate,
}
