//! The slots of the tasks that are ready, in the order in which they became so.

/// A queue that is taken from anywhere, and in which every slot stands once at most.
///
/// A vector with a start and an end: a pick by the seed, the common case, moves the last entry
/// into the gap and leaves the start at zero. Only who takes from the front moves it.
///
/// There is room for every slot before one is pushed, so that a wake never allocates.
pub(super) struct Ready {
    slots: Vec<u32>,
    /// Where the queue starts: what is before it has been taken.
    head: usize,
    end: usize,
    /// For each slot, whether a wake changes nothing: its task stands in the queue or is held
    /// back, and has not been polled since it was put there. Of slots that there are not yet, no.
    queued: Vec<bool>,
    /// How many slots there are.
    count: usize,
}

impl Ready {
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            head: 0,
            end: 0,
            queued: Vec::new(),
            count: 0,
        }
    }

    /// A slot that was not there before.
    pub(super) fn add_slot(&mut self) -> u32 {
        if self.count == self.queued.len() {
            self.make_room();
        }
        self.count += 1;
        // 2^32 slots do not fit into memory.
        self.count as u32 - 1
    }

    #[cold]
    fn make_room(&mut self) {
        let slots = (2 * self.count).max(16);
        self.queued.resize(slots, false);
        // Less than half of the entries were taken at the start, so twice the slots are enough.
        self.slots.resize(2 * slots, 0);
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.end - self.head
    }

    /// Puts a slot into the queue, unless it is there; says whether it was not. `u32::MAX`, which
    /// is no slot, is not put there.
    #[inline]
    pub(super) fn push(&mut self, slot: u32) -> bool {
        match self.queued.get_mut(slot as usize) {
            Some(queued) if !*queued => {
                *queued = true;
                self.put_back(slot);
                true
            }
            _ => false,
        }
    }

    /// Puts a slot into the queue that was taken out of it, and not polled.
    #[inline]
    pub(super) fn put_back(&mut self, slot: u32) {
        self.slots[self.end] = slot;
        self.end += 1;
    }

    /// A slot that was taken out of the queue is polled next: whoever wakes it from now on puts
    /// it back.
    #[inline]
    pub(super) fn polls(&mut self, slot: u32) {
        self.queued[slot as usize] = false;
    }

    /// A slot that was taken out of the queue is held back instead of polled.
    pub(super) fn hold(&mut self, slot: u32) {
        self.queued[slot as usize] = true;
    }

    pub(super) fn is_queued(&self, slot: u32) -> bool {
        self.queued[slot as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.slots[self.head..self.end].iter().copied()
    }

    /// Takes the one at `at`, and puts the last one in its place.
    #[inline]
    pub(super) fn swap_take(&mut self, at: usize) -> u32 {
        self.end -= 1;
        let last = self.slots[self.end];
        core::mem::replace(&mut self.slots[self.head + at], last)
    }

    /// Takes the one at `at`; the others keep their order.
    pub(super) fn take(&mut self, at: usize) -> u32 {
        let at = self.head + at;
        let slot = self.slots[at];
        if at > self.head {
            self.slots.copy_within(at + 1..self.end, at);
            self.end -= 1;
        } else {
            self.head += 1;
        }
        // Whenever half of the entries are gone, so that each is moved once in the mean.
        if self.head * 2 >= self.end {
            self.slots.copy_within(self.head..self.end, 0);
            self.end -= self.head;
            self.head = 0;
        }
        slot
    }

    /// Takes out the one for `slot`, if it is there; the others keep their order.
    #[inline]
    pub(super) fn remove(&mut self, slot: u32) {
        if core::mem::take(&mut self.queued[slot as usize]) {
            let at = self.iter().position(|ready| ready == slot);
            if let Some(at) = at {
                self.take(at);
            }
        }
    }

    /// Forgets the slots, and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.head = 0;
        self.end = 0;
        self.queued[..self.count].fill(false);
        self.count = 0;
    }

    /// For how many slots there is room.
    pub(super) fn capacity(&self) -> usize {
        self.queued.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Ready;
    use crate::rng::SplitMix;

    /// Any mix of what policies, stalls and ends do, beside a plain list.
    #[test]
    fn it_is_a_list_in_which_nobody_stands_twice() {
        let mut rng = SplitMix::new(1);
        let (mut ready, mut list) = (Ready::new(), Vec::new());
        for _ in 0..3 {
            let mut held = Vec::new();
            for _ in 0..5 {
                let slot = ready.add_slot();
                assert!(ready.push(slot) && !ready.push(slot) && !ready.push(u32::MAX));
                list.push(slot);
            }
            for _ in 0..10_000 {
                let slot = rng.up_to(4) as u32;
                let at = list
                    .len()
                    .checked_sub(1)
                    .map(|last| rng.up_to(last as u64) as usize);
                match (rng.up_to(5), at) {
                    (0, Some(at)) => {
                        let taken = ready.swap_take(at);
                        assert_eq!(taken, list.swap_remove(at));
                        ready.polls(taken);
                    }
                    (1, Some(at)) => {
                        let taken = ready.take(at);
                        assert_eq!(taken, list.remove(at));
                        ready.hold(taken);
                        held.push(taken);
                    }
                    (2, Some(_)) => {
                        let taken = ready.take(0);
                        assert_eq!(taken, list.remove(0));
                        ready.polls(taken);
                    }
                    (3, _) if !held.contains(&slot) => {
                        ready.remove(slot);
                        list.retain(|&other| other != slot);
                    }
                    (4, _) => {
                        if let Some(slot) = held.pop() {
                            ready.put_back(slot);
                            list.push(slot);
                        }
                    }
                    _ => {
                        let waits = !list.contains(&slot) && !held.contains(&slot);
                        assert_eq!(ready.push(slot), waits);
                        list.extend(waits.then_some(slot));
                    }
                }
                assert!(ready.iter().eq(list.iter().copied()));
                assert_eq!(ready.len(), list.len());
            }
            ready.clear();
            list.clear();
        }
    }
}
