//! What a task is handed about the work it belongs to: its cancellation and its deadline.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use crate::cancel::CancellationToken;
use crate::instant::Instant;

/// What a task knows about the work it belongs to, cheap to clone: its cancellation and its
/// deadline.
///
/// Pool and scheduler hand one to every task. A child's deadline is never later than its
/// parent's, and cancelling the parent cancels the child.
///
/// ```
/// use std::time::Duration;
/// use flow_rt::{Instant, TaskContext};
///
/// let start = Instant::from_nanos(0);
/// let request = TaskContext::new().with_deadline(start + Duration::from_secs(5));
/// let step = request.child().with_deadline(start + Duration::from_secs(9));
/// assert_eq!(step.remaining(start), Some(Duration::from_secs(5)));
/// request.cancellation().cancel();
/// assert!(step.is_cancelled());
/// ```
#[derive(Clone)]
pub struct TaskContext(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    cancellation: CancellationToken,
    deadline: Instant,
}

impl TaskContext {
    /// A context with a token of its own and no deadline.
    pub fn new() -> Self {
        Self::from_token(CancellationToken::new())
    }

    /// A context that is cancelled with `cancellation`, without a deadline.
    pub fn from_token(cancellation: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            cancellation,
            deadline: Instant::FAR_FUTURE,
        }))
    }

    /// A context for a part of this work: a child token, the same deadline.
    pub fn child(&self) -> Self {
        Self(Arc::new(Inner {
            cancellation: self.0.cancellation.child_token(),
            deadline: self.0.deadline,
        }))
    }

    /// The same work with the earlier of its own deadline and `deadline`.
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        if deadline < self.0.deadline {
            Arc::make_mut(&mut self.0).deadline = deadline;
        }
        self
    }

    /// The token that tells the task to stop.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.0.cancellation
    }

    /// Whether the task has been told to stop. One load.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancellation.is_cancelled()
    }

    /// When the work must be done, on its runtime's clock; `None` without a deadline.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.0.deadline.is_far_future()).then_some(self.0.deadline)
    }

    /// The time left at `now`, zero when late; `None` without a deadline.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.deadline().map(|deadline| deadline - now)
    }
}

impl Default for TaskContext {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskContext")
            .field("cancellation", &self.0.cancellation)
            .field("deadline", &self.deadline())
            .finish()
    }
}
