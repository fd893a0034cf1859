//! From start to end: names, removal, shutdown, panics, runs by hand.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;

use flow_rt::TestRuntime;
use flow_sched::{
    Due, EndReason, Every, JobContext, JobEventKind, JobState, Overlap, RunOutcome, ScheduleError,
    Scheduler, SchedulerDriver, SchedulerReport, Trigger, TriggerContext, TriggerNowError,
};

use crate::common::{HOUR, Log, MIN, SEC, ms, noting, scheduler, secs, slow};

flow_rt::on_every_runtime! {
    seeds 0..50;
    case_088_names_are_unique_and_not_empty,
    a_name_is_free_before_the_driver_has_looked,
    case_089_091_a_job_that_is_due_once_runs_once_and_is_gone,
    case_093_a_removed_job_is_gone_and_cancel_all_leaves_none,
    case_094_a_list_shows_who_recurs_and_how_often,
    case_096_097_stats_and_hooks_count_what_becomes_of_jobs,
    case_116_the_hook_hears_of_each_run_that_is_skipped,
    case_101_panics_and_errors_are_results,
    case_102_jobs_and_hooks_may_call_the_scheduler,
    case_103_shutdown_is_idempotent_and_can_be_called_from_a_run,
    runs_that_remove_their_job_do_not_wait_for_each_other,
    runs_that_shut_the_scheduler_down_do_not_wait_for_each_other,
    closing_ends_jobs_takes_no_more_and_lets_runs_finish,
    dropping_the_last_handle_ends_jobs_and_lets_runs_finish,
    what_a_job_captured_goes_with_it,
    case_107_a_report_has_the_runs_duration,
    pause_resume_and_runs_by_hand,
    run_by_hand_meets_the_overlap_policy_and_the_limit,
    a_driver_of_ones_own_and_its_end,
    news_do_not_hold_up_what_is_due,
    a_driver_that_goes_takes_all_jobs_along,
}

async fn case_088_names_are_unique_and_not_empty(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let job = |name: &'static str| scheduler.job(name, async |_cx| ()).every(SEC).start();
    let first = job("a").unwrap();
    assert_eq!(first.name(), "a");
    assert_eq!(job("").unwrap_err(), ScheduleError::EmptyName);
    let taken = job("a").unwrap_err();
    assert_eq!(taken, ScheduleError::NameTaken { name: "a".into() });
    assert!(first.remove().await);
    assert!(job("a").is_ok(), "the name is free again");
}

async fn a_name_is_free_before_the_driver_has_looked(rt: TestRuntime) {
    let built = Scheduler::builder().runtime(&rt).build_with_driver();
    let (scheduler, driver) = built.unwrap();
    let start = |name| scheduler.job(name, async |_cx| ()).after(HOUR).start();
    let first = start("poll").unwrap();
    let other = start("other").unwrap();
    assert!(first.remove().await);
    assert!(scheduler.find("poll").is_none());
    assert_eq!((scheduler.list().len(), scheduler.stats().jobs), (1, 1));
    let second = start("poll").unwrap();
    assert!(matches!(
        start("poll"),
        Err(ScheduleError::NameTaken { .. })
    ));
    rt.spawn_detached(driver);
    rt.advance(SEC).await;
    // The driver has forgotten the first one, not the name.
    assert!(!scheduler.remove("nobody") && !first.remove().await);
    assert_eq!(scheduler.find("poll").unwrap().state(), JobState::Active);
    assert_eq!((scheduler.list().len(), scheduler.stats().jobs), (2, 2));
    assert!(scheduler.remove("poll") && other.remove().await);
    assert_eq!(second.state(), JobState::Ended(EndReason::Removed));
    assert_eq!((scheduler.list().len(), scheduler.stats().jobs), (0, 0));
}

async fn case_089_091_a_job_that_is_due_once_runs_once_and_is_gone(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let wall = noting(&scheduler, "wall", &log)
        .once_at(rt.wall() + ms(50))
        .start()
        .unwrap();
    let mono = noting(&scheduler, "mono", &log)
        .once_at(rt.now() + ms(70))
        .start()
        .unwrap();
    let after = noting(&scheduler, "after", &log)
        .after(ms(90))
        .start()
        .unwrap();
    assert_eq!(scheduler.list().len(), 3);
    rt.advance(SEC).await;
    assert_eq!(log.millis(), [50, 70, 90]);
    assert!(scheduler.list().is_empty());
    for job in [wall, mono, after] {
        assert_eq!(job.state(), JobState::Ended(EndReason::Finished));
        assert_eq!(job.stats().runs.completed, 1);
        assert!(job.upcoming(3).is_empty());
    }
}

async fn case_093_a_removed_job_is_gone_and_cancel_all_leaves_none(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    for name in ["five", "a", "b", "c"] {
        noting(&scheduler, name, &log).every(SEC).start().unwrap();
    }
    assert!(scheduler.remove("five"));
    assert!(!scheduler.remove("five"));
    assert!(!scheduler.remove("unknown"));
    assert_eq!(scheduler.list().len(), 3);
    assert_eq!(scheduler.cancel_all(), 3);
    assert!(scheduler.list().is_empty());
    rt.advance(MIN).await;
    assert_eq!(log.len(), 0);
}

async fn case_094_a_list_shows_who_recurs_and_how_often(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let five = scheduler.job("five", async |_cx| ()).every(HOUR);
    five.max_runs(5).start().unwrap();
    let once = scheduler.job("once", async |_cx| ()).after(MIN);
    once.start().unwrap();
    let list = scheduler.list();
    let shown: Vec<_> = list
        .iter()
        .map(|job| (&*job.name, job.recurring, job.max_runs))
        .collect();
    assert_eq!(shown, [("five", true, Some(5)), ("once", false, None)]);
}

async fn case_096_097_stats_and_hooks_count_what_becomes_of_jobs(rt: TestRuntime) {
    let counts: Arc<[AtomicUsize; 3]> = Arc::default();
    let seen = counts.clone();
    let scheduler = Scheduler::builder()
        .runtime(&rt)
        .on_event(move |event| {
            let place = match event.kind {
                JobEventKind::Scheduled => 0,
                JobEventKind::RunEnded(_) => 1,
                JobEventKind::Ended(EndReason::Removed) => 2,
                _ => return,
            };
            seen[place].fetch_add(1, Relaxed);
        })
        .build()
        .unwrap();
    let job = |name: &'static str| scheduler.job(name, async |_cx| ());
    job("later").every(HOUR).start().unwrap();
    job("once").after(MIN).start().unwrap();
    assert_eq!(scheduler.stats().scheduled, 2);
    rt.advance(MIN).await;
    let stats = scheduler.stats();
    assert_eq!((stats.runs.completed, stats.jobs, stats.removed), (1, 1, 0));
    assert!(scheduler.remove("later"));
    let stats = scheduler.stats();
    assert_eq!((stats.removed, stats.jobs, stats.running), (1, 0, 0));
    let counts = counts.each_ref().map(|count| count.load(Relaxed));
    assert_eq!(counts, [2, 1, 1]);
}

async fn case_116_the_hook_hears_of_each_run_that_is_skipped(rt: TestRuntime) {
    let skipped = Arc::new(AtomicUsize::new(0));
    let seen = skipped.clone();
    let scheduler = Scheduler::builder().runtime(&rt).on_event(move |event| {
        if let JobEventKind::Skipped(count) = event.kind {
            assert_eq!((event.job, count), ("slow", 1));
            seen.fetch_add(1, Relaxed);
        }
    });
    let scheduler = scheduler.build().unwrap();
    let log = Log::new(&rt);
    let job = slow(&scheduler, "slow", &log, ms(310)).every(ms(50));
    let job = job.start().unwrap();
    rt.advance(ms(1_010)).await;
    // Of those due at 50, 100 .. 1,000, the ones at 50, 400 and 750 find it free.
    assert_eq!(log.millis(), [50, 400, 750]);
    assert_eq!((skipped.load(Relaxed), job.stats().runs.skipped), (17, 17));
}

async fn case_101_panics_and_errors_are_results(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let once = scheduler
        .job("once", async |_cx: JobContext| -> () { panic!("no luck") })
        .after(SEC)
        .start()
        .unwrap();
    let closure = scheduler
        .job("closure", |_cx| -> std::future::Ready<()> {
            panic!("not even a future")
        })
        .every(SEC)
        .start()
        .unwrap();
    let fails = scheduler
        .job("fails", async |_cx| Err::<(), _>("out of paper"))
        .every(SEC)
        .start()
        .unwrap();
    rt.advance(ms(3_500)).await;
    let stats = once.stats();
    assert_eq!(stats.state, JobState::Ended(EndReason::Finished));
    assert_eq!((stats.runs.started, stats.runs.panicked), (1, 1));
    assert_eq!(
        stats.last.unwrap().outcome,
        RunOutcome::Panicked("no luck".into())
    );
    assert_eq!(closure.stats().runs.panicked, 3);
    assert_eq!(fails.stats().runs.failed, 3);
    let last = fails.stats().last.unwrap();
    assert_eq!(
        (last.run, last.outcome),
        (3, RunOutcome::Failed("out of paper".into()))
    );
    assert_eq!(scheduler.stats().runs.panicked, 4);
}

async fn case_102_jobs_and_hooks_may_call_the_scheduler(rt: TestRuntime) {
    let calls = Arc::new(AtomicUsize::new(0));
    let scheduler = Arc::new(std::sync::OnceLock::<Scheduler>::new());
    let (from_hook, called) = (scheduler.clone(), calls.clone());
    let built = Scheduler::builder()
        .runtime(&rt)
        .on_event(move |event| {
            if let Some(scheduler) = from_hook.get() {
                called.fetch_add(scheduler.stats().jobs + scheduler.list().len(), Relaxed);
                if matches!(event.kind, JobEventKind::RunEnded(_)) {
                    scheduler.remove("other");
                }
            }
            panic!("a hook that panics harms nobody");
        })
        .build()
        .unwrap();
    scheduler.set(built.clone()).unwrap();
    built
        .job("other", async |_cx| ())
        .every(HOUR)
        .start()
        .unwrap();
    built
        .job("itself", async |cx: JobContext| {
            let scheduler = cx.scheduler().unwrap();
            let me = scheduler.find(cx.job()).unwrap();
            scheduler
                .job("child", async |_cx| ())
                .after(SEC)
                .start()
                .unwrap();
            // Neither waits for the run that calls.
            assert!(me.remove().await);
            assert!(scheduler.list().iter().any(|job| &*job.name == "child"));
        })
        .every(SEC)
        .start()
        .unwrap();
    rt.advance(secs(10)).await;
    assert_eq!(built.stats().runs.completed, 2);
    assert!(built.list().is_empty());
    assert!(calls.load(Relaxed) > 0);
}

async fn case_103_shutdown_is_idempotent_and_can_be_called_from_a_run(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    slow(&scheduler, "short", &log, secs(2))
        .every(SEC)
        .start()
        .unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let stubborn = scheduler.job_with(
        "long",
        told.clone(),
        async |cx: JobContext, told: Arc<AtomicUsize>| {
            cx.cancellation().cancelled().await;
            told.fetch_add(1, Relaxed);
        },
    );
    stubborn.every(SEC).start().unwrap();
    rt.advance(ms(1_500)).await;
    let (first, second) = (scheduler.clone(), scheduler.clone());
    let other = rt.spawn(async move { second.shutdown(secs(9)).await });
    let report = first.shutdown(secs(5)).await;
    let other = other.await.unwrap();
    assert_eq!(report.jobs + other.jobs, 2);
    assert_eq!((report.finished, report.cancelled), (1, 1));
    rt.settle().await;
    assert_eq!(told.load(Relaxed), 1);
    assert!(scheduler.is_closed());
    let refused = scheduler.job("new", async |_cx| ()).every(SEC).start();
    assert_eq!(refused.unwrap_err(), ScheduleError::Closed);
    assert_eq!(scheduler.shutdown(SEC).await, SchedulerReport::default());

    let own = Scheduler::builder().runtime(&rt).build().unwrap();
    own.job("last act", async |cx: JobContext| {
        let report = cx.scheduler().unwrap().shutdown(HOUR).await;
        assert_eq!(report.cancelled, 0);
        assert_eq!(report.finished, 0, "the run that calls has not ended");
    })
    .after(SEC)
    .start()
    .unwrap();
    rt.advance(secs(2)).await;
    assert_eq!((own.is_closed(), own.stats().runs.completed), (true, 1));
}

async fn runs_that_remove_their_job_do_not_wait_for_each_other(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    // Three at once; the other one's runs remove this job too, and this one's the other.
    let job = |name: &'static str, first: &'static str, then: &'static str| {
        let slept = rt.clone();
        let job = scheduler.job(name, move |cx: JobContext| {
            let rt = slept.clone();
            async move {
                let scheduler = cx.scheduler().unwrap();
                let jobs = [first, then].map(|name| scheduler.find(name));
                rt.sleep(secs(3)).await.unwrap();
                for job in jobs.into_iter().flatten() {
                    job.remove().await;
                }
            }
        });
        job.every(SEC).overlap(Overlap::Allow(9)).start().unwrap()
    };
    let jobs = [job("a", "a", "b"), job("b", "a", "b"), job("c", "c", "c")];
    rt.advance(secs(30)).await;
    for job in jobs {
        let stats = job.stats();
        assert_eq!(stats.running, 0, "{job:?}");
        assert!(stats.runs.completed >= 3, "{job:?}");
    }

    // One that has given up waiting is waited for again.
    let log = Log::new(&rt);
    let gives_up = log.clone();
    let job = scheduler.job("d", move |cx: JobContext| {
        let log = gives_up.clone();
        async move {
            let rt = log.rt.clone();
            let me = cx.scheduler().unwrap().find(cx.job()).unwrap();
            if cx.run() == 1 {
                rt.sleep(secs(3)).await.unwrap();
                assert!(rt.timeout(secs(1), me.remove()).await.is_err());
                rt.sleep(secs(10)).await.unwrap();
            } else {
                rt.sleep(secs(5)).await.unwrap();
                me.remove().await;
                log.note();
            }
        }
    });
    let job = job.every(SEC).overlap(Overlap::Allow(2)).start().unwrap();
    rt.advance(secs(30)).await;
    assert_eq!(log.millis(), [15_000]);
    assert_eq!(job.stats().runs.completed, 2);
}

async fn runs_that_shut_the_scheduler_down_do_not_wait_for_each_other(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    for name in ["a", "b"] {
        let log = log.clone();
        let job = scheduler.job(name, move |cx: JobContext| {
            let log = log.clone();
            async move {
                let scheduler = cx.scheduler().unwrap();
                log.rt.sleep(SEC).await.unwrap();
                let report = scheduler.shutdown(HOUR).await;
                assert_eq!(report.cancelled, 0);
                log.note();
            }
        });
        job.every(SEC).overlap(Overlap::Allow(9)).start().unwrap();
    }
    // It takes longer than they, and waits for nobody.
    slow(&scheduler, "slow", &Log::new(&rt), secs(5))
        .after(SEC)
        .start()
        .unwrap();
    rt.advance(secs(10)).await;
    let stats = scheduler.stats();
    assert_eq!((stats.running, stats.runs.panicked), (0, 0));
    assert!(
        log.millis().iter().all(|&at| at == 6_000),
        "{:?}",
        log.millis()
    );
    assert!(log.len() >= 2);
}

async fn closing_ends_jobs_takes_no_more_and_lets_runs_finish(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = slow(&scheduler, "slow", &log, secs(3))
        .every(SEC)
        .start()
        .unwrap();
    rt.advance(ms(1_500)).await;
    scheduler.close();
    scheduler.close();
    assert!(scheduler.is_closed());
    assert_eq!(job.state(), JobState::Ended(EndReason::ShutDown));
    let late = scheduler.job("late", async |_cx| ()).every(SEC).start();
    assert_eq!(late.unwrap_err(), ScheduleError::Closed);
    rt.advance(MIN).await;
    assert_eq!(job.stats().runs.completed, 1);
}

async fn dropping_the_last_handle_ends_jobs_and_lets_runs_finish(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = slow(&scheduler, "slow", &log, secs(2))
        .every(SEC)
        .start()
        .unwrap();
    rt.advance(ms(1_500)).await;
    let clone = scheduler.clone();
    drop(scheduler);
    assert_eq!(job.state(), JobState::Active);
    drop(clone);
    assert_eq!(job.state(), JobState::Ended(EndReason::ShutDown));
    rt.advance(secs(10)).await;
    assert_eq!((log.len(), job.stats().runs.completed), (1, 1));
    assert_eq!(rt.live_tasks(), 0);
}

async fn what_a_job_captured_goes_with_it(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let held = Arc::new(());
    let job = scheduler.job_with("holds", held.clone(), async |_cx, _held| ());
    let job = job.every(HOUR).start().unwrap();
    assert_eq!(Arc::strong_count(&held), 2);
    scheduler.remove("holds");
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(job.trigger_now().await, Err(TriggerNowError::Ended));
}

async fn case_107_a_report_has_the_runs_duration(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = slow(&scheduler, "slow", &log, ms(5))
        .after(SEC)
        .start()
        .unwrap();
    rt.advance(secs(2)).await;
    let last = job.stats().last.unwrap();
    assert_eq!((last.duration, last.run), (ms(5), 1));
    assert_eq!(last.scheduled_at, log.wall + SEC);
}

async fn pause_resume_and_runs_by_hand(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = noting(&scheduler, "poll", &log)
        .every(secs(10))
        .start()
        .unwrap();
    rt.advance(secs(11)).await;
    assert!(job.pause());
    assert!(!job.pause());
    assert!(job.upcoming(3).is_empty());
    rt.advance(secs(14)).await;
    job.trigger_now().await.unwrap();
    rt.settle().await;
    assert!(job.resume());
    assert!(!job.resume());
    let expected: Vec<_> = [30, 40, 50].map(|at| log.wall + secs(at)).into();
    assert_eq!(job.upcoming(3), expected);
    rt.advance(secs(20)).await;
    // 20 passed in the pause; the run by hand at 25; back on the grid at 30.
    assert_eq!(log.millis(), [10_000, 25_000, 30_000, 40_000]);
    assert_eq!(job.stats().runs.missed, 0);

    let once = noting(&scheduler, "once", &log)
        .after(secs(1))
        .start()
        .unwrap();
    once.pause();
    rt.advance(secs(2)).await;
    once.resume();
    rt.settle().await;
    assert_eq!(
        once.stats().runs.completed,
        1,
        "what is due once is due at the resume"
    );

    // The last of several is made up no more than those before it.
    let end = rt.wall() + secs(35);
    let ends = noting(&scheduler, "ends", &Log::new(&rt))
        .trigger(Every::new(secs(10)).not_after(end))
        .start()
        .unwrap();
    rt.advance(secs(15)).await;
    ends.pause();
    rt.advance(HOUR).await;
    assert!(ends.resume());
    rt.settle().await;
    assert_eq!(ends.state(), JobState::Ended(EndReason::Finished));
    assert_eq!(ends.stats().runs.started, 1);
}

async fn run_by_hand_meets_the_overlap_policy_and_the_limit(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = slow(&scheduler, "slow", &log, SEC)
        .every(HOUR)
        .max_runs(2)
        .start()
        .unwrap();
    job.trigger_now().await.unwrap();
    assert_eq!(
        job.trigger_now().await,
        Err(TriggerNowError::Overlap { running: 1 })
    );
    rt.advance(secs(2)).await;
    job.trigger_now().await.unwrap();
    assert_eq!(job.trigger_now().await, Err(TriggerNowError::Ended));
    rt.advance(secs(2)).await;
    assert_eq!(job.state(), JobState::Ended(EndReason::Finished));
    rt.advance(2 * HOUR).await;
    assert_eq!(log.len(), 2);
}

async fn a_driver_of_ones_own_and_its_end(rt: TestRuntime) {
    let builder = Scheduler::builder().runtime(&rt).name("nightly");
    let (scheduler, driver) = builder.build_with_driver().unwrap();
    let log = Log::new(&rt);
    let job = noting(&scheduler, "poll", &log).every(SEC).start().unwrap();
    rt.advance(secs(3)).await;
    assert_eq!(log.len(), 0, "nobody drives");
    let task = rt.spawn(driver);
    rt.advance(secs(2)).await;
    assert_eq!(log.len(), 3, "one run for the three that were missed");
    assert!(format!("{scheduler:?}").contains("nightly"));
    task.abort();
    let _ = task.await;
    assert_eq!(job.state(), JobState::Ended(EndReason::ShutDown));
    let refused = scheduler.job("new", async |_cx| ()).every(SEC).start();
    assert_eq!(refused.unwrap_err(), ScheduleError::Closed);
}

/// Polls a driver once.
async fn turn(driver: &mut SchedulerDriver) {
    poll_fn(|cx| {
        let _ = Pin::new(&mut *driver).poll(cx);
        Poll::Ready(())
    })
    .await;
}

async fn news_do_not_hold_up_what_is_due(rt: TestRuntime) {
    let built = Scheduler::builder().runtime(&rt).build_with_driver();
    let (scheduler, mut driver) = built.unwrap();
    let due = scheduler.job("due", async |_cx| ()).every(HOUR);
    let due = due.immediately().start().unwrap();
    for _ in 0..3_000 {
        scheduler
            .unnamed(async |_cx| ())
            .every(HOUR)
            .start()
            .unwrap();
    }
    turn(&mut driver).await;
    assert_eq!(due.stats().runs.started, 1);
    drop(driver);
}

/// Never due, so to speak; panics when it goes.
struct Grumpy(Arc<AtomicUsize>, Due);

impl Trigger for Grumpy {
    fn next(&self, _cx: &TriggerContext) -> Option<Due> {
        Some(self.1)
    }
}

impl Drop for Grumpy {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
        panic!("on its way out");
    }
}

async fn a_driver_that_goes_takes_all_jobs_along(rt: TestRuntime) {
    let built = Scheduler::builder().runtime(&rt).build_with_driver();
    let (scheduler, mut driver) = built.unwrap();
    let gone = Arc::new(AtomicUsize::new(0));
    let start = || {
        for due in [Due::At(rt.now() + HOUR), Due::Wall(rt.wall() + HOUR)] {
            let job = scheduler.unnamed(async |_cx| ());
            job.trigger(Grumpy(gone.clone(), due)).start().unwrap();
        }
    };
    start();
    start();
    turn(&mut driver).await;
    // The driver knows those, and has yet to see these.
    start();
    drop(driver);
    assert_eq!(gone.load(Relaxed), 6);
    assert!(scheduler.is_closed());
}
