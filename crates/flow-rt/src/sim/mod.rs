//! Deterministic virtual time: one thread, seeded interleavings, a clock that jumps.
//!
//! Code written against a [`Handle`] runs here unchanged. Time stands still while anything can
//! run and jumps to the next timer when nothing can, so a simulated day takes microseconds.
//! Among the tasks that are ready the seed picks the next one to poll: one seed is one
//! interleaving, and the same seed is the same run, on every machine.
//!
//! ```
//! use std::time::Duration;
//! use flow_rt::sim;
//!
//! sim::check(0..100, |rt| async move {
//!     let before = rt.now();
//!     let task = rt.spawn({
//!         let rt = rt.clone();
//!         async move { rt.sleep(Duration::from_secs(3_600)).await }
//!     });
//!     task.await.unwrap();
//!     assert_eq!(rt.now() - before, Duration::from_secs(3_600));
//! });
//! ```
//!
//! `FLOW_SIM_SEED=17` replays one seed of every [`check`]; `FLOW_SIM_RUNS=10000` widens the
//! range. A failure prints the line that replays it.
//!
//! Real timers and other threads do not belong in here: a wake from another thread fails the
//! run (see [`SimBuilder::allow_threads`]), and a task that waits for a real timer shows up in
//! the report of a deadlock.

mod check;
mod executor;
mod failure;
mod idle;
mod rng;
mod runtime;

use core::fmt;
use core::future::Future;
use core::ops::Deref;
use core::time::Duration;
use std::sync::Arc;
use std::time::SystemTime;

pub use check::{Verdict, check};
pub use failure::{Failure, Report, TaskReport};
pub use rng::SimRng;

use crate::handle::Handle;
use crate::virtual_time;
use idle::UntilIdle;
use runtime::World;

/// The running simulation: a [`Handle`] with control over time.
#[derive(Clone)]
pub struct Sim {
    handle: Handle,
    world: Arc<World>,
}

impl Sim {
    /// A simulation to configure and run.
    #[allow(clippy::new_ret_no_self)] // the simulation exists while it runs; this describes one
    pub fn new(seed: u64) -> SimBuilder {
        SimBuilder {
            seed,
            order: Order::Random,
            allow_threads: false,
            livelock_polls: 1_000_000,
            wall: virtual_time::default_wall(),
        }
    }

    /// Waits for virtual time to pass. Other tasks run meanwhile.
    pub async fn sleep(&self, delay: Duration) {
        // Fails only when the run has ended, and then nothing is polled any more.
        let _ = self.handle.sleep(delay).await;
    }

    /// Lets `by` of virtual time pass, with everything that comes due in it.
    pub async fn advance(&self, by: Duration) {
        self.sleep(by).await;
        self.run_until_idle().await;
    }

    /// Waits, without time passing, until every other task is waiting for something.
    pub async fn run_until_idle(&self) {
        UntilIdle::new(&self.world).await;
    }

    /// The seeded random numbers of this run, for the test's own choices.
    pub fn rng(&self) -> SimRng {
        self.world.fork_rng()
    }

    /// Moves the wall clock by hand, leaving monotonic time alone, as a correction by the
    /// operator does.
    pub fn step_wall(&self, by: Duration, direction: Step) {
        self.world.time.step_wall(by, direction);
    }

    /// Suspends the machine: the wall clock moves on by `by`, monotonic time does not.
    pub fn suspend(&self, by: Duration) {
        self.world.time.step_wall(by, Step::Forward);
    }

    /// Tasks spawned and not ended.
    pub fn live_tasks(&self) -> usize {
        self.world.live_tasks()
    }
}

impl Deref for Sim {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("now", &self.handle.now())
            .field("live_tasks", &self.live_tasks())
            .finish_non_exhaustive()
    }
}

/// Which way the wall clock is stepped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // a clock has two directions
pub enum Step {
    /// Into the future.
    Forward,
    /// Into the past.
    Backward,
}

/// How the next task is picked among those that are ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Order {
    /// By the seed.
    #[default]
    Random,
    /// In the order in which they became ready.
    Fifo,
}

/// A simulation to run: its seed and its options.
#[derive(Debug, Clone)]
#[must_use = "a simulation does nothing until it is run"]
pub struct SimBuilder {
    seed: u64,
    order: Order,
    allow_threads: bool,
    livelock_polls: u64,
    wall: SystemTime,
}

impl SimBuilder {
    /// How the next task is picked; by the seed unless chosen otherwise.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Lets other threads wake tasks. The run waits for them instead of reporting a deadlock,
    /// and is no longer reproducible.
    pub fn allow_threads(mut self) -> Self {
        self.allow_threads = true;
        self
    }

    /// Polls allowed while time stands still before the run counts as a livelock; 1 million
    /// unless set.
    pub fn livelock_polls(mut self, polls: u64) -> Self {
        self.livelock_polls = polls;
        self
    }

    /// Where the wall clock starts; 2026-01-01 00:00 UTC unless set.
    pub fn wall_clock(mut self, start: SystemTime) -> Self {
        self.wall = start;
        self
    }

    /// Runs `root` to its end, then drops what is left of its tasks, inside the simulation.
    ///
    /// The root future need not be `Send`. A panic of the root goes through to the caller.
    ///
    /// # Errors
    /// [`Failure`]: a deadlock, a livelock, a wake from another thread, or a simulation inside
    /// a simulation.
    pub fn run<F, Fut>(self, root: F) -> Result<Report<Fut::Output>, Failure>
    where
        F: FnOnce(Sim) -> Fut,
        Fut: Future,
    {
        executor::run(&self, root)
    }
}
