//! Waiting for a future on a plain thread.

use core::fmt;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::Thread;

#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std"))]
use crate::adapter;
use crate::ambient::{self, Blocking};

/// Parks the calling thread until `future` is ready.
///
/// It drives that one future and no runtime: tasks and timers belong to the runtime that the
/// future's own handles name, which must run elsewhere.
///
/// # Errors
/// Refused before the first poll where blocking might stop what it waits for, and the future is
/// dropped: see [`BlockOnError`].
///
/// # What is not told
/// Inside of these nobody says that the thread must not block, so it blocks, for ever if what it
/// waits for needs this thread:
///
/// - a task of any other executor than tokio's, `smol::spawn`'s and async-std's, such as one of
///   your own, unless a [`Handle`](crate::Handle) started it;
/// - the `block_on` of any other crate than tokio and async-std, such as `smol`, `futures` or
///   `pollster`, on a thread of your own;
/// - tokio, smol or async-std where the feature of that name is off, or the program has another
///   major version of it;
/// - whatever polls futures inside of a closure of
///   [`Handle::spawn_blocking`](crate::Handle::spawn_blocking), but for a `block_on` of this crate.
///
/// ```
/// assert_eq!(flow_rt::block_on(async { 1 + 1 }), Ok(2));
/// ```
pub fn block_on<F: Future>(future: F) -> Result<F::Output, BlockOnError> {
    check()?;
    #[cfg(feature = "sim")]
    if ambient::blocking() == Blocking::Allowed
        && let Some(counted_by) = ambient::counted_by()
        && let Some(stepped) = counted_by.as_stepped()
    {
        // The closure that waits here must not keep time from moving.
        return Ok(drive(stepped.lend(future)));
    }
    Ok(drive(future))
}

fn drive<F: Future>(future: F) -> F::Output {
    let _driving = ambient::set_blocking(Blocking::Driving);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        // A wake between the poll and here leaves a token: park returns at once.
        std::thread::park();
    }
}

fn check() -> Result<(), BlockOnError> {
    if ambient::in_simulation() {
        return Err(BlockOnError::InSimulation);
    }
    match ambient::blocking() {
        Blocking::Allowed => Ok(()),
        Blocking::Driving => Err(BlockOnError::Nested),
        #[cfg(feature = "tokio")]
        _ if adapter::tokio::is_inside() => Err(BlockOnError::InsideRuntime { name: "tokio" }),
        Blocking::Polling => Err(BlockOnError::InsideTask),
        #[cfg(feature = "async-std")]
        Blocking::Unknown if adapter::async_std::in_task() => {
            Err(BlockOnError::InsideRuntime { name: "async-std" })
        }
        #[cfg(feature = "smol")]
        Blocking::Unknown if adapter::smol::on_executor_thread() => {
            Err(BlockOnError::InsideRuntime { name: "smol" })
        }
        Blocking::Unknown => Ok(()),
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Why [`block_on`] would not block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockOnError {
    /// Inside a simulation: one thread runs everything, so the wait would never end.
    InSimulation,
    /// Inside another `block_on` of this thread.
    Nested,
    /// Inside a task that was spawned by a [`Handle`](crate::Handle).
    InsideTask,
    /// On a thread that is inside of a runtime, in whose tasks it must not block. Closures of
    /// [`Handle::spawn_blocking`](crate::Handle::spawn_blocking) may; what else is refused:
    ///
    /// - Inside of tokio, everything: its tasks and its `block_on`, but also closures of its own
    ///   `spawn_blocking` and `block_in_place`, and a plain thread for as long as it holds the
    ///   guard of its `enter`. tokio does not tell these apart.
    /// - In a task of async-std's, and inside of its `block_on`. Its own `spawn_blocking` may
    ///   block.
    /// - On the threads of smol's global executor, `smol::spawn`'s. `smol::unblock` may block.
    InsideRuntime {
        /// The runtime.
        name: &'static str,
    },
}

impl fmt::Display for BlockOnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InSimulation => f.write_str(
                "block_on inside a simulation would stop the only thread; await the future instead",
            ),
            Self::Nested => f.write_str(
                "block_on inside another block_on of this thread; await the future instead",
            ),
            Self::InsideTask => f.write_str(
                "block_on inside a task would stop a thread of its runtime, perhaps the only one; \
                 await the future, or block inside `Handle::spawn_blocking`",
            ),
            Self::InsideRuntime { name } => write!(
                f,
                "block_on on a thread that is inside of the {name} runtime could stop what it \
                 waits for; await the future, or block inside `Handle::spawn_blocking`"
            ),
        }
    }
}

impl std::error::Error for BlockOnError {}
