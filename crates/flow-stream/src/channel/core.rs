//! The queue under a channel: which one, and what both of them can do.

use core::task::{Context, Poll};
use std::collections::VecDeque;

use flow_sync::{PopError, PushError, Ring, Turn};

use super::locked::Locked;
use super::stats::Tally;

#[allow(clippy::large_enum_variant)] // one per channel, behind its Arc; a box would cost every send
pub(crate) enum Core<T> {
    /// Lock-free while nobody waits. Its memory is taken when it is built.
    Ring(Ring<T>),
    /// For what a ring is no good at.
    Locked(Locked<T>),
}

use Core::{Locked as L, Ring as R};

impl<T> Core<T> {
    /// A queue of `capacity` items; with `evicts` for one whose oldest items may give way.
    pub(crate) fn new(capacity: usize, evicts: bool) -> Self {
        // The ring has models of its own, in flow-sync.
        if !cfg!(loom)
            && !evicts
            && Ring::<T>::bytes(capacity) <= RING_BYTES
            && let Some(ring) = Ring::new(capacity)
        {
            return R(ring);
        }
        L(Locked::new(capacity))
    }

    pub(crate) fn capacity(&self) -> usize {
        match self {
            R(ring) => ring.capacity(),
            L(locked) => locked.capacity(),
        }
    }

    #[inline]
    pub(crate) fn try_push(&self, item: T) -> Result<(), (T, PushError)> {
        match self {
            R(ring) => ring.try_push(item),
            L(locked) => locked.try_push(item),
        }
    }

    pub(crate) fn try_push_many(&self, items: &mut VecDeque<T>) -> Result<usize, PushError> {
        match self {
            R(ring) => ring.try_push_many(items),
            L(locked) => locked.try_push_many(items),
        }
    }

    /// Pushes in place of the oldest item if full; that one comes back. (Of a ring none gives way.)
    pub(crate) fn push_evicting(&self, item: T) -> Result<Option<T>, (T, PushError)> {
        match self {
            R(ring) => ring.try_push(item).map(|()| None),
            L(locked) => locked.push_evicting(item),
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
        }
    }

    pub(crate) fn try_promise(&self) -> Result<(), PushError> {
        match self {
            R(ring) => ring.try_promise(),
            L(locked) => locked.try_promise(),
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
        }
    }

    pub(crate) fn push_promised(&self, item: T) {
        match self {
            R(ring) => ring.push_promised(item),
            L(locked) => locked.push_promised(item),
        }
    }

    pub(crate) fn withdraw(&self) {
        match self {
            R(ring) => ring.withdraw(),
            L(locked) => locked.withdraw(),
        }
    }

    #[inline]
    pub(crate) fn leave_push(&self, turn: &mut Turn) {
        if *turn == Turn::New {
            return;
        }
        match self {
            R(ring) => ring.leave_push(turn),
            L(locked) => locked.leave_push(turn),
        }
    }

    #[inline]
    pub(crate) fn try_pop(&self) -> Result<T, PopError> {
        match self {
            R(ring) => ring.try_pop(),
            L(locked) => locked.try_pop(),
        }
    }

    pub(crate) fn try_pop_many(&self, batch: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        match self {
            R(ring) => ring.try_pop_many(batch, max),
            L(locked) => locked.try_pop_many(batch, max),
        }
    }

    /// Takes what was pushed or is being pushed, once nobody receives any more.
    pub(crate) fn pop_claimed(&self) -> Option<T> {
        match self {
            R(ring) => ring.pop_claimed(),
            L(locked) => locked.try_pop().ok(),
        }
    }

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
        }
    }

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
        }
    }

    #[inline]
    pub(crate) fn leave_pop(&self, turn: &mut Turn) {
        if *turn == Turn::New {
            return;
        }
        match self {
            R(ring) => ring.leave_pop(turn),
            L(locked) => locked.leave_pop(turn),
        }
    }

    /// Stops intake; true the first time.
    pub(crate) fn close(&self) -> bool {
        match self {
            R(ring) => ring.close(),
            L(locked) => locked.close(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        match self {
            R(ring) => ring.is_closed(),
            L(locked) => locked.is_closed(),
        }
    }

    pub(crate) fn is_drained(&self) -> bool {
        match self {
            R(ring) => ring.is_drained(),
            L(locked) => locked.is_drained(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            R(ring) => ring.len(),
            L(locked) => locked.len(),
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        match self {
            R(ring) => Tally {
                pushed: ring.pushes(),
                popped: ring.pops(),
                max_len: 0,
            },
            L(locked) => locked.tally(),
        }
    }
}

/// Channels whose slots would take more grow as they are used, behind a lock.
const RING_BYTES: usize = 8 << 20;
