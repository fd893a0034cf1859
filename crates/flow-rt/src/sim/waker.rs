//! The wakers of tasks.
//!
//! # State
//! A waker knows its task by slot and number, and the number of the simulation. A slot keeps its
//! waker from task to task and from run to run.
//!
//! # Invariants
//! 1. A waker changes its task only while nobody else holds it: what is out there wakes the task
//!    that it was given for, or nobody.
//! 2. The waker of a task that has ended has no slot, and wakes nobody.
//! 3. On the simulation's thread a wake is a matter of its [`local`] cell. Elsewhere it is posted
//!    to [`Foreign`], unless a wake was before that the executor has not let in (`posted`). The
//!    executor clears the flag by a swap before it queues the task, and the swap reads from the
//!    foreigners': a wake that found the flag set is coalesced into the poll that follows, and
//!    that poll sees what the foreigner wrote before it woke.

use std::sync::Arc;
use std::task::Wake;

use flow_sync::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

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
    /// That of the task; [`NONE`] once it has ended. Written by the simulation's thread only.
    slot: AtomicU32,
    /// Woken on another thread, and not let in yet.
    posted: AtomicBool,
    /// The number of the task, and that of its simulation.
    number: AtomicU64,
    world: AtomicU64,
}

impl TaskWaker {
    /// That of a new task.
    pub(super) fn new(world: &World, task: TaskRef) -> Self {
        Self {
            foreign: world.foreign.clone(),
            slot: AtomicU32::new(task.slot),
            posted: AtomicBool::new(false),
            number: AtomicU64::new(task.number),
            world: AtomicU64::new(world.id),
        }
    }

    /// Makes it that of another task in its slot, unless somebody holds it beside `holders`.
    #[inline]
    pub(super) fn reuse(self: &Arc<Self>, world: &World, task: TaskRef, holders: usize) -> bool {
        if Arc::strong_count(self) != holders || !Arc::ptr_eq(&self.foreign, &world.foreign) {
            return false;
        }
        // After what the others did with it before they let go.
        fence(Ordering::Acquire);
        self.slot.store(task.slot, Ordering::Relaxed);
        self.number.store(task.number, Ordering::Relaxed);
        self.world.store(world.id, Ordering::Relaxed);
        self.posted.store(false, Ordering::Relaxed);
        true
    }

    /// The task has ended.
    #[inline]
    pub(super) fn retire(&self) {
        self.slot.store(NONE, Ordering::Relaxed);
    }

    /// Takes notice of what other threads have posted so far.
    pub(super) fn let_in(&self) {
        self.posted.swap(false, Ordering::AcqRel);
    }

    /// The address by which a waker of this task is known.
    #[inline]
    pub(super) fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    fn task(&self) -> TaskRef {
        TaskRef {
            slot: self.slot.load(Ordering::Relaxed),
            number: self.number(),
        }
    }

    fn number(&self) -> u64 {
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
        let newly = !self.posted.swap(true, Ordering::AcqRel);
        // Posted even if it was before: that a thread took part must be seen.
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
        let task = || {
            let world = self.world.load(Ordering::Relaxed);
            (world, self.slot.load(Ordering::Relaxed))
        };
        match local::wake(self.address(), task) {
            Woken::Now { recorded: false } | Woken::Before => {}
            Woken::Now { recorded: true } => self.note(),
            Woken::Elsewhere => self.wake_from_elsewhere(),
        }
    }
}

/// The slot of nobody.
const NONE: u32 = u32::MAX;
