//! What a registry shows of a scheduler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use flow_metrics::Registry;
use flow_rt::{CancellationToken, TestRuntime};
use flow_sched::{
    Claims, Elector, Every, Fence, JobHandle, Misfire, Overlap, RunCounts, Scheduler, WorkerPool,
};

use crate::cluster::{Line, store};
use crate::common::{HOUR, MIN, SEC, ms, secs};

flow_rt::on_every_runtime! {
    seeds 0..3;
    a_registry_shows_a_scheduler_and_does_not_keep_it,
    every_entry_counts_what_it_says,
}

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

/// Leads when it is told to.
#[derive(Clone)]
struct Leads(Arc<AtomicBool>);

impl Elector for Leads {
    fn leads(&self) -> Option<Fence> {
        self.0.load(Relaxed).then(|| Fence::new(1))
    }
}

/// How runs have ended, by the names of the entries.
fn outcomes(runs: RunCounts) -> [(&'static str, u64); 9] {
    [
        ("completed", runs.completed),
        ("failed", runs.failed),
        ("panicked", runs.panicked),
        ("timed_out", runs.timed_out),
        ("terminated", runs.terminated),
        ("declined", runs.declined),
        ("elsewhere", runs.elsewhere),
        ("unclaimed", runs.unclaimed),
        ("dropped", runs.dropped),
    ]
}

/// Two runs that panic, four that take too long, three in the way of four others.
fn start_faulty(alone: &Scheduler, rt: &TestRuntime) {
    let panics = alone.job("panics", async |_cx| -> () { panic!("on purpose") });
    panics.every(SEC).max_runs(2).start().unwrap();
    let slow = |name: &'static str| {
        alone.job_with(name, rt.clone(), async |_cx, rt: TestRuntime| {
            rt.sleep(ms(2_500)).await.unwrap();
        })
    };
    // Due at 1, 4 and 7 s, and not after the third run; four times find it running.
    slow("skips").every(SEC).max_runs(3).start().unwrap();
    let late = slow("late")
        .every(SEC)
        .timeout(SEC)
        .overlap(Overlap::Allow(9));
    late.max_runs(4).start().unwrap();
}

/// One has a claim as the line is cut, and loses it; then two get none.
fn start_claiming(claims: &Scheduler, rt: &TestRuntime) {
    let held = claims.job_with("held", rt.clone(), async |_cx, rt: TestRuntime| {
        rt.sleep(70 * SEC).await.unwrap();
    });
    let held = held
        .trigger(Every::new(MIN).aligned())
        .overlap(Overlap::Allow(9));
    held.max_runs(3).start().unwrap();
}

/// One run begins, and the others wait for it to end.
fn start_waiting(pooled: &Scheduler, go: &CancellationToken) -> JobHandle {
    let dropped = pooled.job_with("dropped", go.clone(), async |_cx, go: CancellationToken| {
        go.cancelled().await;
    });
    dropped
        .every(SEC)
        .overlap(Overlap::Allow(9))
        .start()
        .unwrap()
}

async fn every_entry_counts_what_it_says(rt: TestRuntime) {
    let registry = Registry::new();
    let pool = WorkerPool::builder()
        .runtime(&rt)
        .slots(1)
        .queue(9)
        .build()
        .unwrap();
    let line = Line::to(&store(&rt));
    let leads = Leads(Arc::new(AtomicBool::new(true)));
    let builder = |name: &'static str| Scheduler::builder().runtime(&rt).name(name);
    let alone = builder("alone").build().unwrap();
    let pooled = builder("pooled").pool(&pool).build().unwrap();
    let led = builder("led").elector(&leads).build().unwrap();
    let claims = Claims::at_least_once(&line).lease(secs(30));
    let claims = builder("claims").claims(claims).build().unwrap();
    for scheduler in [&alone, &pooled, &led, &claims] {
        registry.register(scheduler.collector()).unwrap().forget();
    }
    start_faulty(&alone, &rt);
    rt.advance(ms(10_500)).await;
    let misses = alone.job("misses", async |_cx| ()).cron("0 * * * *");
    misses.misfire(Misfire::Skip).start().unwrap();
    rt.suspend(8 * HOUR + MIN);
    rt.advance(61 * SEC).await;
    // One of three runs has begun as the job goes.
    let go = CancellationToken::new();
    let dropped = start_waiting(&pooled, &go);
    rt.advance(ms(3_500)).await;
    drop(dropped.remove());
    leads.0.store(false, Relaxed);
    let elsewhere = led.job("elsewhere", async |_cx| ()).every(SEC);
    elsewhere.max_runs(5).start().unwrap();
    start_claiming(&claims, &rt);
    rt.advance(MIN).await;
    assert_eq!(claims.stats().running, 1);
    line.cut.store(true, Relaxed);
    rt.advance(5 * MIN).await;
    go.cancel();
    rt.settle().await;

    let shown = registry.collect();
    let outcome = |scheduler: &'static str, outcome: &'static str| {
        let labels = [("scheduler", scheduler), ("outcome", outcome)];
        shown.counter("flow_sched_runs_total", &labels).unwrap()
    };
    let counter = |scheduler: &'static str, entry: &str| {
        let entry = format!("flow_sched_{entry}_total");
        shown.counter(&entry, &[("scheduler", scheduler)]).unwrap()
    };
    assert_eq!(
        (outcome("alone", "panicked"), outcome("alone", "timed_out")),
        (2, 4)
    );
    assert_eq!(
        (
            outcome("alone", "completed"),
            outcome("pooled", "completed")
        ),
        (3, 1)
    );
    assert_eq!(
        (outcome("pooled", "dropped"), outcome("led", "elsewhere")),
        (2, 5)
    );
    assert_eq!(outcome("claims", "unclaimed"), 2);
    assert_eq!(
        (
            counter("alone", "skipped_runs"),
            counter("alone", "missed_runs")
        ),
        (4, 8)
    );
    assert_eq!(
        (
            counter("claims", "lost_claims"),
            counter("alone", "lost_claims")
        ),
        (1, 0)
    );
    assert!(counter("claims", "store_errors") >= 3);
    // And nothing that its own statistics do not say.
    for (name, scheduler) in [
        ("alone", alone),
        ("pooled", pooled),
        ("led", led),
        ("claims", claims),
    ] {
        let stats = scheduler.stats();
        assert_eq!(counter(name, "skipped_runs"), stats.runs.skipped);
        assert_eq!(counter(name, "missed_runs"), stats.runs.missed);
        assert_eq!(counter(name, "wakeups"), stats.wakeups);
        assert!(stats.wakeups > 0);
        assert_eq!(counter(name, "store_errors"), stats.store_errors);
        assert_eq!(counter(name, "lost_claims"), stats.lost_claims);
        for (of, count) in outcomes(stats.runs) {
            assert_eq!(outcome(name, of), count, "{name}: {of}");
        }
    }
}
