//! Numbers without bounds, and jobs and calendars that are none any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use flow_rt::TestRuntime;
use flow_sched::{
    Calendar, EndReason, Every, JobState, Misfire, Overlap, ScheduleError, TriggerNowError,
};

use crate::common::{HOUR, Log, MIN, SEC, ms, noting, scheduler, secs, slow};

flow_rt::on_every_runtime! {
    seeds 0..5;
    a_job_without_end_tells_of_so_many_times,
    to_make_up_very_many_holds_up_no_other_job,
    the_largest_numbers_are_numbers,
    a_removed_job_neither_pauses_nor_resumes,
    a_calendar_that_panics_ends_its_job_and_no_other,
}

async fn a_job_without_end_tells_of_so_many_times(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = noting(&scheduler, "job", &log).every(SEC).start().unwrap();
    let told = job.upcoming(usize::MAX);
    assert_eq!(told.len(), 65_536);
    assert_eq!(told.last(), Some(&(log.wall + 65_536 * SEC)));
    let cron = noting(&scheduler, "cron", &log).cron("* * * * *");
    assert_eq!(cron.start().unwrap().upcoming(usize::MAX).len(), 65_536);
}

async fn to_make_up_very_many_holds_up_no_other_job(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let misfire = Misfire::FireAll {
        limit: usize::MAX,
        within: Duration::MAX,
    };
    let many = scheduler.job("many", async |_cx| std::future::pending::<()>().await);
    let many = many.every(ms(1)).misfire(misfire).start().unwrap();
    let other = noting(&scheduler, "other", &log)
        .every(SEC)
        .start()
        .unwrap();
    assert!(scheduler.stop());
    rt.advance(100 * SEC).await;
    assert!(scheduler.start());
    rt.settle().await;
    let wakeups = scheduler.stats().wakeups;
    assert_eq!((log.len(), other.stats().runs.missed), (1, 99));
    // The first of them is in progress, and none of them was missed.
    let runs = many.stats().runs;
    assert_eq!((runs.started, runs.missed, runs.skipped), (1, 0, 0));
    assert!(many.pause());
    assert_eq!(many.stats().runs.skipped, 99_999, "the others waited");
    rt.advance(ms(500)).await;
    assert!(scheduler.stats().wakeups <= wakeups + 3, "no hot loop");
}

async fn the_largest_numbers_are_numbers(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let misfire = Misfire::FireAll {
        limit: usize::MAX,
        within: Duration::MAX,
    };
    let all = slow(&scheduler, "all", &log, ms(1_500)).every(SEC);
    let all = all.overlap(Overlap::BufferAll(usize::MAX)).misfire(misfire);
    let all = all.history(usize::MAX).max_runs(u64::MAX).start().unwrap();
    let wide = slow(&scheduler, "wide", &log, HOUR).every(SEC);
    let wide = wide.overlap(Overlap::Allow(usize::MAX)).start().unwrap();
    rt.advance(ms(10_500)).await;
    let runs = all.stats().runs;
    assert_eq!((runs.started, runs.skipped, runs.missed), (7, 0, 0));
    assert_eq!(all.history().len(), 6);
    assert_eq!(wide.stats().running, 10);
    // A time that never comes is none.
    let never = noting(&scheduler, "never", &log)
        .every(Duration::MAX)
        .start();
    assert_eq!(never.unwrap_err(), ScheduleError::NeverDue);
    let never = noting(&scheduler, "never", &log)
        .after(Duration::MAX)
        .start();
    assert_eq!(never.unwrap_err(), ScheduleError::NeverDue);
}

async fn a_removed_job_neither_pauses_nor_resumes(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let removed = noting(&scheduler, "job", &log).every(SEC).start().unwrap();
    let paused = noting(&scheduler, "paused", &log)
        .every(SEC)
        .start()
        .unwrap();
    assert!(paused.pause());
    assert!(removed.remove().await && paused.remove().await);
    // Another one has its name by now.
    let next = noting(&scheduler, "job", &log).every(MIN).start().unwrap();
    for job in [&removed, &paused] {
        assert!(!job.pause() && !job.resume());
        assert_eq!(job.state(), JobState::Ended(EndReason::Removed));
        assert!(job.upcoming(usize::MAX).is_empty());
        assert_eq!(job.trigger_now().await, Err(TriggerNowError::Ended));
        assert_eq!(job.update(Every::new(SEC)), Err(ScheduleError::Ended));
        assert!(!job.remove().await);
    }
    rt.advance(MIN).await;
    assert_eq!(
        (log.millis(), next.state()),
        (vec![60_000], JobState::Active)
    );
}

/// Panics when it is told to, and else excludes nothing, or an hour.
#[derive(Clone)]
struct Torn(Arc<AtomicBool>);

impl Calendar for Torn {
    fn excluded_until(&self, _at: SystemTime) -> Option<SystemTime> {
        assert!(!self.0.load(Relaxed), "a page is missing");
        None
    }
}

/// Says that a time is excluded until itself.
struct Standstill;

impl Calendar for Standstill {
    fn excluded_until(&self, at: SystemTime) -> Option<SystemTime> {
        Some(at)
    }
}

async fn a_calendar_that_panics_ends_its_job_and_no_other(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let torn = Torn(Arc::new(AtomicBool::new(true)));
    let job = |name| noting(&scheduler, name, &log).every(SEC);
    let refused = job("first").exclude(torn.clone()).start().unwrap_err();
    let ScheduleError::TriggerPanicked { message } = refused else {
        panic!("{refused}");
    };
    assert_eq!(message, "a page is missing");
    torn.0.store(false, Relaxed);
    let job = |name| job(name).exclude(torn.clone()).start().unwrap();
    let (runs, paused, updated) = (job("runs"), job("paused"), job("updated"));
    let other = noting(&scheduler, "other", &log)
        .every(SEC)
        .start()
        .unwrap();
    assert!(paused.pause());
    rt.advance(ms(1_500)).await;
    torn.0.store(true, Relaxed);
    assert!(runs.upcoming(3).is_empty(), "it is asked here");
    updated.update(Every::new(HOUR)).unwrap();
    rt.advance(secs(2)).await;
    assert_eq!(runs.state(), JobState::Ended(EndReason::TriggerFailed));
    assert!(!paused.resume());
    assert_eq!(paused.state(), JobState::Ended(EndReason::TriggerFailed));
    assert_eq!(updated.state(), JobState::Active, "it has another one");
    assert_eq!(other.stats().runs.completed, 3);
    // One that does not move on is not asked for ever.
    let never = noting(&scheduler, "still", &log).trigger(Every::new(SEC));
    let never = never.exclude(Standstill).start().unwrap_err();
    assert_eq!(never, ScheduleError::NeverDue);
}
