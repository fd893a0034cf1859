//! One value handed from a task that ends to the one future that waits for it.
//!
//! # State
//! `slot: Mutex<Slot<T>>`, one of `Empty`, `Waiting(waker)`, `Full(value)`, `Taken`;
//! `done: AtomicBool`, set once the slot has been filled.
//!
//! # Invariants
//! 1. The slot goes `Empty` or `Waiting` to `Full` to `Taken`, or at once to `Taken` when its reader
//!    [gives up](JoinCell::give_up), and never back.
//! 2. The slot is filled at most once: the second [`complete`](JoinCell::complete) gives its
//!    value back.
//! 3. Whoever fills the slot takes the waker out of it in the same critical section, and wakes
//!    it after unlocking.
//! 4. `done` is set after the slot was filled, or was found given up, before the waiter is woken.
//! 5. No waker is cloned, dropped or woken under the lock.
//!
//! # Steps
//! complete: lock, put the value, keep what was there, unlock; `done = true`; wake.
//! poll: lock; full: take. Else leave a waker, cloned outside of the lock, and unlock.
//! give up: lock, put `Taken`, unlock; whoever completes it later has its value back.
//!
//! # Ordering
//! One lock decides the race of completion and wait: the waiter's critical section comes first,
//! and the completer finds its waker (3); or second, and it finds the value. The Release store
//! of `done` pairs with the Acquire load in `is_complete`, so that whoever sees it finds the slot
//! filled; no wait depends on it.
//!
//! # Source
//! The cell of async-task and tokio's join handle, with a short lock for their state word: two
//! locked sections for a value that is there when it is asked for, four for one that is waited
//! for. A flag and an atomic waker beside the lock cost three atomic operations more, and no
//! section less (benches, `rt`: spawn and join).

use core::fmt;
use core::task::{Context, Poll, Waker};

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// A one-shot cell: one side completes it, one side polls for the value.
pub struct JoinCell<T> {
    done: AtomicBool,
    slot: Mutex<Slot<T>>,
}

enum Slot<T> {
    Empty,
    Waiting(Waker),
    Full(T),
    Taken,
}

impl<T> JoinCell<T> {
    /// An empty cell.
    pub fn new() -> Self {
        Self {
            done: AtomicBool::new(false),
            slot: Mutex::new(Slot::Empty),
        }
    }

    /// Stores `value` and wakes the waiter.
    ///
    /// # Errors
    /// The value comes back if the cell was completed before, or was [given up](Self::give_up).
    ///
    /// # Cost
    /// One short lock, and the wake if somebody waits.
    pub fn complete(&self, value: T) -> Result<(), T> {
        let before = {
            let mut slot = self.slot.lock();
            match *slot {
                Slot::Empty | Slot::Waiting(_) => core::mem::replace(&mut *slot, Slot::Full(value)),
                Slot::Full(_) | Slot::Taken => {
                    drop(slot);
                    self.done.store(true, Ordering::Release);
                    return Err(value);
                }
            }
        };
        self.done.store(true, Ordering::Release);
        if let Slot::Waiting(waiter) = before {
            waiter.wake();
        }
        Ok(())
    }

    /// Whether the cell was completed, whether or not the value was taken since. One load.
    pub fn is_complete(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Takes the value, or leaves the caller's waker for the completion.
    ///
    /// The last waker left wins: one waiter at a time. After the value was taken this stays
    /// pending for ever; the future on top of it is fused by its owner.
    ///
    /// # Cost
    /// One short lock; two when a new waker has to be left.
    pub fn poll_take(&self, cx: &mut Context<'_>) -> Poll<T> {
        let mut fresh = None;
        loop {
            let mut slot = self.slot.lock();
            match &*slot {
                Slot::Full(_) => return slot.take().map_or(Poll::Pending, Poll::Ready),
                Slot::Taken => return Poll::Pending,
                Slot::Waiting(waiter) if waiter.will_wake(cx.waker()) => return Poll::Pending,
                Slot::Empty | Slot::Waiting(_) => {}
            }
            if let Some(waker) = fresh.take() {
                let replaced = core::mem::replace(&mut *slot, Slot::Waiting(waker));
                drop(slot);
                drop(replaced);
                return Poll::Pending;
            }
            drop(slot);
            fresh = Some(cx.waker().clone());
        }
    }

    /// Takes the value of a cell that nobody shares any more, if it is there. No lock.
    ///
    /// ```
    /// let mut cell = flow_sync::JoinCell::new();
    /// assert_eq!(cell.take_mut(), None);
    /// assert_eq!(cell.complete(1), Ok(()));
    /// assert_eq!((cell.take_mut(), cell.take_mut()), (Some(1), None));
    /// ```
    pub fn take_mut(&mut self) -> Option<T> {
        self.slot.get_mut().take()
    }

    /// Takes the value if it is there, and refuses the one that comes later: whoever brings it
    /// has it back.
    ///
    /// For a reader that goes while something else keeps the cell.
    ///
    /// ```
    /// let cell = flow_sync::JoinCell::new();
    /// assert_eq!(cell.give_up(), None);
    /// assert_eq!(cell.complete(1), Err(1));
    /// assert!(cell.is_complete());
    /// ```
    ///
    /// # Cost
    /// One short lock.
    pub fn give_up(&self) -> Option<T> {
        let before = core::mem::replace(&mut *self.slot.lock(), Slot::Taken);
        match before {
            Slot::Full(value) => Some(value),
            // A waker among them, which goes here, without the lock.
            Slot::Empty | Slot::Waiting(_) | Slot::Taken => None,
        }
    }

    /// Takes the value if it is there.
    pub fn try_take(&self) -> Option<T> {
        self.slot.lock().take()
    }
}

impl<T> Slot<T> {
    /// The value of a full slot, which is `Taken` then.
    fn take(&mut self) -> Option<T> {
        if !matches!(self, Self::Full(_)) {
            return None;
        }
        match core::mem::replace(self, Self::Taken) {
            Self::Full(value) => Some(value),
            _ => None,
        }
    }
}

impl<T> Default for JoinCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for JoinCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinCell")
            .field("complete", &self.is_complete())
            .finish_non_exhaustive()
    }
}
