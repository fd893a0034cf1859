//! The states of a breaker, and what is said of a change between them.

use core::fmt;

/// How a [`CircuitBreaker`](crate::CircuitBreaker) stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// Calls go through, and their outcomes are counted.
    Closed,
    /// Calls are rejected. It stays so until a call comes after its time has passed.
    Open,
    /// A few calls go through, by whose outcomes it closes or opens; the others are rejected.
    HalfOpen,
    /// Calls are rejected until somebody says otherwise.
    ForcedOpen,
    /// Calls go through until somebody says otherwise, whatever their outcomes.
    ForcedClosed,
}

impl BreakerState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Closed,
        Self::Open,
        Self::HalfOpen,
        Self::ForcedOpen,
        Self::ForcedClosed,
    ];

    /// Its name, as metrics show it: `closed`, `open`, `half_open`, `forced_open`,
    /// `forced_closed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A change of a breaker's state, as its hook is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerTransition {
    /// What it was.
    pub from: BreakerState,
    /// What it is.
    pub to: BreakerState,
    /// Why.
    pub cause: BreakerCause,
}

impl fmt::Display for BreakerTransition {
    /// Like `closed -> open: too many calls failed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {}", self.from, self.to, self.cause)
    }
}

/// Why a breaker's state has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerCause {
    /// Too many calls of the window failed.
    FailureRate,
    /// Too many calls of the window were slow.
    SlowCallRate,
    /// It was open for its time, and somebody called.
    OpenForPassed,
    /// The trials are in, and enough of them went well.
    TrialsSucceeded,
    /// Too many trials failed.
    TrialsFailed,
    /// Too many trials were slow.
    TrialsSlow,
    /// Trials had no outcome in time.
    TrialsTimedOut,
    /// Somebody said so.
    Manual,
}

impl fmt::Display for BreakerCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FailureRate => "too many calls failed",
            Self::SlowCallRate => "too many calls were slow",
            Self::OpenForPassed => "it was open for its time",
            Self::TrialsSucceeded => "enough trial calls went well",
            Self::TrialsFailed => "too many trial calls failed",
            Self::TrialsSlow => "too many trial calls were slow",
            Self::TrialsTimedOut => "trial calls had no outcome in time",
            Self::Manual => "by hand",
        })
    }
}
