//! One limit for each of many keys, in a fixed amount of memory.

mod builder;
mod class;
mod exact;
mod hashed;
mod iter;
mod levels;
#[cfg(feature = "metrics")]
mod metrics;
mod one_key;
mod quotas;
mod shard;
mod slots;
mod snapshot;
mod store;
mod table;
mod waiting;

use core::borrow::Borrow;
use core::fmt;
use core::hash::Hash;
use core::marker::PhantomData;
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock};

use self::table::Table;
use crate::error::{AcquireError, ConfigError, Denied};
use crate::granted::Granted;
use crate::quota::IntoQuota;
use crate::rate::{IntoRate, Rate};

pub use builder::{KeyedLimiterBuilder, WhenFull};
pub use class::KeyedClass;
#[cfg(feature = "http")]
pub(crate) use class::LiveClass;
pub use exact::Exact;
pub use hashed::Hashed;
pub use one_key::OneKey;
pub use snapshot::KeyedSnapshot;
pub(crate) use store::{Finds, Store};

/// A token bucket for each key, all by one quota or by a few, in memory fixed when it is built; shared
/// by cloning.
///
/// Each key is limited as exactly as a [`TokenBucket`](crate::TokenBucket) limits. A key that was
/// never seen is full, and one that has become full again need not be remembered: so nothing has
/// to be swept up, and the memory stays what it is however many keys come by. Only while more than
/// [`max_keys`](KeyedLimiterBuilder::max_keys) keys are *not* full some of them may be forgotten
/// too early, and that is counted; or it may be told to deny, or to grow ([`WhenFull`]). (Before that
/// fewer than one in five thousand is, at the full number of keys; of up to eight none is.)
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
/// # Keys of several kinds
/// Where each plan of a service has a limit of its own, each is a [class](Self::class): the builder's
/// rate and burst are class 0, and [`classes`](KeyedLimiterBuilder::classes) are the others. All are
/// in one table, and the caller says at each call which class a key is of, so nothing has to be told
/// when a client changes its plan. Any class is given another quota at any time, by its
/// [`set_quota`](KeyedClass::set_quota). The layers of the feature `tower` go by plans with a
/// [`DecideKey`](crate::DecideKey), whose example is just that.
///
/// # Waiting
/// [`acquire`](Self::acquire) waits for a key's tokens, first in, first out for each key in its
/// class, on any runtime; there is a queue only for keys that somebody waits for. Keys may be of
/// several [classes](Self::class), each with a quota of its own.
///
/// # What is kept of a key
/// A hash of 64 bits under a secret drawn at random, never the key itself. Two keys share a limit
/// if their hashes are the same. By chance a key does so with one of a million others once in 18
/// million millions, and any two of a million do once in 37 millions.
/// Nobody who does not know the secret can choose keys that do. (Each doubling of the number of
/// classes doubles these chances.) Where that is too much, or keys shall be looked through,
/// [`build_exact`](KeyedLimiterBuilder::build_exact) makes a limiter that keeps its keys and compares
/// them.
///
/// # Cost
/// A key that is remembered: its hash, the clock, one compare-and-swap, and a cache line or two that
/// are probably not at hand if the keys are many. No lock and no allocation. A key that is not
/// remembered: two short locks, out of a thousand, and two more for each time that the limiter has
/// grown; from the fifth time on an allocation too. A denial writes nothing. While somebody waits
/// for any key, each call takes one more lock.
pub struct KeyedLimiter<K: ?Sized, C = DefaultClock, S: Store = Hashed> {
    table: Arc<Table<C, S>>,
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

impl<K: ?Sized, C: Clock, S: Store> KeyedLimiter<K, C, S> {
    /// Takes one token of a key, or says why not.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    ///
    /// # Cost
    /// A hash, a look at the clock and one compare-and-swap; two short locks more if the key is not
    /// remembered, out of a thousand. If the limiter has [grown](KeyedLimiterBuilder::grow_to)
    /// those are two more for each time, and from the fifth time on an allocation. A denial swaps
    /// nothing. Of [exact](KeyedLimiterBuilder::build_exact) keys one lock, out of up to 256, and a
    /// clone of a key that is not remembered.
    #[inline]
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<Granted, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
        S: Finds<Q>,
    {
        self.table.try_take((self.table.hash(key, BASE), key), 1)
    }

    /// Takes `n` tokens of a key together, or says why not. 0 tokens are always there.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_n<Q>(&self, key: &Q, n: u64) -> Result<Granted, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
        S: Finds<Q>,
    {
        self.table.try_take((self.table.hash(key, BASE), key), n)
    }

    /// Whether a key could take one token now. Takes and counts nothing, and a key that is not
    /// remembered stays so.
    ///
    /// # Errors
    /// What [`try_acquire`](Self::try_acquire) would say.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire), without the swap.
    pub fn peek<Q>(&self, key: &Q) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
        S: Finds<Q>,
    {
        self.base().peek(key)
    }

    /// Whether a key could take `n` tokens now. See [`peek`](Self::peek).
    ///
    /// # Errors
    /// What [`try_acquire_n`](Self::try_acquire_n) would say.
    ///
    /// # Cost
    /// That of [`peek`](Self::peek).
    pub fn peek_n<Q>(&self, key: &Q, n: u64) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
        S: Finds<Q>,
    {
        self.base().peek_n(key, n)
    }

    /// Gives `n` tokens back to a key that were taken and not used, and with them to those who wait
    /// for it. What does not fit is lost.
    ///
    /// A key is given them in the class that it is in, whichever it is. A class that is unlimited
    /// gives nothing back, as it takes nothing: refund by the class that the tokens were taken by.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire), and a lock if somebody waits for any key.
    pub fn refund<Q>(&self, key: &Q, n: u64)
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
        S: Finds<Q>,
    {
        self.base().refund(key, n);
    }

    /// Whole tokens that a key could take now: the burst if it is not remembered. 0 once closed.
    ///
    /// # Cost
    /// That of [`peek`](Self::peek).
    pub fn available<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
        S: Finds<Q>,
    {
        self.base().available(key)
    }

    /// One key as a limiter by itself, for [`Composite`](crate::Composite) and whatever else takes
    /// a [`Limiter`](crate::Limiter).
    pub fn key<'a, Q>(&'a self, key: &'a Q) -> OneKey<'a, Q, C, S>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
        S: Finds<Q>,
    {
        self.base().key(key)
    }

    /// The keys of a class: limited by its quota, which stands in the builder's
    /// [`classes`](KeyedLimiterBuilder::classes). Class 0 is the builder's own rate and burst, and
    /// what all calls without a class go by.
    ///
    /// The caller says at each call which class a key is of; it is remembered with the key, and may
    /// change. Then the key lacks as many tokens until full as it did, or all of its new burst: a
    /// burst is not to be had twice by going to and fro. A class without a limit changes nothing
    /// about a key.
    ///
    /// Those who wait for a key in several classes at once, as may be while it changes, stand in a
    /// line for each: whoever's tokens come first by its own quota is first. Whoever comes stands
    /// behind those who wait in its class, and not behind others.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use flow_ratelimit::KeyedLimiter;
    ///
    /// const FREE: usize = 0;
    /// const PAID: usize = 1;
    /// let limiter = KeyedLimiter::<str>::builder().rate("60/min burst 2").classes(["600/min burst 10"]);
    /// let limiter = limiter.max_keys(10_000).build()?;
    ///
    /// limiter.class(FREE)?.try_acquire_n("anna", 2)?;
    /// assert!(limiter.class(FREE)?.try_acquire("anna").is_err());
    /// // She pays, and has what she would have had by that quota.
    /// assert_eq!(limiter.class(PAID)?.try_acquire("anna")?.remaining(), 7);
    ///
    /// limiter.class(PAID)?.set_quota("1200/min burst 20")?;
    /// assert!(limiter.class(2).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::NoSuchClass`].
    #[inline]
    pub fn class(&self, class: usize) -> Result<KeyedClass<'_, K, C, S>, ConfigError> {
        let classes = self.table.quotas.len();
        if class >= classes {
            return Err(ConfigError::NoSuchClass {
                given: class,
                classes,
            });
        }
        // There are 256 at the most.
        Ok(KeyedClass::new(&self.table, class as u8))
    }

    /// Changes rate and burst of all keys of class 0 together, from now on; a quota without a burst
    /// keeps that. For another class it is [that one's](KeyedClass::set_quota) `set_quota`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use flow_ratelimit::KeyedLimiter;
    ///
    /// let limiter = KeyedLimiter::<str>::builder().rate("60/min burst 2").classes(["600/min burst 10"]);
    /// let limiter = limiter.max_keys(10_000).build()?;
    /// limiter.set_quota("120/min burst 4")?;
    /// limiter.class(1)?.set_quota("1200/min burst 20")?;
    /// assert_eq!((limiter.available("anna"), limiter.class(1)?.available("anna")), (4, 20));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] if either does not fit this limiter. Both stay as they are then.
    ///
    /// # Cost
    /// That of [`set_rate`](Self::set_rate) and [`set_burst`](Self::set_burst).
    pub fn set_quota(&self, quota: impl IntoQuota) -> Result<(), ConfigError> {
        self.base().set_quota(quota)
    }

    /// Changes the rate of all keys of class 0 from now on. What came by the old one stays, and what
    /// was spent stays spent.
    ///
    /// # Errors
    /// [`ConfigError`] if it is too high for this limiter. The old rate stays then.
    ///
    /// # Cost
    /// A lock. The keys are not touched, but for a walk over all of them, by whoever comes then,
    /// whenever the arithmetic needs a new start: about once a year at the rate it was built with,
    /// more often at a much higher one, at the very highest each second.
    pub fn set_rate(&self, rate: impl IntoRate) -> Result<(), ConfigError> {
        self.base().set_rate(rate)
    }

    /// Changes the burst of all keys of class 0 from now on. A key that is full stays full, as one
    /// that was never seen is; of the others a larger burst fills up by the rate, and what is over a
    /// smaller one is lost.
    ///
    /// # Errors
    /// [`ConfigError`] if it is zero or too large for this limiter. The old burst stays then.
    ///
    /// # Cost
    /// A lock, and for a larger burst a walk over all keys.
    pub fn set_burst(&self, burst: u64) -> Result<(), ConfigError> {
        self.base().set_burst(burst)
    }

    /// Lets nobody go any more, for ever: whoever waits gets an error, and so does whoever comes.
    /// Idempotent.
    ///
    /// # Cost
    /// A lock, and a walk over all who wait.
    pub fn close(&self) {
        self.table.close();
    }

    /// Whether it was [closed](Self::close).
    pub fn is_closed(&self) -> bool {
        self.table.is_closed()
    }

    /// The rate of each key of class 0.
    pub fn rate(&self) -> Rate {
        self.base().rate()
    }

    /// How many tokens each key of class 0 holds.
    pub fn burst(&self) -> u64 {
        self.base().burst()
    }

    /// How many keys are not full now. What happens meanwhile may be in it or not.
    ///
    /// # Cost
    /// A walk over all keys.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether every key is full. See [`len`](Self::len).
    ///
    /// # Cost
    /// A walk over all keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys that are not full it was built to tell apart, or has [grown](WhenFull::Grow)
    /// to.
    pub fn capacity(&self) -> usize {
        self.table.store.capacity()
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
            evicted: self.table.store.evicted(),
            waiting: self.table.waiting(),
            capacity: self.capacity(),
            burst: self.burst(),
            rate: self.rate(),
        }
    }

    fn base(&self) -> KeyedClass<'_, K, C, S> {
        KeyedClass::new(&self.table, BASE)
    }
}

impl<K: ?Sized, C: Clock + 'static, S: Store> KeyedLimiter<K, C, S> {
    /// Waits for one token of a key, first in, first out among those who wait for that key in class
    /// 0; those of other [classes](Self::class) have lines of their own.
    ///
    /// # Errors
    /// [`AcquireError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire) if nobody has to wait. Else a lock that all who wait
    /// share, some memory that is freed with the last one who waits for the key, and a small task on
    /// each runtime that has somebody who waits.
    pub async fn acquire<Q>(&self, key: &Q) -> Result<Granted, AcquireError>
    where
        K: Borrow<Q>,
        Q: Hash + Sync + ?Sized,
        S: Finds<Q>,
    {
        self.base().acquire_n(key, 1).await
    }

    /// Waits for `n` tokens of a key. A large `n` holds up those behind it. See
    /// [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// [`AcquireError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    pub async fn acquire_n<Q>(&self, key: &Q, n: u64) -> Result<Granted, AcquireError>
    where
        K: Borrow<Q>,
        Q: Hash + Sync + ?Sized,
        S: Finds<Q>,
    {
        self.base().acquire_n(key, n).await
    }

    /// Waits for one token of a key, for `limit` at the most, counted from the first poll. Fails at
    /// once if the token cannot be there in time, by the rate, the line and, for a new key, the
    /// [room](WhenFull::Deny) of that moment.
    ///
    /// # Errors
    /// [`AcquireError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    pub async fn acquire_timeout<Q>(
        &self,
        key: &Q,
        limit: Duration,
    ) -> Result<Granted, AcquireError>
    where
        K: Borrow<Q>,
        Q: Hash + Sync + ?Sized,
        S: Finds<Q>,
    {
        self.base().acquire_n_timeout(key, 1, limit).await
    }

    /// Waits for `n` tokens of a key, for `limit` at the most. See
    /// [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// # Errors
    /// [`AcquireError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    pub async fn acquire_n_timeout<Q>(
        &self,
        key: &Q,
        n: u64,
        limit: Duration,
    ) -> Result<Granted, AcquireError>
    where
        K: Borrow<Q>,
        Q: Hash + Sync + ?Sized,
        S: Finds<Q>,
    {
        self.base().acquire_n_timeout(key, n, limit).await
    }
}

#[cfg(feature = "metrics")]
impl<K: ?Sized, C: Clock + 'static, S: Store> KeyedLimiter<K, C, S> {
    /// What shows this limiter in a `flow_metrics::Registry`, under its name. No key is shown.
    ///
    /// It keeps the limiter alive while it is registered. Nothing is published in between: the
    /// numbers are read when somebody collects, with a walk over all keys.
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect> {
        Arc::new(metrics::KeyedCollector(self.table.clone()))
    }
}

impl<K: ?Sized, C, S: Store> Clone for KeyedLimiter<K, C, S> {
    /// Another handle to the same limiter.
    fn clone(&self) -> Self {
        Self {
            table: self.table.clone(),
            key: PhantomData,
        }
    }
}

impl<K: ?Sized, C: Clock, S: Store> fmt::Debug for KeyedLimiter<K, C, S> {
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
    /// Callers that wait, for all keys together.
    pub waiting: usize,
    /// How many keys that are not full it was built to tell apart, or has grown to.
    pub capacity: usize,
    /// The burst in force for class 0.
    pub burst: u64,
    /// The rate in force for class 0.
    pub rate: Rate,
}

/// The class of keys whose caller says none.
const BASE: u8 = 0;
