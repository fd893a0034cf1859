//! How long a layer lets a request wait, and the wait itself.

use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::{Mutex, PoisonError};

use flow_rt::{BoxTimer, Handle, HandleError, Instant};

use crate::error::Denied;

/// How long a request may wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Now or never.
    Reject,
    /// As long as it takes.
    Wait,
    /// No longer than this.
    UpTo(Duration),
}

impl Patience {
    /// The longest wait; `None` if there is no such thing.
    pub(super) fn limit(self) -> Option<Duration> {
        match self {
            Self::Reject => Some(Duration::ZERO),
            Self::Wait => None,
            Self::UpTo(limit) => Some(limit),
        }
    }

    /// When to ask again after a denial; none if that is not to be.
    pub(super) fn waits_for(self, why: Denied) -> Option<Duration> {
        match why {
            Denied::NotYet { retry_after } if self != Self::Reject => Some(retry_after),
            _ => None,
        }
    }
}

/// What is only touched by whoever has it alone, so that it may be shared without being `Sync`: it
/// is never locked.
pub(super) struct Alone<T>(Mutex<T>);

impl<T> Alone<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(super) fn get(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a wait: a timer that is made when somebody waits for it.
pub(super) struct Bound {
    limit: Option<Duration>,
    /// When it is; none before somebody has asked.
    until: Option<Instant>,
    timer: Option<Alone<BoxTimer>>,
}

/// Why a wait with an end ends.
pub(super) enum Ended {
    InTime(Duration),
    NoRuntime(HandleError),
    Stopped(flow_rt::Stopped),
}

impl Bound {
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            limit: patience.limit(),
            until: None,
            timer: None,
        }
    }

    /// When the time is over, if it ever is. It begins when this is first asked, or polled.
    pub(super) fn until(&mut self, runtime: &Handle) -> Option<Instant> {
        let limit = self.limit?;
        let until = || runtime.now().saturating_add(limit);
        Some(*self.until.get_or_insert_with(until))
    }

    /// Pending while there is time left. The time begins with the first poll, or when somebody asks
    /// for its end; `runtime` keeps it.
    pub(super) fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        runtime: impl FnOnce() -> Result<Handle, HandleError>,
    ) -> Poll<Ended> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        if limit.is_zero() {
            // Known without a clock.
            return Poll::Ready(Ended::InTime(limit));
        }
        if self.timer.is_none() {
            let runtime = match runtime() {
                Ok(runtime) => runtime,
                Err(error) => return Poll::Ready(Ended::NoRuntime(error)),
            };
            let until = self.until(&runtime).unwrap_or(Instant::FAR_FUTURE);
            self.timer = Some(Alone::new(runtime.timer(until)));
        }
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        timer.get().poll_fired(cx).map(|fired| match fired {
            Ok(()) => Ended::InTime(limit),
            Err(stopped) => Ended::Stopped(stopped),
        })
    }
}
