//! Counters spread over the threads that count.
//!
//! # State
//! A padded line for each seat (`seat.rs`), with a word of each of the N counters in it. The first
//! `OWN` seats are for one thread each, the `SHARED` ones above for all threads beyond those.
//!
//! # Invariants
//! 1. A counter is the sum of its words, modulo 2^64: an addition goes into one of them, once.
//! 2. While a thread has a seat below `OWN`, nobody else writes there: a load and a store lose
//!    nothing. The next to have the seat finds what the last one left (`seat.rs`, ordering).
//! 3. In a shared seat nobody stores: every addition is an RMW.
//!
//! # Steps
//! add: by a thread with a seat for itself a load and a store. By any other an RMW: in the seat
//! that it takes for its first count, if one is free, else in the one that it shares.
//! sum: a load of every word.
//!
//! # Ordering
//! All is Relaxed: a count publishes nothing. Whoever is ordered behind those who add, by a join
//! or a lock, reads all that they added. A sum beside them is of no single instant: it may lack
//! additions that are under way, but does not fall behind what the same thread read before, as no
//! word of a counter does but by wrapping.
//!
//! # Models
//! `model::Seats` is the seats and one counter, of loom's atomics. The way to a thread's own seat
//! is tested with real threads.
//!
//! # Source
//! Striped counters, as Java's `LongAdder` has them; one that is its thread's own needs no RMW.

use core::fmt;
use core::marker::PhantomData;
// Counters take part in no protocol: core's atomics under loom too, where they cost no states. Their
// own models are of loom's: `model::Seats`.
use core::sync::atomic::AtomicU64;

use crate::padded::CachePadded;
use crate::seat;
use crate::seat_word::Sum;

/// A counter for many threads: each adds to a cell of its own, a read sums the cells.
///
/// Totals are exact once the adding threads are done (joined, or ordered by a lock); a read
/// beside them may miss additions that are under way. It wraps at 2^64.
///
/// # Cost
/// 3 KiB. `add` is a load and a store for 16 threads of the process at a time; whoever begins to
/// count beside them shares 8 cells, by a relaxed read-modify-write, for as long as it lives. `sum`
/// reads 24 lines.
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
#[derive(Default)]
pub struct PaddedCounter(PaddedCounters<1>);

impl PaddedCounter {
    /// A counter at zero; usable in a `static`.
    pub const fn new() -> Self {
        Self(PaddedCounters::new())
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.add::<0>(n);
    }

    /// The sum of what was added.
    pub fn sum(&self) -> u64 {
        self.0.sum::<0>()
    }
}

impl fmt::Debug for PaddedCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PaddedCounter").field(&self.sum()).finish()
    }
}

/// `N` counters that the same threads add to, in the space of one [`PaddedCounter`] if `N` is at
/// most 16.
///
/// Which one is a constant, checked when the program is compiled:
///
/// ```
/// use flow_sync::PaddedCounters;
///
/// const GRANTED: usize = 0;
/// const DENIED: usize = 1;
///
/// let decisions = PaddedCounters::<2>::new();
/// decisions.add::<GRANTED>(3);
/// decisions.add::<DENIED>(1);
/// assert_eq!((decisions.sum::<GRANTED>(), decisions.sum::<DENIED>()), (3, 1));
/// ```
///
/// ```compile_fail
/// flow_sync::PaddedCounters::<2>::new().add::<2>(1);
/// ```
pub struct PaddedCounters<const N: usize>([CachePadded<[AtomicU64; N]>; seat::SEATS]);

impl<const N: usize> PaddedCounters<N> {
    /// Counters at zero; usable in a `static`.
    pub const fn new() -> Self {
        Self([const { CachePadded::new([const { AtomicU64::new(0) }; N]) }; seat::SEATS])
    }

    /// Adds `n` to one of them.
    #[inline]
    pub fn add<const WHICH: usize>(&self, n: u64) {
        self.add_at::<WHICH>(seat::own(), n);
    }

    #[inline]
    fn add_at<const WHICH: usize>(&self, own: Option<usize>, n: u64) {
        const { assert!(WHICH < N, "there are fewer counters") };
        match own {
            Some(seat) => add_alone(&self.0[seat][WHICH], n),
            None => self.add_beside_others::<WHICH>(n),
        }
    }

    /// Where this thread counts, looked up ahead: what is counted then costs it no more than a load
    /// and a store.
    ///
    /// It is for a moment's use. One that is kept in a thread-local and used as the thread ends,
    /// after its seat went to another, may lose counts of both.
    #[inline]
    pub fn here(&self) -> Here<'_, N> {
        Here {
            all: self,
            own: seat::own(),
            stays: PhantomData,
        }
    }

    #[cold]
    fn add_beside_others<const WHICH: usize>(&self, n: u64) {
        // A thread's own seat too, when it counts for the first time.
        add_beside_others(&self.0[seat::mine()][WHICH], n);
    }

    /// The sum of what was added to one of them.
    pub fn sum<const WHICH: usize>(&self) -> u64 {
        const { assert!(WHICH < N, "there are fewer counters") };
        self.sum_of(WHICH)
    }

    fn sum_of(&self, which: usize) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, cell| sum.wrapping_add(cell[which].look()))
    }
}

/// Where one thread counts; see [`PaddedCounters::here`]. It stays on its thread.
pub struct Here<'a, const N: usize> {
    all: &'a PaddedCounters<N>,
    /// The seat that it has for itself, if it has one already.
    own: Option<usize>,
    stays: PhantomData<*const ()>,
}

impl<const N: usize> Here<'_, N> {
    /// As [`PaddedCounters::add`].
    #[inline]
    pub fn add<const WHICH: usize>(&self, n: u64) {
        self.all.add_at::<WHICH>(self.own, n);
    }
}

impl<const N: usize> fmt::Debug for Here<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Here").field(self.all).finish()
    }
}

/// Adds where nobody else writes: a locked instruction would cost as much as a decision that it
/// counts.
#[inline]
pub(crate) fn add_alone(cell: &impl Sum, n: u64) {
    cell.put(cell.look().wrapping_add(n));
}

/// Adds where others do, too.
#[inline]
pub(crate) fn add_beside_others(cell: &impl Sum, n: u64) {
    cell.add(n);
}

impl<const N: usize> Default for PaddedCounters<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Debug for PaddedCounters<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sums = (0..N).map(|which| self.sum_of(which));
        f.debug_list().entries(sums).finish()
    }
}
