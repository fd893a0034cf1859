//! Keys that are kept and compared: what is decided about one, under the lock of its shard.
//!
//! # State
//! Shards, each a table under a lock; a key's shard is chosen by its hash. `known` counts the keys
//! of all shards.
//!
//! # Invariants
//! 1. A key that stands nowhere is full. A key that is full may be forgotten at any time; one that
//!    is not is forgotten only when as many are known as may be, and counted.
//! 2. A key stands once in its shard, in one class: whoever decides holds the shard's lock.
//! 3. Who decides finds that the parameters it read are still in force after it locked, so they are
//!    at least as new as what it finds: every word was written under the lock before.
//! 4. No more keys are known than `grow_to`, which is `max_keys` but by [`WhenFull::Grow`], and one
//!    for each shard that had none when as many were known: it has nobody to let go.
//! 5. Of a key's own code only `Eq`, `Borrow` and `Clone` (or `ToOwned`) run under a shard's lock: it
//!    is what finds a key, and what puts it there. So these must not use the limiter. A key is hashed
//!    before, and one that is forgotten is dropped after; only when those who wait are served, under
//!    their own lock, may that come under it.
//!
//! # Steps
//! - take: parameters; lock; in force? Find; write.
//! - a key that is not known while as many are known as may be: look at some keys of its shard, the
//!   next from the hand on, and take the place of the one that lacks least. To be denied, look at
//!   more of them before.
//!
//! # Ordering
//! All by the locks. `known` is changed under those of several shards, each time by one atomic
//! operation: it exceeds what it may by no race.

use core::borrow::Borrow;
use std::sync::Arc;

use flow_rt::Instant;
use flow_sync::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use flow_sync::sync::{Mutex, MutexGuard};

use super::builder::WhenFull;
use super::quotas::{Quotas, forgetting, full, full_after, kept};
use super::shard::{Entry, Shard};
use super::store::{Ask, Finds, Stood, Store};
use crate::error::Denied;
use crate::granted::Granted;
use crate::supply::Anchor;
use crate::token_bucket::core::not_yet;

/// Keys are kept and compared, in memory that is taken as they come: see
/// [`build_exact`](crate::KeyedLimiterBuilder::build_exact).
pub struct Exact<K> {
    shards: Box<[Mutex<Shard<K>>]>,
    known: AtomicUsize,
    max_keys: usize,
    /// The most that may be known: as many, unless it may grow.
    grow_to: usize,
    when_full: WhenFull,
    evicted: AtomicU64,
}

/// A key in its class, and how it is found among others.
struct Asked<'a, Q: ?Sized> {
    quotas: &'a Quotas,
    hash: u64,
    key: &'a Q,
}

/// Who lacks least of some keys of a shard: how much, and its number; and how many were looked at.
struct Least {
    key: Option<(i128, usize)>,
    looked_at: usize,
}

impl<K: Eq + Clone + Send + Sync + 'static> Exact<K> {
    /// Room for so many keys, and for so many if it is to grow.
    pub(super) fn new(max_keys: usize, grow_to: usize, when_full: WhenFull) -> Self {
        let shards = (max_keys / KEYS_PER_SHARD).clamp(1, MAX_SHARDS);
        Self {
            shards: (0..shards).map(|_| Mutex::new(Shard::new())).collect(),
            known: AtomicUsize::new(0),
            max_keys,
            grow_to,
            when_full,
            evicted: AtomicU64::new(0),
        }
    }

    fn lock(&self, hash: u64) -> MutexGuard<'_, Shard<K>> {
        // Less than there are.
        let shard = (u128::from(hash) * self.shards.len() as u128) >> 64;
        self.shards[shard as usize].lock()
    }

    /// Clones of the keys of a shard, with their hashes and what they spent. Some are full by now.
    pub(super) fn keys_of(&self, shard: usize) -> Option<Vec<(K, u64, u64)>> {
        let shard = self.shards.get(shard)?.lock();
        let entries = shard.entries().iter();
        Some(
            entries
                .map(|it| (it.key.clone(), it.hash, it.used))
                .collect(),
        )
    }

    /// Forgets a key, whatever it has spent. Whether it was known.
    pub(super) fn remove<Q>(&self, quotas: &Quotas, (hash, key): (u64, &Q)) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let asked = Asked { quotas, hash, key };
        let removed = {
            let mut shard = self.lock(hash);
            let found = asked.find(&shard);
            let removed = found.and_then(|number| shard.remove(number));
            if removed.is_some() {
                self.known.fetch_sub(1, Ordering::Relaxed);
            }
            // Dropped without the lock (5).
            removed
        };
        removed.is_some()
    }

    /// Gives memory back that no key needs.
    pub(super) fn shrink(&self) {
        for shard in &self.shards {
            shard.lock().shrink();
        }
    }

    /// Lets a key in that was carried over a restart, with one word beside others for the same.
    pub(super) fn restore(&self, quotas: &Quotas, (hash, key): (u64, K), used: u64, now: Instant) {
        // Outlives the lock's guard (5).
        let _gone;
        let mut shard = self.lock(hash);
        let asked = Asked {
            quotas,
            hash,
            key: &key,
        };
        if asked.find(&shard).is_some() {
            return;
        }
        match self.make_room(&mut shard, quotas, now) {
            Ok(forgotten) => {
                _gone = forgotten;
                shard.insert(Entry { key, hash, used });
            }
            Err(_) => {
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn decide_by<Q>(
        &self,
        asked: &Asked<'_, Q>,
        n: u64,
        ask: Ask,
        now: Instant,
        to_key: impl FnOnce() -> K,
    ) -> Result<Granted, Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let Asked { quotas, hash, .. } = *asked;
        let class = quotas.of(hash);
        // Outlives the lock's guard (5).
        let _gone;
        let (mut shard, anchor) = self.lock_in_force(asked, now);
        let need = class.grains(&anchor, n)?;
        let found = asked.find(&shard);
        let used = match found.and_then(|number| shard.entry(number)) {
            Some(entry) if entry.hash == hash => entry.used,
            // It has been of another class. By no limit nothing is lacking.
            Some(entry) if !anchor.unlimited => quotas
                .carried((entry.hash, entry.used), (hash, &anchor), now)
                .unwrap_or_else(|| full(&anchor, now)),
            _ => full(&anchor, now),
        };
        let level = anchor.level(used, now, kept(&anchor, ask));
        if need == 0 || anchor.unlimited {
            return Ok(class.granted(&anchor, level.free));
        }
        let left = level.free - need.cast_signed();
        if left < 0 {
            if ask != Ask::Peek
                && let Some(entry) = found.and_then(|number| shard.entry(number))
            {
                // From here on it is of this class, denied or not.
                (entry.hash, entry.used) = (hash, used);
            }
            return Err(not_yet(anchor, level.spent, need, now));
        }
        if ask == Ask::Peek {
            let kept_out = match found {
                Some(_) => None,
                None => self.keeps_out(&shard, quotas, now),
            };
            return kept_out.map_or_else(|| Ok(class.granted(&anchor, level.free)), Err);
        }
        let used = anchor.take(level, need);
        if let Some(entry) = found.and_then(|number| shard.entry(number)) {
            (entry.hash, entry.used) = (hash, used);
        } else {
            let key = to_key();
            match self.make_room(&mut shard, quotas, now) {
                Ok(forgotten) => {
                    _gone = forgotten;
                    shard.insert(Entry { key, hash, used });
                }
                Err(why) => {
                    // Before the key that it did not take.
                    drop(shard);
                    return Err(why);
                }
            }
        }
        Ok(class.granted(&anchor, left))
    }

    /// Locks a key's shard, with the line of its class that is in force then (3).
    fn lock_in_force<Q: ?Sized>(
        &self,
        asked: &Asked<'_, Q>,
        now: Instant,
    ) -> (MutexGuard<'_, Shard<K>>, Anchor) {
        let Asked { quotas, hash, .. } = *asked;
        let class = quotas.of(hash);
        loop {
            let look = class.params.look();
            let shard = self.lock(hash);
            if !class.params.is_in_force(&look) {
                continue;
            }
            if look.anchor.is_stale(now) {
                // The line's lock comes before the shards'.
                drop(shard);
                let mut gone = Vec::new();
                class.move_anchor(now, forgetting(self, quotas, hash, now, &mut gone));
                continue;
            }
            return (shard, look.anchor);
        }
    }

    /// Makes room for another key in a shard, or says why there is none. Who is forgotten for it is
    /// the caller's to drop, without the lock.
    fn make_room(
        &self,
        shard: &mut Shard<K>,
        quotas: &Quotas,
        now: Instant,
    ) -> Result<Option<Entry<K>>, Denied> {
        if self.takes_another(self.max_keys) {
            return Ok(None);
        }
        let least = self.least(shard, quotas, now);
        shard.pass(least.looked_at);
        let forgets_nobody = least.key.is_none_or(|(lacks, _)| lacks > 0);
        if forgets_nobody && self.takes_another(self.grow_to) {
            return Ok(None);
        }
        let Some((lacks, number)) = least.key else {
            // A shard that has nobody while the others are full: one more does no harm.
            self.known.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        };
        if lacks > 0 {
            if self.when_full == WhenFull::Deny {
                return Err(keys_full(shard, number, quotas, now));
            }
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        Ok(shard.remove(number))
    }

    /// Why there would be no room for another key in a shard, if there would not: as
    /// [`make_room`](Self::make_room), that changes nothing.
    fn keeps_out(&self, shard: &Shard<K>, quotas: &Quotas, now: Instant) -> Option<Denied> {
        if self.when_full != WhenFull::Deny || self.known.load(Ordering::Relaxed) < self.max_keys {
            return None;
        }
        let (lacks, number) = self.least(shard, quotas, now).key?;
        (lacks > 0).then(|| keys_full(shard, number, quotas, now))
    }

    /// Who lacks least of those next in a shard.
    fn least(&self, shard: &Shard<K>, quotas: &Quotas, now: Instant) -> Least {
        let least_of = |sample| {
            let looked = shard.ahead(sample).filter_map(|number| {
                let entry = shard.entries().get(number)?;
                Some((quotas.debt(entry.hash, entry.used, now), number))
            });
            looked.min()
        };
        let (key, looked_at) = (least_of(0..SAMPLE), SAMPLE);
        if self.when_full == WhenFull::Deny && key.is_none_or(|(lacks, _)| lacks > 0) {
            let others = least_of(SAMPLE..SAMPLE_TO_DENY);
            return Least {
                key: [key, others].into_iter().flatten().min(),
                looked_at: SAMPLE_TO_DENY,
            };
        }
        Least { key, looked_at }
    }

    /// Counts another key, if it is one of so many at the most.
    fn takes_another(&self, most: usize) -> bool {
        let known = self
            .known
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |known| {
                (known < most).then_some(known + 1)
            });
        known.is_ok()
    }

    fn refund_by<Q>(&self, asked: &Asked<'_, Q>, n: u64)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let Asked { quotas, hash, .. } = *asked;
        if quotas.of(hash).params.anchor().unlimited {
            return;
        }
        let mut shard = self.lock(hash);
        if let Some(entry) = asked.find(&shard).and_then(|number| shard.entry(number)) {
            let class = quotas.of(entry.hash);
            // At least as new as the word: it is read under the lock.
            let anchor = class.params.anchor();
            let grains = class.at_most_a_burst(&anchor, n);
            if !anchor.unlimited {
                entry.used = anchor.put_back(entry.used, grains, 0);
            }
        }
    }
}

/// Who is told that there is no room: it comes back when that key is full.
fn keys_full<K>(shard: &Shard<K>, number: usize, quotas: &Quotas, now: Instant) -> Denied {
    let retry_after = shard.entries().get(number).map(|entry| {
        let line = quotas.of(entry.hash).params.anchor();
        full_after(&line, entry.used, now)
    });
    Denied::KeysFull {
        retry_after: retry_after.unwrap_or(core::time::Duration::MAX),
    }
}

impl<Q: Eq + ?Sized> Asked<'_, Q> {
    fn find<K: Borrow<Q>>(&self, shard: &Shard<K>) -> Option<usize> {
        shard.find(self.hash, |it| {
            self.quotas.is_same_key(self.hash, it.hash) && it.key.borrow() == self.key
        })
    }
}

impl<K: Eq + Clone + Send + Sync + 'static> Store for Exact<K> {
    type Tag = Arc<K>;
    type Gone = Vec<K>;

    fn forget(&self, quotas: &Quotas, of: u64, lacks: &dyn Fn(u64) -> i64, gone: &mut Vec<K>) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let mut number = shard.entries().len();
            // From the last on: the one that gets a number was looked at.
            while number > 0 {
                number -= 1;
                let is_full =
                    |it: &Entry<K>| quotas.is_same_class(of, it.hash) && lacks(it.used) <= 0;
                if shard.entries().get(number).is_some_and(is_full) {
                    gone.extend(shard.remove(number).map(|it| it.key));
                    self.known.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn for_each(&self, visit: &mut dyn FnMut(u64, u64)) {
        for shard in &self.shards {
            let shard = shard.lock();
            shard
                .entries()
                .iter()
                .for_each(|it| visit(it.hash, it.used));
        }
    }

    fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    fn capacity(&self) -> usize {
        self.max_keys.max(self.known.load(Ordering::Relaxed))
    }

    fn decide_tagged(
        &self,
        quotas: &Quotas,
        (hash, tag): (u64, &Arc<K>),
        n: u64,
        ask: Ask,
        now: Instant,
    ) -> Result<Granted, Denied> {
        let key = &**tag;
        let asked = Asked { quotas, hash, key };
        self.decide_by(&asked, n, ask, now, || key.clone())
    }

    fn refund_tagged(&self, quotas: &Quotas, (hash, tag): (u64, &Arc<K>), n: u64) {
        let key = &**tag;
        self.refund_by(&Asked { quotas, hash, key }, n);
    }

    fn stand(&self, quotas: &Quotas, (hash, tag): (u64, &Arc<K>), ask: Ask, now: Instant) -> Stood {
        let key = &**tag;
        let asked = Asked { quotas, hash, key };
        let (shard, anchor) = self.lock_in_force(&asked, now);
        let found = asked
            .find(&shard)
            .and_then(|number| shard.entries().get(number));
        let used = found.filter(|it| it.hash == hash).map(|it| it.used);
        let used = used.unwrap_or_else(|| full(&anchor, now));
        let level = anchor.level(used, now, kept(&anchor, ask));
        Stood { anchor, level }
    }
}

impl<K, Q> Finds<Q> for Exact<K>
where
    K: Borrow<Q> + Eq + Clone + Send + Sync + 'static,
    Q: Eq + ToOwned<Owned = K> + ?Sized,
{
    fn decide(
        &self,
        quotas: &Quotas,
        (hash, key): (u64, &Q),
        n: u64,
        ask: Ask,
        now: Instant,
    ) -> Result<Granted, Denied> {
        let asked = Asked { quotas, hash, key };
        self.decide_by(&asked, n, ask, now, || key.to_owned())
    }

    fn refund(&self, quotas: &Quotas, (hash, key): (u64, &Q), n: u64) {
        self.refund_by(&Asked { quotas, hash, key }, n);
    }

    fn tag(key: &Q) -> Arc<K> {
        Arc::new(key.to_owned())
    }

    fn is_of(tag: &Arc<K>, key: &Q) -> bool {
        (**tag).borrow() == key
    }
}

/// Shards, at the most.
const MAX_SHARDS: usize = 256;

/// A limiter for less than twice as many keys has one shard, so that none is left empty by chance.
const KEYS_PER_SHARD: usize = 256;

/// How many keys are looked at to make room for one.
const SAMPLE: usize = 32;

/// How many before one is denied for want of room.
const SAMPLE_TO_DENY: usize = 256;
