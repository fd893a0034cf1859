//! What a task carries for the work it belongs to: keys and values, and the trace.

use core::fmt;
use std::sync::Arc;

use crate::trace_context::TraceContext;

/// What a context carries beside its cancellation and its deadline; shared until it is changed.
#[derive(Clone, Default)]
pub(crate) struct Carried {
    pub(crate) trace: Option<TraceContext>,
    /// In the order in which the keys came.
    items: Vec<(Arc<str>, Arc<str>)>,
    /// The keys that children get; all of them unless limited.
    propagate: Option<Arc<[Box<str>]>>,
}

impl Carried {
    pub(crate) fn item(&self, key: &str) -> Option<&str> {
        let item = self.items.iter().find(|(have, _)| **have == *key);
        item.map(|(_, value)| &**value)
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = (&str, &str)> {
        self.items.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Sets an item, or leaves all as it was.
    pub(crate) fn set(&mut self, key: Arc<str>, value: Arc<str>) -> Result<(), BaggageError> {
        if key.is_empty() || !key.bytes().all(is_token) {
            return Err(BaggageError::Key {
                given: key.chars().take(64).collect(),
            });
        }
        let at = self.items.iter().position(|(have, _)| *have == key);
        if at.is_none() && self.items.len() == MAX_ITEMS {
            return Err(BaggageError::TooMany { limit: MAX_ITEMS });
        }
        let others = self.items.iter().filter(|(have, _)| *have != key);
        let others: usize = others.map(|(key, value)| size(key, value)).sum();
        let given = others.saturating_add(size(&key, &value));
        if given > MAX_BYTES {
            return Err(BaggageError::TooLarge {
                given,
                limit: MAX_BYTES,
            });
        }
        match at {
            Some(at) => self.items[at].1 = value,
            None => self.items.push((key, value)),
        }
        Ok(())
    }

    pub(crate) fn limit(&mut self, keys: &[&str]) {
        self.propagate = Some(keys.iter().map(|&key| key.into()).collect());
    }

    /// What a child carries. Copies only if something stays behind.
    pub(crate) fn for_child(self: &Arc<Self>) -> Arc<Self> {
        let Some(keys) = &self.propagate else {
            return self.clone();
        };
        let goes = |key: &str| keys.iter().any(|allowed| **allowed == *key);
        if self.items.iter().all(|(key, _)| goes(key)) {
            return self.clone();
        }
        let mut child = Self::clone(self);
        child.items.retain(|(key, _)| goes(key));
        Arc::new(child)
    }
}

/// Why baggage was refused. The context as it was before lives in its clones, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BaggageError {
    /// The key is empty, or has a character that a header's name cannot have.
    Key {
        /// The key, its first 64 characters.
        given: String,
    },
    /// The context carries as many keys as it may.
    TooMany {
        /// How many that is.
        limit: usize,
    },
    /// Keys and values together would be too large.
    TooLarge {
        /// What they would come to, in bytes, with two for each item.
        given: usize,
        /// The most that is allowed.
        limit: usize,
    },
}

impl fmt::Display for BaggageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { given } => write!(
                f,
                "{given:?} cannot be a key of baggage: one or more letters, digits or \
                 !#$%&'*+-.^_`|~ are allowed"
            ),
            Self::TooMany { limit } => {
                write!(f, "a context carries {limit} keys of baggage at the most")
            }
            Self::TooLarge { given, limit } => write!(
                f,
                "baggage of {given} bytes, {limit} are allowed for keys, values and two per item"
            ),
        }
    }
}

impl std::error::Error for BaggageError {}

/// The characters of a token: RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What an item takes in a header: with its `=` and its comma.
fn size(key: &str, value: &str) -> usize {
    key.len() + value.len() + 2
}

/// W3C Baggage, *Limits*: what every carrier must be able to pass on.
pub(crate) const MAX_ITEMS: usize = 64;
pub(crate) const MAX_BYTES: usize = 8_192;
