//! Permits: what is held while one runs.

use core::fmt;
use core::mem;
use std::sync::Arc;

use flow_sync::Permits;

/// Permits held, given back on drop.
///
/// It borrows the limiter; [`into_owned`](Self::into_owned) lets it go into a task of its own.
#[must_use = "the permits go back as soon as this is dropped"]
pub struct Permit<'a> {
    permits: &'a Arc<Permits>,
    n: u32,
}

impl<'a> Permit<'a> {
    /// Wraps `n` permits that were taken from `permits`.
    #[inline]
    pub(super) fn new(permits: &'a Arc<Permits>, n: u32) -> Self {
        Self { permits, n }
    }

    /// How many permits this holds.
    pub fn count(&self) -> u32 {
        self.n
    }

    /// Takes `n` permits out of this one, to be given back apart; `None` if it holds fewer.
    pub fn split(&mut self, n: u32) -> Option<Self> {
        self.n = self.n.checked_sub(n)?;
        Some(Self::new(self.permits, n))
    }

    /// The same permits, without the borrow. One reference count.
    #[inline]
    pub fn into_owned(mut self) -> OwnedPermit {
        // Nothing is left for the drop of this one.
        OwnedPermit::new(self.permits.clone(), mem::take(&mut self.n))
    }

    /// Adds the permits of `other`, which must be of the same limiter.
    ///
    /// # Errors
    /// [`MergeError`] with `other` inside if they are another limiter's; both are as they were.
    pub fn merge(&mut self, mut other: Self) -> Result<(), MergeError<Self>> {
        if !Arc::ptr_eq(self.permits, other.permits) {
            return Err(MergeError::new(other));
        }
        // All of them are out at once, so they fit.
        self.n += mem::take(&mut other.n);
        Ok(())
    }

    /// Keeps the permits in flight for ever: the limiter has so many fewer.
    pub fn forget(mut self) {
        self.n = 0;
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        give_back(self.permits, self.n);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.n).finish()
    }
}

/// Permits held without borrowing the limiter, for tasks; given back on drop.
#[must_use = "the permits go back as soon as this is dropped"]
pub struct OwnedPermit {
    permits: Arc<Permits>,
    n: u32,
}

impl OwnedPermit {
    /// Wraps `n` permits that were taken from `permits`.
    #[inline]
    pub(super) fn new(permits: Arc<Permits>, n: u32) -> Self {
        Self { permits, n }
    }

    /// How many permits this holds.
    pub fn count(&self) -> u32 {
        self.n
    }

    /// Takes `n` permits out of this one, to be given back apart; `None` if it holds fewer.
    pub fn split(&mut self, n: u32) -> Option<Self> {
        self.n = self.n.checked_sub(n)?;
        Some(Self::new(self.permits.clone(), n))
    }

    /// Adds the permits of `other`, which must be of the same limiter.
    ///
    /// # Errors
    /// [`MergeError`] with `other` inside if they are another limiter's; both are as they were.
    pub fn merge(&mut self, mut other: Self) -> Result<(), MergeError<Self>> {
        if !Arc::ptr_eq(&self.permits, &other.permits) {
            return Err(MergeError::new(other));
        }
        // All of them are out at once, so they fit.
        self.n += mem::take(&mut other.n);
        Ok(())
    }

    /// Keeps the permits in flight for ever: the limiter has so many fewer.
    pub fn forget(mut self) {
        self.n = 0;
    }
}

impl Drop for OwnedPermit {
    #[inline]
    fn drop(&mut self) {
        give_back(&self.permits, self.n);
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedPermit").field(&self.n).finish()
    }
}

/// Permits of different limiters, or of different classes, were to be merged. Nothing was changed:
/// whoever was to take them has its own, and the others are in here.
#[derive(Debug)]
#[must_use = "the permits in it go back as soon as this is dropped"]
pub struct MergeError<P> {
    permit: P,
}

impl<P> MergeError<P> {
    pub(crate) fn new(permit: P) -> Self {
        Self { permit }
    }

    /// The permits that were not merged.
    pub fn into_permit(self) -> P {
        self.permit
    }

    /// The same, with what another kind of limiter makes of the permits.
    pub(crate) fn map<Q>(self, wrap: impl FnOnce(P) -> Q) -> MergeError<Q> {
        MergeError {
            permit: wrap(self.permit),
        }
    }
}

impl<P> fmt::Display for MergeError<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permits of different limiters or classes cannot be merged")
    }
}

impl<P: fmt::Debug> std::error::Error for MergeError<P> {}

#[inline]
fn give_back(permits: &Permits, n: u32) {
    if n > 0 {
        // A guard gives back what it took, once.
        let released = permits.release(n);
        debug_assert!(released.is_ok(), "{released:?}");
    }
}
