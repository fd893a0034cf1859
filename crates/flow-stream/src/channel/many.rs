//! Sending many items at once.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::VecDeque;

use flow_sync::{PushError, Turn};
use futures_core::future::FusedFuture;

use super::error::SendManyError;
use super::{Policy, Sender, Shared};

impl<T> Sender<T> {
    /// Sends the items from the front of `items` on, waiting in line for room.
    ///
    /// What has been sent is gone from `items`, what has not is there still, whatever the answer:
    /// also if the [scale](super::ChannelBuilder::max_weight) of the channel panics. As many as fit
    /// at a time lie in the channel in one piece; between two pieces others may send.
    ///
    /// # Errors
    /// Closed; full, where the channel's answer to that is
    /// [`OnFull::Reject`](flow_rt::OnFull::Reject); or the front item is too heavy.
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has sent the items that are gone from `items`.
    ///
    /// # Cost
    /// One atomic RMW per piece.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, rx) = flow_stream::Channel::bounded(8)?;
    /// let mut items = std::collections::VecDeque::from([1, 2, 3]);
    /// flow_rt::block_on(tx.send_many(&mut items))??;
    /// let mut batch = Vec::new();
    /// assert_eq!(rx.drain(&mut batch, 64), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_many<'a>(&'a self, items: &'a mut VecDeque<T>) -> SendManyFuture<'a, T> {
        SendManyFuture {
            shared: &self.shared,
            items,
            turn: Turn::New,
            blocked: false,
            done: false,
        }
    }

    /// Sends the items from the front of `items` on, as far as that goes without waiting.
    ///
    /// What has been sent is gone from `items`, what has not is there still, whatever the answer.
    ///
    /// # Errors
    /// Closed; or full before all were sent, unless the channel drops items instead.
    pub fn try_send_many(&self, items: &mut VecDeque<T>) -> Result<(), SendManyError> {
        let offered = self.shared.offer_many(items);
        offered.map_err(|why| self.shared.refused_many(items, why))
    }
}

impl<T> Shared<T> {
    fn offer_many(&self, items: &mut VecDeque<T>) -> Result<(), PushError> {
        while !items.is_empty() {
            if self.policy != Policy::DropOldest {
                match self.core.try_push_many(items) {
                    Ok(_) => {
                        if self.policy == Policy::DropNewest {
                            self.has_room();
                        }
                        continue;
                    }
                    Err(PushError::Full) if self.policy == Policy::DropNewest => {}
                    Err(why) => return Err(why),
                }
            }
            // One by one they drop, or make others drop. Each is weighed where it is: if that
            // panics, it is there still.
            let Some(first) = items.front() else {
                return Ok(());
            };
            if self.policy == Policy::DropNewest {
                // One that is too heavy is not dropped, but comes back.
                if self.core.too_heavy(first).is_some() {
                    return Err(PushError::Full);
                }
                if let Some(newest) = items.pop_front() {
                    self.gives_way(newest);
                }
                continue;
            }
            let weight = self.core.weigh(first);
            let sent = items
                .pop_front()
                .map(|first| self.displace_any(first, weight));
            if let Some(Err((first, why))) = sent {
                items.push_front(first);
                return Err(why);
            }
        }
        Ok(())
    }

    /// Why no more of `items` were sent.
    #[cold]
    fn refused_many(&self, items: &VecDeque<T>, why: PushError) -> SendManyError {
        let first = items.front().filter(|_| why == PushError::Full);
        match first.and_then(|first| self.core.too_heavy(first)) {
            Some((weight, limit)) => SendManyError::TooHeavy { weight, limit },
            None if why == PushError::Full => SendManyError::Full,
            None => SendManyError::Closed,
        }
    }
}

/// The future of [`Sender::send_many`].
///
/// # Cancel safety
/// Dropped before it was ready it has sent the items that are gone from the queue.
#[must_use = "futures do nothing unless polled"]
pub struct SendManyFuture<'a, T> {
    shared: &'a Shared<T>,
    items: &'a mut VecDeque<T>,
    turn: Turn,
    /// Whether it has been told that this send waits.
    blocked: bool,
    done: bool,
}

// The items are never pinned in place.
impl<T> Unpin for SendManyFuture<'_, T> {}

impl<T> Future for SendManyFuture<'_, T> {
    type Output = Result<(), SendManyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.done {
            return Poll::Pending;
        }
        let shared = this.shared;
        let ended = loop {
            // One that has a place in the line is no newcomer, and one that has to meet its
            // receivers meets them one by one.
            if shared.policy != Policy::Meet && !matches!(this.turn, Turn::Parked(_)) {
                match shared.offer_many(this.items) {
                    Err(PushError::Full)
                        if shared.policy == Policy::Wait
                            && this
                                .items
                                .front()
                                .is_some_and(|first| shared.core.too_heavy(first).is_none()) => {}
                    ended => break ended,
                }
            } else if this.items.is_empty() && !matches!(this.turn, Turn::Parked(_)) {
                break Ok(());
            }
            // The item of one that waits for its receiver is in the channel.
            let is_in = shared.policy == Policy::Meet && matches!(this.turn, Turn::Parked(_));
            let mut first = First {
                item: if is_in { None } else { this.items.pop_front() },
                items: &mut *this.items,
            };
            let (polled, blocked) = shared.poll_piece(cx, &mut this.turn, &mut first.item);
            drop(first);
            if blocked && !core::mem::replace(&mut this.blocked, true) {
                shared.blocked();
            }
            match polled {
                Poll::Ready(Ok(())) => this.turn = Turn::New,
                Poll::Ready(Err(why)) => break Err(why),
                Poll::Pending => return Poll::Pending,
            }
        };
        this.done = true;
        Poll::Ready(ended.map_err(|why| shared.refused_many(this.items, why)))
    }
}

/// The first item, out of its queue for the time of a poll. Unless it was sent it goes back, also
/// when what weighs it panics.
struct First<'a, T> {
    item: Option<T>,
    items: &'a mut VecDeque<T>,
}

impl<T> Drop for First<'_, T> {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            self.items.push_front(item);
        }
    }
}

impl<T> FusedFuture for SendManyFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl<T> Drop for SendManyFuture<'_, T> {
    fn drop(&mut self) {
        if let Some(first) = self.shared.core.leave_push(&mut self.turn) {
            self.items.push_front(first);
        }
    }
}

impl<T> fmt::Debug for SendManyFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendManyFuture")
            .field("left", &self.items.len())
            .field("parked", &matches!(self.turn, Turn::Parked(_)))
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}
