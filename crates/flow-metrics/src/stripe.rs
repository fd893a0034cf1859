//! Which of several cells a thread counts in.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many cells a counter is spread over: enough that few threads share one, little enough
/// that reading all of them is cheap.
pub(crate) const STRIPES: usize = 8;

/// How many numbers fit the two cache lines that a processor fetches together.
pub(crate) const PER_LINE: usize = 16;

/// Numbers that share cache lines with nothing else.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Line(pub(crate) [AtomicU64; PER_LINE]);

impl Line {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; PER_LINE])
    }
}

/// The calling thread's stripe. Threads take turns, so the first eight share with nobody.
#[inline]
pub(crate) fn current() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    // A thread that is ending has no thread-locals any more and counts in the first stripe.
    MINE.try_with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        mine.get()
    })
    .unwrap_or(0)
}
