//! A pool as a runtime, for primitives that are to run on its slots.

use std::time::SystemTime;

use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Instant, Runtime};

use super::worker_pool::WorkerPool;

/// Keeps its pool open, as any handle of it does.
pub(super) struct OnPool(pub(super) WorkerPool);

impl Runtime for OnPool {
    fn spawn(&self, task: BoxTask) {
        self.0.submit(async move |_cx| task.await).spawn();
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        self.0.submit_blocking(move |_cx| job()).spawn();
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        self.0.runtime().timer(at)
    }

    fn now(&self) -> Instant {
        self.0.runtime().now()
    }

    fn wall(&self) -> SystemTime {
        self.0.runtime().wall()
    }

    fn name(&self) -> &'static str {
        "a worker pool"
    }
}
