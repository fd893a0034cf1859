//! The errors of sending and of waiting.

use core::fmt;
use std::error::Error;

use crate::Rejected;

/// Why [`send`](super::Sender::send) did not take the value. The one before stays.
#[non_exhaustive]
pub enum SendError<T> {
    /// There is no receiver.
    NoReceiver(Rejected<T>),
}

impl<T> SendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::NoReceiver(value) => value.into_inner(),
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value has no receiver")
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoReceiver(..)")
    }
}

impl<T> Error for SendError<T> {}

/// Why there is no value to wait for. The last one can still be borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// The last sender is gone, and the last value was seen.
    Closed,
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the last sender is gone, and the last value was seen")
    }
}

impl Error for RecvError {}
