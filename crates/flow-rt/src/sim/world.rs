//! What tasks, timers and wakers share with the executor.
//!
//! # Threads
//! The simulation runs on one thread. Its wakes and spawns go to the [`local`] queue; those of
//! other threads go to [`Foreign`], whose flag the executor looks at before every pick: they
//! fail the run unless it lets threads in.
//!
//! A waker's `queued` flag is cleared *before* the poll, so a wake during the poll counts. With
//! threads let in it is cleared by a swap, which reads from the foreigner's swap: a wake that
//! found the flag set is coalesced into the poll that follows, and that poll sees what the
//! foreigner wrote before it woke. Alone, a plain store will do.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::Thread;

use flow_sync::sync::Mutex;

use super::config::SimBuilder;
use super::history::{Event, History};
use super::idle::Idle;
use super::local::{self, Woken};
use super::panics::Panics;
use super::rng::SimRng;
use super::timers::Away;
use super::wall::Wall;
use crate::runtime::BoxTask;

/// The state of one simulation.
pub(crate) struct World {
    /// Its number in this process; never zero.
    pub(super) id: u64,
    /// Virtual nanoseconds. Shared with clocks built inside.
    pub(super) time: Arc<AtomicU64>,
    pub(super) wall: Mutex<Wall>,
    /// Timers that the simulation's own thread does not keep.
    pub(super) away: Away,
    /// Every timer due by then has fired, so that a timer need not look for its entry.
    pub(super) fired_through: AtomicU64,
    pub(super) idle: Idle,
    pub(super) foreign: Foreign,
    pub(super) panics: Panics,
    /// The number of the task that is being polled.
    pub(super) current: AtomicU64,
    pub(super) current_waker: CurrentWaker,
    pub(super) live: AtomicUsize,
    /// Set when the run is over: nothing starts and no timer fires any more.
    pub(super) ended: AtomicBool,
    pub(super) blocking_cost: u64,
    rng: Mutex<SimRng>,
    history: Option<Mutex<History>>,
}

impl World {
    pub(super) fn new(config: &SimBuilder, recorded: bool) -> Self {
        static RUNS: AtomicU64 = AtomicU64::new(1);
        Self {
            id: RUNS.fetch_add(1, Ordering::Relaxed),
            time: Arc::new(AtomicU64::new(START)),
            wall: Mutex::new(Wall::new(START, config.wall)),
            away: Away::default(),
            fired_through: AtomicU64::new(0),
            idle: Idle::default(),
            foreign: Foreign {
                news: AtomicBool::new(false),
                inbox: Mutex::new(Inbox::default()),
                simulation: std::thread::current(),
            },
            panics: Panics::default(),
            current: AtomicU64::new(0),
            current_waker: CurrentWaker::default(),
            live: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            blocking_cost: config.blocking_cost,
            rng: Mutex::new(SimRng::new(!config.seed)),
            history: recorded.then(Mutex::default),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.time.load(Ordering::Relaxed)
    }

    pub(super) fn spawn(&self, task: BoxTask) {
        self.live.fetch_add(1, Ordering::Relaxed);
        if let Err(task) = local::spawn(self.id, task) {
            if self.ended.load(Ordering::Acquire) {
                // Dropped here: whoever joins it learns that it was cancelled.
                drop(task);
            } else {
                self.foreign.post(|inbox| inbox.spawned.push(task));
            }
        }
    }

    /// Random numbers for a task's own choices.
    pub(super) fn fork_rng(&self) -> SimRng {
        self.note(|| Event::RandomNumbers { by: self.current() });
        SimRng::new(self.rng.lock().next_u64())
    }

    /// Remembers an event, if this run is one of two to compare.
    #[inline]
    pub(super) fn note(&self, event: impl FnOnce() -> Event) {
        if let Some(history) = &self.history {
            remember(history, event);
        }
    }

    pub(super) fn take_history(&self) -> Option<History> {
        self.history
            .as_ref()
            .map(|history| core::mem::take(&mut *history.lock()))
    }

    pub(super) fn live_tasks(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    pub(super) fn current(&self) -> u64 {
        self.current.load(Ordering::Relaxed)
    }
}

/// By what the task that is being polled is known: written before each poll, and read by the
/// same thread.
#[derive(Default)]
pub(super) struct CurrentWaker {
    slot: AtomicU32,
    data: AtomicUsize,
    /// That of all tasks' wakers.
    vtable: AtomicUsize,
}

impl CurrentWaker {
    pub(super) fn is_made_by(&self, waker: &Waker) {
        self.vtable.store(vtable(waker), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn set(&self, slot: u32, waker: &Waker) {
        self.slot.store(slot, Ordering::Relaxed);
        self.data.store(waker.data().addr(), Ordering::Relaxed);
    }

    /// The task that was polled last has ended: its waker's address may be another's soon.
    pub(super) fn clear(&self) {
        self.data.store(0, Ordering::Relaxed);
    }

    /// The slot of the task that is being polled, if `waker` is its waker and no other.
    #[inline]
    pub(super) fn slot_of(&self, waker: &Waker) -> Option<u32> {
        let same = self.data.load(Ordering::Relaxed) == waker.data().addr()
            && self.vtable.load(Ordering::Relaxed) == vtable(waker);
        same.then(|| self.slot.load(Ordering::Relaxed))
    }
}

#[inline]
fn vtable(waker: &Waker) -> usize {
    core::ptr::from_ref(waker.vtable()).addr()
}

#[cold]
fn remember(history: &Mutex<History>, event: impl FnOnce() -> Event) {
    let event = event();
    history.lock().push(event);
}

/// What other threads have done to the simulation.
pub(super) struct Foreign {
    /// Whether there is anything: the executor takes the lock only then.
    pub(super) news: AtomicBool,
    inbox: Mutex<Inbox>,
    simulation: Thread,
}

#[derive(Default)]
pub(super) struct Inbox {
    pub(super) woken: Vec<TaskRef>,
    pub(super) spawned: Vec<BoxTask>,
    /// The name of the thread that came last.
    pub(super) thread: Option<String>,
}

impl Foreign {
    /// Posts, and wakes the simulation in case it waits for threads.
    fn post(&self, add: impl FnOnce(&mut Inbox)) {
        let thread = std::thread::current();
        {
            let mut inbox = self.inbox.lock();
            inbox.thread = thread.name().map(str::to_owned);
            add(&mut inbox);
        }
        // After the inbox was filled: whoever sees the flag finds what it is about.
        self.news.store(true, Ordering::Release);
        self.simulation.unpark();
    }

    pub(super) fn take(&self) -> Inbox {
        // Before the inbox is emptied: what comes in between is seen the next time.
        self.news.store(false, Ordering::Relaxed);
        core::mem::take(&mut self.inbox.lock())
    }
}

/// A task by slot and number: slots are used again, numbers are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TaskRef {
    pub(super) slot: u32,
    pub(super) number: u64,
}

/// Wakes one task: once per poll, however often it is called.
pub(super) struct TaskWaker {
    pub(super) world: Arc<World>,
    pub(super) task: TaskRef,
    pub(super) queued: AtomicBool,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    #[inline]
    fn wake_by_ref(self: &Arc<Self>) {
        let world = &self.world;
        match local::wake(world.id, self.task.slot, &self.queued) {
            Woken::Now => world.note(|| Event::Woken {
                task: self.task.number,
                by: world.current(),
            }),
            Woken::Before => {}
            Woken::Elsewhere => self.wake_from_elsewhere(),
        }
    }
}

impl TaskWaker {
    #[cold]
    fn wake_from_elsewhere(&self) {
        let world = &self.world;
        let newly = !self.queued.swap(true, Ordering::AcqRel);
        if newly {
            world.note(|| Event::Woken {
                task: self.task.number,
                by: world.current(),
            });
        }
        if !world.ended.load(Ordering::Acquire) {
            // Posted even if it is queued already: that a thread took part must be seen.
            world.foreign.post(|inbox| {
                if newly {
                    inbox.woken.push(self.task);
                }
            });
        }
    }
}

/// Runs start a second after the origin, so that a test can look at earlier instants.
pub(super) const START: u64 = 1_000_000_000;
