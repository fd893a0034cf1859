//! Wakers collected under a lock, to be woken after it.

use core::task::Waker;

use flow_rt::contain;
use flow_sync::WaitList;

/// Wakers to be woken after the lock is gone: mostly none or one, so they cost no allocation.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    first: Option<Waker>,
    rest: Vec<Waker>,
}

impl Wakers {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn push(&mut self, waker: Waker) {
        if self.first.is_none() {
            self.first = Some(waker);
        } else {
            self.rest.push(waker);
        }
    }

    /// Adds the waker of one who was taken out of a list, if it had left one.
    pub(crate) fn extend(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.push(waker);
        }
    }

    /// Refuses all who wait in `list`.
    pub(crate) fn refuse_all(&mut self, list: &mut WaitList) {
        while !list.is_empty() {
            self.extend(list.close_head());
        }
    }

    /// Whether there is nobody to wake.
    #[cfg(feature = "channel")]
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Wakes all, in order; call it without the lock.
    #[inline]
    pub(crate) fn wake(self) {
        if let Some(first) = self.first {
            // One executor's panic must not lose the wake-ups of the others.
            contain(|| first.wake());
            for waker in self.rest {
                contain(|| waker.wake());
            }
        }
    }
}

/// Wakers that are woken when it is dropped: kept beside a lock's guard, and declared after it.
#[cfg(feature = "channel")]
#[derive(Debug, Default)]
pub(crate) struct Woken(pub(crate) Wakers);

#[cfg(feature = "channel")]
impl Drop for Woken {
    #[inline]
    fn drop(&mut self) {
        if !self.0.is_empty() {
            core::mem::take(&mut self.0).wake();
        }
    }
}
