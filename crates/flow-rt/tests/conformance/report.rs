//! The suite from a plain `main`: its report, and what is not applicable.

use std::collections::HashSet;

use flow_rt::Handle;
use flow_rt::conformance::{self, CaseReport, Outcome};

use crate::{executor, hosts};

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
fn what_a_simulation_cannot_do_is_listed() {
    let report = conformance::run(hosts::sim);
    assert!(report.is_ok(), "{report}");
    let missing = not_applicable(&report);
    // Threads, shutdown, and time that passes while tasks are ready: no other case.
    assert!(missing.contains(&"every_spawn_runs_once"));
    assert!(missing.contains(&"shutdown_ends_live_tasks"));
    assert!(missing.contains(&"yield_storm_starves_no_timer"));
    assert!(!missing.contains(&"timers_are_never_early"));
    assert_eq!(missing.len(), 18, "{missing:?}");
    assert!(report.to_string().contains("driven by one thread"));
}

#[test]
fn a_global_executor_has_no_shutdown() {
    let case = conformance::run_case("shutdown_when_idle", Handle::smol).unwrap();
    assert!(matches!(case.outcome(), Outcome::NotApplicable(why) if why.contains("shut_down_by")));
}

#[test]
fn a_runtime_by_value_has_no_handle_after_its_end() {
    let make = executor::MyRuntime::start;
    let case = conformance::run_case("handle_after_shutdown_gives_errors", make).unwrap();
    assert!(matches!(case.outcome(), Outcome::NotApplicable(why) if why.contains("last handle")));
}

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
