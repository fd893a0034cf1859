//! Which limit a request meets, as the type of a layer has it.

use core::fmt;

use super::key::WithoutKey;

/// One limit for all requests: see [`RateLimitLayer::new`](crate::RateLimitLayer::new).
#[derive(Clone, Copy, Debug)]
pub struct OneLimit<L> {
    pub(super) limiter: L,
}

/// A limit for each key: see [`RateLimitLayer::keyed`](crate::RateLimitLayer::keyed).
#[derive(Clone, Copy)]
pub struct ByKey<L, F> {
    pub(super) limiter: L,
    pub(super) key: F,
    pub(super) without: WithoutKey,
}

impl<L: fmt::Debug, F> fmt::Debug for ByKey<L, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByKey")
            .field("limiter", &self.limiter)
            .field("without", &self.without)
            .finish_non_exhaustive()
    }
}
