//! What the scheduler's errors say, word for word, and what `{:?}` tells.

use std::error::Error;
use std::time::Duration;

use flow_rt::{HandleError, sim};
use flow_sched::{
    CatchUp, Cron, CronPattern, Due, EndReason, JobContext, ScheduleError, Scheduler,
    SchedulerConfigError, TriggerContext, TriggerNowError, UnknownZone,
};

use crate::common::{SEC, scheduler};

#[track_caller]
fn says<E: Error>(error: &E, text: &str, source: Option<&dyn Error>) {
    assert_eq!(error.to_string(), text);
    assert_eq!(
        error.source().map(ToString::to_string),
        source.map(ToString::to_string)
    );
}

fn unknown_zone() -> UnknownZone {
    let cron = Cron::new("0 9 * * *").unwrap();
    cron.time_zone("Europe/Berlim").map(drop).unwrap_err()
}

const ZONE: &str = "unknown time zone \"Europe/Berlim\": expected a name of the IANA database; \
                    the nearest is \"Europe/Berlin\"";

#[test]
fn of_building_a_scheduler() {
    let no_runtime = HandleError::NotFound;
    says(
        &SchedulerConfigError::Runtime(no_runtime),
        &format!("a scheduler needs a runtime: {no_runtime}"),
        None,
    );
    let zone = unknown_zone();
    assert_eq!(
        (zone.given(), zone.nearest()),
        ("Europe/Berlim", "Europe/Berlin")
    );
    says(&zone, ZONE, None);
    says(&SchedulerConfigError::UnknownZone(zone.clone()), ZONE, None);
}

#[test]
fn of_starting_a_job() {
    let errors = [
        (ScheduleError::EmptyName, "a job's name must not be empty"),
        (
            ScheduleError::NameTaken {
                name: "report".to_owned(),
            },
            "there is a job named \"report\" already; names are unique among jobs that have not \
             ended",
        ),
        (
            ScheduleError::NoTrigger,
            "the job has no trigger: give it one of `once_at`, `after`, `every`, `fixed_delay`, \
             `cron` or `trigger`",
        ),
        (
            ScheduleError::TwoTriggers,
            "the job was given two triggers; it takes one",
        ),
        (
            ScheduleError::ZeroInterval,
            "the interval is zero; it must be at least a nanosecond",
        ),
        (
            ScheduleError::ZeroTimeout,
            "the timeout is zero; leave it out for runs without a limit",
        ),
        (
            ScheduleError::ZeroOverlap,
            "`Overlap::Allow(0)` lets no run in; allow one at the least",
        ),
        (
            ScheduleError::ZeroWithin,
            "a misfire policy within zero lets no run in, since no timer is exact; use \
             `Misfire::Skip` for runs on time only",
        ),
        (
            ScheduleError::ZeroBuffer,
            "`Overlap::BufferAll(0)` lets no run wait; use `Overlap::Skip`, or let one wait",
        ),
        (
            ScheduleError::ZeroLimit,
            "`Misfire::FireAll` with a limit of zero lets no run in; allow one at the least",
        ),
        (
            ScheduleError::ZoneWithoutCron,
            "a time zone means something to a `cron` pattern or a window only",
        ),
        (ScheduleError::NeverDue, "the job would never be due"),
        (
            ScheduleError::TriggerPanicked {
                message: "no timetable".to_owned(),
            },
            "the job's trigger panicked: no timetable",
        ),
        (ScheduleError::Closed, "the scheduler is closed"),
    ];
    for (error, text) in &errors {
        says(error, text, None);
    }
    let zone = unknown_zone();
    says(&ScheduleError::UnknownZone(zone.clone()), ZONE, None);
    let cron = CronPattern::parse("0 0 30 2 *").unwrap_err();
    says(&ScheduleError::Cron(cron.clone()), &cron.to_string(), None);
}

#[test]
fn of_runs_by_hand_and_of_ends() {
    let errors = [
        (
            TriggerNowError::Ended,
            "the job has ended and takes no further run",
        ),
        (
            TriggerNowError::Overlap { running: 2 },
            "2 runs of the job are in progress, and its overlap policy lets no more in",
        ),
        (
            TriggerNowError::PoolFull { capacity: 5 },
            "the queue of the pool that runs the jobs is full; it holds 5 tasks",
        ),
        (
            TriggerNowError::PoolClosed,
            "the pool that runs the jobs is closed",
        ),
    ];
    for (error, text) in &errors {
        says(error, text, None);
    }
    let reasons = [
        (EndReason::Finished, "finished"),
        (EndReason::Removed, "removed"),
        (EndReason::RunFailed, "a run failed"),
        (EndReason::TriggerFailed, "its trigger failed"),
        (EndReason::ShutDown, "the scheduler was shut down"),
    ];
    for (reason, text) in reasons {
        assert_eq!(reason.to_string(), text);
    }
}

#[test]
fn schedulers_and_jobs_show_their_state() {
    sim::check(0..1, |rt| async move {
        let builder = Scheduler::builder().name("nightly").runtime(&rt);
        let text = format!("{builder:?}");
        assert!(text.contains("name: Some(\"nightly\")"), "{text}");
        assert!(text.contains("on_event: false"), "{text}");

        let scheduler = scheduler(&rt);
        let start = rt.now();
        let (tell, told) = std::sync::mpsc::channel();
        let job = scheduler
            .job("report", move |cx: JobContext| {
                tell.send((cx.run(), cx.due(), format!("{cx:?}"))).unwrap();
                async {}
            })
            .every(SEC)
            .max_runs(5)
            .timeout(SEC);
        let text = format!("{job:?}");
        for part in [
            "name: \"report\"",
            "overlap: Skip",
            "max_runs: Some(5)",
            "timeout: Some(1s)",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let job = job.start().unwrap();
        rt.advance(SEC).await;
        let (run, due, context) = told.try_recv().unwrap();
        assert_eq!((run, due), (1, start + SEC));
        assert!(
            context.starts_with("JobContext { job: \"report\", run: 1"),
            "{context}"
        );
        let text = format!("{job:?}");
        assert!(text.starts_with("JobHandle { name: \"report\""), "{text}");
        let taken = scheduler.job("report", async |_| ()).every(SEC).start();
        assert_eq!(
            taken.unwrap_err(),
            ScheduleError::NameTaken {
                name: "report".to_owned()
            }
        );
    });
}

#[test]
fn a_trigger_sees_what_was_due_before_on_both_clocks() {
    sim::check(0..1, |rt| async move {
        let (now, wall) = (rt.now(), rt.wall());
        let cx = TriggerContext::new(now, wall).started_at(now);
        assert_eq!((cx.now(), cx.wall(), cx.started()), (now, wall, now));
        assert_eq!((cx.previous(), cx.previous_instant()), (None, None));
        assert_eq!(cx.previous_wall(), wall);
        let later = Duration::from_secs(5);
        for due in [Due::from(now + later), Due::from(wall + later)] {
            let cx = cx.after(due);
            assert_eq!(cx.previous(), Some(due));
            assert_eq!(cx.previous_instant(), Some(now + later));
            assert_eq!(cx.previous_wall(), wall + later);
        }
        let cx = cx.after(Due::AfterRun(later));
        assert_eq!(cx.previous_instant(), Some(now));
        assert_eq!(cx.previous_wall(), wall);
        assert_eq!(CatchUp::new(now, 3), CatchUp::new(Due::At(now), 3));
    });
}
