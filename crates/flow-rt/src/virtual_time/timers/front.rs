//! The sorted front: the next few timers, taken out of the first bucket.

use core::cmp::Reverse;

use super::buckets::shift;
use super::{Bounds, Bucket, NONE, Node, RADIX, Timers};

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

    /// Opens the first bucket, and what comes to be that, until something is in the front. Leaves
    /// those that are all due at once. It moves `base`, so time has to move to the next timer.
    #[inline(never)]
    pub(super) fn fill_front(&mut self) {
        while let Some(at) = self.first_bucket() {
            let Bucket { first, last } = self.buckets[at];
            let at_once = |bounds: &Bounds| bounds.earliest == bounds.latest;
            if first != last && self.bounds.as_ref().is_some_and(at_once) {
                return;
            }
            self.open(at);
            if !self.front.is_empty() || self.bounds.is_some() {
                return;
            }
        }
    }

    /// Moves `base` to where bucket `at` starts, the first one, and what is in there to the front,
    /// or to lower levels if it is much. Leaves it there, measured, if it is more than one, and all
    /// due at once.
    ///
    /// A slot's place in the front is the number of those that are due after it. To count them
    /// takes no branch that depends on the times, where a sort would mispredict one for each slot.
    /// They are counted by the highest bits of the times, of which any machine compares several at
    /// once. If two times are the same in these bits, the front is sorted after all.
    #[inline(never)]
    fn open(&mut self, at: usize) {
        let Bucket { first, last } = self.buckets[at];
        let due = self.nodes[first as usize].due;
        let inside = (1 << shift(at / RADIX)) - 1_u64;
        let below = inside.count_ones().saturating_sub(RANK);
        // In the order of the list, with a gap. What is not there ranks behind what is.
        let mut ranks = [-1_i16; SHORT_FRONT];
        let mut slots = [NONE; SHORT_FRONT];
        let (mut starts, mut ends, mut different) = (0, 0, 0);
        // From both ends at once: each step waits for the memory of the one before.
        let (mut head, mut tail) = (first, last);
        for step in 0..SHORT_FRONT / 2 {
            let (one, other) = (&self.nodes[head as usize], &self.nodes[tail as usize]);
            different |= (one.due ^ due) | (other.due ^ due);
            // No more than `RANK` bits.
            ranks[step] = ((one.due & inside) >> below) as i16;
            slots[step] = head;
            starts += 1;
            if head == tail {
                break;
            }
            ranks[SHORT_FRONT - 1 - step] = ((other.due & inside) >> below) as i16;
            slots[SHORT_FRONT - 1 - step] = tail;
            ends += 1;
            (head, tail) = (one.next, other.previous);
            if head == slots[SHORT_FRONT - 1 - step] {
                break;
            }
        }
        let count = starts + ends;
        let more = count == SHORT_FRONT && head != slots[SHORT_FRONT / 2];
        while more && head != NONE && different == 0 {
            let node = &self.nodes[head as usize];
            different |= node.due ^ due;
            head = node.next;
        }
        if different == 0 && count > 1 {
            self.bounds = Some(Bounds::at(due));
            return;
        }
        self.empty(at);
        self.base = due & !inside;
        if more {
            return self.spread(first);
        }
        self.front.resize(count, (0, NONE));
        let mut sorted = true;
        // Of equals the last first, so that the first of them is taken out first.
        for part in [SHORT_FRONT - ends..SHORT_FRONT, 0..starts] {
            for (&slot, &rank) in slots[part.clone()].iter().zip(&ranks[part]).rev() {
                let due = self.nodes[slot as usize].due;
                let mut place = count_after(&ranks, rank);
                while self.front[place].1 != NONE {
                    place += 1;
                    sorted = false;
                }
                self.front[place] = (due, slot);
            }
        }
        if !sorted {
            // Equals stay as they are.
            self.front.sort_by_key(|&(due, _)| Reverse(due));
        }
    }

    /// Puts a list into the buckets that are its slots' now.
    fn spread(&mut self, first: u32) {
        let mut slot = first;
        while slot != NONE {
            let Node { due, next, .. } = self.nodes[slot as usize];
            self.relink(slot, due);
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
            self.relink(slot, due);
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

/// How many of `ranks` are above this one.
#[inline]
fn count_after(ranks: &[i16; SHORT_FRONT], rank: i16) -> usize {
    let mut after = [0; LANES];
    for ranks in ranks.as_chunks::<LANES>().0 {
        for (after, &other) in after.iter_mut().zip(ranks) {
            // The sign, without a bool: that would be packed and unpacked.
            *after -= rank.wrapping_sub(other) >> (i16::BITS - 1);
        }
    }
    // No more than there are.
    usize::from(after.iter().sum::<i16>().cast_unsigned())
}

/// A bucket of no more is sorted: cheaper than to spread it, which would move each again.
const SHORT_FRONT: usize = 32;
/// Sums that are counted at once.
const LANES: usize = 8;
/// Bits of a rank: so few that no difference of two overflows.
const RANK: u32 = 14;
/// Timers that are new go to the front while there are no more in it.
const LONGEST_FRONT: usize = 64;
