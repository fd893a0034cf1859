//! One rate for several children, each with a part of it that nobody else takes.

mod blocking;
mod builder;
mod core;
#[cfg(feature = "metrics")]
mod metrics;
mod share;
pub(crate) mod shares;
mod snapshot;

use ::core::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use flow_rt::{Clock, DefaultClock};

use self::builder::check_shares;
use self::core::Child;
use crate::error::ConfigError;
use crate::rate::{IntoRate, Rate};
use crate::supply;
use crate::waiting::Serves;

pub use builder::FairShareBuilder;
pub use share::{Share, ShareStats};
pub use snapshot::FairShareSnapshot;

/// One rate for several children by their weights: each has its part guaranteed, and borrows what
/// the others leave. Shared by cloning.
///
/// A child of weight `w`, of `W` that all weights are together, has `rate × w / W` and
/// `burst × w / W` for itself. What it does not use, once its part of the burst is full, is left to
/// whoever asks: a busy child has the whole rate while the others are idle, and an idle child
/// finds its part of the burst there when it comes back. All together never go beyond what one
/// [`TokenBucket`](crate::TokenBucket) of the rate and burst would grant, and nothing is lost that
/// somebody asks for. (As there, a driver that is late may grant those who wait what came in
/// [4 ms](FairShareBuilder::catch_up), where that is more than the burst.)
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_ratelimit::FairShare;
/// use flow_rt::ManualClock;
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let share = FairShare::builder()
///     .rate("1000/s burst 100")
///     .child("interactive", 3)
///     .child("batch", 1)
///     .clock(clock.clone())
///     .build()?;
/// let (interactive, batch) = (share.child("interactive")?, share.child("batch")?);
///
/// // Its part of the burst; then, in 40 ms, ten of its own and thirty that the other left.
/// batch.try_acquire_n(25)?;
/// assert!(batch.try_acquire().is_err());
/// clock.advance(Duration::from_millis(40));
/// assert_eq!(batch.available(), 25);
/// batch.try_acquire_n(25)?;
///
/// // Nobody has touched what is kept for this one.
/// interactive.try_acquire_n(75)?;
/// # Ok(())
/// # }
/// ```
///
/// # What is guaranteed, and what is borrowed
/// A request takes its child's own tokens first, and then of what is shared: all that was supplied
/// to children that were full. Both are counted exactly, in fractions of a token without any
/// rounding; `rate × w / W` is kept for ever, whatever the others do. Borrowed tokens are not owed:
/// they would have been lost.
///
/// A child takes no more than its part of the burst at once. So each child needs one token of the
/// burst at the least: a burst of 100 does for weights of 99 and 1, and one of 99 does not.
///
/// # Waiting
/// First in, first out for each child; a large need holds up those behind it in the same line. The
/// first of each line goes as soon as its child's own tokens are enough. What is shared goes to
/// those who wait, before any newcomer, by their children's weights: of two that wait all the time
/// one of weight 3 borrows three times as much as one of weight 1, however much they ask for at
/// once.
///
/// # Cost
/// One lock for all children, held for a few additions. A child costs some 250 bytes, and 3 KiB for
/// counts. While callers wait, and for some denials, there is a pass over all children;
/// so this is for tens or hundreds of them. For clients by the million there is
/// [`KeyedLimiter`](crate::KeyedLimiter).
pub struct FairShare<C = DefaultClock> {
    family: Arc<Family<C>>,
}

/// All children. A driver of their queue is one child's, and they live as long as one another.
struct Family<C> {
    children: Box<[Arc<Child<C>>]>,
}

impl FairShare {
    /// One to be configured.
    pub fn builder() -> FairShareBuilder {
        FairShareBuilder::new()
    }
}

impl<C: Clock> FairShare<C> {
    /// The child of that name, to take tokens for. Look it up once and keep it.
    ///
    /// # Errors
    /// [`ConfigError::UnknownChild`].
    pub fn child(&self, name: &str) -> Result<Share<C>, ConfigError> {
        let found = self.children().find(|child| child.name() == name);
        found.ok_or_else(|| ConfigError::UnknownChild {
            given: name.into(),
            known: self.children().map(|child| child.name().into()).collect(),
        })
    }

    /// All children, as the builder was given them.
    pub fn children(&self) -> impl Iterator<Item = Share<C>> + '_ {
        (0..self.family.children.len()).map(|line| Share {
            family: self.family.clone(),
            line,
        })
    }

    /// Whole tokens that all children hold together now. Locks shortly.
    pub fn available(&self) -> u64 {
        self.any().look(|queue| queue.supply.available_to_all())
    }

    /// The rate of all together in force. Locks shortly.
    pub fn rate(&self) -> Rate {
        self.any().look(|queue| queue.supply.rate())
    }

    /// The burst of all together in force. Locks shortly.
    pub fn burst(&self) -> u64 {
        self.any().look(|queue| queue.supply.burst())
    }

    /// The name given to the builder.
    pub fn name(&self) -> Option<&str> {
        self.any().core.rules.name.as_deref()
    }

    /// Changes the rate of all together from now on. What was earned at the old one stays; those
    /// who wait are served by the new one. Of [`Rate::ZERO`] they wait on until it is raised again.
    ///
    /// # Errors
    /// [`ConfigError`] if it is no rate, or too high: as of
    /// [`TokenBucket::set_rate`](crate::TokenBucket::set_rate). The old rate stays then.
    ///
    /// # Cost
    /// A pass over all children, under the lock.
    pub fn set_rate(&self, rate: impl IntoRate) -> Result<(), ConfigError> {
        let rate = rate.into_rate()?;
        self.any().change(|shares, now| {
            supply::check_rate(rate, shares.bits())?;
            shares.set_rate(rate, now);
            Ok::<_, ConfigError>(())
        })?;
        #[cfg(feature = "tracing")]
        crate::events::changed(self.name(), "rate", &rate);
        Ok(())
    }

    /// Changes the burst of all together from now on, and with it the part of each. Tokens beyond a
    /// smaller one are lost; a larger one fills at the rate.
    ///
    /// Whoever waits for more than a part that has become smaller gets
    /// [`AcquireError::ExceedsBurst`](crate::AcquireError::ExceedsBurst) when it is their turn.
    ///
    /// # Errors
    /// [`ConfigError`] if it is zero or too large, or if a child would have less than one token of
    /// it. The old burst stays then.
    ///
    /// # Cost
    /// A pass over all children, under the lock.
    pub fn set_burst(&self, burst: u64) -> Result<(), ConfigError> {
        self.any().change(|shares, now| {
            supply::check_burst(burst, shares.bits())?;
            check_shares(burst, shares.weights())?;
            shares.set_burst(burst, now);
            Ok::<_, ConfigError>(())
        })?;
        #[cfg(feature = "tracing")]
        crate::events::changed(self.name(), "burst", &burst);
        Ok(())
    }

    /// Lets nobody go any more, of any child, for ever: whoever waits gets an error. Idempotent.
    pub fn close(&self) {
        #[cfg(feature = "tracing")]
        if !self.is_closed() {
            let waiting = self.any().core.waiting.load(Ordering::Acquire);
            crate::events::closed(self.name(), waiting);
        }
        self.any().close();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.any().core.closed.load(Ordering::Acquire)
    }

    /// What all children have done together and how they stand. Locks shortly. That of each is
    /// [`Share::stats`].
    pub fn stats(&self) -> FairShareStats {
        let counts = self.children().filter_map(|child| child.counted());
        let (granted, denied) = counts.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        let waiting = self.any().core.waiting.load(Ordering::Acquire);
        self.any().look(|queue| FairShareStats {
            granted,
            denied,
            waiting,
            available: queue.supply.available_to_all(),
            burst: queue.supply.burst(),
            rate: queue.supply.rate(),
        })
    }

    /// How all children stand, at one instant, as plain data for
    /// [`restore`](FairShareBuilder::restore) after a restart. The time is the wall clock's, as of
    /// [`TokenBucket::snapshot`](crate::TokenBucket::snapshot).
    ///
    /// # Cost
    /// A lock, and a list.
    pub fn snapshot(&self) -> FairShareSnapshot {
        let any = self.any();
        let snapshot = any.look(|queue| FairShareSnapshot::of(&self.family.children, queue));
        snapshot.taken_now(any.core.rules.runtime.as_ref())
    }

    /// All have the same lock.
    fn any(&self) -> &Child<C> {
        // There is at least one.
        &self.family.children[0]
    }
}

#[cfg(feature = "metrics")]
impl<C: Clock + 'static> FairShare<C> {
    /// What shows all children in a `flow_metrics::Registry`, by their names.
    ///
    /// It keeps them alive while it is registered. Nothing is published in between: the numbers are
    /// read when somebody collects.
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect> {
        Arc::new(metrics::FairShareCollector(self.clone()))
    }
}

impl<C> Clone for FairShare<C> {
    /// Another handle to the same children.
    fn clone(&self) -> Self {
        Self {
            family: self.family.clone(),
        }
    }
}

impl<C: Clock> fmt::Debug for FairShare<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairShare")
            .field("name", &self.name())
            .field("stats", &self.stats())
            .field("children", &self.children().collect::<Vec<_>>())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// What the children of a [`FairShare`] have done together and how they stand.
///
/// Each number is exact; together they are of about the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FairShareStats {
    /// Requests that were granted, at once or after a wait; 0 if they are not counted.
    pub granted: u64,
    /// Requests that were denied, and waits that ended with an error, at their limit too; 0 if they
    /// are not counted. Waits that were dropped are not among them.
    pub denied: u64,
    /// Callers in all lines.
    pub waiting: usize,
    /// Whole tokens that all hold together.
    pub available: u64,
    /// The burst of all together in force.
    pub burst: u64,
    /// The rate of all together in force.
    pub rate: Rate,
}
