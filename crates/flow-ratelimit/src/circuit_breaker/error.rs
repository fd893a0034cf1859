//! What can go wrong with a breaker, and what it says instead of calling.

use core::fmt;
use core::time::Duration;

use flow_rt::BackoffConfigError;

/// Why a [`CircuitBreaker`](crate::CircuitBreaker) was not built.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum BreakerConfigError {
    /// The failure rate is not a number, not above 0, or above 1.
    FailureRate {
        /// The rate.
        given: f64,
    },
    /// The rate of slow calls is not a number, not above 0, or above 1.
    SlowCallRate {
        /// The rate.
        given: f64,
    },
    /// The duration from which on a call is slow is zero or longer than a year.
    SlowCallDuration {
        /// The duration.
        given: Duration,
    },
    /// The window holds no call, or more than 2^20.
    Window {
        /// The number of calls.
        given: u32,
    },
    /// The window is shorter than a millisecond or longer than a year.
    WindowOf {
        /// The length.
        given: Duration,
    },
    /// The breaker would judge by no call, or by more than its window holds.
    MinimumCalls {
        /// The number of calls.
        given: u32,
        /// The most that are possible.
        max: u32,
    },
    /// No trial call, or more than 2^20.
    TrialCalls {
        /// The number of calls.
        given: u32,
    },
    /// The time for trial calls is zero or longer than a year.
    TrialTimeout {
        /// The time.
        given: Duration,
    },
    /// The time to stay open, or its growth.
    OpenFor(BackoffConfigError),
}

impl fmt::Display for BreakerConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailureRate { given } => {
                write!(f, "a failure rate of {given}, allowed are more than 0 to 1")
            }
            Self::SlowCallRate { given } => write!(
                f,
                "a rate of slow calls of {given}, allowed are more than 0 to 1"
            ),
            Self::SlowCallDuration { given } => write!(
                f,
                "calls are slow from {given:?} on, allowed are 1ns to 365 days"
            ),
            Self::Window { given } => write!(
                f,
                "a window of {given} calls, allowed are 1 to {MOST_CALLS}"
            ),
            Self::WindowOf { given } => {
                write!(f, "a window of {given:?}, allowed are 1ms to 365 days")
            }
            Self::MinimumCalls { given, max } => write!(
                f,
                "a minimum of {given} calls to judge by, allowed are 1 to {max}"
            ),
            Self::TrialCalls { given } => {
                write!(f, "{given} trial calls, allowed are 1 to {MOST_CALLS}")
            }
            Self::TrialTimeout { given } => {
                write!(f, "{given:?} for trial calls, allowed are 1ns to 365 days")
            }
            Self::OpenFor(why) => write!(f, "how long to stay open: {why}"),
        }
    }
}

impl std::error::Error for BreakerConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its text is part of the whole.
            Self::OpenFor(why) => why.source(),
            _ => None,
        }
    }
}

impl From<BackoffConfigError> for BreakerConfigError {
    fn from(why: BackoffConfigError) -> Self {
        Self::OpenFor(why)
    }
}

/// Why a call was not let through. Nothing was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallRejected {
    /// The breaker is open.
    #[non_exhaustive]
    Open {
        /// When it lets trial calls through. Others may be faster to take their places.
        retry_after: Duration,
    },
    /// The breaker is half-open, and as many trial calls are under way as may be.
    TrialsRunning,
    /// The breaker is held open by hand.
    ForcedOpen,
}

impl CallRejected {
    /// When to come back, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Open { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}

impl fmt::Display for CallRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { retry_after } => write!(
                f,
                "the circuit breaker is open; retry after {retry_after:?}"
            ),
            Self::TrialsRunning => {
                f.write_str("the circuit breaker is half-open, and its trial calls are under way")
            }
            Self::ForcedOpen => f.write_str("the circuit breaker is held open by hand"),
        }
    }
}

impl std::error::Error for CallRejected {}

/// Why a call through a breaker has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The breaker did not let it through.
    Rejected(CallRejected),
    /// It was made and returned this error.
    Inner(E),
}

impl<E> CallError<E> {
    /// The call's own error; `None` if it was not made.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Rejected(_) => None,
            Self::Inner(error) => Some(error),
        }
    }

    /// Why it was not made; `None` if it was.
    pub fn rejected(&self) -> Option<CallRejected> {
        match self {
            Self::Rejected(why) => Some(*why),
            Self::Inner(_) => None,
        }
    }

    /// When to come back, if it was rejected and that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.rejected()?.retry_after()
    }
}

impl<E> From<CallRejected> for CallError<E> {
    fn from(why: CallRejected) -> Self {
        Self::Rejected(why)
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(why) => why.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rejected(_) => None,
            // Its text is that of the whole.
            Self::Inner(error) => error.source(),
        }
    }
}

/// The most calls that a window or a round of trials may have.
pub(super) const MOST_CALLS: u32 = 1 << 20;
