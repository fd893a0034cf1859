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
//!    [`Foreign`](super::foreign::Foreign).
//! 2. A slot stands in `ready` only while its task lives: an ending task takes its entry along,
//!    and leaves its waker marked as queued, so that a stale waker never posts again.
//! 3. No user code runs while the cell is borrowed: what is taken out is dropped by the caller.
//! 4. The cell has no destructor, and so is found without asking whether that ran. Outside of a
//!    run there is nothing in it to drop but the memory of its lists, which waits for the thread's
//!    next run: `Freed` drops that at the thread's end.

use core::cell::RefCell;
use core::mem::{self, ManuallyDrop};
use core::sync::atomic::{AtomicBool, Ordering};

use super::ready::Ready;
use super::timers::Sleeper;
use crate::runtime::BoxTask;
use crate::virtual_time::Timers;

thread_local! {
    static LOCAL: RefCell<ManuallyDrop<Local>> =
        const { RefCell::new(ManuallyDrop::new(Local::new())) };
    static FREED: Freed = const { Freed };
}

pub(super) struct Local {
    world: u64,
    /// Whether the run remembers its events.
    recorded: bool,
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
            recorded: false,
            ready: Ready::new(),
            newborn: Vec::new(),
            timers: Timers::new(),
            free: Vec::new(),
            slots: 0,
        }
    }

    /// Forgets a run. What it left is the caller's to drop; the memory is kept, if it is little.
    fn reset(&mut self) -> (Vec<(u32, BoxTask)>, Vec<Sleeper>, Option<Self>) {
        self.world = 0;
        self.recorded = false;
        self.ready.clear();
        self.free.clear();
        self.slots = 0;
        let newborn = if self.newborn.is_empty() {
            Vec::new()
        } else {
            mem::take(&mut self.newborn)
        };
        let sleepers = self.timers.reset();
        let large = (!self.is_small()).then(|| mem::replace(self, Self::new()));
        (newborn, sleepers, large)
    }

    /// Whether so little memory is kept that nobody will miss it.
    fn is_small(&self) -> bool {
        let room = [
            self.ready.capacity(),
            self.free.capacity(),
            self.newborn.capacity(),
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
pub(super) fn enter(world: u64, recorded: bool) -> Inside {
    let is_freed = FREED.try_with(|_| ()).is_ok();
    with(|local| {
        local.world = world;
        local.recorded = recorded;
    });
    Inside { is_freed }
}

/// Leaves the simulation when dropped.
pub(super) struct Inside {
    /// What is kept is dropped at the thread's end.
    is_freed: bool,
}

impl Drop for Inside {
    fn drop(&mut self) {
        drop(with(Local::reset));
        if !self.is_freed {
            drop(with(|local| mem::replace(local, Local::new())));
        }
    }
}

/// Drops the memory of a thread's cell.
struct Freed;

impl Drop for Freed {
    fn drop(&mut self) {
        drop(with(|local| mem::replace(local, Local::new())));
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
    /// The task is queued; whether this run remembers its events.
    Now { recorded: bool },
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
        Woken::Now {
            recorded: local.recorded,
        }
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
