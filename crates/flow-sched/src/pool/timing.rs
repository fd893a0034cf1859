//! How long tasks wait and run: measured from when somebody asks for it, so that a pool that
//! nobody observes reads no clock for it.

use core::time::Duration;
use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::sync::OnceLock;

#[cfg(feature = "metrics")]
use flow_metrics::Histogram;
use flow_rt::Instant;

use super::core::Core;
#[cfg(feature = "adaptive")]
use super::lookout;
#[cfg(feature = "adaptive")]
use super::sizing::{Looks, Sizer};
use super::stats::End;

#[derive(Default)]
pub(super) struct Timing {
    #[cfg(feature = "metrics")]
    times: OnceLock<Times>,
    #[cfg(feature = "adaptive")]
    pub(super) sizer: Option<Sizer>,
}

#[cfg(feature = "metrics")]
pub(super) struct Times {
    /// In the queue, of tasks that have started.
    pub(super) waits: Histogram,
    /// From start to end, however they ended.
    pub(super) runs: Histogram,
}

#[allow(clippy::unused_self)] // without both features, for nobody
impl Timing {
    #[cfg(feature = "adaptive")]
    pub(super) fn with(sizer: Sizer) -> Self {
        Self {
            #[cfg(feature = "metrics")]
            times: OnceLock::new(),
            sizer: Some(sizer),
        }
    }

    #[inline]
    pub(super) fn is_on(&self) -> bool {
        #[cfg(feature = "adaptive")]
        if self.sizer.is_some() {
            return true;
        }
        #[cfg(feature = "metrics")]
        if self.times.get().is_some() {
            return true;
        }
        false
    }

    #[cfg(feature = "metrics")]
    pub(super) fn turn_on(&self) -> &Times {
        self.times.get_or_init(|| Times {
            waits: Histogram::latency(),
            runs: Histogram::latency(),
        })
    }

    /// A task is being submitted; `is_counted` says whether it is among those that are queued.
    pub(super) fn submitted(&self, core: &Arc<Core>, now: Instant, is_counted: bool) {
        #[cfg(feature = "adaptive")]
        if let Some(sizer) = &self.sizer {
            let who = if is_counted {
                Looks::Coming
            } else {
                Looks::Other
            };
            sizer.look(core, now, who);
        }
        let _ = (core, now, is_counted);
    }

    /// A task waits for a slot, or its submitter does for room: it is there already.
    pub(super) fn waits(&self, core: &Arc<Core>) {
        #[cfg(feature = "adaptive")]
        if let Some(sizer) = &self.sizer {
            lookout::post(core, sizer);
        }
        let _ = core;
    }

    /// A task was not taken for want of room.
    pub(super) fn turned_away(&self, core: &Arc<Core>) {
        #[cfg(feature = "adaptive")]
        if let Some(sizer) = &self.sizer {
            sizer.look(core, core.rt.now(), Looks::TurnedAway);
        }
        let _ = core;
    }

    /// A slot takes a task, before its first poll.
    pub(super) fn starts(&self, now: Instant) {
        #[cfg(feature = "adaptive")]
        if let Some(sizer) = &self.sizer {
            sizer.starts(now);
        }
        let _ = now;
    }

    /// A task has started that waited for so long.
    pub(super) fn waited(&self, core: &Arc<Core>, now: Instant, time: Duration) {
        #[cfg(feature = "metrics")]
        if let Some(times) = self.times.get() {
            times.waits.record_duration(time);
        }
        #[cfg(feature = "adaptive")]
        if let Some(sizer) = &self.sizer {
            sizer.waited(time);
            sizer.look(core, now, Looks::Other);
            // A closure that blocks counts as running by now.
            lookout::post(core, sizer);
        }
        let _ = (core, now, time);
    }

    /// A task has ended that ran for so long.
    pub(super) fn ran(&self, core: &Arc<Core>, now: Instant, time: Duration, end: End) {
        #[cfg(feature = "metrics")]
        if let Some(times) = self.times.get() {
            times.runs.record_duration(time);
        }
        #[cfg(feature = "adaptive")]
        if let Some(sizer) = &self.sizer {
            sizer.ran(time, end == End::TimedOut);
            sizer.look(core, now, Looks::Other);
        }
        let _ = (core, now, time, end);
    }
}

/// What a task is measured by that a slot begins.
#[derive(Clone, Copy)]
pub(super) struct Stopwatch {
    pub(super) started: Instant,
    waited: Option<Duration>,
}

impl Stopwatch {
    /// A slot takes a task that was submitted `at` that time, if that was looked up.
    pub(super) fn begin(core: &Core, at: Option<Instant>) -> Self {
        let started = core.rt.now();
        let waited = at.map(|at| started - at);
        if waited.is_some() {
            core.timing.starts(started);
        }
        Self { started, waited }
    }

    /// It has begun.
    pub(super) fn tell_begin(&self, core: &Arc<Core>) {
        if let Some(waited) = self.waited {
            core.timing.waited(core, self.started, waited);
        }
    }

    /// It has ended; returns when.
    pub(super) fn tell_end(&self, core: &Arc<Core>, end: End) -> Instant {
        let now = core.rt.now();
        core.timing.ran(core, now, now - self.started, end);
        now
    }
}
