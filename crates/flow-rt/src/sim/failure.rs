//! Why a run did not come to its end, with names, places and what to do about it.

use core::fmt;
use core::time::Duration;

use super::history::Difference;
use super::report::{TaskPanic, TaskReport, TimerReport, list};

/// Why a run did not come to its end, or not to a clean one.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// Nothing is ready and no timer is armed, but the root has not ended.
    Deadlock {
        /// Who waits, the root first.
        waiting: Vec<TaskReport>,
    },
    /// Tasks kept running while time stood still
    /// ([`livelock_polls`](super::SimBuilder::livelock_polls)).
    Livelock {
        /// Polls since time last moved.
        polls: u64,
        /// The busiest tasks, the busiest first.
        busiest: Vec<TaskReport>,
    },
    /// The root had not ended at a limit of the run.
    Unfinished {
        /// The limit.
        limit: Limit,
        /// The busiest tasks, the busiest first.
        busiest: Vec<TaskReport>,
    },
    /// A task panicked, and nobody joined it ([`task_panics`](super::SimBuilder::task_panics)).
    TaskPanicked(Box<TaskPanic>),
    /// Tasks or timers were left, and that was to fail the run
    /// ([`leaks`](super::SimBuilder::leaks)).
    Leaked {
        /// Tasks that had not ended.
        tasks: Vec<TaskReport>,
        /// Timers that were armed.
        timers: Vec<TimerReport>,
    },
    /// Another thread woke a task or spawned one, so the run cannot be reproduced.
    ForeignWake {
        /// The thread's name.
        thread: Option<String>,
        /// The task it woke; `None` if it spawned one, or the task has ended.
        task: Option<Box<TaskReport>>,
    },
    /// A simulation was started inside a simulation.
    Nested,
    /// A choice that the run was told to make cannot be made.
    Diverged {
        /// The choice's place, counted from zero.
        at: usize,
        /// The index told.
        choice: u32,
        /// How many tasks were ready.
        ready: usize,
    },
    /// Two runs with one seed were not the same.
    Nondeterministic(Box<Difference>),
}

/// What a run may take; see [`Failure::Unfinished`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// Polls ([`max_polls`](super::SimBuilder::max_polls)).
    Polls(u64),
    /// Virtual time ([`max_time`](super::SimBuilder::max_time)).
    Time(Duration),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Polls(polls) => write!(f, "{polls} polls (`max_polls`)"),
            Self::Time(time) => write!(f, "{time:?} of virtual time (`max_time`)"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadlock { waiting } => {
                f.write_str(
                    "deadlock: no task is ready and no timer is armed. Either a wake-up was lost \
                     (checked before listening?), or what a task waits for is not part of the \
                     simulation: a real timer, a socket, a thread. Use timers of the simulation's \
                     handle (`Handle::sleep`, `timeout`, `interval`) instead of real ones, channels \
                     instead of sockets, and `Handle::spawn_blocking` instead of threads; or let \
                     threads in with `allow_threads()`. Waiting:",
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
            Self::Unfinished { limit, busiest } => {
                write!(
                    f,
                    "the root had not ended after {limit}; tasks, the busiest first:"
                )?;
                list(f, busiest)
            }
            Self::TaskPanicked(panic) => {
                write!(
                    f,
                    "a task panicked and nobody joined it (await its `JoinHandle` if that is meant \
                     to happen): {panic}"
                )?;
                match hint(&panic.message) {
                    Some(hint) => write!(f, ". {hint}"),
                    None => Ok(()),
                }
            }
            Self::Leaked { tasks, timers } => {
                f.write_str("left behind when the root had ended:")?;
                list(f, tasks)?;
                list(f, timers)
            }
            Self::ForeignWake { thread, task } => {
                let thread = thread.as_deref().unwrap_or("without a name");
                write!(
                    f,
                    "the thread {thread:?} took part, so the run cannot be reproduced: "
                )?;
                match task {
                    Some(task) => write!(f, "it woke {task}. ")?,
                    None => f.write_str("it woke or spawned a task. ")?,
                }
                f.write_str(
                    "Use timers of the simulation's handle instead of real ones, and \
                     `Handle::spawn_blocking` instead of threads; or let threads in with \
                     `allow_threads()`",
                )
            }
            Self::Nested => f.write_str(
                "a simulation inside a simulation: run them one after the other, or on two threads",
            ),
            Self::Diverged { at, choice, ready } => write!(
                f,
                "choice {at} of the run is told to be task {choice}, but {ready} tasks were ready \
                 (or another number than the run before had there): these choices are of another \
                 test, or the test is not deterministic"
            ),
            Self::Nondeterministic(difference) => difference.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

/// What to do about a panic with this message, if it comes of something real that was asked for
/// inside.
pub(super) fn hint(message: &str) -> Option<&'static str> {
    message.contains(OF_TOKIO).then_some(
        "Tokio's timers and sockets are not part of the simulation: use timers of its handle \
         (`Handle::sleep`, `timeout`, `interval`) and channels",
    )
}

/// In what tokio panics with where it finds no runtime, or one without a timer or a socket.
const OF_TOKIO: &str = "Tokio 1.x";
