//! The wait for a close, of every kind of channel.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use flow_sync::{Event, Listener};
use futures_core::future::FusedFuture;

/// The future of `closed()`, with `S` the sender that waits: of a [channel](crate::Sender), a
/// [broadcast](crate::broadcast::Sender), a [watch](crate::watch::Sender) or a
/// [oneshot](crate::oneshot::Sender). Once it was ready it stays pending.
///
/// # Cancel safety
/// Dropping it leaves nothing behind, but in a oneshot its last waker, which may be woken.
#[must_use = "futures do nothing unless polled"]
pub struct ClosedFuture<'a, S> {
    pub(crate) sender: &'a S,
    /// Its place in the line of the event that tells of a close.
    place: Option<Listener<'a>>,
    pub(crate) done: bool,
}

impl<'a, S> ClosedFuture<'a, S> {
    pub(crate) fn new(sender: &'a S) -> Self {
        Self {
            sender,
            place: None,
            done: false,
        }
    }

    /// Ready, once, when there is a close, of which `event` tells.
    pub(crate) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        event: &'a Event,
        is_closed: impl Fn() -> bool,
    ) -> Poll<()> {
        if self.done {
            return Poll::Pending;
        }
        // It listens before it looks, but for the first time.
        while !is_closed() {
            match &mut self.place {
                None => self.place = Some(event.listen()),
                Some(place) => {
                    ready!(Pin::new(place).poll(cx));
                    self.place = None;
                }
            }
        }
        self.place = None;
        self.done = true;
        Poll::Ready(())
    }
}

impl<S> FusedFuture for ClosedFuture<'_, S>
where
    Self: Future,
{
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl<S> fmt::Debug for ClosedFuture<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClosedFuture")
            .field("parked", &self.place.is_some())
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}
