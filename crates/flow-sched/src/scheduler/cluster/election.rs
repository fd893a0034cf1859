//! Who of several instances leads.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use flow_rt::{CancellationToken, Handle, HandleError, Instant};

use super::fence::Fence;
use super::question::ask;
use super::store::{Claim, ClaimEnd, JobKey, JobStore};
use crate::sync::Mutex;

/// Says whether this instance leads: what comes due elsewhere does not run. Implement it for
/// an election of your own; [`Candidate`] is one over any [`JobStore`].
///
/// It is asked for each run that comes due, by a task of the runtime, before the run's condition and
/// its claim. When the run begins it is asked once more, unless the run holds a claim, which says who
/// runs, whoever leads by now. A run without one that has waited while the lead went to another ends
/// as [`RunOutcome::Elsewhere`](crate::RunOutcome::Elsewhere), and is lost: the other one has left it
/// to this one when it came due. Nobody asks while a run is in progress: its [`Fence`] tells those
/// who are acted upon. It should answer from what it knows. If it panics, so has the run.
pub trait Elector: Send + Sync + 'static {
    /// The fence of the term in which this instance leads now, `None` while it does not lead.
    ///
    /// It is to say `None` before another instance may lead, as far as clocks can tell. A later
    /// term has a greater fence.
    fn leads(&self) -> Option<Fence>;
}

impl<E: Elector + ?Sized> Elector for Arc<E> {
    fn leads(&self) -> Option<Fence> {
        (**self).leads()
    }
}

/// One of the instances that may lead: an [`Elector`] over a [`JobStore`].
///
/// The leader holds a lease in the store, and renews it three times as often as it would end. It
/// stops leading a sixth of the lease before that end unless it was renewed, counted by its own
/// clock from before it asked. So two lead at once only if a clock stood still, as it does while a
/// machine is suspended: that is what fences are for. When a leader dies, another one leads within
/// four thirds of the lease, and what came due in between is run by nobody; where that matters,
/// use [`Claims`](crate::Claims) instead. An answer is waited for a third of the lease: a lead that
/// the store grants later, or whose answer is lost, is nobody's until its lease is over.
///
/// Clones are the same candidate. [`resign`](Self::resign), or dropping the last one, gives the lead
/// up. A scheduler keeps its own until its last handle is gone, closed or not: an instance that shuts
/// its scheduler down resigns by hand.
///
/// ```
/// use std::time::Duration;
/// use flow_sched::{Candidate, Elector, MemoryStore, Scheduler};
///
/// flow_rt::sim::check(0..3, |rt| async move {
///     let store = MemoryStore::new();
///     let stand = || Candidate::builder(&store, "reports").runtime(&rt).build().unwrap();
///     let (first, second) = (stand(), stand());
///     rt.sleep(Duration::from_secs(5)).await;
///     assert!(first.leads().is_some() ^ second.leads().is_some());
///     let scheduler = Scheduler::builder().runtime(&rt).elector(&first).build().unwrap();
///     let job = scheduler.job("report", async |_cx| ()).every(Duration::from_secs(1));
///     let job = job.start().unwrap();
///     rt.sleep(Duration::from_millis(1_500)).await;
///     let runs = job.stats().runs;
///     assert_eq!(runs.completed == 1, first.leads().is_some());
///     assert_eq!(runs.completed + runs.elsewhere, 1);
/// });
/// ```
#[derive(Clone)]
pub struct Candidate {
    standing: Arc<Standing>,
}

/// Its end is the candidate's.
struct Standing {
    seat: Arc<Seat>,
    resigned: CancellationToken,
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.resigned.cancel();
    }
}

/// What the campaign knows, and the candidate says.
struct Seat {
    name: String,
    handle: Handle,
    term: Mutex<Option<Term>>,
    terms: AtomicU64,
    errors: AtomicU64,
}

#[derive(Clone, Copy)]
struct Term {
    fence: Fence,
    leads_until: Instant,
}

/// A candidate at one moment; see [`Candidate::stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CandidateStats {
    /// Whether it leads.
    pub leads: bool,
    /// How often it was elected.
    pub terms: u64,
    /// Questions that the store did not answer.
    pub store_errors: u64,
}

impl Candidate {
    /// A candidate to configure, for the lead of that name among those who use the store.
    ///
    /// It claims the occurrence at the epoch of a job `leader/NAME`.
    pub fn builder<S: JobStore + Clone>(
        store: &S,
        name: impl Into<Cow<'static, str>>,
    ) -> CandidateBuilder {
        CandidateBuilder {
            store: Arc::new(store.clone()),
            name: name.into(),
            lease: Duration::from_secs(15),
            runtime: None,
        }
    }

    /// Gives the lead up, at once and for good, and stands no more. The store hears of it in the
    /// campaign's task, and another one leads when it asks next.
    pub fn resign(&self) {
        self.standing.resigned.cancel();
    }

    /// Whether it leads, and how its elections went.
    pub fn stats(&self) -> CandidateStats {
        let seat = &self.standing.seat;
        CandidateStats {
            leads: self.leads().is_some(),
            terms: seat.terms.load(Ordering::Relaxed),
            store_errors: seat.errors.load(Ordering::Relaxed),
        }
    }
}

impl Elector for Candidate {
    fn leads(&self) -> Option<Fence> {
        let Standing { seat, resigned } = &*self.standing;
        if resigned.is_cancelled() {
            return None;
        }
        let term = (*seat.term.lock())?;
        (seat.handle.now() < term.leads_until).then_some(term.fence)
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate")
            .field("name", &self.standing.seat.name)
            .field("stats", &self.stats())
            .finish()
    }
}

/// Makes a [`Candidate`]; see [`Candidate::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct CandidateBuilder {
    store: Arc<dyn JobStore>,
    name: Cow<'static, str>,
    lease: Duration,
    runtime: Option<Handle>,
}

impl CandidateBuilder {
    /// How long the lead holds unless it is renewed; 15 s unless set.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// The runtime of the task that campaigns; [`Handle::current`] unless set.
    pub fn runtime(mut self, handle: &Handle) -> Self {
        self.runtime = Some(handle.clone());
        self
    }

    /// Builds the candidate and starts its campaign.
    ///
    /// # Errors
    /// [`CandidateConfigError`].
    pub fn build(self) -> Result<Candidate, CandidateConfigError> {
        if self.name.is_empty() {
            return Err(CandidateConfigError::EmptyName);
        }
        if self.lease < SHORTEST {
            return Err(CandidateConfigError::Lease(self.lease));
        }
        let handle = match self.runtime {
            Some(handle) => handle,
            None => Handle::current().map_err(CandidateConfigError::Runtime)?,
        };
        let seat = Arc::new(Seat {
            name: self.name.into_owned(),
            handle: handle.clone(),
            term: Mutex::default(),
            terms: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        });
        let resigned = CancellationToken::new();
        let campaign = campaign(seat.clone(), self.store, self.lease, resigned.clone());
        handle.spawn_detached_named("flow candidate", campaign);
        let standing = Arc::new(Standing { seat, resigned });
        Ok(Candidate { standing })
    }
}

impl fmt::Debug for CandidateBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CandidateBuilder")
            .field("name", &self.name)
            .field("lease", &self.lease)
            .field("runtime", &self.runtime)
            .finish_non_exhaustive()
    }
}

/// A lease that is shorter would be over before it can be renewed on a busy machine.
pub(super) const SHORTEST: Duration = Duration::from_millis(3);

/// Claims the lead, and renews it, until the candidate resigns.
async fn campaign(
    seat: Arc<Seat>,
    store: Arc<dyn JobStore>,
    lease: Duration,
    resigned: CancellationToken,
) {
    let (handle, pause) = (seat.handle.clone(), lease / 3);
    let key = JobKey::new(format!("leader/{}", seat.name), UNIX_EPOCH);
    // The lease that the store was last heard to have granted, whether it has ended or not.
    let mut held: Option<Fence> = None;
    loop {
        let mut asked_at = handle.now();
        let mut answer = Ok(None);
        if let Some(fence) = held {
            let (store, key) = (store.clone(), key.clone());
            let renew = async move { store.renew(&key, fence, lease).await };
            let renewed = ask(&handle, pause, renew).await;
            answer = renewed.map(|renewed| renewed.then_some(fence));
        }
        if let Ok(None) = answer {
            // It is another's, whatever comes of the next question.
            *seat.term.lock() = None;
            held = None;
            asked_at = handle.now();
            answer = ask(&handle, pause, claim(store.clone(), key.clone(), lease)).await;
        }
        match answer {
            Ok(granted) => {
                if granted.is_some() && granted != held {
                    seat.terms.fetch_add(1, Ordering::Relaxed);
                }
                held = granted;
                *seat.term.lock() = granted.map(|fence| Term {
                    fence,
                    leads_until: asked_at + lease.saturating_sub(lease / 6),
                });
            }
            // What is held runs out by itself.
            Err(_) => {
                seat.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
        let slept = resigned.run_until_cancelled(handle.sleep(pause)).await;
        if !matches!(slept, Some(Ok(()))) {
            break;
        }
    }
    *seat.term.lock() = None;
    if let Some(fence) = held {
        let resign = async move { store.settle(&key, fence, ClaimEnd::Released).await };
        // If nobody hears of it, the lease runs out.
        let _ = ask(&handle, pause, resign).await;
    }
}

/// Claims the lead.
async fn claim(
    store: Arc<dyn JobStore>,
    key: JobKey,
    lease: Duration,
) -> Result<Option<Fence>, crate::BoxError> {
    Ok(match store.claim(&key, lease).await? {
        Claim::Granted(fence) => Some(fence),
        Claim::Held | Claim::Done => None,
    })
}

/// Why a candidate could not be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CandidateConfigError {
    /// No runtime was given and none is current.
    Runtime(HandleError),
    /// The name of the lead is empty.
    EmptyName,
    /// The lease is too short to be renewed.
    Lease(Duration),
}

impl fmt::Display for CandidateConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtime(error) => write!(f, "a candidate needs a runtime: {error}"),
            Self::EmptyName => f.write_str("the name of a lead must not be empty"),
            Self::Lease(lease) => write!(
                f,
                "a lease of {lease:?} cannot be renewed in time; it must be at least {SHORTEST:?}"
            ),
        }
    }
}

/// The text of what is inside is part of its own.
impl std::error::Error for CandidateConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Runtime(error) => error.source(),
            _ => None,
        }
    }
}
