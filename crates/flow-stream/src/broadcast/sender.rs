//! The sending end, and the futures of its sends.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use flow_rt::block_on;
use flow_sync::Turn;
use flow_sync::sync::Arc;
use futures_core::future::FusedFuture;

use super::core::Refusal;
use super::error::{SendBlockingError, SendError, SendTimeoutError, TrySendError};
use super::receiver::Receiver;
use super::stats::{BroadcastStats, count};
use super::{OnLag, Shared};
use crate::Rejected;
use crate::closed::ClosedFuture;
use crate::limit::{Limit, LimitError};

/// The sending end of a [broadcast](super); clones send to the same receivers.
///
/// Dropping the last one closes the broadcast; what is in it is still received.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Sends an item to every receiver there is; with [`OnLag::Wait`] it waits its turn for room.
    ///
    /// Senders that wait are served in FIFO order from the poll that parks them.
    ///
    /// # Errors
    /// The item comes back if the broadcast is closed or has no receiver.
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has sent nothing; its place and the room promised to
    /// it go to the next. [`SendFuture::into_inner`] gives the item back.
    ///
    /// # Cost
    /// Two short locks, and the wake-ups of the receivers that wait. No allocation, no runtime,
    /// no timer.
    #[inline]
    pub fn send(&self, item: T) -> SendFuture<'_, T> {
        SendFuture {
            shared: &self.shared,
            item: Some(item),
            turn: Turn::New,
        }
    }

    /// Sends an item to every receiver there is, without waiting.
    ///
    /// # Errors
    /// The item comes back if the broadcast is closed or has no receiver; with [`OnLag::Wait`] also
    /// if there is no room. Room that is promised to senders who wait counts as taken.
    #[inline]
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        self.shared.offer(item).map_err(|(item, why)| {
            let item = Rejected::new(item);
            match why {
                Refusal::Closed => TrySendError::Closed(item),
                Refusal::NoReceiver => TrySendError::NoReceiver(item),
                Refusal::Full => TrySendError::Full(item),
            }
        })
    }

    /// Sends an item, waiting for room no longer than `timeout`, counted from the first poll.
    ///
    /// A timeout of zero tries once. The runtime that keeps the time is asked for only when the
    /// send has to wait: the builder's, else [`Handle::current`](flow_rt::Handle::current).
    ///
    /// # Errors
    /// Those of [`send`](Self::send); no room in time; no runtime to wait on. The item comes back
    /// in each.
    ///
    /// # Cancel safety
    /// That of [`send`](Self::send).
    pub fn send_timeout(&self, item: T, timeout: Duration) -> SendTimeoutFuture<'_, T> {
        SendTimeoutFuture {
            send: self.send(item),
            limit: Limit::new(timeout),
        }
    }

    /// Sends an item from a plain thread, which waits for room.
    ///
    /// # Errors
    /// Those of [`send`](Self::send); [`SendBlockingError::MustNotBlock`] where the send has to
    /// wait and the thread belongs to a runtime. The item comes back in each.
    pub fn send_blocking(&self, item: T) -> Result<(), SendBlockingError<T>> {
        let item = match self.shared.offer(item) {
            Ok(()) => return Ok(()),
            Err((item, Refusal::Full)) => item,
            Err(refused) => return Err(SendError::from_refused(refused).into()),
        };
        let mut send = self.send(item);
        match block_on(&mut send) {
            Ok(sent) => sent.map_err(Into::into),
            Err(source) => match send.into_inner() {
                Some(item) => Err(SendBlockingError::MustNotBlock {
                    item: Rejected::new(item),
                    source,
                }),
                // Not reached: a refusal comes before the first poll, so the item is there.
                None => Ok(()),
            },
        }
    }

    /// A receiver more, of everything that is sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        let position = self.shared.core.subscribe();
        Receiver::new(self.shared.clone(), position)
    }

    /// Stops intake, for all senders. Idempotent.
    ///
    /// Senders that wait get their items back; what is in the broadcast is still received.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether intake has stopped.
    pub fn is_closed(&self) -> bool {
        self.shared.core.is_closed()
    }

    /// Waits until a send would be refused: the broadcast is closed, or there is no receiver.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub fn closed(&self) -> ClosedFuture<'_, Self> {
        ClosedFuture::new(self)
    }

    /// A handle that does not keep the broadcast open.
    pub fn downgrade(&self) -> WeakSender<T> {
        WeakSender(self.shared.clone())
    }

    /// How many items some receiver has not had. No lock.
    pub fn len(&self) -> usize {
        self.shared.core.len_from(0)
    }

    /// Whether every receiver has had every item. No lock.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items the broadcast can hold.
    pub fn capacity(&self) -> usize {
        self.shared.core.capacity()
    }

    /// How many receivers there are. No lock.
    pub fn receiver_count(&self) -> usize {
        self.shared.core.receivers()
    }

    /// What the broadcast has seen so far. No lock.
    pub fn stats(&self) -> BroadcastStats {
        self.shared.stats()
    }

    /// A collector of the broadcast's metrics, under its name; it keeps it open for nobody.
    #[cfg(feature = "metrics")]
    pub fn collector(&self) -> std::sync::Arc<dyn flow_metrics::Collect>
    where
        T: Send + 'static,
    {
        std::sync::Arc::new(super::metrics::BroadcastCollector(self.shared.clone()))
    }
}

impl<T> Future for ClosedFuture<'_, Sender<T>> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &self.sender.shared;
        let core = &shared.core;
        self.poll_event(cx, &shared.ended, || {
            core.is_closed() || core.receivers() == 0
        })
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self::new(self.shared.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // AcqRel: the last one closes after everything the others did.
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.close();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug("Sender", f)
    }
}

/// A [`Sender`] that does not count: the broadcast closes without it.
///
/// It keeps the broadcast's memory, as long as it is there.
pub struct WeakSender<T>(Arc<Shared<T>>);

impl<T> WeakSender<T> {
    /// A sender; `None` once the last one has gone. The broadcast may be closed all the same.
    pub fn upgrade(&self) -> Option<Sender<T>> {
        let one_more = |senders: usize| (senders > 0).then_some(senders + 1);
        self.0
            .senders
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
            .then(|| Sender::new(self.0.clone()))
    }
}

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for WeakSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.debug("WeakSender", f)
    }
}

impl<T> Shared<T> {
    /// Sends as far as that goes without waiting.
    #[inline]
    fn offer(&self, item: T) -> Result<(), (T, Refusal)> {
        if self.core.try_push(item)? {
            count(&self.rare.evicted, 1);
        }
        Ok(())
    }
}

/// The future of [`Sender::send`].
///
/// # Cancel safety
/// Dropped before it was ready it has sent nothing, and the item is dropped with it, unless
/// [`into_inner`](Self::into_inner) takes it out. Its place and the room promised to it go to the
/// next.
#[must_use = "futures do nothing unless polled"]
pub struct SendFuture<'a, T> {
    shared: &'a Shared<T>,
    /// Until it was sent or given back.
    item: Option<T>,
    turn: Turn,
}

impl<T> SendFuture<'_, T> {
    /// Takes the item back; `None` once it was sent or came back in an error.
    pub fn into_inner(mut self) -> Option<T> {
        self.item.take()
    }
}

// The item is never pinned in place.
impl<T> Unpin for SendFuture<'_, T> {}

impl<T> Future for SendFuture<'_, T> {
    type Output = Result<(), SendError<T>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.turn == Turn::New {
            let tried = this.once();
            if tried.is_ready() {
                return tried;
            }
        }
        this.wait(cx)
    }
}

impl<T> SendFuture<'_, T> {
    /// The poll of one that only tries.
    #[inline]
    fn once(&mut self) -> Poll<Result<(), SendError<T>>> {
        let Some(item) = self.item.take() else {
            return Poll::Pending;
        };
        match self.shared.offer(item) {
            Ok(()) => Poll::Ready(Ok(())),
            Err((item, Refusal::Full)) => {
                self.item = Some(item);
                Poll::Pending
            }
            Err(refused) => Poll::Ready(Err(SendError::from_refused(refused))),
        }
    }

    /// The poll of one that has found no room.
    #[cold]
    fn wait(&mut self, cx: &Context<'_>) -> Poll<Result<(), SendError<T>>> {
        debug_assert!(self.shared.on_lag == OnLag::Wait, "only then a send waits");
        let first = self.turn == Turn::New;
        let polled = self
            .shared
            .core
            .poll_push(cx, &mut self.turn, &mut self.item);
        if first && polled.is_pending() && self.item.is_some() {
            count(&self.shared.rare.blocked_sends, 1);
        }
        let refused = ready!(polled)
            .err()
            .and_then(|why| Some((self.item.take()?, why)));
        Poll::Ready(refused.map_or(Ok(()), |refused| Err(SendError::from_refused(refused))))
    }
}

impl<T> SendError<T> {
    fn from_refused((item, why): (T, Refusal)) -> Self {
        let item = Rejected::new(item);
        match why {
            Refusal::NoReceiver => Self::NoReceiver(item),
            // One that waits is not told that there is no room.
            Refusal::Closed | Refusal::Full => Self::Closed(item),
        }
    }
}

impl<T> From<SendError<T>> for SendBlockingError<T> {
    fn from(error: SendError<T>) -> Self {
        match error {
            SendError::Closed(item) => Self::Closed(item),
            SendError::NoReceiver(item) => Self::NoReceiver(item),
        }
    }
}

impl<T> FusedFuture for SendFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.item.is_none()
    }
}

impl<T> Drop for SendFuture<'_, T> {
    fn drop(&mut self) {
        self.shared.core.leave_push(&mut self.turn);
    }
}

impl<T> fmt::Debug for SendFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture")
            .field("parked", &matches!(self.turn, Turn::Parked(_)))
            .field("done", &self.item.is_none())
            .finish_non_exhaustive()
    }
}

/// The future of [`Sender::send_timeout`].
///
/// # Cancel safety
/// That of [`SendFuture`]; its timer goes with it.
#[must_use = "futures do nothing unless polled"]
pub struct SendTimeoutFuture<'a, T> {
    send: SendFuture<'a, T>,
    limit: Limit,
}

impl<T> SendTimeoutFuture<'_, T> {
    /// Takes the item back; `None` once it was sent or came back in an error.
    pub fn into_inner(self) -> Option<T> {
        self.send.into_inner()
    }
}

impl<T> Future for SendTimeoutFuture<'_, T> {
    type Output = Result<(), SendTimeoutError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let polled = if this.limit.duration().is_zero() {
            this.send.once()
        } else {
            Pin::new(&mut this.send).poll(cx)
        };
        if let Poll::Ready(sent) = polled {
            return Poll::Ready(sent.map_err(|error| match error {
                SendError::Closed(item) => SendTimeoutError::Closed(item),
                SendError::NoReceiver(item) => SendTimeoutError::NoReceiver(item),
            }));
        }
        if this.send.is_terminated() {
            return Poll::Pending;
        }
        let parked = matches!(this.send.turn, Turn::Parked(_));
        let shared = this.send.shared;
        let why = ready!(this.limit.poll(shared.runtime.as_ref(), parked, cx));
        shared.core.leave_push(&mut this.send.turn);
        let Some(item) = this.send.item.take().map(Rejected::new) else {
            return Poll::Pending;
        };
        Poll::Ready(Err(match why {
            LimitError::Elapsed => SendTimeoutError::TimedOut {
                item,
                timeout: this.limit.duration(),
            },
            LimitError::NoRuntime(source) => SendTimeoutError::NoRuntime { item, source },
            LimitError::Stopped(source) => SendTimeoutError::Stopped { item, source },
        }))
    }
}

impl<T> FusedFuture for SendTimeoutFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.send.is_terminated()
    }
}

impl<T> fmt::Debug for SendTimeoutFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendTimeoutFuture")
            .field("send", &self.send)
            .field("timeout", &self.limit.duration())
            .finish()
    }
}
