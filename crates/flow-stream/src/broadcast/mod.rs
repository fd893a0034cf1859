//! Every receiver gets every item, and a slow one has a known effect.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use flow_rt::block_on;
//! use flow_stream::broadcast::{self, OnLag, RecvError};
//!
//! let (tx, mut fast) = broadcast::builder().capacity(2).on_lag(OnLag::DropOldest).build()?;
//! let mut slow = tx.subscribe();
//! block_on(async {
//!     for item in 1..=3 {
//!         tx.send(item).await?;
//!         assert_eq!(fast.recv().await, Ok(item));
//!     }
//!     assert_eq!(slow.recv().await, Err(RecvError::Lagged(1)));
//!     assert_eq!(slow.recv().await, Ok(2));
//!     Ok(())
//! })?
//! # }
//! ```
//!
//! There are no events of `tracing` here, as there are of a channel that drops: a receiver that
//! misses items is told so itself, in [`RecvError`], and [`BroadcastStats`] and the metrics count
//! what gave way, what was missed, and who was disconnected.

mod core;
mod error;
#[cfg(feature = "metrics")]
mod metrics;
mod receiver;
mod sender;
#[cfg(feature = "serde")]
mod settings;
mod stats;

use ::core::fmt;
use std::borrow::Cow;

use flow_rt::Handle;
use flow_sync::sync::Arc;
use flow_sync::sync::atomic::{AtomicUsize, Ordering};
use flow_sync::{CachePadded, Event};

pub use error::{
    ConfigError, RecvBlockingError, RecvError, RecvTimeoutError, SendBlockingError, SendError,
    SendTimeoutError, TryRecvError, TrySendError,
};
pub use receiver::{Receiver, RecvFuture, RecvTimeoutFuture};
pub use sender::{SendFuture, SendTimeoutFuture, Sender, WeakSender};
pub use stats::BroadcastStats;

use self::core::Core;
use self::stats::Rare;

/// A broadcast of `capacity` items whose senders wait for the slowest receiver, and its first
/// ends.
///
/// # Errors
/// A capacity of 0 or above [`Builder::MAX_CAPACITY`].
pub fn channel<T>(capacity: usize) -> Result<(Sender<T>, Receiver<T>), ConfigError> {
    builder().capacity(capacity).build()
}

/// What to decide about a broadcast: its capacity at least.
pub fn builder() -> Builder {
    Builder {
        name: Cow::Borrowed("broadcast"),
        capacity: None,
        on_lag: OnLag::Wait,
        runtime: None,
    }
}

/// What a broadcast does when an item comes and its slowest receiver is `capacity` items behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnLag {
    /// The sender waits for it: back-pressure by the slowest.
    #[default]
    Wait,
    /// The oldest item gives way. Who has not had it is told how many items were missed.
    DropOldest,
    /// The oldest item gives way. Who has not had it gets no more items.
    Disconnect,
}

impl fmt::Display for OnLag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wait => "wait",
            Self::DropOldest => "drop-oldest",
            Self::Disconnect => "disconnect",
        })
    }
}

/// Builds a broadcast.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build()`"]
pub struct Builder {
    name: Cow<'static, str>,
    capacity: Option<usize>,
    on_lag: OnLag,
    runtime: Option<Handle>,
}

impl Builder {
    /// The most items that a broadcast holds.
    pub const MAX_CAPACITY: usize = 1 << 24;

    /// What the broadcast is called in `Debug` and metrics; `broadcast` unless said.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// How many items it holds, from 1 to [`MAX_CAPACITY`](Self::MAX_CAPACITY): how far the
    /// slowest receiver may be behind.
    ///
    /// Their memory, 32 bytes each or as many times that as the item needs, is taken at once, for
    /// the next power of two.
    pub fn capacity(mut self, items: usize) -> Self {
        self.capacity = Some(items);
        self
    }

    /// What happens to a receiver that is as far behind as that; [`OnLag::Wait`] unless said.
    pub fn on_lag(mut self, policy: OnLag) -> Self {
        self.on_lag = policy;
        self
    }

    /// The runtime that keeps the time of `send_timeout` and `recv_timeout`.
    ///
    /// Unless given it is [`Handle::current`] where such a future first has to wait. Nothing
    /// else in a broadcast needs a runtime.
    pub fn runtime(mut self, runtime: &Handle) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// Builds the broadcast and gives its first two ends.
    ///
    /// # Errors
    /// No capacity, or one that is not allowed.
    pub fn build<T>(self) -> Result<(Sender<T>, Receiver<T>), ConfigError> {
        let capacity = match self.capacity {
            None => return Err(ConfigError::CapacityMissing),
            Some(0) => return Err(ConfigError::ZeroCapacity),
            Some(given) if given > Self::MAX_CAPACITY => {
                return Err(ConfigError::CapacityTooLarge {
                    given,
                    allowed: Self::MAX_CAPACITY,
                });
            }
            Some(capacity) => capacity,
        };
        let shared = Arc::new(Shared {
            core: Core::new(capacity, self.on_lag == OnLag::Wait),
            on_lag: self.on_lag,
            name: self.name,
            runtime: self.runtime,
            senders: AtomicUsize::new(1),
            rare: CachePadded::default(),
            ended: Event::new(),
        });
        let receiver = Receiver::new(shared.clone(), 0);
        Ok((Sender::new(shared), receiver))
    }
}

/// What the ends of a broadcast share.
struct Shared<T> {
    core: Core<T>,
    on_lag: OnLag,
    name: Cow<'static, str>,
    runtime: Option<Handle>,
    senders: AtomicUsize,
    rare: CachePadded<Rare>,
    /// For those who wait until a send would be refused.
    ended: Event,
}

impl<T> Shared<T> {
    fn close(&self) {
        self.core.close();
        self.ended.notify_all();
    }

    fn debug(&self, end: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(end)
            .field("name", &self.name)
            .field("len", &self.core.len_from(0))
            .field("capacity", &self.core.capacity())
            .field("on_lag", &self.on_lag)
            .field("closed", &self.core.is_closed())
            .field("senders", &self.senders.load(Ordering::Relaxed))
            .field("receivers", &self.core.receivers())
            .finish_non_exhaustive()
    }
}
