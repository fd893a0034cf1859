//! The contract, as tasks hold it in their handles.

use core::borrow::Borrow;
use core::future::Future;
use core::panic::Location;
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll};
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use super::timers::Registered;
use super::world::World;
use crate::instant::Instant;
use crate::runtime::{BoxBlocking, BoxTask, Runtime};
use crate::timer::{BoxTimer, Stopped, Timer};

/// A simulation as a runtime.
#[derive(Clone)]
pub(crate) struct SimRuntime(pub(super) Arc<World>);

impl SimRuntime {
    /// The address it lives at: unique among those alive.
    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    #[inline]
    pub(crate) fn world(&self) -> &Arc<World> {
        &self.0
    }

    /// A blocking closure is a step of its own on the simulation's thread, at the end of what
    /// it costs.
    pub(crate) fn start_blocking(&self, job: BoxBlocking, origin: &'static Location<'static>) {
        let cost = Duration::from_nanos(self.0.blocking_cost);
        let done_at = (!cost.is_zero()).then(|| self.timer(self.now() + cost));
        let step = async move {
            if let Some(done_at) = done_at {
                // The run may end first; the closure is then dropped with this task.
                let _ = done_at.await;
            }
            job();
        };
        let name = Cow::Borrowed("blocking closure");
        self.spawn(BoxTask::from_spawn(step, Some(name), origin));
    }
}

impl Runtime for SimRuntime {
    #[inline]
    fn spawn(&self, task: BoxTask) {
        self.0.spawn(task);
    }

    #[track_caller]
    fn spawn_blocking(&self, job: BoxBlocking) {
        self.start_blocking(job, Location::caller());
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        BoxTimer::new(SimTimer::new(self.0.clone(), at))
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.now())
    }

    fn wall(&self) -> SystemTime {
        self.0.wall.lock().at(self.0.now())
    }

    fn name(&self) -> &'static str {
        "sim"
    }
}

/// A timer that reaches its simulation by `W`.
pub(super) struct SimTimer<W: Borrow<World>> {
    world: W,
    due: u64,
    /// Its entry among the simulation's timers.
    registered: Option<Registered>,
}

impl<W: Borrow<World>> SimTimer<W> {
    #[inline]
    pub(super) fn new(world: W, at: Instant) -> Self {
        Self {
            world,
            due: at.as_nanos(),
            registered: None,
        }
    }

    #[inline]
    fn is_due(&self, now: u64) -> bool {
        self.due <= now && self.due != u64::MAX
    }

    #[inline]
    fn poll_due(&mut self, now: u64, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        if self.is_due(now) {
            return Poll::Ready(Ok(()));
        }
        let world = self.world.borrow();
        if world.ended.load(Ordering::Relaxed) {
            return Poll::Ready(Err(Stopped::new()));
        }
        if self.due != u64::MAX {
            world.note_armed(self.due);
            let registered = world.register(self.registered, self.due, cx.waker());
            self.registered = Some(registered);
            if registered.is_away() && world.ended.load(Ordering::Acquire) {
                return Poll::Ready(Err(Stopped::new()));
            }
        }
        Poll::Pending
    }

    #[inline]
    fn unregister(&mut self) {
        // One that is due by now has gone by itself: the clock does not move without firing it. Or
        // it goes at the next wait, if it is another thread's and came as the clock moved.
        if let Some(registered) = self.registered.take()
            && let world = self.world.borrow()
            && self.due > world.now()
        {
            world.unregister(registered);
        }
    }
}

impl Timer for SimTimer<Arc<World>> {
    fn arm(mut self: Pin<&mut Self>, at: Instant) {
        self.unregister();
        self.due = at.as_nanos();
    }

    fn poll_fired(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        let now = self.world.now();
        self.poll_due(now, cx)
    }
}

impl<W: Borrow<World>> Drop for SimTimer<W> {
    #[inline]
    fn drop(&mut self) {
        self.unregister();
    }
}

/// Waits for a time that starts with its first poll.
pub(super) struct Sleep<'a> {
    /// Due after so many nanoseconds, until that poll.
    timer: SimTimer<&'a World>,
    started: bool,
}

impl<'a> Sleep<'a> {
    #[inline]
    pub(super) fn new(world: &'a World, delay: Duration) -> Self {
        Self {
            timer: SimTimer::new(world, Instant::ORIGIN + delay),
            started: false,
        }
    }

    #[inline(never)]
    fn poll_waiting(&mut self, now: u64, cx: &mut Context<'_>) -> Poll<()> {
        let timer = &mut self.timer;
        if !self.started {
            self.started = true;
            timer.due = timer.due.saturating_add(now);
            // Its key comes back in registers, and is stored in parts. What is written in parts and
            // read as a whole a moment later stalls: an `Option<Registered>` by memory did.
            if timer.due > now
                && timer.due != u64::MAX
                && let Some(key) = timer.world.register_own(timer.due, cx.waker())
            {
                timer.registered = Some(Registered::new(key, true));
                return Poll::Pending;
            }
        }
        // Fails only when the run has ended, and then nothing is polled any more.
        timer.poll_due(now, cx).map(drop)
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.timer.world.now();
        if self.started && self.timer.is_due(now) {
            // It has gone by itself, as `unregister` says.
            self.timer.registered = None;
            return Poll::Ready(());
        }
        self.poll_waiting(now, cx)
    }
}
