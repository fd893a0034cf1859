//! What a user may have called when slots and tasks start and end.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{Panic, contain};

/// How a task ended, as hooks see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskOutcome {
    /// It returned a value.
    Completed,
    /// It panicked.
    Panicked,
    /// It ran longer than it may.
    TimedOut,
    /// It was aborted, or stopped by a shutdown.
    Cancelled,
}

/// The end of a task, as [`on_task_end`](super::WorkerPoolBuilder::on_task_end) gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskEnd {
    /// The number of the slot that ran it, from 0; a slot that left gives its number to the next.
    /// None if its submitter ran it: [`CallerRuns`](flow_rt::OnFull::CallerRuns).
    pub slot: Option<usize>,
    /// How long it ran, by the runtime's clock.
    pub elapsed: Duration,
    /// How it ended.
    pub outcome: TaskOutcome,
}

type Hook<A> = Arc<dyn Fn(A) + Send + Sync>;
type PanicHook = Arc<dyn Fn(&Panic) + Send + Sync>;

/// The hooks of a pool. A panic in one is contained.
#[derive(Clone, Default)]
pub(super) struct Hooks {
    pub(super) slot_start: Option<Hook<usize>>,
    pub(super) slot_stop: Option<Hook<usize>>,
    pub(super) task_start: Option<Hook<Option<usize>>>,
    pub(super) task_end: Option<Hook<TaskEnd>>,
    pub(super) panic: Option<PanicHook>,
}

impl Hooks {
    pub(super) fn panicked(&self, panic: Option<&Panic>) {
        if let (Some(hook), Some(panic)) = (&self.panic, panic) {
            contain(|| hook(panic));
        }
    }
}

/// Calls a hook if there is one.
pub(super) fn call<A>(hook: Option<&Hook<A>>, with: A) {
    if let Some(hook) = hook {
        contain(|| hook(with));
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("slot_start", &self.slot_start.is_some())
            .field("slot_stop", &self.slot_stop.is_some())
            .field("task_start", &self.task_start.is_some())
            .field("task_end", &self.task_end.is_some())
            .field("panic", &self.panic.is_some())
            .finish()
    }
}
