//! The errors of building, sending and receiving.

use core::fmt;
use core::time::Duration;
use std::error::Error;

use flow_rt::{BlockOnError, HandleError, OnFull, Stopped};
use flow_sync::Exclusive;

/// Why a channel was not built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelConfigError {
    /// No capacity was given.
    CapacityMissing,
    /// The capacity is 0.
    ZeroCapacity,
    /// The limit by weight is 0.
    ZeroWeight,
    /// The channel is to hold nothing, and to hold something.
    RendezvousHolds {
        /// The capacity that was given.
        capacity: Option<usize>,
        /// The limit by weight that was given.
        weight: Option<u64>,
    },
    /// The channel is to hold nothing, and to drop its oldest item.
    RendezvousDropsOldest,
    /// A channel cannot give this answer to "full".
    UnsupportedOnFull {
        /// The answer that was given.
        given: OnFull,
    },
}

impl fmt::Display for ChannelConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CapacityMissing => f.write_str(
                "the channel has no capacity: say how many items it holds with `.capacity(n)`",
            ),
            Self::ZeroCapacity => f.write_str(
                "channel capacity is 0; at least 1 is allowed: a channel that holds nothing is \
                 made with `.rendezvous()`",
            ),
            Self::ZeroWeight => {
                f.write_str("the channel's limit by weight is 0; at least 1 is allowed")
            }
            Self::RendezvousHolds { capacity, weight } => {
                f.write_str("a rendezvous channel holds nothing, but ")?;
                match (capacity, weight) {
                    (Some(capacity), _) => write!(f, "a capacity of {capacity} was given"),
                    (None, Some(weight)) => write!(f, "a limit by weight of {weight} was given"),
                    (None, None) => f.write_str("it was given room"),
                }
            }
            Self::RendezvousDropsOldest => f.write_str(
                "a rendezvous channel holds no item that could give way, so drop-oldest is no \
                 answer; wait, reject and drop-newest are allowed",
            ),
            Self::UnsupportedOnFull { given } => write!(
                f,
                "a channel cannot answer \"full\" with {given}; wait, reject, drop-newest and \
                 drop-oldest are allowed"
            ),
        }
    }
}

impl Error for ChannelConfigError {}

/// An item that a channel did not take; [`into_inner`](Self::into_inner) is the item.
///
/// It is `Sync` for every item that is `Send`, so that errors which carry it can go anywhere.
pub struct Rejected<T>(Exclusive<T>);

impl<T> Rejected<T> {
    pub(crate) fn new(item: T) -> Self {
        Self(Exclusive::new(item))
    }

    /// The item.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T> fmt::Debug for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").finish_non_exhaustive()
    }
}

/// An item that is heavier than all items of its channel may be together.
///
/// It is in a box, so that errors that are common are no larger for one that is rare.
pub struct TooHeavy<T>(Box<Heavy<T>>);

struct Heavy<T> {
    item: Rejected<T>,
    weight: u64,
    limit: u64,
}

impl<T> TooHeavy<T> {
    pub(crate) fn new(item: T, weight: u64, limit: u64) -> Self {
        Self(Box::new(Heavy {
            item: Rejected::new(item),
            weight,
            limit,
        }))
    }

    /// What the item weighs.
    pub fn weight(&self) -> u64 {
        self.0.weight
    }

    /// What is allowed.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// The item.
    pub fn into_inner(self) -> T {
        self.0.item.into_inner()
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        too_heavy(f, self.0.weight, self.0.limit)
    }

    fn debug(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TooHeavy")
            .field("weight", &self.0.weight)
            .field("limit", &self.0.limit)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for TooHeavy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug(f)
    }
}

/// Why [`send`](super::Sender::send) did not take the item. The channel is unchanged.
#[non_exhaustive]
pub enum SendError<T> {
    /// The channel is closed.
    Closed(Rejected<T>),
    /// The channel is full, and its answer to that is [`OnFull::Reject`].
    Full(Rejected<T>),
    /// The item weighs more than all items of the channel may weigh together: it will never fit.
    TooHeavy(TooHeavy<T>),
}

impl<T> SendError<T> {
    /// The item that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Closed(item) | Self::Full(item) => item.into_inner(),
            Self::TooHeavy(heavy) => heavy.into_inner(),
        }
    }

    /// Whether the channel is closed, so that trying again is no use.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

/// Why [`try_send`](super::Sender::try_send) did not take the item. The channel is unchanged.
#[non_exhaustive]
pub enum TrySendError<T> {
    /// The channel is closed.
    Closed(Rejected<T>),
    /// The channel is full, or the room that is left is promised to senders that wait. Of a
    /// rendezvous channel: no receiver waits.
    Full(Rejected<T>),
    /// The item weighs more than all items of the channel may weigh together: it will never fit.
    TooHeavy(TooHeavy<T>),
}

impl<T> TrySendError<T> {
    /// The item that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Closed(item) | Self::Full(item) => item.into_inner(),
            Self::TooHeavy(heavy) => heavy.into_inner(),
        }
    }

    /// Whether the channel is closed, so that trying again is no use.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

/// Why [`send_timeout`](super::Sender::send_timeout) did not take the item. The channel is
/// unchanged.
#[non_exhaustive]
pub enum SendTimeoutError<T> {
    /// The channel is closed.
    Closed(Rejected<T>),
    /// The channel is full, and its answer to that is [`OnFull::Reject`].
    Full(Rejected<T>),
    /// The item weighs more than all items of the channel may weigh together: it will never fit.
    TooHeavy(TooHeavy<T>),
    /// There was no room within the timeout.
    TimedOut {
        /// The item.
        item: Rejected<T>,
        /// The timeout that was given.
        timeout: Duration,
    },
    /// The send had to wait, and there is no runtime to keep the time.
    NoRuntime {
        /// The item.
        item: Rejected<T>,
        /// Why there is none.
        source: HandleError,
    },
    /// The runtime that kept the time is gone.
    Stopped {
        /// The item.
        item: Rejected<T>,
        /// What its timer said.
        source: Stopped,
    },
}

impl<T> SendTimeoutError<T> {
    /// The item that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Closed(item)
            | Self::Full(item)
            | Self::TimedOut { item, .. }
            | Self::NoRuntime { item, .. }
            | Self::Stopped { item, .. } => item.into_inner(),
            Self::TooHeavy(heavy) => heavy.into_inner(),
        }
    }

    /// Whether the channel is closed, so that trying again is no use.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

/// Why [`send_blocking`](super::Sender::send_blocking) did not take the item. The channel is
/// unchanged.
#[non_exhaustive]
pub enum SendBlockingError<T> {
    /// The channel is closed.
    Closed(Rejected<T>),
    /// The channel is full, and its answer to that is [`OnFull::Reject`].
    Full(Rejected<T>),
    /// The item weighs more than all items of the channel may weigh together: it will never fit.
    TooHeavy(TooHeavy<T>),
    /// The send had to wait, on a thread that must not block.
    MustNotBlock {
        /// The item.
        item: Rejected<T>,
        /// Why this thread must not.
        source: BlockOnError,
    },
}

impl<T> SendBlockingError<T> {
    /// The item that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Closed(item) | Self::Full(item) | Self::MustNotBlock { item, .. } => {
                item.into_inner()
            }
            Self::TooHeavy(heavy) => heavy.into_inner(),
        }
    }

    /// Whether the channel is closed, so that trying again is no use.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

impl<T> From<SendError<T>> for TrySendError<T> {
    fn from(error: SendError<T>) -> Self {
        match error {
            SendError::Closed(item) => Self::Closed(item),
            SendError::Full(item) => Self::Full(item),
            SendError::TooHeavy(heavy) => Self::TooHeavy(heavy),
        }
    }
}

impl<T> From<SendError<T>> for SendTimeoutError<T> {
    fn from(error: SendError<T>) -> Self {
        match error {
            SendError::Closed(item) => Self::Closed(item),
            SendError::Full(item) => Self::Full(item),
            SendError::TooHeavy(heavy) => Self::TooHeavy(heavy),
        }
    }
}

impl<T> From<SendError<T>> for SendBlockingError<T> {
    fn from(error: SendError<T>) -> Self {
        match error {
            SendError::Closed(item) => Self::Closed(item),
            SendError::Full(item) => Self::Full(item),
            SendError::TooHeavy(heavy) => Self::TooHeavy(heavy),
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str(CLOSED),
            Self::Full(_) => f.write_str(FULL),
            Self::TooHeavy(heavy) => heavy.fmt(f),
        }
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str(CLOSED),
            Self::Full(_) => f.write_str(FULL),
            Self::TooHeavy(heavy) => heavy.fmt(f),
        }
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str(CLOSED),
            Self::Full(_) => f.write_str(FULL),
            Self::TooHeavy(heavy) => heavy.fmt(f),
            Self::TimedOut { timeout, .. } => {
                write!(f, "no room in the channel within {timeout:?}")
            }
            Self::NoRuntime { source, .. } => source.fmt(f),
            Self::Stopped { source, .. } => source.fmt(f),
        }
    }
}

impl<T> fmt::Display for SendBlockingError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str(CLOSED),
            Self::Full(_) => f.write_str(FULL),
            Self::TooHeavy(heavy) => heavy.fmt(f),
            Self::MustNotBlock { source, .. } => {
                write!(f, "the channel is full and the send may not wait: {source}")
            }
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str("Closed(..)"),
            Self::Full(_) => f.write_str("Full(..)"),
            Self::TooHeavy(heavy) => heavy.debug(f),
        }
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str("Closed(..)"),
            Self::Full(_) => f.write_str("Full(..)"),
            Self::TooHeavy(heavy) => heavy.debug(f),
        }
    }
}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str("Closed(..)"),
            Self::Full(_) => f.write_str("Full(..)"),
            Self::TooHeavy(heavy) => heavy.debug(f),
            Self::TimedOut { timeout, .. } => write!(f, "TimedOut {{ timeout: {timeout:?}, .. }}"),
            Self::NoRuntime { source, .. } => write!(f, "NoRuntime {{ source: {source:?}, .. }}"),
            Self::Stopped { .. } => f.write_str("Stopped { .. }"),
        }
    }
}

impl<T> fmt::Debug for SendBlockingError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str("Closed(..)"),
            Self::Full(_) => f.write_str("Full(..)"),
            Self::TooHeavy(heavy) => heavy.debug(f),
            Self::MustNotBlock { source, .. } => {
                write!(f, "MustNotBlock {{ source: {source:?}, .. }}")
            }
        }
    }
}

impl<T> Error for SendError<T> {}
impl<T> Error for TrySendError<T> {}

impl<T> Error for SendTimeoutError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoRuntime { source, .. } => Some(source),
            Self::Stopped { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl<T> Error for SendBlockingError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::MustNotBlock { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why [`reserve`](super::Sender::reserve) and [`try_reserve`](super::Sender::try_reserve) gave no
/// permit, why a sink did not take an item, or a `Tee` or `FanOut` a channel. The channel is
/// unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReserveError {
    /// The channel is closed.
    Closed,
    /// There is no room that nobody waits for, and the call or the channel does not wait.
    Full,
    /// The channel is a rendezvous: it has no room that could be taken.
    Rendezvous,
    /// The channel weighs its items, and nobody knows what a permit's item will weigh.
    Weighed,
    /// A `Tee` was given the channel twice. With room for one of the two items it would wait for
    /// room for the other, and two of them for each other.
    Twice,
    /// The item that a sink was given weighs more than all items of the channel may weigh
    /// together.
    TooHeavy {
        /// What it weighs.
        weight: u64,
        /// What is allowed.
        limit: u64,
    },
}

/// Why [`send_many`](super::Sender::send_many) and [`try_send_many`](super::Sender::try_send_many)
/// stopped. What was not sent is in the queue still, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendManyError {
    /// The channel is closed.
    Closed,
    /// There is no room that nobody waits for, and the call or the channel does not wait.
    Full,
    /// The item at the front of the queue weighs more than all items of the channel may weigh
    /// together.
    TooHeavy {
        /// What it weighs.
        weight: u64,
        /// What is allowed.
        limit: u64,
    },
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => CLOSED,
            Self::Full => FULL,
            Self::Rendezvous => {
                "a rendezvous channel holds nothing, so there is no room to take in advance"
            }
            Self::Weighed => {
                "what an item will weigh is not known in advance, so a channel with a limit by \
                 weight gives no permits"
            }
            Self::Twice => "a tee was given a channel twice, and can have each of them only once",
            Self::TooHeavy { weight, limit } => return too_heavy(f, *weight, *limit),
        })
    }
}

impl fmt::Display for SendManyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => CLOSED,
            Self::Full => FULL,
            Self::TooHeavy { weight, limit } => return too_heavy(f, *weight, *limit),
        })
    }
}

impl Error for ReserveError {}
impl Error for SendManyError {}

/// Why [`recv`](super::Receiver::recv) has no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// The channel is closed, and every item in it was received.
    Closed,
}

/// Why [`try_recv`](super::Receiver::try_recv) has no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryRecvError {
    /// There is none, or what there is has been set aside for receivers that wait.
    Empty,
    /// The channel is closed, and every item in it was received.
    Closed,
}

/// Why [`recv_timeout`](super::Receiver::recv_timeout) has no item. Nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// The channel is closed, and every item in it was received.
    Closed,
    /// No item came within the timeout.
    TimedOut {
        /// The timeout that was given.
        timeout: Duration,
    },
    /// The receive had to wait, and there is no runtime to keep the time.
    NoRuntime(HandleError),
    /// The runtime that kept the time is gone.
    Stopped(Stopped),
}

/// Why [`recv_blocking`](super::Receiver::recv_blocking) has no item. Nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvBlockingError {
    /// The channel is closed, and every item in it was received.
    Closed,
    /// The receive had to wait, on a thread that must not block.
    MustNotBlock(BlockOnError),
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str(DRAINED),
        }
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the channel is empty",
            Self::Closed => DRAINED,
        })
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str(DRAINED),
            Self::TimedOut { timeout } => write!(f, "no item came within {timeout:?}"),
            Self::NoRuntime(source) => source.fmt(f),
            Self::Stopped(source) => source.fmt(f),
        }
    }
}

impl fmt::Display for RecvBlockingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str(DRAINED),
            Self::MustNotBlock(source) => {
                write!(
                    f,
                    "the channel is empty and the receive may not wait: {source}"
                )
            }
        }
    }
}

impl Error for RecvError {}
impl Error for TryRecvError {}

impl Error for RecvTimeoutError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoRuntime(source) => Some(source),
            Self::Stopped(source) => Some(source),
            _ => None,
        }
    }
}

impl Error for RecvBlockingError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::MustNotBlock(source) => Some(source),
            Self::Closed => None,
        }
    }
}

fn too_heavy(f: &mut fmt::Formatter<'_>, weight: u64, limit: u64) -> fmt::Result {
    write!(
        f,
        "an item that weighs {weight} will never fit into the channel; {limit} is allowed"
    )
}

const CLOSED: &str = "the channel is closed";
const FULL: &str = "the channel is full";
const DRAINED: &str = "the channel is closed and empty";
