//! Values on cache lines of their own, and counters spread over several of them.

use core::cell::Cell;
use core::fmt;
use core::ops::{Deref, DerefMut};
// Counters take part in no protocol: core's atomics under loom too, where they cost no states.
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::sync;

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

/// A counter for many threads: each adds to the cell it was given, a read sums the cells.
///
/// Totals are exact once the adding threads are done (joined, or ordered by a lock); a read
/// beside them may miss additions that are under way. It wraps at 2^64.
///
/// # Cost
/// 1 KiB. `add` is one relaxed RMW on a line that few threads share; `sum` reads 8 lines.
///
/// ```
/// use flow_sync::PaddedCounter;
///
/// static DENIED: PaddedCounter = PaddedCounter::new();
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| DENIED.add(25));
///     }
/// });
/// assert_eq!(DENIED.sum(), 100);
/// ```
pub struct PaddedCounter([CachePadded<AtomicU64>; SHARDS]);

impl PaddedCounter {
    /// A counter at zero; usable in a `static`.
    pub const fn new() -> Self {
        Self([const { CachePadded::new(AtomicU64::new(0)) }; SHARDS])
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0[shard()].fetch_add(n, Ordering::Relaxed);
    }

    /// The sum of what was added.
    pub fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, cell| {
            sum.wrapping_add(cell.load(Ordering::Relaxed))
        })
    }
}

impl Default for PaddedCounter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PaddedCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PaddedCounter").field(&self.sum()).finish()
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
        &self.0[shard() % sync::SHARDS]
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

/// The cell of this thread: threads get them in turn, on their first addition.
#[inline]
fn shard() -> usize {
    SHARD.try_with(Cell::get).map_or(0, |shard| {
        if shard != UNSET {
            return shard;
        }
        let shard = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        // The key was there a moment ago, on this very thread.
        let _ = SHARD.try_with(|cell| cell.set(shard));
        shard
    })
}

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(UNSET) };
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

const SHARDS: usize = 8;
const UNSET: usize = usize::MAX;
