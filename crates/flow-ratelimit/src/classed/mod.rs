//! How many at once, by priority: each class of requests has a share that is kept for it.

mod acquire;
mod builder;
mod class;
mod error;
#[cfg(feature = "metrics")]
mod metrics;
mod permit;

use core::fmt;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::Handle;
use flow_sync::ClassedPermits;

use crate::decisions::Decisions;

pub use builder::ClassedLimiterBuilder;
pub use class::{ClassStats, PermitClass};
pub use error::ClassedConfigError;
pub use permit::{ClassPermit, OwnedClassPermit};

/// A limit on how many run at once, for classes of requests of unlike importance.
///
/// Each class has a share of the limit. What it leaves idle the others may have, and it gets it
/// back as it comes back: permits are not taken from those who hold them.
///
/// Whoever waits goes in this order:
/// 1. who asks within the share of its class, the highest class first;
/// 2. who asks for more than that, the highest class first.
///
/// In a class it is first in, first out. Nobody passes one who goes before, a newcomer no more
/// than one who waits, and a large need holds up those after it until it fits. So the first of a
/// class that waits within its share waits **only for permits that are lent**, and nothing more is
/// lent until it is served: no class whose first is within its share is kept from that for longer
/// than those run that have borrowed of it.
///
/// What is lent goes by priority, after all of those: whoever asks for more than the share of its
/// class may wait for ever, while higher classes ask for as much, or while any class, a lower one
/// too, uses its own share. As it is the first that counts, those of its class behind it wait as
/// long, though they be within the share. Let no class have needs above its share that must not
/// wait so.
///
/// Clones are the same limiter.
///
/// ```
/// use flow_ratelimit::{ClassedLimiter, TryPermitError};
///
/// let limiter = ClassedLimiter::builder()
///     .limit(10)
///     .class("interactive", 6) // the highest
///     .class("batch", 2)
///     .build()?;
/// let interactive = limiter.class("interactive")?;
/// let batch = limiter.class("batch")?;
///
/// // Its own two, and eight that are lent: nobody else is there.
/// let mut running = batch.try_acquire_n(10)?;
/// assert!(matches!(interactive.try_acquire(), Err(TryPermitError::Full { .. })));
/// drop(running.split(3));
/// let request = interactive.try_acquire()?;
/// assert_eq!((limiter.in_flight(), batch.stats().lent), (8, 5));
/// # drop(request);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ClassedLimiter {
    permits: Arc<ClassedPermits>,
    shared: Arc<Shared>,
}

struct Shared {
    name: Option<Cow<'static, str>>,
    runtime: Option<Handle>,
    classes: Box<[Class]>,
}

struct Class {
    name: Cow<'static, str>,
    decisions: Decisions,
}

impl ClassedLimiter {
    /// A limiter to be configured.
    pub fn builder() -> ClassedLimiterBuilder {
        ClassedLimiterBuilder::new()
    }

    /// The most classes: 8.
    pub const MAX_CLASSES: usize = ClassedPermits::MAX_CLASSES;

    /// The largest limit for so many classes; 0 if there cannot be so many.
    ///
    /// All is counted in one word, so that taking and giving back are one atomic step.
    ///
    /// | classes | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 |
    /// |---|---|---|---|---|---|---|---|---|
    /// | limit | 268,435,455 | 1,048,575 | 32,767 | 4,095 | 1,023 | 255 | 127 | 63 |
    pub const fn max_limit(classes: usize) -> u32 {
        ClassedPermits::max_limit(classes)
    }

    /// The class of that name, to take permits for. Look it up once and keep it.
    ///
    /// # Errors
    /// [`ClassedConfigError::UnknownClass`].
    pub fn class(&self, name: &str) -> Result<PermitClass, ClassedConfigError> {
        let found = self.classes().find(|class| class.name() == name);
        found.ok_or_else(|| ClassedConfigError::UnknownClass {
            given: name.to_owned(),
            known: self
                .classes()
                .map(|class| class.name().to_owned())
                .collect(),
        })
    }

    /// All classes, the highest first.
    pub fn classes(&self) -> impl Iterator<Item = PermitClass> + '_ {
        (0..self.permits.classes()).map(|index| PermitClass::new(self, index))
    }

    /// Changes the limit from now on and gives the one before; the shares stay.
    ///
    /// Raised, it lets in those who wait. Lowered below what is in flight it takes nothing back:
    /// nobody is let in until enough permits have come back. Whoever waits for more than the new
    /// limit gets [`PermitError::ExceedsLimit`](crate::PermitError::ExceedsLimit) when it is their
    /// turn. At 0, with no shares, nothing passes.
    ///
    /// # Errors
    /// [`ClassedConfigError::SharesAboveLimit`] if it is less than the shares: lower them before.
    /// [`ClassedConfigError::LimitTooLarge`] for so many classes. The limit stays as it was then.
    ///
    /// # Cost
    /// A short lock.
    pub fn set_limit(&self, limit: u32) -> Result<u32, ClassedConfigError> {
        let before = self.permits.set_limit(limit)?;
        #[cfg(feature = "tracing")]
        if before != limit {
            crate::events::changed(self.name(), "limit", &limit);
        }
        Ok(before)
    }

    /// Stops giving permits, for ever: who waits fails with
    /// [`PermitError::Closed`](crate::PermitError::Closed), as later calls do. Permits held stay
    /// good. Idempotent.
    pub fn close(&self) {
        #[cfg(feature = "tracing")]
        if !self.is_closed() {
            crate::events::closed(self.name(), self.permits.waiting());
        }
        self.permits.close();
    }

    /// Whether the limiter is closed.
    pub fn is_closed(&self) -> bool {
        self.permits.is_closed()
    }

    /// Permits free now; 0 while more are in flight than a lowered limit allows.
    #[inline]
    pub fn available(&self) -> u32 {
        self.permits.available()
    }

    /// Permits held now, of all classes.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.permits.in_flight()
    }

    /// The limit in force.
    #[inline]
    pub fn limit(&self) -> u32 {
        self.permits.limit()
    }

    /// The name given at build.
    pub fn name(&self) -> Option<&str> {
        self.shared.name.as_deref()
    }

    /// How each class stands and what was done for it, the highest first. Locks shortly.
    pub fn stats(&self) -> Vec<ClassStats> {
        self.classes().map(|class| class.stats()).collect()
    }

    /// A collector for a [`flow_metrics::Registry`], under the limiter's name.
    ///
    /// It keeps the limiter alive while it is registered. Nothing is published in between: the
    /// numbers are read when somebody collects.
    #[cfg(feature = "metrics")]
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect> {
        Arc::new(metrics::ClassesCollector(self.clone()))
    }
}

impl fmt::Debug for ClassedLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassedLimiter")
            .field("name", &self.name())
            .field("limit", &self.limit())
            .field("classes", &self.stats())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
