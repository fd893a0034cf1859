//! Retries, timeouts, and jobs that end with their first error.

use std::future::{Ready, ready};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_rt::{Backoff, TestRuntime};
use flow_sched::{
    EndReason, JobContext, JobEventKind, JobState, Overlap, RunOutcome, ScheduleError, Scheduler,
    SchedulerConfigError, WorkerPool,
};

use crate::common::{HOUR, Log, MIN, SEC, ms, noting, scheduler, secs, slow};

flow_rt::on_every_runtime! {
    seeds 0..20;
    case_115_a_job_ends_with_its_first_error,
    case_117_attempts_come_after_growing_delays,
    case_118_removing_the_job_ends_its_retries,
    case_119_bad_plans_are_refused,
    case_129_the_timeout_is_that_of_an_attempt_or_of_all_jobs,
    only_what_is_transient_is_tried_again,
    a_retry_is_one_run_for_the_overlap_policy,
    in_a_pool_a_retry_gives_its_slot_away,
    a_terminated_retry_ends_its_wait,
}

/// Fails with its attempt's number until the attempt `good`.
fn fails_until(cx: &JobContext, log: &Log, good: u32) -> Ready<Result<(), String>> {
    log.note();
    let failed = cx.attempt() < good;
    ready(if failed {
        Err(format!("attempt {}", cx.attempt()))
    } else {
        Ok(())
    })
}

fn plan() -> Backoff {
    Backoff::exponential(ms(100)).attempts(4)
}

async fn case_115_a_job_ends_with_its_first_error(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let twice = noting(&scheduler, "twice", &log)
        .every(SEC)
        .max_runs(2)
        .start()
        .unwrap();
    rt.advance(secs(10)).await;
    assert_eq!(twice.stats().runs.completed, 2);
    let third = scheduler.job("third", async |cx: JobContext| {
        if cx.run() == 3 {
            Err("the third")
        } else {
            Ok(())
        }
    });
    let third = third.every(SEC).stop_on_error().overlap(Overlap::BufferOne);
    let third = third.start().unwrap();
    let panics = scheduler.job("panics", async |_cx| -> () { panic!("at once") });
    let panics = panics.every(SEC).stop_on_error().start().unwrap();
    let times_out = slow(&scheduler, "times out", &log, HOUR)
        .every(SEC)
        .timeout(SEC)
        .stop_on_error()
        .start()
        .unwrap();
    rt.advance(secs(10)).await;
    let ended = JobState::Ended(EndReason::RunFailed);
    assert_eq!((third.state(), third.stats().runs.started), (ended, 3));
    assert_eq!((panics.state(), panics.stats().runs.started), (ended, 1));
    assert_eq!(
        (times_out.state(), times_out.stats().runs.started),
        (ended, 1)
    );
    assert!(scheduler.list().is_empty());
    assert!(scheduler.find("third").is_none());
}

async fn case_117_attempts_come_after_growing_delays(rt: TestRuntime) {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let hears = told.clone();
    let scheduler = Scheduler::builder()
        .runtime(&rt)
        .on_event(move |event| {
            let told = match event.kind {
                JobEventKind::Retrying {
                    failed,
                    delay,
                    outcome,
                    ..
                } => {
                    format!("{failed} failed, {delay:?}, {outcome:?}")
                }
                JobEventKind::GaveUp(report) => format!("gave up after {}", report.attempts),
                _ => return,
            };
            hears.lock().unwrap().push(told);
        })
        .build()
        .unwrap();
    let (good, bad) = (Log::new(&rt), Log::new(&rt));
    let spent = Arc::new(AtomicU32::new(0));
    let hook = spent.clone();
    let job = scheduler.job_with("bad", bad.clone(), |cx, log| {
        fails_until(&cx, &log, u32::MAX)
    });
    let job = job.after(SEC).retry(plan()).on_give_up(move |report| {
        hook.fetch_add(report.attempts, Relaxed);
        panic!("in a hook");
    });
    let job = job.start().unwrap();
    rt.advance(secs(10)).await;
    assert_eq!(bad.millis(), [1_000, 1_100, 1_300, 1_700]);
    assert_eq!(spent.load(Relaxed), 4);
    let stats = job.stats();
    assert_eq!((stats.runs.started, stats.runs.failed), (1, 1));
    let last = stats.last.unwrap();
    assert_eq!((last.attempts, last.duration), (4, ms(700)));
    assert_eq!(last.outcome, RunOutcome::Failed("attempt 4".into()));
    let told = told.lock().unwrap().clone();
    assert_eq!(told[0], "1 failed, 100ms, Failed(\"attempt 1\")");
    assert_eq!(
        told[2..],
        ["3 failed, 400ms, Failed(\"attempt 3\")", "gave up after 4"]
    );
    // What succeeds in time is a success, and the next run begins with the first delay again.
    let job = scheduler.job_with("good", good.clone(), |cx, log| fails_until(&cx, &log, 3));
    let job = job.every(SEC).max_runs(2).retry(plan()).start().unwrap();
    rt.advance(secs(10)).await;
    let offset = 10_000;
    let expected = [1_000, 1_100, 1_300, 2_000, 2_100, 2_300].map(|at| at + offset);
    assert_eq!(good.millis(), expected);
    assert_eq!(job.stats().runs.completed, 2);
    // A panic and a timeout are failures too.
    let panics = scheduler.job("panics", async |cx: JobContext| {
        assert!(cx.attempt() == 2, "the first time");
    });
    let panics = panics.after(SEC).retry(plan()).start().unwrap();
    rt.advance(secs(2)).await;
    assert_eq!(panics.stats().last.unwrap().outcome, RunOutcome::Completed);
}

async fn case_118_removing_the_job_ends_its_retries(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let start = |name: &'static str| {
        let job = scheduler.job_with(name, log.clone(), |cx, log| {
            fails_until(&cx, &log, u32::MAX)
        });
        let plan = Backoff::constant(HOUR).attempts(100);
        job.after(SEC).retry(plan).start().unwrap()
    };
    let removed = start("removed");
    let shut = start("shut");
    rt.advance(HOUR + secs(2)).await;
    assert_eq!(log.len(), 4);
    // It waits for no attempt: the run has ended when the job has been removed.
    assert!(removed.remove().await);
    assert_eq!(removed.stats().running, 0);
    assert_eq!(removed.stats().last.unwrap().attempts, 2);
    let report = scheduler.shutdown(SEC).await;
    assert_eq!((report.jobs, report.finished, report.cancelled), (1, 1, 0));
    rt.advance(10 * HOUR).await;
    assert_eq!((log.len(), shut.stats().runs.failed), (4, 1));
}

async fn case_119_bad_plans_are_refused(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let job = |plan: Backoff| {
        scheduler
            .job("x", async |_cx| ())
            .every(SEC)
            .retry(plan)
            .start()
    };
    for bad in [
        Backoff::exponential(SEC).factor(0.5),
        Backoff::exponential(SEC).factor(0.0),
        Backoff::exponential(Duration::ZERO),
        Backoff::exponential(SEC).max_delay(ms(1)),
        Backoff::exponential(SEC).attempts(0),
    ] {
        let refused = job(bad).unwrap_err();
        let ScheduleError::Retry(why) = &refused else {
            panic!("{refused}");
        };
        assert_eq!(refused.to_string(), format!("the job's retries: {why}"));
    }
    let log = Log::new(&rt);
    let bounded = Backoff::exponential(SEC).max_delay(secs(2)).attempts(6);
    let job = scheduler.job_with("x", log.clone(), |cx, log| fails_until(&cx, &log, 7));
    job.after(SEC).retry(bounded).start().unwrap();
    rt.advance(HOUR).await;
    assert_eq!(log.millis(), [1_000, 2_000, 4_000, 6_000, 8_000, 10_000]);
}

async fn case_129_the_timeout_is_that_of_an_attempt_or_of_all_jobs(rt: TestRuntime) {
    let zero = Scheduler::builder()
        .runtime(&rt)
        .timeout(Duration::ZERO)
        .build();
    assert_eq!(zero.unwrap_err(), SchedulerConfigError::ZeroTimeout);
    let scheduler = Scheduler::builder()
        .runtime(&rt)
        .timeout(ms(200))
        .build()
        .unwrap();
    let log = Log::new(&rt);
    let default = slow(&scheduler, "default", &log, ms(300))
        .after(ms(500))
        .start()
        .unwrap();
    let own = slow(&scheduler, "own", &log, ms(300))
        .after(ms(500))
        .timeout(ms(301));
    let own = own.start().unwrap();
    let none = slow(&scheduler, "none", &log, HOUR)
        .after(ms(500))
        .timeout(Duration::MAX);
    let none = none.start().unwrap();
    let tries = Log::new(&rt);
    let each = slow(&scheduler, "each", &tries, HOUR)
        .after(ms(500))
        .retry(plan())
        .start()
        .unwrap();
    rt.advance(2 * HOUR).await;
    let outcome = |job: &flow_sched::JobHandle| job.stats().last.unwrap().outcome;
    assert_eq!(outcome(&default), RunOutcome::TimedOut);
    assert_eq!(default.stats().last.unwrap().duration, ms(200));
    assert_eq!(outcome(&own), RunOutcome::Completed);
    assert_eq!(outcome(&none), RunOutcome::Completed);
    assert_eq!(tries.millis(), [500, 800, 1_200, 1_800]);
    assert_eq!(outcome(&each), RunOutcome::TimedOut);
}

async fn only_what_is_transient_is_tried_again(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = scheduler.job_with("picky", log.clone(), |cx, log| fails_until(&cx, &log, 9));
    let job = job
        .after(SEC)
        .retry(plan())
        .retry_if(|error| error != "attempt 2")
        .start()
        .unwrap();
    let panics = scheduler.job_with("panics", log.clone(), |cx, log| fails_until(&cx, &log, 9));
    let panics = panics.after(HOUR).retry(plan());
    let panics = panics
        .retry_if(|_| panic!("in a predicate"))
        .start()
        .unwrap();
    rt.advance(2 * HOUR).await;
    assert_eq!(job.stats().last.unwrap().attempts, 2);
    let last = panics.stats().last.unwrap();
    assert_eq!(last.outcome, RunOutcome::Panicked("in a predicate".into()));
    assert_eq!(last.attempts, 4);
}

async fn a_retry_is_one_run_for_the_overlap_policy(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = scheduler.job_with("x", log.clone(), |cx, log| fails_until(&cx, &log, 4));
    let job = job.every(ms(300)).retry(plan()).start().unwrap();
    rt.advance(ms(1_150)).await;
    // The run of 300 ends at 1000; those of 600 and 900 are skipped.
    assert_eq!(log.millis(), [300, 400, 600, 1_000]);
    assert_eq!(
        (job.stats().runs.completed, job.stats().runs.skipped),
        (1, 2)
    );
    // Told to stop, it does not try again.
    rt.advance(ms(100)).await;
    assert_eq!(job.stats().running, 1);
    scheduler.cancel_all();
    rt.advance(SEC).await;
    assert_eq!(job.stats().running, 0);
    assert_eq!(log.len(), 5);
}

async fn in_a_pool_a_retry_gives_its_slot_away(rt: TestRuntime) {
    let pool = WorkerPool::builder()
        .runtime(&rt)
        .slots(1)
        .queue(4)
        .build()
        .unwrap();
    let scheduler = Scheduler::builder()
        .runtime(&rt)
        .pool(&pool)
        .build()
        .unwrap();
    let (bad, good) = (Log::new(&rt), Log::new(&rt));
    let job = scheduler.job_with("bad", bad.clone(), |cx, log| fails_until(&cx, &log, 3));
    job.after(SEC)
        .retry(Backoff::constant(MIN))
        .start()
        .unwrap();
    noting(&scheduler, "good", &good)
        .every(SEC)
        .start()
        .unwrap();
    rt.advance(secs(30)).await;
    assert_eq!(good.len(), 30);
    rt.advance(2 * MIN).await;
    assert_eq!(bad.millis(), [1_000, 61_000, 121_000]);
    scheduler.shutdown(SEC).await;
    pool.shutdown(SEC).await;
}

async fn a_terminated_retry_ends_its_wait(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = scheduler.job_with("x", log.clone(), |cx, log| fails_until(&cx, &log, 9));
    let job = job
        .every(SEC)
        .retry(Backoff::constant(HOUR))
        .overlap(Overlap::TerminatePrevious)
        .start()
        .unwrap();
    rt.advance(ms(5_500)).await;
    assert_eq!(log.millis(), [1_000, 2_000, 3_000, 4_000, 5_000]);
    assert_eq!(job.stats().runs.terminated, 4);
}
