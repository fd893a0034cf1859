//! The builder of a concurrency limiter.

use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::Handle;
use flow_sync::{PaddedCounter, Permits};

use super::{ConcurrencyConfigError, ConcurrencyLimiter, Shared};

/// Configures a [`ConcurrencyLimiter`]; everything is checked by [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ConcurrencyLimiterBuilder {
    limit: Option<u32>,
    max_waiters: usize,
    name: Option<Cow<'static, str>>,
    runtime: Option<Handle>,
    is_counted: bool,
}

impl ConcurrencyLimiterBuilder {
    pub(super) fn new() -> Self {
        Self {
            limit: None,
            max_waiters: usize::MAX,
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

    /// Whether decisions are counted; they are otherwise. It is 1 KiB, and
    /// some nanoseconds for whoever is denied.
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
        let permits = Permits::new(limit, self.max_waiters)?;
        Ok(ConcurrencyLimiter {
            permits: Arc::new(permits),
            shared: Arc::new(Shared {
                name: self.name,
                runtime: self.runtime,
                denied: self.is_counted.then(PaddedCounter::new),
            }),
        })
    }
}
