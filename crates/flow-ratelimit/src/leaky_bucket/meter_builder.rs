//! The builder of a leaky bucket.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;

use flow_rt::{Clock, DefaultClock, Handle};

use super::meter::LeakyBucket;
use crate::error::ConfigError;
use crate::rate::IntoRate;
use crate::token_bucket::TokenBucketBuilder;

/// Configures a [`LeakyBucket`]; everything is checked by [`build`](Self::build).
#[must_use = "a builder does nothing until `build` is called"]
pub struct LeakyBucketBuilder<C = DefaultClock> {
    capacity: Option<u64>,
    level: u64,
    inner: TokenBucketBuilder<C>,
}

impl LeakyBucketBuilder {
    pub(super) fn new() -> Self {
        Self {
            capacity: None,
            level: 0,
            inner: TokenBucketBuilder::new(),
        }
    }
}

impl<C: Clock> LeakyBucketBuilder<C> {
    /// How fast it leaks: a [`Rate`](crate::Rate), or a text like `"100/s"`. Required.
    pub fn rate(mut self, rate: impl IntoRate) -> Self {
        self.inner = self.inner.rate(rate.into_rate());
        self
    }

    /// How much it holds. Required.
    pub fn capacity(mut self, capacity: u64) -> Self {
        self.capacity = Some(capacity);
        self
    }

    /// How full it starts; it starts empty otherwise.
    pub fn initial_level(mut self, level: u64) -> Self {
        self.level = level;
        self
    }

    /// What to call it in reports and metrics.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.inner = self.inner.name(name);
        self
    }

    /// How many callers may wait at once; any number otherwise.
    pub fn max_waiters(mut self, max: usize) -> Self {
        self.inner = self.inner.max_waiters(max);
        self
    }

    /// How late a timer may be without those who wait losing by it; 4 ms otherwise. See
    /// [`TokenBucketBuilder::catch_up`]: while somebody waits that much may come beyond the
    /// capacity.
    pub fn catch_up(mut self, late: Duration) -> Self {
        self.inner = self.inner.catch_up(late);
        self
    }

    /// Where those who wait are driven; otherwise on the runtimes that poll them.
    pub fn runtime(mut self, runtime: &Handle) -> Self {
        self.inner = self.inner.runtime(runtime);
        self
    }

    /// Whether decisions are counted; they are otherwise.
    pub fn counted(mut self, counted: bool) -> Self {
        self.inner = self.inner.counted(counted);
        self
    }

    /// The clock it runs on; otherwise that of the simulation in which `builder()` was called, or
    /// else the machine's. Changes the type.
    pub fn clock<D: Clock>(self, clock: D) -> LeakyBucketBuilder<D> {
        LeakyBucketBuilder {
            capacity: self.capacity,
            level: self.level,
            inner: self.inner.clock(clock),
        }
    }

    /// Builds the bucket.
    ///
    /// # Errors
    /// [`ConfigError`] if rate or capacity is missing or out of range, or it would start fuller
    /// than it can be.
    pub fn build(self) -> Result<LeakyBucket<C>, ConfigError> {
        let capacity = match self.capacity.ok_or(ConfigError::MissingCapacity)? {
            0 => return Err(ConfigError::ZeroCapacity),
            capacity => capacity,
        };
        let room = capacity
            .checked_sub(self.level)
            .ok_or(ConfigError::LevelAboveCapacity {
                given: self.level,
                capacity,
            })?;
        let bucket = self.inner.burst(capacity).initial(room).build()?;
        Ok(LeakyBucket::over(bucket))
    }
}

impl<C> fmt::Debug for LeakyBucketBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeakyBucketBuilder")
            .field("capacity", &self.capacity)
            .field("initial_level", &self.level)
            .field("inner", &self.inner)
            .finish()
    }
}
