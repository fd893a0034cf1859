//! The keys of a limiter as plain data, to be carried over a restart.
//!
//! A key is kept as what it lacks until full, in grains of its class. What has come since, by the
//! wall clock and the rate of then, it lacks no longer. To a grain, which a restart may cost it,
//! that is how it would stand without the restart.

use core::fmt;
use core::time::Duration;
use std::time::SystemTime;

use flow_rt::{Clock, Handle, Instant};
use flow_sync::HashSeed;

use super::KeyedLimiter;
use super::exact::Exact;
use super::hashed::Hashed;
use super::quotas::Quotas;
use super::store::Store;
use super::table::Table;
use crate::error::ConfigError;
use crate::rate::Rate;
use crate::supply::{self, Anchor, MAX_BITS};
use crate::token_bucket::snapshot::wall;

/// How the keys of a [`KeyedLimiter`] stood that were not full: what
/// [`snapshot`](KeyedLimiter::snapshot) makes and
/// [`build_from`](crate::KeyedLimiterBuilder::build_from) takes.
///
/// Plain data, with the feature `serde` for any format. Whoever waits is not in it: they have taken
/// nothing. A limiter that knows its keys by their hashes has `K = u64`, the hashes; **the secret
/// that they were made with is in it too**, so keep it from those who choose keys.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_ratelimit::KeyedLimiter;
///
/// let limiter = KeyedLimiter::<str>::new("1/h", 10, 1_000)?;
/// limiter.try_acquire_n("anna", 7)?;
/// let snapshot = limiter.snapshot();
/// assert_eq!(snapshot.len(), 1);
/// // Kept over a restart:
/// let limiter = KeyedLimiter::<str>::builder().max_keys(1_000).build_from(&snapshot)?;
/// assert_eq!((limiter.burst(), limiter.available("anna")), (10, 3));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct KeyedSnapshot<K = u64> {
    quotas: Vec<QuotaSnapshot>,
    keys: Vec<KeySnapshot<K>>,
    secret: Option<[u64; 2]>,
    taken_at: SystemTime,
}

/// The quota of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct QuotaSnapshot {
    rate: Rate,
    burst: u64,
    /// Of a token: how fine a grain is.
    bits: u32,
}

#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct KeySnapshot<K> {
    key: K,
    class: u8,
    /// Grains until full.
    lacking: u64,
}

impl<K> KeyedSnapshot<K> {
    /// How many keys are in it.
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether every key was full.
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// When it was taken, by the wall clock.
    pub const fn taken_at(&self) -> SystemTime {
        self.taken_at
    }

    /// Rate and burst of each class.
    pub(super) fn quotas(&self) -> impl Iterator<Item = (Rate, u64)> {
        self.quotas.iter().map(|quota| (quota.rate, quota.burst))
    }

    /// The secret of the hashes.
    pub(super) fn seed(&self) -> Result<HashSeed, ConfigError> {
        let secret = self.secret.ok_or(ConfigError::InvalidSnapshot {
            reason: "the secret of its hashes is missing",
        })?;
        let seed = HashSeed::from_words(secret);
        if seed.words() != secret {
            return Err(ConfigError::InvalidSnapshot {
                reason: "the secret of its hashes is none that a limiter draws",
            });
        }
        Ok(seed)
    }

    /// Whether its numbers can be those of a limiter with so many classes.
    pub(super) fn check(&self, classes: usize) -> Result<(), ConfigError> {
        let refuse = |reason| Err(ConfigError::InvalidSnapshot { reason });
        if self.quotas.is_empty() {
            return refuse("it has no class of keys");
        }
        if self.quotas.len() > classes {
            return refuse("it has more classes of keys than the limiter");
        }
        for quota in &self.quotas {
            if quota.bits > MAX_BITS {
                return refuse("a token has more than 30 fraction bits");
            }
            if supply::check_rate(quota.rate, quota.bits).is_err() {
                return refuse("the rate does not fit its fraction bits");
            }
            if supply::check_burst(quota.burst, quota.bits + 1).is_err() {
                return refuse("the burst does not fit its fraction bits");
            }
        }
        let classes = self.quotas.len();
        if self
            .keys
            .iter()
            .any(|key| usize::from(key.class) >= classes)
        {
            return refuse("a key is of a class that it has not");
        }
        Ok(())
    }

    /// Each key, its class, and its `used` by the lines of `quotas`; but for those that are full by
    /// now. It was [checked](Self::check).
    pub(super) fn resume<'a>(
        &'a self,
        quotas: &'a Quotas,
        runtime: Option<&Handle>,
        now: Instant,
    ) -> impl Iterator<Item = (&'a K, u8, u64)> {
        // Nothing, if the wall clock was put back.
        let elapsed = wall(runtime).duration_since(self.taken_at);
        let elapsed = elapsed.unwrap_or_default();
        let since: Vec<_> = self.quotas.iter().map(|it| it.supplied(elapsed)).collect();
        self.keys.iter().filter_map(move |it| {
            let class = usize::from(it.class);
            let lacking = i64::try_from(it.lacking).unwrap_or(i64::MAX);
            let lacking = lacking.saturating_sub(*since.get(class)?);
            let of = quotas.of(u64::from(it.class));
            let bits = self.quotas.get(class)?.bits;
            let used = of.spent_by(&of.params.anchor(), bits, lacking, now)?;
            Some((&it.key, it.class, used))
        })
    }
}

impl QuotaSnapshot {
    /// Grains that came in so much time.
    fn supplied(&self, elapsed: Duration) -> i64 {
        if self.rate.is_unlimited() {
            return i64::MAX;
        }
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let line = Anchor::new(
            self.rate,
            self.burst << self.bits,
            0,
            self.bits,
            Instant::ORIGIN,
        );
        let line = line.moved(Instant::from_nanos(nanos), self.rate, self.bits);
        line.base.cast_signed()
    }
}

impl<K: ?Sized, C: Clock> KeyedLimiter<K, C, Hashed> {
    /// How its keys stand that are not full, by their hashes: to be carried over a restart. What
    /// happens meanwhile may be in it or not.
    ///
    /// # Cost
    /// A walk over all keys, and 24 bytes for each in it.
    pub fn snapshot(&self) -> KeyedSnapshot {
        let mut keys = Vec::new();
        let lacks = self.table.quotas.lacks(self.table.now());
        self.table.store.for_each(&mut |hash, used| {
            let class = self.table.quotas.class_of(hash);
            let key = self.table.quotas.in_class(hash, 0);
            keys.extend(key_snapshot(key, class, lacks(hash, used)));
        });
        let secret = Some(self.table.seed.words());
        self.table.snapshot(keys, secret)
    }
}

impl<K: Eq + Clone + Send + Sync + 'static, C: Clock> KeyedLimiter<K, C, Exact<K>> {
    /// How its keys stand that are not full: to be carried over a restart. What happens meanwhile
    /// may be in it or not.
    ///
    /// # Cost
    /// A walk over all keys, which are cloned.
    pub fn snapshot(&self) -> KeyedSnapshot<K> {
        let lacks = self.table.quotas.lacks(self.table.now());
        let shards = (0..).map_while(|shard| self.table.store.keys_of(shard));
        let keys = shards.flatten().filter_map(|(key, hash, used)| {
            let class = self.table.quotas.class_of(hash);
            key_snapshot(key, class, lacks(hash, used))
        });
        self.table.snapshot(keys.collect(), None)
    }
}

fn key_snapshot<K>(key: K, class: u8, lacking: i64) -> Option<KeySnapshot<K>> {
    (lacking > 0).then(|| KeySnapshot {
        key,
        class,
        lacking: lacking.cast_unsigned(),
    })
}

impl<C: Clock, S: Store> Table<C, S> {
    fn snapshot<K>(&self, keys: Vec<KeySnapshot<K>>, secret: Option<[u64; 2]>) -> KeyedSnapshot<K> {
        let quotas = self.quotas.iter().map(|class| QuotaSnapshot {
            rate: class.rate(),
            burst: class.burst(),
            bits: class.bits(),
        });
        KeyedSnapshot {
            quotas: quotas.collect(),
            keys,
            secret,
            taken_at: wall(self.runtime.as_ref()),
        }
    }
}

impl<K> fmt::Debug for KeyedSnapshot<K> {
    /// Without the keys, and without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedSnapshot")
            .field("quotas", &self.quotas)
            .field("keys", &self.keys.len())
            .field("taken_at", &self.taken_at)
            .finish_non_exhaustive()
    }
}
