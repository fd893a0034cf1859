//! The builder of a limiter with classes.

use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::Handle;
use flow_sync::ClassedPermits;

use super::{Class, ClassedConfigError, ClassedLimiter, Shared};
use crate::decisions::Decisions;

/// Configures a [`ClassedLimiter`]; everything is checked by [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClassedLimiterBuilder {
    limit: Option<u32>,
    classes: Vec<(Cow<'static, str>, u32)>,
    max_waiters: usize,
    name: Option<Cow<'static, str>>,
    runtime: Option<Handle>,
    is_counted: bool,
}

impl ClassedLimiterBuilder {
    pub(super) fn new() -> Self {
        Self {
            limit: None,
            classes: Vec::new(),
            max_waiters: usize::MAX,
            name: None,
            runtime: None,
            is_counted: true,
        }
    }

    /// How many permits there are for all classes, 1 to [`ClassedLimiter::max_limit`]. Required.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Adds a class, lower than those before it, with `share` of the limit kept for it; 0 for one
    /// that has only what the others leave. At least one is required.
    pub fn class(mut self, name: impl Into<Cow<'static, str>>, share: u32) -> Self {
        self.classes.push((name.into(), share));
        self
    }

    /// How many callers may wait at once, of all classes; any number otherwise.
    pub fn max_waiters(mut self, max: usize) -> Self {
        self.max_waiters = max;
        self
    }

    /// What to call it in reports and metrics.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whose timers bound a wait; otherwise those of the runtime that polls it.
    pub fn runtime(mut self, runtime: &Handle) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// Whether decisions are counted; they are otherwise. It is some nanoseconds for each
    /// decision; the cells for them, 3 KiB for each class, are there in any case.
    pub fn counted(mut self, counted: bool) -> Self {
        self.is_counted = counted;
        self
    }

    /// Builds the limiter, all permits free.
    ///
    /// # Errors
    /// [`ClassedConfigError`] if the limit or the classes are missing or out of range, two classes
    /// have one name, the shares are more than the limit, or nobody may wait.
    pub fn build(self) -> Result<ClassedLimiter, ClassedConfigError> {
        let limit = self.limit.ok_or(ClassedConfigError::MissingLimit)?;
        if limit == 0 {
            return Err(ClassedConfigError::ZeroLimit);
        }
        if self.max_waiters == 0 {
            return Err(ClassedConfigError::ZeroWaiters);
        }
        for (at, (name, _)) in self.classes.iter().enumerate() {
            if self.classes[..at].iter().any(|(before, _)| before == name) {
                let name = name.clone().into_owned();
                return Err(ClassedConfigError::DuplicateClass { name });
            }
        }
        let shares: Vec<u32> = self.classes.iter().map(|&(_, share)| share).collect();
        let permits = ClassedPermits::new(limit, &shares, self.max_waiters)?;
        let is_counted = self.is_counted;
        let class = |(name, _)| Class {
            name,
            decisions: Decisions::new(is_counted),
        };
        Ok(ClassedLimiter {
            permits: Arc::new(permits),
            shared: Arc::new(Shared {
                name: self.name,
                runtime: self.runtime,
                classes: self.classes.into_iter().map(class).collect(),
            }),
        })
    }
}
