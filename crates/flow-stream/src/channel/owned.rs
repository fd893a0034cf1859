//! Permits that borrow nothing, for tasks and structs.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use flow_sync::Turn;
use futures_core::future::FusedFuture;

use super::Sender;
use super::error::ReserveError;

impl<T> Sender<T> {
    /// Takes room for one item as [`reserve`](Self::reserve) does, for a permit that holds a sender
    /// of its own: it can be kept in a struct, or moved into a task.
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve).
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has taken nothing.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, rx) = flow_stream::Channel::bounded(1)?;
    /// flow_rt::block_on(async {
    ///     let permit = tx.reserve_owned().await?;
    ///     std::thread::spawn(move || permit.send(1));
    ///     assert_eq!(rx.recv().await, Ok(1));
    ///     Ok(())
    /// })?
    /// # }
    /// ```
    pub fn reserve_owned(&self) -> ReserveOwnedFuture<T> {
        ReserveOwnedFuture {
            sender: Some(self.clone()),
            turn: Turn::New,
        }
    }

    /// Takes room for one item if there is any that nobody waits for; see
    /// [`reserve_owned`](Self::reserve_owned).
    ///
    /// # Errors
    /// Those of [`try_reserve`](Self::try_reserve).
    pub fn try_reserve_owned(&self) -> Result<OwnedPermit<T>, ReserveError> {
        let promised = self.shared.try_room()?;
        Ok(OwnedPermit {
            sender: self.clone(),
            promised,
        })
    }
}

/// Room for one item in a channel; dropping it gives the room back. It is a sender as well: while
/// it is there the channel is not closed for want of one.
#[must_use = "the room is given back when the permit is dropped"]
pub struct OwnedPermit<T> {
    sender: Sender<T>,
    /// As in a [`Permit`](super::Permit).
    promised: bool,
}

impl<T> OwnedPermit<T> {
    /// Sends the item into the room; see [`Permit::send`](super::Permit::send).
    pub fn send(mut self, item: T) {
        let promised = core::mem::take(&mut self.promised);
        self.sender.shared.push_on_permit(item, promised);
    }
}

impl<T> Drop for OwnedPermit<T> {
    fn drop(&mut self) {
        if self.promised {
            self.sender.shared.core.withdraw();
        }
    }
}

impl<T> fmt::Debug for OwnedPermit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit")
            .field("channel", &self.sender.shared.name)
            .finish_non_exhaustive()
    }
}

/// The future of [`Sender::reserve_owned`].
///
/// # Cancel safety
/// Dropped before it was ready it has taken nothing; its place and the room promised to it go to
/// the next.
#[must_use = "futures do nothing unless polled"]
pub struct ReserveOwnedFuture<T> {
    /// Until it is ready.
    sender: Option<Sender<T>>,
    turn: Turn,
}

impl<T> Future for ReserveOwnedFuture<T> {
    type Output = Result<OwnedPermit<T>, ReserveError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(sender) = &this.sender else {
            return Poll::Pending;
        };
        let reserved = ready!(sender.shared.poll_room(cx, &mut this.turn));
        let Some(sender) = this.sender.take() else {
            return Poll::Pending;
        };
        Poll::Ready(reserved.map(|promised| OwnedPermit { sender, promised }))
    }
}

impl<T> FusedFuture for ReserveOwnedFuture<T> {
    fn is_terminated(&self) -> bool {
        self.sender.is_none()
    }
}

impl<T> Drop for ReserveOwnedFuture<T> {
    fn drop(&mut self) {
        if let Some(sender) = &self.sender {
            sender.shared.core.leave_push(&mut self.turn);
        }
    }
}

impl<T> fmt::Debug for ReserveOwnedFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReserveOwnedFuture")
            .field("parked", &matches!(self.turn, Turn::Parked(_)))
            .field("done", &self.sender.is_none())
            .finish_non_exhaustive()
    }
}
