//! Room taken before there is an item to put into it.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use flow_sync::{PushError, Turn};
use futures_core::future::FusedFuture;

use super::error::ReserveError;
use super::{Policy, Sender, Shared};

impl<T> Sender<T> {
    /// Takes room for one item, waiting in line for it; the permit then sends without waiting.
    ///
    /// For items that are dear to make, or must not be made before there is room for them. The
    /// room is taken until the permit is used or dropped.
    ///
    /// With [`OnFull::DropOldest`](flow_rt::OnFull::DropOldest) there is always room: the permit
    /// is ready at once, and its item takes the oldest one's place if need be.
    ///
    /// # Errors
    /// Closed; full, where the channel's answer to that is not to wait; or a channel that has no
    /// such room: a rendezvous, or one with a limit by weight.
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has taken nothing; its place and the room promised to
    /// it go to the next.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, rx) = flow_stream::Channel::bounded(1)?;
    /// flow_rt::block_on(async {
    ///     let permit = tx.reserve().await?;
    ///     assert!(tx.try_send(1).is_err()); // the room is taken
    ///     permit.send(2);
    ///     assert_eq!(rx.recv().await, Ok(2));
    ///     Ok(())
    /// })?
    /// # }
    /// ```
    pub fn reserve(&self) -> ReserveFuture<'_, T> {
        ReserveFuture {
            shared: &self.shared,
            turn: Turn::New,
            done: false,
        }
    }

    /// Takes room for one item if there is any that nobody waits for; see
    /// [`reserve`](Self::reserve).
    ///
    /// # Errors
    /// Closed; or full. At most 32,767 permits of a channel are out at once.
    pub fn try_reserve(&self) -> Result<Permit<'_, T>, ReserveError> {
        let shared = &*self.shared;
        shared.core.reserves()?;
        if shared.policy == Policy::DropOldest {
            return shared.free_permit();
        }
        shared.core.try_promise()?;
        Ok(Permit {
            shared,
            promised: true,
        })
    }
}

impl<T> Shared<T> {
    fn free_permit(&self) -> Result<Permit<'_, T>, ReserveError> {
        if self.core.is_closed() {
            return Err(ReserveError::Closed);
        }
        Ok(Permit {
            shared: self,
            promised: false,
        })
    }
}

impl From<PushError> for ReserveError {
    fn from(why: PushError) -> Self {
        match why {
            PushError::Full => Self::Full,
            PushError::Closed => Self::Closed,
        }
    }
}

/// Room for one item in a channel; dropping it gives the room back.
#[must_use = "the room is given back when the permit is dropped"]
pub struct Permit<'a, T> {
    shared: &'a Shared<T>,
    /// Not with `DropOldest`, where room is made when the item comes.
    promised: bool,
}

impl<T> Permit<'_, T> {
    /// Sends the item into the room.
    ///
    /// The room is good after the channel was closed, too: the item is still received, and
    /// receivers wait for it. If there is no receiver any more, the item goes to the `on_drop`
    /// hook. With `DropOldest` nothing was reserved, so a channel that was closed since drops the
    /// item in the same way.
    pub fn send(self, item: T) {
        let shared = self.shared;
        if self.promised {
            core::mem::forget(self);
            shared.core.push_promised(item);
            shared.pushed_on_promise();
        } else if let Err((item, _)) = shared.offer(item) {
            super::stats::count(&shared.rare.dropped_newest, 1);
            shared.dropped(item, super::DropReason::Closed);
        }
    }
}

impl<T> Drop for Permit<'_, T> {
    fn drop(&mut self) {
        if self.promised {
            self.shared.core.withdraw();
        }
    }
}

impl<T> fmt::Debug for Permit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("channel", &self.shared.name)
            .finish_non_exhaustive()
    }
}

/// The future of [`Sender::reserve`].
///
/// # Cancel safety
/// Dropped before it was ready it has taken nothing; its place and the room promised to it go to
/// the next.
#[must_use = "futures do nothing unless polled"]
pub struct ReserveFuture<'a, T> {
    shared: &'a Shared<T>,
    turn: Turn,
    done: bool,
}

impl<'a, T> Future for ReserveFuture<'a, T> {
    type Output = Result<Permit<'a, T>, ReserveError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.done {
            return Poll::Pending;
        }
        let shared = this.shared;
        if let Err(never) = shared.core.reserves() {
            this.done = true;
            return Poll::Ready(Err(never));
        }
        let reserved = match shared.policy {
            Policy::Wait => {
                let new = this.turn == Turn::New;
                let polled = shared.core.poll_promise(cx, &mut this.turn);
                if new && polled.is_pending() {
                    shared.blocked();
                }
                ready!(polled)
            }
            Policy::Reject | Policy::DropNewest => shared.core.try_promise(),
            Policy::DropOldest => {
                this.done = true;
                return Poll::Ready(shared.free_permit());
            }
        };
        this.done = true;
        Poll::Ready(match reserved {
            Ok(()) => Ok(Permit {
                shared,
                promised: true,
            }),
            Err(why) => Err(why.into()),
        })
    }
}

impl<T> FusedFuture for ReserveFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl<T> Drop for ReserveFuture<'_, T> {
    fn drop(&mut self) {
        self.shared.core.leave_push(&mut self.turn);
    }
}

impl<T> fmt::Debug for ReserveFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReserveFuture")
            .field("parked", &matches!(self.turn, Turn::Parked(_)))
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}
