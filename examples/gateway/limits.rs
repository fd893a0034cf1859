//! A limit for each client, in this process or in Redis, and one for each address of those who do
//! not say who they are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flow_metrics::Collect;
use flow_ratelimit::fields::{Fields, Policy};
use flow_ratelimit::{Denied, Granted, KeyedLimiter, Rate, WhenFull};
use flow_redis::{DistributedLimiter, KeyedDistributedLimiter, RedisBackend};
use hyper::HeaderMap;
use hyper::header::RETRY_AFTER;

use crate::options::{Options, WrongOption};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// May this client's request go on?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Admitted(Granted),
    /// Not now; after this time it may.
    Limited {
        retry_after: Duration,
    },
    /// There is no room for another client for so long, or Redis cannot say.
    Unavailable {
        retry_after: Option<Duration>,
    },
}

/// The limits of all clients.
pub(crate) struct Limits {
    clients: Clients,
    /// Always of this process: strangers cost Redis nothing.
    strangers: KeyedLimiter<IpAddr>,
    fields: Fields,
    /// What was decided for each client, for the self-test; a gateway that stays up would collect
    /// names without end.
    counts: Option<Mutex<HashMap<String, (u64, u64)>>>,
}

enum Clients {
    Here(KeyedLimiter<str>),
    InRedis(KeyedDistributedLimiter<str>),
}

/// Clients, or addresses, that are told apart at once while they have used some of their limit;
/// more are turned away. Their memory is the same however many come by: some 2 MB.
const MAX_CLIENTS: usize = 100_000;

impl Limits {
    /// The limits; with Redis only if it answers.
    pub(crate) async fn open(options: &Options) -> Result<Self, Failure> {
        let rate = Rate::per_second(options.rate);
        let clients = match &options.redis {
            None => Clients::Here(keyed("clients", options)?),
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
                Clients::InRedis(limiter)
            }
        };
        let strangers = keyed("strangers", options)?;
        // All limits are alike.
        let policy = Policy::of("client", &strangers)?;
        Ok(Self {
            clients,
            strangers,
            fields: Fields::new().policy(policy),
            counts: options.serve.is_none().then(Mutex::default),
        })
    }

    /// Decides for a client that has proved its name.
    pub(crate) async fn decide(&self, name: &str) -> Decision {
        let decision = match &self.clients {
            Clients::Here(limiter) => decided(limiter.try_acquire(name)),
            Clients::InRedis(limiter) => match Box::pin(limiter.check(name)).await {
                Ok(granted) => Decision::Admitted(Granted::new(
                    granted.remaining(),
                    granted.limit(),
                    granted.reset_after(),
                )),
                Err(denied) => match denied.retry_after() {
                    Some(retry_after) => Decision::Limited { retry_after },
                    None => Decision::Unavailable { retry_after: None },
                },
            },
        };
        if let Some(counts) = &self.counts {
            let mut counts = lock(counts);
            let (admitted, limited) = counts.entry(name.to_owned()).or_default();
            match decision {
                Decision::Admitted(_) => *admitted += 1,
                Decision::Limited { .. } => *limited += 1,
                Decision::Unavailable { .. } => {}
            }
        }
        decision
    }

    /// Decides for somebody at this address who has not proved a name.
    pub(crate) fn stranger(&self, addr: IpAddr) -> Decision {
        decided(self.strangers.try_acquire(&addr))
    }

    /// Tells a client how it stands.
    pub(crate) fn tell(&self, decision: Decision, headers: &mut HeaderMap) {
        match decision {
            Decision::Admitted(granted) => self.fields.add_granted(&granted, headers),
            Decision::Limited { retry_after } => {
                self.fields.add_denied(Some(retry_after), headers);
            }
            Decision::Unavailable { retry_after } => {
                // None who has used up a limit: only when to come back, if that is ever.
                let wait = retry_after.filter(|wait| *wait < Duration::MAX);
                if let Some(wait) = wait {
                    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                    headers.insert(RETRY_AFTER, seconds.into());
                }
            }
        }
    }

    /// Admitted and limited of every client in the self-test.
    pub(crate) fn counts(&self) -> HashMap<String, (u64, u64)> {
        let counts = self.counts.as_ref();
        counts.map_or_else(HashMap::new, |counts| lock(counts).clone())
    }

    /// What shows the limits in a registry: none of their keys.
    pub(crate) fn collectors(&self) -> [Arc<dyn Collect>; 2] {
        let clients = match &self.clients {
            Clients::Here(limiter) => limiter.collector(),
            Clients::InRedis(limiter) => limiter.collector(),
        };
        [clients, self.strangers.collector()]
    }
}

/// A limit for each key. Who finds no room is turned away: to forget others for them would give
/// these a new limit.
fn keyed<K: ?Sized>(name: &'static str, options: &Options) -> Result<KeyedLimiter<K>, Failure> {
    let limiter = KeyedLimiter::builder()
        .name(name)
        .rate(Rate::per_second(options.rate))
        .burst(options.burst)
        .max_keys(MAX_CLIENTS)
        .when_full(WhenFull::Deny)
        .build()?;
    Ok(limiter)
}

fn decided(result: Result<Granted, Denied>) -> Decision {
    match result {
        Ok(granted) => Decision::Admitted(granted),
        Err(Denied::NotYet { retry_after, .. }) => Decision::Limited { retry_after },
        Err(denied) => Decision::Unavailable {
            retry_after: denied.retry_after(),
        },
    }
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
