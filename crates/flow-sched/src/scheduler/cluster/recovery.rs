//! Occurrences whose holder is gone: found once in a lease, and run by who is left.

use std::sync::{Arc, Weak};

use flow_rt::{CancellationToken, Handle};

use super::claim::{ask, claim, settle};
use super::claims::{Backend, Claims};
use super::store::{Claim, ClaimEnd, JobKey};
use crate::scheduler::plan::When;
use crate::scheduler::run;
use crate::scheduler::shared::Shared;
use crate::scheduler::wall;

/// So many are looked at in one go; the others wait for the next.
const MOST: usize = 256;

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
        let store = store.clone();
        let abandoned = async move { store.abandoned(MOST).await };
        let abandoned = ask(&handle, claims.timeout, abandoned).await;
        let Some(shared) = scheduler.upgrade() else {
            return;
        };
        match abandoned {
            Ok(keys) if !shared.is_stopped() => {
                for key in keys {
                    shared.take_over(&claims, &key).await;
                }
            }
            Ok(_) => {}
            Err(_) => shared.count_store_error(),
        }
    }
}

impl Shared {
    /// Lets a run of an abandoned occurrence in, if there is room for it. It claims the occurrence
    /// at its gate, and may find that another instance was faster.
    async fn take_over(self: &Arc<Self>, claims: &Claims, key: &JobKey) {
        let Some(job) = self.find(key.job()) else {
            return;
        };
        let scheduled_at = key.scheduled_at();
        let (now, wall) = (self.handle.now(), self.handle.wall());
        let when = When {
            due: wall::to_instant(scheduled_at, now, wall),
            scheduled_at,
            by_hand: false,
        };
        if self.claims_for(&job, &when).is_none() {
            return;
        }
        let late = wall.duration_since(scheduled_at).unwrap_or_default();
        if late <= job.settings.misfire.within() {
            if let Some(ticket) = job.admit_idle(when, &self.running) {
                run::launch(self, &job, ticket);
            }
            return;
        }
        // Nobody is to run it any more, and it is to be told of once.
        if let Ok(Claim::Granted(fence)) = claim(&self.handle, claims, key).await {
            settle(self, key, fence, ClaimEnd::Done).await;
            self.missed(&job, 1);
        }
    }
}
