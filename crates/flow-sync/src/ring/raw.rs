//! Positions and slots: who owns which of them. Nobody waits here.
//!
//! # State
//! ```text
//! tail     63       62        48   47        0
//!        | closed |   promised   |   index    |     the next position to claim
//! head                           |   index    |     the next position to take
//! ```
//! `promised` counts room that was given away and not yet used: to permits, and to senders that
//! wait. Positions count modulo 2^48. A *lap* is the capacity rounded up to a power of two, and the
//! remainder by it is a position's slot. A slot's `seq` is `2i` while it is free for position `i`,
//! and `2i + 1` while it holds position `i`; then it is free for `i + lap`. The factor of two is
//! what tells "holds `i`" from "free for `i + 1`" where the lap is 1.
//!
//! # Invariants
//! 1. `tail.index - head <= capacity`; and `tail.index - head + promised <= capacity`.
//! 2. A position is claimed by exactly one CAS of `tail`, and taken by exactly one CAS of `head`,
//!    made after its slot was seen to hold it.
//! 3. Only the claimer of `i` writes the slot, once it has seen `seq = 2i` (acquire); then it sets
//!    `2i + 1` (release). Only the taker of `i` reads it, having seen `2i + 1` (acquire); then it
//!    sets `2(i + lap)` (release). So a slot has one owner at a time, and each sees what the one
//!    before it did.
//! 4. Between claim and publication, and between taking and freeing, nothing runs but moves: both
//!    end, whatever items do.
//! 5. Once closed is set, `tail.index` grows by promises only. *Drained* is closed, nothing
//!    promised, `head = tail.index`; it is stable.
//!
//! # Ordering
//! Items go by `seq` alone. The CASes of `tail` and `head` are SeqCst, because each end compares
//! itself with the other, and because the one that claimed or took looks for those who wait
//! afterwards: see the parent. A full lap is found by `seq` (free for another position), and
//! room beside promises by the `seq` that lies as many positions ahead: it is free only once `head`
//! has gone so far, and `head` does not go back. Promises, batches, the answer "full" and a capacity
//! that is no power of two need `head` itself.
//!
//! # Races
//! What an operation costs beside others is how often a cache line changes cores for it. So slots
//! lie side by side: four small ones change cores together. And whoever claims or takes and loses
//! the race lets the lines be [for a while](lost_a_race), in which the winner gets through a run of
//! the same. A slot on a line of its own, and another try at once, cost 2 to 6 times as much
//! between 4 senders and 4 receivers: the more, the further apart the cores are.
//!
//! # Unsafe
//! Three lines: a slot is shared, written by its claimer, read by its taker. What they rest on is
//! invariants 2 and 3, which nothing outside of this file can break. The same ring with a lock in
//! each slot is safe and costs twice as much per item (`benches`, row "try_send and try_recv").
//! The first of the three serves [`Exclusive`] as well, whose values nobody shares at all.

#![allow(unsafe_code)] // the only file of the workspace that may

use core::fmt;
use core::mem::MaybeUninit;
use core::panic::{RefUnwindSafe, UnwindSafe};
use std::collections::VecDeque;

use super::{PopError, PushError};
use crate::backoff::{Backoff, lost_a_race};
use crate::padded::CachePadded;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::sync::cell::UnsafeCell;

/// With `FENCES` a publication is a SeqCst RMW too, for a user that is to be seen by it.
pub(super) struct Raw<T, const FENCES: bool = false> {
    tail: CachePadded<AtomicU64>,
    head: CachePadded<AtomicU64>,
    slots: Box<[Slot<T>]>,
    /// The lap, less one: a position's slot is what it has in these bits.
    mask: u64,
    capacity: u64,
    /// A `tail` below this is open, with nothing promised and no wrap to come, and a free slot is
    /// all that its claim needs. 0 if that is never so: the lap is longer than the capacity.
    plain: u64,
    /// From here on the same place of the next lap is beyond the wrap.
    wraps: u64,
}

struct Slot<T> {
    seq: AtomicU64,
    value: Exclusive<UnsafeCell<MaybeUninit<T>>>,
}

/// A value that its owner alone can reach, so that it is [`Sync`] if only it is [`Send`].
///
/// It is what a lock around a value that is never locked would be, and no larger than the value:
/// an error that carries an item in it stays in registers.
///
/// ```
/// use std::cell::Cell;
/// use flow_sync::Exclusive;
///
/// fn is_sync<T: Sync>(_: &T) {}
/// let item = Exclusive::new(Cell::new(1)); // `Cell` is not
/// is_sync(&item);
/// assert_eq!(item.into_inner().get(), 1);
/// ```
pub struct Exclusive<T>(T);

// SAFETY: what threads could share is a reference to it, and through that nothing outside of this
// file reaches the value. In this file slots do, whose values have one owner at a time, to whom
// the slot's `seq` hands them (invariant 3). So values are only ever sent, hence `T: Send`.
unsafe impl<T: Send> Sync for Exclusive<T> {}

// Nothing runs on the value while it is in here, so no panic can leave it half changed, and what a
// reference to it reaches is nothing. A lock around it would be both of them as well.
impl<T> UnwindSafe for Exclusive<T> {}
impl<T> RefUnwindSafe for Exclusive<T> {}

impl<T> Exclusive<T> {
    /// Wraps the value.
    #[inline]
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value.
    #[inline]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Exclusive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exclusive").finish_non_exhaustive()
    }
}

/// What a taker may take.
#[derive(Clone, Copy)]
pub(super) struct Share {
    /// Items, published, that belong to others: so many must be left.
    pub(super) aside: u64,
    /// Whether one of the items is the taker's own, whatever others hold.
    pub(super) own: bool,
}

impl<T, const FENCES: bool> Raw<T, FENCES> {
    /// `capacity` is from 1 to 2^31.
    pub(super) fn new(capacity: usize) -> Self {
        let lap = capacity.next_power_of_two() as u64;
        let mut slots: Box<[Slot<T>]> = (0..lap)
            .map(|_| Slot {
                seq: AtomicU64::new(0),
                value: Exclusive(UnsafeCell::new(MaybeUninit::uninit())),
            })
            .collect();
        for nth in 0..lap {
            let at = next(START, nth);
            slots[(at & (lap - 1)) as usize].seq = AtomicU64::new(free(at));
        }
        Self {
            tail: CachePadded::new(AtomicU64::new(START)),
            head: CachePadded::new(AtomicU64::new(START)),
            slots,
            mask: lap - 1,
            capacity: capacity as u64,
            wraps: INDEX - lap,
            plain: if lap == capacity as u64 { INDEX } else { 0 },
        }
    }

    /// The memory that a ring of so many items takes.
    pub(super) fn bytes(capacity: usize) -> usize {
        capacity
            .checked_next_power_of_two()
            .and_then(|lap| lap.checked_mul(size_of::<Slot<T>>()))
            .unwrap_or(usize::MAX)
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Pushes the item as almost every push goes: open, room, no race. Otherwise it comes back,
    /// and [`try_push`](Self::try_push) says what is the matter.
    #[inline]
    pub(super) fn push_plainly(&self, item: T) -> Result<(), T> {
        let tail = self.tail.load(Relaxed);
        if tail >= self.plain {
            return self.push_beside_promises(item);
        }
        let slot = self.slot(tail);
        if !slot.is_free_for(tail) || !self.claims(tail, tail + 1) {
            return Err(item);
        }
        Self::put(slot, tail, item);
        Ok(())
    }

    /// The same where a free slot is not enough: room is promised, or there are more slots than
    /// room.
    #[inline(never)]
    fn push_beside_promises(&self, item: T) -> Result<(), T> {
        let tail = self.tail.load(Relaxed);
        let at = index(tail);
        let slot = self.slot(at);
        if is_closed(tail)
            || !slot.is_free_for(at)
            || !self.has_room(tail)
            || !self.claims(tail, with_index(tail, next(at, 1)))
        {
            return Err(item);
        }
        Self::put(slot, at, item);
        Ok(())
    }

    /// Pushes an item into room that is promised to nobody.
    pub(super) fn try_push(&self, item: T) -> Result<(), (T, PushError)> {
        match self.claim() {
            Ok((at, slot)) => {
                Self::put(slot, at, item);
                Ok(())
            }
            Err(why) => Err((item, why)),
        }
    }

    /// Pushes an item into room that was promised. True if no more could be promised before. With
    /// no promise out the item comes back.
    pub(super) fn push_promised(&self, item: T) -> Result<bool, T> {
        let mut tail = self.tail.load(Relaxed);
        loop {
            if promised(tail) == 0 {
                return Err(item);
            }
            if self.claims(tail, with_index(tail - PROMISE, next(index(tail), 1))) {
                break;
            }
            tail = self.tail.load(Relaxed);
        }
        let at = index(tail);
        let slot = self.wait_for_slot(at);
        Self::put(slot, at, item);
        Ok(promised(tail) == MOST_PROMISED)
    }

    /// Pushes as many items from the front as there is room for, in one piece.
    pub(super) fn push_many(&self, items: &mut VecDeque<T>) -> Result<usize, PushError> {
        let mut tail = self.tail.load(Relaxed);
        let n = loop {
            if is_closed(tail) {
                return Err(PushError::Closed);
            }
            let n = self.room(tail).min(items.len() as u64);
            if n == 0 {
                let now = self.tail.load(SeqCst);
                if now == tail {
                    return Err(PushError::Full);
                }
                tail = now;
                continue;
            }
            if self.claims(tail, with_index(tail, next(index(tail), n))) {
                break n;
            }
            tail = self.tail.load(Relaxed);
        };
        let first = index(tail);
        for (nth, item) in (0..n).zip(items.drain(..n as usize)) {
            let at = next(first, nth);
            let slot = self.wait_for_slot(at);
            Self::put(slot, at, item);
        }
        Ok(n as usize)
    }

    /// Promises room for one item.
    pub(super) fn try_promise(&self) -> Result<(), PushError> {
        let mut tail = self.tail.load(SeqCst);
        loop {
            if is_closed(tail) {
                return Err(PushError::Closed);
            }
            let full = promised(tail) == MOST_PROMISED || self.room(tail) == 0;
            let seen = if full {
                match self.tail.load(SeqCst) {
                    now if now == tail => return Err(PushError::Full),
                    now => Err(now),
                }
            } else {
                self.tail
                    .compare_exchange(tail, tail + PROMISE, SeqCst, SeqCst)
            };
            match seen {
                Ok(_) => return Ok(()),
                Err(now) => tail = now,
            }
        }
    }

    /// Takes promises back, of those that are out. True if the ring is closed: it may be drained
    /// now.
    pub(super) fn withdraw(&self, promises: u64) -> bool {
        let mut tail = self.tail.load(Relaxed);
        loop {
            let left = tail - promises.min(promised(tail)) * PROMISE;
            match self.tail.compare_exchange(tail, left, SeqCst, Relaxed) {
                Ok(_) => return is_closed(tail),
                Err(now) => tail = now,
            }
        }
    }

    /// Takes the first item as almost every pop goes: it is there, and nobody races for it.
    /// `None` says nothing; [`try_pop`](Self::try_pop) does.
    #[inline]
    pub(super) fn pop_plainly(&self) -> Option<T> {
        let head = self.head.load(Relaxed);
        let lap = self.mask + 1;
        // The next lap's position does not wrap: then nothing has to be masked.
        if head >= self.wraps {
            return None;
        }
        let slot = self.slot(head);
        if !slot.holds(head) || !self.takes(head, head + 1) {
            return None;
        }
        Some(Self::vacate(slot, head + lap))
    }

    /// The same, while so many items are set aside for others.
    pub(super) fn pop_beside(&self, aside: u64) -> Option<T> {
        let head = self.head.load(Relaxed);
        let slot = self.slot(head);
        if !slot.holds(head) || !self.holds(next(head, aside)) || !self.takes(head, next(head, 1)) {
            return None;
        }
        Some(Self::vacate(slot, self.lap_after(head)))
    }

    /// Takes the first item, if so many others are behind it as must be left.
    pub(super) fn try_pop(&self, share: Share) -> Result<T, PopError> {
        let aside = if share.own { 0 } else { share.aside };
        let mut backoff = Backoff::new();
        let mut head = self.head.load(Relaxed);
        loop {
            let slot = self.slot(head);
            if slot.holds(head) && (aside == 0 || self.holds(next(head, aside))) {
                if self.takes(head, next(head, 1)) {
                    return Ok(Self::vacate(slot, self.lap_after(head)));
                }
                head = self.head.load(Relaxed);
            } else {
                head = self.look_again(head, share, &mut backoff)?;
            }
        }
    }

    /// Takes up to `max` items from the front, in one piece.
    pub(super) fn pop_many(
        &self,
        out: &mut Vec<T>,
        max: usize,
        share: Share,
    ) -> Result<usize, PopError> {
        let max = max as u64;
        let mut backoff = Backoff::new();
        let mut head = self.head.load(Acquire);
        loop {
            let most = max.saturating_add(share.aside);
            let mut run = 0;
            while run < most && self.holds(next(head, run)) {
                run += 1;
            }
            let n = run
                .saturating_sub(share.aside)
                .max(u64::from(share.own && run > 0))
                .min(max);
            if n == 0 {
                head = self.look_again(head, share, &mut backoff)?;
                continue;
            }
            // Growing may panic, so it happens while nothing is taken.
            out.reserve(n as usize);
            if self.takes(head, next(head, n)) {
                out.extend((0..n).map(|nth| {
                    let at = next(head, nth);
                    Self::vacate(self.slot(at), self.lap_after(at))
                }));
                return Ok(n as usize);
            }
            head = self.head.load(Acquire);
        }
    }

    /// Takes the first item, waiting for one that is being written; `None` if none was claimed.
    pub(super) fn pop_claimed(&self) -> Option<T> {
        let all = Share {
            aside: 0,
            own: true,
        };
        let mut backoff = Backoff::new();
        loop {
            match self.try_pop(all) {
                Ok(item) => return Some(item),
                Err(_) if self.len() == 0 => return None,
                Err(_) => backoff.wait(),
            }
        }
    }

    /// After nothing could be taken at `head`: where to try again, or why not to.
    #[cold]
    fn look_again(&self, head: u64, share: Share, backoff: &mut Backoff) -> Result<u64, PopError> {
        let tail = self.tail.load(SeqCst);
        let now = self.head.load(SeqCst);
        if now != head {
            return Ok(now);
        }
        let claimed = distance(head, index(tail));
        if claimed == 0 && is_closed(tail) && promised(tail) == 0 {
            return Err(PopError::Closed);
        }
        // What is claimed is about to be published; to answer "empty" at once costs a wake-up.
        // One that was granted has lost its item to a newcomer: it goes back to its place.
        if share.own || claimed <= share.aside || !backoff.wait_a_little() {
            return Err(PopError::Empty);
        }
        Ok(head)
    }

    /// Whether the first item has been published.
    pub(super) fn is_published(&self) -> bool {
        let mut head = self.head.load(SeqCst);
        loop {
            if self.holds(head) {
                return true;
            }
            // It may have been taken since: then the first one lies further on, and nobody else
            // will look at it.
            match self.head.load(SeqCst) {
                now if now == head => return false,
                now => head = now,
            }
        }
    }

    /// Stops claims and promises. True the first time.
    pub(super) fn close(&self) -> bool {
        !is_closed(self.tail.fetch_or(CLOSED, SeqCst))
    }

    pub(super) fn is_closed(&self) -> bool {
        is_closed(self.tail.load(Acquire))
    }

    /// Closed, nothing promised, nothing left.
    pub(super) fn is_drained(&self) -> bool {
        let tail = self.tail.load(SeqCst);
        is_closed(tail) && promised(tail) == 0 && self.head.load(SeqCst) == index(tail)
    }

    /// Items claimed and not taken, as of one instant.
    pub(super) fn len(&self) -> usize {
        let mut tail = self.tail.load(SeqCst);
        loop {
            let head = self.head.load(SeqCst);
            let now = self.tail.load(SeqCst);
            if index(now) == index(tail) {
                return distance(head, index(tail)) as usize;
            }
            tail = now;
        }
    }

    /// Items ever claimed, modulo 2^48.
    pub(super) fn pushed(&self) -> u64 {
        distance(START, index(self.tail.load(Relaxed)))
    }

    /// Items ever taken, modulo 2^48.
    pub(super) fn popped(&self) -> u64 {
        distance(START, self.head.load(SeqCst))
    }

    /// Room promised and not yet used.
    pub(super) fn promised(&self) -> usize {
        promised(self.tail.load(Relaxed)) as usize
    }

    /// Claims the next position, whose slot is free.
    fn claim(&self) -> Result<(u64, &Slot<T>), PushError> {
        let mut backoff = Backoff::new();
        let mut tail = self.tail.load(Relaxed);
        loop {
            if is_closed(tail) {
                return Err(PushError::Closed);
            }
            let at = index(tail);
            let slot = self.slot(at);
            if slot.is_free_for(at) && (self.has_room(tail) || self.room(tail) > 0) {
                if self.claims(tail, with_index(tail, next(at, 1))) {
                    return Ok((at, slot));
                }
                tail = self.tail.load(Relaxed);
                continue;
            }
            let now = self.tail.load(SeqCst);
            if now == tail {
                if self.room(tail) == 0 {
                    return Err(PushError::Full);
                }
                // Somebody has taken what the slot held and is moving it out.
                backoff.wait();
            }
            tail = now;
        }
    }

    /// Makes `tail` what it is after a claim; false, after a while, if somebody else was faster.
    #[inline]
    fn claims(&self, tail: u64, claimed: u64) -> bool {
        swaps(&self.tail, tail, claimed)
    }

    /// As [`claims`](Self::claims), for `head`.
    #[inline]
    fn takes(&self, head: u64, taken: u64) -> bool {
        swaps(&self.head, head, taken)
    }

    /// Whether there is room that is promised to nobody. If the slots are as many as the items may
    /// be, there is if the slot beyond all that is promised is free, which spares the look at
    /// `head`: its line is written for each item that is taken. It may say no for as long as a
    /// taker is moving an item out.
    #[inline]
    fn has_room(&self, tail: u64) -> bool {
        if self.plain == 0 {
            return self.room(tail) > 0;
        }
        let beyond = next(index(tail), promised(tail));
        self.slot(beyond).is_free_for(beyond)
    }

    /// Room that is promised to nobody. Of an old `tail` it may say none, never too much.
    fn room(&self, tail: u64) -> u64 {
        let used = distance(self.head.load(SeqCst), index(tail));
        self.capacity.saturating_sub(used + promised(tail))
    }

    /// The position that has the same slot next.
    fn lap_after(&self, at: u64) -> u64 {
        next(at, self.mask + 1)
    }

    #[inline]
    fn holds(&self, at: u64) -> bool {
        self.slot(at).holds(at)
    }

    #[inline]
    fn slot(&self, at: u64) -> &Slot<T> {
        &self.slots[(at & self.mask) as usize]
    }

    /// The slot of a position that was claimed, once it is free. There is room, but whoever took
    /// the slot's last item may be about to move it out.
    fn wait_for_slot(&self, at: u64) -> &Slot<T> {
        let slot = self.slot(at);
        let mut backoff = Backoff::new();
        while !slot.is_free_for(at) {
            backoff.wait();
        }
        slot
    }

    /// Writes the item into the slot of a position that the caller has claimed and seen free, and
    /// publishes it.
    #[inline]
    fn put(slot: &Slot<T>, at: u64, item: T) {
        Self::fill(slot, item);
        Self::publish(slot, at);
    }

    #[inline]
    fn fill(slot: &Slot<T>, item: T) {
        slot.value.0.with_mut(|value| {
            // SAFETY: the caller alone claimed the slot's position, and has seen the slot free
            // for it: it is the caller's until it publishes (invariants 2 and 3).
            unsafe { (*value).write(item) };
        });
    }

    #[inline]
    fn publish(slot: &Slot<T>, at: u64) {
        if FENCES {
            slot.seq.swap(full(at), SeqCst);
        } else {
            slot.seq.store(full(at), Release);
        }
    }

    /// Moves the item out of the slot of a position that the caller has taken, and frees it for
    /// the position a lap further on.
    #[inline]
    fn vacate(slot: &Slot<T>, lap_after: u64) -> T {
        // SAFETY: the caller saw that the slot holds the position, a lap before `lap_after`, and
        // alone took it: the item is there and its own, until it frees the slot (invariants 2
        // and 3).
        let item = slot
            .value
            .0
            .with_mut(|value| unsafe { (*value).assume_init_read() });
        slot.seq.store(free(lap_after), Release);
        item
    }
}

impl<T> Slot<T> {
    #[inline]
    fn is_free_for(&self, at: u64) -> bool {
        self.seq.load(Acquire) == free(at)
    }

    #[inline]
    fn holds(&self, at: u64) -> bool {
        self.seq.load(Acquire) == full(at)
    }
}

impl<T, const FENCES: bool> Drop for Raw<T, FENCES> {
    fn drop(&mut self) {
        // If an item panics as it is dropped, the other one goes on with the rest.
        let _goes_on = Items(self);
        drop(Items(self));
    }
}

/// The items of a ring that goes, which are dropped with this.
struct Items<'a, T, const FENCES: bool>(&'a Raw<T, FENCES>);

impl<T, const FENCES: bool> Drop for Items<'_, T, FENCES> {
    fn drop(&mut self) {
        // Nobody claims, writes or takes any more: what was claimed is published.
        while self.0.pop_claimed().is_some() {}
    }
}

/// Whether `word` was `from`, and is `to` now. If not, that is said after a while.
#[inline]
fn swaps(word: &AtomicU64, from: u64, to: u64) -> bool {
    let won = word.compare_exchange(from, to, SeqCst, Relaxed).is_ok();
    if !won {
        lost_a_race();
    }
    won
}

const fn next(at: u64, n: u64) -> u64 {
    (at + n) & INDEX
}

const fn distance(from: u64, to: u64) -> u64 {
    to.wrapping_sub(from) & INDEX
}

const fn index(tail: u64) -> u64 {
    tail & INDEX
}

const fn with_index(tail: u64, index: u64) -> u64 {
    (tail & !INDEX) | index
}

const fn promised(tail: u64) -> u64 {
    (tail & !CLOSED) / PROMISE
}

const fn is_closed(tail: u64) -> bool {
    tail & CLOSED != 0
}

const fn free(at: u64) -> u64 {
    2 * at
}

const fn full(at: u64) -> u64 {
    2 * at + 1
}

const INDEX: u64 = PROMISE - 1;
const PROMISE: u64 = 1 << 48;
const MOST_PROMISED: u64 = (1 << 15) - 1;
const CLOSED: u64 = 1 << 63;

/// Every ring wraps its positions soon after it was made: no test has to ask for it.
const START: u64 = INDEX - 999;
