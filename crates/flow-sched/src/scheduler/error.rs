//! Why a scheduler or a job could not be made, or a run not started.

use core::fmt;
use core::time::Duration;
use std::time::SystemTime;

use flow_rt::{BackoffConfigError, HandleError};

use super::report::EndReason;
use crate::cron::CronError;
use crate::cron::UnknownZone;
use crate::scheduler::work::batch::BatchConfigError;
use crate::scheduler::work::chain::ChainConfigError;

/// Why a scheduler could not be built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchedulerConfigError {
    /// No runtime was given and none is current.
    Runtime(HandleError),
    /// The default time zone is unknown.
    UnknownZone(UnknownZone),
    /// The timeout of all runs is zero: none could end in time.
    ZeroTimeout,
    /// The store of the claims may not take so long to answer, or not with this lease.
    Lease {
        /// How long a claim holds.
        lease: Duration,
        /// How long the store may take to answer.
        timeout: Duration,
    },
}

impl fmt::Display for SchedulerConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtime(error) => write!(f, "a scheduler needs a runtime: {error}"),
            Self::UnknownZone(error) => error.fmt(f),
            Self::ZeroTimeout => ScheduleError::ZeroTimeout.fmt(f),
            Self::Lease { lease, timeout } => write!(
                f,
                "claims with a lease of {lease:?} and a timeout of {timeout:?}; the timeout must be \
                 more than zero, and no more than a third of the lease, which must be at least 3ms"
            ),
        }
    }
}

/// The texts of what is inside are part of its own.
impl std::error::Error for SchedulerConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Runtime(error) => error.source(),
            Self::UnknownZone(error) => error.source(),
            Self::ZeroTimeout | Self::Lease { .. } => None,
        }
    }
}

/// Why a job was not started. The scheduler is as it was before.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The name is empty.
    EmptyName,
    /// A job of this name has not ended.
    NameTaken {
        /// The name.
        name: String,
    },
    /// The builder was told of no trigger.
    NoTrigger,
    /// The builder was told of more than one trigger.
    TwoTriggers,
    /// The scheduler's pool has no such priority; without a pool there is but one.
    UnknownPriority {
        /// The priority.
        given: usize,
        /// How many there are, from 0.
        priorities: usize,
    },
    /// An interval or a delay between runs is zero.
    ZeroInterval,
    /// The timeout is zero: no run could end in time.
    ZeroTimeout,
    /// `Overlap::Allow(0)`: no run could start.
    ZeroOverlap,
    /// `Overlap::BufferAll(0)`: no run could wait.
    ZeroBuffer,
    /// `Misfire::FireAll` with a limit of zero: not even the run that is due.
    ZeroLimit,
    /// `Misfire::FireOnce` or `FireAll` within zero: no run could be on time.
    ZeroWithin,
    /// The least of a range of intervals is more than the most.
    EmptyRange {
        /// The least.
        least: Duration,
        /// The most.
        most: Duration,
    },
    /// The jitter's most is zero, or less than its least.
    Jitter {
        /// The least.
        least: Duration,
        /// The most.
        most: Duration,
    },
    /// The threshold of an [`Adaptive`](crate::Adaptive) is not between 0 and 1.
    Threshold {
        /// The threshold.
        given: f64,
    },
    /// The factor of an [`Adaptive`](crate::Adaptive) is 1 or less, or above 1000.
    Factor {
        /// The factor.
        given: f64,
    },
    /// [`JobBuilder::adaptive`](crate::JobBuilder::adaptive) for a job without an interval.
    AdaptiveWithoutInterval,
    /// The last moment of a trigger comes before the first one.
    EndBeforeStart {
        /// The first moment.
        from: SystemTime,
        /// The last moment.
        to: SystemTime,
    },
    /// The plan of the retries is refused.
    Retry(BackoffConfigError),
    /// The chain is refused.
    Chain(ChainConfigError),
    /// The batch is refused.
    Batch(BatchConfigError),
    /// The cron pattern is refused.
    Cron(CronError),
    /// The time zone is unknown.
    UnknownZone(UnknownZone),
    /// A time zone was given to a job whose trigger is no cron pattern, and that has no window.
    ZoneWithoutCron,
    /// The trigger is never due: the time lies beyond the clock's end, the pattern's years are
    /// over.
    NeverDue,
    /// The job's runs are to be claimed among several instances, and its trigger does not go by the
    /// wall clock: each instance would have times of its own.
    NoSharedTime,
    /// The trigger panicked when it was asked for the first time.
    TriggerPanicked {
        /// The panic's message.
        message: String,
    },
    /// The job has ended, and takes no other trigger.
    Ended,
    /// The job was made by another scheduler than the one that was to start it.
    OtherScheduler,
    /// The scheduler was shut down, or its driver is gone.
    Closed,
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyName => f.write_str("a job's name must not be empty"),
            Self::NameTaken { name } => write!(
                f,
                "there is a job named {name:?} already; names are unique among jobs that have not \
                 ended"
            ),
            Self::NoTrigger => f.write_str(
                "the job has no trigger: give it one of `once_at`, `after`, `every`, \
                 `fixed_delay`, `cron` or `trigger`",
            ),
            Self::TwoTriggers => f.write_str("the job was given two triggers; it takes one"),
            Self::UnknownPriority { given, priorities } => write!(
                f,
                "a priority of {given}, where runs have {priorities}: allowed are 0 to {}",
                priorities.saturating_sub(1)
            ),
            Self::ZeroInterval => {
                f.write_str("the interval is zero; it must be at least a nanosecond")
            }
            Self::ZeroTimeout => {
                f.write_str("the timeout is zero; leave it out for runs without a limit")
            }
            Self::ZeroOverlap => {
                f.write_str("`Overlap::Allow(0)` lets no run in; allow one at the least")
            }
            Self::ZeroBuffer => f.write_str(
                "`Overlap::BufferAll(0)` lets no run wait; use `Overlap::Skip`, or let one wait",
            ),
            Self::ZeroLimit => f.write_str(
                "`Misfire::FireAll` with a limit of zero lets no run in; allow one at the least",
            ),
            Self::ZeroWithin => f.write_str(
                "a misfire policy within zero lets no run in, since no timer is exact; use \
                 `Misfire::Skip` for runs on time only",
            ),
            Self::EmptyRange { least, most } => write!(
                f,
                "the intervals from {least:?} to {most:?} are none; the least comes first"
            ),
            Self::Jitter { least, most } => write!(
                f,
                "a jitter from {least:?} to {most:?}; the most must be more than zero, and no less \
                 than the least"
            ),
            Self::Threshold { given } => write!(
                f,
                "a threshold of {given}, allowed is a load of more than 0 and less than 1"
            ),
            Self::Factor { given } => write!(
                f,
                "a factor of {given} for intervals, allowed are more than 1 to 1000"
            ),
            Self::AdaptiveWithoutInterval => {
                f.write_str("`adaptive` stretches an interval: that of `every` or `fixed_delay`")
            }
            Self::EndBeforeStart { from, to } => {
                let short = from.duration_since(*to).unwrap_or_default();
                write!(f, "the job would end {short:?} before it begins")
            }
            Self::Retry(error) => write!(f, "the job's retries: {error}"),
            Self::Chain(error) => error.fmt(f),
            Self::Batch(error) => error.fmt(f),
            Self::Cron(error) => error.fmt(f),
            Self::UnknownZone(error) => error.fmt(f),
            Self::ZoneWithoutCron => {
                f.write_str("a time zone means something to a `cron` pattern or a window only")
            }
            Self::NeverDue => f.write_str("the job would never be due"),
            Self::NoSharedTime => f.write_str(
                "the job's times count from its start and differ from one instance to the next; to \
                 be claimed it needs a trigger that goes by the wall clock, like `cron` or \
                 `Every::aligned`, or else it is to be `local`",
            ),
            Self::TriggerPanicked { message } => {
                write!(f, "the job's trigger panicked: {message}")
            }
            Self::Ended => f.write_str("the job has ended and takes no other trigger"),
            Self::OtherScheduler => f.write_str("the job was made by another scheduler"),
            Self::Closed => f.write_str("the scheduler is closed"),
        }
    }
}

/// The texts of what is inside are its own.
impl std::error::Error for ScheduleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Chain(error) => error.source(),
            Self::Batch(error) => error.source(),
            Self::Cron(error) => error.source(),
            Self::UnknownZone(error) => error.source(),
            Self::Retry(error) => error.source(),
            _ => None,
        }
    }
}

/// Why [`Scheduler::start_all`](crate::Scheduler::start_all) started none of its jobs. The
/// scheduler is as it was before.
#[derive(Debug, Clone, PartialEq)]
pub struct StartAllError {
    pub(crate) index: usize,
    pub(crate) error: ScheduleError,
}

impl StartAllError {
    /// The place of the job that was refused, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Why it was.
    pub fn error(&self) -> &ScheduleError {
        &self.error
    }
}

impl fmt::Display for StartAllError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {} of those to start: {}", self.index, self.error)
    }
}

/// The text of what is inside is part of its own.
impl std::error::Error for StartAllError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Why a run by hand did not start. The job is as it was before, but for its counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TriggerNowError {
    /// The job has ended, or its runs are used up.
    Ended,
    /// The overlap policy lets no further run in.
    Overlap {
        /// Runs in progress.
        running: usize,
    },
    /// The pool that was to run it is full, and rejects what it has no room for.
    PoolFull {
        /// How many tasks its queue holds.
        capacity: usize,
    },
    /// The pool that was to run it is closed.
    PoolClosed,
}

impl fmt::Display for TriggerNowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the job has ended and takes no further run"),
            Self::Overlap { running } => write!(
                f,
                "{running} runs of the job are in progress, and its overlap policy lets no more in"
            ),
            Self::PoolFull { capacity } => write!(
                f,
                "the queue of the pool that runs the jobs is full; it holds {capacity} tasks"
            ),
            Self::PoolClosed => f.write_str("the pool that runs the jobs is closed"),
        }
    }
}

impl std::error::Error for TriggerNowError {}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::Removed => "removed",
            Self::RunFailed => "a run failed",
            Self::TriggerFailed => "its trigger failed",
            Self::ShutDown => "the scheduler was shut down",
        })
    }
}
