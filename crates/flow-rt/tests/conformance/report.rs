//! The suite from a plain `main`: its report, and what is not applicable.

use std::collections::HashSet;
use std::time::Duration;

use flow_rt::Handle;
use flow_rt::conformance::{self, CaseReport, Outcome, Subject};

use crate::{executor, faulty, hosts, mailbox, stepped};

fn not_applicable(report: &conformance::Report) -> Vec<&'static str> {
    let is = |case: &&CaseReport| matches!(case.outcome(), Outcome::NotApplicable(_));
    let name = |case: &CaseReport| case.case().name();
    report.cases().iter().filter(is).map(name).collect()
}

#[test]
fn a_report_lists_every_case_and_closes_with_the_counts() {
    let report = conformance::run(hosts::tokio_multi_thread);
    assert!(report.is_ok(), "{report}");
    assert_eq!(report.cases().len(), conformance::cases().len());
    assert_eq!(not_applicable(&report), Vec::<&str>::new());
    let closing = format!(
        "{} passed, 0 failed, 0 not applicable",
        conformance::cases().len()
    );
    assert_eq!(report.to_string().lines().last(), Some(&*closing));
}

#[test]
fn a_report_lists_what_a_simulation_cannot_do() {
    let report = conformance::run(hosts::sim);
    assert!(report.is_ok(), "{report}");
    assert_eq!(not_applicable(&report).len(), 18, "{report}");
    // Where time jumps from timer to timer none is late.
    let timers = report.cases().iter().find_map(CaseReport::lateness);
    assert_eq!(timers, Some(Duration::ZERO));
    assert!(
        report.to_string().contains("timers at most 0.0ns late"),
        "{report}"
    );
    assert!(report.to_string().contains("driven by one thread"));
}

/// No case passes by not being asked, but for these.
#[test]
fn the_cases_that_are_not_asked_are_these() {
    let none: Missing = &[];
    assert_missing("tokio", hosts::tokio_multi_thread, none);
    assert_missing("tokio, one thread", hosts::tokio_current_thread, none);
    assert_missing("tokio, fine timers", hosts::tokio_with_fine_timers, none);
    assert_missing("mailbox", mailbox::subject, none);
    let faultless = || faulty::subject(faulty::Fault::None);
    assert_missing("faulty, without a fault", faultless, none);

    let no_shutdown: Missing = &[
        (SHUTDOWN, "cannot be shut down"),
        (AFTERWARDS, "cannot be shut down"),
    ];
    assert_missing("smol", Handle::smol, no_shutdown);
    assert_missing("async-std", Handle::async_std, no_shutdown);

    let by_value: Missing = &[(AFTERWARDS, "by dropping its last handle")];
    assert_missing("async-executor", executor::MyRuntime::start, by_value);

    let simulated: Missing = &[
        (THREADS, "driven by one thread"),
        (BUSY, "time stands still"),
        (SHUTDOWN, "driven by the case"),
        (AFTERWARDS, "driven by the case"),
    ];
    assert_missing("sim", hosts::sim, simulated);
    assert_missing("stepped", stepped::as_root, simulated);
}

/// Names of cases, and a part of why they are not asked.
type Missing = &'static [(&'static [&'static str], &'static str)];

fn assert_missing<S: Into<Subject>>(host: &str, make: impl FnOnce() -> S, expected: Missing) {
    let mut found = conformance::not_applicable(make);
    for (names, why) in expected {
        for name in *names {
            let at = found.iter().position(|(case, _)| case.name() == *name);
            let at = at.unwrap_or_else(|| panic!("{host}: {name} is asked now: good, say so here"));
            let (_, reason) = found.remove(at);
            assert!(reason.contains(why), "{host}: {name}: {reason}");
        }
    }
    assert!(found.is_empty(), "{host}: these are not asked: {found:?}");
}

const THREADS: &[&str] = &[
    "every_spawn_runs_once",
    "spawn_from_a_foreign_thread",
    "timer_moves_between_threads",
    "timer_works_outside_the_runtime",
    "wake_from_a_plain_thread",
    "ping_pong_with_a_thread",
    "blocking_does_not_stall_tasks",
    "blocking_may_use_the_runtime",
    "now_is_monotonic_across_threads",
];

const BUSY: &[&str] = &["yield_storm_starves_no_timer"];

const SHUTDOWN: &[&str] = &[
    "shutdown_when_idle",
    "shutdown_ends_live_tasks",
    "shutdown_ends_armed_timers",
    "shutdown_with_queued_jobs",
    "wakers_outlive_the_runtime",
];

const AFTERWARDS: &[&str] = &[
    "handle_after_shutdown_gives_errors",
    "spawn_from_drop_at_shutdown",
    "shutdown_races_with_spawn",
];

#[test]
fn names_are_unique_and_an_unknown_one_is_an_error() {
    let names: HashSet<_> = conformance::cases()
        .iter()
        .map(conformance::Case::name)
        .collect();
    assert_eq!(names.len(), conformance::cases().len());
    assert!(
        conformance::cases()
            .iter()
            .all(|case| !case.proves().is_empty())
    );
    let unknown = conformance::run_case("no_such_case", Handle::smol).unwrap_err();
    assert!(unknown.to_string().contains("\"no_such_case\""));
}

#[test]
fn a_factory_that_panics_fails_the_case() {
    fn make() -> Handle {
        std::panic::resume_unwind(Box::new("no runtime today"))
    }
    let case = conformance::run_case("tasks_take_turns", make).unwrap();
    assert!(matches!(case.outcome(), Outcome::Failed(why) if why.contains("no runtime today")));
}
