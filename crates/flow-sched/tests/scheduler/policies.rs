//! Overlap, misfire, and clocks that are set.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use flow_rt::TestRuntime;
use flow_rt::sim::Step;
use flow_sched::{JobContext, Misfire, Overlap, ScheduleError, Scheduler};

use crate::common::{HOUR, Log, MIN, SEC, ms, noting, scheduler, secs, slow};

flow_rt::on_every_runtime! {
    seeds 0..30;
    case_105_106_overlap_policies,
    cancel_previous_never_runs_two_and_buffer_one_keeps_the_last_request,
    the_wall_clock_is_set_forward_and_back,
    a_suspend_of_eight_hours_is_made_up_by_one_run_or_by_none,
    a_stalled_driver_coalesces_a_fast_job_by_arithmetic,
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
