//! How many at once, found by the limiter itself.

mod aimd;
mod algorithm;
mod blocking;
mod builder;
mod error;
mod gradient2;
#[cfg(feature = "metrics")]
mod metrics;
mod pace;
mod permit;
mod probing;
#[cfg(feature = "serde")]
mod settings;
mod stats;
mod unloaded;
mod vegas;
mod window;
mod windows;

use core::fmt;
use core::future::Future;
use core::ops::RangeInclusive;
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock, Instant};
#[cfg(feature = "tower")]
use flow_rt::{Handle, HandleError};
use flow_sync::sync::Mutex;

use self::stats::Decisions;
use self::windows::{Ended, Started, Windows};
use crate::concurrency::{ConcurrencyLimiter, PermitError, TryPermitError};

pub use aimd::Aimd;
pub use algorithm::LimitAlgorithm;
pub use builder::AdaptiveLimiterBuilder;
pub use error::AdaptiveConfigError;
pub use gradient2::Gradient2;
pub use permit::{AdaptiveOwnedPermit, AdaptivePermit};
pub use stats::AdaptiveStats;
pub use vegas::Vegas;
pub use window::Window;

/// A [`ConcurrencyLimiter`] that finds its limit itself, from how its permits end.
///
/// A permit that ends with `success` teaches how long the work took, one that ends with `failure`
/// that there was too much of it. One that is dropped, or ends with `ignore`, teaches nothing:
/// neither a bug of the caller nor a cancelled request says anything about the limit. Every 100 ms
/// a [`LimitAlgorithm`] makes a limit of it, on the thread whose permit was the first to end
/// after that; nobody waits for it.
///
/// | algorithm | goes by | finds |
/// |---|---|---|
/// | [`Gradient2`] | latency, smoothly | where requests begin to queue |
/// | [`Vegas`] | latency, in saws | the same, a little sooner and rougher |
/// | [`Aimd`] | failures, or a latency that you name | where the service refuses |
///
/// Waiting is that of the [`ConcurrencyLimiter`]: first in, first out. One that asks for more than
/// the limit of the moment, and not for more than the range allows, goes alone: it is let in when
/// nothing else is in flight. So the limit may fall below what each request needs, and they teach
/// it still. Clones are the same limiter.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # flow_rt::sim::Sim::new(0).run(|_rt| async {
/// use flow_ratelimit::{ConcurrencyLimiter, Gradient2};
///
/// let inflight = ConcurrencyLimiter::adaptive(Gradient2::default()).range(10..=1_000).build()?;
/// let permit = inflight.acquire_owned().await?;
/// match ask_the_service().await {
///     Ok(_) => permit.success(),
///     Err(error) if error.is_overload() => permit.failure(),
///     Err(_) => permit.ignore(),
/// }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?.output
/// # }
/// # struct Failed;
/// # impl Failed { fn is_overload(&self) -> bool { true } }
/// # async fn ask_the_service() -> Result<(), Failed> { Ok(()) }
/// ```
///
/// # Cost
/// Per permit that is sampled two looks at the clock and two or three RMWs on lines that few
/// threads share; under more traffic than some twenty thousand permits a second only a part is
/// sampled, down to one in 64, and the others cost two loads and a store.
pub struct AdaptiveLimiter<C = DefaultClock> {
    limiter: ConcurrencyLimiter,
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    clock: C,
    min: u32,
    max: u32,
    windows: Windows,
    decisions: Decisions,
    /// Locked by the closer of a window alone.
    algorithm: Mutex<Box<dyn LimitAlgorithm>>,
}

impl ConcurrencyLimiter {
    /// A limiter to be configured that finds its limit itself; see [`AdaptiveLimiter`].
    pub fn adaptive(algorithm: impl LimitAlgorithm) -> AdaptiveLimiterBuilder {
        AdaptiveLimiterBuilder::new(Box::new(algorithm))
    }
}

impl<C: Clock> AdaptiveLimiter<C> {
    /// Takes a permit if one is free and nobody waits.
    ///
    /// # Errors
    /// [`TryPermitError`]; nothing was taken then.
    #[inline]
    pub fn try_acquire(&self) -> Result<AdaptivePermit<'_, C>, TryPermitError> {
        self.try_acquire_n(1)
    }

    /// Takes `n` permits at once if they are free and nobody waits. They are one sample.
    ///
    /// # Errors
    /// [`TryPermitError`]; nothing was taken then. While the limit is below `n` they are free only
    /// if nothing is in flight; more than the range allows never is.
    #[inline]
    pub fn try_acquire_n(&self, n: u32) -> Result<AdaptivePermit<'_, C>, TryPermitError> {
        let permit = self.limiter.try_acquire_n(n)?;
        Ok(AdaptivePermit::new(self, permit))
    }

    /// Takes one if it is free, as a permit that borrows nothing, for a spawned task.
    ///
    /// # Errors
    /// [`TryPermitError`]; nothing was taken then.
    pub fn try_acquire_owned(&self) -> Result<AdaptiveOwnedPermit<C>, TryPermitError> {
        self.try_acquire().map(AdaptivePermit::into_owned)
    }

    /// Takes like [`try_acquire_n`](Self::try_acquire_n), as permits that borrow nothing.
    ///
    /// # Errors
    /// [`TryPermitError`]; nothing was taken then.
    pub fn try_acquire_owned_n(&self, n: u32) -> Result<AdaptiveOwnedPermit<C>, TryPermitError> {
        self.try_acquire_n(n).map(AdaptivePermit::into_owned)
    }

    /// Waits for a permit, first in, first out. The wait is no part of the latency.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing: its place goes, and a permit that it had been handed
    /// passes on to the next in line.
    pub async fn acquire(&self) -> Result<AdaptivePermit<'_, C>, PermitError> {
        self.acquire_n(1).await
    }

    /// Waits for `n` permits at once, which are one sample.
    ///
    /// While the limit is below `n` it waits in its turn until nothing else is in flight; above the
    /// end of the range it fails at once.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// That of [`acquire`](Self::acquire).
    pub async fn acquire_n(&self, n: u32) -> Result<AdaptivePermit<'_, C>, PermitError> {
        let permit = self.limiter.acquire_n(n).await?;
        Ok(AdaptivePermit::new(self, permit))
    }

    /// Waits for a permit that borrows nothing, for a spawned task.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// That of [`acquire`](Self::acquire).
    pub fn acquire_owned(
        &self,
    ) -> impl Future<Output = Result<AdaptiveOwnedPermit<C>, PermitError>> + use<C> {
        self.acquire_owned_n(1)
    }

    /// Waits for `n` permits at once that borrow nothing. See [`acquire_n`](Self::acquire_n).
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// That of [`acquire`](Self::acquire).
    pub fn acquire_owned_n(
        &self,
        n: u32,
    ) -> impl Future<Output = Result<AdaptiveOwnedPermit<C>, PermitError>> + use<C> {
        let (acquire, limiter) = (self.limiter.acquire_owned_n(n), self.clone());
        async move {
            let permit = acquire.await?;
            Ok(AdaptiveOwnedPermit::new(limiter, permit))
        }
    }

    /// Waits for a permit for at most `limit`, counted from the first poll.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// That of [`acquire`](Self::acquire).
    pub async fn acquire_timeout(
        &self,
        limit: Duration,
    ) -> Result<AdaptivePermit<'_, C>, PermitError> {
        self.acquire_n_timeout(1, limit).await
    }

    /// Waits for `n` permits at once for at most `limit`. See
    /// [`acquire_timeout`](Self::acquire_timeout) and [`acquire_n`](Self::acquire_n).
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// That of [`acquire`](Self::acquire).
    pub async fn acquire_n_timeout(
        &self,
        n: u32,
        limit: Duration,
    ) -> Result<AdaptivePermit<'_, C>, PermitError> {
        let permit = self.limiter.acquire_n_timeout(n, limit).await?;
        Ok(AdaptivePermit::new(self, permit))
    }

    /// Stops giving permits, for ever: who waits fails with [`PermitError::Closed`], as later
    /// calls do. Permits held stay good. Idempotent.
    pub fn close(&self) {
        self.limiter.close();
    }

    /// Whether the limiter is closed.
    pub fn is_closed(&self) -> bool {
        self.limiter.is_closed()
    }

    /// Permits free now; 0 while more are in flight than a lowered limit allows.
    pub fn available(&self) -> u32 {
        self.limiter.available()
    }

    /// Permits held now; above the limit after that was lowered, and while one goes alone that
    /// needs more.
    pub fn in_flight(&self) -> u32 {
        self.limiter.in_flight()
    }

    /// The limit in force.
    pub fn limit(&self) -> u32 {
        self.limiter.limit()
    }

    /// The limits that it may choose from.
    pub fn range(&self) -> RangeInclusive<u32> {
        self.shared.min..=self.shared.max
    }

    /// The name given at build.
    pub fn name(&self) -> Option<&str> {
        self.limiter.name()
    }

    /// What it has done and decided, and how it stands. Locks shortly if somebody waits.
    pub fn stats(&self) -> AdaptiveStats {
        self.shared.decisions.stats(self.limiter.stats())
    }

    /// A collector for a [`flow_metrics::Registry`], under the limiter's name.
    ///
    /// It keeps the limiter alive while it is registered. Nothing is published in between: the
    /// numbers are read when somebody collects.
    #[cfg(feature = "metrics")]
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect>
    where
        C: 'static,
    {
        Arc::new(metrics::AdaptiveCollector(self.clone()))
    }

    /// Whose timers bound a wait.
    #[cfg(feature = "tower")]
    pub(crate) fn runtime(&self) -> Result<Handle, HandleError> {
        self.limiter.runtime()
    }

    /// A permit was taken.
    #[inline]
    fn begin(&self) -> Option<Started> {
        self.shared.windows.begin(&self.shared.clock)
    }

    /// A sample begins after its permit was taken.
    #[cfg(feature = "tower")]
    fn begin_anew(&self) -> Started {
        self.shared.windows.now(&self.shared.clock)
    }

    /// A permit ended: learns from it, gives it back, and closes the window if it is over.
    #[inline]
    fn end<P>(&self, permit: P, started: Option<Started>, how: Ended) {
        if let Some(started) = started {
            self.end_sample(permit, started, how);
        }
    }

    #[inline(never)]
    fn end_sample<P>(&self, permit: P, started: Started, how: Ended) {
        let now = self.shared.clock.now();
        let windows = &self.shared.windows;
        // The permit is in flight itself.
        let is_over = windows.end(started, now, self.limiter.in_flight(), how);
        // First: the algorithm is somebody else's code, and may panic.
        drop(permit);
        if is_over {
            self.close_window(now);
        }
    }

    #[cold]
    fn close_window(&self, now: Instant) {
        let shared = &*self.shared;
        let before = self.limiter.limit();
        let Some(mut claim) = shared.windows.claim(now, before) else {
            return;
        };
        let Some(window) = claim.window().copied() else {
            return;
        };
        let limit = shared.algorithm.lock().on_window(&window);
        let limit = limit.clamp(shared.min, shared.max);
        shared.decisions.count(&window, limit);
        if limit != before {
            // It is within a range that was checked, so it is no limit that would be refused.
            // Wakes those who wait: the algorithm is unlocked.
            let _ = self.limiter.adjust_limit(limit);
        }
        if limit < before {
            claim.lowered(now);
        }
        drop(claim);
        #[cfg(feature = "tracing")]
        self.tell(&window, limit, now);
    }

    /// Tells of a change, when nobody is kept from the next window by who listens.
    #[cfg(feature = "tracing")]
    fn tell(&self, window: &Window, limit: u32, now: Instant) {
        let (shared, name) = (&self.shared, self.name());
        if limit == window.limit() {
            return;
        }
        flow_rt::contain(|| crate::events::adapted(name, limit, window));
        let is_lowest = limit == shared.min && limit < window.limit();
        if is_lowest && shared.decisions.quiet.may_warn(now) {
            flow_rt::contain(|| crate::events::at_the_lowest(name, limit, window));
        }
    }
}

impl<C> Clone for AdaptiveLimiter<C> {
    fn clone(&self) -> Self {
        Self {
            limiter: self.limiter.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<C> fmt::Debug for AdaptiveLimiter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLimiter")
            .field("limiter", &self.limiter)
            .field("range", &(self.shared.min..=self.shared.max))
            .field("decisions", &self.shared.decisions)
            .finish_non_exhaustive()
    }
}

/// Checks what must be above 0 and at most 1.
fn share(name: &'static str, given: f64) -> Result<(), AdaptiveConfigError> {
    let is_right = given > 0.0 && given <= 1.0;
    check(is_right, name, given, "above 0 and at most 1")
}

/// Checks what all algorithms have: the share of failures they stand, and what is left by more.
fn check_failures(tolerated: f64, backoff: f64) -> Result<(), AdaptiveConfigError> {
    let is_right = (0.0..=1.0).contains(&tolerated);
    check(is_right, "tolerated share of failures", tolerated, "0 to 1")?;
    let is_right = backoff > 0.0 && backoff < 1.0;
    check(is_right, "backoff", backoff, "above 0 and below 1")
}

fn check(
    is_right: bool,
    name: &'static str,
    given: f64,
    allowed: &'static str,
) -> Result<(), AdaptiveConfigError> {
    if is_right {
        return Ok(());
    }
    Err(AdaptiveConfigError::parameter(name, given, allowed))
}
