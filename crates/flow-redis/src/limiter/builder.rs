//! Settings of a limiter, checked in one place.

use core::fmt;
use core::marker::PhantomData;
use std::borrow::Cow;
use std::sync::Arc;

use flow_ratelimit::{ConfigError, IntoQuota, Quota};
use flow_rt::Handle;

use crate::backend::RedisBackend;
use crate::bucket::{Bucket, SCRIPT};
use crate::driver::script_name;
use crate::limiter::shared::{Counts, Shared};
use crate::limiter::{
    DistributedConfigError, DistributedLimiter, FailurePolicy, KeyedDistributedLimiter,
};
use crate::store::{Script, Store};

/// Settings of a [`DistributedLimiter`], or, after [`keyed`](Self::keyed), of a
/// [`KeyedDistributedLimiter`].
#[must_use = "a builder does nothing until `build`"]
pub struct LimiterBuilder<T> {
    store: Arc<dyn Store>,
    name: Option<Cow<'static, str>>,
    prefix: String,
    quota: Option<Result<Quota, ConfigError>>,
    burst: Option<u64>,
    policy: FailurePolicy,
    runtime: Option<Handle>,
    target: T,
}

/// One bucket, with its key once it is given.
#[derive(Debug, Default)]
pub struct Single {
    key: Option<String>,
}

/// A bucket per key, under a name.
pub struct Keyed<K: ?Sized> {
    name: String,
    keys: PhantomData<fn(&K)>,
}

impl LimiterBuilder<Single> {
    pub(crate) fn new(redis: &RedisBackend) -> Self {
        Self {
            store: redis.store(),
            name: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            quota: None,
            burst: None,
            policy: FailurePolicy::default(),
            runtime: None,
            target: Single::default(),
        }
    }

    /// The name of the bucket: whoever gives the same one shares it.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.target.key = Some(key.into());
        self
    }

    /// A bucket for each key of type `K`, under a name that tells them from other keys.
    pub fn keyed<K: fmt::Display + ?Sized>(
        self,
        name: impl Into<String>,
    ) -> LimiterBuilder<Keyed<K>> {
        let target = Keyed {
            name: name.into(),
            keys: PhantomData,
        };
        LimiterBuilder {
            store: self.store,
            name: self.name,
            prefix: self.prefix,
            quota: self.quota,
            burst: self.burst,
            policy: self.policy,
            runtime: self.runtime,
            target,
        }
    }

    /// The runtime on which [`acquire`](DistributedLimiter::acquire) sleeps. Default: the one
    /// that is current then.
    pub fn runtime(mut self, runtime: &Handle) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// The limiter. Nothing is sent yet.
    ///
    /// # Errors
    /// [`DistributedConfigError`] if key, rate or burst is missing or cannot be used.
    pub fn build(self) -> Result<DistributedLimiter, DistributedConfigError> {
        let key = self
            .target
            .key
            .as_deref()
            .ok_or(DistributedConfigError::MissingKey)?;
        if key.is_empty() {
            return Err(bad_key(key, "is an empty key"));
        }
        let full_key = format!("{}:{{{key}}}", self.checked_prefix()?);
        Ok(DistributedLimiter {
            shared: Arc::new(self.shared(key)?),
            key: full_key.into(),
            runtime: self.runtime,
        })
    }
}

impl<K: fmt::Display + ?Sized> LimiterBuilder<Keyed<K>> {
    /// The limiter. Nothing is sent yet.
    ///
    /// # Errors
    /// [`DistributedConfigError`] if name, rate or burst is missing or cannot be used, or the policy is
    /// [`FailurePolicy::Local`].
    pub fn build(self) -> Result<KeyedDistributedLimiter<K>, DistributedConfigError> {
        let name = plain(&self.target.name, BAD_NAME)?;
        if matches!(self.policy, FailurePolicy::Local(_)) {
            return Err(DistributedConfigError::LocalForKeys);
        }
        let prefix = format!("{}:{name}:", self.checked_prefix()?);
        Ok(KeyedDistributedLimiter {
            shared: Arc::new(self.shared(name)?),
            prefix: prefix.into(),
            keys: PhantomData,
        })
    }
}

impl<T> LimiterBuilder<T> {
    /// What reports and metrics call the limiter. Default: its key, or the name for keys.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many tokens come in which time: a [`Rate`](flow_ratelimit::Rate), or a text such as
    /// `"60/min"`. `"60/min burst 10"` says the burst too.
    pub fn rate(mut self, rate: impl IntoQuota) -> Self {
        self.quota = Some(rate.into_quota());
        self
    }

    /// How many tokens the bucket holds, unless it stands beside the rate.
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// What all Redis keys start with. Default: `flow`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Who decides while the server is away. Default: [`FailurePolicy::Closed`].
    pub fn on_failure(mut self, policy: FailurePolicy) -> Self {
        self.policy = policy;
        self
    }

    fn checked_prefix(&self) -> Result<&str, DistributedConfigError> {
        plain(&self.prefix, BAD_PREFIX)
    }

    fn shared(&self, default_name: &str) -> Result<Shared, DistributedConfigError> {
        let quota = self
            .quota
            .clone()
            .ok_or(DistributedConfigError::MissingRate)?
            .map_err(DistributedConfigError::Rate)?;
        let (rate, burst) = quota.complete(self.burst).map_err(|error| match error {
            ConfigError::MissingBurst => DistributedConfigError::MissingBurst,
            error => DistributedConfigError::Rate(error),
        })?;
        Ok(Shared {
            name: self.name.as_deref().unwrap_or(default_name).to_owned(),
            bucket: Bucket::new(rate, burst)?,
            script: Script {
                text: SCRIPT,
                sha: script_name(SCRIPT),
            },
            store: self.store.clone(),
            policy: self.policy.clone(),
            counts: Counts::default(),
        })
    }
}

impl<T> fmt::Debug for LimiterBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimiterBuilder")
            .field("name", &self.name)
            .field("prefix", &self.prefix)
            .field("rate", &self.quota)
            .field("burst", &self.burst)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl<K: ?Sized> fmt::Debug for Keyed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A part of a Redis key before the braces. Without these characters no two limiters' keys can
/// be the same, and the braces name the hash slot.
fn plain<'a>(part: &'a str, reason: &'static str) -> Result<&'a str, DistributedConfigError> {
    if part.is_empty() || part.contains(['{', '}', ':']) {
        return Err(bad_key(part, reason));
    }
    Ok(part)
}

fn bad_key(given: &str, reason: &'static str) -> DistributedConfigError {
    DistributedConfigError::Key {
        given: given.to_owned(),
        reason,
    }
}

const DEFAULT_PREFIX: &str = "flow";

const BAD_PREFIX: &str = "cannot be the prefix: it must not be empty or contain {, } or :";
const BAD_NAME: &str = "cannot be the name for keys: it must not be empty or contain {, } or :";
