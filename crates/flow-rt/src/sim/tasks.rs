//! The tasks that live, by slot.
//!
//! # State
//! Two parallel vectors: what a poll touches, which fills one cache line a task, and what only
//! reports and rare options look at. Slots stay, also from run to run, and wait with their wakers
//! for other tasks.

use core::cell::Cell;
use core::mem;
use core::panic::Location;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;
use std::task::Waker;

use super::history::Event;
use super::local::{self, KEPT};
use super::report::TaskReport;
use super::waker::{TaskRef, TaskWaker};
use super::world::World;
use crate::runtime::{BoxTask, TaskBody};

/// What a poll needs of a task.
#[repr(align(64))]
pub(super) struct Task {
    pub(super) body: TaskBody,
    /// Kept for the next task of the slot.
    pub(super) waker: Waker,
    pub(super) shared: Arc<TaskWaker>,
    /// [`ENDED`] if there is no task in the slot.
    pub(super) number: u64,
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
    slots: Vec<Task>,
    /// Of the last task of each slot.
    about: Vec<About>,
    /// Slots that this run has used; those after them are of earlier runs.
    used: usize,
    /// Tasks that live.
    living: usize,
    spawned: u64,
}

flow_sync::sync::thread_local! {
    /// The slots of the thread's last run without their tasks, for its next: many a test is a
    /// thousand short runs.
    static SPARE: Cell<(Vec<Task>, Vec<About>)> =
        const { Cell::new((Vec::new(), Vec::new())) };
}

impl Tasks {
    pub(super) fn new() -> Self {
        let (slots, about) = SPARE.try_with(Cell::take).unwrap_or_default();
        Self {
            slots,
            about,
            used: 0,
            living: 0,
            spawned: 0,
        }
    }

    /// Takes in the root, which is not boxed. It is queued already, as all that come after it.
    pub(super) fn add_root(&mut self, world: &World, at: &'static Location<'static>) {
        self.put(world, ROOT, TaskBody::none(), Some(ROOT_NAME.into()), at);
        if let Some(root) = self.get(ROOT) {
            local::wakers_are_like(&root.waker);
        }
    }

    #[inline]
    pub(super) fn add(&mut self, world: &World, slot: u32, task: BoxTask) {
        let (body, name, spawned_at) = task.into_parts();
        world.note(|| Event::Spawned {
            task: self.spawned,
            name: name.as_deref().map(Arc::from),
            place: spawned_at,
        });
        self.put(world, slot, body, name, spawned_at);
    }

    #[inline]
    fn put(
        &mut self,
        world: &World,
        slot: u32,
        body: TaskBody,
        name: Option<Cow<'static, str>>,
        spawned_at: &'static Location<'static>,
    ) {
        let number = self.spawned;
        self.spawned += 1;
        self.living += 1;
        let now = world.now();
        let about = About {
            name,
            spawned_at,
            born: now,
            stalled: false,
        };
        self.used = self.used.max(slot as usize + 1);
        let at = slot as usize;
        let task = TaskRef { slot, number };
        if let (Some(last), Some(known)) = (self.slots.get_mut(at), self.about.get_mut(at))
            && last.shared.reuse(world, task, 2)
        {
            // `shared` and `waker` are its own: nobody else holds a clone still.
            last.body = body;
            last.number = number;
            last.polls = 0;
            last.polled_at = now;
            *known = about;
        } else {
            self.put_anew(Task::new(world, task, body), slot, about);
        }
    }

    #[cold]
    fn put_anew(&mut self, task: Task, slot: u32, about: About) {
        if let Some(last) = self.slots.get_mut(slot as usize) {
            *last = task;
            self.about[slot as usize] = about;
        } else {
            // A slot that is new is the next one: they are adopted in the order of their allotment.
            self.slots.push(task);
            self.about.push(about);
        }
    }

    #[inline]
    pub(super) fn get(&mut self, slot: u32) -> Option<&mut Task> {
        let task = self.slots.get_mut(slot as usize)?;
        (task.number != ENDED).then_some(task)
    }

    /// The name given at spawn.
    pub(super) fn name(&self, slot: u32) -> Option<&str> {
        self.about[slot as usize].name.as_deref()
    }

    /// Whether the stall of a task has been drawn for its next poll.
    pub(super) fn stalled(&mut self, slot: u32) -> &mut bool {
        &mut self.about[slot as usize].stalled
    }

    /// The task in its slot, if that is it still.
    pub(super) fn living(&self, task: TaskRef) -> Option<&Task> {
        let known = self.slots.get(task.slot as usize)?;
        (known.number == task.number).then_some(known)
    }

    /// Takes a task out for good: its waker wakes nobody any more.
    #[inline]
    pub(super) fn take(&mut self, slot: u32) -> Option<TaskBody> {
        let task = self.get(slot)?;
        task.number = ENDED;
        task.shared.retire();
        let body = mem::replace(&mut task.body, TaskBody::none());
        self.living -= 1;
        self.about[slot as usize].name = None;
        Some(body)
    }

    /// Takes all tasks out, in the order in which they were spawned.
    pub(super) fn take_all(&mut self) -> Vec<TaskBody> {
        if self.living == 0 {
            return Vec::new();
        }
        let by_age: Vec<u32> = self.by_age().into_iter().map(|(slot, _)| slot).collect();
        by_age
            .into_iter()
            .filter_map(|slot| self.take(slot))
            .collect()
    }

    /// The tasks with their slots.
    fn alive(&self) -> impl Iterator<Item = (u32, &Task)> {
        // 2^32 tasks do not fit into memory.
        let slots = (0..).zip(&self.slots[..self.used]);
        slots.filter(|(_, task)| task.number != ENDED)
    }

    /// The same, in the order in which they were spawned.
    fn by_age(&self) -> Vec<(u32, &Task)> {
        let mut alive: Vec<(u32, &Task)> = self.alive().collect();
        alive.sort_unstable_by_key(|(_, task)| task.number);
        alive
    }

    pub(super) fn report(&self, slot: u32, now: u64) -> TaskReport {
        match self.slots.get(slot as usize) {
            Some(task) if task.number != ENDED => self.describe(slot, task, now),
            _ => TaskReport::unknown(),
        }
    }

    /// All tasks, in the order in which they were spawned.
    pub(super) fn reports(&self, now: u64) -> Vec<TaskReport> {
        if self.living == 0 {
            return Vec::new();
        }
        let by_age = self.by_age().into_iter();
        by_age
            .map(|(slot, task)| self.describe(slot, task, now))
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
        let (slot, task) = self.alive().find(|(_, task)| task.number == number)?;
        Some(self.describe(slot, task, now))
    }

    fn describe(&self, slot: u32, task: &Task, now: u64) -> TaskReport {
        let about = &self.about[slot as usize];
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
        // The executor has taken all tasks out.
        let (slots, about) = (mem::take(&mut self.slots), mem::take(&mut self.about));
        if slots.capacity().max(about.capacity()) <= KEPT {
            // Gone if the thread is ending.
            let _ = SPARE.try_with(|spare| spare.set((slots, about)));
        }
    }
}

impl Task {
    #[inline(never)]
    fn new(world: &World, task: TaskRef, body: TaskBody) -> Self {
        let shared = Arc::new(TaskWaker::new(world, task));
        Self {
            body,
            waker: Waker::from(shared.clone()),
            shared,
            number: task.number,
            polls: 0,
            polled_at: world.now(),
        }
    }
}

/// The slot of the root.
pub(super) const ROOT: u32 = 0;
/// The number of no task.
const ENDED: u64 = u64::MAX;
const ROOT_NAME: &str = "the root";
/// Tasks that a report of the busiest names.
const SHOWN: usize = 5;
