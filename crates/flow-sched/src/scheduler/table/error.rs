//! Why the jobs of a table were not started.

use core::fmt;

use crate::scheduler::error::ScheduleError;

/// Why no job of a table was started. The scheduler is as it was before.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum JobTableError {
    /// A job calls a function that the program does not have.
    UnknownFunction {
        /// The job.
        job: String,
        /// The function that it calls.
        given: String,
        /// The most like it among those that the program has; `None` if it has none.
        nearest: Option<String>,
    },
    /// A job was refused.
    Job {
        /// The job.
        job: String,
        /// Why it was.
        error: ScheduleError,
    },
}

impl fmt::Display for JobTableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFunction {
                job,
                given,
                nearest,
            } => {
                write!(f, "the job {job:?} calls {given:?}, ")?;
                match nearest {
                    Some(nearest) => write!(
                        f,
                        "and the program has no such function; the nearest is {nearest:?}"
                    ),
                    None => f.write_str("and the program has no functions"),
                }
            }
            Self::Job { job, error } => write!(f, "the job {job:?}: {error}"),
        }
    }
}

/// The text of what is inside is part of its own.
impl std::error::Error for JobTableError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::UnknownFunction { .. } => None,
            Self::Job { error, .. } => error.source(),
        }
    }
}
