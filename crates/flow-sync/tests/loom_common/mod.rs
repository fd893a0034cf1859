//! Runs models, bounded, and counts what they explored.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Explores `model` with at most `preemptions` preemptions per execution.
///
/// A model of one execution proves nothing, so it fails.
pub(crate) fn explore(name: &str, preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
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

/// Blocks the model's thread on a poll function.
pub(crate) fn block_on<T>(
    poll: impl FnMut(&mut std::task::Context<'_>) -> std::task::Poll<T>,
) -> T {
    loom::future::block_on(poll_fn(poll))
}
