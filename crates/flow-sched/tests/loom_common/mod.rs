//! A runtime whose tasks are the model's threads.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::SystemTime;

use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Handle, Instant, Runtime, Stopped, Timer};
use flow_sync::JoinCell;
use flow_sync::sync::atomic::AtomicBool;
use loom::future::block_on;
use loom::thread::JoinHandle;

/// A runtime whose tasks are threads of the model.
///
/// Its time stands still: a timer is due at once or never.
#[derive(Clone, Default)]
pub(crate) struct Threads(Arc<Host>);

#[derive(Default)]
struct Host {
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Whether tasks are dropped after one poll.
    dies: bool,
    /// Called on a task's thread once the task has ended.
    after: Mutex<Option<After>>,
    /// Whether a task that starts now is a mistake. Loom's, so that it explores both orders.
    forbidden: AtomicBool,
    watched: Mutex<Option<Watched>>,
}

type After = Arc<dyn Fn() + Send + Sync>;

/// Completed when a timer is armed for an instant.
struct Watched {
    at: Instant,
    armed: Arc<JoinCell<()>>,
}

#[allow(dead_code)] // each model needs some of it
impl Threads {
    /// A runtime that goes away: it drops each task after one poll.
    pub(crate) fn that_die() -> Self {
        Self(Arc::new(Host {
            dies: true,
            ..Host::default()
        }))
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::new(self.clone())
    }

    /// Joins all tasks.
    ///
    /// Before the last references go: the counts of std's `Arc` are invisible to loom, so what
    /// they order must be ordered by a join.
    pub(crate) fn join(&self) {
        loop {
            let next = self.0.tasks.lock().unwrap().pop();
            let Some(task) = next else { break };
            task.join().unwrap();
        }
        self.0.after.lock().unwrap().take();
    }

    /// Calls `f` on each task's thread once the task has ended, until they are joined.
    pub(crate) fn after_a_task(&self, f: impl Fn() + Send + Sync + 'static) {
        *self.0.after.lock().unwrap() = Some(Arc::new(f));
    }

    /// From here on no task may start.
    pub(crate) fn forbid(&self) {
        self.0.forbidden.store(true, Ordering::Relaxed);
    }

    /// A cell that is completed when a timer is armed for `at`.
    pub(crate) fn watch(&self, at: Instant) -> Arc<JoinCell<()>> {
        let armed = Arc::new(JoinCell::new());
        let watched = Watched {
            at,
            armed: armed.clone(),
        };
        *self.0.watched.lock().unwrap() = Some(watched);
        armed
    }

    fn start(&self, f: impl FnOnce() + 'static) {
        assert!(
            !self.0.forbidden.load(Ordering::Relaxed),
            "a task starts after the end"
        );
        let thread = loom::thread::spawn(f);
        self.0.tasks.lock().unwrap().push(thread);
    }

    fn armed(&self, at: Instant) {
        let mut watched = self.0.watched.lock().unwrap();
        let found = watched.take_if(|watched| watched.at == at);
        drop(watched);
        if let Some(watched) = found {
            let _ = watched.armed.complete(());
        }
    }
}

impl Runtime for Threads {
    fn spawn(&self, mut task: BoxTask) {
        let (dies, host) = (self.0.dies, self.0.clone());
        self.start(move || {
            block_on(poll_fn(|cx| match Pin::new(&mut task).poll(cx) {
                Poll::Pending if dies => Poll::Ready(()),
                polled => polled,
            }));
            drop(task);
            let after = host.after.lock().unwrap().clone();
            if let Some(after) = after {
                after();
            }
        });
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        self.start(job);
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        BoxTimer::new(Still(self.clone(), at))
    }

    fn now(&self) -> Instant {
        Instant::ORIGIN
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

/// Timers for the first nanosecond have fired: a span of zero is refused in many places.
const SOON: u64 = 1;

struct Still(Threads, Instant);

impl Timer for Still {
    fn arm(mut self: Pin<&mut Self>, at: Instant) {
        self.1 = at;
        self.0.armed(at);
    }

    fn poll_fired(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        if self.1.as_nanos() <= SOON {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}
