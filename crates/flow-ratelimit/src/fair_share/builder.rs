//! The builder of a rate that children share.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock, Handle};
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicBool, AtomicUsize};

use super::core::{Child, Core, Queue};
use super::shares::Shares;
use super::{FairShare, FairShareSnapshot, Family};
use crate::decisions::Decisions;
use crate::error::ConfigError;
use crate::quota::{IntoQuota, Quota};
use crate::supply;
use crate::waiting::Rules;

/// Configures a [`FairShare`]; everything is checked by [`build`](Self::build).
#[must_use = "a builder does nothing until `build` is called"]
pub struct FairShareBuilder<C = DefaultClock> {
    quota: Option<Result<Quota, ConfigError>>,
    burst: Option<u64>,
    children: Vec<(Cow<'static, str>, u32)>,
    snapshot: Option<FairShareSnapshot>,
    clock: C,
    is_counted: bool,
    rules: Rules,
}

impl FairShareBuilder {
    pub(super) fn new() -> Self {
        Self {
            quota: None,
            burst: None,
            children: Vec::new(),
            snapshot: None,
            clock: DefaultClock::new(),
            is_counted: true,
            rules: Rules::new(),
        }
    }
}

impl<C: Clock> FairShareBuilder<C> {
    /// The rate of all children together: a [`Rate`](crate::Rate), a [`Quota`], or the text of
    /// either, like `"1000/s burst 200"`. Required.
    pub fn rate(mut self, rate: impl IntoQuota) -> Self {
        self.quota = Some(rate.into_quota());
        self
    }

    /// How many tokens all children together may take at once. Required, here or beside the rate;
    /// at least one for each child by its weight.
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// Adds a child that has `weight` parts of the rate and of the burst, of as many as all weights
    /// are together. At least one child is required.
    pub fn child(mut self, name: impl Into<Cow<'static, str>>, weight: u32) -> Self {
        self.children.push((name.into(), weight));
        self
    }

    /// Goes on from the [snapshot](FairShare::snapshot) of an earlier one: each child of the same
    /// name with its tokens, and those that have come since by the old rate and the wall clock. A
    /// child that is not in it starts empty; tokens of one that is not here any more are shared.
    /// The rate, the burst and the children, each if it is not given, are the snapshot's.
    pub fn restore(mut self, snapshot: &FairShareSnapshot) -> Self {
        self.snapshot = Some(snapshot.clone());
        self
    }

    /// What to call it in reports and metrics.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.rules.name = Some(name.into());
        self
    }

    /// How many callers may wait at once for each child; any number otherwise.
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

    /// Whether decisions are counted; they are otherwise. The cells for them, 3 KiB
    /// for each child, are there in any case.
    pub fn counted(mut self, counted: bool) -> Self {
        self.is_counted = counted;
        self
    }

    /// The clock it runs on; otherwise that of the simulation in which `builder()` was called, or
    /// else the machine's. Changes the type.
    pub fn clock<D: Clock>(self, clock: D) -> FairShareBuilder<D> {
        FairShareBuilder {
            quota: self.quota,
            burst: self.burst,
            children: self.children,
            snapshot: self.snapshot,
            clock,
            is_counted: self.is_counted,
            rules: self.rules,
        }
    }

    /// Builds it; all start full, unless there is a snapshot.
    ///
    /// # Errors
    /// [`ConfigError`] if rate, burst or children are missing; if the rate is no rate, or rate or
    /// burst do not fit: as of a [`TokenBucket`](crate::TokenBucket); if two children have one name,
    /// a weight is zero, all weights together are more than 2^32 - 1, or a child would have less than
    /// one token of the burst; if nobody may wait; or if the snapshot is none.
    pub fn build(mut self) -> Result<FairShare<C>, ConfigError> {
        let snapshot = self.snapshot.as_ref();
        if let Some(snapshot) = snapshot {
            snapshot.check()?;
            if self.children.is_empty() {
                self.children.extend(snapshot.names_and_weights());
            }
        }
        let quota = match self.quota {
            Some(quota) => quota?,
            None => snapshot.ok_or(ConfigError::MissingRate)?.rate().into(),
        };
        let burst = match (self.burst, quota.burst) {
            (None, None) => snapshot.map(FairShareSnapshot::burst),
            (given, _) => given,
        };
        let (rate, burst) = quota.complete(burst)?;
        if self.rules.max_waiters == 0 {
            return Err(ConfigError::ZeroWaiters);
        }
        if self.children.is_empty() {
            return Err(ConfigError::NoChildren);
        }
        let mut names = HashSet::new();
        for (name, _) in &self.children {
            if !names.insert(name) {
                return Err(ConfigError::DuplicateChild {
                    name: (**name).into(),
                });
            }
        }
        let weights: Vec<_> = self.children.iter().map(|&(_, weight)| weight).collect();
        check_shares(burst, weights.iter().copied())?;
        let bits = supply::fraction_bits(rate, burst)?;
        let now = self.clock.now();
        let mut shares = Shares::new((rate, burst, bits), &weights, self.rules.catch_up, now);
        if let Some(snapshot) = snapshot {
            let names = self.children.iter().map(|(name, _)| &**name);
            snapshot.resume(&mut shares, names, self.rules.runtime.as_ref());
        }
        let core = Arc::new(Core {
            queue: Mutex::new(Queue::with_lines(shares, weights.len())),
            clock: self.clock,
            waiting: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            rules: self.rules,
        });
        let children = self.children.into_iter().enumerate();
        let children = children.map(|(line, (name, _))| {
            Arc::new(Child {
                core: core.clone(),
                line,
                name,
                decisions: Decisions::new(self.is_counted),
            })
        });
        Ok(FairShare {
            family: Arc::new(Family {
                children: children.collect(),
            }),
        })
    }
}

/// Whether each child has a token at least of a burst, by such weights.
pub(super) fn check_shares(
    burst: u64,
    weights: impl Iterator<Item = u32> + Clone,
) -> Result<(), ConfigError> {
    let all: u64 = weights.clone().map(u64::from).sum();
    if all > MAX_WEIGHTS {
        return Err(ConfigError::WeightsTooLarge {
            given: all,
            max: MAX_WEIGHTS,
        });
    }
    let Some(least) = weights.min() else {
        return Err(ConfigError::NoChildren);
    };
    if least == 0 {
        return Err(ConfigError::ZeroWeight);
    }
    let min = all.div_ceil(u64::from(least));
    if burst > 0 && burst < min {
        return Err(ConfigError::BurstBelowShares { given: burst, min });
    }
    Ok(())
}

/// So that the units of all together fit: see `shares`.
const MAX_WEIGHTS: u64 = u32::MAX as u64;

impl<C> fmt::Debug for FairShareBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairShareBuilder")
            .field("rate", &self.quota)
            .field("burst", &self.burst)
            .field("children", &self.children)
            .field("snapshot", &self.snapshot)
            .field("name", &self.rules.name)
            .field("max_waiters", &self.rules.max_waiters)
            .field("catch_up", &self.rules.catch_up)
            .field("runtime", &self.rules.runtime)
            .field("counted", &self.is_counted)
            .finish_non_exhaustive()
    }
}
