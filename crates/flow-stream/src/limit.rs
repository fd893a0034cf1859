//! The time limit of one wait, which costs nothing until it has to wait.

use core::task::{Context, Poll};
use core::time::Duration;

use flow_rt::{BoxTimer, Handle, HandleError, Instant, Stopped};

/// A limit that starts at the first poll that had to wait.
#[derive(Debug)]
pub(crate) struct Limit {
    duration: Duration,
    runtime: Option<Handle>,
    at: Instant,
    timer: Option<BoxTimer>,
}

/// Why waiting ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LimitError {
    Elapsed,
    NoRuntime(HandleError),
    Stopped(Stopped),
}

impl Limit {
    pub(crate) fn new(duration: Duration) -> Self {
        Self {
            duration,
            runtime: None,
            at: Instant::FAR_FUTURE,
            timer: None,
        }
    }

    pub(crate) fn duration(&self) -> Duration {
        self.duration
    }

    /// Ready once the wait must end. Call it when the operation itself was pending.
    ///
    /// `parked` is false for the poll that only yields: the operation is polled again at once,
    /// so the limit is noted and the timer not made yet.
    pub(crate) fn poll(
        &mut self,
        preferred: Option<&Handle>,
        parked: bool,
        cx: &mut Context<'_>,
    ) -> Poll<LimitError> {
        if self.duration.is_zero() {
            return Poll::Ready(LimitError::Elapsed);
        }
        if self.runtime.is_none() {
            let runtime = match preferred.cloned().map_or_else(Handle::current, Ok) {
                Ok(runtime) => runtime,
                Err(error) => return Poll::Ready(LimitError::NoRuntime(error)),
            };
            self.at = runtime.now() + self.duration;
            self.runtime = Some(runtime);
        }
        if !parked {
            return Poll::Pending;
        }
        let (Some(runtime), at) = (&self.runtime, self.at) else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| runtime.timer(at));
        timer.poll_fired(cx).map(|fired| match fired {
            Ok(()) => LimitError::Elapsed,
            Err(stopped) => LimitError::Stopped(stopped),
        })
    }
}
