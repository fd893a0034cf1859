//! Waiting on a plain thread for a permit that teaches.

use core::time::Duration;

use flow_rt::Clock;

use super::{AdaptiveLimiter, AdaptivePermit};
use crate::concurrency::PermitError;

/// Waiting on a plain thread, in one queue with the tasks that wait: as
/// [`ConcurrencyLimiter`](crate::ConcurrencyLimiter) does.
impl<C: Clock> AdaptiveLimiter<C> {
    /// Waits for a permit on the calling thread.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then. [`PermitError::WouldBlock`] if it would have to
    /// wait where that would stop a runtime or a simulation.
    pub fn acquire_blocking(&self) -> Result<AdaptivePermit<'_, C>, PermitError> {
        self.acquire_n_blocking(1)
    }

    /// Waits for `n` permits at once on the calling thread. See
    /// [`acquire_n`](Self::acquire_n).
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    pub fn acquire_n_blocking(&self, n: u32) -> Result<AdaptivePermit<'_, C>, PermitError> {
        let permit = self.limiter.acquire_n_blocking(n)?;
        Ok(AdaptivePermit::new(self, permit))
    }

    /// Waits for a permit on the calling thread, for `limit` at the most, by the machine's clock.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    pub fn acquire_blocking_timeout(
        &self,
        limit: Duration,
    ) -> Result<AdaptivePermit<'_, C>, PermitError> {
        self.acquire_n_blocking_timeout(1, limit)
    }

    /// Waits for `n` permits at once on the calling thread, for `limit` at the most.
    ///
    /// # Errors
    /// As [`acquire_n_blocking`](Self::acquire_n_blocking), and [`PermitError::Timeout`].
    pub fn acquire_n_blocking_timeout(
        &self,
        n: u32,
        limit: Duration,
    ) -> Result<AdaptivePermit<'_, C>, PermitError> {
        let permit = self.limiter.acquire_n_blocking_timeout(n, limit)?;
        Ok(AdaptivePermit::new(self, permit))
    }
}
