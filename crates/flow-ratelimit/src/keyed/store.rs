//! What keeps the keys of a limiter, by their hashes or whole: what the rest of it asks of either.

use flow_rt::Instant;

use super::quotas::Quotas;
use crate::error::Denied;
use crate::granted::Granted;
use crate::supply::{Anchor, Level};

/// Where keys stand, each with its class and with what it has spent.
///
/// A limiter's [`Hashed`](super::Hashed) or [`Exact`](super::Exact) keys; there are no others.
pub trait Store: Sized + Send + Sync + 'static {
    /// What tells keys of one hash apart.
    type Tag: Clone + Eq + Send + Sync + 'static;

    /// Whole keys that were forgotten: to be dropped where nobody holds a lock.
    type Gone: Default;

    /// Forgets those keys of the class of a hash that lack nothing. Keys that come or spend
    /// meanwhile stay.
    fn forget(&self, quotas: &Quotas, of: u64, lacks: &dyn Fn(u64) -> i64, gone: &mut Self::Gone);

    /// Tells the hash of each key, and what it has spent.
    fn for_each(&self, visit: &mut dyn FnMut(u64, u64));

    /// Keys that were forgotten before they were full.
    fn evicted(&self) -> u64;

    /// How many keys that are not full it can tell apart.
    fn capacity(&self) -> usize;

    /// As [`Finds::decide`].
    fn decide_tagged(
        &self,
        quotas: &Quotas,
        at: (u64, &Self::Tag),
        n: u64,
        ask: Ask,
        now: Instant,
    ) -> Result<Granted, Denied>;

    /// As [`Finds::refund`].
    fn refund_tagged(&self, quotas: &Quotas, at: (u64, &Self::Tag), n: u64);

    /// By which line a key goes, and how it stands at `now` for who asks so.
    fn stand(&self, quotas: &Quotas, at: (u64, &Self::Tag), ask: Ask, now: Instant) -> Stood;
}

/// A store in which a key is found by this form of it.
pub trait Finds<Q: ?Sized>: Store {
    /// What is asked about `n` tokens of a key.
    fn decide(
        &self,
        quotas: &Quotas,
        at: (u64, &Q),
        n: u64,
        ask: Ask,
        now: Instant,
    ) -> Result<Granted, Denied>;

    /// Gives `n` tokens back to a key; one that is forgotten is full already.
    fn refund(&self, quotas: &Quotas, at: (u64, &Q), n: u64);

    /// The key's tag.
    fn tag(key: &Q) -> Self::Tag;

    /// Whether a tag is the key's.
    fn is_of(tag: &Self::Tag, key: &Q) -> bool;
}

/// How a key stands.
pub struct Stood {
    pub(super) anchor: Anchor,
    pub(super) level: Level,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Whether they could be taken.
    Peek,
    /// To take them.
    Take,
    /// To take them for one who has waited, and perhaps for longer than it had to.
    TakeForWaiter,
}
