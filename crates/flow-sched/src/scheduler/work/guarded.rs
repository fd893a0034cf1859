//! Users' code under guard: its panics are values, and it knows which run it belongs to.

use core::cell::Cell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use flow_rt::{Panic, WithContext, catch, contain};

/// A boxed future of a run.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

crate::sync::thread_local! {
    /// The run that this thread polls now; zeros outside.
    static CURRENT: Cell<RunId> = const { Cell::new(RunId::NOBODY) };
}

/// Which run it is: the addresses of what it keeps alive, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunId {
    pub(crate) scheduler: usize,
    pub(crate) job: usize,
    pub(crate) run: u64,
}

impl RunId {
    /// No run at all.
    pub(crate) const NOBODY: Self = Self {
        scheduler: 0,
        job: 0,
        run: 0,
    };
}

/// The run that the calling code is part of.
pub(crate) fn current() -> RunId {
    CURRENT.with(Cell::get)
}

/// A future whose panic is its output; dropping it lets no panic out either.
pub(crate) struct Guarded<T> {
    future: Option<WithContext<BoxFuture<T>>>,
    id: RunId,
}

impl<T> Guarded<T> {
    pub(crate) fn new(future: WithContext<BoxFuture<T>>, id: RunId) -> Self {
        Self {
            future: Some(future),
            id,
        }
    }

    fn clear(&mut self) {
        let future = self.future.take();
        contain(|| drop(future));
    }
}

impl<T> Future for Guarded<T> {
    type Output = Result<T, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let id = self.id;
        let Some(future) = self.future.as_mut() else {
            return Poll::Pending;
        };
        let outer = CURRENT.with(|current| current.replace(id));
        let polled = catch(|| Pin::new(future).poll(cx));
        CURRENT.with(|current| current.set(outer));
        let output = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(panic) => Err(panic),
        };
        self.clear();
        Poll::Ready(output)
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        self.clear();
    }
}
