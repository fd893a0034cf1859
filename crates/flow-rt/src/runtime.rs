//! The contract: what a primitive may ask of a runtime.

use core::fmt;
use core::future::Future;
use core::panic::Location;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use crate::instant::Instant;
use crate::panics;
use crate::timer::BoxTimer;

/// What a primitive may ask of a runtime. Implement it to plug in an executor of your own.
///
/// It is object-safe; programs hold it as a [`Handle`](crate::Handle). Everything else that
/// tasks need (join handles, abort, timeout, interval, groups) is built on the handle once.
///
/// What MUST hold, and what the suite of the feature `conformance` checks:
///
/// 1. `spawn` returns before the task is polled: never inline, a caller may hold a lock.
/// 2. A spawned task is polled until it ends, again after every wake of its last waker, from
///    whatever thread; or it is dropped when the runtime goes away, and then nothing hangs.
/// 3. `spawn` and `spawn_blocking` may be called from any thread and from `Drop`; on a runtime
///    that is gone they drop what they were given.
/// 4. A timer never fires early by [`now`](Runtime::now), fires for its last waker, and can be
///    polled on any thread.
/// 5. `now` never goes back.
///
/// A task that panics is contained by [`BoxTask`], so an executor needs no guard of its own.
///
/// ```
/// use std::time::Duration;
/// use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Instant, Runtime};
///
/// /// Tasks on async-executor, timers of async-io.
/// struct MyRuntime(async_executor::Executor<'static>);
///
/// impl Runtime for MyRuntime {
///     fn spawn(&self, task: BoxTask) {
///         self.0.spawn(task).detach();
///     }
///     fn spawn_blocking(&self, job: BoxBlocking) {
///         std::thread::spawn(job);
///     }
///     fn timer(&self, at: Instant) -> BoxTimer {
///         BoxTimer::from_sleep(at, |at| async move {
///             match at.to_std() {
///                 Some(at) => drop(async_io::Timer::at(at).await),
///                 None => std::future::pending().await,
///             }
///         })
///     }
/// }
/// ```
pub trait Runtime: Send + Sync + 'static {
    /// Starts a task, detached. Must not poll it before returning.
    fn spawn(&self, task: BoxTask);

    /// Runs a closure that may block, off the threads that run tasks.
    fn spawn_blocking(&self, job: BoxBlocking);

    /// A timer armed for `at`, on this runtime's clock.
    fn timer(&self, at: Instant) -> BoxTimer;

    /// The monotonic time. The machine's, unless the runtime keeps its own.
    fn now(&self) -> Instant {
        Instant::now_monotonic()
    }

    /// The wall clock. The machine's, unless the runtime keeps its own.
    fn wall(&self) -> SystemTime {
        #[allow(clippy::disallowed_methods)] // the default: the machine's wall clock
        SystemTime::now()
    }

    /// What to call this runtime in reports; the type's name unless overridden.
    fn name(&self) -> &'static str {
        core::any::type_name::<Self>()
    }
}

impl<R: Runtime + ?Sized> Runtime for Arc<R> {
    fn spawn(&self, task: BoxTask) {
        (**self).spawn(task);
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        (**self).spawn_blocking(job);
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        (**self).timer(at)
    }

    fn now(&self) -> Instant {
        (**self).now()
    }

    fn wall(&self) -> SystemTime {
        (**self).wall()
    }

    fn name(&self) -> &'static str {
        (**self).name()
    }
}

/// A closure that may block.
pub type BoxBlocking = Box<dyn FnOnce() + Send + 'static>;

/// A task as the runtime gets it: a future of `()` with its name and the place it was spawned.
///
/// Polling it contains a panic of the task: the task ends then, the executor goes on. Once it
/// has ended it stays ended; polling it again returns `Ready`.
pub struct BoxTask {
    body: TaskBody,
    name: Option<Cow<'static, str>>,
    spawned_at: &'static Location<'static>,
}

impl BoxTask {
    /// Boxes a future, with the caller's place as its origin.
    #[track_caller]
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self::from_spawn(future, None, Location::caller())
    }

    /// The same task with a name for reports.
    pub fn named(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Boxes a future with what was said when it was spawned.
    pub(crate) fn from_spawn(
        future: impl Future<Output = ()> + Send + 'static,
        name: Option<Cow<'static, str>>,
        spawned_at: &'static Location<'static>,
    ) -> Self {
        Self {
            body: TaskBody(Some(Box::pin(future))),
            name,
            spawned_at,
        }
    }

    /// The name given at spawn, if any.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where in the source the task was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.spawned_at
    }

    /// What is polled, apart from what reports need.
    #[cfg(feature = "sim")]
    pub(crate) fn into_parts(
        self,
    ) -> (
        TaskBody,
        Option<Cow<'static, str>>,
        &'static Location<'static>,
    ) {
        (self.body, self.name, self.spawned_at)
    }
}

impl Future for BoxTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let body = &mut self.body;
        match panics::catch(|| body.poll(cx)) {
            Ok(polled) => polled,
            Err(panic) => {
                body.clear();
                // The payload's destructor is user code.
                panics::contain(|| drop(panic));
                Poll::Ready(())
            }
        }
    }
}

/// The future of a task, until it has ended. Its destructor lets no panic out: that must not
/// take the executor's thread with it.
pub(crate) struct TaskBody(Option<BoxFuture>);

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

impl TaskBody {
    /// Of a task that has ended, or whose future is elsewhere.
    #[cfg(feature = "sim")]
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// Polls the future, and lets its panic through.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(future) = self.0.as_mut() else {
            return Poll::Ready(());
        };
        if future.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.clear();
        Poll::Ready(())
    }

    /// Drops the future: what it owns goes when it ends or panics, not when the executor lets
    /// go of it.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if let Some(future) = self.0.take() {
            drop_contained(future);
        }
    }
}

impl Drop for TaskBody {
    #[inline]
    fn drop(&mut self) {
        self.clear();
    }
}

#[inline(never)]
fn drop_contained(future: BoxFuture) {
    panics::contain(|| drop(future));
}

impl fmt::Debug for BoxTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxTask")
            .field("name", &self.name())
            .field("spawned_at", &format_args!("{}", self.spawned_at))
            .field("ended", &self.body.0.is_none())
            .finish()
    }
}
