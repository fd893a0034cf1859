//! What a broadcast has seen so far.

// Plain counts: no part of a protocol, so not loom's.
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flow_sync::sync::atomic::Ordering;

use super::Shared;

/// A snapshot of a broadcast, taken without a lock.
///
/// Each figure is exact when nobody uses the broadcast, and recent otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BroadcastStats {
    /// Items that entered the broadcast.
    pub sent: u64,
    /// Items that gave way to newer ones before every receiver had them.
    pub evicted: u64,
    /// Items that receivers missed, summed over receivers; counted when a receiver finds out.
    pub missed: u64,
    /// Receivers that were disconnected and have found out.
    pub disconnected: u64,
    /// Sends that found no room and waited; once per send, however often it woke.
    pub blocked_sends: u64,
    /// Items that some receiver has not had.
    pub len: usize,
    /// How many items the broadcast can hold.
    pub capacity: usize,
    /// Receivers there are; one that was disconnected counts until it finds out.
    pub receivers: usize,
    /// Senders there are.
    pub senders: usize,
    /// Whether intake has stopped.
    pub closed: bool,
}

/// What happens on slow paths, or to receivers that lag.
#[derive(Debug, Default)]
pub(super) struct Rare {
    pub(super) evicted: AtomicU64,
    pub(super) missed: AtomicU64,
    pub(super) disconnected: AtomicU64,
    pub(super) blocked_sends: AtomicU64,
}

pub(super) fn count(cell: &AtomicU64, n: u64) {
    cell.fetch_add(n, Relaxed);
}

impl<T> Shared<T> {
    pub(super) fn stats(&self) -> BroadcastStats {
        BroadcastStats {
            sent: self.core.tail(),
            evicted: self.rare.evicted.load(Relaxed),
            missed: self.rare.missed.load(Relaxed),
            disconnected: self.rare.disconnected.load(Relaxed),
            blocked_sends: self.rare.blocked_sends.load(Relaxed),
            len: self.core.len_from(0),
            capacity: self.core.capacity(),
            receivers: self.core.receivers(),
            senders: self.senders.load(Ordering::Relaxed),
            closed: self.core.is_closed(),
        }
    }
}
