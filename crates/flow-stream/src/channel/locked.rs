//! The queue of channels whose oldest items may give way, whose items are weighed, or that hold
//! more than memory is taken for at once: one short lock over a `VecDeque` and two FIFO wait lists.
//!
//! # State
//! `state: Mutex<State>`: the items and what they weigh together, `closed`, promises, and per end
//! a [`Line`]. A sender's place that is *granted* has room promised to it, for one item of the
//! weight that is its need; a receiver's has an item set aside. `counters` are atomics that are
//! written under the lock and read without it.
//!
//! # Invariants
//! 1. items + granted senders + promises <= capacity; the weight of the items and of those that
//!    granted senders bring <= the limit. (`DropOldest` parks no sender; where items are weighed
//!    nothing is promised but to granted senders.)
//! 2. While open, granted receivers <= items, but where a heavy item took the place of several:
//!    then the first of the granted have the items there are, and each other one goes back to its
//!    place in the line as it comes. So does one that comes while somebody who was there before it
//!    waits, having gone back: what was set aside for it goes to the first in the line.
//! 3. Waiting senders > 0 implies open and no room for the first of them; what it needs is no more
//!    than the limit, so that there will be. Where nothing is weighed that is no room for anybody;
//!    where items are, a newcomer looks whether somebody waits, so that a light one does not
//!    overtake a heavy one.
//! 4. Waiting receivers > 0 implies items <= granted receivers, and not *drained*.
//! 5. Drained = closed, no items, no promises; it is stable: once closed, only promises push.
//! 6. A future holds its item until the push that takes it: dropping it before loses nothing.
//!
//! # Steps
//! push (newcomer): closed? give back. Somebody waits, or no room beyond what is promised? full.
//! Append; grant the first waiting receiver.
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

use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;

use flow_sync::sync::{Mutex, MutexGuard};
use flow_sync::{PopError, PushError, Standing, Ticket, Turn};

use super::counters::Counters;
use super::line::Line;
use super::scale::{Scale, Unweighed, Weighing};
use super::stats::Tally;
use crate::wakers::Woken;

pub(crate) struct Locked<T, S: Scale<T> = Unweighed> {
    capacity: usize,
    scale: S,
    state: Mutex<State<T, S>>,
    counters: Counters,
}

impl<T, S: Scale<T>> Locked<T, S> {
    pub(crate) fn new(capacity: usize, scale: S) -> Self {
        Self {
            capacity,
            state: Mutex::new(State {
                items: VecDeque::new(),
                weight: 0,
                limit: scale.limit(),
                closed: false,
                capacity,
                promises: 0,
                senders: Line::default(),
                receivers: Line::default(),
            }),
            scale,
            counters: Counters::default(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn tally(&self) -> Tally {
        self.counters.tally()
    }

    pub(crate) fn len(&self) -> usize {
        self.counters.len()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.counters.is_closed()
    }

    /// Pushes as a newcomer.
    pub(crate) fn try_push(&self, item: T) -> Result<(), (T, PushError)> {
        let weight = self.scale.weigh(&item);
        let mut section = self.section();
        match section.state.admits(weight) {
            Ok(()) => {
                section.push(item, weight);
                Ok(())
            }
            Err(why) => Err((item, why)),
        }
    }

    /// Pushes as many from the front as a newcomer may, in one piece.
    pub(crate) fn try_push_many(&self, items: &mut VecDeque<T>) -> Result<usize, PushError> {
        let Some(first) = items.front() else {
            return Ok(0);
        };
        // Foreign code weighs, so all that may fit is weighed before the lock is taken.
        let first = self.scale.weigh(first);
        let others: Vec<u64> = if S::WEIGHS {
            let others = items.iter().skip(1).take(self.capacity - 1);
            let others = others.map(|item| self.scale.weigh(item));
            let mut sum = first;
            others
                .take_while(|weight| {
                    sum = sum.saturating_add(*weight);
                    sum <= self.scale.limit()
                })
                .collect()
        } else {
            Vec::new()
        };
        let mut section = self.section();
        section.state.admits(first)?;
        let mut n = section.state.room().min(items.len());
        if S::WEIGHS {
            n = 1 + section.state.fitting(first, &others).min(n - 1);
            let weights = core::iter::once(first).chain(others);
            for (item, weight) in items.drain(..n).zip(weights) {
                section.state.add(item, weight);
            }
        } else {
            let items = items.drain(..n).map(|item| S::keep(item, 0));
            section.state.items.extend(items);
        }
        section.count_pushed(n);
        section.grant_receivers();
        Ok(n)
    }

    /// Pushes `slot`'s item, or waits in line for room. An empty slot stays pending.
    ///
    /// # Errors
    /// Closed; or full, of an item that is too heavy to wait.
    pub(crate) fn poll_push(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), PushError>> {
        // One that waits was weighed when it came: that is its need. Others are weighed in their
        // slot, where they are still if that panics.
        let weight = match (&*turn, &*slot) {
            (Turn::Parked(_), _) | (_, None) => 0,
            (_, Some(item)) => self.scale.weigh(item),
        };
        let Some(item) = slot.take() else {
            return Poll::Pending;
        };
        self.poll_room(cx, turn, weight, |section, room| match room {
            Some(weight) => section.push(item, weight),
            None => *slot = Some(item),
        })
    }

    /// Promises room for one item, or waits in line for it.
    pub(crate) fn poll_promise(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
    ) -> Poll<Result<(), PushError>> {
        self.poll_room(cx, turn, 0, |section, room| {
            section.state.promises += usize::from(room.is_some());
        })
    }

    /// Calls `then` with room for an item of that weight if there is any, or parks; under one
    /// lock.
    fn poll_room(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        mut weight: u64,
        then: impl FnOnce(&mut Section<'_, T, S>, Option<u64>),
    ) -> Poll<Result<(), PushError>> {
        let mut waker = waker_to_park(turn, cx);
        let mut section = self.section();
        let mut granted = false;
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
            let left = senders.leave(ticket);
            (granted, weight) = (left.standing == Standing::Granted, left.need);
            *turn = Turn::New;
        }
        let room = if granted {
            section.state.has_room(weight)
        } else {
            section.state.admits(weight)
        };
        let outcome = match room {
            Ok(()) => {
                then(&mut section, Some(weight));
                Poll::Ready(Ok(()))
            }
            Err(why) => {
                then(&mut section, None);
                // Weighed anew at each try, an item may have become one that never fits. In the
                // line it would hold up everybody behind it for ever.
                if why == PushError::Closed || (S::WEIGHS && weight > section.state.limit) {
                    Poll::Ready(Err(why))
                } else {
                    *turn = match waker.take() {
                        Some(waker) => Turn::Parked(section.state.senders.park(waker, weight)),
                        None => Turn::YIELDED,
                    };
                    Poll::Pending
                }
            }
        };
        drop(section);
        if matches!(turn, Turn::Yielded { .. }) && outcome.is_pending() {
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
        // The waker goes after it.
        drop(section);
    }

    /// Promises room for one item to a newcomer.
    pub(crate) fn try_promise(&self) -> Result<(), PushError> {
        let mut state = self.state.lock_awake();
        state.admits(0)?;
        state.promises += 1;
        Ok(())
    }

    /// Pushes into room that was promised.
    pub(crate) fn push_promised(&self, item: T) {
        let weight = self.scale.weigh(&item);
        let mut section = self.section();
        section.state.promises -= 1;
        section.push(item, weight);
    }

    /// Takes a promise back.
    pub(crate) fn withdraw(&self) {
        let mut section = self.section();
        section.state.promises -= 1;
        section.grant_senders();
        section.grant_receivers();
    }

    /// Takes an item as a newcomer.
    pub(crate) fn try_pop(&self) -> Result<T, PopError> {
        let mut section = self.section();
        let popped = section.pop(false);
        section.end();
        popped
    }

    /// Appends up to `max` items as a newcomer.
    pub(crate) fn try_pop_many(&self, batch: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        let mut section = self.section();
        let popped = section.pop_many(batch, max, false);
        section.end();
        popped
    }

    /// Takes an item, or waits in line for one; `None` when drained.
    pub(crate) fn poll_pop(&self, cx: &Context<'_>, turn: &mut Turn) -> Poll<Option<T>> {
        #[allow(clippy::redundant_closure_for_method_calls)] // the method has one lifetime only
        self.poll_items(cx, turn, |section, own| section.pop(own))
    }

    /// Appends up to `max` items, or waits in line for the first; `None` when drained.
    pub(crate) fn poll_pop_many(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        batch: &mut Vec<T>,
        max: usize,
    ) -> Poll<Option<usize>> {
        self.poll_items(cx, turn, |section, own| section.pop_many(batch, max, own))
    }

    fn poll_items<R>(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        take: impl FnOnce(&mut Section<'_, T, S>, bool) -> Result<R, PopError>,
    ) -> Poll<Option<R>> {
        let mut waker = waker_to_park(turn, cx);
        let mut section = self.section();
        let mut own = false;
        if let Turn::Parked(ticket) = *turn {
            let state = &mut *section.state;
            let standing = state.receivers.list.standing(ticket);
            own = standing == Standing::Granted && !state.is_drained();
            if own && state.is_not_its_turn(ticket) {
                // It has given its waker up, so the one to park with is put in.
                state.receivers.go_back(ticket, waker);
                section.grant_receivers();
                return Poll::Pending;
            }
            let receivers = &mut state.receivers;
            if standing == Standing::Waiting {
                // Dropped when the lock is gone.
                let _replaced = waker.and_then(|waker| receivers.list.update_waker(ticket, waker));
                drop(section);
                return Poll::Pending;
            }
            receivers.leave(ticket);
            *turn = Turn::New;
        }
        let outcome = match take(&mut section, own) {
            Ok(taken) => Poll::Ready(Some(taken)),
            Err(PopError::Closed) => Poll::Ready(None),
            Err(PopError::Empty) => {
                *turn = match waker.take() {
                    Some(waker) => Turn::Parked(section.state.receivers.park(waker, 0)),
                    None => Turn::YIELDED,
                };
                Poll::Pending
            }
        };
        section.end();
        if matches!(turn, Turn::Yielded { .. }) && outcome.is_pending() {
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
        // The waker goes after it.
        drop(section);
    }

    /// Stops intake; what is buffered stays. True the first time.
    pub(crate) fn close(&self) -> bool {
        let mut section = self.section();
        let first = !core::mem::replace(&mut section.state.closed, true);
        self.counters.close();
        let (state, wakers) = (&mut *section.state, &mut section.wakers.0);
        state.senders.refuse_all(wakers);
        section.grant_receivers();
        first
    }

    fn section(&self) -> Section<'_, T, S> {
        self.section_of(self.state.lock_awake())
    }

    fn section_of<'a>(&'a self, state: MutexGuard<'a, State<T, S>>) -> Section<'a, T, S> {
        Section {
            state,
            counters: &self.counters,
            wakers: Woken::default(),
        }
    }
}

impl<T> Locked<T> {
    /// Pushes, in place of the oldest item if full; that one comes back.
    ///
    /// A [`Section`] would cost as much as the push does, and only those who wait need it.
    #[inline]
    pub(crate) fn push_evicting(&self, item: T) -> Result<Option<T>, (T, PushError)> {
        let mut state = self.state.lock_awake();
        let evicted = match state.admits(0) {
            Err(PushError::Closed) => return Err((item, PushError::Closed)),
            Err(PushError::Full) => state.items.pop_front(),
            Ok(()) => None,
        };
        state.add(item, 0);
        // Here rather than beside the queue: under the lock it takes no locked instruction.
        match evicted {
            Some(_) => self.counters.count_displaced(),
            None => self.counters.count_pushed(1, state.items.len()),
        }
        if !state.receivers.list.is_empty() {
            self.pushed(state);
        }
        Ok(evicted)
    }

    /// After a push that receivers wait for.
    #[cold]
    fn pushed<'a>(&'a self, state: MutexGuard<'a, State<T, Unweighed>>) {
        self.section_of(state).grant_receivers();
    }
}

impl<T> Locked<T, Weighing<T>> {
    /// Pushes an item of that weight, in place of as many of the oldest as have to go; those come
    /// back.
    ///
    /// # Errors
    /// Full is what the item is too heavy for, whatever goes.
    pub(crate) fn push_evicting(&self, item: T, weight: u64) -> Result<Vec<T>, (T, PushError)> {
        let mut evicted = Vec::new();
        let mut section = self.section();
        if section.state.closed {
            return Err((item, PushError::Closed));
        }
        if weight > self.scale.limit() {
            return Err((item, PushError::Full));
        }
        while section.state.has_room(weight).is_err()
            && let Some(oldest) = section.state.take()
        {
            evicted.push(oldest);
        }
        self.counters.count_evicted(evicted.len());
        section.push(item, weight);
        Ok(evicted)
    }

    /// What the item weighs.
    pub(crate) fn weigh(&self, item: &T) -> u64 {
        self.scale.weigh(item)
    }

    /// What the item weighs, if it is more than will ever fit.
    pub(crate) fn too_heavy(&self, item: &T) -> Option<u64> {
        let weight = self.scale.weigh(item);
        (weight > self.scale.limit()).then_some(weight)
    }

    /// What the items in the queue weigh, and may weigh.
    pub(crate) fn weight(&self) -> (u64, u64) {
        (self.counters.weight(), self.scale.limit())
    }
}

/// The waker to park with, cloned before the lock is taken (and dropped after it is free).
/// The first attempt of a wait yields and never parks, so it needs none.
fn waker_to_park(turn: &Turn, cx: &Context<'_>) -> Option<Waker> {
    (*turn != Turn::New).then(|| cx.waker().clone())
}

struct State<T, S: Scale<T>> {
    items: VecDeque<S::Kept>,
    /// What they weigh together.
    weight: u64,
    limit: u64,
    closed: bool,
    capacity: usize,
    /// Room whose owners have come for it: permits.
    promises: usize,
    senders: Line,
    receivers: Line,
}

impl<T, S: Scale<T>> State<T, S> {
    /// Whether a newcomer may push. By invariant 3 this keeps it behind those who wait.
    fn admits(&self, weight: u64) -> Result<(), PushError> {
        if S::WEIGHS && !self.closed && !self.senders.list.is_empty() {
            return Err(PushError::Full);
        }
        self.has_room(weight)
    }

    /// Whether there is room that is promised to nobody.
    fn has_room(&self, weight: u64) -> Result<(), PushError> {
        if self.closed {
            Err(PushError::Closed)
        } else if self.room() == 0 || (S::WEIGHS && weight > self.spare_weight()) {
            Err(PushError::Full)
        } else {
            Ok(())
        }
    }

    fn room(&self) -> usize {
        self.capacity
            .saturating_sub(self.items.len() + self.senders.granted + self.promises)
    }

    fn spare_weight(&self) -> u64 {
        self.limit
            .saturating_sub(self.weight)
            .saturating_sub(self.senders.granted_need)
    }

    /// How many more fit by their weight behind a first one that does.
    fn fitting(&self, first: u64, others: &[u64]) -> usize {
        let mut spare = self.spare_weight().saturating_sub(first);
        let fits = |weight: &&u64| match spare.checked_sub(**weight) {
            Some(left) => {
                spare = left;
                true
            }
            None => false,
        };
        others.iter().take_while(fits).count()
    }

    fn add(&mut self, item: T, weight: u64) {
        if S::WEIGHS {
            self.weight += weight;
        }
        self.items.push_back(S::keep(item, weight));
    }

    fn take(&mut self) -> Option<T> {
        let (item, weight) = S::open(self.items.pop_front()?);
        if S::WEIGHS {
            self.weight -= weight;
        }
        Some(item)
    }

    fn is_drained(&self) -> bool {
        self.closed && self.items.is_empty() && self.promises == 0
    }

    /// Whether a heavy item has left none for this receiver, which was granted one, or for one
    /// that came before it and went back.
    fn is_not_its_turn(&self, ticket: Ticket) -> bool {
        let is_out_of_items = || {
            self.receivers.granted > self.items.len()
                && self.receivers.list.granted_before(ticket) >= self.items.len()
        };
        S::WEIGHS && (self.receivers.list.someone_waits_before(ticket) || is_out_of_items())
    }

    /// How many items one that has an item of its `own` may take, or a newcomer: at least one.
    fn available(&self, own: bool) -> Result<usize, PopError> {
        let unclaimed = self.items.len().saturating_sub(self.receivers.granted);
        match unclaimed.max(usize::from(own && !self.items.is_empty())) {
            0 if self.is_drained() => Err(PopError::Closed),
            0 => Err(PopError::Empty),
            n => Ok(n),
        }
    }
}

/// A critical section, with those that it wakes. It ends where it goes out of scope, so that
/// whoever returns early wakes them, too. It is dropped by name only where something comes after
/// it: a wake, or the drop of a waker that was declared later, which scope alone would drop first,
/// with the lock held.
struct Section<'a, T, S: Scale<T>> {
    state: MutexGuard<'a, State<T, S>>,
    counters: &'a Counters,
    /// Dropped after `state`, so without the lock.
    wakers: Woken,
}

impl<T, S: Scale<T>> Section<'_, T, S> {
    fn push(&mut self, item: T, weight: u64) {
        self.state.add(item, weight);
        self.count_pushed(1);
        self.grant_receivers();
    }

    /// Takes the first item that is set aside for nobody else.
    fn pop(&mut self, own: bool) -> Result<T, PopError> {
        self.state.available(own)?;
        let item = self.state.take().ok_or(PopError::Empty)?;
        self.popped(1);
        Ok(item)
    }

    /// Appends up to `max` items that are set aside for nobody else.
    fn pop_many(&mut self, batch: &mut Vec<T>, max: usize, own: bool) -> Result<usize, PopError> {
        let n = self.state.available(own)?.min(max);
        let mut weight = 0;
        let items = self.state.items.drain(..n).map(S::open);
        batch.extend(items.map(|(item, each)| {
            weight += each;
            item
        }));
        if S::WEIGHS {
            self.state.weight -= weight;
        }
        self.popped(n);
        Ok(n)
    }

    fn popped(&mut self, n: usize) {
        self.counters.count_popped(n, self.state.items.len());
        if S::WEIGHS {
            self.counters.show_weight(self.state.weight);
        }
        self.grant_senders();
        self.grant_receivers();
    }

    fn count_pushed(&mut self, n: usize) {
        self.counters.count_pushed(n, self.state.items.len());
        if S::WEIGHS {
            self.counters.show_weight(self.state.weight);
        }
    }

    /// Ends it after a pop. The memory that a burst has taken is given back when all of it is gone.
    fn end(self) {
        let items = &self.state.items;
        if items.capacity() > KEPT && items.is_empty() {
            self.give_back();
        }
    }

    #[cold]
    fn give_back(mut self) {
        let emptied = core::mem::take(&mut self.state.items);
        drop(self);
        // Without the lock: for the allocator it may be a system call.
        drop(emptied);
    }

    /// Restores invariant 3.
    fn grant_senders(&mut self) {
        let (state, wakers) = (&mut *self.state, &mut self.wakers.0);
        while let Some(weight) = state.senders.list.head_need()
            && state.has_room(weight).is_ok()
        {
            state.senders.grant(wakers);
        }
    }

    /// Restores invariant 4.
    fn grant_receivers(&mut self) {
        let (state, wakers) = (&mut *self.state, &mut self.wakers.0);
        while !state.receivers.list.is_empty() && state.items.len() > state.receivers.granted {
            state.receivers.grant(wakers);
        }
        if state.is_drained() {
            state.receivers.refuse_all(wakers);
        }
    }
}

/// How many items' memory a queue keeps when it is empty.
const KEPT: usize = 4_096;
