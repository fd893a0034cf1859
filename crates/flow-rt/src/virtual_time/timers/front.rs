//! The sorted front: the next few timers, taken out of the first bucket.

use super::buckets::shift;
use super::{Bounds, NONE, Node, RADIX, Timers};

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
            self.open(at);
        }
    }

    /// Takes the next one out of the front, if it is due.
    #[inline]
    pub(super) fn pop_front(&mut self, now: u64) -> Option<u32> {
        let next = self.front.pop_if(|&mut (due, _)| due <= now);
        next.map(|(_, slot)| slot)
    }

    /// Moves `base` to where bucket `at` starts, the first one, and what is in there to the front,
    /// or to lower levels if it is much. Leaves it there, measured, if all of it is due at once.
    ///
    /// A slot's place in the front is the number of those that are due after it. To count them
    /// takes no branch that depends on the times, where a sort would mispredict one for each slot.
    #[inline(never)]
    pub(super) fn open(&mut self, at: usize) {
        let first = self.buckets[at].first;
        let due = self.nodes[first as usize].due;
        let inside = (1 << shift(at / RADIX)) - 1;
        let room = if inside < SHORT_SPAN { SHORT_FRONT } else { 0 };
        // Whole numbers that a float holds, since any machine compares two of those at once.
        // Behind the last, what is due after all.
        let mut keys = [f64::INFINITY; SHORT_FRONT];
        let mut slots = [0; SHORT_FRONT];
        let (mut count, mut different) = (0, 0);
        let mut slot = first;
        while slot != NONE {
            let node = &self.nodes[slot as usize];
            different |= node.due ^ due;
            if count < room {
                // Equals come out in the order of the list.
                let key = (node.due & inside) * SHORT_FRONT as u64 + count as u64;
                keys[count] = key.cast_signed() as f64;
                slots[count] = slot;
            } else if different != 0 {
                break;
            }
            count += 1;
            slot = node.next;
        }
        if different == 0 {
            self.bounds = Some(Bounds::at(due));
            return;
        }
        self.empty(at);
        self.base = due & !inside;
        if slot != NONE {
            return self.spread(first);
        }
        self.front.resize(count, (0, NONE));
        let padded = &keys[..count.next_multiple_of(4)];
        for (&slot, &key) in slots[..count].iter().zip(&keys) {
            let after: u64 = padded.iter().map(|&other| u64::from(other > key)).sum();
            let place = after as usize - (padded.len() - count);
            self.front[place] = (self.nodes[slot as usize].due, slot);
        }
    }

    /// Puts a list into the buckets that are its slots' now.
    fn spread(&mut self, first: u32) {
        let mut slot = first;
        while slot != NONE {
            let Node { due, next, .. } = self.nodes[slot as usize];
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
        self.nodes[slot as usize].due = due;
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
/// Nanoseconds: three days, so that a time and a place in a list fit into a float's 53 bits.
const SHORT_SPAN: u64 = 1 << 48;
/// Timers that are new go to the front while there are no more in it.
const LONGEST_FRONT: usize = 64;
