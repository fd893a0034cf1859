//! Who decides while the server is away.

use core::fmt;
use std::sync::Arc;

use flow_ratelimit::Limiter;

/// Who decides when the server does not answer, or answers with an error.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum FailurePolicy {
    /// Everything is granted: the service matters more than its limit.
    Open,
    /// Nothing is granted: the limit matters more. The default.
    #[default]
    Closed,
    /// A limiter in this process decides, usually with this process's share of the rate.
    Local(Arc<dyn Limiter>),
}

impl FailurePolicy {
    /// A limiter in this process decides; it is cloned, and so shared with its other users.
    pub fn local<L: Limiter + Clone + 'static>(limiter: &L) -> Self {
        Self::Local(Arc::new(limiter.clone()))
    }
}

impl fmt::Debug for FailurePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::Closed => "Closed",
            Self::Local(_) => "Local(..)",
        })
    }
}
