//! Runs that wait for others to end, from inside: by removing a job, or by shutting the scheduler
//! down.
//!
//! # Invariants
//! 1. Whoever waits inside a run does not wait for that run, nor for one that waits for it in the
//!    same way, be it by way of others: none of them would ever end.
//! 2. Whoever waits is on the list before it looks who else is, and has told of it: of two that
//!    wait for each other, one sees the other, and the other is woken to look again.
//! 3. Runs are counted before the list is looked at: who leaves the list in between has been
//!    counted with the runs, and is waited for.

use std::sync::Arc;

use crate::scheduler::job::Job;
use crate::scheduler::shared::Shared;
use crate::scheduler::work::guarded::{RunId, current};
use crate::sync::Mutex;

/// Who waits, and for the runs of which job: by its address, or [`ALL`].
#[derive(Default)]
pub(crate) struct Waiting(Mutex<Vec<(RunId, usize)>>);

/// In the place of a job's address.
const ALL: usize = 0;

/// One who waits for runs to end, inside of a run or not; off the list when it is dropped.
pub(crate) struct Waiter<'s> {
    shared: &'s Arc<Shared>,
    whose: usize,
    run: Option<RunId>,
}

impl<'s> Waiter<'s> {
    pub(crate) fn for_all(shared: &'s Arc<Shared>) -> Self {
        Self::new(shared, ALL)
    }

    pub(crate) fn for_runs_of(shared: &'s Arc<Shared>, job: &Arc<Job>) -> Self {
        Self::new(shared, Arc::as_ptr(job) as usize)
    }

    fn new(shared: &'s Arc<Shared>, whose: usize) -> Self {
        let run = None;
        Self { shared, whose, run }
    }

    /// How many runs it does not wait for. To be asked in each poll, since any task may poll it,
    /// and once it listens for the end of runs and has counted them.
    pub(crate) fn excused(&mut self) -> usize {
        let scheduler = Arc::as_ptr(self.shared) as usize;
        let run = Some(current()).filter(|run| run.scheduler == scheduler);
        if run != self.run {
            self.leave();
            self.run = run;
            if let Some(run) = run {
                self.shared.waiting.0.lock().push((run, self.whose));
                self.shared.ended.notify_all();
            }
        }
        let Some(me) = run else { return 0 };
        let waiting = self.shared.waiting.0.lock();
        // The jobs of those that would wait for this one's end, whatever number of others between.
        let mut jobs = vec![me.job];
        let waits_for_one_of = |jobs: &[usize], whose| whose == ALL || jobs.contains(&whose);
        loop {
            let more = waiting
                .iter()
                .find(|(run, whose)| waits_for_one_of(&jobs, *whose) && !jobs.contains(&run.job));
            let Some((run, _)) = more else { break };
            jobs.push(run.job);
        }
        let excused = waiting.iter().filter(|(run, whose)| {
            (self.whose == ALL || self.whose == run.job) && waits_for_one_of(&jobs, *whose)
        });
        let mut excused: Vec<_> = excused.map(|(run, _)| (run.job, run.run)).collect();
        // A run may wait several times.
        excused.sort_unstable();
        excused.dedup();
        excused.len()
    }

    fn leave(&mut self) {
        if let Some(run) = self.run.take() {
            let entry = (run, self.whose);
            let mut waiting = self.shared.waiting.0.lock();
            let place = waiting.iter().position(|other| *other == entry);
            place.map(|place| waiting.swap_remove(place));
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
