//! One limit for each of many keys, in a fixed amount of memory.

mod builder;
mod hash;
#[cfg(feature = "metrics")]
mod metrics;
mod slots;
mod table;

use core::borrow::Borrow;
use core::fmt;
use core::hash::Hash;
use core::marker::PhantomData;
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock};

use self::table::Table;
use crate::error::{ConfigError, Denied};
use crate::granted::Granted;
use crate::quota::IntoQuota;
use crate::rate::{IntoRate, Rate};

pub use builder::{KeyedLimiterBuilder, WhenFull};

/// A token bucket for each key, all with one rate and burst, in memory fixed when it is built;
/// shared by cloning.
///
/// Each key is limited as exactly as a [`TokenBucket`](crate::TokenBucket) limits. A key that was
/// never seen is full, and one that has become full again need not be remembered: so nothing has
/// to be swept up, and the memory stays what it is however many keys come by. Only while more than
/// [`max_keys`](KeyedLimiterBuilder::max_keys) keys are *not* full some of them may be forgotten
/// too early ([`WhenFull`]), and that is counted. (Before that fewer than one in five thousand is,
/// at the full number of keys; of up to eight none is.)
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::net::{IpAddr, Ipv4Addr};
/// use flow_ratelimit::{Denied, KeyedLimiter};
///
/// let per_client = KeyedLimiter::<IpAddr>::builder().rate("60/min").burst(2).max_keys(10_000).build()?;
/// let [greedy, modest] = [1, 2].map(|n| IpAddr::from(Ipv4Addr::new(192, 0, 2, n)));
///
/// per_client.try_acquire(&greedy)?;
/// per_client.try_acquire(&greedy)?;
/// match per_client.try_acquire(&greedy) {
///     Err(Denied::NotYet { retry_after, .. }) => assert!(retry_after.as_millis() <= 1_000),
///     other => panic!("{other:?}"),
/// }
/// assert_eq!(per_client.try_acquire(&modest)?.remaining(), 1);
/// assert_eq!(per_client.len(), 2);
/// # Ok(())
/// # }
/// ```
///
/// There is no queue for each key, so it has no `acquire`: who wants to wait sleeps for `retry_after`
/// and asks again.
///
/// # What is kept of a key
/// A hash of 64 bits under a secret drawn at random, never the key itself. Two keys share a limit
/// if their hashes are the same, with a chance of one in two million millions for a million keys.
/// Nobody who does not know the secret can choose keys that do.
///
/// # Cost
/// A key that is remembered: its hash, the clock, one compare-and-swap, and a cache line or two that
/// are probably not at hand if the keys are many. No lock and no allocation. A key that is not
/// remembered: two short locks, out of a thousand. A denial writes nothing.
pub struct KeyedLimiter<K: ?Sized, C = DefaultClock> {
    table: Arc<Table<C>>,
    key: PhantomData<fn(&K)>,
}

impl<K: ?Sized> KeyedLimiter<K> {
    /// A limiter for so many keys, each of which starts full.
    ///
    /// # Errors
    /// [`ConfigError`] if the rate is no rate, burst or number of keys is zero or out of range, or
    /// there is no memory for so many.
    pub fn new(rate: impl IntoQuota, burst: u64, max_keys: usize) -> Result<Self, ConfigError> {
        let builder = Self::builder().rate(rate).burst(burst);
        builder.max_keys(max_keys).build()
    }

    /// A limiter to be configured.
    pub fn builder() -> KeyedLimiterBuilder<K> {
        KeyedLimiterBuilder::new()
    }
}

impl<K: ?Sized, C: Clock> KeyedLimiter<K, C> {
    /// Takes one token of a key, or says why not.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    #[inline]
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<Granted, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.table.try_take(self.table.hash(key), 1)
    }

    /// Takes `n` tokens of a key together, or says why not. 0 tokens are always there.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    #[inline]
    pub fn try_acquire_n<Q>(&self, key: &Q, n: u64) -> Result<Granted, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.table.try_take(self.table.hash(key), n)
    }

    /// Whether a key could take one token now. Takes and counts nothing, and a key that is not
    /// remembered stays so.
    ///
    /// # Errors
    /// What [`try_acquire`](Self::try_acquire) would say, but for
    /// [`Denied::KeysFull`]: that there is room is not looked at.
    pub fn peek<Q>(&self, key: &Q) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.peek_n(key, 1)
    }

    /// Whether a key could take `n` tokens now. See [`peek`](Self::peek).
    ///
    /// # Errors
    /// What [`try_acquire_n`](Self::try_acquire_n) would say, but for [`Denied::KeysFull`].
    pub fn peek_n<Q>(&self, key: &Q, n: u64) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.table.peek(self.table.hash(key), n).map(drop)
    }

    /// Gives `n` tokens back to a key that were taken and not used. What does not fit is lost.
    pub fn refund<Q>(&self, key: &Q, n: u64)
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.table.refund(self.table.hash(key), n);
    }

    /// Whole tokens that a key could take now: the burst if it is not remembered.
    pub fn available<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        let peeked = self.table.peek(self.table.hash(key), 0);
        // Nothing denies no tokens.
        peeked.map_or(0, |granted| granted.remaining())
    }

    /// Changes the rate of all keys from now on. What came by the old one stays, and what was
    /// spent stays spent.
    ///
    /// # Errors
    /// [`ConfigError`] if it is too high for this limiter. The old rate stays then.
    ///
    /// # Cost
    /// A lock. The keys are not touched, but for a walk over all of them, by whoever comes then,
    /// whenever the arithmetic needs a new start: about once a year at the rate it was built with,
    /// more often at a much higher one, at the very highest each second.
    pub fn set_rate(&self, rate: impl IntoRate) -> Result<(), ConfigError> {
        self.table.set_rate(rate.into_rate()?)
    }

    /// Changes the burst of all keys from now on. A key that is full stays full, as one that was
    /// never seen is; of the others a larger burst fills up by the rate, and what is over a smaller
    /// one is lost.
    ///
    /// # Errors
    /// [`ConfigError`] if it is zero or too large for this limiter. The old burst stays then.
    ///
    /// # Cost
    /// A lock, and for a larger burst a walk over all keys.
    pub fn set_burst(&self, burst: u64) -> Result<(), ConfigError> {
        self.table.set_burst(burst)
    }

    /// The rate of each key.
    pub fn rate(&self) -> Rate {
        self.table.rate()
    }

    /// How many tokens each key holds.
    pub fn burst(&self) -> u64 {
        self.table.burst()
    }

    /// How many keys are not full now. What happens meanwhile may be in it or not.
    ///
    /// # Cost
    /// A walk over all keys.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether every key is full. See [`len`](Self::len).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys that are not full it was built to tell apart.
    pub fn capacity(&self) -> usize {
        self.table.max_keys
    }

    /// The name given to the builder.
    pub fn name(&self) -> Option<&str> {
        self.table.name.as_deref()
    }

    /// What it has done and how it stands, without a lock and without looking at the keys.
    pub fn stats(&self) -> KeyedLimiterStats {
        let (granted, denied) = self.table.counted().unwrap_or_default();
        KeyedLimiterStats {
            granted,
            denied,
            evicted: self.table.evicted(),
            capacity: self.capacity(),
            burst: self.burst(),
            rate: self.rate(),
        }
    }
}

#[cfg(feature = "metrics")]
impl<K: ?Sized, C: Clock + 'static> KeyedLimiter<K, C> {
    /// What shows this limiter in a `flow_metrics::Registry`, under its name. No key is shown.
    ///
    /// It keeps the limiter alive while it is registered. Nothing is published in between: the
    /// numbers are read when somebody collects, with a walk over all keys.
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect> {
        Arc::new(metrics::KeyedCollector(self.table.clone()))
    }
}

impl<K: ?Sized, C> Clone for KeyedLimiter<K, C> {
    /// Another handle to the same limiter.
    fn clone(&self) -> Self {
        Self {
            table: self.table.clone(),
            key: PhantomData,
        }
    }
}

impl<K: ?Sized, C: Clock> fmt::Debug for KeyedLimiter<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("KeyedLimiter")
            .field("name", &self.name())
            .field("rate", &stats.rate)
            .field("burst", &stats.burst)
            .field("capacity", &stats.capacity)
            .field("evicted", &stats.evicted)
            .finish_non_exhaustive()
    }
}

/// What a [`KeyedLimiter`] has done and how it stands.
///
/// Each number is exact; together they are of about the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedLimiterStats {
    /// Requests that were granted; 0 if they are not counted.
    pub granted: u64,
    /// Requests that were denied; 0 if they are not counted.
    pub denied: u64,
    /// Keys that were forgotten before they were full, for want of room; counted always.
    pub evicted: u64,
    /// How many keys that are not full it was built to tell apart.
    pub capacity: usize,
    /// The burst in force.
    pub burst: u64,
    /// The rate in force.
    pub rate: Rate,
}
