//! What a grant says.

use core::fmt;
use core::time::Duration;

/// Tokens were taken, and this is how the bucket stood right after.
///
/// They are spent: dropping this gives nothing back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    pub(crate) remaining: u64,
    pub(crate) limit: u64,
    pub(crate) reset_after: Duration,
    pub(crate) source: Source,
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The server.
    Remote,
    /// The failure policy, because the server did not answer.
    Fallback,
}

impl Granted {
    /// Whole tokens left for the next caller; 0 if nobody knows, when the server is away and
    /// the policy is [`Open`](crate::FailurePolicy::Open).
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The most that is granted at once: the burst of whoever decided.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// How long until the bucket is full again if nobody takes anything, rounded up; zero if
    /// nobody knows.
    pub const fn reset_after(&self) -> Duration {
        self.reset_after
    }

    /// Who decided.
    pub const fn source(&self) -> Source {
        self.source
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted")
            .field("remaining", &self.remaining)
            .field("limit", &self.limit)
            .field("reset_after", &self.reset_after)
            .field("source", &self.source)
            .finish()
    }
}
