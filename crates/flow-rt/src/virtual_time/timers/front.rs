//! The sorted front: the next few timers, taken out of the first bucket.

use core::cmp::Reverse;

use super::{FRONT, Link, NONE, Timers};

impl<W> Timers<W> {
    /// Where the next one stands that is due at `now` or before.
    pub(super) fn due_now(&mut self, now: u64) -> Due {
        loop {
            if let Some(&(due, _)) = self.front.last() {
                return if due <= now { Due::Front } else { Due::Nothing };
            }
            let Some(at) = self.first_bucket() else {
                return Due::Nothing;
            };
            let Some(bounds) = self.measured().filter(|bounds| bounds.earliest <= now) else {
                return Due::Nothing;
            };
            if bounds.earliest == bounds.latest {
                return Due::Bucket(at);
            }
            self.open(at, bounds.earliest);
        }
    }

    /// Takes the next one out of the front, if it is due.
    #[inline]
    pub(super) fn pop_front(&mut self, now: u64) -> Option<u32> {
        let next = self.front.pop_if(|&mut (due, _)| due <= now);
        next.map(|(_, slot)| slot)
    }

    /// Moves `base` to the earliest due time in bucket `at`, and its slots to the front, or to
    /// lower levels if they are many.
    fn open(&mut self, at: usize, earliest: u64) {
        let first = self.buckets[at].first;
        self.empty(at);
        self.base = earliest;
        let mut slot = first;
        while slot != NONE && self.front.len() < SHORT_FRONT {
            let link = &mut self.links[slot as usize];
            link.previous = FRONT;
            self.front.push((link.due, slot));
            slot = link.next;
        }
        if slot == NONE {
            // Equals come out in the order of the list.
            self.front.reverse();
            self.front.sort_by_key(|&(due, _)| Reverse(due));
            return;
        }
        self.front.clear();
        let mut slot = first;
        while slot != NONE {
            let Link { due, next, .. } = self.links[slot as usize];
            self.link(slot, due);
            slot = next;
        }
    }

    pub(super) fn add_to_front(&mut self, slot: u32, due: u64) {
        if self.front.len() >= LONGEST_FRONT {
            self.give_up_front();
            return self.add(slot, due);
        }
        // Before its equals, and so to be taken out after them.
        let at = self.front.partition_point(|&(other, _)| other > due);
        self.front.insert(at, (due, slot));
        self.links[slot as usize] = Link {
            due,
            previous: FRONT,
            next: NONE,
        };
    }

    /// Puts what is in the front into buckets.
    #[cold]
    fn give_up_front(&mut self) {
        while let Some((due, slot)) = self.front.pop() {
            self.link(slot, due);
        }
        self.bounds = None;
    }
}

/// Where something is due.
pub(super) enum Due {
    Nothing,
    /// The last of the front.
    Front,
    /// All that is in the first bucket, which has this number.
    Bucket(usize),
}

/// A bucket of no more is sorted: cheaper than to spread it, which would move each again.
const SHORT_FRONT: usize = 32;
/// Timers that are new go to the front while there are no more in it.
const LONGEST_FRONT: usize = 64;
