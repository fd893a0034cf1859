//! How many at once: permits that come back.

mod acquire;
mod error;
#[cfg(feature = "metrics")]
mod metrics;
mod permit;

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use flow_sync::{PaddedCounter, Permits, TryAcquireError};

pub use acquire::{AcquireOwnedPermit, AcquirePermit, AcquirePermitTimeout};
pub use error::{ConcurrencyConfigError, PermitError, TryPermitError};
pub use permit::{OwnedPermit, Permit};

/// A limit on how many run at once, as permits that come back when they are dropped.
///
/// Waiting is first in, first out: a newcomer never overtakes somebody who waits, and a large
/// need holds back those behind it until it fits. Clones are the same limiter.
///
/// # Cost
/// Taking a permit is one compare-and-swap, giving it back one subtraction, while nobody waits.
///
/// ```
/// use flow_ratelimit::ConcurrencyLimiter;
///
/// let limiter = ConcurrencyLimiter::new(2)?;
/// let first = limiter.try_acquire()?;
/// let both = limiter.try_acquire()?;
/// assert!(limiter.try_acquire().is_err());
/// drop(first);
/// assert_eq!((limiter.available(), limiter.in_flight()), (1, 1));
/// # drop(both);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ConcurrencyLimiter(Arc<Inner>);

struct Inner {
    permits: Arc<Permits>,
    name: Option<Cow<'static, str>>,
    denied: PaddedCounter,
}

impl ConcurrencyLimiter {
    /// `limit` permits, and any number of waiters.
    ///
    /// # Errors
    /// If `limit` is zero or above [`MAX_LIMIT`](Self::MAX_LIMIT).
    pub fn new(limit: u32) -> Result<Self, ConcurrencyConfigError> {
        Self::builder().limit(limit).build()
    }

    /// A limiter to configure.
    pub fn builder() -> ConcurrencyLimiterBuilder {
        ConcurrencyLimiterBuilder {
            limit: None,
            max_waiters: usize::MAX,
            name: None,
        }
    }

    /// The largest limit: 2^31 - 1.
    pub const MAX_LIMIT: u32 = Permits::MAX_LIMIT;

    /// Takes a permit if one is free and nobody waits.
    ///
    /// # Errors
    /// See [`TryPermitError`]; nothing was taken.
    pub fn try_acquire(&self) -> Result<Permit<'_>, TryPermitError> {
        self.try_acquire_n(1)
    }

    /// Takes `n` permits at once if they are free and nobody waits; 0 are always free.
    ///
    /// # Errors
    /// See [`TryPermitError`]; nothing was taken.
    pub fn try_acquire_n(&self, n: u32) -> Result<Permit<'_>, TryPermitError> {
        self.take(n)?;
        Ok(Permit::new(self, n))
    }

    /// Takes like [`try_acquire_n`](Self::try_acquire_n), as a permit that borrows nothing.
    ///
    /// # Errors
    /// See [`TryPermitError`]; nothing was taken.
    pub fn try_acquire_owned(&self, n: u32) -> Result<OwnedPermit, TryPermitError> {
        self.take(n)?;
        Ok(OwnedPermit::new(self.clone(), n))
    }

    fn take(&self, n: u32) -> Result<(), TryPermitError> {
        self.0.permits.try_acquire(n).map_err(|error| {
            self.0.denied.add(1);
            match error {
                TryAcquireError::TooMany { asked, limit } => {
                    TryPermitError::ExceedsLimit { asked, limit }
                }
                TryAcquireError::Closed => TryPermitError::Closed,
                _ => TryPermitError::Full {
                    limit: self.limit(),
                },
            }
        })
    }

    /// Waits for a permit, first in, first out.
    pub fn acquire(&self) -> AcquirePermit<'_> {
        self.acquire_n(1)
    }

    /// Waits for `n` permits at once; more than the limit fails at once.
    pub fn acquire_n(&self, n: u32) -> AcquirePermit<'_> {
        AcquirePermit::new(self, n)
    }

    /// Waits for a permit that borrows nothing, for a spawned task.
    pub fn acquire_owned(&self) -> AcquireOwnedPermit {
        self.acquire_owned_n(1)
    }

    /// Waits for `n` permits that borrow nothing.
    pub fn acquire_owned_n(&self, n: u32) -> AcquireOwnedPermit {
        AcquireOwnedPermit::new(self.clone(), n)
    }

    /// Waits for a permit for at most `limit`, counted from the first poll, on the timer of the
    /// runtime that polls.
    pub fn acquire_timeout(&self, limit: Duration) -> AcquirePermitTimeout<'_> {
        AcquirePermitTimeout::new(self.acquire(), limit)
    }

    /// Waits for a permit on a plain thread.
    ///
    /// # Errors
    /// [`PermitError`]; [`PermitError::WouldBlock`] on a thread of a runtime.
    pub fn acquire_blocking(&self) -> Result<Permit<'_>, PermitError> {
        flow_rt::block_on(self.acquire()).map_err(PermitError::WouldBlock)?
    }

    /// Changes the limit, live. Lowered below what is in flight, it gives nothing until enough
    /// has come back; waiters who need more than it allows fail when it is their turn.
    ///
    /// # Errors
    /// If `limit` is zero or above [`MAX_LIMIT`](Self::MAX_LIMIT); the limit stays as it was.
    pub fn set_limit(&self, limit: u32) -> Result<(), ConcurrencyConfigError> {
        self.0.permits.set_limit(checked(limit)?)?;
        Ok(())
    }

    /// Stops giving permits: who waits fails with [`PermitError::Closed`], as later calls do.
    /// Permits held stay good. Idempotent.
    pub fn close(&self) {
        self.0.permits.close();
    }

    /// Whether the limiter is closed.
    pub fn is_closed(&self) -> bool {
        self.0.permits.is_closed()
    }

    /// Permits free now; 0 while more are in flight than a lowered limit allows.
    pub fn available(&self) -> u32 {
        self.0.permits.available()
    }

    /// Permits held now.
    pub fn in_flight(&self) -> u32 {
        self.0.permits.in_flight()
    }

    /// The limit in force.
    pub fn limit(&self) -> u32 {
        self.0.permits.limit()
    }

    /// The name given at build.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// What goes on now.
    pub fn stats(&self) -> ConcurrencyStats {
        ConcurrencyStats {
            limit: self.limit(),
            in_flight: self.in_flight(),
            waiting: self.0.permits.waiting(),
            denied: self.0.denied.sum(),
        }
    }

    /// A collector for a [`flow_metrics::Registry`].
    #[cfg(feature = "metrics")]
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect> {
        Arc::new(metrics::LimiterCollector(self.clone()))
    }
}

impl fmt::Debug for ConcurrencyLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLimiter")
            .field("name", &self.name())
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("waiting", &self.0.permits.waiting())
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// A look at a [`ConcurrencyLimiter`]; its numbers are of one moment each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConcurrencyStats {
    /// The limit in force.
    pub limit: u32,
    /// Permits held.
    pub in_flight: u32,
    /// Callers that wait.
    pub waiting: usize,
    /// Calls of `try_acquire` that got nothing, ever.
    pub denied: u64,
}

/// Configures a [`ConcurrencyLimiter`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ConcurrencyLimiterBuilder {
    limit: Option<u32>,
    max_waiters: usize,
    name: Option<Cow<'static, str>>,
}

impl ConcurrencyLimiterBuilder {
    /// How many permits there are, 1 to [`ConcurrencyLimiter::MAX_LIMIT`]. Required.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// How many callers may wait; any number unless set. With 0 nobody waits.
    pub fn max_waiters(mut self, waiters: usize) -> Self {
        self.max_waiters = waiters;
        self
    }

    /// A name for reports and metrics.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Builds the limiter, all permits free.
    ///
    /// # Errors
    /// [`ConcurrencyConfigError`] if the limit is missing or out of range.
    pub fn build(self) -> Result<ConcurrencyLimiter, ConcurrencyConfigError> {
        let limit = self.limit.ok_or(ConcurrencyConfigError::MissingLimit)?;
        let permits = Permits::new(checked(limit)?, self.max_waiters)?;
        Ok(ConcurrencyLimiter(Arc::new(Inner {
            permits: Arc::new(permits),
            name: self.name,
            denied: PaddedCounter::new(),
        })))
    }
}

fn checked(limit: u32) -> Result<u32, ConcurrencyConfigError> {
    if limit == 0 {
        return Err(ConcurrencyConfigError::ZeroLimit);
    }
    Ok(limit)
}
