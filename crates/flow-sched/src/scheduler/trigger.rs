//! When a job is due: the trait, and what a trigger may look at.

use core::fmt;
use core::time::Duration;
use std::time::SystemTime;

use flow_rt::Instant;

use super::error::ScheduleError;
use super::wall;

/// When a run is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Due {
    /// At a point of the runtime's monotonic clock: steps of the wall clock do not move it.
    At(Instant),
    /// At a time of day: never before the wall clock says so, however the clock is set.
    Wall(SystemTime),
    /// So long after the end of the run that is due before it.
    AfterRun(Duration),
}

impl From<Instant> for Due {
    fn from(at: Instant) -> Self {
        Self::At(at)
    }
}

impl From<SystemTime> for Due {
    fn from(at: SystemTime) -> Self {
        Self::Wall(at)
    }
}

/// What a trigger may look at: both clocks, when the job was started, what was due before.
#[derive(Debug, Clone, Copy)]
pub struct TriggerContext {
    now: Instant,
    wall: SystemTime,
    started: Instant,
    previous: Option<Due>,
}

impl TriggerContext {
    /// A context for a job that starts now: what a test of a trigger begins with.
    pub fn new(now: Instant, wall: SystemTime) -> Self {
        Self {
            now,
            wall,
            started: now,
            previous: None,
        }
    }

    /// The same moment for a job that was started at `started`.
    pub fn started_at(mut self, started: Instant) -> Self {
        self.started = started;
        self
    }

    /// The same moment with `previous` as what was due last.
    pub fn after(mut self, previous: Due) -> Self {
        self.previous = Some(previous);
        self
    }

    /// The monotonic time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The wall clock's time.
    pub fn wall(&self) -> SystemTime {
        self.wall
    }

    /// When the job was started: the phase of a fixed rate.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// What was due before; `None` if nothing was.
    pub fn previous(&self) -> Option<Due> {
        self.previous
    }

    /// The later of now and what was due before, on the monotonic clock, if there was anything.
    pub fn previous_instant(&self) -> Option<Instant> {
        self.previous.map(|due| match due {
            Due::At(at) => at,
            Due::Wall(at) => wall::to_instant(at, self.now, self.wall),
            Due::AfterRun(_) => self.now,
        })
    }

    /// What was due before, on the wall clock; now, if nothing was.
    pub fn previous_wall(&self) -> SystemTime {
        match self.previous {
            Some(Due::Wall(at)) => at,
            Some(Due::At(at)) => wall::from_instant(at, self.now, self.wall),
            Some(Due::AfterRun(_)) | None => self.wall,
        }
    }
}

/// Occurrences that passed without a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatchUp {
    pub(crate) latest: Due,
    pub(crate) passed: u64,
}

impl CatchUp {
    /// The latest occurrence that is not in the future, and how many there were up to it.
    pub fn new(latest: impl Into<Due>, passed: u64) -> Self {
        Self {
            latest: latest.into(),
            passed,
        }
    }
}

/// Decides when a job is due. Implement it for a timetable of your own.
///
/// ```
/// use std::time::Duration;
/// use flow_sched::{Due, Trigger, TriggerContext};
///
/// /// Due after 1 s, 2 s, 4 s ... up to an hour.
/// struct SlowingDown;
///
/// impl Trigger for SlowingDown {
///     fn next(&self, cx: &TriggerContext) -> Option<Due> {
///         let Some(previous) = cx.previous_instant() else {
///             return Some(Due::At(cx.started() + Duration::from_secs(1)));
///         };
///         let age = previous - cx.started();
///         Some(Due::At(previous + age.clamp(Duration::from_secs(1), Duration::from_secs(3_600))))
///     }
/// }
/// ```
pub trait Trigger: Send + Sync + 'static {
    /// The first time that is due after `cx.previous()`; `None` if there is none any more.
    ///
    /// It must be later than `cx.previous()`. It may lie in the past, as after a stall of the
    /// machine: the job's [`Misfire`](crate::Misfire) decides what becomes of it. A trigger that
    /// does not move on, or panics, ends its job with
    /// [`EndReason::TriggerFailed`](crate::EndReason::TriggerFailed).
    fn next(&self, cx: &TriggerContext) -> Option<Due>;

    /// The latest time after `cx.previous()` that is due by now; `None` if there is none.
    ///
    /// Asked only when occurrences were missed. The provided method walks [`next`](Self::next),
    /// 1,024 steps at the most; override it where the answer can be computed.
    fn catch_up(&self, cx: &TriggerContext) -> Option<CatchUp> {
        walk(self, cx)
    }

    /// Whether [`next`](Self::next) costs no more than some arithmetic.
    ///
    /// A cheap trigger is asked by the driver of all jobs itself; any other one in a task of its
    /// own, so that it delays no job but its own. Asked once, when the job is started.
    fn is_cheap(&self) -> bool {
        false
    }

    /// Checks the trigger's own values; asked once, when its job is started.
    ///
    /// # Errors
    /// [`ScheduleError`] for the first value that is out of its range.
    fn check(&self) -> Result<(), ScheduleError> {
        Ok(())
    }
}

/// Catches up step by step.
pub(crate) fn walk<T: Trigger + ?Sized>(trigger: &T, cx: &TriggerContext) -> Option<CatchUp> {
    let mut found = None;
    let mut cx = *cx;
    for passed in 1..=1_024 {
        let Some(due) = trigger.next(&cx) else { break };
        if !is_past(due, &cx) || !moves_on(due, &cx) {
            break;
        }
        found = Some(CatchUp {
            latest: due,
            passed,
        });
        cx = cx.after(due);
    }
    found
}

/// Whether a time is due by now.
pub(crate) fn is_past(due: Due, cx: &TriggerContext) -> bool {
    match due {
        Due::At(at) => at <= cx.now,
        Due::Wall(at) => at <= cx.wall,
        Due::AfterRun(_) => false,
    }
}

/// Whether `due` is later than what was due before it.
pub(crate) fn moves_on(due: Due, cx: &TriggerContext) -> bool {
    match (cx.previous, due) {
        (None, _) | (_, Due::AfterRun(_)) => true,
        (Some(_), Due::At(at)) => cx.previous_instant().is_none_or(|previous| at > previous),
        (Some(_), Due::Wall(at)) => at > cx.previous_wall(),
    }
}

impl fmt::Debug for dyn Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trigger")
    }
}
