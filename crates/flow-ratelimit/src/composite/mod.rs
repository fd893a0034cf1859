//! Several limits at once: all of them, or none.

mod builder;
mod limits;
#[cfg(feature = "metrics")]
mod metrics;
mod tally;

use core::fmt;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use crate::error::{AcquireError, ConfigError, Denied};
use crate::granted::Granted;
use crate::limiter::Limiter;
use crate::wait_state::WaitState;

pub use builder::CompositeBuilder;
#[cfg(feature = "serde")]
pub(crate) use builder::check;
pub use limits::Limits;
pub(crate) use tally::{Tally, Waits};

/// Several limiters that must all grant: a request takes its tokens from each, or from none.
///
/// First all are looked at, and nothing is taken from any if one of them would deny. Then the
/// tokens are taken one limiter after the other; if another caller was faster at one of them, those
/// before it get theirs back, exactly: **a request that is denied changes no limiter's count.**
/// Between the two a limiter may deny somebody else for the tokens that are about to come back.
///
/// The answer to a denial says which limit it was: the one with the longest wait, or one that
/// never grants so much.
///
/// Limits that are always used together, per second and per hour, are cheaper and stricter in a
/// [`MultiBucket`](crate::MultiBucket): it decides at once, and has one queue for all of them.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_ratelimit::{Composite, Rate, TokenBucket};
///
/// let hourly = TokenBucket::new(Rate::per_hour(1_000), 1_000)?;
/// let burst = TokenBucket::new(Rate::per_second(10), 2)?;
/// let both = Composite::new((&hourly, &burst));
///
/// assert_eq!(both.try_acquire_n(2)?.remaining(), 0);
/// let denied = both.try_acquire().unwrap_err();
/// assert_eq!(denied.index, 1); // `burst`
/// assert!(denied.retry_after().is_some_and(|wait| wait.as_millis() <= 100));
/// assert_eq!(hourly.available(), 998);
/// # Ok(())
/// # }
/// ```
///
/// # Waiting
/// A composite is a [`Limiter`], so [`LimiterExt`](crate::LimiterExt) has its futures. Whoever waits
/// stands in the queue of the limiter that denied, holding nothing of the others; when its turn
/// comes all are taken together, or it goes to the queue of the next that denies. So the order is
/// first in, first out only among those who wait for the same limiter, and a caller that needs many
/// scarce limits at once may have to stand in line more than once, all in the time that it has.
///
/// # What it says of itself
/// One of [`new`](Self::new) is the limits and no more: it costs nothing to make, for one request
/// too. One of [`builder`](Self::builder) has a name, and counts what it decides and which limit
/// denied.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_ratelimit::{Composite, TokenBucket};
///
/// let hourly = TokenBucket::new("1000/h", 1_000)?;
/// let burst = TokenBucket::new("10/s", 2)?;
/// let both = Composite::builder((&hourly, &burst)).name("api").build()?;
///
/// both.try_acquire_n(2)?;
/// both.try_acquire().unwrap_err();
/// let stats = both.stats();
/// assert_eq!((stats.granted, stats.denied), (1, 1));
/// assert_eq!(*stats.denied_by, [0, 1]);
/// # Ok(())
/// # }
/// ```
///
/// # Cost
/// Two calls of each limiter for a grant, and a list if one of them has no limit. Waiting takes a
/// box. Counting takes about a nanosecond.
#[derive(Clone)]
pub struct Composite<T> {
    limits: T,
    /// None of one that is nothing but its limits.
    tally: Option<Arc<Tally>>,
}

impl<T: Limits> Composite<T> {
    /// All these limits at once; none at all grant everything. It has no name, and counts nothing.
    pub const fn new(limits: T) -> Self {
        Self {
            limits,
            tally: None,
        }
    }

    /// All these limits at once, under a name and counted.
    pub const fn builder(limits: T) -> CompositeBuilder<T> {
        CompositeBuilder::new(Ok(limits))
    }

    /// Takes one token of each, or says who has none.
    ///
    /// # Errors
    /// [`DeniedBy`]; nothing was taken then.
    pub fn try_acquire(&self) -> Result<Granted, DeniedBy> {
        self.try_acquire_n(1)
    }

    /// Takes `n` tokens of each, or says who has not so many. A grant tells of the limiter with the
    /// fewest tokens left.
    ///
    /// # Errors
    /// [`DeniedBy`]; nothing was taken then.
    pub fn try_acquire_n(&self, n: u64) -> Result<Granted, DeniedBy> {
        self.counted(self.take(n, None))
    }

    /// Whether one token of each could be taken now. Takes and counts nothing.
    ///
    /// # Errors
    /// What [`try_acquire`](Self::try_acquire) would say.
    pub fn peek(&self) -> Result<(), DeniedBy> {
        self.peek_n(1)
    }

    /// Whether `n` tokens of each could be taken now. Takes and counts nothing.
    ///
    /// # Errors
    /// What [`try_acquire_n`](Self::try_acquire_n) would say.
    pub fn peek_n(&self, n: u64) -> Result<(), DeniedBy> {
        self.look(n, None)
    }

    /// Gives `n` tokens back to each, also to one whose rate was unlimited when they were taken.
    pub fn refund(&self, n: u64) {
        for (_, limiter) in self.but(None) {
            limiter.refund(n);
        }
    }

    /// Counts a decision, if they are counted.
    fn counted(&self, decision: Result<Granted, DeniedBy>) -> Result<Granted, DeniedBy> {
        if let Some(tally) = &self.tally {
            match decision {
                Ok(_) => tally.granted(),
                Err(by) => tally.denied(by),
            }
        }
        decision
    }

    /// Looks at all but the one that has granted already, and finds the longest wait.
    fn look(&self, n: u64, held: Option<usize>) -> Result<(), DeniedBy> {
        let denials = self.but(held).filter_map(|(index, limiter)| {
            let denied = limiter.peek_n(n).err()?;
            Some(DeniedBy { index, denied })
        });
        denials.reduce(DeniedBy::longer).map_or(Ok(()), Err)
    }

    /// Takes `n` tokens of all but the one that has granted already.
    fn take(&self, n: u64, held: Option<(usize, Granted)>) -> Result<Granted, DeniedBy> {
        let (held, mut least) = held.unzip();
        self.look(n, held)?;
        // Those of which nothing was taken: they would get what they never gave.
        let mut free = Vec::new();
        for (index, limiter) in self.but(held) {
            match limiter.try_acquire_n(n) {
                Ok(granted) => {
                    if granted.is_free() {
                        free.push(index);
                    }
                    least = Some(least.map_or(granted, |least| fewer(least, granted)));
                }
                Err(denied) => {
                    for (before, limiter) in self.but(held).take_while(|(it, _)| *it < index) {
                        if !free.contains(&before) {
                            limiter.refund(n);
                        }
                    }
                    let by = DeniedBy { index, denied };
                    // Whoever was faster may have left another limit with a longer wait.
                    return Err(self
                        .look(n, held)
                        .map_or_else(|now| by.longer(now), |()| by));
                }
            }
        }
        Ok(least.unwrap_or(Granted::new(u64::MAX, u64::MAX, Duration::ZERO)))
    }

    /// All but one, with their numbers.
    fn but(&self, held: Option<usize>) -> impl Iterator<Item = (usize, &dyn Limiter)> {
        let all = 0..self.limits.count();
        all.filter(move |index| held != Some(*index))
            .filter_map(|index| Some((index, self.limits.at(index)?)))
    }
}

impl<T> Composite<T> {
    /// The limiters.
    pub const fn limits(&self) -> &T {
        &self.limits
    }

    /// Other limits under the same name, in the same counts: for limits that each request has
    /// others of, like that of its [`key`](crate::KeyedLimiter::key). Whatever is denied by a place
    /// that these limits have and those of the builder had not is counted among all denials only.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use flow_ratelimit::{Composite, KeyedLimiter, TokenBucket};
    ///
    /// let per_client = KeyedLimiter::<str>::new("60/min", 1, 1_000)?;
    /// let all = TokenBucket::new("100/s", 20)?;
    /// let api = Composite::builder((per_client.key(""), &all)).name("api").build()?;
    ///
    /// for client in ["anna", "ben", "anna"] {
    ///     let _ = api.with_limits((per_client.key(client), &all))?.try_acquire();
    /// }
    /// assert_eq!(*api.stats().denied_by, [1, 0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] if there is no limit, or more than 1,024, as of
    /// [`build`](CompositeBuilder::build). A tuple never fails.
    ///
    /// # Cost
    /// That of an `Arc`'s clone.
    pub fn with_limits<U: Limits>(&self, limits: U) -> Result<Composite<U>, ConfigError> {
        builder::check(limits.count())?;
        Ok(Composite {
            limits,
            tally: self.tally.clone(),
        })
    }

    /// The name given to the builder.
    pub fn name(&self) -> Option<&str> {
        self.tally.as_ref()?.name.as_deref()
    }

    /// What it has done with all its handles, and how many wait. All is zero of one of
    /// [`new`](Self::new).
    pub fn stats(&self) -> CompositeStats {
        self.tally.as_deref().map(Tally::stats).unwrap_or_default()
    }

    /// What shows it in a `flow_metrics::Registry`, under its name, with each limit by its place;
    /// one of [`new`](Self::new) shows nothing.
    ///
    /// Nothing is published in between: the numbers are read when somebody collects. The limits
    /// are not kept alive; each shows what it has by a collector of its own.
    #[cfg(feature = "metrics")]
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect> {
        Arc::new(metrics::CompositeCollector(self.tally.clone()))
    }
}

/// Denied by the limit with the longest wait.
impl<T: Limits> Limiter for Composite<T> {
    fn try_acquire_n(&self, n: u64) -> Result<Granted, Denied> {
        Ok(self.counted(self.take(n, None))?)
    }

    fn peek_n(&self, n: u64) -> Result<(), Denied> {
        Ok(self.look(n, None)?)
    }

    fn refund(&self, n: u64) {
        Self::refund(self, n);
    }

    fn poll_acquire_n(
        &self,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>> {
        let granted = |granted| {
            if let Some(tally) = &self.tally {
                tally.granted();
            }
            Poll::Ready(Ok(granted))
        };
        // Each turn but the last of a call ends in another limiter's queue.
        for _ in 0..=self.limits.count() {
            let waits = state.member(n);
            let Some((index, limiter, member)) =
                waits.and_then(|(index, member)| Some((index, self.limits.at(index)?, member)))
            else {
                match self.take(n, None) {
                    Ok(all) => {
                        // A wait for another number of tokens ends here.
                        state.leave();
                        return granted(all);
                    }
                    Err(by) => state.wait_for_member(by.index, n),
                }
                continue;
            };
            // One that never grants so much says so itself.
            let own = match limiter.poll_acquire_n(cx, n, member) {
                Poll::Ready(Ok(own)) => own,
                Poll::Ready(Err(error)) => {
                    state.leave();
                    if let Some(tally) = &self.tally {
                        let denied = error.into();
                        tally.denied(DeniedBy { index, denied });
                    }
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {
                    state.member_waits(self.tally.as_ref());
                    return Poll::Pending;
                }
            };
            match self.take(n, Some((index, own))) {
                Ok(all) => {
                    state.leave();
                    return granted(all);
                }
                Err(by) => {
                    if !own.is_free() {
                        limiter.refund(n);
                    }
                    state.wait_for_member(by.index, n);
                }
            }
        }
        // Others come and go faster than this: let them.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T: Limits> fmt::Debug for Composite<T> {
    /// With the number of limits alone: there may be `dyn` ones, which say no more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Composite")
            .field("name", &self.name())
            .field("limits", &self.limits.count())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// What a [`Composite`] has done and how many wait.
///
/// Each number is exact; together they are of about the same moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompositeStats {
    /// Requests that were granted, at once or after a wait; 0 if they are not counted.
    pub granted: u64,
    /// Requests that were denied, and waits that ended with an error, at their limit too; 0 if they
    /// are not counted. Waits that were dropped are in neither number.
    pub denied: u64,
    /// Callers who wait, in whichever line.
    pub waiting: usize,
    /// How many of the denials were by each limit, by its place: of several that deny a request it
    /// is the one that the answer names. Empty if they are not counted.
    pub denied_by: Box<[u64]>,
}

/// The grant that leaves fewer tokens. It is free only if nothing was taken for either.
fn fewer(one: Granted, other: Granted) -> Granted {
    let are_free = one.is_free() && other.is_free();
    let least = if other.remaining() < one.remaining() {
        other
    } else {
        one
    };
    if are_free { least } else { least.not_free() }
}

/// Which limit of a [`Composite`] denied a request, and why. Nothing was taken of any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeniedBy {
    /// Its place in the composite, from 0.
    pub index: usize,
    /// What it said. Of several that deny it is the one with the longest wait.
    pub denied: Denied,
}

impl DeniedBy {
    /// When to come back, if waiting helps at all: the longest wait of all limits that deny.
    pub fn retry_after(&self) -> Option<Duration> {
        self.denied.retry_after()
    }

    /// The one with the longer wait; the first of two that wait as long.
    fn longer(self, next: Self) -> Self {
        if next.wait() > self.wait() {
            next
        } else {
            self
        }
    }

    /// For comparison: never is longer than any time.
    fn wait(&self) -> (bool, Option<Duration>) {
        let wait = self.retry_after();
        (wait.is_none(), wait)
    }
}

impl fmt::Display for DeniedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {} of the composite: {}", self.index, self.denied)
    }
}

/// Its text has the limiter's in it.
impl std::error::Error for DeniedBy {}

impl From<DeniedBy> for Denied {
    fn from(by: DeniedBy) -> Self {
        by.denied
    }
}
