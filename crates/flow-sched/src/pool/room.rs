//! The intake of the queue: who may put a task in, who waits for room, and that it is closed.
//!
//! The queues are lock-free, can neither be sealed against a push that races with a close nor
//! promise a place to somebody who waits. Both are decided here, before a queue is touched.
//!
//! # State
//! Three cache lines, so that submitters and slots do not take each other's away.
//! - Submitters': `word`, bits 0-61 `taken`, the places ever taken or promised; bit 62 `WAITERS`;
//!   bit 63 `CLOSED`. `seen`: a value that `freed` had.
//! - Slots': `freed`, the places ever given back; but not those that a pop of `ring` gives back, if
//!   there is that: it is the ring that counts these.
//! - Everybody's, rarely written: `marks`, a copy of the word's two bits for those who give
//!   places back; `capacity`; `unmatched`, the places taken for which no task was queued; `held`,
//!   those who may take places over after the close: sub-pools, for their slots.
//!
//! `line: Mutex<Line>`: the FIFO of those who wait, and how many were promised a place and have
//! not come for it. A place is used while `freed < taken`; what was *freed* is `freed` and the pops of
//! `ring`, in what follows. All of it is compared modulo 2^48, as the ring counts.
//!
//! # Invariants
//! 1. Whoever raised `taken` owes one push and, when that task leaves, one
//!    [`give_back`](Room::give_back). `taken - freed` is at most the capacity at every take. Only
//!    a hand-off's capacity changes, and its queue has no bound of its own.
//! 2. The word's `WAITERS` changes only under the lock; it is set while somebody waits. While it
//!    is set only the holder of the lock raises `taken` for a submitter: nobody overtakes. Those
//!    who take over, and raise it whatever it is, leave less room to the others.
//! 3. `CLOSED` is set once, under the lock, and promised places are given back in the same
//!    critical section. Afterwards only those who hold the room raise `taken`, and nobody comes to
//!    hold it: once it is held no longer, and `freed` has reached `taken`, the queue is empty for
//!    ever. Whoever is to drop what is queued holds it for as long: what he has popped is counted as
//!    gone only later. So held is looked at before `taken`, and after `freed`.
//! 4. `seen <= freed`: a take that goes by it is careful.
//! 5. Wakers are woken and dropped without the lock.
//!
//! # Steps
//! take: CAS `taken + 1` unless `CLOSED`, `WAITERS` or `taken - seen` is the capacity; in the last
//! case look at `freed` first. wait: lock; set `WAITERS` in the word, then in the marks; join the
//! line; **pump**; if not served store the waker. give back: raise `freed`, or pop, **then** look at
//! the marks; `WAITERS` leads to lock and pump. pump: while there is room raise `taken` and promise it
//! to the head; an empty line clears `WAITERS`. close: lock; `CLOSED` in the word; give promises
//! back; let everybody go; `CLOSED` in the marks.
//!
//! # Ordering
//! `freed` and `marks` are two locations, each written by one side and read by the other (Dekker).
//! All four accesses are SeqCst: whoever gives back sees the mark, or the waiter's pump sees the
//! place. The same holds for the last place and the mark of a close, which looks for itself
//! afterwards, and for the last place and the last of those who hold the room; and for the last two
//! places, one of which is counted in `freed` and one by the ring: one of the two who give them back
//! sees both. Release on `freed` and Acquire where it is looked at, directly or through `seen`, order
//! the old task's pop before the new one's push.
//!
//! # Counting
//! The tasks ever queued are `taken - unmatched`. A promise raises `taken` first, and whoever
//! comes for it lowers `unmatched` before its push; a reader takes `unmatched` first. So a reader
//! that knows that a task has started finds it counted.
//!
//! # Fairness
//! Strictly first in, first out.
//!
//! # Source
//! The permits of flow-sync, with a close that takes promises back; the two indices of a ring
//! buffer and the cached copy of the other side's.

use core::task::{Context, Poll, Waker};
use std::sync::Arc;

use flow_rt::contain;
use flow_sync::{BareRing, CachePadded, Standing, Ticket, WaitList, lost_a_race};

use super::queued::Queued;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, loom_fence};

const TAKEN: u64 = WAITERS - 1;
const WAITERS: u64 = 1 << 62;
const CLOSED: u64 = 1 << 63;

pub(super) struct Room {
    intake: CachePadded<Intake>,
    freed: CachePadded<AtomicU64>,
    marks: CachePadded<Marks>,
    ring: Option<Arc<BareRing<Queued>>>,
    line: Mutex<Line>,
}

struct Intake {
    word: AtomicU64,
    seen: AtomicU64,
}

struct Marks {
    bits: AtomicU64,
    capacity: AtomicU64,
    unmatched: AtomicU64,
    held: AtomicU64,
}

struct Line {
    waiting: WaitList,
    /// Places promised to waiters that have not come for them.
    promised: u64,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    Full,
    Closed,
}

impl Room {
    /// A capacity that is never reached.
    pub(super) const UNBOUNDED: u64 = TAKEN;

    /// `ring` is a queue whose pops give places back.
    pub(super) fn new(capacity: u64, ring: Option<Arc<BareRing<Queued>>>) -> Self {
        Self {
            intake: CachePadded::new(Intake {
                word: AtomicU64::new(0),
                seen: AtomicU64::new(0),
            }),
            freed: CachePadded::new(AtomicU64::new(0)),
            marks: CachePadded::new(Marks {
                bits: AtomicU64::new(0),
                capacity: AtomicU64::new(capacity),
                unmatched: AtomicU64::new(0),
                held: AtomicU64::new(0),
            }),
            ring,
            line: Mutex::new(Line {
                waiting: WaitList::new(),
                promised: 0,
            }),
        }
    }

    /// Takes a place without waiting.
    #[inline]
    pub(super) fn try_take(&self) -> Result<(), NoRoom> {
        let mut word = self.intake.word.load(Ordering::Relaxed);
        loop {
            if word & CLOSED != 0 {
                return Err(NoRoom::Closed);
            }
            if word & WAITERS != 0 || !self.has_room(word) {
                return Err(NoRoom::Full);
            }
            let taken = self.intake.word.compare_exchange(
                word,
                word + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            if taken.is_ok() {
                return Ok(());
            }
            // Another submitter was faster, and gets through a run of its own meanwhile.
            lost_a_race();
            word = self.intake.word.load(Ordering::Relaxed);
        }
    }

    /// Takes a place whether or not there is one; false once the room is closed.
    ///
    /// What takes it does not go into a queue of fixed length.
    pub(super) fn take_over(&self) -> bool {
        let mut word = self.intake.word.load(Ordering::Relaxed);
        while word & CLOSED == 0 {
            match self.intake.word.compare_exchange_weak(
                word,
                word + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Keeps a closed room from being drained until [`let_go`](Self::let_go), so that places may
    /// be [taken over](Self::take_over_held) until then; false once the room is closed.
    pub(super) fn hold(&self) -> bool {
        let _line = self.line.lock();
        let is_open = !self.is_closed();
        if is_open {
            self.marks.held.fetch_add(1, Ordering::SeqCst);
        }
        is_open
    }

    /// The same for a while, of a closed room: for who drops what is queued.
    pub(super) fn hold_closed(&self) {
        self.marks.held.fetch_add(1, Ordering::SeqCst);
        loom_fence();
    }

    /// Ends a hold; true if the room is drained with it.
    pub(super) fn let_go(&self) -> bool {
        self.marks.held.fetch_sub(1, Ordering::SeqCst);
        loom_fence();
        self.is_drained()
    }

    /// Takes a place over, of a closed room too, for somebody who holds it.
    pub(super) fn take_over_held(&self) {
        self.intake.word.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether a place is free, if the word is still what it was.
    #[inline]
    fn has_room(&self, word: u64) -> bool {
        let capacity = self.marks.capacity.load(Ordering::Relaxed);
        let used_at_most = used(word, self.intake.seen.load(Ordering::Acquire));
        used_at_most < capacity || self.look_for_room(word, capacity)
    }

    fn look_for_room(&self, word: u64, capacity: u64) -> bool {
        let freed = self.freed();
        self.intake.seen.store(freed, Ordering::Release);
        used(word, freed) < capacity
    }

    /// Waits for a place; `ticket` is the caller's standing in the line between polls.
    ///
    /// A ticket that is left over must go to [`cancel`](Self::cancel).
    pub(super) fn poll_take(
        &self,
        cx: &Context<'_>,
        ticket: &mut Option<Ticket>,
    ) -> Poll<Result<(), NoRoom>> {
        let mut waker = Some(cx.waker().clone());
        let mut wakers = Vec::new();
        let answer = {
            let mut line = self.line.lock();
            let known = if let Some(ticket) = *ticket {
                ticket
            } else {
                if self.is_closed() {
                    return Poll::Ready(Err(NoRoom::Closed));
                }
                self.intake.word.fetch_or(WAITERS, Ordering::AcqRel);
                self.marks.bits.fetch_or(WAITERS, Ordering::SeqCst);
                loom_fence();
                let joined = line.waiting.push(1, None);
                self.pump(&mut line, &mut wakers);
                joined
            };
            if line.waiting.standing(known) == Standing::Waiting {
                waker = waker.and_then(|waker| line.waiting.update_waker(known, waker));
                *ticket = Some(known);
                Poll::Pending
            } else {
                *ticket = None;
                Poll::Ready(self.collect(&mut line, known))
            }
        };
        wake_all(wakers);
        contain(|| drop(waker));
        answer
    }

    /// Gives up a place in the line, and the place in the queue if it was promised by now.
    pub(super) fn cancel(&self, ticket: Ticket) {
        let mut wakers = Vec::new();
        let unused = {
            let mut line = self.line.lock();
            let left = line.waiting.cancel(ticket);
            if left.standing == Standing::Granted && !self.is_closed() {
                line.promised -= 1;
                // It stays unmatched for ever.
                self.freed.fetch_add(1, Ordering::SeqCst);
            }
            self.pump(&mut line, &mut wakers);
            left.waker
        };
        wake_all(wakers);
        contain(|| drop(unused));
    }

    /// Gives a place back; true if a closed room is drained with it.
    #[inline]
    pub(super) fn give_back(&self) -> bool {
        self.freed.fetch_add(1, Ordering::SeqCst);
        loom_fence();
        self.was_given_back()
    }

    /// Whether a pop of a task that was submitted gives its place back.
    #[inline]
    pub(super) fn is_left_by_pop(&self) -> bool {
        self.ring.is_some()
    }

    /// After a place was given back: serves who waits for it; true if a closed room is drained now.
    #[inline]
    pub(super) fn was_given_back(&self) -> bool {
        let marks = self.marks.bits.load(Ordering::SeqCst);
        marks != 0 && self.tell_of_room(marks)
    }

    #[cold]
    fn tell_of_room(&self, marks: u64) -> bool {
        if marks & WAITERS != 0 {
            self.serve();
        }
        marks & CLOSED != 0 && self.is_drained()
    }

    /// Closes the room; true for the call that did it.
    pub(super) fn close(&self) -> bool {
        let mut wakers = Vec::new();
        {
            let mut line = self.line.lock();
            if self.is_closed() {
                return false;
            }
            self.intake.word.fetch_or(CLOSED, Ordering::AcqRel);
            line.waiting.close_all(&mut wakers);
            self.freed.fetch_add(line.promised, Ordering::SeqCst);
            line.promised = 0;
            self.intake.word.fetch_and(!WAITERS, Ordering::AcqRel);
            self.marks.bits.swap(CLOSED, Ordering::SeqCst);
            loom_fence();
        }
        wake_all(wakers);
        true
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.intake.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Whether nothing is queued and nothing ever will be.
    #[inline]
    pub(super) fn is_drained(&self) -> bool {
        // In this order: once it is closed and not held `taken` stands still, and what was freed
        // never passes it.
        if !self.is_closed() || self.is_held() {
            return false;
        }
        let word = self.intake.word.load(Ordering::Acquire);
        // And once more: what was freed may have been, a moment ago, by who drops it now.
        used(word, self.freed()) == 0 && !self.is_held()
    }

    fn is_held(&self) -> bool {
        self.marks.held.load(Ordering::SeqCst) != 0
    }

    /// Sets how many places there are, by what `capacity` says under the lock: so the last of
    /// several calls knows of all changes. Places in use stay so, however many they are.
    pub(super) fn set_capacity(&self, capacity: impl FnOnce() -> u64) {
        let mut wakers = Vec::new();
        {
            let mut line = self.line.lock();
            self.marks.capacity.store(capacity(), Ordering::Relaxed);
            self.pump(&mut line, &mut wakers);
        }
        wake_all(wakers);
    }

    /// Places ever given back, modulo 2^48.
    pub(super) fn freed(&self) -> u64 {
        let freed = self.freed.load(Ordering::SeqCst);
        let popped = self.ring.as_ref().map_or(0, |ring| ring.pops());
        freed.wrapping_add(popped)
    }

    pub(super) fn capacity(&self) -> u64 {
        self.marks.capacity.load(Ordering::Relaxed)
    }

    /// Tasks that were ever queued. See [Counting](self).
    pub(super) fn queued_ever(&self) -> u64 {
        let unmatched = self.marks.unmatched.load(Ordering::Acquire);
        (self.intake.word.load(Ordering::Acquire) & TAKEN) - unmatched
    }

    /// Whether places but the last one taken use less than half of the room, by and large.
    #[cfg(feature = "tracing")]
    pub(super) fn is_half_empty(&self) -> bool {
        let used = used(self.intake.word.load(Ordering::Relaxed), self.freed());
        used.saturating_sub(1) * 2 < self.capacity()
    }

    /// Submitters that wait now.
    pub(super) fn waiting(&self) -> usize {
        if self.intake.word.load(Ordering::Relaxed) & WAITERS == 0 {
            return 0;
        }
        self.line.lock().waiting.len()
    }

    /// Places that waiters were promised and have not come for.
    pub(super) fn promised(&self) -> u64 {
        self.line.lock().promised
    }

    /// What a waiter that is out of the line got.
    fn collect(&self, line: &mut Line, ticket: Ticket) -> Result<(), NoRoom> {
        let left = line.waiting.cancel(ticket);
        // After a close the promise was taken back: invariant 3.
        if left.standing == Standing::Granted && !self.is_closed() {
            line.promised -= 1;
            self.marks.unmatched.fetch_sub(1, Ordering::Release);
            Ok(())
        } else {
            Err(NoRoom::Closed)
        }
    }

    #[cold]
    fn serve(&self) {
        let mut wakers = Vec::new();
        self.pump(&mut self.line.lock(), &mut wakers);
        wake_all(wakers);
    }

    /// Promises free places to the head of the line.
    fn pump(&self, line: &mut Line, wakers: &mut Vec<Waker>) {
        while !line.waiting.is_empty()
            && self.look_for_room(self.intake.word.load(Ordering::Acquire), self.capacity())
        {
            // No CAS: no submitter raises `taken` now (invariant 2).
            self.intake.word.fetch_add(1, Ordering::AcqRel);
            self.marks.unmatched.fetch_add(1, Ordering::Release);
            line.promised += 1;
            wakers.extend(line.waiting.grant_head());
        }
        if line.waiting.is_empty() {
            self.intake.word.fetch_and(!WAITERS, Ordering::AcqRel);
            self.marks.bits.fetch_and(!WAITERS, Ordering::SeqCst);
        }
    }
}

/// Places taken and not given back, of what was seen of both: none, if the word is the older of the
/// two and behind. (An exchange finds that out.)
#[inline]
const fn used(word: u64, freed: u64) -> u64 {
    let used = (word.wrapping_sub(freed) << 16).cast_signed() >> 16;
    if used < 0 { 0 } else { used.cast_unsigned() }
}

/// Wakes each on its own: a waker that panics must not cost the next one its turn.
fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        contain(|| waker.wake());
    }
}
