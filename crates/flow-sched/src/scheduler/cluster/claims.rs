//! How the runs of a scheduler are claimed.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use super::election::SHORTEST;
use super::store::{JobLock, JobStore};
use crate::scheduler::error::SchedulerConfigError;

/// One claim for each job and scheduled time, among the instances of a service: for
/// [`SchedulerBuilder::claims`](crate::SchedulerBuilder::claims).
///
/// Each occurrence is run by the instance whose claim is granted. A holder that stalls for longer
/// than its lease can still act when it goes on; what it acts upon refuses that by its
/// [`fence`](crate::JobContext::fence). What happens when the holder crashes is chosen here:
/// the occurrence is lost, or runs again.
///
/// A claim is for one scheduled time, and an [`Overlap`](crate::Overlap) policy looks at the runs of
/// its own instance: two instances may run two times of one job at once if a run outlasts its
/// period.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::time::Duration;
/// use flow_sched::{Claims, MemoryStore, Scheduler};
///
/// flow_rt::sim::check(0..3, |rt| async move {
///     let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
///     let instance = || {
///         let claims = Claims::at_least_once(&store).lease(Duration::from_secs(30));
///         let scheduler = Scheduler::builder().runtime(&rt).claims(claims).build().unwrap();
///         let job = scheduler.job_with("report", runs.clone(), async |cx, runs: Arc<AtomicU32>| {
///             assert!(cx.fence().is_some());
///             runs.fetch_add(1, Ordering::Relaxed);
///         });
///         job.cron("*/10 * * * *").start().unwrap();
///         scheduler
///     };
///     let both = [instance(), instance()];
///     rt.sleep(Duration::from_secs(3_630)).await;
///     assert_eq!(runs.load(Ordering::Relaxed), 6);
///     let elsewhere = both.iter().map(|one| one.stats().runs.elsewhere).sum::<u64>();
///     assert_eq!(elsewhere, 6);
/// });
/// ```
#[derive(Clone)]
#[must_use = "claims do nothing until a scheduler is told of them"]
pub struct Claims {
    pub(super) backend: Backend,
    pub(super) lease: Duration,
    pub(super) timeout: Duration,
    pub(super) on_error: OnStoreError,
}

#[derive(Clone)]
pub(super) enum Backend {
    AtMostOnce(Arc<dyn JobLock>),
    AtLeastOnce(Arc<dyn JobStore>),
}

/// What becomes of a run when the store fails to say whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnStoreError {
    /// It does not take place, and ends as
    /// [`RunOutcome::Unclaimed`](crate::RunOutcome::Unclaimed).
    #[default]
    Skip,
    /// It takes place, without a fence: in every instance that the store fails for.
    Run,
}

impl Claims {
    /// An occurrence whose holder crashes is lost: it is not granted again, for as long as the lock
    /// remembers what it has granted. See [`JobLock`] for how long that must be, and
    /// [`MemoryStore`](crate::MemoryStore) for how long it does there.
    pub fn at_most_once<L: JobLock + Clone>(lock: &L) -> Self {
        Self::of(Backend::AtMostOnce(Arc::new(lock.clone())))
    }

    /// An occurrence whose holder crashes is run again, by an instance that has the job and finds
    /// it abandoned when the lease is over: within two leases. So is one whose holder was shut
    /// down before the run had ended, and one that ran to its end but could not tell the store.
    ///
    /// Each scheduler wakes up once in a lease to look for those.
    ///
    /// What has ended otherwise is not run again, though it has failed. A run that stops half-way
    /// because it is told that its claim was lost must return an error: see [`lease`](Self::lease).
    pub fn at_least_once<S: JobStore + Clone>(store: &S) -> Self {
        Self::of(Backend::AtLeastOnce(Arc::new(store.clone())))
    }

    fn of(backend: Backend) -> Self {
        Self {
            backend,
            lease: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            on_error: OnStoreError::default(),
        }
    }

    /// How long a claim holds unless it is renewed, at least once; 30 s unless set.
    ///
    /// At least 3 ms. It is renewed three times as often while its run is in progress. A run whose
    /// claim was lost is told to stop, or does not begin. Its occurrence is left to others if the run
    /// then fails, panics or is dropped. It is settled as done if the run completes all the same,
    /// unless another one was granted it: only the body knows whether the work was done, so one that
    /// stops half-way must return an error, as a body of `()` cannot. At most once, claims hold for
    /// good and this means nothing.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long the store may take to answer before it has failed; 5 s unless set. It must not be
    /// more than a third of the lease.
    ///
    /// A grant that comes later, or after its run is gone, is still heard for twelve times as long,
    /// and given back. One that the store has made and nobody hears of, as when the line is cut
    /// before the answer, holds the occurrence until its lease is over; at most once, for good.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What becomes of a run when the store fails; [`OnStoreError::Skip`] unless set.
    pub fn on_error(mut self, policy: OnStoreError) -> Self {
        self.on_error = policy;
        self
    }

    pub(crate) fn check(&self) -> Result<(), SchedulerConfigError> {
        let (lease, timeout) = (self.lease, self.timeout);
        let leased = matches!(self.backend, Backend::AtLeastOnce(_));
        if timeout.is_zero() || leased && (lease < SHORTEST || timeout > lease / 3) {
            return Err(SchedulerConfigError::Lease { lease, timeout });
        }
        Ok(())
    }

    /// Whether an occurrence whose holder crashed runs again.
    pub(crate) fn is_leased(&self) -> bool {
        matches!(self.backend, Backend::AtLeastOnce(_))
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.backend {
            Backend::AtMostOnce(_) => "at most once",
            Backend::AtLeastOnce(_) => "at least once",
        };
        f.debug_struct("Claims")
            .field("kind", &kind)
            .field("lease", &self.lease)
            .field("timeout", &self.timeout)
            .field("on_error", &self.on_error)
            .finish()
    }
}
