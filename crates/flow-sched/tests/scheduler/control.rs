//! Other triggers for jobs that run, histories, many jobs at once, and schedulers that stop and
//! start.

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Waker};
use std::time::Duration;

use flow_rt::TestRuntime;
use flow_sched::{
    Cron, Due, EndReason, Every, FixedDelay, JobContext, JobEventKind, JobEvents, JobHandle,
    JobNewsKind, JobState, Misfire, Once, RunOutcome, ScheduleError, Scheduler, Trigger,
    TriggerContext,
};

use crate::common::{HOUR, Log, MIN, SEC, ms, noting, scheduler, secs, slow};

flow_rt::on_every_runtime! {
    seeds 0..20;
    case_095_103_a_scheduler_stops_and_starts_again,
    case_112_another_trigger_takes_over,
    another_trigger_and_a_run_in_progress,
    bad_triggers_leave_the_old_one_in_place,
    a_history_keeps_the_last_runs,
    all_jobs_start_or_none,
    many_tasks_change_one_job,
    listeners_hear_what_happens_and_when_it_is_over,
    a_second_close_does_not_say_that_all_is_told,
    events_are_a_stream_that_ends_with_the_scheduler,
    a_pause_takes_no_time_away_that_a_run_has_fixed,
}

async fn case_095_103_a_scheduler_stops_and_starts_again(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let (poll, cron, once) = (Log::new(&rt), Log::new(&rt), Log::new(&rt));
    assert!(scheduler.is_running());
    assert!(!scheduler.start(), "it has been started");
    noting(&scheduler, "poll", &poll)
        .every(SEC)
        .start()
        .unwrap();
    let skips = noting(&scheduler, "cron", &cron)
        .cron("* * * * *")
        .misfire(Misfire::Skip);
    let skips = skips.start().unwrap();
    rt.advance(ms(2_500)).await;
    assert!(scheduler.stop());
    assert!(!scheduler.stop());
    assert!(!scheduler.is_running());
    let job = noting(&scheduler, "once", &once)
        .after(SEC)
        .start()
        .unwrap();
    let before = scheduler.stats().wakeups;
    rt.advance(10 * MIN).await;
    assert!(
        scheduler.stats().wakeups <= before + 2,
        "nobody wakes a scheduler that stands still"
    );
    assert_eq!((poll.len(), cron.len(), once.len()), (2, 0, 0));
    // Runs by hand, lists and removals go on.
    job.trigger_now().await.unwrap();
    rt.settle().await;
    assert_eq!(once.len(), 1);
    assert_eq!(scheduler.list().len(), 3);
    assert!(scheduler.start());
    rt.settle().await;
    assert_eq!((poll.len(), cron.len(), once.len()), (3, 0, 2));
    assert_eq!(skips.stats().runs.missed, 10);
    rt.advance(MIN).await;
    assert_eq!((poll.len(), cron.len()), (63, 1));
    scheduler.stop();
    let report = scheduler.shutdown(SEC).await;
    assert_eq!((report.jobs, report.cancelled), (2, 0));
    assert!(!scheduler.start(), "closed is for good");
    assert!(!scheduler.is_running());
}

async fn case_112_another_trigger_takes_over(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = noting(&scheduler, "x", &log).every(HOUR).start().unwrap();
    rt.advance(MIN).await;
    job.update(Every::new(secs(10))).unwrap();
    assert_eq!(job.upcoming(1), [log.wall + MIN + secs(10)]);
    rt.advance(secs(25)).await;
    assert_eq!(log.millis(), [70_000, 80_000]);
    job.update(Cron::new("* * * * *").unwrap()).unwrap();
    rt.advance(MIN).await;
    assert_eq!(log.millis()[2..], [120_000]);
    // Later than before, and a paused job stays paused.
    assert!(job.pause());
    job.update(Every::new(HOUR)).unwrap();
    rt.advance(2 * HOUR).await;
    assert_eq!((log.len(), job.state()), (3, JobState::Paused));
    assert!(job.resume());
    rt.advance(HOUR).await;
    assert_eq!(log.len(), 4);
    // A last time ends the job; by then it takes no other trigger.
    job.update(Once::new(rt.now() + SEC)).unwrap();
    rt.advance(MIN).await;
    assert_eq!(
        (log.len(), job.state()),
        (5, JobState::Ended(EndReason::Finished))
    );
    assert_eq!(
        job.update(Every::new(SEC)).unwrap_err(),
        ScheduleError::Ended
    );
    assert!(scheduler.find("x").is_none());
}

async fn another_trigger_and_a_run_in_progress(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = slow(&scheduler, "x", &log, secs(10))
        .fixed_delay(SEC)
        .start()
        .unwrap();
    rt.advance(secs(2)).await;
    assert_eq!(job.stats().running, 1);
    // What hung on the end of the run is forgotten.
    job.update(Every::new(secs(30))).unwrap();
    rt.advance(secs(31)).await;
    assert_eq!(log.millis(), [1_000, 32_000]);
    job.update(FixedDelay::new(secs(3))).unwrap();
    rt.advance(secs(12)).await;
    // The first time is so long after the update, when the run has not ended: it is skipped, and
    // the next one comes after it.
    assert_eq!((job.stats().runs.skipped, job.stats().running), (1, 1));
    assert_eq!(log.millis(), [1_000, 32_000, 45_000]);
    let once = slow(&scheduler, "once", &log, secs(10))
        .after(SEC)
        .start()
        .unwrap();
    rt.advance(secs(2)).await;
    // Its only time has been, but the run has not ended: it may still get another trigger.
    once.update(Every::new(MIN)).unwrap();
    rt.advance(2 * MIN).await;
    assert_eq!(once.stats().runs.started, 3);
    let limited = noting(&scheduler, "limited", &log)
        .every(SEC)
        .max_runs(3)
        .start()
        .unwrap();
    rt.advance(ms(1_500)).await;
    limited.update(Every::new(MIN)).unwrap();
    assert_eq!(limited.upcoming(9).len(), 2);
    rt.advance(HOUR).await;
    assert_eq!(limited.stats().runs.completed, 3);
}

/// Panics whenever it is asked.
struct Panics;

impl Trigger for Panics {
    fn next(&self, _cx: &TriggerContext) -> Option<Due> {
        panic!("no idea");
    }
}

/// Panics when it is dropped.
struct DropPanics;

impl Trigger for DropPanics {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        cx.previous().is_none().then_some(Due::At(cx.now() + HOUR))
    }
}

impl Drop for DropPanics {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

async fn bad_triggers_leave_the_old_one_in_place(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = noting(&scheduler, "x", &log).every(SEC).start().unwrap();
    let never = Once::new(rt.wall()).not_after(rt.wall() - SEC);
    assert_eq!(job.update(never).unwrap_err(), ScheduleError::NeverDue);
    let zero = job.update(Every::new(Duration::ZERO));
    assert_eq!(zero.unwrap_err(), ScheduleError::ZeroInterval);
    let panics = job.update(Panics).unwrap_err();
    assert_eq!(panics.to_string(), "the job's trigger panicked: no idea");
    rt.advance(ms(1_500)).await;
    assert_eq!(log.millis(), [1_000]);
    job.update(DropPanics).unwrap();
    job.update(Every::new(SEC)).unwrap();
    rt.advance(ms(1_500)).await;
    assert_eq!(log.millis(), [1_000, 2_500]);
    scheduler.cancel_all();
    assert_eq!(job.update(DropPanics).unwrap_err(), ScheduleError::Ended);
}

async fn a_history_keeps_the_last_runs(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let job = |name: &'static str| {
        let job = scheduler.job(name, async |cx: JobContext| {
            if cx.run().is_multiple_of(2) {
                Err("even")
            } else {
                Ok(())
            }
        });
        job.every(SEC)
    };
    let (three, one, none) = (job("three").history(3), job("one").history(1), job("none"));
    let jobs = [three, one, none].map(|job| job.start().unwrap());
    assert!(
        jobs.iter()
            .all(|job| job.history().is_empty() && job.last().is_none())
    );
    for n in 1..=5 {
        rt.advance(SEC).await;
        let runs = jobs
            .each_ref()
            .map(|job| -> Vec<u64> { job.history().iter().map(|report| report.run).collect() });
        assert_eq!(runs[0], (n.max(3) - 2..=n).collect::<Vec<u64>>());
        assert_eq!((&*runs[1], &*runs[2]), (&[n][..], &[n][..]));
    }
    let outcomes: Vec<_> = jobs[0]
        .history()
        .into_iter()
        .map(|report| report.outcome)
        .collect();
    let failed = RunOutcome::Failed("even".into());
    assert_eq!(
        outcomes,
        [RunOutcome::Completed, failed, RunOutcome::Completed]
    );
    jobs[0].remove().await;
    assert_eq!(jobs[0].history().len(), 3);
    assert_eq!(jobs[0].last().unwrap().run, 5);
}

async fn all_jobs_start_or_none(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = |name: &'static str| noting(&scheduler, name, &log).every(SEC);
    let jobs = scheduler.start_all([job("a"), job("b")]).unwrap();
    assert_eq!(jobs[1].name(), "b");
    for (bad, index, why) in [
        (
            vec![job("c"), job("c")],
            1,
            "there is a job named \"c\" already; names are unique among \
                                       jobs that have not ended",
        ),
        (
            vec![job("c"), job("d"), job("a")],
            2,
            "there is a job named \"a\" already; names are \
                                                 unique among jobs that have not ended",
        ),
        (
            vec![job("c").every(SEC)],
            0,
            "the job was given two triggers; it takes one",
        ),
    ] {
        let refused = scheduler.start_all(bad).unwrap_err();
        assert_eq!(
            (refused.index(), refused.error().to_string().as_str()),
            (index, why)
        );
        assert_eq!(
            refused.to_string(),
            format!("job {index} of those to start: {why}")
        );
        assert_eq!(scheduler.list().len(), 2);
    }
    let other = Scheduler::builder().runtime(&rt).build().unwrap();
    let refused = other.start_all([job("c")]).unwrap_err();
    assert_eq!(refused.error(), &ScheduleError::OtherScheduler);
    let many = (0..1_000).map(|_| {
        let job = scheduler.unnamed_with(log.clone(), async |_cx, log: Log| log.note());
        job.after(SEC)
    });
    assert_eq!(scheduler.start_all(many).unwrap().len(), 1_000);
    assert!(
        scheduler
            .start_all(Vec::<flow_sched::JobBuilder<()>>::new())
            .unwrap()
            .is_empty()
    );
    rt.advance(SEC).await;
    assert_eq!(log.len(), 1_002);
    assert_eq!(scheduler.stats().scheduled, 1_002);
    scheduler.close();
    let closed = scheduler.start_all([job("c")]).unwrap_err();
    assert_eq!(closed.error(), &ScheduleError::Closed);
}

async fn many_tasks_change_one_job(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let runs = Arc::new(AtomicU64::new(0));
    let job = scheduler.job_with("x", runs.clone(), async |_cx, runs: Arc<AtomicU64>| {
        runs.fetch_add(1, Relaxed);
    });
    let job = job
        .every(Duration::from_micros(300))
        .history(5)
        .start()
        .unwrap();
    let tasks: Vec<_> = (0..4_u64)
        .map(|task| {
            let (job, rt) = (job.clone(), rt.clone());
            let clock = rt.clone();
            rt.spawn(async move {
                for n in 1..50 {
                    match (n + task) % 5 {
                        0 => drop(job.pause()),
                        1 => drop(job.resume()),
                        2 => job
                            .update(Every::new(Duration::from_micros(100 * n)))
                            .unwrap(),
                        3 => drop(job.trigger_now().await),
                        _ => assert!(job.history().len() <= 5),
                    }
                    clock
                        .sleep(Duration::from_micros(70 * (task + 1)))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    job.update(Every::new(ms(1))).unwrap();
    job.resume();
    let before = job.stats().runs.completed;
    rt.advance(ms(10)).await;
    assert!(job.stats().runs.completed >= before + 10);
    scheduler.shutdown(MIN).await;
    let stats = job.stats().runs;
    assert_eq!(stats.started, stats.completed + stats.dropped);
    assert_eq!(stats.completed, runs.load(Relaxed));
}

async fn listeners_hear_what_happens_and_when_it_is_over(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let mut all = scheduler.events(room(100));
    let mut two = scheduler.events(room(2));
    assert!(all.try_next().is_none());
    let follower = rt.spawn(async move {
        let mut heard = Vec::new();
        while let Some(event) = all.next().await {
            heard.push((event.job.to_string(), event.kind));
        }
        (heard, all.lost())
    });
    let job = slow(&scheduler, "slow", &log, ms(2_500))
        .every(SEC)
        .start()
        .unwrap();
    rt.advance(ms(2_500)).await;
    assert_eq!(two.lost(), 1, "scheduled; begun, skipped are left");
    assert!(format!("{two:?}").contains("queued: 2, lost: 1"), "{two:?}");
    assert_eq!(two.try_next().unwrap().kind, JobNewsKind::RunBegins(1));
    scheduler.shutdown(MIN).await;
    let (heard, lost) = follower.await.unwrap();
    assert_eq!(lost, 0);
    assert!(heard.iter().all(|(job, _)| job == "slow"));
    let kinds: Vec<_> = heard.into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(
        kinds,
        [
            JobNewsKind::Scheduled,
            JobNewsKind::RunBegins(1),
            JobNewsKind::Skipped(1),
            JobNewsKind::Ended(EndReason::ShutDown),
            JobNewsKind::RunEnded(job.last().unwrap()),
        ]
    );
    // Who comes late is told that it is over, after what is left.
    assert!(two.next().await.is_some());
    assert!(two.next().await.is_some());
    assert!(two.next().await.is_none());
    assert!(scheduler.events(room(5)).next().await.is_none());
}

async fn a_second_close_does_not_say_that_all_is_told(rt: TestRuntime) {
    /// What the hook closes and looks at while the first close tells of the first job's end.
    type Inside = Arc<Mutex<Option<(Scheduler, JobEvents)>>>;
    let (inside, over) = (Inside::default(), Arc::new(AtomicU64::new(0)));
    let (taken, seen) = (inside.clone(), over.clone());
    let scheduler = Scheduler::builder()
        .runtime(&rt)
        .on_event(move |event| {
            if !matches!(event.kind, JobEventKind::Ended(_)) {
                return;
            }
            let Some((scheduler, mut events)) = taken.lock().unwrap().take() else {
                return;
            };
            scheduler.close();
            while events.try_next().is_some() {}
            let next = pin!(events.next());
            let polled = next.poll(&mut Context::from_waker(Waker::noop()));
            seen.store(1 + u64::from(polled.is_ready()), Relaxed);
        })
        .build()
        .unwrap();
    let mut events = scheduler.events(room(10));
    for name in ["a", "b"] {
        let job = scheduler.job(name, async |_cx| ()).every(HOUR);
        job.start().unwrap();
    }
    *inside.lock().unwrap() = Some((scheduler.clone(), scheduler.events(room(10))));
    scheduler.close();
    assert_eq!(over.load(Relaxed), 1, "the second job's end was to come");
    let mut ended = Vec::new();
    while let Some(news) = events.next().await {
        if news.kind == JobNewsKind::Ended(EndReason::ShutDown) {
            ended.push(news.job.to_string());
        }
    }
    assert_eq!(ended, ["a", "b"]);
    // Later closes change nothing: it is over.
    scheduler.close();
    assert!(events.next().await.is_none());
}

async fn events_are_a_stream_that_ends_with_the_scheduler(rt: TestRuntime) {
    use futures_util::{FutureExt, Stream, StreamExt};

    let scheduler = scheduler(&rt);
    let events = scheduler.events(room(100));
    let ends = events.filter_map(async |event| match event.kind {
        JobNewsKind::RunEnded(report) => Some((event.job, report.run)),
        _ => None,
    });
    let ends = rt.spawn(ends.collect::<Vec<_>>());
    let mut late = scheduler.events(room(100));
    assert!(StreamExt::next(&mut late).now_or_never().is_none());
    let job = scheduler.job("poll", async |_cx| ()).every(SEC).max_runs(3);
    job.start().unwrap();
    rt.advance(secs(5)).await;
    assert!(!ends.is_finished());
    // Started, begun and ended three times, and over.
    assert_eq!(late.size_hint(), (8, None));
    scheduler.close();
    let poll: Arc<str> = "poll".into();
    let runs = [1, 2, 3].map(|run| (poll.clone(), run));
    assert_eq!(ends.await.unwrap(), runs);
    assert_eq!(late.by_ref().count().await, 8);
    assert!(late.next().await.is_none());
}

fn room(events: usize) -> NonZeroUsize {
    NonZeroUsize::new(events).unwrap()
}

/// A delay after each run, whose trigger pauses its job while it is asked about the time that the
/// run has fixed, and perhaps has it go on.
struct PausedAfterRun {
    delay: FixedDelay,
    job: Arc<OnceLock<JobHandle>>,
    resumes: bool,
}

impl Trigger for PausedAfterRun {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        self.delay.next(cx)
    }

    fn after_run(&self, due: Due, _cx: &TriggerContext) -> Option<Due> {
        let job = self.job.get().unwrap();
        if job.pause() && self.resumes {
            assert!(job.resume());
        }
        Some(due)
    }
}

async fn a_pause_takes_no_time_away_that_a_run_has_fixed(rt: TestRuntime) {
    // Paused while the trigger is asked.
    for resumes in [false, true] {
        let scheduler = scheduler(&rt);
        let log = Log::new(&rt);
        let job = Arc::new(OnceLock::new());
        let trigger = PausedAfterRun {
            delay: FixedDelay::new(MIN),
            job: job.clone(),
            resumes,
        };
        let started = noting(&scheduler, "job", &log).trigger(trigger).start();
        let job = job.get_or_init(|| started.unwrap());
        rt.advance(MIN).await;
        assert_eq!(job.state() == JobState::Paused, !resumes);
        assert_eq!(job.resume(), !resumes);
        assert_eq!(job.upcoming(2).len(), 1);
        rt.advance(MIN).await;
        assert_eq!(log.millis(), [60_000, 120_000]);
    }
    // Without a run: paused as its time is found to be missed.
    let job: Arc<OnceLock<JobHandle>> = Arc::default();
    let paused = job.clone();
    let scheduler = Scheduler::builder().runtime(&rt).on_event(move |event| {
        if let JobEventKind::Missed(_) = event.kind {
            assert!(paused.get().unwrap().pause());
        }
    });
    let scheduler = scheduler.build().unwrap();
    let log = Log::new(&rt);
    let skips = noting(&scheduler, "job", &log)
        .fixed_delay(MIN)
        .misfire(Misfire::Skip);
    let job = job.get_or_init(|| skips.start().unwrap());
    scheduler.stop();
    rt.advance(2 * MIN).await;
    scheduler.start();
    rt.settle().await;
    assert_eq!((job.state(), log.len()), (JobState::Paused, 0));
    assert!(job.resume());
    rt.advance(MIN).await;
    assert_eq!(log.millis(), [180_000]);
}
