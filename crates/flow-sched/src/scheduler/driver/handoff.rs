//! How other threads hand work to the driver, and when they wake it.
//!
//! # State
//! A queue of items; `gathered`, how many have been pushed since the driver last said that it
//! sleeps; `asleep_until`, the time the driver will wake by itself (0 while it is awake); the
//! driver's waker.
//!
//! # Invariants
//! 1. The waker is registered before `asleep_until` is set to anything but 0.
//! 2. An item needed before `asleep_until` never stays in the queue while the driver sleeps.
//! 3. Items that nobody needs soon (a removed job's timer, to be forgotten) wake nobody until
//!    `BATCH` of them have gathered: memory stays bounded, and nobody wakes for nothing.
//!
//! # Steps
//! push: push the item; add one to `gathered`; read `asleep_until`; wake if the item is needed
//! before it, or the batch is full.
//! sleep: set `asleep_until`; set `gathered` to 0; look at the queue; stay awake if there is
//! anything.
//!
//! # Ordering
//! Both sides change `gathered` by a read-modify-write that acquires and releases, so one of the
//! two comes first and the other one sees what was written before it. If that of the push does,
//! the driver sees the item; if that of the sleep does, the pusher sees the time (or a later one)
//! and wakes, and by invariant 1 there is a waker to wake. It is the only thing that a push and
//! the driver both write, beside the queue: there is no fence, and nothing per item to write back.

use core::task::Waker;

use flow_rt::contain;

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{AtomicWaker, SegQueue};

/// So many items wake the driver even if none is needed soon.
const BATCH: usize = 1_024;

pub(crate) struct Handoff<T> {
    queue: SegQueue<T>,
    gathered: AtomicUsize,
    asleep_until: AtomicU64,
    driver: AtomicWaker,
}

impl<T> Handoff<T> {
    pub(crate) fn new() -> Self {
        Self {
            queue: SegQueue::new(),
            gathered: AtomicUsize::new(0),
            asleep_until: AtomicU64::new(0),
            driver: AtomicWaker::new(),
        }
    }

    /// Hands an item over, which must be seen by `needed_by`; `u64::MAX` is some time.
    pub(crate) fn push(&self, item: T, needed_by: u64) {
        self.queue.push(item);
        let gathered = self.gathered.fetch_add(1, Ordering::AcqRel) + 1;
        let asleep_until = self.asleep_until.load(Ordering::Relaxed);
        let is_full = gathered.is_multiple_of(BATCH) && asleep_until != 0;
        if needed_by < asleep_until || is_full {
            self.wake();
        }
    }

    /// Wakes the driver, also for news that is not in the queue. The waker is the runtime's: its
    /// panic is not for whoever has news.
    pub(crate) fn wake(&self) {
        contain(|| self.driver.wake());
    }

    /// The driver is awake from here on and will look at the queue.
    pub(crate) fn awake(&self, waker: &Waker) {
        self.driver.register(waker);
        self.asleep_until.store(0, Ordering::Relaxed);
    }

    /// The next item, for the driver.
    pub(crate) fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Announces that the driver sleeps until `until`; false if there is something to do first.
    pub(crate) fn sleep(&self, until: u64) -> bool {
        self.asleep_until.store(until, Ordering::Relaxed);
        self.gathered.swap(0, Ordering::AcqRel);
        self.queue.is_empty()
    }
}
