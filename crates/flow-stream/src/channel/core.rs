//! The bounded queue under a channel: one short lock over a `VecDeque` and two FIFO wait lists.
//!
//! Everything above this file sees only the methods of [`Core`] and the opaque [`Wait`], so that
//! another queue can stand in its place.
//!
//! # State
//! `state: Mutex<State>`: the items, `closed`, and per end a [`WaitList`]. A sender's place that is
//! *granted* has room reserved for it; a receiver's has an item set aside. `counters` are atomics
//! that are written under the lock and read without it.
//!
//! # Invariants
//! 1. items + granted senders <= capacity. (`DropOldest` never parks a sender.)
//! 2. While open, granted receivers <= items.
//! 3. Waiting senders > 0 implies open and items + granted senders = capacity.
//! 4. Waiting receivers > 0 implies items <= granted receivers, and not *drained*.
//! 5. Drained = closed and no items; it is stable, because nothing is pushed once closed is set.
//! 6. A future holds its item until the push that takes it: dropping it before loses nothing.
//!
//! # Steps
//! push (newcomer): closed? give back. No room beyond what is reserved? full. Append; grant the
//! first waiting receiver.
//! pop (newcomer): no item beyond those set aside? empty, or closed if drained. Take; grant the
//! first waiting sender; if that was the last item of a closed channel, refuse all receivers.
//! park: once per wait the future yields instead (wakes itself and returns `Pending`); at the next
//! poll it tries again **and parks under the same lock**, so no wake-up can fall in between.
//! A granted place cannot fail, except that a close takes a sender's reservation back.
//! leave: whoever drops a granted place passes it on to the next one who waits.
//!
//! # Ordering
//! The mutex orders everything; the counters are Relaxed and promise no more than a recent value.
//!
//! # Fairness
//! Strict FIFO on both ends from the poll that parks: a newcomer takes only room that nobody waits
//! for, and only items that are set aside for nobody. A future that has merely yielded has no
//! place yet. Yielding once is what keeps a fast pair from parking for every single item: a parked
//! wake-up across threads costs thousands of times what a push costs.
//!
//! # Source
//! Room handed out instead of announced: tokio's batch semaphore. The lock instead of a ring: it
//! gives exact `DropOldest`, batches under one lock and a trivial close.

use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;

use flow_sync::sync::Mutex;

use super::stats::Counters;
use crate::wait_list::{Place, Ticket, WaitList, Wakers};

#[derive(Debug)]
pub(crate) struct Core<T> {
    capacity: usize,
    state: Mutex<State<T>>,
    counters: Counters,
}

/// Where a future is in its wait.
#[derive(Debug, Default)]
pub(crate) enum Wait {
    /// It has not found the channel full (or empty) yet.
    #[default]
    New,
    /// It has, and has let others run once.
    Yielded,
    Parked(Ticket),
}

impl Wait {
    /// The waker to park with, cloned before the lock is taken (and dropped after it is free).
    /// The first attempt of a wait yields and never parks, so it needs none.
    fn waker_to_park(&self, cx: &Context<'_>) -> Option<Waker> {
        (!matches!(self, Self::New)).then(|| cx.waker().clone())
    }
}

/// Why a push did not happen. The item comes back beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushError {
    Full,
    Closed,
}

/// Why there is no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PopError {
    Empty,
    Closed,
}

impl<T> Core<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            state: Mutex::new(State {
                items: VecDeque::new(),
                closed: false,
                capacity,
                senders: WaitList::new(),
                receivers: WaitList::new(),
            }),
            counters: Counters::default(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Pushes as a newcomer.
    pub(crate) fn try_push(&self, item: T) -> Result<(), (T, PushError)> {
        let mut wakers = Wakers::new();
        let mut state = self.state.lock();
        let pushed = match state.admits() {
            Ok(()) => {
                state.push(item, &self.counters, &mut wakers);
                Ok(())
            }
            Err(why) => Err((item, why)),
        };
        drop(state);
        wakers.wake();
        pushed
    }

    /// Pushes, in place of the oldest item if full; that one comes back.
    pub(crate) fn push_evicting(&self, item: T) -> Result<Option<T>, (T, PushError)> {
        let mut wakers = Wakers::new();
        let mut state = self.state.lock();
        let pushed = match state.admits() {
            Err(PushError::Closed) => Err((item, PushError::Closed)),
            admitted => {
                let evicted = if admitted.is_err() {
                    state.items.pop_front()
                } else {
                    None
                };
                state.push(item, &self.counters, &mut wakers);
                Ok(evicted)
            }
        };
        drop(state);
        wakers.wake();
        pushed
    }

    /// Pushes `slot`'s item, or waits in line for room. An empty slot stays pending.
    pub(crate) fn poll_push(
        &self,
        cx: &Context<'_>,
        wait: &mut Wait,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), PushError>> {
        let Some(item) = slot.take() else {
            return Poll::Pending;
        };
        let mut waker = wait.waker_to_park(cx);
        let mut wakers = Wakers::new();
        let mut state = self.state.lock();

        if let Wait::Parked(ticket) = &*wait
            && state.senders.place(ticket) == Place::Waiting
        {
            if let Some(waker) = &mut waker {
                state.senders.refresh(ticket, waker);
            }
            *slot = Some(item);
            return Poll::Pending;
        }
        // A granted place is given up for the room that was reserved for it, in one go.
        if let Wait::Parked(ticket) = core::mem::take(wait) {
            state.senders.leave(ticket);
        }
        let outcome = match state.admits() {
            Ok(()) => {
                state.push(item, &self.counters, &mut wakers);
                Poll::Ready(Ok(()))
            }
            Err(PushError::Closed) => {
                *slot = Some(item);
                Poll::Ready(Err(PushError::Closed))
            }
            Err(PushError::Full) => {
                *slot = Some(item);
                *wait = if let Some(waker) = waker.take() {
                    Wait::Parked(state.senders.park(waker, ()))
                } else {
                    self.counters.count_blocked_send();
                    Wait::Yielded
                };
                Poll::Pending
            }
        };
        drop(state);
        wakers.wake();
        if matches!(wait, Wait::Yielded) && outcome.is_pending() {
            cx.waker().wake_by_ref();
        }
        outcome
    }

    /// Gives up a sender's wait; the room that was reserved for it goes to the next.
    pub(crate) fn leave_push(&self, wait: &mut Wait) {
        let Wait::Parked(ticket) = core::mem::take(wait) else {
            return;
        };
        let mut wakers = Wakers::new();
        let waker = {
            let mut state = self.state.lock();
            let left = state.senders.leave(ticket);
            state.grant_senders(&mut wakers);
            left.waker
        };
        drop(waker);
        wakers.wake();
    }

    /// Takes an item as a newcomer.
    pub(crate) fn try_pop(&self) -> Result<T, PopError> {
        let mut wakers = Wakers::new();
        let popped = self.state.lock().pop(&self.counters, &mut wakers);
        wakers.wake();
        popped
    }

    /// Takes an item with `take`, or waits in line for one; `None` when drained.
    pub(crate) fn poll_pop<R>(
        &self,
        cx: &Context<'_>,
        wait: &mut Wait,
        take: impl FnOnce(&mut State<T>, &Counters, &mut Wakers) -> Result<R, PopError>,
    ) -> Poll<Option<R>> {
        let mut waker = wait.waker_to_park(cx);
        let mut wakers = Wakers::new();
        let mut state = self.state.lock();

        if let Wait::Parked(ticket) = &*wait
            && state.receivers.place(ticket) == Place::Waiting
        {
            if let Some(waker) = &mut waker {
                state.receivers.refresh(ticket, waker);
            }
            return Poll::Pending;
        }
        if let Wait::Parked(ticket) = core::mem::take(wait) {
            state.receivers.leave(ticket);
        }
        let outcome = match take(&mut state, &self.counters, &mut wakers) {
            Ok(taken) => Poll::Ready(Some(taken)),
            Err(PopError::Closed) => Poll::Ready(None),
            Err(PopError::Empty) => {
                *wait = match waker.take() {
                    Some(waker) => Wait::Parked(state.receivers.park(waker, ())),
                    None => Wait::Yielded,
                };
                Poll::Pending
            }
        };
        drop(state);
        wakers.wake();
        if matches!(wait, Wait::Yielded) && outcome.is_pending() {
            cx.waker().wake_by_ref();
        }
        outcome
    }

    /// Gives up a receiver's wait; the item that was set aside for it goes to the next.
    pub(crate) fn leave_pop(&self, wait: &mut Wait) {
        let Wait::Parked(ticket) = core::mem::take(wait) else {
            return;
        };
        let mut wakers = Wakers::new();
        let waker = {
            let mut state = self.state.lock();
            let left = state.receivers.leave(ticket);
            state.grant_receivers(&mut wakers);
            left.waker
        };
        drop(waker);
        wakers.wake();
    }

    /// Stops intake; what is buffered stays. False if it was closed before.
    pub(crate) fn close(&self) {
        let mut wakers = Wakers::new();
        {
            let mut state = self.state.lock();
            state.closed = true;
            self.counters.set_closed();
            state.senders.refuse_all(&mut wakers);
            state.grant_receivers(&mut wakers);
        }
        wakers.wake();
    }

    /// Takes out all items of a channel that nobody receives from any more.
    pub(crate) fn abandon(&self) -> VecDeque<T> {
        let mut state = self.state.lock();
        self.counters.count_abandoned(state.items.len());
        core::mem::take(&mut state.items)
    }

    /// Closed, and nothing left to receive.
    pub(crate) fn is_drained(&self) -> bool {
        self.state.lock().is_drained()
    }
}

#[derive(Debug)]
pub(crate) struct State<T> {
    items: VecDeque<T>,
    closed: bool,
    capacity: usize,
    senders: WaitList<()>,
    receivers: WaitList<()>,
}

impl<T> State<T> {
    /// Whether a newcomer may push. By invariant 3 this keeps it behind those who wait.
    fn admits(&self) -> Result<(), PushError> {
        if self.closed {
            Err(PushError::Closed)
        } else if self.items.len() + self.senders.granted() >= self.capacity {
            Err(PushError::Full)
        } else {
            Ok(())
        }
    }

    fn is_drained(&self) -> bool {
        self.closed && self.items.is_empty()
    }

    fn push(&mut self, item: T, counters: &Counters, wakers: &mut Wakers) {
        self.items.push_back(item);
        counters.count_sent(self.items.len());
        self.grant_receivers(wakers);
    }

    /// Takes the first item that is set aside for nobody.
    pub(crate) fn pop(&mut self, counters: &Counters, wakers: &mut Wakers) -> Result<T, PopError> {
        self.available()?;
        let Some(item) = self.items.pop_front() else {
            return Err(PopError::Empty);
        };
        counters.count_received(1, self.items.len());
        self.grant_senders(wakers);
        self.grant_receivers(wakers);
        Ok(item)
    }

    /// Appends up to `max` items that are set aside for nobody.
    pub(crate) fn pop_many(
        &mut self,
        out: &mut Vec<T>,
        max: usize,
        counters: &Counters,
        wakers: &mut Wakers,
    ) -> Result<usize, PopError> {
        let n = self.available()?.min(max);
        out.extend(self.items.drain(..n));
        counters.count_received(n, self.items.len());
        self.grant_senders(wakers);
        self.grant_receivers(wakers);
        Ok(n)
    }

    /// How many items a newcomer may take: at least one.
    fn available(&self) -> Result<usize, PopError> {
        match self.items.len().saturating_sub(self.receivers.granted()) {
            0 if self.is_drained() => Err(PopError::Closed),
            0 => Err(PopError::Empty),
            n => Ok(n),
        }
    }

    /// Restores invariant 3.
    fn grant_senders(&mut self, wakers: &mut Wakers) {
        while self.senders.waiting() > 0 && self.admits().is_ok() {
            self.senders.grant(wakers);
        }
    }

    /// Restores invariant 4.
    fn grant_receivers(&mut self, wakers: &mut Wakers) {
        while self.receivers.waiting() > 0 && self.items.len() > self.receivers.granted() {
            self.receivers.grant(wakers);
        }
        if self.is_drained() {
            self.receivers.refuse_all(wakers);
        }
    }
}
