//! The buckets: which list a timer stands in, and what is due first.

use super::{Bounds, Bucket, DIGIT, LOWEST, NONE, Node, RADIX, Timers, WORD};

impl<W> Timers<W> {
    /// The number of the bucket of a due time.
    #[inline]
    fn place(&self, due: u64) -> usize {
        let first_different = ((due ^ self.base) | 1).ilog2() as usize;
        let level = (first_different + DIGIT - LOWEST) / DIGIT;
        level * RADIX + (due >> shift(level)) as usize % RADIX
    }

    /// The number of the first bucket that is not empty.
    #[inline]
    pub(super) fn first_bucket(&self) -> Option<usize> {
        if self.words == 0 {
            return None;
        }
        let word = self.words.trailing_zeros() as usize;
        Some(word * WORD + self.filled[word].trailing_zeros() as usize)
    }

    /// Puts a slot at the end of its bucket, whose number it returns.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as that of `insert`")]
    pub(super) fn link(&mut self, slot: u32, due: u64) -> usize {
        let at = self.place(due);
        let bucket = match self.buckets.get_mut(at) {
            Some(bucket) => bucket,
            None => add_levels(&mut self.buckets, at),
        };
        let previous = core::mem::replace(&mut bucket.last, slot);
        let node = &mut self.nodes[slot as usize];
        node.due = due;
        node.previous = previous;
        node.next = NONE;
        if let Some(previous) = self.nodes.get_mut(previous as usize) {
            previous.next = slot;
        } else {
            bucket.first = slot;
            self.words |= 1 << (at / WORD);
            self.filled[at / WORD] |= 1 << (at % WORD);
        }
        at
    }

    /// The same, for who moves slots that there were.
    #[inline(never)]
    pub(super) fn relink(&mut self, slot: u32, due: u64) {
        self.link(slot, due);
    }

    pub(super) fn unlink(&mut self, slot: u32) {
        let Node {
            due,
            previous,
            next,
            ..
        } = self.nodes[slot as usize];
        if self.front.first().is_some_and(|&(last, _)| due <= last) {
            self.front.retain(|&(_, other)| other != slot);
            return;
        }
        let at = self.place(due);
        let bucket = &mut self.buckets[at];
        match previous {
            NONE => bucket.first = next,
            previous => self.nodes[previous as usize].next = next,
        }
        match next {
            NONE => bucket.last = previous,
            next => self.nodes[next as usize].previous = previous,
        }
        let emptied = bucket.first == NONE;
        if emptied {
            self.mark_empty(at);
        }
        // What is due after them is in another bucket. At a bound, others may be beside it.
        let hold = |bounds: &Bounds| {
            due > bounds.latest
                || bounds.earliest == bounds.latest && !emptied
                || bounds.earliest < due && due < bounds.latest
        };
        self.bounds = self.bounds.filter(hold);
    }

    fn mark_empty(&mut self, at: usize) {
        let word = &mut self.filled[at / WORD];
        *word &= !(1 << (at % WORD));
        if *word == 0 {
            self.words &= !(1 << (at / WORD));
        }
    }

    /// Empties the first bucket, whose slots are the caller's.
    #[inline]
    pub(super) fn empty(&mut self, at: usize) {
        self.buckets[at] = Bucket::EMPTY;
        self.mark_empty(at);
        self.bounds = None;
    }

    /// The bounds of the first bucket, if any is not empty.
    #[inline]
    pub(super) fn measured(&mut self) -> Option<Bounds> {
        if self.bounds.is_none() && self.words != 0 {
            self.measure();
        }
        self.bounds
    }

    fn measure(&mut self) {
        if let Some(at) = self.first_bucket() {
            let mut slot = self.buckets[at].first;
            let mut bounds = Bounds::at(self.nodes[slot as usize].due);
            while slot != NONE {
                let node = &self.nodes[slot as usize];
                bounds.include(node.due);
                slot = node.next;
            }
            self.bounds = Some(bounds);
        }
    }
}

/// Adds the levels up to that of bucket `needed`, which it returns.
#[cold]
fn add_levels(buckets: &mut Vec<Bucket>, needed: usize) -> &mut Bucket {
    let count = (needed + 1).next_multiple_of(RADIX);
    buckets.resize(count, Bucket::EMPTY);
    &mut buckets[needed]
}

/// Bits below the digit of a level. On the lowest, the two bits above its digit are taken for a
/// part of it: they are the same in all that is there.
#[inline]
pub(super) const fn shift(level: usize) -> usize {
    (level * DIGIT).saturating_sub(DIGIT - LOWEST)
}
