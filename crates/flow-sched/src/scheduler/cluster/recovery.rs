//! Occurrences whose holder is gone: found once in a lease, and run by who is left.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use flow_rt::{CancellationToken, Handle};

use super::claim::settle;
use super::claims::{Backend, Claims};
use super::question::{ask, claim};
use super::store::{Claim, ClaimEnd, JobKey};
use crate::scheduler::run;
use crate::scheduler::shared::Shared;
use crate::scheduler::triggers::plan::When;
use crate::scheduler::triggers::wall;

/// So many are asked for in one go.
const PAGE: usize = 256;

/// Looks for abandoned occurrences until the scheduler is closed or gone.
pub(in crate::scheduler) async fn recover(
    scheduler: Weak<Shared>,
    handle: Handle,
    claims: Claims,
    over: CancellationToken,
) {
    let Backend::AtLeastOnce(store) = &claims.backend else {
        return;
    };
    loop {
        let slept = over.run_until_cancelled(handle.sleep(claims.lease)).await;
        if !matches!(slept, Some(Ok(()))) {
            return;
        }
        // Page by page: of the earliest ones nobody may know the job any more.
        let mut last = None;
        loop {
            let (store, after) = (store.clone(), last.clone());
            let page = async move { store.abandoned(after.as_ref(), PAGE).await };
            let page = ask(&handle, claims.timeout, page).await;
            let Some(shared) = scheduler.upgrade() else {
                return;
            };
            let Ok(page) = page else {
                shared.count_store_error();
                break;
            };
            for key in &page {
                if over.is_cancelled() {
                    return;
                }
                if !shared.is_stopped() {
                    shared.take_over(&claims, key).await;
                }
            }
            let next = page.last().cloned();
            // A store that does not go on is asked again later.
            if page.len() < PAGE || place(next.as_ref()) <= place(last.as_ref()) {
                break;
            }
            last = next;
        }
    }
}

/// Where an occurrence stands among those that are abandoned.
fn place(key: Option<&JobKey>) -> Option<(SystemTime, &str)> {
    key.map(|key| (key.scheduled_at(), key.job()))
}

impl Shared {
    /// Claims an abandoned occurrence and lets a run of it in, if there is room for it and this
    /// instance leads. It was in time when it was claimed first, so it is not late now.
    async fn take_over(self: &Arc<Self>, claims: &Claims, key: &JobKey) {
        if self.holds(key) {
            // Its own run, whose claim ran out.
            return;
        }
        let Some(job) = self.find(key.job()) else {
            return;
        };
        let scheduled_at = key.scheduled_at();
        let (now, wall) = (self.handle.now(), self.handle.wall());
        let when = When {
            due: wall::to_instant(scheduled_at, now, wall),
            scheduled_at,
            by_hand: false,
            is_shared: true,
        };
        // Before a run is let in, which its limit would count.
        let asks = self.claims_for(&job, &when).is_some();
        if !asks || !job.is_idle() || self.lead(&job, &when).is_err() {
            return;
        }
        let fence = match claim(self, claims, key).await {
            Ok(Claim::Granted(fence)) => fence,
            Ok(_) => return,
            Err(_) => return self.count_store_error(),
        };
        match job.admit_idle(when, &self.running) {
            Some(ticket) => run::launch_claimed(self, &job, ticket, |run| {
                run.hold(claims, key.clone(), fence, now)
            }),
            None => {
                settle(self, key, fence, ClaimEnd::Released).await;
            }
        }
    }

    /// Whether a run in progress here was claimed for it.
    fn holds(&self, key: &JobKey) -> bool {
        let cluster = self.cluster.as_ref();
        cluster.is_some_and(|cluster| cluster.held.lock().contains(key))
    }
}
