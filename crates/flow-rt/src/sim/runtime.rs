//! The contract, as tasks hold it in their handles.

use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll};
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use super::history::Event;
use super::timers::Key;
use super::world::World;
use crate::instant::Instant;
use crate::runtime::{BoxBlocking, BoxTask, Runtime};
use crate::timer::{BoxTimer, Stopped, Timer};

/// A simulation as a runtime.
pub(super) struct SimRuntime(pub(super) Arc<World>);

impl Runtime for SimRuntime {
    fn spawn(&self, task: BoxTask) {
        self.0.spawn(task);
    }

    /// A blocking closure is a step of its own on the simulation's thread, at the end of what
    /// it costs.
    fn spawn_blocking(&self, job: BoxBlocking) {
        let cost = Duration::from_nanos(self.0.blocking_cost);
        let done_at = (!cost.is_zero()).then(|| self.timer(self.now() + cost));
        let task = BoxTask::new(async move {
            if let Some(done_at) = done_at {
                // The run may end first; the closure is then dropped with this task.
                let _ = done_at.await;
            }
            job();
        });
        self.spawn(task.named(Cow::Borrowed("blocking closure")));
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        BoxTimer::new(SimTimer {
            world: self.0.clone(),
            due: at.as_nanos(),
            registered: None,
        })
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.now())
    }

    fn wall(&self) -> SystemTime {
        self.0.wall.lock().at(self.0.now())
    }

    fn name(&self) -> &'static str {
        "sim"
    }
}

struct SimTimer {
    world: Arc<World>,
    due: u64,
    /// The entry among the simulation's timers, and when that is due.
    registered: Option<(Key, u64)>,
}

impl SimTimer {
    /// Takes the entry out. If it is due by `fired_through` it has gone by itself, and the lock
    /// is spared.
    fn unregister(&mut self) {
        if let Some((key, due)) = self.registered.take()
            && due > self.world.fired_through.load(Ordering::Relaxed)
        {
            let waker = self.world.timers.lock().remove(key);
            drop(waker);
        }
    }
}

impl Timer for SimTimer {
    fn arm(mut self: Pin<&mut Self>, at: Instant) {
        self.due = at.as_nanos();
        self.unregister();
    }

    fn poll_fired(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        if self.due <= self.world.now() && self.due != u64::MAX {
            return Poll::Ready(Ok(()));
        }
        if self.world.ended.load(Ordering::Relaxed) {
            return Poll::Ready(Err(Stopped::new()));
        }
        if self.due != u64::MAX {
            let by = self.world.current();
            self.world.note(|| Event::Armed { by, due: self.due });
            let key = self.registered.map(|(key, _)| key);
            let (key, replaced) = self
                .world
                .timers
                .lock()
                .register(key, self.due, by, cx.waker());
            self.registered = Some((key, self.due));
            drop(replaced);
        }
        Poll::Pending
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        self.unregister();
    }
}
