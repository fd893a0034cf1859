//! A log of when runs began, and jobs that write it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use flow_rt::{Handle, Instant, TestRuntime};
use flow_sched::{JobBuilder, Scheduler};

pub(crate) const SEC: Duration = Duration::from_secs(1);
pub(crate) const MIN: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn scheduler(rt: &Handle) -> Scheduler {
    Scheduler::builder().runtime(rt).build().unwrap()
}

/// When runs began, on the runtime's clock, since the log was made.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) rt: TestRuntime,
    pub(crate) start: Instant,
    pub(crate) wall: SystemTime,
    pub(crate) seen: Arc<Mutex<Vec<Duration>>>,
}

impl Log {
    pub(crate) fn new(rt: &TestRuntime) -> Self {
        Self {
            rt: rt.clone(),
            start: rt.now(),
            wall: rt.wall(),
            seen: Arc::default(),
        }
    }

    pub(crate) fn note(&self) {
        self.seen.lock().unwrap().push(self.rt.now() - self.start);
    }

    pub(crate) fn millis(&self) -> Vec<u64> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|at| at.as_millis() as u64).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// A job that notes when it runs and is done.
pub(crate) fn noting(scheduler: &Scheduler, name: &'static str, log: &Log) -> JobBuilder<()> {
    scheduler.job_with(name, log.clone(), async |_cx, log: Log| log.note())
}

/// A job that notes when it begins, and takes `time`.
pub(crate) fn slow(
    scheduler: &Scheduler,
    name: &'static str,
    log: &Log,
    time: Duration,
) -> JobBuilder<()> {
    scheduler.job_with(name, log.clone(), move |_cx, log: Log| async move {
        log.note();
        log.rt.sleep(time).await.unwrap();
    })
}
