//! Jobs read from configuration.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flow_rt::{Backoff, TaskContext, TestRuntime, sim};
use flow_sched::{
    EndReason, Every, Holidays, Jitter, JobContext, JobFunctions, JobState, JobTable,
    JobTableError, Misfire, Overlap, ScheduleError, Scheduler, Window,
};
use serde_json::from_str;

use crate::common::{HOUR, MIN, SEC, ms, scheduler, secs};

flow_rt::on_every_runtime! {
    seeds 0..10;
    jobs_run_as_the_table_says,
    limits_and_failures_of_a_job,
    a_table_starts_wholly_or_not_at_all,
}

fn table(text: &str) -> JobTable {
    from_str(text).unwrap()
}

fn noop() -> JobFunctions {
    JobFunctions::new().add("noop", async |_cx| ())
}

async fn jobs_run_as_the_table_says(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let runs = Arc::new(AtomicU32::new(0));
    let count = async |_cx, runs: Arc<AtomicU32>| {
        runs.fetch_add(1, Relaxed);
    };
    let functions = noop().add_with("count", runs.clone(), count);
    let table = table(
        r#"{
            "count": { "every": "1s", "max_runs": 5 },
            "a": { "run": "noop", "fixed_delay": "10s", "immediately": true },
            "b": { "run": "noop", "after": "1min" },
            "c": { "run": "noop", "cron": "@daily", "time_zone": "Europe/Berlin" },
            "d": { "run": "noop", "every": { "period": "10s", "phase": "1s" }, "history": 3 }
        }"#,
    );
    assert_eq!(table.len(), 5);
    assert!(table.names().any(|name| name == "count"));
    let jobs = table.start(&scheduler, &functions).unwrap();
    rt.advance(MIN + ms(1)).await;
    let ran = |name: &str| {
        let job = jobs.iter().find(|job| job.name() == name).unwrap();
        job.stats().runs.completed
    };
    assert_eq!((ran("count"), runs.load(Relaxed)), (5, 5));
    assert_eq!((ran("a"), ran("b"), ran("d")), (7, 1, 6));
    let d = scheduler.find("d").unwrap();
    assert_eq!(d.history().len(), 3);
    let midnight = scheduler.find("c").unwrap().upcoming(1)[0];
    let of_day = midnight.duration_since(UNIX_EPOCH).unwrap().as_secs() % 86_400;
    assert!(matches!(of_day / 3_600, 22 | 23), "midnight in Berlin");
}

async fn limits_and_failures_of_a_job(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let functions = JobFunctions::new()
        .add("fails", async |_cx| Err::<(), _>("no"))
        .add("stuck", async |_cx| std::future::pending::<()>().await)
        .add("flaky", async |cx: JobContext| {
            if cx.attempt() < 3 {
                Err("not yet")
            } else {
                Ok(())
            }
        });
    let table = table(
        r#"{
            "fails": { "every": "1s", "stop_on_error": true },
            "stuck": { "every": "1s", "timeout": "500ms" },
            "flaky": {
                "after": "1s", "retry": { "first": "100ms", "constant": true, "attempts": 3 }
            }
        }"#,
    );
    table.start(&scheduler, &functions).unwrap();
    let jobs = ["fails", "stuck", "flaky"].map(|name| scheduler.find(name).unwrap());
    rt.advance(ms(3_600)).await;
    let [fails, stuck, flaky] = jobs;
    assert_eq!(fails.state(), JobState::Ended(EndReason::RunFailed));
    assert_eq!(stuck.stats().runs.timed_out, 3);
    assert_eq!(flaky.stats().last.unwrap().attempts, 3);
}

async fn a_table_starts_wholly_or_not_at_all(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let refused = |text: &str| {
        let error = table(text).start(&scheduler, &noop()).unwrap_err();
        assert!(scheduler.list().is_empty());
        error
    };
    let unknown = refused(r#"{ "a": { "run": "noop", "every": "1s" }, "b": { "run": "nop" } }"#);
    assert_eq!(
        unknown.to_string(),
        "the job \"b\" calls \"nop\", and the program has no such function; the nearest is \"noop\""
    );
    let none = table(r#"{ "a": { "every": "1s" } }"#);
    let none = none.start(&scheduler, &JobFunctions::new()).unwrap_err();
    assert_eq!(
        none.to_string(),
        "the job \"a\" calls \"a\", and the program has no functions"
    );
    let of = |settings: &str| {
        let text =
            format!(r#"{{ "noop": {{ "every": "1s" }}, "x": {{ "run": "noop" {settings} }} }}"#);
        match refused(&text) {
            JobTableError::Job { job, error } if job == "x" => error,
            other => panic!("{settings}: {other}"),
        }
    };
    assert_eq!(of(""), ScheduleError::NoTrigger);
    assert_eq!(
        of(r#", "every": "1s", "cron": "@daily""#),
        ScheduleError::TwoTriggers
    );
    assert_eq!(of(r#", "every": "0s""#), ScheduleError::ZeroInterval);
    assert_eq!(
        of(r#", "every": "1s", "priority": 1"#),
        ScheduleError::UnknownPriority {
            given: 1,
            priorities: 1
        }
    );
    assert_eq!(
        of(r#", "every": "1s", "time_zone": "Europe/Berlin""#),
        ScheduleError::ZoneWithoutCron
    );
    for zone in [
        r#""cron": "@daily""#,
        r#""every": "1s", "window": "09:00-17:00""#,
    ] {
        let error = of(&format!(r#", {zone}, "time_zone": "Europe/Berlim""#));
        assert!(error.to_string().contains("\"Europe/Berlin\""), "{error}");
    }
    assert!(matches!(
        of(r#", "cron": "0 0 30 2 *""#),
        ScheduleError::Cron(_)
    ));
    assert!(matches!(
        of(r#", "every": "1s", "retry": { "first": "1s", "factor": 0.5 }"#),
        ScheduleError::Retry(_)
    ));
    let started = table(r#"{ "noop": { "every": "1s" } }"#);
    started.start(&scheduler, &noop()).unwrap();
    let twice = started.start(&scheduler, &noop()).unwrap_err();
    assert!(matches!(
        twice,
        JobTableError::Job {
            error: ScheduleError::NameTaken { .. },
            ..
        }
    ));
}

/// The `Debug` of the table's only job.
fn read(settings: &str) -> String {
    format!("{:?}", table(&format!(r#"{{ "x": {{ {settings} }} }}"#)))
}

#[track_caller]
fn says(settings: &str, value: impl std::fmt::Debug) {
    let read = read(settings);
    let value = format!("Some({value:?})");
    assert!(read.contains(&value), "{settings}: {read} has no {value}");
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + secs(seconds)
}

#[test]
fn every_form_of_every_setting_is_read() {
    says(r#""run": "y""#, "y");
    says(r#""cron": "@hourly""#, "@hourly");
    says(r#""every": "5min""#, Every::new(5 * MIN));
    let aligned = Every::new(HOUR).phase(SEC).aligned();
    says(
        r#""every": { "period": "1h", "phase": "1s", "aligned": true }"#,
        aligned,
    );
    let plain = Every::new(HOUR);
    says(r#""every": { "aligned": false, "period": "1h" }"#, plain);
    says(r#""once_at": "1970-01-01T01:00:00+01:00""#, at(0));
    says(r#""not_before": "1970-01-02T00:00:00Z""#, at(86_400));
    says(r#""not_after": "1970-01-01T00:00:01.5Z""#, at(1) + ms(500));
    says(
        r#""window": "MON-FRI 09:00-17:30""#,
        Window::new("MON-FRI 09:00-17:30").unwrap(),
    );
    let holidays = Holidays::new(["12-25", "2026-04-03"]).unwrap();
    says(r#""holidays": ["12-25", "2026-04-03"]"#, holidays);
    says(r#""jitter": "30s""#, Jitter::full(secs(30)));
    let stable = Jitter::stable(MIN).at_least(SEC);
    says(
        r#""jitter": { "stable": "1min", "at_least": "1s" }"#,
        stable,
    );
    says(r#""jitter": { "equal": "1min" }"#, Jitter::equal(MIN));
    for (text, overlap) in [
        (r#""skip""#, Overlap::Skip),
        (r#""buffer_one""#, Overlap::BufferOne),
        (r#""cancel_previous""#, Overlap::CancelPrevious),
        (r#""terminate_previous""#, Overlap::TerminatePrevious),
        (r#"{ "buffer_all": 8 }"#, Overlap::BufferAll(8)),
        (r#"{ "allow": 2 }"#, Overlap::Allow(2)),
    ] {
        says(&format!(r#""overlap": {text}"#), overlap);
    }
    let always = Duration::MAX;
    for (text, misfire) in [
        (r#""skip""#, Misfire::Skip),
        (r#""fire_once""#, Misfire::FireOnce { within: always }),
        (
            r#"{ "fire_once": "1h" }"#,
            Misfire::FireOnce { within: HOUR },
        ),
        (
            r#"{ "fire_all": 9 }"#,
            Misfire::FireAll {
                limit: 9,
                within: always,
            },
        ),
        (
            r#"{ "within": "1h", "fire_all": 9 }"#,
            Misfire::FireAll {
                limit: 9,
                within: HOUR,
            },
        ),
    ] {
        says(&format!(r#""misfire": {text}"#), misfire);
    }
    let backoff = Backoff::exponential(SEC)
        .factor(3.0)
        .decorrelated_jitter()
        .max_delay(MIN)
        .max_elapsed(HOUR)
        .attempts(7);
    says(
        r#""retry": { "first": "1s", "factor": 3.0, "jitter": "decorrelated", "max_delay": "1min",
           "max_elapsed": "1h", "attempts": 7 }"#,
        backoff,
    );
    let full = Backoff::constant(SEC).full_jitter();
    says(
        r#""retry": { "first": "1s", "constant": true, "jitter": "full" }"#,
        full,
    );
    let empty = read("");
    assert!(!empty.contains("Some"), "{empty}");
    assert!(table("{}").is_empty());
}

#[test]
fn what_is_wrong_is_said_with_what_is_right() {
    for (settings, said) in [
        (
            r#""evry": "1s""#,
            "a job has no setting \"evry\"; the nearest is \"every\"",
        ),
        (
            r#""every": { "perod": "1s" }"#,
            "`every` has no setting \"perod\"; the nearest is \"period\"",
        ),
        (
            r#""every": { "aligned": true }"#,
            "`every` needs a `period`",
        ),
        (
            r#""every": 5"#,
            "invalid type: integer `5`, expected a time like \"5min\"",
        ),
        (r#""every": "5 parsecs""#, "`5 parsecs` is no time"),
        (r#""timeout": "1""#, "`1` is no time"),
        (r#""every": "1s", "every": "2s""#, "duplicate field `every`"),
        (
            r#""overlap": "skp""#,
            "there is no overlap policy \"skp\"; the nearest is \"skip\"",
        ),
        (
            r#""overlap": " skip""#,
            "there is no overlap policy \" skip\"; the nearest is \"skip\"",
        ),
        (
            r#""misfire": "skip ""#,
            "there is no misfire policy \"skip \"; the nearest is \"skip\"",
        ),
        (r#""overlap": { "alow": 1 }"#, "the nearest is \"allow\""),
        (
            r#""overlap": { "allow": 1, "buffer_all": 2 }"#,
            "`overlap` takes one of `buffer_all` and `allow`; 2 were given",
        ),
        (r#""overlap": {}"#, "0 were given"),
        (r#""misfire": "fire_onc""#, "the nearest is \"fire_once\""),
        (
            r#""misfire": { "fire_once": "1h", "within": "1h" }"#,
            "`within` belongs to `fire_all`",
        ),
        (r#""jitter": { "at_least": "1s" }"#, "`jitter` takes one of"),
        (
            r#""retry": { "attempts": 3 }"#,
            "`retry` needs a `first` delay",
        ),
        (r#""retry": "1s""#, "expected the settings of a backoff"),
        (
            r#""retry": { "first": "1s", "jitter": "ful" }"#,
            "a backoff has no jitter \"ful\"; the nearest is \"full\"",
        ),
        (
            r#""once_at": "tomorrow""#,
            "\"tomorrow\" is no point in time; expected one like",
        ),
        (r#""window": "9-17""#, "no window of time: \"9-17\""),
        (
            r#""holidays": ["02-30"]"#,
            "no day of the calendar: \"02-30\"",
        ),
        (r#""max_runs": -1"#, "invalid value: integer `-1`"),
    ] {
        let text = format!(r#"{{ "x": {{ {settings} }} }}"#);
        let error = from_str::<JobTable>(&text).unwrap_err().to_string();
        assert!(error.contains(said), "{settings}: {error}");
    }
    let twice = from_str::<JobTable>(r#"{ "x": {}, "x": {} }"#).unwrap_err();
    assert!(twice.to_string().contains("the job \"x\" is there twice"));
    let list = from_str::<JobTable>("[]").unwrap_err();
    assert!(list.to_string().contains("a table of jobs by their names"));
}

#[test]
fn several_jobs_call_one_function_and_a_job_outlives_its_table() {
    sim::check(0..3, |rt| async move {
        let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
        let text =
            r#"{ "a": { "run": "noop", "every": "1s" }, "b": { "run": "noop", "every": "1s" } }"#;
        let functions = noop();
        assert_eq!(format!("{functions:?}"), "{\"noop\"}");
        table(text).start(&scheduler, &functions).unwrap();
        drop(functions);
        rt.advance(ms(2_500)).await;
        assert_eq!(scheduler.stats().runs.completed, 4);
    });
}

#[test]
fn a_job_carries_what_its_table_says() {
    sim::check(0..3, |rt| async move {
        let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let note = async |cx: JobContext, seen: Arc<Mutex<Vec<(String, bool)>>>| {
            let carries = cx.baggage("by").is_some();
            seen.lock().unwrap().push((cx.job().to_owned(), carries));
        };
        let functions = JobFunctions::new().add_with("note", seen.clone(), note);
        let table = table(
            r#"{
                "a": { "run": "note", "after": "1s" },
                "b": { "run": "note", "after": "2s", "propagate": true },
                "c": { "run": "note", "after": "3s", "propagate": false }
            }"#,
        );
        let starter = TaskContext::new().with_baggage("by", "starter").unwrap();
        let started = starter.enter(|| table.start(&scheduler, &functions));
        started.unwrap();
        rt.sleep(secs(4)).await;
        let of = |job: &str, carries| (job.to_owned(), carries);
        let expected = [of("a", true), of("b", true), of("c", false)];
        assert_eq!(*seen.lock().unwrap(), expected);
    });
}

#[test]
fn each_method_of_the_builder_is_a_setting_or_stays_in_code() {
    const IN_CODE: [&str; 8] = [
        "adaptive",
        "exclude",
        "on_give_up",
        "retry_if",
        "start",
        "throttle",
        "trigger",
        "when",
    ];
    let source = include_str!("../../src/scheduler/job/builder.rs");
    let methods = source.lines().filter_map(|line| {
        let method = line.strip_prefix("    pub fn ")?;
        method.split(['(', '<']).next()
    });
    let mut found = 0;
    for method in methods {
        let text = format!(r#"{{ "x": {{ "{method}": {{}} }} }}"#);
        let refused = from_str::<JobTable>(&text).unwrap_err().to_string();
        let is_setting = !refused.starts_with("a job has no setting");
        assert_ne!(is_setting, IN_CODE.contains(&method), "{refused}");
        found += 1;
    }
    assert!(found > IN_CODE.len(), "{found}");
}
