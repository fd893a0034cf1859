//! A job's name as the job keeps it.

use core::ops::Deref;
use std::borrow::Cow;
use std::sync::Arc;

/// A job's name; the empty string if it has none. It is kept as it was given, so that to start a
/// job copies no text.
#[derive(Debug)]
pub(crate) struct Label(Option<Cow<'static, str>>);

impl Label {
    pub(crate) fn new(name: Option<Cow<'static, str>>) -> Self {
        Self(name)
    }

    /// A copy of the name, to keep.
    pub(crate) fn to_shared(&self) -> Arc<str> {
        Arc::from(&**self)
    }
}

impl Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}
