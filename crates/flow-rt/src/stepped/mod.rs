//! Real hosts in virtual time: tasks run on a real runtime, time is moved by hand.
//!
//! The [simulation](crate::sim) replaces the runtime, so that a seed decides who runs next. A
//! [`SteppedRuntime`] keeps the host and replaces its time alone: tasks run on the threads they
//! run on in production, beside whatever else the host does, and hours still pass in
//! microseconds. It knows of every task that was spawned through it whether it could go on, so
//! [`settle`](SteppedRuntime::settle) can say when all of them wait, and time moves only then.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(feature = "tokio")] {
//! use std::time::Duration;
//! use flow_rt::{Handle, SteppedRuntime};
//!
//! let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
//! let rt = SteppedRuntime::over(&Handle::tokio(tokio.handle().clone())?);
//!
//! tokio.block_on(async {
//!     let hour = Duration::from_secs(3_600);
//!     let alarm = rt.spawn(rt.sleep(hour));
//!     rt.advance(hour / 2).await;
//!     assert!(!alarm.is_finished());
//!     rt.advance(hour / 2).await;
//!     assert!(alarm.is_finished());
//! });
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # Two ways to move time
//! By hand, as above: the test itself is no task of the runtime, and nothing moves unless it
//! calls [`advance`](SteppedRuntime::advance). Or by [`run`](SteppedRuntime::run), which polls
//! the test as one of the counted tasks and moves time to the next timer whenever everybody
//! waits, as the simulation does; `advance` works inside it too. The macro
//! [`on_every_runtime!`](crate::on_every_runtime) instantiates suites that way.
//!
//! # What obeys it
//! Timers and `now` of its handles; [`Handle::current`](crate::Handle::current) and a
//! [`DefaultClock`](crate::DefaultClock) made in its tasks, in its blocking closures, inside
//! `run`, or under [`enter`](crate::Handle::enter). Two stepped runtimes do not mix, on one host
//! neither.
//!
//! # What it does not see
//! Tasks that were given to the host directly, plain threads, sockets, the host's own timers.
//! They are not waited for; a wake that comes from there counts from when it comes. A task that
//! never waits, because it yields for ever, keeps time standing and `settle` waiting. So does a
//! blocking closure until it returns, except while it waits in [`block_on`](crate::block_on);
//! and a host that nobody drives, as a current-thread tokio outside of its `block_on`.
//!
//! On tokio, tasks are polled without its budget. `tokio::task::yield_now` wakes its task only
//! when the worker has run the others, so for a moment it looks like one that waits; a yield that
//! wakes at once, as smol's and async-std's, is counted.

mod busy;
mod drive;
mod task;
mod world;

use core::fmt;
use core::future::Future;
use core::ops::Deref;
use core::time::Duration;
use std::sync::Arc;

pub(crate) use world::Stepped;

use crate::handle::Handle;
use crate::sim::Step;
use world::World;

/// A real runtime whose time is moved by hand: a [`Handle`] with control over time.
///
/// See the [module](self) for an example, and for what it sees and does not see. Clones are the
/// same runtime. It is a [`Handle`] by deref, to spawn on and to give to what is tested.
///
/// When the last clone is dropped nobody can move time any more, so timers that have not fired
/// end with [`Stopped`](crate::Stopped). Tasks stay the host's and run on.
///
/// # Cost
/// Beside the host's own two allocations per spawn, a few atomic operations per wake and per poll,
/// and a change of the current handle per poll: made for tests.
#[derive(Clone)]
pub struct SteppedRuntime {
    handle: Handle,
    control: Arc<Control>,
}

/// Held by those who can move time.
struct Control(Arc<World>);

impl SteppedRuntime {
    /// Time of its own over the runtime of `host`, whose tasks and closures it runs.
    ///
    /// It starts a second after the origin, its wall clock at 2026-01-01 00:00 UTC. The host
    /// must be a real one, driven by somebody: a simulation moves time by itself.
    pub fn over(host: &Handle) -> Self {
        let world = World::over(host.clone());
        Self {
            handle: world.handle(),
            control: Arc::new(Control(world)),
        }
    }

    /// Lets `by` of virtual time pass, with everything that comes due in it.
    ///
    /// From one due instant to the next, in order: it waits until nothing is busy, moves time
    /// there, and wakes all that is due (timers due at one instant in the order in which they
    /// were first polled). What those tasks do, a timer that they arm within `by` included,
    /// comes before anything that is due later. At the end it has settled.
    ///
    /// Time stops one nanosecond before [`Instant::FAR_FUTURE`](crate::Instant::FAR_FUTURE),
    /// which is never; a period that is armed again and again is followed up to there. `by`
    /// counts from this call, so calls at the same time overlap: time comes to the latest of
    /// their ends.
    ///
    /// # Cancel safety
    /// Time stays where it has come to.
    pub fn advance(&self, by: Duration) -> impl Future<Output = ()> + Send + use<'_> {
        let target = self.handle.now() + by;
        drive::advance_to(self.world(), target)
    }

    /// Waits, without moving time, until every task spawned here waits for something and no
    /// blocking closure runs.
    ///
    /// Called from such a task, or inside [`run`](Self::run), until all others do.
    ///
    /// # Cancel safety
    /// It takes nothing.
    pub async fn settle(&self) {
        self.world().busy.settled().await;
    }

    /// Runs `root` as one of the tasks, on the caller's thread, and moves time to the next timer
    /// whenever all of them wait: as in a simulation, nobody needs to call
    /// [`advance`](Self::advance).
    ///
    /// The future need not be `Send`. Await it where the host is driven: in the `block_on` of a
    /// current-thread runtime, anywhere for others. A panic of the root goes through. Where the
    /// simulation would report a deadlock this waits: a wake may come from outside.
    ///
    /// # Cancel safety
    /// Drops the root; time stays where it has come to.
    pub async fn run<F: Future>(&self, root: F) -> F::Output {
        drive::run(self.world(), root).await
    }

    /// Moves the wall clock by hand, leaving monotonic time alone, as a correction by the
    /// operator does.
    pub fn step_wall(&self, by: Duration, direction: Step) {
        self.world().time.step_wall(by, direction);
    }

    /// Suspends the machine: the wall clock moves on by `by`, monotonic time does not.
    pub fn suspend(&self, by: Duration) {
        self.step_wall(by, Step::Forward);
    }

    /// Tasks spawned and not ended, the root of [`run`](Self::run) not among them. Exact once
    /// settled: a task on another thread may have given its result and not quite ended.
    pub fn live_tasks(&self) -> usize {
        self.world().live_tasks()
    }

    fn world(&self) -> &Arc<World> {
        &self.control.0
    }
}

impl Deref for SteppedRuntime {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl fmt::Debug for SteppedRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteppedRuntime")
            .field("host", self.world().host())
            .field("now", &self.handle.now())
            .field("live_tasks", &self.live_tasks())
            .finish_non_exhaustive()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.0.stop();
    }
}
