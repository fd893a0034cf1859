//! What a server writes.

use core::time::Duration;

use http::header::{Entry, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::item::item;
use super::policy::{Policy, seconds};
use super::structured::MAX_INTEGER;
use super::{RATELIMIT, RATELIMIT_POLICY};
use crate::granted::Granted;

/// The fields of a server's responses: see the [module](crate::fields).
///
/// Without a policy the limit is told of by the name `default`, and `RateLimit-Policy` is not there.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    policy: Option<Policy>,
    legacy: bool,
}

impl Fields {
    /// `RateLimit` and `Retry-After`.
    pub fn new() -> Self {
        Self::default()
    }

    /// `RateLimit-Policy` too, and the policy's name in `RateLimit`.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The old fields too: `x-ratelimit-limit`, `x-ratelimit-remaining`, and `x-ratelimit-reset` in
    /// seconds from now.
    pub fn legacy(mut self) -> Self {
        self.legacy = true;
        self
    }

    /// The name that clients are told.
    pub fn name(&self) -> &str {
        self.policy.as_ref().map_or(DEFAULT, Policy::name)
    }

    /// Tells how the limit stands after a grant.
    ///
    /// What other limits have told stays: these are lists. Of the old fields, which are none, those
    /// stay that leave the client the least.
    pub fn add_granted(&self, granted: &Granted, headers: &mut HeaderMap) {
        let reset = granted.reset_after();
        self.add(granted.remaining(), Some(granted.limit()), reset, headers);
    }

    /// Tells that nothing is left, until `retry_after` if that is known.
    ///
    /// `Retry-After` is set to it, unless another limit has set a later time. A client that is alone
    /// in using the limit and waits as long is granted.
    pub fn add_denied(&self, retry_after: Option<Duration>, headers: &mut HeaderMap) {
        let reset = retry_after.unwrap_or(Duration::MAX);
        let quota = self.policy.as_ref().map(Policy::quota);
        self.add(0, quota, reset, headers);
        if let Some(value) = retry_after.and_then(retry_after_field) {
            replace_if(headers, RETRY_AFTER.clone(), value, |new, old| new > old);
        }
    }

    fn add(&self, available: u64, quota: Option<u64>, reset: Duration, headers: &mut HeaderMap) {
        let available = available.min(MAX_INTEGER);
        let reset = (reset != Duration::MAX).then(|| seconds(reset));
        let name = self.policy.as_ref().map_or(QUOTED_DEFAULT, Policy::quoted);
        if let Some(limit) = item(name, (b'r', available), (b't', reset)) {
            headers.append(&RATELIMIT, limit);
        }
        if let Some(policy) = self.policy.as_ref().and_then(Policy::field) {
            headers.append(&RATELIMIT_POLICY, policy);
        }
        if self.legacy {
            add_legacy(available, quota, reset, headers);
        }
    }
}

/// `Retry-After` in whole seconds; none for what is longer than can be said.
pub(crate) fn retry_after_field(retry_after: Duration) -> Option<HeaderValue> {
    (retry_after != Duration::MAX).then(|| HeaderValue::from(seconds(retry_after)))
}

fn add_legacy(available: u64, quota: Option<u64>, reset: Option<u64>, headers: &mut HeaderMap) {
    let is_least = replace_if(headers, REMAINING.clone(), available.into(), |new, old| {
        new < old
    });
    if !is_least {
        return;
    }
    for (name, value) in [(&LIMIT, quota), (&RESET, reset)] {
        match value {
            Some(value) => drop(headers.insert(name, value.into())),
            None => drop(headers.remove(name)),
        }
    }
}

/// Sets a field of a number unless it is there with one that stays.
fn replace_if(
    headers: &mut HeaderMap,
    name: HeaderName,
    value: HeaderValue,
    replaces: impl FnOnce(u64, u64) -> bool,
) -> bool {
    let number = |value: &HeaderValue| value.to_str().ok()?.trim().parse::<u64>().ok();
    match headers.entry(name) {
        Entry::Occupied(mut there) => {
            let replaces = match (number(&value), number(there.get())) {
                (Some(new), Some(old)) => replaces(new, old),
                // What is no number, a date perhaps, is somebody else's.
                _ => false,
            };
            if replaces {
                there.insert(value);
            }
            replaces
        }
        Entry::Vacant(free) => {
            free.insert(value);
            true
        }
    }
}

const DEFAULT: &str = "default";
const QUOTED_DEFAULT: &str = "\"default\"";
static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
