//! Everything that can be wrong with a catalogue, a registry's settings or bucket bounds.

use core::fmt;
use std::error::Error;

use crate::desc::Desc;

/// A catalogue entry breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DescError {
    /// The name does not follow the rules of [`Desc`].
    Name {
        /// The name given.
        name: &'static str,
        /// The rule it breaks.
        problem: &'static str,
    },
    /// A label does not follow the rules.
    Label {
        /// The metric's name.
        name: &'static str,
        /// The label given.
        label: &'static str,
        /// The rule it breaks.
        problem: &'static str,
    },
    /// Nothing says what the metric means.
    NoHelp {
        /// The metric's name.
        name: &'static str,
    },
}

impl fmt::Display for DescError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name, problem } => write!(f, "the metric name {name:?} {problem}"),
            Self::Label {
                name,
                label,
                problem,
            } => write!(f, "the label {label:?} of metric {name:?} {problem}"),
            Self::NoHelp { name } => write!(f, "the metric {name:?} has no help text"),
        }
    }
}

impl Error for DescError {}

/// A collector was not registered; the registry is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// One of its catalogue entries breaks a rule.
    Desc(DescError),
    /// The name is in use, with another kind or other labels.
    Conflict {
        /// What the new collector declares.
        given: &'static Desc,
        /// What the name stands for already.
        registered: &'static Desc,
    },
    /// A label is also a base label of the registry.
    BaseLabel {
        /// The metric's name.
        name: &'static str,
        /// The label that both have.
        label: &'static str,
    },
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Desc(error) => error.fmt(f),
            Self::Conflict { given, registered } => write!(
                f,
                "the metric name {:?} is in use: declared as {:?} with labels {:?}, registered as {:?} with labels {:?}",
                given.name(),
                given.kind(),
                given.labels(),
                registered.kind(),
                registered.labels()
            ),
            Self::BaseLabel { name, label } => write!(
                f,
                "the label {label:?} of metric {name:?} is also a base label of the registry"
            ),
        }
    }
}

impl Error for RegisterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Desc(error) => Some(error),
            _ => None,
        }
    }
}

impl From<DescError> for RegisterError {
    fn from(error: DescError) -> Self {
        Self::Desc(error)
    }
}

/// A registry's settings are wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryError {
    /// The prefix cannot start a metric's name.
    Prefix {
        /// The prefix given.
        prefix: String,
    },
    /// A base label's name cannot be used.
    Label {
        /// The label given.
        label: String,
        /// The rule it breaks.
        problem: &'static str,
    },
    /// No series would ever be shown.
    ZeroMaxSeries,
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix { prefix } => write!(
                f,
                "the prefix {prefix:?} must be lower-case words joined by single `_`, without one at the end"
            ),
            Self::Label { label, problem } => write!(f, "the base label {label:?} {problem}"),
            Self::ZeroMaxSeries => f.write_str("max_series is 0; it must be at least 1"),
        }
    }
}

impl Error for RegistryError {}

/// The bounds of a histogram's buckets are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BoundsError {
    /// There are none.
    Empty,
    /// There are more than a histogram has room for.
    TooMany {
        /// How many were given.
        given: usize,
        /// How many are allowed.
        allowed: usize,
    },
    /// A bound is not above the one before it, or is not a finite number.
    NotRising {
        /// Which one, from 0.
        index: usize,
    },
    /// A snapshot must have one count per bound and one for what is above the last.
    Counts {
        /// How many counts were given.
        given: usize,
        /// How many there must be.
        expected: usize,
    },
}

impl fmt::Display for BoundsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a histogram needs at least one bucket bound"),
            Self::TooMany { given, allowed } => {
                write!(f, "{given} bucket bounds given, at most {allowed} allowed")
            }
            Self::NotRising { index } => write!(
                f,
                "bucket bound {index} must be finite and above the one before it"
            ),
            Self::Counts { given, expected } => write!(
                f,
                "{given} bucket counts given, {expected} needed: one per bound and one above"
            ),
        }
    }
}

impl Error for BoundsError {}
