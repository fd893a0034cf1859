//! async-std: its global executor and blocking pool, async-io's timers, which it uses itself.

use core::future::Future;

use super::async_io_timer;
use crate::instant::Instant;
use crate::runtime::{BoxBlocking, BoxTask, Runtime};
use crate::timer::BoxTimer;

pub(crate) struct AsyncStd;

#[allow(clippy::disallowed_methods)] // the adapter is where the host is named
pub(crate) fn start(task: impl Future<Output = ()> + Send + 'static) {
    // Dropping async-std's handle detaches.
    drop(async_std::task::spawn(task));
}

/// Starts a task that shares a cell with its handle.
///
/// async-std adds 104 bytes to every task, and glibc's malloc leaves its fast path above 120.
/// There, mixed with cells on the fast path and freed by another thread, a task costs more than a
/// box beside a small one (benches, `rt`: 2.1 times the native join without it, 1.5 with it).
pub(crate) fn start_boxed(task: impl Future<Output = ()> + Send + 'static) {
    start(Box::pin(task));
}

/// Whether this thread polls a task of async-std's, or what its `block_on` was given.
pub(crate) fn in_task() -> bool {
    async_std::task::try_current().is_some()
}

impl Runtime for AsyncStd {
    fn spawn(&self, task: BoxTask) {
        start(task);
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        drop(async_std::task::spawn_blocking(job));
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        async_io_timer::timer(at)
    }

    fn name(&self) -> &'static str {
        "async-std"
    }
}
