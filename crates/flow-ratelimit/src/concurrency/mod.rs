//! How many at once: permits that come back, first come first served.

mod acquire;
mod blocking;
mod builder;
mod error;
#[cfg(feature = "metrics")]
mod metrics;
mod permit;

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::{Handle, HandleError};
use flow_sync::{AcquireError, PaddedCounter, Permits, TryAcquireError};

pub(crate) use blocking::park_until;

pub use acquire::{AcquireOwnedPermit, AcquirePermit, AcquirePermitTimeout};
pub use builder::ConcurrencyLimiterBuilder;
pub use error::{ConcurrencyConfigError, PermitError, TryPermitError};
pub use permit::{MergeError, OwnedPermit, Permit};

/// A limit on how many run at once, as permits that come back when they are dropped.
///
/// Whoever takes `n` permits at once gets all of them or none. Waiting is first in, first out: a
/// newcomer never overtakes somebody who waits, and a large need holds back those behind it until
/// it fits. A permit that was handed to a waiter is its own from then on, polled or not. With
/// [`Fairness::Barging`](crate::Fairness::Barging) newcomers do overtake, and a permit that came
/// back is nobody's until it is taken. Where some requests matter more than others there is
/// [`ClassedLimiter`](crate::ClassedLimiter). Clones are the same limiter.
///
/// ```
/// use flow_ratelimit::{ConcurrencyLimiter, TryPermitError};
///
/// let limiter = ConcurrencyLimiter::new(10)?;
/// let permit = limiter.try_acquire_n(8)?;
/// assert_eq!((limiter.in_flight(), limiter.available()), (8, 2));
/// assert!(matches!(limiter.try_acquire_n(3), Err(TryPermitError::Full { .. })));
/// drop(permit);
/// assert_eq!(limiter.available(), 10);
///
/// // Into a thread or a task of its own:
/// let owned = limiter.try_acquire()?.into_owned();
/// std::thread::spawn(move || drop(owned)).join().expect("no panic");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ConcurrencyLimiter {
    permits: Arc<Permits>,
    shared: Arc<Shared>,
}

struct Shared {
    name: Option<Cow<'static, str>>,
    runtime: Option<Handle>,
    /// Grants are counted in the word of the permits, where it costs nothing.
    denied: Option<PaddedCounter>,
}

impl ConcurrencyLimiter {
    /// `limit` permits, all free, and any number of waiters.
    ///
    /// # Errors
    /// If `limit` is zero or above [`MAX_LIMIT`](Self::MAX_LIMIT).
    pub fn new(limit: u32) -> Result<Self, ConcurrencyConfigError> {
        Self::builder().limit(limit).build()
    }

    /// A limiter to be configured.
    pub fn builder() -> ConcurrencyLimiterBuilder {
        ConcurrencyLimiterBuilder::new()
    }

    /// The largest limit: 2^28 - 1.
    pub const MAX_LIMIT: u32 = Permits::MAX_LIMIT;

    /// Takes a permit if one is free and nobody waits.
    ///
    /// # Errors
    /// [`TryPermitError`]; nothing was taken then.
    ///
    /// # Cost
    /// One load and one compare-and-swap; giving back is one subtraction while nobody waits. No
    /// clock. Whoever loses a race with another thread tries again after about a microsecond.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>, TryPermitError> {
        self.try_acquire_n(1)
    }

    /// Takes `n` permits at once if they are free and nobody waits; 0 are always free.
    ///
    /// # Errors
    /// [`TryPermitError`]; nothing was taken then.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_n(&self, n: u32) -> Result<Permit<'_>, TryPermitError> {
        match self.permits.try_acquire(n) {
            Ok(()) => Ok(Permit::new(&self.permits, n)),
            Err(error) => Err(self.denied(error)),
        }
    }

    /// Takes one if it is free, as a permit that borrows nothing, for a spawned task.
    ///
    /// # Errors
    /// [`TryPermitError`]; nothing was taken then.
    #[inline]
    pub fn try_acquire_owned(&self) -> Result<OwnedPermit, TryPermitError> {
        self.try_acquire_owned_n(1)
    }

    /// Takes like [`try_acquire_n`](Self::try_acquire_n), as permits that borrow nothing.
    ///
    /// # Errors
    /// [`TryPermitError`]; nothing was taken then.
    #[inline]
    pub fn try_acquire_owned_n(&self, n: u32) -> Result<OwnedPermit, TryPermitError> {
        self.try_acquire_n(n).map(Permit::into_owned)
    }

    /// Waits for a permit, first in, first out.
    ///
    /// No runtime is asked: whoever gives a permit back wakes the next.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing: its place goes, and a permit that it had been handed
    /// passes on to the next in line.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire) if it need not wait; a wait takes a short lock
    /// and, in the long run, no allocation.
    #[inline]
    pub fn acquire(&self) -> AcquirePermit<'_> {
        self.acquire_n(1)
    }

    /// Waits for `n` permits at once.
    ///
    /// Fails at once if `n` is above the limit; and in its turn, if the limit was lowered below
    /// `n` meanwhile.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// That of [`acquire`](Self::acquire).
    #[inline]
    pub fn acquire_n(&self, n: u32) -> AcquirePermit<'_> {
        AcquirePermit::new(self, n)
    }

    /// Waits for a permit that borrows nothing, for a spawned task.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// That of [`acquire`](Self::acquire).
    ///
    /// # Cost
    /// That of [`acquire`](Self::acquire) and three reference counts.
    #[inline]
    pub fn acquire_owned(&self) -> AcquireOwnedPermit {
        self.acquire_owned_n(1)
    }

    /// Waits for `n` permits at once that borrow nothing. See [`acquire_n`](Self::acquire_n).
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// That of [`acquire`](Self::acquire).
    #[inline]
    pub fn acquire_owned_n(&self, n: u32) -> AcquireOwnedPermit {
        AcquireOwnedPermit::new(self.clone(), n)
    }

    /// Waits for a permit for at most `limit`, counted from the first poll.
    ///
    /// A permit handed over at the same instant as the limit wins. What waiting cannot change fails
    /// at once: more than the limit, a full queue, a closed limiter, no time at all. Only if it has
    /// to wait it asks a runtime for a timer: the one given to the builder, else the one that polls.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// That of [`acquire`](Self::acquire).
    ///
    /// # Cost
    /// That of [`acquire`](Self::acquire), and one boxed timer if it has to wait.
    #[inline]
    pub fn acquire_timeout(&self, limit: Duration) -> AcquirePermitTimeout<'_> {
        self.acquire_n_timeout(1, limit)
    }

    /// Waits for `n` permits at once for at most `limit`. See
    /// [`acquire_timeout`](Self::acquire_timeout) and [`acquire_n`](Self::acquire_n).
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// That of [`acquire`](Self::acquire).
    #[inline]
    pub fn acquire_n_timeout(&self, n: u32, limit: Duration) -> AcquirePermitTimeout<'_> {
        AcquirePermitTimeout::new(self.acquire_n(n), limit)
    }

    /// Changes the limit from now on and gives the one before.
    ///
    /// Raised, it lets in those who wait. Lowered below what is in flight it takes nothing back:
    /// nobody is let in until enough permits have come back. Whoever waits for more than the new
    /// limit gets [`PermitError::ExceedsLimit`] when it is their turn.
    ///
    /// At 0 nothing passes: who waits, and who comes, is refused with
    /// [`PermitError::ExceedsLimit`], as every need is above the limit, until it is raised. What
    /// is out stays good.
    ///
    /// # Errors
    /// If `limit` is above [`MAX_LIMIT`](Self::MAX_LIMIT); the limit stays as it was.
    ///
    /// # Cost
    /// One compare-and-swap on the word that permits are taken from; a lock if somebody waits.
    pub fn set_limit(&self, limit: u32) -> Result<u32, ConcurrencyConfigError> {
        let before = self.adjust_limit(limit)?;
        #[cfg(feature = "tracing")]
        if before != limit {
            crate::events::changed(self.name(), "limit", &limit);
        }
        Ok(before)
    }

    /// The same without an event, for one who tells it in words of its own.
    pub(crate) fn adjust_limit(&self, limit: u32) -> Result<u32, ConcurrencyConfigError> {
        Ok(self.permits.set_limit(limit)?)
    }

    /// Stops giving permits, for ever: who waits fails with [`PermitError::Closed`], as later
    /// calls do. Permits held stay good. Idempotent.
    pub fn close(&self) {
        #[cfg(feature = "tracing")]
        if !self.is_closed() {
            crate::events::closed(self.name(), self.permits.waiting());
        }
        self.permits.close();
    }

    /// Whether the limiter is closed.
    pub fn is_closed(&self) -> bool {
        self.permits.is_closed()
    }

    /// Permits free now; 0 while more are in flight than a lowered limit allows.
    #[inline]
    pub fn available(&self) -> u32 {
        self.permits.available()
    }

    /// Permits held now.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.permits.in_flight()
    }

    /// The limit in force.
    #[inline]
    pub fn limit(&self) -> u32 {
        self.permits.limit()
    }

    /// The name given at build.
    pub fn name(&self) -> Option<&str> {
        self.shared.name.as_deref()
    }

    /// What it has done and how it stands. Locks shortly if somebody waits.
    pub fn stats(&self) -> ConcurrencyStats {
        let (granted, denied) = self.counted().unwrap_or_default();
        ConcurrencyStats {
            granted,
            denied,
            waiting: self.permits.waiting(),
            in_flight: self.in_flight(),
            available: self.available(),
            limit: self.limit(),
        }
    }

    /// A collector for a [`flow_metrics::Registry`], under the limiter's name.
    ///
    /// It keeps the limiter alive while it is registered. Nothing is published in between: the
    /// numbers are read when somebody collects.
    #[cfg(feature = "metrics")]
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect> {
        Arc::new(metrics::LimiterCollector(self.clone()))
    }

    /// Grants and denials so far, if they are counted.
    fn counted(&self) -> Option<(u64, u64)> {
        let denied = self.shared.denied.as_ref()?;
        Some((self.permits.granted(), denied.sum()))
    }

    /// Whose timers bound a wait.
    pub(crate) fn runtime(&self) -> Result<Handle, HandleError> {
        match &self.shared.runtime {
            Some(runtime) => Ok(runtime.clone()),
            None => Handle::current(),
        }
    }

    /// A wait that ended without permits, counted.
    #[cold]
    fn refused(&self, error: AcquireError) -> PermitError {
        self.count_denied();
        error.into()
    }

    #[cold]
    fn denied(&self, error: TryAcquireError) -> TryPermitError {
        self.count_denied();
        TryPermitError::new(error, self.limit())
    }

    #[cold]
    fn count_denied(&self) {
        if let Some(denied) = &self.shared.denied {
            denied.add(1);
        }
    }
}

impl fmt::Debug for ConcurrencyLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLimiter")
            .field("name", &self.name())
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("waiting", &self.permits.waiting())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// What a [`ConcurrencyLimiter`] has done and how it stands.
///
/// Each number is exact while nothing goes on; together they are of about the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConcurrencyStats {
    /// Requests that were granted, at once or after a wait, whether or not the future was polled
    /// again; 0 if they are not counted. Beside grants that are under way it may be 64 behind for
    /// each of them.
    pub granted: u64,
    /// Requests that were denied, and waits that ended with an error; 0 if they are not counted.
    pub denied: u64,
    /// Callers in the queue.
    pub waiting: usize,
    /// Permits held.
    pub in_flight: u32,
    /// Permits free.
    pub available: u32,
    /// The limit in force.
    pub limit: u32,
}
