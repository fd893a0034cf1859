//! Cases as data: a table with a script each, and what its runners share, of buckets and of permits.

#[path = "turns.rs"]
mod turns;

use std::fmt;

pub(crate) use turns::yield_now;

/// What a step found instead of what it says.
pub(crate) type Outcome = Result<(), String>;

pub(crate) struct Case {
    pub(crate) number: &'static str,
    what: &'static str,
    steps: &'static str,
}

/// The lines of a table below its first: `case, tag, what, steps`, separated by tabs.
pub(crate) fn cases(table: &'static str) -> impl Iterator<Item = Case> {
    table.lines().skip(1).map(|line| {
        let mut columns = line.split('\t');
        let mut next = || columns.next().expect("four columns");
        let (number, _tag, what, steps) = (next(), next(), next(), next());
        Case {
            number,
            what,
            steps,
        }
    })
}

impl Case {
    /// Takes its steps, which semicolons separate, by their words; fails at the first that finds
    /// something else than it says.
    pub(crate) async fn run(&self, mut step: impl AsyncFnMut(&[&str]) -> Outcome) {
        for text in self.steps.split(';') {
            let words: Vec<&str> = text.trim().split(' ').collect();
            if let Err(wrong) = step(&words).await {
                panic!("{} ({}), `{text}`: {wrong}", self.number, self.what);
            }
        }
    }
}

/// It was done; what that gave does not matter.
pub(crate) fn said<T>(result: Result<T, impl fmt::Display>) -> Outcome {
    result.map(drop).map_err(|error| error.to_string())
}

#[allow(clippy::needless_pass_by_value, reason = "what is found is made here")]
pub(crate) fn same<T: PartialEq + fmt::Debug>(found: T, said: T) -> Outcome {
    must(found == said, &format!("{found:?}"))
}

pub(crate) fn must(holds: bool, otherwise: &str) -> Outcome {
    if holds {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}
