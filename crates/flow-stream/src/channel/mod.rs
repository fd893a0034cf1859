//! Channels: building one, and what its two ends share.

mod core;
mod counters;
mod error;
mod events;
mod line;
mod locked;
mod many;
#[cfg(feature = "metrics")]
mod metrics;
mod owned;
mod permit;
mod receiver;
mod rendezvous;
mod scale;
mod sender;
#[cfg(feature = "serde")]
mod settings;
#[cfg(feature = "sink")]
mod sink;
mod sole;
mod special;
mod stats;
mod weak;

use ::core::fmt;
use ::core::marker::PhantomData;
use std::borrow::Cow;

use flow_rt::{Handle, OnFull, contain};
use flow_sync::sync::Arc;
use flow_sync::sync::atomic::{AtomicUsize, Ordering};
use flow_sync::{CachePadded, Event};

pub use error::{
    ChannelConfigError, RecvBlockingError, RecvError, RecvTimeoutError, Rejected, ReserveError,
    SendBlockingError, SendError, SendManyError, SendTimeoutError, TooHeavy, TryRecvError,
    TrySendError,
};
pub use many::SendManyFuture;
pub use owned::{OwnedPermit, ReserveOwnedFuture};
pub use permit::{Permit, ReserveFuture};
pub use receiver::{Receiver, RecvFuture, RecvManyFuture, RecvTimeoutFuture};
pub use sender::{SendFuture, SendTimeoutFuture, Sender};
#[cfg(feature = "sink")]
pub use sink::ChannelSink;
pub use sole::SoleReceiver;
pub use stats::ChannelStats;
pub use weak::{WeakReceiver, WeakSender};

use self::core::Core;
#[cfg(feature = "tracing")]
use self::events::Burst;
use self::scale::Weighing;
use self::stats::Rare;

/// A channel of many senders and many receivers, to be built.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_rt::{OnFull, block_on};
/// use flow_stream::Channel;
///
/// let (tx, rx) = Channel::<u32>::builder()
///     .capacity(2)
///     .on_full(OnFull::DropOldest)
///     .on_drop(|item, why| eprintln!("lost {item}: {why}"))
///     .build()?;
///
/// block_on(async {
///     for item in 1..=3 {
///         tx.send(item).await?;
///     }
///     drop(tx);
///     assert_eq!(rx.recv().await, Ok(2));
///     assert_eq!(rx.recv().await, Ok(3));
///     assert!(rx.recv().await.is_err()); // closed, and everything received
///     Ok(())
/// })?
/// # }
/// ```
pub struct Channel<T> {
    never: ::core::convert::Infallible,
    items: PhantomData<fn() -> T>,
}

impl<T> Channel<T> {
    /// What to decide about a channel: its capacity at least.
    pub fn builder() -> ChannelBuilder<T> {
        ChannelBuilder {
            name: Cow::Borrowed("channel"),
            capacity: None,
            weighing: None,
            rendezvous: false,
            on_full: OnFull::Wait,
            on_drop: None,
            on_block: None,
            runtime: None,
        }
    }

    /// A channel of `capacity` items whose senders wait when it is full.
    ///
    /// # Errors
    /// [`ChannelConfigError::ZeroCapacity`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, rx) = flow_stream::Channel::bounded(8)?;
    /// tx.try_send("hello")?;
    /// assert_eq!(rx.try_recv(), Ok("hello"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn bounded(capacity: usize) -> Result<(Sender<T>, Receiver<T>), ChannelConfigError> {
        Self::builder().capacity(capacity).build()
    }

    /// [`bounded`](Self::bounded) over the lock-free ring, for models.
    #[cfg(loom)]
    #[doc(hidden)]
    pub fn over_a_ring(capacity: usize) -> Option<(Sender<T>, Receiver<T>)> {
        let ring = Core::ring(capacity, false)?;
        Some(Self::builder().open(Policy::Wait, ring))
    }

    /// A channel that is never full: memory is its only bound.
    ///
    /// Senders that outrun their receivers fill it. Where that can happen a bound and an answer to
    /// "full" are the better choice; [`ChannelStats::max_len`] shows how far it went.
    ///
    /// ```
    /// let (tx, rx) = flow_stream::Channel::unbounded();
    /// for item in 0..100_000 {
    ///     tx.try_send(item).expect("it is open");
    /// }
    /// assert_eq!((rx.len(), rx.try_recv()), (100_000, Ok(0)));
    /// ```
    pub fn unbounded() -> (Sender<T>, Receiver<T>) {
        Self::builder().open(Policy::Wait, Core::new(usize::MAX, false, false))
    }

    /// A channel that holds nothing: a send ends when a receiver has taken its item.
    ///
    /// See [`ChannelBuilder::rendezvous`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, rx) = flow_stream::Channel::rendezvous();
    /// assert!(tx.try_send(1).is_err()); // nobody receives
    /// let receiver = std::thread::spawn(move || rx.recv_blocking());
    /// tx.send_blocking(2)?; // it has it
    /// assert_eq!(receiver.join().expect("it does not panic"), Ok(2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn rendezvous() -> (Sender<T>, Receiver<T>) {
        Self::builder().open(Policy::Wait, Core::rendezvous())
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.never {}
    }
}

/// Builds a [`Channel`].
#[must_use = "a builder does nothing until `build()`"]
pub struct ChannelBuilder<T> {
    name: Cow<'static, str>,
    capacity: Option<usize>,
    weighing: Option<Weighing<T>>,
    rendezvous: bool,
    on_full: OnFull,
    on_drop: Option<OnDrop<T>>,
    on_block: Option<OnBlock>,
    runtime: Option<Handle>,
}

type OnDrop<T> = Box<dyn Fn(T, DropReason) + Send + Sync>;
type OnBlock = Box<dyn Fn() + Send + Sync>;

impl<T> ChannelBuilder<T> {
    /// What the channel is called in `Debug` and metrics; `channel` unless said.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// How many items the channel holds; at least 1.
    ///
    /// Their memory is taken at once, up to 8 MiB, for the next power of two: for each the item and
    /// 8 bytes, aligned (16 for a `u64`). A larger channel grows with use, and so does one with
    /// [`OnFull::DropOldest`]; when it is emptied it keeps the memory of 4,096 items at the most.
    /// These two have a lock over them where the others are lock-free while nobody waits.
    pub fn capacity(mut self, items: usize) -> Self {
        self.capacity = Some(items);
        self
    }

    /// What the items may weigh together, at least 1, and what weighs each: bytes, say.
    ///
    /// It is a limit besides the capacity, or instead of one: without a capacity any number of
    /// items may be there that is light enough. An item that is heavier than `limit` will never
    /// fit and comes back in an error of its own, whatever the answer to "full". Order is kept: a
    /// light item does not overtake a heavy one that waits. With [`OnFull::DropOldest`] as many
    /// items go as must.
    ///
    /// An item is weighed by its sender, outside of every lock, at each try to send it, and the
    /// weight with which it went in is kept with it. A panic of `weigh` is the sender's: the
    /// channel is as it was, the item goes with the panic, and of [`send_many`](Sender::send_many)
    /// what was not sent is there still. Such a channel has a lock over it, and gives no
    /// [permits](Sender::reserve): what they will be used for is not known.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use flow_stream::{Channel, TrySendError};
    ///
    /// let weigh = |line: &String| line.len() as u64;
    /// let (tx, _rx) = Channel::builder().capacity(1_000).max_weight(8, weigh).build()?;
    /// tx.try_send("12345".to_owned())?;
    /// let full = tx.try_send("6789".to_owned());
    /// assert!(matches!(full, Err(TrySendError::Full(_)))); // though three more bytes would fit
    /// match tx.try_send("123456789".to_owned()) {
    ///     Err(TrySendError::TooHeavy(heavy)) => assert_eq!((heavy.weight(), heavy.limit()), (9, 8)),
    ///     other => panic!("{other:?}"),
    /// }
    /// assert_eq!(tx.stats().weight, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_weight(
        mut self,
        limit: u64,
        weigh: impl Fn(&T) -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.weighing = Some(Weighing {
            limit,
            weigh: Box::new(weigh),
        });
        self
    }

    /// A channel that holds nothing, instead of one with a capacity: sender and receiver meet.
    ///
    /// A `send` ends when a receiver has taken its item, so that whoever sends knows that it is
    /// being worked on. "Full" means that no receiver waits: `try_send`, and every send whose
    /// answer to that is not `Wait`, hands the item to a receiver that waits or not at all. (If
    /// that receiver then gives up, the item stays for the next one.) First come first served at
    /// both ends. It has a lock over it, and no room to [reserve](Sender::reserve).
    ///
    /// # Cancel safety
    /// Two parties that may both give up cannot both be sure of the other. The receiver decides:
    /// what it has taken was sent. A send that is dropped before its item was taken has sent
    /// nothing; one that is dropped after that, before it could say so, has. In either case
    /// [`SendFuture::into_inner`] gives the item back if, and only if, nobody has taken it.
    pub fn rendezvous(mut self) -> Self {
        self.rendezvous = true;
        self
    }

    /// What happens to a new item when the channel is full; [`OnFull::Wait`] unless said.
    ///
    /// Every way of sending follows it. With `Wait`, `try_send` alone does not wait: it gives the
    /// item back.
    pub fn on_full(mut self, answer: OnFull) -> Self {
        self.on_full = answer;
        self
    }

    /// Who gets the items that the channel drops.
    ///
    /// The hook runs in whoever caused the drop, outside of every lock; it may use the channel.
    /// Its panic is contained. Without a hook the items are dropped.
    pub fn on_drop(mut self, hook: impl Fn(T, DropReason) + Send + Sync + 'static) -> Self {
        self.on_drop = Some(Box::new(hook));
        self
    }

    /// Who is told that a send found the channel full and waits; once per send.
    ///
    /// The hook runs in the sender, outside of every lock, before the send first waits. Its panic
    /// is contained.
    pub fn on_block(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_block = Some(Box::new(hook));
        self
    }

    /// The runtime that keeps the time of `send_timeout` and `recv_timeout`.
    ///
    /// Unless given it is [`Handle::current`] where such a future first has to wait. Nothing
    /// else in a channel needs a runtime.
    pub fn runtime(mut self, runtime: &Handle) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// Builds the channel and gives its first two ends.
    ///
    /// # Errors
    /// No capacity or a limit of 0; a rendezvous that is to hold items, or to drop the oldest;
    /// [`OnFull::CallerRuns`], since an item cannot be run.
    pub fn build(self) -> Result<(Sender<T>, Receiver<T>), ChannelConfigError> {
        self.build_for(false)
    }

    /// Builds the channel with one receiver that cannot be cloned, and waits at less cost: it has
    /// no place in a line, and no item is set aside for it.
    ///
    /// # Errors
    /// Those of [`build`](Self::build).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use flow_stream::Channel;
    ///
    /// let (tx, mut rx) = Channel::builder().capacity(8).build_single_consumer()?;
    /// tx.try_send("hello")?;
    /// assert_eq!(rx.try_recv(), Ok("hello"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn build_single_consumer(self) -> Result<(Sender<T>, SoleReceiver<T>), ChannelConfigError> {
        let (sender, receiver) = self.build_for(true)?;
        Ok((sender, SoleReceiver::new(receiver)))
    }

    fn build_for(mut self, sole: bool) -> Result<(Sender<T>, Receiver<T>), ChannelConfigError> {
        let policy = self.policy()?;
        let core = self.core(policy, sole)?;
        Ok(self.open(policy, core))
    }

    fn policy(&self) -> Result<Policy, ChannelConfigError> {
        match self.on_full {
            OnFull::Wait => Ok(Policy::Wait),
            OnFull::Reject => Ok(Policy::Reject),
            OnFull::DropNewest => Ok(Policy::DropNewest),
            OnFull::DropOldest => Ok(Policy::DropOldest),
            given => Err(ChannelConfigError::UnsupportedOnFull { given }),
        }
    }

    fn core(&mut self, policy: Policy, sole: bool) -> Result<Core<T>, ChannelConfigError> {
        let (capacity, evicts) = (self.capacity, policy == Policy::DropOldest);
        let weight = self.weighing.as_ref().map(|weighing| weighing.limit);
        if self.rendezvous {
            return match (capacity, weight) {
                (None, None) if evicts => Err(ChannelConfigError::RendezvousDropsOldest),
                (None, None) => Ok(Core::rendezvous()),
                _ => Err(ChannelConfigError::RendezvousHolds { capacity, weight }),
            };
        }
        match (capacity, self.weighing.take()) {
            (Some(0), _) => Err(ChannelConfigError::ZeroCapacity),
            (_, Some(Weighing { limit: 0, .. })) => Err(ChannelConfigError::ZeroWeight),
            (capacity, Some(weighing)) => {
                Ok(Core::weighing(capacity.unwrap_or(usize::MAX), weighing))
            }
            (Some(capacity), None) => Ok(Core::new(capacity, evicts, sole)),
            (None, None) => Err(ChannelConfigError::CapacityMissing),
        }
    }

    fn open(self, policy: Policy, core: Core<T>) -> (Sender<T>, Receiver<T>) {
        let policy = match policy {
            Policy::Wait if core.capacity() == 0 => Policy::Meet,
            policy => policy,
        };
        let shared = Arc::new(Shared {
            core,
            policy,
            name: self.name,
            on_drop: self.on_drop,
            on_block: self.on_block,
            runtime: self.runtime,
            rare: CachePadded::default(),
            #[cfg(feature = "tracing")]
            burst: Burst::default(),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
            closed: Event::new(),
        });
        (Sender::new(shared.clone()), Receiver::new(shared))
    }
}

impl<T> fmt::Debug for ChannelBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBuilder")
            .field("name", &self.name)
            .field("capacity", &self.capacity)
            .field("max_weight", &self.weighing)
            .field("rendezvous", &self.rendezvous)
            .field("on_full", &self.on_full)
            .field("on_drop", &self.on_drop.is_some())
            .field("on_block", &self.on_block.is_some())
            .field("runtime", &self.runtime)
            .finish()
    }
}

/// Why a channel dropped an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// It was new, and the channel was full ([`OnFull::DropNewest`]).
    Newest,
    /// It was the oldest, and a new one needed room ([`OnFull::DropOldest`]).
    Oldest,
    /// It was in the channel when the last receiver went away.
    NoReceiver,
    /// It came with a permit that had reserved nothing ([`OnFull::DropOldest`]), or into a sink,
    /// and the channel had been closed since.
    Closed,
    /// It came into a sink, and is heavier than all items of the channel may be together.
    TooHeavy,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Newest => "the channel was full, and the new item gave way",
            Self::Oldest => "the channel was full, and the oldest item gave way",
            Self::NoReceiver => "the last receiver went away",
            Self::Closed => "the channel was closed",
            Self::TooHeavy => "it is too heavy for the channel",
        })
    }
}

/// The answers to "full" that a channel can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Wait,
    /// To wait until a receiver has taken the item; it must not be done when it is handed over.
    Meet,
    Reject,
    DropNewest,
    DropOldest,
}

/// What the ends of a channel share.
pub(crate) struct Shared<T> {
    pub(crate) core: Core<T>,
    pub(crate) policy: Policy,
    name: Cow<'static, str>,
    on_drop: Option<OnDrop<T>>,
    on_block: Option<OnBlock>,
    runtime: Option<Handle>,
    rare: CachePadded<Rare>,
    #[cfg(feature = "tracing")]
    burst: Burst,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    /// For those who wait for the close.
    closed: Event,
}

impl<T> Shared<T> {
    /// Whether there are handles besides one sender and one receiver. (Those who share a handle are
    /// one here.)
    ///
    /// Then a receiver lets them run before it parks, else each of them would find it asleep. A
    /// pair parks at once, which makes it work in batches: a receiver that yields would run after
    /// its sender item by item.
    fn has_company(&self) -> bool {
        self.senders.load(Ordering::Relaxed) > 1 || self.receivers.load(Ordering::Relaxed) > 1
    }

    /// Before a receiver waits that has no place in the line yet: one of several lets senders get
    /// ahead. For one alone that does nothing, or costs a little.
    #[cold]
    fn rest(&self) {
        if self.receivers.load(Ordering::Relaxed) > 1 {
            self.core.rest();
        }
    }

    /// Hands a dropped item to the hook, or drops it. Never called with a lock held.
    #[inline]
    fn dropped(&self, item: T, why: DropReason) {
        if self.on_drop.is_some() || ::core::mem::needs_drop::<T>() {
            self.dispose(item, why);
        }
    }

    #[inline(never)]
    fn dispose(&self, item: T, why: DropReason) {
        contain(|| match &self.on_drop {
            Some(hook) => hook(item, why),
            None => drop(item),
        });
    }

    /// Once per send, when it has found the channel full and is about to wait.
    #[cold]
    pub(crate) fn blocked(&self) {
        stats::count(&self.rare.blocked_sends, 1);
        self.rare.seen(self.core.len());
        if let Some(hook) = &self.on_block {
            contain(hook);
        }
    }

    fn close(&self) {
        if self.core.close() {
            self.burst_over();
        }
        self.closed.notify_all();
    }

    /// Drops what is in a channel that nobody receives from any more.
    fn abandon(&self) {
        self.rare.ends_after(self.core.tally().popped);
        let mut items = 0;
        while let Some(item) = self.core.pop_claimed() {
            items += 1;
            self.dropped(item, DropReason::NoReceiver);
        }
        self.abandoned(items);
    }

    /// After a push into room that was promised, which the close does not stop.
    ///
    /// The last receiver drops what was claimed before its close. What is claimed later is seen to
    /// be so here: the claim and the close are changes of one word, and the receiver is gone
    /// before it closes.
    pub(crate) fn pushed_on_promise(&self) {
        if self.core.is_closed() && self.receivers.load(Ordering::Acquire) == 0 {
            self.abandon();
        }
    }

    fn on_full(&self) -> OnFull {
        match self.policy {
            Policy::Wait | Policy::Meet => OnFull::Wait,
            Policy::Reject => OnFull::Reject,
            Policy::DropNewest => OnFull::DropNewest,
            Policy::DropOldest => OnFull::DropOldest,
        }
    }

    fn debug(&self, end: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(end)
            .field("name", &self.name)
            .field("len", &self.core.len())
            .field("capacity", &self.core.capacity())
            .field("on_full", &self.on_full())
            .field("closed", &self.core.is_closed())
            .field("senders", &self.senders.load(Ordering::Relaxed))
            .field("receivers", &self.receivers.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
