//! The queue of channels that hold nothing: a sender waits until a receiver has taken its item.
//!
//! # State
//! `state: Mutex<State>`: `closed`, the line of senders, their items, and the line of receivers.
//! The senders' line is a [`WaitList`] whose needs are keys of `offers`, where the items are.
//! Most entries have an owner, a send that is parked. A marked one has none: `try_send` handed it
//! to a receiver that was waiting, and it is the channel's now.
//!
//! # Invariants
//! 1. Each entry of the senders' line has exactly one item in `offers`. An owner's place that is
//!    gone from the list was taken by a receiver; one that is closed has its item there still.
//! 2. Waiting receivers > 0 implies items <= granted receivers, and not *drained*.
//! 3. An item without an owner was handed over when more receivers were parked than items there.
//! 4. Drained = closed, and no item without an owner; stable. A close refuses all owners.
//! 5. The moment at which an item is sent is that at which a receiver takes it: until then its
//!    owner can have it back, and after that its place is gone.
//!
//! # Steps
//! send: closed? give back. Join the line with the item, grant the first waiting receiver, wait.
//! try_send: closed? give back. No receiver parked that no item is there for? full. Join the line
//! without an owner; grant.
//! receive (newcomer): nobody waits and more items than granted receivers? Take the first, wake
//! its owner. Else park; nobody yields here, since one poll must do for "a receiver waits".
//! receive (granted): take the first. Nothing there, as its owner withdrew: back to its place.
//! leave: a sender takes its item along if it is there; a receiver's grant goes to the next.
//! close: refuse the owners; on a drained channel refuse the receivers.
//!
//! # Ordering
//! The mutex orders everything; the counters are Relaxed and promise no more than a recent value.
//!
//! # Fairness
//! From the first poll of a send or receive: items in order; receivers in the order of their
//! grants, and of those that are granted whoever polls first.
//!
//! # Source
//! Hoare's rendezvous with the item in the meeting place and not in the waiter's future: of two
//! who may both give up, one must decide. Here it is the receiver, so that nothing it was given is
//! ever lost (kanal#24), and the sender's item tells which it was.

use core::task::{Context, Poll};
use std::collections::VecDeque;

use flow_sync::sync::{Mutex, MutexGuard};
use flow_sync::{PopError, PushError, Standing, Turn, WaitList};

use super::counters::Counters;
use super::line::Line;
use super::stats::Tally;
use crate::wakers::Woken;

pub(crate) struct Rendezvous<T> {
    state: Mutex<State<T>>,
    counters: Counters,
}

impl<T> Rendezvous<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                closed: false,
                senders: WaitList::new(),
                offers: Offers::new(),
                receivers: Line::default(),
            }),
            counters: Counters::default(),
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.counters.tally()
    }

    /// Items that were handed over, and whose receivers have not come for them.
    pub(crate) fn len(&self) -> usize {
        self.counters.len()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.counters.is_closed()
    }

    /// Hands an item to a receiver that waits.
    pub(crate) fn try_push(&self, item: T) -> Result<(), (T, PushError)> {
        let mut section = self.section();
        match section.state.vacant() {
            Ok(_) => {
                section.hand(item);
                Ok(())
            }
            Err(why) => Err((item, why)),
        }
    }

    /// Hands an item to each receiver that waits, from the front.
    pub(crate) fn try_push_many(&self, items: &mut VecDeque<T>) -> Result<usize, PushError> {
        if items.is_empty() {
            return Ok(0);
        }
        let mut section = self.section();
        let n = section.state.vacant()?.min(items.len());
        for item in items.drain(..n) {
            section.hand(item);
        }
        Ok(n)
    }

    /// Offers `slot`'s item, and waits until a receiver has taken it. With nothing there, and no
    /// offer made, it stays pending.
    ///
    /// # Cancel safety
    /// While pending the item is in here: [`leave_push`](Self::leave_push) gives it back.
    pub(crate) fn poll_push(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), PushError>> {
        let waker = cx.waker().clone();
        let Turn::Parked(ticket) = *turn else {
            let Some(item) = slot.take() else {
                return Poll::Pending;
            };
            let mut section = self.section();
            if section.state.closed {
                *slot = Some(item);
                return Poll::Ready(Err(PushError::Closed));
            }
            let State {
                senders, offers, ..
            } = &mut *section.state;
            *turn = Turn::Parked(senders.push(offers.put(item), Some(waker)));
            section.grant_receivers();
            return Poll::Pending;
        };
        let mut section = self.section();
        let senders = &mut section.state.senders;
        match senders.standing(ticket) {
            Standing::Waiting => {
                let replaced = senders.update_waker(ticket, waker);
                drop(section);
                drop(replaced);
                Poll::Pending
            }
            Standing::Closed => {
                let key = senders.cancel(ticket).need;
                *slot = section.state.offers.take(key);
                *turn = Turn::New;
                Poll::Ready(Err(PushError::Closed))
            }
            // Invariant 1: it was taken.
            Standing::Gone | Standing::Granted => {
                *turn = Turn::New;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Whether no receiver is there yet for the offer of `turn`.
    pub(crate) fn is_blocked(&self, turn: &Turn) -> bool {
        let state = self.state.lock();
        matches!(turn, Turn::Parked(ticket)
            if state.senders.standing(*ticket) == Standing::Waiting
                && state.senders.len() > state.receivers.granted)
    }

    /// Gives up a sender's wait. Its item comes back, unless a receiver has taken it.
    pub(crate) fn leave_push(&self, turn: &mut Turn) -> Option<T> {
        let Turn::Parked(ticket) = core::mem::take(turn) else {
            return None;
        };
        let mut section = self.section();
        let left = section.state.senders.cancel(ticket);
        let item = match left.standing {
            Standing::Gone => None,
            _ => section.state.offers.take(left.need),
        };
        // The waker, in `left`, is dropped without the lock.
        drop(section);
        item
    }

    /// Takes an item as a newcomer.
    pub(crate) fn try_pop(&self) -> Result<T, PopError> {
        let mut section = self.section();
        section.state.available()?;
        section.pop().ok_or(PopError::Empty)
    }

    /// Appends up to `max` items as a newcomer.
    pub(crate) fn try_pop_many(&self, batch: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        let mut section = self.section();
        let n = section.state.available()?.min(max);
        Ok(section.pop_many(batch, n))
    }

    /// Takes an item, or waits in line for one; `None` when drained.
    pub(crate) fn poll_pop(&self, cx: &Context<'_>, turn: &mut Turn) -> Poll<Option<T>> {
        self.poll_items(cx, turn, |section, _| section.pop())
    }

    /// Appends up to `max` items, or waits in line for the first; `None` when drained.
    pub(crate) fn poll_pop_many(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        batch: &mut Vec<T>,
        max: usize,
    ) -> Poll<Option<usize>> {
        self.poll_items(cx, turn, |section, n| {
            Some(section.pop_many(batch, n.min(max))).filter(|n| *n > 0)
        })
    }

    /// Calls `take` with how many items are there for the one that asks, at least one, or parks.
    fn poll_items<R>(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        take: impl FnOnce(&mut Section<'_, T>, usize) -> Option<R>,
    ) -> Poll<Option<R>> {
        let waker = cx.waker().clone();
        let mut section = self.section();
        let available = if let Turn::Parked(ticket) = *turn {
            match section.state.receivers.list.standing(ticket) {
                Standing::Waiting => {
                    let list = &mut section.state.receivers.list;
                    let replaced = list.update_waker(ticket, waker);
                    drop(section);
                    drop(replaced);
                    return Poll::Pending;
                }
                Standing::Granted if section.state.is_withdrawn() => {
                    // The offer it was woken for was withdrawn.
                    let receivers = &mut section.state.receivers;
                    receivers.granted -= 1;
                    receivers.list.requeue(ticket, waker);
                    section.grant_receivers();
                    return Poll::Pending;
                }
                _ => {
                    section.state.receivers.leave(ticket);
                    *turn = Turn::New;
                    // One of them is its own, whatever others were granted.
                    match section.state.senders.len() {
                        0 => 0,
                        items => items.saturating_sub(section.state.receivers.granted).max(1),
                    }
                }
            }
        } else {
            section.state.available().unwrap_or(0)
        };
        let taken = match available {
            0 => None,
            n => take(&mut section, n),
        };
        let outcome = match taken {
            Some(taken) => Poll::Ready(Some(taken)),
            None if section.state.is_drained() => Poll::Ready(None),
            None => {
                *turn = Turn::Parked(section.state.receivers.park(waker, 0));
                Poll::Pending
            }
        };
        section.grant_receivers();
        outcome
    }

    /// Gives up a receiver's wait; the item that was set aside for it goes to the next.
    pub(crate) fn leave_pop(&self, turn: &mut Turn) {
        let Turn::Parked(ticket) = core::mem::take(turn) else {
            return;
        };
        let mut section = self.section();
        let _left = section.state.receivers.leave(ticket);
        section.grant_receivers();
        // The waker, in `_left`, is dropped without the lock.
        drop(section);
    }

    /// Stops intake; items without an owner stay. True the first time.
    pub(crate) fn close(&self) -> bool {
        let mut section = self.section();
        let first = !core::mem::replace(&mut section.state.closed, true);
        self.counters.close();
        let (state, wakers) = (&mut *section.state, &mut section.wakers.0);
        for _ in 0..state.senders.len() {
            if state.senders.head_is_marked() {
                // Behind those that will be refused: the others keep their order.
                let key = state.senders.head_need().unwrap_or_default();
                state.senders.grant_head();
                state.hand_over(key);
            } else {
                wakers.extend(state.senders.close_head());
            }
        }
        section.grant_receivers();
        first
    }

    fn section(&self) -> Section<'_, T> {
        Section {
            state: self.state.lock(),
            counters: &self.counters,
            wakers: Woken::default(),
        }
    }
}

struct State<T> {
    closed: bool,
    senders: WaitList,
    offers: Offers<T>,
    receivers: Line,
}

impl<T> State<T> {
    /// For how many parked receivers no item is there: at least one.
    fn vacant(&self) -> Result<usize, PushError> {
        let parked = self.receivers.list.len() + self.receivers.granted;
        match parked.saturating_sub(self.senders.len()) {
            _ if self.closed => Err(PushError::Closed),
            0 => Err(PushError::Full),
            n => Ok(n),
        }
    }

    /// How many items a newcomer may take: at least one.
    fn available(&self) -> Result<usize, PopError> {
        match self.senders.len().saturating_sub(self.receivers.granted) {
            _ if self.is_drained() => Err(PopError::Closed),
            n if n > 0 && self.receivers.list.is_empty() => Ok(n),
            _ => Err(PopError::Empty),
        }
    }

    fn is_withdrawn(&self) -> bool {
        self.senders.is_empty() && !self.closed
    }

    fn is_drained(&self) -> bool {
        self.closed && self.senders.is_empty()
    }

    /// Puts an item that is in `offers` into the line, without an owner.
    fn hand_over(&mut self, key: u64) {
        let ticket = self.senders.push_marked(key, None);
        self.senders.detach(ticket);
    }
}

/// A critical section, with those that it wakes. It ends where it goes out of scope, or is dropped
/// by name before the waker that it has replaced.
struct Section<'a, T> {
    state: MutexGuard<'a, State<T>>,
    counters: &'a Counters,
    /// Dropped after `state`, so without the lock.
    wakers: Woken,
}

impl<T> Section<'_, T> {
    fn hand(&mut self, item: T) {
        let key = self.state.offers.put(item);
        self.state.hand_over(key);
        self.counters.count_pushed(1, self.state.senders.marked());
        self.grant_receivers();
    }

    /// Takes the first item, and tells its owner.
    fn pop(&mut self) -> Option<T> {
        let senders = &mut self.state.senders;
        let (key, first) = (senders.head_need()?, senders.head()?);
        if senders.head_is_marked() {
            senders.grant_head();
        } else {
            // Invariant 1: it will find its place gone.
            self.wakers.0.extend(senders.cancel(first).waker);
            self.counters.count_pushed(1, senders.marked());
        }
        self.counters.count_popped(1, senders.marked());
        self.state.offers.take(key)
    }

    fn pop_many(&mut self, batch: &mut Vec<T>, n: usize) -> usize {
        batch.reserve(n);
        for taken in 0..n {
            match self.pop() {
                Some(item) => batch.push(item),
                None => return taken,
            }
        }
        n
    }

    /// Restores invariant 2.
    fn grant_receivers(&mut self) {
        let (state, wakers) = (&mut *self.state, &mut self.wakers.0);
        while !state.receivers.list.is_empty() && state.senders.len() > state.receivers.granted {
            state.receivers.grant(wakers);
        }
        if state.is_drained() {
            state.receivers.refuse_all(wakers);
        }
    }
}

/// Items by key; memory is that of the most that were there at once.
struct Offers<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Offers<T> {
    const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    fn put(&mut self, item: T) -> u64 {
        let key = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[key] = Some(item);
        key as u64
    }

    fn take(&mut self, key: u64) -> Option<T> {
        let key = key as usize;
        let item = self.places.get_mut(key)?.take();
        if item.is_some() {
            self.free.push(key);
        }
        item
    }
}
