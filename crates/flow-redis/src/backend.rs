//! One server, cluster or sentinel group, shared by everything that is kept there.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use crate::driver::Driver;
use crate::error::{ConnectError, RedisError};
use crate::store::Store;

/// A connection to Redis or Valkey, cheap to clone.
///
/// It works on every async runtime: the client runs on a thread of its own, `flow-redis`, and
/// callers wait for its answers wherever they are. (A second one of that name comes and goes to
/// resolve host names.) It ends with the last clone and the last limiter on it.
///
/// The connection is made at first use and again, for as long as the backend lives, whenever it
/// is lost or silent for a second (for two timeouts, if they are longer). Every command is
/// answered or fails within the timeout; while there is no connection it fails at once, except
/// that the first commands wait for the first attempt to connect.
///
/// Tested with Redis 7.
///
/// # Clusters
/// One node that answers is enough to find the others. Once they are known, each of them is asked
/// when one is lost, so that the nodes in the address matter for the first connection only.
///
/// A node that is silent or gone is left as soon as another one has its slots. Until then the keys
/// of a silent node take the timeout, and those of other nodes are answered. But the client is
/// connected to every primary or to none: when a node's connection ends, because it died or was
/// sent nothing more while it was silent, every key fails at once until its slots have another
/// owner or it is back.
///
/// While a slot moves, those of its keys that are at neither end fail as
/// [`Redirected`](RedisError::Redirected).
#[derive(Clone)]
pub struct RedisBackend {
    driver: Arc<Driver>,
}

impl RedisBackend {
    /// A backend with default settings. Nothing is sent yet: a server that is away is no error.
    ///
    /// Addresses: `redis://[user:password@]host[:port][/database]`; `redis-cluster://` and
    /// further nodes as `?node=host:port&node=host:port`, in case one is away when the first
    /// connection is made; `redis-sentinel://` with `?sentinelServiceName=`;
    /// `redis+unix:///path`; with the feature `tls`, `rediss` in place of `redis`. `valkey`
    /// stands for `redis` everywhere.
    ///
    /// ```
    /// use flow_redis::RedisBackend;
    ///
    /// let redis = RedisBackend::connect("redis://127.0.0.1:6379")?;
    /// assert!(!redis.is_connected());
    /// assert!(RedisBackend::connect("http://127.0.0.1").is_err());
    /// # Ok::<(), flow_redis::ConnectError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConnectError`] if the address cannot be used or no thread can be started.
    pub fn connect(url: impl Into<String>) -> Result<Self, ConnectError> {
        Self::builder(url).build()
    }

    /// A backend with settings; see [`connect`](Self::connect) for the address.
    pub fn builder(url: impl Into<String>) -> BackendBuilder {
        BackendBuilder {
            url: url.into(),
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// Whether there is a connection now.
    ///
    /// # Cost
    /// A read lock that is held elsewhere only to connect and disconnect.
    pub fn is_connected(&self) -> bool {
        self.driver.is_connected()
    }

    /// Asks whether the server answers: for health checks.
    ///
    /// # Errors
    /// [`RedisError`] if it does not.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn ping(&self) -> Result<(), RedisError> {
        self.driver.ping().await
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        self.driver.clone()
    }
}

impl fmt::Debug for RedisBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBackend")
            .field("servers", &self.driver.servers())
            .field("timeout", &self.driver.timeout())
            .field("connected", &self.is_connected())
            .finish()
    }
}

/// Settings of a [`RedisBackend`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct BackendBuilder {
    url: String,
    timeout: Duration,
}

impl BackendBuilder {
    /// How long a command may take, its way and the server's work together. Default: 250 ms.
    ///
    /// It is the longest time a decision takes while the server hangs.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The backend. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ConnectError`] if the address cannot be used, the timeout is zero or no thread can be
    /// started.
    pub fn build(self) -> Result<RedisBackend, ConnectError> {
        if self.timeout.is_zero() {
            return Err(ConnectError::ZeroTimeout);
        }
        let driver = Arc::new(Driver::new(&self.url, self.timeout)?);
        Ok(RedisBackend { driver })
    }
}

impl fmt::Debug for BackendBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password.
        f.debug_struct("BackendBuilder")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Half of what goflow waits: still far above a round trip within a region.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(250);
