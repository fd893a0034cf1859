//! The receiving end, and the futures of its receives.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, ready};
use core::time::Duration;

use flow_rt::block_on;
use flow_sync::sync::{Arc, Mutex};
use flow_sync::{PopError, Turn};
use futures_core::future::FusedFuture;
use futures_core::stream::{FusedStream, Stream};

use super::core::Core;
use super::error::{RecvBlockingError, RecvError, RecvTimeoutError, TryRecvError};
use super::stats::ChannelStats;
use super::{Shared, WeakReceiver};
use crate::limit::{Limit, LimitError};

/// The receiving end of a [`Channel`](super::Channel); clones share the items among them.
///
/// It is a [`Stream`] too. Tasks that receive at the same time should have a clone each, as those
/// that [send](super::Sender). Dropping the last one closes the channel, and what is still in it
/// goes to the `on_drop` hook.
pub struct Receiver<T> {
    pub(super) shared: Arc<Shared<T>>,
    stream: StreamTurn,
    /// As a stream it has said that no more will come.
    ended: bool,
}

impl<T> Receiver<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self {
            shared,
            stream: StreamTurn::default(),
            ended: false,
        }
    }

    /// Receives an item, waiting its turn for one.
    ///
    /// Receivers that wait are served in FIFO order from the poll that parks them.
    ///
    /// The thread of one of several receivers that finds nothing in a channel of 256 items or more
    /// spins for half a microsecond to six before it waits, so that senders on other threads get
    /// ahead: after each run of an eighth of the capacity, or 128 items; of 16 such runs if nobody
    /// sent anything meanwhile. The other ways of receiving one item do the same.
    ///
    /// # Errors
    /// [`RecvError::Closed`] once the channel is closed and everything in it was received.
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has taken nothing; its place and the item set aside
    /// for it go to the next.
    ///
    /// # Cost
    /// One atomic RMW, no lock and no allocation while nobody waits, in a channel whose memory was
    /// taken at once; others have a [lock](super::ChannelBuilder::capacity). No runtime, no timer.
    #[inline]
    pub fn recv(&self) -> RecvFuture<'_, T> {
        RecvFuture {
            shared: self.newcomer(),
            turn: Turn::New,
            done: false,
        }
    }

    /// Receives an item if one is there.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] if there is none, or all are set aside for receivers that wait;
    /// [`TryRecvError::Closed`] only once everything was received.
    // A call returns the item through memory, which takes as long as the rest.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let core = &self.newcomer().core;
        let mut why = TryRecvError::Empty;
        let item = core.pop_plainly();
        let item = item.or_else(|| try_recv_otherwise(core, &mut why));
        item.ok_or(why)
    }

    /// Receives an item, waiting no longer than `timeout`, counted from the first poll.
    ///
    /// A timeout of zero tries once. The runtime that keeps the time is asked for only when the
    /// receive has to wait: the builder's, else [`Handle::current`](flow_rt::Handle::current).
    ///
    /// # Errors
    /// Closed and drained; no item in time; no runtime to wait on.
    ///
    /// # Cancel safety
    /// That of [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> RecvTimeoutFuture<'_, T> {
        RecvTimeoutFuture {
            recv: self.recv(),
            limit: Limit::new(timeout),
        }
    }

    /// Receives an item on a plain thread, which waits for one.
    ///
    /// # Errors
    /// Closed and drained; [`RecvBlockingError::MustNotBlock`] where the receive has to wait and
    /// the thread belongs to a runtime.
    pub fn recv_blocking(&self) -> Result<T, RecvBlockingError> {
        match self.try_recv() {
            Ok(item) => Ok(item),
            Err(TryRecvError::Closed) => Err(RecvBlockingError::Closed),
            Err(TryRecvError::Empty) => match block_on(self.recv()) {
                Ok(received) => received.map_err(|RecvError::Closed| RecvBlockingError::Closed),
                Err(refused) => Err(RecvBlockingError::MustNotBlock(refused)),
            },
        }
    }

    /// Appends up to `max` items to `batch`, waiting for the first; returns how many.
    ///
    /// It takes what is there, in one piece and with one atomic RMW, and does not wait for `max`.
    /// 0 means closed and everything received (or a `max` of 0, which takes nothing and returns at
    /// once).
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has taken nothing.
    pub fn recv_many<'a>(&'a self, batch: &'a mut Vec<T>, max: usize) -> RecvManyFuture<'a, T> {
        RecvManyFuture {
            shared: self.newcomer(),
            batch,
            max,
            turn: Turn::New,
            done: false,
        }
    }

    /// Appends up to `max` items that are there to `batch`, without waiting; returns how many.
    ///
    /// Items that are set aside for receivers that wait stay there.
    pub fn drain(&self, batch: &mut Vec<T>, max: usize) -> usize {
        let drained = self.newcomer().core.try_pop_many(batch, max);
        drained.unwrap_or(0)
    }

    /// Stops intake, for all senders. Idempotent.
    ///
    /// Senders that wait get their items back; what is buffered is still received.
    pub fn close(&self) {
        self.shared.close();
    }

    /// A handle that does not keep the channel open.
    pub fn downgrade(&self) -> WeakReceiver<T> {
        WeakReceiver::new(self.shared.clone())
    }

    /// Whether intake has stopped; there may be items left.
    pub fn is_closed(&self) -> bool {
        self.shared.core.is_closed()
    }

    /// How many items are in the channel. No lock.
    pub fn len(&self) -> usize {
        self.shared.core.len()
    }

    /// Whether no item is in the channel. No lock.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items the channel can hold.
    pub fn capacity(&self) -> usize {
        self.shared.core.capacity()
    }

    /// What the channel has seen so far. No lock.
    pub fn stats(&self) -> ChannelStats {
        self.shared.stats()
    }

    /// A collector of the channel's metrics, under its name; it keeps the channel open for nobody.
    #[cfg(feature = "metrics")]
    pub fn collector(&self) -> std::sync::Arc<dyn flow_metrics::Collect>
    where
        T: Send + 'static,
    {
        std::sync::Arc::new(super::metrics::ChannelCollector(self.shared.clone()))
    }

    /// The next item of the stream; `yields` as for [`Core::poll_pop`].
    pub(super) fn poll_item(&mut self, cx: &mut Context<'_>, yields: bool) -> Poll<Option<T>> {
        let mut turn = if self.stream.is_set() {
            self.stream.take()
        } else if let Some(item) = self.shared.core.pop_plainly() {
            return Poll::Ready(Some(item));
        } else {
            self.shared.rest();
            Turn::New
        };
        let polled = self.shared.core.poll_pop(cx, &mut turn, yields);
        match polled {
            Poll::Pending => self.stream.set(turn),
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(_)) => {}
        }
        polled
    }

    /// The channel, after this receiver has given up the place it took as a stream.
    ///
    /// Whoever polled it as a stream and then receives in another way would else wait behind its
    /// own abandoned place.
    #[inline]
    fn newcomer(&self) -> &Shared<T> {
        if self.stream.is_set() {
            self.leave_stream();
        }
        &self.shared
    }

    #[cold]
    fn leave_stream(&self) {
        self.shared.core.leave_pop(&mut self.stream.take());
    }
}

/// What could not just be taken. `None`, and why, in two pieces: as one they go through memory, and
/// so does then what could just be taken, for half of what a receive costs.
#[inline(never)]
fn try_recv_otherwise<T>(core: &Core<T>, why: &mut TryRecvError) -> Option<T> {
    match core.try_pop() {
        Ok(item) => Some(item),
        Err(PopError::Empty) => None,
        Err(PopError::Closed) => {
            *why = TryRecvError::Closed;
            None
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        Self::new(self.shared.clone())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.newcomer();
        // AcqRel: the last one closes after everything the others did.
        if self.shared.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.close();
            self.shared.abandon();
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug("Receiver", f)
    }
}

/// The items until the channel is closed and drained.
///
/// A receiver that was polled as a stream and returned pending keeps its place in line until it
/// is polled again, receives in another way, or is dropped: an item may be set aside for it. But
/// for a rendezvous, its first poll takes no place yet; it only lets others run.
impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        // Alone too: a clone may come, and would find what a single look had set aside for good.
        self.poll_item(cx, true)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, None)
    }
}

impl<T> FusedStream for Receiver<T> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

/// The future of [`Receiver::recv`].
///
/// # Cancel safety
/// Dropped before it was ready it has taken nothing; its place and the item set aside for it go
/// to the next.
#[must_use = "futures do nothing unless polled"]
pub struct RecvFuture<'a, T> {
    shared: &'a Shared<T>,
    turn: Turn,
    done: bool,
}

impl<T> Future for RecvFuture<'_, T> {
    type Output = Result<T, RecvError>;

    #[allow(clippy::inline_always)] // as that of `SendFuture`
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.turn == Turn::New
            && !this.done
            && let Some(item) = this.shared.core.pop_plainly()
        {
            this.done = true;
            return Poll::Ready(Ok(item));
        }
        this.wait(cx)
    }
}

impl<T> RecvFuture<'_, T> {
    /// The poll of one that only tries: it takes no place in line.
    fn once(&mut self) -> Poll<Result<T, RecvError>> {
        if self.done {
            return Poll::Pending;
        }
        let received = match self.shared.core.try_pop() {
            Ok(item) => Ok(item),
            Err(PopError::Closed) => Err(RecvError::Closed),
            Err(PopError::Empty) => return Poll::Pending,
        };
        self.done = true;
        Poll::Ready(received)
    }

    /// The poll of one that could not just take an item.
    #[cold]
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        if self.done {
            return Poll::Pending;
        }
        if self.turn == Turn::New {
            self.shared.rest();
        }
        let core = &self.shared.core;
        let yields = self.shared.has_company();
        let popped = ready!(core.poll_pop(cx, &mut self.turn, yields));
        self.done = true;
        Poll::Ready(popped.ok_or(RecvError::Closed))
    }
}

impl<T> FusedFuture for RecvFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl<T> Drop for RecvFuture<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.shared.core.leave_pop(&mut self.turn);
    }
}

impl<T> fmt::Debug for RecvFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvFuture")
            .field("parked", &self.turn.is_parked())
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

impl<T> Future for RecvTimeoutFuture<'_, T> {
    type Output = Result<T, RecvTimeoutError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let polled = if this.limit.duration().is_zero() {
            this.recv.once()
        } else {
            Pin::new(&mut this.recv).poll(cx)
        };
        if let Poll::Ready(received) = polled {
            return Poll::Ready(received.map_err(|RecvError::Closed| RecvTimeoutError::Closed));
        }
        if this.recv.done {
            return Poll::Pending;
        }
        let parked = this.recv.turn.is_parked();
        let runtime = this.recv.shared.runtime.as_ref();
        let why = ready!(this.limit.poll(runtime, parked, cx));
        this.recv.shared.core.leave_pop(&mut this.recv.turn);
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

impl<T> FusedFuture for RecvTimeoutFuture<'_, T> {
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

/// The future of [`Receiver::recv_many`].
///
/// # Cancel safety
/// Dropped before it was ready it has taken nothing, and the batch is as it was.
#[must_use = "futures do nothing unless polled"]
pub struct RecvManyFuture<'a, T> {
    shared: &'a Shared<T>,
    batch: &'a mut Vec<T>,
    max: usize,
    turn: Turn,
    done: bool,
}

impl<T> Future for RecvManyFuture<'_, T> {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        let this = &mut *self;
        if this.done {
            return Poll::Pending;
        }
        let core = &this.shared.core;
        let (batch, max) = (&mut *this.batch, this.max);
        let taken = if max == 0 {
            None
        } else {
            let yields = this.shared.has_company();
            ready!(core.poll_pop_many(cx, &mut this.turn, yields, batch, max))
        };
        this.done = true;
        Poll::Ready(taken.unwrap_or(0))
    }
}

impl<T> FusedFuture for RecvManyFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl<T> Drop for RecvManyFuture<'_, T> {
    fn drop(&mut self) {
        self.shared.core.leave_pop(&mut self.turn);
    }
}

impl<T> fmt::Debug for RecvManyFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvManyFuture")
            .field("max", &self.max)
            .field("parked", &self.turn.is_parked())
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

/// The turn of a receiver as a stream, between two polls.
///
/// A lock, because `recv(&self)` on any thread may take it away; a flag in front of it, because
/// hardly anybody mixes the two.
#[derive(Default)]
struct StreamTurn {
    set: AtomicBool,
    turn: Mutex<Turn>,
}

impl StreamTurn {
    #[inline]
    fn is_set(&self) -> bool {
        self.set.load(Ordering::Relaxed)
    }

    /// Whoever takes a place owns it.
    #[cold]
    fn take(&self) -> Turn {
        let mut turn = self.turn.lock();
        self.set.store(false, Ordering::Relaxed);
        core::mem::take(&mut turn)
    }

    fn set(&mut self, turn: Turn) {
        *self.turn.lock() = turn;
        self.set.store(true, Ordering::Relaxed);
    }
}
