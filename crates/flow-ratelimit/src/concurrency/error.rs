//! What can go wrong with permits.

use core::fmt;
use core::time::Duration;

use flow_rt::{BlockOnError, HandleError, Stopped};
use flow_sync::{AcquireError, LimitTooLarge, TryAcquireError};

/// Why a [`ConcurrencyLimiter`](super::ConcurrencyLimiter) was not built or changed. One that
/// exists is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConcurrencyConfigError {
    /// The builder was given no limit.
    MissingLimit,
    /// A limiter that is built to give nothing; one that exists can be set to 0.
    ZeroLimit,
    /// The limit does not fit the limiter's word.
    LimitTooLarge {
        /// The limit that was given.
        given: u32,
        /// The largest one possible.
        max: u32,
    },
    /// A queue for no waiter: `try_acquire` is the call that never waits.
    ZeroWaiters,
}

impl From<LimitTooLarge> for ConcurrencyConfigError {
    fn from(error: LimitTooLarge) -> Self {
        Self::LimitTooLarge {
            given: error.given(),
            max: error.max(),
        }
    }
}

impl fmt::Display for ConcurrencyConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingLimit => {
                f.write_str("no limit was given: call `.limit(..)` on the builder")
            }
            Self::ZeroLimit => f.write_str(
                "the limit must be at least 1; `close` is the call after which nobody is let in",
            ),
            Self::LimitTooLarge { given, max } => write!(
                f,
                "the limit {given} is too large: at most {max} permits can be counted"
            ),
            Self::ZeroWaiters => f.write_str(
                "max_waiters must be at least 1; `try_acquire` is the call that never waits",
            ),
        }
    }
}

impl std::error::Error for ConcurrencyConfigError {}

/// Why a [`ConcurrencyLimiter`](super::ConcurrencyLimiter) gave no permits now. Nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryPermitError {
    /// Not now: too few are free, or others wait for them.
    #[non_exhaustive]
    Full {
        /// The limit in force.
        limit: u32,
    },
    /// More was asked for than the limit: waiting will not help.
    #[non_exhaustive]
    ExceedsLimit {
        /// The permits asked for.
        requested: u32,
        /// The limit in force.
        limit: u32,
    },
    /// The limiter is closed.
    Closed,
}

impl TryPermitError {
    pub(crate) fn new(error: TryAcquireError, limit: u32) -> Self {
        match error {
            TryAcquireError::TooMany { asked, limit } => Self::ExceedsLimit {
                requested: asked,
                limit,
            },
            TryAcquireError::Closed => Self::Closed,
            _ => Self::Full { limit },
        }
    }
}

impl fmt::Display for TryPermitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Full { limit } => {
                write!(f, "not enough of the {limit} permits are free now")
            }
            Self::ExceedsLimit { requested, limit } => exceeds(f, requested, limit),
            Self::Closed => f.write_str(CLOSED),
        }
    }
}

impl std::error::Error for TryPermitError {}

/// Why a wait ended without permits. Nothing is held, and nobody behind is held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PermitError {
    /// The time given ran out.
    #[non_exhaustive]
    Timeout {
        /// The time given.
        limit: Duration,
    },
    /// More was asked for than the limit, at the start or, after it was lowered, in its turn.
    #[non_exhaustive]
    ExceedsLimit {
        /// The permits asked for.
        requested: u32,
        /// The limit in force.
        limit: u32,
    },
    /// As many callers wait already as may.
    #[non_exhaustive]
    QueueFull {
        /// The most that may wait.
        max_waiters: usize,
    },
    /// The limiter was closed, before or during the wait.
    Closed,
    /// A time-out needs a runtime's timer; there is no runtime, and none was given to the builder.
    NoRuntime(HandleError),
    /// The runtime that kept the time was shut down.
    Stopped(Stopped),
    /// A blocking wait here would stop a runtime or a simulation.
    WouldBlock(BlockOnError),
}

impl From<TryPermitError> for PermitError {
    /// As a wait says it that had no time.
    fn from(error: TryPermitError) -> Self {
        match error {
            TryPermitError::Full { .. } => Self::Timeout {
                limit: Duration::ZERO,
            },
            TryPermitError::ExceedsLimit { requested, limit } => {
                Self::ExceedsLimit { requested, limit }
            }
            TryPermitError::Closed => Self::Closed,
        }
    }
}

impl From<AcquireError> for PermitError {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::TooMany { asked, limit } => Self::ExceedsLimit {
                requested: asked,
                limit,
            },
            AcquireError::QueueFull { max_waiters } => Self::QueueFull { max_waiters },
            _ => Self::Closed,
        }
    }
}

impl fmt::Display for PermitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Timeout { limit } => write!(f, "the permits were not there within {limit:?}"),
            Self::ExceedsLimit { requested, limit } => exceeds(f, requested, limit),
            Self::QueueFull { max_waiters } => crate::error::queue_full(f, max_waiters),
            Self::Closed => f.write_str(CLOSED),
            Self::NoRuntime(_) => f.write_str("there is no async runtime to bound the wait"),
            Self::Stopped(_) => f.write_str("the runtime that bounded the wait was shut down"),
            Self::WouldBlock(_) => f.write_str("this thread must not block for permits"),
        }
    }
}

impl std::error::Error for PermitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoRuntime(source) => Some(source),
            Self::Stopped(source) => Some(source),
            Self::WouldBlock(source) => Some(source),
            _ => None,
        }
    }
}

fn exceeds(f: &mut fmt::Formatter<'_>, requested: u32, limit: u32) -> fmt::Result {
    write!(
        f,
        "{requested} permits are more than the limit of {limit}, so waiting will not help"
    )
}

const CLOSED: &str = "the limiter is closed";
