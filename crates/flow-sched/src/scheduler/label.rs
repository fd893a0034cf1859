//! A job's name as the job keeps it.

use core::ops::Deref;
use std::sync::Arc;

/// A job's name; the empty string if it has none. Without one a clone counts no reference: jobs
/// and runs without a name would all write to the same line.
#[derive(Debug, Clone)]
pub(crate) struct Label(Option<Arc<str>>);

impl Label {
    pub(crate) fn new(name: Option<&str>) -> Self {
        Self(name.map(Arc::from))
    }

    /// The name to keep; that of a job without one is made anew.
    pub(crate) fn to_shared(&self) -> Arc<str> {
        self.0.clone().unwrap_or_default()
    }
}

impl Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}
