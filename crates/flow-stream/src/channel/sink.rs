//! A sender as a `Sink`.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use flow_sync::{PushError, Turn};
use futures_sink::Sink;

use super::error::{ReserveError, SendError};
use super::{DropReason, Policy, Sender, stats};

impl<T> Sender<T> {
    /// The sender as a [`Sink`](futures_sink::Sink), for `forward` and its like.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures_util::{StreamExt, stream};
    ///
    /// let (tx, rx) = flow_stream::Channel::bounded(8)?;
    /// flow_rt::block_on(stream::iter(1..=3).map(Ok).forward(tx.into_sink()))??;
    /// let received: Vec<u32> = flow_rt::block_on(rx.collect())?;
    /// assert_eq!(received, [1, 2, 3]); // the sink was closed, and with it the channel
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_sink(self) -> ChannelSink<T> {
        ChannelSink {
            sender: Some(self),
            turn: Turn::New,
            promised: false,
            held: None,
        }
    }
}

/// A [`Sender`] as a [`Sink`](futures_sink::Sink).
///
/// *Ready* means that room has been taken for the next item, as by [`Sender::reserve`]: sending it
/// does not fail then, and the room goes back if the sink is dropped instead. An item that is sent
/// unasked, before the sink was ready, is sent if that goes without waiting.
///
/// A rendezvous and a channel that weighs its items have no room that could be taken in advance.
/// There the sink holds one item until the channel, or a receiver, has taken it: it is ready for
/// the next one then, and to flush it is to wait for that. Dropping the sink drops the item.
///
/// An item that cannot be sent, because the channel was closed, or is full and the sink was not
/// ready, or because it is too heavy, goes to the channel's `on_drop` hook: a sink's errors give
/// no items back.
///
/// Otherwise there is nothing to flush. Closing the sink drops the sender; the channel is closed
/// with the last one.
pub struct ChannelSink<T> {
    /// Until the sink is closed.
    sender: Option<Sender<T>>,
    turn: Turn,
    /// Whether room has been taken.
    promised: bool,
    /// What waits for room, where none can be taken in advance; not while it waits for its
    /// receiver.
    held: Option<T>,
}

impl<T> ChannelSink<T> {
    /// The sender; `None` once the sink was closed. Room that was taken goes back.
    pub fn into_inner(mut self) -> Option<Sender<T>> {
        self.give_up();
        self.sender.take()
    }

    /// Gives back what was taken, and the place in the line.
    fn give_up(&mut self) {
        if let Some(sender) = &self.sender {
            drop(sender.shared.core.leave_push(&mut self.turn));
            self.held = None;
            if core::mem::take(&mut self.promised) {
                sender.shared.core.withdraw();
            }
        }
    }
}

impl<T> ChannelSink<T> {
    /// Ready once nothing is held any more.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReserveError>> {
        let Some(sender) = &self.sender else {
            return Poll::Ready(Err(ReserveError::Closed));
        };
        let shared = &sender.shared;
        if shared.core.reserves().is_ok() {
            // A place in the line is one for a permit.
            return Poll::Ready(Ok(()));
        }
        if self.held.is_some() || matches!(self.turn, Turn::Parked(_)) {
            let sent = ready!(shared.poll_send(cx, &mut self.turn, &mut self.held));
            self.turn = Turn::New;
            if let (Err(why), Some(item)) = (sent, self.held.take()) {
                return Poll::Ready(Err(sender.lose((item, why))));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T> Sender<T> {
    /// Gives an item that was refused to the hook.
    fn lose(&self, refused: (T, PushError)) -> ReserveError {
        let shared = &self.shared;
        let refused = shared.refused(refused);
        let rare = &shared.rare;
        let (error, reason, counted) = match &refused {
            SendError::Closed(_) => {
                let counted = &rare.dropped_closed;
                (ReserveError::Closed, DropReason::Closed, counted)
            }
            SendError::Full(_) => {
                let counted = &rare.dropped_newest;
                (ReserveError::Full, DropReason::Newest, counted)
            }
            SendError::TooHeavy(heavy) => {
                let (weight, limit) = (heavy.weight(), heavy.limit());
                let error = ReserveError::TooHeavy { weight, limit };
                (error, DropReason::TooHeavy, &rare.dropped_too_heavy)
            }
        };
        stats::count(counted, 1);
        shared.dropped(refused.into_inner(), reason);
        error
    }
}

// No item is pinned in the sink.
impl<T> Unpin for ChannelSink<T> {}

impl<T> Sink<T> for ChannelSink<T> {
    type Error = ReserveError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ReserveError>> {
        let this = self.get_mut();
        ready!(this.poll_held(cx))?;
        let Some(sender) = &this.sender else {
            return Poll::Ready(Err(ReserveError::Closed));
        };
        if this.promised {
            return Poll::Ready(Ok(()));
        }
        let shared = &sender.shared;
        match shared.policy {
            // They find out what to do with the item when it is there.
            _ if shared.core.reserves().is_err() => {
                let closed = shared.core.is_closed().then_some(ReserveError::Closed);
                return Poll::Ready(closed.map_or(Ok(()), Err));
            }
            Policy::Wait => {
                let new = this.turn == Turn::New;
                let polled = shared.core.poll_promise(cx, &mut this.turn);
                if new && polled.is_pending() {
                    shared.blocked();
                }
                ready!(polled)?;
                this.turn = Turn::New;
            }
            Policy::Reject | Policy::Meet => shared.core.try_promise()?,
            Policy::DropNewest | Policy::DropOldest if shared.core.is_closed() => {
                return Poll::Ready(Err(ReserveError::Closed));
            }
            Policy::DropNewest | Policy::DropOldest => return Poll::Ready(Ok(())),
        }
        this.promised = true;
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, item: T) -> Result<(), ReserveError> {
        let this = self.get_mut();
        let Some(sender) = &this.sender else {
            return Err(ReserveError::Closed);
        };
        let shared = &sender.shared;
        if core::mem::take(&mut this.promised) {
            shared.core.push_promised(item);
            shared.pushed_on_promise();
            return Ok(());
        }
        if shared.policy == Policy::Meet && this.held.is_none() && this.turn == Turn::New {
            // It meets its receiver when it is flushed.
            this.held = Some(item);
            return Ok(());
        }
        match shared.offer(item) {
            Ok(()) => Ok(()),
            Err(refused)
                if shared.waits_after(&refused)
                    && shared.core.reserves().is_err()
                    && this.held.is_none()
                    && this.turn == Turn::New =>
            {
                this.held = Some(refused.0);
                Ok(())
            }
            Err(refused) => Err(sender.lose(refused)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ReserveError>> {
        let this = self.get_mut();
        match this.sender {
            Some(_) => this.poll_held(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ReserveError>> {
        let this = self.get_mut();
        if this.sender.is_some() {
            ready!(this.poll_held(cx))?;
        }
        this.give_up();
        this.sender = None;
        Poll::Ready(Ok(()))
    }
}

impl<T> Drop for ChannelSink<T> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl<T> fmt::Debug for ChannelSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSink")
            .field("sender", &self.sender)
            .field("ready", &self.promised)
            .finish_non_exhaustive()
    }
}
