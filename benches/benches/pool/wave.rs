//! Waves of tasks that are waited for together.

use core::future::{Future, poll_fn};
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Poll;
use core::time::Duration;

use flow_benches::timed;
use futures_util::task::AtomicWaker;
use tokio::runtime::Runtime;

/// Tasks that are out at a time.
pub(crate) const WAVE: u64 = 1000;

/// Counts the tasks of a wave down.
pub(crate) struct Wave {
    left: AtomicU64,
    waker: AtomicWaker,
}

impl Wave {
    pub(crate) const fn new() -> Self {
        Self {
            left: AtomicU64::new(0),
            waker: AtomicWaker::new(),
        }
    }

    pub(crate) fn begin(&self, tasks: u64) {
        self.left.store(tasks, Ordering::Relaxed);
    }

    pub(crate) fn arrive(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waker.wake();
        }
    }

    pub(crate) fn all_arrived(&self) -> impl Future<Output = ()> {
        poll_fn(|cx| {
            self.waker.register(cx.waker());
            if self.left.load(Ordering::Acquire) == 0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    }
}

/// Where the submitter of a row runs.
#[derive(Clone, Copy)]
pub(crate) enum Host<'r> {
    Tokio(&'r Runtime),
    Smol,
}

impl Host<'_> {
    /// Runs a submitter on a thread of its own, beside the host's.
    pub(crate) fn block_on(self, submitter: impl Future<Output = ()>) {
        match self {
            Self::Tokio(runtime) => runtime.block_on(submitter),
            Self::Smol => smol::future::block_on(submitter),
        }
    }

    /// How long so many waves take, one after the other.
    pub(crate) fn waves(self, n: u64, mut wave: impl AsyncFnMut()) -> Duration {
        timed(|| {
            self.block_on(async {
                for _ in 0..n {
                    wave().await;
                }
            });
        })
    }

    /// Starts a task the host's way, and lets it go.
    #[allow(clippy::disallowed_methods)] // the host is what is measured against
    pub(crate) fn spawn(self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Tokio(runtime) => drop(runtime.spawn(task)),
            Self::Smol => smol::spawn(task).detach(),
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tokio(_) => "tokio",
            Self::Smol => "smol",
        }
    }

    pub(crate) fn handle(self) -> flow_rt::Handle {
        match self {
            Self::Tokio(runtime) => crate::tokio_handle(runtime),
            Self::Smol => flow_rt::Handle::smol(),
        }
    }
}
