//! In whose slots the calling code runs, so that it does not wait for its own.
//!
//! A slot of a sub-pool is a task of the pool above: code may be in tasks of several pools.

use core::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering};

crate::sync::thread_local! {
    /// The slot whose task this thread is running now.
    static RUNNING: Cell<Inside> = const { Cell::new(Inside::NOWHERE) };
}

crate::sync::thread_local! {
    /// Those in whose tasks that one runs, the outermost first: none, unless it is a sub-pool's.
    static AROUND: RefCell<Vec<Inside>> = const { RefCell::new(Vec::new()) };
}

/// A slot: the number of its pool, and that of its seat. One word, as every poll of a task changes
/// it twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Inside(u64);

impl Inside {
    /// No slot: for what runs beside them.
    pub(super) const NOWHERE: Self = Self(0);

    pub(super) const fn new(pool: u32, seat: u32) -> Self {
        Self((pool as u64) << 32 | seat as u64)
    }

    fn is_of(self, pool: u32) -> bool {
        self.0 >> 32 == u64::from(pool)
    }

    const fn seat(self) -> u32 {
        self.0 as u32
    }
}

/// A number for a pool, and not 0. Pools that live have different ones, unless one of them has seen
/// four billion others come.
pub(super) fn number() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if number != 0 {
            return number;
        }
    }
}

/// Runs `f` as part of a task on `slot`, in what this thread is running.
pub(super) fn enter<T>(slot: Inside, f: impl FnOnce() -> T) -> T {
    let around = RUNNING.with(|running| running.replace(slot));
    if around != Inside::NOWHERE {
        change_around(|slots| slots.push(around));
    }
    let _leave = Leave(around);
    f()
}

/// The slots in whose tasks this thread is, the outermost first.
pub(super) fn all() -> Vec<Inside> {
    let mut slots = Vec::new();
    change_around(|around| slots.clone_from(around));
    let running = RUNNING.with(Cell::get);
    if running != Inside::NOWHERE {
        slots.push(running);
    }
    slots
}

/// Runs `f` in tasks on these slots, the outermost first.
pub(super) fn enter_all(slots: &[Inside], f: &mut dyn FnMut()) {
    match slots.split_first() {
        Some((outer, rest)) => enter(*outer, || enter_all(rest, f)),
        None => f(),
    }
}

/// Runs `f` as what has given up the slot of `pool`, and those around it.
pub(super) fn without<T>(pool: u32, f: impl FnOnce() -> T) -> T {
    let running = RUNNING.with(Cell::get);
    let mut around = Vec::new();
    change_around(|slots| {
        around.clone_from(slots);
        if running.is_of(pool) {
            RUNNING.with(|running| running.set(Inside::NOWHERE));
            slots.clear();
        } else if let Some(at) = slots.iter().rposition(|slot| slot.is_of(pool)) {
            slots.drain(..=at);
        }
    });
    let _back = Back { running, around };
    f()
}

/// The seat of `pool` whose task this thread is running, or one of a sub-pool on that slot.
pub(super) fn seat_in(pool: u32) -> Option<u32> {
    let running = RUNNING.with(Cell::get);
    if running.is_of(pool) {
        return Some(running.seat());
    }
    // Of one that is run by its submitter too, in whose slot it is.
    let mut found = None;
    change_around(|slots| found = slots.iter().rev().find(|slot| slot.is_of(pool)).copied());
    found.map(Inside::seat)
}

/// Nothing while the thread's own values are being dropped.
fn change_around(f: impl FnOnce(&mut Vec<Inside>)) {
    let _ = AROUND.try_with(|around| f(&mut around.borrow_mut()));
}

struct Leave(Inside);

impl Drop for Leave {
    fn drop(&mut self) {
        RUNNING.with(|running| running.set(self.0));
        if self.0 != Inside::NOWHERE {
            change_around(|slots| {
                slots.pop();
            });
        }
    }
}

struct Back {
    running: Inside,
    around: Vec<Inside>,
}

impl Drop for Back {
    fn drop(&mut self) {
        RUNNING.with(|running| running.set(self.running));
        let before = core::mem::take(&mut self.around);
        change_around(|slots| *slots = before);
    }
}
