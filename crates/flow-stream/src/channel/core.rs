//! The queue under a channel: which one, and what both of them can do.

use core::task::{Context, Poll};
use std::collections::VecDeque;

use flow_sync::{PopError, PushError, Ring, Turn};

use super::error::ReserveError;
use super::locked::Locked;
use super::rendezvous::Rendezvous;
use super::scale::{Unweighed, Weighing};
use super::special::Special;
use super::stats::Tally;

#[allow(clippy::large_enum_variant)] // one per channel, behind its Arc; a box would cost every send
pub(crate) enum Core<T> {
    /// Lock-free while nobody waits. Its memory is taken when it is built.
    Ring(Ring<T>),
    /// For what a ring is no good at.
    Locked(Locked<T>),
    /// For channels that are neither: out of the way of the other two.
    Special(Special<T>),
}

use Core::{Locked as L, Ring as R, Special as S};

impl<T> Core<T> {
    /// A queue of `capacity` items; with `evicts` for one whose oldest items may give way, with
    /// `sole` for one receiver.
    pub(crate) fn new(capacity: usize, evicts: bool, sole: bool) -> Self {
        // The ring has models of its own, in flow-sync, so models of channels are over the lock
        // unless they say that they are over a ring.
        if !cfg!(loom)
            && !evicts
            && Ring::<T>::bytes(capacity) <= RING_BYTES
            && let Some(ring) = Self::ring(capacity, sole)
        {
            return ring;
        }
        L(Locked::new(capacity, Unweighed))
    }

    /// A ring of `capacity` items, if one can be so large; `sole` is as for [`new`](Self::new).
    pub(crate) fn ring(capacity: usize, sole: bool) -> Option<Self> {
        let ring = if sole {
            Ring::with_one_receiver(capacity)
        } else {
            Ring::new(capacity)
        };
        ring.map(R)
    }

    /// A queue of `capacity` items that are weighed.
    pub(crate) fn weighing(capacity: usize, scale: Weighing<T>) -> Self {
        S(Special::Weighing(Locked::new(capacity, scale)))
    }

    /// A queue that holds nothing.
    pub(crate) fn rendezvous() -> Self {
        S(Special::Rendezvous(Rendezvous::new()))
    }

    pub(crate) fn capacity(&self) -> usize {
        match self {
            R(ring) => ring.capacity(),
            L(locked) => locked.capacity(),
            S(special) => special.capacity(),
        }
    }

    /// Whether room can be taken before there is an item to put into it.
    pub(crate) fn reserves(&self) -> Result<(), ReserveError> {
        match self {
            R(_) | L(_) => Ok(()),
            S(special) => Err(special.reserves_nothing()),
        }
    }

    /// What the items weigh and may weigh, if they are weighed.
    pub(crate) fn weight(&self) -> Option<(u64, u64)> {
        match self {
            S(special) => special.weight(),
            _ => None,
        }
    }

    /// What the item weighs: nothing, where items are not weighed.
    pub(crate) fn weigh(&self, item: &T) -> u64 {
        match self {
            S(special) => special.weigh(item),
            _ => 0,
        }
    }

    /// What the item weighs and what is allowed, if it is too heavy for the channel.
    pub(crate) fn too_heavy(&self, item: &T) -> Option<(u64, u64)> {
        match self {
            S(special) => special.too_heavy(item),
            _ => None,
        }
    }

    /// Whether the sender of `turn`, which has just begun to wait, has found the channel full.
    pub(crate) fn is_blocked(&self, turn: &Turn) -> bool {
        match self {
            S(special) => special.is_blocked(turn),
            _ => true,
        }
    }

    pub(crate) fn try_push(&self, item: T) -> Result<(), (T, PushError)> {
        match self {
            R(ring) => ring.try_push(item),
            L(locked) => locked.try_push(item),
            S(special) => special.try_push(item),
        }
    }

    pub(crate) fn try_push_many(&self, items: &mut VecDeque<T>) -> Result<usize, PushError> {
        match self {
            R(ring) => ring.try_push_many(items),
            L(locked) => locked.try_push_many(items),
            S(special) => special.try_push_many(items),
        }
    }

    #[inline]
    pub(crate) fn poll_push(
        &self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), PushError>> {
        match self {
            R(ring) => ring.poll_push(cx, turn, slot),
            L(locked) => locked.poll_push(cx, turn, slot),
            S(special) => special.poll_push(cx, turn, slot),
        }
    }

    pub(crate) fn try_promise(&self) -> Result<(), PushError> {
        match self {
            R(ring) => ring.try_promise(),
            L(locked) => locked.try_promise(),
            // Nobody asks it: `reserves`.
            S(_) => Err(PushError::Full),
        }
    }

    pub(crate) fn poll_promise(
        &self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
    ) -> Poll<Result<(), PushError>> {
        match self {
            R(ring) => ring.poll_promise(cx, turn),
            L(locked) => locked.poll_promise(cx, turn),
            S(_) => Poll::Ready(Err(PushError::Full)),
        }
    }

    pub(crate) fn push_promised(&self, item: T) {
        match self {
            // Who calls it has a promise.
            R(ring) => drop(ring.push_promised(item)),
            L(locked) => locked.push_promised(item),
            // It promises nothing.
            S(_) => drop(item),
        }
    }

    pub(crate) fn withdraw(&self) {
        match self {
            R(ring) => ring.withdraw(),
            L(locked) => locked.withdraw(),
            S(_) => {}
        }
    }

    /// Ends a sender's wait. An item that waited in the queue comes back, unless it was taken.
    #[inline]
    pub(crate) fn leave_push(&self, turn: &mut Turn) -> Option<T> {
        if *turn == Turn::New {
            return None;
        }
        self.leave_push_line(turn)
    }

    #[cold]
    fn leave_push_line(&self, turn: &mut Turn) -> Option<T> {
        match self {
            R(ring) => ring.leave_push(turn),
            L(locked) => locked.leave_push(turn),
            S(special) => return special.leave_push(turn),
        }
        None
    }

    /// Takes an item as most are taken: from a ring, without a race. `None` says nothing.
    #[inline]
    pub(crate) fn pop_plainly(&self) -> Option<T> {
        match self {
            R(ring) => ring.pop_plainly(),
            _ => None,
        }
    }

    #[inline(never)]
    pub(crate) fn try_pop(&self) -> Result<T, PopError> {
        match self {
            R(ring) => ring.try_pop(),
            L(locked) => locked.try_pop(),
            S(special) => special.try_pop(),
        }
    }

    pub(crate) fn try_pop_many(&self, batch: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        match self {
            R(ring) => ring.try_pop_many(batch, max),
            L(locked) => locked.try_pop_many(batch, max),
            S(special) => special.try_pop_many(batch, max),
        }
    }

    /// Takes what was pushed or is being pushed, once nobody receives any more.
    pub(crate) fn pop_claimed(&self) -> Option<T> {
        match self {
            R(ring) => ring.pop_claimed(),
            L(locked) => locked.try_pop().ok(),
            S(special) => special.try_pop().ok(),
        }
    }

    /// Takes an item, or waits in line for one; `None` when drained.
    ///
    /// `yields` is for a ring: whether the first poll lets others run instead of parking. Under a
    /// lock it always does, and at a rendezvous never.
    #[inline]
    pub(crate) fn poll_pop(
        &self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
        yields: bool,
    ) -> Poll<Option<T>> {
        match self {
            R(ring) => ring.poll_pop(cx, turn, yields),
            L(locked) => locked.poll_pop(cx, turn),
            S(special) => special.poll_pop(cx, turn),
        }
    }

    /// Appends items, or waits in line for the first; otherwise as [`poll_pop`](Self::poll_pop).
    pub(crate) fn poll_pop_many(
        &self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
        yields: bool,
        batch: &mut Vec<T>,
        max: usize,
    ) -> Poll<Option<usize>> {
        match self {
            R(ring) => ring.poll_pop_many(cx, turn, yields, batch, max),
            L(locked) => locked.poll_pop_many(cx, turn, batch, max),
            S(special) => special.poll_pop_many(cx, turn, batch, max),
        }
    }

    /// Lets senders get ahead of one of several receivers that is about to wait.
    pub(crate) fn rest(&self) {
        if let R(ring) = self {
            ring.rest();
        }
    }

    /// Ends a receiver's wait.
    #[inline]
    pub(crate) fn leave_pop(&self, turn: &mut Turn) {
        if *turn != Turn::New {
            self.leave_pop_line(turn);
        }
    }

    #[cold]
    fn leave_pop_line(&self, turn: &mut Turn) {
        match self {
            R(ring) => ring.leave_pop(turn),
            L(locked) => locked.leave_pop(turn),
            S(special) => special.leave_pop(turn),
        }
    }

    /// Stops intake; true the first time.
    pub(crate) fn close(&self) -> bool {
        match self {
            R(ring) => ring.close(),
            L(locked) => locked.close(),
            S(special) => special.close(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        match self {
            R(ring) => ring.is_closed(),
            L(locked) => locked.is_closed(),
            S(special) => special.is_closed(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            R(ring) => ring.len(),
            L(locked) => locked.len(),
            S(special) => special.len(),
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        match self {
            R(ring) => Tally {
                pushed: ring.pushes(),
                popped: ring.pops(),
                evicted: 0,
                max_len: 0,
            },
            L(locked) => locked.tally(),
            S(special) => special.tally(),
        }
    }
}

/// Channels whose slots would take more grow as they are used, behind a lock.
const RING_BYTES: usize = 8 << 20;
