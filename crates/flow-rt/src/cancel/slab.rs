//! Values by slot: what a node keeps its children and its waiters in.

/// Values by slot, with a free list through the empty slots.
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    /// The first empty slot, or `NIL`.
    free: usize,
    len: usize,
}

enum Slot<T> {
    Free { next: usize },
    Used(T),
}

const NIL: usize = usize::MAX;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: NIL,
            len: 0,
        }
    }
}

impl<T> Slab<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where the next value goes.
    pub(super) fn next_slot(&self) -> usize {
        self.free.min(self.slots.len())
    }

    pub(super) fn insert(&mut self, value: T) -> usize {
        self.len += 1;
        let slot = self.free;
        if let Some(empty) = self.slots.get_mut(slot) {
            if let Slot::Free { next } = core::mem::replace(empty, Slot::Used(value)) {
                self.free = next;
            }
            return slot;
        }
        self.slots.push(Slot::Used(value));
        self.slots.len() - 1
    }

    pub(super) fn get(&self, slot: usize) -> Option<&T> {
        match self.slots.get(slot) {
            Some(Slot::Used(value)) => Some(value),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        match self.slots.get_mut(slot) {
            Some(Slot::Used(value)) => Some(value),
            _ => None,
        }
    }

    /// Frees a slot; nothing to do after `drain_into`.
    pub(super) fn remove(&mut self, slot: usize) -> Option<T> {
        let used = self.slots.get_mut(slot)?;
        let Slot::Used(_) = used else {
            return None;
        };
        let value = core::mem::replace(used, Slot::Free { next: self.free });
        self.free = slot;
        self.len -= 1;
        if self.len == 0 {
            // Give the memory of a burst back.
            self.slots.clear();
            self.slots.shrink_to(64);
            self.free = NIL;
        }
        match value {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    pub(super) fn drain_into(&mut self, all: &mut Vec<T>) {
        all.reserve(self.len);
        for slot in core::mem::take(self).slots {
            if let Slot::Used(value) = slot {
                all.push(value);
            }
        }
    }
}
