//! What a registry shows of a scheduler.

use flow_metrics::Registry;
use flow_rt::TestRuntime;
use flow_sched::{Overlap, Scheduler};

use crate::common::{HOUR, SEC};

flow_rt::on_every_runtime! { seeds 0..3; a_registry_shows_a_scheduler_and_does_not_keep_it }

async fn a_registry_shows_a_scheduler_and_does_not_keep_it(rt: TestRuntime) {
    let registry = Registry::new();
    let scheduler = Scheduler::builder().runtime(&rt).name("nightly");
    let scheduler = scheduler.build().unwrap();
    registry.register(scheduler.collector()).unwrap().forget();
    scheduler
        .job("fails", async |_cx| Err::<(), _>("no"))
        .every(SEC)
        .max_runs(3)
        .start()
        .unwrap();
    scheduler
        .job("later", async |_cx| ())
        .after(HOUR)
        .start()
        .unwrap();
    let declined = scheduler.job("declined", async |_cx| ()).every(SEC);
    let declined = declined.when(async |_cx| false).max_runs(2);
    declined.start().unwrap();
    let stuck = scheduler.job("stuck", async |_cx| std::future::pending::<()>().await);
    let stuck = stuck.every(SEC).overlap(Overlap::TerminatePrevious);
    let stuck = stuck.max_runs(3).timeout(HOUR);
    stuck.start().unwrap();
    rt.advance(10 * SEC).await;
    let shown = registry.collect();
    let name = ("scheduler", "nightly");
    let runs = |outcome| shown.counter("flow_sched_runs_total", &[name, ("outcome", outcome)]);
    assert_eq!((runs("failed"), runs("completed")), (Some(3), Some(0)));
    assert_eq!((runs("declined"), runs("terminated")), (Some(2), Some(2)));
    assert_eq!(shown.gauge("flow_sched_running_runs", &[name]), Some(1.0));
    assert_eq!(shown.gauge("flow_sched_jobs", &[name]), Some(2.0));
    assert_eq!(
        shown.counter("flow_metrics_rejected_samples_total", &[]),
        Some(0)
    );
    drop(scheduler);
    let shown = registry.collect();
    assert_eq!(shown.gauge("flow_sched_jobs", &[name]), None);
}
