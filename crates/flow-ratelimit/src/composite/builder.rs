//! The builder of a composite.

use core::fmt;
use std::borrow::Cow;
use std::sync::Arc;

use super::tally::Tally;
use super::{Composite, Limits};
use crate::error::ConfigError;

/// Configures a [`Composite`]; everything is checked by [`build`](Self::build).
#[must_use = "a builder does nothing until `build` is called"]
pub struct CompositeBuilder<T> {
    limits: Result<T, ConfigError>,
    name: Option<Cow<'static, str>>,
    is_counted: bool,
}

impl<T: Limits> CompositeBuilder<T> {
    pub(crate) const fn new(limits: Result<T, ConfigError>) -> Self {
        Self {
            limits,
            name: None,
            is_counted: true,
        }
    }

    /// What to call it in reports and metrics.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether decisions are counted; they are otherwise. It is 3 KiB for each limit, beside the
    /// 3 KiB that one with a name takes in any case, and about a nanosecond.
    pub fn counted(mut self, counted: bool) -> Self {
        self.is_counted = counted;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// [`ConfigError`] if there is no limit, which would grant everything under a name, or more
    /// than 1,024; or, of limits that were read from settings, [`ConfigError::InvalidLimit`] with
    /// what is wrong with the first that cannot be built.
    pub fn build(self) -> Result<Composite<T>, ConfigError> {
        let limits = self.limits?;
        let given = check(limits.count())?;
        let tally = Tally::new(self.name, given, self.is_counted);
        Ok(Composite {
            limits,
            tally: Some(Arc::new(tally)),
        })
    }
}

impl<T: Limits> fmt::Debug for CompositeBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompositeBuilder")
            .field("limits", &self.limits.as_ref().map(Limits::count))
            .field("name", &self.name)
            .field("counted", &self.is_counted)
            .finish_non_exhaustive()
    }
}

/// Whether there may be so many limits under a name.
pub(crate) const fn check(given: usize) -> Result<usize, ConfigError> {
    match given {
        0 => Err(ConfigError::NoLimits),
        1..=MAX_LIMITS => Ok(given),
        _ => Err(ConfigError::TooManyLimits {
            given,
            max: MAX_LIMITS,
        }),
    }
}

/// Counts of so many take 3 MiB.
const MAX_LIMITS: usize = 1_024;
