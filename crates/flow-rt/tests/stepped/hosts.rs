//! Hosts with a stepped runtime over each, for a test that is no task of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_rt::{Handle, Instant, SteppedRuntime};
use tokio::runtime::{Builder, Runtime as Tokio};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Instantiates cases `async fn(rt: SteppedRuntime)` on every real host.
macro_rules! on_every_host {
    ($($case:ident),+ $(,)?) => {
        $(mod $case {
            #[test]
            fn tokio_multi_thread() {
                let (tokio, rt) = crate::hosts::tokio_multi_thread();
                tokio.block_on(super::$case(rt));
            }

            #[test]
            fn tokio_current_thread() {
                let (tokio, rt) = crate::hosts::tokio_current_thread();
                tokio.block_on(super::$case(rt));
            }

            #[test]
            fn smol() {
                let rt = flow_rt::SteppedRuntime::over(&flow_rt::Handle::smol());
                flow_rt::block_on(super::$case(rt)).unwrap();
            }

            #[test]
            fn async_std() {
                let rt = flow_rt::SteppedRuntime::over(&flow_rt::Handle::async_std());
                flow_rt::block_on(super::$case(rt)).unwrap();
            }
        })+
    };
}
pub(crate) use on_every_host;

pub(crate) fn tokio_multi_thread() -> (Tokio, SteppedRuntime) {
    over(Builder::new_multi_thread().worker_threads(2))
}

pub(crate) fn tokio_current_thread() -> (Tokio, SteppedRuntime) {
    over(&mut Builder::new_current_thread())
}

fn over(builder: &mut Builder) -> (Tokio, SteppedRuntime) {
    let tokio = builder.enable_time().build().unwrap();
    let host = Handle::tokio(tokio.handle().clone()).unwrap();
    let rt = SteppedRuntime::over(&host);
    (tokio, rt)
}

/// What happened, and when.
#[derive(Clone)]
pub(crate) struct Log {
    start: Instant,
    entries: Arc<Mutex<Vec<(u64, &'static str)>>>,
}

impl Log {
    pub(crate) fn new(rt: &Handle) -> Self {
        Self {
            start: rt.now(),
            entries: Arc::default(),
        }
    }

    /// Notes `what`, in seconds since the log began.
    pub(crate) fn note(&self, now: Instant, what: &'static str) {
        let at = (now - self.start).as_secs();
        self.entries.lock().unwrap().push((at, what));
    }

    pub(crate) fn take(&self) -> Vec<(u64, &'static str)> {
        std::mem::take(&mut self.entries.lock().unwrap())
    }
}
