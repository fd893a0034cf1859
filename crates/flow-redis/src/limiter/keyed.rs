//! A bucket for each of many keys.

use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;

use crate::error::RedisError;
use crate::limiter::shared::Shared;
use crate::limiter::{CheckError, Granted, Stats};

/// Token buckets on a server, one per key, alike in rate and burst; cheap to clone.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_redis::{DistributedLimiter, RedisBackend};
///
/// let redis = RedisBackend::connect("redis://127.0.0.1:6379")?;
/// let per_user = DistributedLimiter::builder(&redis).keyed::<u64>("user").rate("60/min").burst(10).build()?;
/// per_user.check(&4711).await?;
/// # Ok(())
/// # }
/// ```
///
/// The bucket of a key is `prefix:name:{key}`, with the key as its `Display` writes it. A bucket
/// that is full again takes no memory on the server, and none is kept here.
pub struct KeyedDistributedLimiter<K: ?Sized> {
    pub(crate) shared: Arc<Shared>,
    /// Up to the brace.
    pub(crate) prefix: Arc<str>,
    pub(crate) keys: PhantomData<fn(&K)>,
}

impl<K: fmt::Display + ?Sized> KeyedDistributedLimiter<K> {
    /// Takes one token of this key's, or says why not; see [`check_n`](Self::check_n).
    ///
    /// # Errors
    /// Those of [`check_n`](Self::check_n).
    ///
    /// # Cancel safety
    /// That of [`DistributedLimiter::check`](crate::DistributedLimiter::check).
    pub async fn check(&self, key: &K) -> Result<Granted, CheckError> {
        self.shared.check(self.full_key(key), 1).await
    }

    /// Takes `n` tokens of this key's together, or none and says why.
    ///
    /// # Errors
    /// Those of [`DistributedLimiter::check_n`](crate::DistributedLimiter::check_n), which costs
    /// the same.
    ///
    /// # Cancel safety
    /// That of [`DistributedLimiter::check_n`](crate::DistributedLimiter::check_n).
    pub async fn check_n(&self, key: &K, n: u64) -> Result<Granted, CheckError> {
        self.shared.check(self.full_key(key), n).await
    }

    /// How this key's bucket stands, taking nothing. The policy has no part in this.
    ///
    /// # Errors
    /// [`RedisError`] if the server does not say.
    ///
    /// # Cancel safety
    /// That of [`DistributedLimiter::peek`](crate::DistributedLimiter::peek).
    pub async fn peek(&self, key: &K) -> Result<Granted, RedisError> {
        self.shared.peek(self.full_key(key)).await
    }

    /// Fills this key's bucket, for every process.
    ///
    /// # Errors
    /// [`RedisError`] if the server does not do it.
    ///
    /// # Cancel safety
    /// That of [`DistributedLimiter::reset`](crate::DistributedLimiter::reset).
    pub async fn reset(&self, key: &K) -> Result<(), RedisError> {
        self.shared.reset(self.full_key(key)).await
    }

    /// What has been decided here for all keys since the limiter was built.
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

    fn full_key(&self, key: &K) -> String {
        format!("{}{{{key}}}", self.prefix)
    }
}

impl<K: ?Sized> Clone for KeyedDistributedLimiter<K> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            prefix: self.prefix.clone(),
            keys: PhantomData,
        }
    }
}

impl<K: ?Sized> fmt::Debug for KeyedDistributedLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedDistributedLimiter")
            .field("prefix", &self.prefix)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
