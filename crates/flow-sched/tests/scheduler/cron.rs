//! Cron jobs: times of day, and the days on which clocks change. `tests/cron` has the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flow_rt::sim::Sim;
use flow_sched::{Cron, CronError, JobEventKind, Overlap, ScheduleError, Scheduler, Window};

/// Seconds since the epoch of 2026-03-29 00:00 UTC: clocks in Berlin go from 02:00 to 03:00.
const SPRING: u64 = 1_774_742_400;
/// 2026-10-25 00:00 UTC: clocks in Berlin go from 03:00 back to 02:00.
const AUTUMN: u64 = 1_792_886_400;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// The next `n` occurrences, in minutes after `from`.
fn minutes(pattern: &str, zone: &str, from: u64, n: usize) -> Vec<u64> {
    let cron = Cron::new(pattern).unwrap().time_zone(zone).unwrap();
    let mut last = at(from);
    (0..n)
        .map(|_| {
            last = cron.next_after(last).unwrap();
            last.duration_since(at(from)).unwrap().as_secs() / 60
        })
        .collect()
}

#[test]
fn case_109_five_fields_have_seconds_of_zero() {
    // 1970-01-01 was a Thursday.
    assert_eq!(minutes("30 14 * * 1-5", "UTC", 0, 3), [870, 2_310, 6_630]);
    let cron = Cron::new("* * * * *").unwrap();
    assert_eq!(cron.next_after(at(59)), Some(at(60)));
    assert_eq!(cron.next_after(at(60)), Some(at(120)));
    let within = at(59) + Duration::from_nanos(999_999_999);
    assert_eq!(
        cron.next_after(within),
        Some(at(60)),
        "fractions of a second are no trap"
    );
    assert_eq!(
        cron.next_after(UNIX_EPOCH - Duration::from_millis(1)),
        Some(at(0))
    );
}

#[test]
fn case_114_days_on_which_clocks_change() {
    // 02:30 does not exist on that Sunday: once, at 03:00 summer time, which is 01:00 UTC.
    assert_eq!(
        minutes("30 2 * * *", "Europe/Berlin", SPRING, 2),
        [60, 24 * 60 + 30]
    );
    // 02:30 comes twice: the first time only, at 00:30 UTC.
    assert_eq!(
        minutes("30 2 * * *", "Europe/Berlin", AUTUMN, 2),
        [30, 25 * 60 + 30]
    );
    // A pattern over the hours follows the clock: 24 hours less one, and plus one.
    assert_eq!(
        minutes("30 * * * *", "Europe/Berlin", SPRING, 3),
        [30, 90, 150]
    );
    assert_eq!(
        minutes("30 * * * *", "Europe/Berlin", AUTUMN, 3),
        [30, 90, 150]
    );
}

#[test]
fn a_day_that_a_zone_skipped_does_not_stop_a_job() {
    // Apia had no 30 December 2011.
    let before = 1_325_030_400; // 2011-12-28 00:00 UTC
    let cron = Cron::new("0 12 * * *")
        .unwrap()
        .time_zone("Pacific/Apia")
        .unwrap();
    let mut last = at(before);
    for _ in 0..5 {
        last = cron.next_after(last).expect("the job goes on");
    }
    assert!(last > at(before + 3 * 86_400));
}

#[test]
fn years_that_are_over_end_the_pattern() {
    let cron = Cron::new("0 0 0 1 1 * 1999").unwrap();
    assert!(cron.next_after(at(0)).is_some());
    assert_eq!(cron.next_after(at(SPRING)), None);
}

#[test]
fn jobs_follow_a_change_of_the_clock_in_virtual_time() {
    Sim::new(3)
        .wall_clock(at(SPRING - 6 * 3_600))
        .run(|rt| async move {
            let scheduler = Scheduler::builder().runtime(&rt).time_zone("Europe/Berlin");
            let scheduler = scheduler.build().unwrap();
            let job = scheduler.job("daily", async |_cx| ()).cron("30 2 * * *");
            let job = job.overlap(Overlap::Allow(2)).start().unwrap();
            rt.advance(Duration::from_secs(12 * 3_600)).await;
            let stats = job.stats();
            assert_eq!(stats.runs.completed, 1);
            assert_eq!(stats.last.unwrap().scheduled_at, at(SPRING + 3_600));
        })
        .unwrap();
}

#[test]
fn case_110_periods_and_starts_are_triggers_too() {
    Sim::new(3)
        .run(|rt| async move {
            let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
            let job = |name: &'static str| scheduler.job(name, async |_cx| ());
            let every = job("every").cron("@every 1m30s").start().unwrap();
            let start = job("start").cron("@reboot").start().unwrap();
            rt.advance(Duration::from_secs(300)).await;
            assert_eq!(every.stats().runs.completed, 3, "at 90, 180 and 270 s");
            assert_eq!(start.stats().runs.completed, 1);

            let later = job("later").cron("@reboot").start().unwrap();
            assert!(later.pause());
            rt.advance(Duration::from_secs(60)).await;
            assert!(later.resume());
            rt.run_until_idle().await;
            let stats = later.stats();
            assert_eq!((stats.runs.completed, stats.recurring), (1, false));
        })
        .unwrap();
}

#[test]
fn case_111_a_job_for_31_february_is_refused() {
    Sim::new(3)
        .run(|rt| async move {
            let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
            let job = scheduler.job("never", async |_cx| ()).cron("0 0 31 2 *");
            let refused = job.start().unwrap_err();
            assert!(
                matches!(refused, ScheduleError::Cron(CronError::NeverOccurs { .. })),
                "{refused:?}"
            );
            rt.advance(Duration::from_secs(366 * 86_400)).await;
            let stats = scheduler.stats();
            assert_eq!((stats.jobs, stats.runs.started), (0, 0));
        })
        .unwrap();
}

#[test]
fn case_116_times_that_come_while_a_job_runs_are_skipped_and_told() {
    Sim::new(3)
        .run(|rt| async move {
            let told = Arc::new(AtomicU64::new(0));
            let tells = told.clone();
            let scheduler = Scheduler::builder().runtime(&rt).on_event(move |event| {
                if let JobEventKind::Skipped(count) = event.kind {
                    tells.fetch_add(count, Relaxed);
                }
            });
            let scheduler = scheduler.build().unwrap();
            let sleeper = rt.clone();
            let job = scheduler.job("slow", move |_cx| {
                let sleeper = sleeper.clone();
                async move { sleeper.sleep(Duration::from_millis(2_500)).await }
            });
            let job = job.cron("* * * * * *").start().unwrap();
            rt.advance(Duration::from_millis(5_900)).await;
            let runs = job.stats().runs;
            // Of 1 to 5 s: 1 and 4 run, 2, 3 and 5 come meanwhile.
            assert_eq!((runs.started, runs.skipped), (2, 3), "{runs:?}");
            assert_eq!(told.load(Relaxed), 3);
        })
        .unwrap();
}

#[test]
fn a_window_is_in_its_own_zone_else_in_that_of_its_job() {
    // A winter's day: Berlin is an hour ahead, Tokyo nine.
    Sim::new(3)
        .wall_clock(at(SPRING - 60 * 86_400))
        .run(|rt| async move {
            let scheduler = Scheduler::builder().runtime(&rt).time_zone("Asia/Tokyo");
            let scheduler = scheduler.build().unwrap();
            let job = |name: &'static str| scheduler.job(name, async |_cx| ());
            let nine = || Window::new("09:00-17:00").unwrap();
            let berlin = job("berlin").cron("30 * * * *").time_zone("Europe/Berlin");
            let berlin = berlin.window(nine()).start().unwrap();
            let rate = job("rate").every(Duration::from_secs(1_800));
            let rate = rate
                .time_zone("Europe/Berlin")
                .window(nine())
                .start()
                .unwrap();
            let own = nine().time_zone("UTC").unwrap();
            let own = job("own")
                .cron("30 * * * *")
                .time_zone("Europe/Berlin")
                .window(own);
            let own = own.start().unwrap();
            let tokyo = job("tokyo").cron("TZ=UTC 30 * * * *").window(nine());
            let tokyo = tokyo.start().unwrap();
            let first = |job: &flow_sched::JobHandle, minutes: u64| {
                let midnight = SPRING - 60 * 86_400;
                let midnight = midnight - midnight % 86_400;
                assert_eq!(job.upcoming(1), [at(midnight + minutes * 60)], "{job:?}");
            };
            first(&berlin, 8 * 60);
            first(&rate, 8 * 60);
            first(&own, 9 * 60);
            first(&tokyo, 30);
            let unknown = job("x")
                .every(Duration::from_secs(1))
                .time_zone("Europe/Berlim");
            let unknown = unknown.window(nine()).start().unwrap_err();
            assert!(
                unknown.to_string().contains("\"Europe/Berlin\""),
                "{unknown}"
            );
        })
        .unwrap();
}

#[test]
fn a_zone_in_the_pattern_goes_before_the_schedulers() {
    Sim::new(3)
        .wall_clock(at(SPRING - 86_400))
        .run(|rt| async move {
            let scheduler = Scheduler::builder().runtime(&rt).time_zone("Asia/Tokyo");
            let scheduler = scheduler.build().unwrap();
            let job = |name: &'static str| scheduler.job(name, async |_cx| ());
            let own = job("own").cron("TZ=UTC 0 1 * * *").start().unwrap();
            let tokyo = job("tokyo").cron("0 11 * * *").start().unwrap();
            let set = job("set").cron("CRON_TZ=UTC 0 5 * * *");
            let set = set.time_zone("Europe/Berlin").start().unwrap();
            rt.advance(Duration::from_secs(6 * 3_600)).await;
            let hour = |seconds: u64| Some(at(SPRING - 86_400 + seconds * 3_600));
            let last = |job: &flow_sched::JobHandle| job.stats().last.map(|run| run.scheduled_at);
            assert_eq!(last(&own), hour(1));
            assert_eq!(last(&tokyo), hour(2));
            assert_eq!(last(&set), hour(4));
        })
        .unwrap();
}
