//! What came of the cases.

use core::fmt;
use core::time::Duration;

use super::case::Case;

/// What came of the suite; prints as a table with a closing line.
#[derive(Debug, Clone)]
#[must_use = "the report says whether the runtime keeps the contract"]
pub struct Report {
    pub(super) cases: Vec<CaseReport>,
}

impl Report {
    /// What came of each case.
    pub fn cases(&self) -> &[CaseReport] {
        &self.cases
    }

    /// The cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| !case.outcome.is_ok())
    }

    /// Whether no case failed.
    pub fn is_ok(&self) -> bool {
        self.failures().next().is_none()
    }

    fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.cases
            .iter()
            .filter(|case| which(&case.outcome))
            .count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            writeln!(f, "{case}")?;
        }
        write!(
            f,
            "{} passed, {} failed, {} not applicable",
            self.count(|outcome| matches!(outcome, Outcome::Passed)),
            self.count(|outcome| matches!(outcome, Outcome::Failed(_))),
            self.count(|outcome| matches!(outcome, Outcome::NotApplicable(_))),
        )
    }
}

/// What came of one case; prints as one line.
#[derive(Debug, Clone)]
pub struct CaseReport {
    pub(super) case: Case,
    pub(super) outcome: Outcome,
    pub(super) lateness: Option<Duration>,
    pub(super) elapsed: Duration,
}

impl CaseReport {
    /// The case.
    pub fn case(&self) -> &Case {
        &self.case
    }

    /// What came of it.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// By how much the latest of its timers was late, by the runtime's clock, if the case looks at
    /// that; for information.
    pub fn lateness(&self) -> Option<Duration> {
        self.lateness
    }

    /// How long it took, on the machine's clock; for information.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.case.name();
        match &self.outcome {
            Outcome::Passed => {
                write!(f, "passed  {name} ({:.1?}", self.elapsed)?;
                if let Some(lateness) = self.lateness {
                    write!(f, "; timers at most {lateness:.1?} late")?;
                }
                f.write_str(")")
            }
            Outcome::Failed(why) => write!(f, "FAILED  {name} ({}): {why}", self.case.proves()),
            Outcome::NotApplicable(why) => write!(f, "n/a     {name}: {why}"),
        }
    }
}

/// What came of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The runtime does what the case proves.
    Passed,
    /// It does not; the text says what was seen instead, or where the case hung.
    Failed(String),
    /// The subject cannot be asked; the text says what it lacks.
    NotApplicable(&'static str),
}

impl Outcome {
    /// Whether the case did not fail.
    pub fn is_ok(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}
