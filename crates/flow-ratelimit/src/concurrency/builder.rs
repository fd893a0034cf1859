//! The builder of a concurrency limiter.

use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::Handle;
use flow_sync::{PaddedCounter, Permits};

use super::{ConcurrencyConfigError, ConcurrencyLimiter, Shared};
use crate::token_bucket::Fairness;

/// Configures a [`ConcurrencyLimiter`]; everything is checked by [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ConcurrencyLimiterBuilder {
    limit: Option<u32>,
    max_waiters: usize,
    alone: u32,
    fairness: Fairness,
    name: Option<Cow<'static, str>>,
    runtime: Option<Handle>,
    is_counted: bool,
}

impl ConcurrencyLimiterBuilder {
    pub(super) fn new() -> Self {
        Self {
            limit: None,
            max_waiters: usize::MAX,
            alone: 0,
            fairness: Fairness::Fifo,
            name: None,
            runtime: None,
            is_counted: true,
        }
    }

    /// How many permits there are, 1 to [`ConcurrencyLimiter::MAX_LIMIT`]. Required.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// How many callers may wait at once; any number otherwise.
    pub fn max_waiters(mut self, max: usize) -> Self {
        self.max_waiters = max;
        self
    }

    /// What one may take when nothing is in flight, whatever the limit: for limits that move on
    /// their own.
    pub(crate) fn alone_up_to(mut self, most: u32) -> Self {
        self.alone = most;
        self
    }

    /// Whether newcomers may pass those who wait; they may not otherwise.
    ///
    /// With [`Fairness::Barging`] a permit that comes back is free, and the first in the queue is
    /// woken to look for it; whoever is faster takes it. Much faster where many tasks hand few
    /// permits around, as the task that runs takes the permit again without a switch. How long one
    /// may wait is not bounded, and [`acquire`](ConcurrencyLimiter::acquire) is not first in, first
    /// out. Whoever was woken and is not polled holds up those behind it, but no newcomers.
    pub fn fairness(mut self, fairness: Fairness) -> Self {
        self.fairness = fairness;
        self
    }

    /// What to call it in reports and metrics.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whose timers bound a wait; otherwise those of the runtime that polls it.
    pub fn runtime(mut self, runtime: &Handle) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// Whether decisions are counted; they are otherwise. It is some nanoseconds for whoever
    /// is denied; the cells, 3 KiB, are there in any case.
    pub fn counted(mut self, counted: bool) -> Self {
        self.is_counted = counted;
        self
    }

    /// Builds the limiter, all permits free.
    ///
    /// # Errors
    /// [`ConcurrencyConfigError`] if the limit is missing or out of range, or nobody may wait.
    pub fn build(self) -> Result<ConcurrencyLimiter, ConcurrencyConfigError> {
        let limit = self.limit.ok_or(ConcurrencyConfigError::MissingLimit)?;
        if limit == 0 {
            return Err(ConcurrencyConfigError::ZeroLimit);
        }
        if self.max_waiters == 0 {
            return Err(ConcurrencyConfigError::ZeroWaiters);
        }
        let permits = match self.fairness {
            Fairness::Fifo => Permits::new(limit, self.max_waiters)?,
            Fairness::Barging => Permits::barging(limit, self.max_waiters)?,
        };
        Ok(ConcurrencyLimiter {
            permits: Arc::new(permits.alone_up_to(self.alone)?),
            shared: Arc::new(Shared {
                name: self.name,
                runtime: self.runtime,
                denied: self.is_counted.then(PaddedCounter::new),
            }),
        })
    }
}
