//! One child: what tokens are taken for.

use ::core::fmt;
use ::core::task::{Context, Poll};
use ::core::time::Duration;
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock};

use super::Family;
use super::builder::check_shares;
use super::core::Child;
use crate::error::{AcquireError, ConfigError, Denied};
use crate::granted::Granted;
use crate::limiter::{Acquire, AcquireTimeout, Limiter, LimiterExt};
use crate::wait_state::WaitState;
use crate::waiting::Waits;

/// A child of a [`FairShare`](crate::FairShare): its part of the rate, and what others leave. A
/// [`Limiter`] like any other.
///
/// It keeps the whole alive. Clones are the same child.
pub struct Share<C = DefaultClock> {
    pub(super) family: Arc<Family<C>>,
    pub(super) line: usize,
}

impl<C: Clock> Share<C> {
    /// Takes one token now, or says why not.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    ///
    /// # Cost
    /// That of [`try_acquire_n`](Self::try_acquire_n).
    pub fn try_acquire(&self) -> Result<Granted, Denied> {
        self.child().try_take(1)
    }

    /// Takes `n` tokens now, or says why not: its own first, then of what others left, unless
    /// somebody waits for that. 0 tokens are always there. A grant tells of this child: what it
    /// could take more, its part of the burst, and when its own part is full.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then. A lone caller who waits for its
    /// [`retry_after`](Denied::retry_after) is granted if no other child takes anything; if others
    /// wait already it is when its own tokens are there, whatever they take.
    /// [`Denied::ExceedsBurst`] names the child's part of the burst: more is never granted at once,
    /// even if others have left it.
    ///
    /// # Cost
    /// One look at the clock and one lock that all children share; in it a few additions. A denial
    /// that waits until others are full costs more: a pass over all children for each of those that
    /// is full before, at the most.
    pub fn try_acquire_n(&self, n: u64) -> Result<Granted, Denied> {
        self.child().try_take(n)
    }

    /// Whether one token could be taken now. Takes and counts nothing.
    ///
    /// # Errors
    /// What [`try_acquire`](Self::try_acquire) would say.
    ///
    /// # Cost
    /// A lock.
    pub fn peek(&self) -> Result<(), Denied> {
        self.child().peek(1)
    }

    /// Whether `n` tokens could be taken now. Takes and counts nothing.
    ///
    /// # Errors
    /// What [`try_acquire_n`](Self::try_acquire_n) would say.
    ///
    /// # Cost
    /// A lock.
    pub fn peek_n(&self, n: u64) -> Result<(), Denied> {
        self.child().peek(n)
    }

    /// Gives `n` tokens back that were taken and not used: to this child until its own part is
    /// full, then to all. What does not fit the burst of all is lost.
    ///
    /// # Cost
    /// A lock, and a second one if somebody waits.
    pub fn refund(&self, n: u64) {
        self.child().refund(n);
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.child().name
    }

    /// Its weight in force. Locks shortly.
    pub fn weight(&self) -> u32 {
        self.child().look(|queue| queue.supply.weight(self.line))
    }

    /// Whole tokens that it could take now if nobody waited, its own and those that others left.
    /// Locks shortly.
    pub fn available(&self) -> u64 {
        self.child().look(|queue| queue.supply.available(self.line))
    }

    /// The most tokens that it may take at once: its part of the burst in force. Locks shortly.
    pub fn burst(&self) -> u64 {
        self.child().look(|queue| queue.supply.most(self.line))
    }

    /// Changes its weight from now on, and with it the parts of all. All children keep the tokens
    /// that they have; what goes beyond a smaller part is left to the others. Those who wait are
    /// served by the new parts.
    ///
    /// Whoever waits for more than a part that has become smaller gets
    /// [`AcquireError::ExceedsBurst`] when it is their turn.
    ///
    /// # Errors
    /// [`ConfigError`] if it is zero, if all weights together are more than 2^32 - 1, or if a child
    /// would have less than one token of the burst. The old weight stays then.
    ///
    /// # Cost
    /// A pass over all children, under the lock. Less than a grain is lost by each change: a part of
    /// 2^-30 token or so.
    pub fn set_weight(&self, weight: u32) -> Result<(), ConfigError> {
        self.child().change(|shares, now| {
            let weights = shares.weights().enumerate();
            let weights = weights.map(|(line, it)| if line == self.line { weight } else { it });
            check_shares(shares.burst(), weights)?;
            shares.set_weight(self.line, weight, now);
            Ok::<_, ConfigError>(())
        })?;
        #[cfg(feature = "tracing")]
        {
            let to = format_args!("{weight} for {}", self.name());
            crate::events::changed(self.child().core.rules.name.as_deref(), "weight", &to);
        }
        Ok(())
    }

    /// What was done for it and how it stands. Locks shortly.
    pub fn stats(&self) -> ShareStats {
        let (granted, denied) = self.counted().unwrap_or_default();
        let line = self.line;
        self.child().look(|queue| {
            let shares = &queue.supply;
            ShareStats {
                granted,
                denied,
                borrowed: shares.borrowed(line),
                waiting: queue.line(line).len(),
                available: shares.available(line),
                kept: shares.kept(line),
                burst: shares.most(line),
                weight: shares.weight(line),
            }
        })
    }

    /// Grants and denials so far, if they are counted.
    pub(super) fn counted(&self) -> Option<(u64, u64)> {
        self.child().decisions.so_far()
    }

    pub(super) fn child(&self) -> &Arc<Child<C>> {
        &self.family.children[self.line]
    }
}

/// Waiting: first in, first out for each child.
///
/// Whoever waits needs a runtime: the one given to the builder, else the one that polls. A small
/// task there looks at the clock for all children, as for a [`TokenBucket`](crate::TokenBucket).
/// These are the methods of [`LimiterExt`], so that no import is needed.
impl<C: Clock + 'static> Share<C> {
    /// Waits for one token. See [`LimiterExt::acquire_n`].
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on. Tokens that were granted already
    /// come back as by [`refund`](Self::refund): to this child first, even those that it borrowed.
    pub fn acquire(&self) -> Acquire<'_, Self> {
        LimiterExt::acquire_n(self, 1)
    }

    /// Waits for `n` tokens. A large `n` holds up those of the same child behind it. See
    /// [`LimiterExt::acquire_n`].
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on. Tokens that were granted already
    /// come back as by [`refund`](Self::refund): to this child first, even those that it borrowed.
    pub fn acquire_n(&self, n: u64) -> Acquire<'_, Self> {
        LimiterExt::acquire_n(self, n)
    }

    /// Waits for one token, and fails at once if `limit` cannot suffice, even if all others ask for
    /// nothing. See [`LimiterExt::acquire_n_timeout`].
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on. Tokens that were granted already
    /// come back as by [`refund`](Self::refund): to this child first, even those that it borrowed.
    pub fn acquire_timeout(&self, limit: Duration) -> AcquireTimeout<'_, Self> {
        LimiterExt::acquire_n_timeout(self, 1, limit)
    }
}

impl<C: Clock + 'static> Limiter for Share<C> {
    fn try_acquire_n(&self, n: u64) -> Result<Granted, Denied> {
        self.child().try_take(n)
    }

    fn peek_n(&self, n: u64) -> Result<(), Denied> {
        self.child().peek(n)
    }

    fn refund(&self, n: u64) {
        self.child().refund(n);
    }

    fn poll_acquire_n(
        &self,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>> {
        self.child().poll_take(cx, n, state)
    }
}

impl<C> Clone for Share<C> {
    /// Another handle to the same child.
    fn clone(&self) -> Self {
        Self {
            family: self.family.clone(),
            line: self.line,
        }
    }
}

impl<C: Clock> fmt::Debug for Share<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share")
            .field("name", &self.name())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// What a [`Share`] was given and how it stands.
///
/// Each number is exact, and those of tokens and callers are of one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShareStats {
    /// Requests that were granted, at once or after a wait; 0 if they are not counted.
    pub granted: u64,
    /// Requests that were denied, and waits that ended with an error, at their limit too; 0 if they
    /// are not counted. Waits that were dropped are not among them.
    pub denied: u64,
    /// Whole tokens that it took of what others left, ever.
    pub borrowed: u64,
    /// Callers in its line.
    pub waiting: usize,
    /// Whole tokens that it could take if nobody waited.
    pub available: u64,
    /// Whole tokens that are kept for it: nobody else takes them.
    pub kept: u64,
    /// The most tokens that it may take at once.
    pub burst: u64,
    /// Its weight in force.
    pub weight: u32,
}
