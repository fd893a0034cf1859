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
    /// Closed; full; or a channel that has no such room. Where a channel's memory was taken at once
    /// (see [`capacity`](super::ChannelBuilder::capacity)), at most 32,767 permits are out at once.
    pub fn try_reserve(&self) -> Result<Permit<'_, T>, ReserveError> {
        let promised = self.shared.try_room()?;
        Ok(Permit {
            shared: &self.shared,
            promised,
        })
    }
}

impl<T> Shared<T> {
    /// Takes room for one item. Whether some is promised now: not with `DropOldest`, where room is
    /// made when the item comes.
    pub(super) fn try_room(&self) -> Result<bool, ReserveError> {
        self.core.reserves()?;
        if self.policy != Policy::DropOldest {
            self.core.try_promise()?;
            return Ok(true);
        }
        if self.core.is_closed() {
            return Err(ReserveError::Closed);
        }
        Ok(false)
    }

    /// Takes room as [`try_room`](Self::try_room) does, waiting in line for it.
    pub(super) fn poll_room(
        &self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
    ) -> Poll<Result<bool, ReserveError>> {
        if self.policy != Policy::Wait || self.core.reserves().is_err() {
            return Poll::Ready(self.try_room());
        }
        let new = *turn == Turn::New;
        let polled = self.core.poll_promise(cx, turn);
        if new && polled.is_pending() {
            self.blocked();
        }
        polled.map(|room| room.map(|()| true).map_err(ReserveError::from))
    }

    /// Sends an item that comes with a permit.
    pub(super) fn push_on_permit(&self, item: T, promised: bool) {
        if promised {
            self.core.push_promised(item);
            self.pushed_on_promise();
        } else if let Err((item, _)) = self.offer(item) {
            super::stats::count(&self.rare.dropped_closed, 1);
            self.dropped(item, super::DropReason::Closed);
        }
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
    /// As [`Shared::try_room`] says.
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
        let (shared, promised) = (self.shared, self.promised);
        core::mem::forget(self);
        shared.push_on_permit(item, promised);
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
        let reserved = ready!(this.shared.poll_room(cx, &mut this.turn));
        this.done = true;
        Poll::Ready(reserved.map(|promised| Permit {
            shared: this.shared,
            promised,
        }))
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
