//! What tasks see of a stepped runtime: the contract, on the host's threads and our own time.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use flow_sync::sync::Mutex;

use super::busy::Busy;
use super::drive::Seat;
use super::task::{Counted, Lent, counted_blocking};
use crate::ambient;
use crate::handle::Handle;
use crate::instant::Instant;
use crate::panics;
use crate::runtime::{BoxBlocking, BoxTask, Runtime};
use crate::timer::{BoxTimer, Stopped, Timer};
use crate::virtual_time::{self, Timers, VirtualTime};

/// The state that tasks, timers and movers of time share.
pub(super) struct World {
    host: Handle,
    pub(super) busy: Busy,
    /// Moved under the lock of `alarms` only.
    pub(super) time: VirtualTime,
    pub(super) alarms: Mutex<Alarms>,
    pub(super) seat: Seat,
    live: AtomicUsize,
}

/// Who waits for time.
#[derive(Default)]
pub(super) struct Alarms {
    pub(super) timers: Timers,
    /// Nobody is left who could move time.
    stopped: bool,
}

impl World {
    pub(super) fn over(host: Handle) -> Arc<Self> {
        Arc::new(Self {
            host,
            busy: Busy::default(),
            time: VirtualTime::starting_at(virtual_time::default_wall()),
            alarms: Mutex::new(Alarms::default()),
            seat: Seat::default(),
            live: AtomicUsize::new(0),
        })
    }

    pub(super) fn handle(self: &Arc<Self>) -> Handle {
        Handle::stepped(Stepped(self.clone()))
    }

    /// Where it lies: its identity.
    pub(super) fn id(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }

    pub(super) fn host(&self) -> &Handle {
        &self.host
    }

    pub(super) fn live_tasks(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Time stands for good: tells everybody who waits for it.
    pub(super) fn stop(&self) {
        let mut waiting = Vec::new();
        {
            let mut alarms = self.alarms.lock();
            alarms.stopped = true;
            while let Some(waker) = alarms.timers.pop_due(NEVER) {
                waiting.push(waker);
            }
        }
        for waker in waiting {
            panics::contain(|| waker.wake());
        }
    }
}

/// The contract, as handles hold it.
#[derive(Clone)]
pub(crate) struct Stepped(Arc<World>);

impl Stepped {
    pub(crate) fn id(&self) -> usize {
        self.0.id()
    }

    pub(crate) fn time(&self) -> &VirtualTime {
        &self.0.time
    }

    /// Wraps what a counted closure is about to block on.
    pub(crate) fn lend<F: Future>(&self, future: F) -> Lent<F> {
        Lent::new(&self.0, future)
    }
}

impl Runtime for Stepped {
    fn spawn(&self, task: BoxTask) {
        let name = task.name().map(|name| name.to_owned().into());
        let origin = task.spawned_at();
        self.0.live.fetch_add(1, Ordering::Relaxed);
        let live = Live(self.0.clone());
        let task = async move {
            let _live = live;
            task.await;
        };
        self.0.host.start(name, origin, Counted::new(&self.0, task));
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        let job = counted_blocking(&self.0, job);
        self.0.host.runtime().spawn_blocking(job);
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        let slot = self.0.alarms.lock().timers.insert();
        BoxTimer::new(SteppedTimer {
            world: self.0.clone(),
            slot,
            due: at.as_nanos(),
        })
    }

    fn now(&self) -> Instant {
        self.0.time.instant()
    }

    fn wall(&self) -> SystemTime {
        self.0.time.wall()
    }

    fn name(&self) -> &'static str {
        match self.0.host.name() {
            "tokio" => "tokio, stepped",
            "smol" => "smol, stepped",
            "async-std" => "async-std, stepped",
            _ => "stepped",
        }
    }
}

struct Live(Arc<World>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

struct SteppedTimer {
    world: Arc<World>,
    slot: usize,
    due: u64,
}

impl Timer for SteppedTimer {
    fn arm(mut self: Pin<&mut Self>, at: Instant) {
        self.due = at.as_nanos();
        let stale = self.world.alarms.lock().timers.disarm(self.slot);
        drop(stale);
    }

    fn poll_fired(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        let (replaced, anew) = {
            // Time moves under this lock: either it has come, or the move will find the waker.
            let mut alarms = self.world.alarms.lock();
            if self.due <= self.world.time.now() && self.due != NEVER {
                return Poll::Ready(Ok(()));
            }
            if alarms.stopped {
                return Poll::Ready(Err(Stopped::new()));
            }
            alarms.timers.register(self.slot, self.due, cx.waker())
        };
        drop(replaced);
        if anew && ambient::counted_depth(self.world.id()) == 0 {
            // No count will go down after this poll, and who moves time may wait for a timer.
            self.world.busy.quiet().notify_all();
        }
        Poll::Pending
    }
}

impl Drop for SteppedTimer {
    fn drop(&mut self) {
        let waker = self.world.alarms.lock().timers.remove(self.slot);
        drop(waker);
    }
}

/// The nanoseconds of [`Instant::FAR_FUTURE`].
pub(super) const NEVER: u64 = Instant::FAR_FUTURE.as_nanos();
