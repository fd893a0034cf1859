//! What a server tells its clients that they are allowed.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use flow_rt::Clock;
use http::HeaderValue;

use super::item::item;
use super::structured::MAX_INTEGER;
use crate::keyed::{KeyedClass, KeyedLimiter, LiveClass, Store};
use crate::rate::Rate;
use crate::token_bucket::TokenBucket;

/// A policy by name: so much in such a time, as the field `RateLimit-Policy` says it.
#[derive(Clone)]
pub struct Policy {
    /// As it stands in fields, in quotation marks.
    quoted: Box<str>,
    name: Box<str>,
    numbers: Numbers,
    /// The field's value, of the numbers that the policy was made with.
    field: Option<HeaderValue>,
}

#[derive(Clone)]
enum Numbers {
    Fixed {
        quota: u64,
        window: Option<Duration>,
    },
    Live {
        limiter: Arc<dyn Advertise + Send + Sync>,
        /// What it said first. Few limits are ever changed: to see that this one was not costs a
        /// response less than to write the item.
        first: (u64, Rate),
    },
}

/// A limiter whose rate and burst can be told to clients, as they are at the moment: [`TokenBucket`],
/// [`KeyedLimiter`], by the quota of its class 0, and the [`KeyedClass`]es of that.
pub trait Advertise {
    /// The burst and the rate in force.
    fn burst_and_rate(&self) -> (u64, Rate);
}

impl<C: Clock> Advertise for TokenBucket<C> {
    fn burst_and_rate(&self) -> (u64, Rate) {
        (self.burst(), self.rate())
    }
}

impl<K: ?Sized, C: Clock, S: Store> Advertise for KeyedLimiter<K, C, S> {
    fn burst_and_rate(&self) -> (u64, Rate) {
        (self.burst(), self.rate())
    }
}

impl<K: ?Sized, C: Clock, S: Store> Advertise for KeyedClass<'_, K, C, S> {
    fn burst_and_rate(&self) -> (u64, Rate) {
        (self.burst(), self.rate())
    }
}

impl<C: Clock, S: Store> Advertise for LiveClass<C, S> {
    fn burst_and_rate(&self) -> (u64, Rate) {
        self.class().burst_and_rate()
    }
}

impl Policy {
    /// The policy of a limiter, which clients are told by this name. If the limiter is changed the
    /// policy follows.
    ///
    /// # Errors
    /// [`PolicyError`] if the name cannot stand in a field.
    pub fn of<L>(name: &str, limiter: &L) -> Result<Self, PolicyError>
    where
        L: Advertise + Clone + Send + Sync + 'static,
    {
        let limiter = Arc::new(limiter.clone());
        let first = limiter.burst_and_rate();
        Self::with(name, Numbers::Live { limiter, first })
    }

    /// The policy of one class of a limiter; see [`of`](Self::of).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use flow_ratelimit::KeyedLimiter;
    /// use flow_ratelimit::fields::Policy;
    ///
    /// let limiter = KeyedLimiter::<str>::builder().rate("60/min burst 60");
    /// let limiter = limiter.classes(["600/min burst 100"]);
    /// let limiter = limiter.max_keys(10_000).build()?;
    /// let free = Policy::of("free", &limiter)?;
    /// let paid = Policy::of_class("paid", limiter.class(1)?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PolicyError`] if the name cannot stand in a field.
    pub fn of_class<K, C, S>(
        name: &str,
        class: KeyedClass<'_, K, C, S>,
    ) -> Result<Self, PolicyError>
    where
        K: ?Sized,
        C: Clock + 'static,
        S: Store,
    {
        let limiter = Arc::new(class.live());
        let first = limiter.burst_and_rate();
        Self::with(name, Numbers::Live { limiter, first })
    }

    /// A policy by its numbers: `quota` requests in each `window`, if there is one. Clients are told
    /// whole seconds, rounded up.
    ///
    /// # Errors
    /// [`PolicyError`] if the name cannot stand in a field, or the window is zero.
    pub fn new(
        name: &str,
        quota: u64,
        window: impl Into<Option<Duration>>,
    ) -> Result<Self, PolicyError> {
        let window = window.into();
        if window.is_some_and(|window| window.is_zero()) {
            return Err(PolicyError::ZeroWindow);
        }
        Self::with(name, Numbers::Fixed { quota, window })
    }

    fn with(name: &str, numbers: Numbers) -> Result<Self, PolicyError> {
        let refuse = |reason| {
            Err(PolicyError::InvalidName {
                name: name.into(),
                reason,
            })
        };
        if name.is_empty() {
            return refuse("it is empty");
        }
        if name.len() > MAX_NAME {
            return refuse("it is longer than 256 bytes");
        }
        if !name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return refuse("it has characters beyond printable ASCII");
        }
        let quoted = quoted(name);
        let (quota, window) = match &numbers {
            Numbers::Fixed { quota, window } => (*quota, window.map(seconds)),
            Numbers::Live { first, .. } => quota_and_window(*first),
        };
        Ok(Self {
            field: field(&quoted, quota, window),
            quoted: quoted.into(),
            name: name.into(),
            numbers,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name as it stands in fields.
    pub(super) fn quoted(&self) -> &str {
        &self.quoted
    }

    /// The field `RateLimit-Policy`.
    pub(super) fn field(&self) -> Option<HeaderValue> {
        if let Numbers::Live { limiter, first } = &self.numbers {
            let now = limiter.burst_and_rate();
            if now != *first {
                let (quota, window) = quota_and_window(now);
                return field(&self.quoted, quota, window);
            }
        }
        self.field.clone()
    }

    /// The quota now.
    pub(super) fn quota(&self) -> u64 {
        match &self.numbers {
            Numbers::Fixed { quota, .. } => *quota,
            Numbers::Live { limiter, .. } => limiter.burst_and_rate().0,
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field();
        let item = field.as_ref().map_or(&[][..], HeaderValue::as_bytes);
        f.debug_tuple("Policy")
            .field(&String::from_utf8_lossy(item))
            .finish()
    }
}

fn field(quoted: &str, quota: u64, window: Option<u64>) -> Option<HeaderValue> {
    item(quoted, (b'q', quota.min(MAX_INTEGER)), (b'w', window))
}

fn quota_and_window((burst, rate): (u64, Rate)) -> (u64, Option<u64>) {
    (burst, window(burst, rate))
}

/// A string of RFC 9651.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted.push('"');
    quoted
}

/// Whole seconds, rounded up; no more than a field can say.
pub(super) fn seconds(of: Duration) -> u64 {
    let seconds = of.as_secs();
    let whole = seconds.saturating_add(u64::from(of.subsec_nanos() > 0));
    whole.min(MAX_INTEGER)
}

/// How long it takes for a burst to come, at the least a second; none if it never does.
fn window(burst: u64, rate: Rate) -> Option<u64> {
    if rate.is_zero() {
        return None;
    }
    let nanos = u128::from(burst).checked_mul(rate.period().as_nanos());
    let per_second = u128::from(rate.tokens()) * NANOS;
    let seconds = nanos?.div_ceil(per_second).max(1);
    Some(u64::try_from(seconds).map_or(MAX_INTEGER, |seconds| seconds.min(MAX_INTEGER)))
}

/// Why a [`Policy`] was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// The name cannot stand in a field.
    InvalidName {
        /// The name.
        name: Box<str>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A window of no length.
    ZeroWindow,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName { name, reason } => write!(
                f,
                "{name:?} is no name for a policy: {reason}; allowed are 1 to 256 characters of \
                 printable ASCII"
            ),
            Self::ZeroWindow => {
                f.write_str("the window of a policy must be longer than zero; it may have none")
            }
        }
    }
}

impl std::error::Error for PolicyError {}

/// Longer names would be most of a response.
const MAX_NAME: usize = 256;
const NANOS: u128 = 1_000_000_000;
