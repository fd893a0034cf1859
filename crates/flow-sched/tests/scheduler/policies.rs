//! Overlap, misfire, and clocks that are set.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use flow_rt::TestRuntime;
use flow_rt::sim::Step;
use flow_sched::{
    CatchUp, Due, Every, JobBuilder, JobContext, JobEventKind, JobState, Misfire, Overlap,
    RunOutcome, ScheduleError, Scheduler, Trigger, TriggerContext,
};

use crate::common::{HOUR, Log, MIN, SEC, ms, noting, scheduler, secs, slow};

/// Due times as whole numbers.
type Seen = Arc<Mutex<Vec<u64>>>;

flow_rt::on_every_runtime! {
    seeds 0..30;
    case_105_106_overlap_policies,
    cancel_previous_never_runs_two_and_buffer_one_keeps_the_last_request,
    the_wall_clock_is_set_forward_and_back,
    a_job_started_after_the_clock_was_set_forward_waits_for_no_look_at_it,
    what_came_due_since_the_last_look_is_not_missed,
    a_clock_that_is_set_back_far_stops_no_job,
    a_suspend_of_eight_hours_is_made_up_by_one_run_or_by_none,
    a_stalled_driver_coalesces_a_fast_job_by_arithmetic,
    buffer_all_loses_nothing_up_to_its_bound,
    terminate_previous_drops_the_run_and_never_runs_two,
    fire_all_makes_up_for_the_latest_in_order,
    fire_all_finds_the_latest_of_very_many,
    fire_all_finds_the_latest_of_uneven_times,
    fire_all_makes_up_for_more_than_a_trigger_counts,
    zero_bounds_are_refused,
}

async fn case_105_106_overlap_policies(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let start = |name: &'static str, policy| {
        let log = Log::new(&rt);
        let job = slow(&scheduler, name, &log, ms(310))
            .every(ms(50))
            .overlap(policy);
        (log, job.start().unwrap())
    };
    let (skip, skipping) = start("skip", Overlap::Skip);
    let (buffer, _) = start("buffer", Overlap::BufferOne);
    let (three, allowing) = start("three", Overlap::Allow(3));
    rt.advance(ms(1_000)).await;
    // Due at 50 and then at the first multiple of 50 that finds the job free.
    assert_eq!(skip.len(), 3);
    assert_eq!(skipping.stats().running, 1);
    let stats = skipping.stats().runs;
    assert_eq!(stats.started + stats.skipped, 20);
    // One follows the other.
    assert_eq!(buffer.millis(), [50, 360, 670, 980]);
    assert_eq!(allowing.stats().running, 3);
    assert!(three.len() >= 9);
    let none = scheduler
        .job("none", async |_cx| ())
        .every(SEC)
        .overlap(Overlap::Allow(0));
    assert_eq!(none.start().unwrap_err(), ScheduleError::ZeroOverlap);
}

async fn cancel_previous_never_runs_two_and_buffer_one_keeps_the_last_request(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let inside = Arc::new(AtomicUsize::new(0));
    let job = scheduler
        .job_with(
            "latest",
            (inside.clone(), rt.clone()),
            async |cx: JobContext, (inside, rt): (Arc<AtomicUsize>, TestRuntime)| {
                assert_eq!(inside.fetch_add(1, Relaxed), 0, "two at once");
                cx.cancellation().cancelled().await;
                rt.sleep(ms(10)).await.unwrap();
                inside.fetch_sub(1, Relaxed);
            },
        )
        .every(SEC)
        .overlap(Overlap::CancelPrevious)
        .start()
        .unwrap();
    rt.advance(ms(10_500)).await;
    assert_eq!(job.stats().runs.started, 10);
    assert_eq!(job.stats().runs.completed, 9);
    scheduler.cancel_all();
    rt.advance(SEC).await;
    assert_eq!(job.stats().runs.completed, 10);

    let log = Log::new(&rt);
    let one = slow(&scheduler, "one", &log, SEC)
        .every(HOUR)
        .overlap(Overlap::BufferOne);
    let one = one.start().unwrap();
    for _ in 0..5 {
        one.trigger_now().await.unwrap();
    }
    rt.advance(MIN).await;
    assert_eq!(log.millis(), [0, 1_000]);
    assert_eq!(one.stats().runs.skipped, 3);
}

async fn a_job_started_after_the_clock_was_set_forward_waits_for_no_look_at_it(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let soon = |name| {
        let at = rt.wall() + 10 * SEC;
        noting(&scheduler, name, &log).once_at(at).start().unwrap()
    };
    let far = noting(&scheduler, "far", &log).once_at(rt.wall() + 24 * HOUR);
    far.start().unwrap();
    // The driver looks at 60 s again.
    rt.advance(SEC).await;
    rt.step_wall(HOUR, Step::Forward);
    soon("forward");
    rt.advance(10 * SEC).await;
    assert_eq!(log.millis(), [11_000]);
    rt.step_wall(HOUR, Step::Backward);
    soon("backward");
    rt.advance(10 * SEC).await;
    assert_eq!(log.millis(), [11_000, 21_000]);
}

async fn the_wall_clock_is_set_forward_and_back(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let hourly = noting(&scheduler, "hourly", &log)
        .cron("0 * * * *")
        .start()
        .unwrap();
    let mono = Log::new(&rt);
    noting(&scheduler, "poll", &mono)
        .every(HOUR)
        .start()
        .unwrap();
    rt.advance(30 * MIN).await;
    // 00:30 becomes 01:30. The run of 01:00 was missed and is made up at the next look.
    rt.step_wall(HOUR, Step::Forward);
    rt.advance(MIN).await;
    assert_eq!(log.len(), 1);
    assert!(log.millis()[0] <= 31 * 60_000);
    // 02:00 by the wall is 01:00 by the monotonic clock.
    rt.advance(29 * MIN).await;
    assert_eq!(log.len(), 2);
    assert_eq!(log.millis()[1], 3_600_000);
    // 02:00 becomes 01:00: nothing runs twice, 03:00 is two hours away.
    rt.step_wall(HOUR, Step::Backward);
    rt.advance(secs(7_199)).await;
    assert_eq!(log.len(), 2);
    rt.advance(SEC).await;
    assert_eq!(log.len(), 3);
    assert_eq!(
        mono.millis(),
        [3_600_000, 7_200_000, 10_800_000],
        "not moved by the clock"
    );
    assert_eq!(hourly.stats().runs.missed, 0);
}

async fn what_came_due_since_the_last_look_is_not_missed(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let start = |name: &'static str, pattern: &'static str, misfire| {
        let job = noting(&scheduler, name, &log).cron(pattern);
        job.misfire(misfire).start().unwrap()
    };
    let within = |within| Misfire::FireOnce { within };
    let stepped = [Misfire::Skip, within(secs(2))].map(|misfire| {
        let name = if misfire == Misfire::Skip {
            "skip"
        } else {
            "within"
        };
        start(name, "10 0 * * *", misfire)
    });
    let suspended = start("suspended", "20 0 * * *", Misfire::Skip);
    let passed = start("passed", "30 0 * * *", Misfire::Skip);
    let stalled = start("stalled", "40 0 * * *", Misfire::Skip);
    // 00:09:30 becomes 00:09:35, and the driver sleeps until 00:10:05.
    rt.advance(secs(570)).await;
    rt.step_wall(secs(5), Step::Forward);
    rt.advance(secs(60)).await;
    for job in stepped {
        let runs = job.stats().runs;
        assert_eq!((runs.started, runs.missed), (1, 0), "{job:?}");
    }
    // 00:10:35. Suspended from 00:19:35 until 00:19:55, it looks next at 00:20:25 at the latest.
    rt.advance(9 * MIN).await;
    rt.suspend(secs(20));
    rt.advance(MIN).await;
    let runs = suspended.stats().runs;
    assert_eq!((runs.started, runs.missed), (1, 0));
    // 00:20:55 becomes 00:32:55: nobody was awake at 00:30.
    rt.suspend(12 * MIN);
    rt.advance(MIN).await;
    let runs = passed.stats().runs;
    assert_eq!((runs.started, runs.missed), (0, 1));
    // 00:33:55. A clock that is set does not excuse that nobody looks.
    scheduler.stop();
    rt.advance(6 * MIN).await;
    rt.step_wall(secs(5), Step::Forward);
    rt.advance(secs(20)).await;
    scheduler.start();
    rt.advance(MIN).await;
    let runs = stalled.stats().runs;
    assert_eq!((runs.started, runs.missed), (0, 1));
}

async fn a_clock_that_is_set_back_far_stops_no_job(rt: TestRuntime) {
    let moved = Arc::new(Mutex::new(Vec::new()));
    let told = moved.clone();
    let scheduler = Scheduler::builder().runtime(&rt).on_event(move |event| {
        if let JobEventKind::ClockSetBack { next } = event.kind {
            told.lock().unwrap().push((event.job.to_owned(), next));
        }
    });
    let scheduler = scheduler.build().unwrap();
    let wall = rt.wall();
    let log = |name: &'static str, job: fn(JobBuilder<()>, SystemTime) -> JobBuilder<()>| {
        let log = Log::new(&rt);
        let job = job(noting(&scheduler, name, &log), rt.wall());
        (job.start().unwrap(), log)
    };
    // A month ahead when it boots.
    let month = 30 * 24 * HOUR;
    rt.step_wall(month, Step::Forward);
    let (minutes, each_minute) = log("minutes", |job, _| job.cron("* * * * *"));
    let (paused, in_pause) = log("paused", |job, _| job.cron("* * * * *"));
    let (_, aligned) = log("aligned", |job, _| job.trigger(Every::new(HOUR).aligned()));
    let (_, later) = log("later", |job, wall| job.once_at(wall + HOUR));
    let (_, before) = log("before", |job, wall| job.once_at(wall + MIN));
    rt.advance(10 * MIN).await;
    assert_eq!((each_minute.len(), before.len()), (10, 1));
    assert!(paused.pause());
    rt.step_wall(month, Step::Backward);
    rt.advance(10 * MIN).await;
    assert_eq!(rt.wall(), wall + 20 * MIN);
    assert!(
        (19..=20).contains(&each_minute.len()),
        "{}",
        each_minute.len()
    );
    let runs = minutes.stats().runs;
    assert_eq!((runs.missed, runs.skipped), (0, 0));
    let names: Vec<_> = moved
        .lock()
        .unwrap()
        .iter()
        .map(|(job, _)| job.clone())
        .collect();
    assert_eq!(names, ["minutes", "paused", "aligned"]);
    assert_eq!(moved.lock().unwrap()[2].1, wall + HOUR);
    assert!(paused.resume());
    let ran = in_pause.len();
    rt.advance(HOUR).await;
    assert_eq!(in_pause.len(), ran + 60);
    assert_eq!(aligned.len(), 1);
    // What is due once is so when the clock says so, and no other time.
    assert_eq!((before.len(), later.len()), (1, 0));

    // By three hours, it is the clock that moves, and not the jobs.
    let ran = each_minute.len();
    rt.step_wall(3 * HOUR, Step::Backward);
    rt.advance(3 * HOUR).await;
    assert_eq!(each_minute.len(), ran);
    rt.advance(MIN).await;
    assert_eq!(
        (each_minute.len(), moved.lock().unwrap().len()),
        (ran + 1, 3)
    );
    // A glitch that is seen, and put right.
    rt.step_wall(month, Step::Forward);
    rt.advance(MIN).await;
    rt.step_wall(month, Step::Backward);
    let ran = each_minute.len();
    rt.advance(10 * MIN).await;
    assert!(each_minute.len() >= ran + 9);
    assert_eq!(
        (before.len(), later.len()),
        (1, 1),
        "the glitch was past it"
    );
}

async fn a_suspend_of_eight_hours_is_made_up_by_one_run_or_by_none(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let start = |name: &'static str, policy| {
        let log = Log::new(&rt);
        let job = noting(&scheduler, name, &log)
            .cron("*/10 * * * *")
            .misfire(policy);
        (log, job.start().unwrap())
    };
    let (once, once_job) = start("once", Misfire::default());
    let (hour, hour_job) = start("hour", Misfire::FireOnce { within: secs(240) });
    let (skip, skip_job) = start("skip", Misfire::Skip);
    rt.advance(5 * MIN).await;
    // 00:05 becomes 08:05: 48 times have passed, the latest five minutes ago.
    rt.suspend(8 * HOUR);
    rt.advance(secs(90)).await;
    assert_eq!((once.len(), hour.len(), skip.len()), (1, 0, 0));
    assert_eq!(once_job.stats().runs.missed, 47);
    assert_eq!(hour_job.stats().runs.missed, 48);
    assert_eq!(skip_job.stats().runs.missed, 48);
    assert_eq!(
        once_job.stats().last.unwrap().scheduled_at,
        once.wall + 8 * HOUR
    );
    rt.advance(HOUR).await;
    assert_eq!((once.len(), hour.len(), skip.len()), (7, 6, 6));
}

async fn a_stalled_driver_coalesces_a_fast_job_by_arithmetic(rt: TestRuntime) {
    let (scheduler, driver) = Scheduler::builder()
        .runtime(&rt)
        .build_with_driver()
        .unwrap();
    let log = Log::new(&rt);
    let fast = noting(&scheduler, "fast", &log).every(Duration::from_micros(1));
    let fast = fast.max_runs(2).start().unwrap();
    rt.advance(8 * HOUR).await;
    let task = rt.spawn(driver);
    rt.advance(SEC).await;
    let runs = fast.stats().runs;
    assert_eq!((runs.started, runs.missed), (2, 8 * 3_600_000_000 - 1));
    drop(task);
}

async fn buffer_all_loses_nothing_up_to_its_bound(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = slow(&scheduler, "all", &log, ms(3_500))
        .every(SEC)
        .max_runs(9)
        .overlap(Overlap::BufferAll(3));
    let job = job.start().unwrap();
    rt.advance(ms(10_400)).await;
    // Due each second from 1 on, run at 1, 4.5 and 8; three wait at the most, from 4 on.
    let runs = job.stats().runs;
    assert_eq!(log.millis(), [1_000, 4_500, 8_000]);
    assert_eq!(
        (runs.started, runs.skipped),
        (3, 4),
        "7, 9 and 10 find no room: {runs:?}"
    );
    rt.advance(HOUR).await;
    assert_eq!(job.stats().runs.completed, 9);
    assert!(
        log.millis()
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= 3_500)
    );
}

async fn terminate_previous_drops_the_run_and_never_runs_two(rt: TestRuntime) {
    struct Inside(Arc<AtomicUsize>);
    impl Drop for Inside {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Relaxed);
        }
    }
    let scheduler = scheduler(&rt);
    let inside = Arc::new(AtomicUsize::new(0));
    let told = Arc::new(AtomicUsize::new(0));
    let job = scheduler
        .job_with(
            "latest",
            (inside.clone(), told.clone(), rt.clone()),
            async |cx: JobContext, (inside, told, rt): (Arc<AtomicUsize>, Arc<AtomicUsize>, TestRuntime)| {
                assert_eq!(inside.fetch_add(1, Relaxed), 0, "two at once");
                let _inside = Inside(inside);
                let token = cx.cancellation().clone();
                rt.spawn_detached(async move {
                    token.cancelled().await;
                    told.fetch_add(1, Relaxed);
                });
                std::future::pending::<()>().await;
            },
        )
        .every(SEC)
        .overlap(Overlap::TerminatePrevious)
        .start()
        .unwrap();
    rt.advance(ms(10_500)).await;
    let runs = job.stats().runs;
    assert_eq!((runs.started, runs.terminated, runs.skipped), (10, 9, 0));
    assert_eq!((inside.load(Relaxed), told.load(Relaxed)), (1, 9));
    assert_eq!(job.stats().last.unwrap().outcome, RunOutcome::Terminated);
    scheduler.cancel_all();
    rt.advance(SEC).await;
    assert_eq!(
        told.load(Relaxed),
        10,
        "cancelled, not dropped: it ignores that"
    );
    assert_eq!(inside.load(Relaxed), 1);
}

async fn fire_all_makes_up_for_the_latest_in_order(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let seen: Seen = Arc::default();
    let wall = rt.wall();
    let with = (seen.clone(), rt.clone());
    let job = scheduler
        .job_with(
            "hourly",
            with,
            move |cx: JobContext, (seen, rt): (Seen, TestRuntime)| async move {
                let due = cx.scheduled_at().duration_since(wall).unwrap();
                rt.sleep(MIN).await.unwrap();
                seen.lock().unwrap().push(due.as_secs() / 3_600);
            },
        )
        .cron("0 * * * *")
        .misfire(Misfire::FireAll {
            limit: 4,
            within: 6 * HOUR,
        })
        .start()
        .unwrap();
    rt.advance(HOUR + 30 * MIN).await;
    // 01:30 becomes 09:30: eight times have passed, the four latest are made up, one after the
    // other; 10:00 finds them done.
    rt.suspend(8 * HOUR);
    rt.advance(2 * MIN).await;
    let runs = job.stats().runs;
    assert_eq!((runs.missed, runs.skipped), (4, 0), "{runs:?}");
    rt.advance(HOUR).await;
    assert_eq!(*seen.lock().unwrap(), [1, 6, 7, 8, 9, 10]);
    assert_eq!(job.stats().runs.skipped, 0);
    // Of eight hours only those of the last six are still good.
    let all = scheduler
        .job("all", async |_cx| ())
        .cron("0 * * * *")
        .misfire(Misfire::FireAll {
            limit: 100,
            within: 6 * HOUR,
        })
        .start()
        .unwrap();
    rt.suspend(8 * HOUR);
    rt.advance(10 * MIN).await;
    let runs = all.stats().runs;
    assert_eq!((runs.completed, runs.missed), (6, 2), "{runs:?}");
    // Paused, what waits is dropped.
    rt.suspend(4 * HOUR);
    rt.advance(ms(61_500)).await;
    assert!(job.stats().running == 1 && job.pause());
    rt.advance(HOUR).await;
    assert_eq!(job.stats().running, 0);
    assert!(job.stats().runs.skipped > 0);
}

async fn fire_all_finds_the_latest_of_uneven_times(rt: TestRuntime) {
    // Few enough to be counted, and more.
    for days in [1, 20] {
        let scheduler = scheduler(&rt);
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let job = scheduler.job_with(
            "job",
            seen.clone(),
            async |cx: JobContext, seen: Arc<Mutex<Vec<_>>>| {
                seen.lock().unwrap().push(cx.scheduled_at());
            },
        );
        let misfire = Misfire::FireAll {
            limit: 11,
            within: Duration::MAX,
        };
        let job = job.cron("* 9-10 * * *").misfire(misfire).start().unwrap();
        let passed = job.upcoming(days * 120 + 5);
        scheduler.stop();
        let last = passed[passed.len() - 1];
        rt.advance(last.duration_since(rt.wall()).unwrap() + SEC)
            .await;
        scheduler.start();
        rt.settle().await;
        // Six of the day before, and five of today.
        assert_eq!(*seen.lock().unwrap(), passed[passed.len() - 11..]);
        // No more than so many are counted.
        assert_eq!(
            job.stats().runs.missed as usize,
            passed.len().min(1_025) - 11
        );
        job.remove().await;
    }
}

async fn fire_all_finds_the_latest_of_very_many(rt: TestRuntime) {
    let (scheduler, driver) = Scheduler::builder()
        .runtime(&rt)
        .build_with_driver()
        .unwrap();
    let start = rt.now();
    let seen: Seen = Arc::default();
    let misfire = Misfire::FireAll {
        limit: 5,
        within: 100 * HOUR,
    };
    let job = |name: &'static str, seen: &Seen| {
        let job = scheduler.job_with(
            name,
            seen.clone(),
            move |cx: JobContext, seen: Seen| async move {
                seen.lock()
                    .unwrap()
                    .push((cx.due() - start).as_micros() as u64);
            },
        );
        job.misfire(misfire)
    };
    let fast = job("fast", &seen)
        .every(Duration::from_micros(1))
        .start()
        .unwrap();
    let few: Seen = Arc::default();
    // Three times in all, fewer than may be made up.
    job("few", &few).every(3 * HOUR).start().unwrap();
    rt.advance(10 * HOUR).await;
    fast.pause();
    let last = 10 * 3_600_000_000_u64;
    assert!(fast.resume(), "what passed in a pause is not made up");
    let other = job("other", &seen)
        .every(Duration::from_micros(2))
        .start()
        .unwrap();
    rt.advance(10 * HOUR).await;
    let task = rt.spawn(driver);
    rt.settle().await;
    other.pause();
    fast.pause();
    rt.advance(Duration::from_micros(10)).await;
    let seen = seen.lock().unwrap().clone();
    for due in [
        2 * last - 4,
        2 * last - 3,
        2 * last - 2,
        2 * last - 1,
        2 * last,
    ] {
        assert!(seen.contains(&due), "{due} of {seen:?}");
    }
    for due in [
        2 * last - 8,
        2 * last - 6,
        2 * last - 4,
        2 * last - 2,
        2 * last,
    ] {
        assert!(seen.contains(&due), "{due} of {seen:?}");
    }
    let third = 3 * 3_600_000_000;
    // Six times in twenty hours, the five latest.
    assert_eq!(
        *few.lock().unwrap(),
        [2 * third, 3 * third, 4 * third, 5 * third, 6 * third]
    );
    scheduler.close();
    task.await.unwrap();
}

async fn fire_all_makes_up_for_more_than_a_trigger_counts(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let misfire = |limit| Misfire::FireAll {
        limit,
        within: 72 * HOUR,
    };
    let minutes = scheduler.job("minutes", async |_cx| ()).cron("* * * * *");
    let minutes = minutes.misfire(misfire(2_000)).start().unwrap();
    let boasting = scheduler.job("boasting", async |_cx| ()).trigger(Boasting);
    let boasting = boasting.misfire(misfire(3)).start().unwrap();
    rt.settle().await;
    rt.suspend(48 * HOUR);
    rt.advance(30 * MIN).await;
    let runs = minutes.stats().runs;
    assert!(runs.completed >= 2_000, "{runs:?}");
    assert_eq!(minutes.state(), JobState::Active);
    let runs = boasting.stats().runs;
    assert_eq!(runs.missed, u64::MAX - 3, "{runs:?}");
    assert_eq!(boasting.state(), JobState::Active);
}

/// Due each hour, and claims to have been so more often than can be counted.
struct Boasting;

impl Trigger for Boasting {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        Some(Due::Wall(cx.previous_wall() + HOUR))
    }

    fn catch_up(&self, cx: &TriggerContext) -> Option<CatchUp> {
        let passed = cx.wall().duration_since(cx.previous_wall()).ok()?;
        let hours = u32::try_from(passed.as_secs() / HOUR.as_secs()).ok()?;
        (hours > 0).then(|| CatchUp::new(cx.previous_wall() + HOUR * hours, u64::MAX))
    }
}

async fn zero_bounds_are_refused(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let job = || scheduler.job("x", async |_cx| ()).every(SEC);
    let buffer = job().overlap(Overlap::BufferAll(0)).start();
    assert_eq!(buffer.unwrap_err(), ScheduleError::ZeroBuffer);
    let limit = Misfire::FireAll {
        limit: 0,
        within: SEC,
    };
    let limit = job().misfire(limit).start();
    assert_eq!(limit.unwrap_err(), ScheduleError::ZeroLimit);
    let within = Misfire::FireAll {
        limit: 1,
        within: Duration::ZERO,
    };
    let within = job().misfire(within).start();
    assert_eq!(within.unwrap_err(), ScheduleError::ZeroWithin);
}
