//! Which limit denied a request, and why.

use core::fmt;
use core::time::Duration;

use crate::error::Denied;

/// Which limit of a [`MultiBucket`](crate::MultiBucket) denied a request, and why. Nothing was
/// taken of any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeniedByLimit {
    /// Its place among the limits, from 0: of several that deny the one with the longest wait, and
    /// the first of those that wait as long. `None` if it was none of them: the bucket is closed.
    pub limit: Option<usize>,
    /// What it said.
    pub denied: Denied,
}

impl DeniedByLimit {
    /// A denial that has nothing to do with a limit.
    pub(super) const fn of_all(denied: Denied) -> Self {
        Self {
            limit: None,
            denied,
        }
    }

    /// When to come back, if waiting helps at all: the longest wait of all limits that deny.
    pub fn retry_after(&self) -> Option<Duration> {
        self.denied.retry_after()
    }

    /// The one with the longer wait; never is longer than any time.
    pub(super) fn longer(self, other: Self) -> Self {
        let wait = |by: &Self| (by.retry_after().is_none(), by.retry_after());
        if wait(&other) > wait(&self) {
            other
        } else {
            self
        }
    }
}

impl fmt::Display for DeniedByLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            Some(limit) => write!(f, "limit {limit} of the bucket: {}", self.denied),
            None => self.denied.fmt(f),
        }
    }
}

/// Its text has the limit's in it.
impl std::error::Error for DeniedByLimit {}

impl From<DeniedByLimit> for Denied {
    fn from(by: DeniedByLimit) -> Self {
        by.denied
    }
}
