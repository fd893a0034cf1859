//! How a scheduler is made.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use chrono_tz::Tz;
use flow_rt::Handle;

use super::cluster::{Claims, Cluster, Elector, recover};
use super::driver::SchedulerDriver;
use super::error::SchedulerConfigError;
use super::report::JobEvent;
use super::run::Target;
use super::shared::{Hook, Shared};
use super::{Core, Scheduler};
use crate::cron::name;
use crate::pool::WorkerPool;
use crate::scheduler::job::policy::Precision;
use crate::scheduler::job::settings::Policies;

/// Makes a [`Scheduler`]; see [`Scheduler::builder`].
#[must_use = "a builder does nothing until it is built"]
#[derive(Default)]
pub struct SchedulerBuilder {
    name: Option<Cow<'static, str>>,
    runtime: Option<Handle>,
    pool: Option<WorkerPool>,
    zone: Option<Cow<'static, str>>,
    precision: Precision,
    timeout: Option<Duration>,
    elector: Option<Arc<dyn Elector>>,
    claims: Option<Claims>,
    on_event: Option<Hook>,
}

impl SchedulerBuilder {
    /// The scheduler's name in reports; "scheduler" unless set.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The runtime that keeps the time and runs the driver; [`Handle::current`] unless set.
    ///
    /// Jobs run on it too, unless there is a pool.
    pub fn runtime(mut self, handle: &Handle) -> Self {
        self.runtime = Some(handle.clone());
        self
    }

    /// The pool that runs the jobs; without one they run as tasks of the runtime.
    ///
    /// A run that meets a full queue waits for room, whatever the pool does with what others submit
    /// to it then: it takes nobody's place, and holds up no job but its own. Once it is queued it
    /// is a task like any other, and a pool that drops the oldest may drop it. Unless
    /// [`runtime`](Self::runtime) says otherwise, the pool's runtime keeps the time.
    pub fn pool(mut self, pool: &WorkerPool) -> Self {
        self.pool = Some(pool.clone());
        self
    }

    /// The zone in which cron patterns without one of their own are read; UTC unless set.
    pub fn time_zone(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.zone = Some(name.into());
        self
    }

    /// How exactly the scheduler wakes up; [`Precision::Coarse`] unless set.
    ///
    /// However exact, no job runs before it is due.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// The timeout of all runs, unless their job has one of its own; none unless set. See
    /// [`JobBuilder::timeout`](crate::JobBuilder::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Lets runs begin only while this instance leads: all of them but those by hand, those of jobs
    /// without a name, and those of jobs that are [`local`](crate::JobBuilder::local).
    ///
    /// What comes due while another instance leads ends as
    /// [`RunOutcome::Elsewhere`](crate::RunOutcome::Elsewhere), and what comes due while none does is
    /// run by nobody. The lead is asked for when the run comes due, and once more when it begins: a
    /// run that waits in between, for its condition, its throttle or room in the pool, ends as
    /// `Elsewhere` if the lead is lost meanwhile, and nobody runs it. Its
    /// [`fence`](crate::JobContext::fence) is that of the term it begins in, which may be a newer
    /// one. A run in progress goes on, whoever leads. See [`Candidate`](crate::Candidate).
    ///
    /// With [`claims`](Self::claims) too, the lead is asked for before the claim. A run that holds
    /// its claim begins although the lead is lost meanwhile, since the newer leader leaves what is
    /// claimed to its holder; its fence is the claim's.
    ///
    /// A scheduler that is closed keeps its elector until its last handle is gone: see
    /// [`Candidate::resign`](crate::Candidate::resign).
    pub fn elector<E: Elector + Clone>(mut self, elector: &E) -> Self {
        self.elector = Some(Arc::new(elector.clone()));
        self
    }

    /// Has each occurrence claimed before it runs, among all instances of the service: all but
    /// runs by hand, those of jobs without a name, and those of jobs that are
    /// [`local`](crate::JobBuilder::local).
    ///
    /// An occurrence is a job's name and the time it is scheduled for, so a job must have the same
    /// name and trigger in all instances, and a trigger that goes by the wall clock: a time that does
    /// not ends as [`RunOutcome::Unclaimed`](crate::RunOutcome::Unclaimed). Occurrences that another
    /// instance has end as [`RunOutcome::Elsewhere`](crate::RunOutcome::Elsewhere), and are among the
    /// runs that [`max_runs`](crate::JobBuilder::max_runs) counts.
    pub fn claims(mut self, claims: Claims) -> Self {
        self.claims = Some(claims);
        self
    }

    /// A hook for everything that happens to jobs.
    ///
    /// It runs where the thing happens, under no lock, and may call the scheduler. A panic in it
    /// is contained. It must not block: it may hold up the driver of all jobs.
    pub fn on_event(mut self, hook: impl Fn(&JobEvent<'_>) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Box::new(hook));
        self
    }

    /// Builds the scheduler and starts its driver on the runtime.
    ///
    /// # Errors
    /// [`SchedulerConfigError`]: there is no runtime, the zone is unknown, the timeout is zero, or
    /// the lease of claims is too short.
    pub fn build(self) -> Result<Scheduler, SchedulerConfigError> {
        let (scheduler, driver) = self.build_with_driver()?;
        let handle = driver.handle().clone();
        // Detached: it outlives the work that the builder runs in.
        handle.spawn_detached_named("flow scheduler", driver);
        Ok(scheduler)
    }

    /// Builds the scheduler and gives its driver back, to be polled by the caller.
    ///
    /// # Errors
    /// Those of [`build`](Self::build).
    pub fn build_with_driver(self) -> Result<(Scheduler, SchedulerDriver), SchedulerConfigError> {
        if self.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(SchedulerConfigError::ZeroTimeout);
        }
        if let Some(claims) = &self.claims {
            claims.check()?;
        }
        let zone = match &self.zone {
            None => Tz::UTC,
            Some(name) => name::find(name).map_err(SchedulerConfigError::UnknownZone)?,
        };
        let handle = match (self.runtime, &self.pool) {
            (Some(handle), _) => handle,
            (None, Some(pool)) => pool.runtime().clone(),
            (None, None) => Handle::current().map_err(SchedulerConfigError::Runtime)?,
        };
        let handle = match self.precision {
            Precision::Coarse => handle,
            #[cfg(feature = "fine-timer")]
            Precision::Fine => handle.with_fine_timers(),
        };
        let target = self.pool.map_or(Target::Runtime, Target::Pool);
        let name = self
            .name
            .map_or_else(|| "scheduler".to_owned(), Cow::into_owned);
        let cluster = Cluster::new(self.elector, self.claims);
        let settings = Policies::new(self.timeout, cluster.is_some());
        let mut shared = Shared::new(name, handle, target, zone, settings, self.on_event);
        shared.cluster = cluster;
        let shared = Arc::new(shared);
        if let Some(claims) = shared.claims().filter(|claims| claims.is_leased()) {
            let over = shared.cluster.as_ref().map(|cluster| cluster.over.clone());
            let (weak, handle) = (Arc::downgrade(&shared), shared.handle.clone());
            let recovery = recover(weak, handle, claims.clone(), over.unwrap_or_default());
            let name = "flow scheduler recovery";
            shared.handle.spawn_detached_named(name, recovery);
        }
        let core = Arc::new(Core::new(shared.clone()));
        shared.set_core(Arc::downgrade(&core));
        let driver = SchedulerDriver::new(shared);
        Ok((Scheduler::from_core(core), driver))
    }
}

impl fmt::Debug for SchedulerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerBuilder")
            .field("name", &self.name)
            .field("runtime", &self.runtime)
            .field("pool", &self.pool)
            .field("time_zone", &self.zone)
            .field("precision", &self.precision)
            .field("timeout", &self.timeout)
            .field("elector", &self.elector.is_some())
            .field("claims", &self.claims)
            .field("on_event", &self.on_event.is_some())
            .finish()
    }
}
