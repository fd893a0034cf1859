//! How a run ended: its report, or what went wrong, with names and places.

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
    /// A hash over every poll and every jump of time: equal for equal runs.
    pub trace: u64,
    /// Tasks that had not ended when the root did.
    pub leaked: Vec<TaskReport>,
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
    /// How often it was polled.
    pub polls: u64,
}

impl fmt::Display for TaskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} spawned at {}, {:?} ago, polled {} times",
            self.name.as_deref().unwrap_or("a task"),
            self.spawned_at,
            self.age,
            self.polls
        )
    }
}

/// Why a run did not come to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// Nothing is ready and no timer is armed, but the root has not ended.
    Deadlock {
        /// Who waits, the root first.
        waiting: Vec<TaskReport>,
    },
    /// Tasks kept running while time stood still.
    Livelock {
        /// Polls since time last moved.
        polls: u64,
        /// The busiest tasks, the busiest first.
        busiest: Vec<TaskReport>,
    },
    /// Another thread woke a task, so the run cannot be reproduced.
    ForeignWake,
    /// A simulation was started inside a simulation.
    Nested,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadlock { waiting } => {
                f.write_str(
                    "deadlock: no task is ready and no timer is armed (a real timer or socket \
                     inside a simulation looks like this too); waiting:",
                )?;
                list(f, waiting)
            }
            Self::Livelock { polls, busiest } => {
                write!(
                    f,
                    "livelock: {polls} polls without time moving; the busiest:"
                )?;
                list(f, busiest)
            }
            Self::ForeignWake => f.write_str(
                "a task was woken from another thread, so the run cannot be reproduced: use \
                 `Handle::spawn_blocking` instead of threads, or `allow_threads()`",
            ),
            Self::Nested => f.write_str(
                "a simulation inside a simulation: run them one after the other, or on two threads",
            ),
        }
    }
}

impl std::error::Error for Failure {}

fn list(f: &mut fmt::Formatter<'_>, tasks: &[TaskReport]) -> fmt::Result {
    for task in tasks {
        write!(f, "\n  - {task}")?;
    }
    Ok(())
}
