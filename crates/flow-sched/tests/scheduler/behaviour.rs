//! The same cases on tokio (both flavours), smol and async-std, in stepped time, and in the
//! simulation.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_rt::{CancellationToken, Handle, Instant, TestRuntime};
use flow_sched::{
    EndReason, JobContext, JobEventKind, JobState, Overlap, RunOutcome, ScheduleError, Scheduler,
    SchedulerBuilder, WorkerPool,
};
use flow_sync::Event;

use crate::common::ms;

flow_rt::on_every_runtime! {
    seeds 0..50;
    case_089_091_100_due_once_runs_once,
    case_090_limited_runs_come_on_time,
    case_093_cancelled_jobs_do_not_run,
    case_098_a_timeout_ends_a_run,
    case_099_many_tasks_start_list_and_remove,
    case_101_a_panic_is_a_result,
    case_103_shutdown_tells_and_reports,
    case_105_one_at_a_time,
    case_106_a_full_pool_delays_only_its_own_job,
    case_108_cron_follows_the_wall_clock,
    removing_waits_for_the_run,
    runs_by_hand_from_many_tasks,
    the_last_handle_goes_while_a_run_is_on,
}

/// Things noted in order, for whoever waits for a number of them.
struct Notes<T> {
    seen: Mutex<Vec<T>>,
    news: Event,
}

impl<T: Clone> Notes<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            seen: Mutex::default(),
            news: Event::new(),
        })
    }

    fn add(&self, what: T) {
        self.seen.lock().unwrap().push(what);
        self.news.notify_all();
    }

    async fn wait_for(&self, n: usize) -> Vec<T> {
        loop {
            let news = self.news.listen();
            let seen = self.seen.lock().unwrap().clone();
            if seen.len() >= n {
                return seen;
            }
            news.await;
        }
    }
}

type Ends = Arc<Notes<(String, EndReason)>>;

/// A scheduler that notes which jobs have ended.
fn watched(rt: &TestRuntime) -> (SchedulerBuilder, Ends) {
    let ends = Notes::new();
    let noted = ends.clone();
    let builder = Scheduler::builder().runtime(rt).on_event(move |event| {
        if let JobEventKind::Ended(reason) = event.kind {
            noted.add((event.job.to_owned(), reason));
        }
    });
    (builder, ends)
}

async fn case_089_091_100_due_once_runs_once(rt: TestRuntime) {
    let (builder, ends) = watched(&rt);
    let scheduler = builder.build().unwrap();
    let runs = Notes::<(String, Instant)>::new();
    let start = rt.now();
    let job = |name: &'static str| {
        let with = (rt.clone(), runs.clone());
        scheduler.job_with(name, with, |cx: JobContext, (rt, runs)| async move {
            runs.add((cx.job().to_owned(), rt.now()));
        })
    };
    let (wall, mono) = (rt.wall() + ms(4), start + ms(3));
    job("wall").once_at(wall).start().unwrap();
    job("mono").once_at(mono).start().unwrap();
    job("after").after(ms(5)).start().unwrap();
    let ends = ends.wait_for(3).await;
    assert!(
        ends.iter()
            .all(|(_, reason)| *reason == EndReason::Finished)
    );
    let runs = runs.wait_for(3).await;
    for (name, at) in &runs {
        let due = match name.as_str() {
            "wall" => ms(4),
            "mono" => ms(3),
            _ => ms(5),
        };
        assert_eq!(*at, start + due, "{name}");
    }
    assert_eq!(runs.len(), 3);
    assert!(scheduler.list().is_empty());
    assert_eq!(scheduler.stats().runs.completed, 3);
}

async fn case_090_limited_runs_come_on_time(rt: TestRuntime) {
    let (builder, ends) = watched(&rt);
    let scheduler = builder.build().unwrap();
    let runs = Notes::new();
    let start = rt.now();
    let with = (rt.clone(), runs.clone());
    let job = scheduler
        .job_with(
            "poll",
            with,
            |_cx, (rt, runs): (TestRuntime, Arc<Notes<Instant>>)| async move {
                runs.add(rt.now());
            },
        )
        .every(ms(3))
        .max_runs(3)
        .start()
        .unwrap();
    ends.wait_for(1).await;
    let runs = runs.wait_for(3).await;
    for (n, at) in (1..).zip(&runs) {
        assert_eq!(*at, start + ms(3) * n, "run {n}");
    }
    assert_eq!(runs.len(), 3);
    assert_eq!(job.state(), JobState::Ended(EndReason::Finished));
}

async fn case_093_cancelled_jobs_do_not_run(rt: TestRuntime) {
    let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    for n in 0..20 {
        let job = scheduler.job(format!("{n}"), async |_cx| ());
        job.after(Duration::from_secs(3_600)).start().unwrap();
    }
    assert!(scheduler.remove("7"));
    assert!(!scheduler.remove("7"));
    assert!(!scheduler.remove("none"));
    assert_eq!(scheduler.list().len(), 19);
    assert_eq!(scheduler.cancel_all(), 19);
    assert!(scheduler.list().is_empty());
    // A later job shows that the driver is alive and has dealt with the others.
    let ran = Notes::new();
    scheduler
        .job_with("7", ran.clone(), |_cx, ran: Arc<Notes<()>>| async move {
            ran.add(());
        })
        .after(ms(1))
        .start()
        .unwrap();
    ran.wait_for(1).await;
    assert_eq!(scheduler.stats().runs.started, 1);
    assert_eq!(scheduler.stats().removed, 20);
}

async fn case_098_a_timeout_ends_a_run(rt: TestRuntime) {
    let (builder, ends) = watched(&rt);
    let scheduler = builder.build().unwrap();
    let job = scheduler
        .job("stuck", async |_cx| std::future::pending::<()>().await)
        .after(ms(2))
        .timeout(ms(3))
        .start()
        .unwrap();
    ends.wait_for(1).await;
    let last = job.stats().last.unwrap();
    assert_eq!(last.outcome, RunOutcome::TimedOut);
    assert_eq!(last.duration, ms(3));
}

async fn case_099_many_tasks_start_list_and_remove(rt: TestRuntime) {
    let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    let tasks: Vec<_> = (0..10)
        .map(|task| {
            let scheduler = scheduler.clone();
            rt.spawn(async move {
                for n in 0..20_u64 {
                    let name = format!("{task}/{n}");
                    let job = scheduler.job(name.clone(), async |_cx| ());
                    let job = job
                        .every(Duration::from_micros(50 * (n + 1)))
                        .start()
                        .unwrap();
                    assert!(scheduler.list().len() <= 200);
                    job.pause();
                    job.resume();
                    let _ = job.trigger_now().await;
                    if n % 2 == 0 {
                        assert!(scheduler.remove(&name));
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(scheduler.list().len(), 100);
    let report = scheduler.shutdown(Duration::from_secs(60)).await;
    assert_eq!((report.jobs, report.cancelled), (100, 0));
    let stats = scheduler.stats();
    assert_eq!(
        stats.runs.started,
        stats.runs.completed + stats.runs.dropped
    );
    assert_eq!(stats.scheduled, 200);
}

async fn case_101_a_panic_is_a_result(rt: TestRuntime) {
    let (builder, ends) = watched(&rt);
    let scheduler = builder.build().unwrap();
    let job = scheduler.job(
        "bad",
        async |_cx: JobContext| -> Result<(), std::io::Error> { panic!("on purpose") },
    );
    let job = job.after(ms(1)).start().unwrap();
    ends.wait_for(1).await;
    let stats = job.stats();
    assert_eq!((stats.runs.started, stats.runs.panicked), (1, 1));
    assert_eq!(
        stats.last.unwrap().outcome,
        RunOutcome::Panicked("on purpose".into())
    );
}

async fn case_103_shutdown_tells_and_reports(rt: TestRuntime) {
    let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    let (begun, told) = (Notes::new(), Notes::new());
    let with = (begun.clone(), told.clone());
    scheduler
        .job_with(
            "until told",
            with,
            |cx: JobContext, (begun, told): (Arc<Notes<()>>, Arc<Notes<()>>)| async move {
                begun.add(());
                cx.cancellation().cancelled().await;
                told.add(());
            },
        )
        .every(ms(1))
        .start()
        .unwrap();
    begun.wait_for(1).await;
    let report = scheduler.shutdown(ms(3)).await;
    assert_eq!((report.jobs, report.finished, report.cancelled), (1, 0, 1));
    told.wait_for(1).await;
    let again = scheduler.shutdown(Duration::from_secs(60)).await;
    assert_eq!((again.jobs, again.cancelled), (0, 0));
    let refused = scheduler.job("late", async |_cx| ()).every(ms(1)).start();
    assert_eq!(refused.unwrap_err(), ScheduleError::Closed);
}

async fn case_105_one_at_a_time(rt: TestRuntime) {
    let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    let (inside, runs) = (Arc::new(AtomicUsize::new(0)), Notes::new());
    for (name, policy) in [("skip", Overlap::Skip), ("buffer", Overlap::BufferOne)] {
        let with = (rt.clone(), Arc::new(AtomicUsize::new(0)), runs.clone());
        scheduler
            .job_with(
                name,
                with,
                |_cx, (rt, inside, runs): (TestRuntime, Arc<AtomicUsize>, Arc<Notes<()>>)| async move {
                    assert_eq!(inside.fetch_add(1, SeqCst), 0, "two at once");
                    let _ = rt.sleep(ms(4)).await;
                    inside.fetch_sub(1, SeqCst);
                    runs.add(());
                },
            )
            .every(ms(1))
            .overlap(policy)
            .start()
            .unwrap();
    }
    runs.wait_for(6).await;
    let report = scheduler.shutdown(Duration::from_secs(60)).await;
    assert_eq!(report.cancelled, 0);
    assert_eq!(inside.load(SeqCst), 0);
    let stats = scheduler.stats();
    assert_eq!(
        (stats.runs.panicked, stats.runs.started),
        (0, stats.runs.completed)
    );
}

async fn case_106_a_full_pool_delays_only_its_own_job(rt: TestRuntime) {
    let pool = WorkerPool::builder()
        .runtime(&rt)
        .slots(1)
        .queue(1)
        .build()
        .unwrap();
    let go = CancellationToken::new();
    for _ in 0..2 {
        let go = go.clone();
        pool.submit(async move |_cx| go.cancelled_owned().await)
            .await
            .unwrap();
    }
    let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
    let (on_pool, beside) = (Notes::new(), Notes::new());
    for name in ["a", "b", "c"] {
        scheduler
            .job_with(
                name,
                on_pool.clone(),
                |_cx, seen: Arc<Notes<()>>| async move { seen.add(()) },
            )
            .every(ms(1))
            .max_runs(1)
            .start()
            .unwrap();
    }
    let free = Scheduler::builder().runtime(&rt).build().unwrap();
    free.job_with(
        "free",
        beside.clone(),
        |_cx, seen: Arc<Notes<()>>| async move { seen.add(()) },
    )
    .every(ms(1))
    .start()
    .unwrap();
    beside.wait_for(5).await;
    assert!(on_pool.seen.lock().unwrap().is_empty());
    go.cancel();
    on_pool.wait_for(3).await;
    scheduler.shutdown(Duration::from_secs(60)).await;
    assert_eq!(scheduler.stats().runs.completed, 3);
}

async fn case_108_cron_follows_the_wall_clock(rt: TestRuntime) {
    let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    let runs = Notes::new();
    let with = (rt.clone(), runs.clone());
    let job = scheduler
        .job_with(
            "tick",
            with,
            |cx: JobContext, (rt, runs): (TestRuntime, Arc<Notes<_>>)| async move {
                runs.add((cx.scheduled_at(), rt.wall()));
            },
        )
        .cron("* * * * * *")
        .start()
        .unwrap();
    let upcoming = job.upcoming(2);
    assert_eq!(
        upcoming[1].duration_since(upcoming[0]).unwrap(),
        Duration::from_secs(1)
    );
    let (scheduled_at, at) = runs.wait_for(1).await[0];
    assert_eq!((scheduled_at, at), (upcoming[0], upcoming[0]));
}

async fn removing_waits_for_the_run(rt: TestRuntime) {
    let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    let begun = Notes::new();
    let done = Arc::new(AtomicUsize::new(0));
    let with = (rt.clone(), begun.clone(), done.clone());
    let job = scheduler
        .job_with(
            "slow",
            with,
            |_cx, (rt, begun, done): (TestRuntime, Arc<Notes<()>>, Arc<AtomicUsize>)| async move {
                begun.add(());
                let _ = rt.sleep(ms(4)).await;
                done.fetch_add(1, SeqCst);
            },
        )
        .every(ms(1))
        .start()
        .unwrap();
    begun.wait_for(1).await;
    assert!(job.remove().await);
    let finished = done.load(SeqCst);
    assert_eq!(finished as u64, job.stats().runs.started);
    assert!(!job.remove().await);
    assert_eq!(job.stats().running, 0);
}

async fn runs_by_hand_from_many_tasks(rt: TestRuntime) {
    let pool = WorkerPool::builder()
        .runtime(&rt)
        .slots(2)
        .queue(2)
        .build()
        .unwrap();
    let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
    let job = scheduler
        .job("job", async |_cx| ())
        .after(Duration::from_secs(3_600))
        .overlap(Overlap::Allow(100))
        .start()
        .unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let job = job.clone();
            rt.spawn(async move {
                for _ in 0..25 {
                    job.trigger_now().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    job.remove().await;
    let runs = job.stats().runs;
    assert_eq!(runs.started, 200);
    // Those that had not begun when the job was removed were dropped.
    assert_eq!(runs.completed + runs.dropped, 200);
}

async fn the_last_handle_goes_while_a_run_is_on(rt: TestRuntime) {
    let (builder, ends) = watched(&rt);
    let scheduler = builder.build().unwrap();
    let (begun, done) = (Notes::new(), Notes::new());
    let go = CancellationToken::new();
    let with = (go.clone(), begun.clone(), done.clone());
    let job = scheduler
        .job_with(
            "slow",
            with,
            |cx: JobContext,
             (go, begun, done): (CancellationToken, Arc<Notes<()>>, Arc<Notes<_>>)| async move {
                begun.add(());
                go.cancelled().await;
                done.add(cx.scheduler().is_none());
            },
        )
        .every(ms(1))
        .start()
        .unwrap();
    begun.wait_for(1).await;
    drop(scheduler);
    assert_eq!(
        ends.wait_for(1).await,
        [("slow".to_owned(), EndReason::ShutDown)]
    );
    go.cancel();
    let done = done.wait_for(1).await;
    assert_eq!(done, [true], "the run ends well, and finds no scheduler");
    job.remove().await;
    assert_eq!(job.stats().runs.completed, 1);
}

#[test]
fn a_runtime_that_goes_takes_the_scheduler_with_it() {
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(rt.handle().clone()).unwrap();
    let scheduler = Scheduler::builder().runtime(&handle).build().unwrap();
    let begun = Notes::new();
    let job = scheduler
        .job_with(
            "stuck",
            begun.clone(),
            |_cx, begun: Arc<Notes<()>>| async move {
                begun.add(());
                std::future::pending::<()>().await;
            },
        )
        .every(ms(1))
        .start()
        .unwrap();
    rt.block_on(begun.wait_for(1));
    drop(rt);
    flow_rt::block_on(job.remove()).unwrap();
    assert_eq!(job.stats().runs.dropped, 1);
    let report = flow_rt::block_on(scheduler.shutdown(Duration::from_secs(3_600))).unwrap();
    assert_eq!(report.cancelled, 0);
    let refused = scheduler.job("late", async |_cx| ()).every(ms(1)).start();
    assert_eq!(refused.unwrap_err(), ScheduleError::Closed);
}
