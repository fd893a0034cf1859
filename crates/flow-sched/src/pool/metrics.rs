//! A pool's catalogue, and its collector.

use std::sync::{Arc, Weak};

use flow_metrics::{Collect, Desc, HistogramSnapshot, Sink};

use super::core::Core;

/// How long tasks wait and run; see [`WorkerPool::times`](super::WorkerPool::times).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolTimes {
    /// What tasks that have started had spent in the queue, in seconds.
    pub waits: HistogramSnapshot,
    /// From the start of tasks to their end, however they ended, in seconds.
    pub runs: HistogramSnapshot,
}

impl PoolTimes {
    pub(super) fn of(core: &Core) -> Self {
        let times = core.timing.turn_on();
        Self {
            waits: times.waits.snapshot(),
            runs: times.runs.snapshot(),
        }
    }
}

/// Shows a pool for as long as it is there; keeps it no longer.
pub(super) struct PoolCollector(Weak<Core>);

impl PoolCollector {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        core.timing.turn_on();
        Self(Arc::downgrade(core))
    }
}

impl Collect for PoolCollector {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        let Some(core) = self.0.upgrade() else {
            return;
        };
        let stats = core.stats();
        let name = ("pool", &*core.name);
        out.counter(&CATALOGUE[0], &[name], stats.submitted);
        for (outcome, tasks) in [
            ("completed", stats.completed),
            ("panicked", stats.panicked),
            ("timed_out", stats.timed_out),
            ("cancelled", stats.cancelled),
            ("evicted", stats.evicted),
        ] {
            out.counter(&CATALOGUE[1], &[name, ("outcome", outcome)], tasks);
        }
        out.counter(&CATALOGUE[2], &[name], stats.rejected);
        out.gauge(&CATALOGUE[3], &[name], stats.queued as f64);
        out.gauge(&CATALOGUE[4], &[name], stats.running as f64);
        out.gauge(&CATALOGUE[5], &[name], stats.waiting as f64);
        out.gauge(&CATALOGUE[6], &[name], stats.slots as f64);
        out.gauge(&CATALOGUE[10], &[name], stats.max_slots as f64);
        let times = core.timing.turn_on();
        out.histogram(&CATALOGUE[8], &[name], &times.waits.snapshot());
        out.histogram(&CATALOGUE[9], &[name], &times.runs.snapshot());
        if let Some(capacity) = core.capacity() {
            out.gauge(&CATALOGUE[7], &[name], capacity as f64);
        }
    }
}

static CATALOGUE: &[Desc] = &[
    Desc::counter(
        "flow_sched_pool_submitted_total",
        "Tasks that the pool accepted.",
        &["pool"],
    ),
    Desc::counter(
        "flow_sched_pool_ended_total",
        "Tasks that have ended, by how they ended.",
        &["pool", "outcome"],
    ),
    Desc::counter(
        "flow_sched_pool_rejected_total",
        "Tasks that the pool did not accept.",
        &["pool"],
    ),
    Desc::gauge(
        "flow_sched_pool_queued_tasks",
        "Tasks that wait for a slot.",
        &["pool"],
    ),
    Desc::gauge(
        "flow_sched_pool_running_tasks",
        "Tasks that have started and not ended: on a slot, waiting without it, or run by their submitters.",
        &["pool"],
    ),
    Desc::gauge(
        "flow_sched_pool_waiting_submitters",
        "Submitters that wait for room in the queue.",
        &["pool"],
    ),
    Desc::gauge(
        "flow_sched_pool_slots",
        "Slots that live, busy or idle.",
        &["pool"],
    ),
    Desc::gauge(
        "flow_sched_pool_capacity_tasks",
        "How many tasks the queue can hold; absent without a bound.",
        &["pool"],
    ),
    Desc::histogram(
        "flow_sched_pool_queue_wait_seconds",
        "Time that tasks which have started spent in the queue.",
        &["pool"],
    ),
    Desc::histogram(
        "flow_sched_pool_run_seconds",
        "Time from the start of tasks to their end, however they ended.",
        &["pool"],
    ),
    Desc::gauge(
        "flow_sched_pool_max_slots",
        "Slots that may live; it changes in a pool that is resized, or sizes itself.",
        &["pool"],
    ),
];
