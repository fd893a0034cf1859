//! A runtime of a user's own on async-executor: given by value, shut down by its last handle.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_executor::Executor;
use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Instant, Runtime};
use tokio::sync::watch;

pub(crate) struct MyRuntime {
    executor: Arc<Executor<'static>>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl MyRuntime {
    pub(crate) fn start() -> Self {
        let executor = Arc::new(Executor::new());
        let (stop, stopped) = watch::channel(false);
        let worker = || {
            let (executor, mut stopped) = (executor.clone(), stopped.clone());
            thread::spawn(move || {
                let stopped = stopped.wait_for(|stopped| *stopped);
                drop(async_io::block_on(executor.run(stopped)));
            })
        };
        let threads = vec![worker(), worker()];
        Self {
            executor,
            stop,
            threads,
        }
    }
}

impl Drop for MyRuntime {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A task may have held the last handle: then one of the threads is this one.
            if thread.thread().id() != thread::current().id() {
                thread.join().unwrap();
            }
        }
    }
}

impl Runtime for MyRuntime {
    fn spawn(&self, task: BoxTask) {
        self.executor.spawn(task).detach();
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        thread::spawn(job);
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        BoxTimer::from_sleep(at, |at| async move {
            match at.to_std() {
                Some(at) => drop(async_io::Timer::at(at).await),
                None => std::future::pending().await,
            }
        })
    }

    fn name(&self) -> &'static str {
        "async-executor"
    }
}
