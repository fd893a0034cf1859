//! Ticks at a fixed period.

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use futures_core::Stream;

use crate::handle::Handle;
use crate::instant::Instant;
use crate::timer::{BoxTimer, Stopped};

/// Ticks at a fixed period, from [`Handle::interval`].
///
/// Tick k is due at start + k · period: lateness does not add up. What happens to ticks that
/// were missed is chosen by [`on_missed`](Self::on_missed).
pub struct Interval {
    handle: Handle,
    timer: BoxTimer,
    next: Instant,
    period: Duration,
    missed: MissedTicks,
}

/// What an [`Interval`] does with ticks whose time passed before they were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MissedTicks {
    /// Deliver each of them, one after the other without delay.
    #[default]
    Burst,
    /// Deliver one, then count the period from then on.
    Delay,
    /// Deliver one, then go on at the next multiple of the period.
    Skip,
}

impl Interval {
    pub(crate) fn new(
        handle: Handle,
        start: Instant,
        period: Duration,
    ) -> Result<Self, ZeroPeriod> {
        if period.is_zero() {
            return Err(ZeroPeriod);
        }
        let timer = handle.timer(start);
        Ok(Self {
            handle,
            timer,
            next: start,
            period,
            missed: MissedTicks::default(),
        })
    }

    /// Chooses what happens to missed ticks.
    pub fn on_missed(mut self, policy: MissedTicks) -> Self {
        self.missed = policy;
        self
    }

    /// The period.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Waits for the next tick and returns when it was due.
    ///
    /// # Errors
    /// [`Stopped`] if the runtime that keeps the time is gone.
    ///
    /// # Cancel safety
    /// A dropped call has taken no tick.
    pub async fn tick(&mut self) -> Result<Instant, Stopped> {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// Polls for the next tick; see [`tick`](Self::tick).
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Result<Instant, Stopped>> {
        ready!(self.timer.poll_fired(cx))?;
        let due = self.next;
        self.next = self.following(due);
        self.timer.arm(self.next);
        Poll::Ready(Ok(due))
    }

    fn following(&self, due: Instant) -> Instant {
        let regular = due + self.period;
        if self.missed == MissedTicks::Burst {
            return regular;
        }
        let now = self.handle.now();
        if now < regular {
            return regular;
        }
        if self.missed == MissedTicks::Delay {
            return now + self.period;
        }
        // Less than 584 years in nanoseconds, so the remainder fits a u64.
        let into = ((now - due).as_nanos() % self.period.as_nanos()) as u64;
        now + self.period - Duration::from_nanos(into)
    }
}

impl Stream for Interval {
    type Item = Instant;

    /// Ends when the runtime that keeps the time is gone.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(cx).map(Result::ok)
    }
}

impl fmt::Debug for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interval")
            .field("period", &self.period)
            .field("next", &self.next)
            .field("missed", &self.missed)
            .finish_non_exhaustive()
    }
}

/// An interval needs a period longer than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZeroPeriod;

impl fmt::Display for ZeroPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an interval's period must be longer than zero; 0 ns was given")
    }
}

impl std::error::Error for ZeroPeriod {}
