//! One token bucket per client, in this process or in Redis, and one per address for those who
//! do not say who they are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flow_metrics::Collect;
use flow_ratelimit::{Denied, Rate, TokenBucket};
use flow_redis::{DistributedLimiter, KeyedDistributedLimiter, RedisBackend};

use crate::options::{Options, WrongOption};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// May this client's request go on?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Admitted,
    /// Not now; after this time it may.
    Limited {
        retry_after: Duration,
    },
    /// The table of clients is full, or Redis cannot say.
    Unavailable,
}

/// The limits of all clients.
pub(crate) struct Limits {
    rate: Rate,
    burst: u64,
    redis: Option<KeyedDistributedLimiter<str>>,
    clients: Mutex<HashMap<String, Arc<Client>>>,
    /// Always of this process: strangers cost Redis nothing.
    strangers: Mutex<HashMap<IpAddr, TokenBucket>>,
    /// What clients had counted when they were forgotten, for the self-test; a gateway that
    /// stays up would collect names without end.
    forgotten: Option<Mutex<HashMap<String, (u64, u64)>>>,
    max_clients: usize,
}

/// One client: its bucket, and what was decided for it.
struct Client {
    /// None if it is in Redis.
    bucket: Option<TokenBucket>,
    admitted: AtomicU64,
    limited: AtomicU64,
    /// It has asked since it was last looked at.
    is_active: AtomicBool,
}

/// Clients, or addresses, remembered at once; more are turned away until idle ones are forgotten.
const MAX_CLIENTS: usize = 100_000;

impl Limits {
    /// The limits; with Redis only if it answers.
    pub(crate) async fn open(options: &Options) -> Result<Self, Failure> {
        let rate = Rate::per_second(options.rate);
        let redis = match &options.redis {
            None => None,
            Some(url) => {
                let wrong = |why: String| {
                    WrongOption(format!("--redis is {:?}: {why}", without_password(url)))
                };
                let redis = RedisBackend::builder(url)
                    .build()
                    .map_err(|error| wrong(error.to_string()))?;
                redis
                    .ping()
                    .await
                    .map_err(|error| wrong(format!("no server answers there: {error}")))?;
                let limiter = DistributedLimiter::builder(&redis)
                    .keyed::<str>("gateway")
                    .prefix(redis_prefix(options))
                    .rate(rate)
                    .burst(options.burst)
                    .build()?;
                Some(limiter)
            }
        };
        Ok(Self {
            rate,
            burst: options.burst,
            redis,
            clients: Mutex::default(),
            strangers: Mutex::default(),
            forgotten: options.serve.is_none().then(Mutex::default),
            max_clients: MAX_CLIENTS,
        })
    }

    /// Decides for a client that has proved its name.
    pub(crate) async fn decide(&self, name: &str) -> Decision {
        let Some(client) = self.client(name) else {
            return Decision::Unavailable;
        };
        let decision = match (&client.bucket, &self.redis) {
            (Some(bucket), _) => take(bucket),
            (None, Some(limiter)) => match Box::pin(limiter.check(name)).await {
                Ok(_) => Decision::Admitted,
                Err(denied) => denied
                    .retry_after()
                    .map_or(Decision::Unavailable, |retry_after| Decision::Limited {
                        retry_after,
                    }),
            },
            (None, None) => Decision::Unavailable,
        };
        match decision {
            Decision::Admitted => client.admitted.fetch_add(1, Ordering::Relaxed),
            Decision::Limited { .. } => client.limited.fetch_add(1, Ordering::Relaxed),
            Decision::Unavailable => 0,
        };
        decision
    }

    /// Decides for somebody at this address who has not proved a name.
    pub(crate) fn stranger(&self, addr: IpAddr) -> Decision {
        let mut strangers = lock(&self.strangers);
        if let Some(bucket) = strangers.get(&addr) {
            return take(bucket);
        }
        if strangers.len() >= self.max_clients {
            return Decision::Unavailable;
        }
        let Ok(bucket) = TokenBucket::new(self.rate, self.burst) else {
            return Decision::Unavailable;
        };
        let decision = take(&bucket);
        strangers.insert(addr, bucket);
        decision
    }

    /// Forgets whoever has a full bucket: a new one would be no different. Buckets in Redis look
    /// after themselves; here a client is forgotten that has not asked since the last time.
    pub(crate) fn forget_idle(&self) {
        let is_full = |bucket: &TokenBucket| bucket.available() >= self.burst;
        lock(&self.strangers).retain(|_, bucket| !is_full(bucket));
        lock(&self.clients).retain(|name, client| {
            let is_idle = match &client.bucket {
                Some(bucket) => is_full(bucket),
                None => !client.is_active.swap(false, Ordering::Relaxed),
            };
            // Whoever holds it is about to count.
            if !is_idle || Arc::strong_count(client) > 1 {
                return true;
            }
            if let Some(forgotten) = &self.forgotten {
                let mut forgotten = lock(forgotten);
                let counts = forgotten.entry(name.clone()).or_default();
                add(counts, client);
            }
            false
        });
    }

    /// Admitted and limited of every client: in the self-test from its first request, else since
    /// it was last forgotten.
    pub(crate) fn counts(&self) -> HashMap<String, (u64, u64)> {
        let forgotten = self.forgotten.as_ref();
        let mut counts = forgotten.map_or_else(HashMap::new, |before| lock(before).clone());
        for (name, client) in &*lock(&self.clients) {
            add(counts.entry(name.clone()).or_default(), client);
        }
        counts
    }

    /// What shows the limiter in Redis in a registry.
    pub(crate) fn collector(&self) -> Option<Arc<dyn Collect>> {
        Some(self.redis.as_ref()?.collector())
    }

    fn client(&self, name: &str) -> Option<Arc<Client>> {
        let mut clients = lock(&self.clients);
        if let Some(known) = clients.get(name) {
            if known.bucket.is_none() {
                known.is_active.store(true, Ordering::Relaxed);
            }
            return Some(known.clone());
        }
        if clients.len() >= self.max_clients {
            return None;
        }
        let bucket = match &self.redis {
            None => Some(TokenBucket::new(self.rate, self.burst).ok()?),
            Some(_) => None,
        };
        let client = Arc::new(Client {
            bucket,
            admitted: AtomicU64::new(0),
            limited: AtomicU64::new(0),
            is_active: AtomicBool::new(true),
        });
        clients.insert(name.to_owned(), client.clone());
        Some(client)
    }
}

fn take(bucket: &TokenBucket) -> Decision {
    match bucket.try_acquire() {
        Ok(_) => Decision::Admitted,
        Err(Denied::NotYet { retry_after, .. }) => Decision::Limited { retry_after },
        Err(_) => Decision::Unavailable,
    }
}

fn add(counts: &mut (u64, u64), client: &Client) {
    counts.0 += client.admitted.load(Ordering::Relaxed);
    counts.1 += client.limited.load(Ordering::Relaxed);
}

/// Gateways that stay up share their buckets; a self-test has buckets of its own, full ones.
fn redis_prefix(options: &Options) -> String {
    if options.serve.is_some() {
        return "flow".to_owned();
    }
    let started = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default();
    format!("flow-{}-{}", std::process::id(), started.as_millis())
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    match url.split_once("://").zip(url.rsplit_once('@')) {
        Some(((scheme, _), (_, host))) => format!("{scheme}://***@{host}"),
        None => url.to_owned(),
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "limits/tests.rs"]
mod tests;
