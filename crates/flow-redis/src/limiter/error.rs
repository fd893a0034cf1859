//! Why a limiter cannot be built, and why it did not grant.

use core::fmt;
use core::time::Duration;
use std::error::Error;

use flow_ratelimit::{ConfigError, Denied, Rate};
use flow_rt::HandleError;

use crate::error::RedisError;
use crate::limiter::Source;

/// Why a limiter cannot be built as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DistributedConfigError {
    /// The builder was given neither a key nor a name for keys.
    MissingKey,
    /// The builder was given no rate.
    MissingRate,
    /// The builder was given no burst.
    MissingBurst,
    /// The key, the name for keys or the prefix cannot be part of a Redis key here.
    Key {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The text is not a rate, or says another burst than the builder.
    Rate(ConfigError),
    /// The rate is zero, unlimited, or too fine: no such bucket can be kept with an expiry and
    /// exact numbers.
    RateOutOfRange {
        /// The rate given.
        given: Rate,
    },
    /// A bucket that holds nothing grants nothing.
    ZeroBurst,
    /// The bucket's numbers would not be exact on the server.
    BurstTooLarge {
        /// The burst given.
        given: u64,
        /// The rate given.
        rate: Rate,
        /// The largest burst with this rate; 0 if the rate's period is too long for any.
        max: u64,
    },
    /// One local limiter cannot stand in for many keys.
    LocalForKeys,
}

impl fmt::Display for DistributedConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingKey => f.write_str("no key was given: call `.key(..)` or `.keyed(..)`"),
            Self::MissingRate => f.write_str("no rate was given: call `.rate(..)`"),
            Self::MissingBurst => f.write_str("no burst was given: call `.burst(..)`"),
            Self::Key { given, reason } => write!(f, "{given:?} {reason}"),
            Self::Rate(error) => error.fmt(f),
            Self::RateOutOfRange { given } => write!(
                f,
                "the rate {given} cannot be kept on a server: it must be above zero, limited, and \
                 at most 2^53 tokens per microsecond in lowest terms"
            ),
            Self::ZeroBurst => {
                f.write_str("the burst must be at least 1: a bucket of 0 would grant nothing")
            }
            Self::BurstTooLarge { given, rate, max } => write!(
                f,
                "the burst {given} is too large to be exact on a server at a rate of {rate}: at most {max}"
            ),
            Self::LocalForKeys => f.write_str(
                "one local limiter cannot stand in for many keys: choose FailurePolicy::Open or Closed",
            ),
        }
    }
}

impl Error for DistributedConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Rate(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a check did not grant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckError {
    /// There are too few tokens now. Nothing was taken.
    NotYet {
        /// After how long there are enough, if nobody else takes any.
        retry_after: Duration,
        /// Who decided.
        source: Source,
    },
    /// More was asked for than the bucket ever holds: waiting will not help.
    ExceedsBurst {
        /// The tokens asked for.
        requested: u64,
        /// What the bucket holds at the most.
        burst: u64,
    },
    /// The server is away, and the local limiter denied for a reason of its own.
    Fallback(Denied),
    /// The server did not answer, and the policy is to deny then.
    ///
    /// After a timeout or a broken connection it may have taken the tokens.
    Unavailable(RedisError),
}

impl CheckError {
    /// When to come back, if it is known and waiting helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotYet { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYet { retry_after, .. } => {
                write!(f, "not enough tokens yet; retry after {retry_after:?}")
            }
            Self::ExceedsBurst { requested, burst } => write!(
                f,
                "{requested} tokens were asked for, but the bucket never holds more than its burst of {burst}"
            ),
            Self::Fallback(_) => f.write_str("the server is away and the local limiter denied"),
            Self::Unavailable(_) => {
                f.write_str("the server did not decide, and the policy is to deny then")
            }
        }
    }
}

impl Error for CheckError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Fallback(denied) => Some(denied),
            Self::Unavailable(error) => Some(error),
            _ => None,
        }
    }
}

/// Why waiting for tokens ended without them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireError {
    /// A check failed for a reason that waiting does not change.
    Check(CheckError),
    /// There is no runtime to wait on.
    NoRuntime(HandleError),
    /// The runtime to wait on has been shut down.
    Stopped,
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check(error) => error.fmt(f),
            Self::NoRuntime(_) => f.write_str("there is no async runtime to wait on"),
            Self::Stopped => f.write_str("the runtime to wait on has been shut down"),
        }
    }
}

impl Error for AcquireError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Check(error) => error.source(),
            Self::NoRuntime(error) => Some(error),
            Self::Stopped => None,
        }
    }
}

impl From<CheckError> for AcquireError {
    fn from(error: CheckError) -> Self {
        Self::Check(error)
    }
}
