//! The tasks that live, by slot.

use core::panic::Location;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::task::Waker;

use super::history::Event;
use super::report::TaskReport;
use super::world::{TaskRef, TaskWaker, World};
use crate::runtime::BoxTask;

/// A task with what the executor keeps about it.
pub(super) struct Task {
    /// `None` for the root, which is not boxed.
    pub(super) boxed: Option<BoxTask>,
    pub(super) waker: Waker,
    pub(super) shared: Arc<TaskWaker>,
    /// Its stall has been drawn for the next poll.
    pub(super) stalled: bool,
    pub(super) polls: u64,
    pub(super) polled_at: u64,
    born: u64,
}

/// The slab of live tasks. The root lives in slot zero.
pub(super) struct Tasks {
    slots: Vec<Option<Task>>,
    spawned: u64,
    root_at: &'static Location<'static>,
}

impl Tasks {
    pub(super) fn new(root_at: &'static Location<'static>) -> Self {
        Self {
            slots: Vec::new(),
            spawned: 0,
            root_at,
        }
    }

    /// Takes in a task, which is queued already; `None` is the root.
    pub(super) fn add(&mut self, world: &Arc<World>, slot: u32, boxed: Option<BoxTask>) {
        let number = self.spawned;
        self.spawned += 1;
        if let Some(task) = &boxed {
            world.note(|| Event::Spawned {
                task: number,
                name: task.name().map(Arc::from),
                place: task.spawned_at(),
            });
        }
        let shared = Arc::new(TaskWaker {
            world: world.clone(),
            task: TaskRef { slot, number },
            queued: AtomicBool::new(true),
        });
        let task = Task {
            boxed,
            waker: Waker::from(shared.clone()),
            shared,
            stalled: false,
            polls: 0,
            polled_at: world.now(),
            born: world.now(),
        };
        let slot = slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some(task);
    }

    #[inline]
    pub(super) fn get(&mut self, slot: u32) -> Option<&mut Task> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub(super) fn is_alive(&self, task: TaskRef) -> bool {
        let known = self.slots.get(task.slot as usize);
        known.is_some_and(|known| {
            known
                .as_ref()
                .is_some_and(|known| known.shared.task == task)
        })
    }

    /// Takes a task out for good: its waker wakes nobody any more. Says whether the task was
    /// queued.
    pub(super) fn take(&mut self, slot: u32) -> Option<(Task, bool)> {
        let task = self.slots.get_mut(slot as usize)?.take()?;
        let was_queued = task.shared.queued.swap(true, Ordering::AcqRel);
        Some((task, was_queued))
    }

    /// Takes all tasks out, in the order in which they were spawned.
    pub(super) fn take_all(&mut self) -> Vec<Task> {
        let slots = 0..self.slots.len() as u32;
        let mut all: Vec<Task> = slots
            .filter_map(|slot| self.take(slot))
            .map(|(task, _)| task)
            .collect();
        all.sort_by_key(|task| task.shared.task.number);
        all
    }

    pub(super) fn report(&self, slot: u32, now: u64) -> TaskReport {
        match self.slots.get(slot as usize) {
            Some(Some(task)) => self.describe(task, now),
            _ => TaskReport::unknown(),
        }
    }

    /// All tasks, in the order in which they were spawned.
    pub(super) fn reports(&self, now: u64) -> Vec<TaskReport> {
        let mut alive: Vec<&Task> = self.slots.iter().flatten().collect();
        alive.sort_by_key(|task| task.shared.task.number);
        alive
            .into_iter()
            .map(|task| self.describe(task, now))
            .collect()
    }

    /// The tasks polled most.
    pub(super) fn busiest(&self, now: u64) -> Vec<TaskReport> {
        let mut busiest = self.reports(now);
        busiest.sort_by_key(|task| core::cmp::Reverse(task.polls));
        busiest.truncate(SHOWN);
        busiest
    }

    /// The task with this number, if it lives.
    pub(super) fn numbered(&self, number: u64, now: u64) -> Option<TaskReport> {
        let mut alive = self.slots.iter().flatten();
        let task = alive.find(|task| task.shared.task.number == number)?;
        Some(self.describe(task, now))
    }

    fn describe(&self, task: &Task, now: u64) -> TaskReport {
        let (name, spawned_at) = match &task.boxed {
            Some(boxed) => (boxed.name(), boxed.spawned_at()),
            None => (Some(ROOT_NAME), self.root_at),
        };
        TaskReport {
            name: name.map(str::to_owned),
            spawned_at,
            age: Duration::from_nanos(now - task.born),
            idle: Duration::from_nanos(now - task.polled_at),
            polls: task.polls,
        }
    }
}

impl Task {
    /// The name given at spawn.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.boxed {
            Some(boxed) => boxed.name(),
            None => Some(ROOT_NAME),
        }
    }
}

/// The slot of the root.
pub(super) const ROOT: u32 = 0;
const ROOT_NAME: &str = "the root";
/// Tasks that a report of the busiest names.
const SHOWN: usize = 5;
