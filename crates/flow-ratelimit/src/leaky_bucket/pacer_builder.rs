//! The builder of a pacer.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;

use flow_rt::{Clock, DefaultClock, Handle};

use super::pacer::Pacer;
use crate::error::ConfigError;
use crate::rate::IntoRate;
use crate::token_bucket::TokenBucketBuilder;

/// Configures a [`Pacer`]; everything is checked by [`build`](Self::build).
#[must_use = "a builder does nothing until `build` is called"]
pub struct PacerBuilder<C = DefaultClock> {
    capacity: Option<usize>,
    inner: TokenBucketBuilder<C>,
}

impl PacerBuilder {
    pub(super) fn new() -> Self {
        Self {
            capacity: None,
            // One token and no lateness made up for: that is the spacing.
            inner: TokenBucketBuilder::new().burst(1).catch_up(Duration::ZERO),
        }
    }
}

impl<C: Clock> PacerBuilder<C> {
    /// How many go in which time: a [`Rate`](crate::Rate), or a text like `"100/s"`. Required.
    pub fn rate(mut self, rate: impl IntoRate) -> Self {
        self.inner = self.inner.rate(rate.into_rate());
        self
    }

    /// How many callers may wait. Required.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = Some(capacity);
        self
    }

    /// What to call it in reports and metrics.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.inner = self.inner.name(name);
        self
    }

    /// Lets what it protects warm up: after a pause of at least `period`, and at the start, the
    /// spacing is three times what the rate gives, and shrinks to that until `period` is over. So
    /// from the beginning if it is zero, or never called.
    ///
    /// See [`TokenBucketBuilder::warm_up`], of which a pacer is the bucket of burst 1.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use std::time::Duration;
    /// use flow_ratelimit::Pacer;
    ///
    /// let pacer = Pacer::builder().rate("10/s").capacity(100);
    /// let pacer = pacer.warm_up(Duration::from_secs(10)).build()?;
    /// let start = rt.now();
    /// pacer.acquire().await?;
    /// pacer.acquire().await?;
    /// assert_eq!(rt.now() - start, Duration::from_millis(300));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # });
    /// ```
    pub fn warm_up(mut self, period: Duration) -> Self {
        self.inner = self.inner.warm_up(period);
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
    pub fn clock<D: Clock>(self, clock: D) -> PacerBuilder<D> {
        PacerBuilder {
            capacity: self.capacity,
            inner: self.inner.clock(clock),
        }
    }

    /// Builds the pacer.
    ///
    /// # Errors
    /// [`ConfigError`] if rate or capacity is missing, the rate is out of range, the capacity is
    /// zero, or the warm-up too long.
    pub fn build(self) -> Result<Pacer<C>, ConfigError> {
        let capacity = match self.capacity.ok_or(ConfigError::MissingCapacity)? {
            0 => return Err(ConfigError::ZeroCapacity),
            capacity => capacity,
        };
        let bucket = self.inner.max_waiters(capacity).build()?;
        Ok(Pacer::over(bucket, capacity))
    }
}

impl<C> fmt::Debug for PacerBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacerBuilder")
            .field("capacity", &self.capacity)
            .field("inner", &self.inner)
            .finish()
    }
}
