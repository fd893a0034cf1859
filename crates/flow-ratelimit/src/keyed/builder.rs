//! The builder of a keyed limiter.

use core::fmt;
use core::marker::PhantomData;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock};

use super::KeyedLimiter;
use super::table::{Settings, Table};
use crate::error::ConfigError;
use crate::quota::{IntoQuota, Quota};

/// What a new key meets when all places it could take are taken by keys that are not full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum WhenFull {
    /// It takes the place of the key that is nearest to full, which starts full when it comes
    /// again: that one may be granted up to a burst too much. Counted as `evicted`.
    #[default]
    EvictNearestFull,
    /// It is denied, with [`Denied::KeysFull`](crate::Denied::KeysFull): no limit is exceeded, and
    /// whoever makes up keys can keep others out.
    Deny,
}

/// Configures a [`KeyedLimiter`]; everything is checked by [`build`](Self::build).
#[must_use = "a builder does nothing until `build` is called"]
pub struct KeyedLimiterBuilder<K: ?Sized, C = DefaultClock> {
    quota: Option<Result<Quota, ConfigError>>,
    burst: Option<u64>,
    max_keys: Option<usize>,
    when_full: WhenFull,
    seed: Option<u64>,
    name: Option<Cow<'static, str>>,
    clock: C,
    is_counted: bool,
    key: PhantomData<fn(&K)>,
}

impl<K: ?Sized> KeyedLimiterBuilder<K> {
    pub(super) fn new() -> Self {
        Self {
            quota: None,
            burst: None,
            max_keys: None,
            when_full: WhenFull::default(),
            seed: None,
            name: None,
            clock: DefaultClock::new(),
            is_counted: true,
            key: PhantomData,
        }
    }
}

impl<K: ?Sized, C: Clock> KeyedLimiterBuilder<K, C> {
    /// How fast tokens come to each key: a [`Rate`](crate::Rate), or a text like `"100/s"`.
    /// Required.
    ///
    /// `"5000/1h burst 200"` says the burst too.
    pub fn rate(mut self, rate: impl IntoQuota) -> Self {
        self.quota = Some(rate.into_quota());
        self
    }

    /// How many tokens each key holds, and so how many it can take at once. Required, unless it
    /// stands beside the rate.
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// How many keys that are not full it can tell apart at once. Required.
    ///
    /// All memory is taken when it is built: some 22 bytes for each of many keys.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = Some(keys);
        self
    }

    /// What a new key meets when there is no room for it; [`WhenFull::EvictNearestFull`]
    /// otherwise.
    pub fn when_full(mut self, policy: WhenFull) -> Self {
        self.when_full = policy;
        self
    }

    /// Fixes the secret of the hash, for tests that must go the same way each time; it is drawn
    /// at random otherwise. Whoever knows it can make up keys that crowd out others.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// What to call it in reports and metrics.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether decisions are counted; they are otherwise. It is 2 KiB and some nanoseconds.
    pub fn counted(mut self, counted: bool) -> Self {
        self.is_counted = counted;
        self
    }

    /// The clock it runs on; otherwise that of the simulation in which `builder()` was called, or
    /// else the machine's. Changes the type.
    pub fn clock<D: Clock>(self, clock: D) -> KeyedLimiterBuilder<K, D> {
        KeyedLimiterBuilder {
            quota: self.quota,
            burst: self.burst,
            max_keys: self.max_keys,
            when_full: self.when_full,
            seed: self.seed,
            name: self.name,
            clock,
            is_counted: self.is_counted,
            key: PhantomData,
        }
    }

    /// Builds the limiter.
    ///
    /// # Errors
    /// [`ConfigError`] if rate, burst or the number of keys is missing or out of range, or there
    /// is no memory for so many.
    pub fn build(self) -> Result<KeyedLimiter<K, C>, ConfigError> {
        let quota = self.quota.ok_or(ConfigError::MissingRate)??;
        let (rate, burst) = quota.complete(self.burst)?;
        let settings = Settings {
            max_keys: self.max_keys.ok_or(ConfigError::MissingMaxKeys)?,
            when_full: self.when_full,
            seed: self.seed,
            is_counted: self.is_counted,
            name: self.name,
        };
        let table = Table::new(rate, burst, self.clock, settings)?;
        Ok(KeyedLimiter {
            table: Arc::new(table),
            key: PhantomData,
        })
    }
}

impl<K: ?Sized, C> fmt::Debug for KeyedLimiterBuilder<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLimiterBuilder")
            .field("rate", &self.quota)
            .field("burst", &self.burst)
            .field("max_keys", &self.max_keys)
            .field("when_full", &self.when_full)
            .field("name", &self.name)
            .field("counted", &self.is_counted)
            .finish_non_exhaustive()
    }
}
