//! How a chain goes from step to step.

use flow_rt::{Backoff, Delays, Instant, catch};

use super::chain::{Chain, ChainError, ChainStep, OnError, OnSuccess};
use super::part::PartError;
use crate::scheduler::job::context::JobContext;
use crate::scheduler::run::pause;
use crate::scheduler::triggers::draw::mix;

pub(in crate::scheduler) async fn run(chain: &Chain, cx: &JobContext) -> Result<(), ChainError> {
    let mut taken = 0;
    // Restarts count for the whole run, each step's by its own plan.
    let mut restarts: Vec<Option<Again>> = chain.steps.iter().map(|_| None).collect();
    let mut place = 0;
    while let Some(step) = chain.steps.get(place) {
        let mut retries = None;
        let mut attempt = 0_u32;
        place = loop {
            if taken == chain.limit {
                return Err(ChainError::Limit { limit: taken });
            }
            taken += 1;
            attempt = attempt.saturating_add(1);
            let here = JobContext {
                attempt,
                ..cx.clone()
            };
            let error = match run_step(step, here).await {
                Ok(OnSuccess::GoOn) => break place + 1,
                Ok(OnSuccess::Stop) => return Ok(()),
                Ok(OnSuccess::Repeat | OnSuccess::Restart) if cx.is_cancelled() => {
                    return Err(ChainError::Cancelled);
                }
                Ok(OnSuccess::Repeat) => {
                    // Failures count in a row.
                    retries = None;
                    continue;
                }
                Ok(OnSuccess::Restart) => break 0,
                Err(error) => error,
            };
            let (restarts_chain, again, plan) = match step.on_error.unwrap_or(chain.on_error) {
                OnError::Stop => return Err(ChainError::Step(error)),
                OnError::GoOn => break place + 1,
                OnError::Retry(plan) => (false, &mut retries, plan),
                OnError::Restart(plan) => (true, &mut restarts[place], plan),
            };
            let again = again.get_or_insert_with(|| Again::new(plan, cx, place as u64));
            if !again.wait(cx).await {
                return Err(ChainError::Step(error));
            }
            if restarts_chain {
                break 0;
            }
        };
    }
    Ok(())
}

/// Runs a step, and asks what follows from its success.
async fn run_step(step: &ChainStep, cx: JobContext) -> Result<OnSuccess, PartError> {
    step.part.run(cx.clone()).await?;
    match &step.on_success {
        None => Ok(OnSuccess::GoOn),
        Some(decide) => catch(|| decide(&cx)).map_err(|panic| step.part.panicked(panic)),
    }
}

/// A plan that is being followed.
struct Again {
    delays: Option<Delays>,
    began: Instant,
}

impl Again {
    fn new(plan: Backoff, cx: &JobContext, step: u64) -> Self {
        // As for the retries of a job: each run draws its own jitter.
        let seed = mix(cx.shared.drawn ^ mix(cx.job.id()) ^ cx.run) ^ mix(step);
        Self {
            delays: plan.delays_with_seed(seed).ok(),
            began: cx.shared.handle.now(),
        }
    }

    /// Waits for the next time; false if there is to be none.
    async fn wait(&mut self, cx: &JobContext) -> bool {
        if cx.is_cancelled() {
            return false;
        }
        let elapsed = cx.shared.handle.now() - self.began;
        let delay = self.delays.as_mut();
        let Some(delay) = delay.and_then(|delays| delays.next_within(elapsed).ok()) else {
            return false;
        };
        pause(&cx.shared, &cx.job, cx.run, &cx.task, delay).await
    }
}
