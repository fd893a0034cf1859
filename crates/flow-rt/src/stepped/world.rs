//! What tasks see of a stepped runtime: the contract, on the host's threads and our own time.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
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
use crate::virtual_time::{self, Key, Timers, VirtualTime};

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
    pub(super) timers: Timers<Waker>,
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
            while let Some((_, waker)) = alarms.timers.pop_due(NEVER) {
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
        BoxTimer::new(SteppedTimer {
            world: self.0.clone(),
            registered: None,
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
    registered: Option<Key>,
    due: u64,
}

impl SteppedTimer {
    fn unregister(&mut self) {
        if let Some(key) = self.registered.take() {
            let waker = self.world.alarms.lock().timers.remove(key);
            drop(waker);
        }
    }
}

impl Timer for SteppedTimer {
    fn arm(mut self: Pin<&mut Self>, at: Instant) {
        self.due = at.as_nanos();
        self.unregister();
    }

    fn poll_fired(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        let this = &mut *self;
        let mut own = None;
        let (replaced, anew) = loop {
            {
                // Time moves under this lock: either it has come, or the move will find the waker.
                let mut alarms = this.world.alarms.lock();
                if this.due <= this.world.time.now() && this.due != NEVER {
                    return Poll::Ready(Ok(()));
                }
                if alarms.stopped {
                    return Poll::Ready(Err(Stopped::new()));
                }
                let known = this.registered;
                let waits = |same: &dyn Fn(&Waker) -> bool| {
                    known.is_some_and(|key| alarms.timers.waits(key, this.due, same))
                };
                if waits(&|waker| waker.will_wake(cx.waker())) {
                    return Poll::Pending;
                }
                if let Some(waker) = own.take() {
                    let anew = !waits(&|_| true);
                    let (key, replaced) = alarms.timers.register(known, this.due, 0, waker);
                    this.registered = Some(key);
                    break (replaced, anew);
                }
            }
            // Without the lock: it is user code.
            own = Some(cx.waker().clone());
        };
        drop(replaced);
        if anew && ambient::counted_depth(this.world.id()) == 0 {
            // No count will go down after this poll, and who moves time may wait for a timer.
            this.world.busy.quiet().notify_all();
        }
        Poll::Pending
    }
}

impl Drop for SteppedTimer {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// The nanoseconds of [`Instant::FAR_FUTURE`].
pub(super) const NEVER: u64 = Instant::FAR_FUTURE.as_nanos();
