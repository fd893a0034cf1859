//! The running simulation, as a test holds it.

use core::fmt;
use core::future::Future;
use core::ops::Deref;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::Arc;

use super::config::SimBuilder;
use super::idle::UntilIdle;
use super::rng::SimRng;
use super::runtime::{SimRuntime, Sleep};
use super::wall::Step;
use super::world::World;
use crate::handle::Handle;

/// The running simulation: a [`Handle`] with control over time.
#[derive(Clone)]
pub struct Sim {
    /// That of the simulation.
    handle: Handle,
}

impl Sim {
    /// A simulation to configure and run.
    #[allow(clippy::new_ret_no_self)] // the simulation exists while it runs; this describes one
    pub fn new(seed: u64) -> SimBuilder {
        SimBuilder::new(seed)
    }

    /// A simulation to configure and run over several seeds or orders.
    pub fn builder() -> SimBuilder {
        SimBuilder::new(0)
    }

    pub(super) fn new_inside(world: Arc<World>) -> Self {
        Self {
            handle: Handle::of_simulation(SimRuntime(world)),
        }
    }

    /// What the handle holds; a reference of its own would be counted with every clone.
    #[inline]
    fn world(&self) -> &World {
        match self.handle.simulated() {
            Some(world) => world,
            None => unreachable!("the handle was made of a simulation"),
        }
    }

    /// Waits for virtual time to pass, from its first poll on. Other tasks run meanwhile.
    pub fn sleep(&self, delay: Duration) -> impl Future<Output = ()> + Send {
        // In this future, where the handle's would be boxed.
        Sleep::new(self.world(), delay)
    }

    /// Lets `by` of virtual time pass, with everything that comes due in it.
    pub async fn advance(&self, by: Duration) {
        self.sleep(by).await;
        self.run_until_idle().await;
    }

    /// Waits, without time passing, until every other task is waiting for something.
    pub async fn run_until_idle(&self) {
        UntilIdle::new(self.world()).await;
    }

    /// The seeded random numbers of this run, for the test's own choices: each call starts a
    /// stream of its own.
    pub fn rng(&self) -> SimRng {
        self.world().fork_rng()
    }

    /// Moves the wall clock by hand, leaving monotonic time alone, as a correction by the
    /// operator does. It saturates at the years 1677 and 2262.
    pub fn step_wall(&self, by: Duration, direction: Step) {
        self.world().wall.lock().step(by, direction);
    }

    /// Suspends the machine: the wall clock moves on by `by`, monotonic time does not.
    pub fn suspend(&self, by: Duration) {
        self.step_wall(by, Step::Forward);
    }

    /// Lets the wall clock run fast (or slow, with a negative number) from now on, by so many
    /// millionths, as time synchronization does to correct it without a step. Zero ends that.
    ///
    /// At -1 000 000 it stands still; below that it runs backward.
    pub fn slew_wall(&self, ppm: i32) {
        self.world().wall.lock().slew(self.world().now(), ppm);
    }

    /// From now on a panic of a task that nobody joins does not fail the run, as if it had been
    /// built with [`task_panics(Policy::Report)`](super::SimBuilder::task_panics): for tests that
    /// plan such panics.
    pub fn allow_task_panics(&self) {
        self.world().panics.allowed.store(true, Ordering::Relaxed);
    }

    /// Tasks spawned and not ended.
    pub fn live_tasks(&self) -> usize {
        self.world().live_tasks()
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
