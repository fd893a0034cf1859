//! One test over many seeds.

use core::fmt;
use core::future::Future;
use core::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::Sim;

/// Runs a test once per seed, and stops at the first that fails.
///
/// `FLOW_SIM_SEED` replays one seed; `FLOW_SIM_RUNS` sets how many seeds to run from the start
/// of the range.
///
/// # Panics
/// With the test's own panic, after a line on standard error that replays it; or with the
/// report of the [`Failure`](super::Failure).
pub fn check<F, Fut>(seeds: Range<u64>, test: F)
where
    F: Fn(Sim) -> Fut,
    Fut: Future,
    Fut::Output: Verdict,
{
    for seed in range_to_run(seeds) {
        let run = catch_unwind(AssertUnwindSafe(|| Sim::new(seed).run(&test)));
        let problem = match run {
            Ok(Ok(report)) => report.output.problem(),
            Ok(Err(failure)) => Some(failure.to_string()),
            Err(panic) => {
                announce(seed);
                resume_unwind(panic);
            }
        };
        if let Some(problem) = problem {
            announce(seed);
            panic!("seed {seed}: {problem}");
        }
    }
}

/// What a test of [`check`] may return.
pub trait Verdict {
    /// What went wrong, if anything.
    fn problem(self) -> Option<String>;
}

impl Verdict for () {
    fn problem(self) -> Option<String> {
        None
    }
}

impl<T: Verdict, E: fmt::Debug> Verdict for Result<T, E> {
    fn problem(self) -> Option<String> {
        match self {
            Ok(inner) => inner.problem(),
            Err(error) => Some(format!("the test returned {error:?}")),
        }
    }
}

fn range_to_run(seeds: Range<u64>) -> Range<u64> {
    if let Some(seed) = number("FLOW_SIM_SEED") {
        return seed..seed.saturating_add(1);
    }
    match number("FLOW_SIM_RUNS") {
        Some(runs) => seeds.start..seeds.start.saturating_add(runs),
        None => seeds,
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    assert!(
        number.is_ok(),
        "{variable} is {text:?}; it takes a whole number from 0 to {}",
        u64::MAX
    );
    number.ok()
}

#[allow(clippy::print_stderr)] // the line a developer copies
fn announce(seed: u64) {
    eprintln!("simulation failed; replay it with FLOW_SIM_SEED={seed}");
}
