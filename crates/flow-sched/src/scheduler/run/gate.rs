//! What a run waits for before it begins: the lead of its instance, its condition, its claim, then
//! its throttle. Whether its instance still leads is asked once more when it begins (`Run::execute`),
//! unless it holds a claim.
//!
//! It waits in a task of its own, and takes up no slot of a pool meanwhile. It counts as a run in
//! progress, so the overlap policy decides about those that are due until it begins. A policy that
//! lets newer runs take its place drops it while its condition is being asked. Past that, in line for
//! its claim and its throttle, it stays: who joins a line anew each time that something is due may
//! never come to its head. It takes the newer one's place when it begins, unless anybody has a say in
//! either of the two (`Job::begin`).

use core::future::poll_fn;

use flow_rt::{TaskContext, catch};

use super::{HasEnded, Run, panicked};
use crate::scheduler::report::RunOutcome;
use crate::scheduler::work::guarded::Guarded;

impl Run {
    /// Lets a run through that has nothing to wait for, or nothing any more; reports any other.
    pub(in crate::scheduler) async fn pass(mut self, parent: &TaskContext) -> Option<Self> {
        let Some(wait) = self.job.rest(self.number) else {
            self.report_gone();
            return None;
        };
        let stop = parent.cancellation().clone();
        let passed = wait
            .run_until_cancelled(stop.run_until_cancelled(self.wait_at_gate(parent)))
            .await
            .flatten();
        let outcome = match passed {
            Some(Ok(())) if self.job.rested(self.number) => return Some(self),
            Some(Err(outcome)) => Some(outcome),
            _ => None,
        };
        // In its place while the claim is given back: the run may be dropped meanwhile.
        if let Some(outcome) = outcome {
            self.rest().ended = Some(HasEnded { outcome, at: None });
        }
        self.give_back().await;
        if self.has_ended() {
            self.report_ended();
        } else {
            self.report_gone();
        }
        None
    }

    async fn wait_at_gate(&mut self, parent: &TaskContext) -> Result<(), RunOutcome> {
        let lead = self.lead()?;
        let settings = self.job.settings.clone();
        let id = self.shared.id_of(&self.job, self.number);
        if let Some(when) = &settings.when {
            let task = parent.child();
            let future = catch(|| task.scope_with(|task| when(self.context(task, 0))));
            let future = future.map_err(panicked)?;
            if !Guarded::new(future, id).await.map_err(panicked)? {
                return Err(RunOutcome::Declined);
            }
        }
        if !self.job.joins_line(self.number) {
            // The token that ends the wait is on its way.
            core::future::pending::<()>().await;
        }
        // What is declined here is left to the others, and who has no claim takes no token. What is
        // taken over from a holder that is gone comes with its claim.
        if self.held().is_none()
            && let Some(held) = self.claim().await?
        {
            self.rest().held = Some(held);
            self.job.claims(self.number);
        }
        self.led(lead);
        if let Some(throttle) = &settings.throttle {
            let throttle = throttle.clone();
            let task = parent.child();
            let future = task.scope_with(|_| {
                let decided: crate::scheduler::work::guarded::BoxFuture<_> = Box::pin(async move {
                    let mut state = flow_ratelimit::WaitState::default();
                    poll_fn(|cx| throttle.poll_decide(cx, 1, &mut state)).await
                });
                decided
            });
            let decided = Guarded::new(future, id).await.map_err(panicked)?;
            if let Err(denied) = decided {
                let message = format!("its throttle lets nothing through: {denied}");
                return Err(RunOutcome::Failed(message.into()));
            }
        }
        Ok(())
    }
}
