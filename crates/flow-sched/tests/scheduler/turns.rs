//! Runs that wait for their turn, and what becomes of the requests behind them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use flow_ratelimit::{Rate, TokenBucket};
use flow_rt::{CancellationToken, TestRuntime};
use flow_sched::{
    EndReason, Every, JobBuilder, JobContext, JobEventKind, JobHandle, JobState, Misfire, Overlap,
    RunOutcome, Scheduler, WorkerPool,
};

use crate::common::{HOUR, Log, MIN, SEC, ms, noting, scheduler, secs, slow};

flow_rt::on_every_runtime! {
    seeds 0..30;
    a_run_whose_condition_is_asked_gives_way,
    a_run_in_line_for_its_throttle_runs_in_place_of_the_newer,
    a_run_that_waits_for_the_pool_runs_in_place_of_the_newer,
    what_a_stall_adds_to_a_backlog_stays_within_the_limit,
    requests_that_are_forgotten_are_counted_everywhere,
    a_job_found_finished_may_get_another_trigger_or_a_run,
}

const GIVING_WAY: [Overlap; 2] = [Overlap::CancelPrevious, Overlap::TerminatePrevious];

/// When runs began, and for which time, in milliseconds.
type Seen = Arc<Mutex<Vec<(u64, u64)>>>;

fn telling(scheduler: &Scheduler, log: &Log, seen: &Seen) -> JobBuilder<()> {
    scheduler.job_with(
        "job",
        (log.clone(), seen.clone()),
        async |cx: JobContext, (log, seen): (Log, Seen)| {
            let now = (log.rt.now() - log.start).as_millis() as u64;
            let due = (cx.due() - log.start).as_millis() as u64;
            seen.lock().unwrap().push((now, due));
        },
    )
}

async fn a_run_whose_condition_is_asked_gives_way(rt: TestRuntime) {
    for policy in GIVING_WAY {
        let scheduler = scheduler(&rt);
        let (log, seen) = (Log::new(&rt), Seen::default());
        let job = telling(&scheduler, &log, &seen).every(SEC).overlap(policy);
        let job = job.when(async |cx: JobContext| {
            if cx.run() == 1 {
                // It would hold up the job for ever.
                std::future::pending::<()>().await;
            }
            true
        });
        let job = job.start().unwrap();
        rt.advance(ms(1_500)).await;
        assert_eq!(job.stats().running, 1);
        rt.advance(SEC).await;
        let first = job.last().unwrap();
        assert_eq!(first.attempts, u32::from(first.run == 2), "{first:?}");
        rt.advance(SEC).await;
        assert_eq!(*seen.lock().unwrap(), [(2_000, 2_000), (3_000, 3_000)]);
        let runs = job.stats().runs;
        assert_eq!((runs.started, runs.completed, runs.skipped), (3, 2, 0));
        assert_eq!(runs.dropped + runs.terminated, 1);
    }
}

async fn a_run_in_line_for_its_throttle_runs_in_place_of_the_newer(rt: TestRuntime) {
    for policy in GIVING_WAY {
        let scheduler = scheduler(&rt);
        let (log, seen) = (Log::new(&rt), Seen::default());
        let bucket = {
            let _entered = rt.enter();
            TokenBucket::new(Rate::every(ms(3_700)), 1).unwrap()
        };
        // Somebody else takes the token that is there.
        bucket.try_acquire_n(1).unwrap();
        let job = telling(&scheduler, &log, &seen).every(SEC).overlap(policy);
        let job = job
            .throttle(&bucket)
            .when(async |_cx| true)
            .start()
            .unwrap();
        rt.advance(ms(11_900)).await;
        // A token each 3.7 s, for the latest time that is due by then.
        assert_eq!(
            *seen.lock().unwrap(),
            [(3_700, 3_000), (7_400, 7_000), (11_100, 11_000)]
        );
        let runs = job.stats().runs;
        assert_eq!((runs.completed, runs.dropped, runs.terminated), (3, 0, 0));
        assert_eq!((runs.started, runs.skipped), (3, 8), "{runs:?}");
        job.remove().await;
    }
}

async fn a_run_that_waits_for_the_pool_runs_in_place_of_the_newer(rt: TestRuntime) {
    for policy in GIVING_WAY {
        let pool = WorkerPool::builder()
            .runtime(&rt)
            .slots(1)
            .queue(8)
            .build()
            .unwrap();
        let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
        let (log, seen) = (Log::new(&rt), Seen::default());
        let go = Arc::new(CancellationToken::new());
        let blocks = go.clone();
        pool.submit(async move |_cx| blocks.cancelled().await)
            .await
            .unwrap();
        let job = telling(&scheduler, &log, &seen).every(SEC).overlap(policy);
        let job = job.start().unwrap();
        rt.advance(ms(10_500)).await;
        assert_eq!(job.stats().running, 1);
        go.cancel();
        rt.settle().await;
        // The run that was due first has its turn, for the time that was due last.
        assert_eq!(*seen.lock().unwrap(), [(10_500, 10_000)]);
        let runs = job.stats().runs;
        assert_eq!((runs.started, runs.completed, runs.skipped), (1, 1, 9));
        assert_eq!(job.last().unwrap().scheduled_at, log.wall + secs(10));
        assert_eq!(scheduler.stats().runs.skipped, 9);
        scheduler.shutdown(SEC).await;
        pool.shutdown(SEC).await;
    }
}

async fn what_a_stall_adds_to_a_backlog_stays_within_the_limit(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let (log, seen) = (Log::new(&rt), Seen::default());
    let with = (log.clone(), seen.clone());
    let job = scheduler.job_with(
        "job",
        with,
        async |cx: JobContext, (log, seen): (Log, Seen)| {
            let due = cx.scheduled_at().duration_since(log.wall).unwrap();
            seen.lock().unwrap().push((0, due.as_secs() / 3_600));
            log.rt.sleep(10 * MIN).await.unwrap();
        },
    );
    let misfire = Misfire::FireAll {
        limit: 3,
        within: 100 * HOUR,
    };
    let job = job.cron("0 * * * *").misfire(misfire).start().unwrap();
    rt.advance(ms(100)).await;
    rt.suspend(8 * HOUR + MIN);
    rt.advance(2 * MIN).await;
    // 6, 7 and 8 are made up, 6 is at it, and the machine sleeps again.
    rt.suspend(8 * HOUR);
    rt.advance(2 * MIN).await;
    let runs = job.stats().runs;
    assert_eq!((runs.started, runs.missed), (1, 5 + 2 + 5), "{runs:?}");
    rt.advance(50 * MIN).await;
    let hours: Vec<_> = seen.lock().unwrap().iter().map(|(_, hour)| *hour).collect();
    assert_eq!(hours, [6, 14, 15, 16]);
    assert_eq!(scheduler.stats().runs.missed, 12);
}

async fn requests_that_are_forgotten_are_counted_everywhere(rt: TestRuntime) {
    let told = Arc::new(AtomicU64::new(0));
    let tells = told.clone();
    let scheduler = Scheduler::builder().runtime(&rt).on_event(move |event| {
        if let JobEventKind::Skipped(count) = event.kind {
            tells.fetch_add(count, Relaxed);
        }
    });
    let scheduler = scheduler.build().unwrap();
    let log = Log::new(&rt);
    let start = |name: &'static str| {
        let job = slow(&scheduler, name, &log, HOUR).every(HOUR * 1_000);
        job.overlap(Overlap::BufferAll(9))
    };
    let paused = start("paused").start().unwrap();
    let removed = start("removed").start().unwrap();
    let limited = start("limited").max_runs(2).start().unwrap();
    for job in [&paused, &removed, &limited] {
        for _ in 0..4 {
            job.trigger_now().await.unwrap();
        }
    }
    assert!(paused.pause());
    assert_eq!(paused.stats().runs.skipped, 3);
    drop(removed.remove());
    assert_eq!(removed.stats().runs.skipped, 3);
    // Its second run is the last, and two more were asked for.
    rt.advance(HOUR + MIN).await;
    assert_eq!(limited.stats().runs.skipped, 2);
    assert_eq!((scheduler.stats().runs.skipped, told.load(Relaxed)), (8, 8));
}

/// Changes a job where it is told that a time was missed: after the step that has found it
/// finished, and before it ends.
async fn missed_and_changed(rt: &TestRuntime, change: fn(&JobHandle)) -> (JobHandle, Log) {
    let slot: Arc<Mutex<Option<JobHandle>>> = Arc::default();
    let hears = slot.clone();
    let builder = Scheduler::builder().runtime(rt).on_event(move |event| {
        let missed = matches!(event.kind, JobEventKind::Missed(_));
        let job = missed.then(|| hears.lock().unwrap().take());
        if let Some(job) = job.flatten() {
            change(&job);
        }
    });
    let (scheduler, driver) = builder.build_with_driver().unwrap();
    let log = Log::new(rt);
    let job = noting(&scheduler, "once", &log)
        .after(SEC)
        .misfire(Misfire::Skip);
    let job = job.start().unwrap();
    *slot.lock().unwrap() = Some(job.clone());
    // Nobody drives it until its time is long past.
    rt.advance(MIN).await;
    rt.spawn_detached(driver);
    rt.advance(secs(10)).await;
    assert_eq!(job.stats().runs.missed, 1);
    drop(scheduler);
    (job, log)
}

async fn a_job_found_finished_may_get_another_trigger_or_a_run(rt: TestRuntime) {
    let (job, _) = missed_and_changed(&rt, |_job| {}).await;
    assert_eq!(job.state(), JobState::Ended(EndReason::Finished));
    let (job, log) = missed_and_changed(&rt, |job| {
        job.update(Every::new(secs(3))).unwrap();
    })
    .await;
    assert_eq!(log.millis(), [63_000, 66_000, 69_000]);
    assert_eq!(job.state(), JobState::Ended(EndReason::ShutDown));
    let (job, log) = missed_and_changed(&rt, |job| {
        use futures_util::FutureExt;
        job.trigger_now().now_or_never().unwrap().unwrap();
    })
    .await;
    assert_eq!(log.millis(), [60_000]);
    assert_eq!(job.last().unwrap().outcome, RunOutcome::Completed);
    assert_eq!(job.state(), JobState::Ended(EndReason::Finished));
}
