//! A sender with its place in the line.

use core::task::{Context, Poll, ready};

use flow_sync::{PushError, Turn};

use crate::channel::{Policy, ReserveError, SendError, Sender};

/// A sender that waits under a poll. Dropping it gives up its place.
pub(super) struct Outgoing<T> {
    pub(super) sender: Sender<T>,
    turn: Turn,
    /// Whether it has room for an item.
    promised: bool,
}

impl<T> Outgoing<T> {
    pub(super) fn new(sender: Sender<T>) -> Self {
        Self {
            turn: Turn::New,
            sender,
            promised: false,
        }
    }

    /// One that can take room in advance if it `needs` to.
    pub(super) fn reserving(
        sender: Sender<T>,
        needs: impl Fn(&Self) -> bool,
    ) -> Result<Self, ReserveError> {
        let outgoing = Self::new(sender);
        if needs(&outgoing) {
            outgoing.sender.shared.core.reserves()?;
        }
        Ok(outgoing)
    }

    /// A number that the channel has to itself.
    pub(super) fn id(&self) -> usize {
        core::ptr::from_ref(&*self.sender.shared).addr()
    }

    /// Whether it waits where there is no room.
    pub(super) fn waits(&self) -> bool {
        matches!(self.sender.shared.policy, Policy::Wait | Policy::Meet)
    }

    /// Whether it drops where there is no room.
    pub(super) fn drops(&self) -> bool {
        let policy = self.sender.shared.policy;
        matches!(policy, Policy::DropNewest | Policy::DropOldest)
    }

    /// Sends as far as that goes without waiting.
    pub(super) fn offer(&self, item: T) -> Result<(), (T, PushError)> {
        self.sender.shared.offer(item)
    }

    /// Sends `slot`'s item as [`Sender::send`] does. One that waits for its receiver is not in the
    /// slot meanwhile: see [`leave`](Self::leave).
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), SendError<T>>> {
        let shared = &self.sender.shared;
        if self.turn == Turn::New
            && shared.policy != Policy::Meet
            && let Some(item) = slot.take()
        {
            match shared.offer(item) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(refused) if shared.waits_after(&refused) => *slot = Some(refused.0),
                Err(refused) => return Poll::Ready(Err(shared.refused(refused))),
            }
        }
        let sent = ready!(shared.poll_send(cx, &mut self.turn, slot));
        self.turn = Turn::New;
        let refused = sent.err().and_then(|why| Some((slot.take()?, why)));
        Poll::Ready(refused.map_or(Ok(()), |refused| Err(shared.refused(refused))))
    }

    /// Ready when it has room for one item.
    ///
    /// # Errors
    /// Closed; full, of one that does not wait.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PushError>> {
        if self.promised {
            return Poll::Ready(Ok(()));
        }
        let shared = &self.sender.shared;
        if self.waits() {
            let new = self.turn == Turn::New;
            let polled = shared.core.poll_promise(cx, &mut self.turn);
            if new && polled.is_pending() {
                shared.blocked();
            }
            ready!(polled)?;
            self.turn = Turn::New;
        } else {
            shared.core.try_promise()?;
        }
        self.promised = true;
        Poll::Ready(Ok(()))
    }

    /// Whether [`poll_room`](Self::poll_room) has got it.
    pub(super) fn has_room(&self) -> bool {
        self.promised
    }

    /// Sends into the room that it has.
    pub(super) fn send(&mut self, item: T) {
        let shared = &self.sender.shared;
        if core::mem::take(&mut self.promised) {
            shared.core.push_promised(item);
            shared.pushed_on_promise();
        }
    }

    /// Gives up its place, and room that it has. An item that waits for its receiver comes back.
    pub(super) fn leave(&mut self) -> Option<T> {
        let shared = &self.sender.shared;
        let item = shared.core.leave_push(&mut self.turn);
        self.turn = Turn::New;
        if core::mem::take(&mut self.promised) {
            shared.core.withdraw();
        }
        item
    }
}

impl<T> Drop for Outgoing<T> {
    fn drop(&mut self) {
        drop(self.leave());
    }
}
