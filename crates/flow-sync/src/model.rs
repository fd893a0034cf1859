//! How this workspace's models run under loom. There is none of it in a normal build.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::counter::{add_alone, add_beside_others};
use crate::seat;
use crate::seat_word::Sum;

/// Explores the interleavings of `model`, with at most `preemptions` preemptions in each, and
/// prints how many there were.
///
/// # Panics
/// If the model fails; and if there was only one interleaving, which proves nothing.
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
    builder.preemption_bound = preemptions;
    // A look at a bucket's parameters alone is ten steps.
    builder.max_branches = 20_000;
    builder.check({
        let executions = executions.clone();
        move || {
            executions.fetch_add(1, Ordering::Relaxed);
            model();
        }
    });
    let executions = executions.load(Ordering::Relaxed);
    eprintln!("loom: {name}: {executions} executions");
    assert!(executions > 1, "{name} explored a single execution");
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
