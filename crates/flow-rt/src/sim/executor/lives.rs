//! How tasks come and go: spawned here or on other threads, ended, panicked, left at the end.

use core::sync::atomic::Ordering;

use super::super::config::Policy;
use super::super::failure::Failure;
use super::super::local::{self, Newborn};
use super::super::report::TaskPanic;
use super::super::tasks::ROOT;
use super::Executor;
use crate::panics::{self, Panic};
use crate::runtime::TaskBody;

impl Executor<'_> {
    /// Hears of the panics that the last poll left, and takes over what other threads have posted.
    #[cold]
    pub(super) fn let_in(&mut self) -> Result<(), Box<Failure>> {
        let inbox = self.world.foreign.take();
        self.hear(local::last_polled())?;
        if !inbox.any {
            return Ok(());
        }
        if !self.config.allow_threads {
            let woken = inbox.woken.first();
            return Err(Box::new(Failure::ForeignWake {
                thread: inbox.thread,
                task: woken
                    .and_then(|task| self.tasks.numbered(task.number, self.now))
                    .map(Box::new),
            }));
        }
        for task in inbox.woken {
            if let Some(woken) = self.tasks.living(task) {
                woken.shared.let_in();
                local::with(|local| local.ready.push(task.slot));
            }
        }
        for task in inbox.spawned {
            self.world.spawn(task);
        }
        Ok(())
    }

    /// Takes in what was spawned.
    pub(super) fn adopt_newborn(&mut self) {
        // This drops nothing, and so runs no user code while the cell is borrowed.
        local::with(|local| {
            for Newborn { task, slot } in local.newborn.drain(..) {
                self.picker.born(slot);
                self.tasks.add(self.world, slot, task);
            }
        });
    }

    /// A task has been polled to its end.
    pub(super) fn ended(&mut self, slot: u32) -> Result<(), Box<Failure>> {
        // While the task can be named.
        self.hear(slot)?;
        self.end(slot);
        Ok(())
    }

    /// A task that nobody can join has panicked.
    #[cold]
    pub(super) fn panicked(&mut self, slot: u32, panic: Panic) -> Result<(), Box<Failure>> {
        if let Some(task) = self.tasks.get(slot) {
            task.body.clear();
        }
        let panicked = TaskPanic {
            task: self.tasks.report(slot, self.now),
            message: panic.message().to_owned(),
        };
        // The payload's destructor is user code.
        panics::contain(|| drop(panic));
        self.ended(slot)?;
        self.unheard(panicked)
    }

    /// Looks for panics after a poll of `slot`.
    pub(super) fn hear(&mut self, slot: u32) -> Result<(), Box<Failure>> {
        if self.world.panics.have_news() {
            self.hear_news(slot)?;
        }
        Ok(())
    }

    #[cold]
    fn hear_news(&mut self, slot: u32) -> Result<(), Box<Failure>> {
        let now = self.now;
        let tasks = &self.tasks;
        for panic in self.world.panics.take(|| tasks.report(slot, now)) {
            self.unheard(panic)?;
        }
        Ok(())
    }

    fn unheard(&mut self, panic: TaskPanic) -> Result<(), Box<Failure>> {
        match self.config.task_panics {
            Policy::Fail if !self.world.panics.allowed.load(Ordering::Relaxed) => {
                Err(Box::new(Failure::TaskPanicked(Box::new(panic))))
            }
            _ => {
                self.panics.push(panic);
                Ok(())
            }
        }
    }

    pub(super) fn end(&mut self, slot: u32) {
        let Some(body) = self.tasks.take(slot) else {
            return;
        };
        local::polls_nobody();
        if slot != ROOT {
            self.world.died();
        }
        drop(body);
        local::with(|local| {
            // It may have woken itself in its last poll.
            local.ready.remove(slot);
            if slot != ROOT {
                local.free.push(slot);
            }
        });
    }

    /// Drops what is left in order of age, inside the simulation. Destructors may wake, arm and
    /// spawn; what they spawn is dropped in turn, up to a bound.
    pub(super) fn close(&mut self) {
        if core::mem::replace(&mut self.closed, true) {
            return;
        }
        self.world.ended.store(true, Ordering::Release);
        let left: Vec<TaskBody> = self.tasks.take_all();
        local::polls_nobody();
        drop(left);
        let mut bound = CLOSING;
        loop {
            let newborn = local::with(|local| {
                let any = !local.newborn.is_empty();
                any.then(|| core::mem::take(&mut local.newborn))
            });
            let Some(newborn) = newborn else {
                break;
            };
            if bound < newborn.len() {
                // Destructors that spawn for ever: what they own is leaked.
                core::mem::forget(newborn);
                break;
            }
            bound -= newborn.len();
            drop(newborn);
        }
        drop(self.world.foreign.close());
        self.world.tell_other_threads();
        self.world.all_died();
    }
}

impl Drop for Executor<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Tasks spawned by destructors.
const CLOSING: usize = 10_000;
