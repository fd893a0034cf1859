//! What a job does: the user's closure, erased; chains and batches of several.

pub(super) mod batch;
pub(super) mod chain;
pub(super) mod chain_run;
pub(super) mod guarded;
pub(super) mod outcome;
pub(super) mod part;

use core::any::Any;
use core::future::Future;
use core::marker::PhantomData;
use core::mem::{needs_drop, size_of};
use core::ops::Deref;
use std::sync::Arc;

use crate::scheduler::job::context::JobContext;
use guarded::BoxFuture;
use outcome::{BoxError, Outcome};

/// A run that returned an error.
pub(crate) struct Failure {
    pub(crate) error: BoxError,
    /// Whether it is one to run again for.
    pub(crate) retry: bool,
}

/// What a job does, erased. One that captures nothing is no value to keep: it takes up no memory,
/// and nobody counts its references.
#[derive(Clone)]
pub(crate) enum Body {
    Shared(Arc<dyn Work>),
    Plain(&'static dyn Work),
}

impl Body {
    pub(crate) fn new<W: Work + 'static>(work: W) -> Self {
        if size_of::<W>() == 0 && !needs_drop::<W>() {
            // A box of no bytes is no allocation: there is nothing to leak.
            return Self::Plain(Box::leak(Box::new(work)));
        }
        Self::Shared(Arc::new(work))
    }
}

impl Deref for Body {
    type Target = dyn Work;

    #[inline]
    fn deref(&self) -> &(dyn Work + 'static) {
        match self {
            Self::Shared(work) => &**work,
            Self::Plain(work) => *work,
        }
    }
}

/// A closure that makes the future of a run. The future is the user's, and so is the predicate
/// that it may ask: to be polled under guard.
pub(crate) trait Work: Send + Sync {
    fn begin(&self, cx: JobContext, retry_if: Option<RetryIf>) -> BoxFuture<Result<(), Failure>>;
}

/// A [`Predicate`] of the job's error.
pub(crate) type RetryIf = Arc<dyn Any + Send + Sync>;

/// Says which errors are worth another run.
pub(crate) struct Predicate<E>(pub(crate) Box<dyn Fn(&E) -> bool + Send + Sync>);

pub(crate) struct Closure<F, O> {
    run: F,
    outcome: PhantomData<fn() -> O>,
}

impl<F, O> Closure<F, O> {
    pub(crate) fn new(run: F) -> Self {
        Self {
            run,
            outcome: PhantomData,
        }
    }
}

impl<F, Fut, O> Work for Closure<F, O>
where
    F: Fn(JobContext) -> Fut + Send + Sync,
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    fn begin(&self, cx: JobContext, retry_if: Option<RetryIf>) -> BoxFuture<Result<(), Failure>> {
        let future = (self.run)(cx);
        Box::pin(async move {
            future.await.into_result().map_err(|error| Failure {
                retry: is_transient(retry_if.as_ref(), &error),
                error: error.into(),
            })
        })
    }
}

fn is_transient<E: 'static>(retry_if: Option<&RetryIf>, error: &E) -> bool {
    retry_if
        .and_then(|any| any.downcast_ref::<Predicate<E>>())
        .is_none_or(|predicate| (predicate.0)(error))
}
