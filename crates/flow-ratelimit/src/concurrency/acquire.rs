//! The futures that wait for permits. Dropping one gives its place up, and a permit that had
//! been granted goes to the next in line.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use flow_rt::{BoxTimer, Handle};
use flow_sync::{AcquireError, PermitWait};

use super::ConcurrencyLimiter;
use super::error::PermitError;
use super::permit::{OwnedPermit, Permit};

/// Waits for permits; see [`ConcurrencyLimiter::acquire`].
///
/// # Cancel safety
/// Dropped at any time, it holds nothing and nobody up.
#[must_use = "futures do nothing unless polled"]
pub struct AcquirePermit<'a> {
    limiter: &'a ConcurrencyLimiter,
    n: u32,
    wait: PermitWait,
}

impl<'a> AcquirePermit<'a> {
    pub(super) fn new(limiter: &'a ConcurrencyLimiter, n: u32) -> Self {
        Self {
            limiter,
            n,
            wait: PermitWait::new(),
        }
    }
}

impl<'a> Future for AcquirePermit<'a> {
    type Output = Result<Permit<'a>, PermitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        ready!(poll(this.limiter, this.n, &mut this.wait, cx))?;
        Poll::Ready(Ok(Permit::new(this.limiter, this.n)))
    }
}

impl fmt::Debug for AcquirePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "AcquirePermit", self.n, &self.wait)
    }
}

/// Waits for permits that borrow nothing; see [`ConcurrencyLimiter::acquire_owned`].
///
/// # Cancel safety
/// Dropped at any time, it holds nothing and nobody up.
#[must_use = "futures do nothing unless polled"]
pub struct AcquireOwnedPermit {
    limiter: ConcurrencyLimiter,
    n: u32,
    wait: PermitWait,
}

impl AcquireOwnedPermit {
    pub(super) fn new(limiter: ConcurrencyLimiter, n: u32) -> Self {
        Self {
            limiter,
            n,
            wait: PermitWait::new(),
        }
    }
}

impl Future for AcquireOwnedPermit {
    type Output = Result<OwnedPermit, PermitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        ready!(poll(&this.limiter, this.n, &mut this.wait, cx))?;
        Poll::Ready(Ok(OwnedPermit::new(this.limiter.clone(), this.n)))
    }
}

impl fmt::Debug for AcquireOwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "AcquireOwnedPermit", self.n, &self.wait)
    }
}

/// Waits for a permit for a limited time; see [`ConcurrencyLimiter::acquire_timeout`].
///
/// # Cancel safety
/// That of [`AcquirePermit`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct AcquirePermitTimeout<'a> {
    acquire: AcquirePermit<'a>,
    limit: Duration,
    timer: Option<BoxTimer>,
}

impl<'a> AcquirePermitTimeout<'a> {
    pub(super) fn new(acquire: AcquirePermit<'a>, limit: Duration) -> Self {
        Self {
            acquire,
            limit,
            timer: None,
        }
    }
}

impl<'a> Future for AcquirePermitTimeout<'a> {
    type Output = Result<Permit<'a>, PermitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // First: a permit that is there wins over a limit of zero, and costs no timer.
        if let Poll::Ready(permit) = Pin::new(&mut this.acquire).poll(cx) {
            return Poll::Ready(permit);
        }
        let timer = match &mut this.timer {
            Some(timer) => timer,
            None => match Handle::current() {
                Ok(handle) => this.timer.insert(handle.sleep(this.limit)),
                Err(error) => return Poll::Ready(Err(PermitError::NoRuntime(error))),
            },
        };
        Poll::Ready(Err(match ready!(timer.poll_fired(cx)) {
            Ok(()) => PermitError::Timeout { limit: this.limit },
            Err(stopped) => PermitError::Stopped(stopped),
        }))
    }
}

fn poll(
    limiter: &ConcurrencyLimiter,
    n: u32,
    wait: &mut PermitWait,
    cx: &mut Context<'_>,
) -> Poll<Result<(), PermitError>> {
    limiter
        .0
        .permits
        .poll_acquire(cx, n, wait)
        .map_err(|error| match error {
            AcquireError::TooMany { asked, limit } => PermitError::ExceedsLimit { asked, limit },
            AcquireError::QueueFull { max_waiters } => PermitError::QueueFull { max_waiters },
            _ => PermitError::Closed,
        })
}

fn describe(f: &mut fmt::Formatter<'_>, name: &str, n: u32, wait: &PermitWait) -> fmt::Result {
    f.debug_struct(name)
        .field("count", &n)
        .field("queued", &wait.is_queued())
        .finish_non_exhaustive()
}
