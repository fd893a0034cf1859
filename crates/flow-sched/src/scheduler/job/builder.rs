//! How a job is made.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::slice;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use chrono_tz::Tz;
use flow_ratelimit::Decide;
use flow_rt::{Backoff, Instant, TaskContext, catch, contain};

use super::Job;
use super::context::JobContext;
use super::handle::JobHandle;
use super::label::Label;
use super::policy::{Misfire, Overlap};
use super::settings::{Policies, Settings};
use crate::cron::name;
use crate::scheduler::error::ScheduleError;
use crate::scheduler::report::RunReport;
use crate::scheduler::shared::Shared;
use crate::scheduler::triggers::Between;
use crate::scheduler::triggers::adaptive::{Adaptive, Stretch, Stretching};
use crate::scheduler::triggers::calendar::Calendar;
use crate::scheduler::triggers::jitter::Jitter;
use crate::scheduler::triggers::timetable::{self, Timetable};
use crate::scheduler::triggers::trigger::{Due, Trigger, TriggerContext};
use crate::scheduler::triggers::window::Window;
use crate::scheduler::work::outcome::Outcome;
use crate::scheduler::work::{Body, Closure, Predicate};

/// Makes a job; see [`Scheduler::job`](crate::Scheduler::job).
///
/// It needs one trigger: [`once_at`](Self::once_at), [`after`](Self::after),
/// [`every`](Self::every), [`fixed_delay`](Self::fixed_delay), [`cron`](Self::cron) or
/// [`trigger`](Self::trigger). All values are checked by [`start`](Self::start).
#[must_use = "a job does nothing until it is started"]
pub struct JobBuilder<O> {
    shared: Arc<Shared>,
    /// `None` for a job without a name.
    name: Option<Cow<'static, str>>,
    body: Body,
    trigger: Option<Spec>,
    settings: Policies,
    /// Apart, since most jobs are told none of it, and a builder is moved about.
    rest: Option<Box<Rest>>,
    second_trigger: bool,
    immediately: bool,
    propagate: bool,
    outcome: PhantomData<fn() -> O>,
}

enum Spec {
    Ours(Timetable),
    Cron(Cow<'static, str>),
    Own(Arc<dyn Trigger>),
}

/// What few jobs are told.
#[derive(Default)]
struct Rest {
    /// Why the body is no good.
    refused: Option<ScheduleError>,
    zone: Option<Cow<'static, str>>,
    adaptive: Option<Adaptive>,
    limits: Option<Limits>,
}

impl<O: Outcome> JobBuilder<O> {
    pub(crate) fn new<F>(
        shared: Arc<Shared>,
        name: Option<Cow<'static, str>>,
        run: impl Fn(JobContext) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = O> + Send + 'static,
    {
        let body = Body::new(Closure::new(run));
        Self {
            settings: shared.settings.clone(),
            shared,
            name,
            body,
            trigger: None,
            rest: None,
            second_trigger: false,
            immediately: false,
            propagate: true,
            outcome: PhantomData,
        }
    }

    /// The same job, whose body is no good.
    pub(crate) fn refused(mut self, because: Option<ScheduleError>) -> Self {
        if because.is_some() {
            self.rest().refused = because;
        }
        self
    }

    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    fn limits(&mut self) -> &mut Limits {
        self.rest().limits.get_or_insert_default()
    }

    /// The job's own settings, made from the scheduler's at the first difference.
    fn settings(&mut self) -> &mut Settings {
        self.settings.own()
    }

    /// Once, at an [`Instant`](flow_rt::Instant) of the runtime or at a `SystemTime` of the wall
    /// clock. A time that has passed is due at once, and then a matter of
    /// [`misfire`](Self::misfire).
    pub fn once_at(self, at: impl Into<Due>) -> Self {
        self.with_trigger(Spec::Ours(Timetable::Once(at.into())))
    }

    /// Once, `delay` after the start.
    pub fn after(self, delay: Duration) -> Self {
        self.with_trigger(Spec::Ours(Timetable::After(delay)))
    }

    /// At a fixed rate: every `period` from the start, the first time one period from it.
    ///
    /// Lateness does not add up: run n is due n periods after the start, for ever.
    pub fn every(self, period: Duration) -> Self {
        self.with_trigger(Spec::Ours(Timetable::every(period)))
    }

    /// With a fixed delay: the first time `delay` after the start, then `delay` after the end of
    /// each run.
    pub fn fixed_delay(self, delay: Duration) -> Self {
        self.with_trigger(Spec::Ours(Timetable::FixedDelay(delay)))
    }

    /// Lets the interval of [`every`](Self::every) or [`fixed_delay`](Self::fixed_delay) grow while
    /// something is busy, from what it was given up to a most, by the formula of [`Adaptive`].
    ///
    /// At a fixed rate the interval counts from when the job was due, as ever: lateness does not
    /// add up. Another trigger by [`JobHandle::update`] is one that does not stretch.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use std::time::Duration;
    /// use flow_sched::{Adaptive, Scheduler, WorkerPool};
    ///
    /// let pool = WorkerPool::new(4, 100).unwrap();
    /// let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    /// // Every 10 s; less and less often, down to every 5 min, while the pool is busy.
    /// let often = Duration::from_secs(10);
    /// let backs_off = Adaptive::new(pool.load(), Duration::from_secs(300)).threshold(0.8);
    /// let refresh = scheduler.job("refresh", async |_cx| ()).every(often).adaptive(backs_off);
    /// refresh.start().unwrap();
    /// # });
    /// ```
    pub fn adaptive(mut self, adaptive: Adaptive) -> Self {
        self.rest().adaptive = Some(adaptive);
        self
    }

    /// At the times of a cron pattern; see [`Cron`](crate::Cron) for what it may hold.
    pub fn cron(self, pattern: impl Into<Cow<'static, str>>) -> Self {
        self.with_trigger(Spec::Cron(pattern.into()))
    }

    /// At the times of a trigger of your own.
    pub fn trigger(self, trigger: impl Trigger) -> Self {
        self.with_trigger(Spec::Own(Arc::new(trigger)))
    }

    fn with_trigger(mut self, trigger: Spec) -> Self {
        self.second_trigger |= self.trigger.replace(trigger).is_some();
        self
    }

    /// The zone in which the [`cron`](Self::cron) pattern is read, and a [`window`](Self::window)
    /// that names none, by its IANA name. Unless set it is the scheduler's; for a pattern the one
    /// that it names, which is not asked about a window.
    ///
    /// It is not the zone of [`Holidays`](crate::Holidays), which know nothing of the job that they
    /// are given to: see [`exclude`](Self::exclude).
    pub fn time_zone(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.rest().zone = Some(name.into());
        self
    }

    /// A first run at the start, before those of the trigger.
    pub fn immediately(mut self) -> Self {
        self.immediately = true;
        self
    }

    /// Puts runs that are due outside of a window off to its next opening; several of them are one
    /// run then. See [`Trigger::within`]; runs by hand are not held up.
    ///
    /// A window that was told no zone is one of the job's [`time_zone`](Self::time_zone), else of
    /// the scheduler's.
    pub fn window(mut self, window: Window) -> Self {
        self.limits().window = Some(window);
        self
    }

    /// Leaves out the times that a calendar excludes, [`Holidays`](crate::Holidays) or one of your
    /// own. May be called again for further ones.
    ///
    /// Each is in its own zone, UTC if it was told none, whatever the job's or the scheduler's is:
    /// `Holidays::new(["12-25"])?.time_zone("Europe/Berlin")?`. So is a [`Window`] that is excluded.
    pub fn exclude(mut self, calendar: impl Calendar) -> Self {
        self.limits().exclude.push(Arc::new(calendar));
        self
    }

    /// Leaves out the times before `from`, on the wall clock.
    pub fn not_before(mut self, from: SystemTime) -> Self {
        self.limits().from = Some(from);
        self
    }

    /// Leaves out the times after `to`, on the wall clock; the job ends with the last one before.
    pub fn not_after(mut self, to: SystemTime) -> Self {
        self.limits().to = Some(to);
        self
    }

    /// Adds a delay to each time it is due; none unless set.
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.settings().jitter = Some(jitter);
        self
    }

    /// What to do when a run is due and an earlier one has not ended; [`Overlap::Skip`] unless
    /// set.
    pub fn overlap(mut self, policy: Overlap) -> Self {
        self.settings().overlap = policy;
        self
    }

    /// What to do with runs whose time passed unnoticed; one run for all of them unless set.
    pub fn misfire(mut self, policy: Misfire) -> Self {
        self.settings().misfire = policy;
        self
    }

    /// Ends the job after so many runs, those by hand among them; 0 is no limit, as is none set.
    pub fn max_runs(mut self, runs: u64) -> Self {
        self.settings().max_runs = (runs > 0).then_some(runs);
        self
    }

    /// The priority of its runs in the scheduler's pool: 0 unless set, and of what is queued there
    /// the highest goes first; see
    /// [`WorkerPoolBuilder::priorities`](crate::WorkerPoolBuilder::priorities).
    ///
    /// One that the pool does not have is refused by [`start`](Self::start). Without a pool there
    /// is no queue, and 0 is the only one.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use std::time::Duration;
    /// use flow_sched::{ScheduleError, Scheduler, WorkerPool};
    ///
    /// let pool = WorkerPool::builder().slots(4).queue(100).priorities(3).build().unwrap();
    /// let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
    /// let heartbeat = scheduler.job("heartbeat", async |_cx| ()).every(Duration::from_secs(1));
    /// heartbeat.priority(2).start().unwrap(); // before all others that are queued
    ///
    /// let report = scheduler.job("report", async |_cx| ()).cron("@daily").priority(3);
    /// let refused = ScheduleError::UnknownPriority { given: 3, priorities: 3 };
    /// assert_eq!(report.start().unwrap_err(), refused);
    /// # });
    /// ```
    pub fn priority(mut self, priority: usize) -> Self {
        self.settings().priority = priority;
        self
    }

    /// Drops an attempt of a run that takes longer, counted from its first poll, never from when
    /// it was due. Its context's deadline says so. The scheduler's unless set; `Duration::MAX` is
    /// no limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings().timeout = Some(timeout);
        self
    }

    /// Runs the body again when it has failed: by an error, a panic, or its timeout.
    ///
    /// The attempts and the delays between them are one run, which counts as in progress all the
    /// while; in a pool it gives its slot to others during the delays. When the job ends, by
    /// [`remove`](JobHandle::remove) for instance, no further attempt begins.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use std::time::Duration;
    /// use flow_rt::Backoff;
    /// use flow_sched::{JobContext, Scheduler};
    ///
    /// let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    /// let job = scheduler.job("flaky", async |cx: JobContext| {
    ///     if cx.attempt() < 4 { Err("not yet") } else { Ok(()) }
    /// });
    /// let backoff = Backoff::exponential(Duration::from_millis(100)).attempts(4);
    /// let job = job.after(Duration::from_secs(1)).retry(backoff).start().unwrap();
    /// rt.sleep(Duration::from_secs(2)).await;
    /// let last = job.stats().last.unwrap();
    /// assert_eq!((last.attempts, last.duration), (4, Duration::from_millis(700)));
    /// # });
    /// ```
    pub fn retry(mut self, backoff: Backoff) -> Self {
        self.settings().retry = Some(backoff);
        self
    }

    /// Retries only for the errors that `is_transient` says yes to. Panics and timeouts are
    /// retried all the same.
    pub fn retry_if(
        mut self,
        is_transient: impl Fn(&O::Error) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.settings().retry_if = Some(Arc::new(Predicate(Box::new(is_transient))));
        self
    }

    /// A hook for runs that have failed for good: their attempts are spent, the time for them is
    /// over, or the error was not one to retry for.
    ///
    /// It is called before the run counts as ended, for jobs with [`retry`](Self::retry); a panic
    /// in it is contained.
    pub fn on_give_up(mut self, hook: impl Fn(&RunReport) + Send + Sync + 'static) -> Self {
        self.settings().on_give_up = Some(Arc::new(hook));
        self
    }

    /// Ends the job with the first run that fails, after its retries if it has any.
    pub fn stop_on_error(mut self) -> Self {
        self.settings().stop_on_error = true;
        self
    }

    /// Keeps the reports of so many runs that have ended, for [`JobHandle::history`]; the last one
    /// is kept always. None but these bounds what they take: some 80 bytes each, and the text of an
    /// error.
    pub fn history(mut self, runs: usize) -> Self {
        self.settings().history = runs;
        self
    }

    /// Asks before each run whether it may begin; a run that may not is counted as declined.
    ///
    /// The condition is asked in a task of its own, runs by hand included. While it is, the run
    /// counts as in progress. If it panics, so has the run.
    pub fn when<F, Fut>(mut self, condition: F) -> Self
    where
        F: Fn(JobContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        self.settings().when = Some(Arc::new(move |cx| Box::pin(condition(cx))));
        self
    }

    /// Lets each run wait for a token of a limiter before it begins, after its condition.
    ///
    /// The run counts as in progress while it waits, in the limiter's line with all others, and
    /// takes up no slot of a pool. When the limiter is closed, or can never give a token, the run
    /// fails. Retries take no further token.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use std::time::Duration;
    /// use flow_ratelimit::{Rate, TokenBucket};
    /// use flow_sched::Scheduler;
    ///
    /// let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    /// let bucket = TokenBucket::new(Rate::per_second(1), 1).unwrap();
    /// let poll = scheduler.job("poll", async |_cx| ()).every(Duration::from_millis(10));
    /// let poll = poll.throttle(&bucket).start().unwrap();
    /// rt.sleep(Duration::from_millis(5_500)).await;
    /// assert_eq!(poll.stats().runs.completed, 6);
    /// # });
    /// ```
    pub fn throttle<L: Decide + Clone + 'static>(mut self, limiter: &L) -> Self {
        self.settings().throttle = Some(Arc::new(limiter.clone()));
        self
    }

    /// Keeps the job out of what the scheduler shares with other instances: it runs in each of
    /// them, and asks neither their [`Elector`](crate::Elector) nor for a claim. Jobs without a name
    /// always do so.
    pub fn local(mut self) -> Self {
        self.settings().local = true;
        self
    }

    /// Whether the job's runs carry the baggage and the trace of the task that starts the job; yes
    /// unless set. What does not come with them is its cancellation and its deadline.
    ///
    /// A run by hand carries what the task has that asks for it, whatever is set here; one that
    /// has to follow a run in progress, what all runs of the job carry.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use std::time::Duration;
    /// use flow_rt::TaskContext;
    /// use flow_sched::{JobContext, Scheduler};
    ///
    /// let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    /// let request = TaskContext::new().with_baggage("tenant", "acme").unwrap();
    /// let cleanup = scheduler.job("cleanup", async |cx: JobContext| {
    ///     assert_eq!(cx.baggage("tenant"), Some("acme"));
    /// });
    /// let cleanup = request.enter(|| cleanup.after(Duration::from_secs(60)).start()).unwrap();
    /// request.cancellation().cancel(); // the request is over; its cleanup is still to come
    /// rt.sleep(Duration::from_secs(61)).await;
    /// assert_eq!(cleanup.stats().runs.completed, 1);
    /// # });
    /// ```
    pub fn propagate(mut self, whether: bool) -> Self {
        self.propagate = whether;
        self
    }

    /// Checks everything and hands the job to the scheduler.
    ///
    /// # Errors
    /// [`ScheduleError`]; nothing was started then.
    ///
    /// # Cost
    /// One short lock and the trigger's first answer; the driver is woken only if the job is due
    /// before all others.
    pub fn start(self) -> Result<JobHandle, ScheduleError> {
        let (shared, prepared) = self.prepare()?;
        match shared.insert(slice::from_ref(&prepared)) {
            Ok(()) => Ok(JobHandle::new(shared, prepared.job)),
            Err((_, refused)) => Err(refused.into_error(&prepared.job.name)),
        }
    }

    /// Whether it is this scheduler that is to run the job.
    pub(crate) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// Checks everything and makes the job; also, the scheduler that is to run it.
    pub(crate) fn prepare(mut self) -> Result<(Arc<Shared>, Prepared), ScheduleError> {
        self.check()?;
        if self.propagate
            && let Some(origin) = TaskContext::current().as_ref().and_then(carried)
        {
            self.settings().origin = Some(origin);
        }
        let rest = self.rest.take();
        let zone = rest.as_ref().and_then(|rest| rest.zone.as_deref());
        let (mut timetable, mut laid) = match self.trigger.take() {
            // There is nothing to build.
            Some(Spec::Ours(timetable)) if zone.is_none() => (timetable, None),
            spec => {
                let limits = rest.as_ref().and_then(|rest| rest.limits.as_ref());
                let has_window = limits.is_some_and(|limits| limits.window.is_some());
                build_timetable(spec, zone, has_window, &self.shared)?
            }
        };
        if let Some(rest) = rest {
            if let Some(adaptive) = rest.adaptive {
                let (stretch, stretching) = stretched(&timetable, adaptive)?;
                self.settings().stretch = Some(stretch);
                timetable = stretching;
            }
            if let Some(limits) = rest.limits {
                let zone = zone_of_window(rest.zone.as_deref(), &self.shared)?;
                timetable = limits.around(timetable, zone);
                laid = None;
            }
        }
        guarded_if(timetable.may_panic(), || timetable.check())??;
        let Laid { now, first, wall } = match laid {
            Some(laid) if !self.immediately => laid,
            _ => {
                let now = self.shared.handle.now();
                if self.immediately {
                    Laid {
                        now,
                        first: Due::At(now),
                        wall: None,
                    }
                } else {
                    first_due(&timetable, &self.shared, now)?
                }
            }
        };
        let name = self.name.as_deref().unwrap_or_default();
        check_shared_time(&self.shared, name, &self.settings, first)?;
        let (name, settings, body) = (Label::new(self.name), self.settings, self.body);
        let make = || Job::new(name, settings, timetable, body, now, first);
        let job = self.shared.make(make);
        Ok((self.shared, Prepared { job, first, wall }))
    }

    fn check(&self) -> Result<(), ScheduleError> {
        if self.name.as_ref().is_some_and(|name| name.is_empty()) {
            return Err(ScheduleError::EmptyName);
        }
        if self.second_trigger {
            return Err(ScheduleError::TwoTriggers);
        }
        if let Some(because) = self.rest.as_ref().and_then(|rest| rest.refused.as_ref()) {
            return Err(because.clone());
        }
        if self.settings.is(&self.shared.settings) {
            // Those of the scheduler, which its builder has checked.
            return Ok(());
        }
        let (given, priorities) = (self.settings.priority, self.shared.target.priorities());
        if given >= priorities {
            return Err(ScheduleError::UnknownPriority { given, priorities });
        }
        self.settings.check()
    }
}

/// What runs carry of the work that starts their job; `None` if that is nothing.
fn carried(work: &TaskContext) -> Option<TaskContext> {
    if work.trace().is_none() && work.baggage_items().next().is_none() {
        // The common case, without a child's token.
        return None;
    }
    // A child's, since the work may limit what its children get.
    let child = work.child();
    let trace = child.trace();
    if trace.is_none() && child.baggage_items().next().is_none() {
        return None;
    }
    let mut origin = TaskContext::new();
    for (key, value) in child.baggage_items() {
        // They have been within the limits.
        origin = origin.with_baggage(key, value).ok()?;
    }
    Some(match trace {
        Some(trace) => origin.with_trace(trace),
        None => origin,
    })
}

/// A job to be started, and when it is due first.
pub(crate) struct Prepared {
    pub(crate) job: Arc<Job>,
    pub(crate) first: Due,
    /// What the wall clock showed, if it is due by that.
    pub(crate) wall: Option<SystemTime>,
}

/// Checks a trigger for a job that exists, and asks it for its first time.
pub(crate) fn lay_out(
    trigger: Arc<dyn Trigger>,
    shared: &Shared,
) -> Result<(Timetable, Instant, Due), ScheduleError> {
    guarded(|| trigger.check())??;
    let timetable = guarded(|| Timetable::of(trigger))?;
    let now = shared.handle.now();
    let laid = first_due(&timetable, shared, now)?;
    Ok((timetable, now, laid.first))
}

/// Refuses a job whose times differ from one instance to the next, if its runs are to be claimed.
pub(crate) fn check_shared_time(
    shared: &Shared,
    name: &str,
    settings: &Settings,
    first: Due,
) -> Result<(), ScheduleError> {
    let claimed = shared.claims().is_some() && shared.is_shared(name, settings);
    if claimed && !matches!(first, Due::Wall(_)) {
        return Err(ScheduleError::NoSharedTime);
    }
    Ok(())
}

/// When a job is due first.
struct Laid {
    /// When its timetable was laid out, where [`Timetable::started`] matters.
    now: Instant,
    first: Due,
    /// What the wall clock showed, if it is due by that.
    wall: Option<SystemTime>,
}

/// A job's timetable, and when it is due first if that is known without asking it.
fn build_timetable(
    spec: Option<Spec>,
    zone: Option<&str>,
    has_window: bool,
    shared: &Shared,
) -> Result<(Timetable, Option<Laid>), ScheduleError> {
    let spec = spec.ok_or(ScheduleError::NoTrigger)?;
    if zone.is_some() && !matches!(spec, Spec::Cron(_)) && !has_window {
        return Err(ScheduleError::ZoneWithoutCron);
    }
    Ok(match spec {
        Spec::Ours(timetable) => (timetable, None),
        Spec::Cron(mut pattern) => {
            let wall = shared.handle.wall();
            let told = zone.map(name::find).transpose();
            let zone = told.as_ref().ok().copied().flatten();
            let (cron, first) = timetable::cron(&mut pattern, zone, shared.zone, wall)
                .map_err(ScheduleError::Cron)?;
            // An error of the pattern comes before one of its zone.
            told.map_err(ScheduleError::UnknownZone)?;
            let laid = first.map(|first| Laid {
                now: Instant::ORIGIN,
                first: Due::Wall(first),
                wall: Some(wall),
            });
            (Timetable::Cron(cron), laid)
        }
        Spec::Own(trigger) => (guarded(|| Timetable::of(trigger))?, None),
    })
}

/// The zone of a window that names none.
fn zone_of_window(told: Option<&str>, shared: &Shared) -> Result<Tz, ScheduleError> {
    let told = told.map(name::find).transpose();
    let told = told.map_err(ScheduleError::UnknownZone)?;
    Ok(told.unwrap_or(shared.zone))
}

/// The timetable of an interval, made to stretch.
fn stretched(
    timetable: &Timetable,
    adaptive: Adaptive,
) -> Result<(Arc<Stretch>, Timetable), ScheduleError> {
    let (least, after_runs) = match timetable {
        Timetable::Every { period, .. } => (*period, false),
        Timetable::FixedDelay(delay) => (*delay, true),
        _ => return Err(ScheduleError::AdaptiveWithoutInterval),
    };
    let stretch = Arc::new(Stretch::new(adaptive, least));
    let trigger = Stretching {
        stretch: stretch.clone(),
        after_runs,
    };
    Ok((stretch, Timetable::of(Arc::new(trigger))))
}

/// What a job's builder puts around its trigger.
#[derive(Default)]
struct Limits {
    window: Option<Window>,
    exclude: Vec<Arc<dyn Calendar>>,
    from: Option<SystemTime>,
    to: Option<SystemTime>,
}

impl Limits {
    fn around(self, mut timetable: Timetable, zone: Tz) -> Timetable {
        // From the inside out: what is put off to an opening may be excluded there, and over.
        if let Some(window) = self.window {
            let window = window.or_in_zone(zone);
            timetable = Timetable::of(Arc::new(timetable.within(window)));
        }
        for calendar in self.exclude {
            timetable = Timetable::of(Arc::new(timetable.excluding(calendar)));
        }
        if self.from.is_some() || self.to.is_some() {
            let between = Between {
                inner: timetable,
                from: self.from,
                to: self.to,
            };
            timetable = Timetable::of(Arc::new(between));
        }
        timetable
    }
}

/// Asks a timetable when it is due first.
fn first_due(timetable: &Timetable, shared: &Shared, now: Instant) -> Result<Laid, ScheduleError> {
    let (first, wall) = match timetable.first(now) {
        Some(first @ Due::Wall(_)) => (first, Some(shared.handle.wall())),
        Some(first) => (first, None),
        None => asked(timetable, shared, now)?,
    };
    let first = match first {
        Due::At(at) if at.is_far_future() => return Err(ScheduleError::NeverDue),
        // There is no run before the first.
        Due::AfterRun(delay) => Due::At(now + delay),
        due => due,
    };
    Ok(Laid { now, first, wall })
}

/// Asks a timetable that may want to know the time of day for its first time.
#[inline(never)]
fn asked(
    timetable: &Timetable,
    shared: &Shared,
    now: Instant,
) -> Result<(Due, Option<SystemTime>), ScheduleError> {
    let wall = shared.handle.wall();
    let cx = TriggerContext::new(now, wall);
    let first = guarded_if(timetable.may_panic(), || timetable.next(&cx))?;
    Ok((first.ok_or(ScheduleError::NeverDue)?, Some(wall)))
}

/// Asks a trigger that may be the user's.
fn guarded_if<T>(may_panic: bool, ask: impl FnOnce() -> T) -> Result<T, ScheduleError> {
    if may_panic { guarded(ask) } else { Ok(ask()) }
}

/// Asks a trigger of the user's.
fn guarded<T>(ask: impl FnOnce() -> T) -> Result<T, ScheduleError> {
    catch(ask).map_err(|panic| {
        let message = panic.message().to_owned();
        contain(|| drop(panic));
        ScheduleError::TriggerPanicked { message }
    })
}

impl<O> fmt::Debug for JobBuilder<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobBuilder")
            .field("name", &self.name.as_deref().unwrap_or_default())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
