//! Running cases: each on a thread of its own, under a watchdog.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};

use flow_sync::sync::Mutex;

use super::case::{Awaiting, Body, Case, cases};
use super::lab::{Ending, Lab, Step, Verdict};
use super::report::{CaseReport, Outcome, Report};
use super::subject::{DrivenCase, End, Kind, Subject};
use crate::handle::Handle;
use crate::instant::Instant;
use crate::panics;

/// Runs every case on a runtime of its own from `make`.
///
/// A failed case does not stop the others. A case that hangs leaves its thread behind.
pub fn run<S: Into<Subject>>(make: impl Fn() -> S + Send + Sync + 'static) -> Report {
    let make: Factory = Arc::new(move || make().into());
    let cases = cases().iter().map(|case| run_on(case, &make)).collect();
    Report { cases }
}

/// Runs one case by its name, on a runtime from `make`.
///
/// # Errors
/// [`UnknownCase`] if no case has that name.
pub fn run_case<S: Into<Subject>>(
    name: &str,
    make: impl Fn() -> S + Send + Sync + 'static,
) -> Result<CaseReport, UnknownCase> {
    let make: Factory = Arc::new(move || make().into());
    cases()
        .iter()
        .find(|case| case.name() == name)
        .map(|case| run_on(case, &make))
        .ok_or_else(|| UnknownCase {
            name: name.to_owned(),
        })
}

/// The cases that a runtime from `make` cannot be asked, and what it lacks; runs none.
///
/// A test of this list makes sure that no case passes by not being asked.
///
/// ```
/// # #[cfg(feature = "smol")] {
/// use flow_rt::{Handle, conformance};
///
/// let missing = conformance::not_applicable(Handle::smol);
/// assert!(missing.iter().all(|(_case, why)| why.contains("cannot be shut down")));
/// # }
/// ```
pub fn not_applicable<S: Into<Subject>>(make: impl FnOnce() -> S) -> Vec<(Case, &'static str)> {
    let subject = make().into();
    let missing = cases()
        .iter()
        .filter_map(|case| Some((*case, subject.lacks(&case.body)?)))
        .collect();
    if let Kind::Hosted { handle, end } = subject.kind {
        drop(handle);
        if let End::Call(shut_down) = end {
            shut_down();
        }
    }
    missing
}

/// Runs one case and panics if it fails: the body of each generated test.
///
/// A case that is not applicable passes, and says so on stderr; [`not_applicable`] lists them.
///
/// # Panics
/// If the case fails, or if no case has that name.
pub fn assert_case<S: Into<Subject>>(name: &str, make: impl Fn() -> S + Send + Sync + 'static) {
    match run_case(name, make) {
        Ok(report) => match report.outcome() {
            Outcome::Passed => {}
            Outcome::NotApplicable(_) => eprintln!("{report}"),
            Outcome::Failed(_) => panic!("{report}"),
        },
        Err(unknown) => panic!("{unknown}"),
    }
}

type Factory = Arc<dyn Fn() -> Subject + Send + Sync>;

fn run_on(case: &Case, make: &Factory) -> CaseReport {
    let start = Instant::now_monotonic();
    let step = Step::new();
    let outcome = supervise(case, make, &step);
    CaseReport {
        case: *case,
        outcome,
        lateness: step.lateness(),
        elapsed: Instant::now_monotonic() - start,
    }
}

/// Runs the case on a thread of its own, and waits for each of its steps as long as its subject
/// allows.
fn supervise(case: &Case, make: &Factory, step: &Step) -> Outcome {
    let (report, reports) = mpsc::channel();
    let thread = {
        let (case, make, step) = (*case, make.clone(), step.clone());
        let name = format!("conformance {}", case.name());
        std::thread::Builder::new().name(name).spawn(move || {
            let outcome = panics::catch(|| {
                let subject = make();
                // The receiver waits for both messages.
                let _ = report.send(Message::Limit(subject.limit));
                conduct(&case, subject, &step)
            });
            let outcome = outcome.unwrap_or_else(|panic| {
                Outcome::Failed(format!(
                    "panicked while it waited for {}: {panic}",
                    step.get()
                ))
            });
            let _ = report.send(Message::Outcome(outcome));
        })
    };
    if let Err(why) = thread {
        return Outcome::Failed(format!("no thread for the case: {why}"));
    }
    let mut limit = Duration::from_secs(30);
    let mut begun = step.count();
    loop {
        match reports.recv_timeout(limit) {
            Ok(Message::Limit(of_subject)) => limit = of_subject,
            Ok(Message::Outcome(outcome)) => return outcome,
            Err(RecvTimeoutError::Timeout) => {
                let count = step.count();
                if begun != count {
                    begun = count;
                    continue;
                }
                let step = step.get();
                return Outcome::Failed(format!("still waiting for {step} after {limit:?}"));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Outcome::Failed("the case's thread ended without an answer".to_owned());
            }
        }
    }
}

enum Message {
    Limit(Duration),
    Outcome(Outcome),
}

/// Runs the case, if the subject can be asked.
fn conduct(case: &Case, subject: Subject, step: &Step) -> Outcome {
    if let Some(why) = subject.lacks(&case.body) {
        return Outcome::NotApplicable(why);
    }
    match subject.kind {
        Kind::Hosted { handle, end } => hosted(case, Lab::new(handle, step.clone()), end),
        Kind::Driven(drive) => match case.body {
            Body::Awaits(body) | Body::Busy(body) => driven(body, drive, step),
            _ => Outcome::Failed("nobody can drive it".to_owned()),
        },
    }
}

fn hosted(case: &Case, lab: Lab, end: End) -> Outcome {
    let ending = Ending(match end {
        End::Never | End::LastHandle => None,
        End::Call(shut_down) => Some(shut_down),
    });
    let verdict = match case.body {
        Body::Awaits(body) | Body::Busy(body) => {
            let done = lab.block_on("the case's first step", body(lab.clone()));
            done.and_then(|verdict| verdict)
                .map(|()| ending.shut_down(lab))
        }
        Body::Threads(body) => body(lab.clone()).map(|()| ending.shut_down(lab)),
        Body::Shutdown(body) | Body::Afterwards(body) => body(lab, ending),
    };
    outcome(verdict)
}

fn driven(
    body: fn(Lab) -> Awaiting,
    drive: Box<dyn FnOnce(DrivenCase) + Send>,
    step: &Step,
) -> Outcome {
    let verdict = Arc::new(Mutex::new(None));
    drive(DrivenCase(CaseRun {
        body,
        step: step.clone(),
        verdict: verdict.clone(),
    }));
    let verdict = verdict.lock().take();
    verdict.map_or_else(
        || {
            let step = step.get();
            Outcome::Failed(format!(
                "its driver returned while the case waited for {step}"
            ))
        },
        outcome,
    )
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Ok(()) => Outcome::Passed,
        Err(why) => Outcome::Failed(why),
    }
}

/// A case that is still to be given its runtime.
pub(super) struct CaseRun {
    body: fn(Lab) -> Awaiting,
    step: Step,
    verdict: Arc<Mutex<Option<Verdict>>>,
}

impl CaseRun {
    pub(super) async fn run(self, handle: Handle) {
        let verdict = (self.body)(Lab::new(handle, self.step)).await;
        *self.verdict.lock() = Some(verdict);
    }
}

/// No case has this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCase {
    name: String,
}

impl fmt::Display for UnknownCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no case is called {:?}; `conformance::cases()` lists them",
            self.name
        )
    }
}

impl std::error::Error for UnknownCase {}
