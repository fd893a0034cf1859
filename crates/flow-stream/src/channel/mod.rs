//! Bounded channels: building one, and what its two ends share.

mod core;
mod error;
mod limit;
mod locked;
mod many;
#[cfg(feature = "metrics")]
mod metrics;
mod permit;
mod receiver;
mod sender;
#[cfg(feature = "sink")]
mod sink;
mod sole;
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
    SendBlockingError, SendError, SendManyError, SendTimeoutError, TryRecvError, TrySendError,
};
pub use many::SendManyFuture;
pub use permit::{Permit, ReserveFuture};
pub use receiver::{Receiver, RecvFuture, RecvManyFuture, RecvTimeoutFuture};
pub use sender::{SendFuture, SendTimeoutFuture, Sender};
#[cfg(feature = "sink")]
pub use sink::ChannelSink;
pub use sole::SoleReceiver;
pub use stats::ChannelStats;
pub use weak::{WeakReceiver, WeakSender};

use self::core::Core;
use self::stats::Rare;

/// A bounded channel of many senders and many receivers, to be built.
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
        Self::builder().open(Policy::Wait, usize::MAX)
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
    /// Their memory, 64 bytes each or what the item needs, is taken at once, up to 8 MiB; a larger
    /// channel grows with use, and so does one with [`OnFull::DropOldest`]. These two have a lock
    /// over them where the others are lock-free while nobody waits.
    pub fn capacity(mut self, items: usize) -> Self {
        self.capacity = Some(items);
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
    /// No capacity or a capacity of 0; [`OnFull::CallerRuns`], since an item cannot be run.
    pub fn build(self) -> Result<(Sender<T>, Receiver<T>), ChannelConfigError> {
        let (policy, capacity) = self.checked()?;
        Ok(self.open(policy, capacity))
    }

    /// Builds the channel with one receiver that cannot be cloned.
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
        let (sender, receiver) = self.build()?;
        Ok((sender, SoleReceiver::new(receiver)))
    }

    fn checked(&self) -> Result<(Policy, usize), ChannelConfigError> {
        let capacity = match self.capacity {
            None => return Err(ChannelConfigError::CapacityMissing),
            Some(0) => return Err(ChannelConfigError::ZeroCapacity),
            Some(capacity) => capacity,
        };
        let policy = match self.on_full {
            OnFull::Wait => Policy::Wait,
            OnFull::Reject => Policy::Reject,
            OnFull::DropNewest => Policy::DropNewest,
            OnFull::DropOldest => Policy::DropOldest,
            given => return Err(ChannelConfigError::UnsupportedOnFull { given }),
        };
        Ok((policy, capacity))
    }

    fn open(self, policy: Policy, capacity: usize) -> (Sender<T>, Receiver<T>) {
        let shared = Arc::new(Shared {
            core: Core::new(capacity, policy == Policy::DropOldest),
            policy,
            name: self.name,
            on_drop: self.on_drop,
            on_block: self.on_block,
            runtime: self.runtime,
            rare: CachePadded::default(),
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
    /// It came with a permit that had reserved nothing ([`OnFull::DropOldest`]), and the channel
    /// had been closed since.
    Closed,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Newest => "the channel was full, and the new item gave way",
            Self::Oldest => "the channel was full, and the oldest item gave way",
            Self::NoReceiver => "the last receiver went away",
            Self::Closed => "the channel was closed",
        })
    }
}

/// The answers to "full" that a channel can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Wait,
    Reject,
    DropNewest,
    DropOldest,
}

/// What the ends of a channel share.
struct Shared<T> {
    core: Core<T>,
    policy: Policy,
    name: Cow<'static, str>,
    on_drop: Option<OnDrop<T>>,
    on_block: Option<OnBlock>,
    runtime: Option<Handle>,
    rare: CachePadded<Rare>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    /// For those who wait for the close.
    closed: Event,
}

impl<T> Shared<T> {
    /// Whether a receiver that parks may be woken by one sender after the other.
    fn has_many_senders(&self) -> bool {
        self.senders.load(Ordering::Relaxed) > 1
    }

    /// Hands a dropped item to the hook, or drops it. Never called with a lock held.
    fn dropped(&self, item: T, why: DropReason) {
        contain(|| match &self.on_drop {
            Some(hook) => hook(item, why),
            None => drop(item),
        });
    }

    /// Once per send, when it has found the channel full and is about to wait.
    #[cold]
    fn blocked(&self) {
        stats::count(&self.rare.blocked_sends, 1);
        self.rare.seen(self.core.len());
        if let Some(hook) = &self.on_block {
            contain(hook);
        }
    }

    fn close(&self) {
        self.core.close();
        self.closed.notify_all();
    }

    /// Drops what is in a channel that nobody receives from any more.
    fn abandon(&self) {
        while let Some(item) = self.core.pop_claimed() {
            stats::count(&self.rare.abandoned, 1);
            self.dropped(item, DropReason::NoReceiver);
        }
    }

    /// After a push into room that was promised, which the close does not stop.
    ///
    /// The last receiver drops what was claimed before its close. What is claimed later is seen to
    /// be so here: the claim and the close are changes of one word, and the receiver is gone
    /// before it closes.
    fn pushed_on_promise(&self) {
        if self.core.is_closed() && self.receivers.load(Ordering::Acquire) == 0 {
            self.abandon();
        }
    }

    fn debug(&self, end: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(end)
            .field("name", &self.name)
            .field("len", &self.core.len())
            .field("capacity", &self.core.capacity())
            .field("on_full", &self.policy)
            .field("closed", &self.core.is_closed())
            .field("senders", &self.senders.load(Ordering::Relaxed))
            .field("receivers", &self.receivers.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
