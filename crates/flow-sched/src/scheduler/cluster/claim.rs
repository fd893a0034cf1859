//! A run's claim, from the question to the answer that ends it.

use core::future::Future;
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use flow_rt::{CancellationToken, Handle, Instant, TaskContext, catch, contain};

use super::claims::{Backend, Claims, OnStoreError};
use super::election::Elector;
use super::fence::Fence;
use super::store::{Claim, ClaimEnd, JobKey, JobStore};
use crate::scheduler::guarded::{BoxFuture, Guarded, RunId};
use crate::scheduler::job::Job;
use crate::scheduler::outcome::BoxError;
use crate::scheduler::plan::When;
use crate::scheduler::report::{JobEventKind, RunOutcome};
use crate::scheduler::run::{Run, message_of, panicked};
use crate::scheduler::settings::Settings;
use crate::scheduler::shared::Shared;

/// How often a store is asked to settle a claim before it is left to its lease.
const SETTLE_ATTEMPTS: u32 = 3;

/// A claim that a run holds. Dropped without having been settled, it is settled in a task of its
/// own.
pub(in crate::scheduler) struct Held {
    shared: Arc<Shared>,
    key: JobKey,
    pub(in crate::scheduler) fence: Fence,
    /// How it ends if it is dropped; `None` once it has ended.
    end: Option<ClaimEnd>,
    /// Ends the keeper.
    over: CancellationToken,
}

impl Run {
    /// Whether this instance leads; the fence of its term if somebody was asked.
    pub(in crate::scheduler) fn lead(&self) -> Result<Option<Fence>, RunOutcome> {
        let Some(elector) = self.shared.elector_for(&self.job, self.when()) else {
            return Ok(None);
        };
        let led = catch(|| elector.leads()).map_err(panicked)?;
        led.map_or(Err(RunOutcome::Elsewhere), |fence| Ok(Some(fence)))
    }

    /// Claims the run's occurrence; `None` if it is to run without.
    pub(in crate::scheduler) async fn claim(&self) -> Result<Option<Held>, RunOutcome> {
        let Some(claims) = self.shared.claims_for(&self.job, self.when()).cloned() else {
            return Ok(None);
        };
        let key = JobKey::new(self.job.name.to_shared(), self.when().scheduled_at);
        loop {
            let asked_at = self.shared.handle.now();
            match claim(&self.shared.handle, &claims, &key).await {
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

    fn hold(&self, claims: &Claims, key: JobKey, fence: Fence, asked_at: Instant) -> Held {
        let held = Held {
            shared: self.shared.clone(),
            key,
            fence,
            end: Some(ClaimEnd::Released),
            over: CancellationToken::new(),
        };
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
            };
            let over = held.over.clone();
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

    /// Tells the store that the run has ended; false if the claim was lost before.
    pub(in crate::scheduler) async fn settle(mut self) -> bool {
        // At most once, a claim ends when its run begins.
        let Some(end) = self.end.as_mut() else {
            return true;
        };
        *end = ClaimEnd::Done;
        self.over.cancel();
        let settled = settle(&self.shared, &self.key, self.fence, ClaimEnd::Done).await;
        self.end = None;
        settled
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.over.cancel();
        let Some(end) = self.end.take() else { return };
        let (shared, key, fence) = (self.shared.clone(), self.key.clone(), self.fence);
        self.shared.handle.spawn_detached(async move {
            settle(&shared, &key, fence, end).await;
        });
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
}

impl Keeper {
    async fn keep(self, asked_at: Instant) {
        let handle = &self.shared.handle;
        let mut good_until = asked_at + self.lease;
        while handle.sleep(self.lease / 3).await.is_ok() {
            // The lease is counted from before the question: the answer may have taken its time.
            let asked_at = handle.now();
            let (store, key) = (self.store.clone(), self.key.clone());
            let (fence, lease) = (self.fence, self.lease);
            let renewed = ask(handle, self.timeout, async move {
                store.renew(&key, fence, lease).await
            });
            match renewed.await {
                Ok(true) => good_until = asked_at + self.lease,
                Ok(false) => return self.lose(),
                Err(message) => {
                    self.shared.store_failed(&self.job, self.run, &message);
                    if handle.now() >= good_until {
                        return self.lose();
                    }
                }
            }
        }
    }

    fn lose(&self) {
        self.shared.claim_lost(&self.job, self.run);
        if let Some(token) = self.job.cancel_run(self.run) {
            token.cancel_with("its claim was lost");
        }
    }
}

/// Who is to be asked, and what became of it.
impl Shared {
    /// Whether other instances may have a say in a job.
    pub(in crate::scheduler) fn is_shared(&self, name: &str, settings: &Settings) -> bool {
        self.cluster.is_some() && !name.is_empty() && !settings.local
    }

    /// Whether a run has to ask anybody before it begins.
    pub(in crate::scheduler) fn asks_for(&self, job: &Job, when: &When) -> bool {
        !when.by_hand && self.is_shared(&job.name, &job.settings)
    }

    fn elector_for(&self, job: &Job, when: &When) -> Option<&Arc<dyn Elector>> {
        let elector = self.cluster.as_ref()?.elector.as_ref()?;
        self.asks_for(job, when).then_some(elector)
    }

    pub(super) fn claims_for(&self, job: &Job, when: &When) -> Option<&Claims> {
        self.claims().filter(|_| self.asks_for(job, when))
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

/// Asks for a claim of either kind.
pub(super) async fn claim(
    handle: &Handle,
    claims: &Claims,
    key: &JobKey,
) -> Result<Claim, Arc<str>> {
    let (key, lease) = (key.clone(), claims.lease);
    match claims.backend.clone() {
        Backend::AtLeastOnce(store) => {
            let claim = async move { store.claim(&key, lease).await };
            ask(handle, claims.timeout, claim).await
        }
        Backend::AtMostOnce(lock) => {
            let lock = async move { lock.lock(&key).await };
            let fence = ask(handle, claims.timeout, lock).await?;
            Ok(fence.map_or(Claim::Done, Claim::Granted))
        }
    }
}

/// Settles a claim; false if it was lost, or the store does not answer: then it has its lease.
pub(super) async fn settle(shared: &Shared, key: &JobKey, fence: Fence, end: ClaimEnd) -> bool {
    let Some(claims) = shared.claims() else {
        return false;
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
            Ok(settled) => return settled,
            Err(_) => shared.count_store_error(),
        }
        let again = attempt < SETTLE_ATTEMPTS;
        if again && shared.handle.sleep(claims.timeout).await.is_err() {
            break;
        }
    }
    false
}

/// Asks a store, whose code is the user's: its panics are errors, and so is an answer that takes
/// too long.
pub(super) async fn ask<T: Send + 'static>(
    handle: &Handle,
    limit: Duration,
    question: impl Future<Output = Result<T, BoxError>> + Send + 'static,
) -> Result<T, Arc<str>> {
    let nobody = TaskContext::from_token(CancellationToken::new());
    let future = nobody.scope_with(|_| {
        let boxed: BoxFuture<_> = Box::pin(question);
        boxed
    });
    match handle
        .timeout(limit, Guarded::new(future, RunId::NOBODY))
        .await
    {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(error))) => Err(message_of(error)),
        Ok(Err(panic)) => {
            let message = format!("it panicked: {}", panic.message());
            contain(|| drop(panic));
            Err(message.into())
        }
        Err(_) => Err(format!("no answer within {limit:?}").into()),
    }
}
