//! What a channel has seen so far.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// A snapshot of a channel, taken without its lock.
///
/// Each figure is exact when nobody uses the channel, and recent otherwise; figures taken under
/// way need not add up. At rest `sent = received + dropped_oldest + abandoned + len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelStats {
    /// Items that entered the channel.
    pub sent: u64,
    /// Items that were received.
    pub received: u64,
    /// New items dropped because the channel was full (`OnFull::DropNewest`).
    pub dropped_newest: u64,
    /// Queued items dropped to make room for newer ones (`OnFull::DropOldest`).
    pub dropped_oldest: u64,
    /// Queued items dropped because the last receiver went away.
    pub abandoned: u64,
    /// Sends that found the channel full and waited; once per send, however often it woke.
    pub blocked_sends: u64,
    /// Items in the channel.
    pub len: usize,
    /// The most items that were in the channel at once.
    pub max_len: usize,
    /// How many items the channel can hold.
    pub capacity: usize,
    /// Whether intake has stopped.
    pub closed: bool,
}

impl ChannelStats {
    /// How full the channel is, from 0 to 1.
    pub fn utilization(&self) -> f64 {
        self.len as f64 / self.capacity as f64
    }

    /// All items that were dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.dropped_newest
            .saturating_add(self.dropped_oldest)
            .saturating_add(self.abandoned)
    }
}

/// The cells behind [`ChannelStats`].
///
/// Those named in `under_lock` have one writer at a time, the holder of the channel's lock, so a
/// load and a store do where a locked instruction would cost more than the queue itself.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    under_lock: UnderLock,
    dropped_newest: AtomicU64,
    dropped_oldest: AtomicU64,
}

#[derive(Debug, Default)]
struct UnderLock {
    sent: AtomicU64,
    received: AtomicU64,
    abandoned: AtomicU64,
    blocked_sends: AtomicU64,
    len: AtomicUsize,
    max_len: AtomicUsize,
    closed: AtomicBool,
}

impl Counters {
    pub(crate) fn snapshot(&self, capacity: usize) -> ChannelStats {
        let locked = &self.under_lock;
        ChannelStats {
            sent: locked.sent.load(Relaxed),
            received: locked.received.load(Relaxed),
            dropped_newest: self.dropped_newest.load(Relaxed),
            dropped_oldest: self.dropped_oldest.load(Relaxed),
            abandoned: locked.abandoned.load(Relaxed),
            blocked_sends: locked.blocked_sends.load(Relaxed),
            len: self.len(),
            max_len: locked.max_len.load(Relaxed),
            capacity,
            closed: self.is_closed(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.under_lock.len.load(Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.under_lock.closed.load(Relaxed)
    }

    pub(crate) fn count_sent(&self, len: usize) {
        let locked = &self.under_lock;
        add(&locked.sent, 1);
        locked.len.store(len, Relaxed);
        if len > locked.max_len.load(Relaxed) {
            locked.max_len.store(len, Relaxed);
        }
    }

    pub(crate) fn count_received(&self, n: usize, len: usize) {
        add(&self.under_lock.received, n as u64);
        self.under_lock.len.store(len, Relaxed);
    }

    pub(crate) fn count_blocked_send(&self) {
        add(&self.under_lock.blocked_sends, 1);
    }

    pub(crate) fn count_abandoned(&self, n: usize) {
        add(&self.under_lock.abandoned, n as u64);
        self.under_lock.len.store(0, Relaxed);
    }

    pub(crate) fn set_closed(&self) {
        self.under_lock.closed.store(true, Relaxed);
    }

    pub(crate) fn count_dropped_newest(&self) {
        self.dropped_newest.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_dropped_oldest(&self) {
        self.dropped_oldest.fetch_add(1, Relaxed);
    }
}

fn add(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
}
