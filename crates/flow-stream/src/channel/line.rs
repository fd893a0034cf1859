//! Those who wait at one end of a queue, under its lock.

use core::task::Waker;

use flow_sync::{Cancelled, Standing, Ticket, WaitList};

use crate::wakers::Wakers;

/// Those who wait, and those who were granted what they wait for and have not come for it yet.
#[derive(Default)]
pub(super) struct Line {
    pub(super) list: WaitList,
    pub(super) granted: usize,
    /// What they need together.
    pub(super) granted_need: u64,
}

impl Line {
    pub(super) fn park(&mut self, waker: Waker, need: u64) -> Ticket {
        self.list.push(need, Some(waker))
    }

    pub(super) fn grant(&mut self, wakers: &mut Wakers) {
        self.granted += 1;
        self.granted_need += self.list.head_need().unwrap_or(0);
        wakers.extend(self.list.grant_head());
    }

    /// Puts one that was granted back into its place, without what it was granted. For receivers,
    /// which all need one item and no weight.
    pub(super) fn go_back(&mut self, ticket: Ticket, waker: Option<Waker>) {
        let Some(waker) = waker else { return };
        debug_assert_eq!(self.granted_need, 0, "receivers need no weight");
        self.granted -= 1;
        // It is granted, so the list keeps the waker.
        drop(self.list.requeue(ticket, waker));
    }

    pub(super) fn refuse_all(&mut self, wakers: &mut Wakers) {
        wakers.refuse_all(&mut self.list);
    }

    /// Gives a place up; the waker in the answer is to be dropped without the lock.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Cancelled {
        let left = self.list.cancel(ticket);
        if left.standing == Standing::Granted {
            self.granted -= 1;
            self.granted_need -= left.need;
        }
        left
    }
}
