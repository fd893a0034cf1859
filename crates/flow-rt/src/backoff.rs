//! How long to wait between the runs of something that fails, and when to give up.

use core::fmt;
use core::time::Duration;

use crate::rng::{self, SplitMix};

/// A plan for running again what has failed: the delays between the runs, and their number.
///
/// Plain data, checked where it is used: by [`Handle::retry`](crate::Handle::retry) before the
/// first run, by the builders that take one in their `build` or `start`, by
/// [`delays`](Self::delays) and [`validate`](Self::validate).
///
/// Unless told otherwise it allows three runs, and delays of 20 seconds at the most (or of the
/// first delay, if that is more): the defaults of the AWS SDKs' standard mode.
///
/// ```
/// use std::time::Duration;
/// use flow_rt::Backoff;
///
/// let plan = Backoff::exponential(Duration::from_millis(50))
///     .max_delay(Duration::from_millis(300))
///     .attempts(5);
/// let delays: Vec<u128> = plan.delays()?.map(|delay| delay.as_millis()).collect();
/// assert_eq!(delays, [50, 100, 200, 300]);
///
/// let refused = Backoff::exponential(Duration::from_millis(50)).factor(f64::NAN).delays();
/// assert_eq!(
///     refused.unwrap_err().to_string(),
///     "a factor of NaN, allowed are 1 to 1000"
/// );
/// # Ok::<_, flow_rt::BackoffConfigError>(())
/// ```
///
/// # Source
/// The three kinds of jitter are those of Marc Brooker, *Exponential Backoff And Jitter*, AWS
/// Architecture Blog, 2015.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use = "a plan does nothing by itself"]
pub struct Backoff {
    first: Duration,
    factor: Option<f64>,
    jitter: Jitter,
    max_delay: Option<Duration>,
    max_elapsed: Option<Duration>,
    attempts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Jitter {
    None,
    Full,
    Equal,
    Decorrelated,
}

impl Backoff {
    /// The same delay each time.
    pub const fn constant(delay: Duration) -> Self {
        Self {
            factor: Some(1.0),
            ..Self::exponential(delay)
        }
    }

    /// Delays that begin with `first` and double each time.
    pub const fn exponential(first: Duration) -> Self {
        Self {
            first,
            factor: None,
            jitter: Jitter::None,
            max_delay: None,
            max_elapsed: None,
            attempts: 3,
        }
    }

    /// What a delay is multiplied by to give the next one, from 1 to 1000; 2 unless set, 3 with
    /// decorrelated jitter.
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = Some(factor);
        self
    }

    /// Draws each delay from zero to what it would be: the least load when many retry at once.
    pub const fn full_jitter(mut self) -> Self {
        self.jitter = Jitter::Full;
        self
    }

    /// Draws each delay from half of what it would be to all of it: never much too soon.
    pub const fn equal_jitter(mut self) -> Self {
        self.jitter = Jitter::Equal;
        self
    }

    /// Draws each delay from the first one to `factor` times the one before, which was drawn
    /// too. The factor must be more than 1.
    pub const fn decorrelated_jitter(mut self) -> Self {
        self.jitter = Jitter::Decorrelated;
        self
    }

    /// The longest delay.
    pub const fn max_delay(mut self, longest: Duration) -> Self {
        self.max_delay = Some(longest);
        self
    }

    /// How long after the begin of the first run the last one may begin; without a limit unless
    /// set.
    pub const fn max_elapsed(mut self, limit: Duration) -> Self {
        self.max_elapsed = Some(limit);
        self
    }

    /// How many runs there may be, the first one included; 3 unless set, [`u32::MAX`] is as good
    /// as no limit.
    pub const fn attempts(mut self, runs: u32) -> Self {
        self.attempts = runs;
        self
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`BackoffConfigError`], for the first value that is out of its range.
    #[inline]
    pub fn validate(&self) -> Result<(), BackoffConfigError> {
        if !is_allowed(self.first) {
            return Err(BackoffConfigError::Delay { given: self.first });
        }
        let decorrelated = self.jitter == Jitter::Decorrelated;
        if let Some(given) = self.factor
            && (!(1.0..=MAX_FACTOR).contains(&given) || (decorrelated && given <= 1.0))
        {
            return Err(BackoffConfigError::Factor {
                given,
                decorrelated,
            });
        }
        if let Some(given) = self.max_delay
            && (given < self.first || !is_allowed(given))
        {
            let first = self.first;
            return Err(BackoffConfigError::MaxDelay { given, first });
        }
        if let Some(given) = self.max_elapsed
            && !is_allowed(given)
        {
            return Err(BackoffConfigError::MaxElapsed { given });
        }
        if self.attempts == 0 {
            return Err(BackoffConfigError::NoAttempts);
        }
        Ok(())
    }

    /// The delays between the runs, one fewer than there are runs. Jitter is drawn anew each
    /// time: inside a simulation from its seed, else from one that the process drew at random.
    ///
    /// # Errors
    /// Those of [`validate`](Self::validate).
    pub fn delays(&self) -> Result<Delays, BackoffConfigError> {
        self.validate()?;
        Ok(Delays::new(self, rng::entropy()))
    }

    /// The delays like [`delays`](Self::delays), the same ones for the same seed.
    ///
    /// # Errors
    /// Those of [`validate`](Self::validate).
    pub fn delays_with_seed(&self, seed: u64) -> Result<Delays, BackoffConfigError> {
        self.validate()?;
        Ok(Delays::new(self, seed))
    }
}

impl Default for Backoff {
    /// From 100 milliseconds, doubled, with full jitter: up to three runs.
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100)).full_jitter()
    }
}

/// The delays of a [`Backoff`], for loops of your own.
///
/// As an iterator it counts the delays alone against `max_elapsed`;
/// [`next_within`](Self::next_within) takes the time that has passed.
#[derive(Debug, Clone)]
pub struct Delays {
    first: u64,
    longest: u64,
    factor: f64,
    jitter: Jitter,
    max_elapsed: Option<Duration>,
    left: u32,
    /// What the next delay is before jitter, in nanoseconds; of decorrelated jitter, the last one
    /// as drawn. Not a whole number, so that small ones grow too.
    next: f64,
    rng: SplitMix,
    given: Duration,
}

impl Delays {
    /// For a plan that was checked.
    fn new(plan: &Backoff, seed: u64) -> Self {
        let decorrelated = plan.jitter == Jitter::Decorrelated;
        let longest = plan.max_delay.unwrap_or(MAX_DELAY.max(plan.first));
        Self {
            first: nanos(plan.first),
            longest: nanos(longest),
            factor: plan.factor.unwrap_or(if decorrelated { 3.0 } else { 2.0 }),
            jitter: plan.jitter,
            max_elapsed: plan.max_elapsed,
            left: plan.attempts - 1,
            next: nanos(plan.first) as f64,
            rng: SplitMix::new(seed),
            given: Duration::ZERO,
        }
    }

    /// The next delay, `elapsed` after the begin of the first run.
    ///
    /// # Errors
    /// [`GiveUp::Attempts`] after the last run, and [`GiveUp::MaxElapsed`] if the next one would
    /// begin too late.
    pub fn next_within(&mut self, elapsed: Duration) -> Result<Duration, GiveUp> {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(GiveUp::Attempts);
        };
        let delay = Duration::from_nanos(self.draw());
        self.check_elapsed(elapsed.saturating_add(delay))?;
        self.left = left;
        self.given = self.given.saturating_add(delay);
        Ok(delay)
    }

    /// Whether a run may begin so long after the begin of the first one.
    pub(crate) fn check_elapsed(&self, at: Duration) -> Result<(), GiveUp> {
        match self.max_elapsed {
            Some(limit) if at > limit => Err(GiveUp::MaxElapsed { limit }),
            _ => Ok(()),
        }
    }

    fn draw(&mut self) -> u64 {
        let grown = self.next * self.factor;
        if self.jitter == Jitter::Decorrelated {
            let spread = saturated(grown).saturating_sub(self.first);
            let drawn = self.first + self.rng.up_to(spread);
            let delay = drawn.min(self.longest);
            self.next = delay as f64;
            return delay;
        }
        let ceiling = saturated(self.next).min(self.longest);
        self.next = grown.min(self.longest as f64);
        match self.jitter {
            Jitter::Full => self.rng.up_to(ceiling),
            Jitter::Equal => {
                let half = ceiling / 2;
                half + self.rng.up_to(ceiling - half)
            }
            Jitter::None | Jitter::Decorrelated => ceiling,
        }
    }
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.next_within(self.given).ok()
    }
}

/// Why there is no next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GiveUp {
    /// All allowed runs have failed.
    Attempts,
    /// The next run would begin too long after the first.
    MaxElapsed {
        /// The plan's limit.
        limit: Duration,
    },
    /// The error is one that `retry_if` declined.
    NotRetryable,
    /// The retry budget is spent.
    Budget,
    /// The deadline of the task's context would pass before the next run.
    Deadline,
    /// The task's context was cancelled.
    Cancelled,
    /// The runtime that kept the time is gone.
    Stopped,
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempts => f.write_str("that was the last one allowed"),
            Self::MaxElapsed { limit } => {
                write!(
                    f,
                    "the next one would begin later than {limit:?} after the first"
                )
            }
            Self::NotRetryable => f.write_str("its error is not one to try again for"),
            Self::Budget => f.write_str("the retry budget is spent"),
            Self::Deadline => f.write_str("the task's deadline would pass before the next one"),
            Self::Cancelled => f.write_str("the task was cancelled"),
            Self::Stopped => f.write_str("the runtime that keeps the time has shut down"),
        }
    }
}

/// Why a [`Backoff`] was refused.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum BackoffConfigError {
    /// The first delay is zero or longer than a year.
    Delay {
        /// The delay.
        given: Duration,
    },
    /// The factor is not a number, below 1 or above 1000; or 1 with decorrelated jitter.
    Factor {
        /// The factor.
        given: f64,
        /// Whether the jitter is decorrelated.
        decorrelated: bool,
    },
    /// The longest delay is shorter than the first one, or longer than a year.
    MaxDelay {
        /// The longest delay.
        given: Duration,
        /// The first delay.
        first: Duration,
    },
    /// The limit of the time that may pass is zero or longer than a year.
    MaxElapsed {
        /// The limit.
        given: Duration,
    },
    /// No run is allowed.
    NoAttempts,
}

impl fmt::Display for BackoffConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delay { given } => {
                write!(f, "a delay of {given:?}, allowed are 1ns to 365 days")
            }
            Self::Factor {
                given,
                decorrelated: false,
            } => write!(f, "a factor of {given}, allowed are 1 to {MAX_FACTOR}"),
            Self::Factor {
                given,
                decorrelated: true,
            } => write!(
                f,
                "a factor of {given}, allowed with decorrelated jitter are more than 1 to \
                 {MAX_FACTOR}"
            ),
            Self::MaxDelay { given, first } => write!(
                f,
                "a longest delay of {given:?}, allowed are {first:?} (the first one) to 365 days"
            ),
            Self::MaxElapsed { given } => write!(
                f,
                "a limit of {given:?} for all runs, allowed are 1ns to 365 days"
            ),
            Self::NoAttempts => write!(f, "0 attempts, allowed are 1 to {}", u32::MAX),
        }
    }
}

impl std::error::Error for BackoffConfigError {}

#[inline]
fn is_allowed(given: Duration) -> bool {
    !given.is_zero() && given <= LONGEST
}

/// Of a duration of a year at the most.
fn nanos(of: Duration) -> u64 {
    of.as_nanos() as u64
}

#[allow(clippy::cast_sign_loss)] // delays are positive, and so are factors
fn saturated(nanos: f64) -> u64 {
    nanos as u64
}

const LONGEST: Duration = Duration::from_secs(365 * 86_400);
const MAX_DELAY: Duration = Duration::from_secs(20);
const MAX_FACTOR: f64 = 1_000.0;
