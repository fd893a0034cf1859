//! Wakers taken out under a lock, to be woken after it.

use core::fmt;
use core::task::Waker;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Up to 16 wakers, without an allocation.
///
/// A critical section fills it, unlocks and calls [`wake`](Self::wake); one that has more
/// to wake says so and comes back: nobody holds the lock for long, and nobody allocates under it.
///
/// Dropping the list wakes nobody.
#[must_use = "whoever is in the list sleeps on until `wake` is called"]
pub struct WakeList<const N: usize = { crate::sync::WAKES }> {
    wakers: [Option<Waker>; N],
    len: usize,
}

impl WakeList {
    /// How many wakers a list takes.
    pub const CAPACITY: usize = crate::sync::WAKES;

    /// An empty list.
    #[inline]
    pub const fn new() -> Self {
        Self::empty()
    }
}

impl WakeList<1> {
    /// An empty list for one waker, where there is rarely another: to make and to drop the places
    /// that stay empty costs more than one wake-up.
    #[inline]
    pub(crate) const fn of_one() -> Self {
        Self::empty()
    }
}

impl<const N: usize> WakeList<N> {
    const fn empty() -> Self {
        Self {
            wakers: [const { None }; N],
            len: 0,
        }
    }

    /// Wakers that still fit.
    #[inline]
    pub const fn room(&self) -> usize {
        N - self.len
    }

    /// Adds a waker.
    ///
    /// # Errors
    /// It comes back if the list is full.
    #[inline]
    pub fn push(&mut self, waker: Waker) -> Result<(), Waker> {
        match self.wakers.get_mut(self.len) {
            Some(place) => {
                *place = Some(waker);
                self.len += 1;
                Ok(())
            }
            None => Err(waker),
        }
    }

    /// Wakes them in order and empties the list. Call it without a lock.
    ///
    /// A waker that panics is passed over and its payload dropped: those behind it have been
    /// granted what they waited for and must be told. The panic hook has reported it.
    pub fn wake(&mut self) {
        for place in &mut self.wakers[..core::mem::take(&mut self.len)] {
            wake(place.take());
        }
    }
}

impl Default for WakeList {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Debug for WakeList<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeList")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Wakes, and lets neither the waker's panic nor that of its payload's destructor out.
#[inline]
pub(crate) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        contain(|| waker.wake());
    }
}

/// Drops a waker, which is foreign code too: a panic of it would lose what was granted meanwhile.
#[inline]
pub(crate) fn discard(waker: Option<Waker>) {
    if let Some(waker) = waker {
        contain(|| drop(waker));
    }
}

fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f))
        && let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
    {
        // Its destructor panics too: leak it rather than try again for ever.
        core::mem::forget(second);
    }
}
