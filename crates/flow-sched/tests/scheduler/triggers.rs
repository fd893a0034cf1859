//! Triggers made of others, windows, calendars, ends, and jitter.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flow_rt::{Instant, TestRuntime, sim};
use flow_sched::{
    After, Calendar, Cron, Due, EndReason, Every, FixedDelay, Holidays, Jitter, JobContext,
    JobState, Misfire, Once, RandomInterval, ScheduleError, Trigger, TriggerContext, Window,
};
use proptest::prelude::*;

use crate::common::{HOUR, Log, MIN, SEC, ms, noting, scheduler, secs, slow};

flow_rt::on_every_runtime! {
    seeds 0..20;
    a_union_is_due_with_each_and_an_intersection_with_both,
    case_126_outside_of_its_window_a_run_waits_for_the_opening,
    case_127_days_are_those_of_the_windows_zone,
    clocks_put_forward_over_a_window_leave_it_closed,
    what_is_due_once_runs_once_when_the_clocks_move_apart,
    a_trigger_that_is_due_once_runs_once_however_it_is_given,
    the_latest_of_very_many_is_found_whatever_the_trigger_is_made_of,
    jitter_longer_than_the_runtime_is_old_moves_no_time,
    a_fixed_delay_waits_for_the_opening_too,
    holidays_and_calendars_of_ones_own_leave_times_out,
    a_job_begins_and_ends_on_the_wall_clock,
    random_intervals_come_as_they_were_told,
    case_128_jitter_is_spread_within_its_bounds_and_does_not_add_up,
    jitter_longer_than_the_period_misses_nothing,
    wrong_ranges_are_refused,
}

async fn a_union_is_due_with_each_and_an_intersection_with_both(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let (either, both) = (Log::new(&rt), Log::new(&rt));
    let two_or_three = Every::new(secs(2))
        .or(Every::new(secs(3)))
        .or(After::new(ms(2_500)));
    noting(&scheduler, "either", &either)
        .trigger(two_or_three)
        .start()
        .unwrap();
    let two_and_three = Every::new(secs(2)).and(Every::new(secs(3)));
    noting(&scheduler, "both", &both)
        .trigger(two_and_three)
        .start()
        .unwrap();
    rt.advance(ms(12_500)).await;
    let expected = [
        2_000, 2_500, 3_000, 4_000, 6_000, 8_000, 9_000, 10_000, 12_000,
    ];
    assert_eq!(either.millis(), expected);
    assert_eq!(both.millis(), [6_000, 12_000]);
    // Two grids that never meet.
    let never = Every::new(secs(2))
        .aligned()
        .and(Every::new(secs(2)).aligned().phase(SEC));
    let never = noting(&scheduler, "never", &both).trigger(never).start();
    assert_eq!(never.unwrap_err(), ScheduleError::NeverDue);
    // A clock that is not the wall's meets it nowhere, a delay nothing.
    let delay = FixedDelay::new(SEC).and(Every::new(SEC));
    let delay = noting(&scheduler, "delay", &both)
        .trigger(delay)
        .start()
        .unwrap();
    rt.advance(secs(5)).await;
    assert_eq!(delay.state(), JobState::Ended(EndReason::Finished));
    assert_eq!(delay.stats().runs.started, 1);
}

async fn case_126_outside_of_its_window_a_run_waits_for_the_opening(rt: TestRuntime) {
    // 2026-01-01 00:00 UTC, a Thursday.
    let midnight = rt.wall();
    let scheduler = scheduler(&rt);
    let day = || Window::new("09:00-17:00").unwrap();
    rt.advance(10 * HOUR).await;
    let (once, hourly) = (Log::new(&rt), Log::new(&rt));
    let now = noting(&scheduler, "now", &once)
        .after(Duration::ZERO)
        .window(day());
    now.start().unwrap();
    let poll = noting(&scheduler, "hourly", &hourly)
        .every(HOUR)
        .window(day());
    let poll = poll.start().unwrap();
    rt.advance(MIN).await;
    assert_eq!(once.millis(), [0], "at 10:00 it runs now");
    let hours: Vec<_> = poll
        .upcoming(9)
        .into_iter()
        .map(|at| hours(at, midnight))
        .collect();
    assert_eq!(hours, [11, 12, 13, 14, 15, 16, 24 + 9, 24 + 10, 24 + 11]);
    rt.advance(7 * HOUR + 59 * MIN).await;
    assert_eq!(hourly.len(), 6);
    // At 18:00 the next time is tomorrow at 09:00, once.
    let late = noting(&scheduler, "late", &once)
        .after(Duration::ZERO)
        .window(day());
    let late = late.start().unwrap();
    assert_eq!(late.upcoming(2), [midnight + 33 * HOUR]);
    assert!(!late.stats().recurring);
    rt.advance(15 * HOUR).await;
    assert_eq!((once.len(), hourly.len()), (2, 7));
    assert_eq!(poll.stats().runs.missed, 0);
    let night = Window::new("22:00-06:00").unwrap();
    let at = |hour: u32| midnight + HOUR * hour;
    assert!(night.contains(at(23)) && night.contains(at(5)) && night.contains(at(22)));
    assert!(!night.contains(at(12)) && !night.contains(at(6)));
    assert_eq!(night.closes_after(at(23)), Some(at(30)));
    assert_eq!(night.opens_after(at(23)), Some(at(46)));
}

fn hours(at: SystemTime, since: SystemTime) -> u64 {
    at.duration_since(since).unwrap().as_secs() / 3_600
}

async fn case_127_days_are_those_of_the_windows_zone(rt: TestRuntime) {
    // Thursday 00:00 UTC is Thursday 13:00 in Auckland, and Wednesday 16:00 in Los Angeles.
    let start = rt.wall();
    let fridays = Window::new("FRI 00:00-24:00").unwrap();
    for (zone, opens) in [
        ("UTC", 24),
        ("Pacific/Auckland", 11),
        ("America/Los_Angeles", 32),
    ] {
        let window = fridays.clone().time_zone(zone).unwrap();
        assert_eq!(
            window.opens_after(start),
            Some(start + HOUR * opens),
            "{zone}"
        );
        let open = start + HOUR * opens;
        assert!(window.contains(open) && window.contains(open + 23 * HOUR));
        assert!(!window.contains(open + 24 * HOUR));
    }
    assert!(fridays.clone().time_zone("Pacific/Aukland").is_err());
    let scheduler = flow_sched::Scheduler::builder()
        .runtime(&rt)
        .time_zone("Pacific/Auckland")
        .build()
        .unwrap();
    let log = Log::new(&rt);
    let job = noting(&scheduler, "friday", &log)
        .every(HOUR)
        .window(fridays);
    let job = job.start().unwrap();
    assert_eq!(job.upcoming(1), [start + 11 * HOUR]);
    let split = Window::new("MON-FRI 09:00-12:00; MON-FRI 13:00-17:00; SAT 10:00-12:00").unwrap();
    let open: Vec<u64> = (0..72)
        .filter(|&hour| split.contains(start + secs(hour * 3_600)))
        .collect();
    let days = [9, 10, 11, 13, 14, 15, 16];
    let expected: Vec<u64> = days
        .iter()
        .copied()
        .chain(days.iter().map(|hour| 24 + hour))
        .chain([58, 59])
        .collect();
    assert_eq!(open, expected);
}

async fn clocks_put_forward_over_a_window_leave_it_closed(_rt: TestRuntime) {
    let window = |text: &str, zone: &str| Window::new(text).unwrap().time_zone(zone).unwrap();
    let at = |secs: u64| UNIX_EPOCH + Duration::from_secs(secs);
    // 2026-03-08 in New York: 07:00 UTC is 03:00, and there is no 02:00 on that day.
    let spring = at(1_772_953_200);
    let night = window("02:00-03:00", "America/New_York");
    assert!(!night.contains(spring) && !night.contains(spring + HOUR));
    assert_eq!(night.closes_after(spring), None);
    // It opens on the days around, at 02:00 of the time that holds by then.
    assert!(night.contains(spring - 24 * HOUR) && night.contains(spring + 23 * HOUR));
    assert_eq!(night.opens_after(spring - HOUR), Some(spring + 23 * HOUR));
    assert_eq!(night.opens_after(spring), Some(spring + 23 * HOUR));
    // The half of it that there is, and all but it: they close as ever.
    let half = window("02:30-03:30", "America/New_York");
    assert_eq!(half.opens_after(spring - HOUR), Some(spring));
    assert_eq!(half.closes_after(spring), Some(spring + HOUR / 2));
    let first = window("01:30-02:30", "America/New_York");
    assert_eq!(first.closes_after(spring - HOUR / 4), Some(spring));
    let rest = window("03:00-02:00", "America/New_York");
    assert_eq!(rest.opens_after(spring - MIN), Some(spring));
    assert_eq!(rest.closes_after(spring), Some(spring + 23 * HOUR));
    // A day that closes when the next one opens is open throughout, of 23, 24 and 25 hours:
    // 2026-11-01 begins at 04:00 UTC.
    let all = window("00:00-24:00", "America/New_York");
    for (begins, hours) in [(spring - 2 * HOUR, 23), (spring - 26 * HOUR, 24)] {
        assert_eq!(all.closes_after(begins), Some(begins + HOUR * hours));
    }
    let autumn = at(1_793_505_600);
    assert_eq!(all.closes_after(autumn), Some(autumn + 25 * HOUR));
    // In Nuuk the last hour of 2026-03-28 is left out: midnight comes at 01:00 UTC.
    let midnight = at(1_774_746_000);
    let last = window("23:00-24:00", "America/Nuuk");
    assert!(last.contains(midnight - 24 * HOUR));
    assert!(!last.contains(midnight) && !last.contains(midnight + HOUR));
    assert_eq!(last.opens_after(midnight - MIN), Some(midnight + 23 * HOUR));
}

async fn what_is_due_once_runs_once_when_the_clocks_move_apart(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    rt.advance(17 * HOUR + 30 * MIN).await;
    let log = Log::new(&rt);
    let day = Window::new("09:00-17:00").unwrap();
    let once = noting(&scheduler, "once", &log).after(HOUR).window(day);
    let once = once.start().unwrap();
    rt.settle().await;
    // 17:30 becomes 09:05, when the delay that was put off to 09:00 is not over yet.
    rt.suspend(15 * HOUR + 35 * MIN);
    assert!(once.upcoming(5).len() <= 1);
    rt.advance(3 * HOUR).await;
    assert_eq!(log.len(), 1);
    assert_eq!(once.stats().runs.missed, 0);
    assert_eq!(once.state(), JobState::Ended(EndReason::Finished));
    // A grid begins where it begins, whatever was due before.
    let cx = TriggerContext::new(rt.now(), rt.wall());
    let every = Every::new(SEC);
    let before = cx.after(Due::Wall(rt.wall() - HOUR));
    assert_eq!(every.next(&before), Some(Due::At(rt.now() + SEC)));
    assert_eq!(every.catch_up(&before), None);
    let at_once = every.phase(Duration::ZERO);
    assert_eq!(at_once.next(&before), Some(Due::At(rt.now())));
}

async fn a_trigger_that_is_due_once_runs_once_however_it_is_given(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    rt.advance(17 * HOUR + 30 * MIN).await;
    let log = Log::new(&rt);
    let day = || Window::new("09:00-17:00").unwrap();
    let given = scheduler.job_with("given", log.clone(), async |_cx, log: Log| log.note());
    let given = given
        .trigger(After::new(HOUR).within(day()))
        .start()
        .unwrap();
    let over = Log::new(&rt);
    let updated = noting(&scheduler, "updated", &over).every(HOUR);
    let updated = updated.start().unwrap();
    let once = Once::new(rt.now() + HOUR)
        .within(day())
        .excluding(Holidays::new(["12-25"]).unwrap());
    updated.update(once.not_before(rt.wall())).unwrap();
    assert!(!given.stats().recurring && !updated.stats().recurring);
    rt.settle().await;
    // 17:30 becomes 09:05, when the delay that was put off to 09:00 is not over yet.
    rt.suspend(15 * HOUR + 35 * MIN);
    rt.advance(3 * HOUR).await;
    assert_eq!((log.len(), over.len()), (1, 1));
    assert_eq!(given.state(), JobState::Ended(EndReason::Finished));
    assert!(After::new(SEC).or(Once::new(rt.now())).is_recurring());
    assert!(!Every::new(SEC).and(Once::new(rt.now())).is_recurring());
}

async fn the_latest_of_very_many_is_found_whatever_the_trigger_is_made_of(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let wall = rt.wall();
    let seen: Arc<Mutex<Vec<(String, Duration)>>> = Arc::default();
    let start = |name: &'static str, trigger: Arc<dyn Trigger>| {
        let job = scheduler.job_with(
            name,
            seen.clone(),
            move |cx: JobContext, seen: Arc<Mutex<Vec<_>>>| async move {
                let at = cx.scheduled_at().duration_since(wall).unwrap();
                seen.lock().unwrap().push((cx.job().to_owned(), at));
            },
        );
        let job = job.misfire(Misfire::FireOnce { within: HOUR });
        job.trigger(trigger).start().unwrap()
    };
    let every = |secs: u64| Every::new(Duration::from_secs(secs)).aligned();
    let union = start("union", Arc::new(every(7).or(every(600))));
    start("intersection", Arc::new(every(2).and(every(3))));
    let night = Window::new("00:00-07:00").unwrap();
    start("within", Arc::new(every(5).within(night.clone())));
    start(
        "until",
        Arc::new(every(5).not_after(wall + 7 * HOUR + 30 * MIN)),
    );
    rt.advance(MIN).await;
    seen.lock().unwrap().clear();
    // 00:01:00 becomes 08:00:30: thousands of times have passed.
    rt.suspend(7 * HOUR + 59 * MIN + secs(30));
    rt.advance(secs(61)).await;
    let seen = seen.lock().unwrap().clone();
    let first = |name: &str| seen.iter().find(|(job, _)| job == name).map(|(_, at)| *at);
    // The look at the clock may come up to a minute later.
    let from = 8 * HOUR + secs(30);
    let is_latest = |at: Duration, period: u64| {
        let passed = at.as_secs().is_multiple_of(period) && at + secs(period) > from;
        assert!(passed && at <= from + MIN, "{at:?} of each {period} s");
    };
    let of_union = first("union").unwrap();
    assert!(of_union.as_secs().is_multiple_of(7) || of_union.as_secs().is_multiple_of(600));
    assert!(of_union + secs(7) > from, "{of_union:?}");
    is_latest(first("intersection").unwrap(), 6);
    assert_eq!(first("within"), None, "06:59:55 is more than an hour ago");
    assert_eq!(first("until"), Some(7 * HOUR + 30 * MIN));
    assert!(union.stats().runs.missed >= 1_023);
}

async fn jitter_longer_than_the_runtime_is_old_moves_no_time(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let wall = rt.wall();
    let nominal: Arc<Mutex<Vec<(u64, SystemTime)>>> = Arc::default();
    for n in 0..8 {
        let job = scheduler.job_with(
            format!("poll {n}"),
            nominal.clone(),
            move |cx: JobContext, nominal: Arc<Mutex<Vec<_>>>| async move {
                nominal.lock().unwrap().push((n, cx.scheduled_at()));
            },
        );
        job.every(HOUR)
            .window(Window::new("00:00-16:00").unwrap())
            .jitter(Jitter::stable(10 * HOUR))
            .start()
            .unwrap();
    }
    rt.advance(15 * HOUR).await;
    let nominal = nominal.lock().unwrap().clone();
    for n in 0..8 {
        let times = nominal.iter().filter(|(job, _)| *job == n);
        let seen: Vec<_> = times.map(|(_, at)| *at).collect();
        let hourly: Vec<_> = (1..).map(|n| wall + HOUR * n).take(seen.len()).collect();
        assert!(seen.len() >= 4, "{n}: {seen:?}");
        assert_eq!(seen, hourly, "{n}");
    }
}

async fn a_fixed_delay_waits_for_the_opening_too(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    rt.advance(15 * HOUR).await;
    let job = slow(&scheduler, "delay", &log, HOUR)
        .fixed_delay(HOUR)
        .window(Window::new("09:00-17:30").unwrap());
    let job = job.start().unwrap();
    rt.advance(21 * HOUR).await;
    let hours: Vec<_> = log.millis().iter().map(|at| at / 3_600_000).collect();
    // At 16:00, over at 17:00, and an hour later it is closed: 09:00, and then 11:00.
    assert_eq!(hours, [16, 33, 35]);
    job.pause();
    rt.advance(HOUR).await;
    assert!(job.resume());
    rt.advance(HOUR).await;
    assert_eq!(
        log.len(),
        4,
        "a delay without a run counts from the end of the pause"
    );
}

/// Every second hour.
struct OddHours;

impl Calendar for OddHours {
    fn excluded_until(&self, at: SystemTime) -> Option<SystemTime> {
        let hour = hours(at, UNIX_EPOCH);
        (hour % 2 == 1).then(|| UNIX_EPOCH + secs((hour + 1) * 3_600))
    }
}

/// Excludes everything, and does not say until when.
struct Stuck;

impl Calendar for Stuck {
    fn excluded_until(&self, at: SystemTime) -> Option<SystemTime> {
        Some(at)
    }
}

async fn holidays_and_calendars_of_ones_own_leave_times_out(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let (daily, odd, delay) = (Log::new(&rt), Log::new(&rt), Log::new(&rt));
    let holidays = Holidays::new(["01-02", "2026-01-04", "2025-01-05"]).unwrap();
    let job = noting(&scheduler, "daily", &daily)
        .cron("0 12 * * *")
        .exclude(holidays.clone());
    job.start().unwrap();
    noting(&scheduler, "odd", &odd)
        .every(30 * MIN)
        .exclude(OddHours)
        .exclude(holidays)
        .start()
        .unwrap();
    noting(&scheduler, "delay", &delay)
        .fixed_delay(61 * MIN)
        .exclude(OddHours)
        .start()
        .unwrap();
    rt.advance(10 * HOUR).await;
    let minutes = |log: &Log| -> Vec<u64> { log.millis().iter().map(|at| at / 60_000).collect() };
    assert_eq!(
        minutes(&odd),
        [30, 120, 150, 240, 270, 360, 390, 480, 510, 600]
    );
    assert_eq!(
        minutes(&delay),
        [120, 240, 360, 480, 600],
        "put off, not left out"
    );
    rt.advance(110 * HOUR).await;
    let days: Vec<_> = daily
        .millis()
        .iter()
        .map(|at| at / 86_400_000 + 1)
        .collect();
    assert_eq!(days, [1, 3, 5]);
    let stuck = noting(&scheduler, "stuck", &odd)
        .every(SEC)
        .exclude(Stuck)
        .start();
    assert_eq!(stuck.unwrap_err(), ScheduleError::NeverDue);
    let once = Once::new(rt.wall() + HOUR).excluding(Window::new("00:00-24:00").unwrap());
    let once = noting(&scheduler, "once", &odd).trigger(once).start();
    assert_eq!(once.unwrap_err(), ScheduleError::NeverDue);
}

async fn a_job_begins_and_ends_on_the_wall_clock(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let wall = rt.wall();
    let job = noting(&scheduler, "some", &log)
        .every(secs(2))
        .not_before(wall + secs(5))
        .not_after(wall + secs(10));
    let job = job.start().unwrap();
    let cron = noting(&scheduler, "cron", &Log::new(&rt))
        .cron("* * * * *")
        .not_before(wall + HOUR)
        .start()
        .unwrap();
    assert_eq!(cron.upcoming(1), [wall + HOUR]);
    let delay = Log::new(&rt);
    let after_runs = slow(&scheduler, "delay", &delay, SEC)
        .fixed_delay(secs(3))
        .not_after(wall + secs(10))
        .start()
        .unwrap();
    rt.advance(MIN).await;
    assert_eq!(log.millis(), [6_000, 8_000, 10_000]);
    assert_eq!(job.state(), JobState::Ended(EndReason::Finished));
    assert_eq!(delay.millis(), [3_000, 7_000]);
    assert_eq!(after_runs.state(), JobState::Ended(EndReason::Finished));
    let over = noting(&scheduler, "over", &log)
        .every(SEC)
        .not_after(wall)
        .start();
    assert_eq!(over.unwrap_err(), ScheduleError::NeverDue);
    let inverted = noting(&scheduler, "inverted", &log)
        .every(SEC)
        .not_before(wall + SEC)
        .not_after(wall);
    let (from, to) = (wall + SEC, wall);
    let inverted = inverted.start().unwrap_err();
    assert_eq!(inverted, ScheduleError::EndBeforeStart { from, to });
    // A trigger knows both of its ends too, and the narrowest of each.
    let ends = Every::new(SEC).not_after(wall + HOUR).not_before(from);
    let ends = ends.not_after(to).not_before(wall - HOUR).not_after(from);
    let ends = noting(&scheduler, "ends", &log).trigger(ends).start();
    assert_eq!(ends.unwrap_err(), inverted);
    assert_eq!(
        inverted.to_string(),
        "the job would end 1s before it begins"
    );
}

async fn random_intervals_come_as_they_were_told(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = noting(&scheduler, "random", &log).trigger(RandomInterval::new(SEC..=secs(3)));
    let job = job.start().unwrap();
    let told = job.upcoming(100);
    rt.advance(secs(300)).await;
    let seen = log.seen.lock().unwrap().clone();
    assert!(seen.len() >= 100);
    for (told, at) in told.iter().zip(&seen) {
        assert_eq!(*told, log.wall + *at);
    }
    let gaps: Vec<_> = seen
        .windows(2)
        .map(|pair| pair[1].abs_diff(pair[0]))
        .collect();
    assert!(gaps.iter().all(|gap| (SEC..=secs(3)).contains(gap)));
    let distinct: std::collections::BTreeSet<_> = gaps.iter().collect();
    assert!(distinct.len() > 90, "{} of {}", distinct.len(), gaps.len());
    let mean = gaps.iter().sum::<Duration>() / gaps.len() as u32;
    assert!((ms(1_700)..ms(2_300)).contains(&mean), "{mean:?}");
}

async fn case_128_jitter_is_spread_within_its_bounds_and_does_not_add_up(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let most = secs(100);
    let jitters = [
        ("full", Jitter::full(most), 0),
        ("equal", Jitter::equal(most), 50),
        ("least", Jitter::full(most).at_least(secs(90)), 90),
        ("stable", Jitter::stable(most), 0),
        ("stable least", Jitter::stable(most).at_least(secs(99)), 99),
    ];
    let mut logs = Vec::new();
    for (name, jitter, least) in jitters {
        let log = Log::new(&rt);
        let nominal: Arc<Mutex<Vec<SystemTime>>> = Arc::default();
        let with = (log.clone(), nominal.clone());
        let job = scheduler.job_with(
            name,
            with,
            async |cx: JobContext, (log, nominal): (Log, Arc<Mutex<Vec<_>>>)| {
                log.note();
                nominal.lock().unwrap().push(cx.scheduled_at());
            },
        );
        job.every(HOUR).jitter(jitter).start().unwrap();
        logs.push((name, log, nominal, secs(least)));
    }
    rt.advance(HOUR * 200 + most).await;
    for (name, log, nominal, least) in logs {
        let seen = log.seen.lock().unwrap().clone();
        assert_eq!(seen.len(), 200, "{name}");
        let grid: Vec<_> = (1..=200).map(|n| log.wall + HOUR * n).collect();
        assert_eq!(
            *nominal.lock().unwrap(),
            grid,
            "the timetable stays where it is"
        );
        let late: Vec<_> = (1..)
            .zip(seen)
            .map(|(n, at)| at.abs_diff(HOUR * n))
            .collect();
        assert!(
            late.iter().all(|late| (least..=most).contains(late)),
            "{name}: {late:?}"
        );
        if name.starts_with("stable") {
            assert!(late.iter().all(|one| *one == late[0]), "{name}");
            continue;
        }
        let spread = most.abs_diff(least);
        // Each tenth of the range gets its share: 20 of 200, give or take 4.7 deviations.
        for tenth in 0..10 {
            let tenth = least + spread * tenth / 10;
            let share = late
                .iter()
                .filter(|late| (tenth..tenth + spread / 10).contains(*late))
                .count();
            assert!((1..=40).contains(&share), "{name}: {share} from {tenth:?}");
        }
        assert_eq!(scheduler.find(name).unwrap().stats().runs.missed, 0);
    }
}

#[test]
fn stable_jitter_is_the_same_in_every_process_and_full_jitter_is_not() {
    let first_run = |seed, jitter| {
        let sim = sim::Sim::new(seed).run(|rt| async move {
            let scheduler = flow_sched::Scheduler::builder()
                .runtime(&rt)
                .build()
                .unwrap();
            let ran = Arc::new(Mutex::new(None));
            let handle: flow_rt::Handle = (*rt).clone();
            let with = (handle, ran.clone());
            let job = scheduler.job_with(
                "report",
                with,
                async |_cx, (rt, ran): (flow_rt::Handle, Arc<Mutex<_>>)| {
                    *ran.lock().unwrap() = Some(rt.now());
                },
            );
            let start = rt.now();
            job.every(HOUR).jitter(jitter).start().unwrap();
            rt.advance(HOUR + 59 * MIN).await;
            let ran = ran.lock().unwrap().expect("it ran");
            ran - start
        });
        sim.unwrap().output
    };
    let stable = Jitter::stable(MIN);
    assert_eq!(first_run(1, stable), first_run(2, stable));
    let full = Jitter::full(MIN);
    assert_eq!(first_run(1, full), first_run(1, full));
    assert_ne!(first_run(1, full), first_run(2, full));
}

async fn jitter_longer_than_the_period_misses_nothing(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let job = noting(&scheduler, "often", &log)
        .every(SEC)
        .jitter(Jitter::full(secs(5)));
    let job = job.start().unwrap();
    rt.advance(secs(105)).await;
    let runs = job.stats().runs;
    // Those that come together are a matter of overlap.
    assert_eq!(runs.missed, 0);
    assert!(runs.started + runs.skipped >= 98, "{runs:?}");
}

async fn wrong_ranges_are_refused(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let job = || scheduler.job("x", async |_cx| ());
    let (least, most) = (secs(2), SEC);
    let range = RandomInterval::new(least..=most);
    let range = job().trigger(range).start().unwrap_err();
    assert_eq!(range, ScheduleError::EmptyRange { least, most });
    assert_eq!(
        range.to_string(),
        "the intervals from 2s to 1s are none; the least comes first"
    );
    let zero = job()
        .trigger(RandomInterval::new(Duration::ZERO..=SEC))
        .start();
    assert_eq!(zero.unwrap_err(), ScheduleError::ZeroInterval);
    let jitter = Jitter::stable(most).at_least(least);
    let jitter = job().every(SEC).jitter(jitter).start().unwrap_err();
    assert_eq!(jitter, ScheduleError::Jitter { least, most });
    assert_eq!(
        jitter.to_string(),
        "a jitter from 2s to 1s; the most must be more than zero, and no less than the least"
    );
    assert!(
        job()
            .every(SEC)
            .jitter(Jitter::full(Duration::ZERO))
            .start()
            .is_err()
    );
    for hidden in [
        job()
            .trigger(Every::new(SEC).or(Every::new(Duration::ZERO)))
            .start(),
        job()
            .trigger(Every::new(SEC).and(FixedDelay::new(Duration::ZERO)))
            .start(),
    ] {
        assert_eq!(hidden.unwrap_err(), ScheduleError::ZeroInterval);
    }
    for wrong in [
        "",
        ";",
        "9-17",
        "09:00",
        "09:00-09:00",
        "24:00-06:00",
        "09:00-24:01",
        "09:60-10:00",
        "MON 09:00-10:00 x",
        "09:00-+1:00",
        "MON-FRI",
        "09:00-17:00;",
    ] {
        let error = Window::new(wrong).unwrap_err();
        assert!(
            error.to_string().starts_with("no window of time: "),
            "{error}"
        );
    }
    let days = "MOM-FRI 09:00-17:00".parse::<Window>().unwrap_err();
    assert_eq!(days.given(), "MOM-FRI 09:00-17:00");
    assert!(std::error::Error::source(&days).is_some());
    for wrong in [
        "",
        "2026",
        "2026-02-29",
        "02-30",
        "2026-1-1-1",
        "x-01",
        "99999999999-01-01",
        "-1-1",
    ] {
        let error = Holidays::new([wrong]).unwrap_err();
        assert_eq!(error.given(), wrong);
        assert!(
            error
                .to_string()
                .contains("expected one like \"2026-12-25\"")
        );
    }
    assert!(Holidays::new(["02-29"]).is_ok());
    assert!(scheduler.list().is_empty());
}

/// The times of a trigger from the epoch on, by asking for one after the other.
fn walk(trigger: &impl Trigger, n: usize) -> Vec<u64> {
    let mut cx = TriggerContext::new(Instant::ORIGIN, UNIX_EPOCH);
    let mut times = Vec::new();
    while times.len() < n {
        let Some(due @ Due::Wall(at)) = trigger.next(&cx) else {
            break;
        };
        times.push(at.duration_since(UNIX_EPOCH).unwrap().as_secs());
        cx = cx.after(due);
    }
    times
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn combinations_are_those_of_the_sets(
        a in 60_u64..5_000,
        b in 60_u64..5_000,
        phase in 0_u64..5_000,
        (from, to) in (0_u32..1_440, 0_u32..1_440).prop_filter("a span", |(from, to)| from != to),
    ) {
        let end = 3 * 86_400;
        let grid = |period: u64, phase: u64| Every::new(secs(period)).aligned().phase(secs(phase));
        let of_grid = |period: u64, phase: u64, at: u64| at % period == phase % period;
        let both: Vec<u64> = (1..end).filter(|&at| of_grid(a, 0, at) && of_grid(b, phase, at)).collect();
        let found = walk(&grid(a, 0).and(grid(b, phase)), both.len());
        prop_assert!(found == both);
        let either: Vec<u64> = (1..end).filter(|&at| of_grid(a, 0, at) || of_grid(b, phase, at)).collect();
        let found = walk(&grid(a, 0).or(grid(b, phase)), either.len());
        prop_assert!(found == either);

        let text = format!("{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60);
        let window = Window::new(&text).unwrap();
        let open = |at: u64| {
            let minute = (at / 60 % 1_440) as u32;
            if from < to { (from..to).contains(&minute) } else { minute >= from || minute < to }
        };
        for at in (86_400..end).step_by(499) {
            prop_assert_eq!(window.contains(UNIX_EPOCH + secs(at)), open(at), "{} at {}", text, at);
        }
        let closed: Vec<u64> = (1..end).filter(|&at| of_grid(a, 0, at) && !open(at)).collect();
        let found = walk(&grid(a, 0).excluding(window.clone()), closed.len());
        prop_assert!(found == closed);
        let found = walk(&grid(a, 0).within(window), 50);
        prop_assert!(found.is_sorted_by(|a, b| a < b), "{:?}", found);
        prop_assert!(found.iter().all(|&at| open(at)));
    }

    #[test]
    fn no_text_breaks_a_window(text in "\\PC{0,40}") {
        let _ = Window::new(&text);
        let _ = Holidays::new([text]);
    }
}

#[test]
fn cron_patterns_meet() {
    // Friday the thirteenth, and the last days of months that are Sundays.
    let thirteenth = Cron::new("0 0 13 * *")
        .unwrap()
        .and(Cron::new("0 0 * * FRI").unwrap());
    let days = walk(&thirteenth, 3);
    // 1970: 13 February, 13 March, 13 November.
    assert_eq!(days, [43 * 86_400, 71 * 86_400, 316 * 86_400]);
}
