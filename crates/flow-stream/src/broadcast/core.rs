//! The ring under a broadcast channel: each item stays until every receiver has had it.
//!
//! # State
//! `slots`: a cell each under a lock of its own, `{position, left, item}`; `left` counts the
//! receivers that have not had the item. The item at position p lies in slot `p & mask`.
//! `tail: AtomicU64 = position << 1 | CLOSED`, where the next item goes. `head: AtomicU64 =
//! position << 1 | WAITED`, the oldest item that somebody has not had. `line`: a lock over who
//! waits, senders and receivers, and the room that is promised to senders. A receiver's own
//! position is with the receiver, and so is the `tail` that it has seen.
//!
//! # Invariants
//! 1. `tail`, `receivers` and `WAITED` change only under the line's lock.
//! 2. tail - head + promised <= capacity <= number of slots, so the slot at `tail` is empty.
//! 3. An item's `left` is the number of receivers whose position is not beyond it; one that has
//!    just been cloned adds itself while its original holds the item.
//! 4. An item leaves its slot once: when `left` reaches 0, or by eviction. Whoever takes it out
//!    moves `head` under the slot's lock. Receivers go through the slots in order, so `head`
//!    passes them in order.
//! 5. `WAITED` is set if and only if a sender waits. Whoever moves `head` and finds it set in the
//!    word that was replaced grants the senders for whom there is room, under the line's lock.
//! 6. A sender parks only if others wait or the word in which it set `WAITED` left no room. For a
//!    newcomer there is no room while somebody waits.
//! 7. A receiver parks only if, under the line's lock, its position is `tail` and the channel is
//!    open. Whoever moves `tail` or closes takes all receivers out of the line in that critical
//!    section, and wakes them.
//! 8. No waker is cloned, dropped or woken under a lock, and no item is dropped there. Items are
//!    cloned under the lock of their own slot and no other.
//!
//! # Steps
//! send: lock the line; closed, nobody there, or no room? give back. (A channel that does not wait
//! evicts the oldest item instead.) Fill the slot, move `tail`, take the receivers that wait;
//! unlock; wake them.
//! receive: beyond the `tail` that it has seen? look; reached? empty. Lock the slot; another item
//! there, or none? it was evicted: go on at `head`. Else count `left` down and clone the item; the
//! last one takes it, moves `head`, and sees to the senders.
//! subscribe: lock the line, count, begin at `tail`. clone: the same, and count in every item that
//! the original has not had. drop: under the line's lock count out, and out of every item that is
//! left; see to the senders; drop what nobody else waits for without a lock.
//! A receiver that finds its item walks away from its place in the line: by 7 whoever brought the
//! item takes it out.
//!
//! # Ordering
//! One word, `head`, decides the race of a sender that parks and the receiver that makes room, both
//! by RMWs: the receiver comes first, and the sender finds room in the word that it replaced; or
//! second, and finds `WAITED`, and behind the line's lock the sender. Where no sender waits, whoever
//! takes the item at p out just stores p + 1: by 4 nobody else moves `head` meanwhile. The Release
//! store of `tail` pairs with the receivers' Acquire load: who reads it finds the slots before it
//! filled, then and later.
//!
//! # Why receivers seldom look at `tail`
//! Every store to `tail` waits for its line to come back from the core of whoever has looked. A
//! receiver that looks for each item holds the senders up until they are no faster than it is:
//! it stays right behind them, and each item costs both sides a round trip of that line and of the
//! slot's (120 ns a send on two cores of an EPYC, 12 without). So it looks once for everything that
//! is there, and one that has kept up for a while [lets others run](Place::rests) before it looks
//! again: senders get ahead meanwhile, and it has a run of items to take.
//!
//! # Fairness
//! Senders that wait get room in the order in which they parked; a newcomer passes none of them.
//!
//! # Source
//! tokio's broadcast, with positions and a count per slot; a lock where it has a lock for many
//! readers and an atomic count, which is one locked instruction less an item and receiver, and a
//! word for those who wait for room, which it has not.

use core::task::{Context, Poll, Waker};

use flow_rt::contain;
use flow_sync::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use flow_sync::sync::{Mutex, MutexGuard};
use flow_sync::{CachePadded, Standing, Ticket, Turn, WaitList, WakeList};

use crate::wakers::Wakers;

pub(super) struct Core<T> {
    capacity: u64,
    /// Whether senders wait for room; else the oldest item gives way.
    waits: bool,
    mask: usize,
    slots: Box<[Slot<T>]>,
    tail: CachePadded<AtomicU64>,
    head: CachePadded<AtomicU64>,
    receivers: AtomicUsize,
    /// Apart from what receivers read for every item.
    line: CachePadded<Mutex<Line>>,
}

/// Two on a cache line, if the item is small: it is lines that change cores for each receiver.
#[repr(align(32))]
struct Slot<T>(Mutex<Cell<T>>);

struct Cell<T> {
    position: u64,
    held: Held<T>,
}

/// An `Option` would not be as small.
enum Held<T> {
    Nothing,
    Item { left: u32, item: T },
}

/// Those who wait, and for how many of them there is room.
#[derive(Default)]
struct Line {
    senders: WaitList,
    receivers: WaitList,
    /// Senders that were granted and have not come for their room yet.
    promised: u64,
}

/// Where a receiver is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The position of its next item.
    pub(super) next: u64,
    /// Up to where it has seen `tail`.
    seen: u64,
    /// From where on it is to let others run.
    rest: u64,
}

/// Why an item was not taken. It comes back beside this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Closed,
    NoReceiver,
    Full,
}

/// Why there is no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    Empty,
    Closed,
    /// So many were evicted before they were received.
    Lagged(u64),
}

impl<T> Core<T> {
    /// A ring of `capacity` items, more than 0, with one receiver, at position 0.
    pub(super) fn new(capacity: usize, waits: bool) -> Self {
        let slots = capacity.next_power_of_two();
        Self {
            capacity: capacity as u64,
            waits,
            mask: slots - 1,
            slots: (0..slots).map(|_| Slot::empty()).collect(),
            tail: CachePadded::default(),
            head: CachePadded::default(),
            receivers: AtomicUsize::new(1),
            line: CachePadded::default(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    pub(super) fn receivers(&self) -> usize {
        self.receivers.load(Ordering::Acquire)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.tail.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Where the next item goes: how many were sent.
    pub(super) fn tail(&self) -> u64 {
        self.tail.load(Ordering::Acquire) >> 1
    }

    /// Items that somebody has not had, from `position` on.
    pub(super) fn len_from(&self, position: u64) -> usize {
        let head = self.head.load(Ordering::Acquire) >> 1;
        self.tail().saturating_sub(head.max(position)) as usize
    }

    /// Sends as far as that goes without waiting; true if an item gave way.
    #[inline]
    pub(super) fn try_push(&self, item: T) -> Result<bool, (T, Refusal)> {
        let line = self.line.lock();
        match self.admits(&line) {
            Ok(()) => Ok(self.push(line, item)),
            Err(why) => Err((item, why)),
        }
    }

    /// Sends `slot`'s item, or waits in line for room. An empty slot stays pending.
    pub(super) fn poll_push(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), Refusal>> {
        if slot.is_none() {
            return Poll::Pending;
        }
        // The first attempt of a wait yields and never parks. A waker that is not needed is
        // dropped when the lock is gone.
        let waker = (*turn != Turn::New).then(|| cx.waker().clone());
        let _unused;
        let mut line = self.line.lock();
        let mut granted = false;
        if let Turn::Parked(ticket) = *turn {
            match line.senders.end(ticket) {
                None => {
                    _unused = waker.and_then(|waker| line.senders.update_waker(ticket, waker));
                    drop(line);
                    return Poll::Pending;
                }
                Some(standing) => granted = standing == Standing::Granted,
            }
            line.promised -= u64::from(granted);
            *turn = Turn::New;
        }
        let admitted = match self.refuses() {
            Some(why) => Err(why),
            // Room that was promised is there, whoever waits.
            None if granted => Ok(()),
            None => self.admits(&line),
        };
        match (admitted, waker) {
            (Err(Refusal::Full), None) => {
                drop(line);
                *turn = Turn::YIELDED;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            (Err(Refusal::Full), Some(waker)) => match self.park(&mut line, waker) {
                Ok(ticket) => {
                    *turn = Turn::Parked(ticket);
                    return Poll::Pending;
                }
                Err(waker) => _unused = Some(waker),
            },
            (Err(why), waker) => {
                _unused = waker;
                drop(line);
                return Poll::Ready(Err(why));
            }
            (Ok(()), waker) => _unused = waker,
        }
        if let Some(item) = slot.take() {
            self.push(line, item);
        }
        Poll::Ready(Ok(()))
    }

    /// Gives up a sender's wait; the room that was promised to it goes to the next.
    pub(super) fn leave_push(&self, turn: &mut Turn) {
        if let Turn::Parked(ticket) = core::mem::take(turn) {
            let mut line = self.line.lock();
            let left = line.senders.cancel(ticket);
            line.promised -= u64::from(left.standing == Standing::Granted);
            self.grant(line);
            drop(left);
        }
    }

    /// Takes the item at `place` and moves that on.
    #[inline]
    pub(super) fn take(&self, place: &mut Place) -> Result<T, Miss>
    where
        T: Clone,
    {
        let at = place.next;
        if at >= place.seen {
            let tail = self.tail.load(Ordering::Acquire);
            place.seen = tail >> 1;
            if place.seen == at {
                return Err(if tail & CLOSED == 0 {
                    Miss::Empty
                } else {
                    Miss::Closed
                });
            }
        }
        let mut cell = self.cell(at);
        let Some((left, item)) = cell.get(at) else {
            return Err(self.lagged(cell, place));
        };
        // Before the clone, which may panic: the item counts as received then.
        place.next = at + 1;
        if *left > 1 {
            *left -= 1;
            return Ok(item.clone());
        }
        let item = cell.take();
        self.passed(cell, at);
        item.ok_or(Miss::Empty)
    }

    /// Goes on where there are items, as that at `place` was evicted.
    #[cold]
    fn lagged(&self, cell: MutexGuard<'_, Cell<T>>, place: &mut Place) -> Miss {
        drop(cell);
        // Whoever evicted it moved the head beyond it under the slot's lock.
        let head = self.head.load(Ordering::Acquire) >> 1;
        let missed = head - place.next;
        place.next = head;
        Miss::Lagged(missed)
    }

    /// Waits in line for an item at `position`; false if there is one, or the channel is closed.
    pub(super) fn park_receiver(&self, cx: &Context<'_>, turn: &mut Turn, position: u64) -> bool {
        let waker = cx.waker().clone();
        let mut line = self.line.lock();
        if self.tail.load(Ordering::Relaxed) != position << 1 {
            return false;
        }
        let _replaced = match *turn {
            Turn::Parked(ticket) if line.receivers.standing(ticket) == Standing::Waiting => {
                line.receivers.update_waker(ticket, waker)
            }
            _ => {
                *turn = Turn::Parked(line.receivers.push(0, Some(waker)));
                None
            }
        };
        drop(line);
        true
    }

    /// Gives up a receiver's wait.
    pub(super) fn leave_take(&self, turn: &mut Turn) {
        if let Turn::Parked(ticket) = core::mem::take(turn) {
            let left = self.line.lock().receivers.cancel(ticket);
            drop(left);
        }
    }

    /// Counts a receiver in; gives its position.
    pub(super) fn subscribe(&self) -> u64 {
        let _line = self.line.lock();
        self.receivers.fetch_add(1, Ordering::Relaxed);
        self.tail()
    }

    /// Counts a receiver in at the position of another, which stays there meanwhile.
    pub(super) fn subscribe_at(&self, position: u64) {
        let tail = self.subscribe();
        for at in self.first(position)..tail {
            if let Some((left, _)) = self.cell(at).get(at) {
                *left = left.saturating_add(1);
            }
        }
    }

    /// Counts a receiver out; true if it was the last. What it has not had it lets go.
    pub(super) fn unsubscribe(&self, position: u64) -> bool {
        let mut line = self.line.lock();
        let (mut refused, mut gone) = (Wakers::new(), Vec::new());
        let last = self.receivers.fetch_sub(1, Ordering::AcqRel) == 1;
        // Under the line's lock to the end: an item that is sent meanwhile would not count this
        // receiver, and would leave before older ones that still do.
        for at in self.first(position)..self.tail() {
            let mut cell = self.cell(at);
            let Some((left, _)) = cell.get(at) else {
                continue;
            };
            *left -= 1;
            if *left == 0 {
                gone.extend(cell.take());
                self.head.fetch_add(1 << 1, Ordering::AcqRel);
            }
        }
        if last {
            self.refuse_all(&mut line, &mut refused);
        }
        self.grant(line);
        refused.wake();
        for item in gone {
            contain(|| drop(item));
        }
        last
    }

    /// Stops intake; what is there is still received.
    pub(super) fn close(&self) {
        let mut line = self.line.lock();
        let mut refused = Wakers::new();
        self.tail.fetch_or(CLOSED, Ordering::Release);
        self.refuse_all(&mut line, &mut refused);
        self.tell_receivers(line);
        refused.wake();
    }

    /// Why nobody may send, room or not. Under the line's lock, as all that follows.
    fn refuses(&self) -> Option<Refusal> {
        if self.tail.load(Ordering::Relaxed) & CLOSED != 0 {
            Some(Refusal::Closed)
        } else if self.receivers.load(Ordering::Relaxed) == 0 {
            Some(Refusal::NoReceiver)
        } else {
            None
        }
    }

    /// Whether a newcomer may send.
    #[inline]
    fn admits(&self, line: &Line) -> Result<(), Refusal> {
        if let Some(why) = self.refuses() {
            return Err(why);
        }
        // Room that is there while somebody waits is about to be promised.
        let full = || !line.senders.is_empty() || self.room(line) == 0;
        if self.waits && full() {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Room that nobody was promised.
    fn room(&self, line: &Line) -> u64 {
        self.room_by(line, self.head.load(Ordering::Acquire))
    }

    /// Room that nobody was promised, by a word of `head`.
    fn room_by(&self, line: &Line, head: u64) -> u64 {
        let used = self.tail() - (head >> 1);
        (self.capacity - used).saturating_sub(line.promised)
    }

    /// Appends an item, for which there is room or some is made, and tells the receivers; true if
    /// another gave way.
    #[inline]
    fn push(&self, line: MutexGuard<'_, Line>, item: T) -> bool {
        let at = self.tail.load(Ordering::Relaxed) >> 1;
        let evicted = if self.waits { None } else { self.evict(at) };
        let mut cell = self.cell(at);
        cell.position = at;
        let receivers = self.receivers.load(Ordering::Relaxed);
        // More do not fit into memory. Were they there, the last ones would be told that they lag.
        let left = u32::try_from(receivers).unwrap_or(u32::MAX);
        // It was empty (invariant 2).
        cell.held = Held::Item { left, item };
        drop(cell);
        self.tail.store((at + 1) << 1, Ordering::Release);
        self.tell_receivers(line);
        let gave_way = evicted.is_some();
        if gave_way {
            contain(|| drop(evicted));
        }
        gave_way
    }

    /// Takes out the item that leaves no room at position `at`.
    #[inline]
    fn evict(&self, at: u64) -> Option<T> {
        let oldest = at.checked_sub(self.capacity)?;
        if self.head.load(Ordering::Acquire) >> 1 != oldest {
            return None;
        }
        let mut cell = self.cell(oldest);
        // Its last receiver may have come in between.
        let item = cell.take()?;
        // Nobody waits in a broadcast that evicts.
        self.head.fetch_add(1 << 1, Ordering::AcqRel);
        Some(item)
    }

    /// Parks a sender; its waker comes back if there is room after all.
    fn park(&self, line: &mut Line, waker: Waker) -> Result<Ticket, Waker> {
        let head = self.head.fetch_or(WAITED, Ordering::AcqRel);
        if line.senders.is_empty() && self.room_by(line, head) > 0 {
            self.settle(line);
            return Err(waker);
        }
        Ok(line.senders.push(0, Some(waker)))
    }

    /// After the item at `at` was taken out of `cell`: `head` goes on, and senders that wait are
    /// told.
    #[inline]
    fn passed(&self, cell: MutexGuard<'_, Cell<T>>, at: u64) {
        if !self.waits {
            self.head.store((at + 1) << 1, Ordering::Release);
            return;
        }
        let before = self.head.fetch_add(1 << 1, Ordering::AcqRel);
        drop(cell);
        if before & WAITED != 0 {
            self.grant(self.line.lock());
        }
    }

    /// Promises the room there is to those who wait for it, and wakes them without the lock.
    #[cold]
    fn grant<'a>(&'a self, mut line: MutexGuard<'a, Line>) {
        loop {
            let mut wakes = WakeList::new();
            let mut more = false;
            while !line.senders.is_empty() && self.room(&line) > 0 {
                if wakes.room() == 0 {
                    more = true;
                    break;
                }
                line.promised += 1;
                if let Some(waker) = line.senders.grant_head() {
                    // There is room: looked at just above.
                    let _ = wakes.push(waker);
                }
            }
            self.settle(&line);
            drop(line);
            wakes.wake();
            if !more {
                return;
            }
            line = self.line.lock();
        }
    }

    /// Restores invariant 5 after some have left the line.
    fn settle(&self, line: &Line) {
        if line.senders.is_empty() {
            self.head.fetch_and(!WAITED, Ordering::Relaxed);
        }
    }

    /// Ends the wait of every sender.
    fn refuse_all(&self, line: &mut Line, refused: &mut Wakers) {
        refused.refuse_all(&mut line.senders);
        self.settle(line);
    }

    /// Takes all receivers out of the line and wakes them, without the lock.
    #[inline]
    fn tell_receivers<'a>(&'a self, line: MutexGuard<'a, Line>) {
        if !line.receivers.is_empty() {
            self.wake_receivers(line);
        }
    }

    #[cold]
    fn wake_receivers<'a>(&'a self, mut line: MutexGuard<'a, Line>) {
        // Those who come while others are woken have seen the news.
        let mut left = line.receivers.len();
        loop {
            let mut wakes = WakeList::new();
            while left > 0 && wakes.room() > 0 {
                left -= 1;
                let head = line.receivers.head();
                if let Some(waker) = head.and_then(|head| line.receivers.cancel(head).waker) {
                    // There is room: looked at just above.
                    let _ = wakes.push(waker);
                }
            }
            drop(line);
            wakes.wake();
            if left == 0 {
                return;
            }
            line = self.line.lock();
            left = left.min(line.receivers.len());
        }
    }

    /// The oldest position from `position` on at which there may be an item.
    fn first(&self, position: u64) -> u64 {
        position.max(self.head.load(Ordering::Acquire) >> 1)
    }

    #[inline]
    fn cell(&self, at: u64) -> MutexGuard<'_, Cell<T>> {
        self.slots[at as usize & self.mask].0.lock()
    }
}

impl Place {
    pub(super) const fn new(next: u64) -> Self {
        Self {
            next,
            seen: 0,
            rest: next + RUN,
        }
    }

    /// Whether it is to let others run before it looks for more, as it has had all that it had seen
    /// and many items since it did so last; true once.
    #[inline]
    pub(super) fn rests(&mut self) -> bool {
        if self.next < self.seen || self.next < self.rest {
            return false;
        }
        self.rest = self.next + RUN;
        true
    }
}

impl<T> Slot<T> {
    fn empty() -> Self {
        Self(Mutex::new(Cell {
            position: 0,
            held: Held::Nothing,
        }))
    }
}

impl<T> Cell<T> {
    /// The item at `position`, if it is there, and for how many it is left.
    #[inline]
    fn get(&mut self, position: u64) -> Option<(&mut u32, &mut T)> {
        match &mut self.held {
            Held::Item { left, item } if self.position == position => Some((left, item)),
            _ => None,
        }
    }

    #[inline]
    fn take(&mut self) -> Option<T> {
        match core::mem::replace(&mut self.held, Held::Nothing) {
            Held::Item { item, .. } => Some(item),
            Held::Nothing => None,
        }
    }
}

const CLOSED: u64 = 1;
const WAITED: u64 = 1;
/// A receiver lets others run at the end of a run that ends this many items after the last time. A
/// quarter of it, or twice as much, do as well; eight times as much leaves it behind the senders'
/// heels for longer.
const RUN: u64 = 64;
