//! Parked futures in the order in which they parked, for use under somebody else's lock.
//!
//! # State
//! A slab of slots, so that memory is bounded by the number of futures parked *at once*: a place
//! that is left in the middle of the list is free again at once. The waiting slots form a doubly
//! linked list from `head` to `tail`.
//!
//! # Invariants
//! 1. A slot is `Waiting` while linked; `Granted` or `Refused` once it was taken off the front;
//!    `Free` once its owner has left. Only the owner, who holds the [`Ticket`], frees it.
//! 2. `waiting` counts the slots in that state.
//! 3. No waker is cloned, woken or dropped in here: they are handed out, and the caller does that
//!    after it has unlocked. (Dropping the last waker of a task may run any destructor.)
//!
//! # Cost
//! Park, grant and leave are O(1) and allocate only when more futures are parked than ever.

use core::task::Waker;

use crate::wakers::Wakers;

/// Who waits, with what each of them needs.
#[derive(Debug)]
pub(crate) struct WaitList<N> {
    slots: Vec<Slot<N>>,
    first_free: Option<usize>,
    head: Option<usize>,
    tail: Option<usize>,
    waiting: usize,
}

#[derive(Debug)]
enum Slot<N> {
    Free { next: Option<usize> },
    Waiting(Waiting<N>),
    Granted(N),
    Refused,
}

#[derive(Debug)]
struct Waiting<N> {
    waker: Waker,
    need: N,
    prev: Option<usize>,
    next: Option<usize>,
}

/// A place in a [`WaitList`]; whoever holds it must [`leave`](WaitList::leave).
#[derive(Debug)]
pub(crate) struct Ticket(usize);

/// What has become of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Waiting,
    Granted,
    Refused,
}

/// What an owner left behind.
#[derive(Debug)]
pub(crate) struct Left<N> {
    /// Its waker, if it was still waiting: to be dropped outside of the lock.
    pub(crate) waker: Option<Waker>,
    /// What was reserved for it, if it had been granted.
    pub(crate) granted: Option<N>,
}

impl<N> WaitList<N> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            first_free: None,
            head: None,
            tail: None,
            waiting: 0,
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// What the first one needs.
    pub(crate) fn front(&self) -> Option<&N> {
        match &self.slots[self.head?] {
            Slot::Waiting(waiting) => Some(&waiting.need),
            _ => None,
        }
    }

    /// Takes a place at the end.
    pub(crate) fn park(&mut self, waker: Waker, need: N) -> Ticket {
        let slot = Slot::Waiting(Waiting {
            waker,
            need,
            prev: self.tail,
            next: None,
        });
        let at = if let Some(at) = self.first_free {
            if let Slot::Free { next } = core::mem::replace(&mut self.slots[at], slot) {
                self.first_free = next;
            }
            at
        } else {
            self.slots.push(slot);
            self.slots.len() - 1
        };
        match self.tail.replace(at) {
            Some(before) => self.link(before, |waiting| waiting.next = Some(at)),
            None => self.head = Some(at),
        }
        self.waiting += 1;
        Ticket(at)
    }

    /// Grants the first one what it needs.
    pub(crate) fn grant(&mut self, wakers: &mut Wakers) {
        if let Some(at) = self.head
            && let Some(waiting) = self.unlink(at)
        {
            self.slots[at] = Slot::Granted(waiting.need);
            wakers.push(waiting.waker);
        }
    }

    /// Refuses all who wait.
    pub(crate) fn refuse_all(&mut self, wakers: &mut Wakers) {
        while let Some(at) = self.head
            && let Some(waiting) = self.unlink(at)
        {
            self.slots[at] = Slot::Refused;
            wakers.push(waiting.waker);
        }
    }

    pub(crate) fn place(&self, ticket: &Ticket) -> Place {
        match self.slots[ticket.0] {
            Slot::Waiting(_) => Place::Waiting,
            Slot::Granted(_) => Place::Granted,
            Slot::Refused | Slot::Free { .. } => Place::Refused,
        }
    }

    /// Swaps the waker of one who waits for `waker`.
    pub(crate) fn refresh(&mut self, ticket: &Ticket, waker: &mut Waker) {
        if let Slot::Waiting(waiting) = &mut self.slots[ticket.0] {
            core::mem::swap(&mut waiting.waker, waker);
        }
    }

    /// Gives the place up. Whoever calls passes on what was granted.
    #[allow(clippy::needless_pass_by_value)] // a ticket is used up here
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Left<N> {
        let at = ticket.0;
        if let Some(waiting) = self.unlink(at) {
            self.free(at);
            return Left {
                waker: Some(waiting.waker),
                granted: None,
            };
        }
        let granted = match self.free(at) {
            Slot::Granted(need) => Some(need),
            _ => None,
        };
        Left {
            waker: None,
            granted,
        }
    }

    /// Takes a waiting slot out of the list, and leaves it `Refused`.
    fn unlink(&mut self, at: usize) -> Option<Waiting<N>> {
        if !matches!(self.slots[at], Slot::Waiting(_)) {
            return None;
        }
        let Slot::Waiting(waiting) = core::mem::replace(&mut self.slots[at], Slot::Refused) else {
            return None;
        };
        match waiting.prev {
            Some(prev) => self.link(prev, |before| before.next = waiting.next),
            None => self.head = waiting.next,
        }
        match waiting.next {
            Some(next) => self.link(next, |after| after.prev = waiting.prev),
            None => self.tail = waiting.prev,
        }
        self.waiting -= 1;
        Some(waiting)
    }

    fn link(&mut self, at: usize, change: impl FnOnce(&mut Waiting<N>)) {
        if let Slot::Waiting(waiting) = &mut self.slots[at] {
            change(waiting);
        }
    }

    fn free(&mut self, at: usize) -> Slot<N> {
        let next = self.first_free.replace(at);
        core::mem::replace(&mut self.slots[at], Slot::Free { next })
    }
}

#[cfg(test)]
mod tests;
