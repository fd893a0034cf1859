//! Each item into every one of many channels.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use flow_sync::PushError;
use futures_core::future::FusedFuture;

use super::outgoing::Outgoing;
use crate::channel::{Rejected, ReserveError, SendError, Sender};

/// Copies items into channels: each goes into all of them.
///
/// Every branch keeps its own answer to "full". One that waits holds up the others, which is how a
/// slow branch slows the source; one that rejects misses the item, which [`missed`](Self::missed)
/// counts; one that drops counts in its own [`stats`](Sender::stats), but misses an item that is
/// too heavy for it. A branch that is closed is left out from then on; one that is closed while a
/// send holds room in it ends when that send does, or is dropped. When the last one is closed,
/// items come back.
///
/// No branch gets an item before all that wait have room for it: a send that is given up has sent
/// it to none. Room is taken in one order of all channels, whatever the order of the branches, so
/// that tees over the same channels do not hold up each other for ever. That is why none has the
/// same channel twice.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_stream::{Channel, Tee};
///
/// let (log, log_rx) = Channel::bounded(8)?;
/// let (work, work_rx) = Channel::bounded(8)?;
/// let mut tee = Tee::new([log, work])?;
/// flow_rt::block_on(async {
///     tee.send("hello").await?;
///     assert_eq!((log_rx.recv().await, work_rx.recv().await), (Ok("hello"), Ok("hello")));
///     Ok(())
/// })?
/// # }
/// ```
pub struct Tee<T> {
    branches: Vec<Outgoing<T>>,
    missed: u64,
    clone: fn(&T) -> T,
}

impl<T: Clone> Tee<T> {
    /// Into each of `branches`.
    ///
    /// # Errors
    /// A branch that waits or rejects when it is full, and in which no room can be taken in
    /// advance: a rendezvous, or a channel with a limit by weight. A channel that is given twice.
    pub fn new(branches: impl IntoIterator<Item = Sender<T>>) -> Result<Self, ReserveError> {
        let takes_room = |branch: &Outgoing<T>| !branch.drops();
        let branches = branches.into_iter();
        let branches = branches.map(|branch| Outgoing::reserving(branch, takes_room));
        let mut branches = branches.collect::<Result<Vec<_>, _>>()?;
        branches.sort_by_key(Outgoing::id);
        if branches.windows(2).any(|pair| pair[0].id() == pair[1].id()) {
            return Err(ReserveError::Twice);
        }
        Ok(Self {
            branches,
            missed: 0,
            clone: T::clone,
        })
    }
}

impl<T> Tee<T> {
    /// Sends an item into every branch, waiting until those that wait have room for it.
    ///
    /// # Errors
    /// The item comes back once every branch is closed.
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has sent the item to no branch. (If a `clone` panics,
    /// those before it have theirs, the others get none, and the item goes with the panic. The room
    /// that was taken in them goes back with the future.)
    pub fn send(&mut self, item: T) -> TeeFuture<'_, T> {
        TeeFuture {
            tee: self,
            item: Some(item),
        }
    }

    /// Items that a branch has missed; once per branch. It was full and rejects, or it drops and the
    /// item was too heavy for it: that one goes to no `on_drop` hook, and the others have it.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// How many branches are left: those that were not found closed.
    pub fn len(&self) -> usize {
        self.branches.len()
    }

    /// Whether every branch was found closed.
    pub fn is_empty(&self) -> bool {
        self.branches.is_empty()
    }

    /// Sends `slot`'s item to all, or waits.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), SendError<T>>> {
        // One after the other, in their order: who holds room never waits for one before it.
        let mut at = 0;
        while let Some(branch) = self.branches.get_mut(at) {
            if branch.waits() && ready!(branch.poll_room(cx)).is_err() {
                drop(self.branches.remove(at));
            } else {
                at += 1;
            }
        }
        // What follows does not wait.
        let missed = &mut self.missed;
        self.branches.retain_mut(|branch| {
            if branch.waits() || branch.drops() {
                return !branch.sender.is_closed() || branch.has_room();
            }
            match branch.poll_room(cx) {
                Poll::Ready(Err(PushError::Closed)) => false,
                Poll::Ready(Err(PushError::Full)) => {
                    *missed += 1;
                    true
                }
                Poll::Ready(Ok(())) | Poll::Pending => true,
            }
        });
        let Some(item) = slot.take() else {
            return Poll::Pending;
        };
        let Some((last, others)) = self.branches.split_last_mut() else {
            return Poll::Ready(Err(SendError::Closed(Rejected::new(item))));
        };
        for branch in others {
            *missed += u64::from(!send(branch, || (self.clone)(&item)));
        }
        *missed += u64::from(!send(last, || item));
        Poll::Ready(Ok(()))
    }

    /// Gives up every place and all room.
    pub(super) fn leave(&mut self) {
        for branch in &mut self.branches {
            drop(branch.leave());
        }
    }
}

/// Into the room that the branch has, or as it drops. False if that misses an item for its weight.
fn send<T>(branch: &mut Outgoing<T>, item: impl FnOnce() -> T) -> bool {
    if branch.has_room() {
        branch.send(item());
    } else if branch.drops() {
        // One that was closed since will be left out next time.
        return !matches!(branch.offer(item()), Err((_, PushError::Full)));
    }
    true
}

impl<T> fmt::Debug for Tee<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tee")
            .field("branches", &self.branches.len())
            .field("missed", &self.missed)
            .finish_non_exhaustive()
    }
}

/// The future of [`Tee::send`].
///
/// # Cancel safety
/// Dropped before it was ready it has sent nothing to anybody, and the item is dropped with it,
/// unless [`into_inner`](Self::into_inner) takes it out.
#[must_use = "futures do nothing unless polled"]
pub struct TeeFuture<'a, T> {
    tee: &'a mut Tee<T>,
    /// Until it was sent or given back.
    item: Option<T>,
}

impl<T> TeeFuture<'_, T> {
    /// Takes the item back; `None` once it was sent or came back in an error.
    pub fn into_inner(mut self) -> Option<T> {
        self.item.take()
    }
}

// The item is never pinned in place.
impl<T> Unpin for TeeFuture<'_, T> {}

impl<T> Future for TeeFuture<'_, T> {
    type Output = Result<(), SendError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.item.is_none() {
            return Poll::Pending;
        }
        let sent = ready!(this.tee.poll_send(cx, &mut this.item));
        Poll::Ready(sent)
    }
}

impl<T> FusedFuture for TeeFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.item.is_none()
    }
}

impl<T> Drop for TeeFuture<'_, T> {
    fn drop(&mut self) {
        self.tee.leave();
    }
}

impl<T> fmt::Debug for TeeFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeFuture")
            .field("tee", &self.tee)
            .field("done", &self.item.is_none())
            .finish_non_exhaustive()
    }
}
