//! What can go wrong with permits.

use core::fmt;
use core::time::Duration;

use flow_rt::{BlockOnError, HandleError, Stopped};
use flow_sync::LimitTooLarge;

/// Why a [`ConcurrencyLimiter`](super::ConcurrencyLimiter) was not built or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConcurrencyConfigError {
    /// No limit was given.
    MissingLimit,
    /// A limit of zero gives nothing, ever.
    ZeroLimit,
    /// More than can be counted.
    LimitTooLarge {
        /// The limit given.
        limit: u32,
        /// The largest allowed.
        max: u32,
    },
}

impl From<LimitTooLarge> for ConcurrencyConfigError {
    fn from(error: LimitTooLarge) -> Self {
        Self::LimitTooLarge {
            limit: error.given(),
            max: error.max(),
        }
    }
}

impl fmt::Display for ConcurrencyConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingLimit => f.write_str("a concurrency limiter needs a limit: `.limit(n)`"),
            Self::ZeroLimit => {
                f.write_str("a limit of 0 gives no permit, ever; it must be at least 1")
            }
            Self::LimitTooLarge { limit, max } => {
                write!(f, "a limit of {limit} is above {max}, the largest allowed")
            }
        }
    }
}

impl std::error::Error for ConcurrencyConfigError {}

/// Why `try_acquire` gave no permit. Nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryPermitError {
    /// Not now: too few are free, or others wait for them.
    Full {
        /// The limit in force.
        limit: u32,
    },
    /// Never, with this limit.
    ExceedsLimit {
        /// Permits asked for.
        asked: u32,
        /// The limit in force.
        limit: u32,
    },
    /// Never again: the limiter is closed.
    Closed,
}

impl fmt::Display for TryPermitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { limit } => {
                write!(f, "not enough of the {limit} permits are free now")
            }
            Self::ExceedsLimit { asked, limit } => exceeds(f, *asked, *limit),
            Self::Closed => f.write_str(CLOSED),
        }
    }
}

impl std::error::Error for TryPermitError {}

/// Why a wait ended without a permit. Nothing is held, and the place in the queue is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PermitError {
    /// Never, with this limit; also if it was lowered during the wait.
    ExceedsLimit {
        /// Permits asked for.
        asked: u32,
        /// The limit in force.
        limit: u32,
    },
    /// As many wait already as may.
    QueueFull {
        /// The longest queue allowed.
        max_waiters: usize,
    },
    /// The time given ran out.
    Timeout {
        /// The time given.
        limit: Duration,
    },
    /// The limiter is closed.
    Closed,
    /// A time-out needs a runtime's timer, and there is none.
    NoRuntime(HandleError),
    /// The runtime that kept the time-out was shut down.
    Stopped(Stopped),
    /// `acquire_blocking` would have blocked a thread of a runtime.
    WouldBlock(BlockOnError),
}

impl fmt::Display for PermitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExceedsLimit { asked, limit } => exceeds(f, *asked, *limit),
            Self::QueueFull { max_waiters } => write!(
                f,
                "{max_waiters} callers wait for permits already, the longest queue allowed"
            ),
            Self::Timeout { limit } => write!(f, "no permit within {limit:?}"),
            Self::Closed => f.write_str(CLOSED),
            Self::NoRuntime(error) => error.fmt(f),
            Self::Stopped(error) => error.fmt(f),
            Self::WouldBlock(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PermitError {}

fn exceeds(f: &mut fmt::Formatter<'_>, asked: u32, limit: u32) -> fmt::Result {
    write!(
        f,
        "{asked} permits are more than the limit of {limit}, so waiting will not help"
    )
}

const CLOSED: &str = "the concurrency limiter is closed";
