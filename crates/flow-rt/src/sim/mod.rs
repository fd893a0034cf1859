//! Deterministic virtual time: one thread, seeded interleavings, a clock that jumps.
//!
//! Code written against a [`Handle`](crate::Handle) runs here unchanged. Time stands still while
//! anything can run and jumps to the next timer when nothing can, so a simulated day takes
//! microseconds. Among the tasks that are ready the seed picks the next one to poll: one seed is
//! one interleaving, and the same seed is the same run, on every machine.
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
//! The chapter [`guide`] shows how to test with it.
//!
//! | item | for |
//! |---|---|
//! | [`check`] | one test over many seeds; a failure prints the line that replays it |
//! | [`exhaustive`] | a small test in every order |
//! | [`Sim::new`], [`SimBuilder`] | one run, and the options of all of these |
//! | [`Order`] | how the next task is picked: by the seed, by priorities, in order |
//! | [`SimBuilder::run_twice`] | finds what makes a test nondeterministic, and names the event |
//! | [`Stall`], [`SimBuilder::poll_cost`], [`Sim::step_wall`], [`Sim::slew_wall`], [`Sim::suspend`] | machines that are slow, and clocks that lie |
//! | [`Report`], [`Failure`] | how a run ended: deadlock, livelock, leak, panic, with names and places |
//!
//! # Environment
//! `FLOW_SIM_SEED=17` replays one seed of every [`check`]; `FLOW_SIM_RUNS=10000` widens the
//! range; `FLOW_SIM_TWICE=1` compares two runs of every seed. `FLOW_SIM_CHOICES=2.0.1` replays
//! one order of [`exhaustive`].
//!
//! # What does not belong in here
//! Real timers, sockets and other threads. A wake from another thread fails the run with the
//! thread's name (see [`SimBuilder::allow_threads`]); a task that waits for a real timer shows up
//! in the report of a deadlock. Tokio's timers panic where no tokio is around, and the report says
//! what to use instead; its channels and locks work. `block_on` inside is an error, and so is a
//! simulation inside a simulation.

mod check;
mod config;
mod control;
mod executor;
mod explore;
mod failure;
mod foreign;
pub mod guide;
mod history;
mod idle;
mod local;
mod panics;
mod pick;
mod ready;
mod report;
mod rng;
mod runtime;
mod stall;
mod tasks;
mod timers;
mod twice;
mod waker;
mod wall;
mod world;

pub use check::{Verdict, check, exhaustive};
pub use config::{Policy, SimBuilder};
pub use control::Sim;
pub use explore::Explored;
pub use failure::{Failure, Limit};
pub use history::Difference;
pub use pick::Order;
pub use report::{Report, TaskPanic, TaskReport, TimerReport};
pub use rng::SimRng;
pub use stall::Stall;
pub use wall::Step;

pub(crate) use panics::Unheard;
pub(crate) use runtime::SimRuntime;
pub(crate) use world::World;
