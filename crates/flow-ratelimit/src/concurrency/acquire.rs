//! The futures that wait for permits. Dropping one gives its place up, and permits that had been
//! handed to it go to the next in line.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use flow_rt::BoxTimer;
use flow_sync::PermitWait;

use super::{ConcurrencyLimiter, OwnedPermit, Permit, PermitError};

/// Waits for permits; see [`ConcurrencyLimiter::acquire_n`]. Once it has returned it stays pending.
///
/// # Cancel safety
/// Dropped at any time, it holds nothing and nobody up.
#[must_use = "futures do nothing unless polled"]
pub struct AcquirePermit<'a> {
    limiter: &'a ConcurrencyLimiter,
    n: u32,
    wait: PermitWait,
    ended: bool,
}

impl<'a> AcquirePermit<'a> {
    #[inline]
    pub(super) fn new(limiter: &'a ConcurrencyLimiter, n: u32) -> Self {
        Self {
            limiter,
            n,
            wait: PermitWait::new(),
            ended: false,
        }
    }
}

impl<'a> Future for AcquirePermit<'a> {
    type Output = Result<Permit<'a>, PermitError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.ended {
            // Not again: the permits were asked for once.
            return Poll::Pending;
        }
        let taken = ready!(this.limiter.poll_take(cx, this.n, &mut this.wait));
        this.ended = true;
        taken?;
        Poll::Ready(Ok(Permit::new(&this.limiter.permits, this.n)))
    }
}

impl fmt::Debug for AcquirePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "AcquirePermit", self.n, &self.wait)
    }
}

/// Waits for permits that borrow nothing; see [`ConcurrencyLimiter::acquire_owned_n`]. Once it has
/// returned it stays pending.
///
/// # Cancel safety
/// Dropped at any time, it holds nothing and nobody up.
#[must_use = "futures do nothing unless polled"]
pub struct AcquireOwnedPermit {
    limiter: ConcurrencyLimiter,
    n: u32,
    wait: PermitWait,
    ended: bool,
}

impl AcquireOwnedPermit {
    #[inline]
    pub(super) fn new(limiter: ConcurrencyLimiter, n: u32) -> Self {
        Self {
            limiter,
            n,
            wait: PermitWait::new(),
            ended: false,
        }
    }
}

impl Future for AcquireOwnedPermit {
    type Output = Result<OwnedPermit, PermitError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.ended {
            // Not again: the permits were asked for once.
            return Poll::Pending;
        }
        let taken = ready!(this.limiter.poll_take(cx, this.n, &mut this.wait));
        this.ended = true;
        taken?;
        let permits = this.limiter.permits.clone();
        Poll::Ready(Ok(OwnedPermit::new(permits, this.n)))
    }
}

impl fmt::Debug for AcquireOwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "AcquireOwnedPermit", self.n, &self.wait)
    }
}

/// Waits for permits for a limited time; see [`ConcurrencyLimiter::acquire_n_timeout`].
///
/// # Cancel safety
/// That of [`AcquirePermit`].
#[must_use = "futures do nothing unless polled"]
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

    /// Ends the wait with `error`.
    fn fail(&mut self, error: PermitError) -> Poll<Result<Permit<'a>, PermitError>> {
        self.acquire.ended = true;
        self.acquire.wait.cancel();
        self.acquire.limiter.count_denied();
        Poll::Ready(Err(error))
    }
}

impl<'a> Future for AcquirePermitTimeout<'a> {
    type Output = Result<Permit<'a>, PermitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // First: a permit that is there wins over a limit of zero, and costs no timer.
        if let Poll::Ready(result) = Pin::new(&mut this.acquire).poll(cx) {
            return Poll::Ready(result);
        }
        if this.acquire.ended {
            return Poll::Pending;
        }
        let timer = match &mut this.timer {
            Some(timer) => timer,
            none => match this.acquire.limiter.runtime() {
                Ok(runtime) => none.insert(runtime.sleep(this.limit)),
                Err(error) => return this.fail(PermitError::NoRuntime(error)),
            },
        };
        let fired = ready!(timer.poll_fired(cx));
        // The permits may have come at this very instant: then they are the answer.
        if let Poll::Ready(result) = Pin::new(&mut this.acquire).poll(cx) {
            return Poll::Ready(result);
        }
        this.fail(match fired {
            Ok(()) => PermitError::Timeout { limit: this.limit },
            Err(stopped) => PermitError::Stopped(stopped),
        })
    }
}

impl fmt::Debug for AcquirePermitTimeout<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquirePermitTimeout")
            .field("acquire", &self.acquire)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

fn describe(f: &mut fmt::Formatter<'_>, name: &str, n: u32, wait: &PermitWait) -> fmt::Result {
    f.debug_struct(name)
        .field("count", &n)
        .field("queued", &wait.is_queued())
        .finish_non_exhaustive()
}
