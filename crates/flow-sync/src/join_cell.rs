//! One value handed from a task that ends to the one future that waits for it.
//!
//! # State
//! `slot: Mutex<Slot<T>>`, one of `Empty`, `Full(value)`, `Taken`; `waker: AtomicWaker` of the
//! single waiter; `done: AtomicBool`, set once the slot has been filled.
//!
//! # Invariants
//! 1. `done` goes from false to true once and never back; it is set after the slot was filled.
//! 2. The slot is filled at most once: the second [`complete`](JoinCell::complete) gives its
//!    value back.
//! 3. Whoever fills the slot wakes the waiter afterwards; the waiter registers before it looks.
//!
//! # Steps
//! complete: lock, fill, unlock; `done = true` (Release); wake.
//! poll: `done`? take. Else register the waker, look at `done` **again**, take or wait.
//!
//! # Ordering
//! The Release store of `done` publishes the slot to the Acquire load in `poll`. Register and
//! wake are RMWs on the waker's own state word: either `wake` sees the registered waker, or
//! `register` comes after `wake` and its acquire makes the store of `done` before that wake
//! visible to the second look (invariant 3). Swapping register and the second look loses the
//! wake-up; the loom model fails then.
//!
//! # Source
//! The cell of async-task and tokio's join handle, without their unsafe state word: measured as
//! fast (rt chapter B1).

use core::fmt;
use core::task::{Context, Poll};

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{AtomicWaker, Mutex};

/// A one-shot cell: one side completes it, one side polls for the value.
pub struct JoinCell<T> {
    done: AtomicBool,
    waker: AtomicWaker,
    slot: Mutex<Slot<T>>,
}

enum Slot<T> {
    Empty,
    Full(T),
    Taken,
}

impl<T> JoinCell<T> {
    /// An empty cell.
    pub fn new() -> Self {
        Self {
            done: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            slot: Mutex::new(Slot::Empty),
        }
    }

    /// Stores `value` and wakes the waiter.
    ///
    /// # Errors
    /// The value comes back if the cell was completed before; the cell is unchanged then.
    pub fn complete(&self, value: T) -> Result<(), T> {
        {
            let mut slot = self.slot.lock();
            match *slot {
                Slot::Empty => *slot = Slot::Full(value),
                Slot::Full(_) | Slot::Taken => return Err(value),
            }
        }
        self.done.store(true, Ordering::Release);
        self.waker.wake();
        Ok(())
    }

    /// Whether the cell was completed, whether or not the value was taken since.
    pub fn is_complete(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Takes the value, or registers the caller's waker for the completion.
    ///
    /// The last waker registered wins: one waiter at a time. After the value was taken this
    /// stays pending for ever; the future on top of it is fused by its owner.
    pub fn poll_take(&self, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(value) = self.try_take() {
            return Poll::Ready(value);
        }
        register(&self.waker, cx);
        match self.try_take() {
            Some(value) => Poll::Ready(value),
            None => Poll::Pending,
        }
    }

    /// Takes the value if it is there.
    pub fn try_take(&self) -> Option<T> {
        if !self.is_complete() {
            return None;
        }
        let mut slot = self.slot.lock();
        match core::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Full(value) => Some(value),
            // Complete and not full: it was taken.
            Slot::Empty | Slot::Taken => None,
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

#[cfg(not(loom))]
fn register(waker: &AtomicWaker, cx: &Context<'_>) {
    waker.register(cx.waker());
}

#[cfg(loom)]
fn register(waker: &AtomicWaker, cx: &Context<'_>) {
    waker.register_by_ref(cx.waker());
}
