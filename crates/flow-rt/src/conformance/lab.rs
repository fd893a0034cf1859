//! What a case has at hand: the runtime, and a place to note the step it is at.

use core::future::Future;
use core::ops::Deref;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use flow_sync::sync::Mutex;

use crate::handle::Handle;
use crate::join::JoinHandle;

/// A case's answer: what was seen instead of what the contract says.
pub(super) type Verdict<T = ()> = Result<T, String>;

/// Ends the case as failed unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+));
        }
    };
}
pub(super) use ensure;

/// The runtime under test, as a handle that also knows which step the case is at.
#[derive(Clone)]
pub(super) struct Lab {
    handle: Handle,
    step: Step,
}

impl Lab {
    pub(super) fn new(handle: Handle, step: Step) -> Self {
        Self { handle, step }
    }

    /// Notes what the case waits for from here on: the watchdog names it.
    pub(super) fn step(&self, what: &'static str) {
        self.step.set(what);
    }

    /// Reports by how much a timer was late. No case fails by that.
    pub(super) fn late(&self, by: Duration) {
        let mut progress = self.step.0.lock();
        progress.lateness = progress.lateness.max(Some(by));
    }

    /// The note itself, for after the handle was given up.
    pub(super) fn clone_step(&self) -> Step {
        self.step.clone()
    }

    /// Waits for a task that must end well.
    pub(super) async fn join<T>(&self, what: &'static str, task: JoinHandle<T>) -> Verdict<T> {
        self.step(what);
        task.await.map_err(|why| format!("{what}: {why}"))
    }

    /// Waits for a timer that must fire.
    pub(super) async fn fired(
        &self,
        what: &'static str,
        timer: impl Future<Output = Result<(), crate::Stopped>>,
    ) -> Verdict {
        self.step(what);
        timer.await.map_err(|why| format!("{what}: {why}"))
    }

    /// Waits on the case's own thread.
    pub(super) fn block_on<T>(
        &self,
        what: &'static str,
        future: impl Future<Output = T>,
    ) -> Verdict<T> {
        self.step(what);
        crate::block_on(future).map_err(|why| format!("{what}: {why}"))
    }
}

impl Deref for Lab {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

/// How a subject is shut down.
pub(super) struct Ending(pub(super) Option<Box<dyn FnOnce() + Send>>);

impl Ending {
    /// Gives up the case's handle and shuts the runtime down.
    pub(super) fn shut_down(self, lab: Lab) {
        lab.step("the shutdown to return");
        drop(lab);
        if let Some(shut_down) = self.0 {
            shut_down();
        }
    }
}

/// The step a case is at, shared with its watchdog, and what it measured on its way.
#[derive(Clone)]
pub(super) struct Step(Arc<Mutex<Progress>>);

struct Progress {
    step: &'static str,
    /// Steps begun.
    count: u64,
    /// By how much the latest of the timers was late.
    lateness: Option<Duration>,
}

impl Step {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Progress {
            step: "the runtime to start",
            count: 0,
            lateness: None,
        })))
    }

    pub(super) fn set(&self, what: &'static str) {
        let mut progress = self.0.lock();
        progress.step = what;
        progress.count += 1;
    }

    pub(super) fn get(&self) -> &'static str {
        self.0.lock().step
    }

    pub(super) fn count(&self) -> u64 {
        self.0.lock().count
    }

    pub(super) fn lateness(&self) -> Option<Duration> {
        self.0.lock().lateness
    }
}

/// Polls a future once and returns what it said.
pub(super) fn poll_once<F: Future + Unpin>(future: &mut F) -> PollOnce<'_, F> {
    PollOnce(future)
}

pub(super) struct PollOnce<'f, F>(&'f mut F);

impl<F: Future + Unpin> Future for PollOnce<'_, F> {
    type Output = Poll<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Pin::new(&mut *self.0).poll(cx))
    }
}
