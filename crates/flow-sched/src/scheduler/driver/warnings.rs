//! What is rare and a person may want to see, as events of `tracing`; nothing without the feature.
//!
//! A suspend of the machine makes every job miss something at once, and a store that is down fails
//! for every run. So of what was missed there is one event a second for each scheduler, and of what
//! a store failed to answer too, with the number of those that were passed over.
//! A subscriber is somebody else's code: its panics are contained, as those of hooks are.

use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};

use flow_rt::contain;

use crate::scheduler::report::{EndReason, JobEventKind, RunOutcome};
use crate::scheduler::shared::Shared;

/// When something missed was told last, and how much has been passed over since.
#[derive(Default)]
pub(crate) struct Misses {
    told_at: AtomicU64,
    passed_over: AtomicU64,
}

/// The shortest time between two events about what was missed, in nanoseconds.
const PAUSE: u64 = 1_000_000_000;

/// Tells of an event if it is one to tell of.
pub(in crate::scheduler) fn tell(shared: &Shared, job: &str, kind: JobEventKind<'_>) {
    let scheduler = &*shared.name;
    contain(|| match kind {
        JobEventKind::Missed(missed) => {
            if let Some(passed_over) = shared.misses.tell(shared, missed) {
                tracing::warn!(
                    scheduler,
                    job,
                    missed,
                    passed_over,
                    "a job has missed times that are not made up"
                );
            }
        }
        JobEventKind::StoreFailed {
            run,
            message: error,
        } => {
            if let Some(passed_over) = shared.store_faults.tell(shared, 1) {
                tracing::warn!(
                    scheduler,
                    job,
                    run,
                    error,
                    passed_over,
                    "the store of the claims did not answer"
                );
            }
        }
        JobEventKind::ClaimLost(run) => {
            tracing::warn!(
                scheduler,
                job,
                run,
                "the claim of a run was lost, and the run was told to stop"
            );
        }
        JobEventKind::GaveUp(report) => {
            let (run, attempts) = (report.run, report.attempts);
            let outcome = &report.outcome;
            tracing::warn!(
                scheduler,
                job,
                run,
                attempts,
                ?outcome,
                "a run has failed for good"
            );
        }
        JobEventKind::RunEnded(report) => {
            let run = report.run;
            match &report.outcome {
                RunOutcome::Panicked(panic) => {
                    let panic = &**panic;
                    tracing::warn!(scheduler, job, run, panic, "a run has panicked");
                }
                RunOutcome::TimedOut => {
                    tracing::warn!(scheduler, job, run, "a run took too long and was dropped");
                }
                _ => {}
            }
        }
        JobEventKind::Ended(reason @ (EndReason::TriggerFailed | EndReason::RunFailed)) => {
            tracing::error!(scheduler, job, %reason, "a job will not run any more");
        }
        _ => {}
    });
}

/// Tells that the wall clock was set back so far that jobs are asked anew.
pub(in crate::scheduler) fn set_back(shared: &Shared, by: Duration) {
    let scheduler = &*shared.name;
    contain(|| {
        tracing::warn!(
            scheduler,
            ?by,
            "the wall clock was set back, and the jobs that go by it are asked anew"
        );
    });
}

impl Misses {
    /// Whether to tell of so much that was missed, and how much was passed over before.
    fn tell(&self, shared: &Shared, missed: u64) -> Option<u64> {
        // 0 is never: the first one is told.
        let now = shared.handle.now().as_nanos().max(1);
        let told = self.told_at.load(Ordering::Relaxed);
        let due = told == 0 || now.saturating_sub(told) >= PAUSE;
        let mine = due
            && self
                .told_at
                .compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            return Some(self.passed_over.swap(0, Ordering::Relaxed));
        }
        self.passed_over.fetch_add(missed, Ordering::Relaxed);
        None
    }
}
