//! How other threads hand work to the driver, and when they wake it.
//!
//! # State
//! A queue of items; `asleep_until`, the time the driver will wake by itself (0 while it is
//! awake); `pending`, about the length of the queue; the driver's waker.
//!
//! # Invariants
//! 1. The waker is registered before `asleep_until` is set to anything but 0.
//! 2. An item needed before `asleep_until` never stays in the queue while the driver sleeps.
//! 3. Items that nobody needs soon (a removed job's timer, to be forgotten) wake nobody until
//!    `BATCH` of them have gathered: memory stays bounded, and nobody wakes for nothing.
//!
//! # Steps
//! push: push the item; fence; read `asleep_until`; wake if the item is needed before it.
//! sleep: set `asleep_until`; fence; look at the queue; stay awake if there is anything.
//!
//! # Ordering
//! The two sides store one location and then load the other, with a `SeqCst` fence in between on
//! both: at least one of them sees the other's store (Dekker). If the pusher reads the old 0, the
//! driver has not passed its fence and sees the item; if it reads the time, it wakes, and by
//! invariant 1 there is a waker to wake.

use core::task::Waker;

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use crate::sync::{AtomicWaker, SegQueue};

/// So many items wake the driver even if none is needed soon.
const BATCH: usize = 1_024;

pub(crate) struct Handoff<T> {
    queue: SegQueue<T>,
    pending: AtomicUsize,
    asleep_until: AtomicU64,
    driver: AtomicWaker,
}

impl<T> Handoff<T> {
    pub(crate) fn new() -> Self {
        Self {
            queue: SegQueue::new(),
            pending: AtomicUsize::new(0),
            asleep_until: AtomicU64::new(0),
            driver: AtomicWaker::new(),
        }
    }

    /// Hands an item over, which must be seen by `needed_by`; `u64::MAX` is some time.
    pub(crate) fn push(&self, item: T, needed_by: u64) {
        // Counted first, so that the driver never takes more than was counted.
        let pending = self.pending.fetch_add(1, Ordering::Relaxed) + 1;
        self.queue.push(item);
        fence(Ordering::SeqCst);
        if needed_by < self.asleep_until.load(Ordering::Relaxed) || pending >= BATCH {
            self.driver.wake();
        }
    }

    /// Wakes the driver for news that is not in the queue.
    pub(crate) fn wake(&self) {
        self.driver.wake();
    }

    /// The driver is awake from here on and will look at the queue.
    pub(crate) fn awake(&self, waker: &Waker) {
        self.driver.register(waker);
        self.asleep_until.store(0, Ordering::Relaxed);
    }

    /// The next item, for the driver.
    pub(crate) fn pop(&self) -> Option<T> {
        let item = self.queue.pop()?;
        self.pending.fetch_sub(1, Ordering::Relaxed);
        Some(item)
    }

    /// Announces that the driver sleeps until `until`; false if there is something to do first.
    pub(crate) fn sleep(&self, until: u64) -> bool {
        self.asleep_until.store(until, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.queue.is_empty()
    }
}
