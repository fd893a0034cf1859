//! What items weigh: nothing, at no cost, or what the user says.

use core::fmt;

/// How a queue weighs its items. An item's weight is kept with it, so that what it gave back when
/// it leaves is what it took, whatever its scale would say then.
pub(crate) trait Scale<T> {
    /// An item in the queue.
    type Kept;
    /// Whether weights count.
    const WEIGHS: bool;

    fn weigh(&self, item: &T) -> u64;
    /// What the items may weigh together.
    fn limit(&self) -> u64;
    fn keep(item: T, weight: u64) -> Self::Kept;
    fn open(kept: Self::Kept) -> (T, u64);
}

/// For channels that count their items and no more.
pub(crate) struct Unweighed;

impl<T> Scale<T> for Unweighed {
    type Kept = T;
    const WEIGHS: bool = false;

    fn weigh(&self, _: &T) -> u64 {
        0
    }

    fn limit(&self) -> u64 {
        u64::MAX
    }

    fn keep(item: T, _: u64) -> T {
        item
    }

    fn open(item: T) -> (T, u64) {
        (item, 0)
    }
}

/// The user's scale, and the limit.
pub(crate) struct Weighing<T> {
    pub(crate) limit: u64,
    pub(crate) weigh: Box<dyn Fn(&T) -> u64 + Send + Sync>,
}

impl<T> Scale<T> for Weighing<T> {
    type Kept = (T, u64);
    const WEIGHS: bool = true;

    fn weigh(&self, item: &T) -> u64 {
        (self.weigh)(item)
    }

    fn limit(&self) -> u64 {
        self.limit
    }

    fn keep(item: T, weight: u64) -> (T, u64) {
        (item, weight)
    }

    fn open(kept: (T, u64)) -> (T, u64) {
        kept
    }
}

impl<T> fmt::Debug for Weighing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weighing")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
