//! Looking through the keys of a limiter that keeps them.

use core::borrow::Borrow;
use core::hash::Hash;

use flow_rt::Clock;

use super::{BASE, Exact, KeyedLimiter};

impl<K, C> KeyedLimiter<K, C, Exact<K>>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    C: Clock,
{
    /// The keys that are not full, each with the whole tokens it could take now; in no order. What
    /// happens meanwhile may be in it or not.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use flow_ratelimit::KeyedLimiter;
    ///
    /// let limiter = KeyedLimiter::<String>::builder().rate("1/h").burst(5).max_keys(100).build_exact()?;
    /// limiter.try_acquire_n("anna", 3)?;
    /// limiter.try_acquire("ben")?;
    ///
    /// let mut known: Vec<_> = limiter.iter().collect();
    /// known.sort();
    /// assert_eq!(known, [("anna".to_owned(), 2), ("ben".to_owned(), 4)]);
    ///
    /// limiter.retain(|key, _available| key != "anna");
    /// assert_eq!((limiter.len(), limiter.available("anna")), (1, 5));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cost
    /// The keys of a shard, one 256th of all at the least, are cloned at once.
    pub fn iter(&self) -> impl Iterator<Item = (K, u64)> + '_ {
        let lacks = self.table.quotas.lacks(self.table.now());
        let shards = (0..).map_while(|shard| self.table.store.keys_of(shard));
        shards.flatten().filter_map(move |(key, hash, used)| {
            let lacks = lacks(hash, used);
            let class = self.table.quotas.of(hash);
            (lacks > 0).then(|| (key, class.tokens_without(lacks)))
        })
    }

    /// Forgets those keys of [`iter`](Self::iter) that are not to be kept, which so become full; and
    /// gives memory back that no key needs.
    ///
    /// Nothing is locked while `keep` runs: it may use this limiter.
    ///
    /// # Cost
    /// That of [`iter`](Self::iter), a lock for each key that goes, and a walk over all shards.
    pub fn retain(&self, mut keep: impl FnMut(&K, u64) -> bool) {
        for (key, available) in self.iter() {
            if !keep(&key, available) {
                self.remove(&key);
            }
        }
        self.table.store.shrink();
    }

    /// Forgets a key, which so becomes full. Whether it was known.
    ///
    /// # Cost
    /// A lock, out of up to 256, and another if somebody waits for any key.
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.table.hash(key, BASE);
        let was_known = self.table.store.remove(&self.table.quotas, (hash, key));
        if was_known {
            self.table.supply_rose(hash, |tag| (**tag).borrow() == key);
        }
        was_known
    }
}
