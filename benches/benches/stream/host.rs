//! What tasks run on: the same for every contender.

use core::future::Future;
use core::time::Duration;

use flow_benches::timed;
use tokio::runtime::{Builder, Runtime};

/// tokio with so many workers.
pub(crate) fn workers(threads: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .expect("threads can be started")
}

/// Threads that run tasks.
#[derive(Clone, Copy)]
pub(crate) enum Host<'a> {
    Tokio(&'a Runtime),
    Smol(&'static smol::Executor<'static>),
}

/// A task's end.
pub(crate) enum Join<T> {
    Tokio(tokio::task::JoinHandle<T>),
    Smol(smol::Task<T>),
}

impl Host<'_> {
    /// smol's executor with so many threads.
    pub(crate) fn smol(threads: usize) -> Self {
        let executor: &'static smol::Executor<'static> = Box::leak(Box::default());
        for _ in 0..threads {
            std::thread::spawn(|| smol::block_on(executor.run(core::future::pending::<()>())));
        }
        Self::Smol(executor)
    }

    #[allow(clippy::disallowed_methods)] // the host itself is measured
    pub(crate) fn spawn<T: Send + 'static>(
        self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Join<T> {
        match self {
            Self::Tokio(runtime) => Join::Tokio(runtime.spawn(task)),
            Self::Smol(executor) => Join::Smol(executor.spawn(task)),
        }
    }

    pub(crate) fn block_on<T>(self, future: impl Future<Output = T>) -> T {
        match self {
            Self::Tokio(runtime) => runtime.block_on(future),
            Self::Smol(_) => smol::block_on(future),
        }
    }

    /// How long `n` operations take, one after the other, in the task of `block_on`.
    pub(crate) fn alone<T>(self, n: u64, mut operation: impl AsyncFnMut(u64) -> T) -> Duration {
        timed(|| {
            self.block_on(async {
                for i in 0..n {
                    core::hint::black_box(operation(i).await);
                }
            });
        })
    }
}

impl<T> Join<T> {
    pub(crate) async fn join(self) -> T {
        match self {
            Self::Tokio(task) => task.await.expect("a task panicked"),
            Self::Smol(task) => task.await,
        }
    }
}
