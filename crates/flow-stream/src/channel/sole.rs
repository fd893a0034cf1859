//! The receiving end of a channel that has one.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use futures_core::stream::{FusedStream, Stream};

use super::error::{RecvBlockingError, TryRecvError};
use super::receiver::{Receiver, RecvFuture, RecvManyFuture, RecvTimeoutFuture};
use super::stats::ChannelStats;

/// The one receiver of a channel built with
/// [`build_single_consumer`](super::ChannelBuilder::build_single_consumer).
///
/// It has the methods of [`Receiver`] but those that make a second one, `clone` and `downgrade`:
/// its type says that nobody takes items besides. So it stands in no line, and over a ring a receive
/// that has to wait costs half of a [`Receiver`]'s.
///
/// ```compile_fail,E0599
/// let channel = flow_stream::Channel::<u8>::builder().capacity(1);
/// let (_tx, rx) = channel.build_single_consumer().expect("a valid capacity");
/// let second = rx.clone();
/// ```
pub struct SoleReceiver<T>(pub(crate) Receiver<T>);

impl<T> SoleReceiver<T> {
    pub(super) fn new(receiver: Receiver<T>) -> Self {
        Self(receiver)
    }

    /// Receives an item, waiting for one; see [`Receiver::recv`].
    ///
    /// # Errors
    /// [`RecvError::Closed`](super::RecvError::Closed) once the channel is closed and everything
    /// in it was received.
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has taken nothing.
    #[inline]
    pub fn recv(&mut self) -> RecvFuture<'_, T> {
        self.0.recv()
    }

    /// Receives an item if one is there.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`]; [`TryRecvError::Closed`] only once everything was received.
    #[allow(clippy::inline_always)] // as there
    #[inline(always)]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.0.try_recv()
    }

    /// Receives an item, waiting no longer than `timeout`; see [`Receiver::recv_timeout`].
    ///
    /// # Errors
    /// Closed and drained; no item in time; no runtime to wait on.
    ///
    /// # Cancel safety
    /// That of [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> RecvTimeoutFuture<'_, T> {
        self.0.recv_timeout(timeout)
    }

    /// Receives an item on a plain thread, which waits for one.
    ///
    /// # Errors
    /// Closed and drained; [`RecvBlockingError::MustNotBlock`] where the receive has to wait and
    /// the thread belongs to a runtime.
    pub fn recv_blocking(&mut self) -> Result<T, RecvBlockingError> {
        self.0.recv_blocking()
    }

    /// Appends up to `max` items to `batch`, waiting for the first; see [`Receiver::recv_many`].
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has taken nothing.
    pub fn recv_many<'a>(&'a mut self, batch: &'a mut Vec<T>, max: usize) -> RecvManyFuture<'a, T> {
        self.0.recv_many(batch, max)
    }

    /// Appends up to `max` items that are there to `batch`, without waiting; returns how many.
    pub fn drain(&mut self, batch: &mut Vec<T>, max: usize) -> usize {
        self.0.drain(batch, max)
    }

    /// Stops intake, for all senders. Idempotent.
    ///
    /// Senders that wait get their items back; what is buffered is still received.
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether intake has stopped; there may be items left.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// How many items are in the channel. No lock.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no item is in the channel. No lock.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many items the channel can hold.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// What the channel has seen so far. No lock.
    pub fn stats(&self) -> ChannelStats {
        self.0.stats()
    }

    /// A collector of the channel's metrics, under its name; it keeps the channel open for nobody.
    #[cfg(feature = "metrics")]
    pub fn collector(&self) -> std::sync::Arc<dyn flow_metrics::Collect>
    where
        T: Send + 'static,
    {
        self.0.collector()
    }
}

/// The items until the channel is closed and drained.
impl<T> Stream for SoleReceiver<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let yields = self.0.shared.has_company();
        self.0.poll_item(cx, yields)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, None)
    }
}

impl<T> FusedStream for SoleReceiver<T> {
    fn is_terminated(&self) -> bool {
        self.0.is_terminated()
    }
}

impl<T> fmt::Debug for SoleReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.shared.debug("SoleReceiver", f)
    }
}
