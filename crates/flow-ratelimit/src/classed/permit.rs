//! Permits of a class: what is held while one runs.

use core::fmt;
use core::mem;
use std::sync::Arc;

use flow_sync::ClassedPermits;

use crate::concurrency::MergeError;

/// Permits of a class held, given back on drop.
///
/// It borrows the class; [`into_owned`](Self::into_owned) lets it go into a task of its own.
#[must_use = "the permits go back as soon as this is dropped"]
pub struct ClassPermit<'a> {
    permits: &'a Arc<ClassedPermits>,
    class: usize,
    n: u32,
}

impl<'a> ClassPermit<'a> {
    /// Wraps `n` permits that were taken from `permits` for `class`.
    #[inline]
    pub(super) fn new(permits: &'a Arc<ClassedPermits>, class: usize, n: u32) -> Self {
        Self { permits, class, n }
    }

    /// How many permits this holds.
    pub fn count(&self) -> u32 {
        self.n
    }

    /// Takes `n` permits out of this one, to be given back apart; `None` if it holds fewer.
    pub fn split(&mut self, n: u32) -> Option<Self> {
        self.n = self.n.checked_sub(n)?;
        Some(Self::new(self.permits, self.class, n))
    }

    /// The same permits, without the borrow. One reference count.
    #[inline]
    pub fn into_owned(mut self) -> OwnedClassPermit {
        OwnedClassPermit {
            permits: self.permits.clone(),
            class: self.class,
            // Nothing is left for the drop of this one.
            n: mem::take(&mut self.n),
        }
    }

    /// Adds the permits of `other`, which must be of the same limiter and class.
    ///
    /// # Errors
    /// [`MergeError`] with `other` inside if they are not; both are as they were.
    pub fn merge(&mut self, mut other: Self) -> Result<(), MergeError<Self>> {
        if !Arc::ptr_eq(self.permits, other.permits) || self.class != other.class {
            return Err(MergeError::new(other));
        }
        // All of them are out at once, so they fit.
        self.n += mem::take(&mut other.n);
        Ok(())
    }

    /// Keeps the permits in flight for ever: the limiter, and the share of their class, have so
    /// many fewer.
    pub fn forget(mut self) {
        self.n = 0;
    }
}

impl Drop for ClassPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        give_back(self.permits, self.class, self.n);
    }
}

impl fmt::Debug for ClassPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClassPermit").field(&self.n).finish()
    }
}

/// Permits of a class held without borrowing it, for tasks; given back on drop.
#[must_use = "the permits go back as soon as this is dropped"]
pub struct OwnedClassPermit {
    permits: Arc<ClassedPermits>,
    class: usize,
    n: u32,
}

impl OwnedClassPermit {
    /// How many permits this holds.
    pub fn count(&self) -> u32 {
        self.n
    }

    /// Takes `n` permits out of this one, to be given back apart; `None` if it holds fewer.
    pub fn split(&mut self, n: u32) -> Option<Self> {
        self.n = self.n.checked_sub(n)?;
        Some(Self {
            permits: self.permits.clone(),
            class: self.class,
            n,
        })
    }

    /// Adds the permits of `other`, which must be of the same limiter and class.
    ///
    /// # Errors
    /// [`MergeError`] with `other` inside if they are not; both are as they were.
    pub fn merge(&mut self, mut other: Self) -> Result<(), MergeError<Self>> {
        if !Arc::ptr_eq(&self.permits, &other.permits) || self.class != other.class {
            return Err(MergeError::new(other));
        }
        // All of them are out at once, so they fit.
        self.n += mem::take(&mut other.n);
        Ok(())
    }

    /// Keeps the permits in flight for ever: the limiter, and the share of their class, have so
    /// many fewer.
    pub fn forget(mut self) {
        self.n = 0;
    }
}

impl Drop for OwnedClassPermit {
    #[inline]
    fn drop(&mut self) {
        give_back(&self.permits, self.class, self.n);
    }
}

impl fmt::Debug for OwnedClassPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedClassPermit").field(&self.n).finish()
    }
}

#[inline]
fn give_back(permits: &ClassedPermits, class: usize, n: u32) {
    if n > 0 {
        // A guard gives back what it took, once.
        let released = permits.release(class, n);
        debug_assert!(released.is_ok(), "{released:?}");
    }
}
