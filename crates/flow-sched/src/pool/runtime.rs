//! A pool as a runtime, for primitives that are to run on its slots.

use std::borrow::Cow;
use std::time::SystemTime;

use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Instant, Runtime};

use super::roll::Origin;
use super::worker_pool::WorkerPool;

/// Keeps its pool open, as any handle of it does.
pub(super) struct OnPool(pub(super) WorkerPool);

impl Runtime for OnPool {
    fn spawn(&self, task: BoxTask) {
        let origin = Origin {
            // Only a task's own: what spawns most gives none.
            name: task.name().map(|name| Cow::Owned(name.to_owned())),
            place: Some(task.spawned_at()),
        };
        let submit = self.0.submit(async move |_cx| task.await);
        submit.origin(origin).spawn();
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        // A closure comes without its place.
        let submit = self.0.submit_blocking(move |_cx| job());
        submit.origin(Origin::default()).spawn();
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
