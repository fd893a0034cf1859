//! Decisions counted without the threads that decide disturbing one another.

use core::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Grants and denials, spread over cells.
pub(crate) struct Counts([Line; STRIPES]);

/// Shares its cache lines with nothing else; two, since processors fetch them in pairs.
#[repr(align(128))]
struct Line {
    granted: AtomicU64,
    denied: AtomicU64,
}

impl Counts {
    pub(crate) const fn new() -> Self {
        Self(
            [const {
                Line {
                    granted: AtomicU64::new(0),
                    denied: AtomicU64::new(0),
                }
            }; STRIPES],
        )
    }

    #[inline]
    pub(crate) fn count(&self, granted: bool) {
        let line = &self.0[stripe()];
        let cell = if granted { &line.granted } else { &line.denied };
        cell.fetch_add(1, Ordering::Relaxed);
    }

    /// Grants and denials so far. Each is exact once the threads that count are done.
    pub(crate) fn sums(&self) -> (u64, u64) {
        self.0.iter().fold((0, 0), |(granted, denied), line| {
            (
                line.granted.load(Ordering::Relaxed).wrapping_add(granted),
                line.denied.load(Ordering::Relaxed).wrapping_add(denied),
            )
        })
    }
}

/// The calling thread's cell. Threads take turns, so the first eight share with nobody.
#[inline]
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    // A thread that is ending has no thread-locals any more and counts in the first cell.
    MINE.try_with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        mine.get()
    })
    .unwrap_or(0)
}

const STRIPES: usize = 8;
