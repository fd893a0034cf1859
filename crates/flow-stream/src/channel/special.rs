//! The queues of channels that are not for speed: behind one call, so that those that are do not
//! carry their code (a send over a ring took twice as long with it inlined).

use core::task::{Context, Poll};
use std::collections::VecDeque;

use flow_sync::{PopError, PushError, Turn};

use super::error::ReserveError;
use super::locked::Locked;
use super::rendezvous::Rendezvous;
use super::scale::Weighing;
use super::stats::Tally;

pub(crate) enum Special<T> {
    /// For items that are weighed.
    Weighing(Locked<T, Weighing<T>>),
    /// For channels that hold nothing.
    Rendezvous(Rendezvous<T>),
}

use Special::{Rendezvous as M, Weighing as W};

impl<T> Special<T> {
    pub(crate) fn capacity(&self) -> usize {
        match self {
            W(weighing) => weighing.capacity(),
            M(_) => 0,
        }
    }

    /// Why it gives no permits.
    pub(crate) fn reserves_nothing(&self) -> ReserveError {
        match self {
            W(_) => ReserveError::Weighed,
            M(_) => ReserveError::Rendezvous,
        }
    }

    pub(crate) fn weight(&self) -> Option<(u64, u64)> {
        match self {
            W(weighing) => Some(weighing.weight()),
            M(_) => None,
        }
    }

    #[inline(never)]
    pub(crate) fn weigh(&self, item: &T) -> u64 {
        match self {
            W(weighing) => weighing.weigh(item),
            M(_) => 0,
        }
    }

    #[inline(never)]
    pub(crate) fn too_heavy(&self, item: &T) -> Option<(u64, u64)> {
        match self {
            W(weighing) => Some((weighing.too_heavy(item)?, weighing.weight().1)),
            M(_) => None,
        }
    }

    pub(crate) fn is_blocked(&self, turn: &Turn) -> bool {
        match self {
            W(_) => true,
            M(rendezvous) => rendezvous.is_blocked(turn),
        }
    }

    /// Pushes an item of that weight in place of as many of the oldest as must go; of a rendezvous
    /// none can.
    #[inline(never)]
    pub(crate) fn push_evicting(&self, item: T, weight: u64) -> Result<Vec<T>, (T, PushError)> {
        match self {
            W(weighing) => weighing.push_evicting(item, weight),
            M(rendezvous) => rendezvous.try_push(item).map(|()| Vec::new()),
        }
    }

    #[inline(never)]
    pub(crate) fn leave_push(&self, turn: &mut Turn) -> Option<T> {
        match self {
            W(weighing) => {
                weighing.leave_push(turn);
                None
            }
            M(rendezvous) => rendezvous.leave_push(turn),
        }
    }

    #[inline(never)]
    pub(crate) fn try_push(&self, item: T) -> Result<(), (T, PushError)> {
        match self {
            W(weighing) => weighing.try_push(item),
            M(rendezvous) => rendezvous.try_push(item),
        }
    }

    #[inline(never)]
    pub(crate) fn try_push_many(&self, items: &mut VecDeque<T>) -> Result<usize, PushError> {
        match self {
            W(weighing) => weighing.try_push_many(items),
            M(rendezvous) => rendezvous.try_push_many(items),
        }
    }

    #[inline(never)]
    pub(crate) fn poll_push(
        &self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), PushError>> {
        match self {
            W(weighing) => weighing.poll_push(cx, turn, slot),
            M(rendezvous) => rendezvous.poll_push(cx, turn, slot),
        }
    }

    #[inline(never)]
    pub(crate) fn try_pop(&self) -> Result<T, PopError> {
        match self {
            W(weighing) => weighing.try_pop(),
            M(rendezvous) => rendezvous.try_pop(),
        }
    }

    #[inline(never)]
    pub(crate) fn try_pop_many(&self, batch: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        match self {
            W(weighing) => weighing.try_pop_many(batch, max),
            M(rendezvous) => rendezvous.try_pop_many(batch, max),
        }
    }

    #[inline(never)]
    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>, turn: &mut Turn) -> Poll<Option<T>> {
        match self {
            W(weighing) => weighing.poll_pop(cx, turn),
            M(rendezvous) => rendezvous.poll_pop(cx, turn),
        }
    }

    #[inline(never)]
    pub(crate) fn poll_pop_many(
        &self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
        batch: &mut Vec<T>,
        max: usize,
    ) -> Poll<Option<usize>> {
        match self {
            W(weighing) => weighing.poll_pop_many(cx, turn, batch, max),
            M(rendezvous) => rendezvous.poll_pop_many(cx, turn, batch, max),
        }
    }

    #[inline(never)]
    pub(crate) fn leave_pop(&self, turn: &mut Turn) {
        match self {
            W(weighing) => weighing.leave_pop(turn),
            M(rendezvous) => rendezvous.leave_pop(turn),
        }
    }

    #[inline(never)]
    pub(crate) fn close(&self) -> bool {
        match self {
            W(weighing) => weighing.close(),
            M(rendezvous) => rendezvous.close(),
        }
    }

    #[inline(never)]
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            W(weighing) => weighing.is_closed(),
            M(rendezvous) => rendezvous.is_closed(),
        }
    }

    #[inline(never)]
    pub(crate) fn len(&self) -> usize {
        match self {
            W(weighing) => weighing.len(),
            M(rendezvous) => rendezvous.len(),
        }
    }

    #[inline(never)]
    pub(crate) fn tally(&self) -> Tally {
        match self {
            W(weighing) => weighing.tally(),
            M(rendezvous) => rendezvous.tally(),
        }
    }
}
