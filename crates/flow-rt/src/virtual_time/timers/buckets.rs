//! The buckets: which list a timer stands in, and what is due first.

use super::{Bounds, Bucket, DIGIT, FRONT, Link, NONE, RADIX, Timers};

impl<W> Timers<W> {
    /// The level of a due time, and the number of its bucket.
    #[inline]
    fn place(&self, due: u64) -> (usize, usize) {
        let level = ((due ^ self.base) | 1).ilog2() / DIGIT;
        let digit = (due >> (level * DIGIT)) as usize % RADIX;
        (level as usize, level as usize * RADIX + digit)
    }

    /// The number of the first bucket that is not empty.
    #[inline]
    pub(super) fn first_bucket(&self) -> Option<usize> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        Some(level * RADIX + self.digits[level].trailing_zeros() as usize)
    }

    /// Puts a slot at the end of its bucket, whose number it returns.
    #[inline]
    pub(super) fn link(&mut self, slot: u32, due: u64) -> usize {
        let (level, at) = self.place(due);
        if self.buckets.len() <= at {
            self.add_levels(level);
        }
        let bucket = &mut self.buckets[at];
        self.links[slot as usize] = Link {
            due,
            previous: bucket.last,
            next: NONE,
        };
        if bucket.last == NONE {
            *bucket = Bucket {
                first: slot,
                last: slot,
            };
            self.levels |= 1 << level;
            self.digits[level] |= 1 << (at % RADIX);
        } else {
            self.links[bucket.last as usize].next = slot;
            bucket.last = slot;
        }
        at
    }

    #[cold]
    fn add_levels(&mut self, highest: usize) {
        self.buckets.resize((highest + 1) * RADIX, Bucket::EMPTY);
    }

    pub(super) fn unlink(&mut self, slot: u32) {
        let Link {
            due,
            previous,
            next,
        } = self.links[slot as usize];
        if previous == FRONT {
            self.front.retain(|&(_, other)| other != slot);
            return;
        }
        let (level, at) = self.place(due);
        let bucket = &mut self.buckets[at];
        match previous {
            NONE => bucket.first = next,
            previous => self.links[previous as usize].next = next,
        }
        match next {
            NONE => bucket.last = previous,
            next => self.links[next as usize].previous = previous,
        }
        let emptied = bucket.first == NONE;
        if emptied {
            self.mark_empty(level, at);
        }
        // What is due after them is in another bucket. At a bound, others may be beside it.
        let hold = |bounds: &Bounds| {
            due > bounds.latest
                || bounds.earliest == bounds.latest && !emptied
                || bounds.earliest < due && due < bounds.latest
        };
        self.bounds = self.bounds.filter(hold);
    }

    fn mark_empty(&mut self, level: usize, at: usize) {
        self.digits[level] &= !(1 << (at % RADIX));
        if self.digits[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    /// Empties the first bucket, whose slots are the caller's.
    #[inline]
    pub(super) fn empty(&mut self, at: usize) {
        self.buckets[at] = Bucket::EMPTY;
        self.mark_empty(at / RADIX, at);
        self.bounds = None;
    }

    /// The bounds of the first bucket, if any is not empty.
    #[inline]
    pub(super) fn measured(&mut self) -> Option<Bounds> {
        if self.bounds.is_none() && self.levels != 0 {
            self.measure();
        }
        self.bounds
    }

    fn measure(&mut self) {
        if let Some(at) = self.first_bucket() {
            let mut slot = self.buckets[at].first;
            let mut bounds = Bounds::at(self.links[slot as usize].due);
            while slot != NONE {
                let link = &self.links[slot as usize];
                bounds.include(link.due);
                slot = link.next;
            }
            self.bounds = Some(bounds);
        }
    }
}
