//! Who decides for a pool that sizes itself while tasks wait and none comes, starts or ends.
//!
//! Such a pool decides when something happens to a task. If tasks keep all its slots for long, what
//! waits for a slot would wait for that. So whoever leaves something waiting posts a lookout: a
//! task of the runtime's that sleeps to the end of each window and decides then. It goes when
//! nothing waits, or when the pool may not grow. As it is posted once at a time, and goes no sooner
//! than it wakes, a pool that is busy has one timer per window, and a pool that is idle none after
//! it.
//!
//! # State
//! `since`: when the lookout was posted, in nanoseconds; [`NOBODY`] while there is none.
//!
//! # Invariants
//! 1. Whoever changes `since` from [`NOBODY`] spawns the lookout, or is it.
//! 2. Whoever makes something wait does so **before** it looks at `since` and at the slots: one
//!    that queues a task, one that joins the line for room, and a slot that has begun a task, which
//!    counts as running by then. Between the two is a fence. So the last of them finds that
//!    something waits and that all slots are busy.
//! 3. A lookout that goes says so **before** it looks for the last time, with a fence between.
//! 4. It holds the pool while it decides, and not while it sleeps.

use core::future::poll_fn;
use core::time::Duration;
use std::sync::{Arc, Weak};

use flow_rt::{BoxTimer, Instant};

use super::core::Core;
use super::place;
use super::sizing::{Looks, Sizer};
use crate::sync::atomic::{AtomicU64, Ordering, fence};

/// Whether a pool has a lookout, and since when.
pub(super) struct Lookout {
    since: AtomicU64,
}

impl Default for Lookout {
    fn default() -> Self {
        Self {
            since: AtomicU64::new(NOBODY),
        }
    }
}

impl Lookout {
    /// Since when something waits, as far as a lookout knows.
    pub(super) fn posted(&self) -> Option<Instant> {
        let since = self.since.load(Ordering::Acquire);
        (since != NOBODY).then(|| Instant::from_nanos(since))
    }

    fn is_posted(&self) -> bool {
        self.since.load(Ordering::Relaxed) != NOBODY
    }

    /// Whether the caller is the one that posts it.
    fn take_post(&self, now: Instant) -> bool {
        let (free, now) = (NOBODY, now.as_nanos());
        let taken = self
            .since
            .compare_exchange(free, now, Ordering::AcqRel, Ordering::Relaxed);
        taken.is_ok()
    }
}

/// Posts a lookout if something waits, all slots are busy and there may be more of them.
#[inline]
pub(super) fn post(core: &Arc<Core>, sizer: &Sizer) {
    // Invariant 2.
    fence(Ordering::SeqCst);
    if sizer.can_grow() && !sizer.lookout.is_posted() && waits(core) {
        post_if_busy(core, sizer);
    }
}

#[cold]
fn post_if_busy(core: &Arc<Core>, sizer: &Sizer) {
    if are_all_busy(core) && sizer.lookout.take_post(core.rt.now()) {
        core.rt.spawn_detached(look_out(Arc::downgrade(core)));
    }
}

async fn look_out(pool: Weak<Core>) {
    let mut timer: Option<BoxTimer> = None;
    loop {
        {
            let Some(core) = pool.upgrade() else { return };
            let Some(until) = look(&core) else { return };
            place::arm(&mut timer, &core, until);
        }
        let fired = poll_fn(|cx| match &mut timer {
            Some(timer) => timer.poll_fired(cx).map(|fired| fired.is_ok()),
            None => false.into(),
        });
        if !fired.await {
            // The runtime is gone, and the pool's slots with it.
            return;
        }
    }
}

/// Decides, if it is time; when it is the next time, or none if the lookout goes.
fn look(core: &Arc<Core>) -> Option<Instant> {
    let sizer = core.timing.sizer.as_ref()?;
    let now = core.rt.now();
    sizer.look(core, now, Looks::Other);
    let next = sizer.ends().max(now + LEAST);
    if sizer.can_grow() && waits(core) {
        return Some(next);
    }
    sizer.lookout.since.store(NOBODY, Ordering::Release);
    // Invariant 3.
    fence(Ordering::SeqCst);
    let is_needed = sizer.can_grow() && waits(core) && are_all_busy(core);
    (is_needed && sizer.lookout.take_post(now)).then_some(next)
}

/// Whether something waits for a slot, in the queue or for it.
fn waits(core: &Core) -> bool {
    core.has_queued() || core.room.waiting() > 0
}

/// Whether each slot that may live has a task. What runs without one is among those that may have.
fn are_all_busy(core: &Core) -> bool {
    core.roster.idle() == 0 && core.totals().running() >= core.roster.places()
}

const NOBODY: u64 = u64::MAX;

/// How long it sleeps at the least, however short the windows are.
const LEAST: Duration = Duration::from_millis(1);
