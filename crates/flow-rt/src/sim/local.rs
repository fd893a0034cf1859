//! The ready queue, local to the thread that runs the simulation.
//!
//! # State
//! One thread-local `Local` per thread: the number of the simulation it runs (zero for none),
//! the slots that are ready to be polled, the tasks spawned since the executor last looked, each
//! with its slot, and the timers.
//!
//! # Invariants
//! 1. Wakes, spawns and timers of the simulation's own thread come here, without a lock or a
//!    read-modify-write; whoever finds another number here is a foreigner and goes to
//!    [`Foreign`](super::world::Foreign).
//! 2. A slot stands in `ready` only while its task lives: an ending task takes its entry along,
//!    and leaves its waker marked as queued, so that a stale waker never posts again.
//! 3. No user code runs while the cell is borrowed: what is taken out is dropped by the caller.
//! 4. Outside of a run there is nothing in the cell to drop. So it needs no destructor, and is
//!    found without asking whether that ran. The memory of its lists waits for the thread's next
//!    run in `SPARE`, which has one.

use core::cell::{Cell, RefCell};
use core::mem::{self, ManuallyDrop};
use core::sync::atomic::{AtomicBool, Ordering};

use super::ready::Ready;
use super::timers::Sleeper;
use crate::runtime::BoxTask;
use crate::virtual_time::Timers;

thread_local! {
    static LOCAL: RefCell<ManuallyDrop<Local>> =
        const { RefCell::new(ManuallyDrop::new(Local::new())) };
    static SPARE: Cell<Option<Local>> = const { Cell::new(None) };
}

pub(super) struct Local {
    world: u64,
    pub(super) ready: Ready,
    pub(super) newborn: Vec<(u32, BoxTask)>,
    pub(super) timers: Timers<Sleeper>,
    /// Slots of tasks that have ended.
    pub(super) free: Vec<u32>,
    slots: u32,
}

impl Local {
    const fn new() -> Self {
        Self {
            world: 0,
            ready: Ready::new(),
            newborn: Vec::new(),
            timers: Timers::new(),
            free: Vec::new(),
            slots: 0,
        }
    }

    /// Forgets a run. What it left is the caller's to drop; the memory is kept.
    fn reset(&mut self) -> (Vec<(u32, BoxTask)>, Vec<Sleeper>) {
        self.world = 0;
        self.ready.clear();
        self.free.clear();
        self.slots = 0;
        (mem::take(&mut self.newborn), self.timers.reset())
    }

    /// Whether so little memory is kept that nobody will miss it.
    fn is_small(&self) -> bool {
        let room = [
            self.ready.capacity(),
            self.free.capacity(),
            self.timers.capacity(),
        ];
        room.into_iter().all(|room| room <= KEPT)
    }

    /// A slot for a new task, which is ready at once.
    pub(super) fn allot(&mut self) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        self.ready.push(slot);
        slot
    }
}

/// Makes this thread the one of simulation `world`, until the guard is dropped.
pub(super) fn enter(world: u64) -> Inside {
    let spare = SPARE.try_with(Cell::take).ok().flatten();
    let mut fresh = spare.unwrap_or_else(Local::new);
    fresh.world = world;
    let before = with(|local| mem::replace(local, fresh));
    drop(before);
    Inside
}

/// Leaves the simulation when dropped.
pub(super) struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        let mut left = with(|local| mem::replace(local, Local::new()));
        drop(left.reset());
        if left.is_small() {
            // Gone too if the thread is ending.
            let _ = SPARE.try_with(|spare| spare.set(Some(left)));
        }
    }
}

/// Changes the timers of simulation `world`, if this is its thread.
#[inline]
pub(super) fn with_timers_of<T>(
    world: u64,
    change: impl FnOnce(&mut Timers<Sleeper>) -> T,
) -> Option<T> {
    with(|local| (local.world == world).then(|| change(&mut local.timers)))
}

/// What came of a wake.
#[derive(PartialEq, Eq)]
pub(super) enum Woken {
    /// The task is queued.
    Now,
    /// It was queued before.
    Before,
    /// This thread does not run the simulation.
    Elsewhere,
}

/// Queues a task of simulation `world`, unless it is queued already.
#[inline]
pub(super) fn wake(world: u64, slot: u32, queued: &AtomicBool) -> Woken {
    with(|local| {
        if local.world != world {
            return Woken::Elsewhere;
        }
        // A load and a store: at worst a foreigner queues the task a second time, which is
        // a spurious poll.
        if queued.load(Ordering::Relaxed) {
            return Woken::Before;
        }
        queued.store(true, Ordering::Relaxed);
        local.ready.push(slot);
        Woken::Now
    })
}

/// Hands a new task of simulation `world` to its executor; gives it back on another thread.
pub(super) fn spawn(world: u64, task: BoxTask) -> Result<(), BoxTask> {
    with(|local| {
        if local.world != world {
            return Err(task);
        }
        let slot = local.allot();
        local.newborn.push((slot, task));
        Ok(())
    })
}

/// Looks at the queue of this thread.
#[inline]
pub(super) fn with<T>(look: impl FnOnce(&mut Local) -> T) -> T {
    LOCAL.with_borrow_mut(|local| look(local))
}

/// Entries of each list whose memory is kept between runs: enough for most tests.
pub(super) const KEPT: usize = 1024;
