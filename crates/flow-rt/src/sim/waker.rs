//! The wakers of tasks.
//!
//! # State
//! A waker knows its task by slot and number, and the number of the simulation. A slot keeps its
//! waker from task to task and from run to run.
//!
//! # Invariants
//! 1. A waker changes its task only while nobody else holds it: what is out there wakes the task
//!    that it was given for, or nobody.
//! 2. The waker of a task that has ended is marked as queued, and wakes nobody.
//! 3. `queued` is cleared *before* the poll, so a wake during the poll counts. With threads let
//!    in it is cleared by a swap, which reads from the foreigner's swap: a wake that found the
//!    flag set is coalesced into the poll that follows, and that poll sees what the foreigner
//!    wrote before it woke. Alone, a plain store will do.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::Arc;
use std::task::{Wake, Waker};

use super::foreign::Foreign;
use super::history::Event;
use super::local::{self, Woken};
use super::world::World;
use crate::ambient;

/// A task by slot and number: slots are used again, numbers are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TaskRef {
    pub(super) slot: u32,
    pub(super) number: u64,
}

/// Wakes one task: once per poll, however often it is called.
pub(super) struct TaskWaker {
    foreign: Arc<Foreign>,
    slot: u32,
    pub(super) queued: AtomicBool,
    /// The number of the task, and that of its simulation.
    number: AtomicU64,
    world: AtomicU64,
}

impl TaskWaker {
    /// That of a new task, which is queued already.
    pub(super) fn new(world: &World, task: TaskRef) -> Self {
        Self {
            foreign: world.foreign.clone(),
            slot: task.slot,
            queued: AtomicBool::new(true),
            number: AtomicU64::new(task.number),
            world: AtomicU64::new(world.id),
        }
    }

    /// Makes it that of another task in its slot, unless somebody holds it beside `holders`.
    #[inline]
    pub(super) fn reuse(self: &Arc<Self>, world: &World, number: u64, holders: usize) -> bool {
        if Arc::strong_count(self) != holders || !Arc::ptr_eq(&self.foreign, &world.foreign) {
            return false;
        }
        // After what the others did with it before they let go.
        fence(Ordering::Acquire);
        self.number.store(number, Ordering::Relaxed);
        self.world.store(world.id, Ordering::Relaxed);
        self.queued.store(true, Ordering::Relaxed);
        true
    }

    #[inline]
    pub(super) fn task(&self) -> TaskRef {
        TaskRef {
            slot: self.slot,
            number: self.number(),
        }
    }

    #[inline]
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    #[cold]
    fn note(&self) {
        if let Some(world) = ambient::simulation() {
            world.note(|| Event::Woken {
                task: self.number(),
                by: world.current(),
            });
        }
    }

    #[cold]
    fn wake_from_elsewhere(&self) {
        let newly = !self.queued.swap(true, Ordering::AcqRel);
        // Posted even if it is queued already: that a thread took part must be seen.
        let world = self.world.load(Ordering::Relaxed);
        self.foreign.post(world, |inbox| {
            if newly {
                inbox.woken.push(self.task());
            }
        });
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    #[inline]
    fn wake_by_ref(self: &Arc<Self>) {
        let world = self.world.load(Ordering::Relaxed);
        match local::wake(world, self.slot, &self.queued) {
            Woken::Now { recorded: false } | Woken::Before => {}
            Woken::Now { recorded: true } => self.note(),
            Woken::Elsewhere => self.wake_from_elsewhere(),
        }
    }
}

/// By what the task that is being polled is known: written before each poll, and read by the
/// same thread.
#[derive(Default)]
pub(super) struct CurrentWaker {
    slot: AtomicU32,
    data: AtomicUsize,
    /// That of all tasks' wakers.
    vtable: AtomicUsize,
}

impl CurrentWaker {
    pub(super) fn is_made_by(&self, waker: &Waker) {
        self.vtable.store(vtable(waker), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn set(&self, slot: u32, waker: &Waker) {
        self.slot.store(slot, Ordering::Relaxed);
        self.data.store(waker.data().addr(), Ordering::Relaxed);
    }

    /// The task that was polled last has ended: its waker's address may be another's soon.
    pub(super) fn clear(&self) {
        self.data.store(0, Ordering::Relaxed);
    }

    /// The slot of the task that is being polled, if `waker` is its waker and no other.
    #[inline]
    pub(super) fn slot_of(&self, waker: &Waker) -> Option<u32> {
        let same = self.data.load(Ordering::Relaxed) == waker.data().addr()
            && self.vtable.load(Ordering::Relaxed) == vtable(waker);
        same.then(|| self.slot.load(Ordering::Relaxed))
    }
}

#[inline]
fn vtable(waker: &Waker) -> usize {
    core::ptr::from_ref(waker.vtable()).addr()
}
