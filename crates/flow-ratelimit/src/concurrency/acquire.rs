//! The futures that wait for permits. Dropping one gives its place up, and permits that had been
//! handed to it go to the next in line.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use flow_rt::BoxTimer;
use flow_sync::{PermitWait, Permits};

use super::{ConcurrencyLimiter, OwnedPermit, Permit, PermitError};

/// Waits for permits; see [`ConcurrencyLimiter::acquire_n`]. Once it has returned it stays pending.
///
/// # Cancel safety
/// Dropped at any time, it holds nothing and nobody up.
#[must_use = "futures do nothing unless polled"]
pub struct AcquirePermit<'a> {
    limiter: &'a ConcurrencyLimiter,
    n: u32,
    wait: PermitWait<&'a Permits>,
    ended: bool,
}

impl<'a> AcquirePermit<'a> {
    #[inline]
    pub(super) fn new(limiter: &'a ConcurrencyLimiter, n: u32) -> Self {
        Self {
            limiter,
            n,
            wait: PermitWait::borrowed(),
            ended: false,
        }
    }

    /// The permits, if this has not asked for them and they are free.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "out of line the future goes through memory: 15 ns of 21"
    )]
    fn take_at_once(&mut self) -> Option<Permit<'a>> {
        if self.ended || self.wait.is_queued() || !self.limiter.permits.try_take(self.n) {
            return None;
        }
        self.ended = true;
        Some(Permit::new(&self.limiter.permits, self.n))
    }

    /// All but the permits that are there at once: out of the way of those, which a task's own
    /// poll then has inline.
    #[cold]
    #[inline(never)]
    fn poll_slowly(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit<'a>, PermitError>> {
        if self.ended {
            // Not again: the permits were asked for once.
            return Poll::Pending;
        }
        let permits: &'a Permits = &self.limiter.permits;
        let taken = ready!(permits.poll_wait(cx, self.n, &mut self.wait));
        self.ended = true;
        taken.map_err(|error| self.limiter.refused(error))?;
        Poll::Ready(Ok(Permit::new(&self.limiter.permits, self.n)))
    }
}

impl<'a> Future for AcquirePermit<'a> {
    type Output = Result<Permit<'a>, PermitError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match this.take_at_once() {
            Some(permit) => Poll::Ready(Ok(permit)),
            None => this.poll_slowly(cx),
        }
    }
}

impl fmt::Debug for AcquirePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "AcquirePermit", self.n, self.wait.is_queued())
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

    /// All but the permits that are there at once: out of the way of those, which a task's own
    /// poll then has inline.
    #[cold]
    #[inline(never)]
    fn poll_slowly(&mut self, cx: &mut Context<'_>) -> Poll<Result<OwnedPermit, PermitError>> {
        if self.ended {
            // Not again: the permits were asked for once.
            return Poll::Pending;
        }
        let permits = &self.limiter.permits;
        let taken = ready!(permits.poll_acquire(cx, self.n, &mut self.wait));
        self.ended = true;
        taken.map_err(|error| self.limiter.refused(error))?;
        Poll::Ready(Ok(OwnedPermit::new(self.limiter.permits.clone(), self.n)))
    }
}

impl Future for AcquireOwnedPermit {
    type Output = Result<OwnedPermit, PermitError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if !this.ended && !this.wait.is_queued() && this.limiter.permits.try_acquire(this.n).is_ok()
        {
            this.ended = true;
            return Poll::Ready(Ok(OwnedPermit::new(this.limiter.permits.clone(), this.n)));
        }
        this.poll_slowly(cx)
    }
}

impl fmt::Debug for AcquireOwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "AcquireOwnedPermit", self.n, self.wait.is_queued())
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
    #[inline]
    pub(super) fn new(acquire: AcquirePermit<'a>, limit: Duration) -> Self {
        Self {
            acquire,
            limit,
            timer: None,
        }
    }

    /// All but the permits that are there at once.
    #[cold]
    #[inline(never)]
    fn poll_slowly(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit<'a>, PermitError>> {
        // First: a permit that is there wins over a limit of zero, and costs no timer.
        if let Poll::Ready(result) = Pin::new(&mut self.acquire).poll(cx) {
            return Poll::Ready(result);
        }
        if self.acquire.ended {
            return Poll::Pending;
        }
        if self.limit.is_zero() {
            // Known without a clock.
            return self.fail(PermitError::Timeout { limit: self.limit });
        }
        let timer = match &mut self.timer {
            Some(timer) => timer,
            none => match self.acquire.limiter.runtime() {
                Ok(runtime) => none.insert(runtime.sleep(self.limit)),
                Err(error) => return self.fail(PermitError::NoRuntime(error)),
            },
        };
        let fired = ready!(timer.poll_fired(cx));
        // The permits may have come at this very instant: then they are the answer.
        if let Poll::Ready(result) = Pin::new(&mut self.acquire).poll(cx) {
            return Poll::Ready(result);
        }
        self.fail(match fired {
            Ok(()) => PermitError::Timeout { limit: self.limit },
            Err(stopped) => PermitError::Stopped(stopped),
        })
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

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match this.acquire.take_at_once() {
            Some(permit) => Poll::Ready(Ok(permit)),
            None => this.poll_slowly(cx),
        }
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

fn describe(f: &mut fmt::Formatter<'_>, name: &str, n: u32, is_queued: bool) -> fmt::Result {
    f.debug_struct(name)
        .field("count", &n)
        .field("queued", &is_queued)
        .finish_non_exhaustive()
}
