//! A simulation to run: its seed and its options.

use core::cell::RefCell;
use core::future::Future;
use core::ops::Range;
use core::panic::Location;
use core::time::Duration;
use std::time::SystemTime;

use super::executor::{self, Extras};
use super::explore::Guide;
use super::failure::Failure;
use super::{Explored, Order, Report, Sim, Stall, Verdict, check, twice};

/// What is done about something that a run left or nobody looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// It fails the run.
    Fail,
    /// It stands in the [`Report`].
    Report,
}

/// A simulation to run: its seed and its options.
///
/// Options hold for every run of [`check`](Self::check), [`run_twice`](Self::run_twice) and
/// [`exhaustive`](Self::exhaustive).
///
/// ```
/// use std::time::Duration;
/// use flow_rt::sim::{Order, Policy, Sim};
///
/// Sim::builder()
///     .order(Order::Pct { depth: 3 })
///     .leaks(Policy::Fail)
///     .poll_cost(Duration::from_micros(10))
///     .check(0..100, |rt| async move {
///         rt.spawn(async {}).await.unwrap();
///     });
/// ```
#[derive(Debug, Clone)]
#[must_use = "a simulation does nothing until it is run"]
pub struct SimBuilder {
    pub(super) seed: u64,
    pub(super) order: Order,
    pub(super) choices: Option<Vec<u32>>,
    pub(super) allow_threads: bool,
    pub(super) livelock_polls: u64,
    pub(super) max_polls: u64,
    pub(super) max_time: u64,
    pub(super) leaks: Policy,
    pub(super) task_panics: Policy,
    pub(super) wall: SystemTime,
    pub(super) poll_cost: u64,
    pub(super) blocking_cost: u64,
    pub(super) stalls: Vec<Stall>,
}

/// What is run, and in which order.
impl SimBuilder {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            order: Order::Random,
            choices: None,
            allow_threads: false,
            livelock_polls: 1_000_000,
            max_polls: 100_000_000,
            max_time: u64::MAX,
            leaks: Policy::Report,
            task_panics: Policy::Fail,
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600),
            poll_cost: 0,
            blocking_cost: 0,
            stalls: Vec::new(),
        }
    }

    /// The seed of all of the run's choices.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How the next task is picked; by the seed unless chosen otherwise.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Picks by these choices, as a failure of [`exhaustive`](Self::exhaustive) prints them: at
    /// each pick among two or more ready tasks the index of the one to take, in the order in
    /// which they became ready. Behind the last one, the first task is taken.
    pub fn choices(mut self, choices: impl IntoIterator<Item = u32>) -> Self {
        self.choices = Some(choices.into_iter().collect());
        self
    }

    /// Lets other threads wake tasks and spawn them. The run waits for them instead of reporting
    /// a deadlock, and is no longer reproducible.
    pub fn allow_threads(mut self) -> Self {
        self.allow_threads = true;
        self
    }
}

/// When a run fails.
impl SimBuilder {
    /// Polls allowed while time stands still before the run counts as a livelock; 1 million
    /// unless set. With a [`poll_cost`](Self::poll_cost) time never stands still.
    pub fn livelock_polls(mut self, polls: u64) -> Self {
        self.livelock_polls = polls;
        self
    }

    /// Polls allowed in all, so that a run that goes on for ever ends; 100 million unless set.
    pub fn max_polls(mut self, polls: u64) -> Self {
        self.max_polls = polls;
        self
    }

    /// Virtual time allowed to the root; without a limit unless set. What its last poll costs does
    /// not count.
    pub fn max_time(mut self, limit: Duration) -> Self {
        self.max_time = nanos(limit);
        self
    }

    /// What is done about tasks and timers that are left when the root has ended;
    /// [`Policy::Report`] unless set.
    ///
    /// Tasks that are ready may first run on, while time stands still, so whoever is told to
    /// stop by the root's end may stop.
    pub fn leaks(mut self, policy: Policy) -> Self {
        self.leaks = policy;
        self
    }

    /// What is done about a task that panics while nobody joins it; [`Policy::Fail`] unless
    /// set. A panic that comes out of a join is the joiner's business, and one of the root goes
    /// through to the caller.
    pub fn task_panics(mut self, policy: Policy) -> Self {
        self.task_panics = policy;
        self
    }
}

/// What the simulated machine is like.
impl SimBuilder {
    /// Where the wall clock starts; 2026-01-01 00:00 UTC unless set.
    pub fn wall_clock(mut self, start: SystemTime) -> Self {
        self.wall = start;
        self
    }

    /// Lets every poll take so much time. Time still stands still during the poll, and moves
    /// after it; without it, only waiting takes time. Polls after the root's end take none.
    pub fn poll_cost(mut self, cost: Duration) -> Self {
        self.poll_cost = nanos(cost);
        self
    }

    /// Lets every closure of `spawn_blocking` take so much time, while tasks go on. The closure
    /// runs, as one step, at the end of it.
    pub fn blocking_cost(mut self, cost: Duration) -> Self {
        self.blocking_cost = nanos(cost);
        self
    }

    /// Stalls tasks. Of several rules the first one that is for a task and strikes counts.
    pub fn stall(mut self, stall: Stall) -> Self {
        self.stalls.push(stall);
        self
    }
}

/// Running.
impl SimBuilder {
    /// Runs `root` to its end, then drops what is left of its tasks, inside the simulation.
    ///
    /// The root future need not be `Send`. A panic of the root goes through to the caller.
    ///
    /// # Errors
    /// [`Failure`], with the names and places of the tasks that are to blame.
    #[track_caller]
    pub fn run<F, Fut>(self, root: F) -> Result<Report<Fut::Output>, Failure>
    where
        F: FnOnce(Sim) -> Fut,
        Fut: Future,
    {
        let told = self.choices.clone().map(Guide::new).map(RefCell::new);
        let extras = Extras {
            guide: told.as_ref(),
            history: None,
        };
        executor::run(&self, extras, Location::caller(), root)
    }

    /// Runs a test twice and compares the runs event by event: spawns with their names and
    /// places, polls, wakes, timers, time. Finds what a simulation cannot make deterministic:
    /// the order of a `HashMap`, real clocks, statics.
    ///
    /// # Errors
    /// [`Failure::Nondeterministic`] with the first event that differs and its neighbours; any
    /// other [`Failure`] of the first run.
    ///
    /// # Cost
    /// Two runs, and two more to name the events if they part behind the first million. Up to 110 MB
    /// for the first million events, and 8 MB for each million after that; after 67 million the
    /// trace is compared alone.
    #[track_caller]
    pub fn run_twice<F, Fut>(self, test: F) -> Result<Report<Fut::Output>, Failure>
    where
        F: Fn(Sim) -> Fut,
        Fut: Future,
    {
        twice::run(&self, Location::caller(), &test)
    }

    /// Runs a test once per seed; see [`sim::check`](super::check).
    #[track_caller]
    pub fn check<F, Fut>(self, seeds: Range<u64>, test: F)
    where
        F: Fn(Sim) -> Fut,
        Fut: Future,
        Fut::Output: Verdict,
    {
        check::seeds(&self, seeds, test);
    }

    /// Runs a test in every order; see [`sim::exhaustive`](super::exhaustive).
    #[track_caller]
    pub fn exhaustive<F, Fut>(self, limit: u64, test: F) -> Explored
    where
        F: Fn(Sim) -> Fut,
        Fut: Future,
        Fut::Output: Verdict,
    {
        check::orders(&self, limit, test)
    }
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}
