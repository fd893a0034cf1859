//! Counts of calls, one cell for each thread, without a locked instruction.
//!
//! A breaker that is closed has nothing to do but to count, and an atomic addition costs more
//! than all the rest (5.8 ns of a budget of 5). So a thread gets a *slot* of the process for its
//! lifetime, and in each breaker the cell of its slot is written by it alone: a load, an addition
//! and a store. Threads beyond the number of slots share four cells, by atomic additions.
//!
//! # Invariants
//! 1. A slot belongs to one thread at a time: it is taken and given back under the lock of
//!    `FREE`.
//! 2. The own cell of a slot is written by the thread that has the slot, and by no other.
//! 3. A cell never counts down. Whoever looks (under the breaker's lock) remembers what was
//!    there the last time; the difference is what came since.
//!
//! # Ordering
//! Relaxed. A thread that gets a slot sees all that its predecessor stored in its cells, since
//! the lock of `FREE` was released after that and acquired before (1). A count that happened
//! before a look, by any chain of synchronization, is seen by it, for a load never sees a value
//! older than one that happened before it; one that did not is seen by the next look (3).

use core::cell::Cell;
// Counts take part in no protocol: core's atomics under loom too, where they cost no states.
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use flow_sync::CachePadded;

/// What is counted without the breaker's lock.
#[derive(Clone, Copy)]
pub(super) enum Count {
    /// Calls that went well, and not slowly, while the breaker was closed.
    Good = 0,
    Rejected = 1,
    Ignored = 2,
}

#[derive(Default)]
struct Counts([AtomicU64; COUNTS]);

pub(super) struct Cells {
    /// One for each slot.
    own: Box<[CachePadded<Counts>]>,
    shared: Box<[CachePadded<Counts>]>,
}

impl Cells {
    pub(super) fn new() -> Self {
        let cells = |n| (0..n).map(|_| CachePadded::default()).collect();
        Self {
            own: cells(slots()),
            shared: cells(SHARED),
        }
    }

    #[inline]
    pub(super) fn add(&self, what: Count) {
        match self.own.get(SLOT.get()) {
            Some(cell) => {
                let count = &cell.0[what as usize];
                // Nobody else writes it (2).
                count.store(
                    count.load(Ordering::Relaxed).wrapping_add(1),
                    Ordering::Relaxed,
                );
            }
            None => self.add_shared(what),
        }
    }

    #[cold]
    fn add_shared(&self, what: Count) {
        if SLOT.get() == UNSET {
            SLOT.set(take_slot());
            return self.add(what);
        }
        let cell = &self.shared[SLOT.get() % SHARED];
        cell.0[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All that was counted so far.
    pub(super) fn sum(&self, what: Count) -> u64 {
        self.own
            .iter()
            .chain(&*self.shared)
            .fold(0, |sum: u64, cell| {
                sum.wrapping_add(cell.0[what as usize].load(Ordering::Relaxed))
            })
    }
}

/// This thread's slot; or a number beyond all slots, by which it shares a cell.
fn take_slot() -> usize {
    let taken = KEEPER.try_with(|keeper| {
        let slot = free().take();
        keeper.0.set(slot);
        slot
    });
    // A thread that is ending already shares a cell to the end.
    taken.ok().flatten().unwrap_or_else(beyond)
}

/// The next number beyond all slots.
fn beyond() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    MOST_SLOTS + NEXT.fetch_add(1, Ordering::Relaxed) % SHARED
}

/// Gives the slot back when the thread ends.
struct Keeper(Cell<Option<usize>>);

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            // What is counted by destructors after this one goes to a shared cell.
            SLOT.set(beyond());
            free().give_back(slot);
        }
    }
}

thread_local! {
    // Without a destructor: a plain load.
    static SLOT: Cell<usize> = const { Cell::new(UNSET) };
    static KEEPER: Keeper = const { Keeper(Cell::new(None)) };
}

/// The slots that no thread has: a bit each.
struct Free(u64);

impl Free {
    fn take(&mut self) -> Option<usize> {
        let slot = self.0.trailing_zeros();
        if slot as usize >= slots() {
            return None;
        }
        self.0 &= !(1 << slot);
        Some(slot as usize)
    }

    fn give_back(&mut self, slot: usize) {
        self.0 |= 1 << slot;
    }
}

fn free() -> std::sync::MutexGuard<'static, Free> {
    static FREE: Mutex<Free> = Mutex::new(Free(u64::MAX));
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many threads have cells of their own: the workers of a runtime, and some more.
fn slots() -> usize {
    static SLOTS: OnceLock<usize> = OnceLock::new();
    if cfg!(loom) {
        // A model's threads are one of the machine's.
        return 0;
    }
    *SLOTS.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(4, usize::from);
        (cores + 4).min(MOST_SLOTS)
    })
}

const COUNTS: usize = 3;
const SHARED: usize = 4;
const MOST_SLOTS: usize = 64;
const UNSET: usize = usize::MAX;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};
    use std::thread;

    use super::*;

    #[test]
    fn nothing_is_lost_when_threads_come_and_go() {
        let cells = Arc::new(Cells::new());
        for _ in 0..4 {
            // More at once than there are slots.
            let threads = slots() + 3;
            let barrier = Arc::new(Barrier::new(threads));
            let running: Vec<_> = (0..threads)
                .map(|_| {
                    let (cells, barrier) = (cells.clone(), barrier.clone());
                    thread::spawn(move || {
                        cells.add(Count::Good);
                        barrier.wait();
                        for _ in 0..999 {
                            cells.add(Count::Good);
                        }
                    })
                })
                .collect();
            for thread in running {
                thread.join().unwrap();
            }
        }
        let each_round = (slots() as u64 + 3) * 1_000;
        assert_eq!(cells.sum(Count::Good), 4 * each_round);
        assert_eq!(cells.sum(Count::Rejected), 0);
    }
}
