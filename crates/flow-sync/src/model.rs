//! How this workspace's models run under loom. There is none of it in a normal build.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Explores the interleavings of `model`, with at most `preemptions` preemptions in each, and
/// prints how many there were.
///
/// # Panics
/// If the model fails; and if there was only one interleaving, which proves nothing.
pub fn explore(name: &str, preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
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
