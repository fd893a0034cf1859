//! Catalogue entries of a scheduler, and the collector that fills them.

use std::sync::{Arc, Weak};

use flow_metrics::{Collect, Desc, Sink};

use super::report::SchedulerStats;
use super::{Core, Scheduler};

const JOBS: usize = 0;
const RUNNING: usize = 1;
const RUNS: usize = 2;
const SKIPPED: usize = 3;
const MISSED: usize = 4;
const WAKEUPS: usize = 5;
const STORE_ERRORS: usize = 6;
const LOST_CLAIMS: usize = 7;

static CATALOGUE: [Desc; 8] = [
    Desc::gauge(
        "flow_sched_jobs",
        "Jobs that have not ended.",
        &["scheduler"],
    ),
    Desc::gauge(
        "flow_sched_running_runs",
        "Runs in progress or waiting for room in the pool.",
        &["scheduler"],
    ),
    Desc::counter(
        "flow_sched_runs_total",
        "Runs that have ended, by how they ended.",
        &["scheduler", "outcome"],
    ),
    Desc::counter(
        "flow_sched_skipped_runs_total",
        "Runs not let in because an earlier one had not ended.",
        &["scheduler"],
    ),
    Desc::counter(
        "flow_sched_missed_runs_total",
        "Occurrences that passed unnoticed and were not made up.",
        &["scheduler"],
    ),
    Desc::counter(
        "flow_sched_wakeups_total",
        "Times the driver woke up.",
        &["scheduler"],
    ),
    Desc::counter(
        "flow_sched_store_errors_total",
        "Questions that the store of the claims did not answer.",
        &["scheduler"],
    ),
    Desc::counter(
        "flow_sched_lost_claims_total",
        "Claims that were lost while their runs were in progress.",
        &["scheduler"],
    ),
];

/// Shows a scheduler for as long as it is there; keeps it no longer.
struct SchedulerMetrics {
    core: Weak<Core>,
}

impl Scheduler {
    /// What a `flow_metrics::Registry` takes to show this scheduler, under its name. It does not
    /// keep the scheduler alive.
    ///
    /// # Cost
    /// Nothing until the registry collects; then that of [`stats`](Self::stats).
    pub fn collector(&self) -> Arc<dyn Collect> {
        Arc::new(SchedulerMetrics {
            core: Arc::downgrade(&self.core),
        })
    }
}

impl Collect for SchedulerMetrics {
    fn descriptions(&self) -> &'static [Desc] {
        &CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let Some(core) = self.core.upgrade() else {
            return;
        };
        let stats: SchedulerStats = core.shared.stats();
        let name = core.shared.name.as_str();
        let labels = [("scheduler", name)];
        out.gauge(&CATALOGUE[JOBS], &labels, stats.jobs as f64);
        out.gauge(&CATALOGUE[RUNNING], &labels, stats.running as f64);
        let outcomes = [
            ("completed", stats.runs.completed),
            ("failed", stats.runs.failed),
            ("panicked", stats.runs.panicked),
            ("timed_out", stats.runs.timed_out),
            ("terminated", stats.runs.terminated),
            ("declined", stats.runs.declined),
            ("elsewhere", stats.runs.elsewhere),
            ("unclaimed", stats.runs.unclaimed),
            ("dropped", stats.runs.dropped),
        ];
        for (outcome, count) in outcomes {
            let labels = [("scheduler", name), ("outcome", outcome)];
            out.counter(&CATALOGUE[RUNS], &labels, count);
        }
        out.counter(&CATALOGUE[SKIPPED], &labels, stats.runs.skipped);
        out.counter(&CATALOGUE[MISSED], &labels, stats.runs.missed);
        out.counter(&CATALOGUE[WAKEUPS], &labels, stats.wakeups);
        out.counter(&CATALOGUE[STORE_ERRORS], &labels, stats.store_errors);
        out.counter(&CATALOGUE[LOST_CLAIMS], &labels, stats.lost_claims);
    }
}
