//! What can be wrong with a limiter with classes.

use core::fmt;

use flow_sync::{ClassedPermits, ClassesError};

/// Why a [`ClassedLimiter`](super::ClassedLimiter) was not built or changed, or has not what was
/// asked of it. One that exists is unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClassedConfigError {
    /// The builder was given no limit.
    MissingLimit,
    /// A limiter that is built to give nothing.
    ZeroLimit,
    /// The builder was given no class.
    MissingClass,
    /// More classes than can be counted.
    TooManyClasses {
        /// The number of classes given.
        given: usize,
        /// The most there can be.
        max: usize,
    },
    /// Two classes of one name.
    DuplicateClass {
        /// The name.
        name: String,
    },
    /// The limit does not fit the limiter's word beside so many classes.
    LimitTooLarge {
        /// The limit that was given.
        given: u32,
        /// The number of classes.
        classes: usize,
        /// The largest limit for as many.
        max: u32,
    },
    /// More is kept for the classes than there is.
    SharesAboveLimit {
        /// The shares, in all.
        shares: u64,
        /// The limit.
        limit: u32,
    },
    /// A queue for no waiter: `try_acquire` is the call that never waits.
    ZeroWaiters,
    /// There is no class of that name.
    UnknownClass {
        /// The name asked for.
        given: String,
        /// The names that there are, the highest class first.
        known: Vec<String>,
    },
}

impl From<ClassesError> for ClassedConfigError {
    fn from(error: ClassesError) -> Self {
        match error {
            ClassesError::LimitTooLarge {
                given,
                classes,
                max,
            } => Self::LimitTooLarge {
                given,
                classes,
                max,
            },
            ClassesError::SharesAboveLimit { shares, limit } => {
                Self::SharesAboveLimit { shares, limit }
            }
            ClassesError::WrongNumber { given, max } if given > 0 => {
                Self::TooManyClasses { given, max }
            }
            // A class that there is not is never asked for: its handle is of this limiter.
            _ => Self::MissingClass,
        }
    }
}

impl fmt::Display for ClassedConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingLimit => {
                f.write_str("no limit was given: call `.limit(..)` on the builder")
            }
            Self::ZeroLimit => f.write_str(
                "the limit must be at least 1; `close` is the call after which nobody is let in",
            ),
            Self::MissingClass => {
                f.write_str("no class was given: call `.class(..)` on the builder")
            }
            Self::TooManyClasses { given, max } => {
                write!(f, "{given} classes are too many: there can be {max}")
            }
            Self::DuplicateClass { name } => write!(f, "two classes are called `{name}`"),
            Self::LimitTooLarge {
                given,
                classes,
                max,
            } => {
                write!(
                    f,
                    "the limit {given} is too large: with {classes} classes at most {max} permits \
                     can be counted"
                )?;
                if *classes > 1 && *given <= ClassedPermits::max_limit(classes - 1) {
                    write!(f, ", and with {} it could be had", classes - 1)?;
                }
                Ok(())
            }
            Self::SharesAboveLimit { shares, limit } => write!(
                f,
                "the classes' shares are {shares} permits in all, more than the limit of {limit}"
            ),
            Self::ZeroWaiters => f.write_str(
                "max_waiters must be at least 1; `try_acquire` is the call that never waits",
            ),
            Self::UnknownClass { given, known } => {
                write!(f, "there is no class `{given}`; there are")?;
                for (at, name) in known.iter().enumerate() {
                    write!(f, "{} `{name}`", if at > 0 { "," } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ClassedConfigError {}
