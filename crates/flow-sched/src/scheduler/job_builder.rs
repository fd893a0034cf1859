//! How a job is made.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::{catch, contain};

use super::error::ScheduleError;
use super::handle::JobHandle;
use super::job::{Body, Job, Settings};
use super::outcome::Outcome;
use super::policy::{Misfire, Overlap};
use super::shared::{Refused, Shared};
use super::timetable;
use super::trigger::{After, Due, Every, FixedDelay, Once, Trigger, TriggerContext};
use crate::cron::name;

/// Makes a job; see [`Scheduler::job`](crate::Scheduler::job).
///
/// It needs one trigger: [`once_at`](Self::once_at), [`after`](Self::after),
/// [`every`](Self::every), [`fixed_delay`](Self::fixed_delay), [`cron`](Self::cron) or
/// [`trigger`](Self::trigger). All values are checked by [`start`](Self::start).
#[must_use = "a job does nothing until it is started"]
pub struct JobBuilder<O> {
    shared: Arc<Shared>,
    name: Cow<'static, str>,
    body: Body,
    trigger: Option<Spec>,
    second_trigger: bool,
    zone: Option<Cow<'static, str>>,
    immediately: bool,
    overlap: Overlap,
    misfire: Misfire,
    max_runs: u64,
    timeout: Option<Duration>,
    outcome: PhantomData<fn() -> O>,
}

enum Spec {
    Once(Due),
    After(Duration),
    Every(Duration),
    FixedDelay(Duration),
    Cron(Cow<'static, str>),
    Own(Box<dyn Trigger>),
}

impl<O: Outcome> JobBuilder<O> {
    pub(crate) fn new<F>(
        shared: Arc<Shared>,
        name: Cow<'static, str>,
        run: impl Fn(super::JobContext) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = O> + Send + 'static,
    {
        let body: Body = Arc::new(move |cx| {
            let future = run(cx);
            Box::pin(async move { future.await.into_result().map_err(Into::into) })
        });
        Self {
            shared,
            name,
            body,
            trigger: None,
            second_trigger: false,
            zone: None,
            immediately: false,
            overlap: Overlap::default(),
            misfire: Misfire::default(),
            max_runs: 0,
            timeout: None,
            outcome: PhantomData,
        }
    }

    /// Once, at an [`Instant`](flow_rt::Instant) of the runtime or at a `SystemTime` of the wall
    /// clock. A time that has passed is due at once, and then a matter of
    /// [`misfire`](Self::misfire).
    pub fn once_at(self, at: impl Into<Due>) -> Self {
        self.with_trigger(Spec::Once(at.into()))
    }

    /// Once, `delay` after the start.
    pub fn after(self, delay: Duration) -> Self {
        self.with_trigger(Spec::After(delay))
    }

    /// At a fixed rate: every `period` from the start, the first time one period from it.
    ///
    /// Lateness does not add up: run n is due n periods after the start, for ever.
    pub fn every(self, period: Duration) -> Self {
        self.with_trigger(Spec::Every(period))
    }

    /// With a fixed delay: the first time `delay` after the start, then `delay` after the end of
    /// each run.
    pub fn fixed_delay(self, delay: Duration) -> Self {
        self.with_trigger(Spec::FixedDelay(delay))
    }

    /// At the times of a cron pattern; see [`Cron`](crate::Cron) for what it may hold.
    pub fn cron(self, pattern: impl Into<Cow<'static, str>>) -> Self {
        self.with_trigger(Spec::Cron(pattern.into()))
    }

    /// At the times of a trigger of your own.
    pub fn trigger(self, trigger: impl Trigger) -> Self {
        self.with_trigger(Spec::Own(Box::new(trigger)))
    }

    fn with_trigger(mut self, trigger: Spec) -> Self {
        self.second_trigger |= self.trigger.replace(trigger).is_some();
        self
    }

    /// The zone in which the [`cron`](Self::cron) pattern is read, by its IANA name; the one that
    /// the pattern names, else the scheduler's, unless set.
    pub fn time_zone(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.zone = Some(name.into());
        self
    }

    /// A first run at the start, before those of the trigger.
    pub fn immediately(mut self) -> Self {
        self.immediately = true;
        self
    }

    /// What to do when a run is due and an earlier one has not ended; [`Overlap::Skip`] unless
    /// set.
    pub fn overlap(mut self, policy: Overlap) -> Self {
        self.overlap = policy;
        self
    }

    /// What to do with runs whose time passed unnoticed; one run for all of them unless set.
    pub fn misfire(mut self, policy: Misfire) -> Self {
        self.misfire = policy;
        self
    }

    /// Ends the job after so many runs, those by hand among them; 0 is no limit.
    pub fn max_runs(mut self, runs: u64) -> Self {
        self.max_runs = runs;
        self
    }

    /// Drops a run that takes longer, counted from its first poll. Its context's deadline says
    /// so.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
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
        let mut settings = self.check()?;
        let trigger = build_trigger(self.trigger, self.zone.as_deref(), &self.shared)?;
        settings.cheap = guarded(|| trigger.is_cheap())?;
        let (now, wall) = (self.shared.handle.now(), self.shared.handle.wall());
        let first = if self.immediately {
            Due::At(now)
        } else {
            first_due(&*trigger, &TriggerContext::new(now, wall))?
        };
        let job = Arc::new(Job::new(
            &self.shared,
            self.name.as_ref().into(),
            settings,
            trigger,
            self.body,
            now,
            first,
        ));
        match self.shared.insert(&job) {
            Ok(()) => Ok(JobHandle::new(self.shared, job)),
            Err(Refused::ShutDown) => Err(ScheduleError::Closed),
            Err(Refused::NameTaken) => Err(ScheduleError::NameTaken {
                name: self.name.into_owned(),
            }),
        }
    }

    fn check(&self) -> Result<Settings, ScheduleError> {
        if self.name.is_empty() {
            return Err(ScheduleError::EmptyName);
        }
        if self.second_trigger {
            return Err(ScheduleError::TwoTriggers);
        }
        if self.overlap == Overlap::Allow(0) {
            return Err(ScheduleError::ZeroOverlap);
        }
        if self.misfire.within().is_zero() {
            return Err(ScheduleError::ZeroWithin);
        }
        if self.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(ScheduleError::ZeroTimeout);
        }
        let interval = match self.trigger {
            Some(Spec::Every(interval) | Spec::FixedDelay(interval)) => interval,
            _ => Duration::MAX,
        };
        if interval.is_zero() {
            return Err(ScheduleError::ZeroInterval);
        }
        // Before the trigger is made, so that an answer comes cheap; `insert` decides.
        if self.shared.has(&self.name) {
            return Err(ScheduleError::NameTaken {
                name: self.name.clone().into_owned(),
            });
        }
        Ok(Settings {
            overlap: self.overlap,
            misfire: self.misfire,
            max_runs: (self.max_runs > 0).then_some(self.max_runs),
            timeout: self.timeout,
            cheap: false,
            recurring: !matches!(self.trigger, Some(Spec::Once(_) | Spec::After(_))),
        })
    }
}

fn build_trigger(
    spec: Option<Spec>,
    zone: Option<&str>,
    shared: &Shared,
) -> Result<Box<dyn Trigger>, ScheduleError> {
    let spec = spec.ok_or(ScheduleError::NoTrigger)?;
    if zone.is_some() && !matches!(spec, Spec::Cron(_)) {
        return Err(ScheduleError::ZoneWithoutCron);
    }
    Ok(match spec {
        Spec::Once(due) => Box::new(Once(due)),
        Spec::After(delay) => Box::new(After(delay)),
        Spec::Every(period) => Box::new(Every(period)),
        Spec::FixedDelay(delay) => Box::new(FixedDelay(delay)),
        Spec::Cron(pattern) => {
            let cron = timetable::cron(&pattern, shared.zone).map_err(ScheduleError::Cron)?;
            Box::new(match zone {
                Some(name) => cron.in_zone(name::find(name).map_err(ScheduleError::UnknownZone)?),
                None => cron,
            })
        }
        Spec::Own(trigger) => trigger,
    })
}

fn first_due(trigger: &dyn Trigger, cx: &TriggerContext) -> Result<Due, ScheduleError> {
    match guarded(|| trigger.next(cx))? {
        None => Err(ScheduleError::NeverDue),
        Some(Due::At(at)) if at.is_far_future() => Err(ScheduleError::NeverDue),
        // There is no run before the first.
        Some(Due::AfterRun(delay)) => Ok(Due::At(cx.now() + delay)),
        Some(due) => Ok(due),
    }
}

/// Asks the trigger for the first time.
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
            .field("name", &self.name)
            .field("overlap", &self.overlap)
            .field("misfire", &self.misfire)
            .field("max_runs", &self.max_runs)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
