//! The circuit breaker: no calls to what does not answer.

mod builder;
mod call;
mod cells;
mod error;
#[cfg(feature = "metrics")]
mod metrics;
mod permit;
#[cfg(feature = "serde")]
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod transition;
mod window;

use core::fmt;
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock};

use self::state::Core;

pub use builder::{CircuitBreakerBuilder, OpenFor};
pub use call::ClassifiedCalls;
pub use error::{BreakerConfigError, CallError, CallRejected};
pub use permit::{CallPermit, OwnedCallPermit, Verdict};
pub use transition::{BreakerCause, BreakerState, BreakerTransition};

/// Stops calling what fails or is slow, and tries again after a while.
///
/// While it is **closed** calls go through, and it looks at the last of them: a
/// [number](CircuitBreakerBuilder::window) of calls, or a [time](CircuitBreakerBuilder::window_of).
/// When a call fails or is slow, and then too large a share of them has, it **opens**: calls are
/// rejected at once, which spares both sides. The first call after
/// [its time](CircuitBreakerBuilder::open_for) makes it **half-open**: a few
/// [trials](CircuitBreakerBuilder::trial_calls) go through, and by how they end it closes, with
/// nothing remembered, or opens again. Nothing runs in the background.
///
/// The outcome of a call counts in the state that let it through, and in no other: a call from
/// before the breaker opened says nothing to the trials after. A call that goes well never opens
/// it, even if it is the one that makes up the [minimum](CircuitBreakerBuilder::minimum_calls).
///
/// Clones are the same breaker. Give each dependency one of its own.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use flow_ratelimit::{BreakerState, CallRejected, CircuitBreaker};
/// use flow_rt::ManualClock;
///
/// let clock = ManualClock::new();
/// let breaker = CircuitBreaker::builder()
///     .failure_rate(0.5)
///     .window(100)
///     .minimum_calls(4)
///     .open_for(Duration::from_secs(10))
///     .trial_calls(1)
///     .clock(clock.clone())
///     .build()?;
///
/// for _ in 0..2 {
///     breaker.try_acquire()?.success();
///     breaker.try_acquire()?.failure();
/// }
/// assert_eq!(breaker.state(), BreakerState::Open); // two of four
/// let rejected = breaker.try_acquire().unwrap_err();
/// assert_eq!(rejected.retry_after(), Some(Duration::from_secs(10)));
///
/// clock.advance(Duration::from_secs(10));
/// let trial = breaker.try_acquire()?;
/// assert_eq!(breaker.try_acquire().unwrap_err(), CallRejected::TrialsRunning);
/// trial.success();
/// assert_eq!(breaker.state(), BreakerState::Closed);
///
/// // Most calls need no permit: their results say how they went.
/// let seven = breaker.call_sync(|| "7".parse::<u32>())?;
/// assert_eq!(seven, 7);
/// # Ok(())
/// # }
/// ```
pub struct CircuitBreaker<C = DefaultClock> {
    core: Arc<Core<C>>,
}

impl CircuitBreaker {
    /// A breaker that opens from that share of failed calls on; all else is as the
    /// [builder](CircuitBreakerBuilder) has it.
    ///
    /// # Errors
    /// [`BreakerConfigError`] if the rate is not more than 0 to 1.
    pub fn new(failure_rate: f64) -> Result<Self, BreakerConfigError> {
        Self::builder().failure_rate(failure_rate).build()
    }

    /// A breaker to be configured.
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::new()
    }
}

impl<C: Clock> CircuitBreaker<C> {
    /// Lets one call through, or says why not. The permit wants to know how it went.
    ///
    /// # Errors
    /// [`CallRejected`]; do not make the call then.
    ///
    /// # Cost
    /// One load while the breaker is closed; a look at the clock if calls can be slow. A look at
    /// the clock and a counter while it is open. Trials take a short lock.
    #[inline]
    pub fn try_acquire(&self) -> Result<CallPermit<'_, C>, CallRejected> {
        CallPermit::new(&self.core)
    }

    /// Lets one call through like [`try_acquire`](Self::try_acquire), with a permit that borrows
    /// nothing: for a spawned task, or for an answer that is judged when it has been read.
    ///
    /// # Errors
    /// [`CallRejected`]; do not make the call then.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire) and a reference count.
    pub fn try_acquire_owned(&self) -> Result<OwnedCallPermit<C>, CallRejected> {
        OwnedCallPermit::new(&self.core)
    }

    /// Why a call that comes now is rejected, if that is so for a while; for layers, which ask
    /// before there is a call.
    #[cfg(feature = "tower")]
    #[inline]
    pub(crate) fn shut(&self) -> Option<CallRejected> {
        self.core.shut()
    }

    /// Counts a call that was rejected on the ground of [`shut`](Self::shut).
    #[cfg(feature = "tower")]
    pub(crate) fn count_rejected(&self) {
        self.core.cells.add(cells::Count::Rejected);
    }

    /// How it stands. An open breaker becomes half-open when somebody calls, not by itself.
    #[inline]
    pub fn state(&self) -> BreakerState {
        self.core.state()
    }

    /// Opens it as too many failures would, for as long, from whatever state it is in. If it is
    /// open it stays so for the rest of its time; if that has passed it opens anew.
    pub fn open(&self) {
        self.core.trip();
    }

    /// Closes it with nothing remembered, from whatever state it is in. The outcomes of calls
    /// under way are ignored.
    pub fn reset(&self) {
        self.core.reset();
    }

    /// Rejects all calls until [`reset`](Self::reset), [`open`](Self::open) or
    /// [`force_closed`](Self::force_closed).
    pub fn force_open(&self) {
        self.core.hold(true);
    }

    /// Lets all calls through and counts none, until [`reset`](Self::reset),
    /// [`open`](Self::open) or [`force_open`](Self::force_open): it is switched off.
    pub fn force_closed(&self) {
        self.core.hold(false);
    }

    /// The name given at build.
    pub fn name(&self) -> Option<&str> {
        self.core.settings.name.as_deref()
    }

    /// What it has done and how it stands. A look at the clock and a short lock.
    pub fn stats(&self) -> CircuitBreakerStats {
        let standing = self.core.standing();
        CircuitBreakerStats {
            state: standing.state,
            calls: standing.tally.calls,
            failures: standing.tally.failed,
            slow_calls: standing.tally.slow,
            succeeded: standing.succeeded,
            failed: standing.failed,
            slow: standing.slow,
            ignored: standing.ignored,
            rejected: standing.rejected,
            opened: standing.opened,
        }
    }

    /// A collector for a [`flow_metrics::Registry`], under the breaker's name.
    ///
    /// It keeps the breaker alive while it is registered. Nothing is published in between: the
    /// numbers are read when somebody collects.
    #[cfg(feature = "metrics")]
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect>
    where
        C: 'static,
    {
        Arc::new(metrics::BreakerCollector(self.clone()))
    }
}

impl<C> Clone for CircuitBreaker<C> {
    /// Another handle to the same breaker.
    fn clone(&self) -> Self {
        Self {
            core: self.core.clone(),
        }
    }
}

impl<C> fmt::Debug for CircuitBreaker<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

/// What a [`CircuitBreaker`] has done and how it stands.
///
/// Each number is exact; together they are of about the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CircuitBreakerStats {
    /// The state it is in.
    pub state: BreakerState,
    /// Calls that it is judged by: those in the window, or of trials those whose outcome is in.
    /// While it is open or held, those of the window when it left off being closed.
    pub calls: u64,
    /// How many of these failed.
    pub failures: u64,
    /// How many of these were slow.
    pub slow_calls: u64,
    /// All calls that went well, slow ones among them.
    pub succeeded: u64,
    /// All calls that failed.
    pub failed: u64,
    /// All calls that were slow, failed ones among them.
    pub slow: u64,
    /// All calls that were made and have no outcome that counts: ignored, dropped, of a state
    /// that has passed, or let through by force.
    pub ignored: u64,
    /// All calls that were not made.
    pub rejected: u64,
    /// How often it has opened.
    pub opened: u64,
}

impl CircuitBreakerStats {
    /// The share of failed calls of those it is judged by; `None` if there are none.
    pub fn failure_rate(&self) -> Option<f64> {
        share(self.failures, self.calls)
    }

    /// The share of slow calls of those it is judged by; `None` if there are none.
    pub fn slow_rate(&self) -> Option<f64> {
        share(self.slow_calls, self.calls)
    }
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}
