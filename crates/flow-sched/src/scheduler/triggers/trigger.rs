//! When a job is due: the trait, and what a trigger may look at.

use core::fmt;
use core::time::Duration;
use std::time::SystemTime;

use flow_rt::Instant;

use super::calendar::Calendar;
use super::wall;
use super::window::Window;
use super::{Between, Excluding, Intersection, Union, Within};
use crate::scheduler::error::ScheduleError;

/// When a run is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Due {
    /// At a point of the runtime's monotonic clock: steps of the wall clock do not move it.
    At(Instant),
    /// At a time of day: never before the wall clock says so, however the clock is set. See
    /// [`Scheduler`](crate::Scheduler#clocks-that-are-set) for what becomes of it when it is.
    Wall(SystemTime),
    /// So long after the end of the run that is due before it.
    AfterRun(Duration),
}

impl Due {
    /// The last moment before it; `None` at the begin of time.
    pub(crate) fn just_before(self) -> Option<Self> {
        Some(match self {
            Self::At(at) => Self::At(Instant::from_nanos(at.as_nanos().checked_sub(1)?)),
            Self::Wall(at) => Self::Wall(at.checked_sub(Duration::from_nanos(1))?),
            Self::AfterRun(delay) => Self::AfterRun(delay),
        })
    }

    /// So much later.
    pub(crate) fn delayed(self, by: Duration) -> Self {
        match self {
            Self::At(at) => Self::At(at + by),
            Self::Wall(at) => Self::Wall(at.checked_add(by).unwrap_or(at)),
            Self::AfterRun(delay) => Self::AfterRun(delay.saturating_add(by)),
        }
    }
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
    seed: u64,
}

impl TriggerContext {
    /// A context for a job that starts now: what a test of a trigger begins with.
    pub fn new(now: Instant, wall: SystemTime) -> Self {
        Self {
            now,
            wall,
            started: now,
            previous: None,
            seed: 0,
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

    /// The same moment for a job with this number of its own.
    pub fn seeded(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The same job, so much earlier, though not before the monotonic clock began.
    pub(crate) fn earlier(mut self, by: Duration) -> Self {
        // Both clocks by as much, or times of the one would move on the other.
        let now = self.now.as_nanos();
        let nanos = u64::try_from(by.as_nanos()).map_or(now, |by| by.min(now));
        if let Some(wall) = self.wall.checked_sub(Duration::from_nanos(nanos)) {
            self.now = Instant::from_nanos(now - nanos);
            self.wall = wall;
        }
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

    /// A number of the job's own, for triggers that draw lots: chosen by its name, and so the same
    /// in every process; without a name by its place in the order of starts.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What was due before; `None` if nothing was.
    pub fn previous(&self) -> Option<Due> {
        self.previous
    }

    /// What was due before, on the monotonic clock as the two clocks stand now; `None` if nothing
    /// was. It may lie behind: [`now`](Self::now) is in the place of a delay after a run alone.
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

    /// A time of either clock on the wall clock, as things stand; `None` for one that hangs on the
    /// end of a run.
    pub fn on_wall(&self, due: Due) -> Option<SystemTime> {
        match due {
            Due::At(at) => Some(wall::from_instant(at, self.now, self.wall)),
            Due::Wall(at) => Some(at),
            Due::AfterRun(_) => None,
        }
    }

    /// A time of day on the clock that `due` stands on.
    pub(crate) fn like(&self, due: Due, at: SystemTime) -> Due {
        match due {
            Due::At(_) => Due::At(wall::to_instant(at, self.now, self.wall)),
            Due::Wall(_) | Due::AfterRun(_) => Due::Wall(at),
        }
    }

    /// Where a time lies on one axis for both clocks; one that hangs on the end of a run is as
    /// early as it can be.
    pub(crate) fn position(&self, due: Due) -> i128 {
        match due {
            Due::At(at) => i128::from(at.as_nanos()),
            Due::Wall(at) => wall::nanos(at) - wall::offset(self.now, self.wall),
            Due::AfterRun(delay) => {
                let previous = self.previous_instant().unwrap_or(self.started);
                i128::from((previous + delay).as_nanos())
            }
        }
    }
}

/// Occurrences that passed without a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatchUp {
    pub(crate) latest: Due,
    pub(crate) passed: u64,
    /// Each hangs on the one before it, so that none is found but by way of all before it.
    pub(crate) chained: bool,
}

impl CatchUp {
    /// The latest occurrence that is not in the future, and how many there were up to it.
    pub fn new(latest: impl Into<Due>, passed: u64) -> Self {
        Self {
            latest: latest.into(),
            passed,
            chained: false,
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
    /// 1,024 steps at the most. If there are more, it finds the latest by bisection, which takes
    /// `next` to be a function of [`previous`](TriggerContext::previous) that never goes down, and
    /// counts 1,024. Override it where the answer can be computed.
    fn catch_up(&self, cx: &TriggerContext) -> Option<CatchUp> {
        walk(self, cx)
    }

    /// Where a time goes that [`Due::AfterRun`] gave and the end of a run has fixed; `None` if it is
    /// not to come at all. The provided method leaves it where it is.
    ///
    /// The answer is a time of either clock. No run follows that another [`Due::AfterRun`] could
    /// count from: that answer ends the job with
    /// [`EndReason::TriggerFailed`](crate::EndReason::TriggerFailed).
    fn after_run(&self, due: Due, cx: &TriggerContext) -> Option<Due> {
        let _ = cx;
        Some(due)
    }

    /// Whether [`next`](Self::next) costs no more than some arithmetic.
    ///
    /// A cheap trigger is asked by the driver of all jobs itself; any other one in a task of its
    /// own, so that it delays no job but its own. Asked once, when the job is started.
    fn is_cheap(&self) -> bool {
        false
    }

    /// Whether it may be due more than once. One that may not is not asked again after its time has
    /// come, so nothing that happens to the clocks makes it come twice. Asked once, when the job
    /// is started.
    fn is_recurring(&self) -> bool {
        true
    }

    /// Checks the trigger's own values; asked once, when its job is started.
    ///
    /// # Errors
    /// [`ScheduleError`] for the first value that is out of its range.
    fn check(&self) -> Result<(), ScheduleError> {
        Ok(())
    }

    /// Due when this one is, and when the other one is; once if both are at the same time.
    ///
    /// If this one or the other one is a delay after each run ([`Due::AfterRun`]), whichever comes
    /// first after the end of a run is due. While that run is in progress, times of the other one do
    /// not come, but for a next one less than the delay after the time the run was due at.
    fn or<T: Trigger>(self, other: T) -> Union<Self, T>
    where
        Self: Sized,
    {
        Union(self, other)
    }

    /// Due when both are, to the nanosecond: cron patterns, and rates that are
    /// [`aligned`](crate::Every::aligned).
    ///
    /// The search takes 10,000 steps at the most; what it does not find does not come. A delay
    /// after a run meets no other time.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::{Duration, UNIX_EPOCH};
    /// use flow_rt::Instant;
    /// use flow_sched::{Cron, Due, Every, Trigger, TriggerContext};
    ///
    /// // Mondays, by way of two grids.
    /// let week = Duration::from_secs(7 * 24 * 3_600);
    /// let mondays = Cron::new("0 0 * * MON")?.and(Every::new(week / 7).aligned());
    /// let cx = TriggerContext::new(Instant::ORIGIN, UNIX_EPOCH); // a Thursday
    /// assert_eq!(mondays.next(&cx), Some(Due::Wall(UNIX_EPOCH + week / 7 * 4)));
    /// # Ok(())
    /// # }
    /// ```
    fn and<T: Trigger>(self, other: T) -> Intersection<Self, T>
    where
        Self: Sized,
    {
        Intersection(self, other)
    }

    /// Without the times that a calendar excludes.
    fn excluding<C: Calendar>(self, calendar: C) -> Excluding<Self, C>
    where
        Self: Sized,
    {
        Excluding {
            inner: self,
            calendar,
        }
    }

    /// With the times outside of a window put off to its next opening: several of them are one.
    fn within(self, window: Window) -> Within<Self>
    where
        Self: Sized,
    {
        Within {
            inner: self,
            window,
        }
    }

    /// Without the times before `from`, on the wall clock.
    fn not_before(self, from: SystemTime) -> Between<Self>
    where
        Self: Sized,
    {
        Between {
            inner: self,
            from: Some(from),
            to: None,
        }
    }

    /// Without the times after `to`, on the wall clock.
    fn not_after(self, to: SystemTime) -> Between<Self>
    where
        Self: Sized,
    {
        Between {
            inner: self,
            from: None,
            to: Some(to),
        }
    }
}

/// Catches up step by step.
pub(crate) fn walk<T: Trigger + ?Sized>(trigger: &T, cx: &TriggerContext) -> Option<CatchUp> {
    let mut found = None;
    let begin = cx;
    let mut cx = *cx;
    for passed in 1..=MOST_STEPS {
        let Some(due) = trigger.next(&cx) else { break };
        if !is_past(due, &cx) || !moves_on(due, &cx) {
            break;
        }
        found = Some(CatchUp::new(due, passed));
        cx = cx.after(due);
    }
    let found = found?;
    if found.passed < MOST_STEPS {
        return Some(found);
    }
    let latest = latest(trigger, found.latest, begin);
    Some(CatchUp { latest, ..found })
}

/// The latest time that is due by now, of a trigger that was due at `seen`: by bisection of the
/// time between, with one question for each halving.
fn latest<T: Trigger + ?Sized>(trigger: &T, seen: Due, cx: &TriggerContext) -> Due {
    let origin = cx.position(seen);
    let now = i128::from(cx.now.as_nanos());
    // Due after the one and by now; not due any more after the other.
    let (mut from, mut to) = (0, u64::try_from(now - origin).unwrap_or(0));
    let mut latest = seen;
    while from < to {
        let middle = from + (to - from) / 2;
        let at = seen.delayed(Duration::from_nanos(middle));
        let next = trigger.next(&cx.after(at));
        let next = next.filter(|&next| is_past(next, cx) && cx.position(next) > cx.position(at));
        match next {
            None => to = middle,
            Some(next) => {
                latest = next;
                // It is after the middle, so this moves on.
                from = u64::try_from(cx.position(next) - origin).unwrap_or(to);
            }
        }
    }
    latest
}

/// So many steps are taken to catch up.
pub(crate) const MOST_STEPS: u64 = 1_024;

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
