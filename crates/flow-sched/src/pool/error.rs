//! The errors of building a pool, of submitting to it, and of its tasks.

use core::fmt;
use core::time::Duration;
use std::error::Error;

use flow_rt::{HandleError, OnFull, Panic};
use flow_sync::Exclusive;

use super::builder::{MAX_PRIORITIES, MAX_QUEUE};
use super::roster::MAX_SLOTS;

/// Why a pool was not built.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum PoolConfigError {
    /// The pool may have no slot at all.
    NoSlots,
    /// The range of slots ends before it starts.
    EmptySlotRange {
        /// Its start.
        min: usize,
        /// Its end.
        max: usize,
    },
    /// More slots than a pool can have.
    TooManySlots {
        /// The number that was given.
        given: usize,
    },
    /// The queue has no room.
    ZeroQueue,
    /// The queue is longer than a pool can have.
    QueueTooLong {
        /// The length that was given.
        given: usize,
    },
    /// A group may have no task out.
    EmptyGroup,
    /// A pool has no or too many priorities.
    Priorities {
        /// The number that was given.
        given: usize,
    },
    /// A lane that is passed over ages by nothing.
    ZeroAgeing,
    /// [`OnFull::DropOldest`] for a pool whose queue holds nothing.
    NothingToDrop,
    /// A pool cannot give this answer to "full".
    UnsupportedOnFull {
        /// The answer that was given.
        given: OnFull,
    },
    /// A duration is zero that must not be.
    ZeroDuration {
        /// The builder's method.
        option: &'static str,
    },
    /// What is to find the number of slots has a parameter that is out of its bounds.
    #[cfg(feature = "adaptive")]
    Sizing(flow_ratelimit::AdaptiveConfigError),
    /// There is no runtime to run on.
    Runtime(HandleError),
}

impl fmt::Display for PoolConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlots => write!(
                f,
                "the pool has 0 slots, so no task would ever run; 1 to {MAX_SLOTS} are allowed"
            ),
            Self::EmptySlotRange { min, max } => write!(
                f,
                "the range of slots {min}..={max} is empty; its end must not be before its start"
            ),
            Self::TooManySlots { given } => write!(
                f,
                "the pool has {given} slots; at most {MAX_SLOTS} are allowed"
            ),
            Self::ZeroQueue => write!(
                f,
                "the queue has room for 0 tasks; 1 to {MAX_QUEUE} are allowed, and `rendezvous` is \
                 a pool without a queue"
            ),
            Self::QueueTooLong { given } => write!(
                f,
                "the queue has room for {given} tasks; at most {MAX_QUEUE} are allowed, because \
                 its memory is taken when the pool is built"
            ),
            Self::EmptyGroup => f.write_str(
                "the group may have 0 tasks out at a time, so that none would ever run; 1 and more \
                 are allowed",
            ),
            Self::Priorities { given } => write!(
                f,
                "the pool has {given} priorities; 1 to {MAX_PRIORITIES} are allowed"
            ),
            Self::ZeroAgeing => f.write_str(
                "`ageing` is zero, so that the least urgent task would always be next; 1 turn and \
                 more are allowed",
            ),
            Self::NothingToDrop => f.write_str(
                "a rendezvous has no queue whose oldest task could be dropped; wait, reject and \
                 caller-runs are allowed",
            ),
            Self::UnsupportedOnFull { given } => write!(
                f,
                "a pool cannot answer \"full\" with {given}; wait, reject, drop-oldest and \
                 caller-runs are allowed"
            ),
            Self::ZeroDuration {
                option: option @ "task_timeout",
            } => write!(
                f,
                "`{option}` is zero; leave it out for no limit, or give more than zero"
            ),
            Self::ZeroDuration { option } => {
                write!(f, "`{option}` is zero; more than zero is allowed")
            }
            #[cfg(feature = "adaptive")]
            Self::Sizing(error) => error.fmt(f),
            Self::Runtime(error) => error.fmt(f),
        }
    }
}

impl Error for PoolConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Runtime(error) => Some(error),
            #[cfg(feature = "adaptive")]
            Self::Sizing(error) => Some(error),
            _ => None,
        }
    }
}

impl From<HandleError> for PoolConfigError {
    fn from(error: HandleError) -> Self {
        Self::Runtime(error)
    }
}

/// A task that a pool did not take; [`into_inner`](Self::into_inner) is the closure.
///
/// It is `Sync` for every closure that is `Send`, so that errors which carry it can go anywhere.
pub struct Rejected<F>(Exclusive<F>);

impl<F> Rejected<F> {
    pub(super) fn new(task: F) -> Self {
        Self(Exclusive::new(task))
    }

    /// The closure, as it was given.
    pub fn into_inner(self) -> F {
        self.0.into_inner()
    }
}

impl<F> fmt::Debug for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").finish_non_exhaustive()
    }
}

/// Why [`submit`](super::WorkerPool::submit) did not take the task. Nothing of it has run.
#[non_exhaustive]
pub enum SubmitError<F> {
    /// The pool is closed.
    Closed(Rejected<F>),
    /// The queue is full, and the pool's answer to that is [`OnFull::Reject`]; or it is
    /// [`OnFull::DropOldest`], and all that is queued is more urgent, was spawned on the pool's
    /// [handle](super::WorkerPool::handle), or has room that a waiting member of a group was given.
    Full {
        /// The task.
        task: Rejected<F>,
        /// How many tasks the queue holds.
        capacity: usize,
    },
    /// The queue is full, and the submitter is a task of the same pool, or of one above or below
    /// it that shares [slots](super::WorkerPool::sub_pool) with it: it would keep its slot while it
    /// waits for a slot to make room, perhaps for ever.
    Nested {
        /// The task.
        task: Rejected<F>,
        /// How many tasks the queue holds.
        capacity: usize,
    },
    /// The pool has no such priority.
    UnknownPriority {
        /// The task.
        task: Rejected<F>,
        /// The priority that was given.
        given: usize,
        /// How many the pool has, from 0.
        priorities: usize,
    },
    /// There was no room within the time given to
    /// [`submit_timeout`](super::WorkerPool::submit_timeout).
    TimedOut {
        /// The task.
        task: Rejected<F>,
        /// The time that was given.
        timeout: Duration,
    },
}

impl<F> SubmitError<F> {
    /// The task that was not taken.
    pub fn into_inner(self) -> F {
        match self {
            Self::Closed(task)
            | Self::Full { task, .. }
            | Self::Nested { task, .. }
            | Self::UnknownPriority { task, .. }
            | Self::TimedOut { task, .. } => task.into_inner(),
        }
    }

    /// Whether the pool is closed, so that trying again is no use.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    pub(super) fn into_task_error(self) -> TaskError {
        match self {
            Self::Closed(_) => TaskError::Closed,
            Self::Full { capacity, .. } => TaskError::Full { capacity },
            Self::Nested { capacity, .. } => TaskError::Nested { capacity },
            Self::TimedOut { timeout, .. } => TaskError::TimedOut { limit: timeout },
            // `run` asks for no priority, so this is for completeness.
            Self::UnknownPriority { .. } => TaskError::Cancelled,
        }
    }
}

impl<F> fmt::Display for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str(CLOSED),
            Self::Full { capacity, .. } => full(*capacity, f),
            Self::Nested { capacity, .. } => nested(*capacity, f),
            Self::UnknownPriority {
                given, priorities, ..
            } => unknown(*given, *priorities, f),
            Self::TimedOut { timeout, .. } => {
                write!(f, "the pool's queue had no room within {timeout:?}")
            }
        }
    }
}

impl<F> fmt::Debug for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut variant = f.debug_struct(match self {
            Self::Closed(_) => "Closed",
            Self::Full { .. } => "Full",
            Self::Nested { .. } => "Nested",
            Self::UnknownPriority { .. } => "UnknownPriority",
            Self::TimedOut { .. } => "TimedOut",
        });
        match self {
            Self::Closed(_) => {}
            Self::Full { capacity, .. } | Self::Nested { capacity, .. } => {
                variant.field("capacity", capacity);
            }
            Self::UnknownPriority {
                given, priorities, ..
            } => {
                variant
                    .field("given", given)
                    .field("priorities", priorities);
            }
            Self::TimedOut { timeout, .. } => {
                variant.field("timeout", timeout);
            }
        }
        variant.finish_non_exhaustive()
    }
}

impl<F> Error for SubmitError<F> {}

/// Why [`try_submit`](super::WorkerPool::try_submit) did not take the task. Nothing of it has
/// run.
#[non_exhaustive]
pub enum TrySubmitError<F> {
    /// The pool is closed.
    Closed(Rejected<F>),
    /// The queue is full, or the room that is left is promised to submitters that wait. With
    /// [`OnFull::DropOldest`] all that is queued is more urgent, or was spawned on the pool's
    /// [handle](super::WorkerPool::handle); or a place was changing hands for so long that it was
    /// not waited for: see [`Submit::try_now`](super::Submit::try_now).
    Full {
        /// The task.
        task: Rejected<F>,
        /// How many tasks the queue holds.
        capacity: usize,
    },
    /// The pool has no such priority.
    UnknownPriority {
        /// The task.
        task: Rejected<F>,
        /// The priority that was given.
        given: usize,
        /// How many the pool has, from 0.
        priorities: usize,
    },
}

impl<F> TrySubmitError<F> {
    /// The task that was not taken.
    pub fn into_inner(self) -> F {
        match self {
            Self::Closed(task) | Self::Full { task, .. } | Self::UnknownPriority { task, .. } => {
                task.into_inner()
            }
        }
    }

    /// Whether the pool is closed, so that trying again is no use.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

impl<F> fmt::Display for TrySubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str(CLOSED),
            Self::Full { capacity, .. } => full(*capacity, f),
            Self::UnknownPriority {
                given, priorities, ..
            } => unknown(*given, *priorities, f),
        }
    }
}

impl<F> fmt::Debug for TrySubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.debug_struct("Closed").finish_non_exhaustive(),
            Self::Full { capacity, .. } => f
                .debug_struct("Full")
                .field("capacity", capacity)
                .finish_non_exhaustive(),
            Self::UnknownPriority {
                given, priorities, ..
            } => f
                .debug_struct("UnknownPriority")
                .field("given", given)
                .field("priorities", priorities)
                .finish_non_exhaustive(),
        }
    }
}

impl<F> Error for TrySubmitError<F> {}

/// Why a task gave no value.
#[derive(Debug)]
#[non_exhaustive]
pub enum TaskError {
    /// It panicked. Its slot and the other tasks are unharmed.
    Panicked(Panic),
    /// It ran longer than it may, and was dropped.
    TimedOut {
        /// The limit, counted from the start of its run.
        limit: Duration,
    },
    /// It was aborted, told to stop by a shutdown and did not, or its runtime went away.
    Cancelled,
    /// The pool closed before the task could run.
    Closed,
    /// It was the oldest in a full queue, and was dropped in favour of a newer one: the pool's
    /// answer to "full" is [`OnFull::DropOldest`]. It has not run.
    Evicted,
    /// Only from [`run`](super::WorkerPool::run) and from groups: see [`SubmitError::Full`].
    Full {
        /// How many tasks the queue holds.
        capacity: usize,
    },
    /// Only from [`run`](super::WorkerPool::run): see [`SubmitError::Nested`].
    Nested {
        /// How many tasks the queue holds.
        capacity: usize,
    },
}

impl TaskError {
    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }

    /// Whether the task was cancelled, before or during its run.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => write!(f, "the task panicked: {panic}"),
            Self::TimedOut { limit } => {
                write!(f, "the task did not end within {limit:?} and was dropped")
            }
            Self::Cancelled => f.write_str(
                "the task was aborted, or stopped by a shutdown of its pool or of its runtime",
            ),
            Self::Closed => f.write_str("the pool was closed before the task could run"),
            Self::Evicted => {
                f.write_str("the task was dropped from a full queue in favour of a newer one")
            }
            Self::Full { capacity } => full(*capacity, f),
            Self::Nested { capacity } => nested(*capacity, f),
        }
    }
}

impl Error for TaskError {}

const CLOSED: &str = "the pool is closed and takes no more tasks";

fn full(capacity: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match capacity {
        0 => f.write_str("no slot of the pool is free, and it has no queue"),
        _ => write!(f, "the pool's queue is full ({capacity} tasks)"),
    }
}

fn unknown(given: usize, priorities: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "the pool has no priority {given}; 0 to {} are allowed",
        priorities - 1
    )
}

fn nested(capacity: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    full(capacity, f)?;
    write!(
        f,
        "; a task that waited for room would keep the slot that has to make it"
    )
}
