//! Taking permits for a class: at once, in a task, on a plain thread.

use core::future::poll_fn;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use flow_rt::{BlockOnError, BoxTimer, Handle, block_on};
use flow_sync::{ClassedWait, TryAcquireError};

use super::{ClassPermit, PermitClass};
use crate::concurrency::{PermitError, TryPermitError, park_until};

impl PermitClass {
    /// Takes a permit if one is free and nobody waits who goes before.
    ///
    /// # Errors
    /// [`TryPermitError`]; nothing was taken then.
    ///
    /// # Cost
    /// One load and one compare-and-swap, and one more step to count it; giving back is one
    /// compare-and-swap while nobody waits. No clock. While somebody waits a permit that is free
    /// costs a short lock.
    #[inline]
    pub fn try_acquire(&self) -> Result<ClassPermit<'_>, TryPermitError> {
        self.try_acquire_n(1)
    }

    /// Takes `n` permits at once if they are free and nobody waits who goes before; 0 are always
    /// free.
    ///
    /// # Errors
    /// [`TryPermitError`]; nothing was taken then.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_n(&self, n: u32) -> Result<ClassPermit<'_>, TryPermitError> {
        match self.permits.try_acquire(self.index, n) {
            Ok(()) => Ok(self.granted(n)),
            Err(error) => Err(self.denied(error)),
        }
    }

    /// Waits for a permit, first in, first out in this class; see [`ClassedLimiter`].
    ///
    /// No runtime is asked: whoever gives a permit back wakes the next.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing: its place goes, and a permit that it had been handed
    /// passes on to the next.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire) if it need not wait; a wait takes a short lock
    /// and, in the long run, no allocation.
    ///
    /// [`ClassedLimiter`]: crate::ClassedLimiter
    #[inline]
    pub async fn acquire(&self) -> Result<ClassPermit<'_>, PermitError> {
        self.acquire_n(1).await
    }

    /// Waits for `n` permits at once.
    ///
    /// Fails at once if `n` is above the limit; and in its turn, if the limit was lowered below
    /// `n` meanwhile. More than the share of its class waits for what is lent.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// That of [`acquire`](Self::acquire).
    #[inline]
    pub async fn acquire_n(&self, n: u32) -> Result<ClassPermit<'_>, PermitError> {
        let mut wait = ClassedWait::new();
        poll_fn(|cx| self.poll_take(cx, n, &mut wait)).await
    }

    /// Waits for a permit for at most `limit`, counted from the first poll.
    ///
    /// A permit handed over at the same instant as the limit wins. What waiting cannot change fails
    /// at once: more than the limit, a full queue, a closed limiter, no time at all. Only if it has
    /// to wait it asks a runtime for a timer: the one given to the builder, else the one that polls.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// That of [`acquire`](Self::acquire).
    ///
    /// # Cost
    /// That of [`acquire`](Self::acquire), and one boxed timer if it has to wait.
    #[inline]
    pub async fn acquire_timeout(&self, limit: Duration) -> Result<ClassPermit<'_>, PermitError> {
        self.acquire_n_timeout(1, limit).await
    }

    /// Waits for `n` permits at once for at most `limit`. See
    /// [`acquire_timeout`](Self::acquire_timeout) and [`acquire_n`](Self::acquire_n).
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// That of [`acquire`](Self::acquire).
    pub async fn acquire_n_timeout(
        &self,
        n: u32,
        limit: Duration,
    ) -> Result<ClassPermit<'_>, PermitError> {
        let (mut wait, mut timer) = (ClassedWait::new(), None);
        poll_fn(|cx| self.poll_within(cx, n, limit, &mut wait, &mut timer)).await
    }

    /// Waits for a permit on the calling thread, in one queue with the tasks that wait.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then. [`PermitError::WouldBlock`] if it would have to
    /// wait where that would stop a runtime or a simulation.
    pub fn acquire_blocking(&self) -> Result<ClassPermit<'_>, PermitError> {
        self.acquire_n_blocking(1)
    }

    /// Waits for `n` permits at once on the calling thread. See
    /// [`acquire_blocking`](Self::acquire_blocking).
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    pub fn acquire_n_blocking(&self, n: u32) -> Result<ClassPermit<'_>, PermitError> {
        if let Some(known) = self.known_at_once(n) {
            return known;
        }
        block_on(self.acquire_n(n)).unwrap_or_else(|refused| self.must_not_block(refused))
    }

    /// Waits for a permit on the calling thread, for `limit` at the most. See
    /// [`acquire_blocking`](Self::acquire_blocking).
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    pub fn acquire_blocking_timeout(
        &self,
        limit: Duration,
    ) -> Result<ClassPermit<'_>, PermitError> {
        self.acquire_n_blocking_timeout(1, limit)
    }

    /// Waits for `n` permits at once on the calling thread, for `limit` at the most. A permit
    /// handed over at the same instant as the limit wins.
    ///
    /// # Errors
    /// As [`acquire_blocking`](Self::acquire_blocking), and [`PermitError::Timeout`].
    pub fn acquire_n_blocking_timeout(
        &self,
        n: u32,
        limit: Duration,
    ) -> Result<ClassPermit<'_>, PermitError> {
        if let Some(known) = self.known_at_once(n) {
            return known;
        }
        if limit.is_zero() {
            // One look, and no sleep.
            return self.sit(n, limit);
        }
        // Real time that passes here would keep virtual time from moving: its runtime counts.
        if Handle::current().is_ok_and(|runtime| runtime.is_stepped()) {
            return block_on(self.acquire_n_timeout(n, limit))
                .unwrap_or_else(|refused| self.must_not_block(refused));
        }
        // All of the wait is one poll: `block_on` says whether this thread may stop, and knows
        // meanwhile that it does.
        block_on(poll_fn(|_| Poll::Ready(self.sit(n, limit))))
            .unwrap_or_else(|refused| self.must_not_block(refused))
    }

    /// What is known without a wait: the permits, or why no wait would help.
    fn known_at_once(&self, n: u32) -> Option<Result<ClassPermit<'_>, PermitError>> {
        match self.permits.try_acquire(self.index, n) {
            Ok(()) => Some(Ok(self.granted(n))),
            Err(TryAcquireError::Unavailable) => None,
            Err(error) => Some(Err(self.denied(error).into())),
        }
    }

    fn sit(&self, n: u32, limit: Duration) -> Result<ClassPermit<'_>, PermitError> {
        let mut wait = ClassedWait::new();
        let sat = park_until(limit, |cx| self.poll_take(cx, n, &mut wait));
        sat.unwrap_or_else(|| {
            self.count_denied();
            Err(PermitError::Timeout { limit })
        })
    }

    #[inline]
    fn poll_take<'a>(
        &'a self,
        cx: &mut Context<'_>,
        n: u32,
        wait: &mut ClassedWait,
    ) -> Poll<Result<ClassPermit<'a>, PermitError>> {
        let polled = self.permits.poll_acquire(cx, self.index, n, wait);
        polled.map(|result| match result {
            Ok(()) => Ok(self.granted(n)),
            Err(error) => {
                self.count_denied();
                Err(error.into())
            }
        })
    }

    fn poll_within<'a>(
        &'a self,
        cx: &mut Context<'_>,
        n: u32,
        limit: Duration,
        wait: &mut ClassedWait,
        timer: &mut Option<BoxTimer>,
    ) -> Poll<Result<ClassPermit<'a>, PermitError>> {
        // First: a permit that is there wins over a limit of zero, and costs no timer.
        if let Poll::Ready(result) = self.poll_take(cx, n, wait) {
            return Poll::Ready(result);
        }
        if limit.is_zero() {
            // Known without a clock.
            return self.fail(wait, PermitError::Timeout { limit });
        }
        let timer = match timer {
            Some(timer) => timer,
            none => match self.runtime() {
                Ok(runtime) => none.insert(runtime.sleep(limit)),
                Err(error) => return self.fail(wait, PermitError::NoRuntime(error)),
            },
        };
        let fired = ready!(timer.poll_fired(cx));
        // The permits may have come at this very instant: then they are the answer.
        if let Poll::Ready(result) = self.poll_take(cx, n, wait) {
            return Poll::Ready(result);
        }
        let error = match fired {
            Ok(()) => PermitError::Timeout { limit },
            Err(stopped) => PermitError::Stopped(stopped),
        };
        self.fail(wait, error)
    }

    /// Ends the wait with `error`.
    fn fail<T>(&self, wait: &mut ClassedWait, error: PermitError) -> Poll<Result<T, PermitError>> {
        wait.cancel();
        self.count_denied();
        Poll::Ready(Err(error))
    }

    #[inline]
    fn granted(&self, n: u32) -> ClassPermit<'_> {
        let permit = ClassPermit::new(&self.permits, self.index, n);
        self.count_granted();
        permit
    }

    #[cold]
    fn denied(&self, error: TryAcquireError) -> TryPermitError {
        self.count_denied();
        TryPermitError::new(error, self.permits.limit())
    }

    fn must_not_block(&self, refused: BlockOnError) -> Result<ClassPermit<'_>, PermitError> {
        self.count_denied();
        Err(PermitError::WouldBlock(refused))
    }
}
