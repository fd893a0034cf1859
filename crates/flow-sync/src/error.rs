//! Why permits were not given.

use core::fmt;

/// Why [`Permits::try_acquire`](crate::Permits::try_acquire) took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// Not enough permits are free now, or others wait for them.
    Unavailable,
    /// More than the limit: it would wait for ever.
    TooMany {
        /// Permits asked for.
        asked: u32,
        /// The limit in force.
        limit: u32,
    },
    /// Closed: no permit is given any more.
    Closed,
    /// There is no such class.
    UnknownClass {
        /// The class asked for, from 0 on.
        class: usize,
        /// How many there are.
        classes: usize,
    },
}

/// Why a wait for permits ended without them. Nothing is held, nothing is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireError {
    /// More than the limit: it would wait for ever. Also for a queued waiter, once it is its turn
    /// and the limit has been lowered below its need.
    TooMany {
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
    /// Closed, before or during the wait.
    Closed,
    /// There is no such class.
    UnknownClass {
        /// The class asked for, from 0 on.
        class: usize,
        /// How many there are.
        classes: usize,
    },
}

/// A limit that [`Permits`](crate::Permits) cannot count to. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitTooLarge {
    pub(crate) given: u32,
}

impl LimitTooLarge {
    /// The limit asked for.
    pub const fn given(self) -> u32 {
        self.given
    }

    /// The largest limit allowed.
    pub const fn max(self) -> u32 {
        crate::Permits::MAX_LIMIT
    }
}

/// Why [`ClassedPermits`](crate::ClassedPermits) were not made or changed. Those that exist are
/// as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClassesError {
    /// No class, or more than there can be.
    WrongNumber {
        /// The number of classes given.
        given: usize,
        /// The most there can be.
        max: usize,
    },
    /// The limit cannot be counted to beside so many classes.
    LimitTooLarge {
        /// The limit given.
        given: u32,
        /// The number of classes.
        classes: usize,
        /// The largest limit for as many.
        max: u32,
    },
    /// All shares are more than the limit.
    SharesAboveLimit {
        /// The shares, in all.
        shares: u64,
        /// The limit.
        limit: u32,
    },
    /// There is no such class.
    UnknownClass {
        /// The class asked for, from 0 on.
        class: usize,
        /// How many there are.
        classes: usize,
    },
}

/// More permits given back than were out. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseTooMany {
    pub(crate) given: u32,
    pub(crate) in_flight: u32,
}

impl ReleaseTooMany {
    /// The permits given back.
    pub const fn given(self) -> u32 {
        self.given
    }

    /// The permits that were out.
    pub const fn in_flight(self) -> u32 {
        self.in_flight
    }
}

impl AcquireError {
    /// What a try said that is no reason to wait; that it is not possible now is never asked.
    pub(crate) const fn at_once(error: TryAcquireError) -> Self {
        match error {
            TryAcquireError::TooMany { asked, limit } => Self::TooMany { asked, limit },
            TryAcquireError::UnknownClass { class, classes } => {
                Self::UnknownClass { class, classes }
            }
            TryAcquireError::Closed | TryAcquireError::Unavailable => Self::Closed,
        }
    }
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unavailable => f.write_str("not enough permits are free now"),
            Self::TooMany { asked, limit } => too_many(f, asked, limit),
            Self::Closed => f.write_str("the permits are closed"),
            Self::UnknownClass { class, classes } => unknown_class(f, class, classes),
        }
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooMany { asked, limit } => too_many(f, asked, limit),
            Self::QueueFull { max_waiters } => {
                write!(
                    f,
                    "{max_waiters} wait already, which is the longest queue allowed"
                )
            }
            Self::Closed => f.write_str("the permits are closed"),
            Self::UnknownClass { class, classes } => unknown_class(f, class, classes),
        }
    }
}

impl fmt::Display for LimitTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a limit of {} permits is larger than {}, the largest allowed",
            self.given,
            self.max()
        )
    }
}

impl fmt::Display for ReleaseTooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} permits were given back, but only {} are out",
            self.given, self.in_flight
        )
    }
}

impl fmt::Display for ClassesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WrongNumber { given, max } => {
                write!(f, "{given} classes were given, and there can be 1 to {max}")
            }
            Self::LimitTooLarge {
                given,
                classes,
                max,
            } => write!(
                f,
                "a limit of {given} permits is larger than {max}, the largest allowed for \
                 {classes} classes"
            ),
            Self::SharesAboveLimit { shares, limit } => write!(
                f,
                "the shares of all classes are {shares} permits, more than the limit of {limit}"
            ),
            Self::UnknownClass { class, classes } => unknown_class(f, class, classes),
        }
    }
}

impl std::error::Error for ClassesError {}
impl std::error::Error for ReleaseTooMany {}
impl std::error::Error for TryAcquireError {}
impl std::error::Error for AcquireError {}
impl std::error::Error for LimitTooLarge {}

fn too_many(f: &mut fmt::Formatter<'_>, asked: u32, limit: u32) -> fmt::Result {
    write!(f, "{asked} permits are more than the limit of {limit}")
}

fn unknown_class(f: &mut fmt::Formatter<'_>, class: usize, classes: usize) -> fmt::Result {
    write!(
        f,
        "there is no class {class}, counted from 0: there are {classes}"
    )
}
