//! The tasks that live, by slot.
//!
//! # State
//! Two parallel vectors: what a poll touches, which fills one cache line a task, and what only
//! reports and rare options look at.

use core::cell::Cell;
use core::mem;
use core::panic::Location;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;
use std::task::Waker;

use super::history::Event;
use super::local::KEPT;
use super::report::TaskReport;
use super::world::{TaskRef, TaskWaker, World};
use crate::runtime::{BoxTask, TaskBody};

/// What a poll needs of a task.
#[repr(align(64))]
pub(super) struct Task {
    pub(super) body: TaskBody,
    pub(super) waker: Waker,
    pub(super) shared: Arc<TaskWaker>,
    pub(super) polls: u64,
    pub(super) polled_at: u64,
}

/// What else is known about it.
struct About {
    name: Option<Cow<'static, str>>,
    spawned_at: &'static Location<'static>,
    born: u64,
    /// Its stall has been drawn for the next poll.
    stalled: bool,
}

/// The slab of live tasks. The root lives in slot zero, and nobody after it.
pub(super) struct Tasks {
    slots: Vec<Option<Task>>,
    /// Of the last task of each slot.
    about: Vec<About>,
    spawned: u64,
}

thread_local! {
    /// The empty vectors of the thread's last run, for its next: many a test is a thousand short
    /// runs.
    static SPARE: Cell<(Vec<Option<Task>>, Vec<About>)> =
        const { Cell::new((Vec::new(), Vec::new())) };
}

impl Tasks {
    pub(super) fn new() -> Self {
        let (slots, about) = SPARE.try_with(Cell::take).unwrap_or_default();
        Self {
            slots,
            about,
            spawned: 0,
        }
    }

    /// Takes in the root, which is not boxed. It is queued already, as all that come after it.
    pub(super) fn add_root(&mut self, world: &Arc<World>, at: &'static Location<'static>) {
        self.put(world, ROOT, TaskBody::none(), Some(ROOT_NAME.into()), at);
        if let Some(root) = self.get(ROOT) {
            world.current_waker.is_made_by(&root.waker);
        }
    }

    pub(super) fn add(&mut self, world: &Arc<World>, slot: u32, task: BoxTask) {
        let (body, name, spawned_at) = task.into_parts();
        world.note(|| Event::Spawned {
            task: self.spawned,
            name: name.as_deref().map(Arc::from),
            place: spawned_at,
        });
        self.put(world, slot, body, name, spawned_at);
    }

    fn put(
        &mut self,
        world: &Arc<World>,
        slot: u32,
        body: TaskBody,
        name: Option<Cow<'static, str>>,
        spawned_at: &'static Location<'static>,
    ) {
        let number = self.spawned;
        self.spawned += 1;
        let shared = Arc::new(TaskWaker {
            world: world.clone(),
            task: TaskRef { slot, number },
            queued: AtomicBool::new(true),
        });
        let task = Task {
            body,
            waker: Waker::from(shared.clone()),
            shared,
            polls: 0,
            polled_at: world.now(),
        };
        let about = About {
            name,
            spawned_at,
            born: world.now(),
            stalled: false,
        };
        // A slot that is new is the next one: they are adopted in the order of their allotment.
        if let Some(last) = self.about.get_mut(slot as usize) {
            *last = about;
            self.slots[slot as usize] = Some(task);
        } else {
            self.about.push(about);
            self.slots.push(Some(task));
        }
    }

    #[inline]
    pub(super) fn get(&mut self, slot: u32) -> Option<&mut Task> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// The name given at spawn.
    pub(super) fn name(&self, slot: u32) -> Option<&str> {
        self.about[slot as usize].name.as_deref()
    }

    /// Whether the stall of a task has been drawn for its next poll.
    pub(super) fn stalled(&mut self, slot: u32) -> &mut bool {
        &mut self.about[slot as usize].stalled
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
        let about = &self.about[task.shared.task.slot as usize];
        TaskReport {
            name: about.name.as_deref().map(str::to_owned),
            spawned_at: about.spawned_at,
            age: Duration::from_nanos(now - about.born),
            idle: Duration::from_nanos(now - task.polled_at),
            polls: task.polls,
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        let (mut slots, mut about) = (mem::take(&mut self.slots), mem::take(&mut self.about));
        slots.clear();
        about.clear();
        if slots.capacity().max(about.capacity()) <= KEPT {
            // Gone if the thread is ending.
            let _ = SPARE.try_with(|spare| spare.set((slots, about)));
        }
    }
}

impl Task {
    /// Whether it is the task with this number.
    #[inline]
    pub(super) fn is(&self, number: u64) -> bool {
        self.shared.task.number == number
    }
}

/// The slot of the root.
pub(super) const ROOT: u32 = 0;
const ROOT_NAME: &str = "the root";
/// Tasks that a report of the busiest names.
const SHOWN: usize = 5;
