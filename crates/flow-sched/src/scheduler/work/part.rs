//! The parts of a run that is made of several: steps of a chain, tasks of a batch.

use core::fmt;
use core::future::Future;
use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use flow_rt::{Panic, catch, contain};

use super::guarded::Guarded;
use super::outcome::{BoxError, Outcome};
use super::{Body, Closure};
use crate::scheduler::job::context::JobContext;

/// A named piece of work.
#[derive(Clone)]
pub(in crate::scheduler) struct Part {
    pub(in crate::scheduler) name: Arc<str>,
    body: Body,
}

impl Part {
    pub(in crate::scheduler) fn new<F, Fut>(name: impl Into<Cow<'static, str>>, run: F) -> Self
    where
        F: Fn(JobContext) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        Self {
            name: name.into().into(),
            body: Body::new(Closure::new(run)),
        }
    }

    /// Runs it under guard, in the context that it is handed.
    pub(in crate::scheduler) async fn run(&self, cx: JobContext) -> Result<(), PartError> {
        let id = cx.shared.id_of(&cx.job, cx.run);
        let scope = cx.task.clone();
        let begin = |task| self.body.begin(JobContext { task, ..cx }, None);
        let future = catch(|| scope.scope_with(begin)).map_err(|panic| self.panicked(panic))?;
        match Guarded::new(future, id).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => Err(self.failed(failure.error)),
            Err(panic) => Err(self.panicked(panic)),
        }
    }

    pub(in crate::scheduler) fn failed(&self, error: BoxError) -> PartError {
        PartError::Failed {
            part: self.name.clone(),
            error,
        }
    }

    pub(in crate::scheduler) fn panicked(&self, panic: Panic) -> PartError {
        let message = panic.message().into();
        contain(|| drop(panic));
        PartError::Panicked {
            part: self.name.clone(),
            message,
        }
    }
}

/// Why a step of a chain, or a task of a batch, has failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum PartError {
    /// It returned an error, or its pool has not run it to its end.
    Failed {
        /// Its name.
        part: Arc<str>,
        /// Its error; of a pool that has not run it, a [`TaskError`](crate::TaskError).
        error: BoxError,
    },
    /// It panicked.
    Panicked {
        /// Its name.
        part: Arc<str>,
        /// The panic's message.
        message: Arc<str>,
    },
}

impl PartError {
    /// The name of the step or the task.
    pub fn part(&self) -> &str {
        match self {
            Self::Failed { part, .. } | Self::Panicked { part, .. } => part,
        }
    }
}

impl fmt::Display for PartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { error, .. } => write!(f, "failed: {error}"),
            Self::Panicked { message, .. } => write!(f, "panicked: {message}"),
        }
    }
}

/// The text of what is inside is part of its own.
impl Error for PartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed { error, .. } => error.source(),
            Self::Panicked { .. } => None,
        }
    }
}
