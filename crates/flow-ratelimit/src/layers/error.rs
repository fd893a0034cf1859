//! What a layered service fails with.

use core::fmt;
use core::time::Duration;

use crate::circuit_breaker::CallRejected;
use crate::concurrency::PermitError;
use crate::error::Denied;

/// Why a call through a layer that [fails](crate::RateLimitLayer::fail) has no response.
///
/// `D` says who refused: [`Denied`] of limits of rate, [`PermitError`] of permits, and
/// [`CallRejected`] of breakers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitError<E, D = Denied> {
    /// The layer did not let the request through: the service was not called.
    Denied(D),
    /// The service failed.
    Inner(E),
}

impl<E, D> LimitError<E, D> {
    /// The service's own error; `None` if it was not called.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Denied(_) => None,
            Self::Inner(error) => Some(error),
        }
    }

    /// Why the service was not called; `None` if it was.
    pub fn denied(&self) -> Option<&D> {
        match self {
            Self::Denied(why) => Some(why),
            Self::Inner(_) => None,
        }
    }
}

impl<E> LimitError<E, Denied> {
    /// When to come back, if it was denied and that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.denied()?.retry_after()
    }
}

impl<E> LimitError<E, CallRejected> {
    /// When to come back, if it was rejected and that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.denied()?.retry_after()
    }
}

impl<E> LimitError<E, PermitError> {
    /// Whether waiting longer might have helped: too many were at it, or waited.
    pub fn is_busy(&self) -> bool {
        matches!(
            self.denied(),
            Some(PermitError::Timeout { .. } | PermitError::QueueFull { .. })
        )
    }
}

impl<E: fmt::Display, D: fmt::Display> fmt::Display for LimitError<E, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(why) => why.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E, D> std::error::Error for LimitError<E, D>
where
    E: std::error::Error + 'static,
    D: std::error::Error + 'static,
{
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Its text is that of the whole.
        match self {
            Self::Denied(why) => why.source(),
            Self::Inner(error) => error.source(),
        }
    }
}
