//! The sending end, and the futures of its sends.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use flow_rt::block_on;
use flow_sync::sync::Arc;
use flow_sync::{PushError, Turn};
use futures_core::future::FusedFuture;

use super::core::Core;
use super::error::{
    Rejected, SendBlockingError, SendError, SendTimeoutError, TooHeavy, TrySendError,
};
use super::locked::Locked;
use super::stats::{ChannelStats, count};
use super::{DropReason, Policy, Shared, WeakSender};
use crate::closed::ClosedFuture;
use crate::limit::{Limit, LimitError};

/// The sending end of a [`Channel`](super::Channel); clones send into the same one.
///
/// Tasks that send at the same time should have a clone each: a channel of one sender and one
/// receiver takes them for a pair, whose receiver parks at once, and each of those who share a
/// handle would find it asleep. Dropping the last one closes the channel; what is buffered is still
/// received.
pub struct Sender<T> {
    pub(crate) shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Sends an item; with [`OnFull::Wait`](flow_rt::OnFull::Wait) it waits its turn for room.
    ///
    /// `Ok` means that the channel has taken charge of the item: it will be received, or dropped
    /// with its count and the `on_drop` hook. Senders that wait are served in FIFO order: from
    /// the poll that parks it, nobody who comes later gets room before it.
    ///
    /// # Errors
    /// The item comes back if the channel is closed, while waiting too, if it is full and its
    /// answer to that is [`OnFull::Reject`](flow_rt::OnFull::Reject), or if it is too heavy.
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has sent nothing; its place and the room promised to
    /// it go to the next. [`SendFuture::into_inner`] gives the item back. (What a
    /// [rendezvous](super::ChannelBuilder::rendezvous) can promise is said there.)
    ///
    /// # Cost
    /// One atomic RMW, no lock and no allocation while nobody waits, in a channel whose memory was
    /// taken at once; others have a [lock](super::ChannelBuilder::capacity). No runtime, no timer.
    #[inline]
    pub fn send(&self, item: T) -> SendFuture<'_, T> {
        SendFuture {
            shared: &self.shared,
            item: Some(item),
            turn: Turn::New,
        }
    }

    /// Sends an item without waiting.
    ///
    /// # Errors
    /// The item comes back if the channel is closed, if it is too heavy, or if the channel is full
    /// and its answer to that is `Wait` or `Reject`. Room that is promised to senders who wait
    /// counts as taken.
    #[inline]
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let shared = &*self.shared;
        let plainly = shared.offer_plainly(item);
        plainly.or_else(|item| shared.try_send_otherwise(item))
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
        let shared = &self.shared;
        let item = if shared.policy == Policy::Meet {
            item
        } else {
            match shared.offer(item) {
                Ok(()) => return Ok(()),
                Err(refused) if shared.waits_after(&refused) => refused.0,
                Err(refused) => return Err(shared.refused(refused).into()),
            }
        };
        let mut send = self.send(item);
        match block_on(&mut send) {
            Ok(sent) => sent.map_err(SendBlockingError::from),
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

    /// Stops intake, for all senders. Idempotent.
    ///
    /// Senders that wait get their items back; what is buffered is still received.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether intake has stopped.
    pub fn is_closed(&self) -> bool {
        self.shared.core.is_closed()
    }

    /// Waits until the channel is closed: by either end, or because the last receiver went away.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub fn closed(&self) -> ClosedFuture<'_, Self> {
        ClosedFuture::new(self)
    }

    /// A handle that does not keep the channel open.
    pub fn downgrade(&self) -> WeakSender<T> {
        WeakSender::new(self.shared.clone())
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
}

impl<T> Future for ClosedFuture<'_, Sender<T>> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &self.sender.shared;
        self.poll_event(cx, &shared.closed, || shared.core.is_closed())
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

impl<T> Shared<T> {
    /// Sends as most items are sent: over a ring, into free room, without a race. Otherwise it
    /// comes back to be [offered](Self::offer), the code of which is out of the way of this:
    /// beside each other they take half as long again.
    #[inline]
    fn offer_plainly(&self, item: T) -> Result<(), T> {
        match (&self.core, self.policy) {
            (Core::Ring(ring), Policy::Wait | Policy::Reject) => ring.push_plainly(item),
            _ => Err(item),
        }
    }

    #[inline(never)]
    fn try_send_otherwise(&self, item: T) -> Result<(), TrySendError<T>> {
        let offered = match (&self.core, self.policy) {
            (Core::Locked(locked), Policy::DropOldest) => self.displace(locked, item),
            _ => self.offer(item),
        };
        offered.map_err(|refused| self.refused(refused).into())
    }

    /// Sends in place of the oldest item if the channel is full.
    #[inline]
    fn displace(&self, locked: &Locked<T>, item: T) -> Result<(), (T, PushError)> {
        match locked.push_evicting(item)? {
            Some(oldest) => self.evicted(oldest),
            None => self.has_room(),
        }
        Ok(())
    }

    /// Sends as far as that goes without waiting, by the channel's policy.
    #[inline(never)]
    pub(crate) fn offer(&self, item: T) -> Result<(), (T, PushError)> {
        match self.policy {
            Policy::Wait | Policy::Meet | Policy::Reject => self.core.try_push(item),
            Policy::DropNewest => match self.core.try_push(item) {
                Err((item, PushError::Full)) if self.core.too_heavy(&item).is_none() => {
                    self.gives_way(item);
                    Ok(())
                }
                pushed => {
                    self.has_room();
                    pushed
                }
            },
            Policy::DropOldest => {
                let weight = self.core.weigh(&item);
                self.displace_any(item, weight)
            }
        }
    }

    /// Sends an item of that weight in place of the oldest ones, if the channel is full. It weighs
    /// nothing, so that nothing of the user's runs while the item is on its way.
    #[inline]
    pub(super) fn displace_any(&self, item: T, weight: u64) -> Result<(), (T, PushError)> {
        match &self.core {
            Core::Locked(locked) => self.displace(locked, item),
            Core::Special(special) => special.push_evicting(item, weight).map(|evicted| {
                if evicted.is_empty() {
                    self.has_room();
                }
                for oldest in evicted {
                    self.evicted(oldest);
                }
            }),
            // None is made with this policy: of a ring's items none gives way.
            Core::Ring(ring) => ring.try_push(item),
        }
    }

    /// Drops a new item that has found the channel full.
    #[inline]
    pub(super) fn gives_way(&self, newest: T) {
        count(&self.rare.dropped_newest, 1);
        self.lost(DropReason::Newest);
        self.dropped(newest, DropReason::Newest);
    }

    #[inline]
    fn evicted(&self, oldest: T) {
        self.lost(DropReason::Oldest);
        self.dropped(oldest, DropReason::Oldest);
    }

    /// Whether one that waits for room goes on to wait with this.
    #[cold]
    pub(crate) fn waits_after(&self, (item, why): &(T, PushError)) -> bool {
        *why == PushError::Full
            && matches!(self.policy, Policy::Wait | Policy::Meet)
            && self.core.too_heavy(item).is_none()
    }

    /// What is told of an item that comes back.
    #[cold]
    pub(crate) fn refused(&self, (item, why): (T, PushError)) -> SendError<T> {
        match why {
            PushError::Closed => SendError::Closed(Rejected::new(item)),
            PushError::Full => match self.core.too_heavy(&item) {
                None => SendError::Full(Rejected::new(item)),
                Some((weight, limit)) => SendError::TooHeavy(TooHeavy::new(item, weight, limit)),
            },
        }
    }

    /// Sends `slot`'s item, waiting in line for room.
    ///
    /// While a sender waits for its receiver, the item is in the channel and not in `slot`.
    pub(crate) fn poll_send(
        &self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), PushError>> {
        let (polled, blocked) = self.poll_piece(cx, turn, slot);
        if blocked {
            self.blocked();
        }
        polled
    }

    /// The same for one item of a send; also whether it begins to wait, which a send tells once.
    pub(super) fn poll_piece(
        &self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
        slot: &mut Option<T>,
    ) -> (Poll<Result<(), PushError>>, bool) {
        let before = *turn;
        let polled = self.core.poll_push(cx, turn, slot);
        if matches!(before, Turn::Parked(_)) && polled.is_ready() {
            self.pushed_on_promise();
        }
        let waits = slot.is_some() || matches!(turn, Turn::Parked(_));
        let begins = before == Turn::New && polled.is_pending() && waits;
        (polled, begins && self.core.is_blocked(turn))
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
    /// Until it was sent or given back; not while the send waits for its receiver.
    item: Option<T>,
    turn: Turn,
}

impl<T> SendFuture<'_, T> {
    /// Takes the item back; `None` once it was sent or came back in an error.
    pub fn into_inner(mut self) -> Option<T> {
        let item = self.item.take();
        item.or_else(|| self.shared.core.leave_push(&mut self.turn))
    }

    fn is_parked(&self) -> bool {
        matches!(self.turn, Turn::Parked(_))
    }

    fn is_done(&self) -> bool {
        self.item.is_none() && !self.is_parked()
    }
}

// The item is never pinned in place.
impl<T> Unpin for SendFuture<'_, T> {}

impl<T> Future for SendFuture<'_, T> {
    type Output = Result<(), SendError<T>>;

    // In one piece with the future that awaits it, what was stored for it just now is not loaded
    // again, and nothing is asked that is known.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.turn == Turn::New
            && let Some(item) = this.item.take()
        {
            return match this.shared.offer_plainly(item) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(item) => this.offer_or_wait(item, cx),
            };
        }
        this.wait(cx)
    }
}

impl<T> SendFuture<'_, T> {
    /// The first poll of one that could not just send.
    #[inline(never)]
    fn offer_or_wait(&mut self, item: T, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        let offered = match (&self.shared.core, self.shared.policy) {
            // One that is to meet its receiver waits with its item in the line. One that waits for
            // room in a ring looks again as it begins to: another look before that costs one more
            // line that receivers write.
            (_, Policy::Meet) | (Core::Ring(_), Policy::Wait) => Err((item, PushError::Full)),
            _ => self.shared.offer(item),
        };
        match offered {
            Ok(()) => Poll::Ready(Ok(())),
            Err(refused) if self.shared.waits_after(&refused) => {
                self.item = Some(refused.0);
                self.wait(cx)
            }
            Err(refused) => Poll::Ready(Err(self.shared.refused(refused))),
        }
    }

    /// The poll of one that only tries, whatever it would wait for.
    fn once(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        let Some(item) = self.item.take() else {
            return self.wait(cx);
        };
        match self.shared.offer(item) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(refused) if self.shared.waits_after(&refused) => {
                self.item = Some(refused.0);
                Poll::Pending
            }
            Err(refused) => Poll::Ready(Err(self.shared.refused(refused))),
        }
    }

    /// The poll of one that has found the channel full.
    #[cold]
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        if self.is_done() {
            return Poll::Pending;
        }
        let sent = ready!(self.shared.poll_send(cx, &mut self.turn, &mut self.item));
        let refused = sent.err().and_then(|why| Some((self.item.take()?, why)));
        Poll::Ready(refused.map_or(Ok(()), |refused| Err(self.shared.refused(refused))))
    }
}

impl<T> FusedFuture for SendFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.is_done()
    }
}

impl<T> Drop for SendFuture<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.shared.core.leave_push(&mut self.turn);
    }
}

impl<T> fmt::Debug for SendFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture")
            .field("parked", &self.is_parked())
            .field("done", &self.is_done())
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
        let polled = if this.limit.duration().is_zero() && this.send.turn == Turn::New {
            this.send.once(cx)
        } else {
            Pin::new(&mut this.send).poll(cx)
        };
        if let Poll::Ready(sent) = polled {
            return Poll::Ready(sent.map_err(SendTimeoutError::from));
        }
        if this.send.is_terminated() {
            return Poll::Pending;
        }
        let (shared, parked) = (this.send.shared, this.send.is_parked());
        let why = ready!(this.limit.poll(shared.runtime.as_ref(), parked, cx));
        let back = shared.core.leave_push(&mut this.send.turn);
        let Some(item) = this.send.item.take().or(back).map(Rejected::new) else {
            // A receiver has taken it just now.
            return Poll::Ready(Ok(()));
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
