//! A thread of the model that blocks on a poll function.

use std::future::poll_fn;

/// Blocks the model's thread on a poll function.
pub(crate) fn block_on<T>(
    poll: impl FnMut(&mut std::task::Context<'_>) -> std::task::Poll<T>,
) -> T {
    loom::future::block_on(poll_fn(poll))
}
