//! The slots of the tasks that are ready, in the order in which they became so.

/// A queue that is taken from anywhere.
///
/// A vector with a start: a pick by the seed, the common case, moves the last entry into the gap
/// and leaves the start at zero. Only who takes from the front moves it.
pub(super) struct Ready {
    slots: Vec<u32>,
    /// Where the queue starts: what is before it has been taken.
    head: usize,
}

impl Ready {
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            head: 0,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.head
    }

    #[inline]
    pub(super) fn push(&mut self, slot: u32) {
        self.slots.push(slot);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.slots[self.head..].iter().copied()
    }

    /// Takes the one at `at`, and puts the last one in its place.
    #[inline]
    pub(super) fn swap_take(&mut self, at: usize) -> u32 {
        self.slots.swap_remove(self.head + at)
    }

    /// Takes the one at `at`; the others keep their order.
    pub(super) fn take(&mut self, at: usize) -> u32 {
        if at > 0 {
            return self.slots.remove(self.head + at);
        }
        let slot = self.slots[self.head];
        self.head += 1;
        // Whenever half of the entries are gone, so that each is moved once in the mean.
        if self.head * 2 >= self.slots.len() {
            self.slots.drain(..self.head);
            self.head = 0;
        }
        slot
    }

    /// Takes out the one for `slot`, if it is there; the others keep their order.
    pub(super) fn remove(&mut self, slot: u32) {
        let at = self.iter().position(|ready| ready == slot);
        if let Some(at) = at {
            self.take(at);
        }
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.head = 0;
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots.capacity()
    }
}
