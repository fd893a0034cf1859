//! When runs begin: every kind of trigger, to the nanosecond.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::time::UNIX_EPOCH;

use flow_rt::TestRuntime;
use flow_rt::sim::{Order, Sim};
use flow_sched::{
    EndReason, Every, JobContext, JobState, Misfire, RunOutcome, ScheduleError, Scheduler,
};

use crate::common::{HOUR, Log, MIN, SEC, ms, noting, scheduler, secs, slow};

flow_rt::on_every_runtime! {
    seeds 0..20;
    a_day_of_polling,
    fixed_rate_never_drifts_and_wakes_for_nothing_else,
    nobody_wakes_while_nothing_is_due,
    a_time_that_has_passed_is_due_at_once,
    case_090_092_run_limits,
    case_098_a_run_that_takes_too_long_is_dropped_counted_from_its_start,
    case_104_fixed_rate_and_fixed_delay,
    a_grid_may_be_moved_and_laid_from_the_epoch,
    a_job_without_a_name_is_found_by_its_handle,
    case_113_upcoming_is_increasing_and_in_the_jobs_zone,
    case_108_112_cron_in_seconds_and_with_five_fields,
}

async fn a_day_of_polling(rt: TestRuntime) {
    let runs = Arc::new(AtomicU32::new(0));
    let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
    scheduler
        .job_with("poll", runs.clone(), async |_cx, runs: Arc<AtomicU32>| {
            runs.fetch_add(1, Relaxed);
        })
        .every(Duration::from_secs(60))
        .start()
        .unwrap();
    rt.sleep(Duration::from_secs(86_430)).await.unwrap();
    assert_eq!(runs.load(Relaxed), 1_440);
}

async fn fixed_rate_never_drifts_and_wakes_for_nothing_else(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    slow(&scheduler, "poll", &log, ms(300))
        .every(ms(1_001))
        .start()
        .unwrap();
    rt.sleep(ms(1_002_500)).await.unwrap();
    let seen = log.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 1_001);
    for (n, at) in (1..).zip(seen) {
        assert_eq!(at, ms(1_001) * n);
    }
    let wakeups = scheduler.stats().wakeups;
    // One per run, the one at the start, and at the most one that shares an instant.
    assert!((1_001..=1_004).contains(&wakeups), "{wakeups} wake-ups");
}

async fn nobody_wakes_while_nothing_is_due(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    for n in 0..5_000_u64 {
        scheduler
            .job(format!("job {n}"), async |_cx| ())
            .after(HOUR + ms(n))
            .start()
            .unwrap();
    }
    rt.settle().await;
    let before = scheduler.stats().wakeups;
    rt.advance(secs(130)).await;
    assert_eq!(scheduler.stats().wakeups, before);
    let noon = rt.wall() + 12 * HOUR;
    scheduler
        .job("noon", async |_cx| ())
        .once_at(noon)
        .start()
        .unwrap();
    rt.settle().await;
    let before = scheduler.stats().wakeups;
    rt.advance(secs(600)).await;
    let looks = scheduler.stats().wakeups - before;
    assert!(
        looks <= 10,
        "{looks} looks at the wall clock in ten minutes"
    );
}

async fn a_time_that_has_passed_is_due_at_once(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    noting(&scheduler, "past", &log)
        .once_at(UNIX_EPOCH)
        .start()
        .unwrap();
    let late = noting(&scheduler, "too late", &log)
        .once_at(rt.wall() - HOUR)
        .misfire(Misfire::FireOnce { within: MIN })
        .start()
        .unwrap();
    rt.settle().await;
    assert_eq!(log.millis(), [0]);
    assert_eq!(late.stats().runs.missed, 1);
    assert_eq!(late.state(), JobState::Ended(EndReason::Finished));
}

async fn case_090_092_run_limits(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let three = Log::new(&rt);
    let limited = noting(&scheduler, "three", &three)
        .every(ms(80))
        .max_runs(3);
    let limited = limited.start().unwrap();
    let two = Log::new(&rt);
    let at_once = noting(&scheduler, "two", &two)
        .every(ms(70))
        .immediately()
        .max_runs(2);
    at_once.start().unwrap();
    let endless = Log::new(&rt);
    noting(&scheduler, "endless", &endless)
        .every(ms(100))
        .max_runs(0)
        .start()
        .unwrap();
    let zero = scheduler
        .job("zero", async |_cx| ())
        .every(Duration::ZERO)
        .start();
    assert_eq!(zero.unwrap_err(), ScheduleError::ZeroInterval);
    assert_eq!(limited.upcoming(10).len(), 3);
    rt.advance(secs(10)).await;
    assert_eq!(three.millis(), [80, 160, 240]);
    assert_eq!(two.millis(), [0, 70]);
    assert_eq!(endless.len(), 100);
    assert_eq!(limited.state(), JobState::Ended(EndReason::Finished));
    let names: Vec<_> = scheduler
        .list()
        .iter()
        .map(|job| job.name.to_string())
        .collect();
    assert_eq!(names, ["endless"]);
}

async fn case_098_a_run_that_takes_too_long_is_dropped_counted_from_its_start(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = slow(&scheduler, "slow", &log, ms(100))
        .after(ms(500))
        .timeout(ms(50));
    let job = job.start().unwrap();
    rt.advance(SEC).await;
    assert!(scheduler.list().is_empty());
    let last = job.stats().last.unwrap();
    assert_eq!(
        (last.outcome, last.duration),
        (RunOutcome::TimedOut, ms(50))
    );
    let deadline = Arc::new(Mutex::new(None));
    scheduler
        .job_with(
            "deadline",
            deadline.clone(),
            async |cx: JobContext, seen: Arc<Mutex<_>>| {
                *seen.lock().unwrap() = cx.deadline().instant();
            },
        )
        .after(SEC)
        .timeout(ms(50))
        .start()
        .unwrap();
    let begins = rt.now() + SEC;
    rt.advance(secs(2)).await;
    assert_eq!(*deadline.lock().unwrap(), Some(begins + ms(50)));
}

async fn case_104_fixed_rate_and_fixed_delay(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let (rate, delay) = (Log::new(&rt), Log::new(&rt));
    slow(&scheduler, "rate", &rate, secs(3))
        .every(secs(2))
        .start()
        .unwrap();
    let job = slow(&scheduler, "delay", &delay, secs(3)).fixed_delay(secs(2));
    let job = job.start().unwrap();
    rt.advance(secs(15)).await;
    assert_eq!(rate.millis(), [2_000, 6_000, 10_000, 14_000]);
    assert_eq!(delay.millis(), [2_000, 7_000, 12_000]);
    assert_eq!(job.stats().runs.skipped, 0);
    rt.advance(secs(1)).await;
    assert_eq!(
        job.upcoming(5),
        [delay.wall + secs(17)],
        "only the next one is known"
    );
}

async fn a_grid_may_be_moved_and_laid_from_the_epoch(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    // 2026-01-01 00:00:00 UTC and 250 ms.
    rt.advance(ms(250)).await;
    let log = |name, every: Every| {
        let log = Log::new(&rt);
        noting(&scheduler, name, &log)
            .trigger(every)
            .start()
            .unwrap();
        log
    };
    let every = Every::new(SEC);
    let moved = log("moved", every.phase(ms(300)));
    let at_once = log("at once", every.phase(Duration::ZERO));
    let beyond = log("beyond", every.phase(ms(2_300)));
    let aligned = log("aligned", every.aligned());
    let aligned_moved = log("aligned and moved", every.aligned().phase(ms(100)));
    rt.advance(secs(4)).await;
    assert_eq!(moved.millis(), [300, 1_300, 2_300, 3_300]);
    assert_eq!(at_once.millis(), [0, 1_000, 2_000, 3_000, 4_000]);
    assert_eq!(beyond.millis(), [2_300, 3_300]);
    assert_eq!(aligned.millis(), [750, 1_750, 2_750, 3_750]);
    assert_eq!(aligned_moved.millis(), [850, 1_850, 2_850, 3_850]);
    for zero in [
        Every::new(Duration::ZERO),
        Every::new(Duration::ZERO).aligned(),
    ] {
        let refused = noting(&scheduler, "zero", &moved).trigger(zero).start();
        assert_eq!(refused.unwrap_err(), ScheduleError::ZeroInterval);
    }
    // A suspend of an hour is counted on both kinds of grid.
    rt.suspend(HOUR);
    rt.advance(MIN + SEC).await;
    for (name, missed) in [("aligned", 3_599..=3_661), ("moved", 0..=0)] {
        let runs = scheduler.find(name).unwrap().stats().runs;
        assert!(missed.contains(&runs.missed), "{name}: {runs:?}");
    }
}

async fn a_job_without_a_name_is_found_by_its_handle(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let jobs: Vec<_> = (1..=5)
        .map(|n| {
            let job = scheduler.unnamed_with(log.clone(), async |_cx, log: Log| log.note());
            job.every(secs(n)).start().unwrap()
        })
        .collect();
    let named = noting(&scheduler, "named", &log)
        .every(HOUR)
        .start()
        .unwrap();
    assert!(scheduler.find("").is_none());
    assert!(!scheduler.remove(""));
    assert_eq!(jobs[0].name(), "");
    assert_eq!(scheduler.list().len(), 6);
    assert!(jobs[1].remove().await);
    assert!(!jobs[1].remove().await);
    assert_eq!(scheduler.stats().jobs, 5);
    // Its place is free for another one, which is not taken for it.
    let once = scheduler
        .unnamed(async |_cx| ())
        .after(secs(2))
        .start()
        .unwrap();
    assert!(!jobs[1].remove().await);
    rt.advance(secs(6)).await;
    assert_eq!(log.len(), 6 + 2 + 1 + 1);
    assert_eq!(once.state(), JobState::Ended(EndReason::Finished));
    assert_eq!(scheduler.find("named").unwrap().state(), named.state());
    assert_eq!(scheduler.cancel_all(), 5);
    assert!(scheduler.list().is_empty());
}

async fn case_113_upcoming_is_increasing_and_in_the_jobs_zone(rt: TestRuntime) {
    // 2026-01-01 00:00 UTC, a Thursday; 01:00 in Berlin.
    let midnight = rt.wall();
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = noting(&scheduler, "report", &log).cron("0 9 * * MON-FRI");
    let job = job.time_zone("Europe/Berlin").start().unwrap();
    let expected: Vec<_> = [8, 32, 104, 128, 152].map(|h| midnight + HOUR * h).into();
    assert_eq!(job.upcoming(5), expected);
    rt.advance(HOUR * 200).await;
    assert_eq!(log.len(), 7);
    let hours: Vec<_> = log.millis().iter().map(|ms| ms / 3_600_000).collect();
    assert_eq!(hours[..5], [8, 32, 104, 128, 152]);
}

async fn case_108_112_cron_in_seconds_and_with_five_fields(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = noting(&scheduler, "each second", &log)
        .cron("* * * * * *")
        .start()
        .unwrap();
    rt.advance(ms(5_500)).await;
    assert_eq!(log.millis(), [1_000, 2_000, 3_000, 4_000, 5_000]);
    job.remove().await;
    let quarter = noting(&scheduler, "quarter", &log)
        .cron("*/15 * * * *")
        .start()
        .unwrap();
    rt.advance(HOUR).await;
    assert_eq!(quarter.stats().runs.completed, 4);
    // A wall clock that stays put after the job is due again.
    assert_eq!(quarter.stats().runs.missed, 0);
}

#[test]
fn jobs_of_a_time_of_day_that_the_driver_waits_for_wake_nobody() {
    Sim::new(0)
        .run(|rt| async move {
            // Which makes the same time of day another instant whenever one reckons.
            rt.slew_wall(500);
            let scheduler = scheduler(&rt);
            let soon = rt.wall() + 50 * SEC;
            for (name, at) in [("soon", soon), ("far", soon + 24 * HOUR)] {
                let start = |n: u64| {
                    let job = scheduler.job(format!("{name} {n}"), async |_cx| ());
                    drop(job.once_at(at).start().unwrap());
                };
                start(0);
                rt.sleep(SEC).await;
                let before = scheduler.stats().wakeups;
                for n in 1..100 {
                    start(n);
                    rt.sleep(ms(100)).await;
                }
                assert_eq!(scheduler.stats().wakeups, before, "{name}");
            }
            rt.sleep(40 * SEC).await;
            assert_eq!(scheduler.stats().runs.completed, 100);
        })
        .unwrap();
}

#[test]
fn equal_deadlines_run_in_the_order_of_registration() {
    // With tasks polled in the order of their spawn, the order of the runs is that of the fires.
    let order = Order::Fifo;
    Sim::new(0)
        .order(order)
        .run(|rt| async move {
            let scheduler = scheduler(&rt);
            let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
            for (n, period) in [(1, 1), (2, 3), (3, 2)] {
                scheduler
                    .job_with(
                        format!("{n}"),
                        seen.clone(),
                        move |_cx, seen: Arc<Mutex<_>>| async move {
                            seen.lock().unwrap().push(n);
                        },
                    )
                    .every(secs(period))
                    .start()
                    .unwrap();
            }
            rt.advance(secs(6)).await;
            let seen = seen.lock().unwrap().clone();
            assert_eq!(seen, [1, 1, 3, 1, 2, 1, 3, 1, 1, 2, 3]);
        })
        .unwrap();
}
