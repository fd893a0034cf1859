//! A run's claim, from the question to the answer that ends it.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flow_rt::{CancellationToken, Instant, catch};

use super::claims::{Backend, Claims, OnStoreError};
use super::election::Elector;
use super::fence::Fence;
use super::question::{ask, claim};
use super::store::{Claim, ClaimEnd, JobKey, JobStore};
use crate::scheduler::job::Job;
use crate::scheduler::job::settings::Settings;
use crate::scheduler::report::{JobEventKind, RunOutcome};
use crate::scheduler::run::{Run, panicked};
use crate::scheduler::shared::Shared;
use crate::scheduler::triggers::plan::When;

/// How often a store is asked to settle a claim before it is left to its lease.
const SETTLE_ATTEMPTS: u32 = 3;

/// A claim that a run holds. Dropped without having been settled, it is settled in a task of its
/// own, which counts as a run in progress.
pub(in crate::scheduler) struct Held {
    shared: Arc<Shared>,
    job: Arc<Job>,
    run: u64,
    key: JobKey,
    pub(in crate::scheduler) fence: Fence,
    /// How it ends if it is dropped; `None` once it has ended.
    end: Option<ClaimEnd>,
    watch: Arc<Watch>,
}

/// What a claim and its keeper tell each other.
#[derive(Default)]
struct Watch {
    /// Ends the keeper.
    over: CancellationToken,
    /// The run has ended: what the keeper finds out concerns nobody any more.
    ending: AtomicBool,
    /// It was told that the claim is lost.
    lost: AtomicBool,
}

impl Run {
    /// Whether this instance leads; the fence of its term if somebody was asked.
    pub(in crate::scheduler) fn lead(&self) -> Result<Option<Fence>, RunOutcome> {
        self.shared.lead(&self.job, self.when())
    }

    /// Notes the fence that the run has, by its claim or by the term in which its instance leads.
    pub(in crate::scheduler) fn led(&mut self, lead: Option<Fence>) {
        let fence = match self.held() {
            Some(held) => Some(held.fence),
            // The store failed: the fence of a term is none of a claim.
            None if self.shared.claims().is_some() => None,
            None => lead,
        };
        self.set_fence(fence);
    }

    /// Claims the run's occurrence; `None` if it is to run without.
    pub(in crate::scheduler) async fn claim(&self) -> Result<Option<Held>, RunOutcome> {
        let Some(claims) = self.shared.claims_for(&self.job, self.when()).cloned() else {
            return Ok(None);
        };
        if !self.when().is_shared {
            let message = "no shared time: this one does not go by the wall clock";
            return Err(RunOutcome::Unclaimed(message.into()));
        }
        let key = JobKey::new(self.job.name.to_shared(), self.when().scheduled_at);
        loop {
            let asked_at = self.shared.handle.now();
            match claim(&self.shared, &claims, &key).await {
                Ok(Claim::Granted(fence)) => {
                    return Ok(Some(self.hold(&claims, key, fence, asked_at)));
                }
                Ok(Claim::Held) if claims.is_leased() && self.job.is_exhausted() => {
                    // Nobody here would know the job any more when its holder crashes.
                    let slept = self.shared.handle.sleep(claims.lease).await;
                    slept.map_err(|_| RunOutcome::Dropped)?;
                }
                Ok(_) => return Err(RunOutcome::Elsewhere),
                Err(message) => {
                    self.shared.store_failed(&self.job, self.number, &message);
                    return match claims.on_error {
                        OnStoreError::Run => Ok(None),
                        OnStoreError::Skip => Err(RunOutcome::Unclaimed(message)),
                    };
                }
            }
        }
    }

    /// What was granted, from when it was asked for.
    pub(super) fn hold(
        &self,
        claims: &Claims,
        key: JobKey,
        fence: Fence,
        asked_at: Instant,
    ) -> Held {
        let held = Held {
            shared: self.shared.clone(),
            job: self.job.clone(),
            run: self.number,
            key,
            fence,
            end: Some(ClaimEnd::Released),
            watch: Arc::default(),
        };
        if let Some(cluster) = &self.shared.cluster {
            cluster.held.lock().insert(held.key.clone());
        }
        if let Backend::AtLeastOnce(store) = &claims.backend {
            let keeper = Keeper {
                shared: self.shared.clone(),
                job: self.job.clone(),
                run: self.number,
                store: store.clone(),
                key: held.key.clone(),
                fence,
                lease: claims.lease,
                timeout: claims.timeout,
                watch: held.watch.clone(),
            };
            let over = held.watch.over.clone();
            let handle = &self.shared.handle;
            handle.spawn_detached(async move {
                over.run_until_cancelled(keeper.keep(asked_at)).await;
            });
        }
        held
    }
}

impl Held {
    /// Notes that its run begins: at most once, it will not be given back any more.
    pub(in crate::scheduler) fn begin(&mut self) {
        let leased = self.shared.claims().is_some_and(Claims::is_leased);
        if !leased {
            self.end = None;
        }
    }

    /// Tells the store that the run has ended, its work done or not.
    pub(in crate::scheduler) async fn settle(mut self, is_done: bool) {
        // At most once, a claim ends when its run begins.
        if self.end.is_none() {
            return;
        }
        // A run that was told to stop when its lease was over has not done its work, and perhaps
        // nobody else was granted the occurrence yet.
        let lost = self.watch.lost.load(Ordering::Relaxed);
        let end = if lost && !is_done {
            ClaimEnd::Released
        } else {
            ClaimEnd::Done
        };
        self.end = Some(end);
        let settled = self.tell(end).await;
        if settled == Settled::Lost && !self.watch.lost.swap(true, Ordering::Relaxed) {
            self.shared.claim_lost(&self.job, self.run);
        }
    }

    /// Tells the store that the run is not to begin.
    pub(in crate::scheduler) async fn give_back(mut self) {
        let lost = self.watch.lost.load(Ordering::Relaxed);
        // Who has lost it has nothing to give back, and whoever waits for the run need not wait for
        // a store that does not answer.
        if let Some(end) = self.end.filter(|_| !lost) {
            self.tell(end).await;
        }
    }

    async fn tell(&mut self, end: ClaimEnd) -> Settled {
        // The keeper goes on until the store has heard of it.
        self.watch.ending.store(true, Ordering::Relaxed);
        let settled = settle(&self.shared, &self.key, self.fence, end).await;
        self.end = None;
        settled
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.watch.over.cancel();
        if let Some(cluster) = &self.shared.cluster {
            cluster.held.lock().remove(&self.key);
        }
        let Some(end) = self.end.take() else { return };
        let (key, fence) = (self.key.clone(), self.fence);
        // It is one more before its run is one less.
        self.shared.running.begin();
        let telling = Telling(self.shared.clone());
        self.shared.handle.spawn_detached(async move {
            settle(&telling.0, &key, fence, end).await;
        });
    }
}

/// What is still to be told to the store: it counts as a run in progress, so that a shutdown waits
/// for it.
struct Telling(Arc<Shared>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.run_left();
    }
}

/// Renews a claim until it is dropped, or the claim is lost: then the run is told to stop.
struct Keeper {
    shared: Arc<Shared>,
    job: Arc<Job>,
    run: u64,
    store: Arc<dyn JobStore>,
    key: JobKey,
    fence: Fence,
    lease: Duration,
    timeout: Duration,
    watch: Arc<Watch>,
}

impl Keeper {
    async fn keep(self, mut asked_at: Instant) {
        let handle = &self.shared.handle;
        let mut good_until = asked_at + self.lease;
        loop {
            let next = good_until.min(asked_at + self.lease / 3);
            let slept = handle.sleep(next - handle.now()).await;
            if slept.is_err() || self.watch.over.is_cancelled() {
                return;
            }
            // The lease is counted from before the question: the answer may have taken its time.
            asked_at = handle.now();
            // Once it is over, another one may have it before this one is told.
            let limit = self.timeout.min(good_until - asked_at);
            if limit.is_zero() {
                return self.lose();
            }
            let (store, key) = (self.store.clone(), self.key.clone());
            let (fence, lease) = (self.fence, self.lease);
            let renewed = ask(handle, limit, async move {
                store.renew(&key, fence, lease).await
            });
            match renewed.await {
                Ok(true) => good_until = asked_at + self.lease,
                Ok(false) => return self.lose(),
                Err(message) => self.shared.store_failed(&self.job, self.run, &message),
            }
        }
    }

    fn lose(&self) {
        // What it has heard may be that the claim was settled.
        let gone = self.watch.over.is_cancelled() || self.watch.ending.load(Ordering::Relaxed);
        if gone || self.watch.lost.swap(true, Ordering::Relaxed) {
            return;
        }
        self.shared.claim_lost(&self.job, self.run);
        if let Some(stop) = self.job.cancel_run(self.run) {
            stop.token().cancel_with("its claim was lost");
        }
    }
}

/// Who is to be asked, and what became of it.
impl Shared {
    /// Whether other instances may have a say in a job.
    pub(in crate::scheduler) fn is_shared(&self, name: &str, settings: &Settings) -> bool {
        self.cluster.is_some() && settings.is_shared(name)
    }

    /// Whether this instance leads; the fence of its term if somebody was asked.
    pub(super) fn lead(&self, job: &Job, when: &When) -> Result<Option<Fence>, RunOutcome> {
        let Some(elector) = self.elector_for(job, when) else {
            return Ok(None);
        };
        let led = catch(|| elector.leads()).map_err(panicked)?;
        led.map_or(Err(RunOutcome::Elsewhere), |fence| Ok(Some(fence)))
    }

    fn elector_for(&self, job: &Job, when: &When) -> Option<&Arc<dyn Elector>> {
        let elector = self.cluster.as_ref()?.elector.as_ref()?;
        job.asks_for(when).then_some(elector)
    }

    pub(super) fn claims_for(&self, job: &Job, when: &When) -> Option<&Claims> {
        self.claims().filter(|_| job.asks_for(when))
    }

    pub(in crate::scheduler) fn claims(&self) -> Option<&Claims> {
        self.cluster.as_ref()?.claims.as_ref()
    }

    pub(in crate::scheduler) fn store_failed(&self, job: &Job, run: u64, message: &str) {
        self.count_store_error();
        self.emit(job, JobEventKind::StoreFailed { run, message });
    }

    pub(in crate::scheduler) fn count_store_error(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.store_errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(in crate::scheduler) fn claim_lost(&self, job: &Job, run: u64) {
        if let Some(cluster) = &self.cluster {
            cluster.lost_claims.fetch_add(1, Ordering::Relaxed);
        }
        self.emit(job, JobEventKind::ClaimLost(run));
    }
}

/// What came of settling a claim.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Done,
    /// The fence does not hold the occurrence any more.
    Lost,
    /// The store does not answer, or says so after a question that it may have done without an
    /// answer: the claim has its lease.
    Unknown,
}

/// Settles a claim.
pub(super) async fn settle(shared: &Shared, key: &JobKey, fence: Fence, end: ClaimEnd) -> Settled {
    let Some(claims) = shared.claims() else {
        return Settled::Unknown;
    };
    for attempt in 1..=SETTLE_ATTEMPTS {
        let (backend, key) = (claims.backend.clone(), key.clone());
        let settled = ask(&shared.handle, claims.timeout, async move {
            match backend {
                Backend::AtLeastOnce(store) => store.settle(&key, fence, end).await,
                Backend::AtMostOnce(lock) => lock.unlock(&key, fence).await,
            }
        });
        match settled.await {
            Ok(true) => return Settled::Done,
            Ok(false) if attempt == 1 => return Settled::Lost,
            Ok(false) => return Settled::Unknown,
            Err(_) => shared.count_store_error(),
        }
        let again = attempt < SETTLE_ATTEMPTS;
        if again && shared.handle.sleep(claims.timeout).await.is_err() {
            break;
        }
    }
    Settled::Unknown
}
