//! Tasks of a handle: what each kind of spawn wraps around a future, and what the host gets.

use core::future::Future;
use core::panic::Location;
use std::borrow::Cow;

use super::{Handle, Kind};
#[cfg(any(feature = "smol", feature = "async-std"))]
use crate::adapter;
use crate::ambient;
use crate::context::TaskContext;
#[cfg(feature = "tokio")]
use crate::join::Guarded;
use crate::join::{self, Detached, JoinHandle};
#[cfg(feature = "sim")]
use crate::runtime::Runtime;
use crate::runtime::{BoxBlocking, BoxTask};
use crate::task_group::TaskGroup;
use crate::with_context::{self, WithContext};

/// Tasks.
impl Handle {
    /// Starts a task and returns the handle of its result.
    ///
    /// It belongs to the work of the task that starts it: it has the same
    /// [context](TaskContext::current), if any.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.start_joined(None, Location::caller(), WithContext::inherited(future))
    }

    /// Starts a task like [`spawn`](Self::spawn), whose name stands in reports.
    #[track_caller]
    pub fn spawn_named<F>(
        &self,
        name: impl Into<Cow<'static, str>>,
        future: F,
    ) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let future = WithContext::inherited(future);
        self.start_joined(Some(name.into()), Location::caller(), future)
    }

    /// Starts a task for the work that `context` describes, and hands it the context.
    ///
    /// Cancelling the context tells the task so and does not stop it; whoever wants it stopped
    /// runs what it does by [`TaskContext::run`].
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use std::time::Duration;
    /// use flow_rt::{Deadline, TaskContext};
    ///
    /// let deadline = Deadline::after(rt.now(), Duration::from_secs(5));
    /// let request = TaskContext::new().with_deadline(deadline);
    /// let task = rt.spawn_with(request.child(), async |cx| {
    ///     cx.cancellation().cancelled().await;
    ///     cx.cancellation().reason()
    /// });
    /// request.cancellation().cancel_with("the client hung up");
    /// assert_eq!(task.await.unwrap().as_deref(), Some("the client hung up"));
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn_with<F, Fut>(&self, context: TaskContext, task: F) -> JoinHandle<Fut::Output>
    where
        F: FnOnce(TaskContext) -> Fut + Send + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        let own = context.clone();
        // Called in the task, so that its panic is the task's.
        let future = context.scope(async move { task(own).await });
        self.start_joined(None, Location::caller(), future)
    }

    /// Starts a task that nobody will wait for: the cheapest spawn.
    ///
    /// It has no context: what runs for a primitive in the background must not keep that of the
    /// request that happened to start it. A panic in it, or in its destructor, ends the task and
    /// goes to the panic hook.
    #[track_caller]
    pub fn spawn_detached(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.start_detached(None, Location::caller(), future);
    }

    /// Starts a task like [`spawn_detached`](Self::spawn_detached), whose name stands in reports.
    #[track_caller]
    pub fn spawn_detached_named(
        &self,
        name: impl Into<Cow<'static, str>>,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        self.start_detached(Some(name.into()), Location::caller(), future);
    }

    /// Runs a closure that may block on the runtime's threads for that, under the context of the
    /// task that starts it.
    ///
    /// Aborting its handle keeps it from starting, not from running on.
    #[track_caller]
    pub fn spawn_blocking<T, F>(&self, job: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (job, handle) = join::joinable_blocking(job);
        let context = TaskContext::current();
        let job = move || with_context::enter(context, || ambient::allow_blocking(job));
        self.start_blocking(Box::new(job), Location::caller());
        handle
    }

    /// An empty group of tasks on this runtime.
    pub fn task_group<T: Send + 'static>(&self) -> TaskGroup<T> {
        TaskGroup::new(self.clone())
    }
}

/// What all spawns come to.
impl Handle {
    fn start_detached<F>(
        &self,
        name: Option<Cow<'static, str>>,
        origin: &'static Location<'static>,
        future: F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start(name, origin, Detached::new(future));
    }

    fn start_joined<F>(
        &self,
        name: Option<Cow<'static, str>>,
        origin: &'static Location<'static>,
        future: F,
    ) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        #[cfg(feature = "tokio")]
        match &self.0 {
            Kind::Tokio(tokio) => {
                return JoinHandle::on_tokio(tokio.start_joined(Guarded::new(future)));
            }
            #[cfg(feature = "fine-timer")]
            Kind::FineTokio(tokio) => {
                return JoinHandle::on_tokio(tokio.0.start_joined(Guarded::new(future)));
            }
            _ => {}
        }
        let (task, handle) = join::joinable(future);
        #[cfg(feature = "async-std")]
        if let Kind::AsyncStd = &self.0 {
            adapter::async_std::start_boxed(task);
            return handle;
        }
        self.start(name, origin, task);
        handle
    }

    /// Runs a closure on the host's threads for that. Where it was spawned is for the simulation's
    /// reports.
    #[cfg_attr(
        not(feature = "sim"),
        expect(unused_variables, reason = "other hosts have no use for it")
    )]
    pub(crate) fn start_blocking(&self, job: BoxBlocking, origin: &'static Location<'static>) {
        #[cfg(feature = "sim")]
        if let Kind::Sim(sim) = &self.0 {
            return sim.start_blocking(job, origin);
        }
        self.runtime().spawn_blocking(job);
    }

    /// Spawns without boxing where the host takes any future.
    pub(crate) fn start<F>(
        &self,
        name: Option<Cow<'static, str>>,
        origin: &'static Location<'static>,
        task: F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        match &self.0 {
            #[cfg(feature = "tokio")]
            Kind::Tokio(tokio) => tokio.start(task),
            #[cfg(feature = "fine-timer")]
            Kind::FineTokio(tokio) => tokio.0.start(task),
            #[cfg(feature = "smol")]
            Kind::Smol => adapter::smol::start(task),
            #[cfg(feature = "async-std")]
            Kind::AsyncStd => adapter::async_std::start(task),
            #[cfg(feature = "sim")]
            Kind::Sim(sim) => sim.spawn(BoxTask::from_spawn(task, name, origin)),
            #[cfg(feature = "sim")]
            Kind::Stepped(_) => self
                .runtime()
                .spawn(BoxTask::from_spawn(task, name, origin)),
            Kind::Custom(runtime) => runtime.spawn(BoxTask::from_spawn(task, name, origin)),
        }
    }
}
