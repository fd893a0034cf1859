//! Waiting for a child's tokens on a plain thread.

use ::core::time::Duration;

use flow_rt::Clock;

use super::Share;
use crate::error::AcquireBlockingError;
use crate::granted::Granted;
use crate::waiting::take_blocking;

/// Waiting on a plain thread: in one line with the tasks that wait for the same child.
///
/// No runtime is needed, and it is refused where blocking is: see
/// [`TokenBucket::acquire_n_blocking`](crate::TokenBucket::acquire_n_blocking).
impl<C: Clock + 'static> Share<C> {
    /// Waits for one token on the calling thread.
    ///
    /// # Errors
    /// Those of [`acquire_n_blocking`](Self::acquire_n_blocking).
    pub fn acquire_blocking(&self) -> Result<Granted, AcquireBlockingError> {
        take_blocking(self, &**self.child(), 1, None)
    }

    /// Waits for `n` tokens on the calling thread. A large `n` holds up those behind it.
    ///
    /// # Errors
    /// [`AcquireBlockingError::MustNotBlock`] if it would have to wait and the thread must not;
    /// [`NotGranted`](AcquireBlockingError::NotGranted) for what ends any wait. Nothing was taken
    /// then.
    pub fn acquire_n_blocking(&self, n: u64) -> Result<Granted, AcquireBlockingError> {
        take_blocking(self, &**self.child(), n, None)
    }

    /// Waits for one token on the calling thread, for `limit` at the most.
    ///
    /// # Errors
    /// Those of [`acquire_n_blocking_timeout`](Self::acquire_n_blocking_timeout).
    pub fn acquire_blocking_timeout(
        &self,
        limit: Duration,
    ) -> Result<Granted, AcquireBlockingError> {
        take_blocking(self, &**self.child(), 1, Some(limit))
    }

    /// Waits for `n` tokens on the calling thread, for `limit` at the most by the parent's clock.
    /// Fails at once if that cannot suffice, even if all others ask for nothing.
    ///
    /// # Errors
    /// As [`acquire_n_blocking`](Self::acquire_n_blocking), and
    /// [`AcquireError::Timeout`](crate::AcquireError::Timeout) in
    /// [`NotGranted`](AcquireBlockingError::NotGranted).
    pub fn acquire_n_blocking_timeout(
        &self,
        n: u64,
        limit: Duration,
    ) -> Result<Granted, AcquireBlockingError> {
        take_blocking(self, &**self.child(), n, Some(limit))
    }
}
