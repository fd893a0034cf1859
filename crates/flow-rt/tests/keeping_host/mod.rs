//! A host that keeps its tasks for the test to poll.

use std::future::pending;
use std::sync::Mutex;

use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Instant, Runtime};

#[derive(Default)]
pub(crate) struct KeepingHost(pub(crate) Mutex<Vec<BoxTask>>);

impl Runtime for KeepingHost {
    fn spawn(&self, task: BoxTask) {
        self.0.lock().unwrap().push(task);
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        drop(job);
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        BoxTimer::from_sleep(at, |_| pending())
    }
}
