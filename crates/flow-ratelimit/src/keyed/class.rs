//! The keys of one class, limited by its quota.

use core::borrow::Borrow;
use core::fmt;
use core::hash::Hash;
use core::marker::PhantomData;
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock};

use super::hashed::Hashed;
use super::one_key::OneKey;
use super::quotas::Class;
use super::store::{Ask, Finds, Store};
use super::table::Table;
use crate::error::{AcquireError, ConfigError, Denied};
use crate::granted::Granted;
use crate::limiter::LimiterExt;
use crate::quota::IntoQuota;
use crate::rate::{IntoRate, Rate};

/// The keys of one class of a [`KeyedLimiter`](crate::KeyedLimiter): see
/// [`class`](crate::KeyedLimiter::class).
///
/// Each method is that of the limiter, by the quota of this class.
///
/// # Cost
/// That of the limiter's methods of the same names.
pub struct KeyedClass<'a, K: ?Sized, C = DefaultClock, S: Store = Hashed> {
    table: &'a Arc<Table<C, S>>,
    class: u8,
    key: PhantomData<fn(&K)>,
}

impl<'a, K: ?Sized, C: Clock, S: Store> KeyedClass<'a, K, C, S> {
    pub(super) const fn new(table: &'a Arc<Table<C, S>>, class: u8) -> Self {
        Self {
            table,
            class,
            key: PhantomData,
        }
    }

    /// Takes one token of a key, or says why not.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    #[inline]
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<Granted, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
        S: Finds<Q>,
    {
        self.try_acquire_n(key, 1)
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
        S: Finds<Q>,
    {
        let hash = self.table.hash(key, self.class);
        self.table.try_take((hash, key), n)
    }

    /// Whether a key could take one token now, as one of this class; it stays in that which it is
    /// in.
    ///
    /// # Errors
    /// What [`try_acquire`](Self::try_acquire) would say.
    pub fn peek<Q>(&self, key: &Q) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
        S: Finds<Q>,
    {
        self.peek_n(key, 1)
    }

    /// Whether a key could take `n` tokens now. See [`peek`](Self::peek).
    ///
    /// # Errors
    /// What [`try_acquire_n`](Self::try_acquire_n) would say.
    pub fn peek_n<Q>(&self, key: &Q, n: u64) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
        S: Finds<Q>,
    {
        let hash = self.table.hash(key, self.class);
        self.table.decide((hash, key), n, Ask::Peek).map(drop)
    }

    /// Gives `n` tokens back to a key, in whichever class it is.
    pub fn refund<Q>(&self, key: &Q, n: u64)
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
        S: Finds<Q>,
    {
        let hash = self.table.hash(key, self.class);
        self.table.give_back((hash, key), n);
    }

    /// Whole tokens that a key could take now, as one of this class. 0 once closed.
    pub fn available<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
        S: Finds<Q>,
    {
        let hash = self.table.hash(key, self.class);
        let peeked = self.table.decide((hash, key), 0, Ask::Peek);
        // Nothing denies no tokens, unless it is closed.
        peeked.map_or(0, |granted| granted.remaining())
    }

    /// One key of this class as a limiter by itself.
    pub fn key<Q>(&self, key: &'a Q) -> OneKey<'a, Q, C, S>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
        S: Finds<Q>,
    {
        OneKey::new(self.table, self.table.hash(key, self.class), key)
    }

    /// Changes rate and burst of this class together; a quota without a burst keeps that.
    ///
    /// # Errors
    /// [`ConfigError`] if either does not fit this limiter. Both stay as they are then.
    ///
    /// # Cost
    /// That of [`set_rate`](crate::KeyedLimiter::set_rate) and
    /// [`set_burst`](crate::KeyedLimiter::set_burst).
    pub fn set_quota(&self, quota: impl IntoQuota) -> Result<(), ConfigError> {
        let quota = quota.into_quota()?;
        self.table
            .set_quota(self.class, Some(quota.rate), quota.burst)
    }

    /// Changes the rate of this class. See [`KeyedLimiter::set_rate`](crate::KeyedLimiter::set_rate).
    ///
    /// # Errors
    /// [`ConfigError`] if it is too high for this limiter. The old rate stays then.
    pub fn set_rate(&self, rate: impl IntoRate) -> Result<(), ConfigError> {
        self.table
            .set_quota(self.class, Some(rate.into_rate()?), None)
    }

    /// Changes the burst of this class. See
    /// [`KeyedLimiter::set_burst`](crate::KeyedLimiter::set_burst).
    ///
    /// # Errors
    /// [`ConfigError`] if it is zero or too large for this limiter. The old burst stays then.
    pub fn set_burst(&self, burst: u64) -> Result<(), ConfigError> {
        self.table.set_quota(self.class, None, Some(burst))
    }

    /// The rate of each key of this class.
    pub fn rate(&self) -> Rate {
        self.quota().rate()
    }

    /// How many tokens each key of this class holds.
    pub fn burst(&self) -> u64 {
        self.quota().burst()
    }

    fn quota(&self) -> &Class {
        self.table.quotas.of(self.class.into())
    }

    /// The class without a borrow.
    #[cfg(feature = "http")]
    pub(crate) fn live(&self) -> LiveClass<C, S> {
        LiveClass {
            table: self.table.clone(),
            class: self.class,
        }
    }
}

/// A class that keeps its limiter alive, whatever its keys are.
#[cfg(feature = "http")]
pub(crate) struct LiveClass<C, S: Store> {
    table: Arc<Table<C, S>>,
    class: u8,
}

#[cfg(feature = "http")]
impl<C: Clock, S: Store> LiveClass<C, S> {
    pub(crate) fn class(&self) -> KeyedClass<'_, (), C, S> {
        KeyedClass::new(&self.table, self.class)
    }
}

impl<K: ?Sized, C: Clock + 'static, S: Store> KeyedClass<'_, K, C, S> {
    /// Waits for one token of a key, first in, first out among those who wait for that key in this
    /// class.
    ///
    /// # Errors
    /// [`AcquireError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    pub async fn acquire<Q>(&self, key: &Q) -> Result<Granted, AcquireError>
    where
        K: Borrow<Q>,
        Q: Hash + Sync + ?Sized,
        S: Finds<Q>,
    {
        self.acquire_n(key, 1).await
    }

    /// Waits for `n` tokens of a key. A large `n` holds up those behind it.
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
        let key = OneKey::new(self.table, self.table.hash(key, self.class), key);
        key.acquire_n(n).await
    }

    /// Waits for `n` tokens of a key, for `limit` at the most, counted from the first poll. Fails at
    /// once if they cannot be there in time.
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
        let key = OneKey::new(self.table, self.table.hash(key, self.class), key);
        key.acquire_n_timeout(n, limit).await
    }
}

impl<K: ?Sized, C, S: Store> Clone for KeyedClass<'_, K, C, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: ?Sized, C, S: Store> Copy for KeyedClass<'_, K, C, S> {}

impl<K: ?Sized, C: Clock, S: Store> fmt::Debug for KeyedClass<'_, K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedClass")
            .field("class", &self.class)
            .field("rate", &self.rate())
            .field("burst", &self.burst())
            .finish_non_exhaustive()
    }
}
