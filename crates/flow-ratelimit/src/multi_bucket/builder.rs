//! The builder of a bucket with several limits.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock, Handle};

use super::MultiBucket;
use super::core::{Core, MAX_LIMITS};
use crate::error::ConfigError;
use crate::quota::{IntoQuota, Quota};
use crate::token_bucket::Snapshot;
use crate::waiting::Rules;

/// Configures a [`MultiBucket`]; everything is checked by [`build`](Self::build).
#[must_use = "a builder does nothing until `build` is called"]
pub struct MultiBucketBuilder<C = DefaultClock> {
    limits: Vec<Result<Quota, ConfigError>>,
    snapshots: Option<Vec<Snapshot>>,
    clock: C,
    is_counted: bool,
    rules: Rules,
}

impl MultiBucketBuilder {
    pub(super) fn new() -> Self {
        Self {
            limits: Vec::new(),
            snapshots: None,
            clock: DefaultClock::new(),
            is_counted: true,
            rules: Rules::new(),
        }
    }
}

impl<C: Clock> MultiBucketBuilder<C> {
    /// Adds a limit, a rate and a burst: a [`Quota`], or a text like `"100/s burst 20"`. Its place
    /// is that of the call, from 0. At least one is required, and there are seven at the most.
    pub fn limit(mut self, quota: impl IntoQuota) -> Self {
        self.limits.push(quota.into_quota());
        self
    }

    /// Adds several limits.
    pub fn limits<Q: IntoQuota>(mut self, quotas: impl IntoIterator<Item = Q>) -> Self {
        self.limits
            .extend(quotas.into_iter().map(IntoQuota::into_quota));
        self
    }

    /// Goes on from the [snapshots](MultiBucket::snapshots) of an earlier bucket: each limit with
    /// its tokens, and those that have come since by its old rate and the wall clock. One for each
    /// limit, in their order; if no limit is given they are the snapshots'.
    ///
    /// The rules are those of [`TokenBucketBuilder::restore`](crate::TokenBucketBuilder::restore).
    pub fn restore(mut self, snapshots: &[Snapshot]) -> Self {
        self.snapshots = Some(snapshots.to_vec());
        self
    }

    /// What to call it in reports and metrics.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.rules.name = Some(name.into());
        self
    }

    /// How many callers may wait at once; any number otherwise.
    pub fn max_waiters(mut self, max: usize) -> Self {
        self.rules.max_waiters = max;
        self
    }

    /// How late a timer may be without those who wait losing by it; 4 ms otherwise. See
    /// [`TokenBucketBuilder::catch_up`](crate::TokenBucketBuilder::catch_up).
    pub fn catch_up(mut self, late: Duration) -> Self {
        self.rules.catch_up = late;
        self
    }

    /// Where those who wait are driven; otherwise on the runtimes that poll them.
    pub fn runtime(mut self, runtime: &Handle) -> Self {
        self.rules.runtime = Some(runtime.clone());
        self
    }

    /// Whether decisions are counted; they are otherwise. It is about a nanosecond; the
    /// cells for them, 3 KiB, are there in any case.
    pub fn counted(mut self, counted: bool) -> Self {
        self.is_counted = counted;
        self
    }

    /// The clock it runs on; otherwise that of the simulation in which `builder()` was called, or
    /// else the machine's. Changes the type.
    pub fn clock<D: Clock>(self, clock: D) -> MultiBucketBuilder<D> {
        MultiBucketBuilder {
            limits: self.limits,
            snapshots: self.snapshots,
            clock,
            is_counted: self.is_counted,
            rules: self.rules,
        }
    }

    /// Builds the bucket; all limits start full, unless there are snapshots.
    ///
    /// # Errors
    /// [`ConfigError`] if there is no limit or more than seven; if one is no quota, has no burst,
    /// or does not fit: a rate up to 2^52 per second, a burst up to 2^50; if nobody may wait;
    /// or if there are not as many snapshots, or one is no bucket's.
    pub fn build(mut self) -> Result<MultiBucket<C>, ConfigError> {
        if let Some(snapshots) = &self.snapshots
            && self.limits.is_empty()
        {
            let quota = |it: &Snapshot| Quota {
                rate: it.rate,
                burst: Some(it.burst),
            };
            self.limits.extend(snapshots.iter().map(quota).map(Ok));
        }
        let given = self.limits.len();
        if given == 0 {
            return Err(ConfigError::NoLimits);
        }
        if given > MAX_LIMITS {
            return Err(ConfigError::TooManyLimits {
                given,
                max: MAX_LIMITS,
            });
        }
        if self.rules.max_waiters == 0 {
            return Err(ConfigError::ZeroWaiters);
        }
        let limits = self.limits.into_iter().enumerate().map(|(index, quota)| {
            let Quota { rate, burst } = quota?;
            let burst = burst.ok_or(ConfigError::LimitWithoutBurst { index })?;
            Ok((rate, burst))
        });
        let limits = limits.collect::<Result<Vec<_>, ConfigError>>()?;
        let start = match self.snapshots {
            None => Vec::new(),
            Some(snapshots) if snapshots.len() != given => {
                return Err(ConfigError::OtherSnapshots {
                    given: snapshots.len(),
                    limits: given,
                });
            }
            Some(snapshots) => snapshots,
        };
        start.iter().try_for_each(Snapshot::check)?;
        let core = Core::new(&limits, &start, self.clock, self.is_counted, self.rules)?;
        Ok(MultiBucket {
            core: Arc::new(core),
        })
    }
}

impl<C> fmt::Debug for MultiBucketBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiBucketBuilder")
            .field("limits", &self.limits)
            .field("snapshots", &self.snapshots)
            .field("name", &self.rules.name)
            .field("max_waiters", &self.rules.max_waiters)
            .field("catch_up", &self.rules.catch_up)
            .field("runtime", &self.rules.runtime)
            .field("counted", &self.is_counted)
            .finish_non_exhaustive()
    }
}
