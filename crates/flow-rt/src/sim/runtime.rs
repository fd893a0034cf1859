//! What tasks see of the simulation: the contract, on shared state.

use core::panic::Location;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::task::{Context, Poll};
use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{Thread, ThreadId};
use std::time::SystemTime;

use flow_sync::sync::Mutex;

use super::SimBuilder;
use super::rng::SimRng;
use crate::instant::Instant;
use crate::runtime::{BoxBlocking, BoxTask, Runtime};
use crate::timer::{BoxTimer, Stopped, Timer};
use crate::virtual_time::{Timers, VirtualTime};

/// The state that tasks, timers and wakers share with the executor.
pub(super) struct World {
    pub(super) time: VirtualTime,
    pub(super) inbox: Inbox,
    pub(super) timers: Mutex<Timers>,
    pub(super) idle: Mutex<Vec<Waker>>,
    rng: Mutex<SimRng>,
    pub(super) live: AtomicUsize,
    /// Set when the run is over: nothing starts any more.
    pub(super) ended: AtomicBool,
    pub(super) thread: Thread,
    thread_id: ThreadId,
}

/// What happened since the executor last looked.
pub(super) struct Inbox {
    /// Whether there is anything: the executor takes the lock only then.
    pub(super) news: AtomicBool,
    pub(super) events: Mutex<Vec<Event>>,
    /// A wake from another thread.
    pub(super) foreign: AtomicBool,
}

pub(super) enum Event {
    Woken(TaskRef),
    Spawned(BoxTask),
}

/// A task by slot and generation, so that a stale waker cannot wake the slot's next task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TaskRef {
    pub(super) slot: usize,
    pub(super) generation: u64,
}

impl World {
    pub(super) fn new(config: &SimBuilder) -> Self {
        let current = std::thread::current();
        Self {
            time: VirtualTime::starting_at(config.wall),
            inbox: Inbox {
                news: AtomicBool::new(false),
                events: Mutex::new(Vec::new()),
                foreign: AtomicBool::new(false),
            },
            timers: Mutex::new(Timers::default()),
            idle: Mutex::new(Vec::new()),
            rng: Mutex::new(SimRng::new(!config.seed)),
            live: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            thread_id: current.id(),
            thread: current,
        }
    }

    pub(super) fn fork_rng(&self) -> SimRng {
        SimRng::new(self.rng.lock().next_u64())
    }

    pub(super) fn live_tasks(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    pub(super) fn now(&self) -> u64 {
        self.time.now()
    }

    pub(super) fn post(&self, event: Event) {
        if std::thread::current().id() != self.thread_id {
            self.inbox.foreign.store(true, Ordering::Release);
        }
        self.inbox.events.lock().push(event);
        self.inbox.news.store(true, Ordering::Release);
        if self.inbox.foreign.load(Ordering::Relaxed) {
            self.thread.unpark();
        }
    }
}

/// The contract, as tasks hold it in their handles.
pub(super) struct SimRuntime(pub(super) Arc<World>);

impl Runtime for SimRuntime {
    fn spawn(&self, task: BoxTask) {
        if self.0.ended.load(Ordering::Acquire) {
            // Dropped here: whoever joins it learns that it was cancelled.
            return;
        }
        self.0.live.fetch_add(1, Ordering::Relaxed);
        self.0.post(Event::Spawned(task));
    }

    /// A blocking closure is a step of its own, on the simulation's thread.
    fn spawn_blocking(&self, job: BoxBlocking) {
        let task = BoxTask::new(async move { job() }).named(Cow::Borrowed("blocking closure"));
        self.spawn(task);
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        let slot = self.0.timers.lock().insert();
        BoxTimer::new(SimTimer {
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
        "sim"
    }
}

struct SimTimer {
    world: Arc<World>,
    slot: usize,
    due: u64,
}

impl Timer for SimTimer {
    fn arm(mut self: Pin<&mut Self>, at: Instant) {
        self.due = at.as_nanos();
        let stale = self.world.timers.lock().disarm(self.slot);
        drop(stale);
    }

    fn poll_fired(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        if self.due <= self.world.now() && self.due != u64::MAX {
            return Poll::Ready(Ok(()));
        }
        if self.world.ended.load(Ordering::Acquire) {
            return Poll::Ready(Err(Stopped::new()));
        }
        if self.due != u64::MAX {
            let (replaced, _) = self
                .world
                .timers
                .lock()
                .register(self.slot, self.due, cx.waker());
            drop(replaced);
        }
        Poll::Pending
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        let waker = self.world.timers.lock().remove(self.slot);
        drop(waker);
    }
}

/// Wakes one task: once per poll, however often it is called.
pub(super) struct TaskWaker {
    pub(super) world: Arc<World>,
    pub(super) task: TaskRef,
    /// Cleared before the poll, so that a wake during the poll counts.
    pub(super) queued: AtomicBool,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.world.post(Event::Woken(self.task));
        }
    }
}

/// A task's name and place, for reports.
pub(super) struct Origin {
    pub(super) name: Option<String>,
    pub(super) spawned_at: &'static Location<'static>,
    pub(super) born: u64,
}
