//! What is rare and a person may want to see, as events of `tracing`; nothing without the feature.
//!
//! None of it is on the way of a task that ends well, but the one load of [`Burst::has_room`]. A
//! subscriber is somebody else's code: its panics are contained, as those of hooks are.
//!
//! # Bursts
//! A queue that overflows would tell of each task. So the first that is lost for want of room
//! begins a burst, which counts the others; a submit that finds the queue less than half full, or
//! the close of the pool, ends it. A queue that hovers about its limit is one burst.

#[cfg(feature = "tracing")]
use std::sync::atomic::AtomicU64;

/// Tasks that a full queue has cost since there was room.
#[derive(Default)]
pub(super) struct Burst {
    #[cfg(feature = "tracing")]
    lost: AtomicU64,
}

#[cfg(feature = "tracing")]
mod imp {
    use core::fmt::Display;
    use core::time::Duration;
    use std::sync::atomic::Ordering;

    use flow_rt::{Panic, contain};

    use super::super::core::Core;
    use super::super::stats::End;
    use super::Burst;

    impl Burst {
        /// A task was refused for want of room, or dropped from the queue for a newer one.
        #[cold]
        pub(in super::super) fn lost(&self, core: &Core) {
            if self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
                let (pool, on_full) = (&*core.name, core.on_full);
                let (capacity, running) = (core.capacity(), core.totals().running());
                contain(|| {
                    tracing::warn!(
                        pool,
                        capacity,
                        running,
                        %on_full,
                        "a pool's queue is full and costs tasks"
                    );
                });
            }
        }

        /// A submitter has taken a place.
        #[inline]
        pub(in super::super) fn has_room(&self, core: &Core) {
            if self.lost.load(Ordering::Relaxed) != 0 && core.room.is_half_empty() {
                self.over(core);
            }
        }

        #[cold]
        fn over(&self, core: &Core) {
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let pool = &*core.name;
                contain(|| tracing::info!(pool, lost, "a pool's queue costs no tasks any more"));
            }
        }
    }

    pub(in super::super) fn ended(
        core: &Core,
        slot: Option<usize>,
        end: End,
        panic: Option<&Panic>,
        limit: Option<Duration>,
    ) {
        let pool = &*core.name;
        contain(|| match end {
            End::Panicked => {
                let panic = panic.map(|panic| panic as &dyn Display);
                let panic = panic.map(tracing::field::display);
                tracing::warn!(pool, slot, panic, "a task has panicked");
            }
            End::TimedOut => {
                let limit = limit.unwrap_or_default();
                tracing::warn!(
                    pool,
                    slot,
                    ?limit,
                    "a task ran for too long and was dropped"
                );
            }
            _ => {}
        });
    }

    pub(in super::super) fn closed(core: &Core) {
        core.burst.over(core);
        let (pool, stats) = (&*core.name, core.stats());
        let (queued, running) = (stats.queued, stats.running);
        contain(|| tracing::debug!(pool, queued, running, "a pool was closed"));
    }

    pub(in super::super) fn cancelling(core: &Core) {
        let (pool, stats) = (&*core.name, core.stats());
        let (queued, running) = (stats.queued, stats.running);
        contain(|| {
            tracing::warn!(
                pool,
                queued,
                running,
                "a pool's time to drain is over: what is queued is abandoned, what runs is told to stop"
            );
        });
    }

    pub(in super::super) fn stopping(core: &Core) {
        let (pool, running) = (&*core.name, core.totals().running());
        contain(|| {
            tracing::warn!(
                pool,
                running,
                "tasks of a pool did not stop when told to, and are dropped"
            );
        });
    }

    pub(in super::super) fn shut_down(core: &Core, is_clean: bool, report: &dyn Display) {
        let pool = &*core.name;
        contain(|| {
            if is_clean {
                tracing::debug!(pool, %report, "a pool was shut down");
            } else {
                tracing::warn!(
                    pool,
                    %report,
                    "a pool was shut down and not all of its tasks ended by themselves"
                );
            }
        });
    }

    #[cfg(feature = "adaptive")]
    pub(in super::super) fn sized(core: &Core, from: usize, to: usize, wait: Duration, used: f64) {
        let pool = &*core.name;
        contain(|| tracing::debug!(pool, from, to, ?wait, used, "a pool has sized itself"));
    }

    pub(in super::super) fn host_gone(core: &Core) {
        let (pool, runtime) = (&*core.name, core.rt.name());
        contain(|| {
            tracing::warn!(
                pool,
                runtime,
                "a pool's runtime has gone, and its tasks with it"
            );
        });
    }
}

#[cfg(not(feature = "tracing"))]
mod imp {
    use core::fmt::Display;
    use core::time::Duration;

    use flow_rt::Panic;

    use super::super::core::Core;
    use super::super::stats::End;
    use super::Burst;

    #[allow(clippy::unused_self)] // as above, for nobody
    impl Burst {
        #[inline]
        pub(in super::super) fn lost(&self, _: &Core) {}

        #[inline]
        pub(in super::super) fn has_room(&self, _: &Core) {}
    }

    #[inline]
    pub(in super::super) fn ended(
        _: &Core,
        _: Option<usize>,
        _: End,
        _: Option<&Panic>,
        _: Option<Duration>,
    ) {
    }

    #[inline]
    pub(in super::super) fn closed(_: &Core) {}

    #[inline]
    pub(in super::super) fn cancelling(_: &Core) {}

    #[inline]
    pub(in super::super) fn stopping(_: &Core) {}

    #[inline]
    pub(in super::super) fn shut_down(_: &Core, _: bool, _: &dyn Display) {}

    #[cfg(feature = "adaptive")]
    #[inline]
    pub(in super::super) fn sized(_: &Core, _: usize, _: usize, _: Duration, _: f64) {}

    #[inline]
    pub(in super::super) fn host_gone(_: &Core) {}
}

pub(super) use imp::*;
