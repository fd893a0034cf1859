//! What becomes of a run that meets another one, and of one that is late; how late is usual.

use core::time::Duration;

/// How exactly the scheduler wakes up for its jobs; see
/// [`SchedulerBuilder::precision`](crate::SchedulerBuilder::precision).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Precision {
    /// As exactly as the runtime's own timers: tokio's wake 1 to 2 ms late, those of smol and
    /// async-std some 0.04 ms.
    #[default]
    Coarse,
    /// With timers of async-io's precision on tokio too; the driver is then woken from a foreign
    /// thread. On other runtimes like [`Coarse`](Self::Coarse): they have the timers they have.
    #[cfg(feature = "fine-timer")]
    Fine,
}

/// What to do when a run is due and an earlier one of the same job has not ended.
///
/// A run counts from when it is due, so one that waits for room in the pool is not ended either.
///
/// Among several instances ([`Claims`](crate::Claims), [`Elector`](crate::Elector)) the policy looks
/// at the runs of its own instance alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overlap {
    /// The new run does not take place; it is counted as skipped.
    #[default]
    Skip,
    /// The latest of the runs due meanwhile follows as soon as the earlier one has ended; those
    /// before it are counted as skipped. The last request is never lost: it was noticed in time, so
    /// however long it waits then, [`Misfire`] is not asked again.
    BufferOne,
    /// All runs due meanwhile follow, one after the other, of which so many wait at the most, one
    /// at the least; further ones are skipped. They wait as long as it takes, like that of
    /// [`BufferOne`](Self::BufferOne), in 32 bytes each.
    BufferAll(usize),
    /// The earlier run is told to stop through its context's cancellation, and the new one
    /// follows when it has ended. No two run at once.
    ///
    /// One whose condition is being asked is dropped. One that only waits for its turn, in the
    /// pool or for its throttle, keeps its place there: it runs in place of the new one, as if it
    /// had been due then, and the earlier time counts as skipped. It does not take over what other
    /// instances have a say in, nor anything if it is claimed itself: it runs as what it is then, and
    /// the new one follows and asks in its turn. A run by hand that waits does not give way to such a
    /// time, which counts as skipped.
    CancelPrevious,
    /// The earlier run is dropped wherever it waits, and the new one follows. What it has spawned
    /// with its context is told to stop. No two run at once.
    ///
    /// One that only waits for its turn keeps its place, as with
    /// [`CancelPrevious`](Self::CancelPrevious).
    TerminatePrevious,
    /// Up to so many runs at once, one at the least; more are skipped.
    Allow(usize),
}

/// What to do with runs whose time passed unnoticed: the machine was suspended or stalled, the
/// clock was set forward, the scheduler was busy.
///
/// Each missed occurrence is judged by its own lateness when the scheduler comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misfire {
    /// Missed occurrences are made up by one run, if the latest of them is at most `within`
    /// late; the others are counted as missed.
    FireOnce {
        /// How late is still good; not zero, since no timer is exact.
        within: Duration,
    },
    /// Missed occurrences are made up by a run each, one after the other, if they are at most
    /// `within` late; of more than `limit` the latest ones, and the others are counted as missed.
    /// While they are being made up, they count as an earlier run that has not ended; if more are
    /// missed meanwhile, no more than `limit` wait in all.
    ///
    /// Those that wait take 32 bytes each, and nothing but `limit` bounds them: a rate of 1 ms that
    /// stood still for a day has missed 86 million. To find more than a thousand delays no other
    /// job.
    FireAll {
        /// So many at the most, one at the least, the one that is due among them.
        limit: usize,
        /// How late is still good; not zero, since no timer is exact.
        within: Duration,
    },
    /// Missed occurrences are not made up. An occurrence up to [`Misfire::PUNCTUAL`] late is not
    /// missed: no timer is exact. Nor is a time of day that may have come, as the clock was set
    /// forward or the machine woke up, since the scheduler last looked: it does so once a minute.
    Skip,
}

impl Misfire {
    /// Up to so much lateness counts as on time: one second.
    pub const PUNCTUAL: Duration = Duration::from_secs(1);

    pub(crate) fn within(self) -> Duration {
        match self {
            Self::FireOnce { within } | Self::FireAll { within, .. } => within,
            Self::Skip => Self::PUNCTUAL,
        }
    }
}

impl Misfire {
    /// How many missed occurrences may be made up beside the one that is due.
    pub(crate) fn made_up(self) -> usize {
        match self {
            Self::FireAll { limit, .. } => limit.saturating_sub(1),
            _ => 0,
        }
    }
}

impl Default for Misfire {
    /// One run makes up for everything missed, however late.
    fn default() -> Self {
        Self::FireOnce {
            within: Duration::MAX,
        }
    }
}
