//! The errors of sending and receiving.

use core::fmt;
use core::time::Duration;
use std::error::Error;

use flow_rt::{BlockOnError, HandleError, Stopped};

use crate::Rejected;

/// Why [`send`](super::Sender::send) did not take the item.
#[non_exhaustive]
pub enum SendError<T> {
    /// The receiver is gone, or has closed.
    Closed(Rejected<T>),
}

impl<T> SendError<T> {
    /// The item that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Closed(item) => item.into_inner(),
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the receiver is gone or has closed")
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed(..)")
    }
}

impl<T> Error for SendError<T> {}

/// Why a [`Receiver`](super::Receiver) has no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// The sender went away without sending, the receiver had closed, or the item was received
    /// before.
    Closed,
}

/// Why [`try_recv`](super::Receiver::try_recv) has no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryRecvError {
    /// It was not sent yet.
    Empty,
    /// The sender went away without sending, the receiver had closed, or the item was received
    /// before.
    Closed,
}

/// Why [`recv_timeout`](super::Receiver::recv_timeout) has no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// The sender went away without sending, the receiver had closed, or the item was received
    /// before.
    Closed,
    /// It did not come within the timeout, and may come still.
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
    /// The sender went away without sending, the receiver had closed, or the item was received
    /// before.
    Closed,
    /// The receive had to wait, on a thread that must not block.
    MustNotBlock(BlockOnError),
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CLOSED)
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the item was not sent yet",
            Self::Closed => CLOSED,
        })
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str(CLOSED),
            Self::TimedOut { timeout } => write!(f, "the item did not come within {timeout:?}"),
            Self::NoRuntime(source) => source.fmt(f),
            Self::Stopped(source) => source.fmt(f),
        }
    }
}

impl fmt::Display for RecvBlockingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str(CLOSED),
            Self::MustNotBlock(source) => {
                write!(
                    f,
                    "the item was not sent yet and the receive may not wait: {source}"
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
            Self::Closed | Self::TimedOut { .. } => None,
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

const CLOSED: &str = "the channel is closed and has no item";
