//! The queue of channels whose oldest items may give way, or that hold more than memory is taken
//! for at once: one short lock over a `VecDeque` and two FIFO wait lists.
//!
//! # State
//! `state: Mutex<State>`: the items, `closed`, promises, and per end a [`WaitList`]. A sender's
//! place that is *granted* has room promised to it; a receiver's has an item set aside.
//! `counters` are atomics that are written under the lock and read without it.
//!
//! # Invariants
//! 1. items + granted senders + promises <= capacity. (`DropOldest` parks no sender.)
//! 2. While open, granted receivers <= items.
//! 3. Waiting senders > 0 implies open and items + granted senders + promises = capacity.
//! 4. Waiting receivers > 0 implies items <= granted receivers, and not *drained*.
//! 5. Drained = closed, no items, no promises; it is stable: once closed, only promises push.
//! 6. A future holds its item until the push that takes it: dropping it before loses nothing.
//!
//! # Steps
//! push (newcomer): closed? give back. No room beyond what is promised? full. Append; grant the
//! first waiting receiver.
//! pop (newcomer): no item beyond those set aside? empty, or closed if drained. Take; grant the
//! first waiting sender; if that was the last item of a closed channel, refuse all receivers.
//! park: once per wait the future yields instead (wakes itself and returns `Pending`); at the next
//! poll it tries again **and parks under the same lock**, so no wake-up can fall in between.
//! A granted place cannot fail, except that a close takes a sender's room back.
//! leave: whoever drops a granted place passes it on to the next one who waits.
//!
//! # Ordering
//! The mutex orders everything; the counters are Relaxed and promise no more than a recent value.
//!
//! # Fairness
//! That of [`Ring`](flow_sync::Ring), without its exception.
//!
//! # Source
//! Room handed out instead of announced: tokio's batch semaphore. A lock gives exact eviction,
//! which in a ring costs a third more alone and four times as much between two threads.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;

use flow_sync::sync::{Mutex, MutexGuard};
use flow_sync::{PopError, PushError, Standing, Ticket, Turn, WaitList};

use super::stats::Tally;
use crate::wakers::Wakers;

pub(crate) struct Locked<T> {
    capacity: usize,
    state: Mutex<State<T>>,
    counters: Counters,
}

impl<T> Locked<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            state: Mutex::new(State {
                items: VecDeque::new(),
                closed: false,
                capacity,
                promises: 0,
                senders: Line::default(),
                receivers: Line::default(),
            }),
            counters: Counters::default(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally {
            pushed: self.counters.pushed.load(Relaxed),
            popped: self.counters.popped.load(Relaxed),
            max_len: self.counters.max_len.load(Relaxed),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.counters.len.load(Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.counters.closed.load(Relaxed)
    }

    /// Closed, nothing promised, and nothing left to receive.
    pub(crate) fn is_drained(&self) -> bool {
        self.state.lock().is_drained()
    }

    /// Pushes as a newcomer.
    pub(crate) fn try_push(&self, item: T) -> Result<(), (T, PushError)> {
        let mut section = self.section();
        match section.state.admits() {
            Ok(()) => {
                section.push(item);
                section.end();
                Ok(())
            }
            Err(why) => Err((item, why)),
        }
    }

    /// Pushes as many from the front as a newcomer may, in one piece.
    pub(crate) fn try_push_many(&self, items: &mut VecDeque<T>) -> Result<usize, PushError> {
        if items.is_empty() {
            return Ok(0);
        }
        let mut section = self.section();
        section.state.admits()?;
        let n = section.state.room().min(items.len());
        section.state.items.extend(items.drain(..n));
        section.count_pushed(n);
        section.grant_receivers();
        section.end();
        Ok(n)
    }

    /// Pushes, in place of the oldest item if full; that one comes back.
    pub(crate) fn push_evicting(&self, item: T) -> Result<Option<T>, (T, PushError)> {
        let mut section = self.section();
        let evicted = match section.state.admits() {
            Err(PushError::Closed) => return Err((item, PushError::Closed)),
            Err(PushError::Full) => section.state.items.pop_front(),
            Ok(()) => None,
        };
        section.push(item);
        section.end();
        Ok(evicted)
    }

    /// Pushes `slot`'s item, or waits in line for room. An empty slot stays pending.
    pub(crate) fn poll_push(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), PushError>> {
        let Some(item) = slot.take() else {
            return Poll::Pending;
        };
        self.poll_room(cx, turn, |section, room| match room {
            Some(()) => section.push(item),
            None => *slot = Some(item),
        })
    }

    /// Promises room for one item, or waits in line for it.
    pub(crate) fn poll_promise(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
    ) -> Poll<Result<(), PushError>> {
        self.poll_room(cx, turn, |section, room| {
            section.state.promises += usize::from(room.is_some());
        })
    }

    /// Calls `then` with room if there is any, or parks; under one lock.
    fn poll_room(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        then: impl FnOnce(&mut Section<'_, T>, Option<()>),
    ) -> Poll<Result<(), PushError>> {
        let mut waker = waker_to_park(turn, cx);
        let mut section = self.section();
        if let Turn::Parked(ticket) = *turn {
            let senders = &mut section.state.senders;
            if senders.list.standing(ticket) == Standing::Waiting {
                // Dropped when the lock is gone.
                let _replaced = waker.and_then(|waker| senders.list.update_waker(ticket, waker));
                then(&mut section, None);
                drop(section);
                return Poll::Pending;
            }
            // A granted place is given up for the room that was promised to it, in one go.
            senders.leave(ticket);
            *turn = Turn::New;
        }
        let outcome = match section.state.admits() {
            Ok(()) => {
                then(&mut section, Some(()));
                Poll::Ready(Ok(()))
            }
            Err(why) => {
                then(&mut section, None);
                if why == PushError::Closed {
                    Poll::Ready(Err(why))
                } else {
                    *turn = match waker.take() {
                        Some(waker) => Turn::Parked(section.state.senders.park(waker)),
                        None => Turn::Yielded,
                    };
                    Poll::Pending
                }
            }
        };
        section.end();
        if *turn == Turn::Yielded && outcome.is_pending() {
            cx.waker().wake_by_ref();
        }
        outcome
    }

    /// Gives up a sender's wait; the room that was promised to it goes to the next.
    pub(crate) fn leave_push(&self, turn: &mut Turn) {
        let Turn::Parked(ticket) = core::mem::take(turn) else {
            return;
        };
        let mut section = self.section();
        let _waker = section.state.senders.leave(ticket);
        section.grant_senders();
        section.end();
    }

    /// Promises room for one item to a newcomer.
    pub(crate) fn try_promise(&self) -> Result<(), PushError> {
        let mut state = self.state.lock();
        state.admits()?;
        state.promises += 1;
        Ok(())
    }

    /// Pushes into room that was promised.
    pub(crate) fn push_promised(&self, item: T) {
        let mut section = self.section();
        section.state.promises -= 1;
        section.push(item);
        section.end();
    }

    /// Takes a promise back.
    pub(crate) fn withdraw(&self) {
        let mut section = self.section();
        section.state.promises -= 1;
        section.grant_senders();
        section.grant_receivers();
        section.end();
    }

    /// Takes an item as a newcomer.
    pub(crate) fn try_pop(&self) -> Result<T, PopError> {
        let mut section = self.section();
        let popped = section.pop();
        section.end();
        popped
    }

    /// Appends up to `max` items as a newcomer.
    pub(crate) fn try_pop_many(&self, batch: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        let mut section = self.section();
        let popped = section.pop_many(batch, max);
        section.end();
        popped
    }

    /// Takes an item, or waits in line for one; `None` when drained.
    pub(crate) fn poll_pop(&self, cx: &Context<'_>, turn: &mut Turn) -> Poll<Option<T>> {
        #[allow(clippy::redundant_closure_for_method_calls)] // the method has one lifetime only
        self.poll_items(cx, turn, |section| section.pop())
    }

    /// Appends up to `max` items, or waits in line for the first; `None` when drained.
    pub(crate) fn poll_pop_many(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        batch: &mut Vec<T>,
        max: usize,
    ) -> Poll<Option<usize>> {
        self.poll_items(cx, turn, |section| section.pop_many(batch, max))
    }

    fn poll_items<R>(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        take: impl FnOnce(&mut Section<'_, T>) -> Result<R, PopError>,
    ) -> Poll<Option<R>> {
        let mut waker = waker_to_park(turn, cx);
        let mut section = self.section();
        if let Turn::Parked(ticket) = *turn {
            let receivers = &mut section.state.receivers;
            if receivers.list.standing(ticket) == Standing::Waiting {
                // Dropped when the lock is gone.
                let _replaced = waker.and_then(|waker| receivers.list.update_waker(ticket, waker));
                drop(section);
                return Poll::Pending;
            }
            receivers.leave(ticket);
            *turn = Turn::New;
        }
        let outcome = match take(&mut section) {
            Ok(taken) => Poll::Ready(Some(taken)),
            Err(PopError::Closed) => Poll::Ready(None),
            Err(PopError::Empty) => {
                *turn = match waker.take() {
                    Some(waker) => Turn::Parked(section.state.receivers.park(waker)),
                    None => Turn::Yielded,
                };
                Poll::Pending
            }
        };
        section.end();
        if *turn == Turn::Yielded && outcome.is_pending() {
            cx.waker().wake_by_ref();
        }
        outcome
    }

    /// Gives up a receiver's wait; the item that was set aside for it goes to the next.
    pub(crate) fn leave_pop(&self, turn: &mut Turn) {
        let Turn::Parked(ticket) = core::mem::take(turn) else {
            return;
        };
        let mut section = self.section();
        let _waker = section.state.receivers.leave(ticket);
        section.grant_receivers();
        section.end();
    }

    /// Stops intake; what is buffered stays. True the first time.
    pub(crate) fn close(&self) -> bool {
        let mut section = self.section();
        let first = !core::mem::replace(&mut section.state.closed, true);
        self.counters.closed.store(true, Relaxed);
        let Section { state, wakers, .. } = &mut section;
        state.senders.refuse_all(wakers);
        section.grant_receivers();
        section.end();
        first
    }

    fn section(&self) -> Section<'_, T> {
        Section {
            state: self.state.lock(),
            counters: &self.counters,
            wakers: Wakers::new(),
        }
    }
}

/// The waker to park with, cloned before the lock is taken (and dropped after it is free).
/// The first attempt of a wait yields and never parks, so it needs none.
fn waker_to_park(turn: &Turn, cx: &Context<'_>) -> Option<Waker> {
    (*turn != Turn::New).then(|| cx.waker().clone())
}

struct State<T> {
    items: VecDeque<T>,
    closed: bool,
    capacity: usize,
    /// Room whose owners have come for it: permits.
    promises: usize,
    senders: Line,
    receivers: Line,
}

impl<T> State<T> {
    /// Whether a newcomer may push. By invariant 3 this keeps it behind those who wait.
    fn admits(&self) -> Result<(), PushError> {
        if self.closed {
            Err(PushError::Closed)
        } else if self.room() == 0 {
            Err(PushError::Full)
        } else {
            Ok(())
        }
    }

    fn room(&self) -> usize {
        self.capacity
            .saturating_sub(self.items.len() + self.senders.granted + self.promises)
    }

    fn is_drained(&self) -> bool {
        self.closed && self.items.is_empty() && self.promises == 0
    }

    /// How many items a newcomer may take: at least one.
    fn available(&self) -> Result<usize, PopError> {
        match self.items.len().saturating_sub(self.receivers.granted) {
            0 if self.is_drained() => Err(PopError::Closed),
            0 => Err(PopError::Empty),
            n => Ok(n),
        }
    }
}

/// Those who wait at one end.
#[derive(Default)]
struct Line {
    list: WaitList,
    /// Those that were granted and have not come for it yet.
    granted: usize,
}

impl Line {
    fn park(&mut self, waker: Waker) -> Ticket {
        self.list.push(0, Some(waker))
    }

    fn grant(&mut self, wakers: &mut Wakers) {
        self.granted += 1;
        if let Some(waker) = self.list.grant_head() {
            wakers.push(waker);
        }
    }

    fn refuse_all(&mut self, wakers: &mut Wakers) {
        while !self.list.is_empty() {
            if let Some(waker) = self.list.close_head() {
                wakers.push(waker);
            }
        }
    }

    /// Gives a place up; its waker is to be dropped without the lock.
    fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
        let left = self.list.cancel(ticket);
        if left.standing == Standing::Granted {
            self.granted -= 1;
        }
        left.waker
    }
}

/// A critical section, with those that it will wake.
struct Section<'a, T> {
    state: MutexGuard<'a, State<T>>,
    counters: &'a Counters,
    wakers: Wakers,
}

impl<T> Section<'_, T> {
    /// Unlocks, then wakes.
    fn end(self) {
        drop(self.state);
        self.wakers.wake();
    }

    fn push(&mut self, item: T) {
        self.state.items.push_back(item);
        self.count_pushed(1);
        self.grant_receivers();
    }

    /// Takes the first item that is set aside for nobody.
    fn pop(&mut self) -> Result<T, PopError> {
        self.state.available()?;
        let item = self.state.items.pop_front().ok_or(PopError::Empty)?;
        self.popped(1);
        Ok(item)
    }

    /// Appends up to `max` items that are set aside for nobody.
    fn pop_many(&mut self, batch: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        let n = self.state.available()?.min(max);
        batch.extend(self.state.items.drain(..n));
        self.popped(n);
        Ok(n)
    }

    fn popped(&mut self, n: usize) {
        self.counters.count_popped(n, self.state.items.len());
        self.grant_senders();
        self.grant_receivers();
    }

    fn count_pushed(&mut self, n: usize) {
        self.counters.count_pushed(n, self.state.items.len());
    }

    /// Restores invariant 3.
    fn grant_senders(&mut self) {
        let (state, wakers) = (&mut *self.state, &mut self.wakers);
        while !state.senders.list.is_empty() && state.admits().is_ok() {
            state.senders.grant(wakers);
        }
    }

    /// Restores invariant 4.
    fn grant_receivers(&mut self) {
        let (state, wakers) = (&mut *self.state, &mut self.wakers);
        while !state.receivers.list.is_empty() && state.items.len() > state.receivers.granted {
            state.receivers.grant(wakers);
        }
        if state.is_drained() {
            state.receivers.refuse_all(wakers);
        }
    }
}

/// What is read without the lock. It has one writer at a time, the lock's holder, so a load and a
/// store do where a locked instruction would cost more than the queue itself.
#[derive(Debug, Default)]
struct Counters {
    pushed: AtomicU64,
    popped: AtomicU64,
    len: AtomicUsize,
    max_len: AtomicUsize,
    closed: AtomicBool,
}

impl Counters {
    fn count_pushed(&self, n: usize, len: usize) {
        add(&self.pushed, n);
        self.len.store(len, Relaxed);
        if len > self.max_len.load(Relaxed) {
            self.max_len.store(len, Relaxed);
        }
    }

    fn count_popped(&self, n: usize, len: usize) {
        add(&self.popped, n);
        self.len.store(len, Relaxed);
    }
}

fn add(cell: &AtomicU64, n: usize) {
    cell.store(cell.load(Relaxed).wrapping_add(n as u64), Relaxed);
}
