//! What a channel has seen so far.

// Plain counts: no part of a protocol, so not loom's.
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU64, AtomicUsize, fence};

use super::Shared;

/// A snapshot of a channel, taken without its lock.
///
/// Each figure is exact when nobody uses the channel, and recent otherwise; figures taken under
/// way need not add up. At rest `sent = received + dropped_oldest + abandoned + len`. Counts that
/// come with the queue's own work, `sent` and `received`, wrap at 2^48.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelStats {
    /// Items that entered the channel.
    pub sent: u64,
    /// Items that were received.
    pub received: u64,
    /// New items dropped because the channel was full: with `OnFull::DropNewest`, or because they
    /// came into a sink that had taken no room.
    pub dropped_newest: u64,
    /// Queued items dropped to make room for newer ones (`OnFull::DropOldest`).
    pub dropped_oldest: u64,
    /// Queued items dropped because the last receiver went away.
    pub abandoned: u64,
    /// New items dropped because the channel was closed: they came into a sink, or with a permit
    /// that had reserved nothing (`OnFull::DropOldest`).
    pub dropped_closed: u64,
    /// New items dropped because they came into a sink and were too heavy for the channel.
    pub dropped_too_heavy: u64,
    /// Sends that found the channel full and waited; once per send, however often it woke. Of a
    /// rendezvous: sends that found no receiver waiting.
    pub blocked_sends: u64,
    /// Items in the channel.
    pub len: usize,
    /// The most items that were in the channel at once, of the times when somebody looked: at
    /// each call of `stats`, and whenever a send had to wait. Exact with `OnFull::DropOldest`.
    pub max_len: usize,
    /// How many items the channel can hold; 0 of a rendezvous.
    pub capacity: usize,
    /// What the items in the channel weigh together; 0 unless they are weighed.
    pub weight: u64,
    /// What they may weigh together, if they are weighed.
    pub max_weight: Option<u64>,
    /// Whether intake has stopped.
    pub closed: bool,
}

impl ChannelStats {
    /// How full the channel is, from 0 to 1: by count or by weight, whichever is the fuller. A
    /// rendezvous is never full.
    pub fn utilization(&self) -> f64 {
        let by_count = self.len as f64 / self.capacity.max(1) as f64;
        let by_weight = self.weight as f64 / self.max_weight.unwrap_or(u64::MAX) as f64;
        by_count.max(by_weight)
    }

    /// All items that were dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.dropped_newest
            .saturating_add(self.dropped_oldest)
            .saturating_add(self.abandoned)
            .saturating_add(self.dropped_closed)
            .saturating_add(self.dropped_too_heavy)
    }
}

/// Where the counts of a ring wrap, and so those that are shown of every queue.
const WRAP: u64 = 1 << 48;

/// What a queue counts: it comes with its work.
pub(crate) struct Tally {
    pub(crate) pushed: u64,
    pub(crate) popped: u64,
    /// Those that gave way to newer ones.
    pub(crate) evicted: u64,
    pub(crate) max_len: usize,
}

/// What is counted beside the queue: it happens on slow paths, or to channels that drop.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    pub(crate) dropped_newest: AtomicU64,
    pub(crate) dropped_closed: AtomicU64,
    pub(crate) dropped_too_heavy: AtomicU64,
    pub(crate) blocked_sends: AtomicU64,
    max_len: AtomicUsize,
    /// How many items had been received when the last receiver went away, and one; 0 before.
    ended: AtomicU64,
}

impl Rare {
    /// Notes that the last receiver went away after it, or another, had received so many.
    ///
    /// Call it before anything is popped that nobody receives. The first note counts.
    pub(crate) fn ends_after(&self, received: u64) {
        // With the fence below: if that count has in it what another abandoned, its note is seen.
        fence(Acquire);
        let note = received + 1;
        let _ = self.ended.compare_exchange(0, note, Relaxed, Relaxed);
        // With the fence in `abandoned`: whoever has seen a later pop sees a note.
        fence(Release);
    }

    /// How many of the items that were popped nobody has received.
    fn abandoned(&self, popped: u64) -> u64 {
        fence(Acquire);
        let Some(received) = self.ended.load(Relaxed).checked_sub(1) else {
            return 0;
        };
        // Both wrap; a count that is older than the note has nothing of what came after it.
        let since = popped.wrapping_sub(received) % WRAP;
        if since < WRAP / 2 { since } else { 0 }
    }

    /// Notes a length that was seen; gives the greatest so far.
    pub(crate) fn seen(&self, len: usize) -> usize {
        self.max_len.fetch_max(len, Relaxed).max(len)
    }
}

pub(crate) fn count(cell: &AtomicU64, n: u64) {
    cell.fetch_add(n, Relaxed);
}

impl<T> Shared<T> {
    pub(super) fn stats(&self) -> ChannelStats {
        let rare = &*self.rare;
        let tally = self.core.tally();
        let abandoned = rare.abandoned(tally.popped);
        let len = self.core.len();
        let weight = self.core.weight();
        ChannelStats {
            sent: tally.pushed % WRAP,
            received: tally.popped.wrapping_sub(abandoned) % WRAP,
            dropped_newest: rare.dropped_newest.load(Relaxed),
            dropped_oldest: tally.evicted,
            abandoned,
            dropped_closed: rare.dropped_closed.load(Relaxed),
            dropped_too_heavy: rare.dropped_too_heavy.load(Relaxed),
            blocked_sends: rare.blocked_sends.load(Relaxed),
            len,
            max_len: rare.seen(len).max(tally.max_len),
            capacity: self.core.capacity(),
            weight: weight.map_or(0, |(weight, _)| weight),
            max_weight: weight.map(|(_, limit)| limit),
            closed: self.core.is_closed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rare, WRAP};

    #[test]
    fn what_is_popped_after_the_last_receiver_is_abandoned() {
        for received in [0, 5, WRAP - 1] {
            let rare = Rare::default();
            assert_eq!(rare.abandoned(received), 0, "nobody has gone");
            rare.ends_after(received);
            for later in [0, 1, 3] {
                assert_eq!(rare.abandoned((received + later) % WRAP), later);
            }
            // A count of before the note.
            assert_eq!(rare.abandoned(received.wrapping_sub(2) % WRAP), 0);
            // One who came second has counted what the first abandoned.
            rare.ends_after((received + 2) % WRAP);
            assert_eq!(rare.abandoned((received + 3) % WRAP), 3);
        }
    }
}
