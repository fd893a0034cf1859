//! In whose tasks the calling code runs, so that it does not wait for its own slot.
//!
//! A slot of a sub-pool is a task of the pool above: code may be in tasks of several pools.

use core::cell::{Cell, RefCell};

crate::sync::thread_local! {
    /// The pool whose task this thread is running now; 0 for none.
    static POOL: Cell<usize> = const { Cell::new(0) };
}

crate::sync::thread_local! {
    /// Those in whose tasks that one runs, the outermost first: none, unless it is a sub-pool.
    static AROUND: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// No pool: for what runs beside the slots.
pub(super) const NOWHERE: usize = 0;

/// Runs `f` as part of a task of `pool`, in what this thread is running.
pub(super) fn enter<T>(pool: usize, f: impl FnOnce() -> T) -> T {
    let around = POOL.with(|running| running.replace(pool));
    if around != NOWHERE {
        change_around(|pools| pools.push(around));
    }
    let _leave = Leave(around);
    f()
}

/// Runs `f` as what has given up the slot of `pool`, and those of the pools around it.
pub(super) fn without<T>(pool: usize, f: impl FnOnce() -> T) -> T {
    let running = POOL.with(Cell::get);
    let mut around = Vec::new();
    change_around(|pools| {
        around.clone_from(pools);
        if running == pool {
            POOL.with(|running| running.set(NOWHERE));
            pools.clear();
        } else if let Some(at) = pools.iter().position(|&around| around == pool) {
            pools.drain(..=at);
        }
    });
    let _back = Back { running, around };
    f()
}

/// Whether this thread is running a task of `pool`, or one of a sub-pool on a slot of it.
pub(super) fn is_inside(pool: usize) -> bool {
    let running = POOL.with(Cell::get);
    let mut is_inside = running == pool;
    if !is_inside {
        // Of one that is run by its submitter too, in whose slot it is.
        change_around(|pools| is_inside = pools.contains(&pool));
    }
    is_inside
}

/// Nothing while the thread's own values are being dropped.
fn change_around(f: impl FnOnce(&mut Vec<usize>)) {
    let _ = AROUND.try_with(|around| f(&mut around.borrow_mut()));
}

struct Leave(usize);

impl Drop for Leave {
    fn drop(&mut self) {
        POOL.with(|running| running.set(self.0));
        if self.0 != NOWHERE {
            change_around(|pools| {
                pools.pop();
            });
        }
    }
}

struct Back {
    running: usize,
    around: Vec<usize>,
}

impl Drop for Back {
    fn drop(&mut self) {
        POOL.with(|running| running.set(self.running));
        let before = core::mem::take(&mut self.around);
        change_around(|pools| *pools = before);
    }
}
