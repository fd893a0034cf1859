//! Permits that teach.

use core::fmt;

use flow_rt::{Clock, DefaultClock};

use super::AdaptiveLimiter;
use super::windows::{Ended, Started};
use crate::concurrency::{MergeError, OwnedPermit, Permit};

/// Permits held, given back on drop, which say how it went.
///
/// Dropped without a word, by an early return or a panic, it is as if [`ignore`](Self::ignore)
/// had been called.
#[must_use = "the permits go back as soon as this is dropped"]
pub struct AdaptivePermit<'a, C = DefaultClock> {
    limiter: &'a AdaptiveLimiter<C>,
    permit: Permit<'a>,
    started: Option<Started>,
}

impl<'a, C: Clock> AdaptivePermit<'a, C> {
    #[inline]
    pub(super) fn new(limiter: &'a AdaptiveLimiter<C>, permit: Permit<'a>) -> Self {
        Self {
            limiter,
            permit,
            started: limiter.begin(),
        }
    }

    /// How many permits this holds.
    pub fn count(&self) -> u32 {
        self.permit.count()
    }

    /// It went well: the time since the permit was taken is a latency to go by.
    #[inline]
    pub fn success(self) {
        self.limiter.end(self.permit, self.started, Ended::Well);
    }

    /// It was refused or came too late because the service has too much to do. How long that took
    /// says nothing.
    #[inline]
    pub fn failure(self) {
        self.limiter
            .end(self.permit, self.started, Ended::Overloaded);
    }

    /// It says nothing about how many the service can bear: cancelled, or wrong for reasons of
    /// its own.
    #[inline]
    pub fn ignore(self) {}

    /// Takes `n` permits out of this one, for a part of the work that ends apart; `None` if it
    /// holds fewer. Both were begun when this was, and each teaches how it ended.
    pub fn split(&mut self, n: u32) -> Option<Self> {
        Some(Self {
            limiter: self.limiter,
            permit: self.permit.split(n)?,
            started: self.started,
        })
    }

    /// Adds the permits of `other`, which must be of the same limiter. They are one sample then,
    /// begun when this was.
    ///
    /// # Errors
    /// [`MergeError`] with `other` inside if they are another limiter's; both are as they were.
    pub fn merge(&mut self, other: Self) -> Result<(), MergeError<Self>> {
        let merged = self.permit.merge(other.permit);
        merged.map_err(|refused| refused.map(|permit| Self { permit, ..other }))
    }

    /// Keeps the permits in flight for ever, whatever the limit: the limiter has so many fewer.
    /// They teach nothing.
    pub fn forget(self) {
        self.permit.forget();
    }

    /// The same permits, begun when they were, without the borrow. A few reference counts.
    pub fn into_owned(self) -> AdaptiveOwnedPermit<C> {
        AdaptiveOwnedPermit {
            limiter: self.limiter.clone(),
            permit: self.permit.into_owned(),
            started: self.started,
        }
    }
}

impl<C> fmt::Debug for AdaptivePermit<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AdaptivePermit")
            .field(&self.permit.count())
            .finish()
    }
}

/// Permits held without borrowing the limiter, for tasks; given back on drop, and they say how it
/// went.
///
/// Dropped without a word it is as if [`ignore`](Self::ignore) had been called.
#[must_use = "the permits go back as soon as this is dropped"]
pub struct AdaptiveOwnedPermit<C = DefaultClock> {
    limiter: AdaptiveLimiter<C>,
    permit: OwnedPermit,
    started: Option<Started>,
}

impl<C: Clock> AdaptiveOwnedPermit<C> {
    pub(super) fn new(limiter: AdaptiveLimiter<C>, permit: OwnedPermit) -> Self {
        let started = limiter.begin();
        Self {
            limiter,
            permit,
            started,
        }
    }

    /// What is to be learnt from begins now, and not when the permit was taken.
    #[cfg(feature = "tower")]
    pub(crate) fn begin_anew(&mut self) {
        if let Some(started) = &mut self.started {
            *started = self.limiter.begin_anew();
        }
    }

    /// How many permits this holds.
    pub fn count(&self) -> u32 {
        self.permit.count()
    }

    /// It went well; see [`AdaptivePermit::success`].
    pub fn success(self) {
        self.limiter.end(self.permit, self.started, Ended::Well);
    }

    /// There was too much to do; see [`AdaptivePermit::failure`].
    pub fn failure(self) {
        self.limiter
            .end(self.permit, self.started, Ended::Overloaded);
    }

    /// It says nothing; see [`AdaptivePermit::ignore`].
    pub fn ignore(self) {}

    /// Takes `n` permits out of this one; see [`AdaptivePermit::split`].
    pub fn split(&mut self, n: u32) -> Option<Self> {
        Some(Self {
            permit: self.permit.split(n)?,
            limiter: self.limiter.clone(),
            started: self.started,
        })
    }

    /// Adds the permits of `other`, which must be of the same limiter; see
    /// [`AdaptivePermit::merge`].
    ///
    /// # Errors
    /// [`MergeError`] with `other` inside if they are another limiter's; both are as they were.
    pub fn merge(&mut self, other: Self) -> Result<(), MergeError<Self>> {
        let merged = self.permit.merge(other.permit);
        merged.map_err(|refused| refused.map(|permit| Self { permit, ..other }))
    }

    /// Keeps the permits in flight for ever; see [`AdaptivePermit::forget`].
    pub fn forget(self) {
        self.permit.forget();
    }
}

impl<C> fmt::Debug for AdaptiveOwnedPermit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AdaptiveOwnedPermit")
            .field(&self.permit.count())
            .finish()
    }
}
