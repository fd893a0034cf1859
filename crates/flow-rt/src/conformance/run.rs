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

/// Runs one case and panics if it fails: the body of each generated test.
///
/// A case that is not applicable passes, and says so on stderr.
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
    let outcome = supervise(case, make);
    CaseReport {
        case: *case,
        outcome,
        elapsed: Instant::now_monotonic() - start,
    }
}

/// Runs the case on a thread of its own, and waits for it as long as its subject allows.
fn supervise(case: &Case, make: &Factory) -> Outcome {
    let step = Step::new();
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
    loop {
        match reports.recv_timeout(limit) {
            Ok(Message::Limit(of_subject)) => limit = of_subject,
            Ok(Message::Outcome(outcome)) => return outcome,
            Err(RecvTimeoutError::Timeout) => {
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
    if !subject.busy_time && matches!(case.body, Body::Busy(_)) {
        return Outcome::NotApplicable("time stands still in it while tasks are ready");
    }
    match subject.kind {
        Kind::Hosted { handle, end } => hosted(case, Lab::new(handle, step.clone()), end),
        Kind::Driven(drive) => match case.body {
            Body::Awaits(body) | Body::Busy(body) => driven(body, drive, step),
            Body::Threads(_) => {
                Outcome::NotApplicable("it is driven by one thread, and the case needs others")
            }
            Body::Shutdown(_) | Body::Afterwards(_) => {
                Outcome::NotApplicable("it is driven by the case, which cannot shut it down")
            }
        },
    }
}

fn hosted(case: &Case, lab: Lab, end: End) -> Outcome {
    let (ending, by_drop) = match end {
        End::Never if matches!(case.body, Body::Shutdown(_) | Body::Afterwards(_)) => {
            return Outcome::NotApplicable("it cannot be shut down: see `Subject::shut_down_by`");
        }
        End::Never => (Ending(None), false),
        End::LastHandle => (Ending(None), true),
        End::Call(shut_down) => (Ending(Some(shut_down)), false),
    };
    let verdict = match case.body {
        Body::Awaits(body) | Body::Busy(body) => {
            let done = lab.block_on("the case's first step", body(lab.clone()));
            done.and_then(|verdict| verdict)
                .map(|()| ending.shut_down(lab))
        }
        Body::Threads(body) => body(lab.clone()).map(|()| ending.shut_down(lab)),
        Body::Afterwards(_) if by_drop => {
            return Outcome::NotApplicable(
                "it is shut down by dropping its last handle: see `Subject::shut_down_by`",
            );
        }
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
