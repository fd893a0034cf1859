//! Panics of tasks, and whether somebody learns of them.
//!
//! A task's panic comes out of its join. One that nobody joins would pass unseen, so it fails
//! the run: a panic that is on its way to a join handle carries an [`Unheard`], which reports
//! it when it is dropped on the way, wherever that happens: with the cell, with the handle, or
//! with a group.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use flow_sync::sync::Mutex;

use super::report::{TaskPanic, TaskReport};
use super::world::World;

/// The panics of a run's tasks.
#[derive(Default)]
pub(super) struct Panics {
    /// Whether there is anything in the lists.
    news: AtomicBool,
    /// Whether the run goes on all the same, since the test plans them.
    pub(super) allowed: AtomicBool,
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    /// Caught in the poll that is going on: its task is to be filled in.
    caught: Vec<Arc<Record>>,
    /// Dropped without being heard.
    unheard: Vec<Arc<Record>>,
}

struct Record {
    message: String,
    task: OnceLock<TaskReport>,
}

impl Panics {
    #[inline]
    pub(super) fn have_news(&self) -> bool {
        self.news.load(Ordering::Relaxed)
    }

    /// Names the task whose panics were caught since the last call, and takes those panics
    /// that nobody will hear of.
    pub(super) fn take(&self, task: impl FnOnce() -> TaskReport) -> Vec<TaskPanic> {
        let (caught, unheard) = {
            let mut lists = self.lists.lock();
            self.news.store(false, Ordering::Relaxed);
            (
                core::mem::take(&mut lists.caught),
                core::mem::take(&mut lists.unheard),
            )
        };
        if !caught.is_empty() {
            let task = task();
            for record in caught {
                // Set once: a record is caught once.
                let _ = record.task.set(task.clone());
            }
        }
        unheard
            .into_iter()
            .map(|record| TaskPanic {
                task: record
                    .task
                    .get()
                    .cloned()
                    .unwrap_or_else(TaskReport::unknown),
                message: record.message.clone(),
            })
            .collect()
    }
}

impl World {
    fn note_panic(&self, change: impl FnOnce(&mut Lists)) {
        change(&mut self.panics.lists.lock());
        self.panics.news.store(true, Ordering::Relaxed);
        self.foreign.tell();
    }
}

/// A panic on its way to a join handle; reports it to the run if it is dropped on the way.
pub(crate) struct Unheard {
    world: Arc<World>,
    record: Option<Arc<Record>>,
}

impl Unheard {
    pub(crate) fn new(world: Arc<World>, message: &str) -> Self {
        let record = Arc::new(Record {
            message: message.to_owned(),
            task: OnceLock::new(),
        });
        world.note_panic(|lists| lists.caught.push(record.clone()));
        Self {
            world,
            record: Some(record),
        }
    }

    /// The panic has arrived.
    pub(crate) fn heard(mut self) {
        self.record = None;
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.world.note_panic(|lists| lists.unheard.push(record));
        }
    }
}
