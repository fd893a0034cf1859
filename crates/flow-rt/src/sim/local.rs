//! The ready queue, local to the thread that runs the simulation.
//!
//! # State
//! One thread-local `Local` per thread: the number of the simulation it runs (zero for none),
//! the slots that are ready to be polled, the tasks spawned since the executor last looked, each
//! with its slot, and the timers. Beside it, `POLLED`: the task that is being polled, or was last.
//!
//! # Invariants
//! 1. Wakes, spawns and timers of the simulation's own thread come here, without a lock or a
//!    read-modify-write; whoever finds another number here is a foreigner and goes to
//!    [`Foreign`](super::foreign::Foreign).
//! 2. A slot stands in `ready` only while its task lives: an ending task takes
//!    its entry along, and its waker forgets the slot.
//! 3. No user code runs while the cell is borrowed: what is taken out is dropped by the caller.
//! 4. The cell has no destructor, and so is found without asking whether that ran. Outside of a
//!    run there is nothing in it to drop but the memory of its lists, which waits for the thread's
//!    next run: `Freed` drops that at the thread's end.
//! 5. A slot is unmarked as queued *before* the poll, so a wake during the poll counts.
//! 6. The waker in `POLLED` is that of a task that lives, so that its address is nobody else's.

use core::cell::{Cell, RefCell};
use core::mem::{self, ManuallyDrop};
use std::task::Waker;

use super::ready::Ready;
use super::tasks::ROOT;
use super::timers::Sleeper;
use crate::runtime::BoxTask;
use crate::virtual_time::Timers;

flow_sync::sync::thread_local! {
    static LOCAL: RefCell<ManuallyDrop<Local>> =
        const { RefCell::new(ManuallyDrop::new(Local::new())) };
}

flow_sync::sync::thread_local! {
    static FREED: Freed = const { Freed };
}

flow_sync::sync::thread_local! {
    static POLLED: Polled = const { Polled::nobody() };
}

pub(super) struct Local {
    world: u64,
    /// Whether the run remembers its events.
    recorded: bool,
    pub(super) ready: Ready,
    pub(super) newborn: Vec<Newborn>,
    pub(super) timers: Timers<Sleeper>,
    /// Slots of tasks that have ended.
    pub(super) free: Vec<u32>,
}

/// A task that the executor has not adopted yet.
///
/// In this order, or what was just written word by word is read back by loads that straddle the
/// words, and each of those stalls: a twelfth of a short run.
#[repr(C)]
pub(super) struct Newborn {
    pub(super) task: BoxTask,
    pub(super) slot: u32,
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
        }
    }

    /// Forgets a run. What it left is the caller's to drop; the memory is kept, if it is little.
    fn reset(&mut self) -> (Vec<Newborn>, Vec<Sleeper>, Option<Box<Self>>) {
        self.world = 0;
        self.recorded = false;
        self.ready.clear();
        self.free.clear();
        let newborn = if self.newborn.is_empty() {
            Vec::new()
        } else {
            mem::take(&mut self.newborn)
        };
        let sleepers = self.timers.reset();
        let large = (!self.is_small()).then(|| Box::new(mem::replace(self, Self::new())));
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
        let slot = self.free.pop().unwrap_or_else(|| self.ready.add_slot());
        self.ready.push(slot);
        slot
    }
}

/// By what the task that is being polled is known.
struct Polled {
    /// The address of its waker's data; zero for nobody.
    waker: Cell<usize>,
    slot: Cell<u32>,
    /// The address of the vtable of all tasks' wakers.
    vtable: Cell<usize>,
}

impl Polled {
    const fn nobody() -> Self {
        Self {
            waker: Cell::new(0),
            slot: Cell::new(ROOT),
            vtable: Cell::new(0),
        }
    }
}

/// The task in this slot, whose waker's data is at this address, is polled next.
#[inline]
pub(super) fn polls(slot: u32, waker: usize) {
    POLLED.with(|polled| {
        polled.slot.set(slot);
        polled.waker.set(waker);
    });
}

/// The task that was polled last has ended: its waker's address may be another's soon.
pub(super) fn polls_nobody() {
    POLLED.with(|polled| polled.waker.set(0));
}

/// Learns the vtable of all tasks' wakers from one of them.
pub(super) fn wakers_are_like(waker: &Waker) {
    POLLED.with(|polled| polled.vtable.set(vtable(waker)));
}

/// The slot of the task that is being polled on this thread, or was last.
pub(super) fn last_polled() -> u32 {
    POLLED.with(|polled| polled.slot.get())
}

/// The slot of the task that this thread polls, if the data of its waker is at this address.
#[inline]
fn polled_by(waker: usize) -> Option<u32> {
    POLLED.with(|polled| (polled.waker.get() == waker).then(|| polled.slot.get()))
}

/// The slot of the task that this thread polls, if `waker` is its waker and no other.
#[inline]
pub(super) fn slot_of(waker: &Waker) -> Option<u32> {
    let slot = polled_by(waker.data().addr())?;
    let alike = POLLED.with(|polled| polled.vtable.get() == vtable(waker));
    alike.then_some(slot)
}

#[inline]
fn vtable(waker: &Waker) -> usize {
    core::ptr::from_ref(waker.vtable()).addr()
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
        polls_nobody();
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
        // Never gone, but in a loom model.
        let memory = LOCAL.try_with(|local| mem::replace(&mut **local.borrow_mut(), Local::new()));
        drop(memory);
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

/// Queues a task, unless it is queued already: the one whose waker's data is at this address, in
/// the slot and the simulation that `task` tells. A task that wakes itself is known by the address
/// alone, and what its waker knows is not looked at.
#[inline]
pub(super) fn wake(waker: usize, task: impl FnOnce() -> (u64, u32)) -> Woken {
    let polled = polled_by(waker);
    with(|local| {
        let slot = match polled {
            Some(slot) => slot,
            None => match task() {
                (world, slot) if world == local.world => slot,
                _ => return Woken::Elsewhere,
            },
        };
        if local.ready.push(slot) {
            Woken::Now {
                recorded: local.recorded,
            }
        } else {
            Woken::Before
        }
    })
}

/// Whether this thread runs simulation `world`.
#[inline]
pub(super) fn runs(world: u64) -> bool {
    with(|local| local.world == world)
}

/// Hands a new task to the executor of the simulation that this thread runs.
#[inline]
pub(super) fn spawn(task: BoxTask) {
    with(|local| {
        let slot = local.allot();
        local.newborn.push(Newborn { task, slot });
    });
}

/// Looks at the queue of this thread.
#[inline]
pub(super) fn with<T>(look: impl FnOnce(&mut Local) -> T) -> T {
    LOCAL.with(|local| look(&mut local.borrow_mut()))
}

/// Entries of each list whose memory is kept between runs: enough for most tests.
pub(super) const KEPT: usize = 1024;
