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
    /// What has been sent is gone from `items`, what has not is there still, whatever the answer.
    /// As many as fit at a time lie in the channel in one piece; between two pieces others may
    /// send.
    ///
    /// # Errors
    /// Closed; or full, where the channel's answer to that is
    /// [`OnFull::Reject`](flow_rt::OnFull::Reject).
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has sent the items that are gone from `items`.
    ///
    /// # Cost
    /// Two atomic RMWs per piece, and one per item.
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
        self.shared.offer_many(items).map_err(SendManyError::from)
    }
}

impl<T> Shared<T> {
    fn offer_many(&self, items: &mut VecDeque<T>) -> Result<(), PushError> {
        while !items.is_empty() {
            if self.policy != Policy::DropOldest {
                match self.core.try_push_many(items) {
                    Ok(_) => continue,
                    Err(PushError::Full) if self.policy == Policy::DropNewest => {}
                    Err(why) => return Err(why),
                }
            }
            // One by one they drop, or make others drop.
            let Some(item) = items.pop_front() else {
                return Ok(());
            };
            if let Err((item, why)) = self.offer(item) {
                items.push_front(item);
                return Err(why);
            }
        }
        Ok(())
    }
}

impl From<PushError> for SendManyError {
    fn from(why: PushError) -> Self {
        match why {
            PushError::Full => Self::Full,
            PushError::Closed => Self::Closed,
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
        loop {
            // One that has a place in the line is no newcomer.
            if !matches!(this.turn, Turn::Parked(_)) {
                match shared.offer_many(this.items) {
                    Err(PushError::Full) if shared.policy == Policy::Wait => {}
                    ended => {
                        this.done = true;
                        return Poll::Ready(ended.map_err(SendManyError::from));
                    }
                }
            }
            let new = this.turn == Turn::New;
            match shared.core.poll_promise(cx, &mut this.turn) {
                Poll::Ready(Ok(())) => match this.items.pop_front() {
                    Some(item) => {
                        shared.core.push_promised(item);
                        shared.pushed_on_promise();
                    }
                    None => shared.core.withdraw(),
                },
                Poll::Ready(Err(why)) => {
                    this.done = true;
                    return Poll::Ready(Err(why.into()));
                }
                Poll::Pending => {
                    if new {
                        shared.blocked();
                    }
                    return Poll::Pending;
                }
            }
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
        self.shared.core.leave_push(&mut self.turn);
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
