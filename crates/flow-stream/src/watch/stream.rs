//! A receiver as a stream.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use flow_sync::Ticket;
use futures_core::stream::{FusedStream, Stream};

use super::receiver::{Receiver, Ref};

/// The values of a [`Receiver`] that it has not seen, until the last sender is gone.
///
/// A value is cloned while it is borrowed. A slow consumer misses what came in between, and gets
/// the latest.
pub struct Changes<T> {
    receiver: Receiver<T>,
    place: Option<Ticket>,
    ended: bool,
}

impl<T> Changes<T> {
    pub(super) fn new(receiver: Receiver<T>) -> Self {
        Self {
            receiver,
            place: None,
            ended: false,
        }
    }

    /// The receiver again, which has seen what the stream has given.
    pub fn into_inner(mut self) -> Receiver<T> {
        self.receiver.shared.leave(&mut self.place);
        self.receiver.clone()
    }
}

impl<T: Clone> Stream for Changes<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let Receiver { shared, seen } = &mut this.receiver;
        if ready!(shared.poll_since(cx, *seen, &mut this.place)).is_err() {
            this.ended = true;
            return Poll::Ready(None);
        }
        let value = Ref::of(shared, None);
        *seen = value.version;
        Poll::Ready(Some(T::clone(&value)))
    }
}

impl<T: Clone> FusedStream for Changes<T> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl<T> Drop for Changes<T> {
    fn drop(&mut self) {
        self.receiver.shared.leave(&mut self.place);
    }
}

impl<T> fmt::Debug for Changes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("receiver", &self.receiver)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
