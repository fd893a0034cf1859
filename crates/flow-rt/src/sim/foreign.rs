//! What other threads do to the simulations of a thread.
//!
//! # State
//! One inbox per thread, for the simulations that it runs one after the other: wakers hold it,
//! and are used again from run to run. It knows which simulation is running.
//!
//! # Invariants
//! 1. What is posted for a simulation that is not running is refused: a run ends under the lock.
//! 2. `news` is set after what it is about was left: in the inbox, under the lock, among the
//!    run's panics, among the timers of other threads, or among those who wait for idleness. Taking
//!    clears it by a swap before any of them is looked at, and so finds what it is about. News may
//!    also be of a run that is over: then nothing is found.
//! 3. The simulation's thread is unparked after `news` was set. It looks at `news` before it parks.

use core::mem;
use std::sync::Arc;

use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use flow_sync::sync::thread::{self, Thread};

use super::waker::TaskRef;
use crate::runtime::BoxTask;

flow_sync::sync::thread_local! {
    static OF_THIS_THREAD: Arc<Foreign> = Arc::new(Foreign::new());
}

/// What other threads have done to the simulation.
pub(super) struct Foreign {
    /// Whether there is anything, or a panic to hear of, or a timer: all that the executor looks
    /// at before each pick.
    pub(super) news: AtomicBool,
    /// The number of the simulation that is running; zero for none.
    running: AtomicU64,
    inbox: Mutex<Inbox>,
    simulation: Thread,
}

#[derive(Default)]
pub(super) struct Inbox {
    pub(super) woken: Vec<TaskRef>,
    pub(super) spawned: Vec<BoxTask>,
    /// Whether any thread has come.
    pub(super) any: bool,
    /// The name of the thread that came last.
    pub(super) thread: Option<String>,
}

impl Foreign {
    fn new() -> Self {
        Self {
            news: AtomicBool::new(false),
            running: AtomicU64::new(0),
            inbox: Mutex::new(Inbox::default()),
            simulation: thread::current(),
        }
    }

    pub(super) fn of_this_thread() -> Arc<Self> {
        OF_THIS_THREAD
            .try_with(Arc::clone)
            // The thread is ending: one for this run alone.
            .unwrap_or_else(|_| Arc::new(Self::new()))
    }

    /// Lets in what comes for simulation `world`, which starts now.
    pub(super) fn open(&self, world: u64) {
        self.running.store(world, Ordering::Release);
    }

    /// Refuses what comes from now on. What has come is the caller's to drop.
    pub(super) fn close(&self) -> Inbox {
        let mut inbox = self.inbox.lock();
        self.running.store(0, Ordering::Relaxed);
        self.news.store(false, Ordering::Relaxed);
        mem::take(&mut *inbox)
    }

    /// Tells the executor to look at what was left elsewhere.
    pub(super) fn tell(&self) {
        self.news.store(true, Ordering::Release);
    }

    /// The same for simulation `world`, and wakes it in case it waits for threads. False if it is
    /// not running any more: then nobody will look.
    pub(super) fn rouse(&self, world: u64) -> bool {
        {
            let _inbox = self.inbox.lock();
            if self.running.load(Ordering::Relaxed) != world {
                return false;
            }
            self.tell();
        }
        self.simulation.unpark();
        true
    }

    /// Takes what has come.
    pub(super) fn take(&self) -> Inbox {
        let mut inbox = self.inbox.lock();
        self.news.swap(false, Ordering::AcqRel);
        mem::take(&mut *inbox)
    }

    /// Waits on the simulation's thread until there is news, or for no reason.
    pub(super) fn wait(&self) {
        if !self.news.load(Ordering::Acquire) {
            thread::park();
        }
    }

    /// Posts to simulation `world`, and wakes it in case it waits for threads.
    pub(super) fn post(&self, world: u64, add: impl FnOnce(&mut Inbox)) {
        let thread = std::thread::current();
        {
            let mut inbox = self.inbox.lock();
            if self.running.load(Ordering::Acquire) != world {
                return;
            }
            inbox.any = true;
            inbox.thread = thread.name().map(str::to_owned);
            add(&mut inbox);
            self.news.store(true, Ordering::Release);
        }
        self.simulation.unpark();
    }
}
