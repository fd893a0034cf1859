//! Values on cache lines of their own.

use core::fmt;
use core::ops::{Deref, DerefMut};

use crate::{seat, sync};

/// A value aligned to 128 bytes: two lines of 64, which x86-64 fetches as a pair, and one line
/// of Apple's aarch64.
///
/// What one core writes often goes in here, so that its neighbours stay in the others' caches.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(align(128))]
pub struct CachePadded<T>(T);

impl<T> CachePadded<T> {
    /// Pads `value`; usable in a `static`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for CachePadded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for CachePadded<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> From<T> for CachePadded<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for CachePadded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value per few threads, each on lines of its own: what many threads write at once and
/// somebody gathers now and then.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use flow_sync::Sharded;
///
/// let seen: Sharded<AtomicU32> = Sharded::default();
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| seen.mine().fetch_add(1, Ordering::Relaxed));
///     }
/// });
/// assert_eq!(seen.iter().map(|shard| shard.load(Ordering::Relaxed)).sum::<u32>(), 4);
/// ```
pub struct Sharded<T>([CachePadded<T>; sync::SHARDS]);

impl<T> Sharded<T> {
    /// The value that this thread writes, as may others.
    #[inline]
    pub fn mine(&self) -> &T {
        &self.0[seat::mine() % sync::SHARDS]
    }

    /// All values.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|shard| &**shard)
    }
}

impl<T: Default> Default for Sharded<T> {
    fn default() -> Self {
        Self(core::array::from_fn(|_| CachePadded::new(T::default())))
    }
}

impl<T: fmt::Debug> fmt::Debug for Sharded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
