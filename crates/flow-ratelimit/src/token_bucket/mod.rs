//! The token bucket: bursts up to so many, then at a rate.

mod blocking;
mod builder;
pub(crate) mod core;
pub(crate) mod credits;
pub(crate) mod decide;
pub(crate) mod denial;
mod fairness;
mod grant;
pub(crate) mod line;
mod local;
#[cfg(feature = "metrics")]
mod metrics;
mod reservation;
pub(crate) mod sharded;
pub(crate) mod snapshot;
pub(crate) mod warm_up;

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
use crate::rate::{IntoRate, Rate};
use crate::seldom::seldom;
use crate::wait_state::WaitState;
use crate::waiting::{Serves, Waits};

pub use builder::TokenBucketBuilder;
pub use fairness::Fairness;
pub use local::{LocalBucket, OwnedLocalBucket};
pub use reservation::{AwaitReservation, Reservation};
pub use snapshot::Snapshot;

/// A bucket of tokens that fills at a rate and holds a burst: exact, shared by cloning.
///
/// Over any time `t` it grants at most `burst + rate × t` tokens, for every rate and burst that
/// it accepts, whatever the clock does. (Where `rate × 4 ms` is more than the burst, those who
/// wait may get that much at once from a driver that is late: see
/// [`catch_up`](TokenBucketBuilder::catch_up).) Rate and burst can be changed while it runs; nothing is
/// minted or lost by it. Those who wait are served first in, first out, and a newcomer never
/// passes them, unless it was built with [`Fairness::Barging`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_ratelimit::{Denied, TokenBucket};
///
/// let bucket = TokenBucket::builder().rate("100/s").burst(200).build()?;
/// let granted = bucket.try_acquire_n(5)?;
/// assert_eq!(granted.remaining(), 195);
///
/// match bucket.try_acquire_n(199) {
///     Err(Denied::NotYet { retry_after, .. }) => assert!(retry_after.as_millis() <= 40),
///     other => panic!("{other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
///
/// In a `static` it goes into a [`LazyLock`](std::sync::LazyLock):
///
/// ```
/// use std::sync::LazyLock;
/// use flow_ratelimit::{Rate, TokenBucket};
/// use flow_rt::DefaultClock;
///
/// static LIMIT: LazyLock<TokenBucket> = LazyLock::new(|| {
///     let bucket = TokenBucket::builder().rate(Rate::per_second(50)).burst(50);
///     // Whatever touches it first, a simulation perhaps: it runs on the machine's clock.
///     bucket.clock(DefaultClock::machine()).build().expect("a valid limit")
/// });
/// assert!(LIMIT.try_acquire().is_ok());
/// ```
pub struct TokenBucket<C = DefaultClock> {
    pub(crate) core: Arc<Core<C>>,
}

impl TokenBucket {
    /// A bucket that starts full.
    ///
    /// # Errors
    /// [`ConfigError`] if the rate is no rate, the burst is zero, or either is out of range.
    pub fn new(rate: impl IntoRate, burst: u64) -> Result<Self, ConfigError> {
        Self::builder().rate(rate.into_rate()).burst(burst).build()
    }

    /// A bucket to be configured.
    pub fn builder() -> TokenBucketBuilder {
        TokenBucketBuilder::new()
    }
}

impl<C: Clock> TokenBucket<C> {
    /// Takes one token now, or says why not.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    ///
    /// # Cost
    /// One look at the clock and one compare-and-swap. A denial swaps nothing; until something
    /// changes, those that follow it are a look at the clock and a comparison.
    #[inline]
    pub fn try_acquire(&self) -> Result<Granted, Denied> {
        self.core.try_take(1)
    }

    /// Takes `n` tokens now, or says why not. 0 tokens are there as long as it is open.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire); but each denial is computed anew.
    #[inline]
    pub fn try_acquire_n(&self, n: u64) -> Result<Granted, Denied> {
        self.core.try_take(n)
    }

    /// Whether one token could be taken now. Takes and counts nothing.
    ///
    /// # Errors
    /// What [`try_acquire`](Self::try_acquire) would say.
    pub fn peek(&self) -> Result<(), Denied> {
        self.core.peek(1)
    }

    /// Whether `n` tokens could be taken now. Takes and counts nothing.
    ///
    /// # Errors
    /// What [`try_acquire_n`](Self::try_acquire_n) would say.
    pub fn peek_n(&self, n: u64) -> Result<(), Denied> {
        self.core.peek(n)
    }

    /// Gives `n` tokens back that were taken and not used. What does not fit is lost.
    pub fn refund(&self, n: u64) {
        self.core.refund(n);
    }

    /// Whole tokens in the bucket now, those in its shards included; those who wait or reserved
    /// have not taken theirs yet.
    pub fn available(&self) -> u64 {
        self.core.available()
    }

    /// The rate in force.
    pub fn rate(&self) -> Rate {
        self.core.rate()
    }

    /// The burst in force, credits included.
    pub fn burst(&self) -> u64 {
        self.core.burst()
    }

    /// The name given to the builder.
    pub fn name(&self) -> Option<&str> {
        self.core.settings.waits.name.as_deref()
    }

    /// Changes the rate from now on. What was earned at the old one stays; those who wait are
    /// served by the new one. Of [`Rate::ZERO`] they wait on until it is raised again.
    ///
    /// # Errors
    /// [`ConfigError`] if it is no rate, or too high for this bucket: the number of fraction bits
    /// in its word was chosen for the rate and burst it was built with, and leaves room up to
    /// 10^9 per second unless the burst is above 2 × 10^9. The old rate stays then.
    pub fn set_rate(&self, rate: impl IntoRate) -> Result<(), ConfigError> {
        let rate = rate.into_rate()?;
        self.core.set_rate(rate)?;
        #[cfg(feature = "tracing")]
        crate::events::changed(self.name(), "rate", &rate);
        Ok(())
    }

    /// Changes the burst from now on. Tokens beyond a smaller one are lost; a larger one fills at
    /// the rate.
    ///
    /// Whoever waits for more than a smaller burst gets [`AcquireError::ExceedsBurst`] when it is
    /// their turn.
    ///
    /// # Errors
    /// [`ConfigError`] if it is zero or too large for this bucket, or less than twice the credits
    /// that are set aside ([`local`](Self::local), [`sharded`](TokenBucketBuilder::sharded)). The
    /// old burst stays then.
    pub fn set_burst(&self, burst: u64) -> Result<(), ConfigError> {
        self.core.set_burst(burst)?;
        #[cfg(feature = "tracing")]
        crate::events::changed(self.name(), "burst", &burst);
        Ok(())
    }

    /// A handle that takes up to `batch` tokens at once and spends them without looking at the
    /// clock or the bucket. See [`LocalBucket`].
    ///
    /// To those who wait or have reserved it is a smaller burst: see
    /// [`set_burst`](Self::set_burst).
    ///
    /// # Errors
    /// [`ConfigError`] if `batch` is zero, or all live batches would be more than half of the
    /// burst; and if the bucket was built with a [`debt`](TokenBucketBuilder::debt), a
    /// [`warm_up`](TokenBucketBuilder::warm_up) or with [`Fairness::Barging`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use flow_ratelimit::{ConfigError, TokenBucket};
    ///
    /// let bucket = TokenBucket::builder().rate("1000/s").burst(100).build()?;
    /// let local = bucket.local(32)?;
    /// for _ in 0..20 {
    ///     local.try_acquire()?;
    /// }
    ///
    /// // Half of the burst, less the batch that lives.
    /// let refused = bucket.local(32).unwrap_err();
    /// assert_eq!(refused, ConfigError::BatchTooLarge { given: 32, max: 18 });
    /// # Ok(())
    /// # }
    /// ```
    pub fn local(&self, batch: u32) -> Result<LocalBucket<'_, C>, ConfigError> {
        LocalBucket::new(&self.core, batch)
    }

    /// [`local`](Self::local), for a handle that keeps the bucket alive.
    ///
    /// # Errors
    /// Those of [`local`](Self::local).
    pub fn local_owned(&self, batch: u32) -> Result<OwnedLocalBucket<C>, ConfigError> {
        OwnedLocalBucket::new(self.core.clone(), batch)
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

    /// What it has done and how it stands. No lock is taken, unless the bucket warms up or the
    /// time of a reservation has come: then shortly.
    pub fn stats(&self) -> TokenBucketStats {
        let (granted, denied) = self.core.counted().unwrap_or_default();
        TokenBucketStats {
            granted,
            denied,
            waiting: self.core.waiting.load(Ordering::Acquire),
            available: self.available(),
            burst: self.burst(),
            rate: self.rate(),
        }
    }
}

#[cfg(feature = "metrics")]
impl<C: Clock + 'static> TokenBucket<C> {
    /// What shows this bucket in a `flow_metrics::Registry`, under its name, or `token_bucket`.
    ///
    /// It keeps the bucket alive while it is registered. Nothing is published in between: the
    /// numbers are read when somebody collects.
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect> {
        self.collector_or("token_bucket")
    }
}

/// Waiting: first in, first out.
///
/// Whoever waits needs a runtime: the one given to the builder, else the one that polls. A small
/// task there looks at the clock for all of them; it stays for 100 ms after the last one, in case
/// another comes, and does not keep the bucket alive. A wait allocates nothing while it stays. These
/// are the methods of [`LimiterExt`], so that no import is needed.
impl<C: Clock + 'static> TokenBucket<C> {
    /// Waits for one token. See [`LimiterExt::acquire_n`].
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire) if the token is there, else two locks and no
    /// allocation in the steady state; of a bucket with a [`jitter`](TokenBucketBuilder::jitter)
    /// two.
    pub fn acquire(&self) -> Acquire<'_, Self> {
        LimiterExt::acquire_n(self, 1)
    }

    /// Waits for `n` tokens. A large `n` holds up those behind it. See [`LimiterExt::acquire_n`].
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    ///
    /// # Cost
    /// That of [`acquire`](Self::acquire).
    pub fn acquire_n(&self, n: u64) -> Acquire<'_, Self> {
        LimiterExt::acquire_n(self, n)
    }

    /// Waits for one token, and fails at once if `limit` cannot suffice. See
    /// [`LimiterExt::acquire_n_timeout`].
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    ///
    /// # Cost
    /// That of [`acquire`](Self::acquire), and one boxed timer for each wait.
    pub fn acquire_timeout(&self, limit: Duration) -> AcquireTimeout<'_, Self> {
        LimiterExt::acquire_n_timeout(self, 1, limit)
    }

    /// Takes one token ahead of time. See [`reserve_n`](Self::reserve_n).
    ///
    /// # Errors
    /// Those of [`reserve_n`](Self::reserve_n).
    pub fn reserve(&self) -> Result<Reservation, Denied> {
        self.core.reserve(1)
    }

    /// Takes `n` tokens ahead of time: at once if they are there, else behind all who wait or
    /// reserved before. Nobody passes it from then on. No runtime is needed unless it is awaited.
    ///
    /// The reservation says when it is ready. Dropped before that, it is cancelled, and nothing
    /// was taken.
    ///
    /// # Errors
    /// [`Denied::ExceedsBurst`], [`Denied::NeverRefills`], [`Denied::Closed`];
    /// [`Denied::QueueFull`] if as many wait as may, and [`Denied::NotYet`] if it would be ready
    /// later than [`max_reserve`](TokenBucketBuilder::max_reserve) allows. Nothing was taken then.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire) and a reference count if it is ready at once,
    /// else a lock. Nothing is allocated in the steady state.
    pub fn reserve_n(&self, n: u64) -> Result<Reservation, Denied> {
        self.core.reserve(n)
    }

    /// How it stands, as plain data, for [`restore`](TokenBucketBuilder::restore) after a
    /// restart. Credits in shards are in it. The time is the wall clock's: of the runtime given to
    /// the builder, else of the current one (so that of a simulation inside one), else the
    /// machine's.
    ///
    /// # Cost
    /// A lock.
    pub fn snapshot(&self) -> Snapshot {
        self.core.snapshot()
    }
}

impl<C: Clock + 'static> Limiter for TokenBucket<C> {
    fn try_acquire_n(&self, n: u64) -> Result<Granted, Denied> {
        self.core.try_take(n)
    }

    fn peek_n(&self, n: u64) -> Result<(), Denied> {
        self.core.peek(n)
    }

    fn refund(&self, n: u64) {
        self.core.refund(n);
    }

    #[inline]
    fn poll_acquire_n(
        &self,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>> {
        // Most need not wait: they keep to what a grant needs, as `try_acquire` does.
        if state.is_waiting() || !self.core.shards.is_empty() {
            seldom();
            return self.core.poll_take(cx, n, state);
        }
        match self.core.take_paid(n) {
            Ok(granted) => Poll::Ready(Ok(granted)),
            Err(denied) => {
                seldom();
                self.core.poll_denied(cx, n, state, denied)
            }
        }
    }
}

impl<C> Clone for TokenBucket<C> {
    /// Another handle to the same bucket.
    fn clone(&self) -> Self {
        Self {
            core: self.core.clone(),
        }
    }
}

impl<C: Clock> fmt::Debug for TokenBucket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("TokenBucket")
            .field("name", &self.name())
            .field("rate", &stats.rate)
            .field("burst", &stats.burst)
            .field("available", &stats.available)
            .field("waiting", &stats.waiting)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// What a [`TokenBucket`] has done and how it stands.
///
/// Each number is exact; together they are of about the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenBucketStats {
    /// Requests that were granted, at once or after a wait; 0 if they are not counted. Those that
    /// a [`LocalBucket`](crate::LocalBucket) grants of its credits are in it with its next batch,
    /// or when it goes.
    pub granted: u64,
    /// Requests that were denied, and waits that ended with an error, at their limit too; 0 if they
    /// are not counted. Waits that were dropped are in neither number.
    pub denied: u64,
    /// Callers in the queue, and reservations that are not ready yet.
    pub waiting: usize,
    /// Whole tokens in the bucket.
    pub available: u64,
    /// The burst in force.
    pub burst: u64,
    /// The rate in force.
    pub rate: Rate,
}
