//! One bucket that many processes share.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{Handle, HandleError};

use crate::backend::RedisBackend;
use crate::error::RedisError;
use crate::limiter::shared::Shared;
use crate::limiter::{AcquireError, CheckError, Granted, LimiterBuilder, Single, Stats};

/// A token bucket on a server, shared by every process that uses the same prefix and key; cheap
/// to clone.
///
/// See the [crate's example](crate). The bucket is the key `prefix:{key}`: one key in one hash
/// slot, which expires when it would be full. Instances that give another rate or burst for the
/// same key share its tokens, each applying its own limits.
///
/// The server must be allowed `EVAL`, `EVALSHA`, `TIME`, `GET` and `SET`, and `DEL` for
/// [`reset`](Self::reset).
#[derive(Clone)]
pub struct DistributedLimiter {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: Arc<str>,
    pub(crate) runtime: Option<Handle>,
}

impl DistributedLimiter {
    /// A builder for a limiter on `redis`.
    pub fn builder(redis: &RedisBackend) -> LimiterBuilder<Single> {
        LimiterBuilder::new(redis)
    }

    /// Takes one token, or says why not; see [`check_n`](Self::check_n).
    ///
    /// # Errors
    /// Those of [`check_n`](Self::check_n).
    ///
    /// # Cancel safety
    /// That of [`check_n`](Self::check_n): the token may be gone.
    pub async fn check(&self) -> Result<Granted, CheckError> {
        self.check_n(1).await
    }

    /// Takes `n` tokens together, or none and says why. Never waits for tokens; 0 is always
    /// granted, also while the server is away.
    ///
    /// # Errors
    /// [`CheckError::NotYet`] if there are too few now, [`CheckError::ExceedsBurst`] if there
    /// never will be enough. If the server does not answer, the
    /// [`FailurePolicy`](crate::FailurePolicy) decides.
    ///
    /// # Cancel safety
    /// Dropping it before its first poll does nothing. Later the server may still take the
    /// tokens; they are not given back, and [`stats`](Self::stats) does not count the decision,
    /// which nobody heard.
    ///
    /// # Cost
    /// One round trip; while there is no connection, none.
    pub async fn check_n(&self, n: u64) -> Result<Granted, CheckError> {
        self.shared.check(self.key.as_ref().into(), n).await
    }

    /// Takes one token, waiting until there is one; see [`acquire_n`](Self::acquire_n).
    ///
    /// # Errors
    /// Those of [`acquire_n`](Self::acquire_n).
    ///
    /// # Cancel safety
    /// That of [`acquire_n`](Self::acquire_n).
    pub async fn acquire(&self) -> Result<Granted, AcquireError> {
        self.acquire_n(1).await
    }

    /// Takes `n` tokens, waiting until there are enough: it checks, sleeps for exactly the time
    /// that the server said, and checks again.
    ///
    /// It waits on the builder's runtime, else on the current one. Waiters of all processes
    /// compete; there is no order among them.
    ///
    /// # Errors
    /// [`AcquireError`] if waiting cannot help, or there is no runtime to wait on.
    ///
    /// # Cancel safety
    /// While it sleeps, dropping it has taken nothing; during a check, that of
    /// [`check_n`](Self::check_n). There is no place in a queue to lose.
    ///
    /// # Cost
    /// One round trip for each check, and one timer for each sleep.
    pub async fn acquire_n(&self, n: u64) -> Result<Granted, AcquireError> {
        loop {
            let error = match self.check_n(n).await {
                Ok(granted) => return Ok(granted),
                Err(error) => error,
            };
            let retry_after = error.retry_after().ok_or(error)?;
            self.sleep(retry_after).await?;
        }
    }

    /// How the bucket stands, taking nothing. The policy has no part in this.
    ///
    /// # Errors
    /// [`RedisError`] if the server does not say.
    ///
    /// # Cancel safety
    /// It changes nothing, so dropping it does not either.
    ///
    /// # Cost
    /// That of [`check_n`](Self::check_n).
    pub async fn peek(&self) -> Result<Granted, RedisError> {
        self.shared.peek(self.key.as_ref().into()).await
    }

    /// Fills the bucket, for every process.
    ///
    /// # Errors
    /// [`RedisError`] if the server does not do it. After a timeout or a broken connection it may
    /// have done it.
    ///
    /// # Cancel safety
    /// Dropping it before its first poll does nothing. Later the server may still do it.
    ///
    /// # Cost
    /// That of [`check_n`](Self::check_n).
    pub async fn reset(&self) -> Result<(), RedisError> {
        self.shared.reset(self.key.as_ref().into()).await
    }

    /// What has been decided here since the limiter was built; clones count together.
    pub fn stats(&self) -> Stats {
        self.shared.counts.stats()
    }

    /// What reports call the limiter.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What shows this limiter in a `flow_metrics::Registry`, under its name.
    #[cfg(feature = "metrics")]
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect> {
        Arc::new(super::metrics::LimiterCollector(self.shared.clone()))
    }

    pub(super) async fn sleep(&self, delay: Duration) -> Result<(), AcquireError> {
        let runtime = self.runtime().map_err(AcquireError::NoRuntime)?;
        let slept = runtime.sleep(delay).await;
        slept.map_err(|_| AcquireError::Stopped)
    }

    /// The one to wait on.
    pub(super) fn runtime(&self) -> Result<Handle, HandleError> {
        self.runtime.clone().map_or_else(Handle::current, Ok)
    }
}

impl fmt::Debug for DistributedLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DistributedLimiter")
            .field("key", &self.key)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
