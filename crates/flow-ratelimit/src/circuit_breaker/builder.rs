//! The builder of a circuit breaker.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::{Backoff, Clock, DefaultClock};

use super::CircuitBreaker;
use super::error::{BreakerConfigError, MOST_CALLS};
use super::state::{Core, Settings};
use super::transition::BreakerTransition;
use super::window::{CountWindow, TimeWindow, Window};

/// Configures a [`CircuitBreaker`]; everything is checked by [`build`](Self::build).
#[must_use = "a builder does nothing until `build` is called"]
pub struct CircuitBreakerBuilder<C = DefaultClock> {
    window: Size,
    minimum_calls: Option<u32>,
    clock: C,
    settings: Settings,
}

#[derive(Clone, Copy, Debug)]
enum Size {
    Calls(u32),
    Time(Duration),
}

impl CircuitBreakerBuilder {
    pub(super) fn new() -> Self {
        Self {
            window: Size::Calls(100),
            minimum_calls: None,
            clock: DefaultClock::new(),
            settings: Settings {
                name: None,
                failure_rate: 0.5,
                slow: None,
                minimum_calls: 0,
                open_for: Backoff::constant(Duration::from_secs(10)),
                trials: 3,
                trial_timeout: Duration::from_secs(60),
                dropped_fails: false,
                hook: None,
            },
        }
    }
}

impl<C: Clock> CircuitBreakerBuilder<C> {
    /// The share of failed calls from which on it opens, more than 0 to 1; 0.5 otherwise.
    pub fn failure_rate(mut self, rate: f64) -> Self {
        self.settings.failure_rate = rate;
        self
    }

    /// From what duration on a call is slow, and the share of slow calls from which on it opens,
    /// more than 0 to 1; no call is slow otherwise.
    ///
    /// A call can be slow and fail; then it counts as both. Each call reads the clock twice.
    pub fn slow_call(mut self, from: Duration, rate: f64) -> Self {
        self.settings.slow = Some((from, rate));
        self
    }

    /// Judges by the last so many calls, 1 to 2^20, exactly; the last 100 otherwise.
    ///
    /// Takes the place of [`window_of`](Self::window_of). Two bits for each call.
    pub fn window(mut self, calls: u32) -> Self {
        self.window = Size::Calls(calls);
        self
    }

    /// Judges by the calls that ended in the last so long, a millisecond to a year.
    ///
    /// Takes the place of [`window`](Self::window). Kept by tenths: a call is forgotten after
    /// between nine tenths of the time and all of it. Each call reads the clock once.
    pub fn window_of(mut self, time: Duration) -> Self {
        self.window = Size::Time(time);
        self
    }

    /// How many calls must be in the window before it is judged by; 20 otherwise, or as many as
    /// the window holds.
    pub fn minimum_calls(mut self, calls: u32) -> Self {
        self.minimum_calls = Some(calls);
        self
    }

    /// How long it stays open before it lets trial calls through: a [`Duration`], or a [`Backoff`]
    /// that says how that grows each time the trials do not go well; 10 seconds otherwise.
    ///
    /// Of a backoff the delays count (20 seconds at the most, unless told otherwise), not its
    /// ends: a breaker does not give up. It begins anew when the breaker has closed.
    pub fn open_for(mut self, time: impl Into<OpenFor>) -> Self {
        self.settings.open_for = time.into().0;
        self
    }

    /// How many trial calls it takes to judge whether it may close, 1 to 2^20; 3 otherwise. There
    /// are never more, and no other calls, until they are in.
    ///
    /// It opens as soon as too many of them have failed or were slow, by the same rates; it closes
    /// when all are in and they were not.
    pub fn trial_calls(mut self, calls: u32) -> Self {
        self.settings.trials = calls;
        self
    }

    /// How long to wait for the outcomes of trial calls after the last of them has begun; a
    /// minute otherwise. Whoever calls after that finds the breaker open again.
    pub fn trial_timeout(mut self, time: Duration) -> Self {
        self.settings.trial_timeout = time;
        self
    }

    /// Whether a call has failed that is dropped before it has an outcome, as a timeout around it
    /// does; it is ignored otherwise.
    pub fn dropped_fails(mut self, fails: bool) -> Self {
        self.settings.dropped_fails = fails;
        self
    }

    /// Is told of each change of state, one after the other and in their order.
    ///
    /// It runs on the thread of a call that made the change, under no lock, so it may use the
    /// breaker; one that takes long holds up that call, and what others change meanwhile is told
    /// by the same thread. A panic in it is contained.
    pub fn on_transition(
        mut self,
        hook: impl Fn(&BreakerTransition) + Send + Sync + 'static,
    ) -> Self {
        self.settings.hook = Some(Box::new(hook));
        self
    }

    /// What to call it in reports and metrics.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// The clock it runs on; otherwise that of the simulation in which `builder()` was called, or
    /// else the machine's. Changes the type.
    ///
    /// While the breaker is closed the clock is read for slow calls and for a window of time only.
    /// A [`CoarseClock`](flow_rt::CoarseClock) makes that next to free.
    pub fn clock<D: Clock>(self, clock: D) -> CircuitBreakerBuilder<D> {
        CircuitBreakerBuilder {
            window: self.window,
            minimum_calls: self.minimum_calls,
            clock,
            settings: self.settings,
        }
    }

    /// Builds the breaker, closed.
    ///
    /// # Errors
    /// [`BreakerConfigError`], for the first value that is out of its range.
    pub fn build(self) -> Result<CircuitBreaker<C>, BreakerConfigError> {
        let mut settings = self.settings;
        let given = settings.failure_rate;
        if !is_rate(given) {
            return Err(BreakerConfigError::FailureRate { given });
        }
        if let Some((from, rate)) = settings.slow {
            if !is_time(from) {
                return Err(BreakerConfigError::SlowCallDuration { given: from });
            }
            if !is_rate(rate) {
                return Err(BreakerConfigError::SlowCallRate { given: rate });
            }
        }
        let most = match self.window {
            Size::Calls(given) if !is_number(given) => {
                return Err(BreakerConfigError::Window { given });
            }
            Size::Time(given) if given < SHORTEST || !is_time(given) => {
                return Err(BreakerConfigError::WindowOf { given });
            }
            Size::Calls(calls) => calls,
            Size::Time(_) => u32::MAX,
        };
        let minimum = self.minimum_calls.unwrap_or(MINIMUM_CALLS.min(most));
        if minimum == 0 || minimum > most {
            return Err(BreakerConfigError::MinimumCalls {
                given: minimum,
                max: most,
            });
        }
        settings.minimum_calls = minimum.into();
        if !is_number(settings.trials) {
            return Err(BreakerConfigError::TrialCalls {
                given: settings.trials,
            });
        }
        if !is_time(settings.trial_timeout) {
            return Err(BreakerConfigError::TrialTimeout {
                given: settings.trial_timeout,
            });
        }
        settings.open_for.validate()?;
        settings.open_for = settings.open_for.attempts(u32::MAX).max_elapsed(LONGEST);
        let window = match self.window {
            Size::Calls(calls) => Window::Count(CountWindow::new(calls)),
            Size::Time(time) => Window::Time(TimeWindow::new(time, self.clock.now())),
        };
        Ok(CircuitBreaker {
            core: Arc::new(Core::new(settings, window, self.clock)),
        })
    }
}

impl<C> fmt::Debug for CircuitBreakerBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerBuilder")
            .field("name", &self.settings.name)
            .field("window", &self.window)
            .field("minimum_calls", &self.minimum_calls)
            .field("failure_rate", &self.settings.failure_rate)
            .field("slow_call", &self.settings.slow)
            .field("open_for", &self.settings.open_for)
            .field("trial_calls", &self.settings.trials)
            .field("trial_timeout", &self.settings.trial_timeout)
            .field("dropped_fails", &self.settings.dropped_fails)
            .finish_non_exhaustive()
    }
}

/// How long a breaker stays open: the same time each time, or one that grows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenFor(Backoff);

impl From<Duration> for OpenFor {
    fn from(time: Duration) -> Self {
        Self(Backoff::constant(time))
    }
}

impl From<Backoff> for OpenFor {
    fn from(growing: Backoff) -> Self {
        Self(growing)
    }
}

/// NaN is none.
fn is_rate(given: f64) -> bool {
    given > 0.0 && given <= 1.0
}

fn is_number(given: u32) -> bool {
    (1..=MOST_CALLS).contains(&given)
}

fn is_time(given: Duration) -> bool {
    !given.is_zero() && given <= LONGEST
}

const MINIMUM_CALLS: u32 = 20;
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(365 * 86_400);
