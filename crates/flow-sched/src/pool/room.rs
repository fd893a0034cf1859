//! The intake of the queue: who may put a task in, who waits for room, and that it is closed.
//!
//! An `ArrayQueue` can neither be sealed against a push that races with a close nor promise a
//! place to somebody who waits. Both are decided here, in one word, before the queue is touched.
//!
//! # State
//! `word`: bits 0-31 `used`, the places that are taken or promised; bit 62 `WAITERS`; bit 63
//! `CLOSED`. `line: Mutex<Line>`: the FIFO of those who wait, and how many were promised a place
//! and have not come for it.
//!
//! # Invariants
//! 1. Whoever raised `used` owes one push or one [`give_back`](Room::give_back); the queue never
//!    holds more than `used <= capacity` tasks, so a push after a take always fits.
//! 2. `WAITERS` changes only under the lock; it is set while somebody waits. While it is set only
//!    the holder of the lock raises `used`: nobody overtakes.
//! 3. `CLOSED` is set once, under the lock, and takes promised places back in the same critical
//!    section. Afterwards `used` only falls; at 0 the queue is empty for ever.
//! 4. Wakers are woken and dropped without the lock.
//!
//! # Steps
//! take: CAS `used + 1` unless `CLOSED`, `WAITERS` or full. wait: lock; set `WAITERS`; join the
//! line; **pump**; if not served store the waker. give back: `fetch_sub`; `WAITERS` in the
//! returned word leads to lock and pump. pump: while there is room raise `used` and promise it
//! to the head; an empty line clears `WAITERS`. close: lock; `CLOSED`; take promises back; let
//! everybody go.
//!
//! # Ordering
//! `fetch_or(WAITERS)` and `fetch_sub` are RMWs of one word, so one precedes the other: a place
//! given back before is seen by the waiter's pump, one given back later returns `WAITERS` and
//! pumps under the lock, where it finds the waiter. Release on `fetch_sub` and Acquire on the
//! taking CAS order the old task's pop before the new one's push.
//!
//! # Fairness
//! Strictly first in, first out.
//!
//! # Source
//! The permits of flow-sync, with a close that takes promises back.

use core::task::{Context, Poll, Waker};

use flow_rt::contain;
use flow_sync::{Standing, Ticket, WaitList};

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

const USED: u64 = u32::MAX as u64;
const WAITERS: u64 = 1 << 62;
const CLOSED: u64 = 1 << 63;

pub(super) struct Room {
    word: AtomicU64,
    capacity: u32,
    line: Mutex<Line>,
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
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            word: AtomicU64::new(0),
            capacity,
            line: Mutex::new(Line {
                waiting: WaitList::new(),
                promised: 0,
            }),
        }
    }

    /// Takes a place without waiting.
    #[inline]
    pub(super) fn try_take(&self) -> Result<(), NoRoom> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & CLOSED != 0 {
                return Err(NoRoom::Closed);
            }
            if word & WAITERS != 0 || word & USED >= u64::from(self.capacity) {
                return Err(NoRoom::Full);
            }
            match self.word.compare_exchange_weak(
                word,
                word + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(seen) => word = seen,
            }
        }
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
                // Relaxed would do for the order of RMWs; Acquire takes over what was given back.
                self.word.fetch_or(WAITERS, Ordering::AcqRel);
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
                self.word.fetch_sub(1, Ordering::AcqRel);
            }
            self.pump(&mut line, &mut wakers);
            left.waker
        };
        wake_all(wakers);
        contain(|| drop(unused));
    }

    /// Gives a place back; true if that was the last one of a closed room.
    #[inline]
    pub(super) fn give_back(&self) -> bool {
        let before = self.word.fetch_sub(1, Ordering::AcqRel);
        if before & WAITERS != 0 {
            self.serve();
        }
        before & CLOSED != 0 && before & USED == 1
    }

    /// Closes the room; true for the call that did it.
    pub(super) fn close(&self) -> bool {
        let mut wakers = Vec::new();
        {
            let mut line = self.line.lock();
            if self.is_closed() {
                return false;
            }
            self.word.fetch_or(CLOSED, Ordering::AcqRel);
            line.waiting.close_all(&mut wakers);
            self.word.fetch_sub(line.promised, Ordering::AcqRel);
            line.promised = 0;
            self.word.fetch_and(!WAITERS, Ordering::AcqRel);
        }
        wake_all(wakers);
        true
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Whether nothing is queued and nothing ever will be.
    #[inline]
    pub(super) fn is_drained(&self) -> bool {
        self.word.load(Ordering::Acquire) & (CLOSED | USED) == CLOSED
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Submitters that wait now.
    pub(super) fn waiting(&self) -> usize {
        if self.word.load(Ordering::Relaxed) & WAITERS == 0 {
            return 0;
        }
        self.line.lock().waiting.len()
    }

    /// What a waiter that is out of the line got.
    fn collect(&self, line: &mut Line, ticket: Ticket) -> Result<(), NoRoom> {
        let left = line.waiting.cancel(ticket);
        // After a close the promise was taken back: invariant 3.
        if left.standing == Standing::Granted && !self.is_closed() {
            line.promised -= 1;
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
            && self.word.load(Ordering::Acquire) & USED < u64::from(self.capacity)
        {
            // No CAS: nobody else raises `used` now (invariant 2).
            self.word.fetch_add(1, Ordering::AcqRel);
            line.promised += 1;
            wakers.extend(line.waiting.grant_head());
        }
        if line.waiting.is_empty() {
            self.word.fetch_and(!WAITERS, Ordering::AcqRel);
        }
    }
}

/// Wakes each on its own: a waker that panics must not cost the next one its turn.
fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        contain(|| waker.wake());
    }
}
