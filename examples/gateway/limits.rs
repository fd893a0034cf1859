//! One token bucket per client, in this process or in Redis.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flow_ratelimit::{Denied, Rate, TokenBucket};
use flow_redis::{DistributedLimiter, KeyedDistributedLimiter, RedisBackend};

use crate::options::Options;

/// May this client's request go on?
#[derive(Debug, Clone, Copy)]
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
    store: Store,
    clients: Mutex<HashMap<String, Arc<Client>>>,
}

enum Store {
    Local { rate: Rate, burst: u64 },
    Redis(KeyedDistributedLimiter<str>),
}

/// One client: its bucket, and what was decided for it.
pub(crate) struct Client {
    bucket: Option<TokenBucket>,
    admitted: AtomicU64,
    limited: AtomicU64,
}

/// Clients remembered at once; more are turned away until idle ones are forgotten.
const MAX_CLIENTS: usize = 100_000;

impl Limits {
    pub(crate) fn new(options: &Options) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let rate = Rate::per_second(options.rate);
        let store = match &options.redis {
            None => Store::Local {
                rate,
                burst: options.burst,
            },
            Some(url) => {
                let redis = RedisBackend::connect(url)?;
                let limiter = DistributedLimiter::builder(&redis)
                    .keyed::<str>("gateway")
                    .rate(rate)
                    .burst(options.burst)
                    .build()?;
                Store::Redis(limiter)
            }
        };
        Ok(Self {
            store,
            clients: Mutex::new(HashMap::new()),
        })
    }

    pub(crate) async fn decide(&self, name: &str) -> Decision {
        let Some(client) = self.client(name) else {
            return Decision::Unavailable;
        };
        let decision = match (&self.store, &client.bucket) {
            (Store::Redis(limiter), _) => match limiter.check(name).await {
                Ok(_) => Decision::Admitted,
                Err(denied) => denied
                    .retry_after()
                    .map_or(Decision::Unavailable, |retry_after| Decision::Limited {
                        retry_after,
                    }),
            },
            (Store::Local { .. }, Some(bucket)) => match bucket.try_acquire() {
                Ok(_) => Decision::Admitted,
                Err(Denied::NotYet { retry_after, .. }) => Decision::Limited { retry_after },
                Err(_) => Decision::Unavailable,
            },
            (Store::Local { .. }, None) => Decision::Unavailable,
        };
        match decision {
            Decision::Admitted => client.admitted.fetch_add(1, Ordering::Relaxed),
            Decision::Limited { .. } => client.limited.fetch_add(1, Ordering::Relaxed),
            Decision::Unavailable => 0,
        };
        decision
    }

    /// Forgets local clients whose bucket is full again: a new one would be no different.
    pub(crate) fn forget_idle(&self) {
        let Store::Local { burst, .. } = &self.store else {
            return;
        };
        self.lock().retain(|_, client| {
            Arc::strong_count(client) > 1
                || client
                    .bucket
                    .as_ref()
                    .is_none_or(|bucket| bucket.available() < *burst)
        });
    }

    /// Admitted and limited of every client still remembered.
    pub(crate) fn counts(&self) -> HashMap<String, (u64, u64)> {
        let counts = |client: &Client| {
            (
                client.admitted.load(Ordering::Relaxed),
                client.limited.load(Ordering::Relaxed),
            )
        };
        self.lock()
            .iter()
            .map(|(name, client)| (name.clone(), counts(client)))
            .collect()
    }

    fn client(&self, name: &str) -> Option<Arc<Client>> {
        let mut clients = self.lock();
        if let Some(known) = clients.get(name) {
            return Some(known.clone());
        }
        if clients.len() >= MAX_CLIENTS {
            return None;
        }
        let bucket = match &self.store {
            Store::Local { rate, burst } => Some(TokenBucket::new(*rate, *burst).ok()?),
            Store::Redis(_) => None,
        };
        let client = Arc::new(Client {
            bucket,
            admitted: AtomicU64::new(0),
            limited: AtomicU64::new(0),
        });
        clients.insert(name.to_owned(), client.clone());
        Some(client)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
