//! What a run reports of itself: its end, its tasks, what it left behind.

use core::fmt;
use core::panic::Location;
use core::time::Duration;

/// A run that came to its end.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report<T> {
    /// What the root returned.
    pub output: T,
    /// Virtual time from start to end.
    pub elapsed: Duration,
    /// Polls of all tasks.
    pub polls: u64,
    /// A hash over every poll and every jump of time: equal for equal runs, on every machine.
    pub trace: u64,
    /// Tasks that had not ended after the root had, and could not go on.
    pub leaked: Vec<TaskReport>,
    /// Timers that were armed at that time.
    pub armed: Vec<TimerReport>,
    /// Panics of tasks that nobody joined; empty unless they are to be reported
    /// ([`SimBuilder::task_panics`](super::SimBuilder::task_panics)).
    pub panics: Vec<TaskPanic>,
}

/// A task as reports name it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskReport {
    /// The name given at spawn.
    pub name: Option<String>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// Virtual time since it was spawned.
    pub age: Duration,
    /// Virtual time since it was last polled.
    pub idle: Duration,
    /// How often it was polled.
    pub polls: u64,
}

impl TaskReport {
    /// For what happened outside of every task.
    #[track_caller]
    pub(super) fn unknown() -> Self {
        Self {
            name: Some("no task".to_owned()),
            spawned_at: Location::caller(),
            age: Duration::ZERO,
            idle: Duration::ZERO,
            polls: 0,
        }
    }
}

impl fmt::Display for TaskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, spawned at {} {:?} ago, polled {} times",
            self.name.as_deref().unwrap_or("a task"),
            self.spawned_at,
            self.age,
            self.polls
        )?;
        if self.polls > 0 {
            write!(f, ", last {:?} ago", self.idle)?;
        }
        Ok(())
    }
}

/// A timer as reports name it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TimerReport {
    /// In how much virtual time it is due.
    pub due_in: Duration,
    /// The task that polled it last, unless that has ended.
    pub task: Option<TaskReport>,
}

impl fmt::Display for TimerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a timer due in {:?}, of ", self.due_in)?;
        match &self.task {
            Some(task) => task.fmt(f),
            None => f.write_str("a task that has ended"),
        }
    }
}

/// A task's panic that nobody joined.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskPanic {
    /// The task.
    pub task: TaskReport,
    /// What it panicked with.
    pub message: String,
}

impl fmt::Display for TaskPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {}", self.message, self.task)
    }
}

/// One line for each.
pub(super) fn list(f: &mut fmt::Formatter<'_>, items: &[impl fmt::Display]) -> fmt::Result {
    for item in items {
        write!(f, "\n  - {item}")?;
    }
    Ok(())
}
