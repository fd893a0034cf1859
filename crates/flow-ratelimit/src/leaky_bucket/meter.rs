//! The leaky bucket as a meter.

use core::fmt;
use core::task::{Context, Poll};
use core::time::Duration;
#[cfg(feature = "metrics")]
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock};

use super::meter_builder::LeakyBucketBuilder;
use crate::error::{AcquireBlockingError, AcquireError, ConfigError, Denied};
use crate::granted::Granted;
use crate::limiter::{Acquire, AcquireTimeout, Limiter, LimiterExt};
use crate::rate::{IntoRate, Rate};
use crate::token_bucket::{Reservation, TokenBucket, TokenBucketStats};
use crate::wait_state::WaitState;

/// A bucket that leaks at a rate and overflows above its capacity: who would make it overflow is
/// denied. Shared by cloning.
///
/// It grants exactly what a [`TokenBucket`] of the same rate and a burst of its capacity does, and
/// as exactly; it is for those who think in levels. (So, where `rate × 4 ms` is more than the
/// capacity, those who wait may get that much at once from a driver that is late: see
/// [`catch_up`](LeakyBucketBuilder::catch_up).) It does not space what it grants: a
/// [`Pacer`](crate::Pacer) does.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use flow_ratelimit::LeakyBucket;
/// use flow_rt::ManualClock;
///
/// let clock = ManualClock::new();
/// let bucket = LeakyBucket::builder().rate("10/s").capacity(5).clock(clock.clone()).build()?;
/// bucket.try_acquire_n(4)?;
/// assert_eq!((bucket.level(), bucket.available()), (4, 1));
/// assert!(bucket.try_acquire_n(2).is_err());
///
/// clock.advance(Duration::from_millis(200)); // two have leaked out
/// assert_eq!(bucket.level(), 2);
/// # Ok(())
/// # }
/// ```
pub struct LeakyBucket<C = DefaultClock> {
    bucket: TokenBucket<C>,
}

impl LeakyBucket {
    /// A bucket that starts empty.
    ///
    /// # Errors
    /// [`ConfigError`] if the rate is no rate, the capacity is zero, or either is out of range.
    pub fn new(rate: impl IntoRate, capacity: u64) -> Result<Self, ConfigError> {
        let rate = rate.into_rate();
        Self::builder().rate(rate).capacity(capacity).build()
    }

    /// A bucket to be configured.
    pub fn builder() -> LeakyBucketBuilder {
        LeakyBucketBuilder::new()
    }
}

impl<C: Clock> LeakyBucket<C> {
    pub(super) fn over(bucket: TokenBucket<C>) -> Self {
        Self { bucket }
    }

    /// Pours one in if there is room, or says why not.
    ///
    /// # Errors
    /// [`Denied`]; nothing was poured in then.
    ///
    /// # Cost
    /// That of [`TokenBucket::try_acquire`].
    #[inline]
    pub fn try_acquire(&self) -> Result<Granted, Denied> {
        self.bucket.try_acquire()
    }

    /// Pours `n` in together if there is room, or says why not. For 0 there is always room.
    ///
    /// # Errors
    /// [`Denied`]; nothing was poured in then.
    #[inline]
    pub fn try_acquire_n(&self, n: u64) -> Result<Granted, Denied> {
        self.bucket.try_acquire_n(n)
    }

    /// Whether there is room for one now. Pours and counts nothing.
    ///
    /// # Errors
    /// What [`try_acquire`](Self::try_acquire) would say.
    pub fn peek(&self) -> Result<(), Denied> {
        self.bucket.peek()
    }

    /// Whether there is room for `n` now. Pours and counts nothing.
    ///
    /// # Errors
    /// What [`try_acquire_n`](Self::try_acquire_n) would say.
    pub fn peek_n(&self, n: u64) -> Result<(), Denied> {
        self.bucket.peek_n(n)
    }

    /// Takes `n` out again that were poured in and not used: as far as they have not leaked out.
    pub fn refund(&self, n: u64) {
        self.bucket.refund(n);
    }

    /// How full it is: what was poured in and has not leaked out whole. Above the capacity for a
    /// while after that was lowered.
    pub fn level(&self) -> u64 {
        self.bucket.core.level()
    }

    /// How many there is room for now.
    pub fn available(&self) -> u64 {
        self.bucket.available()
    }

    /// The rate at which it leaks.
    pub fn rate(&self) -> Rate {
        self.bucket.rate()
    }

    /// How much it holds.
    pub fn capacity(&self) -> u64 {
        self.bucket.burst()
    }

    /// The name given to the builder.
    pub fn name(&self) -> Option<&str> {
        self.bucket.name()
    }

    /// Changes the rate from now on. What has leaked out by the old one stays out.
    ///
    /// # Errors
    /// Those of [`TokenBucket::set_rate`]. The old rate stays then.
    pub fn set_rate(&self, rate: impl IntoRate) -> Result<(), ConfigError> {
        self.bucket.set_rate(rate)
    }

    /// Changes the capacity from now on. The level stays as it is: one above a smaller capacity
    /// has to leak out before anybody goes.
    ///
    /// Whoever waits for more than a smaller capacity gets [`AcquireError::ExceedsBurst`] when it
    /// is their turn.
    ///
    /// # Errors
    /// [`ConfigError`] if it is zero or too large for this bucket. The old capacity stays then.
    pub fn set_capacity(&self, capacity: u64) -> Result<(), ConfigError> {
        self.bucket
            .core
            .set_capacity(capacity)
            .map_err(|error| match error {
                ConfigError::ZeroBurst => ConfigError::ZeroCapacity,
                error => error,
            })?;
        #[cfg(feature = "tracing")]
        crate::events::changed(self.name(), "capacity", &capacity);
        Ok(())
    }

    /// Lets nobody go any more, for ever: whoever waits gets an error. Idempotent.
    pub fn close(&self) {
        self.bucket.close();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.bucket.is_closed()
    }

    /// What it has done and how it stands. No lock is taken, unless the time of a reservation has
    /// come: then shortly.
    pub fn stats(&self) -> LeakyBucketStats {
        let TokenBucketStats {
            granted,
            denied,
            waiting,
            burst,
            rate,
            ..
        } = self.bucket.stats();
        LeakyBucketStats {
            granted,
            denied,
            waiting,
            level: self.level(),
            capacity: burst,
            rate,
        }
    }
}

/// Waiting: first in, first out.
///
/// Whoever waits needs a runtime: the one given to the builder, else the one that polls. These
/// are the methods of [`LimiterExt`], so that no import is needed.
impl<C: Clock + 'static> LeakyBucket<C> {
    /// Waits for room for one. See [`LimiterExt::acquire_n`].
    ///
    /// # Cancel safety
    /// Dropping the future pours nothing in and passes the turn on.
    pub fn acquire(&self) -> Acquire<'_, Self> {
        LimiterExt::acquire_n(self, 1)
    }

    /// Waits for room for `n`. A large `n` holds up those behind it. See
    /// [`LimiterExt::acquire_n`].
    ///
    /// # Cancel safety
    /// Dropping the future pours nothing in and passes the turn on.
    pub fn acquire_n(&self, n: u64) -> Acquire<'_, Self> {
        LimiterExt::acquire_n(self, n)
    }

    /// Waits for room for one, and fails at once if `limit` cannot suffice. See
    /// [`LimiterExt::acquire_n_timeout`].
    ///
    /// # Cancel safety
    /// Dropping the future pours nothing in and passes the turn on.
    pub fn acquire_timeout(&self, limit: Duration) -> AcquireTimeout<'_, Self> {
        LimiterExt::acquire_n_timeout(self, 1, limit)
    }

    /// Waits for room for one on the calling thread. See [`TokenBucket::acquire_n_blocking`].
    ///
    /// # Errors
    /// [`AcquireBlockingError`]; nothing was poured in then.
    pub fn acquire_blocking(&self) -> Result<Granted, AcquireBlockingError> {
        self.bucket.acquire_blocking()
    }

    /// Waits for room for `n` on the calling thread. See [`TokenBucket::acquire_n_blocking`].
    ///
    /// # Errors
    /// [`AcquireBlockingError`]; nothing was poured in then.
    pub fn acquire_n_blocking(&self, n: u64) -> Result<Granted, AcquireBlockingError> {
        self.bucket.acquire_n_blocking(n)
    }

    /// Waits for room for one on the calling thread, for `limit` at the most. See
    /// [`TokenBucket::acquire_n_blocking_timeout`].
    ///
    /// # Errors
    /// [`AcquireBlockingError`]; nothing was poured in then.
    pub fn acquire_blocking_timeout(
        &self,
        limit: Duration,
    ) -> Result<Granted, AcquireBlockingError> {
        self.bucket.acquire_blocking_timeout(limit)
    }

    /// Takes room for one ahead of time. See [`TokenBucket::reserve_n`].
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    pub fn reserve(&self) -> Result<Reservation, Denied> {
        self.bucket.reserve()
    }

    /// Takes room for `n` ahead of time. See [`TokenBucket::reserve_n`].
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    pub fn reserve_n(&self, n: u64) -> Result<Reservation, Denied> {
        self.bucket.reserve_n(n)
    }
}

#[cfg(feature = "metrics")]
impl<C: Clock + 'static> LeakyBucket<C> {
    /// What shows this bucket in a `flow_metrics::Registry`, under its name, or `leaky_bucket`; as
    /// the token bucket that it is from the other side. See [`TokenBucket::collector`].
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect> {
        self.bucket.collector_or("leaky_bucket")
    }
}

impl<C: Clock + 'static> Limiter for LeakyBucket<C> {
    fn try_acquire_n(&self, n: u64) -> Result<Granted, Denied> {
        self.bucket.try_acquire_n(n)
    }

    fn peek_n(&self, n: u64) -> Result<(), Denied> {
        self.bucket.peek_n(n)
    }

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

impl<C> Clone for LeakyBucket<C> {
    /// Another handle to the same bucket.
    fn clone(&self) -> Self {
        Self {
            bucket: self.bucket.clone(),
        }
    }
}

impl<C: Clock> fmt::Debug for LeakyBucket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("LeakyBucket")
            .field("name", &self.name())
            .field("rate", &stats.rate)
            .field("capacity", &stats.capacity)
            .field("level", &stats.level)
            .field("waiting", &stats.waiting)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// What a [`LeakyBucket`] has done and how it stands.
///
/// Each number is exact; together they are of about the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeakyBucketStats {
    /// Requests that were granted, at once or after a wait; 0 if they are not counted.
    pub granted: u64,
    /// Requests that were denied, and waits that ended with an error, at their limit too; 0 if they
    /// are not counted. Waits that were dropped are not among them.
    pub denied: u64,
    /// Callers in the queue.
    pub waiting: usize,
    /// How full it is.
    pub level: u64,
    /// The capacity in force.
    pub capacity: u64,
    /// The rate in force.
    pub rate: Rate,
}
