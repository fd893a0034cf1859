//! The task that drives a bucket's queue on one runtime, and its steps.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::{Arc, Weak};

use flow_rt::{BoxTimer, Handle, Instant};
#[cfg(feature = "tracing")]
use flow_sync::sync::atomic::Ordering;

use super::Queue;
use super::queue::Looks;
use super::source::Source;
use crate::wakes::Wakes;

/// The task that looks after a bucket's queue on one runtime, while there is one.
pub(super) struct Driver<S: Source> {
    /// Those who wait hold the bucket; the driver does not, so that it lingers without it.
    core: Weak<S>,
    runtime: Handle,
    seat: u64,
    timer: Option<BoxTimer>,
    fired: bool,
    has_left: bool,
    wakes: Wakes,
}

impl<S: Source> Driver<S> {
    pub(super) fn new(core: &Arc<S>, runtime: Handle, seat: u64) -> Self {
        Self {
            core: Arc::downgrade(core),
            runtime,
            seat,
            timer: None,
            fired: false,
            has_left: false,
            wakes: Wakes::new(),
        }
    }

    /// Arms the timer for an instant of the bucket's clock, by the runtime's.
    fn arm(&mut self, at: Instant, core: &S) -> &mut BoxTimer {
        let due = if at.is_far_future() {
            at
        } else {
            // The two clocks may differ; the next look is by the bucket's again.
            self.runtime.now() + at.saturating_duration_since(core.now())
        };
        self.arm_for(due)
    }

    fn arm_for(&mut self, due: Instant) -> &mut BoxTimer {
        match &mut self.timer {
            Some(timer) => timer.arm(due),
            none => *none = Some(self.runtime.timer(due)),
        }
        self.timer.get_or_insert_with(|| self.runtime.timer(due))
    }
}

impl<S: Source> Future for Driver<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(bucket) = this.core.upgrade() else {
            this.has_left = true;
            return Poll::Ready(());
        };
        if let Some(timer) = &mut this.timer {
            // Before it is armed anew: whether somebody came, or the time is over.
            this.fired = timer.poll_fired(cx).is_ready();
        }
        let mut waker = None;
        loop {
            // Cloned out here, kept by the seat if this goes to sleep.
            waker.get_or_insert_with(|| cx.waker().clone());
            let step = bucket.drive(this.seat, &mut waker, this.fired, &mut this.wakes);
            this.wakes.wake();
            this.fired = false;
            let timer = match step {
                Step::Again => continue,
                Step::Leave => {
                    this.has_left = true;
                    return Poll::Ready(());
                }
                Step::Sleep(at) => this.arm(at, &bucket),
                // By the runtime's clock: the bucket's may stand still.
                Step::Linger => this.arm_for(this.runtime.now() + LINGER),
            };
            match timer.poll_fired(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => this.fired = true,
                // The runtime keeps no time any more: its seat goes with this driver.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
            }
        }
    }
}

impl<S: Source> Drop for Driver<S> {
    fn drop(&mut self) {
        if self.has_left {
            return;
        }
        if let Some(core) = self.core.upgrade() {
            #[cfg(feature = "tracing")]
            {
                let waiting = core.waiting().load(Ordering::Acquire);
                if waiting > 0 {
                    let name = core.rules().name.as_deref();
                    crate::events::driver_lost(name, self.runtime.name(), waiting);
                }
            }
            core.vacate(self.seat);
        }
    }
}

/// What one does who drives.
pub(crate) trait Drives: Source {
    /// Wakes the drivers if the head can go before the primary would look; the standbys too,
    /// who reckon from when it will.
    fn kick(&self, queue: &mut Queue<Self::Supply>, now: Instant, wakes: &mut Wakes) {
        if self.head_at(queue, now) < queue.fire_at {
            queue.rouse(now, wakes);
        }
    }

    /// How long a driver sleeps at the least: well within what is kept for its lateness.
    fn quantum(&self) -> Duration {
        QUANTUM.min(self.rules().catch_up / 4)
    }

    /// One look of a driver at the queue.
    fn drive(
        &self,
        number: u64,
        waker: &mut Option<Waker>,
        fired: bool,
        wakes: &mut Wakes,
    ) -> Step {
        let now = self.now();
        let mut queue = self.queue().lock();
        let queue = &mut *queue;
        if fired && queue.primary == Some(number) {
            queue.last_fire = now;
        }
        if let Some(seat) = queue.seat(number) {
            // It is awake: no need for others to wake it.
            let old = seat.waker.take();
            wakes.discard(old);
        }
        if self.pump(queue, now, wakes) {
            return Step::Again;
        }
        if queue.is_idle() {
            return queue.rest(number, waker, fired);
        }
        let is_late = |queue: &Queue<Self::Supply>| queue.fire_at.saturating_add(SLACK) <= now;
        if queue.primary.is_none() || is_late(queue) {
            queue.primary = Some(number);
        }
        let at = if queue.primary == Some(number) {
            let earliest = queue.last_fire.saturating_add(self.quantum());
            queue.fire_at = self.head_at(queue, now).max(earliest);
            queue.fire_at
        } else {
            queue.fire_at.saturating_add(SLACK)
        };
        match queue.seat(number) {
            Some(seat) => {
                seat.waker = waker.take();
                seat.looks = Looks::At(at);
            }
            // Nobody removes a seat but its driver.
            None => return Step::Leave,
        }
        Step::Sleep(at)
    }

    /// A driver ends before its time.
    fn vacate(&self, number: u64) {
        let mut wakes = Wakes::new();
        let seat = {
            let mut queue = self.queue().lock();
            let queue = &mut *queue;
            let was_primary = queue.primary == Some(number);
            let seat = queue.remove_seat(number);
            queue.hand_over(was_primary, &mut wakes);
            seat
        };
        drop(seat);
        wakes.wake();
    }
}

impl<S: Source> Drives for S {}

/// What a driver does next.
pub(crate) enum Step {
    /// Wake those granted, then look again.
    Again,
    /// Nobody waits.
    Leave,
    /// Nobody waits now, but somebody may soon: stay for [`LINGER`].
    Linger,
    Sleep(Instant),
}

/// A driver's timer fires at most once in this time: a tenth of the work at 100 k grants/s.
pub(super) const QUANTUM: Duration = Duration::from_millis(1);

/// How long a driver stays when nobody waits: who waits again and again needs a new task for it
/// only if there is more than this in between.
pub(super) const LINGER: Duration = Duration::from_millis(100);

/// How late the primary may be before another runtime's driver takes over.
const SLACK: Duration = Duration::from_millis(20);
