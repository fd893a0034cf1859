//! What single and keyed limiters have in common: one decision about one key, and its count.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flow_ratelimit::Denied;

use crate::bucket::{Bucket, Decision};
use crate::error::RedisError;
use crate::limiter::{CheckError, FailurePolicy, Granted, Source};
use crate::store::{Script, Store};

/// A bucket's settings, the server, and what has been decided.
pub(crate) struct Shared {
    /// What reports call the limiter.
    pub(crate) name: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) script: Script,
    pub(crate) bucket: Bucket,
    pub(crate) policy: FailurePolicy,
    pub(crate) counts: Counts,
}

/// Relaxed counts: a decision takes a round trip, so contention on them is no matter.
#[derive(Default)]
pub(crate) struct Counts {
    granted: AtomicU64,
    denied: AtomicU64,
    fallback_granted: AtomicU64,
    fallback_denied: AtomicU64,
    failures: AtomicU64,
    last_failure: Mutex<Option<RedisError>>,
}

/// What a limiter has decided since it was built, in this process.
///
/// Decisions are `granted + denied + fallback_granted + fallback_denied`; each failure of the
/// server is one of the latter two.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Checks that the server granted.
    pub granted: u64,
    /// Checks that the server denied.
    pub denied: u64,
    /// Checks that the failure policy granted.
    pub fallback_granted: u64,
    /// Checks that the failure policy denied.
    pub fallback_denied: u64,
    /// How often the server did not decide.
    pub failures: u64,
    /// Why it did not the last time.
    pub last_failure: Option<RedisError>,
}

impl Shared {
    /// Takes `n` tokens from the bucket at `key`.
    pub(crate) async fn check(&self, key: String, n: u64) -> Result<Granted, CheckError> {
        self.fits(n)?;
        let answer = self.ask(key, n).await;
        let (decided, granted, denied) = match answer {
            Ok(decision) => (
                self.read(decision, n),
                &self.counts.granted,
                &self.counts.denied,
            ),
            Err(failure) => {
                self.counts.failed(&failure);
                (
                    self.fall_back(failure, n),
                    &self.counts.fallback_granted,
                    &self.counts.fallback_denied,
                )
            }
        };
        let count = if decided.is_ok() { granted } else { denied };
        count.fetch_add(1, Ordering::Relaxed);
        decided
    }

    /// How the bucket at `key` stands, taking nothing.
    pub(crate) async fn peek(&self, key: String) -> Result<Granted, RedisError> {
        match self.ask(key, 0).await? {
            Decision::Taken(units) | Decision::TooFew(units) => Ok(self.granted(units)),
        }
    }

    pub(crate) async fn reset(&self, key: String) -> Result<(), RedisError> {
        self.store.delete(key).await
    }

    async fn ask(&self, key: String, n: u64) -> Result<Decision, RedisError> {
        let args = self.bucket.args(n);
        let answer = self.store.eval(&self.script, key, args).await?;
        Ok(Decision::read(answer))
    }

    fn fits(&self, n: u64) -> Result<(), CheckError> {
        let burst = self.bucket.burst();
        if n > burst {
            let requested = n;
            return Err(CheckError::ExceedsBurst { requested, burst });
        }
        Ok(())
    }

    fn read(&self, decision: Decision, n: u64) -> Result<Granted, CheckError> {
        match decision {
            Decision::Taken(units) => Ok(self.granted(units)),
            Decision::TooFew(units) => Err(CheckError::NotYet {
                retry_after: self.bucket.until(n, units),
                source: Source::Remote,
            }),
        }
    }

    fn granted(&self, units: u64) -> Granted {
        Granted {
            remaining: self.bucket.tokens(units),
            limit: self.bucket.burst(),
            reset_after: self.bucket.until_full(units),
            source: Source::Remote,
        }
    }

    /// A grant of which nobody knows what it leaves.
    fn unknown(&self) -> Granted {
        Granted {
            remaining: 0,
            limit: self.bucket.burst(),
            reset_after: core::time::Duration::ZERO,
            source: Source::Fallback,
        }
    }

    fn fall_back(&self, failure: RedisError, n: u64) -> Result<Granted, CheckError> {
        // What takes nothing is no matter of policy.
        if n == 0 {
            return Ok(self.unknown());
        }
        let source = Source::Fallback;
        match &self.policy {
            FailurePolicy::Open => Ok(self.unknown()),
            FailurePolicy::Closed => Err(CheckError::Unavailable(failure)),
            FailurePolicy::Local(limiter) => match limiter.try_acquire_n(n) {
                Ok(granted) => Ok(Granted {
                    remaining: granted.remaining(),
                    limit: granted.limit(),
                    reset_after: granted.reset_after(),
                    source,
                }),
                Err(Denied::NotYet { retry_after, .. }) => Err(CheckError::NotYet {
                    retry_after,
                    source,
                }),
                Err(denied) => Err(CheckError::Fallback(denied)),
            },
        }
    }
}

impl Counts {
    fn failed(&self, failure: &RedisError) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut last = self
            .last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some(failure.clone());
    }

    pub(crate) fn stats(&self) -> Stats {
        let last = self
            .last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Stats {
            granted: self.granted.load(Ordering::Relaxed),
            denied: self.denied.load(Ordering::Relaxed),
            fallback_granted: self.fallback_granted.load(Ordering::Relaxed),
            fallback_denied: self.fallback_denied.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            last_failure: last.clone(),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("name", &self.name)
            .field("bucket", &self.bucket)
            .field("policy", &self.policy)
            .field("stats", &self.counts.stats())
            .finish_non_exhaustive()
    }
}
