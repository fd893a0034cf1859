//! One suite of tests, every runtime, no sleeping.
//!
//! A case is an `async fn(rt: TestRuntime)`. [`on_every_runtime!`](crate::on_every_runtime)
//! makes a `#[test]` of it for each host whose feature is enabled, with tasks on that host and
//! time moved as needed ([`SteppedRuntime::run`](crate::SteppedRuntime::run)), and one in the
//! [simulation](crate::sim), where seeds decide the order. So what waits for an hour takes
//! no time anywhere, an exact instant may be asserted everywhere, and a race that needs real
//! threads is met as well as one that needs a rare order.
//!
//! ```
//! use std::time::Duration;
//! use flow_rt::TestRuntime;
//!
//! async fn a_retry_waits_a_minute(rt: TestRuntime) {
//!     let minute = Duration::from_secs(60);
//!     let retry = rt.spawn(rt.sleep(minute));
//!     rt.advance(minute - Duration::from_nanos(1)).await;
//!     assert!(!retry.is_finished());
//!     retry.await.unwrap().unwrap(); // nothing else can go on, so time moves by itself
//! }
//!
//! async fn a_result_is_a_verdict(rt: TestRuntime) -> Result<(), flow_rt::JoinError> {
//!     assert_eq!(rt.spawn(async { 6 * 7 }).await?, 42);
//!     Ok(())
//! }
//!
//! flow_rt::on_every_runtime! { a_retry_waits_a_minute, a_result_is_a_verdict }
//! # fn main() {}
//! ```
//!
//! That gives the tests `a_retry_waits_a_minute::tokio_multi_thread`, `…::tokio_current_thread`,
//! `…::smol`, `…::async_std` and `…::sim`. The feature `sim` is all it needs beside the hosts'.
//! A runtime of your own takes part by [`on`].

mod hosts;

use core::fmt;
use core::ops::Deref;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

pub use hosts::on;
#[doc(hidden)]
#[cfg(feature = "async-std")]
pub use hosts::on_async_std;
#[doc(hidden)]
pub use hosts::on_sim;
#[doc(hidden)]
#[cfg(feature = "smol")]
pub use hosts::on_smol;
#[doc(hidden)]
#[cfg(feature = "tokio")]
pub use hosts::{on_tokio_current_thread, on_tokio_multi_thread};

use crate::handle::Handle;
use crate::sim::{Sim, Step};
use crate::stepped::SteppedRuntime;

/// The runtime that a case runs on: a [`Handle`] in virtual time, real host or simulation.
///
/// Time moves by itself to the next timer whenever all tasks wait, the case itself among them.
#[derive(Clone)]
pub struct TestRuntime(Kind);

#[derive(Clone)]
enum Kind {
    Stepped(SteppedRuntime),
    Sim(Sim),
}

impl TestRuntime {
    /// Lets `by` of virtual time pass, with everything that comes due in it, then settles.
    ///
    /// # Cancel safety
    /// Time stays where it has come to.
    pub async fn advance(&self, by: Duration) {
        match &self.0 {
            Kind::Stepped(rt) => rt.advance(by).await,
            Kind::Sim(rt) => rt.advance(by).await,
        }
    }

    /// Waits, without time moving, until every other task waits for something.
    ///
    /// # Cancel safety
    /// It takes nothing.
    pub async fn settle(&self) {
        match &self.0 {
            Kind::Stepped(rt) => rt.settle().await,
            Kind::Sim(rt) => rt.run_until_idle().await,
        }
    }

    /// Moves the wall clock by hand, leaving monotonic time alone.
    pub fn step_wall(&self, by: Duration, direction: Step) {
        match &self.0 {
            Kind::Stepped(rt) => rt.step_wall(by, direction),
            Kind::Sim(rt) => rt.step_wall(by, direction),
        }
    }

    /// Suspends the machine: the wall clock moves on by `by`, monotonic time does not.
    pub fn suspend(&self, by: Duration) {
        self.step_wall(by, Step::Forward);
    }

    /// Says that the case plans panics of tasks which nobody joins. Real hosts contain them
    /// anyhow; the simulation would fail the run.
    pub fn allow_task_panics(&self) {
        if let Kind::Sim(rt) = &self.0 {
            rt.allow_task_panics();
        }
    }

    /// Tasks spawned and not ended, without the case itself; exact once settled.
    pub fn live_tasks(&self) -> usize {
        match &self.0 {
            Kind::Stepped(rt) => rt.live_tasks(),
            Kind::Sim(rt) => rt.live_tasks(),
        }
    }

    /// The simulation, if this is one: for what only a seeded order can assert.
    pub fn as_sim(&self) -> Option<&Sim> {
        match &self.0 {
            Kind::Stepped(_) => None,
            Kind::Sim(rt) => Some(rt),
        }
    }
}

impl From<SteppedRuntime> for TestRuntime {
    fn from(rt: SteppedRuntime) -> Self {
        Self(Kind::Stepped(rt))
    }
}

impl From<Sim> for TestRuntime {
    fn from(rt: Sim) -> Self {
        Self(Kind::Sim(rt))
    }
}

impl Deref for TestRuntime {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        match &self.0 {
            Kind::Stepped(rt) => rt,
            Kind::Sim(rt) => rt,
        }
    }
}

impl fmt::Debug for TestRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Stepped(rt) => rt.fmt(f),
            Kind::Sim(rt) => rt.fmt(f),
        }
    }
}

/// Instantiates the cases of a suite on every runtime that is enabled, and in the simulation.
///
/// A case is the name of an `async fn(rt: TestRuntime)` of the surrounding module, which may
/// return a `Result`. Each becomes a module of that name with a `#[test]` per runtime:
/// `tokio_multi_thread` (two workers), `tokio_current_thread`, `smol`, `async_std`, as far as
/// flow-rt's features enable them, and `sim` over several seeds, 0 to 19 unless the macro is told
/// otherwise. Attributes before the name are those of its tests. See [`suite`](crate::suite).
///
/// `hosts only;` in place of the seeds leaves the simulation out: for cases that wait for what no
/// simulation contains, a server or a thread of a library. On a host time stands while such an
/// answer is all that is waited for; a timer that is armed beside it comes first.
///
/// A failure names the case and the runtime; in the simulation also the seed, to be replayed
/// with `FLOW_SIM_SEED`.
///
/// ```
/// # use flow_rt::TestRuntime;
/// # async fn one(_: TestRuntime) {}
/// # async fn other(_: TestRuntime) {}
/// flow_rt::on_every_runtime! {
///     seeds 0..100;
///     one,
///     #[cfg(not(miri))]
///     other,
/// }
/// # async fn asks_a_server(_: TestRuntime) {}
/// flow_rt::on_every_runtime! { hosts only; asks_a_server }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! on_every_runtime {
    (hosts only; $($(#[$attribute:meta])* $case:ident),+ $(,)?) => {
        $(mod $case {
            $crate::__on_every_host! { $(#[$attribute])* $case }
        })+
    };
    (seeds $seeds:expr; $($(#[$attribute:meta])* $case:ident),+ $(,)?) => {
        $(mod $case {
            $crate::__on_every_host! { $(#[$attribute])* $case }
            $(#[$attribute])* #[test]
            fn sim() {
                $crate::suite::on_sim(::core::stringify!($case), $seeds, super::$case);
            }
        })+
    };
    ($($(#[$attribute:meta])* $case:ident),+ $(,)?) => {
        $crate::on_every_runtime! { seeds 0..20; $($(#[$attribute])* $case),+ }
    };
}

/// A test of the case per real host, for the module of the case.
#[doc(hidden)]
#[macro_export]
macro_rules! __on_every_host {
    ($(#[$attribute:meta])* $case:ident) => {
        $crate::__with_tokio! {
            $(#[$attribute])* #[test]
            fn tokio_multi_thread() {
                $crate::suite::on_tokio_multi_thread(::core::stringify!($case), super::$case);
            }
            $(#[$attribute])* #[test]
            fn tokio_current_thread() {
                $crate::suite::on_tokio_current_thread(::core::stringify!($case), super::$case);
            }
        }
        $crate::__with_smol! {
            $(#[$attribute])* #[test]
            fn smol() {
                $crate::suite::on_smol(::core::stringify!($case), super::$case);
            }
        }
        $crate::__with_async_std! {
            $(#[$attribute])* #[test]
            fn async_std() {
                $crate::suite::on_async_std(::core::stringify!($case), super::$case);
            }
        }
    };
}

// The features that count are this crate's, not those of the crate that the macro expands in: so
// each host's part goes through a macro that passes it on or drops it.

#[doc(hidden)]
#[macro_export]
#[cfg(feature = "tokio")]
macro_rules! __with_tokio {
    ($($part:tt)*) => { $($part)* };
}

#[doc(hidden)]
#[macro_export]
#[cfg(not(feature = "tokio"))]
macro_rules! __with_tokio {
    ($($part:tt)*) => {};
}

#[doc(hidden)]
#[macro_export]
#[cfg(feature = "smol")]
macro_rules! __with_smol {
    ($($part:tt)*) => { $($part)* };
}

#[doc(hidden)]
#[macro_export]
#[cfg(not(feature = "smol"))]
macro_rules! __with_smol {
    ($($part:tt)*) => {};
}

#[doc(hidden)]
#[macro_export]
#[cfg(feature = "async-std")]
macro_rules! __with_async_std {
    ($($part:tt)*) => { $($part)* };
}

#[doc(hidden)]
#[macro_export]
#[cfg(not(feature = "async-std"))]
macro_rules! __with_async_std {
    ($($part:tt)*) => {};
}

/// Says which case failed where, and lets the panic go on.
fn named<T>(case: &str, runtime: &str, run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        #[allow(clippy::print_stderr)] // what a developer looks for
        {
            eprintln!("{case} failed on {runtime}");
        }
        resume_unwind(panic)
    })
}
