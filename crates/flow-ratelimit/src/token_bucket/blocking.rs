//! Waiting for a bucket on a plain thread.

use ::core::time::Duration;

use flow_rt::Clock;

use super::TokenBucket;
use crate::error::AcquireBlockingError;
use crate::granted::Granted;
use crate::waiting::take_blocking;

/// Waiting on a plain thread: in one queue with the tasks that wait, first in, first out.
///
/// No runtime is needed: the thread keeps the time itself, for all who wait, and passes that on
/// when it goes. These calls block, so they refuse to wait where [`flow_rt::block_on`] does: on
/// the threads of a runtime, outside of its blocking closures, and in a simulation. Tokens that
/// are there at once are taken anywhere.
impl<C: Clock + 'static> TokenBucket<C> {
    /// Waits for one token on the calling thread. See
    /// [`acquire_n_blocking`](Self::acquire_n_blocking), also for what it costs.
    ///
    /// # Errors
    /// [`AcquireBlockingError`]; nothing was taken then.
    pub fn acquire_blocking(&self) -> Result<Granted, AcquireBlockingError> {
        take_blocking(self, &*self.core, 1, None)
    }

    /// Waits for `n` tokens on the calling thread. A large `n` holds up those behind it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use flow_ratelimit::TokenBucket;
    ///
    /// let bucket = TokenBucket::new("1000/s", 5)?;
    /// bucket.acquire_n_blocking(5)?;
    /// bucket.acquire_n_blocking(2)?; // 2 ms later
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AcquireBlockingError::MustNotBlock`] if it would have to wait and the thread must not;
    /// [`NotGranted`](AcquireBlockingError::NotGranted) for what ends any wait. Nothing was taken
    /// then.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire) if the tokens are there; if it waits two
    /// allocations, for the thread's wakers, and one look at the queue for each wake-up.
    pub fn acquire_n_blocking(&self, n: u64) -> Result<Granted, AcquireBlockingError> {
        take_blocking(self, &*self.core, n, None)
    }

    /// Waits for one token on the calling thread, for `limit` at the most. See
    /// [`acquire_n_blocking_timeout`](Self::acquire_n_blocking_timeout).
    ///
    /// # Errors
    /// [`AcquireBlockingError`]; nothing was taken then.
    pub fn acquire_blocking_timeout(
        &self,
        limit: Duration,
    ) -> Result<Granted, AcquireBlockingError> {
        take_blocking(self, &*self.core, 1, Some(limit))
    }

    /// Waits for `n` tokens on the calling thread, for `limit` at the most by the bucket's clock.
    ///
    /// Fails at once if the tokens cannot be there in time, by the rate and the queue of that
    /// moment. If the rate is lowered during the wait it ends at the limit, with the answer of that
    /// instant: how long the tokens would take, or why they will never come.
    ///
    /// # Errors
    /// As [`acquire_n_blocking`](Self::acquire_n_blocking), and
    /// [`AcquireError::Timeout`](crate::AcquireError::Timeout) in
    /// [`NotGranted`](AcquireBlockingError::NotGranted).
    ///
    /// # Cost
    /// That of [`acquire_n_blocking`](Self::acquire_n_blocking); of a `limit` of zero no
    /// allocation.
    pub fn acquire_n_blocking_timeout(
        &self,
        n: u64,
        limit: Duration,
    ) -> Result<Granted, AcquireBlockingError> {
        take_blocking(self, &*self.core, n, Some(limit))
    }
}
