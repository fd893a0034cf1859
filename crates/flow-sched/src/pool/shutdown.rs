//! The ordered end of a pool.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;

use super::core::Core;
use super::events;
use super::inside;
use super::stats::End;

/// How long a shutdown takes, of a pool or a scheduler, phase by phase; a [`Duration`] is one that
/// only drains.
///
/// ```
/// # flow_rt::sim::check(0..3, |rt| async move {
/// use std::time::Duration;
/// use flow_sched::{Shutdown, WorkerPool};
///
/// let pool = WorkerPool::new(1, 10)?;
/// let task = pool.submit(async move |cx| {
///     cx.cancellation().cancelled().await;
///     rt.sleep(Duration::from_millis(100)).await; // tidies up
/// });
/// let task = task.await?;
/// let how = Shutdown::drain(Duration::from_secs(30)).then_cancel(Duration::from_secs(5));
/// let report = pool.shutdown(how).await;
/// assert_eq!((report.cancelled, report.dropped), (1, 0));
/// task.await?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shutdown {
    pub(crate) drain: Duration,
    pub(crate) grace: Duration,
}

impl Shutdown {
    /// Gives queued and running tasks so much time to end.
    pub const fn drain(timeout: Duration) -> Self {
        Self {
            drain: timeout,
            grace: Duration::ZERO,
        }
    }

    /// Gives tasks that run on after that, and are told to stop then, so much time to do so. None
    /// unless set: such a task has one poll.
    pub const fn then_cancel(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

impl From<Duration> for Shutdown {
    fn from(timeout: Duration) -> Self {
        Self::drain(timeout)
    }
}

/// What a shutdown did with the tasks, counted from the pool's first close.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The pool's name.
    pub pool: Cow<'static, str>,
    /// Tasks that ended by themselves before the drain was over, well or not: those that returned
    /// and those that panicked.
    pub completed: u64,
    /// Tasks that the pool dropped because they ran longer than they may:
    /// [`task_timeout`](super::WorkerPoolBuilder::task_timeout),
    /// [`Submit::timeout`](super::Submit::timeout).
    pub timed_out: u64,
    /// Running tasks that ended by themselves once they were told to stop, and tasks that their
    /// handles aborted.
    pub cancelled: u64,
    /// Running tasks that did not stop when told to, and were dropped. A closure that blocks counts
    /// as dropped when its slot goes on without it, and among the `stuck` as well while it runs on.
    pub dropped: u64,
    /// Tasks that were queued when the time was over, and never ran.
    pub abandoned: u64,
    /// Tasks that block their threads still: they cannot be dropped. Closures that were aborted or
    /// ran too long, before the shutdown even, are among them if they have not returned.
    pub stuck: u64,
}

impl ShutdownReport {
    /// Whether every task ended by itself before the drain was over: whether only `completed` is
    /// more than 0.
    pub fn is_clean(&self) -> bool {
        let cut_short = self.timed_out + self.cancelled + self.dropped;
        cut_short + self.abandoned + self.stuck == 0
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} completed", self.pool, self.completed)?;
        for (count, what) in [
            (self.timed_out, "timed out"),
            (self.cancelled, "cancelled"),
            (self.dropped, "dropped"),
            (self.abandoned, "never ran"),
            (self.stuck, "stuck"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

pub(super) async fn run(core: &Core, how: Shutdown) -> ShutdownReport {
    core.close();
    // The caller's, which does not end before this does.
    let own = usize::from(inside::seat_in(core.number).is_some());
    if !ended_within(core, own, how.drain).await {
        core.cancel();
        if how.grace.is_zero() || !ended_within(core, own, how.grace).await {
            core.stop();
            // A task of the pool has no poll after this one.
            if own == 0 && !core.has_nothing_but_slots_above() {
                // Whether it ends in this time or not, the report says how things stand.
                ended_within(core, own, LAST_WAIT).await;
            }
        }
    }
    let report = report(core, own);
    events::shut_down(core, report.is_clean(), &report);
    report
}

async fn ended_within(core: &Core, own: usize, timeout: Duration) -> bool {
    let ended = core.wait_ended_but_for(own);
    core.rt.timeout(timeout, ended).await.is_ok()
}

fn report(core: &Core, own: usize) -> ShutdownReport {
    let (then, now) = (core.totals_at_close(), core.totals());
    let ended = |how| now.ended(how) - then.ended(how);
    ShutdownReport {
        pool: core.name.clone(),
        completed: now.ended_by_themselves() - then.ended_by_themselves(),
        timed_out: ended(End::TimedOut),
        cancelled: ended(End::Stopped) + now.aborted() - then.aborted(),
        dropped: ended(End::Dropped),
        abandoned: now.abandoned() - then.abandoned(),
        stuck: now.running().saturating_sub(own as u64) + core.counters.astray(),
    }
}

/// How long the slots get to drop what they run; microseconds, unless a task blocks a thread.
const LAST_WAIT: Duration = Duration::from_millis(100);
