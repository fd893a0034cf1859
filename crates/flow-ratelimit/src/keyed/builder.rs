//! The builder of a keyed limiter.

use core::fmt;
use core::hash::Hash;
use core::marker::PhantomData;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock, Handle};
use flow_sync::HashSeed;

use super::KeyedLimiter;
use super::exact::Exact;
use super::hashed::Hashed;
use super::quotas::Quotas;
use super::slots::Slots;
use super::snapshot::KeyedSnapshot;
use super::store::Store;
use super::table::{Settings, Table};
use crate::error::ConfigError;
use crate::quota::{IntoQuota, Quota};
use crate::rate::Rate;

/// What a new key meets when all places it could take are taken by keys that are not full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum WhenFull {
    /// It takes the place of the key that is nearest to full, which starts full when it comes
    /// again: that one may be granted up to a burst too much. Counted as `evicted`. So the keys of
    /// a flood push out one another, and not those that lack more: of 80,000 of these, where there may
    /// be 100,000, a million others have pushed out none.
    #[default]
    EvictNearestFull,
    /// It is denied, with [`Denied::KeysFull`](crate::Denied::KeysFull): no limit is exceeded, and
    /// whoever makes up keys can keep others out.
    Deny,
    /// The limiter takes more memory, and knows more keys than it was built for: as many as
    /// [`grow_to`](KeyedLimiterBuilder::grow_to) says, and whoever makes up keys can make it take the
    /// memory of so many. Beyond that it goes by [`EvictNearestFull`](Self::EvictNearestFull); and
    /// for a second where there is no memory, before it asks for some again.
    ///
    /// Keys that are known by their hashes get a second table as large as the first, a third as
    /// large as both, and so on; none is moved, and nobody waits for it but who is let in. A key in a
    /// later table is found by a look into those before it, and memory is not given back. It grows
    /// when a key finds no room, which is at about `max_keys`, and may be a little before.
    Grow,
}

/// Configures a [`KeyedLimiter`]; everything is checked by [`build`](Self::build).
#[must_use = "a builder does nothing until `build` is called"]
pub struct KeyedLimiterBuilder<K: ?Sized, C = DefaultClock> {
    quota: Option<Result<Quota, ConfigError>>,
    burst: Option<u64>,
    classes: Vec<Result<Quota, ConfigError>>,
    max_keys: Option<usize>,
    max_waiters: usize,
    when_full: WhenFull,
    grow_to: Option<usize>,
    seed: Option<u64>,
    runtime: Option<Handle>,
    name: Option<Cow<'static, str>>,
    clock: C,
    is_counted: bool,
    key: PhantomData<fn(&K)>,
}

impl<K: ?Sized> KeyedLimiterBuilder<K> {
    pub(super) fn new() -> Self {
        Self {
            quota: None,
            burst: None,
            classes: Vec::new(),
            max_keys: None,
            max_waiters: usize::MAX,
            when_full: WhenFull::default(),
            grow_to: None,
            seed: None,
            runtime: None,
            name: None,
            clock: DefaultClock::new(),
            is_counted: true,
            key: PhantomData,
        }
    }
}

impl<K: ?Sized, C: Clock> KeyedLimiterBuilder<K, C> {
    /// How fast tokens come to each key: a [`Rate`](crate::Rate), or a text like `"100/s"`.
    /// Required.
    ///
    /// `"5000/1h burst 200"` says the burst too.
    pub fn rate(mut self, rate: impl IntoQuota) -> Self {
        self.quota = Some(rate.into_quota());
        self
    }

    /// How many tokens each key holds, and so how many it can take at once. Required, unless it
    /// stands beside the rate.
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// Further classes of keys, each with a quota of its own, say `["600/min burst 100"]`; up to 255.
    ///
    /// Rate and burst of the builder are class 0, the first of these is class 1, and so on: see
    /// [`class`](KeyedLimiter::class).
    pub fn classes<I>(mut self, quotas: I) -> Self
    where
        I: IntoIterator,
        I::Item: IntoQuota,
    {
        let quotas = quotas.into_iter();
        self.classes = quotas.map(IntoQuota::into_quota).collect();
        self
    }

    /// How many keys that are not full it can tell apart at once. Required.
    ///
    /// All memory is taken when it is built, some 24 bytes for each of many keys, unless it is to
    /// [grow](WhenFull::Grow). That of [exact](Self::build_exact) keys is taken as they come.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = Some(keys);
        self
    }

    /// What a new key meets when there is no room for it; [`WhenFull::EvictNearestFull`]
    /// otherwise.
    pub fn when_full(mut self, policy: WhenFull) -> Self {
        self.when_full = policy;
        self
    }

    /// How many keys it may come to tell apart at the most, by [`WhenFull::Grow`]; sixteen times
    /// [`max_keys`](Self::max_keys) otherwise.
    pub fn grow_to(mut self, keys: usize) -> Self {
        self.grow_to = Some(keys);
        self
    }

    /// How many callers may wait, for all keys together; as many as like to otherwise.
    pub fn max_waiters(mut self, waiters: usize) -> Self {
        self.max_waiters = waiters;
        self
    }

    /// The runtime that serves those who wait; otherwise each one's own.
    pub fn runtime(mut self, runtime: &Handle) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// Fixes the secret of the hash, for tests that must go the same way each time; it is drawn
    /// at random otherwise, inside a simulation from its seed. Whoever knows it can make up keys
    /// that crowd out others.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// What to call it in reports and metrics.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether decisions are counted; they are otherwise. It is about a nanosecond; the
    /// cells for them, 3 KiB, are there in any case.
    pub fn counted(mut self, counted: bool) -> Self {
        self.is_counted = counted;
        self
    }

    /// The clock it runs on; otherwise that of the simulation in which `builder()` was called, or
    /// else the machine's. Changes the type.
    pub fn clock<D: Clock>(self, clock: D) -> KeyedLimiterBuilder<K, D> {
        KeyedLimiterBuilder {
            quota: self.quota,
            burst: self.burst,
            classes: self.classes,
            max_keys: self.max_keys,
            max_waiters: self.max_waiters,
            when_full: self.when_full,
            grow_to: self.grow_to,
            seed: self.seed,
            runtime: self.runtime,
            name: self.name,
            clock,
            is_counted: self.is_counted,
            key: PhantomData,
        }
    }

    /// Builds the limiter.
    ///
    /// # Errors
    /// [`ConfigError`] if rate, burst or the number of keys is missing or out of range, there is no
    /// memory for so many keys, there are too many classes, or [`grow_to`](Self::grow_to) is fewer
    /// keys or said of a limiter that does not grow.
    pub fn build(self) -> Result<KeyedLimiter<K, C>, ConfigError> {
        let (max_keys, grow_to) = self.check()?;
        let quotas = self.quotas()?;
        let store = Hashed::new(max_keys, grow_to, self.when_full);
        let store = store.map_err(|_| ConfigError::NoMemoryForKeys {
            given: max_keys,
            bytes: Slots::bytes_for(max_keys),
        })?;
        Ok(self.finish(quotas, store))
    }

    /// Builds the limiter with the keys of a snapshot, which a limiter like this one has made: it may
    /// have run with other rates and bursts, and with fewer classes.
    ///
    /// Rates, bursts and classes are the snapshot's unless a rate is given. A key lacks as many
    /// tokens until full as it did, less what has come since by the rate of then and the wall clock:
    /// nothing, if that was put back. More of them than there is room for are forgotten, and counted.
    ///
    /// Keys are known by their hashes, so the secret of the hash is the snapshot's too, whatever
    /// [`seed`](Self::seed) says.
    ///
    /// # Errors
    /// Those of [`build`](Self::build), and [`ConfigError::InvalidSnapshot`].
    pub fn build_from(
        mut self,
        snapshot: &KeyedSnapshot,
    ) -> Result<KeyedLimiter<K, C>, ConfigError> {
        self.take_quotas(snapshot)?;
        let seed = snapshot.seed()?;
        let runtime = self.runtime.clone();
        let mut limiter = self.build()?;
        // Nobody else has it yet.
        if let Some(table) = Arc::get_mut(&mut limiter.table) {
            table.seed = seed;
        }
        let Table { quotas, store, .. } = &*limiter.table;
        let now = limiter.table.now();
        for (&key, class, used) in snapshot.resume(quotas, runtime.as_ref(), now) {
            store.restore(quotas, quotas.hash_of(key, class), used, now);
        }
        Ok(limiter)
    }

    /// Goes by the quotas of a snapshot, if none were given.
    fn take_quotas<I>(&mut self, snapshot: &KeyedSnapshot<I>) -> Result<(), ConfigError> {
        if self.quota.is_none() {
            let mut quotas = snapshot.quotas().map(|(rate, burst)| {
                Ok(Quota {
                    rate,
                    burst: Some(burst),
                })
            });
            self.quota = quotas.next();
            self.classes = quotas.collect();
        }
        snapshot.check(1 + self.classes.len())
    }

    /// What every build checks first: how many keys there may be, and how many it may grow to.
    fn check(&self) -> Result<(usize, usize), ConfigError> {
        // The quota is what is missed first.
        self.base()?;
        let keys = self.max_keys.ok_or(ConfigError::MissingMaxKeys)?;
        if keys == 0 {
            return Err(ConfigError::ZeroKeys);
        }
        let fits = |given| {
            let max = MAX_KEYS;
            let too_many = ConfigError::TooManyKeys { given, max };
            (given <= max).then_some(given).ok_or(too_many)
        };
        fits(keys)?;
        if self.max_waiters == 0 {
            return Err(ConfigError::ZeroWaiters);
        }
        match (self.when_full, self.grow_to) {
            (WhenFull::Grow, None) => Ok((keys, keys.saturating_mul(GROWTH).min(MAX_KEYS))),
            (WhenFull::Grow, Some(given)) if given < keys => {
                Err(ConfigError::GrowthBelowKeys { given, keys })
            }
            (WhenFull::Grow, Some(given)) => Ok((keys, fits(given)?)),
            (_, Some(given)) => Err(ConfigError::GrowthWithoutGrow { given }),
            (_, None) => Ok((keys, keys)),
        }
    }

    /// Rate and burst of class 0.
    fn base(&self) -> Result<(Rate, u64), ConfigError> {
        let quota = self.quota.clone().ok_or(ConfigError::MissingRate)??;
        quota.complete(self.burst)
    }

    /// The quotas of all classes, from now on.
    fn quotas(&self) -> Result<Quotas, ConfigError> {
        let given = 1 + self.classes.len();
        if given > MAX_CLASSES {
            return Err(ConfigError::TooManyClasses {
                given,
                max: MAX_CLASSES,
            });
        }
        let others = self
            .classes
            .iter()
            .map(|quota| quota.clone()?.complete(None));
        let quotas: Vec<_> = core::iter::once(self.base())
            .chain(others)
            .collect::<Result<_, _>>()?;
        Quotas::new(&quotas, self.clock.now())
    }

    fn finish<S: Store>(self, quotas: Quotas, store: S) -> KeyedLimiter<K, C, S> {
        let settings = Settings {
            max_waiters: self.max_waiters,
            seed: self
                .seed
                .or_else(flow_rt::simulated_entropy)
                .map_or_else(HashSeed::random, HashSeed::fixed),
            is_counted: self.is_counted,
            runtime: self.runtime,
            name: self.name,
        };
        KeyedLimiter {
            table: Arc::new(Table::new(quotas, self.clock, store, settings)),
            key: PhantomData,
        }
    }
}

impl<K: Eq + Clone + Send + Sync + 'static, C: Clock> KeyedLimiterBuilder<K, C> {
    /// Builds a limiter that keeps its keys and compares them, so that no two ever share a limit;
    /// they can be looked through, too.
    ///
    /// It forgets no key that is not full while it knows fewer than
    /// [`max_keys`](Self::max_keys). To make room for another one it looks at 32 of those it knows,
    /// all of them if they are so few, and forgets one that is full, or else goes by
    /// [`when_full`](Self::when_full). Before it [denies](WhenFull::Deny) it looks at 256. So a
    /// new key may be denied although there is room: of 100,000 keys that it knows, once in a hundred
    /// if 98 in a hundred are not full, once in eight if 99 are, and never up to 95. All that it looks
    /// at are of one shard, so with fewer than 256 keys in each it is every one of them.
    ///
    /// # Cost
    /// Each call takes a lock, out of up to 256, and a key that comes anew is cloned. Memory is
    /// taken as keys come: each is kept with 16 bytes beside it, and 8 for the table, in vectors that
    /// double when they are full. So it is 24 bytes and a key for each, of those that were known at
    /// once; up to twice as much of what a vector has just grown to; and what a key has elsewhere,
    /// like the text of a `String`. [`retain`](KeyedLimiter::retain) gives back what is not needed:
    /// up to 32 bytes and a key are left for each, since the table goes by powers of two.
    ///
    /// # Errors
    /// [`ConfigError`] if rate, burst or the number of keys is missing or out of range, there are too
    /// many classes, or [`grow_to`](Self::grow_to) is fewer keys or said of a limiter that does not
    /// grow.
    pub fn build_exact(self) -> Result<KeyedLimiter<K, C, Exact<K>>, ConfigError> {
        let (max_keys, grow_to) = self.check()?;
        let quotas = self.quotas()?;
        let store = Exact::new(max_keys, grow_to, self.when_full);
        Ok(self.finish(quotas, store))
    }

    /// [`build_exact`](Self::build_exact), with the keys of a snapshot; for the rest as
    /// [`build_from`](Self::build_from).
    ///
    /// # Errors
    /// Those of [`build_exact`](Self::build_exact), and [`ConfigError::InvalidSnapshot`].
    pub fn build_exact_from(
        mut self,
        snapshot: &KeyedSnapshot<K>,
    ) -> Result<KeyedLimiter<K, C, Exact<K>>, ConfigError>
    where
        K: Hash,
    {
        self.take_quotas(snapshot)?;
        let runtime = self.runtime.clone();
        let limiter = self.build_exact()?;
        let Table { quotas, store, .. } = &*limiter.table;
        let now = limiter.table.now();
        for (key, class, used) in snapshot.resume(quotas, runtime.as_ref(), now) {
            let hash = limiter.table.hash(key, class);
            store.restore(quotas, (hash, key.clone()), used, now);
        }
        Ok(limiter)
    }
}

impl<K: ?Sized, C> fmt::Debug for KeyedLimiterBuilder<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLimiterBuilder")
            .field("rate", &self.quota)
            .field("burst", &self.burst)
            .field("classes", &self.classes)
            .field("max_keys", &self.max_keys)
            .field("max_waiters", &self.max_waiters)
            .field("when_full", &self.when_full)
            .field("grow_to", &self.grow_to)
            .field("name", &self.name)
            .field("counted", &self.is_counted)
            .finish_non_exhaustive()
    }
}

/// The most keys: some 93 GiB of slots, or a third of what 32 bits can address.
const MAX_KEYS: usize = if usize::BITS < 64 {
    1 << 26
} else {
    u32::MAX as usize
};

/// A limiter that may grow does so to so many times its keys, unless told otherwise.
const GROWTH: usize = 16;

/// The most classes: eight bits of a hash say which one it is.
const MAX_CLASSES: usize = 256;
