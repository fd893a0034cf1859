//! Questions to a store, whose code is the user's, and what becomes of those that nobody waits for
//! any more.
//!
//! A question for a claim is asked in a task of its own. Who waits for the answer may be dropped, or
//! wait no longer: the task hears the answer all the same, and gives back what was granted to
//! nobody. `Asked` says which of the two came first.

use core::future::Future;
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{CancellationToken, Handle, TaskContext, contain};

use super::claim::settle;
use super::claims::{Backend, Claims, OnStoreError};
use super::fence::Fence;
use super::store::{Claim, ClaimEnd, JobKey};
use crate::scheduler::run::message_of;
use crate::scheduler::shared::Shared;
use crate::scheduler::work::guarded::{BoxFuture, Guarded, RunId};
use crate::scheduler::work::outcome::BoxError;
use crate::sync::Mutex;

/// So many times as long as anybody waits for it, an answer to a claim is still heard.
pub(super) const PATIENCE: u32 = 12;

/// A question for a claim.
struct Asked {
    shared: Arc<Shared>,
    key: JobKey,
    answer: Mutex<Answer>,
    answered: CancellationToken,
}

enum Answer {
    Open,
    Here(Result<Claim, Arc<str>>),
    /// Nobody waits for it; how a claim ends that is granted yet.
    GivenUp(ClaimEnd),
}

/// Gives the question up when it is dropped.
struct Waiter(Arc<Asked>);

/// Asks for a claim of either kind.
pub(super) async fn claim(
    shared: &Arc<Shared>,
    claims: &Claims,
    key: &JobKey,
) -> Result<Claim, Arc<str>> {
    let asked = Arc::new(Asked {
        shared: shared.clone(),
        key: key.clone(),
        answer: Mutex::new(Answer::Open),
        answered: CancellationToken::new(),
    });
    let waiter = Waiter(asked.clone());
    let (task, claims_of) = (asked.clone(), claims.clone());
    shared.handle.spawn_detached(async move {
        let handle = &task.shared.handle;
        let patience = claims_of.timeout.saturating_mul(PATIENCE);
        let answer = put(handle, &claims_of, &task.key, patience).await;
        task.hear(answer).await;
    });
    let answered = asked.answered.cancelled();
    let _ = shared.handle.timeout(claims.timeout, answered).await;
    // A run that takes place without its claim has been run.
    let late = match claims.on_error {
        OnStoreError::Run => ClaimEnd::Done,
        OnStoreError::Skip => ClaimEnd::Released,
    };
    let timeout = claims.timeout;
    waiter
        .stop(late)
        .unwrap_or_else(|| Err(format!("no answer within {timeout:?}").into()))
}

/// Puts the question.
async fn put(
    handle: &Handle,
    claims: &Claims,
    key: &JobKey,
    patience: Duration,
) -> Result<Claim, Arc<str>> {
    let (key, lease) = (key.clone(), claims.lease);
    match claims.backend.clone() {
        Backend::AtLeastOnce(store) => {
            let claim = async move { store.claim(&key, lease).await };
            ask(handle, patience, claim).await
        }
        Backend::AtMostOnce(lock) => {
            let lock = async move { lock.lock(&key).await };
            let fence = ask(handle, patience, lock).await?;
            Ok(fence.map_or(Claim::Done, Claim::Granted))
        }
    }
}

impl Asked {
    /// Hands the answer to who waits for it, or settles what was granted to nobody.
    async fn hear(&self, answer: Result<Claim, Arc<str>>) {
        let end = {
            let mut state = self.answer.lock();
            if let Answer::GivenUp(end) = *state {
                Some(end)
            } else {
                *state = Answer::Here(answer.clone());
                None
            }
        };
        match (end, answer) {
            (None, _) => self.answered.cancel(),
            (Some(end), Ok(Claim::Granted(fence))) => self.settle(fence, end).await,
            _ => {}
        }
    }

    async fn settle(&self, fence: Fence, end: ClaimEnd) {
        let leased = self.shared.claims().is_some_and(Claims::is_leased);
        // At most once, what was granted is done already.
        if leased || end == ClaimEnd::Released {
            settle(&self.shared, &self.key, fence, end).await;
        }
    }
}

impl Waiter {
    /// Waits no longer; the answer, if it is there.
    fn stop(&self, late: ClaimEnd) -> Option<Result<Claim, Arc<str>>> {
        let mut state = self.0.answer.lock();
        if matches!(*state, Answer::GivenUp(_)) {
            return None;
        }
        match core::mem::replace(&mut *state, Answer::GivenUp(late)) {
            Answer::Here(answer) => Some(answer),
            _ => None,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(Ok(Claim::Granted(fence))) = self.stop(ClaimEnd::Released) {
            let asked = self.0.clone();
            let handle = &self.0.shared.handle;
            handle.spawn_detached(async move { asked.settle(fence, ClaimEnd::Released).await });
        }
    }
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
