//! Each item into one of many channels.

use core::fmt;
use core::future::Future;
use core::hash::{Hash, Hasher};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::hash::DefaultHasher;

use flow_sync::PushError;
use futures_core::future::FusedFuture;

use super::outgoing::Outgoing;
use crate::channel::{Rejected, ReserveError, SendError, Sender, TooHeavy};

/// Spreads items over channels: each goes into one of them.
///
/// By turns, to the least full, or by a key. A channel that is closed is left out from then on;
/// when the last is closed, items come back. One that is full is passed over by the first two, as
/// long as another one has room; where none has, the item waits in the line of each that waits, and
/// goes where there is room first. (A channel that answers "full" by dropping is never full, but
/// passed over by an item that is too heavy for it.) Who wants all workers to take from one queue
/// needs no fan-out, but clones of one [`Receiver`](crate::Receiver).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_stream::{Channel, FanOut};
///
/// let (first, first_rx) = Channel::bounded(8)?;
/// let (second, second_rx) = Channel::bounded(8)?;
/// let mut workers = FanOut::round_robin([first, second])?;
/// flow_rt::block_on(async {
///     for item in 0..4 {
///         workers.send(item).await?;
///     }
///     assert_eq!((first_rx.recv().await, second_rx.recv().await), (Ok(0), Ok(1)));
///     Ok(())
/// })?
/// # }
/// ```
pub struct FanOut<T> {
    outputs: Vec<Output<T>>,
    choice: Choice<T>,
    /// Whose turn it is.
    next: usize,
    /// Whether an item waits in the lines.
    waits: bool,
}

struct Output<T> {
    to: Outgoing<T>,
    /// The place it was given in, by which keys find it however many others have closed.
    number: usize,
}

enum Choice<T> {
    RoundRobin,
    LeastLoaded,
    ByKey(Box<dyn Fn(&T) -> u64 + Send + Sync>),
}

impl<T> FanOut<T> {
    /// To each channel by turns.
    ///
    /// # Errors
    /// A channel that waits when it is full, and in which no room can be taken in advance: a
    /// rendezvous, or one with a limit by weight. An item could not wait for several of them.
    pub fn round_robin(outputs: impl IntoIterator<Item = Sender<T>>) -> Result<Self, ReserveError> {
        Self::new(outputs, Choice::RoundRobin)
    }

    /// To the channel with the fewest items, by turns where several have as few.
    ///
    /// # Errors
    /// Those of [`round_robin`](Self::round_robin).
    pub fn least_loaded(
        outputs: impl IntoIterator<Item = Sender<T>>,
    ) -> Result<Self, ReserveError> {
        Self::new(outputs, Choice::LeastLoaded)
    }

    /// To the channel of the item's key: all items of a key go to the same channel, in their
    /// order. If a channel closes, the keys that were its own are spread over the others, and no
    /// other key moves. An item waits for its own channel, whatever room others have.
    ///
    /// `key` is asked at each poll of a send that has its item. A panic of it is the sender's:
    /// nothing was sent, and [`FanOutFuture::into_inner`] still gives the item back.
    pub fn by_key<K: Hash>(
        outputs: impl IntoIterator<Item = Sender<T>>,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Self {
        let key = move |item: &T| {
            let mut hasher = DefaultHasher::new();
            key(item).hash(&mut hasher);
            hasher.finish()
        };
        let outputs = outputs.into_iter().map(Outgoing::new);
        Self::of(outputs.collect(), Choice::ByKey(Box::new(key)))
    }

    fn new(
        outputs: impl IntoIterator<Item = Sender<T>>,
        choice: Choice<T>,
    ) -> Result<Self, ReserveError> {
        let outputs = outputs.into_iter();
        let outputs = outputs.map(|output| Outgoing::reserving(output, Outgoing::waits));
        Ok(Self::of(outputs.collect::<Result<_, _>>()?, choice))
    }

    fn of(outputs: Vec<Outgoing<T>>, choice: Choice<T>) -> Self {
        let outputs = outputs.into_iter().enumerate();
        Self {
            outputs: outputs.map(|(number, to)| Output { to, number }).collect(),
            choice,
            next: 0,
            waits: false,
        }
    }

    /// Sends an item into one of the channels, waiting for room if they do.
    ///
    /// # Errors
    /// The item comes back if every channel is closed, if all are full and none waits, or if it is
    /// too heavy: for the channel of its key, or for all.
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has sent nothing, as far as that can be said of the
    /// channel; [`FanOutFuture::into_inner`] gives the item back.
    pub fn send(&mut self, item: T) -> FanOutFuture<'_, T> {
        // A send that was leaked may have left its item in a channel. This one would wait in its
        // place, and be told that it was sent when that one is.
        drop(self.leave());
        FanOutFuture {
            fan_out: self,
            item: Some(item),
            done: false,
        }
    }

    /// How many channels are left: those that were not found closed.
    pub fn len(&self) -> usize {
        self.outputs.len()
    }

    /// Whether every channel was found closed.
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    /// Sends `slot`'s item, or waits.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), SendError<T>>> {
        if let Choice::ByKey(_) = self.choice {
            return self.poll_keyed(cx, slot);
        }
        if !self.waits
            && let Some(item) = slot.take()
        {
            match self.offer(item) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(item) => *slot = Some(item),
            }
            self.waits = true;
        }
        let mut at = 0;
        while at < self.outputs.len() {
            let output = &mut self.outputs[at].to;
            match output.waits().then(|| output.poll_room(cx)) {
                Some(Poll::Ready(Ok(()))) => {
                    if let Some(item) = slot.take() {
                        output.send(item);
                    }
                    self.next = at + 1;
                    drop(self.leave());
                    return Poll::Ready(Ok(()));
                }
                Some(Poll::Ready(Err(_))) => drop(self.outputs.remove(at)),
                Some(Poll::Pending) | None => at += 1,
            }
        }
        if self.outputs.iter().any(|output| output.to.waits()) {
            return Poll::Pending;
        }
        self.waits = false;
        let Some(item) = slot.take() else {
            return Poll::Pending;
        };
        // Those that do not wait may have got room while the item waited for others, which are
        // closed now.
        let Err(item) = self.offer(item) else {
            return Poll::Ready(Ok(()));
        };
        // One that is too heavy for some may find room in the others another time.
        let outputs = self.outputs.iter();
        let heavy = outputs.map(|output| output.to.sender.shared.core.too_heavy(&item));
        let heavy = heavy.collect::<Option<Vec<_>>>();
        let widest = heavy.map(|all| all.into_iter().max_by_key(|(_, limit)| *limit));
        Poll::Ready(Err(match widest {
            None => SendError::Full(Rejected::new(item)),
            Some(None) => SendError::Closed(Rejected::new(item)),
            Some(Some((weight, limit))) => SendError::TooHeavy(TooHeavy::new(item, weight, limit)),
        }))
    }

    /// Tries each channel once, those that are preferred first.
    fn offer(&mut self, mut item: T) -> Result<(), T> {
        let mut left = self.outputs.len();
        if let (Choice::LeastLoaded, 1..) = (&self.choice, left) {
            let turn = self.next % left;
            let loads = self.outputs.iter().enumerate();
            let least = loads.min_by_key(|(at, output)| {
                let rank = (at + left - turn) % left;
                (output.to.sender.len(), rank)
            });
            self.next = least.map_or(0, |(at, _)| at);
        }
        while left > 0 {
            left -= 1;
            if self.next >= self.outputs.len() {
                self.next = 0;
            }
            match self.outputs[self.next].to.offer(item) {
                Ok(()) => {
                    self.next += 1;
                    return Ok(());
                }
                Err((back, why)) => {
                    item = back;
                    match why {
                        PushError::Full => self.next += 1,
                        PushError::Closed => drop(self.outputs.remove(self.next)),
                    }
                }
            }
        }
        Err(item)
    }

    fn poll_keyed(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), SendError<T>>> {
        loop {
            // While an item waits for its receiver the choice stands.
            if let (Choice::ByKey(key), Some(item)) = (&self.choice, &*slot) {
                let key = key(item);
                let best = self.outputs.iter().enumerate();
                let best = best.max_by_key(|(_, output)| score(key, output.number));
                self.next = best.map_or(0, |(at, _)| at);
            }
            let Some(output) = self.outputs.get_mut(self.next) else {
                let item = slot.take().map(Rejected::new);
                return item.map_or(Poll::Pending, |item| {
                    Poll::Ready(Err(SendError::Closed(item)))
                });
            };
            self.waits = true;
            let sent = ready!(output.to.poll_send(cx, slot));
            self.waits = false;
            match sent {
                Err(SendError::Closed(item)) => {
                    *slot = Some(item.into_inner());
                    self.outputs.remove(self.next);
                }
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Gives up every place. An item that waits for its receiver comes back.
    pub(super) fn leave(&mut self) -> Option<T> {
        if !core::mem::take(&mut self.waits) {
            return None;
        }
        let left = self.outputs.iter_mut().map(|output| output.to.leave());
        left.fold(None, Option::or)
    }
}

/// Highest random weight (Thaler and Ravishankar, 1998): a key belongs to the output for which
/// this is the greatest.
fn score(key: u64, number: usize) -> u64 {
    // The finalizer of SplitMix64.
    let mut mixed = key ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl<T> fmt::Debug for FanOut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let choice = match self.choice {
            Choice::RoundRobin => "round robin",
            Choice::LeastLoaded => "least loaded",
            Choice::ByKey(_) => "by key",
        };
        f.debug_struct("FanOut")
            .field("choice", &choice)
            .field("outputs", &self.outputs.len())
            .finish_non_exhaustive()
    }
}

/// The future of [`FanOut::send`].
///
/// # Cancel safety
/// Dropped before it was ready it has sent nothing, and the item is dropped with it, unless
/// [`into_inner`](Self::into_inner) takes it out. Its places in the lines go to the next.
#[must_use = "futures do nothing unless polled"]
pub struct FanOutFuture<'a, T> {
    fan_out: &'a mut FanOut<T>,
    item: Option<T>,
    done: bool,
}

impl<T> FanOutFuture<'_, T> {
    /// Takes the item back; `None` once it was sent or came back in an error.
    pub fn into_inner(mut self) -> Option<T> {
        let item = self.item.take();
        let waiting = self.fan_out.leave();
        item.or(waiting)
    }
}

// The item is never pinned in place.
impl<T> Unpin for FanOutFuture<'_, T> {}

impl<T> Future for FanOutFuture<'_, T> {
    type Output = Result<(), SendError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.done {
            return Poll::Pending;
        }
        let sent = ready!(this.fan_out.poll_send(cx, &mut this.item));
        this.done = true;
        Poll::Ready(sent)
    }
}

impl<T> FusedFuture for FanOutFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl<T> Drop for FanOutFuture<'_, T> {
    fn drop(&mut self) {
        drop(self.fan_out.leave());
    }
}

impl<T> fmt::Debug for FanOutFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOutFuture")
            .field("fan_out", &self.fan_out)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}
