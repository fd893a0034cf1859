//! Tasks whose panic is a value: what every spawn wraps its future in.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use crate::ambient::{self, Blocking};
use crate::panics::{self, Panic};
use crate::with_context;

pin_project_lite::pin_project! {
    /// A future whose panic is its output, and whose destructor lets no panic out. The future is
    /// gone by the time its output is there. While it is polled its thread must not block.
    pub(crate) struct Guarded<F> {
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Guarded<F> {
        fn drop(this: Pin<&mut Self>) {
            this.clear();
        }
    }
}

impl<F> Guarded<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Some(future),
        }
    }

    pub(super) fn clear(self: Pin<&mut Self>) {
        let mut future = self.project().future;
        if future.is_some() {
            panics::contain(|| future.set(None));
        }
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = Result<F::Output, Panic>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.as_mut().project().future.as_pin_mut() else {
            return Poll::Pending;
        };
        let polled = {
            let _polling = ambient::set_blocking(Blocking::Polling);
            panics::catch(|| future.poll(cx))
        };
        let output = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(panic) => Err(panic),
        };
        self.clear();
        Poll::Ready(output)
    }
}

pin_project_lite::pin_project! {
    /// A task that nobody waits for, under no context, whoever polls it.
    ///
    /// No larger than its future, where that leaves room for a tag: hosts allocate it.
    pub(crate) struct Detached<F> {
        #[pin]
        future: Guarded<F>,
    }
}

impl<F> Detached<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Guarded::new(future),
        }
    }
}

impl<F: Future<Output = ()>> Future for Detached<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let future = self.project().future;
        match ready!(with_context::enter(None, || future.poll(cx))) {
            Ok(()) => Poll::Ready(()),
            // On to the host, which contains one panic; a second one, of the future's destructor
            // while it unwinds, would have ended the process.
            Err(panic) => std::panic::resume_unwind(panic.into_payload()),
        }
    }
}
