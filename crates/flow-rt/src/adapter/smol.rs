//! smol: its global executor, its blocking pool, async-io's timers.

use core::future::Future;

use super::async_io_timer;
use crate::instant::Instant;
use crate::runtime::{BoxBlocking, BoxTask, Runtime};
use crate::timer::BoxTimer;

pub(crate) struct Smol;

#[allow(clippy::disallowed_methods)] // the adapter is where the host is named
pub(crate) fn start(task: impl Future<Output = ()> + Send + 'static) {
    // smol cancels a task whose handle is dropped; ours are detached.
    smol::spawn(task).detach();
}

impl Runtime for Smol {
    fn spawn(&self, task: BoxTask) {
        start(task);
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        smol::unblock(job).detach();
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        async_io_timer::timer(at)
    }

    fn name(&self) -> &'static str {
        "smol"
    }
}
