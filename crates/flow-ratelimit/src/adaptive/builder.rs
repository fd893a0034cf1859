//! The builder of an adaptive limiter.

use core::fmt;
use core::ops::RangeInclusive;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock, Handle};
use flow_sync::sync::Mutex;

use super::stats::Decisions;
use super::windows::{MOST_SAMPLES, Windows};
use super::{AdaptiveConfigError, AdaptiveLimiter, LimitAlgorithm, Shared};
use crate::concurrency::{ConcurrencyLimiter, ConcurrencyLimiterBuilder};
use crate::token_bucket::Fairness;

/// Configures an [`AdaptiveLimiter`]; everything is checked by [`build`](Self::build).
#[must_use = "a builder does nothing until `build` is called"]
pub struct AdaptiveLimiterBuilder<C = DefaultClock> {
    algorithm: Box<dyn LimitAlgorithm>,
    limiter: ConcurrencyLimiterBuilder,
    range: RangeInclusive<u32>,
    initial: Option<u32>,
    window: Duration,
    min_samples: u32,
    clock: C,
}

impl AdaptiveLimiterBuilder {
    pub(super) fn new(algorithm: Box<dyn LimitAlgorithm>) -> Self {
        Self {
            algorithm,
            limiter: ConcurrencyLimiter::builder(),
            range: 1..=1_000,
            initial: None,
            window: Duration::from_millis(100),
            min_samples: 50,
            clock: DefaultClock::new(),
        }
    }
}

impl<C: Clock> AdaptiveLimiterBuilder<C> {
    /// The limits it may choose from, 1 to [`ConcurrencyLimiter::MAX_LIMIT`]; 1 to 1,000
    /// otherwise.
    pub fn range(mut self, limits: RangeInclusive<u32>) -> Self {
        self.range = limits;
        self
    }

    /// The limit it starts with, from a former run perhaps; 20 otherwise, or what in the range is
    /// nearest to it.
    pub fn initial(mut self, limit: u32) -> Self {
        self.initial = Some(limit);
        self
    }

    /// How long a window is, 100 ms otherwise. Windows are longer while there are too few samples,
    /// and up to 16 times as long where a permit takes more than half of one.
    pub fn window(mut self, length: Duration) -> Self {
        self.window = length;
        self
    }

    /// How many permits a window needs to be decided upon, 1 to 1,024; 50 otherwise.
    pub fn min_samples(mut self, count: u32) -> Self {
        self.min_samples = count;
        self
    }

    /// How many callers may wait at once; any number otherwise.
    pub fn max_waiters(mut self, max: usize) -> Self {
        self.limiter = self.limiter.max_waiters(max);
        self
    }

    /// Whether newcomers may pass those who wait; they may not otherwise. See
    /// [`ConcurrencyLimiterBuilder::fairness`].
    pub fn fairness(mut self, fairness: Fairness) -> Self {
        self.limiter = self.limiter.fairness(fairness);
        self
    }

    /// What to call it in reports and metrics.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.limiter = self.limiter.name(name);
        self
    }

    /// Whose timers bound a wait; otherwise those of the runtime that polls it.
    pub fn runtime(mut self, runtime: &Handle) -> Self {
        self.limiter = self.limiter.runtime(runtime);
        self
    }

    /// Whether grants and denials are counted; they are otherwise.
    pub fn counted(mut self, counted: bool) -> Self {
        self.limiter = self.limiter.counted(counted);
        self
    }

    /// The clock that latencies are taken by; otherwise that of the simulation in which
    /// `adaptive()` was called, or else the machine's. Changes the type.
    ///
    /// A [`CoarseClock`](flow_rt::CoarseClock) takes most of a sample's price away; means are
    /// right even where its resolution is above the latency.
    pub fn clock<D: Clock>(self, clock: D) -> AdaptiveLimiterBuilder<D> {
        AdaptiveLimiterBuilder {
            algorithm: self.algorithm,
            limiter: self.limiter,
            range: self.range,
            initial: self.initial,
            window: self.window,
            min_samples: self.min_samples,
            clock,
        }
    }

    /// Builds the limiter, all permits free.
    ///
    /// # Errors
    /// [`AdaptiveConfigError`] if a value is out of its bounds, or the algorithm's
    /// [`check`](LimitAlgorithm::check) finds one.
    pub fn build(self) -> Result<AdaptiveLimiter<C>, AdaptiveConfigError> {
        let (min, max) = self.range.into_inner();
        if min > max {
            return Err(AdaptiveConfigError::EmptyRange { min, max });
        }
        // Bounds that no limiter can have are refused by the limiter itself.
        for bound in [min, max] {
            self.limiter.clone().limit(bound).build()?;
        }
        let initial = self.initial.unwrap_or(INITIAL.clamp(min, max));
        if !(min..=max).contains(&initial) {
            let given = initial;
            return Err(AdaptiveConfigError::InitialOutside { given, min, max });
        }
        if self.window.is_zero() || self.window > LONGEST {
            return Err(AdaptiveConfigError::Window {
                given: self.window,
                max: LONGEST,
            });
        }
        if !(1..=MOST_SAMPLES).contains(&u64::from(self.min_samples)) {
            return Err(AdaptiveConfigError::Samples {
                given: self.min_samples,
                max: MOST_SAMPLES as u32,
            });
        }
        self.algorithm.check()?;
        let windows = Windows::new(self.clock.now(), self.window, self.min_samples);
        Ok(AdaptiveLimiter {
            limiter: self.limiter.limit(initial).alone_up_to(max).build()?,
            shared: Arc::new(Shared {
                clock: self.clock,
                min,
                max,
                windows,
                decisions: Decisions::default(),
                algorithm: Mutex::new(self.algorithm),
            }),
        })
    }
}

impl<C> fmt::Debug for AdaptiveLimiterBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLimiterBuilder")
            .field("algorithm", &self.algorithm)
            .field("limiter", &self.limiter)
            .field("range", &self.range)
            .field("initial", &self.initial)
            .field("window", &self.window)
            .field("min_samples", &self.min_samples)
            .finish_non_exhaustive()
    }
}

const INITIAL: u32 = 20;
const LONGEST: Duration = Duration::from_secs(3_600);
