//! The errors of building, sending and receiving.

use core::fmt;
use core::time::Duration;
use std::error::Error;

use flow_rt::{BlockOnError, HandleError, Stopped};

use crate::Rejected;

/// Why a broadcast was not built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// No capacity was given.
    CapacityMissing,
    /// The capacity is 0.
    ZeroCapacity,
    /// The capacity is more than a broadcast can have.
    CapacityTooLarge {
        /// The capacity that was given.
        given: usize,
        /// The most that is allowed.
        allowed: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CapacityMissing => f.write_str(
                "the broadcast has no capacity: say how many items it holds with `.capacity(n)`",
            ),
            Self::ZeroCapacity => f.write_str("broadcast capacity is 0; at least 1 is allowed"),
            Self::CapacityTooLarge { given, allowed } => write!(
                f,
                "broadcast capacity is {given}; at most {allowed} is allowed"
            ),
        }
    }
}

impl Error for ConfigError {}

/// Why [`send`](super::Sender::send) did not take the item. The broadcast is unchanged.
#[non_exhaustive]
pub enum SendError<T> {
    /// The broadcast is closed.
    Closed(Rejected<T>),
    /// Nobody receives.
    NoReceiver(Rejected<T>),
}

/// Why [`try_send`](super::Sender::try_send) did not take the item. The broadcast is unchanged.
#[non_exhaustive]
pub enum TrySendError<T> {
    /// The broadcast is closed.
    Closed(Rejected<T>),
    /// Nobody receives.
    NoReceiver(Rejected<T>),
    /// The slowest receiver is `capacity` items behind, or the room that is left is promised to
    /// senders that wait.
    Full(Rejected<T>),
}

/// Why [`send_timeout`](super::Sender::send_timeout) did not take the item. The broadcast is
/// unchanged.
#[non_exhaustive]
pub enum SendTimeoutError<T> {
    /// The broadcast is closed.
    Closed(Rejected<T>),
    /// Nobody receives.
    NoReceiver(Rejected<T>),
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

/// Why [`send_blocking`](super::Sender::send_blocking) did not take the item. The broadcast is
/// unchanged.
#[non_exhaustive]
pub enum SendBlockingError<T> {
    /// The broadcast is closed.
    Closed(Rejected<T>),
    /// Nobody receives.
    NoReceiver(Rejected<T>),
    /// The send had to wait, on a thread that must not block.
    MustNotBlock {
        /// The item.
        item: Rejected<T>,
        /// Why this thread must not.
        source: BlockOnError,
    },
}

impl<T> SendError<T> {
    /// The item that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Closed(item) | Self::NoReceiver(item) => item.into_inner(),
        }
    }
}

impl<T> TrySendError<T> {
    /// The item that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Closed(item) | Self::NoReceiver(item) | Self::Full(item) => item.into_inner(),
        }
    }
}

impl<T> SendTimeoutError<T> {
    /// The item that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Closed(item)
            | Self::NoReceiver(item)
            | Self::TimedOut { item, .. }
            | Self::NoRuntime { item, .. }
            | Self::Stopped { item, .. } => item.into_inner(),
        }
    }
}

impl<T> SendBlockingError<T> {
    /// The item that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Closed(item) | Self::NoReceiver(item) | Self::MustNotBlock { item, .. } => {
                item.into_inner()
            }
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed(_) => CLOSED,
            Self::NoReceiver(_) => NO_RECEIVER,
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed(_) => CLOSED,
            Self::NoReceiver(_) => NO_RECEIVER,
            Self::Full(_) => "the broadcast is full",
        })
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str(CLOSED),
            Self::NoReceiver(_) => f.write_str(NO_RECEIVER),
            Self::TimedOut { timeout, .. } => {
                write!(f, "no room in the broadcast within {timeout:?}")
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
            Self::NoReceiver(_) => f.write_str(NO_RECEIVER),
            Self::MustNotBlock { source, .. } => {
                write!(
                    f,
                    "the broadcast is full and the send may not wait: {source}"
                )
            }
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed(_) => "Closed(..)",
            Self::NoReceiver(_) => "NoReceiver(..)",
        })
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed(_) => "Closed(..)",
            Self::NoReceiver(_) => "NoReceiver(..)",
            Self::Full(_) => "Full(..)",
        })
    }
}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str("Closed(..)"),
            Self::NoReceiver(_) => f.write_str("NoReceiver(..)"),
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
            Self::NoReceiver(_) => f.write_str("NoReceiver(..)"),
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

/// Why [`recv`](super::Receiver::recv) has no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// The broadcast is closed, and this receiver has had every item.
    Closed,
    /// So many items gave way before this receiver had them; it goes on with the oldest that is
    /// left.
    Lagged(u64),
    /// The receiver was too slow and gets no more items; so many were there when it found out
    /// that it has not had, or were before.
    Disconnected(u64),
}

/// Why [`try_recv`](super::Receiver::try_recv) has no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryRecvError {
    /// There is none for this receiver.
    Empty,
    /// The broadcast is closed, and this receiver has had every item.
    Closed,
    /// What [`RecvError::Lagged`] says.
    Lagged(u64),
    /// What [`RecvError::Disconnected`] says.
    Disconnected(u64),
}

/// Why [`recv_timeout`](super::Receiver::recv_timeout) has no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// The broadcast is closed, and this receiver has had every item.
    Closed,
    /// What [`RecvError::Lagged`] says.
    Lagged(u64),
    /// What [`RecvError::Disconnected`] says.
    Disconnected(u64),
    /// No item came within the timeout. Nothing was taken.
    TimedOut {
        /// The timeout that was given.
        timeout: Duration,
    },
    /// The receive had to wait, and there is no runtime to keep the time.
    NoRuntime(HandleError),
    /// The runtime that kept the time is gone.
    Stopped(Stopped),
}

/// Why [`recv_blocking`](super::Receiver::recv_blocking) has no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvBlockingError {
    /// The broadcast is closed, and this receiver has had every item.
    Closed,
    /// What [`RecvError::Lagged`] says.
    Lagged(u64),
    /// What [`RecvError::Disconnected`] says.
    Disconnected(u64),
    /// The receive had to wait, on a thread that must not block.
    MustNotBlock(BlockOnError),
}

impl RecvError {
    /// The error of one that waits; `None` where it would wait.
    pub(super) fn of_try(error: TryRecvError) -> Option<Self> {
        match error {
            TryRecvError::Empty => None,
            TryRecvError::Closed => Some(Self::Closed),
            TryRecvError::Lagged(missed) => Some(Self::Lagged(missed)),
            TryRecvError::Disconnected(missed) => Some(Self::Disconnected(missed)),
        }
    }
}

impl From<RecvError> for RecvTimeoutError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Closed => Self::Closed,
            RecvError::Lagged(missed) => Self::Lagged(missed),
            RecvError::Disconnected(missed) => Self::Disconnected(missed),
        }
    }
}

impl From<RecvError> for RecvBlockingError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Closed => Self::Closed,
            RecvError::Lagged(missed) => Self::Lagged(missed),
            RecvError::Disconnected(missed) => Self::Disconnected(missed),
        }
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str(DRAINED),
            Self::Lagged(missed) => lagged(*missed, f),
            Self::Disconnected(missed) => disconnected(*missed, f),
        }
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the broadcast has no new item"),
            Self::Closed => f.write_str(DRAINED),
            Self::Lagged(missed) => lagged(*missed, f),
            Self::Disconnected(missed) => disconnected(*missed, f),
        }
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str(DRAINED),
            Self::Lagged(missed) => lagged(*missed, f),
            Self::Disconnected(missed) => disconnected(*missed, f),
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
            Self::Lagged(missed) => lagged(*missed, f),
            Self::Disconnected(missed) => disconnected(*missed, f),
            Self::MustNotBlock(source) => write!(
                f,
                "the broadcast has no new item and the receive may not wait: {source}"
            ),
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
            _ => None,
        }
    }
}

fn lagged(missed: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "the receiver lagged and missed {missed} items")
}

fn disconnected(missed: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "the receiver lagged, missed {missed} items and was disconnected"
    )
}

const CLOSED: &str = "the broadcast is closed";
const NO_RECEIVER: &str = "the broadcast has no receiver";
const DRAINED: &str = "the broadcast is closed and empty";
