//! From a stream into channels.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use futures_core::future::FusedFuture;
use futures_core::stream::Stream;

use super::fan_out::FanOut;
use super::outgoing::Outgoing;
use super::tee::Tee;
use crate::channel::{SendError, Sender};

/// Moves the items of a stream into a channel, a [`FanOut`] or a [`Tee`], until one of them ends.
///
/// The stream is any [`Stream`]: a [`Receiver`](crate::Receiver), one of async-channel, or one of
/// tokio by `poll_fn`. What comes out of a channel is a stream too, so the other way leads through
/// `forward` into any sink, or through a loop:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_stream::{Channel, pipe};
/// use futures_util::stream::poll_fn;
///
/// let (tokio_tx, mut tokio_rx) = tokio::sync::mpsc::channel(8);
/// let (tx, rx) = Channel::bounded(8)?;
/// flow_rt::block_on(async {
///     tokio_tx.send("from tokio").await?;
///     drop(tokio_tx);
///     let piped = pipe(poll_fn(|cx| tokio_rx.poll_recv(cx)), tx).await;
///     assert!(piped.is_ended());
///
///     let (tokio_tx, mut tokio_rx) = tokio::sync::mpsc::channel(8);
///     while let Ok(item) = rx.recv().await {
///         tokio_tx.send(item).await?;
///     }
///     assert_eq!(tokio_rx.recv().await, Some("from tokio"));
///     Ok(())
/// })?
/// # }
/// ```
pub fn pipe<S>(source: S, outlet: impl Into<Outlet<S::Item>>) -> Pipe<S>
where
    S: Stream + Unpin,
{
    Pipe {
        source,
        outlet: Some(outlet.into()),
        held: None,
        carries: false,
        moved: 0,
    }
}

/// Where a [`pipe`] leads; made from a [`Sender`], a [`FanOut`] or a [`Tee`].
pub struct Outlet<T>(Kind<T>);

enum Kind<T> {
    One(Outgoing<T>),
    Any(FanOut<T>),
    All(Tee<T>),
}

impl<T> Outlet<T> {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), SendError<T>>> {
        match &mut self.0 {
            Kind::One(outgoing) => outgoing.poll_send(cx, slot),
            Kind::Any(fan_out) => fan_out.poll_send(cx, slot),
            Kind::All(tee) => tee.poll_send(cx, slot),
        }
    }

    fn leave(&mut self) -> Option<T> {
        match &mut self.0 {
            Kind::One(outgoing) => outgoing.leave(),
            Kind::Any(fan_out) => fan_out.leave(),
            Kind::All(tee) => {
                tee.leave();
                None
            }
        }
    }
}

impl<T> From<Sender<T>> for Outlet<T> {
    fn from(sender: Sender<T>) -> Self {
        Self(Kind::One(Outgoing::new(sender)))
    }
}

impl<T> From<FanOut<T>> for Outlet<T> {
    fn from(mut fan_out: FanOut<T>) -> Self {
        // What a send that was leaked has left behind, as in `FanOut::send`.
        drop(fan_out.leave());
        Self(Kind::Any(fan_out))
    }
}

impl<T> From<Tee<T>> for Outlet<T> {
    fn from(tee: Tee<T>) -> Self {
        Self(Kind::All(tee))
    }
}

impl<T> fmt::Debug for Outlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::One(outgoing) => outgoing.sender.fmt(f),
            Kind::Any(fan_out) => fan_out.fmt(f),
            Kind::All(tee) => tee.fmt(f),
        }
    }
}

/// Why a [`Pipe`] has ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum PipeEnd<T> {
    /// The stream has ended, and all its items were sent.
    Ended,
    /// An item was refused: the channels are closed, or full and do not wait.
    Refused(SendError<T>),
}

impl<T> PipeEnd<T> {
    /// Whether the stream has ended, and all its items were sent.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }
}

/// The future of [`pipe`]. Once it is ready it has let go of its senders, so that channels of which
/// they were the last are closed.
///
/// It lets others run after each 128 items that it moves without a wait.
///
/// # Cancel safety
/// It takes one item ahead of the room for it. One that is given up by
/// [`into_parts`](Self::into_parts), after a timeout say, gives that item back; dropped, it drops
/// it. It holds no room while it waits for its stream.
///
/// ```
/// # flow_rt::sim::check(0..1, |rt| async move {
/// use flow_stream::{Channel, pipe};
/// use std::time::Duration;
///
/// let (full, _rx) = Channel::bounded(2)?;
/// let mut pipe = pipe(futures_util::stream::iter(1..=9), full);
/// assert!(rt.timeout(Duration::from_secs(1), &mut pipe).await.is_err());
/// let (rest, held, moved) = pipe.into_parts();
/// assert_eq!((held, moved), (Some(3), 2)); // the others are in `rest`
/// # drop(rest);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # });
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct Pipe<S: Stream> {
    source: S,
    /// Until it has ended.
    outlet: Option<Outlet<S::Item>>,
    /// What is to be sent next; not while it waits for its receiver.
    held: Option<S::Item>,
    /// Whether an item was taken and not sent yet.
    carries: bool,
    moved: u64,
}

impl<S: Stream> Pipe<S> {
    /// How many items it has moved.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// The stream, the item that was taken from it and not sent, and how many were.
    pub fn into_parts(mut self) -> (S, Option<S::Item>, u64) {
        let waiting = self.outlet.as_mut().and_then(Outlet::leave);
        (self.source, self.held.or(waiting), self.moved)
    }
}

// Items are never pinned in place.
impl<S: Stream + Unpin> Unpin for Pipe<S> {}

impl<S: Stream + Unpin> Future for Pipe<S> {
    type Output = PipeEnd<S::Item>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(outlet) = &mut this.outlet else {
            return Poll::Pending;
        };
        let mut budget = BUDGET;
        let end = loop {
            if budget == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !this.carries {
                let taken = ready!(Pin::new(&mut this.source).poll_next(cx));
                let Some(item) = taken else {
                    break PipeEnd::Ended;
                };
                this.held = Some(item);
                this.carries = true;
            }
            let sent = ready!(outlet.poll_send(cx, &mut this.held));
            this.carries = false;
            if let Err(refused) = sent {
                break PipeEnd::Refused(refused);
            }
            this.moved += 1;
            budget -= 1;
        };
        this.outlet = None;
        Poll::Ready(end)
    }
}

impl<S: Stream + Unpin> FusedFuture for Pipe<S> {
    fn is_terminated(&self) -> bool {
        self.outlet.is_none()
    }
}

impl<S: Stream> fmt::Debug for Pipe<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe")
            .field("outlet", &self.outlet)
            .field("moved", &self.moved)
            .finish_non_exhaustive()
    }
}

/// Items between two yields.
const BUDGET: u32 = 128;
