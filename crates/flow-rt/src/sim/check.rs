//! One test over many seeds, or in every order.

use core::cell::RefCell;
use core::fmt;
use core::future::Future;
use core::ops::Range;
use core::panic::Location;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::config::SimBuilder;
use super::executor::{self, Extras};
use super::explore::{self, Explored, Guide};
use super::{Failure, Report, Sim, failure};
use crate::panics::Panic;

/// Runs a test once per seed, and stops at the first that fails.
///
/// `FLOW_SIM_SEED` replays one seed; `FLOW_SIM_RUNS` sets how many seeds to run from the start
/// of the range; `FLOW_SIM_TWICE=1` runs every seed twice and compares the runs
/// ([`SimBuilder::run_twice`]). Options are those of [`SimBuilder::check`].
///
/// # Panics
/// With the test's own panic, after a line on standard error that replays it; or with the
/// report of the [`Failure`](super::Failure).
#[track_caller]
pub fn check<F, Fut>(seeds: Range<u64>, test: F)
where
    F: Fn(Sim) -> Fut,
    Fut: Future,
    Fut::Output: Verdict,
{
    Sim::builder().check(seeds, test);
}

/// Runs a test in every order of its ready tasks, in up to `limit` runs, and stops at the first
/// that fails.
///
/// The number of orders grows with the factorial of the tasks that are ready at once, so this is
/// for a handful of tasks and few await points: six tasks of one poll each have 720.
/// `FLOW_SIM_CHOICES`, which a failure prints, replays one order. Options are those of
/// [`SimBuilder::exhaustive`].
///
/// ```
/// use flow_rt::sim;
///
/// let explored = sim::exhaustive(1_000, |rt| async move {
///     for _ in 0..4 {
///         rt.spawn_detached(async {});
///     }
///     rt.run_until_idle().await;
/// });
/// assert_eq!((explored.runs, explored.complete), (24, true));
/// ```
///
/// # Panics
/// As [`check`] does.
#[track_caller]
pub fn exhaustive<F, Fut>(limit: u64, test: F) -> Explored
where
    F: Fn(Sim) -> Fut,
    Fut: Future,
    Fut::Output: Verdict,
{
    Sim::builder().exhaustive(limit, test)
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

#[track_caller]
pub(super) fn seeds<F, Fut>(config: &SimBuilder, seeds: Range<u64>, test: F)
where
    F: Fn(Sim) -> Fut,
    Fut: Future,
    Fut::Output: Verdict,
{
    let called_at = Location::caller();
    let twice = number("FLOW_SIM_TWICE").is_some_and(|flag| flag != 0);
    let mut config = config.clone();
    for seed in range_to_run(seeds) {
        config.seed = seed;
        let run = || {
            if twice {
                config.clone().run_twice(&test)
            } else {
                let told = config.choices.clone().map(Guide::new).map(RefCell::new);
                let extras = Extras {
                    guide: told.as_ref(),
                    history: None,
                };
                executor::run(&config, extras, called_at, &test)
            }
        };
        judge(run, || format!("FLOW_SIM_SEED={seed}"));
    }
}

#[track_caller]
pub(super) fn orders<F, Fut>(config: &SimBuilder, limit: u64, test: F) -> Explored
where
    F: Fn(Sim) -> Fut,
    Fut: Future,
    Fut::Output: Verdict,
{
    let called_at = Location::caller();
    let replayed = choices_to_run();
    let limit = if replayed.is_some() { 1 } else { limit };
    let guide = RefCell::new(Guide::new(replayed.unwrap_or_default()));
    let mut runs = 0;
    while runs < limit {
        let run = || {
            let extras = Extras {
                guide: Some(&guide),
                history: None,
            };
            executor::run(config, extras, called_at, &test)
        };
        judge(run, || {
            format!("FLOW_SIM_CHOICES={}", guide.borrow().made())
        });
        runs += 1;
        if !guide.borrow_mut().advance() {
            return Explored {
                runs,
                complete: true,
            };
        }
    }
    Explored {
        runs,
        complete: false,
    }
}

/// Runs once; a failure names how to replay it, and ends the test.
#[track_caller]
fn judge<T: Verdict>(
    run: impl FnOnce() -> Result<Report<T>, Failure>,
    replay: impl Fn() -> String,
) {
    let problem = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(report)) => report.output.problem(),
        Ok(Err(failure)) => Some(failure.to_string()),
        Err(payload) => {
            let panic = Panic::new(payload);
            announce(&replay());
            if let Some(hint) = failure::hint(panic.message()) {
                tell(format_args!("{hint}"));
            }
            resume_unwind(panic.into_payload());
        }
    };
    if let Some(problem) = problem {
        let replay = replay();
        announce(&replay);
        panic!("{replay}: {problem}");
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

fn choices_to_run() -> Option<Vec<u32>> {
    let text = std::env::var("FLOW_SIM_CHOICES").ok()?;
    let choices = explore::parse(&text);
    assert!(
        choices.is_some(),
        "FLOW_SIM_CHOICES is {text:?}; it takes whole numbers separated by dots, as a failure \
         prints them: 2.0.1"
    );
    choices
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

/// The line that a developer copies.
fn announce(replay: &str) {
    tell(format_args!("simulation failed; replay it with {replay}"));
}

#[allow(clippy::print_stderr)] // for the developer whose test fails
fn tell(line: fmt::Arguments<'_>) {
    eprintln!("{line}");
}
