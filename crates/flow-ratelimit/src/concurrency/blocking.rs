//! Waiting for permits on a plain thread, in one queue with the tasks that wait.

use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;

use flow_rt::{Clock, DefaultClock, Handle, block_on};
use flow_sync::sync::thread;
use flow_sync::{PermitWait, TryAcquireError};

use super::{ConcurrencyLimiter, Permit, PermitError};
use crate::unpark;

/// Waiting on a plain thread: in one queue with the tasks that wait.
///
/// No runtime is needed. These calls block, so they refuse to wait where [`flow_rt::block_on`]
/// does: on the threads of a runtime, outside of its blocking closures, and in a simulation.
/// Permits that are there at once are taken anywhere, and what waiting cannot change is said.
impl ConcurrencyLimiter {
    /// Waits for a permit on the calling thread. See
    /// [`acquire_n_blocking`](Self::acquire_n_blocking).
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    pub fn acquire_blocking(&self) -> Result<Permit<'_>, PermitError> {
        self.acquire_n_blocking(1)
    }

    /// Waits for `n` permits at once on the calling thread.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then. [`PermitError::WouldBlock`] if it would have to
    /// wait where that would stop a runtime or a simulation.
    pub fn acquire_n_blocking(&self, n: u32) -> Result<Permit<'_>, PermitError> {
        if let Some(known) = self.known_at_once(n) {
            return known;
        }
        block_on(self.acquire_n(n)).unwrap_or_else(|refused| self.must_not_block(refused))
    }

    /// Waits for a permit on the calling thread, for `limit` at the most. See
    /// [`acquire_n_blocking_timeout`](Self::acquire_n_blocking_timeout).
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    pub fn acquire_blocking_timeout(&self, limit: Duration) -> Result<Permit<'_>, PermitError> {
        self.acquire_n_blocking_timeout(1, limit)
    }

    /// Waits for `n` permits at once on the calling thread, for `limit` at the most.
    ///
    /// The thread keeps the time itself. A permit handed over at the same instant as the limit
    /// wins; what waiting cannot change fails at once.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use flow_ratelimit::{ConcurrencyLimiter, PermitError};
    ///
    /// let limiter = ConcurrencyLimiter::new(1)?;
    /// let held = limiter.acquire_blocking()?;
    /// let late = limiter.acquire_blocking_timeout(Duration::from_millis(1));
    /// assert!(matches!(late, Err(PermitError::Timeout { .. })));
    /// drop(held);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`acquire_n_blocking`](Self::acquire_n_blocking), and [`PermitError::Timeout`].
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire) if the permits are there; else one allocation
    /// and a short lock for each wake-up.
    pub fn acquire_n_blocking_timeout(
        &self,
        n: u32,
        limit: Duration,
    ) -> Result<Permit<'_>, PermitError> {
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
    fn known_at_once(&self, n: u32) -> Option<Result<Permit<'_>, PermitError>> {
        match self.permits.try_acquire(n) {
            Ok(()) => Some(Ok(Permit::new(&self.permits, n))),
            Err(TryAcquireError::Unavailable) => None,
            Err(error) => Some(Err(self.denied(error).into())),
        }
    }

    fn sit(&self, n: u32, limit: Duration) -> Result<Permit<'_>, PermitError> {
        let mut wait = PermitWait::borrowed();
        let sat = park_until(limit, |cx| self.permits.poll_wait(cx, n, &mut wait));
        match sat {
            Some(Ok(())) => Ok(Permit::new(&self.permits, n)),
            Some(Err(error)) => Err(self.refused(error)),
            None => {
                self.count_denied();
                Err(PermitError::Timeout { limit })
            }
        }
    }

    fn must_not_block(&self, refused: flow_rt::BlockOnError) -> Result<Permit<'_>, PermitError> {
        self.count_denied();
        Err(PermitError::WouldBlock(refused))
    }
}

/// Polls until there is an answer, for `limit` at the most, and lets the thread sleep in between;
/// `None` if the time is over.
pub(crate) fn park_until<T>(
    limit: Duration,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let clock = DefaultClock::default();
    let until = clock.now() + limit;
    let waker = unpark::this_thread();
    loop {
        // Read before the look: what comes at the same instant wins.
        let left = until.saturating_duration_since(clock.now());
        if let Poll::Ready(answer) = poll(&mut Context::from_waker(&waker)) {
            return Some(answer);
        }
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// It is not there before the time is over, and there is one more look then.
    #[test]
    fn what_comes_as_the_time_ends_wins() {
        let (clock, limit) = (DefaultClock::default(), Duration::from_millis(1));
        let until = clock.now() + limit;
        let came = park_until(limit, |_| {
            if clock.now() < until {
                return Poll::Pending;
            }
            Poll::Ready(())
        });
        assert_eq!(came, Some(()));
    }
}
