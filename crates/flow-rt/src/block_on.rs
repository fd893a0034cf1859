//! Waiting for a future on a plain thread.

use core::fmt;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::Thread;

use crate::ambient::{self, Blocking};

/// Parks the calling thread until `future` is ready.
///
/// It drives that one future and no runtime: tasks and timers belong to the runtime that the
/// future's own handles name, which must run elsewhere.
///
/// # Errors
/// Refused before the first poll where blocking would stop what it waits for, and the future is
/// dropped: see [`BlockOnError`].
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
        _ if tokio::runtime::Handle::try_current().is_ok() => {
            Err(BlockOnError::InsideRuntime { name: "tokio" })
        }
        Blocking::Polling => Err(BlockOnError::InsideTask),
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
    /// On a thread of a runtime, outside of its blocking closures.
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
                "block_on inside the {name} runtime would stop one of its threads; await the \
                 future, or block inside `Handle::spawn_blocking`"
            ),
        }
    }
}

impl std::error::Error for BlockOnError {}
