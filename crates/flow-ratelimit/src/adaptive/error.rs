//! What can be wrong with an adaptive limiter.

use core::fmt;
use core::time::Duration;

use crate::concurrency::ConcurrencyConfigError;

/// Why an [`AdaptiveLimiter`](super::AdaptiveLimiter) was not built.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum AdaptiveConfigError {
    /// A bound of the range, or the number of waiters, is none that a limiter can have.
    Limiter(ConcurrencyConfigError),
    /// The range ends before it begins.
    EmptyRange {
        /// Its first limit.
        min: u32,
        /// Its last limit.
        max: u32,
    },
    /// The limiter is to start outside of its range.
    InitialOutside {
        /// The limit that was given.
        given: u32,
        /// The least one allowed.
        min: u32,
        /// The largest one allowed.
        max: u32,
    },
    /// A window of no time, or one that no clock sees the end of.
    Window {
        /// The length that was given.
        given: Duration,
        /// The longest possible.
        max: Duration,
    },
    /// A window of no samples, or of more than are kept.
    Samples {
        /// The number that was given.
        given: u32,
        /// The most possible.
        max: u32,
    },
    /// A parameter of the algorithm is out of its bounds.
    #[non_exhaustive]
    Parameter {
        /// Which one.
        name: &'static str,
        /// The value that was given.
        given: f64,
        /// What is allowed, in words.
        allowed: &'static str,
    },
}

impl AdaptiveConfigError {
    /// For a [`LimitAlgorithm`](super::LimitAlgorithm) of your own: the parameter `name` is
    /// `given`, where only `allowed` is.
    pub const fn parameter(name: &'static str, given: f64, allowed: &'static str) -> Self {
        Self::Parameter {
            name,
            given,
            allowed,
        }
    }
}

impl From<ConcurrencyConfigError> for AdaptiveConfigError {
    fn from(error: ConcurrencyConfigError) -> Self {
        Self::Limiter(error)
    }
}

impl fmt::Display for AdaptiveConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limiter(_) => f.write_str("no limiter can have such limits"),
            Self::EmptyRange { min, max } => write!(
                f,
                "the range of limits {min}..={max} is empty: it must end at or after its begin"
            ),
            Self::InitialOutside { given, min, max } => write!(
                f,
                "the limit to start with is {given}; it must be within the range {min}..={max}"
            ),
            Self::Window { given, max } => write!(
                f,
                "a window of {given:?} cannot be; it must be more than 0 s and at most {max:?}"
            ),
            Self::Samples { given, max } => {
                write!(f, "a window of {given} samples cannot be; 1 to {max} can")
            }
            Self::Parameter {
                name,
                given,
                allowed,
            } => write!(f, "the algorithm's {name} is {given}; it must be {allowed}"),
        }
    }
}

impl std::error::Error for AdaptiveConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Limiter(source) => Some(source),
            _ => None,
        }
    }
}
