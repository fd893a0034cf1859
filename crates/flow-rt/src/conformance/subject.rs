//! The runtime under test, and what it can do.

use core::fmt;
use core::future::Future;
use core::time::Duration;

use super::case::Body;
use super::run::CaseRun;
use crate::handle::Handle;
use crate::runtime::Runtime;

/// A runtime under test: how to reach it, how to shut it down, what it cannot do.
///
/// Made by the factory once per case. `From` a runtime by value and `From` a [`Handle`] cover
/// the common cases; the methods say more.
///
/// ```
/// # #[cfg(feature = "tokio")] {
/// use flow_rt::{Handle, conformance};
///
/// // tokio is reached by a handle and shut down by dropping the runtime.
/// let start = || {
///     let tokio = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
///     let handle = Handle::tokio(tokio.handle().clone()).unwrap();
///     conformance::Subject::new(handle).shut_down_by(move || drop(tokio))
/// };
/// let case = conformance::run_case("shutdown_ends_live_tasks", start).unwrap();
/// assert!(case.outcome().is_ok(), "{case}");
/// # }
/// ```
#[must_use = "a subject does nothing until a case runs on it"]
pub struct Subject {
    pub(super) kind: Kind,
    pub(super) busy_time: bool,
    pub(super) limit: Duration,
}

pub(super) enum Kind {
    /// Runs by itself, on threads of its own.
    Hosted { handle: Handle, end: End },
    /// Runs while a function drives it on the case's thread.
    Driven(Box<dyn FnOnce(DrivenCase) + Send>),
}

pub(super) enum End {
    /// It lives as long as the process.
    Never,
    /// Dropping its last handle ends it.
    LastHandle,
    Call(Box<dyn FnOnce() + Send>),
}

impl Subject {
    /// A runtime reached by `handle`, which runs by itself and cannot be shut down.
    pub fn new(handle: Handle) -> Self {
        Self::of(Kind::Hosted {
            handle,
            end: End::Never,
        })
    }

    /// A runtime that runs only while it is driven, on the calling thread: a simulation, or an
    /// executor whose tasks never leave their thread.
    ///
    /// `drive` must run [`DrivenCase::run`] to its end on that runtime. Cases that need other
    /// threads, or a shutdown, are not applicable.
    pub fn driven(drive: impl FnOnce(DrivenCase) + Send + 'static) -> Self {
        Self::of(Kind::Driven(Box::new(drive)))
    }

    /// How to shut the runtime down while handles to it are kept: `shut_down` must return when
    /// its tasks are dropped and its threads have ended.
    ///
    /// Without effect on a driven one.
    pub fn shut_down_by(mut self, shut_down: impl FnOnce() + Send + 'static) -> Self {
        if let Kind::Hosted { end, .. } = &mut self.kind {
            *end = End::Call(Box::new(shut_down));
        }
        self
    }

    /// Says that time stands still while any task is ready, as in a simulation: tasks that
    /// always yield stop the timers there by design.
    pub fn time_stands_while_busy(mut self) -> Self {
        self.busy_time = false;
        self
    }

    /// How long a case may stay at one step before the watchdog ends it as failed, at the latest in
    /// twice that; 30 s unless set.
    ///
    /// A generous bound: it decides when a hang is reported, not how fast a runtime must be.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// What it lacks to be asked a case, if anything.
    pub(super) fn lacks(&self, body: &Body) -> Option<&'static str> {
        match (body, &self.kind) {
            (Body::Busy(_), _) if !self.busy_time => {
                Some("time stands still in it while tasks are ready")
            }
            (Body::Awaits(_) | Body::Busy(_), _) | (Body::Threads(_), Kind::Hosted { .. }) => None,
            (Body::Threads(_), Kind::Driven(_)) => {
                Some("it is driven by one thread, and the case needs others")
            }
            (Body::Shutdown(_) | Body::Afterwards(_), Kind::Driven(_)) => {
                Some("it is driven by the case, which cannot shut it down")
            }
            (Body::Shutdown(_) | Body::Afterwards(_), Kind::Hosted { end, .. }) => match end {
                End::Never => Some("it cannot be shut down: see `Subject::shut_down_by`"),
                End::LastHandle if matches!(body, Body::Afterwards(_)) => {
                    Some("it is shut down by dropping its last handle: see `Subject::shut_down_by`")
                }
                End::LastHandle | End::Call(_) => None,
            },
        }
    }

    fn of(kind: Kind) -> Self {
        Self {
            kind,
            busy_time: true,
            limit: Duration::from_secs(30),
        }
    }
}

impl<R: Runtime> From<R> for Subject {
    /// A runtime that dropping its last handle shuts down.
    fn from(runtime: R) -> Self {
        Self::of(Kind::Hosted {
            handle: Handle::new(runtime),
            end: End::LastHandle,
        })
    }
}

impl From<Handle> for Subject {
    /// A runtime that cannot be shut down; see [`Subject::new`].
    fn from(handle: Handle) -> Self {
        Self::new(handle)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, shuts_down) = match &self.kind {
            Kind::Hosted { handle, end } => (handle.name(), !matches!(end, End::Never)),
            Kind::Driven(_) => ("driven", false),
        };
        f.debug_struct("Subject")
            .field("runtime", &name)
            .field("shuts_down", &shuts_down)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// One case, to be run on a runtime that its [`Subject::driven`] function drives.
#[must_use = "the case fails unless it is run to its end"]
pub struct DrivenCase(pub(super) CaseRun);

impl DrivenCase {
    /// The case, on the runtime of `handle`. The future is not `Send`.
    pub fn run(self, handle: &Handle) -> impl Future<Output = ()> + use<> {
        self.0.run(handle.clone())
    }
}

impl fmt::Debug for DrivenCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrivenCase").finish_non_exhaustive()
    }
}
