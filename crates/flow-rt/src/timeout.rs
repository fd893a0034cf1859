//! A future bounded by time, which costs nothing when it is ready at once.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use crate::handle::Handle;
use crate::instant::Instant;
use crate::timer::{BoxTimer, Stopped};

pin_project_lite::pin_project! {
    /// The future of [`Handle::timeout`].
    ///
    /// # Cancel safety
    /// That of the inner future, which is dropped with it; so is the timer.
    /// [`into_inner`](Timeout::into_inner) gives the inner future back as it is.
    #[must_use = "futures do nothing unless polled"]
    pub struct Timeout<'h, F> {
        #[pin]
        future: F,
        handle: &'h Handle,
        limit: Duration,
        clock: Clock,
    }
}

enum Clock {
    NotStarted,
    Running(BoxTimer),
    /// The limit is beyond the end of time.
    Never,
}

impl<'h, F> Timeout<'h, F> {
    pub(crate) fn new(handle: &'h Handle, limit: Duration, future: F) -> Self {
        Self {
            future,
            handle,
            limit,
            clock: Clock::NotStarted,
        }
    }

    /// Gives the inner future back.
    pub fn into_inner(self) -> F {
        self.future
    }
}

impl<F: Future> Future for Timeout<'_, F> {
    type Output = Result<F::Output, TimeoutError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        this.clock.poll(this.handle, *this.limit, cx).map(Err)
    }
}

impl Clock {
    fn poll(
        &mut self,
        handle: &Handle,
        limit: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<TimeoutError> {
        loop {
            match self {
                Self::NotStarted => {
                    let at = handle.now() + limit;
                    *self = if at == Instant::FAR_FUTURE {
                        Self::Never
                    } else {
                        Self::Running(handle.timer(at))
                    };
                }
                Self::Running(timer) => {
                    return timer.poll_fired(cx).map(|fired| match fired {
                        Ok(()) => TimeoutError::Elapsed { limit },
                        Err(stopped) => TimeoutError::Stopped(stopped),
                    });
                }
                Self::Never => return Poll::Pending,
            }
        }
    }
}

impl<F> fmt::Debug for Timeout<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("limit", &self.limit)
            .field("started", &!matches!(self.clock, Clock::NotStarted))
            .finish_non_exhaustive()
    }
}

/// Why a bounded future gave no output. The future itself is dropped with the `Timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeoutError {
    /// The limit passed first.
    Elapsed {
        /// The limit that was given.
        limit: Duration,
    },
    /// The runtime that kept the time is gone.
    Stopped(Stopped),
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elapsed { limit } => write!(f, "not ready within {limit:?}"),
            Self::Stopped(_) => f.write_str("the runtime that kept the time was shut down"),
        }
    }
}

impl std::error::Error for TimeoutError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Elapsed { .. } => None,
            Self::Stopped(stopped) => Some(stopped),
        }
    }
}
