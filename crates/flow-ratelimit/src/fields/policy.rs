//! What a server tells its clients that they are allowed.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use flow_rt::Clock;
use http::HeaderValue;

use super::each::Each;
use super::named::{Named, quota_and_window, seconds};
use crate::keyed::{KeyedClass, KeyedLimiter, LiveClass, Store};
use crate::multi_bucket::MultiBucket;
use crate::rate::Rate;
use crate::token_bucket::TokenBucket;

/// A policy by name: so much in such a time, as the field `RateLimit-Policy` says it.
#[derive(Clone)]
pub struct Policy {
    pub(super) kind: Kind,
}

#[derive(Clone)]
pub(super) enum Kind {
    One(One),
    /// Of several limits, each of which has a name.
    Each(Each),
}

#[derive(Clone)]
pub(super) struct One {
    pub(super) named: Named,
    numbers: Numbers,
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
/// [`KeyedLimiter`], by the quota of its class 0, and the [`KeyedClass`]es of that. A [`MultiBucket`]
/// has several of either: see [`Policy::of_each`].
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

    /// The policies of a [`MultiBucket`], one for each of its limits, in their order: clients are told
    /// of all of them, and by `RateLimit` what is left of each. If a limit is changed its policy
    /// follows.
    ///
    /// What is left is as of the response, not as of the decision about its request. The fields of
    /// [`legacy`](super::Fields::legacy) can tell of one limit only: the one with the least left.
    /// With another policy than this clients hear of that one too, by the name of the policy.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use flow_ratelimit::MultiBucket;
    /// use flow_ratelimit::fields::{Fields, Policy, service_limits};
    /// use http::HeaderMap;
    ///
    /// let both = MultiBucket::new(["10/s burst 20", "1000/h burst 1000"])?;
    /// let fields = Fields::new().policy(Policy::of_each(["second", "hour"], &both)?);
    ///
    /// let mut headers = HeaderMap::new();
    /// fields.add_granted(&both.try_acquire()?, &mut headers);
    /// let policies: Vec<_> = headers.get_all("ratelimit-policy").iter().collect();
    /// assert_eq!(policies, ["\"second\";q=20;w=2", "\"hour\";q=1000;w=3600"]);
    /// let left = service_limits(&headers);
    /// assert_eq!((left[0].policy.as_str(), left[1].policy.as_str()), ("second", "hour"));
    /// assert_eq!(left[1].available, 999);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PolicyError`] if a name cannot stand in a field or does so twice, or there are not as many
    /// names as limits.
    pub fn of_each<'a, C: Clock + 'static>(
        names: impl IntoIterator<Item = &'a str>,
        limiter: &MultiBucket<C>,
    ) -> Result<Self, PolicyError> {
        let names: Vec<&str> = names.into_iter().collect();
        Ok(Self {
            kind: Kind::Each(Each::new(&names, Arc::new(limiter.clone()))?),
        })
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
        let (quota, window) = match &numbers {
            Numbers::Fixed { quota, window } => (*quota, window.map(seconds)),
            Numbers::Live { first, .. } => quota_and_window(*first),
        };
        let named = Named::new(name, quota, window)?;
        Ok(Self {
            kind: Kind::One(One { named, numbers }),
        })
    }

    /// Its name; that of the first of [several](Self::of_each).
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::One(one) => one.named.name(),
            Kind::Each(each) => each.name(),
        }
    }
}

impl One {
    /// The field `RateLimit-Policy`.
    pub(super) fn field(&self) -> Option<HeaderValue> {
        match &self.numbers {
            Numbers::Fixed { .. } => self.named.field(),
            Numbers::Live { limiter, first } => {
                self.named.field_of(*first, limiter.burst_and_rate())
            }
        }
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
        let fields = match &self.kind {
            Kind::One(one) => vec![one.field()],
            Kind::Each(each) => each.fields(),
        };
        let mut tuple = f.debug_tuple("Policy");
        for field in &fields {
            let item = field.as_ref().map_or(&[][..], HeaderValue::as_bytes);
            tuple.field(&String::from_utf8_lossy(item));
        }
        tuple.finish()
    }
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
    /// Two limits of one name, which clients could not tell apart.
    TwoOfOneName {
        /// The name.
        name: Box<str>,
    },
    /// Not one name for each limit.
    NamesForLimits {
        /// How many names there are.
        given: usize,
        /// How many limits.
        limits: usize,
    },
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
            Self::TwoOfOneName { name } => {
                write!(
                    f,
                    "two limits of one bucket are named {name:?}; names must differ"
                )
            }
            Self::NamesForLimits { given, limits } => {
                write!(
                    f,
                    "{given} names were given for {limits} limits; each has one"
                )
            }
        }
    }
}

impl std::error::Error for PolicyError {}
