//! What tasks, timers and wakers share with the executor.
//!
//! # Threads
//! The simulation runs on one thread. Its wakes and spawns go to the [`local`] queue; those of
//! other threads go to [`Foreign`], whose flag the executor looks at before every pick: they
//! fail the run unless it lets threads in.

use core::cell::RefCell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::AtomicBool;

use super::config::SimBuilder;
use super::foreign::Foreign;
use super::history::{Event, History};
use super::idle::Idle;
use super::local;
use super::panics::Panics;
use super::rng::SimRng;
use super::timers::Away;
use super::wall::Wall;
use crate::panics;
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
    pub(super) idle: Idle,
    pub(super) foreign: Arc<Foreign>,
    pub(super) panics: Panics,
    /// The number of the task that is being polled.
    pub(super) current: AtomicU64,
    /// Tasks spawned and not ended. Written by the simulation's thread only.
    live: AtomicUsize,
    /// Set when the run is over: nothing starts and no timer fires any more.
    pub(super) ended: AtomicBool,
    pub(super) blocking_cost: u64,
    rng: Mutex<SimRng>,
    history: Option<Mutex<History>>,
}

impl World {
    pub(super) fn new(config: &SimBuilder, history: Option<History>) -> Self {
        static RUNS: AtomicU64 = AtomicU64::new(1);
        Self {
            id: RUNS.fetch_add(1, Ordering::Relaxed),
            time: fresh_time(),
            wall: Mutex::new(Wall::new(START, config.wall)),
            away: Away::default(),
            idle: Idle::default(),
            foreign: Foreign::of_this_thread(),
            panics: Panics::default(),
            current: AtomicU64::new(0),
            live: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            blocking_cost: config.blocking_cost,
            rng: Mutex::new(SimRng::new(!config.seed)),
            history: history.map(Mutex::new),
        }
    }

    /// The time, for clocks to share.
    pub(crate) fn time(&self) -> &Arc<AtomicU64> {
        &self.time
    }

    pub(super) fn now(&self) -> u64 {
        self.time.load(Ordering::Relaxed)
    }

    pub(super) fn spawn(&self, task: BoxTask) {
        if local::runs(self.id) {
            local::spawn(task);
            self.born();
        } else {
            self.spawn_elsewhere(task);
        }
    }

    #[cold]
    fn spawn_elsewhere(&self, task: BoxTask) {
        if self.ended.load(Ordering::Acquire) {
            // Whoever joins it learns that it was cancelled.
            drop(task);
        } else {
            self.foreign.post(self.id, |inbox| inbox.spawned.push(task));
        }
    }

    /// The run is over, and closed to other threads: those of them that wait for it hear so.
    #[inline]
    pub(super) fn tell_other_threads(&self) {
        if self.idle.is_awaited() || self.away.is_used() {
            self.wake_other_threads();
        }
    }

    #[cold]
    fn wake_other_threads(&self) {
        let idle = self.idle.take().into_iter().map(|(_, waker)| waker);
        let asleep = self.away.take_wakers();
        for waker in idle.chain(asleep) {
            panics::contain(|| waker.wake());
        }
    }

    /// A task has come to the simulation's thread.
    fn born(&self) {
        self.live.store(self.live_tasks() + 1, Ordering::Relaxed);
    }

    /// One of the tasks has ended.
    pub(super) fn died(&self) {
        let left = self.live_tasks().saturating_sub(1);
        self.live.store(left, Ordering::Relaxed);
    }

    /// None of the tasks is left.
    pub(super) fn all_died(&self) {
        self.live.store(0, Ordering::Relaxed);
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

    /// Whether events are remembered.
    pub(super) fn is_recorded(&self) -> bool {
        self.history.is_some()
    }

    pub(super) fn take_history(&self) -> History {
        let taken = |history: &Mutex<History>| core::mem::take(&mut *history.lock());
        self.history.as_ref().map(taken).unwrap_or_default()
    }

    pub(super) fn live_tasks(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    pub(super) fn current(&self) -> u64 {
        self.current.load(Ordering::Relaxed)
    }
}

/// Time at its start: that of the thread's last run, unless a clock holds it still.
fn fresh_time() -> Arc<AtomicU64> {
    thread_local! {
        static LAST: RefCell<Arc<AtomicU64>> = RefCell::default();
    }
    let fresh = || Arc::new(AtomicU64::new(START));
    LAST.try_with(|last| {
        let mut last = last.borrow_mut();
        match Arc::get_mut(&mut last) {
            Some(time) => *time.get_mut() = START,
            None => *last = fresh(),
        }
        last.clone()
    })
    .unwrap_or_else(|_| fresh())
}

#[cold]
fn remember(history: &Mutex<History>, event: impl FnOnce() -> Event) {
    let event = event();
    history.lock().push(event);
}

/// Runs start a second after the origin, so that a test can look at earlier instants.
pub(super) const START: u64 = 1_000_000_000;
