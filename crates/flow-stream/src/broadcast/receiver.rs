//! The receiving end, and the futures of its receives.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use flow_rt::block_on;
use flow_sync::Turn;
use flow_sync::sync::Arc;
use futures_core::future::FusedFuture;
use futures_core::stream::{FusedStream, Stream};

use super::core::{Miss, Place};
use super::error::{RecvBlockingError, RecvError, RecvTimeoutError, TryRecvError};
use super::stats::{BroadcastStats, count};
use super::{OnLag, Shared};
use crate::limit::{Limit, LimitError};

/// The receiving end of a [broadcast](super): it gets every item from its place on.
///
/// A clone begins where the original is; [`subscribe`](Self::subscribe) begins with the next item.
/// It is a [`Stream`] too. When the last one is dropped, what is in the broadcast is dropped, and
/// senders are refused until there is another.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    place: Place,
    /// Its wait in the line, kept for the next poll.
    turn: Turn,
    /// Set once it was disconnected, to how many items it misses; it is counted out then.
    missed: Option<u64>,
    /// As a stream it has said that it is disconnected: what is left to say is the end.
    told: bool,
    /// As a stream it has said that no more will come.
    ended: bool,
}

impl<T> Receiver<T> {
    /// The receiver is counted already.
    pub(super) fn new(shared: Arc<Shared<T>>, position: u64) -> Self {
        Self {
            shared,
            place: Place::new(position),
            turn: Turn::New,
            missed: None,
            told: false,
            ended: false,
        }
    }

    /// A receiver more, of everything that is sent from now on.
    pub fn subscribe(&self) -> Self {
        Self::new(self.shared.clone(), self.shared.core.subscribe())
    }

    /// Stops intake, for all senders. Idempotent.
    ///
    /// Senders that wait get their items back; what is in the broadcast is still received.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether intake has stopped; there may be items left.
    pub fn is_closed(&self) -> bool {
        self.shared.core.is_closed()
    }

    /// How many items there are for this receiver. No lock.
    pub fn len(&self) -> usize {
        match self.missed {
            None => self.shared.core.len_from(self.place.next),
            Some(_) => 0,
        }
    }

    /// Whether there is no item for this receiver. No lock.
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

impl<T: Clone> Receiver<T> {
    /// Receives the next item, waiting for it.
    ///
    /// Every receiver but the last to come for an item gets a clone. The item is locked meanwhile:
    /// put what is slow to clone into an `Arc`, and do not use the broadcast in `clone`. An item
    /// whose `clone` panics counts as received.
    ///
    /// A receiver that goes from item to item without having to wait lets other tasks run once in
    /// a while, 64 items or more apart: that poll is pending, and wakes its task at once, though
    /// there may be an item. [`try_recv`](Self::try_recv) and
    /// [`recv_timeout`](Self::recv_timeout) take what is there.
    ///
    /// # Errors
    /// [`RecvError::Closed`] once the broadcast is closed and everything in it was received. With
    /// [`OnLag::DropOldest`], [`RecvError::Lagged`] once for every run of items that were missed:
    /// the next receive goes on with the oldest that is left. With [`OnLag::Disconnect`],
    /// [`RecvError::Disconnected`] from then on.
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has taken nothing.
    ///
    /// # Cost
    /// One short lock; no allocation, no runtime, no timer.
    #[inline]
    pub fn recv(&mut self) -> RecvFuture<'_, T> {
        RecvFuture {
            receiver: self,
            done: false,
        }
    }

    /// Receives the next item if it is there.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`], and those of [`recv`](Self::recv).
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.take()
    }

    /// Receives the next item, waiting no longer than `timeout`, counted from the first poll.
    ///
    /// A timeout of zero tries once. The runtime that keeps the time is asked for only when the
    /// receive has to wait: the builder's, else [`Handle::current`](flow_rt::Handle::current).
    ///
    /// # Errors
    /// Those of [`recv`](Self::recv); no item in time; no runtime to wait on.
    ///
    /// # Cancel safety
    /// That of [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> RecvTimeoutFuture<'_, T> {
        RecvTimeoutFuture {
            recv: self.recv(),
            limit: Limit::new(timeout),
        }
    }

    /// Receives the next item on a plain thread, which waits for it.
    ///
    /// # Errors
    /// Those of [`recv`](Self::recv); [`RecvBlockingError::MustNotBlock`] where the receive has to
    /// wait and the thread belongs to a runtime.
    pub fn recv_blocking(&mut self) -> Result<T, RecvBlockingError> {
        match self.take().map_err(RecvError::of_try) {
            Ok(item) => Ok(item),
            Err(Some(error)) => Err(error.into()),
            Err(None) => match block_on(self.recv()) {
                Ok(received) => received.map_err(Into::into),
                Err(refused) => Err(RecvBlockingError::MustNotBlock(refused)),
            },
        }
    }

    #[inline]
    fn take(&mut self) -> Result<T, TryRecvError> {
        if let Some(missed) = self.missed {
            return Err(TryRecvError::Disconnected(missed));
        }
        self.shared
            .core
            .take(&mut self.place)
            .map_err(|miss| match miss {
                Miss::Empty => TryRecvError::Empty,
                Miss::Closed => TryRecvError::Closed,
                Miss::Lagged(missed) => self.lagged(missed),
            })
    }

    #[cold]
    fn lagged(&mut self, missed: u64) -> TryRecvError {
        let rare = &self.shared.rare;
        if self.shared.on_lag != OnLag::Disconnect {
            count(&rare.missed, missed);
            return TryRecvError::Lagged(missed);
        }
        let missed = missed + self.shared.core.len_from(self.place.next) as u64;
        count(&rare.missed, missed);
        count(&rare.disconnected, 1);
        self.missed = Some(missed);
        self.count_out();
        TryRecvError::Disconnected(missed)
    }

    #[inline]
    fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Result<T, RecvError>> {
        if self.turn == Turn::New && self.place.rests() {
            // Senders get ahead meanwhile: see the core's header.
            return self.give_way(cx);
        }
        loop {
            match self.take().map_err(RecvError::of_try) {
                Ok(item) => {
                    self.turn = Turn::New;
                    return Poll::Ready(Ok(item));
                }
                Err(Some(error)) => {
                    self.turn = Turn::New;
                    return Poll::Ready(Err(error));
                }
                Err(None) => {}
            }
            if self.turn == Turn::New {
                // Once per wait: a sender that is about to send need not wake it then.
                return self.give_way(cx);
            }
            let core = &self.shared.core;
            if core.park_receiver(cx, &mut self.turn, self.place.next) {
                return Poll::Pending;
            }
        }
    }
}

impl<T> Receiver<T> {
    /// Lets other tasks run, once until it has received or parked.
    #[cold]
    fn give_way<R>(&mut self, cx: &Context<'_>) -> Poll<R> {
        self.turn = Turn::YIELDED;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn count_out(&self) {
        if self.shared.core.unsubscribe(self.place.next) {
            self.shared.ended.notify_all();
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        if self.missed.is_none() {
            self.shared.core.subscribe_at(self.place.next);
        }
        let mut clone = Self::new(self.shared.clone(), self.place.next);
        clone.missed = self.missed;
        clone
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.core.leave_take(&mut self.turn);
        if self.missed.is_none() {
            self.count_out();
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug("Receiver", f)
    }
}

/// The items, and what kept some from it, until the broadcast is closed or it is disconnected.
///
/// A receiver that was polled as a stream and returned pending keeps its place in line until it is
/// polled again, a future of its receives is dropped, or it is dropped itself.
impl<T: Clone> Stream for Receiver<T> {
    /// [`RecvError::Closed`] is the end and no item.
    type Item = Result<T, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.told {
            let received = ready!(self.poll_recv(cx));
            self.told = matches!(received, Err(RecvError::Disconnected(_)));
            if !matches!(received, Err(RecvError::Closed)) {
                return Poll::Ready(Some(received));
            }
        }
        self.ended = true;
        Poll::Ready(None)
    }
}

impl<T: Clone> FusedStream for Receiver<T> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

/// The future of [`Receiver::recv`].
///
/// # Cancel safety
/// Dropped before it was ready it has taken nothing.
#[must_use = "futures do nothing unless polled"]
pub struct RecvFuture<'a, T> {
    receiver: &'a mut Receiver<T>,
    done: bool,
}

impl<T: Clone> Future for RecvFuture<'_, T> {
    type Output = Result<T, RecvError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.done {
            return Poll::Pending;
        }
        let received = ready!(self.receiver.poll_recv(cx));
        self.done = true;
        Poll::Ready(received)
    }
}

impl<T: Clone> RecvFuture<'_, T> {
    /// The poll of one that only tries.
    fn once(&mut self) -> Poll<Result<T, RecvError>> {
        if self.done {
            return Poll::Pending;
        }
        let received = match self.receiver.take().map_err(RecvError::of_try) {
            Ok(item) => Ok(item),
            Err(Some(error)) => Err(error),
            Err(None) => return Poll::Pending,
        };
        self.done = true;
        Poll::Ready(received)
    }
}

impl<T: Clone> FusedFuture for RecvFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl<T> Drop for RecvFuture<'_, T> {
    fn drop(&mut self) {
        let Receiver { shared, turn, .. } = &mut *self.receiver;
        shared.core.leave_take(turn);
    }
}

impl<T> fmt::Debug for RecvFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvFuture")
            .field("parked", &matches!(self.receiver.turn, Turn::Parked(_)))
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

/// The future of [`Receiver::recv_timeout`].
///
/// # Cancel safety
/// That of [`RecvFuture`]; its timer goes with it.
#[must_use = "futures do nothing unless polled"]
pub struct RecvTimeoutFuture<'a, T> {
    recv: RecvFuture<'a, T>,
    limit: Limit,
}

impl<T: Clone> Future for RecvTimeoutFuture<'_, T> {
    type Output = Result<T, RecvTimeoutError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let polled = if this.limit.duration().is_zero() {
            this.recv.once()
        } else {
            // It does not give way: where an item is there, no runtime is asked for.
            this.recv.receiver.place.rests();
            Pin::new(&mut this.recv).poll(cx)
        };
        if let Poll::Ready(received) = polled {
            return Poll::Ready(received.map_err(Into::into));
        }
        if this.recv.done {
            return Poll::Pending;
        }
        let receiver = &*this.recv.receiver;
        let parked = matches!(receiver.turn, Turn::Parked(_));
        let why = ready!(
            this.limit
                .poll(receiver.shared.runtime.as_ref(), parked, cx)
        );
        this.recv.done = true;
        Poll::Ready(Err(match why {
            LimitError::Elapsed => RecvTimeoutError::TimedOut {
                timeout: this.limit.duration(),
            },
            LimitError::NoRuntime(source) => RecvTimeoutError::NoRuntime(source),
            LimitError::Stopped(source) => RecvTimeoutError::Stopped(source),
        }))
    }
}

impl<T: Clone> FusedFuture for RecvTimeoutFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.recv.done
    }
}

impl<T> fmt::Debug for RecvTimeoutFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvTimeoutFuture")
            .field("recv", &self.recv)
            .field("timeout", &self.limit.duration())
            .finish()
    }
}
