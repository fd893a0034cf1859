//! One class of a limiter: its share, and how it stands.

use core::fmt;
use std::sync::Arc;

use flow_rt::{Handle, HandleError};
use flow_sync::ClassedPermits;

use super::{Class, ClassedConfigError, ClassedLimiter, Shared};

/// A class of a [`ClassedLimiter`]: what permits are taken for.
///
/// It keeps its limiter alive. Clones are the same class.
#[derive(Clone)]
pub struct PermitClass {
    pub(super) permits: Arc<ClassedPermits>,
    pub(super) shared: Arc<Shared>,
    pub(super) index: usize,
}

impl PermitClass {
    pub(super) fn new(limiter: &ClassedLimiter, index: usize) -> Self {
        Self {
            permits: limiter.permits.clone(),
            shared: limiter.shared.clone(),
            index,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.class().name
    }

    /// What is kept for it of the limit. Locks shortly.
    pub fn share(&self) -> u32 {
        self.permits.share(self.index)
    }

    /// Changes the share from now on and gives the one before. Nothing is taken back from those
    /// who hold permits.
    ///
    /// # Errors
    /// [`ClassedConfigError::SharesAboveLimit`] if all shares would be more than the limit. The
    /// share stays as it was then.
    ///
    /// # Cost
    /// A short lock.
    pub fn set_share(&self, share: u32) -> Result<u32, ClassedConfigError> {
        let before = self.permits.set_share(self.index, share)?;
        #[cfg(feature = "tracing")]
        if before != share {
            let to = format_args!("{share} for {}", self.name());
            crate::events::changed(self.shared.name.as_deref(), "share", &to);
        }
        Ok(before)
    }

    /// Permits of this class held now.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.permits.in_flight_of(self.index)
    }

    /// What was done for it and how it stands. Locks shortly.
    pub fn stats(&self) -> ClassStats {
        let (granted, denied) = self.counted().unwrap_or_default();
        let (in_flight, share) = (self.in_flight(), self.share());
        ClassStats {
            granted,
            denied,
            waiting: self.permits.waiting_of(self.index),
            in_flight,
            share,
            lent: in_flight.saturating_sub(share),
        }
    }

    /// Grants and denials so far, if they are counted.
    pub(super) fn counted(&self) -> Option<(u64, u64)> {
        self.class().decisions.so_far()
    }

    /// Whose timers bound a wait.
    pub(super) fn runtime(&self) -> Result<Handle, HandleError> {
        match &self.shared.runtime {
            Some(runtime) => Ok(runtime.clone()),
            None => Handle::current(),
        }
    }

    #[inline]
    pub(super) fn count_granted(&self) {
        self.class().decisions.granted(1);
    }

    #[cold]
    pub(super) fn count_denied(&self) {
        self.class().decisions.denied();
    }

    #[inline]
    fn class(&self) -> &Class {
        &self.shared.classes[self.index]
    }
}

impl fmt::Debug for PermitClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PermitClass")
            .field("name", &self.name())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// What a [`PermitClass`] was given and how it stands.
///
/// Each number is exact while nothing goes on; together they are of about the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// Requests that were granted, at once or when their wait was polled after that; 0 if they
    /// are not counted.
    pub granted: u64,
    /// Requests that were denied, and waits that ended with an error; 0 if they are not counted.
    pub denied: u64,
    /// Callers in the queue.
    pub waiting: usize,
    /// Permits held.
    pub in_flight: u32,
    /// What is kept for the class of the limit.
    pub share: u32,
    /// Permits held above the share.
    pub lent: u32,
}
