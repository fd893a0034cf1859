//! Whether the calling code is a task of a pool, so that it does not wait for its own slot.

use core::cell::Cell;

crate::sync::thread_local! {
    /// The pool whose task this thread is running now; 0 for none.
    static POOL: Cell<usize> = const { Cell::new(0) };
}

/// No pool: for what a task of one does without its slot.
pub(super) const NOWHERE: usize = 0;

/// Runs `f` as part of a task of `pool`.
pub(super) fn enter<T>(pool: usize, f: impl FnOnce() -> T) -> T {
    let _leave = Leave(POOL.with(|running| running.replace(pool)));
    f()
}

/// Whether this thread is running a task of `pool`.
pub(super) fn is_inside(pool: usize) -> bool {
    POOL.with(Cell::get) == pool
}

struct Leave(usize);

impl Drop for Leave {
    fn drop(&mut self) {
        POOL.with(|running| running.set(self.0));
    }
}
