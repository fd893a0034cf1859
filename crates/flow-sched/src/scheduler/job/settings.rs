//! What a job is told once, and keeps.

use core::fmt;
use core::ops::Deref;
use core::time::Duration;
use std::sync::Arc;

use flow_ratelimit::Decide;
use flow_rt::{Backoff, TaskContext, contain};

use super::context::JobContext;
use super::policy::{Misfire, Overlap};
use crate::scheduler::error::ScheduleError;
use crate::scheduler::report::RunReport;
use crate::scheduler::triggers::adaptive::Stretch;
use crate::scheduler::triggers::jitter::Jitter;
use crate::scheduler::work::RetryIf;
use crate::scheduler::work::guarded::BoxFuture;

/// Says whether a run may begin.
pub(crate) type Condition = Arc<dyn Fn(JobContext) -> BoxFuture<bool> + Send + Sync>;

/// Hears of a run that has failed for good.
pub(crate) type OnGiveUp = Arc<dyn Fn(&RunReport) + Send + Sync>;

/// A job's policies as it keeps them. Jobs that were told nothing share those of their scheduler;
/// those of a scheduler that was told nothing either are all the same, and nobody counts who
/// shares them.
#[derive(Clone)]
pub(crate) struct Policies(Option<Arc<Settings>>);

impl Policies {
    /// Those of a scheduler's jobs, unless they are told otherwise.
    pub(crate) fn new(timeout: Option<Duration>, clustered: bool) -> Self {
        if timeout.is_none() && !clustered {
            return Self(None);
        }
        let mut settings = Settings::PLAIN;
        settings.timeout = timeout;
        settings.clustered = clustered;
        Self(Some(Arc::new(settings)))
    }

    /// To be changed: made from those it shares, at the first difference.
    pub(crate) fn own(&mut self) -> &mut Settings {
        let settings = self.0.get_or_insert_with(|| Arc::new(Settings::PLAIN));
        Arc::make_mut(settings)
    }

    /// Whether it is one and the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Deref for Policies {
    type Target = Settings;

    #[inline]
    fn deref(&self) -> &Settings {
        static PLAIN: Settings = Settings::PLAIN;
        self.0.as_deref().unwrap_or(&PLAIN)
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// What a job is told.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) overlap: Overlap,
    pub(crate) misfire: Misfire,
    pub(crate) max_runs: Option<u64>,
    /// That of its runs in the pool.
    pub(crate) priority: usize,
    pub(crate) timeout: Option<Duration>,
    pub(crate) jitter: Option<Jitter>,
    pub(crate) retry: Option<Backoff>,
    pub(crate) retry_if: Option<RetryIf>,
    pub(crate) on_give_up: Option<OnGiveUp>,
    pub(crate) stop_on_error: bool,
    /// How many reports are kept; the last one always is.
    pub(crate) history: usize,
    pub(crate) when: Option<Condition>,
    pub(crate) throttle: Option<Arc<dyn Decide>>,
    /// The work that has started the job: its baggage and its place in a trace.
    pub(crate) origin: Option<TaskContext>,
    /// To be asked each time the job comes due; the job's trigger goes by it.
    pub(crate) stretch: Option<Arc<Stretch>>,
    /// Whether no other instance has a say in it.
    pub(crate) local: bool,
    /// Whether the scheduler has others to ask.
    pub(crate) clustered: bool,
}

impl Settings {
    /// Nothing.
    const PLAIN: Self = Self {
        overlap: Overlap::Skip,
        misfire: Misfire::FireOnce {
            within: Duration::MAX,
        },
        max_runs: None,
        priority: 0,
        timeout: None,
        jitter: None,
        retry: None,
        retry_if: None,
        on_give_up: None,
        stop_on_error: false,
        history: 0,
        when: None,
        throttle: None,
        origin: None,
        stretch: None,
        local: false,
        clustered: false,
    };

    /// Whether nothing in it is a user's to drop, and it makes no job keep reports of many runs.
    pub(crate) fn is_plain(&self) -> bool {
        self.retry_if.is_none()
            && self.on_give_up.is_none()
            && self.when.is_none()
            && self.throttle.is_none()
            && self.origin.is_none()
            && self.stretch.is_none()
            && self.history <= 1
    }

    /// Checks every value.
    pub(crate) fn check(&self) -> Result<(), ScheduleError> {
        match self.overlap {
            Overlap::Allow(0) => return Err(ScheduleError::ZeroOverlap),
            Overlap::BufferAll(0) => return Err(ScheduleError::ZeroBuffer),
            _ => {}
        }
        if matches!(self.misfire, Misfire::FireAll { limit: 0, .. }) {
            return Err(ScheduleError::ZeroLimit);
        }
        if self.misfire.within().is_zero() {
            return Err(ScheduleError::ZeroWithin);
        }
        if self.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(ScheduleError::ZeroTimeout);
        }
        if let Some(retry) = self.retry {
            retry.validate().map_err(ScheduleError::Retry)?;
        }
        self.jitter.map_or(Ok(()), Jitter::check)
    }

    /// Whether other instances may have a say in a job of that name.
    pub(crate) fn is_shared(&self, name: &str) -> bool {
        self.clustered && !name.is_empty() && !self.local
    }

    /// Whether a run has something to wait for before it begins.
    pub(crate) fn is_gated(&self) -> bool {
        self.when.is_some() || self.throttle.is_some()
    }
}

/// What a closure captured, and what a throttle, a load and a baggage hold, is the user's: whoever
/// drops a job last, its panics are not for them. One by one: two at once could not be contained.
impl Drop for Settings {
    fn drop(&mut self) {
        release(&mut self.retry_if);
        release(&mut self.on_give_up);
        release(&mut self.when);
        release(&mut self.throttle);
        release(&mut self.origin);
        release(&mut self.stretch);
    }
}

/// Drops what is the user's, if there is any, and contains its panic.
fn release<T>(users: &mut Option<T>) {
    if let Some(users) = users.take() {
        contain(|| drop(users));
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("overlap", &self.overlap)
            .field("misfire", &self.misfire)
            .field("max_runs", &self.max_runs)
            .field("priority", &self.priority)
            .field("timeout", &self.timeout)
            .field("jitter", &self.jitter)
            .field("retry", &self.retry)
            .field("stop_on_error", &self.stop_on_error)
            .field("when", &self.when.is_some())
            .field("throttle", &self.throttle.is_some())
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}
