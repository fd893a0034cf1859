//! How this workspace's models run under loom. There is none of it in a normal build.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::counter::{add_alone, add_beside_others};
use crate::seat;
use crate::seat_word::Sum;

/// Names the environment variable by which every model with a bound explores so many preemptions
/// more; 0 if it is not set.
pub const MORE_PREEMPTIONS: &str = "FLOW_LOOM_MORE_PREEMPTIONS";

/// Names the environment variable by which a model ends after so many seconds, though there is more
/// to explore; without it none does.
pub const AT_MOST_SECONDS: &str = "FLOW_LOOM_AT_MOST_SECONDS";

/// Explores the interleavings of `model`, with at most `preemptions` preemptions in each, or more by
/// [`MORE_PREEMPTIONS`], and prints how many there were.
///
/// Each model has the highest bound that takes seconds. What a bound leaves out are interleavings
/// with still more switches at instants at which nobody had to wait: bugs that need them are rare,
/// and the numbers of interleavings grow tenfold with each.
///
/// # Panics
/// If the model fails; if there was only one interleaving, which proves nothing; and if one of the
/// variables is no whole number.
pub fn explore(name: &str, preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    check(name, Some(preemptions), model);
}

/// Explores all interleavings of `model`, which has to be small for that; otherwise as
/// [`explore`].
///
/// # Panics
/// Those of [`explore`].
pub fn explore_all(name: &str, model: impl Fn() + Send + Sync + 'static) {
    check(name, None, model);
}

fn check(name: &str, preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound =
        preemptions.map(|bound| bound + number(MORE_PREEMPTIONS).unwrap_or(0));
    let limit = number(AT_MOST_SECONDS).map(|seconds| Duration::from_secs(seconds as u64));
    builder.max_duration = limit;
    // A look at a bucket's parameters alone is ten steps.
    builder.max_branches = 20_000;
    #[allow(
        clippy::disallowed_methods,
        reason = "time that the exploration takes, not a model's"
    )]
    let start = std::time::Instant::now();
    builder.check({
        let executions = executions.clone();
        move || {
            executions.fetch_add(1, Ordering::Relaxed);
            model();
        }
    });
    let executions = executions.load(Ordering::Relaxed);
    let bound = builder.preemption_bound;
    let bound = bound.map_or("no bound".to_owned(), |bound| format!("bound {bound}"));
    let end = if limit.is_some_and(|limit| start.elapsed() >= limit) {
        ", and more that were left out"
    } else {
        ""
    };
    eprintln!("loom: {name}: {executions} executions, {bound}{end}");
    assert!(executions > 1, "{name} explored a single execution");
}

fn number(variable: &str) -> Option<usize> {
    let value = env::var(variable).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is {value}, which is no whole number")))
}

/// The seats of a process and a padded counter's cells, of loom's atomics: those that all other models
/// count with are no states of theirs.
#[derive(Default)]
pub struct Seats {
    taken: loom::sync::atomic::AtomicU32,
    cells: [loom::sync::atomic::AtomicU64; seat::SEATS],
}

impl Seats {
    /// What a thread does from its first count to its end. Whether it had a seat for itself.
    pub fn thread(&self, counts: u64) -> bool {
        let seat = seat::take(&self.taken);
        for _ in 0..counts {
            match seat {
                Some(seat) => add_alone(&self.cells[seat], 1),
                None => add_beside_others(&self.cells[seat::OWN], 1),
            }
        }
        if let Some(seat) = seat {
            seat::give_back(&self.taken, seat);
        }
        seat.is_some()
    }

    /// The sum of what was counted.
    pub fn sum(&self) -> u64 {
        self.cells.iter().map(Sum::look).sum()
    }
}
