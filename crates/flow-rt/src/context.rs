//! What a task is handed about the work it belongs to: cancellation, deadline, baggage, trace.

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Poll, ready};
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use crate::baggage::{BaggageError, Carried};
use crate::cancel::{CancellationToken, LazyToken};
use crate::deadline::Deadline;
use crate::handle::Handle;
use crate::instant::Instant;
use crate::timer::{BoxTimer, Stopped};
use crate::trace_context::TraceContext;
use crate::with_context::{self, WithContext};

/// What a task knows about the work it belongs to: its cancellation, its deadline, its baggage,
/// and its place in a distributed trace.
///
/// Pool and scheduler hand one to every task. A child's deadline is never later than its
/// parent's, cancelling the parent cancels the child, and the child has its parent's baggage,
/// as far as [`propagate`](Self::propagate) lets it.
///
/// While a task is polled its context is the [`current`](Self::current) one, and the tasks it
/// starts by [`Handle::spawn`], [`Handle::spawn_named`], [`Handle::spawn_blocking`] and
/// [`TaskGroup::spawn`](crate::TaskGroup::spawn) belong to the same work. What runs for a
/// primitive in the background must not: [`Handle::spawn_detached`] starts without a context.
///
/// # Cost
/// One word; a clone is one reference count, and a spawn without a context around it one
/// thread-local look. Changes copy what they change. A context's token is made when somebody asks
/// for it, by [`cancellation`](Self::cancellation) or [`run`](Self::run), or through a
/// [`child`](Self::child); and when a context that somebody else holds, too, is changed by
/// [`with_deadline`](Self::with_deadline), [`with_baggage`](Self::with_baggage),
/// [`propagate`](Self::propagate) or [`with_trace`](Self::with_trace), since both have one token.
///
/// ```
/// use std::time::Duration;
/// use flow_rt::{Deadline, Instant, TaskContext};
///
/// let start = Instant::from_nanos(0);
/// let request = TaskContext::new()
///     .with_deadline(start + Duration::from_secs(5))
///     .with_baggage("tenant", "acme")?;
/// let step = request.child().with_deadline(start + Duration::from_secs(9));
/// assert_eq!(step.remaining(start), Some(Duration::from_secs(5)));
/// assert_eq!(step.baggage("tenant"), Some("acme"));
/// request.cancellation().cancel();
/// assert!(step.is_cancelled());
/// # Ok::<_, flow_rt::BaggageError>(())
/// ```
#[derive(Clone)]
pub struct TaskContext(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    cancellation: LazyToken,
    deadline: Deadline,
    /// A pointer away, since most contexts carry nothing and pools make one per task.
    carried: Option<Arc<Carried>>,
}

impl TaskContext {
    /// A context with a token of its own and nothing else.
    pub fn new() -> Self {
        Self::of(LazyToken::under(None))
    }

    /// A context whose token is `cancellation`, without a deadline.
    pub fn from_token(cancellation: CancellationToken) -> Self {
        Self::of(LazyToken::of(cancellation))
    }

    /// A context with a child token of `parent`, without a deadline.
    ///
    /// It is that of `from_token(parent.child_token())`, but for what it costs, the child is made
    /// when somebody asks for it, and for the moment at which it
    /// [is cancelled](Self::is_cancelled): when `parent` is.
    ///
    /// ```
    /// use flow_rt::{CancellationToken, TaskContext};
    ///
    /// let service = CancellationToken::new();
    /// let request = TaskContext::under_token(service.clone());
    /// assert_eq!(service.child_count(), 0);
    /// service.cancel_with("shutting down");
    /// assert!(request.is_cancelled());
    /// assert_eq!(request.cancellation().reason().as_deref(), Some("shutting down"));
    /// ```
    pub fn under_token(parent: CancellationToken) -> Self {
        Self::of(LazyToken::under(Some(parent)))
    }

    fn of(cancellation: LazyToken) -> Self {
        Self(Arc::new(Inner {
            cancellation,
            deadline: Deadline::NONE,
            carried: None,
        }))
    }

    /// The context of the task that is being polled on this thread, or of the blocking closure
    /// that runs on it; `None` outside of any, and in a task without one.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use flow_rt::TaskContext;
    ///
    /// assert!(TaskContext::current().is_none());
    /// let request = TaskContext::new().with_baggage("tenant", "acme").unwrap();
    /// let task = rt.spawn_with(request, async |_cx| {
    ///     let here = TaskContext::current().unwrap();
    ///     here.baggage("tenant").map(str::to_owned)
    /// });
    /// assert_eq!(task.await.unwrap().as_deref(), Some("acme"));
    /// # });
    /// ```
    pub fn current() -> Option<Self> {
        with_context::current()
    }

    /// A context for a part of this work: a child token, the same deadline and trace, and the
    /// baggage that [`propagate`](Self::propagate) lets through.
    pub fn child(&self) -> Self {
        self.child_under_token(self.cancellation().clone())
    }

    /// A context like [`child`](Self::child) whose token is `cancellation` instead of a child of
    /// this one's: for work that is handed over to somebody who can stop it.
    pub fn child_with_token(&self, cancellation: CancellationToken) -> Self {
        self.child_of(LazyToken::of(cancellation))
    }

    /// A context like [`child`](Self::child) whose token is a child of `parent` instead of this
    /// one's, made like that of [`under_token`](Self::under_token).
    pub fn child_under_token(&self, parent: CancellationToken) -> Self {
        self.child_of(LazyToken::under(Some(parent)))
    }

    fn child_of(&self, cancellation: LazyToken) -> Self {
        Self(Arc::new(Inner {
            cancellation,
            deadline: self.0.deadline,
            carried: self.0.carried.as_ref().map(Carried::for_child),
        }))
    }

    /// Makes this context a new one for other work, without an allocation, if nobody else holds
    /// it or its token, and the token was not cancelled; false, and nothing is changed, if not.
    ///
    /// Its token stays, and is as good as new. Its deadline is `deadline`, or that of `parent` if
    /// it is earlier; baggage and trace are those of a child of `parent`, or none. For a pool,
    /// which makes a context per task, and whose tasks mostly leave nothing of theirs behind.
    #[inline]
    pub fn renew(&mut self, parent: Option<&Self>, deadline: Deadline) -> bool {
        if Arc::strong_count(&self.0) != 1 {
            return false;
        }
        // Pairs with the Release of the last other reference's drop.
        fence(Ordering::Acquire);
        let inner = &*self.0;
        if !inner.cancellation.is_new() {
            return false;
        }
        let parents = parent.map_or(Deadline::NONE, |parent| parent.0.deadline);
        let carried = parent.and_then(|parent| parent.0.carried.as_ref());
        let deadline = deadline.min(parents);
        if inner.deadline == deadline && inner.carried.is_none() && carried.is_none() {
            return true;
        }
        let Some(inner) = Arc::get_mut(&mut self.0) else {
            return false;
        };
        inner.deadline = deadline;
        inner.carried = carried.map(Carried::for_child);
        true
    }

    /// The same work with the earlier of its own deadline and `deadline`.
    pub fn with_deadline(mut self, deadline: impl Into<Deadline>) -> Self {
        let deadline = deadline.into();
        if deadline < self.0.deadline {
            Arc::make_mut(&mut self.0).deadline = deadline;
        }
        self
    }

    /// The same work with one more item of baggage, or another value of one.
    ///
    /// # Errors
    /// [`BaggageError`]: a key is a token as HTTP has them, a context carries 64 items at the
    /// most, and 8192 bytes with two for each item, the limits of
    /// [W3C Baggage](https://www.w3.org/TR/baggage/#limits).
    pub fn with_baggage(
        mut self,
        key: impl Into<Arc<str>>,
        value: impl Into<Arc<str>>,
    ) -> Result<Self, BaggageError> {
        self.carried_mut().set(key.into(), value.into())?;
        Ok(self)
    }

    /// The same work, whose children get these keys of its baggage and no others; of an empty
    /// list, none.
    ///
    /// The limit holds for children's children too, until one sets its own. A task that is
    /// spawned belongs to the same work and is no child.
    pub fn propagate(mut self, keys: &[&str]) -> Self {
        self.carried_mut().limit(keys);
        self
    }

    /// The same work, as part of a trace.
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.carried_mut().trace = Some(trace);
        self
    }

    /// The token that tells the task to stop.
    ///
    /// # Cost
    /// A look; for the first to ask for it, what [`CancellationToken::child_token`] costs.
    #[inline]
    pub fn cancellation(&self) -> &CancellationToken {
        self.0.cancellation.token()
    }

    /// Whether the task has been told to stop. Two loads or three, and no token is made for it.
    ///
    /// Of a context [under a token](Self::under_token), and of what is made of it for the same
    /// work, this is true as soon as that token is cancelled. [`cancellation`](Self::cancellation),
    /// if it was made before, may hear of it, and of its reason, a moment later: who wants the
    /// reason waits for [`cancelled`](CancellationToken::cancelled) first.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancellation.is_cancelled()
    }

    /// When the work must be done, on its runtime's clock: the earliest of its own deadline and
    /// its ancestors'.
    pub fn deadline(&self) -> Deadline {
        self.0.deadline
    }

    /// The time left at `now`, zero when late; `None` without a deadline.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.0.deadline.remaining(now)
    }

    /// The value of a key of the baggage.
    pub fn baggage(&self, key: &str) -> Option<&str> {
        self.0.carried.as_deref()?.item(key)
    }

    /// All baggage, in the order in which its keys came.
    pub fn baggage_items(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.carried.iter().flat_map(|carried| carried.items())
    }

    /// The work's place in a distributed trace, if it was given one.
    pub fn trace(&self) -> Option<TraceContext> {
        self.0.carried.as_deref()?.trace
    }

    fn carried_mut(&mut self) -> &mut Carried {
        let carried = &mut Arc::make_mut(&mut self.0).carried;
        Arc::make_mut(carried.get_or_insert_default())
    }
}

/// Running under a context.
impl TaskContext {
    /// The future polled with this context as the [`current`](Self::current) one.
    ///
    /// It is not stopped by the cancellation or the deadline: see [`run`](Self::run).
    ///
    /// # Cost
    /// Two moves through a thread-local per poll, no reference count.
    pub fn scope<F: Future>(self, future: F) -> WithContext<F> {
        WithContext::new(Some(self), future)
    }

    /// Like [`scope`](Self::scope), for a closure that is handed the context and called in it.
    pub fn scope_with<F, Fut>(self, make: F) -> WithContext<Fut>
    where
        F: FnOnce(Self) -> Fut,
        Fut: Future,
    {
        WithContext::made_inside(self.clone(), || make(self))
    }

    /// Calls `f` with this context as the [`current`](Self::current) one.
    pub fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        with_context::enter(Some(self.clone()), f)
    }

    /// Calls `f` with the context in `slot` as the [`current`](Self::current) one, which moves out
    /// of it for as long and back: unlike [`enter`](Self::enter) it touches no reference count.
    ///
    /// Of an empty slot, `f` is called without a context.
    pub fn enter_from<T>(slot: &mut Option<Self>, f: impl FnOnce() -> T) -> T {
        with_context::enter_from(slot, f)
    }

    /// Runs a future in this context's [`scope`](Self::scope) until it is ready, the context is
    /// cancelled, or its deadline has passed by `handle`'s clock.
    ///
    /// The future is polled before anything else: one that is ready wins, and costs no timer.
    ///
    /// # Errors
    /// [`ContextError`]; the future has been dropped then.
    ///
    /// # Cancel safety
    /// That of `future`, which is dropped with this one.
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |rt| async move {
    /// use std::time::Duration;
    /// use flow_rt::{ContextError, Deadline, TaskContext};
    ///
    /// let deadline = Deadline::after(rt.now(), Duration::from_secs(2));
    /// let request = TaskContext::new().with_deadline(deadline);
    /// assert_eq!(request.run(&rt, async { 7 }).await, Ok(7));
    /// let late = request.run(&rt, rt.sleep(Duration::from_secs(3))).await;
    /// assert_eq!(late, Err(ContextError::DeadlineExceeded));
    /// # });
    /// ```
    pub async fn run<F: Future>(
        &self,
        handle: &Handle,
        future: F,
    ) -> Result<F::Output, ContextError> {
        let mut future = pin!(self.clone().scope(future));
        let mut cancelled = pin!(self.cancellation().cancelled());
        let mut timer: Option<BoxTimer> = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if cancelled.as_mut().poll(cx).is_ready() {
                let reason = self.cancellation().reason();
                return Poll::Ready(Err(ContextError::Cancelled { reason }));
            }
            let Some(deadline) = self.0.deadline.instant() else {
                return Poll::Pending;
            };
            let timer = timer.get_or_insert_with(|| handle.timer(deadline));
            Poll::Ready(Err(match ready!(timer.poll_fired(cx)) {
                Ok(()) => ContextError::DeadlineExceeded,
                Err(stopped) => ContextError::Stopped(stopped),
            }))
        })
        .await
    }
}

impl Default for TaskContext {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TaskContext {
    /// Baggage by its keys alone: values may be nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.baggage_items().map(|(key, _)| key).collect();
        f.debug_struct("TaskContext")
            .field("cancellation", &self.0.cancellation)
            .field("deadline", &self.deadline())
            .field("baggage", &keys)
            .field("trace", &self.trace())
            .finish()
    }
}

/// Why a context ended a future; see [`TaskContext::run`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContextError {
    /// The context was cancelled first.
    Cancelled {
        /// The reason given with the cancellation.
        reason: Option<Cow<'static, str>>,
    },
    /// The deadline passed first.
    DeadlineExceeded,
    /// The runtime that kept the time is gone.
    Stopped(Stopped),
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled { reason: None } => f.write_str("cancelled"),
            Self::Cancelled {
                reason: Some(reason),
            } => write!(f, "cancelled: {reason}"),
            Self::DeadlineExceeded => f.write_str("not ready by the deadline"),
            Self::Stopped(stopped) => stopped.fmt(f),
        }
    }
}

impl std::error::Error for ContextError {}
