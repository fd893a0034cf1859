//! The ready queue, local to the thread that runs the simulation.
//!
//! # State
//! One thread-local `Local` per thread: the number of the simulation it runs (zero for none),
//! the slots that are ready to be polled, and the tasks spawned since the executor last looked,
//! each with its slot.
//!
//! # Invariants
//! 1. Wakes and spawns of the simulation's own thread come here, without a lock or a
//!    read-modify-write; whoever finds another number here is a foreigner and goes to
//!    [`Foreign`](super::world::Foreign).
//! 2. A slot stands in `ready` only while its task lives: an ending task takes its entry along,
//!    and leaves its waker marked as queued, so that a stale waker never posts again.
//! 3. No user code runs while the cell is borrowed: what is taken out is dropped by the caller.

use core::cell::RefCell;
use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::VecDeque;

use crate::runtime::BoxTask;

thread_local! {
    static LOCAL: RefCell<Local> = const { RefCell::new(Local::new()) };
}

pub(super) struct Local {
    world: u64,
    pub(super) ready: VecDeque<u32>,
    pub(super) newborn: Vec<(u32, BoxTask)>,
    /// Slots of tasks that have ended.
    pub(super) free: Vec<u32>,
    slots: u32,
}

impl Local {
    const fn new() -> Self {
        Self {
            world: 0,
            ready: VecDeque::new(),
            newborn: Vec::new(),
            free: Vec::new(),
            slots: 0,
        }
    }

    /// A slot for a new task, which is ready at once.
    pub(super) fn allot(&mut self) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        self.ready.push_back(slot);
        slot
    }
}

/// Makes this thread the one of simulation `world`, until the guard is dropped.
pub(super) fn enter(world: u64) -> Inside {
    LOCAL.with_borrow_mut(|local| local.world = world);
    Inside
}

/// Leaves the simulation when dropped.
pub(super) struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        let newborn = LOCAL.try_with(|local| {
            let mut local = local.borrow_mut();
            local.world = 0;
            local.ready.clear();
            local.free.clear();
            local.slots = 0;
            core::mem::take(&mut local.newborn)
        });
        drop(newborn);
    }
}

/// Queues a task of simulation `world`, unless it is queued already; false on another thread.
#[inline]
pub(super) fn wake(world: u64, slot: u32, queued: &AtomicBool) -> bool {
    LOCAL
        .try_with(|local| {
            let mut local = local.borrow_mut();
            if local.world != world {
                return false;
            }
            // A load and a store: at worst a foreigner queues the task a second time, which is
            // a spurious poll.
            if !queued.load(Ordering::Relaxed) {
                queued.store(true, Ordering::Relaxed);
                local.ready.push_back(slot);
            }
            true
        })
        .unwrap_or(false)
}

/// Hands a new task of simulation `world` to its executor; gives it back on another thread.
pub(super) fn spawn(world: u64, task: BoxTask) -> Result<(), BoxTask> {
    let mut task = Some(task);
    let taken = LOCAL.try_with(|local| {
        let mut local = local.borrow_mut();
        if local.world == world
            && let Some(task) = task.take()
        {
            let slot = local.allot();
            local.newborn.push((slot, task));
        }
    });
    // Refused too while the thread's locals are being destroyed.
    let _ = taken;
    task.map_or(Ok(()), Err)
}

/// Looks at the queue of this thread.
#[inline]
pub(super) fn with<T>(look: impl FnOnce(&mut Local) -> T) -> T {
    LOCAL.with_borrow_mut(look)
}
