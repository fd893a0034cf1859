//! A machine of its own inside a simulation: it can stand still, and with it its clock.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Handle, Instant, Runtime, sim::Sim};

/// Runs its tasks in a simulation, beside those of others, until it is frozen.
#[derive(Clone)]
pub(crate) struct Process {
    sim: Sim,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The time at which it was frozen.
    frozen: Option<Instant>,
    /// Those that were woken meanwhile.
    waiting: Vec<Waker>,
    /// So far its clock is behind that of the simulation.
    behind: Duration,
}

impl Process {
    pub(crate) fn new(sim: &Sim) -> Self {
        Self {
            sim: sim.clone(),
            state: Arc::default(),
        }
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::new(self.clone())
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.state.lock().unwrap().frozen.is_some()
    }

    /// Polls no task from now on.
    pub(crate) fn freeze(&self) {
        let now = self.sim.now();
        self.state.lock().unwrap().frozen.get_or_insert(now);
    }

    /// Goes on; if its clock stood still, from the time at which it was frozen.
    pub(crate) fn thaw(&self, clock_stood_still: bool) {
        let waiting = {
            let mut state = self.state.lock().unwrap();
            let Some(since) = state.frozen.take() else {
                return;
            };
            if clock_stood_still {
                state.behind += self.sim.now() - since;
            }
            core::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    fn behind(&self) -> Duration {
        self.state.lock().unwrap().behind
    }
}

impl Runtime for Process {
    fn spawn(&self, task: BoxTask) {
        let process = self.clone();
        self.sim.spawn_detached(Slice { process, task });
    }

    fn spawn_blocking(&self, _job: BoxBlocking) {
        unreachable!("nothing here blocks");
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        let process = self.clone();
        BoxTimer::from_sleep(at, move |at| {
            let process = process.clone();
            async move {
                while process.now() < at {
                    let at = at + process.behind();
                    process.sim.sleep_until(at).await.expect("it is alive");
                }
            }
        })
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.sim.now().as_nanos() - self.behind().as_nanos() as u64)
    }

    fn wall(&self) -> SystemTime {
        self.sim.wall()
    }
}

/// A task of a process.
struct Slice {
    process: Process,
    task: BoxTask,
}

impl Future for Slice {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.process.state.lock().unwrap();
            if state.frozen.is_some() {
                state.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
        }
        Pin::new(&mut self.task).poll(cx)
    }
}
