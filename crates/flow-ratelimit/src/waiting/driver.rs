//! The task that drives a bucket's queue on one runtime, and its steps.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{BoxTimer, Clock, Handle, Instant};
use flow_sync::sync::atomic::Ordering;

use super::Queue;
use crate::token_bucket::core::Core;
use crate::wakes::Wakes;

/// The task that looks after a bucket's queue on one runtime, while there is one.
pub(super) struct Driver<C: Clock + 'static> {
    core: Arc<Core<C>>,
    runtime: Handle,
    seat: u64,
    timer: Option<BoxTimer>,
    fired: bool,
    has_left: bool,
    wakes: Wakes,
}

impl<C: Clock + 'static> Driver<C> {
    pub(super) fn new(core: Arc<Core<C>>, runtime: Handle, seat: u64) -> Self {
        Self {
            core,
            runtime,
            seat,
            timer: None,
            fired: false,
            has_left: false,
            wakes: Wakes::new(),
        }
    }

    /// Arms the timer for an instant of the bucket's clock, by the runtime's.
    fn arm(&mut self, at: Instant) -> &mut BoxTimer {
        let due = if at.is_far_future() {
            at
        } else {
            // The two clocks may differ; the next look is by the bucket's again.
            self.runtime.now() + at.saturating_duration_since(self.core.clock.now())
        };
        match &mut self.timer {
            Some(timer) => timer.arm(due),
            none => *none = Some(self.runtime.timer(due)),
        }
        self.timer.get_or_insert_with(|| self.runtime.timer(due))
    }
}

impl<C: Clock + 'static> Future for Driver<C> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut waker = None;
        loop {
            // Cloned out here, kept by the seat if this goes to sleep.
            waker.get_or_insert_with(|| cx.waker().clone());
            let step = this
                .core
                .drive(this.seat, &mut waker, this.fired, &mut this.wakes);
            this.wakes.wake();
            this.fired = false;
            match step {
                Step::Again => {}
                Step::Leave => {
                    this.has_left = true;
                    return Poll::Ready(());
                }
                Step::Sleep(at) => match this.arm(at).poll_fired(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => this.fired = true,
                    // The runtime keeps no time any more: its seat goes with this driver.
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                },
            }
        }
    }
}

impl<C: Clock + 'static> Drop for Driver<C> {
    fn drop(&mut self) {
        if !self.has_left {
            self.core.vacate(self.seat);
        }
    }
}

impl<C: Clock> Core<C> {
    /// Wakes the drivers if the head can go before the primary would look; the standbys too,
    /// who reckon from when it will.
    pub(crate) fn kick(&self, queue: &mut Queue, now: Instant, wakes: &mut Wakes) {
        if self.head_at(queue, now) < queue.fire_at {
            queue.fire_at = now;
            queue.wake_seats(wakes);
        }
    }

    /// When the head can go; never, if nobody waits or nothing comes.
    pub(super) fn head_at(&self, queue: &Queue, now: Instant) -> Instant {
        let Some(need) = queue.list.head_need() else {
            return Instant::FAR_FUTURE;
        };
        let anchor = self.params.anchor();
        if anchor.unlimited {
            return now;
        }
        let used = self.word.load(Ordering::Acquire) >> 1;
        let level = anchor.level(used, now, self.cap(&anchor));
        anchor
            .ready_at(level.spent, need)
            .unwrap_or(Instant::FAR_FUTURE)
    }

    /// How long a driver sleeps at the least: well within what is kept for its lateness.
    fn quantum(&self) -> Duration {
        QUANTUM.min(self.settings.catch_up / 4)
    }

    /// One look of a driver at the queue.
    pub(super) fn drive(
        &self,
        number: u64,
        waker: &mut Option<Waker>,
        fired: bool,
        wakes: &mut Wakes,
    ) -> Step {
        let now = self.clock.now();
        let mut queue = self.queue.lock();
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
        if queue.list.is_empty() {
            queue.remove_seat(number);
            return Step::Leave;
        }
        let is_late = |queue: &Queue| queue.fire_at.saturating_add(SLACK) <= now;
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
            Some(seat) => seat.waker = waker.take(),
            // Nobody removes a seat but its driver.
            None => return Step::Leave,
        }
        Step::Sleep(at)
    }

    /// A driver ends before its time.
    pub(super) fn vacate(&self, number: u64) {
        let mut wakes = Wakes::new();
        let seat = {
            let mut queue = self.queue.lock();
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

/// What a driver does next.
pub(super) enum Step {
    /// Wake those granted, then look again.
    Again,
    /// Nobody waits.
    Leave,
    Sleep(Instant),
}

/// A driver's timer fires at most once in this time: a tenth of the work at 100 k grants/s.
const QUANTUM: Duration = Duration::from_millis(1);

/// How late the primary may be before another runtime's driver takes over.
const SLACK: Duration = Duration::from_millis(20);
