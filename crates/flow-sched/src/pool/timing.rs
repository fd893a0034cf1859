//! How long tasks wait and run: measured from when somebody asks for it, so that a pool that
//! nobody observes reads no clock for it.

use core::time::Duration;

#[cfg(feature = "metrics")]
use std::sync::OnceLock;

#[cfg(feature = "metrics")]
use flow_metrics::Histogram;

#[derive(Default)]
pub(super) struct Timing {
    #[cfg(feature = "metrics")]
    times: OnceLock<Times>,
}

#[cfg(feature = "metrics")]
pub(super) struct Times {
    /// In the queue, of tasks that have started.
    pub(super) waits: Histogram,
    /// From start to end, however they ended.
    pub(super) runs: Histogram,
}

#[cfg(feature = "metrics")]
impl Timing {
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.times.get().is_some()
    }

    pub(super) fn turn_on(&self) -> &Times {
        self.times.get_or_init(|| Times {
            waits: Histogram::latency(),
            runs: Histogram::latency(),
        })
    }

    pub(super) fn waited(&self, time: Duration) {
        if let Some(times) = self.times.get() {
            times.waits.record_duration(time);
        }
    }

    pub(super) fn ran(&self, time: Duration) {
        if let Some(times) = self.times.get() {
            times.runs.record_duration(time);
        }
    }
}

#[cfg(not(feature = "metrics"))]
#[allow(clippy::unused_self)] // as above, for nobody
impl Timing {
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        false
    }

    pub(super) fn waited(&self, _time: Duration) {}

    pub(super) fn ran(&self, _time: Duration) {}
}
